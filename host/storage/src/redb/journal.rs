//! The journal: what was acknowledged since the file was last made durable.
//!
//! It owns a second file that is only ever appended to and begun anew. A group's changes go there in one record, one
//! write and one sync; the file itself takes them in memory, and makes them durable later and all at once, at a
//! checkpoint. After a crash the records since the last checkpoint are read back. It refuses to know what the changes
//! mean, and which tree they are made in.
//!
//! A record says what stands under each key from then on, so that reading one back twice changes nothing. Records have
//! dense numbers that no store uses twice, and each is synced before the next is written: the first that is not whole
//! is the one that was under way, unless a later one is there, which says that something was damaged.
//!
//! Start with [`Record`] and [`Journal::append`], then [`Journal::replay`]. The bytes are drawn in `FORMAT.md`.

use super::disk::Disk;
use ::redb::StorageBackend;
use godwit_domain::waist::Error;
use std::{io, sync::Arc, time::Instant};
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Records begin where a disk's sectors do: a torn write leaves the sectors of other records alone.
const SECTOR: usize = 512;
/// Magic, length of the changes, number, checksum of the changes, checksum of all that.
const HEADER: usize = 32;
const MAGIC: [u8; 4] = *b"gwj1";
/// By how much the file grows at once, in zeros: a sync of bytes that were there before costs no change of length.
const GROWTH: u64 = 256 << 10;
/// How much is read at once where later records are looked for.
const LOOKED_AT_ONCE: usize = 1 << 20;

const REMOVED: u8 = 0;
const PUT: u8 = 1;

/// The changes of one group, laid out as they will be written.
#[derive(Debug)]
pub(super) struct Record(Vec<u8>);

impl Record {
    pub(super) fn new() -> Self {
        Self(vec![0; HEADER])
    }

    pub(super) fn put(&mut self, key: &[u8], value: &[u8]) {
        self.key(PUT, key);
        // The waist's limits are far below.
        self.0.extend_from_slice(&(value.len() as u32).to_le_bytes());
        self.0.extend_from_slice(value);
    }

    pub(super) fn remove(&mut self, key: &[u8]) {
        self.key(REMOVED, key);
    }

    fn key(&mut self, what: u8, key: &[u8]) {
        self.0.push(what);
        self.0.extend_from_slice(&(key.len() as u16).to_le_bytes());
        self.0.extend_from_slice(key);
    }

    /// How much of the file it takes.
    fn span(&self) -> u64 {
        self.0.len().next_multiple_of(SECTOR) as u64
    }

    fn seal(&mut self, store: u64, number: u64) {
        let (header, changes) = self.0.split_at_mut(HEADER);
        header[..4].copy_from_slice(&MAGIC);
        header[4..8].copy_from_slice(&(changes.len() as u32).to_le_bytes());
        header[8..16].copy_from_slice(&number.to_le_bytes());
        header[16..24].copy_from_slice(&xxh3_64_with_seed(changes, store).to_le_bytes());
        let sum = xxh3_64_with_seed(&header[..24], store);
        header[24..].copy_from_slice(&sum.to_le_bytes());
        self.0.resize(self.0.len().next_multiple_of(SECTOR), 0);
    }
}

/// What a record says of one key.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Change<'a> {
    Put(&'a [u8], &'a [u8]),
    Remove(&'a [u8]),
}

/// A header that is whole.
struct Header {
    number: u64,
    length: usize,
    sum: u64,
}

impl Header {
    fn read(bytes: &[u8], store: u64) -> Option<Self> {
        let bytes: &[u8; HEADER] = bytes.first_chunk()?;
        let u64_at = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap_or_default());
        let whole = bytes[..4] == MAGIC && xxh3_64_with_seed(&bytes[..24], store) == u64_at(24);
        let length = u32::from_le_bytes(bytes[4..8].try_into().unwrap_or_default()) as usize;
        whole.then(|| Self { number: u64_at(8), length, sum: u64_at(16) })
    }
}

/// The journal of one store.
pub(super) struct Journal {
    disk: Arc<Disk>,
    bytes_max: u64,
    /// What tells its records from those of other stores.
    store: u64,
    /// The number of the last record that is durable.
    last: u64,
    /// Where the next one goes.
    at: u64,
    /// How far the file reaches.
    len: u64,
    /// When the first record since the last checkpoint was written.
    since: Option<Instant>,
}

impl Journal {
    pub(super) fn new(bytes: impl StorageBackend, bytes_max: u64) -> Self {
        Self { disk: Disk::new(bytes), bytes_max, store: 0, last: 0, at: 0, len: 0, since: None }
    }

    /// Whether there is a file at all. One is made before its store is ever written to, and kept until it is closed.
    pub(super) fn exists(&self) -> io::Result<bool> {
        Ok(self.disk.len()? > 0)
    }

    /// Makes sure that there is a file.
    pub(super) fn make(&mut self) -> io::Result<()> {
        self.len = self.disk.len()?;
        match self.len {
            0 => self.grow(GROWTH)?,
            // Another life may have made it and failed to sync it: then only memory knows how long it is.
            len => self.disk.set_len(len)?,
        }
        self.disk.sync()
    }

    /// Writes from the beginning again: all up to the record `last` is durable elsewhere.
    pub(super) fn begin(&mut self, store: u64, last: u64) {
        (self.store, self.last, self.at, self.since) = (store, last, 0, None);
    }

    /// The same for the store at hand: all that was written is durable elsewhere.
    pub(super) fn begin_anew(&mut self) {
        self.begin(self.store, self.last);
    }

    /// Ends it: the store is closed, and everything durable elsewhere.
    pub(super) fn end(&self) -> io::Result<()> {
        self.disk.set_len(0)
    }

    /// The number of the last record that is durable.
    pub(super) fn last(&self) -> u64 {
        self.last
    }

    /// When the first record since the last checkpoint was written.
    pub(super) fn since(&self) -> Option<Instant> {
        self.since
    }

    /// How many bytes were written since the last checkpoint.
    pub(super) fn written(&self) -> u64 {
        self.at
    }

    /// Whether there is room for a record.
    pub(super) fn takes(&self, record: &Record) -> bool {
        self.at + record.span() <= self.bytes_max
    }

    /// Makes a record durable.
    ///
    /// # Errors
    /// Whether it is durable is not known until the file was settled and read back.
    pub(super) fn append(&mut self, mut record: Record) -> io::Result<()> {
        record.seal(self.store, self.last + 1);
        let end = self.at + record.0.len() as u64;
        if end > self.len {
            self.grow(end.next_multiple_of(GROWTH))?;
        }
        self.disk.write(self.at, &record.0)?;
        self.disk.sync()?;
        (self.last, self.at) = (self.last + 1, end);
        self.since.get_or_insert_with(Instant::now);
        Ok(())
    }

    /// Makes sure that the next records have so much room on the disk.
    pub(super) fn reserve(&mut self, bytes: u64) -> io::Result<()> {
        let end = (self.at + bytes).min(self.bytes_max);
        if end > self.len {
            self.grow(end.next_multiple_of(GROWTH))?;
            self.disk.sync()?;
        }
        Ok(())
    }

    fn grow(&mut self, len: u64) -> io::Result<()> {
        self.disk.set_len(len)?;
        let mut at = self.len;
        while at < len {
            let some = (len - at).min(GROWTH);
            self.disk.write(at, &vec![0; some as usize])?;
            at += some;
        }
        self.len = len;
        Ok(())
    }

    /// Makes what the file reads as durable, after a failure.
    pub(super) fn settle(&self) -> io::Result<()> {
        self.disk.settle()
    }

    /// Hands over the changes of the records after `after`, up to the record `until`, in order. Returns the number of
    /// the last one.
    ///
    /// # Errors
    /// [`Error::Corrupt`] where a record is damaged that was durable, [`Error::Unavailable`] where the file cannot be
    /// read, and what `apply` says.
    pub(super) fn replay(
        &self,
        store: u64,
        after: u64,
        until: u64,
        mut apply: impl FnMut(Change<'_>) -> Result<(), Error>,
    ) -> Result<u64, Error> {
        let unreadable =
            |error: io::Error| Error::Unavailable(format!("the journal cannot be read: {error}"));
        let len = self.disk.len().map_err(unreadable)?;
        let (mut at, mut last, mut changes) = (0, after, Vec::new());
        while last < until && at + HEADER as u64 <= len {
            let mut header = [0; HEADER];
            self.disk.read(at, &mut header).map_err(unreadable)?;
            let Some(header) = Header::read(&header, store) else { break };
            let from = at + HEADER as u64;
            if header.number != last + 1 || from + header.length as u64 > len {
                break;
            }
            changes.resize(header.length, 0);
            self.disk.read(from, &mut changes).map_err(unreadable)?;
            if xxh3_64_with_seed(&changes, store) != header.sum {
                break;
            }
            let mut rest = &changes[..];
            while !rest.is_empty() {
                let number = header.number;
                let damaged = || Error::Corrupt(format!("record {number} of the journal cannot be read"));
                apply(take_change(&mut rest).ok_or_else(damaged)?)?;
            }
            last = header.number;
            at += (HEADER + header.length).next_multiple_of(SECTOR) as u64;
        }
        if last < until {
            self.check_end(store, last + 1, at, len)?;
        }
        Ok(last)
    }

    /// The record of that number is not whole: then there must be no later one.
    fn check_end(&self, store: u64, number: u64, at: u64, len: u64) -> Result<(), Error> {
        let mut looked = vec![0; LOOKED_AT_ONCE];
        for from in (at..len).step_by(LOOKED_AT_ONCE) {
            let some = &mut looked[..LOOKED_AT_ONCE.min((len - from) as usize)];
            self.disk
                .read(from, some)
                .map_err(|error| Error::Unavailable(format!("the journal cannot be read: {error}")))?;
            let later = some.chunks(SECTOR).filter_map(|sector| Header::read(sector, store));
            if let Some(later) = later.map(|header| header.number).find(|later| *later > number) {
                return Err(Error::Corrupt(format!(
                    "record {number} of the journal is damaged, and record {later} comes after it"
                )));
            }
        }
        Ok(())
    }
}

fn take_change<'a>(rest: &mut &'a [u8]) -> Option<Change<'a>> {
    let what = *rest.split_off_first()?;
    let length = u16::from_le_bytes(rest.split_off(..2)?.try_into().ok()?);
    let key = rest.split_off(..usize::from(length))?;
    match what {
        REMOVED => Some(Change::Remove(key)),
        PUT => {
            let length = u32::from_le_bytes(rest.split_off(..4)?.try_into().ok()?);
            Some(Change::Put(key, rest.split_off(..length as usize)?))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ::redb::backends::InMemoryBackend;

    const STORE: u64 = 7;

    fn journal() -> Journal {
        let mut journal = Journal::new(InMemoryBackend::new(), 64 << 10);
        journal.make().unwrap();
        journal.begin(STORE, 0);
        journal
    }

    fn record(key: &str, value: &[u8]) -> Record {
        let mut record = Record::new();
        record.put(key.as_bytes(), value);
        record.remove(b"gone");
        record
    }

    fn replayed(journal: &Journal, after: u64, until: u64) -> Result<(u64, Vec<String>), Error> {
        let mut found = Vec::new();
        let last = journal.replay(STORE, after, until, |change| {
            if let Change::Put(key, value) = change {
                found.push(format!("{}={}", key.escape_ascii(), value.len()));
            } else {
                assert_eq!(change, Change::Remove(b"gone"));
            }
            Ok(())
        })?;
        Ok((last, found))
    }

    #[test]
    fn records_are_read_back_in_order_from_where_the_file_stands() {
        let mut journal = journal();
        for (key, length) in [("a", 1), ("b", 5_000), ("c", 0)] {
            journal.append(record(key, &vec![9; length])).unwrap();
        }
        let all = vec!["a=1".to_owned(), "b=5000".to_owned(), "c=0".to_owned()];
        assert_eq!(replayed(&journal, 0, u64::MAX), Ok((3, all.clone())));
        assert_eq!(replayed(&journal, 0, 2), Ok((2, all[..2].to_vec())), "no further than asked");
        assert_eq!(replayed(&journal, 3, u64::MAX), Ok((3, vec![])), "all of it is in the file");
        journal.begin(STORE, 3);
        journal.append(record("d", b"")).unwrap();
        assert_eq!(replayed(&journal, 3, u64::MAX), Ok((4, vec!["d=0".to_owned()])), "over the old ones");
    }

    #[test]
    fn a_record_under_way_counts_for_nothing_and_one_that_was_durable_is_missed() {
        let mut journal = journal();
        for key in ["a", "b", "c"] {
            journal.append(record(key, &[9; 600])).unwrap();
        }
        // The third is torn: its second sector did not make it.
        journal.disk.write(5 * SECTOR as u64, &[0; SECTOR]).unwrap();
        assert_eq!(replayed(&journal, 0, u64::MAX).unwrap().0, 2);
        // So is the second, which was durable before the third began.
        journal.disk.write(3 * SECTOR as u64, &[0; SECTOR]).unwrap();
        let Err(Error::Corrupt(why)) = replayed(&journal, 0, u64::MAX) else { panic!("it is missed") };
        assert!(why.contains("record 2") && why.contains("record 3"), "{why}");
    }

    #[test]
    fn records_of_another_store_are_none() {
        let mut journal = journal();
        journal.append(record("a", b"")).unwrap();
        assert_eq!(journal.replay(STORE + 1, 0, u64::MAX, |_| panic!("it is not ours")), Ok(0));
    }

    #[test]
    fn it_takes_no_more_than_it_may() {
        let mut journal = journal();
        assert!(!journal.takes(&record("a", &[0; 64 << 10])));
        while journal.takes(&record("a", &[0; 10_000])) {
            journal.append(record("a", &[0; 10_000])).unwrap();
        }
        assert!(journal.written() > 50 << 10 && journal.disk.len().unwrap() <= GROWTH);
    }
}
