//! What the host remembers of a user who is active: how fast they send, what they did lately, what is being judged.
//!
//! All of it is in memory, bounded, and shared by the user's sessions, so that another connection is no way round it.

use godwit_domain::{
    filter::{Activity, Counts},
    id::{ClientId, ConversationId, UserId},
    time::Ms,
};
use lru::LruCache;
use parking_lot::Mutex;
use std::{num::NonZeroUsize, sync::Arc};
use tokio::sync::Notify;

/// How many users are remembered; beyond it the one that was away longest is forgotten.
const PEOPLE_MAX: NonZeroUsize = NonZeroUsize::new(100_000).unwrap();
/// In how many conversations a user's activity is counted apart.
const PLACES_MAX: usize = 16;
/// How many recent bodies are compared.
const BODIES_MAX: usize = 64;

/// The users of whom something is remembered.
pub struct People(Mutex<LruCache<UserId, Arc<Person>>>);

impl Default for People {
    fn default() -> Self {
        Self(Mutex::new(LruCache::unbounded()))
    }
}

impl People {
    /// What is remembered of that user.
    pub fn get(&self, user: UserId) -> Arc<Person> {
        let mut people = self.0.lock();
        let person = people.get_or_insert(user, Arc::default).clone();
        if people.len() > PEOPLE_MAX.get() {
            people.pop_lru();
        }
        person
    }
}

/// One user.
#[derive(Default)]
pub struct Person {
    sends: Mutex<Bucket>,
    lookups: Mutex<Minute>,
    profiles: Mutex<Minute>,
    recent: Mutex<Option<Box<Recent>>>,
    /// Few, as a user's requests in flight are, so a list is the smallest and the fastest.
    judging: Mutex<Vec<(ConversationId, ClientId)>>,
    /// Told whenever one of them ends.
    judged: Notify,
}

impl Person {
    /// Takes one send from the allowance of `per_s` a second after a burst of `burst`.
    ///
    /// # Errors
    /// In how many milliseconds there will be one again.
    pub fn take_send(&self, now: Ms, per_s: u32, burst: u32) -> Result<(), u64> {
        self.sends.lock().take(now, per_s, burst)
    }

    /// Counts a look-up of a name.
    ///
    /// # Errors
    /// There were `max` within a minute: in how many milliseconds there may be one again.
    pub fn take_lookup(&self, now: Ms, max: u32) -> Result<(), u64> {
        self.lookups.lock().take(now, max)
    }

    /// Counts a change of the profile.
    ///
    /// # Errors
    /// There were `max` within a minute: in how many milliseconds there may be one again.
    pub fn take_profile(&self, now: Ms, max: u32) -> Result<(), u64> {
        self.profiles.lock().take(now, max)
    }

    /// Notes an attempt to send and says what came before it.
    pub fn attempt(&self, now: Ms, conversation: ConversationId, body: Option<u64>) -> Activity {
        self.recent.lock().get_or_insert_default().attempt(now, conversation, body)
    }

    /// What the user did lately, where nothing is sent.
    pub fn lately(&self, now: Ms, conversation: Option<ConversationId>) -> Activity {
        let mut recent = self.recent.lock();
        let Some(recent) = recent.as_mut() else {
            return Activity { here: conversation.map(|_| Counts::default()), ..Activity::default() };
        };
        let here = conversation.map(|conversation| {
            let place = recent.here.iter_mut().find(|(other, _)| *other == conversation);
            place.map_or_else(Counts::default, |(_, sliding)| sliding.counts(now))
        });
        Activity { here, overall: recent.overall.counts(now), ..Activity::default() }
    }

    /// Enters a draft before it is judged. Where the same client id is being judged already, waits for its outcome:
    /// what is sent twice at once must not be judged by two sets of plugins.
    pub async fn enter(self: &Arc<Self>, conversation: ConversationId, client: ClientId) -> Judging {
        let key = (conversation, client);
        loop {
            let ended = {
                let mut judging = self.judging.lock();
                if !judging.contains(&key) {
                    judging.push(key);
                    return Judging { person: self.clone(), key };
                }
                // Made before the lock is let go of: it hears of every end from now on.
                self.judged.notified()
            };
            ended.await;
        }
    }
}

/// A draft that is judged, or judged and not yet answered; it ends with its answer.
pub struct Judging {
    person: Arc<Person>,
    key: (ConversationId, ClientId),
}

impl Drop for Judging {
    fn drop(&mut self) {
        let mut judging = self.person.judging.lock();
        if let Some(at) = judging.iter().position(|other| *other == self.key) {
            judging.swap_remove(at);
        }
        drop(judging);
        self.person.judged.notify_waiters();
    }
}

/// A token bucket.
#[derive(Debug, Default)]
pub struct Bucket {
    /// In thousandths of a token; what is missing to a full bucket.
    spent: u64,
    at: Ms,
}

impl Bucket {
    /// Takes one token of a bucket that holds `burst` and gains `per_s` a second; 0 a second is no limit.
    ///
    /// # Errors
    /// In how many milliseconds there will be one.
    pub fn take(&mut self, now: Ms, per_s: u32, burst: u32) -> Result<(), u64> {
        if per_s == 0 {
            return Ok(());
        }
        // A token a second is a thousandth of a token a millisecond.
        let gained = now.since(self.at).saturating_mul(u64::from(per_s));
        self.spent = self.spent.saturating_sub(gained);
        self.at = self.at.max(now);
        let full = u64::from(burst.max(1)) * 1000;
        if self.spent + 1000 > full {
            return Err((self.spent + 1000 - full).div_ceil(u64::from(per_s)));
        }
        self.spent += 1000;
        Ok(())
    }

    /// Whether nothing would be lost by forgetting it.
    pub fn is_full(&self, now: Ms, per_s: u32) -> bool {
        now.since(self.at).saturating_mul(u64::from(per_s)) >= self.spent
    }
}

/// What happened within a minute, counted from the first.
#[derive(Debug, Default)]
struct Minute {
    since: Ms,
    count: u32,
}

impl Minute {
    /// Counts one more of `max`; 0 is no limit.
    fn take(&mut self, now: Ms, max: u32) -> Result<(), u64> {
        const MINUTE_MS: u64 = 60_000;
        if now.since(self.since) >= MINUTE_MS {
            *self = Self { since: now, count: 0 };
        }
        if max > 0 && self.count >= max {
            return Err(self.since.plus(MINUTE_MS).since(now));
        }
        self.count = self.count.saturating_add(1);
        Ok(())
    }
}

#[derive(Default)]
struct Recent {
    overall: Sliding,
    /// The place used last comes first.
    here: Vec<(ConversationId, Sliding)>,
    /// A ring of the hashes of recent bodies.
    bodies: Vec<u64>,
    /// When each of them came: apart from the hashes, of which every attempt reads all.
    bodies_at: Vec<Ms>,
    next_body: usize,
}

impl Recent {
    fn attempt(&mut self, now: Ms, conversation: ConversationId, body: Option<u64>) -> Activity {
        let overall = self.overall.attempt(now);
        let here = self.place(conversation).attempt(now);
        let mut same_body_60s = 0;
        if let Some(body) = body {
            let same = self.bodies.iter().zip(&self.bodies_at).filter(|(other, _)| **other == body);
            same_body_60s = same.filter(|(_, at)| now.since(**at) < 60_000).count() as u32;
            if self.bodies.len() < BODIES_MAX {
                self.bodies.push(body);
                self.bodies_at.push(now);
            } else {
                self.bodies[self.next_body] = body;
                self.bodies_at[self.next_body] = now;
                self.next_body = (self.next_body + 1) % BODIES_MAX;
            }
        }
        Activity { here: Some(here), overall, same_body_60s, member_since: None }
    }

    /// What is counted in that conversation, which becomes the one used last.
    fn place(&mut self, conversation: ConversationId) -> &mut Sliding {
        let at = self.here.iter().position(|(other, _)| *other == conversation).unwrap_or_else(|| {
            self.here.truncate(PLACES_MAX - 1);
            self.here.push((conversation, Sliding::default()));
            self.here.len() - 1
        });
        self.here[..=at].rotate_right(1);
        &mut self.here[0].1
    }
}

/// Counts of the last ten seconds, minute and hour, each by parts, so that what they cost does not grow with use.
#[derive(Debug, Default)]
struct Sliding {
    seconds: Parts<10>,
    ten_seconds: Parts<6>,
    minutes: Parts<60>,
}

impl Sliding {
    /// The counts before this attempt, which is added.
    fn attempt(&mut self, now: Ms) -> Counts {
        let before = self.counts(now);
        self.seconds.add();
        self.ten_seconds.add();
        self.minutes.add();
        before
    }

    fn counts(&mut self, now: Ms) -> Counts {
        Counts {
            messages_10s: self.seconds.count(now.0 / 1_000),
            messages_60s: self.ten_seconds.count(now.0 / 10_000),
            messages_1h: self.minutes.count(now.0 / 60_000),
        }
    }
}

#[derive(Debug)]
struct Parts<const N: usize> {
    counts: [u16; N],
    newest: u64,
    sum: u32,
}

impl<const N: usize> Default for Parts<N> {
    fn default() -> Self {
        Self { counts: [0; N], newest: 0, sum: 0 }
    }
}

impl<const N: usize> Parts<N> {
    /// What is counted up to that part of time, which is the newest from here on.
    fn count(&mut self, part: u64) -> u32 {
        let steps = part.saturating_sub(self.newest).min(N as u64);
        for step in 0..steps {
            let oldest = &mut self.counts[((part - step) % N as u64) as usize];
            self.sum -= u32::from(std::mem::take(oldest));
        }
        self.newest = self.newest.max(part);
        self.sum
    }

    fn add(&mut self) {
        let count = &mut self.counts[(self.newest % N as u64) as usize];
        if *count < u16::MAX {
            *count += 1;
            self.sum += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minute_allows_so_many_and_says_when_there_is_a_next_one() {
        let mut minute = Minute::default();
        let at = |second: u64| Ms(1_000_000 + second * 1_000);
        let told: Vec<_> = [0, 1, 2, 59, 60, 61].map(|second| minute.take(at(second), 2)).into();
        assert_eq!(told, [Ok(()), Ok(()), Err(58_000), Err(1_000), Ok(()), Ok(())]);
        assert!((0..100).all(|_| minute.take(at(62), 0).is_ok()), "0 is no limit");
    }

    #[test]
    fn a_bucket_allows_its_burst_and_then_its_rate() {
        let mut bucket = Bucket::default();
        let start = Ms(1_000_000);
        for _ in 0..3 {
            assert_eq!(bucket.take(start, 2, 3), Ok(()));
        }
        assert_eq!(bucket.take(start, 2, 3), Err(500));
        assert_eq!(bucket.take(start.plus(499), 2, 3), Err(1));
        assert_eq!(bucket.take(start.plus(500), 2, 3), Ok(()));
        assert_eq!(bucket.take(start.plus(500), 0, 0), Ok(()), "0 turns the limit off");
    }

    #[test]
    fn activity_counts_what_came_before_in_its_windows() {
        let person = Person::default();
        let (here, there) = (ConversationId::from_u128(1), ConversationId::from_u128(2));
        let start = Ms(3_600_000_000);
        assert_eq!(person.attempt(start, here, Some(7)).overall, Counts::default());
        let second = person.attempt(start.plus(500), there, Some(7));
        assert_eq!(second.overall, Counts { messages_10s: 1, messages_60s: 1, messages_1h: 1 });
        assert_eq!(second.here, Some(Counts::default()));
        assert_eq!(second.same_body_60s, 1);
        let later = person.attempt(start.plus(11_000), here, Some(7));
        assert_eq!(later.overall, Counts { messages_10s: 0, messages_60s: 2, messages_1h: 2 });
        assert_eq!(later.here, Some(Counts { messages_10s: 0, messages_60s: 1, messages_1h: 1 }));
        assert_eq!(later.same_body_60s, 2);
        let much_later = person.attempt(start.plus(3_700_000), here, None);
        assert_eq!(much_later.overall, Counts::default());
        assert_eq!(much_later.same_body_60s, 0);
    }

    #[test]
    fn what_was_done_lately_is_told_without_counting_as_done() {
        let person = Person::default();
        let (here, there) = (ConversationId::from_u128(1), ConversationId::from_u128(2));
        let start = Ms(3_600_000_000);
        assert_eq!(person.lately(start, Some(here)).here, Some(Counts::default()));
        person.attempt(start, here, None);
        let once = Counts { messages_10s: 1, messages_60s: 1, messages_1h: 1 };
        for _ in 0..2 {
            let lately = person.lately(start, Some(here));
            assert_eq!((lately.overall, lately.here), (once, Some(once)));
        }
        assert_eq!(person.lately(start, Some(there)).here, Some(Counts::default()));
        assert_eq!(person.lately(start, None).here, None);
        assert_eq!(person.lately(start.plus(3_700_000), Some(here)).overall, Counts::default());
    }

    #[test]
    fn the_place_that_was_left_longest_ago_is_forgotten_first() {
        let person = Person::default();
        let place = |n: usize| ConversationId::from_u128(n as u128);
        let here = |n| person.attempt(Ms(3_600_000_000), place(n), None).here.unwrap().messages_10s;
        for n in 0..PLACES_MAX {
            assert_eq!(here(n), 0, "{n}");
        }
        assert_eq!(here(0), 1);
        assert_eq!(here(PLACES_MAX), 0, "takes the place of the second");
        assert_eq!(here(0), 2);
        assert_eq!(here(1), 0);
    }

    #[tokio::test]
    async fn the_same_client_id_waits_for_the_outcome_of_the_first() {
        use futures_util::FutureExt;
        let person: Arc<Person> = Arc::default();
        let (conversation, client) = (ConversationId::from_u128(1), ClientId::from_u128(2));
        let first = person.enter(conversation, client).await;
        let mut second = Box::pin(person.enter(conversation, client));
        assert!((&mut second).now_or_never().is_none());
        let other = person.enter(conversation, ClientId::from_u128(3)).now_or_never();
        assert!(other.is_some());
        drop(first);
        assert!(second.now_or_never().is_some());
    }
}
