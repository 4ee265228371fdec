//! Which sessions there are without a socket, and how those that were have ended.
//!
//! It owns two tables and their bounds. A session that nobody remembers has ended with 3003: its client connects again.

use super::owner::Handle;
use godwit_core::domain::id::SessionId;
use godwit_protocol::error::Close;
use parking_lot::Mutex;
use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// How many ended sessions are remembered; those that ended first are forgotten first.
const ENDED_MAX: usize = 16_384;

/// A place among those that a session may take.
pub(super) type Place = OwnedSemaphorePermit;

/// See the module.
pub(crate) struct Sessions {
    places: Arc<Semaphore>,
    live: Mutex<HashMap<SessionId, Handle>>,
    ended: Mutex<Ended>,
}

impl Sessions {
    /// At most so many at once.
    pub fn new(sessions_max: usize) -> Self {
        Self {
            places: Arc::new(Semaphore::new(sessions_max.min(Semaphore::MAX_PERMITS))),
            live: Mutex::default(),
            ended: Mutex::default(),
        }
    }

    /// A place for a new session, if one is free.
    pub(super) fn place(&self) -> Option<Place> {
        self.places.clone().try_acquire_owned().ok()
    }

    /// From now on requests find it.
    pub(super) fn add(&self, id: SessionId, handle: Handle) {
        self.live.lock().insert(id, handle);
    }

    /// From now on requests are told how it ended.
    pub(super) fn end(&self, id: SessionId, close: Close) {
        self.ended.lock().add(id, close);
        self.live.lock().remove(&id);
    }

    /// The session of that id, or how it has ended.
    pub(super) fn find(&self, id: SessionId) -> Result<Handle, Close> {
        let handle = self.live.lock().get(&id).cloned();
        match handle {
            // The end of one whose owner has not come to it yet counts already.
            Some(handle) => handle.ended().map_or(Ok(handle), Err),
            None => Err(self.ended.lock().closes.get(&id).copied().unwrap_or(Close::Internal)),
        }
    }
}

#[derive(Default)]
struct Ended {
    closes: HashMap<SessionId, Close>,
    /// In the order in which they ended.
    order: VecDeque<SessionId>,
}

impl Ended {
    fn add(&mut self, id: SessionId, close: Close) {
        if self.order.len() == ENDED_MAX
            && let Some(first) = self.order.pop_front()
        {
            self.closes.remove(&first);
        }
        if self.closes.insert(id, close).is_none() {
            self.order.push_back(id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_a_session_ended_is_remembered_for_a_bounded_number() {
        let sessions = Sessions::new(1);
        let closed = |n: usize| sessions.find(SessionId::from_u128(n as u128)).err();
        for n in 0..=ENDED_MAX {
            sessions.end(SessionId::from_u128(n as u128), Close::Revoked);
        }
        assert_eq!(closed(0), Some(Close::Internal), "the first is forgotten");
        assert_eq!(closed(1), Some(Close::Revoked));
        assert_eq!(closed(ENDED_MAX), Some(Close::Revoked));
        let ended = sessions.ended.lock();
        assert_eq!((ended.closes.len(), ended.order.len()), (ENDED_MAX, ENDED_MAX));
    }

    #[test]
    fn places_are_bounded_and_given_back() {
        let sessions = Sessions::new(1);
        let place = sessions.place().unwrap();
        assert!(sessions.place().is_none());
        drop(place);
        assert!(sessions.place().is_some());
    }
}
