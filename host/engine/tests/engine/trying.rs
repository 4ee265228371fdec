//! Versions beside the active one: in its shadow, and as a canary.

use crate::bed::{Bed, allowed, fixture, refused, scene};
use godwit_domain::{
    filter::{Filters, Verdict},
    id::ConversationId,
    message::Content,
    plugin::{Advance, Begin, Error, Install, Manager, Pair, State},
    tables::Plugins,
};
use godwit_engine::{Options, Rollback};

fn beside(version: &str, to: Begin, config: &str) -> Install {
    Install { to, ..fixture("a", version, config) }
}

fn stamp(version: &str) -> String {
    format!(r#"{{"normalise": {{"mode": "stamp", "marker": "{version}"}}}}"#)
}

fn pair(pairs: &[Pair], active: &str, candidate: &str) -> u64 {
    let found = pairs
        .iter()
        .filter(|pair| (&*pair.hook, &*pair.active, &*pair.candidate) == ("moderation", active, candidate));
    found.map(|pair| pair.count).sum()
}

/// How often the versions were compared.
fn compared(status: &godwit_domain::plugin::Status) -> u64 {
    let comparison = status.candidate.as_ref().and_then(|candidate| candidate.comparison.as_ref());
    comparison.map_or(0, |comparison| comparison.agreed + comparison.differed)
}

#[tokio::test]
async fn a_shadow_is_compared_with_what_serves_and_changes_nothing() {
    let bed = Bed::new(Options::default()).await;
    let active = r#"{"moderation": {"mode": "reject", "on": "bad", "code": "old"}}"#;
    bed.install("a", "1", active).await.unwrap();
    let candidate = r#"{"normalise": {"mode": "stamp", "marker": "new"},
                        "moderation": {"mode": "reject", "on": "secret", "code": "new"}}"#;
    let installed = bed.engine.install(beside("2", Begin::Shadow, candidate)).await.unwrap();
    assert_eq!((installed.state, &*installed.version), (State::Shadow, "2"));
    assert_eq!(allowed(&bed.judge("good").await.0), Some("good"));
    assert_eq!(refused(&bed.judge("bad").await.0), Some("old"));
    assert_eq!(allowed(&bed.judge("a secret").await.0), Some("a secret"));
    // Three messages at two hooks each.
    let status = bed.until("a", |status| compared(status) == 6).await;
    let comparison = status.candidate.unwrap().comparison.unwrap();
    assert_eq!(pair(&comparison.pairs, "allow", "allow"), 1);
    assert_eq!(pair(&comparison.pairs, "reject", "allow"), 1);
    assert_eq!(pair(&comparison.pairs, "allow", "reject"), 1);
    assert_eq!((comparison.agreed, comparison.differed, comparison.dropped), (1, 5, 0));
    let last = comparison.differences.last().unwrap();
    assert_eq!((&*last.active, &*last.candidate, last.body_bytes), ("allow", "reject new", 8));
    assert_eq!(last.conversation, Some(ConversationId::from_u128(7)));
    assert!(!serde_json::to_string(&comparison).unwrap().contains("secret"), "no body is kept");

    // It survives a restart, and then takes over.
    let bed = bed.restarted().await;
    assert_eq!(allowed(&bed.judge("a secret").await.0), Some("a secret"));
    bed.until("a", |status| compared(status) == 2).await;
    let promoted = bed.engine.advance("a", Advance::Promote).await.unwrap();
    assert_eq!((promoted.state, &*promoted.version), (State::Active, "2"));
    assert_eq!(refused(&bed.judge("a secret").await.0), Some("new"));
    assert_eq!(bed.status("a").await.previous.as_deref(), Some("1"));
    assert!(matches!(bed.engine.advance("a", Advance::Drop).await, Err(Error::Conflict(_))));
}

#[tokio::test]
async fn a_shadow_counts_for_itself() {
    let bed = Bed::new(Options::default()).await;
    let config = r#"{"moderation": {"mode": "rate", "limit": 4, "code": "flood"}}"#;
    bed.install("a", "1", config).await.unwrap();
    bed.engine.install(beside("2", Begin::Shadow, config)).await.unwrap();
    let judged: Vec<_> = {
        let mut judged = Vec::new();
        for _ in 0..5 {
            judged.push(refused(&bed.judge("x").await.0).is_some());
        }
        judged
    };
    assert_eq!(judged, [false, false, false, false, true], "with one counter the third would be refused");
    let status = bed.until("a", |status| compared(status) == 10).await;
    assert_eq!(status.candidate.unwrap().comparison.unwrap().differed, 0);
}

#[tokio::test]
async fn a_shadow_that_hangs_or_traps_is_in_nobodys_way() {
    let bed = Bed::new(Options { shadow_queue_max: 2, ..Options::default() }).await;
    bed.install("a", "1", "{}").await.unwrap();
    let hanging =
        r#"{"moderation": {"mode": "loop", "on": "loop"}, "normalise": {"mode": "trap", "on": "trap"}}"#;
    bed.engine.install(beside("2", Begin::Shadow, hanging)).await.unwrap();
    for _ in 0..50 {
        assert_eq!(allowed(&bed.judge("loop").await.0), Some("loop"));
    }
    let status = bed.until("a", |status| {
        let comparison = status.candidate.as_ref().unwrap().comparison.as_ref().unwrap();
        comparison.dropped + comparison.agreed + comparison.differed == 100
    });
    let comparison = status.await.candidate.unwrap().comparison.unwrap();
    assert!(comparison.dropped > 0 && pair(&comparison.pairs, "allow", "deadline") > 0, "{comparison:?}");
    assert_eq!(allowed(&bed.judge("trap").await.0), Some("trap"));
    bed.until("a", |status| {
        let comparison = status.candidate.as_ref().unwrap().comparison.as_ref().unwrap();
        comparison.pairs.iter().any(|pair| pair.candidate == "trap")
    })
    .await;
    assert_eq!(bed.status("a").await.calls[1].traps, 0, "the active version did not trap");
    bed.engine.advance("a", Advance::Drop).await.unwrap();
    assert_eq!(bed.status("a").await.candidate, None);
}

/// Which version judged a message in that conversation, by its text and by its verdict.
async fn version_in(bed: &Bed, conversation: u128) -> String {
    let mut scene = scene(1);
    scene.conversation.as_mut().unwrap().id = ConversationId::from_u128(conversation);
    let (judgement, verdict) = bed.engine.pin().judge(&scene, Content::text("x"), None).await;
    let told = named(bed, &verdict).await;
    assert_eq!(allowed(&judgement), Some(&*format!("{told} x")));
    told
}

async fn named(bed: &Bed, verdict: &Verdict) -> String {
    let composition = bed.tables.composition(verdict.generation).await.unwrap().unwrap();
    let versions: Vec<_> = verdict
        .steps
        .iter()
        .map(|step| composition.plugins[usize::from(step.plugin)].version.clone())
        .collect();
    assert!(versions.windows(2).all(|pair| pair[0] == pair[1]), "one version for all hooks: {versions:?}");
    versions[0].clone()
}

#[tokio::test]
async fn a_canary_decides_in_its_share_of_conversations_and_traces_name_it() {
    let bed = Bed::new(Options::default()).await;
    bed.install("a", "1", &stamp("1")).await.unwrap();
    let alone = Install {
        id: "b".to_owned(),
        manifest: crate::bed::manifest("b", "2"),
        ..beside("2", Begin::Canary(20), "{}")
    };
    assert!(bed.refusal(alone).await.contains("no active version"));
    assert!(bed.refusal(beside("2", Begin::Canary(100), "{}")).await.contains("1 to 99"));
    bed.engine.install(beside("2", Begin::Canary(20), &stamp("2"))).await.unwrap();
    let share = async |bed: &Bed| {
        let mut share = Vec::new();
        for conversation in 0..200 {
            if version_in(bed, conversation).await == "2" {
                share.push(conversation);
            }
        }
        share
    };
    let first = share(&bed).await;
    assert!((20..=60).contains(&first.len()), "{} of 200", first.len());
    let bed = bed.restarted().await;
    assert_eq!(share(&bed).await, first, "the same conversations after a restart");
    let raised = bed.engine.advance("a", Advance::Canary(60)).await.unwrap();
    assert_eq!((raised.state, &*raised.version), (State::Canary, "2"));
    let more = share(&bed).await;
    assert!(more.len() > first.len() && first.iter().all(|conversation| more.contains(conversation)));
    // Without a conversation there is no share.
    let mut nowhere = scene(1);
    nowhere.conversation = None;
    let (_, verdict) = bed.engine.pin().judge(&nowhere, Content::text("x"), None).await;
    assert_eq!(named(&bed, &verdict).await, "1");
    let status = bed.status("a").await.candidate.unwrap();
    assert_eq!((status.percent, status.calls[0].calls > 0), (Some(60), true));
    bed.engine.advance("a", Advance::Promote).await.unwrap();
    assert_eq!(share(&bed).await.len(), 200);
}

#[tokio::test]
async fn a_canary_that_fails_is_ended_and_its_conversations_are_served_by_the_active_version() {
    let rollback = Rollback { failures: 3, ..Rollback::default() };
    let bed = Bed::new(Options { rollback, ..Options::default() }).await;
    bed.install("a", "1", &stamp("1")).await.unwrap();
    bed.engine.install(beside("2", Begin::Canary(99), r#"{"moderation": {"mode": "trap"}}"#)).await.unwrap();
    for message in 0..3 {
        bed.judge(&format!("message {message}")).await;
    }
    bed.until("a", |status| status.candidate.is_none()).await;
    assert_eq!(allowed(&bed.judge("x").await.0), Some("1 x"));
    assert!(bed.log("a").await.contains("the canary of version `2` was ended"), "{}", bed.log("a").await);
    let bed = bed.restarted().await;
    assert_eq!(bed.status("a").await.candidate, None);
}
