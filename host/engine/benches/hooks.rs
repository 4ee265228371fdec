//! What a hook costs: microseconds of a message's way through plugins that leave it alone.
//!
//! `cargo bench -p godwit-engine --bench hooks`. The figures stand in `host/decisions/0003-plugin-engine.md`.

#[allow(dead_code, reason = "shared with the tests, which use all of it")]
#[path = "../tests/engine/bed.rs"]
mod bed;

use bed::{Bed, allowed, fixture, scene};
use godwit_domain::{
    filter::{Chain, Filters},
    message::Content,
    plugin::{Install, Manager},
};
use godwit_engine::Options;
use std::{sync::Arc, time::Instant};

const CALLS: u32 = 100_000;

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let bed = Bed::new(Options::default()).await;
    let body = "All happy families are alike, each unhappy family has its own. ".repeat(4)[..200].to_owned();
    measure("a hook that allows at once", &bed, fixture("a", "1", "{}"), &body).await;
    measure("the word filter with 1,000 words", &bed, wordfilter(), &body).await;
}

/// The shipped word filter, half of whose words are masked and half rejected.
fn wordfilter() -> Install {
    let words =
        |from: u32| (from..from + 500).map(|n| format!("\"badword{n:x}z\"")).collect::<Vec<_>>().join(",");
    let config = format!(r#"{{"mask": [{}], "reject": [{}]}}"#, words(0), words(500));
    Install {
        manifest: godwit_fixtures::manifest(godwit_fixtures::WORDFILTER)
            .split("[[test]]")
            .next()
            .unwrap()
            .to_owned(),
        component: godwit_fixtures::component(godwit_fixtures::WORDFILTER),
        ..fixture("wordfilter", "1", &config)
    }
}

/// Measures a plugin that serves both hooks, alone in the chain.
async fn measure(name: &str, bed: &Bed, install: Install, body: &str) {
    let id = install.id.clone();
    bed.engine.install(install).await.unwrap();
    // In a task like that of a session, not on the thread that waits for all.
    let chain = bed.engine.pin();
    let body = body.to_owned();
    let micros = tokio::spawn(async move {
        run(&chain, &body).await;
        let started = Instant::now();
        run(&chain, &body).await;
        started.elapsed().as_secs_f64() * 1e6 / f64::from(CALLS)
    });
    let micros = micros.await.unwrap();
    println!("{name}: {:.2} µs per hook, {micros:.2} µs per message with both", micros / 2.0);
    bed.engine.remove(&id).await.unwrap();
}

async fn run(chain: &Arc<dyn Chain>, body: &str) {
    let scene = scene(1);
    for _ in 0..CALLS {
        let (judgement, _) = chain.judge(&scene, Content::text(body)).await;
        assert_eq!(allowed(&judgement), Some(body));
    }
}
