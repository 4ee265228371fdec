//! Changes of what serves while messages flow, over restarts, and when the store fails.

use crate::bed::{Bed, allowed, fixture, refused, scene};
use godwit_domain::{
    filter::{Decision, Filters, Judgement},
    message::Content,
    plugin::{Error, Manager},
    tables::Plugins,
};
use godwit_engine::Options;
use std::sync::atomic::{AtomicBool, Ordering};

fn stamp(version: &str) -> String {
    format!(r#"{{"normalise": {{"mode": "stamp", "marker": "{version}"}}}}"#)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_message_is_judged_by_the_one_snapshot_whose_generation_it_carries() {
    let bed = Bed::new(Options { call_wall_ms: 10_000, ..Options::default() }).await;
    for id in ["a", "b"] {
        bed.install(id, "0", &stamp("0")).await.unwrap();
    }
    let stop = AtomicBool::new(false);
    let judge = |user| {
        let (bed, stop) = (&bed, &stop);
        async move {
            let mut seen = Vec::new();
            while !stop.load(Ordering::Relaxed) {
                let (judgement, verdict) =
                    bed.engine.pin().judge(&scene(user), Content::text("x"), None).await;
                let body = allowed(&judgement).unwrap_or_else(|| panic!("{judgement:?}")).to_owned();
                seen.push((verdict.generation, body));
                tokio::task::yield_now().await;
            }
            seen
        }
    };
    let swap = async {
        for round in 1..=10 {
            let version = round.to_string();
            for id in ["a", "b"] {
                bed.install(id, &version, &stamp(&version)).await.unwrap();
            }
            bed.engine.rollback("a").await.unwrap();
            bed.engine.remove("b").await.unwrap();
            bed.install("b", &version, &stamp(&version)).await.unwrap();
        }
        stop.store(true, Ordering::Relaxed);
    };
    let (one, two, three, ()) = tokio::join!(judge(1), judge(2), judge(3), swap);
    let seen = [one, two, three].concat();
    let generations: std::collections::HashSet<_> = seen.iter().map(|(generation, _)| *generation).collect();
    assert!(generations.len() > 5, "messages flowed between the changes: {}", generations.len());
    for (generation, body) in seen {
        let composition = bed.tables.composition(generation).await.unwrap().unwrap();
        let markers: Vec<_> =
            composition.plugins.iter().rev().map(|part| part.version.clone() + " ").collect();
        assert_eq!(body, markers.concat() + "x", "generation {generation}");
    }
}

#[tokio::test]
async fn a_message_in_flight_ends_with_the_snapshot_it_pinned() {
    let bed = Bed::new(Options::default()).await;
    bed.install("a", "1", &stamp("1")).await.unwrap();
    let pinned = bed.engine.pin();
    bed.install("a", "2", &stamp("2")).await.unwrap();
    bed.engine.remove("a").await.unwrap();
    let (judgement, _) = pinned.judge(&scene(1), Content::text("x"), None).await;
    assert_eq!(allowed(&judgement), Some("1 x"));
    assert!(bed.engine.pin().is_empty());
}

#[tokio::test]
async fn rollback_goes_to_the_version_before_and_back() {
    let bed = Bed::new(Options::default()).await;
    bed.install("a", "1", &stamp("1")).await.unwrap();
    assert!(matches!(bed.engine.rollback("a").await, Err(Error::Conflict(_))));
    bed.install("a", "2", &stamp("2")).await.unwrap();
    for expected in ["1", "2", "1"] {
        let installed = bed.engine.rollback("a").await.unwrap();
        assert_eq!(installed.version, expected);
        let (judgement, verdict) = bed.judge("x").await;
        assert_eq!(allowed(&judgement), Some(&*format!("{expected} x")));
        assert_eq!(verdict.generation, installed.generation);
    }
    assert!(matches!(bed.engine.rollback("b").await, Err(Error::NotFound(_))));
}

#[tokio::test]
async fn removing_forgets_the_component_and_the_metrics() {
    let bed = Bed::new(Options::default()).await;
    let installed = bed.install("a", "1", "{}").await.unwrap();
    assert_eq!(bed.tables.stored().len(), 1);
    let generation = bed.engine.remove("a").await.unwrap();
    assert_eq!(generation, installed.generation.next());
    assert!(bed.tables.stored().is_empty());
    assert!(!bed.metrics().contains("plugin=\"a\""));
    assert!(matches!(bed.engine.remove("a").await, Err(Error::NotFound(_))));
    assert!(matches!(bed.engine.logs("a", 0).await, Err(Error::NotFound(_))));
}

#[tokio::test]
async fn active_and_previous_survive_a_restart() {
    let bed = Bed::new(Options::default()).await;
    bed.install("a", "1", &stamp("1")).await.unwrap();
    let installed = bed.install("a", "2", &stamp("2")).await.unwrap();
    let bed = bed.restarted().await;
    let (judgement, verdict) = bed.judge("x").await;
    assert_eq!(allowed(&judgement), Some("2 x"));
    assert_eq!(verdict.generation, installed.generation);
    bed.engine.rollback("a").await.unwrap();
    assert_eq!(allowed(&bed.judge("x").await.0), Some("1 x"));
}

#[tokio::test]
async fn a_plugin_that_does_not_load_keeps_its_seat_and_lets_nothing_through_until_it_is_repaired() {
    let bed = Bed::new(Options::default()).await;
    let before = bed.install("a", "1", "{}").await.unwrap();
    bed.tables.lose_components();
    let bed = bed.restarted().await;
    let (judgement, _) = bed.judge("x").await;
    assert!(matches!(judgement, Judgement::Failed { how: Decision::Trap, .. }), "{judgement:?}");
    assert!(bed.log("a").await.contains("is not stored"));

    let repaired = bed.install("a", "1", "{}").await.unwrap();
    assert_eq!(repaired.generation, before.generation.next());
    assert_eq!(allowed(&bed.judge("x").await.0), Some("x"));
}

#[tokio::test]
async fn what_could_not_be_stored_never_serves() {
    let bed = Bed::new(Options::default()).await;
    bed.install("a", "1", &stamp("1")).await.unwrap();
    bed.tables.broken.store(true, Ordering::SeqCst);
    assert!(matches!(bed.install("a", "2", &stamp("2")).await, Err(Error::Store(_))));
    assert!(matches!(bed.engine.remove("a").await, Err(Error::Store(_))));
    assert_eq!(allowed(&bed.judge("x").await.0), Some("1 x"));
    bed.tables.broken.store(false, Ordering::SeqCst);
    bed.install("a", "2", &stamp("2")).await.unwrap();
    assert_eq!(allowed(&bed.judge("x").await.0), Some("2 x"));
}

#[tokio::test]
async fn the_same_once_more_changes_nothing_and_a_dry_run_neither() {
    let bed = Bed::new(Options::default()).await;
    let first = bed.install("a", "1", "{}").await.unwrap();
    assert_eq!(bed.install("a", "1", "{}").await.unwrap(), first);
    let mut install = fixture("a", "2", r#"{"moderation": {"mode": "reject"}}"#);
    install.dry_run = true;
    assert_eq!(bed.engine.install(install).await.unwrap().generation, first.generation);
    assert_eq!(refused(&bed.judge("x").await.0), None);
    assert_eq!(bed.engine.list().await[0].version, "1");
}

#[tokio::test]
async fn a_configuration_that_is_not_given_stays() {
    let bed = Bed::new(Options::default()).await;
    bed.install("a", "1", &stamp("1")).await.unwrap();
    let mut install = fixture("a", "2", "");
    install.config = None;
    bed.engine.install(install).await.unwrap();
    assert_eq!(allowed(&bed.judge("x").await.0), Some("1 x"));
}
