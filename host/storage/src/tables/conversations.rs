//! The port [`Conversations`]: what is asked of a conversation, in terms of its streams and rows.

use super::{Tables, absent, layout, messages::HeadRecord, put_one, record, stays};
use async_trait::async_trait;
use bytes::Bytes;
use godwit_domain::{
    conversation::{Change, Head, Listed, Marks, Meta, Revision},
    id::{ClientId, ConversationId, Rev, Seq, UserId},
    message::{Accepted, Message},
    tables::{Append, Appended, Clients, Conversations, Loaded},
    time::Ms,
    waist::{Error, Row},
};
use std::ops::RangeInclusive;
use uuid::Uuid;

#[async_trait]
impl Conversations for Tables {
    async fn epoch(&self) -> Result<String, Error> {
        let partition = layout::epoch();
        loop {
            if let Some((_, epoch)) = self.find::<Uuid>("the epoch", &partition, layout::ONE).await? {
                return Ok(epoch.to_string());
            }
            // Of two who find none, one names it, and the other reads that.
            let row = stays(&partition, layout::ONE, &Uuid::new_v4())?;
            let _ = self.write(put_one(partition.clone(), absent(layout::ONE), row)).await?;
        }
    }

    async fn load(&self, conversation: ConversationId) -> Result<Option<Loaded>, Error> {
        let Some((partition, row, record)) = self.last_head(conversation).await? else { return Ok(None) };
        let record = self.finish(conversation, partition, row, &record).await?;
        let here = layout::conversation(conversation);
        let what = "the meta of a conversation";
        let (meta, members) = tokio::try_join!(
            self.find::<Meta>(what, &here, layout::META),
            self.scan_all(&here, layout::MEMBER)
        )?;
        let missing = || record::corrupt(what, &here, layout::META, "there is no row");
        let (_, meta) = meta.ok_or_else(missing)?;
        let member = |row: &Row| record::read("a member", &here, &row.key, &row.value);
        let members = members.iter().map(member).collect::<Result<_, _>>()?;
        let HeadRecord { next, members_rev, changed_at, intent: _ } = record;
        let head = Head { last_seq: Seq(next.0 - 1), last_rev: members_rev, changed_at };
        Ok(Some(Loaded { meta, head, members }))
    }

    async fn change(
        &self,
        conversation: ConversationId,
        head: Option<Head>,
        change: &Change,
        at: Ms,
    ) -> Result<Option<(Head, Vec<Revision>)>, Error> {
        self.change_members(conversation, head, change, at).await
    }

    async fn append(&self, appends: Vec<Append>) -> Vec<Appended> {
        self.append_all(appends).await
    }

    fn bucket_end(&self, seq: Seq) -> Seq {
        Seq(layout::last(layout::bucket(seq.0)))
    }

    async fn recent_clients(
        &self,
        conversation: ConversationId,
        head: Head,
        opened_before: Ms,
    ) -> Result<Vec<Clients>, Error> {
        self.clients(conversation, head, opened_before).await
    }

    async fn accepted(
        &self,
        conversation: ConversationId,
        head: Head,
        sender: UserId,
        client: ClientId,
        opened_before: Ms,
    ) -> Result<Option<Accepted>, Error> {
        self.answer(conversation, head, layout::sent(sender, client), opened_before).await
    }

    async fn messages(
        &self,
        conversation: ConversationId,
        range: RangeInclusive<Seq>,
        newest_first: bool,
        bytes_max: usize,
    ) -> Result<Vec<Message>, Error> {
        self.read_messages(conversation, range, newest_first, bytes_max).await
    }

    async fn revisions(
        &self,
        conversation: ConversationId,
        range: RangeInclusive<Rev>,
    ) -> Result<Vec<Revision>, Error> {
        self.read_revisions(conversation, range).await
    }

    async fn first_sent_since(
        &self,
        conversation: ConversationId,
        last_seq: Seq,
        at: Ms,
    ) -> Result<Seq, Error> {
        self.first_since(conversation, last_seq, at).await
    }

    async fn listed(&self, user: UserId) -> Result<Vec<Listed>, Error> {
        let partition = layout::user(user);
        let what = "a row of a user's list";
        let read = |row: &Row| {
            let wrong = || record::corrupt(what, &partition, &row.key, "the key names no conversation");
            let conversation = layout::split_listed(&row.key).ok_or_else(wrong)?;
            let joined_at = record::read(what, &partition, &row.key, &row.value)?;
            Ok(Listed { conversation, joined_at })
        };
        self.scan_all(&partition, layout::LISTED).await?.iter().map(read).collect()
    }

    async fn heads(&self, conversations: &[ConversationId]) -> Result<Vec<Option<Head>>, Error> {
        self.heads_of(conversations).await
    }

    async fn marks(&self, conversation: ConversationId) -> Result<Vec<(UserId, Marks)>, Error> {
        let here = layout::conversation(conversation);
        let stored = self.store.marks(here.clone(), Bytes::from_static(&[layout::MARKS])).await?;
        let mut all: Vec<(UserId, Marks)> = Vec::new();
        for (key, _, value) in stored {
            let wrong = || record::corrupt("a mark", &here, &key, "the key is none of a mark");
            let (user, which) = layout::split_mark(&key).ok_or_else(wrong)?;
            let seq: Seq = record::read("a mark", &here, &key, &value)?;
            // Both marks of a user stand together.
            if all.last().is_none_or(|(last, _)| *last != user) {
                all.push((user, Marks::default()));
            }
            let Some((_, marks)) = all.last_mut() else { continue };
            match which {
                layout::RECEIVED => marks.received = seq,
                layout::READ => marks.read = seq,
                _ => return Err(wrong()),
            }
        }
        Ok(all)
    }

    async fn raise_marks(&self, marks: &[(ConversationId, UserId, Marks)]) -> Result<(), Error> {
        self.raise_all(marks).await
    }
}
