//! What moderation is asked about beside messages: edits, titles, names, file names, reactions.

use crate::bed::{Bed, allowed, fixture, refused, scene, sent};
use godwit_domain::{
    filter::{Decision, Filters, Hook, Judgement, Review, Scene, Wording},
    message::Content,
    plugin::Manager,
};
use godwit_engine::Options;

const WORDINGS: [(&str, fn(&'static str) -> Wording<'static>); 5] = [
    ("title", Wording::Title),
    ("user-name", Wording::UserName),
    ("display-name", Wording::DisplayName),
    ("file-name", Wording::FileName),
    ("reaction", Wording::Reaction),
];

/// The scene of what belongs to no conversation.
fn nowhere() -> Scene {
    Scene { conversation: None, sender_role: None, ..scene(1) }
}

fn rejection(review: &Review) -> Option<&str> {
    match review {
        Review::Reject { reason, .. } => Some(&reason.code),
        _ => None,
    }
}

#[tokio::test]
async fn each_wording_is_reviewed_under_its_own_name() {
    let bed = Bed::new(Options::default()).await;
    assert!(!bed.engine.pin().reviews());
    assert_eq!(bed.engine.pin().review(&nowhere(), Wording::Title("bad")).await, Review::Allow);
    for (subject, _) in WORDINGS {
        let config = format!(
            r#"{{"moderation": {{"mode": "reject", "on": "bad", "subject": "{subject}", "code": "{subject}"}}}}"#
        );
        bed.install("a", "1", &config).await.unwrap();
        let chain = bed.engine.pin();
        assert!(chain.reviews());
        for (other, wording) in WORDINGS {
            for scene in [scene(1), nowhere()] {
                let expected = (other == subject).then_some(subject);
                assert_eq!(rejection(&chain.review(&scene, wording("a bad one")).await), expected, "{other}");
                assert_eq!(chain.review(&scene, wording("a good one")).await, Review::Allow);
            }
        }
        assert_eq!(allowed(&bed.judge("bad").await.0), Some("bad"), "a message is none of them");
    }
}

#[tokio::test]
async fn an_edit_is_judged_beside_what_it_replaces() {
    let bed = Bed::new(Options::default()).await;
    let config = r#"{"normalise": {"mode": "stamp", "marker": "v7", "on": "new"},
                     "moderation": {"mode": "reject", "on": "v7 new", "original": "old", "code": "turned"}}"#;
    bed.install("a", "1", config).await.unwrap();
    let chain = bed.engine.pin();
    let judge = async |original: &str, body: &str| {
        chain.judge(&scene(1), Content::text(body), Some(&sent(original))).await
    };
    let (judgement, verdict) = judge("the old one", "a new one").await;
    assert_eq!(refused(&judgement), None, "the marker stands before the body");
    assert_eq!(allowed(&judgement), Some("v7 a new one"));
    assert_eq!(refused(&judge("the old one", "new one").await.0), Some("turned"));
    assert_eq!(allowed(&judge("another", "new one").await.0), Some("v7 new one"));
    let steps: Vec<_> = verdict.steps.iter().map(|step| (step.hook, step.decision)).collect();
    assert_eq!(steps, [(Hook::Normalise, Decision::Rewrite), (Hook::Moderation, Decision::Allow)]);
    assert_eq!(allowed(&bed.judge("new one").await.0), Some("v7 new one"), "a message replaces nothing");
}

/// The fixture that holds what it cannot judge, with that moderation.
async fn install(bed: &Bed, id: &str, behaviour: &str) {
    let mut install = fixture(id, "1", &format!(r#"{{"moderation": {behaviour}}}"#));
    install.manifest += "[failure]\nmoderation = \"hold\"\n";
    bed.engine.install(install).await.unwrap();
}

#[tokio::test]
async fn nothing_but_a_message_is_held_for_a_failure() {
    let bed = Bed::new(Options::default()).await;
    for (mode, how) in [("trap", Decision::Trap), ("loop", Decision::Deadline)] {
        install(&bed, "a", &format!(r#"{{"mode": "{mode}"}}"#)).await;
        let chain = bed.engine.pin();
        let (judgement, _) = chain.judge(&scene(1), Content::text("new"), Some(&sent("old"))).await;
        let plugin = "a".to_owned();
        let failed = Judgement::Failed { plugin: plugin.clone(), hook: Hook::Moderation, how, held: None };
        assert_eq!(judgement, failed);
        for (name, wording) in WORDINGS {
            let review = chain.review(&nowhere(), wording("x")).await;
            assert_eq!(review, Review::Failed { plugin: plugin.clone(), how }, "{name}");
        }
        let held = matches!(bed.judge("x").await.0, Judgement::Failed { held: Some(_), .. });
        assert!(held, "a message is");
    }
}

#[tokio::test]
async fn a_later_rejection_counts_more_than_a_hold() {
    let bed = Bed::new(Options::default()).await;
    install(&bed, "a", r#"{"mode": "hold", "code": "unsure"}"#).await;
    install(&bed, "b", r#"{"mode": "reject", "on": "bad", "code": "language"}"#).await;
    let chain = bed.engine.pin();
    let review = chain.review(&scene(1), Wording::Title("bad")).await;
    assert_eq!(rejection(&review), Some("language"));
    let review = chain.review(&scene(1), Wording::Title("odd")).await;
    let Review::Hold { plugin, reason } = review else { panic!("{review:?}") };
    assert_eq!((&*plugin, &*reason.code), ("a", "unsure"));
}

#[tokio::test]
async fn the_manifests_tests_may_be_about_any_subject() {
    let bed = Bed::new(Options::default()).await;
    let config = |subject: &str| {
        format!(r#"{{"moderation": {{"mode": "reject", "on": "bad", "subject": "{subject}"}}}}"#)
    };
    let test = |input: &str, expect: &str| {
        format!("[[test]]\nhook = \"moderation\"\ninput = {{ {input} }}\nexpect = {{ {expect} }}\n")
    };
    let (reject, allow) = (r#"reject = { code = "fixture" }"#, "allow = true");
    for (subject, _) in WORDINGS {
        let mut install = fixture("a", "1", &config(subject));
        install.manifest += &test(&format!("{subject} = \"bad\""), reject);
        install.manifest += &test(r#"body = "bad""#, allow);
        install.manifest += &test(r#"body = "bad", original = "good""#, allow);
        bed.engine.install(install.clone()).await.unwrap();
        install.manifest += &test(&format!("{subject} = \"bad\""), allow);
        let found = bed.refusal(install).await;
        assert!(found.contains("test 4 failed"), "{found}");
    }
    let mut install = fixture("a", "1", &config("edit"));
    install.manifest += &test(r#"body = "bad", original = "good""#, reject);
    install.manifest += &test(r#"title = "bad""#, allow);
    bed.engine.install(install).await.unwrap();
}
