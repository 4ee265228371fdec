//! What one actor may use, met and exceeded, and actors that misbehave.

use crate::{
    actors::{bed, failed},
    bed::Bed,
    desk::call,
};
use godwit_domain::{actor::Outcome, filter::Decision, time::Ms};
use godwit_engine::Options;
use serde_json::json;
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

#[tokio::test]
async fn effects_have_a_limit_in_number_and_size() {
    let bed = bed().await;
    for step in
        [r#"{"send": "x"}"#, r#"{"timer": ["t", 1, ""]}"#, r#"{"cancel": "t"}"#, r#"{"delete_number": 1}"#]
    {
        let (told, effects) = bed.did(&format!(r#"[{{"repeat": [10000, {step}]}}]"#)).await;
        assert_eq!((effects.acts.len(), &told[0]["good"]), (64, &json!(64)), "{step}");
        assert_eq!(told[0]["last"]["why"], "65 effects, the limit of one call is 64");
    }
    let keys: Vec<_> = (0..65).map(|n| format!(r#"{{"set": ["k{n}", "v"]}}"#)).collect();
    let (told, effects) = bed.did(&format!("[{}]", keys.join(","))).await;
    assert_eq!((effects.writes.len(), &told[64]["err"]), (64, &json!("invalid")));
    // The same key again and again is one effect.
    let (_, effects) = bed.did(r#"[{"repeat": [1000, {"set": ["k", "v"]}]}]"#).await;
    assert_eq!(effects.writes.len(), 1);
    let keys: Vec<_> = (0..20).map(|n| format!(r#"{{"set_huge": ["k{n}", 65536]}}"#)).collect();
    let (told, effects) = bed.did(&format!("[{}]", keys.join(","))).await;
    assert_eq!(effects.writes.len(), 15, "16 would be 1 MiB and their keys");
    assert!(told[15]["why"].as_str().unwrap().contains("the limit of one call is 1024 KiB"), "{told}");
}

#[tokio::test]
async fn reads_have_a_limit() {
    let bed = bed().await;
    let keys: Vec<_> = (0..257).map(|n| format!(r#"{{"get": "k{n}"}}"#)).collect();
    let (told, effects) = bed.did(&format!("[{}]", keys.join(","))).await;
    assert_eq!(effects.reads.len(), 256);
    assert_eq!(told[256]["why"], "256 keys were read, which is the limit of one call");
    let (told, _) = bed.did(r#"[{"repeat": [10000, {"get": "k"}]}]"#).await;
    assert_eq!(told[0]["good"], 10_000, "one key is read once, however often");
    for step in [
        r#"{"history": [null, 1]}"#,
        r#"{"find": "ada"}"#,
        r#"{"secret": "a"}"#,
        r#"{"scan": ["a", null, 1]}"#,
    ] {
        let (told, _) = bed.did(&format!(r#"[{{"repeat": [1000, {step}]}}]"#)).await;
        assert_eq!(told[0]["good"], 256, "{step}");
        assert!(told[0]["last"]["why"].as_str().unwrap().contains("256 reads"), "{told}");
    }
    for step in [r#"{"history": [null, 257]}"#, r#"{"members": 0}"#, r#"{"scan": ["a", null, 4000]}"#] {
        assert_eq!(bed.did(&format!("[{step}]")).await.0[0]["err"], "invalid", "{step}");
    }
}

#[tokio::test]
async fn keys_values_and_texts_have_limits() {
    let bed = bed().await;
    let long = "k".repeat(512);
    let steps = [
        (format!(r#"{{"set": ["{long}", "v"]}}"#), None),
        (format!(r#"{{"set": ["{long}k", "v"]}}"#), Some("513 bytes, the limit is 512")),
        (format!(r#"{{"get": "{long}k"}}"#), Some("513 bytes, the limit is 512")),
        (r#"{"get": ""}"#.to_owned(), Some("must not be empty")),
        (r#"{"set_huge": ["k", 65536]}"#.to_owned(), None),
        (r#"{"set_huge": ["k", 65537]}"#.to_owned(), Some("65537 bytes, the limit is 64 KiB")),
        (r#"{"scan": ["a/b", null, 1]}"#.to_owned(), Some("without a `/`")),
        (r#"{"send_huge": 16384}"#.to_owned(), None),
        (r#"{"send_huge": 16385}"#.to_owned(), Some("16385 bytes, the limit is 16384")),
        (format!(r#"{{"react": "{}"}}"#, "x".repeat(65)), Some("emoji of 65 bytes")),
        (r#"{"react": ""}"#.to_owned(), Some("emoji of 0 bytes")),
        (r#"{"timer": ["", 1, ""]}"#.to_owned(), Some("0 bytes; 1 to 128")),
        (format!(r#"{{"timer": ["{}", 1, ""]}}"#, "t".repeat(129)), Some("129 bytes; 1 to 128")),
        (format!(r#"{{"cancel": "{}"}}"#, "t".repeat(129)), Some("129 bytes; 1 to 128")),
        (r#"{"edit_sent": "no reference"}"#.to_owned(), Some("a reference has 0 bytes")),
    ];
    for (step, refused) in steps {
        let fresh = if step.contains("edit_sent") { r#"[{"get": "x"}, "# } else { "[" };
        let (told, _) = bed.did(&format!("{fresh}{step}]")).await;
        let told = told.as_array().unwrap().last().unwrap().clone();
        match refused {
            None => assert!(told["err"].is_null(), "{}: {told}", &step[..40.min(step.len())]),
            Some(why) => assert!(told["why"].as_str().unwrap_or_default().contains(why), "{why}: {told}"),
        }
    }
}

/// Budgets at which a misbehaving call is soon over.
fn brief() -> Options {
    let mut options = Options { call_wall_ms: 10_000, ..Options::default() };
    options.actors.call_cpu_ms = 100;
    options.actors.call_wall_ms = 2_000;
    options
}

#[tokio::test]
async fn an_actor_that_misbehaves_costs_its_own_call_and_none_of_its_effects_happen() {
    let bed = Bed::new(brief()).await;
    bed.install_actor("{}").await.unwrap();
    for (step, how, logged) in [
        (r#""spin""#, Decision::Deadline, "100 ms of CPU time"),
        (r#""grow""#, Decision::Trap, "memory limit"),
        (r#""recurse""#, Decision::Trap, "call stack exhausted"),
        (r#""trap""#, Decision::Trap, "the fixture traps as it was told"),
        (r#"{"sleep": 60000}"#, Decision::Deadline, "2000 ms passed"),
        (r#"{"send_huge": 2000000}"#, Decision::Trap, "fuel"),
    ] {
        let started = Instant::now();
        let outcome = bed.hear(&format!(r#"[{{"send": "x"}}, {{"set": ["a", "b"]}}, {step}]"#)).await;
        assert_eq!(failed(outcome).0, how, "{step}");
        assert!(started.elapsed() < Duration::from_secs(60));
        assert!(
            bed.log("fixture-actor").await.contains(logged),
            "{step}: {}",
            bed.log("fixture-actor").await
        );
        let (told, effects) = bed.did(r#"[{"get": "a"}]"#).await;
        assert_eq!((told, effects.acts.len()), (json!([null]), 0), "after {step}");
    }
}

#[tokio::test]
async fn a_host_function_that_takes_long_is_cut_at_the_wall() {
    let bed = Bed::new(brief()).await;
    bed.install_actor("{}").await.unwrap();
    bed.store.delay_ms.store(60_000, Ordering::SeqCst);
    for step in [r#"{"get": "a"}"#, r#"{"history": [null, 1]}"#, r#"{"send": "x"}"#] {
        let (how, why) = failed(bed.hear(&format!("[{step}]")).await);
        assert!(how == Decision::Deadline && why.contains("2000 ms passed"), "{step}: {why}");
    }
    // Short waits add up to nothing but wall time: CPU time is what the guest itself used.
    bed.store.delay_ms.store(20, Ordering::SeqCst);
    let keys: Vec<_> = (0..20).map(|n| format!(r#"{{"get": "k{n}"}}"#)).collect();
    bed.did(&format!("[{}]", keys.join(","))).await;
}

#[tokio::test]
async fn an_instance_is_used_again_and_never_after_an_error() {
    let bed = bed().await;
    bed.did(r#"[{"keep": "x"}]"#).await;
    assert_eq!(bed.did(r#"["recall"]"#).await.0, json!(["x"]));
    failed(bed.hear(r#"["trap"]"#).await);
    assert_eq!(bed.did(r#"["recall"]"#).await.0, json!([""]));
    bed.did(r#"[{"keep": "y"}]"#).await;
    let actor = bed.actor();
    let (call, desk) = (call("dropped"), bed.desk());
    bed.store.delay_ms.store(10_000, Ordering::SeqCst);
    let event = godwit_domain::actor::Event {
        id: "dropped".into(),
        at: Ms(1),
        hops: 0,
        place: None,
        what: godwit_domain::actor::What::Timer {
            name: "t".into(),
            at: Ms(1),
            payload: br#"[{"get": "a"}]"#.to_vec(),
        },
    };
    let dropped = tokio::time::timeout(Duration::from_millis(50), actor.on_event(&call, &event, desk)).await;
    assert!(dropped.is_err(), "cut by the caller");
    bed.store.delay_ms.store(0, Ordering::SeqCst);
    assert_eq!(bed.did(r#"["recall"]"#).await.0, json!([""]));
    let mut options = Options::default();
    options.actors.calls_per_instance = 1;
    let bed = Bed::new(options).await;
    bed.install_actor("{}").await.unwrap();
    bed.did(r#"[{"keep": "x"}]"#).await;
    assert_eq!(bed.did(r#"["recall"]"#).await.0, json!([""]), "a fresh one for each call");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn instances_are_bounded_by_number_and_by_the_memory_of_a_plugin() {
    // Each waits in its read, so that as many run at once as there are instances.
    async fn most_at_once(options: Options, config: &str) -> (usize, usize) {
        let bed = Arc::new(Bed::new(options).await);
        bed.install_actor(config).await.unwrap();
        bed.store.delay_ms.store(300, Ordering::SeqCst);
        let calls: Vec<_> = (0..12)
            .map(|n| {
                let bed = bed.clone();
                tokio::spawn(async move { bed.hear(&format!(r#"[{{"get": "k{n}"}}]"#)).await })
            })
            .collect();
        tokio::time::sleep(Duration::from_millis(150)).await;
        let running = bed.store.reads.load(Ordering::SeqCst) as usize;
        let busy = AtomicUsize::new(0);
        for call in calls {
            match call.await.unwrap() {
                Outcome::Done(..) => {}
                Outcome::Failed { how: Decision::Busy, .. } => {
                    busy.fetch_add(1, Ordering::SeqCst);
                }
                other => panic!("{other:?}"),
            }
        }
        (running, busy.into_inner())
    }
    let mut options = Options { call_wall_ms: 10_000, ..Options::default() };
    options.actors.instances_per_plugin = 3;
    assert!(most_at_once(options.clone(), "{}").await.0 <= 3);
    // 30 MiB after `init` make a limit of 120 MiB, of which four fit into 512.
    options.actors.instances_per_plugin = 8;
    let (running, busy) = most_at_once(options.clone(), r#"{"memory_bytes": 31000000}"#).await;
    assert!((1..=4).contains(&running) && busy == 0, "{running} {busy}");
    options.actors.instances_per_plugin = 1;
    options.actors.waiting_max = 2;
    let (_, busy) = most_at_once(options, "{}").await;
    assert_eq!(busy, 9, "one runs, two wait");
}

#[tokio::test]
async fn who_has_much_memory_after_init_may_grow_to_four_times_that_and_no_further() {
    let mut options = brief();
    options.actors.memory_mib = 4;
    options.actors.call_cpu_ms = 5_000;
    let bed = Bed::new(options).await;
    bed.install_actor(r#"{"memory_bytes": 8000000}"#).await.unwrap();
    bed.did(r#"[{"log": "there is room"}]"#).await;
    assert_eq!(failed(bed.hear(r#"["grow"]"#).await).0, Decision::Trap);
    let log = bed.log("fixture-actor").await;
    let limit = log
        .lines()
        .find_map(|line| {
            line.split("the limit is ")
                .nth(1)?
                .split(|c: char| !c.is_ascii_digit())
                .next()?
                .parse::<usize>()
                .ok()
        })
        .unwrap();
    assert!((32_000_000..45_000_000).contains(&limit), "{limit}");
}
