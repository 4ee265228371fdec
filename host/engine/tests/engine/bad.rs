//! Plugins that misbehave: each costs its own call, and nothing slips past moderation.

use crate::bed::{Bed, allowed, scene};
use godwit_domain::{
    filter::{Decision, Filters, Hook, Judgement},
    message::Content,
    plugin::Manager,
};
use godwit_engine::Options;

/// Ways to misbehave, what each comes to, and what the log says of it.
const CASES: [(&str, Decision, &str); 6] = [
    (r#""mode": "loop""#, Decision::Deadline, "100 ms of CPU time"),
    (r#""mode": "grow""#, Decision::Trap, "memory limit"),
    (r#""mode": "recurse""#, Decision::Trap, "call stack exhausted"),
    (r#""mode": "trap""#, Decision::Trap, "the fixture traps as configured"),
    (r#""mode": "huge", "bytes": 100000000"#, Decision::Trap, "memory limit"),
    // Small enough to be made, too large to be handed over.
    (r#""mode": "huge", "bytes": 100000"#, Decision::Trap, "fuel"),
];

/// Enough CPU time that memory and stack end before it, however slow the machine.
fn patient() -> Options {
    Options { call_cpu_ms: 100, chain_cpu_ms: 400, call_wall_ms: 10_000, ..Options::default() }
}

fn failed(judgement: &Judgement) -> Option<(Hook, Decision)> {
    match judgement {
        Judgement::Failed { hook, how, .. } => Some((*hook, *how)),
        _ => None,
    }
}

#[tokio::test]
async fn moderation_that_fails_lets_nothing_through_and_serves_the_next_message() {
    let bed = Bed::new(patient()).await;
    for (mode, how, logged) in CASES {
        let config = format!(r#"{{"moderation": {{{mode}, "on": "bad"}}}}"#);
        bed.install("a", "1", &config).await.unwrap();
        for _ in 0..3 {
            let (judgement, verdict) = bed.judge("bad").await;
            assert_eq!(failed(&judgement), Some((Hook::Moderation, how)), "{mode}: {judgement:?}");
            assert_eq!(verdict.steps.last().unwrap().decision, how);
            let (judgement, _) = bed.judge("good").await;
            assert_eq!(allowed(&judgement), Some("good"), "after {mode}: {judgement:?}");
        }
        let log = bed.log("a").await;
        assert!(log.contains(logged), "{mode}: {log}");
    }
}

#[tokio::test]
async fn normalise_that_fails_leaves_the_text_and_moderation_still_judges() {
    let bed = Bed::new(patient()).await;
    for (mode, how, _) in CASES {
        let config =
            format!(r#"{{"normalise": {{{mode}}}, "moderation": {{"mode": "reject", "on": "bad"}}}}"#);
        bed.install("a", "1", &config).await.unwrap();
        let (judgement, verdict) = bed.judge("good").await;
        assert_eq!(allowed(&judgement), Some("good"), "{mode}: {judgement:?}");
        let steps: Vec<_> = verdict.steps.iter().map(|step| (step.hook, step.decision)).collect();
        assert_eq!(steps, [(Hook::Normalise, how), (Hook::Moderation, Decision::Allow)], "{mode}");
        let (judgement, _) = bed.judge("bad").await;
        assert!(matches!(judgement, Judgement::Reject { .. }), "{mode}: {judgement:?}");
    }
}

#[tokio::test]
async fn a_loop_is_cut_at_the_default_budget() {
    let bed = Bed::new(Options::default()).await;
    bed.install("a", "1", r#"{"moderation": {"mode": "loop"}}"#).await.unwrap();
    let (judgement, _) = bed.judge("x").await;
    assert_eq!(failed(&judgement), Some((Hook::Moderation, Decision::Deadline)));
    let metrics = bed.metrics();
    let counted =
        r#"godwit_plugin_calls_total{plugin="a",version="1",hook="moderation",decision="deadline"} 1"#;
    assert!(metrics.contains(counted), "{metrics}");
}

#[tokio::test]
async fn a_plugin_that_asks_to_sleep_is_not_made_to_wait() {
    let bed = Bed::new(Options::default()).await;
    bed.install("a", "1", r#"{"moderation": {"mode": "sleep", "sleep_ms": 3600000}}"#).await.unwrap();
    let started = std::time::Instant::now();
    let (judgement, _) = bed.judge("x").await;
    assert!(started.elapsed().as_secs() < 60);
    // The clock of the tests stands still: either it saw its hour pass, or it was cut looking for it.
    assert!(!matches!(judgement, Judgement::Reject { .. }), "{judgement:?}");
}

#[tokio::test]
async fn the_chain_has_one_budget_and_later_plugins_are_not_asked_beyond_it() {
    let bed = Bed::new(Options { chain_cpu_ms: 5, ..Options::default() }).await;
    bed.install("a", "1", r#"{"normalise": {"mode": "loop"}}"#).await.unwrap();
    let (judgement, verdict) = bed.judge("x").await;
    assert_eq!(failed(&judgement), Some((Hook::Moderation, Decision::Deadline)));
    assert_eq!(verdict.steps.len(), 2);
    assert!(bed.log("a").await.contains("CPU time of the whole chain"));
}

#[tokio::test]
async fn a_flood_of_lines_is_cut_to_its_rate_and_does_not_fail_the_call() {
    let options = Options {
        log_lines_per_s: 10,
        call_cpu_ms: 5_000,
        chain_cpu_ms: 5_000,
        call_wall_ms: 60_000,
        ..Options::default()
    };
    let bed = Bed::new(options).await;
    bed.install("a", "1", r#"{"moderation": {"mode": "log-flood", "lines": 1000, "line_bytes": 6000}}"#)
        .await
        .unwrap();
    let (judgement, _) = bed.judge("x").await;
    assert_eq!(allowed(&judgement), Some("x"));
    let lines = bed.engine.logs("a", 0).await.unwrap();
    assert_eq!(lines.len(), 10);
    assert!(lines.iter().all(|line| line.text.len() == 4_096));
    let after = bed.engine.logs("a", 7).await.unwrap();
    assert_eq!(after.iter().map(|line| line.n).collect::<Vec<_>>(), [8, 9, 10]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_all_instances_are_busy_calls_wait_their_turn_and_then_are_refused() {
    let options = Options {
        instances_per_plugin: 1,
        waiting_per_user_max: 1,
        waiting_max: 2,
        call_cpu_ms: 200,
        chain_cpu_ms: 200,
        call_wall_ms: 1_000,
        ..Options::default()
    };
    let bed = Bed::new(options).await;
    bed.install("a", "1", r#"{"moderation": {"mode": "loop", "on": "bad"}}"#).await.unwrap();
    let chain = bed.engine.pin();
    let judge = |user, body: &'static str| {
        let chain = chain.clone();
        async move { failed(&chain.judge(&scene(user), Content::text(body), None).await.0).map(|(_, how)| how) }
    };
    // Polled in this order: the first runs, the second and the third wait, the fourth finds the queue full; the
    // fifth is the second user's and has its place taken by the same user's first.
    let (first, second, third, fourth, fifth) = tokio::join!(
        biased;
        judge(1, "bad"),
        judge(2, "good"),
        judge(3, "good"),
        judge(4, "good"),
        judge(2, "good"),
    );
    assert_eq!(first, Some(Decision::Deadline));
    assert_eq!((second, third), (None, None));
    assert_eq!((fourth, fifth), (Some(Decision::Busy), Some(Decision::Busy)));
}

#[tokio::test]
async fn a_caller_who_goes_away_takes_no_instance_along() {
    let options = Options {
        instances_per_plugin: 1,
        call_cpu_ms: 5_000,
        chain_cpu_ms: 5_000,
        call_wall_ms: 5_000,
        ..Options::default()
    };
    let bed = Bed::new(options).await;
    bed.install("a", "1", r#"{"moderation": {"mode": "loop", "on": "bad"}}"#).await.unwrap();
    let chain = bed.engine.pin();
    let scene = scene(1);
    let call = chain.judge(&scene, Content::text("bad"), None);
    let judged = tokio::time::timeout(std::time::Duration::from_millis(20), call);
    assert!(judged.await.is_err(), "cut by the caller");
    assert_eq!(allowed(&bed.judge("good").await.0), Some("good"));
}
