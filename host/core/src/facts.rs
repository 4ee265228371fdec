//! What is known of a connected user just now, and whom they must not be shown to.
//!
//! It owns how a newer reading takes the place of an older one. All sessions of a user share it, so that what one of
//! them changes holds for the others from the next request on.

use crate::relations::{Circle, Relations};
use godwit_domain::{id::UserId, user::User, waist};
use parking_lot::Mutex;
use std::sync::Arc;

/// See the module.
pub struct Facts {
    /// The user as stored.
    pub user: Latest<User>,
}

impl Facts {
    /// What is known at first.
    pub fn of(user: Arc<User>) -> Arc<Self> {
        Arc::new(Self { user: Latest::new(user) })
    }

    /// What others may not hear of what the user does.
    ///
    /// # Errors
    /// That of the store, where their relations are not remembered.
    pub async fn discretion(&self, relations: &Relations) -> Result<Discretion, waist::Error> {
        let user = self.user.get();
        Ok(Discretion { silent: !user.privacy.receipts, circle: relations.circle(user.id).await? })
    }
}

/// Something that is read again whenever it changed. Of two who read at once, the one who began later has seen what both
/// of them were to see: what the other read never takes its place.
pub struct Latest<T: ?Sized>(Mutex<State<T>>);

struct State<T: ?Sized> {
    begun: u64,
    /// Of which reading the value is.
    read: u64,
    value: Arc<T>,
}

/// A reading that began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reading(u64);

impl<T: ?Sized> Latest<T> {
    fn new(value: Arc<T>) -> Self {
        Self(Mutex::new(State { begun: 0, read: 0, value }))
    }

    /// What was read last.
    pub fn get(&self) -> Arc<T> {
        self.0.lock().value.clone()
    }

    /// Begins to read.
    pub fn begin(&self) -> Reading {
        let mut latest = self.0.lock();
        latest.begun += 1;
        Reading(latest.begun)
    }

    /// Takes over what was read, unless someone who began later has done so.
    pub fn finish(&self, reading: Reading, value: Arc<T>) {
        let mut latest = self.0.lock();
        if reading.0 > latest.read {
            latest.read = reading.0;
            latest.value = value;
        }
    }
}

/// What others may not hear of what a user does.
#[derive(Debug, Clone, Default)]
pub struct Discretion {
    /// Nobody hears how far they have come.
    pub silent: bool,
    /// To whom they stand in which relation: those with whom a block stands hear nothing at all.
    pub circle: Arc<Circle>,
}

impl Discretion {
    /// Those of `audience` who may hear of it; all of them, mostly.
    pub fn hearers<'a>(&self, audience: &'a [UserId]) -> std::borrow::Cow<'a, [UserId]> {
        if self.circle.blocks_nobody() {
            return audience.into();
        }
        audience.iter().copied().filter(|user| !self.circle.blocks(*user)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use godwit_domain::{
        contact::{Contact, Side, State},
        time::Ms,
    };

    #[test]
    fn what_was_read_by_who_began_later_stays() {
        let latest = Latest::<[u8]>::new(Arc::new([0]));
        let (first, second) = (latest.begin(), latest.begin());
        latest.finish(second, Arc::new([2]));
        latest.finish(first, Arc::new([1]));
        assert_eq!(*latest.get(), [2]);
        let (third, _failed) = (latest.begin(), latest.begin());
        latest.finish(third, Arc::new([3]));
        assert_eq!(*latest.get(), [3], "who began later has not read");
    }

    #[test]
    fn who_is_blocked_hears_nothing() {
        let [ada, ben, cleo] = [1, 2, 3].map(UserId::from_u128);
        let side = Side { state: State::Blocked, since: Ms(1) };
        let contact = Contact { user: ben, side, blocked: true, changed_at: Ms(1) };
        let discretion = Discretion { silent: false, circle: Arc::new(Circle::of(&[contact])) };
        assert_eq!(*discretion.hearers(&[ada, ben, cleo]), [ada, cleo]);
        assert_eq!(*Discretion::default().hearers(&[ada, ben]), [ada, ben]);
    }
}
