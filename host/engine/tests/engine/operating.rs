//! What an operator does with plugins: staging, grants, pins, policies, scopes; each over a restart.

use crate::bed::{Bed, allowed, fixture, manifest, refused, scene};
use godwit_domain::{
    conversation::Kind,
    filter::{Decision, Filters, Judgement, Scene},
    id::ConversationId,
    message::Content,
    plugin::{
        Advance, Component, Digest, Error, Health, Install, Manager, OnFailure, OnOpen, Scope, Setting, State,
    },
};
use godwit_engine::Options;

fn stamp(version: &str) -> String {
    format!(r#"{{"normalise": {{"mode": "stamp", "marker": "{version}"}}}}"#)
}

/// A version that stamps, and asks for the list of members.
fn asking(version: &str, grants: &[&str]) -> Install {
    let mut install = fixture("a", version, &stamp(version));
    install.manifest += "[capabilities]\nmember-list = true\n";
    install.grants = Some(grants.iter().map(|grant| (*grant).to_owned()).collect());
    install
}

async fn conflict(done: Result<impl std::fmt::Debug, Error>) -> String {
    match done {
        Err(Error::Conflict(why)) => why,
        other => panic!("should be a conflict: {other:?}"),
    }
}

fn bytes(install: &Install) -> Vec<u8> {
    match &install.component {
        Component::Bytes(bytes) => bytes.clone(),
        Component::Digest(digest) => panic!("{digest} is no component"),
    }
}

#[tokio::test]
async fn a_component_is_uploaded_once_and_installed_by_its_digest() {
    let bed = Bed::new(Options::default()).await;
    let by_bytes = fixture("a", "1", &stamp("1"));
    let uploaded = bed.engine.upload(bytes(&by_bytes)).await.unwrap();
    assert_eq!(uploaded.hooks, ["normalise", "moderation"]);
    assert!(uploaded.imports.iter().any(|import| import.starts_with("godwit:plugin/log@")), "{uploaded:?}");
    let digest: Digest = uploaded.digest.parse().unwrap();
    let by_digest = || Install { component: Component::Digest(digest), ..fixture("a", "1", &stamp("1")) };
    let installed = bed.engine.install(by_digest()).await.unwrap();
    assert_eq!(installed.digest, uploaded.digest);
    assert_eq!(allowed(&bed.judge("x").await.0), Some("1 x"));
    let uploads = bed.engine.uploads().await.unwrap();
    assert_eq!((uploads.len(), &uploads[0].plugins), (1, &vec!["a".to_owned()]));
    // Neither a removal nor a restart forgets what was uploaded.
    bed.engine.remove("a").await.unwrap();
    let bed = bed.restarted().await;
    bed.engine.install(by_digest()).await.unwrap();
    // What is in use stays, whatever becomes of the upload.
    bed.engine.discard(digest).await.unwrap();
    assert_eq!(bed.tables.stored(), [digest]);
    assert!(matches!(bed.engine.discard(digest).await, Err(Error::NoComponent(_))));
    bed.engine.remove("a").await.unwrap();
    assert!(bed.tables.stored().is_empty());
    assert!(matches!(bed.engine.install(by_digest()).await, Err(Error::NoComponent(_))));
    assert!(matches!(bed.engine.upload(b"garbage".to_vec()).await, Err(Error::Refused(_))));
}

#[tokio::test]
async fn the_oldest_upload_makes_room_for_the_newest_and_one_in_use_does_not_count() {
    let bed = Bed::new(Options { uploads_max: 1, ..Options::default() }).await;
    let upload = async |component| {
        bed.clock.pass(1);
        bed.engine.upload(component).await.unwrap().digest
    };
    let digests = async || {
        let uploads = bed.engine.uploads().await.unwrap();
        uploads.into_iter().map(|upload| upload.digest).collect::<Vec<_>>()
    };
    let in_use = upload(bytes(&fixture("a", "1", "{}"))).await;
    bed.install("a", "1", "{}").await.unwrap();
    let old = upload(godwit_fixtures::component(godwit_fixtures::MODERATION)).await;
    assert_eq!(digests().await, [in_use.clone(), old.clone()]);
    let new = upload(godwit_fixtures::component(godwit_fixtures::WORDFILTER)).await;
    assert_eq!(digests().await, [in_use, new]);
    assert!(!bed.tables.stored().contains(&old.parse().unwrap()));
}

#[tokio::test]
async fn a_dry_run_tells_what_a_version_would_change_and_changes_nothing() {
    let bed = Bed::new(Options::default()).await;
    let first = bed.install("a", "1", "{}").await.unwrap();
    assert_eq!(first.diff.from, None);
    let component = Component::Bytes(godwit_fixtures::component(godwit_fixtures::MODERATION));
    let manifest = manifest("a", "2").replace("\"normalise\", ", "") + "[capabilities]\nmember-list = true\n";
    let install =
        || Install { component: component.clone(), manifest: manifest.clone(), ..fixture("a", "2", "{}") };
    let dry = bed.engine.install(Install { dry_run: true, ..install() }).await.unwrap();
    assert_eq!((dry.state, dry.generation), (State::Pending, first.generation));
    let diff = &dry.diff;
    assert_eq!((diff.from.as_deref(), &*diff.to, diff.component, diff.config), (Some("1"), "2", true, false));
    assert_eq!((&diff.hooks.added, &diff.hooks.removed), (&vec![], &vec!["normalise".to_owned()]));
    assert_eq!(diff.asks.added, ["member-list"]);
    assert!(diff.imports.removed.contains(&"godwit:plugin/rate@0.1.0".to_owned()), "{diff:?}");
    assert_eq!(bed.status("a").await.version, "1");
    assert!(bed.status("a").await.candidate.is_none());
    let grants = Some(vec!["member-list".to_owned()]);
    let granted = bed.engine.install(Install { grants, ..install() }).await.unwrap();
    assert_eq!((granted.state, granted.diff.grants.added), (State::Active, vec!["member-list".to_owned()]));
}

#[tokio::test]
async fn a_version_that_asks_for_more_waits_for_its_grant_beside_the_one_that_serves() {
    let bed = Bed::new(Options::default()).await;
    let alone = bed.refusal(asking("1", &[])).await;
    assert!(alone.contains("`member-list`, which is not granted: grant `member-list`"), "{alone}");
    bed.install("a", "1", &stamp("1")).await.unwrap();
    let pending = bed.engine.install(asking("2", &[])).await.unwrap();
    assert_eq!(
        (pending.state, &*pending.version, &*pending.missing[0].capability),
        (State::Pending, "2", "member-list")
    );
    assert_eq!(bed.engine.install(asking("2", &[])).await.unwrap(), pending, "the same once more");
    assert_eq!(allowed(&bed.judge("x").await.0), Some("1 x"));

    let bed = bed.restarted().await;
    assert_eq!(allowed(&bed.judge("x").await.0), Some("1 x"));
    let candidate = bed.status("a").await.candidate.unwrap();
    assert_eq!((candidate.state, &*candidate.version), (State::Pending, "2"));
    assert_eq!(candidate.diff.asks.added, ["member-list"]);
    for advance in [Advance::Promote, Advance::Shadow, Advance::Canary(5), Advance::Grant(vec![])] {
        let found = match bed.engine.advance("a", advance.clone()).await {
            Err(Error::Refused(problems)) => problems.join("\n"),
            other => panic!("{advance:?}: {other:?}"),
        };
        assert!(found.contains("grant `member-list`"), "{advance:?}: {found}");
    }
    let grant = |name: &str| Advance::Grant(vec![name.to_owned()]);
    assert!(matches!(bed.engine.advance("a", grant("root")).await, Err(Error::Refused(_))));
    let granted = bed.engine.advance("a", grant("member-list")).await.unwrap();
    assert_eq!((granted.state, &*granted.version), (State::Active, "2"));
    assert_eq!(allowed(&bed.judge("x").await.0), Some("2 x"));
    let status = bed.status("a").await;
    assert_eq!(
        (status.grants, status.candidate, status.previous),
        (vec!["member-list".to_owned()], None, Some("1".to_owned()))
    );
    conflict(bed.engine.advance("a", grant("member-list")).await).await;
    // What was granted once is granted to the next version that asks no more.
    let next = bed.engine.install(Install { grants: None, ..asking("3", &[]) }).await.unwrap();
    assert_eq!(next.state, State::Active);
    // A version that waits can be dropped.
    bed.engine.install(asking("4", &[])).await.unwrap();
    bed.engine.advance("a", Advance::Drop).await.unwrap();
    assert_eq!(bed.status("a").await.candidate, None);
    assert_eq!(allowed(&bed.judge("x").await.0), Some("3 x"));
}

#[tokio::test]
async fn a_pinned_plugin_keeps_its_version_until_it_is_unpinned() {
    let bed = Bed::new(Options::default()).await;
    bed.install("a", "1", &stamp("1")).await.unwrap();
    bed.install("a", "2", &stamp("2")).await.unwrap();
    assert!(bed.engine.set("a", Setting::Pinned(true)).await.unwrap().pinned);
    let bed = bed.restarted().await;
    for refused in [bed.install("a", "3", &stamp("3")).await, bed.engine.rollback("a").await] {
        assert!(conflict(refused).await.contains("pinned to version `2`"));
    }
    let dry = bed.engine.install(Install { dry_run: true, ..fixture("a", "3", &stamp("3")) }).await.unwrap();
    assert!(dry.warnings.join("\n").contains("pinned"), "{:?}", dry.warnings);
    assert_eq!(allowed(&bed.judge("x").await.0), Some("2 x"));
    bed.engine.set("a", Setting::Pinned(false)).await.unwrap();
    bed.install("a", "3", &stamp("3")).await.unwrap();
    assert_eq!(allowed(&bed.judge("x").await.0), Some("3 x"));
    assert!(matches!(bed.engine.set("b", Setting::Pinned(true)).await, Err(Error::NotFound(_))));
}

#[tokio::test]
async fn a_disabled_plugin_is_not_asked_and_holds_no_instance_until_it_is_enabled() {
    let bed = Bed::new(Options::default()).await;
    bed.install("a", "1", &stamp("1")).await.unwrap();
    let status = bed.engine.set("a", Setting::Disabled(true)).await.unwrap();
    assert_eq!(status.health, Health::Disabled);
    let bed = bed.restarted().await;
    assert!(bed.engine.pin().is_empty(), "it costs nothing");
    assert_eq!(allowed(&bed.judge("x").await.0), Some("x"));
    assert_eq!(bed.status("a").await.instances, 0);
    // Another version may come in meanwhile.
    bed.install("a", "2", &stamp("2")).await.unwrap();
    assert_eq!(allowed(&bed.judge("x").await.0), Some("x"));
    let status = bed.engine.set("a", Setting::Disabled(false)).await.unwrap();
    assert_eq!((status.health, &*status.version), (Health::Serving, "2"));
    assert_eq!(allowed(&bed.judge("x").await.0), Some("2 x"));
}

#[tokio::test]
async fn the_operators_priority_stands_over_versions_and_restarts() {
    let bed = Bed::new(Options::default()).await;
    for id in ["a", "b"] {
        bed.install(id, "1", &stamp(id)).await.unwrap();
    }
    assert_eq!(allowed(&bed.judge("x").await.0), Some("b a x"));
    bed.engine.set("a", Setting::Priority(Some(7))).await.unwrap();
    assert_eq!(allowed(&bed.judge("x").await.0), Some("a b x"));
    bed.install("a", "2", &stamp("a")).await.unwrap();
    let bed = bed.restarted().await;
    assert_eq!(allowed(&bed.judge("x").await.0), Some("a b x"));
    let order: Vec<_> =
        bed.engine.list().await.into_iter().map(|status| (status.id, status.priority)).collect();
    assert_eq!(order, [("b".to_owned(), 0), ("a".to_owned(), 7)]);
    bed.engine.set("a", Setting::Priority(None)).await.unwrap();
    assert_eq!(allowed(&bed.judge("x").await.0), Some("b a x"));
}

#[tokio::test]
async fn the_operator_says_what_a_failure_means_whatever_the_manifest_advises() {
    let bed = Bed::new(Options::default()).await;
    let mut install = fixture("a", "1", r#"{"moderation": {"mode": "trap", "on": "bait"}}"#);
    install.manifest += "[failure]\nmoderation = \"allow\"\n";
    bed.engine.install(install).await.unwrap();
    let held = |judgement: Judgement| match judgement {
        Judgement::Failed { how: Decision::Trap, held, .. } => held.is_some(),
        other => panic!("never let through: {other:?}"),
    };
    // `allow` is about what is not asked, never about the message that traps.
    assert!(!held(bed.judge("bait 1").await.0));
    let set = Setting::Failure(Some(OnFailure::Hold), None);
    let status = bed.engine.set("a", set).await.unwrap();
    assert_eq!((status.on_failure, status.on_open), (OnFailure::Hold, OnOpen::Allow));
    let bed = bed.restarted().await;
    assert!(held(bed.judge("bait 2").await.0));
    bed.engine.set("a", Setting::Failure(None, Some(OnOpen::Hold))).await.unwrap();
    assert!(!held(bed.judge("bait 3").await.0));
    assert_eq!(bed.status("a").await.on_open, OnOpen::Hold);
}

#[tokio::test]
async fn a_plugin_is_asked_within_its_scope_alone() {
    let bed = Bed::new(Options::default()).await;
    bed.install("a", "1", &stamp("1")).await.unwrap();
    let at = |change: fn(&mut Scene)| {
        let mut scene = scene(1);
        change(&mut scene);
        scene
    };
    fn place(scene: &mut Scene) -> &mut godwit_domain::filter::Place {
        scene.conversation.as_mut().unwrap()
    }
    let (here, direct) = (at(|_| {}), at(|scene| place(scene).kind = Kind::Direct));
    let elsewhere = at(|scene| place(scene).id = ConversationId::from_u128(8));
    let unlabelled = at(|scene| place(scene).labels.clear());
    let nowhere = at(|scene| scene.conversation = None);
    let asked = async |bed: &Bed| {
        let mut asked = Vec::new();
        for scene in [&here, &direct, &elsewhere, &unlabelled, &nowhere] {
            let (judgement, verdict) = bed.engine.pin().judge(scene, Content::text("x"), None).await;
            assert_eq!(allowed(&judgement), Some(if verdict.steps.is_empty() { "x" } else { "1 x" }));
            asked.push(!verdict.steps.is_empty());
        }
        asked
    };
    assert_eq!(asked(&bed).await, [true; 5]);
    let kinds = Scope { kinds: vec![Kind::Direct], ..Scope::default() };
    let labels = Scope { labels: vec!["b".to_owned()], ..Scope::default() };
    let ids = Scope { conversations: vec![ConversationId::from_u128(7)], ..Scope::default() };
    for (scope, expected) in [
        (kinds, [false, true, false, false, false]),
        (labels, [true, true, true, false, false]),
        (ids, [true, true, false, true, false]),
    ] {
        bed.engine.set("a", Setting::Scope(scope.clone())).await.unwrap();
        assert_eq!(asked(&bed).await, expected, "{scope:?}");
    }
    let bed = bed.restarted().await;
    assert_eq!(asked(&bed).await, [true, true, false, true, false]);
    let long = Scope { labels: vec!["x".repeat(101)], ..Scope::default() };
    assert!(matches!(bed.engine.set("a", Setting::Scope(long)).await, Err(Error::Refused(_))));
    bed.engine.set("a", Setting::Scope(Scope::default())).await.unwrap();
    assert_eq!(asked(&bed).await, [true; 5]);
    assert_eq!(refused(&bed.judge("x").await.0), None);
}
