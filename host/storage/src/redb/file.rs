//! How the file becomes a database: opened, opened anew after a failed write, and opened for reads alone.
//!
//! It owns the order of these steps and of the checkpoints between file and journal, and turns what redb says (panics included: redb checks its pages by assertions)
//! into the waist's errors. It refuses to know when a file is opened anew; that is the write thread's.

use super::{
    FILE, JOURNAL_FILE, Options,
    disk::{Disk, Fence, View, Writable},
    journal::{Change, Journal},
    read_error, rows,
};
use ::redb::{
    Builder, Database, DatabaseError, Durability, ReadableTable, StorageBackend, StorageError,
    WriteTransaction,
    backends::{FileBackend, InMemoryBackend},
};
use godwit_domain::waist::Error;
use std::{
    any::Any,
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    sync::Arc,
};
use uuid::Uuid;

/// The least that a trial writes, in bytes.
const TRIAL_BYTES_MIN: usize = 64 << 10;

/// Makes an empty store under `name` in `folder`. It is made beside its place and put there when it is whole: redb
/// refuses a file whose making was cut off, rightly, because it might be one that was damaged.
///
/// # Errors
/// The disk refuses.
pub(super) fn make(folder: &Path, name: &str, options: &Options) -> Result<(), Error> {
    let refused = |error: std::io::Error| {
        Error::Unavailable(format!("cannot make {name} in the data folder {}: {error}", folder.display()))
    };
    let held = std::fs::File::open(folder).map_err(refused)?;
    // Of two who make it at once the second finds it made.
    held.lock().map_err(refused)?;
    if folder.join(name).try_exists().map_err(refused)? {
        return Ok(());
    }
    let beside = folder.join(format!("{name}.new"));
    let file = std::fs::OpenOptions::new().read(true).write(true).create(true).truncate(true).open(&beside);
    let file = file.map_err(refused)?;
    let bytes = FileBackend::new(file).map_err(|error| read_error(error.into()))?;
    // It is closed before anyone is answered, so that its journal is not needed any more.
    let (mut file, database) =
        File::open(bytes, InMemoryBackend::new(), &folder.display().to_string(), options)?;
    file.close(&database)?;
    let closed = Arc::into_inner(database).map(Database::close).transpose();
    closed.map_err(|error| read_error(error.into()))?;
    std::fs::rename(&beside, folder.join(name)).map_err(refused)?;
    // A name is durable only when its folder is.
    held.sync_all().map_err(refused)
}

/// Makes the system forget what it holds of the file and is not on the disk: where an earlier process failed to sync
/// it, the file would read as written until the power goes.
///
/// # Errors
/// What is not on the disk yet cannot be written there.
pub(super) fn drop_memory(file: &std::fs::File) -> std::io::Result<()> {
    file.sync_data()?;
    #[cfg(target_os = "linux")]
    {
        use rustix::fs::{Advice, fadvise};
        // Only advice: file systems in memory have nowhere else to read from.
        let _ = fadvise(file, 0, None, Advice::DontNeed);
    }
    Ok(())
}

/// The file of one store, with its journal.
pub(super) struct File {
    disk: Arc<Disk>,
    pub(super) journal: Journal,
    /// What messages call it.
    name: String,
    cache_bytes: usize,
    check_bytes_max: u64,
    /// Of the database that is in use.
    fence: Fence,
    /// Whether that one is a view.
    viewed: bool,
}

impl File {
    /// Opens it, and makes what is missing.
    ///
    /// # Errors
    /// As [`super::Backend::open`].
    pub(super) fn open(
        bytes: impl StorageBackend,
        journal: impl StorageBackend,
        name: &str,
        options: &Options,
    ) -> Result<(Self, Arc<Database>), Error> {
        let mut file = Self {
            disk: Disk::new(bytes),
            journal: Journal::new(journal, options.journal_bytes),
            name: name.to_owned(),
            cache_bytes: options.cache_bytes,
            check_bytes_max: options.check_bytes_max,
            fence: Fence::default(),
            viewed: false,
        };
        let bytes = Writable::new(file.disk.clone(), file.fence.clone(), true);
        let database = file.contain(|| file.database(bytes, true))?;
        let name = file.name.clone();
        contained(&name, || file.recover(&database))?;
        Ok((file, Arc::new(database)))
    }

    /// Makes the tables of a new file, refuses one of another format, and takes back what the journal holds beyond the
    /// last checkpoint: all of it in one commit.
    fn recover(&mut self, database: &Database) -> Result<(), Error> {
        let refused = |error: io::Error| Error::Unavailable(format!("cannot use the journal: {error}"));
        let mut transaction = database.begin_write().map_err(|error| read_error(error.into()))?;
        transaction.set_quick_repair(true);
        let stands = Stands::read(&transaction, &self.name)?;
        if stands.open && !self.journal.exists().map_err(refused)? {
            return Err(Error::Corrupt(format!(
                "the data folder {}: {JOURNAL_FILE} is missing, and with it what was acknowledged last; put it back \
                 beside {FILE}",
                self.name
            )));
        }
        let store = stands.store.unwrap_or_else(|| Uuid::new_v4().as_u64_pair().0);
        let last = self.replay(&transaction, store, stands.last, u64::MAX)?;
        self.journal.make().map_err(refused)?;
        let write = |transaction: WriteTransaction| {
            {
                let mut table = transaction.open_table(rows::JOURNAL)?;
                table.insert(rows::JOURNAL_STORE, store)?;
                table.insert(rows::JOURNAL_LAST, last)?;
                table.insert(rows::JOURNAL_OPEN, 1)?;
            }
            Ok(transaction.commit()?)
        };
        write(transaction).map_err(read_error)?;
        self.journal.begin(store, last);
        Ok(())
    }

    fn replay(&self, to: &WriteTransaction, store: u64, after: u64, until: u64) -> Result<u64, Error> {
        let failed = |error: ::redb::Error| read_error(error);
        let mut table = to.open_table(rows::ROWS).map_err(|error| failed(error.into()))?;
        self.journal.replay(store, after, until, |change| {
            let done = match change {
                Change::Put(key, value) => table.insert(key, value).map(drop),
                Change::Remove(key) => table.remove(key).map(drop),
            };
            done.map_err(|error| failed(error.into()))
        })
    }

    /// Commits a transaction together with all that only the journal makes durable so far, and begins the journal
    /// anew.
    pub(super) fn checkpoint(&mut self, transaction: WriteTransaction) -> Result<(), ::redb::Error> {
        self.commit(transaction, true)
    }

    /// Makes the file whole without its journal, and ends that.
    ///
    /// # Errors
    /// The disk refuses; what was acknowledged is safe in both.
    pub(super) fn close(&mut self, database: &Database) -> Result<(), Error> {
        let name = self.name.clone();
        contained(&name, || {
            let mut close = || self.commit(database.begin_write()?, false);
            close().map_err(read_error)?;
            // One that stays is no harm: the file says that it holds all of it.
            self.journal.end().or(Ok(()))
        })
    }

    fn commit(&mut self, mut transaction: WriteTransaction, open: bool) -> Result<(), ::redb::Error> {
        transaction.set_durability(Durability::Immediate)?;
        transaction.set_quick_repair(true);
        {
            let mut table = transaction.open_table(rows::JOURNAL)?;
            table.insert(rows::JOURNAL_LAST, self.journal.last())?;
            table.insert(rows::JOURNAL_OPEN, u64::from(open))?;
        }
        transaction.commit()?;
        self.journal.begin_anew();
        Ok(())
    }

    /// The file as the last acknowledged commit left it, for reads alone.
    ///
    /// # Errors
    /// It cannot be read.
    pub(super) fn view(&mut self) -> Result<Arc<Database>, Error> {
        self.fence.close();
        self.fence = Fence::default();
        self.viewed = true;
        let view = View::new(self.disk.clone(), self.fence.clone()).map_err(|error| self.refused(&error))?;
        self.contain(|| {
            let database = self.database(view, false)?;
            let mut transaction = database.begin_write().map_err(|error| read_error(error.into()))?;
            transaction.set_durability(Durability::None).map_err(|error| read_error(error.into()))?;
            let stands = Stands::read(&transaction, &self.name)?;
            if let Some(store) = stands.store {
                self.replay(&transaction, store, stands.last, self.journal.last())?;
            }
            transaction.commit().map_err(|error| read_error(error.into()))?;
            Ok(Arc::new(database))
        })
    }

    /// Opens it anew, from what it holds: first all that it holds is made durable, then redb reads it as after a
    /// crash. The other one, if any, is the view that may be read until its fence is closed, which must be before
    /// anything is written: the first commits leave the pages of a view as they are, later ones do not.
    ///
    /// # Errors
    /// It still cannot be written, or not be read; the view goes on.
    pub(super) fn reopen(&mut self) -> Result<(Arc<Database>, Fence), Error> {
        if !self.viewed {
            self.fence.close();
        }
        let fence = Fence::default();
        let name = self.name.clone();
        let opened = contained(&name, || {
            self.disk.settle().and_then(|()| self.journal.settle()).map_err(|error| self.refused(&error))?;
            let database = self.database(Writable::new(self.disk.clone(), fence.clone(), false), true)?;
            self.recover(&database)?;
            Ok(database)
        });
        match opened {
            Ok(database) => {
                self.viewed = false;
                Ok((Arc::new(database), std::mem::replace(&mut self.fence, fence)))
            }
            Err(error) => {
                fence.close();
                Err(error)
            }
        }
    }

    /// Shows that the disk takes as much as it refused, `bytes`, in the journal and by a row that is written and removed:
    /// without this one with room for a header alone would let the store come back only to fail at the next message.
    ///
    /// # Errors
    /// It still cannot be written.
    pub(super) fn try_out(&mut self, database: &Database, bytes: usize) -> Result<(), Error> {
        let (name, bytes) = (self.name.clone(), bytes.max(TRIAL_BYTES_MIN));
        contained(&name, || {
            self.journal.reserve(bytes as u64).map_err(|error| self.refused(&error))?;
            try_writing(database, bytes).map_err(read_error)
        })
    }

    fn database(&self, bytes: impl StorageBackend, check: bool) -> Result<Database, Error> {
        let small = self.disk.len().is_ok_and(|len| len <= self.check_bytes_max);
        Builder::new()
            .set_cache_size(self.cache_bytes)
            .set_check_integrity_on_open(check && small)
            .create_with_backend(bytes)
            .map_err(|error| match error {
                DatabaseError::DatabaseAlreadyOpen | DatabaseError::LockProtocolMismatch => {
                    Error::Unavailable(format!("the data folder {} is in use by another process", self.name))
                }
                DatabaseError::Storage(StorageError::Corrupted(what)) => {
                    Error::Corrupt(format!("the data folder {}: {what}", self.name))
                }
                error => self.refused(&error),
            })
    }

    fn refused(&self, error: &dyn std::fmt::Display) -> Error {
        Error::Unavailable(format!("cannot open the data folder {}: {error}", self.name))
    }

    fn contain<T>(&self, open: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
        contained(&self.name, open)
    }
}

fn contained<T>(name: &str, open: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
    contain(open).unwrap_or_else(|broke| {
        Err(Error::Corrupt(format!("the data folder {name}: redb broke while opening it: {broke}")))
    })
}

/// How the journal stands to a file.
struct Stands {
    store: Option<u64>,
    last: u64,
    open: bool,
}

impl Stands {
    /// Reads it; makes the tables of a new file, and refuses one of another format.
    fn read(transaction: &WriteTransaction, name: &str) -> Result<Self, Error> {
        let read = || -> Result<(u32, Self), ::redb::Error> {
            transaction.open_table(rows::ROWS)?;
            let mut format = transaction.open_table(rows::FORMAT)?;
            let found = format.get("format")?.map(|version| version.value());
            if found.is_none() {
                format.insert("format", rows::FORMAT_VERSION)?;
            }
            let journal = transaction.open_table(rows::JOURNAL)?;
            let get = |key| Ok::<_, ::redb::Error>(journal.get(key)?.map(|value| value.value()));
            let (store, last, open) =
                (get(rows::JOURNAL_STORE)?, get(rows::JOURNAL_LAST)?, get(rows::JOURNAL_OPEN)?);
            let stands = Self { store, last: last.unwrap_or_default(), open: open == Some(1) };
            Ok((found.unwrap_or(rows::FORMAT_VERSION), stands))
        };
        match read().map_err(read_error)? {
            (rows::FORMAT_VERSION, stands) => Ok(stands),
            (other, _) => Err(Error::Corrupt(format!(
                "the data folder {name} has format {other}, this version reads {}",
                rows::FORMAT_VERSION
            ))),
        }
    }
}

/// Runs what may break on a damaged file; the text of the panic, if it does.
pub(super) fn contain<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    // Whoever calls gives up what `work` touched, or opens it anew.
    catch_unwind(AssertUnwindSafe(work)).map_err(|payload| panic_text(&*payload))
}

fn panic_text(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().copied();
    text.or_else(|| payload.downcast_ref::<String>().map(String::as_str)).unwrap_or("no text").to_owned()
}

fn try_writing(database: &Database, bytes: usize) -> Result<(), ::redb::Error> {
    for removes in [false, true] {
        let mut transaction = database.begin_write()?;
        transaction.set_quick_repair(true);
        if removes {
            transaction.delete_table(rows::TRIAL)?;
        } else {
            let mut table = transaction.open_table(rows::TRIAL)?;
            table.insert("trial", &vec![0xa5; bytes][..])?;
        }
        transaction.commit()?;
    }
    Ok(())
}
