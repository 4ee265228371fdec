//! What happened to messages: revisions, who reacts, what the asker hid, how far the members have come.

use super::{super::change::check_emoji, Asker};
use crate::{
    registry::{Push, Reach, Router},
    sequencer::{Receipts, Standing, Visible},
};
use futures_util::future::try_join_all;
use godwit_domain::{
    conversation::Kind,
    id::{ConversationId, Rev, Seq, UserId},
    message::Message,
    revision::{Revision, What},
    waist,
};
use godwit_protocol::{
    encode,
    error::{Code, Error},
    object,
    request::{self, Delete, Hidden, Reactions, Receipts as ReceiptsRequest, Revisions},
};
use serde::Serialize;
use std::{collections::BTreeMap, ops::RangeInclusive};

#[derive(Serialize)]
struct PageOfRevisions<'a> {
    revisions: Vec<object::Revision<'a>>,
    gone: Vec<Gone>,
    more: bool,
}

/// Numbers of revisions that come without one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
struct Gone {
    from: Rev,
    to: Rev,
}

#[derive(Serialize)]
struct PageOfHidden {
    seqs: Vec<Seq>,
    more: bool,
}

#[derive(Serialize)]
struct HiddenSoFar {
    hidden: u64,
}

#[derive(Serialize)]
struct AllReactions {
    reactions: Vec<Reacting>,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
struct Reacting {
    emoji: String,
    users: Vec<UserId>,
}

#[derive(Serialize)]
struct AllReceipts {
    received: usize,
    read: usize,
    members: Vec<Reached>,
}

#[derive(Serialize)]
struct Reached {
    user: UserId,
    received_seq: Seq,
    read_seq: Seq,
}

fn no_message(seq: Seq) -> Error {
    Error::new(Code::NotFound, format!("no message {seq} is to be seen here")).field("seq")
}

impl Asker {
    pub(super) async fn revisions(&self, id: u64, asked: Revisions) -> Result<Vec<u8>, Error> {
        let limit = request::limit(asked.limit)? as u64;
        let conversation = asked.conversation;
        let view = self.host.sequencer.view(conversation, self.user.id).await?.readable()?;
        let last = view.head.last_rev.0;
        let from = asked.after_rev.0.min(last) + 1;
        let to = last.min(from.saturating_add(limit - 1));
        let tables = &self.host.parts.conversations;
        let mut revisions = Vec::new();
        for part in view.visible.revisions_within(&(from..=to)) {
            let part = Rev(*part.start())..=Rev(*part.end());
            let read = tables.revisions(conversation, part).await?;
            revisions.extend(read.into_iter().filter(|revision| view.visible.revision(revision)));
        }
        let texts = self.texts(conversation, &revisions, &view.visible).await?;
        let text = |revision: &Revision| {
            let message = revision.what.message().and_then(|seq| texts.get(&seq))?;
            let (given_by, _) = message.revised.as_ref()?.edited?;
            (given_by == revision.rev).then_some(message.content.body.as_str())
        };
        let page = PageOfRevisions {
            revisions: revisions
                .iter()
                .map(|revision| object::Revision::new(conversation, revision, text(revision)))
                .collect(),
            gone: gone(&(from..=to), &revisions),
            more: to < last,
        };
        Ok(encode::ok(id, &page))
    }

    /// The messages that have been edited by these revisions: their texts stand with them.
    async fn texts(
        &self,
        conversation: ConversationId,
        revisions: &[Revision],
        visible: &Visible,
    ) -> Result<BTreeMap<Seq, Message>, waist::Error> {
        let mut edited: Vec<_> = revisions
            .iter()
            .filter_map(|revision| match revision.what {
                What::Edit { seq, .. } => Some(seq),
                _ => None,
            })
            .collect();
        edited.sort_unstable();
        edited.dedup();
        let tables = &self.host.parts.conversations;
        let read = edited.into_iter().map(|seq| tables.messages(conversation, seq..=seq, false, usize::MAX));
        let messages = try_join_all(read).await?.into_iter().flatten();
        Ok(messages
            .filter_map(|message| visible.shown(message))
            .map(|message| (message.seq, message))
            .collect())
    }

    pub(super) async fn reactions(&self, id: u64, asked: Reactions) -> Result<Vec<u8>, Error> {
        asked.emoji.as_deref().map_or(Ok(()), check_emoji)?;
        let view = self.host.sequencer.view(asked.conversation, self.user.id).await?.readable()?;
        if !view.visible.message(asked.seq) {
            return Err(no_message(asked.seq));
        }
        let tables = &self.host.parts.conversations;
        let mut found = tables.reactions(asked.conversation, asked.seq, asked.emoji.as_deref()).await?;
        if view.standing == Standing::Left {
            // Read after them: a message that was not revised since its reader left has no reaction of later.
            let read = tables.messages(asked.conversation, asked.seq..=asked.seq, false, usize::MAX).await?;
            let message = read.into_iter().next().and_then(|message| view.visible.shown(message));
            let message = message.ok_or_else(|| no_message(asked.seq))?;
            if message.revised.is_none_or(|revised| revised.reactions.is_empty()) {
                found.clear();
            }
        }
        let mut reactions: Vec<Reacting> = Vec::new();
        for (emoji, user) in found {
            match reactions.last_mut() {
                Some(last) if last.emoji == emoji => last.users.push(user),
                _ => reactions.push(Reacting { emoji, users: vec![user] }),
            }
        }
        Ok(encode::ok(id, &AllReactions { reactions }))
    }

    pub(super) async fn receipts(&self, id: u64, asked: ReceiptsRequest) -> Result<Vec<u8>, Error> {
        let conversation = asked.conversation;
        let view = self.host.sequencer.view(conversation, self.user.id).await?.readable()?;
        let seq = asked.seq.unwrap_or(view.head.last_seq);
        let mut left_out = match view.meta.kind {
            // Of a channel it is told how many, never who.
            Kind::Channel => Vec::new(),
            Kind::Direct | Kind::Group => self.silent(conversation).await?,
        };
        if seq != Seq::ZERO {
            if !view.visible.message(seq) {
                return Err(no_message(seq));
            }
            let tables = &self.host.parts.conversations;
            let read = tables.messages(conversation, seq..=seq, false, usize::MAX).await?;
            left_out.extend(read.first().map(|message| message.sender));
        }
        left_out.sort_unstable();
        let Receipts { received, read, members } =
            self.host.sequencer.receipts(conversation, self.user.id, seq, left_out).await?;
        let members = members.into_iter().map(|(user, marks)| Reached {
            user,
            received_seq: marks.received,
            read_seq: marks.read,
        });
        Ok(encode::ok(id, &AllReceipts { received, read, members: members.collect() }))
    }

    /// Those in a conversation of whom the asker may not learn how far they have come.
    async fn silent(&self, conversation: ConversationId) -> Result<Vec<UserId>, Error> {
        let audience = self.host.sequencer.audience(conversation, self.user.id).await?;
        let users = self.host.known.get(&audience).await?;
        let circle = self.host.relations.circle(self.user.id).await?;
        let is_silent = |user: &UserId| {
            let shows = users.get(user).is_none_or(|user| user.privacy.receipts);
            *user != self.user.id && (!shows || circle.blocks(*user))
        };
        Ok(audience.iter().copied().filter(is_silent).collect())
    }

    pub(super) async fn hidden(&self, id: u64, asked: Hidden) -> Result<Vec<u8>, Error> {
        let limit = request::limit(asked.limit)?;
        self.host.sequencer.view(asked.conversation, self.user.id).await?.readable()?;
        let tables = &self.host.parts.conversations;
        let mut seqs = tables.hidden(self.user.id, asked.conversation, asked.after, limit + 1).await?;
        let more = seqs.len() > limit;
        seqs.truncate(limit);
        Ok(encode::ok(id, &PageOfHidden { seqs, more }))
    }

    /// Deletes a message for the asker alone.
    pub(super) async fn hide(&self, id: u64, delete: Delete) -> Result<Vec<u8>, Error> {
        let Delete { conversation, seq, .. } = delete;
        let view = self.host.sequencer.view(conversation, self.user.id).await?.readable()?;
        if !view.visible.message(seq) {
            return Err(no_message(seq));
        }
        let stamp = self.host.parts.changes.begin();
        stamp.secured().await?;
        let hidden = self.host.parts.conversations.hide(self.user.id, conversation, seq, stamp.at()).await?;
        self.host.parts.registry.route(Push {
            audience: &[self.user.id],
            reach: Reach::Sessions,
            frame: encode::push("hidden", &object::Hidden { conversation, seq, hidden }).into(),
            own: None,
            except: Some(self.session),
            at: None,
        });
        Ok(encode::ok(id, &HiddenSoFar { hidden }))
    }
}

/// The numbers of a range that come without a revision, neighbours together.
fn gone(range: &RangeInclusive<u64>, revisions: &[Revision]) -> Vec<Gone> {
    let mut all = Vec::new();
    let mut next = *range.start();
    let ends = revisions.iter().map(|revision| revision.rev.0).chain([*range.end() + 1]);
    for rev in ends {
        if next < rev {
            all.push(Gone { from: Rev(next), to: Rev(rev - 1) });
        }
        next = rev + 1;
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use godwit_domain::time::Ms;

    #[test]
    fn every_number_without_a_revision_is_accounted_for() {
        let revision = |rev| Revision {
            rev: Rev(rev),
            at_seq: Seq(1),
            by: UserId::from_u128(1),
            at: Ms(1),
            what: What::Delete { seq: Seq(1) },
        };
        let told = |from, to, revs: &[u64]| {
            let revisions: Vec<_> = revs.iter().copied().map(revision).collect();
            gone(&(from..=to), &revisions).iter().map(|gone| (gone.from.0, gone.to.0)).collect::<Vec<_>>()
        };
        assert_eq!(told(3, 8, &[4, 5, 7]), [(3, 3), (6, 6), (8, 8)]);
        assert_eq!(told(3, 4, &[3, 4]), []);
        assert_eq!(told(5, 4, &[]), []);
    }
}
