//! The bytes of the file, between redb and the system.
//!
//! It owns what redb does not keep when a write fails: which ranges were written since the last sync that succeeded,
//! how the first page stood at that sync, and the lock on the file, so that the same bytes can be opened anew within
//! the process. It refuses to know what the bytes mean, but for one thing: the first page says which commit counts.
//!
//! Start with [`Disk`]; redb is given a [`Writable`], or a [`View`] where nothing may be written.
//!
//! After a failed sync Linux marks the pages as clean: they read as written, and are not on the disk, and a later sync
//! succeeds without them. So [`Disk::settle`] writes every such range again before anything is built on it.

use super::lock;
use ::redb::{BackendError, StorageBackend};
use std::{
    collections::{BTreeMap, btree_map::Entry},
    io,
    ops::{Bound, Range},
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
};

/// What redb writes as a unit, and more than the header that says which commit counts.
const PAGE: usize = 4_096;
/// How much is written again at once.
const SETTLED_AT_ONCE: usize = 256 << 10;

/// The bytes of one file, for as long as the store is open; closed when the last user is gone.
#[derive(Debug)]
pub(super) struct Disk {
    bytes: Box<dyn StorageBackend>,
    written: Mutex<Written>,
}

#[derive(Debug, Default)]
struct Written {
    /// Written since the last sync that succeeded, as offset and length, in no order.
    since_sync: Vec<(u64, usize)>,
    /// How the first page stood at that sync.
    first_page: Vec<u8>,
}

impl Disk {
    pub(super) fn new(bytes: impl StorageBackend) -> Arc<Self> {
        let disk = Self { bytes: Box::new(bytes), written: Mutex::default() };
        disk.remember_first_page();
        Arc::new(disk)
    }

    pub(super) fn len(&self) -> io::Result<u64> {
        self.bytes.len()
    }

    pub(super) fn set_len(&self, len: u64) -> io::Result<()> {
        self.bytes.set_len(len)
    }

    pub(super) fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.bytes.read(offset, out)
    }

    /// Makes what the file reads as durable, whatever became of it when its own sync failed. Does nothing where the
    /// last sync succeeded.
    pub(super) fn settle(&self) -> io::Result<()> {
        let mut written = lock(&self.written);
        if written.since_sync.is_empty() {
            return Ok(());
        }
        let len = self.bytes.len()?;
        self.bytes.set_len(len)?;
        written.since_sync.sort_unstable();
        let mut from = 0;
        let mut buffer = vec![0; SETTLED_AT_ONCE];
        for &(offset, length) in &written.since_sync {
            let end = (offset + length as u64).min(len);
            // What an earlier range covered is not written twice.
            let mut at = offset.max(from);
            while at < end {
                let some = &mut buffer[..SETTLED_AT_ONCE.min((end - at) as usize)];
                self.bytes.read(at, some)?;
                self.bytes.write(at, some)?;
                at += some.len() as u64;
            }
            from = from.max(end);
        }
        self.bytes.sync_data()?;
        written.since_sync.clear();
        drop(written);
        self.remember_first_page();
        Ok(())
    }

    /// Where it cannot be read, there is no view until it can.
    fn remember_first_page(&self) {
        let mut page = vec![0; PAGE];
        let read =
            self.bytes.len().is_ok_and(|len| len >= PAGE as u64 && self.bytes.read(0, &mut page).is_ok());
        lock(&self.written).first_page = if read { page } else { Vec::new() };
    }

    pub(super) fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        // Noted before it is tried: a write that fails may have been done in part.
        lock(&self.written).since_sync.push((offset, data.len()));
        self.bytes.write(offset, data)
    }

    pub(super) fn sync(&self) -> io::Result<()> {
        self.bytes.sync_data()?;
        lock(&self.written).since_sync.clear();
        self.remember_first_page();
        Ok(())
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // What was acknowledged is synced; all that could fail is letting go of the lock, which ends with the file.
        let _ = self.bytes.close();
    }
}

/// Ends what one database does with the bytes.
#[derive(Debug, Clone, Default)]
pub(super) struct Fence(Arc<RwLock<bool>>);

impl Fence {
    /// From the return on nothing is read or written through that handle. A database that is given up tidies up when
    /// its last reader lets go of it: it must not touch the file then, nor take what its successor wrote for its own.
    pub(super) fn close(&self) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = true;
    }

    fn pass<T>(&self, then: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        let closed = self.0.read().unwrap_or_else(PoisonError::into_inner);
        if *closed { Err(io::Error::other("the file was opened anew")) } else { then() }
    }
}

/// The file as the one database sees it that may write.
#[derive(Debug)]
pub(super) struct Writable {
    disk: Arc<Disk>,
    fence: Fence,
    /// The first one takes the lock on the file, which stays until the disk is closed; the others have it already.
    locks: bool,
}

impl Writable {
    pub(super) fn new(disk: Arc<Disk>, fence: Fence, locks: bool) -> Self {
        Self { disk, fence, locks }
    }

    fn lock<T>(
        &self,
        then: impl FnOnce(&dyn StorageBackend) -> Result<T, BackendError>,
    ) -> Result<T, BackendError> {
        if !self.locks {
            return Err(BackendError::Unsupported);
        }
        self.fence.pass(|| Ok(then(&*self.disk.bytes)))?
    }
}

impl StorageBackend for Writable {
    fn len(&self) -> io::Result<u64> {
        self.fence.pass(|| self.disk.len())
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.fence.pass(|| self.disk.bytes.read(offset, out))
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.fence.pass(|| self.disk.bytes.set_len(len))
    }

    fn sync_data(&self) -> io::Result<()> {
        self.fence.pass(|| self.disk.sync())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.fence.pass(|| self.disk.write(offset, data))
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.lock(|bytes| bytes.try_lock_range(start, end))
    }

    fn try_lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.lock(|bytes| bytes.try_lock_shared_range(start, end))
    }

    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.lock(|bytes| bytes.lock_range(start, end))
    }

    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.lock(|bytes| bytes.lock_shared_range(start, end))
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.lock(|bytes| bytes.unlock_range(start, end))
    }

    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.lock(|bytes| bytes.query_lock_range(start, end))
    }
}

/// The file as it stood at the last sync that succeeded, for reads while nothing can be written: redb opens it like
/// any other, and what it writes on the way stays in memory.
///
/// Its first page is the one of that sync, so that it shows just what was acknowledged: pages of that commit are not
/// overwritten by the next one, and the commit that failed is not shown before it is settled.
#[derive(Debug)]
pub(super) struct View {
    disk: Arc<Disk>,
    fence: Fence,
    len: AtomicU64,
    pages: RwLock<BTreeMap<u64, Vec<u8>>>,
}

impl View {
    /// # Errors
    /// The file cannot be read, or nothing was ever synced.
    pub(super) fn new(disk: Arc<Disk>, fence: Fence) -> io::Result<Self> {
        let len = disk.len()?;
        let first = lock(&disk.written).first_page.clone();
        if first.is_empty() {
            return Err(io::Error::other("nothing of the file is known to be durable"));
        }
        Ok(Self { disk, fence, len: AtomicU64::new(len), pages: RwLock::new(BTreeMap::from([(0, first)])) })
    }

    fn check(&self, offset: u64, length: usize) -> io::Result<()> {
        let len = self.len.load(Ordering::Acquire);
        if offset.checked_add(length as u64).is_some_and(|end| end <= len) {
            return Ok(());
        }
        Err(io::Error::new(
            io::ErrorKind::UnexpectedEof,
            format!("{length} bytes from {offset} on, the file has {len}"),
        ))
    }

    /// What the file has there, and zeros behind its end.
    fn read_file(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let there = self.disk.len()?.saturating_sub(offset).min(out.len() as u64) as usize;
        let (read, behind) = out.split_at_mut(there);
        behind.fill(0);
        if read.is_empty() { Ok(()) } else { self.disk.bytes.read(offset, read) }
    }
}

/// The pages that a range touches: number of the page, which bytes of it, which bytes of the range.
fn pages(offset: u64, length: usize) -> impl Iterator<Item = (u64, Range<usize>, Range<usize>)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        let at = offset + done as u64;
        let within = (at % PAGE as u64) as usize;
        let some = (PAGE - within).min(length - done);
        let page = (at / PAGE as u64, within..within + some, done..done + some);
        done += some;
        (some > 0).then_some(page)
    })
}

impl StorageBackend for View {
    fn len(&self) -> io::Result<u64> {
        Ok(self.len.load(Ordering::Acquire))
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.check(offset, out.len())?;
        self.fence.pass(|| self.read_file(offset, out))?;
        let changed = self.pages.read().unwrap_or_else(PoisonError::into_inner);
        for (number, of_page, of_range) in pages(offset, out.len()) {
            if let Some(page) = changed.get(&number) {
                out[of_range].copy_from_slice(&page[of_page]);
            }
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.len.store(len, Ordering::Release);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut changed = self.pages.write().unwrap_or_else(PoisonError::into_inner);
        for (number, of_page, of_range) in pages(offset, data.len()) {
            let page = match changed.entry(number) {
                Entry::Occupied(page) => page.into_mut(),
                Entry::Vacant(place) => {
                    let mut page = vec![0; PAGE];
                    self.fence.pass(|| self.read_file(number * PAGE as u64, &mut page))?;
                    place.insert(page)
                }
            };
            page[of_page].copy_from_slice(&data[of_range]);
        }
        self.len.fetch_max(offset + data.len() as u64, Ordering::AcqRel);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ::redb::backends::InMemoryBackend;

    fn disk(bytes: usize) -> Arc<Disk> {
        let memory = InMemoryBackend::new();
        memory.set_len(bytes as u64).unwrap();
        Disk::new(memory)
    }

    #[test]
    fn a_range_is_cut_at_the_borders_of_pages() {
        let cut: Vec<_> = pages(4_090, 10).collect();
        assert_eq!(cut, [(0, 4_090..4_096, 0..6), (1, 0..4, 6..10)]);
        assert_eq!(pages(7, 0).count(), 0);
    }

    #[test]
    fn a_view_shows_the_first_page_of_the_last_sync_and_keeps_what_is_written_to_itself() {
        let disk = disk(3 * PAGE);
        let writable = Writable::new(disk.clone(), Fence::default(), false);
        writable.write(0, b"synced").unwrap();
        writable.sync_data().unwrap();
        writable.write(0, b"failed").unwrap();
        writable.write(PAGE as u64, b"page").unwrap();

        let view = View::new(disk.clone(), Fence::default()).unwrap();
        let mut found = [0; 6];
        view.read(0, &mut found).unwrap();
        assert_eq!(&found, b"synced");
        view.write(PAGE as u64 + 2, b"PAGE").unwrap();
        view.read(PAGE as u64, &mut found).unwrap();
        assert_eq!(&found, b"paPAGE");
        disk.bytes.read(PAGE as u64, &mut found).unwrap();
        assert_eq!(&found, b"page\0\0");
        assert!(view.read(3 * PAGE as u64 - 1, &mut found).is_err(), "the file ends there");
    }

    #[test]
    fn nothing_passes_a_closed_fence() {
        let (disk, fence) = (disk(PAGE), Fence::default());
        let writable = Writable::new(disk.clone(), fence.clone(), false);
        fence.close();
        assert!(writable.write(0, b"late").is_err());
        assert!(writable.set_len(0).is_err() && writable.sync_data().is_err());
        assert!(writable.read(0, &mut [0; 4]).is_err() && writable.len().is_err());
        assert_eq!(disk.len().unwrap(), PAGE as u64);
    }
}
