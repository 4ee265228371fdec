//! Lanes: what changes a user's own rows happens one after the other, pushes included.
//!
//! Two devices that change the same at once could otherwise be told of it in another order than that of the store.

use godwit_domain::id::UserId;
use tokio::sync::{Mutex, MutexGuard};

/// How many lanes there are. Users share them by chance, which costs a wait and nothing else.
const LANES: usize = 1_024;

/// See the module.
pub struct Lanes([Mutex<()>; LANES]);

impl Default for Lanes {
    fn default() -> Self {
        Self(std::array::from_fn(|_| Mutex::const_new(())))
    }
}

impl Lanes {
    /// Waits until the user's lane is free; it is taken until what this returns is dropped. Whoever is in a lane enters
    /// no other.
    pub async fn enter(&self, user: UserId) -> MutexGuard<'_, ()> {
        let bytes = user.as_bytes();
        let lane = usize::from(u16::from_be_bytes([bytes[14], bytes[15]])) % LANES;
        self.0[lane].lock().await
    }
}
