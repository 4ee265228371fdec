//! What the rows say of people beside one another: in which conversations they are, who else is there, when they were
//! seen last, and whose profile changed.

use super::{Tables, layout, marks, raise, record};
use async_trait::async_trait;
use futures_util::future::try_join_all;
use godwit_domain::{
    conversation::{Circle, Kind, Member, Meta},
    id::{ConversationId, UserId},
    tables::LastSeen,
    time::Ms,
    waist::{Direction, Error},
};
use std::ops::Bound;

/// How many rows of members are read at once, beyond those that may be in.
const PAGE: usize = 64;
const SEEN: &str = "when a user was seen last";

impl Tables {
    /// The conversations that the user is in.
    pub(super) async fn read_present_in(&self, user: UserId) -> Result<Vec<ConversationId>, Error> {
        let partition = layout::user(user);
        let rows = self.scan_all(&partition, layout::LISTED).await?;
        let present = rows.iter().map(|row| marks::read_row(&partition, row));
        Ok(present
            .collect::<Result<Vec<_>, _>>()?
            .into_iter()
            .filter_map(|(conversation, said)| said.present.then_some(conversation))
            .collect())
    }

    /// Who is in a conversation, unless these are more than `max`. Those who left have rows as well, so that it goes on
    /// page by page.
    pub(super) async fn read_circle(
        &self,
        conversation: ConversationId,
        max: usize,
    ) -> Result<Option<Circle>, Error> {
        let here = layout::conversation(conversation);
        let Some((_, meta)) = self.find::<Meta>("the meta of a conversation", &here, layout::META).await?
        else {
            return Ok(None);
        };
        // Those who read a channel are nobody's circle, be they few.
        if meta.kind == Kind::Channel {
            return Ok(None);
        }
        let mut members = Vec::new();
        let mut from = Bound::Included(record::key(&[layout::MEMBER]));
        let to = Bound::Excluded(record::key(&[layout::MEMBER + 1]));
        let page = max.saturating_add(PAGE);
        loop {
            let rows = self.scan_range(&here, (from, to.clone()), Direction::Forward, page).await?;
            for row in &rows {
                let member: Member = record::read("a member", &here, &row.key, &row.value)?;
                members.extend(member.present().then_some(member.user));
            }
            if members.len() > max {
                return Ok(None);
            }
            match rows.into_iter().nth(page - 1) {
                Some(last) => from = Bound::Excluded(last.key),
                None => return Ok(Some(Circle { kind: meta.kind, members })),
            }
        }
    }

    /// Raises the marks that say when the other one of a direct conversation changed their profile.
    pub(super) async fn raise_peer_changed(
        &self,
        told: &[(UserId, ConversationId)],
        at: Ms,
    ) -> Result<(), Error> {
        let mark = |&(user, conversation): &(UserId, ConversationId)| {
            raise(&layout::user(user), &layout::peer_changed_at(conversation), at.0, &at)
        };
        let marks: Vec<_> = told.iter().map(mark).collect::<Result<_, _>>()?;
        if marks.is_empty() { Ok(()) } else { self.store.raise(marks).await }
    }
}

#[async_trait]
impl LastSeen for Tables {
    async fn last_seen(&self, users: &[UserId]) -> Result<Vec<Option<Ms>>, Error> {
        let read = |user: &UserId| {
            let partition = layout::user(*user);
            async move {
                let found = self.find_mark::<Ms>(SEEN, &partition, layout::LAST_SEEN).await?;
                Ok::<_, Error>(found.map(|(_, at)| at))
            }
        };
        try_join_all(users.iter().map(read)).await
    }

    async fn raise_last_seen(&self, seen: &[(UserId, Ms)]) -> Result<(), Error> {
        let mark = |(user, at): &(UserId, Ms)| raise(&layout::user(*user), layout::LAST_SEEN, at.0, at);
        let marks: Vec<_> = seen.iter().map(mark).collect::<Result<_, _>>()?;
        if marks.is_empty() { Ok(()) } else { self.store.raise(marks).await }
    }
}
