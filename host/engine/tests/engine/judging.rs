//! Messages on their way through good plugins.

use crate::bed::{Bed, allowed, refused, scene};
use godwit_domain::{
    filter::{Decision, Filters, Hook, Judgement, Step},
    message::{Attachment, Content, Kind},
    plugin::{Install, Manager, OnFailure},
};
use godwit_engine::Options;

#[tokio::test]
async fn without_plugins_the_chain_is_empty() {
    let bed = Bed::new(Options::default()).await;
    assert!(bed.engine.pin().is_empty());
    let (judgement, verdict) = bed.judge("hello").await;
    assert_eq!(judgement, Judgement::Allow(Content::text("hello")));
    assert!(verdict.steps.is_empty());
}

#[tokio::test]
async fn normalise_rewrites_before_moderation_judges_and_every_step_is_told() {
    let bed = Bed::new(Options::default()).await;
    let config = r#"{"normalise": {"mode": "stamp", "marker": "v7"},
                     "moderation": {"mode": "reject", "on": "v7 bad", "code": "language", "text": "No."}}"#;
    let installed = bed.install("a", "1", config).await.unwrap();
    let (judgement, verdict) = bed.judge("good").await;
    assert_eq!(allowed(&judgement), Some("v7 good"));
    assert_eq!(verdict.generation, installed.generation);
    let steps: Vec<_> = verdict.steps.iter().map(|step| (step.plugin, step.hook, step.decision)).collect();
    assert_eq!(steps, [(0, Hook::Normalise, Decision::Rewrite), (0, Hook::Moderation, Decision::Allow)]);
    let (judgement, verdict) = bed.judge("bad").await;
    let Judgement::Reject { plugin, reason } = judgement else { panic!("{judgement:?}") };
    assert_eq!((&*plugin, &*reason.code, &*reason.text), ("a", "language", "No."));
    assert_eq!(verdict.steps.last().unwrap().decision, Decision::Reject);
    let metrics = bed.metrics();
    for (hook, decision, count) in
        [("moderation", "allow", 1), ("moderation", "reject", 1), ("normalise", "rewrite", 2)]
    {
        let labels = format!(r#"{{plugin="a",version="1",hook="{hook}",decision="{decision}"}} {count}"#);
        assert!(metrics.contains(&format!("godwit_plugin_calls_total{labels}")), "{labels} in {metrics}");
    }
}

#[tokio::test]
async fn plugins_run_by_priority_and_then_by_id() {
    let bed = Bed::new(Options::default()).await;
    for (id, priority) in [("a", 2), ("b", 1), ("c", 1)] {
        let config = format!(r#"{{"normalise": {{"mode": "stamp", "marker": "{id}"}}}}"#);
        let mut install = crate::bed::fixture(id, "1", &config);
        install.manifest += &format!("priority = {priority}\n");
        bed.engine.install(install).await.unwrap();
    }
    let (judgement, verdict) = bed.judge("x").await;
    assert_eq!(allowed(&judgement), Some("a c b x"));
    let places: Vec<_> = verdict.steps.iter().map(|step| step.plugin).collect();
    assert_eq!(places, [1, 2, 0, 1, 2, 0], "by id, as the composition counts them");
    let ids: Vec<_> = bed.engine.list().await.into_iter().map(|status| status.id).collect();
    assert_eq!(ids, ["b", "c", "a"]);
}

#[tokio::test]
async fn the_first_reject_ends_the_chain() {
    let bed = Bed::new(Options::default()).await;
    for (id, priority) in [("a", 2), ("b", 1)] {
        let config = format!(r#"{{"moderation": {{"mode": "reject", "code": "{id}"}}}}"#);
        let mut install = crate::bed::fixture(id, "1", &config);
        install.manifest += &format!("priority = {priority}\n");
        bed.engine.install(install).await.unwrap();
    }
    let (judgement, verdict) = bed.judge("x").await;
    assert_eq!(refused(&judgement), Some("b"));
    assert_eq!(verdict.steps.len(), 3, "both normalise, and one moderates");
}

#[tokio::test]
async fn a_refusal_of_normalise_refuses_the_message() {
    let bed = Bed::new(Options::default()).await;
    bed.install("a", "1", r#"{"normalise": {"mode": "reject", "code": "no"}}"#).await.unwrap();
    assert_eq!(refused(&bed.judge("x").await.0), Some("no"));
}

/// A fixture of that priority and failure policy.
fn moderating(id: &str, priority: i32, on_failure: &str, behaviour: &str) -> Install {
    let mut install = crate::bed::fixture(id, "1", &format!(r#"{{"moderation": {behaviour}}}"#));
    install.manifest += &format!("priority = {priority}\n[failure]\nmoderation = \"{on_failure}\"\n");
    install
}

#[tokio::test]
async fn a_hold_holds_the_message_unless_a_later_plugin_rejects_it() {
    let bed = Bed::new(Options::default()).await;
    let holding = r#"{"mode": "hold", "code": "unsure", "text": "Wait."}"#;
    bed.engine.install(moderating("a", 1, "reject", holding)).await.unwrap();
    let rejecting = r#"{"mode": "reject", "on": "bad", "code": "language"}"#;
    bed.engine.install(moderating("b", 2, "reject", rejecting)).await.unwrap();
    let (judgement, verdict) = bed.judge("good").await;
    let Judgement::Hold { plugin, reason, content } = judgement else { panic!("{judgement:?}") };
    assert_eq!((&*plugin, &*reason.code, &*reason.text), ("a", "unsure", "Wait."));
    assert_eq!(content, Content::text("good"));
    let moderation = |step: &&Step| step.hook == Hook::Moderation;
    let decisions: Vec<_> = verdict.steps.iter().filter(moderation).map(|step| step.decision).collect();
    assert_eq!(decisions, [Decision::Hold, Decision::Allow]);
    assert_eq!(refused(&bed.judge("bad").await.0), Some("language"));
}

#[tokio::test]
async fn a_failure_is_held_or_refused_as_the_manifest_says() {
    let bed = Bed::new(Options::default()).await;
    let trapping = r#"{"mode": "trap", "on": "bait"}"#;
    bed.engine.install(moderating("a", 1, "hold", trapping)).await.unwrap();
    let failed = |plugin: &str, held| Judgement::Failed {
        plugin: plugin.to_owned(),
        hook: Hook::Moderation,
        how: Decision::Trap,
        held,
    };
    // Each body its own: what kills a plugin twice is not shown to it again.
    let held = |body: &str| failed("a", Some(Content::text(body)));
    assert_eq!(bed.judge("bait 1").await.0, held("bait 1"));
    assert_eq!(bed.engine.list().await[0].on_failure, OnFailure::Hold);
    // Whoever comes after is heard all the same: a rejection wins, and so does a failure that refuses.
    let rejecting = r#"{"mode": "reject", "on": "bad bait", "code": "language"}"#;
    bed.engine.install(moderating("b", 2, "reject", rejecting)).await.unwrap();
    assert_eq!(bed.judge("bait 2").await.0, held("bait 2"));
    assert_eq!(refused(&bed.judge("bad bait").await.0), Some("language"));
    bed.engine.install(moderating("c", 3, "reject", trapping)).await.unwrap();
    assert_eq!(bed.judge("bait 3").await.0, failed("c", None));
    // It was not heard, so a hold by another does not settle it.
    let holding = r#"{"mode": "hold"}"#;
    bed.engine.install(moderating("c", 3, "reject", holding)).await.unwrap();
    assert_eq!(bed.judge("bait 4").await.0, held("bait 4"));
}

#[tokio::test]
async fn an_encrypted_message_is_shown_without_its_body_and_keeps_it() {
    let bed = Bed::new(Options::default()).await;
    bed.install("a", "1", r#"{"moderation": {"mode": "reject", "on": "secret"}}"#).await.unwrap();
    let attachment = Attachment {
        media: uuid::Uuid::nil(),
        name: "secret".to_owned(),
        media_type: "text/plain".to_owned(),
        size: 1,
        width: None,
        height: None,
    };
    let content = Content { kind: Kind::Encrypted, attachments: vec![attachment], ..Content::text("secret") };
    let (judgement, _) = bed.engine.pin().judge(&scene(1), content.clone(), None).await;
    assert_eq!(judgement, Judgement::Allow(content));
    assert_eq!(refused(&bed.judge("secret").await.0), Some("fixture"));
}

#[tokio::test]
async fn counters_are_one_for_all_instances_and_outlive_a_swap() {
    let bed = Bed::new(Options { calls_per_instance: 1, ..Options::default() }).await;
    let config = r#"{"moderation": {"mode": "rate", "limit": 2, "code": "flood"}}"#;
    bed.install("a", "1", config).await.unwrap();
    for expected in [None, None, Some("flood")] {
        assert_eq!(refused(&bed.judge("x").await.0), expected);
    }
    bed.install("a", "2", config).await.unwrap();
    assert_eq!(refused(&bed.judge("x").await.0), Some("flood"));
    let (judgement, _) = bed.engine.pin().judge(&scene(2), Content::text("x"), None).await;
    assert_eq!(refused(&judgement), None, "another sender");
}

#[tokio::test]
async fn an_instance_is_replaced_when_it_has_served_its_calls() {
    let bed = Bed::new(Options { calls_per_instance: 4, ..Options::default() }).await;
    bed.install("a", "1", "{}").await.unwrap();
    for _ in 0..20 {
        assert_eq!(allowed(&bed.judge("x").await.0), Some("x"));
    }
    let metrics = bed.metrics();
    let retired = metrics.lines().find_map(|line| {
        line.strip_prefix(r#"godwit_plugin_instances_retired_total{plugin="a",version="1"} "#)
    });
    // 40 calls, at most five by one instance.
    assert!(retired.unwrap().parse::<u32>().unwrap() >= 7, "{metrics}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_senders_at_once_are_all_judged_by_a_few_instances() {
    let options = Options { instances_per_plugin: 2, call_wall_ms: 10_000, ..Options::default() };
    let bed = Bed::new(options).await;
    bed.install("a", "1", r#"{"normalise": {"mode": "stamp", "marker": "m"}}"#).await.unwrap();
    let calls: Vec<_> = (0..64)
        .map(|user| {
            let chain = bed.engine.pin();
            tokio::spawn(async move { chain.judge(&scene(user), Content::text("x"), None).await.0 })
        })
        .collect();
    for call in calls {
        assert_eq!(allowed(&call.await.unwrap()), Some("m x"));
    }
    let live = r#"godwit_plugin_instances{plugin="a",version="1"} "#;
    let metrics = bed.metrics();
    let live: u32 = metrics.lines().find_map(|line| line.strip_prefix(live)).unwrap().parse().unwrap();
    assert!((1..=2).contains(&live), "{live} instances");
}
