//! Which database is open at the moment, and what is wrong, if anything.
//!
//! It owns the change from one to the next: readers take what is here, the write thread puts it here. While a failure
//! stands, what is here is a view for reads, and the partitions of unknown batches are kept: of those alone a serial
//! read cannot say what stands.

use super::{lock, unavailable};
use ::redb::Database;
use godwit_domain::waist::{Error, Partition};
use std::{
    collections::HashSet,
    sync::{Arc, Mutex},
};

/// Shared by readers, the sweeper and the write thread.
pub(super) struct Current(Mutex<State>);

struct State {
    /// None where it is closed, or cannot even be read.
    database: Option<Arc<Database>>,
    failure: Option<Failure>,
}

struct Failure {
    why: String,
    /// Whose batches have no known outcome.
    unsettled: HashSet<Partition>,
}

impl Current {
    pub(super) fn new(database: Arc<Database>) -> Self {
        Self(Mutex::new(State { database: Some(database), failure: None }))
    }

    /// What reads are made on.
    ///
    /// # Errors
    /// [`Error::Unavailable`] where it is closed, or cannot be read at present.
    pub(super) fn database(&self) -> Result<Arc<Database>, Error> {
        let state = lock(&self.0);
        let none = || match &state.failure {
            Some(failure) => Error::Unavailable(failure.why.clone()),
            None => unavailable("the store is closed"),
        };
        state.database.clone().ok_or_else(none)
    }

    /// Whether everything that was ever asked of this partition has an outcome.
    ///
    /// # Errors
    /// [`Error::Unavailable`] where a batch has none until the file is opened anew.
    pub(super) fn settled(&self, partition: &Partition) -> Result<(), Error> {
        match &lock(&self.0).failure {
            Some(failure) if failure.unsettled.contains(partition) => {
                Err(Error::Unavailable(failure.why.clone()))
            }
            _ => Ok(()),
        }
    }

    /// Why nothing is written, if so.
    pub(super) fn failure(&self) -> Option<String> {
        lock(&self.0).failure.as_ref().map(|failure| failure.why.clone())
    }

    /// A read on `database` failed: what is here instead by now, or else nothing is written from now on.
    pub(super) fn replaced(&self, database: &Arc<Database>, why: &str) -> Option<Arc<Database>> {
        let mut state = lock(&self.0);
        let here = state.database.clone()?;
        if !Arc::ptr_eq(&here, database) {
            return Some(here);
        }
        state.failure.get_or_insert_with(|| Failure {
            why: format!("a read failed, the store is read-only until the file is opened anew: {why}"),
            unsettled: HashSet::new(),
        });
        None
    }

    /// From now on nothing is written; a failure that stands keeps its partitions.
    pub(super) fn fail(&self, why: String, unsettled: impl IntoIterator<Item = Partition>) {
        let mut state = lock(&self.0);
        let failure =
            state.failure.get_or_insert_with(|| Failure { why: String::new(), unsettled: HashSet::new() });
        failure.why = why;
        failure.unsettled.extend(unsettled);
    }

    /// What reads are made on from now on.
    pub(super) fn show(&self, view: Arc<Database>) {
        let before = lock(&self.0).database.replace(view);
        // Not under the lock: the last to let go of a database closes it.
        drop(before);
    }

    /// The failure is over, and with it every unknown outcome.
    pub(super) fn recover(&self) {
        lock(&self.0).failure = None;
    }

    /// Closes it for everyone.
    pub(super) fn take(&self) -> Option<Arc<Database>> {
        lock(&self.0).database.take()
    }
}
