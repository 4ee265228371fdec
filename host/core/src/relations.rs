//! How users stand to each other, for whoever decides what one of them may see of the other.
//!
//! It owns what is remembered of it: the circle of each user who was asked about lately, bounded, forgotten when a
//! relation in it changes. It refuses to change anything: relations change in the shard of the two users' direct
//! conversation ([`crate::sequencer`]), which is also where direct messages are checked.

use godwit_domain::{
    contact::{Contact, State},
    id::UserId,
    tables, waist,
};
use lru::LruCache;
use parking_lot::Mutex;
use std::sync::Arc;

const STRIPES: usize = 64;
/// How many users are remembered in a stripe; who was not asked about for longest goes first.
const CIRCLES_MAX: usize = 1_024;
/// How many relations of them, in all.
const RELATIONS_MAX: usize = 32_768;
/// How often a circle is read anew that changed while it was read, before it is used without being remembered.
const READS_MAX: usize = 3;

/// How two users stand to each other, whichever of them asks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Between {
    /// They are contacts.
    pub contact: bool,
    /// One of them blocks the other.
    pub blocked: bool,
}

/// Everyone to whom one user stands in a relation.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Circle {
    /// How others stand to them, but for those who do not at all, in order.
    states: Vec<(UserId, State)>,
    /// Those of whom and them either blocks the other, in order.
    blocked: Vec<UserId>,
    /// How many requests of theirs are open.
    pub requested: usize,
    /// How many contacts they have, made requests and blocked people included.
    pub contacts: usize,
    /// How many requests wait for them.
    pub asked: usize,
}

impl Circle {
    /// What a user's contacts (in order) say.
    pub fn of(contacts: &[Contact]) -> Self {
        let states = contacts.iter().map(|contact| (contact.user, contact.side.state));
        let states: Vec<_> = states.filter(|(_, state)| *state != State::None).collect();
        let count = |state| states.iter().filter(|(_, other)| *other == state).count();
        let (requested, asked) = (count(State::Requested), count(State::Asked));
        let blocked = contacts.iter().filter(|contact| contact.blocked).map(|contact| contact.user).collect();
        Self { requested, asked, contacts: states.len() - asked, states, blocked }
    }

    /// How another stands to its user, as the user is told.
    pub fn state(&self, other: UserId) -> State {
        let found = self.states.binary_search_by_key(&other, |(user, _)| *user);
        found.map_or(State::None, |index| self.states[index].1)
    }

    /// How its user and another stand to each other.
    pub fn between(&self, other: UserId) -> Between {
        Between { contact: self.state(other) == State::Friend, blocked: self.blocks(other) }
    }

    /// Whether its user and another block each other, be it one of them.
    pub fn blocks(&self, other: UserId) -> bool {
        self.blocked.binary_search(&other).is_ok()
    }

    /// Whether a block stands with nobody.
    pub fn blocks_nobody(&self) -> bool {
        self.blocked.is_empty()
    }

    fn size(&self) -> usize {
        self.states.len() + self.blocked.len()
    }
}

/// See the module.
pub struct Relations {
    tables: Arc<dyn tables::Relations>,
    stripes: [Mutex<Stripe>; STRIPES],
}

struct Stripe {
    circles: LruCache<UserId, Arc<Circle>>,
    /// The sum of their sizes.
    size: usize,
    /// Counts changes: what was read before one is not remembered.
    changes: u64,
}

impl Stripe {
    fn forget(&mut self, user: UserId) {
        self.changes += 1;
        if let Some(circle) = self.circles.pop(&user) {
            self.size -= circle.size();
        }
    }

    fn remember(&mut self, user: UserId, circle: Arc<Circle>) {
        self.size += circle.size();
        if let Some(before) = self.circles.put(user, circle) {
            self.size -= before.size();
        }
        while self.circles.len() > CIRCLES_MAX || self.size > RELATIONS_MAX {
            let Some((_, circle)) = self.circles.pop_lru() else { break };
            self.size -= circle.size();
        }
    }
}

impl Relations {
    /// Remembers nothing yet.
    pub fn new(tables: Arc<dyn tables::Relations>) -> Self {
        let stripe = |_| Mutex::new(Stripe { circles: LruCache::unbounded(), size: 0, changes: 0 });
        Self { tables, stripes: std::array::from_fn(stripe) }
    }

    fn stripe(&self, user: UserId) -> &Mutex<Stripe> {
        &self.stripes[usize::from(user.as_bytes()[15]) % STRIPES]
    }

    /// Everyone to whom a user stands in a relation: from memory, or by one read.
    ///
    /// # Errors
    /// That of the store.
    pub async fn circle(&self, user: UserId) -> Result<Arc<Circle>, waist::Error> {
        let mut reads = 0;
        loop {
            let before = {
                let mut stripe = self.stripe(user).lock();
                if let Some(circle) = stripe.circles.get(&user) {
                    return Ok(circle.clone());
                }
                stripe.changes
            };
            let circle = Arc::new(Circle::of(&self.tables.contacts(user).await?));
            reads += 1;
            let mut stripe = self.stripe(user).lock();
            if stripe.changes == before {
                stripe.remember(user, circle.clone());
                return Ok(circle);
            }
            if reads == READS_MAX {
                return Ok(circle);
            }
        }
    }

    /// The relation of these two has changed, or perhaps has.
    pub fn changed(&self, a: UserId, b: UserId) {
        for user in [a, b] {
            self.stripe(user).lock().forget(user);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use async_trait::async_trait;
    use godwit_domain::{
        contact::{Relation, Side},
        tables::Written,
        time::Ms,
    };

    #[derive(Default)]
    struct Rows {
        contacts: Mutex<Vec<Contact>>,
        reads: Mutex<usize>,
    }

    #[async_trait]
    impl tables::Relations for Rows {
        async fn relation(&self, _: UserId, _: UserId) -> Result<Relation, waist::Error> {
            Ok(Relation::default())
        }

        async fn relate(
            &self,
            _: UserId,
            _: UserId,
            _: &Relation,
            _: &Relation,
        ) -> Result<Written, waist::Error> {
            Ok(Written::No)
        }

        async fn contacts(&self, _: UserId) -> Result<Vec<Contact>, waist::Error> {
            *self.reads.lock() += 1;
            Ok(self.contacts.lock().clone())
        }
    }

    fn contact(user: u128, state: State, blocked: bool) -> Contact {
        let side = Side { state, since: Ms(1) };
        Contact { user: UserId::from_u128(user), side, blocked, changed_at: Ms(1) }
    }

    #[tokio::test]
    async fn a_circle_is_read_once_and_again_after_a_change() {
        let rows = Arc::new(Rows::default());
        *rows.contacts.lock() = vec![contact(2, State::Friend, false), contact(3, State::None, true)];
        let relations = Relations::new(rows.clone());
        let [ada, ben, cleo, dora] = [1, 2, 3, 4].map(UserId::from_u128);
        let expected = [
            Between { contact: true, blocked: false },
            Between { contact: false, blocked: true },
            Between::default(),
        ];
        let circle = relations.circle(ada).await.unwrap();
        assert_eq!([ben, cleo, dora].map(|other| circle.between(other)), expected);
        assert_eq!((circle.contacts, circle.requested, circle.blocks_nobody()), (1, 0, false));
        assert_eq!(relations.circle(ada).await.unwrap(), circle);
        assert_eq!(*rows.reads.lock(), 1);
        rows.contacts.lock().clear();
        relations.changed(cleo, ada);
        assert_eq!(relations.circle(ada).await.unwrap().between(ben), Between::default());
        assert_eq!(*rows.reads.lock(), 2);
    }

    #[test]
    fn what_is_remembered_is_bounded_by_users_and_by_relations() {
        let mut stripe = Stripe { circles: LruCache::unbounded(), size: 0, changes: 0 };
        let contacts: Vec<_> =
            (0..RELATIONS_MAX as u128 / 2).map(|n| contact(n, State::Friend, false)).collect();
        let large = Arc::new(Circle::of(&contacts));
        for user in 1..=3 {
            stripe.remember(UserId::from_u128(user), large.clone());
        }
        assert_eq!((stripe.circles.len(), stripe.size), (2, RELATIONS_MAX));
        for user in 0..2 * CIRCLES_MAX as u128 {
            stripe.remember(UserId::from_u128(user), Arc::default());
        }
        assert_eq!((stripe.circles.len(), stripe.size), (CIRCLES_MAX, 0));
    }
}
