//! What a hook costs: microseconds of CPU time on a message's way through plugins that leave it alone.
//!
//! CPU time of the calling thread, since other work on the machine is not the hook's.
//!
//! `cargo bench -p godwit-engine --bench hooks`. The figures stand in `host/decisions/0003-plugin-engine.md`.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

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
use std::sync::Arc;

const CALLS: u32 = 100_000;

#[tokio::main(flavor = "current_thread")]
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
    let chain = bed.engine.pin();
    run(&chain, body).await;
    let before = cpu_ns();
    run(&chain, body).await;
    let micros = (cpu_ns() - before) as f64 / 1e3 / f64::from(CALLS);
    println!("{name}: {:.2} µs per hook, {micros:.2} µs per message with both", micros / 2.0);
    bed.engine.remove(&id).await.unwrap();
}

/// CPU time of this thread so far, as the kernel counts it.
fn cpu_ns() -> u64 {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").expect("this is Linux");
    stat.split(' ').next().and_then(|ns| ns.parse().ok()).expect("begins with nanoseconds")
}

async fn run(chain: &Arc<dyn Chain>, body: &str) {
    let scene = scene(1);
    for _ in 0..CALLS {
        let (judgement, _) = chain.judge(&scene, Content::text(body), None).await;
        assert_eq!(allowed(&judgement), Some(body));
    }
}
