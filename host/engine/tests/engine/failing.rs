//! What the failures of a version lead to: breaker, quarantine, the way back, poison.

use crate::bed::{Bed, allowed, fixture, refused};
use godwit_domain::{
    filter::{Decision, Judgement},
    plugin::{Circuit, Health, Manager, OnOpen, Setting},
};
use godwit_engine::{Breaker, Options, Poison, Rollback};
use std::sync::atomic::Ordering;

/// A breaker of three senders, which pauses for ten seconds.
fn options() -> Options {
    let breaker = Breaker { senders: 3, trips: 3, ..Breaker::default() };
    Options { breaker, ..Options::default() }
}

fn how(judgement: &Judgement) -> Option<Decision> {
    match judgement {
        Judgement::Failed { how, .. } => Some(*how),
        _ => None,
    }
}

const TRAPPING: &str = r#"{"moderation": {"mode": "trap", "on": "bait"}}"#;

/// Each of these users sends something of their own that traps.
async fn trap(bed: &Bed, users: std::ops::Range<u128>) {
    for user in users {
        assert_eq!(how(&bed.judge_of(user, &format!("bait {user}")).await.0), Some(Decision::Trap), "{user}");
    }
}

#[tokio::test]
async fn one_sender_who_traps_the_moderator_closes_it_to_nobody_else() {
    let bed = Bed::new(options()).await;
    bed.install("a", "1", TRAPPING).await.unwrap();
    for message in 0..40 {
        let (judgement, _) = bed.judge_of(1, &format!("bait {message}")).await;
        assert_eq!(how(&judgement), Some(Decision::Trap));
        assert_eq!(allowed(&bed.judge_of(2, "hello").await.0), Some("hello"));
    }
    assert_eq!(bed.status("a").await.calls[1].breaker, Circuit::Closed);
}

#[tokio::test]
async fn the_breaker_opens_when_several_senders_fail_and_what_is_not_asked_goes_by_its_policy() {
    let bed = Bed::new(options()).await;
    bed.install("a", "1", TRAPPING).await.unwrap();
    trap(&bed, 1..4).await;
    let status = bed.status("a").await;
    assert_eq!(
        (status.calls[1].breaker, status.calls[1].trips, status.calls[1].traps),
        (Circuit::Open, 1, 3)
    );
    assert_eq!(status.calls[0].breaker, Circuit::Closed, "the other hook has its own");
    let policy = async |open| {
        bed.engine.set("a", Setting::Failure(None, Some(open))).await.unwrap();
        bed.judge_of(9, "hello").await
    };
    let (judgement, verdict) = policy(OnOpen::Reject).await;
    assert!(matches!(judgement, Judgement::Failed { how: Decision::Open, held: None, .. }), "{judgement:?}");
    assert_eq!(verdict.steps.last().unwrap().decision, Decision::Open);
    let (judgement, _) = policy(OnOpen::Hold).await;
    assert!(
        matches!(judgement, Judgement::Failed { how: Decision::Open, held: Some(_), .. }),
        "{judgement:?}"
    );
    let (judgement, verdict) = policy(OnOpen::Allow).await;
    assert_eq!(allowed(&judgement), Some("hello"));
    assert_eq!(
        verdict.steps.last().unwrap().decision,
        Decision::Open,
        "the trace says that it was not asked"
    );
    let metrics = bed.metrics();
    for line in [
        r#"godwit_plugin_breaker{plugin="a",version="1",hook="moderation"} 2"#,
        r#"godwit_plugin_traps_total{plugin="a",version="1",hook="moderation",kind="unreachable"} 3"#,
        r#"godwit_plugin_calls_total{plugin="a",version="1",hook="moderation",decision="open"} 3"#,
    ] {
        assert!(metrics.contains(line), "{line} in {metrics}");
    }
    // After its pause one call shows how it goes; who failed is not the one.
    bed.clock.pass(11);
    assert_eq!(allowed(&bed.judge_of(1, "hello").await.0), Some("hello"), "not asked, and allowed");
    assert_eq!(bed.status("a").await.calls[1].breaker, Circuit::HalfOpen);
    let (_, verdict) = bed.judge_of(9, "hello").await;
    assert_eq!(verdict.steps.last().unwrap().decision, Decision::Allow);
    assert_eq!(bed.status("a").await.calls[1].breaker, Circuit::Closed);
    assert!(bed.log("a").await.contains("the breaker is open"));
}

#[tokio::test]
async fn a_normaliser_whose_breaker_is_open_leaves_the_text_as_it_was() {
    let bed = Bed::new(options()).await;
    bed.install("a", "1", r#"{"normalise": {"mode": "trap", "on": "bait"}}"#).await.unwrap();
    for user in 1..4 {
        assert!(allowed(&bed.judge_of(user, &format!("bait {user}")).await.0).is_some());
    }
    let (judgement, verdict) = bed.judge_of(9, "hello").await;
    assert_eq!(allowed(&judgement), Some("hello"));
    let decisions: Vec<_> = verdict.steps.iter().map(|step| step.decision).collect();
    assert_eq!(decisions, [Decision::Open, Decision::Allow]);
}

#[tokio::test]
async fn repeated_trips_end_in_quarantine_which_lasts_until_an_operator_ends_it() {
    let bed = Bed::new(options()).await;
    bed.install("a", "1", TRAPPING).await.unwrap();
    trap(&bed, 1..4).await;
    for round in 0..2 {
        bed.clock.pass(11);
        trap(&bed, 10 + round..11 + round).await;
    }
    let status = bed.until("a", |status| status.quarantine.is_some()).await;
    assert_eq!((status.health, status.instances), (Health::Quarantined, 0));
    assert!(status.quarantine.unwrap().why.contains("`moderation` opened 3 times"));
    let bed = bed.restarted().await;
    bed.clock.pass(3_600);
    assert_eq!(how(&bed.judge_of(9, "hello").await.0), Some(Decision::Open));
    assert_eq!(bed.status("a").await.health, Health::Quarantined);
    bed.engine.set("a", Setting::Failure(None, Some(OnOpen::Allow))).await.unwrap();
    assert_eq!(allowed(&bed.judge_of(9, "hello").await.0), Some("hello"));
    let enabled = bed.engine.set("a", Setting::Disabled(false)).await.unwrap();
    assert_eq!((enabled.health, enabled.quarantine), (Health::Serving, None));
    assert_eq!(how(&bed.judge_of(9, "bait").await.0), Some(Decision::Trap), "it is asked again");
}

#[tokio::test]
async fn another_version_ends_a_quarantine() {
    let bed = Bed::new(Options { breaker: Breaker { trips: 1, ..options().breaker }, ..options() }).await;
    bed.install("a", "1", TRAPPING).await.unwrap();
    trap(&bed, 1..4).await;
    bed.until("a", |status| status.quarantine.is_some()).await;
    bed.install("a", "2", "{}").await.unwrap();
    let status = bed.status("a").await;
    assert_eq!((status.health, status.quarantine), (Health::Serving, None));
    assert_eq!(allowed(&bed.judge_of(9, "hello").await.0), Some("hello"));
}

#[tokio::test]
async fn a_version_whose_instances_cannot_be_made_any_more_is_quarantined() {
    let bed = Bed::new(Options { calls_per_instance: 1, ..options() }).await;
    // From a minute after the start of the tests' clock on.
    let config = r#"{"init": {"traps_from_ms": 1700000060000}}"#;
    bed.install("a", "1", config).await.unwrap();
    assert_eq!(allowed(&bed.judge("hello").await.0), Some("hello"));
    bed.clock.pass(120);
    for message in 0..100 {
        if bed.status("a").await.quarantine.is_some() {
            break;
        }
        bed.judge_of(message, &format!("message {message}")).await;
    }
    let status = bed.until("a", |status| status.quarantine.is_some()).await;
    assert!(status.quarantine.unwrap().why.contains("5 instances in a row could not be made"));
}

#[tokio::test]
async fn a_version_that_fails_after_a_swap_is_taken_back_by_itself() {
    let rollback = Rollback { failures: 4, ..Rollback::default() };
    let bed = Bed::new(Options { rollback, ..Options::default() }).await;
    let stamp = r#"{"normalise": {"mode": "stamp", "marker": "1"}}"#;
    bed.install("a", "1", stamp).await.unwrap();
    bed.install("a", "2", r#"{"moderation": {"mode": "loop"}}"#).await.unwrap();
    for message in 0..4 {
        let (judgement, _) = bed.judge(&format!("message {message}")).await;
        assert_eq!(how(&judgement), Some(Decision::Deadline), "never let through");
    }
    let status = bed.until("a", |status| status.reverted.is_some()).await;
    let reverted = status.reverted.unwrap();
    assert_eq!((&*reverted.from, &*reverted.to, &*status.version), ("2", "1", "1"));
    assert!(reverted.why.contains("4 of 8 calls trapped or were cut"), "{}", reverted.why);
    assert_eq!(allowed(&bed.judge("x").await.0), Some("1 x"));
    assert!(bed.log("a").await.contains("version `2` was taken back"));
    let bed = bed.restarted().await;
    let status = bed.status("a").await;
    assert_eq!(
        (&*status.version, status.previous.as_deref(), status.reverted.is_some()),
        ("1", Some("2"), true)
    );
    // It is told until the next version comes.
    bed.install("a", "3", stamp).await.unwrap();
    assert_eq!(bed.status("a").await.reverted, None);
}

#[tokio::test]
async fn a_version_is_not_taken_back_for_few_failures_nor_long_after_its_swap_nor_where_it_is_pinned() {
    let rollback = Rollback { failures: 4, percent: 50, window_s: 600 };
    let breaker = Breaker { senders: 1_000, ..Breaker::default() };
    let bed = Bed::new(Options { rollback, breaker, ..Options::default() }).await;
    for version in ["1", "2"] {
        bed.install("a", version, TRAPPING).await.unwrap();
    }
    // Two calls a message: less than half of them fail.
    for user in 0..10 {
        bed.judge_of(user, &format!("bait {user}")).await;
        assert!(allowed(&bed.judge_of(user, "hello").await.0).is_some());
    }
    assert_eq!(bed.status("a").await.version, "2");
    bed.clock.pass(601);
    trap(&bed, 100..200).await;
    let status = bed.status("a").await;
    assert_eq!((&*status.version, status.reverted, status.health), ("2", None, Health::Serving));
    bed.install("a", "3", TRAPPING).await.unwrap();
    bed.engine.set("a", Setting::Pinned(true)).await.unwrap();
    trap(&bed, 200..300).await;
    let status = bed.status("a").await;
    assert_eq!((&*status.version, status.reverted, status.health), ("3", None, Health::Serving));
}

#[tokio::test]
async fn what_could_not_be_stored_at_once_is_stored_later_and_the_version_is_not_asked_meanwhile() {
    let rollback = Rollback { failures: 2, ..Rollback::default() };
    let bed = Bed::new(Options { rollback, ..Options::default() }).await;
    bed.install("a", "1", "{}").await.unwrap();
    bed.install("a", "2", r#"{"moderation": {"mode": "trap"}}"#).await.unwrap();
    bed.tables.broken.store(true, Ordering::SeqCst);
    trap(&bed, 0..2).await;
    assert_eq!(how(&bed.judge("x").await.0), Some(Decision::Open));
    bed.tables.broken.store(false, Ordering::SeqCst);
    bed.until("a", |status| status.version == "1").await;
    assert_eq!(allowed(&bed.judge("x").await.0), Some("x"));
}

#[tokio::test]
async fn a_body_that_killed_a_plugin_twice_is_refused_unseen_and_the_plugin_lives_on() {
    let bed = Bed::new(Options::default()).await;
    bed.install("a", "1", TRAPPING).await.unwrap();
    for user in [1, 2] {
        assert_eq!(how(&bed.judge_of(user, "bait").await.0), Some(Decision::Trap));
    }
    let (judgement, verdict) = bed.judge_of(3, "bait").await;
    assert_eq!(refused(&judgement), Some("poison"));
    assert_eq!(verdict.steps.last().unwrap().decision, Decision::Poison);
    assert_eq!(bed.status("a").await.calls[1].traps, 2, "it was not shown");
    assert_eq!(allowed(&bed.judge_of(3, "hello").await.0), Some("hello"));
    assert_eq!(bed.status("a").await.poisoned, 1);
    for _ in 0..1_000 {
        if !godwit_domain::tables::Plugins::poisoned(&*bed.tables, "a").await.unwrap().is_empty() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    let bed = bed.restarted().await;
    assert_eq!(refused(&bed.judge_of(4, "bait").await.0), Some("poison"));
    let poisoned = bed.engine.poisoned("a").await.unwrap();
    assert_eq!((poisoned.len(), &*poisoned[0].version, &*poisoned[0].how), (1, "1", "trap"));
    assert_eq!(bed.engine.forgive("a").await.unwrap(), 1);
    assert_eq!(how(&bed.judge_of(4, "bait").await.0), Some(Decision::Trap));
    let bed = bed.restarted().await;
    assert!(bed.engine.poisoned("a").await.unwrap().is_empty());
    // A version that can bear it is shown it.
    trap(&bed, 7..8).await;
    trap(&bed, 7..8).await;
    assert_eq!(refused(&bed.judge_of(7, "bait 7").await.0), Some("poison"));
    bed.install("a", "2", "{}").await.unwrap();
    assert_eq!(allowed(&bed.judge_of(7, "bait 7").await.0), Some("bait 7"));
}

#[tokio::test]
async fn poison_is_refused_even_where_failures_are_held_and_shown_again_when_its_time_is_over() {
    let poison = Poison { expires_s: 60, ..Poison::default() };
    let bed = Bed::new(Options { poison, ..Options::default() }).await;
    let mut install = fixture("a", "1", TRAPPING);
    install.manifest += "[failure]\nmoderation = \"hold\"\n";
    bed.engine.install(install).await.unwrap();
    for _ in 0..2 {
        assert!(matches!(bed.judge("bait").await.0, Judgement::Failed { held: Some(_), .. }));
    }
    assert_eq!(refused(&bed.judge("bait").await.0), Some("poison"), "the sender hears something definite");
    bed.clock.pass(61);
    assert_eq!(how(&bed.judge("bait").await.0), Some(Decision::Trap));
}

#[tokio::test]
async fn a_text_that_kills_a_normaliser_is_not_shown_to_it_and_goes_on_as_it_was() {
    let bed = Bed::new(Options::default()).await;
    bed.install("a", "1", r#"{"normalise": {"mode": "trap", "on": "bait"}}"#).await.unwrap();
    for _ in 0..3 {
        assert_eq!(allowed(&bed.judge("bait").await.0), Some("bait"));
    }
    assert_eq!(bed.status("a").await.calls[0].traps, 2);
}

#[tokio::test]
async fn memory_and_cpu_time_of_a_version_are_counted() {
    let bed = Bed::new(Options { call_cpu_ms: 20, ..Options::default() }).await;
    bed.install("a", "1", r#"{"moderation": {"mode": "loop", "on": "loop"}}"#).await.unwrap();
    assert_eq!(how(&bed.judge("loop").await.0), Some(Decision::Deadline));
    let status = bed.status("a").await;
    assert!(status.calls[1].cpu_ms >= 20, "{status:?}");
    assert!(status.memory_kib >= 64 && status.instances >= 1, "{status:?}");
    let metrics = bed.metrics();
    let of = |name: &str| {
        metrics.lines().find_map(|line| line.strip_prefix(name)).unwrap().parse::<f64>().unwrap()
    };
    assert!(of(r#"godwit_plugin_cpu_seconds_total{plugin="a",version="1",hook="moderation"} "#) >= 0.02);
    assert!(of(r#"godwit_plugin_memory_bytes{plugin="a",version="1"} "#) >= 65_536.0);
    bed.engine.remove("a").await.unwrap();
    assert!(!bed.metrics().contains("plugin=\"a\""));
}
