//! Calls whose callers go away, at random points: what was begun is thrown away, and nothing else is.
//!
//! The guests say by themselves when one of them is used again that was left in the midst of a call. The points come
//! from a seed, which is printed; `GODWIT_SEED` repeats a run. `GODWIT_LONG=1` cancels at 10,000 points each.

use crate::{
    bed::{Bed, allowed, fixture, scene},
    desk::{call, message},
    hostile::{
        alone,
        guest::{Guest, NOTHING},
        mutated::Random,
    },
};
use godwit_domain::{
    actor::{Event, Outcome, What},
    filter::{Decision, Filters, Judgement},
    message::Content,
    plugin::{Component, Install, Manager},
    time::Ms,
    user::{Privacy, User},
};
use godwit_engine::{Breaker, Options};
use std::{
    future::poll_fn,
    pin::pin,
    sync::{Arc, atomic::Ordering},
    task::Poll,
    time::Duration,
};

const INSTANCES: u32 = 2;

fn points() -> usize {
    if std::env::var_os("GODWIT_LONG").is_some() { 10_000 } else { 300 }
}

fn options() -> Options {
    let mut options = Options {
        call_cpu_ms: 1_000,
        chain_cpu_ms: 1_000,
        call_wall_ms: 20_000,
        instances_per_plugin: INSTANCES,
        breaker: Breaker { senders: 1_000, ..Breaker::default() },
        ..Options::default()
    };
    options.actors.instances_per_plugin = INSTANCES;
    options.actors.call_wall_ms = 20_000;
    options
}

/// Waits for a call, and goes away at a random point: after some polls, or after some time.
async fn leave<T>(call: impl Future<Output = T>, random: &mut Random) -> Option<T> {
    match random.below(2) {
        0 => {
            let (mut call, mut left) = (pin!(call), random.below(8));
            poll_fn(|context| {
                if left == 0 {
                    return Poll::Ready(None);
                }
                left -= 1;
                match call.as_mut().poll(context) {
                    Poll::Ready(done) => Poll::Ready(Some(done)),
                    Poll::Pending if left == 0 => Poll::Ready(None),
                    Poll::Pending => Poll::Pending,
                }
            })
            .await
        }
        _ => tokio::time::timeout(Duration::from_micros(random.below(6_000) as u64), call).await.ok(),
    }
}

/// Works for up to some milliseconds, longer in each call than in the one before, and traps where an earlier call did
/// not come to its end.
fn worker() -> Guest {
    Guest::new("moderation")
        .field("(global $busy (mut i32) (i32.const 0))")
        .body(format!(
            "(if (global.get $busy) (then unreachable))
             (global.set $busy (i32.const 1))
             (local.set $n (i32.mul (i32.rem_u (i32.mul (global.get $calls) (i32.const 7919)) (i32.const 64)) (i32.const 300000)))
             (loop $on (br_if $on (i32.gt_s (local.tee $n (i32.sub (local.get $n) (i32.const 1))) (i32.const 0))))
             {NOTHING}"
        ))
        .post("(global.set $busy (i32.const 0))")
}

#[test]
fn a_filter_that_is_left_in_a_call_is_never_used_again_and_its_place_is_free() {
    alone(
        "cancelling::a_filter_that_is_left_in_a_call_is_never_used_again_and_its_place_is_free",
        leave_filters(),
    );
}

async fn leave_filters() {
    let bed = Bed::new(options()).await;
    let guest = worker();
    bed.engine
        .install(Install {
            manifest: guest.manifest("a"),
            component: Component::Bytes(guest.component()),
            ..fixture("a", "1", "{}")
        })
        .await
        .unwrap();
    let mut random = Random::seeded();
    let each = points().div_ceil(3);
    let seeds = [random.below(1 << 40), random.below(1 << 40), random.below(1 << 40)];
    let talk = |user: u128, seed: usize| {
        let bed = &bed;
        async move {
            let (mut random, mut left) = (Random(seed as u64), 0);
            for n in 0..each {
                let (chain, scene) = (bed.engine.pin(), scene(user));
                let judged = chain.judge(&scene, Content::text(format!("{user} {n}")), None);
                match leave(judged, &mut random).await {
                    None => left += 1,
                    Some((judgement, _)) => assert!(allowed(&judgement).is_some(), "{judgement:?}"),
                }
            }
            left
        }
    };
    let (one, two, three) = tokio::join!(talk(1, seeds[0]), talk(2, seeds[1]), talk(3, seeds[2]));
    let left = one + two + three;
    assert!(left > each / 4, "{left} of {} were left: too few to tell", 3 * each);
    // As many as there may be run at once, and one more waits its turn.
    let (one, two, three) = tokio::join!(bed.judge_of(1, "x"), bed.judge_of(2, "y"), bed.judge_of(3, "z"));
    for (judgement, _) in [one, two, three] {
        assert!(allowed(&judgement).is_some(), "{judgement:?}");
    }
    let status = bed.until("a", |status| (1..=u64::from(INSTANCES)).contains(&status.instances)).await;
    let calls = &status.calls[0];
    assert_eq!((calls.traps, calls.deadlines, calls.busy), (0, 0, 0), "{status:?}; {}", bed.log("a").await);
    let metrics = bed.metrics();
    let of = |name: &str| -> u64 {
        let line = metrics
            .lines()
            .find_map(|line| line.strip_prefix(&format!("{name}{{plugin=\"a\",version=\"1\"}} ")));
        line.unwrap_or_else(|| panic!("{name} in {metrics}")).parse().unwrap()
    };
    let (created, retired) =
        (of("godwit_plugin_instances_created_total"), of("godwit_plugin_instances_retired_total"));
    assert_eq!(created - retired, status.instances, "{created} made, {retired} thrown away");
    assert!(retired > 0, "none was left in the midst of a call");
    println!("{left} of {} calls left, {retired} instances thrown away", 3 * each);
}

#[test]
fn an_actor_that_is_left_in_a_call_is_never_used_again_and_its_effects_do_not_happen() {
    alone(
        "cancelling::an_actor_that_is_left_in_a_call_is_never_used_again_and_its_effects_do_not_happen",
        leave_actors(),
    );
}

async fn leave_actors() {
    let bed = Bed::new(options()).await;
    bed.install_actor("{}").await.unwrap();
    let mut random = Random::seeded();
    bed.store.delay_ms.store(1, Ordering::SeqCst);
    let (mut left, mut done) = (0, 0);
    for n in 0..points() {
        // Between the two it is in the midst of a call: it reads, which waits, and works.
        let reads: Vec<_> = (0..random.below(4)).map(|k| format!(r#"{{"get": "k{k}"}}, "#)).collect();
        let steps = format!(
            r#"["recall", {{"keep": "busy"}}, {}{{"repeat": [{}, {{"hit": "k"}}]}}, {{"set": ["left", "{n}"]}}, {{"keep": ""}}]"#,
            reads.concat(),
            random.below(2_000)
        );
        let (actor, desk, call) = (bed.actor(), bed.desk(), call(&format!("event {n}")));
        let sender = User {
            id: crate::desk::ADA,
            name: "ada".into(),
            display_name: None,
            bot: false,
            joined_at: Ms(1),
            time_zone: None,
            avatar: None,
            privacy: Privacy::default(),
        };
        let what = What::Message {
            message: Arc::new(message(1, &steps)),
            sender: Arc::new(sender),
            mentioned: false,
        };
        let event = Event { id: call.event.clone(), at: Ms(1), hops: 0, place: None, what };
        match leave(actor.on_event(&call, &event, desk), &mut random).await {
            None => left += 1,
            Some(Outcome::Done((), effects)) => {
                assert_eq!(bed.told().await[0], "", "an instance was used again that was left in a call");
                assert_eq!(effects.writes.len(), 1);
                done += 1;
            }
            Some(other) => panic!("{other:?}"),
        }
    }
    assert!(left > points() / 4 && done > points() / 20, "{left} left, {done} done: too few to tell");
    assert!(bed.store.rows.lock().unwrap().is_empty(), "nothing happens unless the caller commits it");
    // There is room for as many as ever.
    bed.store.delay_ms.store(50, Ordering::SeqCst);
    let hear = || bed.hear(r#"[{"get": "a"}, "recall"]"#);
    let (one, two, three) = tokio::join!(hear(), hear(), hear());
    for outcome in [one, two, three] {
        assert!(matches!(outcome, Outcome::Done(..)), "{outcome:?}");
    }
    println!("{left} of {} calls left, {done} done", points());
}

#[tokio::test]
async fn who_leaves_the_queue_takes_no_place_along() {
    let waiting =
        Options { instances_per_plugin: 1, waiting_max: 4, call_cpu_ms: 200, chain_cpu_ms: 200, ..options() };
    let bed = Bed::new(waiting).await;
    bed.install("a", "1", r#"{"moderation": {"mode": "loop", "on": "bad"}}"#).await.unwrap();
    let mut random = Random::seeded();
    for n in 0..10 {
        let bad = format!("bad {n}");
        let stalls = bed.judge(&bad);
        let wait = async {
            for user in 2..30 {
                leave(bed.judge_of(user, "good"), &mut random).await;
            }
        };
        let ((judgement, _), ()) = tokio::join!(stalls, wait);
        assert!(matches!(judgement, Judgement::Failed { how: Decision::Deadline, .. }), "{judgement:?}");
        assert_eq!(allowed(&bed.judge_of(40, "good").await.0), Some("good"));
    }
    assert!(
        bed.metrics().contains("godwit_plugin_waiting{plugin=\"a\",version=\"1\"} 0"),
        "{}",
        bed.metrics()
    );
}
