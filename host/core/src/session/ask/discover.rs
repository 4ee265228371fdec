//! `discover`: the conversations that anyone may join, as they look from where the asker stands.

use super::{Asker, ManyConversations};
use crate::{sequencer::Standing, session::listing};
use godwit_domain::id::ConversationId;
use godwit_protocol::{
    encode,
    error::{Code, Error},
    request::{self, Discover},
};

/// How many titles one request looks at; what lies further on comes with the next page.
const LOOKED_AT_MAX: usize = 2_000;
/// How many of them are read at once.
const READ_AT_ONCE: usize = 500;
/// The longest query, in characters: no title is longer.
const QUERY_CHARS_MAX: usize = 100;

impl Asker {
    pub(super) async fn discover(&self, id: u64, asked: Discover) -> Result<Vec<u8>, Error> {
        let limit = request::limit(asked.limit)?;
        let unreadable = |_| Error::invalid("page", "`page` is not one that this list gave");
        let page = asked.page.map(|page| page.parse().map(ConversationId));
        let mut after = page.transpose().map_err(unreadable)?;
        let query = asked.query.unwrap_or_default();
        let characters = query.chars().count();
        if characters > QUERY_CHARS_MAX {
            let text = format!("a query of {characters} characters, the limit is {QUERY_CHARS_MAX}");
            return Err(Error::invalid("query", text));
        }
        let query = query.to_lowercase();
        let (mut shown, mut more, mut looked_at) = (Vec::new(), true, 0);
        'all: while more && looked_at < LOOKED_AT_MAX {
            let read = self.host.parts.conversations.open_conversations(after, READ_AT_ONCE).await?;
            more = read.len() == READ_AT_ONCE;
            looked_at += read.len();
            for (conversation, title) in read {
                if shown.len() == limit {
                    more = true;
                    break 'all;
                }
                after = Some(conversation);
                if !title.unwrap_or_default().to_lowercase().contains(&query) {
                    continue;
                }
                match self.host.sequencer.view(conversation, self.user.id).await {
                    // Nobody would let anyone in: whoever comes first is alone there.
                    Ok(view) if view.member_count == 0 || !view.meta.open => {}
                    Ok(view) if view.standing == Standing::Outside => shown.push((view, None)),
                    Ok(view) => shown.push(listing::shown(&self.host, self.user.id, view).await?),
                    Err(error) if matches!(error.code, Code::NotFound | Code::NotMember) => {}
                    Err(error) => return Err(error),
                }
            }
        }
        let next = after.filter(|_| more).map(|after| after.to_string());
        Ok(encode::ok(id, &ManyConversations { conversations: self.objects(&shown), next }))
    }
}
