//! What the tests of the tables share: a store in a folder, one that stops after some writes, one that lies.

use ::redb::{ReadableDatabase, ReadableTable};
use async_trait::async_trait;
use bytes::Bytes;
use godwit_conformance::TestClock;
use godwit_domain::{
    conversation::{Head, History, Interval, Kind, Member, Meta, Posting, Role},
    filter::Verdict,
    id::{ClientId, ConversationId, Rev, Seq, UserId},
    message::{Content, Message},
    revision::{Change, Revised, Revision, What},
    tables::{Append, Appended, Conversations},
    time::Ms,
    waist::{Batch, Consistency, Error, Outcome, Partition, Put, Raise, Row, Scan, Store},
};
use godwit_storage::{
    redb::{Backend, Metrics, Options},
    tables::Tables,
};
use std::sync::{
    Arc, Mutex,
    atomic::{AtomicI64, Ordering},
};

pub const NOW: Ms = Ms(1_800_000_000_000);
/// The length of a bucket, as `FORMAT.md` states it.
pub const BUCKET: u64 = 4_096;

/// Tables on a store in a folder of their own.
pub struct House {
    /// Removed with the house.
    folder: tempfile::TempDir,
    pub clock: Arc<TestClock>,
    pub store: Arc<Backend>,
    pub tables: Tables,
}

impl House {
    pub fn new() -> Self {
        let (folder, clock) = (tempfile::tempdir().unwrap(), TestClock::at(NOW));
        let store =
            Backend::open(folder.path(), &Options::default(), clock.clone(), Metrics::default()).unwrap();
        let tables = Tables::new(store.clone(), clock.clone());
        Self { folder, clock, store, tables }
    }

    /// Every row and mark of the file, in order: all that is left of what was ever written.
    pub async fn rows(self) -> Vec<(Vec<u8>, Vec<u8>)> {
        const ROWS: ::redb::TableDefinition<&[u8], &[u8]> = ::redb::TableDefinition::new("rows");
        self.store.close().await.unwrap();
        let file = ::redb::Database::open(self.folder.path().join("godwit.redb")).unwrap();
        let table = file.begin_read().unwrap().open_table(ROWS).unwrap();
        let rows = table.iter().unwrap().map(Result::unwrap);
        rows.map(|(key, value)| (key.value().to_vec(), value.value().to_vec())).collect()
    }

    /// The same tables by way of another store.
    pub fn by_way_of(&self, store: Arc<dyn Store>) -> Tables {
        Tables::new(store, self.clock.clone())
    }
}

/// A store that stops before the write that would be one too many: what a crash between two steps leaves.
/// Of a call with several rows, those before the limit are written.
pub struct Stopping {
    inner: Arc<dyn Store>,
    left: AtomicI64,
}

impl Stopping {
    pub fn after(writes: i64, inner: Arc<dyn Store>) -> Arc<Self> {
        Arc::new(Self { inner, left: AtomicI64::new(writes) })
    }

    /// Whether some write was refused.
    pub fn has_stopped(&self) -> bool {
        self.left.load(Ordering::SeqCst) < 0
    }

    fn take(&self) -> Result<(), Error> {
        match self.left.fetch_sub(1, Ordering::SeqCst) > 0 {
            true => Ok(()),
            false => Err(Error::Unavailable("stopped by the test".into())),
        }
    }
}

#[async_trait]
impl Store for Stopping {
    async fn get(&self, at: Partition, key: Bytes, how: Consistency) -> Result<Option<Bytes>, Error> {
        self.inner.get(at, key, how).await
    }

    async fn get_many(&self, keys: Vec<(Partition, Bytes)>) -> Result<Vec<Option<Bytes>>, Error> {
        self.inner.get_many(keys).await
    }

    async fn scan(&self, scan: Scan) -> Result<Vec<Row>, Error> {
        self.inner.scan(scan).await
    }

    async fn commit(&self, batches: Vec<Batch>) -> Vec<Outcome> {
        let mut outcomes = Vec::new();
        for batch in batches {
            outcomes.push(match self.take() {
                Ok(()) => self.inner.commit(vec![batch]).await.remove(0),
                Err(error) => Outcome::Refused(error),
            });
        }
        outcomes
    }

    async fn raise(&self, raises: Vec<Raise>) -> Result<(), Error> {
        for raise in raises {
            self.take()?;
            self.inner.raise(vec![raise]).await?;
        }
        Ok(())
    }

    async fn mark(&self, at: Partition, key: Bytes) -> Result<Option<(u64, Bytes)>, Error> {
        self.inner.mark(at, key).await
    }

    async fn marks(&self, at: Partition, prefix: Bytes) -> Result<Vec<(Bytes, u64, Bytes)>, Error> {
        self.inner.marks(at, prefix).await
    }

    async fn put_all(&self, rows: Vec<(Partition, Put)>) -> Result<(), Error> {
        for row in rows {
            self.take()?;
            self.inner.put_all(vec![row]).await?;
        }
        Ok(())
    }
}

/// A store that flips the last bit of every value that it reads, if told to, and remembers what it was asked to write.
pub struct Lying {
    inner: Arc<dyn Store>,
    pub lies: Mutex<bool>,
    pub reads: Mutex<usize>,
    pub commits: Mutex<Vec<Vec<Batch>>>,
    pub puts: Mutex<Vec<(Partition, Put)>>,
    pub raises: Mutex<Vec<Raise>>,
}

impl Lying {
    pub fn over(inner: Arc<dyn Store>, lies: bool) -> Arc<Self> {
        Arc::new(Self {
            inner,
            lies: Mutex::new(lies),
            reads: Mutex::default(),
            commits: Mutex::default(),
            puts: Mutex::default(),
            raises: Mutex::default(),
        })
    }

    fn flip(&self, value: Bytes) -> Bytes {
        *self.reads.lock().unwrap() += 1;
        let mut value = value.to_vec();
        if let (true, Some(last)) = (*self.lies.lock().unwrap(), value.last_mut()) {
            *last ^= 1;
        }
        value.into()
    }
}

#[async_trait]
impl Store for Lying {
    async fn get(&self, at: Partition, key: Bytes, how: Consistency) -> Result<Option<Bytes>, Error> {
        Ok(self.inner.get(at, key, how).await?.map(|value| self.flip(value)))
    }

    async fn get_many(&self, keys: Vec<(Partition, Bytes)>) -> Result<Vec<Option<Bytes>>, Error> {
        let found = self.inner.get_many(keys).await?;
        Ok(found.into_iter().map(|value| value.map(|value| self.flip(value))).collect())
    }

    async fn scan(&self, scan: Scan) -> Result<Vec<Row>, Error> {
        let rows = self.inner.scan(scan).await?;
        Ok(rows.into_iter().map(|row| Row { value: self.flip(row.value), key: row.key }).collect())
    }

    async fn commit(&self, batches: Vec<Batch>) -> Vec<Outcome> {
        self.commits.lock().unwrap().push(batches.clone());
        self.inner.commit(batches).await
    }

    async fn raise(&self, raises: Vec<Raise>) -> Result<(), Error> {
        self.raises.lock().unwrap().extend(raises.clone());
        self.inner.raise(raises).await
    }

    async fn mark(&self, at: Partition, key: Bytes) -> Result<Option<(u64, Bytes)>, Error> {
        Ok(self.inner.mark(at, key).await?.map(|(version, value)| (version, self.flip(value))))
    }

    async fn marks(&self, at: Partition, prefix: Bytes) -> Result<Vec<(Bytes, u64, Bytes)>, Error> {
        let marks = self.inner.marks(at, prefix).await?;
        Ok(marks.into_iter().map(|(key, version, value)| (key, version, self.flip(value))).collect())
    }

    async fn put_all(&self, rows: Vec<(Partition, Put)>) -> Result<(), Error> {
        self.puts.lock().unwrap().extend(rows.clone());
        self.inner.put_all(rows).await
    }
}

pub fn user(number: u128) -> UserId {
    UserId::from_u128(number)
}

pub fn member(number: u128, role: Role) -> Member {
    let interval = Interval { after_seq: Seq::ZERO, after_rev: Rev::ZERO, until: None };
    Member { user: user(number), role, joined_at: NOW, intervals: vec![interval] }
}

pub fn creation(id: ConversationId, kind: Kind, members: u128) -> Change {
    let meta = Meta {
        id,
        kind,
        title: (kind != Kind::Direct).then(|| "Crew".into()),
        avatar: None,
        open: false,
        history: History::All,
        posting: Posting::Members,
        slow_mode_s: 0,
        labels: Vec::new(),
        created_by: user(1),
        created_at: NOW,
    };
    let role = |number| if number == 1 { Role::Owner } else { Role::Member };
    let members: Vec<_> = (1..=members).map(|number| member(number, role(number))).collect();
    let joins = if kind == Kind::Direct { vec![] } else { members.iter().map(joins).collect() };
    Change { revisions: joins, meta: Some(meta), members }
}

fn joins(member: &Member) -> Revised {
    revised(1, What::Join { user: member.user, role: member.role })
}

/// A revision that is to happen, under no client id.
pub fn revised(by: u128, what: What) -> Revised {
    Revised { by: user(by), what, client_id: None }
}

/// User 1 invites members, who are in after message `at_seq`.
pub fn invitation(numbers: impl IntoIterator<Item = u128>, at_seq: Seq) -> Change {
    let interval = Interval { after_seq: at_seq, after_rev: Rev::ZERO, until: None };
    let member = |number| Member { intervals: vec![interval], ..member(number, Role::Member) };
    let members: Vec<_> = numbers.into_iter().map(member).collect();
    Change { revisions: members.iter().map(joins).collect(), meta: None, members }
}

/// A change of messages alone: who does what, in order.
pub fn revising(revisions: impl IntoIterator<Item = (u128, What)>) -> Change {
    let revisions = revisions.into_iter().map(|(by, what)| revised(by, what)).collect();
    Change { revisions, ..Change::default() }
}

pub fn edit(seq: u64, body: &str) -> What {
    What::Edit { seq: Seq(seq), body: Some(body.into()) }
}

pub fn delete(seq: u64) -> What {
    What::Delete { seq: Seq(seq) }
}

pub fn react(seq: u64, emoji: &str, on: bool, count: u32) -> What {
    What::React { seq: Seq(seq), emoji: emoji.into(), on, count }
}

/// Carries out a change that finds the head as given, ten milliseconds after what changed last.
pub async fn change(
    tables: &Tables,
    id: ConversationId,
    head: Head,
    change: &Change,
) -> (Head, Vec<Revision>) {
    tables.change(id, Some(head), change, head.revised_at.plus(10)).await.unwrap().unwrap()
}

/// A new conversation of the users 1 to `members`.
pub async fn create(tables: &Tables, number: u128, kind: Kind, members: u128) -> (ConversationId, Head) {
    let id = ConversationId::from_u128(number);
    let (head, _) = tables.change(id, None, &creation(id, kind, members), NOW).await.unwrap().unwrap();
    (id, head)
}

/// A client id made at the time of message `seq`.
pub fn client(seq: u64) -> ClientId {
    ClientId::from_u128(u128::from(NOW.0 + seq) << 80 | 7 << 76 | 2 << 62 | u128::from(seq))
}

pub fn message(conversation: ConversationId, seq: u64, body: &str) -> Message {
    Message {
        conversation,
        seq: Seq(seq),
        sender: user(u128::from(seq % 2) + 1),
        client_id: client(seq),
        sent_at: NOW.plus(seq),
        content: Content::text(body),
        via: None,
        verdict: Verdict::default(),
        revised: None,
    }
}

/// `count` messages after `head`, sent a millisecond apart.
pub fn following(conversation: ConversationId, head: Head, count: u64) -> Append {
    let first = head.last_seq.0 + 1;
    let messages = (first..first + count)
        .map(|seq| (Arc::new(message(conversation, seq, &format!("message {seq}"))), seq * 31))
        .collect();
    let changed_at = head.revised_at.max(NOW.plus(head.last_seq.0 + count));
    Append { conversation, head, changed_at, messages }
}

/// Where the conversation stands after an append.
pub fn after(append: &Append) -> Head {
    Head {
        last_seq: Seq(append.head.last_seq.0 + append.messages.len() as u64),
        changed_at: append.changed_at,
        revised_at: append.changed_at,
        ..append.head
    }
}

/// Appends until the conversation has `last` messages.
pub async fn fill(tables: &Tables, conversation: ConversationId, mut head: Head, last: u64) -> Head {
    while head.last_seq.0 < last {
        let end = tables.bucket_end(head.last_seq.next()).0.min(last);
        let append = following(conversation, head, end - head.last_seq.0);
        head = after(&append);
        assert_eq!(tables.append(vec![append]).await, [Appended::Yes]);
    }
    head
}
