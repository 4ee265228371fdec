//! Marks, the users' lists that show them, and the bound of the times of change: what only rises.

use super::{Tables, layout, raise, record, settings};
use bytes::Bytes;
use godwit_domain::{
    conversation::{Listed, Marks, Rise, Settings},
    id::{ConversationId, Seq, UserId},
    time::Ms,
    waist::{Error, Partition, Row},
};
use serde::{Deserialize, Serialize};

/// A row of a user's list.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ListedRecord {
    /// Whether they are in now.
    pub(super) present: bool,
    /// When their membership changed last.
    pub(super) changed_at: Ms,
}

/// A mark: up to where, and when it rose.
type Mark = (Seq, Ms);

/// What names rows and marks in errors.
const LISTED: &str = "a row of a user's list";
const MARK: &str = "a mark";
const HIDDEN_AT: &str = "a time of hiding";
const PEER_CHANGED_AT: &str = "a time of a changed profile";

impl ListedRecord {
    fn listed(self, conversation: ConversationId) -> Listed {
        let Self { present, changed_at } = self;
        let (none, settings) = (Ms::default(), Settings::default());
        let (marked_at, hidden_at, peer_changed_at, set_at) = (none, none, none, none);
        Listed { conversation, present, changed_at, marked_at, hidden_at, peer_changed_at, settings, set_at }
    }
}

/// What a row of a user's list says, and of which conversation.
pub(super) fn read_row(partition: &Partition, row: &Row) -> Result<(ConversationId, ListedRecord), Error> {
    let said = record::read(LISTED, partition, &row.key, &row.value)?;
    Ok((conversation(LISTED, partition, &row.key)?, said))
}

fn conversation(what: &str, partition: &Partition, key: &[u8]) -> Result<ConversationId, Error> {
    let wrong = || record::corrupt(what, partition, key, "the key names no conversation");
    layout::split_conversation(key).ok_or_else(wrong)
}

impl Tables {
    /// Raises marks: the users' own and their peers' first, those in the conversations last. A conversation is loaded
    /// from its own, so that a repeat after a crash in between raises whatever is missing.
    pub(super) async fn raise_all(&self, rises: &[Rise]) -> Result<(), Error> {
        let mut told = Vec::with_capacity(2 * rises.len());
        let mut counted = Vec::with_capacity(2 * rises.len());
        for Rise { conversation, user, peer, to, at } in rises {
            let (here, theirs) = (layout::conversation(*conversation), layout::user(*user));
            let (of_user, of_conversation) = (user.as_bytes(), conversation.as_bytes());
            for (which, seq) in [(layout::RECEIVED, to.received), (layout::READ, to.read)] {
                // Nothing is marked before the first message.
                if seq == Seq::ZERO {
                    continue;
                }
                let mark: Mark = (seq, *at);
                counted.push(raise(&here, &layout::mark(layout::MARKS, of_user, which), seq.0, &mark)?);
                if let Some(peer) = peer {
                    let key = layout::mark(layout::PEER_MARKS, of_conversation, which);
                    told.push(raise(&layout::user(*peer), &key, seq.0, &mark)?);
                }
                told.push(raise(
                    &theirs,
                    &layout::mark(layout::MARKS, of_conversation, which),
                    seq.0,
                    &mark,
                )?);
            }
        }
        if !told.is_empty() {
            self.store.raise(told).await?;
            self.store.raise(counted).await?;
        }
        Ok(())
    }

    /// The marks of all who have some in a conversation.
    pub(super) async fn read_marks(
        &self,
        conversation: ConversationId,
    ) -> Result<Vec<(UserId, Marks)>, Error> {
        let here = layout::conversation(conversation);
        let mut all: Vec<(UserId, Marks)> = Vec::new();
        for (user, which, (seq, _)) in self.marks_under(&here, layout::MARKS).await? {
            let user = UserId::from_u128(user);
            // Both marks of a user stand together.
            if all.last().is_none_or(|(last, _)| *last != user) {
                all.push((user, Marks::default()));
            }
            let Some((_, marks)) = all.last_mut() else { continue };
            match which {
                layout::READ => marks.read = seq,
                _ => marks.received = seq,
            }
        }
        Ok(all)
    }

    /// The marks whose keys begin with `first`: of which id, which, and what it says.
    async fn marks_under(&self, partition: &Partition, first: u8) -> Result<Vec<(u128, u8, Mark)>, Error> {
        let stored = self.store.marks(partition.clone(), Bytes::copy_from_slice(&[first])).await?;
        let read = |(key, _, value): &(Bytes, u64, Bytes)| {
            let wrong = || record::corrupt(MARK, partition, key, "the key is none of a mark");
            let (id, which) = layout::split_mark(key)
                .filter(|(_, which)| matches!(*which, layout::RECEIVED | layout::READ))
                .ok_or_else(wrong)?;
            Ok((id, which, record::read(MARK, partition, key, value)?))
        };
        stored.iter().map(read).collect()
    }

    /// The rows of a user's list, each with what the marks of its conversation say.
    pub(super) async fn read_listed(&self, user: UserId) -> Result<Vec<Listed>, Error> {
        let partition = layout::user(user);
        let times = |first: &'static [u8]| self.store.marks(partition.clone(), Bytes::from_static(first));
        let (rows, own, peers, hidden, changed, set) = tokio::try_join!(
            self.scan_all(&partition, layout::LISTED),
            self.marks_under(&partition, layout::MARKS),
            self.marks_under(&partition, layout::PEER_MARKS),
            times(&[layout::HIDDEN_TIMES]),
            times(&[layout::PEER_CHANGES]),
            self.scan_all(&partition, layout::SETTINGS),
        )?;
        let mut all = Vec::with_capacity(rows.len());
        for row in rows {
            let (conversation, said) = read_row(&partition, &row)?;
            all.push(said.listed(conversation));
        }
        // The rows came in the order of their keys.
        let position =
            |all: &[Listed], id| all.binary_search_by_key(&id, |listed: &Listed| listed.conversation).ok();
        for (id, _, (_, at)) in own.into_iter().chain(peers) {
            if let Some(index) = position(&all, ConversationId::from_u128(id)) {
                all[index].marked_at = all[index].marked_at.max(at);
            }
        }
        for (key, _, value) in hidden {
            if let Some(index) = position(&all, conversation(HIDDEN_AT, &partition, &key)?) {
                all[index].hidden_at = record::read(HIDDEN_AT, &partition, &key, &value)?;
            }
        }
        for (key, _, value) in changed {
            if let Some(index) = position(&all, conversation(PEER_CHANGED_AT, &partition, &key)?) {
                all[index].peer_changed_at = record::read(PEER_CHANGED_AT, &partition, &key, &value)?;
            }
        }
        for row in set {
            if let Some(index) = position(&all, conversation(settings::WHAT, &partition, &row.key)?) {
                let stored: settings::Stored =
                    record::read(settings::WHAT, &partition, &row.key, &row.value)?;
                (all[index].settings, all[index].set_at) = (stored.settings, stored.at);
            }
        }
        Ok(all)
    }

    /// The bound that times of change have not passed.
    pub(super) async fn read_change_bound(&self) -> Result<Ms, Error> {
        let what = "the bound of the times of change";
        let found = self.find_mark(what, &layout::epoch(), layout::CHANGE_BOUND).await?;
        Ok(found.map_or(Ms::default(), |(_, bound)| bound))
    }

    /// Stores a higher bound.
    pub(super) async fn write_change_bound(&self, bound: Ms) -> Result<(), Error> {
        self.store.raise(vec![raise(&layout::epoch(), layout::CHANGE_BOUND, bound.0, &bound)?]).await
    }
}
