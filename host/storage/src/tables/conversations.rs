//! The port [`Conversations`]: what is asked of a conversation, in terms of its streams and rows.

use super::{Tables, absent, heads::HeadRecord, layout, put_one, record, stays};
use async_trait::async_trait;
use futures_util::future::try_join_all;
use godwit_domain::{
    conversation::{Circle, Head, Kind, Link, Listed, Marks, Member, Meta, Rise, Settings, SettingsChange},
    id::{ClientId, ConversationId, Rev, Seq, UserId},
    message::{Accepted, Message},
    revision::{Change, Revision},
    tables::{Append, Appended, Clients, Conversations, Loaded},
    time::Ms,
    waist::{Error, Partition, Row},
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
        let (meta, members) =
            tokio::try_join!(self.find::<Meta>(what, &here, layout::META), self.members_in(here.clone()))?;
        let missing = || record::corrupt(what, &here, layout::META, "there is no row");
        let (_, meta) = meta.ok_or_else(missing)?;
        let members = match meta.kind {
            Kind::Direct | Kind::Group => members,
            Kind::Channel => {
                let parts = (0..layout::PARTS).map(|part| layout::channel_part(conversation, part));
                try_join_all(parts.map(|part| self.members_in(part))).await?.concat()
            }
        };
        let HeadRecord { next, last_rev, changed_at, revised_at, intent: _ } = record;
        let head = Head { last_seq: Seq(next.0 - 1), last_rev, changed_at, revised_at };
        Ok(Some(Loaded { meta, head, members }))
    }

    async fn change(
        &self,
        conversation: ConversationId,
        head: Option<Head>,
        change: &Change,
        at: Ms,
    ) -> Result<Option<(Head, Vec<Revision>)>, Error> {
        self.carry_out(conversation, head, change, at).await
    }

    async fn admit(&self, channel: ConversationId, readers: &[Member], at: Ms) -> Result<(), Error> {
        self.write_readers(channel, readers, at).await
    }

    async fn put_link(&self, conversation: ConversationId, link: &Link) -> Result<(), Error> {
        self.write_link(conversation, link).await
    }

    async fn links(&self, conversation: ConversationId) -> Result<Vec<Link>, Error> {
        self.read_links(conversation).await
    }

    async fn drop_link(&self, conversation: ConversationId, secret: Uuid) -> Result<(), Error> {
        self.remove_link(conversation, secret).await
    }

    async fn open_conversations(
        &self,
        after: Option<ConversationId>,
        limit: usize,
    ) -> Result<Vec<(ConversationId, Option<String>)>, Error> {
        self.read_open(after, limit).await
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

    async fn revised(
        &self,
        conversation: ConversationId,
        head: Head,
        by: UserId,
        client: ClientId,
        opened_before: Ms,
    ) -> Result<Option<Rev>, Error> {
        self.revised_under(conversation, head, layout::sent(by, client), opened_before).await
    }

    async fn reactions(
        &self,
        conversation: ConversationId,
        seq: Seq,
        emoji: Option<&str>,
    ) -> Result<Vec<(String, UserId)>, Error> {
        self.read_reactions(conversation, seq, emoji).await
    }

    async fn reacts(
        &self,
        conversation: ConversationId,
        user: UserId,
        asked: &[(Seq, &str)],
    ) -> Result<Vec<bool>, Error> {
        self.read_reacts(conversation, user, asked).await
    }

    async fn thread(
        &self,
        conversation: ConversationId,
        root: Seq,
        range: RangeInclusive<Seq>,
        newest_first: bool,
        limit: usize,
    ) -> Result<Vec<Seq>, Error> {
        self.read_thread(conversation, root, range, newest_first, limit).await
    }

    async fn listed(&self, user: UserId) -> Result<Vec<Listed>, Error> {
        self.read_listed(user).await
    }

    async fn present_in(&self, user: UserId) -> Result<Vec<ConversationId>, Error> {
        self.read_present_in(user).await
    }

    async fn circle(&self, conversation: ConversationId, max: usize) -> Result<Option<Circle>, Error> {
        self.read_circle(conversation, max).await
    }

    async fn note_peer_changed(&self, told: &[(UserId, ConversationId)], at: Ms) -> Result<(), Error> {
        self.raise_peer_changed(told, at).await
    }

    async fn settings(&self, asked: &[(UserId, ConversationId)]) -> Result<Vec<Settings>, Error> {
        self.read_settings(asked).await
    }

    async fn set(
        &self,
        user: UserId,
        conversation: ConversationId,
        change: &SettingsChange,
        at: Ms,
    ) -> Result<Option<Settings>, Error> {
        self.write_settings(user, conversation, change, at).await
    }

    async fn hide(&self, user: UserId, conversation: ConversationId, seq: Seq, at: Ms) -> Result<u64, Error> {
        self.write_hidden(user, conversation, seq, at).await
    }

    async fn hidden_count(&self, user: UserId, conversation: ConversationId) -> Result<u64, Error> {
        self.read_hidden_count(user, conversation).await
    }

    async fn hidden_within(
        &self,
        user: UserId,
        conversation: ConversationId,
        range: RangeInclusive<Seq>,
    ) -> Result<Vec<Seq>, Error> {
        self.read_hidden_within(user, conversation, range).await
    }

    async fn hidden(
        &self,
        user: UserId,
        conversation: ConversationId,
        after: u64,
        limit: usize,
    ) -> Result<Vec<Seq>, Error> {
        self.read_hidden(user, conversation, after, limit).await
    }

    async fn heads(&self, conversations: &[ConversationId]) -> Result<Vec<Option<Head>>, Error> {
        self.heads_of(conversations).await
    }

    async fn marks(&self, conversation: ConversationId) -> Result<Vec<(UserId, Marks)>, Error> {
        self.read_marks(conversation).await
    }

    async fn raise_marks(&self, marks: &[Rise]) -> Result<(), Error> {
        self.raise_all(marks).await
    }

    async fn change_bound(&self) -> Result<Ms, Error> {
        self.read_change_bound().await
    }

    async fn raise_change_bound(&self, bound: Ms) -> Result<(), Error> {
        self.write_change_bound(bound).await
    }
}

impl Tables {
    async fn members_in(&self, partition: Partition) -> Result<Vec<Member>, Error> {
        let rows = self.scan_all(&partition, layout::MEMBER).await?;
        let member = |row: &Row| record::read("a member", &partition, &row.key, &row.value);
        rows.iter().map(member).collect()
    }
}
