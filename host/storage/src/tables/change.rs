//! Changes: what spans partitions, carried out so that a crash between any two steps is repaired.
//!
//! 1. The whole change becomes an intent in the head of the conversation's last bucket: the one conditional step.
//! 2. Revisions, the messages and reactions that they are about, meta, members, the users' lists and marks are written;
//!    each may be repeated.
//! 3. The intent is taken out of the head, and with it the texts of edits, which then stand in the messages alone.
//!
//! Whoever finds an intent carries out steps 2 and 3. Numbers and contents are fixed by the intent, so that two who do
//! it at the same time write the same. What cannot be carried out is refused before step 1: an intent that cannot be
//! finished would stop its conversation for good.

use super::{
    Tables,
    heads::{HeadRecord, Place},
    layout,
    marks::ListedRecord,
    put_one, record, stays,
};
use godwit_domain::{
    conversation::{Head, Kind, Marks, Member, Meta, Rise},
    id::{ConversationId, Rev, Seq},
    revision::{Change, Revised, Revision, What},
    time::Ms,
    waist::{Batch, Check, Direction, Error, Outcome, Partition, Put, Row, VALUE_BYTES_MAX},
};
use serde::{Deserialize, Serialize};
use std::ops::Bound;

/// The largest text of an edit in bytes: the row of its message has room for it and for all else that it says.
const BODY_BYTES_MAX: usize = VALUE_BYTES_MAX / 2;

/// A change that has been decided and not yet been carried out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Intent {
    /// The last revision before it.
    pub(super) before_rev: Rev,
    /// After which message it stands.
    pub(super) at_seq: Seq,
    /// When.
    pub(super) at: Ms,
    /// Whether the conversation begins with it.
    pub(super) creates: bool,
    /// What.
    change: Change,
}

impl Intent {
    /// Its revisions with their numbers, in order.
    pub(super) fn numbered(&self) -> impl Iterator<Item = (Rev, &Revised)> {
        (self.before_rev.0 + 1..).map(Rev).zip(&self.change.revisions)
    }

    /// One of its revisions as it happened.
    pub(super) fn revision(&self, rev: Rev, by: &Revised, what: What) -> Revision {
        Revision { rev, at_seq: self.at_seq, by: by.by, at: self.at, what }
    }
}

impl Tables {
    /// Carries out a change; `None` where the head is not as given.
    pub(super) async fn carry_out(
        &self,
        conversation: ConversationId,
        head: Option<Head>,
        change: &Change,
        at: Ms,
    ) -> Result<Option<(Head, Vec<Revision>)>, Error> {
        check(conversation, head, change)?;
        let before = head.unwrap_or_default();
        let at = at.max(before.changed_at).max(before.revised_at);
        let intent = Intent {
            before_rev: before.last_rev,
            at_seq: before.last_seq,
            at,
            creates: head.is_none(),
            change: change.clone(),
        };
        let revisions: Vec<_> =
            intent.numbered().map(|(rev, made)| intent.revision(rev, made, made.what.clone())).collect();
        let after = Head {
            last_seq: before.last_seq,
            last_rev: Rev(before.last_rev.0 + revisions.len() as u64),
            changed_at: if change.moves() { at } else { before.changed_at },
            revised_at: at,
        };
        let record = HeadRecord { intent: Some(intent), ..HeadRecord::of(after) };
        let place = Place::of(conversation, before)?;
        self.announce(conversation, change, at).await?;
        let Some(row) = self.open_intent(&place, head.is_none(), &record, at).await? else { return Ok(None) };
        if place.may_be_new {
            self.hint(&[(conversation, place.bucket)]).await;
        }
        self.finish(conversation, place.partition, row, &record).await?;
        Ok(Some((after, revisions)))
    }

    /// Lists the conversation with whoever comes in, before that is decided: a device that resumes after a crash finds it
    /// there and has it loaded, which finishes the change. Where nothing was decided, nothing is there to be seen.
    async fn announce(&self, conversation: ConversationId, change: &Change, at: Ms) -> Result<(), Error> {
        let coming = change.members.iter().filter(|member| member.present());
        let rows = coming.map(|member| Self::listing_row(conversation, member, at));
        let rows = rows.collect::<Result<Vec<_>, Error>>()?;
        if rows.is_empty() { Ok(()) } else { self.store.put_all(rows).await }
    }

    fn listing_row(conversation: ConversationId, member: &Member, at: Ms) -> Result<(Partition, Put), Error> {
        let user = layout::user(member.user);
        let listed = ListedRecord { present: member.present(), changed_at: at };
        let put = stays(&user, &layout::listed(conversation), &listed)?;
        Ok((user, put))
    }

    fn member_row(
        conversation: ConversationId,
        is_channel: bool,
        member: &Member,
    ) -> Result<(Partition, Put), Error> {
        let partition = layout::members(conversation, is_channel, member.user);
        let put = stays(&partition, &layout::member(member.user), member)?;
        Ok((partition, put))
    }

    async fn is_channel(&self, conversation: ConversationId) -> Result<bool, Error> {
        let here = layout::conversation(conversation);
        let found = self.find::<Meta>("the meta of a conversation", &here, layout::META).await?;
        Ok(found.is_some_and(|(_, meta)| meta.kind == Kind::Channel))
    }

    /// Lets readers of a channel in or out, as [`godwit_domain::tables::Conversations::admit`] says. Who comes is listed
    /// first and who goes last, so that the list of a user names every channel in which they are.
    pub(super) async fn write_readers(
        &self,
        channel: ConversationId,
        readers: &[Member],
        at: Ms,
    ) -> Result<(), Error> {
        let listings = |present: bool| {
            let those = readers.iter().filter(move |reader| reader.present() == present);
            those.map(|reader| Self::listing_row(channel, reader, at)).collect::<Result<Vec<_>, Error>>()
        };
        let members = readers.iter().map(|reader| Self::member_row(channel, true, reader));
        let members = members.collect::<Result<Vec<_>, Error>>()?;
        let marks: Vec<_> = readers.iter().filter_map(|reader| beginning(channel, reader, at)).collect();
        for rows in [listings(true)?, members, listings(false)?] {
            if !rows.is_empty() {
                self.store.put_all(rows).await?;
            }
        }
        self.raise_all(&marks).await
    }

    /// Lists a conversation with those that anyone may join, or no longer.
    async fn write_open(&self, meta: &Meta) -> Result<(), Error> {
        let partition = layout::open_conversations();
        let key = record::key(meta.id.as_bytes());
        let (puts, deletes) = match meta.open {
            true => (vec![stays(&partition, &key, &meta.title)?], vec![]),
            false => (vec![], vec![key]),
        };
        let _ = self.write(Batch { partition, checks: vec![], puts, deletes }).await?;
        Ok(())
    }

    /// The conversations that anyone may join.
    pub(super) async fn read_open(
        &self,
        after: Option<ConversationId>,
        limit: usize,
    ) -> Result<Vec<(ConversationId, Option<String>)>, Error> {
        let partition = layout::open_conversations();
        let from = after.map_or(Bound::Unbounded, |after| Bound::Excluded(record::key(after.as_bytes())));
        let rows = self.scan_range(&partition, (from, Bound::Unbounded), Direction::Forward, limit).await?;
        let read = |row: &Row| {
            let wrong = |_| record::corrupt("an open conversation", &partition, &row.key, "the key is no id");
            let id = <[u8; 16]>::try_from(&row.key[..]).map_err(wrong)?;
            let title = record::read("an open conversation", &partition, &row.key, &row.value)?;
            Ok((ConversationId::from_u128(u128::from_be_bytes(id)), title))
        };
        rows.iter().map(read).collect()
    }

    /// Writes the head with the intent in it; `None` where something else stands there.
    async fn open_intent(
        &self,
        place: &Place,
        creates: bool,
        record: &HeadRecord,
        at: Ms,
    ) -> Result<Option<Row>, Error> {
        let row = record::row(&place.partition, layout::HEAD, record)?;
        if row.value.len() > VALUE_BYTES_MAX {
            return Err(Error::Invalid(format!(
                "a change of {} bytes; one may have up to {VALUE_BYTES_MAX}",
                row.value.len()
            )));
        }
        let mut new = creates || place.may_be_new;
        loop {
            let mut batch = put_one(
                place.partition.clone(),
                place.check(new),
                Put { row: row.clone(), expires_at: None },
            );
            if new {
                batch.puts.push(stays(&place.partition, layout::OPENED, &at)?);
            }
            match self.commit(batch).await {
                Outcome::Applied => return Ok(Some(row)),
                Outcome::Conflict(rows) if new && place.is_open(&rows) => new = false,
                Outcome::Conflict(_) => return Ok(None),
                Outcome::Unknown(why) => {
                    return Err(Error::Unavailable(format!("the outcome of a change is unknown: {why}")));
                }
                Outcome::Refused(error) => return Err(error),
            }
        }
    }

    /// Carries out what the head in `row` intends, and returns the head without it.
    pub(super) async fn finish(
        &self,
        conversation: ConversationId,
        partition: Partition,
        row: Row,
        record: &HeadRecord,
    ) -> Result<HeadRecord, Error> {
        let done = HeadRecord { intent: None, ..record.clone() };
        let Some(intent) = &record.intent else { return Ok(done) };
        tokio::try_join!(
            self.write_revisions(conversation, intent),
            self.write_effects(conversation, intent),
            self.write_members(conversation, intent),
        )?;
        let batch = put_one(partition.clone(), Check::Equals(row), stays(&partition, layout::HEAD, &done)?);
        // A conflict says that somebody else has finished it.
        let _ = self.write(batch).await?;
        Ok(done)
    }

    /// Meta and members, their rows in the users' lists, and where the marks of those who came begin.
    async fn write_members(&self, conversation: ConversationId, intent: &Intent) -> Result<(), Error> {
        let Change { meta, members, .. } = &intent.change;
        let here = layout::conversation(conversation);
        let mut puts = Vec::with_capacity(2 + 2 * members.len());
        if let Some(meta) = meta {
            puts.push((here.clone(), stays(&here, layout::META, meta)?));
            self.write_open(meta).await?;
        }
        let is_channel = match meta {
            _ if members.is_empty() => false,
            Some(meta) => meta.kind == Kind::Channel,
            None => self.is_channel(conversation).await?,
        };
        let mut marks = Vec::with_capacity(members.len());
        for member in members {
            puts.push(Self::member_row(conversation, is_channel, member)?);
            puts.push(Self::listing_row(conversation, member, intent.at)?);
            marks.extend(beginning(conversation, member, intent.at));
        }
        if !puts.is_empty() {
            tokio::try_join!(self.store.put_all(puts), self.raise_all(&marks))?;
        }
        Ok(())
    }
}

/// Where the marks of a member begin who is in.
fn beginning(conversation: ConversationId, member: &Member, at: Ms) -> Option<Rise> {
    let open = member.intervals.last().filter(|interval| interval.until.is_none())?;
    let to = Marks { received: open.after_seq, read: open.after_seq };
    Some(Rise { conversation, user: member.user, peer: None, to, at })
}

/// Whether a change can be carried out.
fn check(conversation: ConversationId, head: Option<Head>, change: &Change) -> Result<(), Error> {
    let invalid = |why: String| Err(Error::Invalid(format!("a change of {conversation} with {why}")));
    if head.is_none() && change.meta.is_none() {
        return invalid("neither a head nor a meta: a conversation begins with its meta".into());
    }
    if let Some(meta) = change.meta.as_ref().filter(|meta| meta.id != conversation) {
        return invalid(format!("the meta of {}", meta.id));
    }
    let last_seq = head.map_or(Seq::ZERO, |head| head.last_seq);
    for revised in &change.revisions {
        if let Some(seq) = revised.what.message().filter(|seq| *seq == Seq::ZERO || *seq > last_seq) {
            return invalid(format!("a revision of message {seq}; there are the messages 1 to {last_seq}"));
        }
        match &revised.what {
            What::Edit { seq, body: None } => return invalid(format!("an edit of {seq} that has no text")),
            What::Edit { seq, body: Some(body) } if body.len() > BODY_BYTES_MAX => {
                let bytes = body.len();
                return invalid(format!(
                    "a text of {bytes} bytes for {seq}, up to {BODY_BYTES_MAX} are kept"
                ));
            }
            What::Reacts { reacted, .. }
                if reacted.iter().any(|one| one.emoji.len() > layout::EMOJI_BYTES_MAX) =>
            {
                return invalid(format!("an emoji of more than {} bytes", layout::EMOJI_BYTES_MAX));
            }
            What::React { emoji, .. } if emoji.len() > layout::EMOJI_BYTES_MAX => {
                let (bytes, max) = (emoji.len(), layout::EMOJI_BYTES_MAX);
                return invalid(format!("an emoji of {bytes} bytes, up to {max} are kept"));
            }
            _ => {}
        }
    }
    Ok(())
}
