//! Where conversations stand: the heads of their last buckets, and how these are found.
//!
//! Every change of a conversation is conditional on the row of its head, which is known from the caller's [`Head`] to
//! the byte.

use super::{Tables, absent, change::Intent, layout, raise, record};
use futures_util::future::try_join_all;
use godwit_domain::{
    conversation::Head,
    id::{ConversationId, Rev, Seq},
    time::Ms,
    waist::{Check, Error, Partition, Row},
};
use serde::{Deserialize, Deserializer, Serialize, de::Error as _};

/// How many conversations with more than one bucket are looked up at the same time.
const HEADS_AT_ONCE: usize = 16;

/// The head of a bucket: the one row on which every change of a conversation is conditional.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct HeadRecord {
    /// The number that the next message gets.
    #[serde(deserialize_with = "numbered")]
    pub(super) next: Seq,
    /// The last revision.
    pub(super) last_rev: Rev,
    /// When a message, the membership or the meta changed last.
    pub(super) changed_at: Ms,
    /// When anything changed last.
    pub(super) revised_at: Ms,
    /// A change that is being carried out.
    pub(super) intent: Option<Intent>,
}

/// A number that a bucket has room for: none that was written is another, and all that follows counts on it.
fn numbered<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Seq, D::Error> {
    let seq = Seq::deserialize(deserializer)?;
    let last = layout::last(u32::MAX);
    if (1..=last).contains(&seq.0) {
        return Ok(seq);
    }
    Err(D::Error::custom(format_args!("the next number is {seq}, it must be 1 to {last}")))
}

impl HeadRecord {
    /// The record of a conversation that stands at `head`, with no change open.
    pub(super) fn of(head: Head) -> Self {
        let Head { last_seq, last_rev, changed_at, revised_at } = head;
        Self { next: last_seq.next(), last_rev, changed_at, revised_at, intent: None }
    }

    /// Where the conversation stands. A change that is still open has not happened yet: `None` where that is the
    /// creation.
    pub(super) fn head(&self) -> Option<Head> {
        let last_rev = match &self.intent {
            None => self.last_rev,
            Some(intent) if intent.creates => return None,
            Some(intent) => intent.before_rev,
        };
        let Self { changed_at, revised_at, .. } = *self;
        Some(Head { last_seq: Seq(self.next.0 - 1), last_rev, changed_at, revised_at })
    }
}

/// Where the next entry of a conversation goes, and what must hold there.
pub(super) struct Place {
    pub(super) bucket: u32,
    pub(super) partition: Partition,
    /// The row of the head as the caller knows it, as it stands where the bucket is open.
    standing: Row,
    /// The bucket before this one is full: nobody may have opened this one yet.
    pub(super) may_be_new: bool,
}

impl Place {
    pub(super) fn of(conversation: ConversationId, head: Head) -> Result<Self, Error> {
        let bucket = layout::bucket(head.last_seq.next().0);
        let partition = layout::messages(conversation, bucket);
        let standing = record::row(&partition, layout::HEAD, &HeadRecord::of(head))?;
        let may_be_new = bucket > 0 && head.last_seq.next().0 == layout::first(bucket);
        Ok(Self { bucket, partition, standing, may_be_new })
    }

    /// The check for a bucket that is new, or for one that is open.
    pub(super) fn check(&self, new: bool) -> Check {
        if new { absent(layout::HEAD) } else { Check::Equals(self.standing.clone()) }
    }

    /// Whether a conflict only says that the bucket was opened already, by a change after its last
    /// message: the head in it is the one that the caller knows.
    pub(super) fn is_open(&self, conflict: &[Row]) -> bool {
        self.may_be_new && conflict == std::slice::from_ref(&self.standing)
    }
}

impl Tables {
    /// Notes where the last buckets are. It is a hint: who reads it goes on from there to the last one, so that it
    /// may be late, and its loss costs reads only.
    pub(super) async fn hint(&self, buckets: &[(ConversationId, u32)]) {
        if buckets.is_empty() {
            return;
        }
        let hint = |&(conversation, bucket): &(_, u32)| {
            raise(&layout::conversation(conversation), layout::LAST_BUCKET, bucket.into(), &bucket)
        };
        let raised = match buckets.iter().map(hint).collect::<Result<Vec<_>, Error>>() {
            Ok(raises) => self.store.raise(raises).await,
            Err(error) => Err(error),
        };
        if let Err(error) = raised {
            tracing::warn!(%error, "the hint of a conversation's last bucket was not written");
        }
    }

    /// The head of the conversation's last bucket as it stands.
    pub(super) async fn last_head(
        &self,
        conversation: ConversationId,
    ) -> Result<Option<(Partition, Row, HeadRecord)>, Error> {
        let head = |bucket| async move {
            let partition = layout::messages(conversation, bucket);
            let found = self.find_settled::<HeadRecord>("a head", &partition, layout::HEAD).await?;
            Ok(found.map(|(row, record)| (partition, row, record)))
        };
        let Some(mut last) = head(0).await? else { return Ok(None) };
        let mut bucket = 0;
        while last.2.next.0 > layout::last(bucket) {
            let hint = if bucket == 0 { self.last_bucket(conversation).await? } else { 0 };
            bucket = hint.max(bucket + 1);
            match head(bucket).await? {
                Some(next) => last = next,
                None => break,
            }
        }
        Ok(Some(last))
    }

    async fn last_bucket(&self, conversation: ConversationId) -> Result<u32, Error> {
        let (partition, key) = (layout::conversation(conversation), layout::LAST_BUCKET);
        let found = self.find_mark("the hint of the last bucket", &partition, key).await?;
        Ok(found.map_or(0, |(_, bucket)| bucket))
    }

    /// Where conversations stand. Most have one bucket: their heads are read in one call.
    pub(super) async fn heads_of(
        &self,
        conversations: &[ConversationId],
    ) -> Result<Vec<Option<Head>>, Error> {
        let partition = |conversation| layout::messages(conversation, 0);
        let key = record::key(layout::HEAD);
        let keys = conversations.iter().map(|conversation| (partition(*conversation), key.clone())).collect();
        let found = self.store.get_many(keys).await?;
        let mut heads = Vec::with_capacity(conversations.len());
        let mut longer = Vec::new();
        for (index, (conversation, value)) in conversations.iter().zip(found).enumerate() {
            let Some(value) = value else {
                heads.push(None);
                continue;
            };
            let head: HeadRecord = record::read("a head", &partition(*conversation), layout::HEAD, &value)?;
            if head.next.0 > layout::last(0) {
                longer.push((index, *conversation));
            }
            heads.push(head.head());
        }
        for some in longer.chunks(HEADS_AT_ONCE) {
            let last =
                try_join_all(some.iter().map(|(_, conversation)| self.last_head(*conversation))).await?;
            for ((index, _), last) in some.iter().zip(last) {
                heads[*index] = last.and_then(|(_, _, record)| record.head());
            }
        }
        Ok(heads)
    }
}
