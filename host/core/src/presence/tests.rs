//! Presence without its tasks: time passes when a test says so; and once with them.

use super::*;
use crate::{
    facts::Facts,
    outbox::{self, Drain, Frame},
};
use async_trait::async_trait;
use godwit_domain::{
    time::Ms,
    user::{Privacy, User},
};
use serde_json::Value;
use std::{
    cell::Cell,
    sync::atomic::AtomicBool,
    task::{Context, Waker},
};
use uuid::Uuid;

const ADA: UserId = UserId::from_u128(1);
const BEN: UserId = UserId::from_u128(2);
const CLEO: UserId = UserId::from_u128(3);

/// Everyone sees everyone, but for these pairs.
#[derive(Default)]
struct But {
    hidden: Mutex<HashSet<(UserId, UserId)>>,
    fails: AtomicBool,
}

impl But {
    fn see(&self, pairs: impl Iterator<Item = (UserId, UserId)>) -> Result<Vec<bool>, Error> {
        if self.fails.load(Ordering::SeqCst) {
            return Err(Error::Unavailable("not now".into()));
        }
        let hidden = self.hidden.lock();
        Ok(pairs.map(|pair| !hidden.contains(&pair)).collect())
    }
}

#[async_trait]
impl Sight for But {
    async fn of(&self, viewer: UserId, targets: &[UserId]) -> Result<Vec<bool>, Error> {
        self.see(targets.iter().map(|target| (viewer, *target)))
    }

    async fn on(&self, target: UserId, viewers: &[UserId]) -> Result<Vec<bool>, Error> {
        self.see(viewers.iter().map(|viewer| (*viewer, target)))
    }
}

#[derive(Default)]
struct Rows(Mutex<HashMap<UserId, Ms>>);

#[async_trait]
impl LastSeen for Rows {
    async fn last_seen(&self, users: &[UserId]) -> Result<Vec<Option<Ms>>, Error> {
        let rows = self.0.lock();
        Ok(users.iter().map(|user| rows.get(user).copied()).collect())
    }

    async fn raise_last_seen(&self, seen: &[(UserId, Ms)]) -> Result<(), Error> {
        self.0.lock().extend(seen.iter().copied());
        Ok(())
    }
}

thread_local! {
    /// The time of a test, in milliseconds since it began. Every test has a thread of its own.
    static PASSED_MS: Cell<u64> = const { Cell::new(0) };
    static BEGAN: Instant = Instant::now();
}

fn now() -> Instant {
    BEGAN.with(|began| *began) + Duration::from_millis(PASSED_MS.get())
}

/// Goes with that time.
struct Hands;

impl Clock for Hands {
    fn now(&self) -> Ms {
        Ms(1_000_000 + PASSED_MS.get())
    }
}

/// Presence without its tasks: their work is done as time passes.
struct House {
    presence: Arc<Presence>,
    sight: Arc<But>,
    rows: Arc<Rows>,
    metrics: Metrics,
}

impl House {
    fn new() -> Self {
        let (sight, rows, metrics) = (Arc::<But>::default(), Arc::<Rows>::default(), Metrics::default());
        let ports = Ports {
            sight: sight.clone(),
            last_seen: rows.clone(),
            clock: Arc::new(Hands),
            metrics: metrics.clone(),
        };
        let presence = Arc::new(Presence::new(&Options::default(), ports, now));
        Self { presence, sight, rows, metrics }
    }

    /// Lets time pass, and does what comes due.
    async fn seconds(&self, seconds: u64) {
        for _ in 0..seconds * 10 {
            PASSED_MS.set(PASSED_MS.get() + 100);
            if let Some(next) = self.presence.advance() {
                assert!(next > now(), "what is due is done");
            }
            self.presence.seen.write().await;
        }
    }

    fn enter(&self, user: UserId) -> Client {
        let (outbox, drain) = outbox::channel(1 << 20);
        let known = User {
            id: user,
            name: "someone".into(),
            display_name: None,
            bot: false,
            time_zone: None,
            joined_at: Ms(1),
            avatar: None,
            privacy: Privacy::default(),
        };
        let entry = Entry {
            id: SessionId(Uuid::new_v4()),
            user,
            login: None,
            outbox,
            active: AtomicBool::new(true),
            following: Mutex::default(),
            facts: Facts::of(Arc::new(known)),
        };
        Client { here: self.presence.enter(Arc::new(entry)), drain }
    }

    async fn of(&self, viewer: UserId, user: UserId) -> (bool, Option<Ms>) {
        let all = self.presence.of(viewer, &[user]).await.unwrap();
        (all[0].online, all[0].last_seen)
    }

    fn rows_of_presence(&self) -> usize {
        self.presence.stripes.iter().map(|stripe| stripe.lock().len()).sum()
    }
}

struct Client {
    here: Here,
    drain: Drain,
}

impl Client {
    async fn watch(&self, users: &[UserId]) -> Vec<bool> {
        let mut answered = Vec::new();
        let answer = |all: &[object::Presence]| answered = all.iter().map(|one| one.online).collect();
        self.here.watch(users.to_vec(), answer).await.unwrap();
        answered
    }

    fn heard(&mut self) -> Vec<(UserId, bool)> {
        let mut frames = Vec::new();
        let _ = self.drain.poll_next(&mut Context::from_waker(Waker::noop()), &mut frames);
        frames.into_iter().map(read).collect()
    }

    /// The next push, which is the only one.
    async fn next(&mut self) -> (UserId, bool) {
        let mut frames = Vec::new();
        let next = std::future::poll_fn(|context| self.drain.poll_next(context, &mut frames));
        tokio::time::timeout(Duration::from_secs(20), next).await.expect("it comes in time").unwrap();
        assert_eq!(frames.len(), 1);
        read(frames.remove(0))
    }
}

fn read(frame: Frame) -> (UserId, bool) {
    let push: Value = serde_json::from_slice(&frame.into_bytes()).unwrap();
    let user = push["presence"]["user"].as_str().unwrap().parse().unwrap();
    (UserId(user), push["presence"]["online"].as_bool().unwrap())
}

#[tokio::test]
async fn who_flaps_two_seconds_on_and_two_off_is_told_of_to_nobody() {
    let house = House::new();
    let mut ben = house.enter(BEN);
    assert_eq!(ben.watch(&[ADA]).await, [false]);
    for _ in 0..50 {
        let ada = house.enter(ADA);
        house.seconds(2).await;
        drop(ada);
        house.seconds(2).await;
    }
    assert_eq!(ben.heard(), []);
    let ada = house.enter(ADA);
    house.seconds(4).await;
    assert_eq!(ben.heard(), [(ADA, true)]);
    drop(ada);
    for _ in 0..50 {
        house.seconds(2).await;
        let ada = house.enter(ADA);
        house.seconds(2).await;
        drop(ada);
    }
    assert_eq!(ben.heard(), [], "nor of one who was here before");
    house.seconds(6).await;
    assert_eq!(ben.heard(), [(ADA, false)]);
    assert_eq!(house.metrics.presence_pushes.get(), 2);
}

#[tokio::test]
async fn what_is_answered_settles_as_what_is_told_does() {
    let house = House::new();
    let ada = house.enter(ADA);
    assert_eq!(house.of(BEN, ADA).await, (false, None), "too early");
    house.seconds(4).await;
    assert_eq!(house.of(BEN, ADA).await, (true, None));
    let phone = house.enter(ADA);
    house.seconds(4).await;
    drop(ada);
    house.seconds(10).await;
    assert_eq!(house.of(BEN, ADA).await, (true, None), "another device is here");
    drop(phone);
    let left = Hands.now();
    house.seconds(4).await;
    assert_eq!(house.of(BEN, ADA).await, (true, None), "not yet");
    house.seconds(2).await;
    assert_eq!(house.of(BEN, ADA).await, (false, Some(left)));
    house.sight.hidden.lock().insert((BEN, ADA));
    assert_eq!(house.of(BEN, ADA).await, (false, None), "who is not shown someone learns nothing");
    house.seconds(61).await;
    assert_eq!(house.rows.0.lock()[&ADA], left);
    assert_eq!(house.rows_of_presence(), 0);
}

#[tokio::test]
async fn a_watched_set_takes_the_place_of_the_one_before_and_goes_with_its_session() {
    let house = House::new();
    let (mut ben, ada) = (house.enter(BEN), house.enter(ADA));
    house.seconds(4).await;
    assert_eq!(ben.watch(&[ADA, CLEO]).await, [true, false]);
    assert_eq!(house.metrics.watches.get(), 2);
    assert_eq!(ben.watch(&[CLEO]).await, [false]);
    drop(ada);
    let cleo = house.enter(CLEO);
    house.seconds(10).await;
    assert_eq!(ben.heard(), [(CLEO, true)]);
    assert_eq!(ben.watch(&[]).await, Vec::<bool>::new());
    drop(cleo);
    house.seconds(10).await;
    assert_eq!(ben.heard(), []);
    ben.watch(&[ADA, CLEO]).await;
    drop(ben);
    house.seconds(10).await;
    assert_eq!((house.metrics.watches.get(), house.metrics.online.get()), (0, 0));
    assert_eq!(house.rows_of_presence(), 0, "nothing is kept of who is gone");
}

#[tokio::test]
async fn what_others_may_see_is_found_out_anew_when_it_is_in_doubt() {
    let house = House::new();
    let (mut ben, _ada) = (house.enter(BEN), house.enter(ADA));
    house.seconds(4).await;
    ben.watch(&[ADA]).await;
    house.sight.hidden.lock().insert((BEN, ADA));
    house.presence.look_again(ADA).await;
    assert_eq!(ben.heard(), [(ADA, false)], "at once");
    house.sight.hidden.lock().clear();
    house.presence.doubt(BEN);
    assert!(house.presence.settle_doubts().await);
    assert_eq!(ben.heard(), [(ADA, true)], "whichever of the two it is");
    house.presence.doubt(ADA);
    assert!(house.presence.settle_doubts().await);
    assert_eq!(ben.heard(), [], "nothing changed");

    // While nobody can say who may see whom, nobody sees.
    house.sight.fails.store(true, Ordering::SeqCst);
    house.presence.doubt(ADA);
    assert!(!house.presence.settle_doubts().await);
    assert_eq!(ben.heard(), [(ADA, false)]);
    house.sight.fails.store(false, Ordering::SeqCst);
    assert!(house.presence.settle_doubts().await);
    assert_eq!(ben.heard(), [(ADA, true)]);
}

#[tokio::test]
async fn those_who_are_here_at_the_end_were_seen_then() {
    let house = House::new();
    let _ada = house.enter(ADA);
    house.seconds(100).await;
    house.presence.write_all().await;
    assert_eq!(house.rows.0.lock()[&ADA], Ms(1_000_000 + 100_000));
}

#[tokio::test]
async fn the_tasks_do_what_comes_due_and_end_with_what_they_serve() {
    let (sight, rows, metrics) = (Arc::<But>::default(), Arc::<Rows>::default(), Metrics::default());
    let options = Options { online_after_ms: 20, offline_after_ms: 30, ..Options::default() };
    let clock = Arc::new(Hands);
    let ports = Ports { sight: sight.clone(), last_seen: rows.clone(), clock, metrics: metrics.clone() };
    let house = House { presence: Presence::start(&options, ports), sight, rows, metrics };
    let (mut ben, ada) = (house.enter(BEN), house.enter(ADA));
    ben.watch(&[ADA]).await;
    assert_eq!(ben.next().await, (ADA, true));
    house.sight.hidden.lock().insert((BEN, ADA));
    house.presence.doubt(ADA);
    assert_eq!(ben.next().await, (ADA, false));
    house.sight.hidden.lock().clear();
    house.presence.doubt(ADA);
    assert_eq!(ben.next().await, (ADA, true));
    drop(ada);
    assert_eq!(ben.next().await, (ADA, false));
    let gone = Arc::downgrade(&house.presence);
    drop((ben, house));
    while gone.strong_count() > 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}
