//! Changes of membership: what spans partitions, carried out so that a crash between any two steps is repaired.
//!
//! 1. The whole change becomes an intent in the head of the conversation's last bucket: the one conditional step.
//! 2. Revisions, meta, members, the users' lists and marks are written; each may be repeated.
//! 3. The intent is taken out of the head.
//!
//! Whoever finds an intent carries out steps 2 and 3. Numbers and contents are fixed by the intent, so that two who do
//! it at the same time write the same.

use super::{
    Tables, absent, layout,
    messages::{HeadRecord, Place},
    put_one,
    record::{self, Rows},
    stays,
};
use godwit_domain::{
    conversation::{Change, Head, Kind, Marks, Member, Revision, RevisionKind},
    id::{ConversationId, Rev, Seq, UserId},
    tables::Written,
    time::Ms,
    waist::{Batch, Check, Consistency, Direction, Error, Outcome, Partition, Put, Raise, Row, Scan},
};
use serde::{Deserialize, Serialize};
use std::ops::{Bound, RangeInclusive};

/// A change that has been decided and not yet been carried out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Intent {
    /// The last revision before it.
    pub(super) before_rev: Rev,
    /// After which message it stands.
    at_seq: Seq,
    /// When.
    at: Ms,
    /// What.
    change: Change,
}

/// The head of a bucket of revisions.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct RevisionsHead {
    /// The number that the next revision gets.
    next: Rev,
    /// When the bucket was opened.
    opened_at: Ms,
}

impl Intent {
    /// Whether the conversation begins with it.
    pub(super) fn creates(&self) -> bool {
        matches!(self.change, Change::Create { .. })
    }

    /// The revisions that it makes, in order.
    fn revisions(&self) -> Vec<Revision> {
        let (by, members) = match &self.change {
            Change::Create { meta, .. } if meta.kind == Kind::Direct => return Vec::new(),
            Change::Create { meta, members } => (meta.created_by, members),
            Change::Invite { by, members, .. } => (*by, members),
        };
        let join = |(member, rev): (&Member, u64)| Revision {
            rev: Rev(rev),
            at_seq: self.at_seq,
            by,
            at: self.at,
            what: RevisionKind::Join { user: member.user, role: member.role },
        };
        members.iter().zip(self.before_rev.0 + 1..).map(join).collect()
    }
}

impl Tables {
    /// Carries out a change; `None` where the head is not as given.
    pub(super) async fn change_members(
        &self,
        conversation: ConversationId,
        head: Option<Head>,
        change: &Change,
        at: Ms,
    ) -> Result<Option<(Head, Vec<Revision>)>, Error> {
        let before = head.unwrap_or_default();
        let at = at.max(before.changed_at);
        let intent =
            Intent { before_rev: before.last_rev, at_seq: before.last_seq, at, change: change.clone() };
        if intent.creates() != head.is_none() {
            return Err(Error::Invalid(format!(
                "a creation has no head, and an invitation has one: {conversation}"
            )));
        }
        let revisions = intent.revisions();
        let after =
            Head { last_rev: Rev(before.last_rev.0 + revisions.len() as u64), changed_at: at, ..before };
        let record = HeadRecord { intent: Some(intent), ..HeadRecord::of(after) };
        let place = Place::of(conversation, before)?;
        let Some(row) = self.open_intent(&place, head.is_none(), &record, at).await? else { return Ok(None) };
        if place.may_be_new {
            self.hint(&[(conversation, place.bucket)]).await;
        }
        self.finish(conversation, place.partition, row, &record).await?;
        Ok(Some((after, revisions)))
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
            self.write_revisions(conversation, intent.revisions()),
            self.write_members(conversation, &intent.change),
        )?;
        let batch = put_one(partition.clone(), Check::Equals(row), stays(&partition, layout::HEAD, &done)?);
        // A conflict says that somebody else has finished it.
        let _ = self.write(batch).await?;
        Ok(done)
    }

    async fn write_members(&self, conversation: ConversationId, change: &Change) -> Result<(), Error> {
        let here = layout::conversation(conversation);
        let (meta, members, at_seq) = match change {
            Change::Create { meta, members } => (Some(meta), members, Seq::ZERO),
            Change::Invite { members, at_seq, .. } => (None, members, *at_seq),
        };
        let mut puts = Vec::with_capacity(1 + 2 * members.len());
        if let Some(meta) = meta {
            puts.push((here.clone(), stays(&here, layout::META, meta)?));
        }
        for member in members {
            let user = layout::user(member.user);
            puts.push((here.clone(), stays(&here, &layout::member(member.user), member)?));
            let listed = stays(&user, &layout::listed(conversation), &member.joined_at)?;
            puts.push((user, listed));
        }
        let begin = |member: &Member| (conversation, member.user, Marks { received: at_seq, read: at_seq });
        let marks: Vec<_> = members.iter().map(begin).collect();
        tokio::try_join!(self.store.put_all(puts), self.raise_all(&marks))?;
        Ok(())
    }

    /// Writes revisions whose numbers are fixed: those that stand already are passed over.
    async fn write_revisions(
        &self,
        conversation: ConversationId,
        revisions: Vec<Revision>,
    ) -> Result<(), Error> {
        for chunk in revisions.chunk_by(|a, b| layout::bucket(a.rev.0) == layout::bucket(b.rev.0)) {
            while !self.append_revisions(conversation, chunk).await? {}
        }
        Ok(())
    }

    /// One attempt for the revisions of one bucket; false where another writer came between.
    async fn append_revisions(
        &self,
        conversation: ConversationId,
        chunk: &[Revision],
    ) -> Result<bool, Error> {
        let (Some(first), Some(last)) = (chunk.first(), chunk.last()) else { return Ok(true) };
        let partition = layout::revisions(conversation, layout::bucket(first.rev.0));
        let what = "the head of revisions";
        let found = self.find::<RevisionsHead>(what, &partition, layout::HEAD).await?;
        let (check, next, opened_at) = match found {
            Some((row, head)) => (Check::Equals(row), head.next, head.opened_at),
            None => (absent(layout::HEAD), Rev(layout::first(layout::bucket(first.rev.0))), first.at),
        };
        if next > last.rev {
            return Ok(true);
        }
        if next != first.rev {
            let why = format!("the next revision is {next}, and {} is to follow", first.rev);
            return Err(record::corrupt(what, &partition, layout::HEAD, &why));
        }
        let mut rows = Rows::new(partition.clone(), 128 * (chunk.len() + 1));
        let mut puts = Vec::with_capacity(chunk.len() + 1);
        for revision in chunk {
            puts.push(rows.put(&layout::entry(revision.rev.0), revision)?);
        }
        puts.push(rows.put(layout::HEAD, &RevisionsHead { next: last.rev.next(), opened_at })?);
        let written = self.write(Batch { partition, checks: vec![check], puts, deletes: vec![] }).await?;
        Ok(written == Written::Yes)
    }

    /// The revisions of a range, ascending.
    pub(super) async fn read_revisions(
        &self,
        conversation: ConversationId,
        range: RangeInclusive<Rev>,
    ) -> Result<Vec<Revision>, Error> {
        let (mut from, to) = (range.start().0.max(1), range.end().0);
        let mut revisions = Vec::new();
        while from <= to {
            let bucket = layout::bucket(from);
            let partition = layout::revisions(conversation, bucket);
            let end = to.min(layout::last(bucket));
            let scan = Scan {
                partition: partition.clone(),
                from: Bound::Included(record::key(&layout::entry(from))),
                to: Bound::Included(record::key(&layout::entry(end))),
                direction: Direction::Forward,
                limit: layout::BUCKET as usize,
                consistency: Consistency::Committed,
            };
            for row in self.store.scan(scan).await? {
                revisions.push(record::read("a revision", &partition, &row.key, &row.value)?);
            }
            from = end + 1;
        }
        Ok(revisions)
    }

    /// Raises marks: those in the conversations first, the users' own last, so that what a user sees as marked is
    /// marked everywhere.
    pub(super) async fn raise_all(&self, marks: &[(ConversationId, UserId, Marks)]) -> Result<(), Error> {
        let mut copies = Vec::with_capacity(2 * marks.len());
        let mut own = Vec::with_capacity(2 * marks.len());
        for (conversation, user, marks) in marks {
            let (here, theirs) = (layout::conversation(*conversation), layout::user(*user));
            for (which, seq) in [(layout::RECEIVED, marks.received), (layout::READ, marks.read)] {
                // Nothing is marked before the first message.
                if seq == Seq::ZERO {
                    continue;
                }
                copies.push(raise(&here, &layout::mark(user.as_bytes(), which), seq)?);
                own.push(raise(&theirs, &layout::mark(conversation.as_bytes(), which), seq)?);
            }
        }
        if !copies.is_empty() {
            self.store.raise(copies).await?;
            self.store.raise(own).await?;
        }
        Ok(())
    }
}

fn raise(partition: &Partition, key: &[u8], seq: Seq) -> Result<Raise, Error> {
    let row = record::row(partition, key, &seq)?;
    Ok(Raise { partition: partition.clone(), key: row.key, version: seq.0, value: row.value })
}
