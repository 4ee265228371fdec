//! Who recipients are, remembered for a while: a policy is told of each of them with every message.

use godwit_domain::{
    id::UserId,
    tables,
    time::{Clock, Ms},
    user::User,
    waist,
};
use lru::LruCache;
use parking_lot::Mutex;
use std::{
    collections::HashMap,
    num::NonZeroUsize,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

/// How many people are remembered; who was not asked about for longest goes first.
const PEOPLE_MAX: NonZeroUsize = NonZeroUsize::new(65_536).unwrap();
/// For how long, in milliseconds: a policy may see a name or a time zone that is so old.
const REMEMBERED_MS: u64 = 60_000;

/// See the module.
pub struct People {
    accounts: Arc<dyn tables::Accounts>,
    clock: Arc<dyn Clock>,
    known: Mutex<LruCache<UserId, (Ms, Arc<User>)>>,
    /// How often someone was forgotten: what was read meanwhile may be older, and is not remembered.
    forgotten: AtomicU64,
}

impl People {
    /// Nobody is known yet.
    pub fn new(accounts: Arc<dyn tables::Accounts>, clock: Arc<dyn Clock>) -> Self {
        Self { accounts, clock, known: Mutex::new(LruCache::unbounded()), forgotten: AtomicU64::new(0) }
    }

    /// Forgets a user who changed.
    pub fn forget(&self, user: UserId) {
        let mut known = self.known.lock();
        self.forgotten.fetch_add(1, Ordering::Relaxed);
        known.pop(&user);
    }

    /// The users of those ids that exist.
    ///
    /// # Errors
    /// That of the store.
    pub async fn get(&self, ids: &[UserId]) -> Result<HashMap<UserId, Arc<User>>, waist::Error> {
        let now = self.clock.now();
        let mut found = HashMap::with_capacity(ids.len());
        let mut missing = Vec::new();
        {
            let mut known = self.known.lock();
            for id in ids {
                match known.get(id) {
                    Some((at, user)) if now.since(*at) < REMEMBERED_MS => {
                        drop(found.insert(*id, user.clone()))
                    }
                    _ => missing.push(*id),
                }
            }
        }
        if missing.is_empty() {
            return Ok(found);
        }
        let forgotten = self.forgotten.load(Ordering::Relaxed);
        let read = self.accounts.accounts(&missing).await?;
        let mut known = self.known.lock();
        let is_newest = forgotten == self.forgotten.load(Ordering::Relaxed);
        for account in read {
            let user = Arc::new(account.user);
            if is_newest {
                known.put(user.id, (now, user.clone()));
            }
            found.insert(user.id, user);
        }
        while known.len() > PEOPLE_MAX.get() {
            known.pop_lru();
        }
        Ok(found)
    }
}
