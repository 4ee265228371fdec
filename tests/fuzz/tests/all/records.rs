//! Records: what stands in the store, changed behind the tables.
//!
//! Promises: a record that was changed is corrupt. One that was changed and sealed again, so that its checksum holds,
//! is read or corrupt, and either way without a panic and in bounded memory: the decoder is reached past the seal.
//!
//! An input is the number of a row and the bytes that stand there instead.

use async_trait::async_trait;
use bytes::Bytes;
use godwit_conformance::TestClock;
use godwit_domain::{
    conversation::{Head, History, Interval, Kind, Member, Meta, Posting, Role},
    filter::Verdict,
    id::{ClientId, ConversationId, LoginId, Rev, Seq, UserId},
    message::{Content, Message},
    revision::{Change, Revised as Asked, What},
    tables::{Accounts, Append, Appended, Conversations},
    time::Ms,
    user::{Account, Privacy, User},
    waist::{Batch, Consistency, Direction, Error, Outcome, Partition, Put, Raise, Row, Scan, Space, Store},
};
use godwit_fuzz::Target;
use godwit_storage::{
    redb::{Backend, Metrics, Options},
    tables::Tables,
};
use std::{
    collections::BTreeMap,
    ops::RangeBounds,
    sync::{Arc, Mutex, OnceLock, PoisonError},
};
use tokio::runtime::Runtime;

const NOW: Ms = Ms(1_800_000_000_000);
/// Version and checksum.
const PREFIX: usize = 5;

/// A row that a read shows changed.
type Changed = Option<(Partition, Bytes, Bytes)>;

/// The store of a test, with one row that reads show changed.
struct Lying {
    store: Arc<Backend>,
    seen: Mutex<Vec<(Partition, Bytes, Bytes)>>,
    changed: Mutex<Changed>,
    /// Everything, once all is in it: read from here for speed, and a change that a record asks for is not carried out.
    rows: OnceLock<BTreeMap<(Partition, Bytes), Bytes>>,
}

impl Lying {
    fn lie(&self, partition: &Partition, key: &Bytes, value: Bytes) -> Bytes {
        match &*self.changed.lock().unwrap_or_else(PoisonError::into_inner) {
            Some((at, of, instead)) if at == partition && of == key => instead.clone(),
            _ => value,
        }
    }

    fn note(&self, partition: &Partition, row: &Row) {
        self.seen.lock().unwrap().push((partition.clone(), row.key.clone(), row.value.clone()));
    }
}

#[async_trait]
impl Store for Lying {
    async fn get(&self, at: Partition, key: Bytes, consistency: Consistency) -> Result<Option<Bytes>, Error> {
        let found = match self.rows.get() {
            Some(rows) => rows.get(&(at.clone(), key.clone())).cloned(),
            None => self.store.get(at.clone(), key.clone(), consistency).await?,
        };
        Ok(found.map(|value| self.lie(&at, &key, value)))
    }

    async fn get_many(&self, keys: Vec<(Partition, Bytes)>) -> Result<Vec<Option<Bytes>>, Error> {
        let found = self.store.get_many(keys.clone()).await?;
        let lie = |((at, key), value): ((Partition, Bytes), Option<Bytes>)| Some(self.lie(&at, &key, value?));
        Ok(keys.into_iter().zip(found).map(lie).collect())
    }

    async fn scan(&self, scan: Scan) -> Result<Vec<Row>, Error> {
        let at = scan.partition.clone();
        let rows = match self.rows.get() {
            Some(rows) => {
                let inside = |key: &Bytes| (scan.from.clone(), scan.to.clone()).contains(key);
                let rows = rows.iter().filter(|((of, key), _)| *of == at && inside(key));
                let mut rows: Vec<_> =
                    rows.map(|((_, key), value)| Row { key: key.clone(), value: value.clone() }).collect();
                if scan.direction == Direction::Backward {
                    rows.reverse();
                }
                rows.truncate(scan.limit);
                rows
            }
            None => self.store.scan(scan).await?,
        };
        let lie = |row: Row| Row { value: self.lie(&at, &row.key, row.value), key: row.key };
        Ok(rows.into_iter().map(lie).collect())
    }

    async fn commit(&self, batches: Vec<Batch>) -> Vec<Outcome> {
        if self.rows.get().is_some() {
            let refused = Outcome::Refused(Error::Unavailable("only reads from here on".into()));
            return vec![refused; batches.len()];
        }
        for batch in &batches {
            batch.puts.iter().for_each(|put| self.note(&batch.partition, &put.row));
        }
        self.store.commit(batches).await
    }

    async fn raise(&self, raises: Vec<Raise>) -> Result<(), Error> {
        self.store.raise(raises).await
    }

    async fn mark(&self, at: Partition, key: Bytes) -> Result<Option<(u64, Bytes)>, Error> {
        self.store.mark(at, key).await
    }

    async fn marks(&self, at: Partition, prefix: Bytes) -> Result<Vec<(Bytes, u64, Bytes)>, Error> {
        self.store.marks(at, prefix).await
    }

    async fn put_all(&self, rows: Vec<(Partition, Put)>) -> Result<(), Error> {
        rows.iter().for_each(|(at, put)| self.note(at, &put.row));
        self.store.put_all(rows).await
    }
}

pub struct Records {
    runtime: Runtime,
    store: Arc<Lying>,
    tables: Tables,
    rows: Vec<(Partition, Bytes, Bytes)>,
    /// What is read where nothing was changed.
    whole: Vec<Result<String, Error>>,
    _folder: tempfile::TempDir,
}

fn user(number: u128) -> UserId {
    UserId::from_u128(number)
}

fn conversation() -> ConversationId {
    ConversationId::from_u128(7)
}

impl Records {
    pub fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let (folder, clock) = (tempfile::tempdir().unwrap(), TestClock::at(NOW));
        let store =
            Backend::open(folder.path(), &Options::default(), clock.clone(), Metrics::default()).unwrap();
        let store = Arc::new(Lying {
            store,
            seen: Mutex::default(),
            changed: Mutex::default(),
            rows: OnceLock::new(),
        });
        let tables = Tables::new(store.clone(), clock);
        runtime.block_on(fill(&tables));
        let mut rows = std::mem::take(&mut *store.seen.lock().unwrap());
        // The last value of each row is the one that stands.
        rows.reverse();
        let mut seen = std::collections::HashSet::new();
        rows.retain(|(at, key, _)| seen.insert((at.clone(), key.clone())));
        let all = rows.iter().map(|(at, key, value)| ((at.clone(), key.clone()), value.clone()));
        store.rows.set(all.collect()).unwrap();
        let mut records = Self { runtime, store, tables, rows, whole: Vec::new(), _folder: folder };
        records.whole = records.runtime.block_on(records.read_all());
        assert!(records.whole.iter().all(Result::is_ok), "{:?}", records.whole);
        records
    }

    /// Everything that reads a record.
    async fn read_all(&self) -> Vec<Result<String, Error>> {
        let head = Head { last_seq: Seq(3), last_rev: Rev(3), changed_at: NOW, revised_at: NOW };
        let show = |result: Result<String, Error>| result;
        vec![
            show(self.tables.load(conversation()).await.map(|found| format!("{found:?}"))),
            show(
                self.tables
                    .messages(conversation(), Seq(1)..=Seq(3), true, 1 << 20)
                    .await
                    .map(|found| format!("{found:?}")),
            ),
            show(
                self.tables
                    .revisions(conversation(), Rev(1)..=Rev(3))
                    .await
                    .map(|found| format!("{found:?}")),
            ),
            show(
                self.tables.recent_clients(conversation(), head, NOW).await.map(|found| format!("{found:?}")),
            ),
            show(self.tables.account(user(1)).await.map(|found| format!("{found:?}"))),
            show(self.tables.account_by_name("ada").await.map(|found| format!("{found:?}"))),
            show(self.tables.login(LoginId::from_u128(1)).await.map(|found| format!("{found:?}"))),
            show(self.tables.epoch().await),
        ]
    }
}

async fn fill(tables: &Tables) {
    let ada = User {
        id: user(1),
        name: "ada".into(),
        display_name: Some("Ada".into()),
        bot: false,
        time_zone: None,
        joined_at: NOW,
        avatar: None,
        privacy: Privacy::default(),
    };
    let account =
        Account { user: ada, password_hash: Some("hash".into()), disabled: false, token_version: 3 };
    let _ = tables.create_account(&account).await.unwrap();
    let _ = tables.epoch().await.unwrap();
    let member = |number| Member {
        user: user(number),
        role: Role::Member,
        joined_at: NOW,
        intervals: vec![Interval { after_seq: Seq::ZERO, after_rev: Rev::ZERO, until: None }],
    };
    let meta = Meta {
        id: conversation(),
        kind: Kind::Group,
        title: Some("team".into()),
        avatar: None,
        open: false,
        history: History::All,
        posting: Posting::Members,
        slow_mode_s: 0,
        labels: Vec::new(),
        created_by: user(1),
        created_at: NOW,
    };
    let asked = |what| Asked { by: user(1), what, client_id: Some(ClientId::from_u128(9)) };
    let join = |number| asked(What::Join { user: user(number), role: Role::Member });
    let members = vec![member(1), member(2)];
    let change = Change { revisions: vec![join(1), join(2)], meta: Some(meta), members };
    let (head, _) = tables.change(conversation(), None, &change, NOW).await.unwrap().unwrap();
    let message = |number: u64| {
        let message = Message {
            conversation: conversation(),
            seq: Seq(number),
            sender: user(1),
            client_id: ClientId::from_u128(u128::from(number)),
            sent_at: NOW,
            content: Content::text("a body of some length, so that there is something to cut"),
            via: Some("plugin".into()),
            verdict: Verdict::default(),
            revised: None,
        };
        (Arc::new(message), number)
    };
    let messages = (1..=3).map(message).collect();
    let appended =
        tables.append(vec![Append { conversation: conversation(), head, changed_at: NOW, messages }]).await;
    assert!(matches!(appended[..], [Appended::Yes]));
    let seq = Seq(2);
    let react = asked(What::React { seq, emoji: "+1".into(), on: true, count: 1 });
    let change = Change { revisions: vec![react], ..Change::default() };
    let head = Head { last_seq: Seq(3), ..head };
    assert!(tables.change(conversation(), Some(head), &change, NOW).await.unwrap().is_some());
}

/// As the format says: the checksum covers where the record stands, too.
fn seal(partition: &Partition, key: &[u8], record: &mut [u8]) {
    if record.len() < PREFIX {
        return;
    }
    let space = match partition.space {
        Space::Log => 1,
        Space::State => 2,
        Space::Ephemeral => 3,
    };
    let mut place = vec![record[0], space, partition.name.len() as u8];
    place.extend_from_slice(&(key.len() as u16).to_be_bytes());
    place.extend_from_slice(&partition.name);
    place.extend_from_slice(key);
    let sum = crc32c::crc32c_append(crc32c::crc32c(&place), &record[PREFIX..]);
    record[1..PREFIX].copy_from_slice(&sum.to_le_bytes());
}

impl Target for Records {
    const NAME: &'static str = "records";

    fn valid(&self) -> Vec<Vec<u8>> {
        let input = |(number, (_, _, value)): (usize, &(Partition, Bytes, Bytes))| {
            [&[number as u8][..], value].concat()
        };
        self.rows.iter().enumerate().map(input).collect()
    }

    fn check(&self, input: &[u8]) {
        let Some((number, record)) = input.split_first() else { return };
        let (partition, key, _) = &self.rows[usize::from(*number) % self.rows.len()];
        let show = |record: &[u8]| {
            let changed = (partition.clone(), key.clone(), Bytes::copy_from_slice(record));
            *self.store.changed.lock().unwrap_or_else(PoisonError::into_inner) = Some(changed);
            self.runtime.block_on(self.read_all())
        };
        for (as_it_was, now) in self.whole.iter().zip(show(record)) {
            match now {
                Ok(_) => assert_eq!(now, *as_it_was, "a record that was changed is never taken for another"),
                Err(Error::Corrupt(why)) => assert!(why.len() > 10, "it says what is corrupt: {why}"),
                Err(error) => panic!("{error}"),
            }
        }
        let mut sealed = record.to_vec();
        seal(partition, key, &mut sealed);
        show(&sealed);
    }
}
