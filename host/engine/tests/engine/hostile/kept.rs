//! What is left in memory between calls and instances, and what a version may not take that it was not granted.

use super::{
    INSTANCES, MEMORY_MIB,
    guest::{Guest, NOTHING},
    options,
};
use crate::{
    bed::{Bed, allowed, fixture, manifest, refused},
    desk::{self, ALL},
};
use godwit_domain::plugin::{Component, Install, Manager, State};
use godwit_engine::Options;

/// Fills its memory, grown to 12 MiB, and its table; then traps or answers.
fn hoarder(end: &str) -> Guest {
    Guest::new("moderation")
        .field("(table $t 1 funcref)")
        .body(format!(
            r#"(drop (memory.grow (i32.const 190)))
           (drop (table.grow $t (ref.func $realloc) (i32.const 10000)))
           (memory.fill (i32.const 4096) (i32.const 0xa5) (i32.const 12000000))
           {end} {NOTHING}"#
        ))
        .field("(elem declare func $realloc)")
}

/// Grows as far and traps if there is anything where nothing was written.
fn finder() -> Guest {
    Guest::new("moderation").field("(table $t 1 funcref)").body(format!(
        r#"(drop (memory.grow (i32.const 190)))
           (drop (table.grow $t (ref.null func) (i32.const 10000)))
           (local.set $n (i32.const 131072))
           (loop $on
               (if (i64.ne (i64.load (local.get $n)) (i64.const 0)) (then unreachable))
               (local.set $n (i32.add (local.get $n) (i32.const 8)))
               (br_if $on (i32.lt_u (local.get $n) (i32.const 12000000))))
           (if (i32.eqz (ref.is_null (table.get $t (i32.const 9999)))) (then unreachable))
           {NOTHING}"#
    ))
}

fn install(id: &str, guest: &Guest) -> Install {
    Install {
        manifest: guest.manifest(id),
        component: Component::Bytes(guest.component()),
        ..fixture(id, "1", "{}")
    }
}

#[tokio::test]
async fn no_instance_finds_what_another_left_in_memory() {
    // So few that each takes the place of one before it.
    let few = Options {
        instances_max: 2 * INSTANCES + 1,
        calls_per_instance: 1,
        call_cpu_ms: 400,
        chain_cpu_ms: 1_600,
        call_wall_ms: 20_000,
        memory_mib: MEMORY_MIB,
        ..options()
    };
    let bed = Bed::new(few).await;
    for (round, end) in
        ["unreachable", "", "unreachable", "(loop $on (br $on))", "", "unreachable"].iter().enumerate()
    {
        bed.engine.install(install("a", &hoarder(end))).await.unwrap();
        for n in 0..3 {
            let (judgement, _) = bed.judge(&format!("{round} {n}")).await;
            assert_eq!(
                allowed(&judgement).is_some(),
                end.is_empty(),
                "{end}: {judgement:?}; {}",
                bed.log("a").await
            );
        }
        bed.engine.remove("a").await.unwrap();
        bed.engine.install(install("b", &finder())).await.unwrap();
        for n in 0..3 {
            let (judgement, _) = bed.judge(&format!("{round} {n}")).await;
            assert!(allowed(&judgement).is_some(), "{judgement:?}; {}", bed.log("b").await);
        }
        bed.engine.remove("b").await.unwrap();
    }
}

#[tokio::test]
async fn a_version_that_asks_for_more_waits_and_what_serves_goes_on_with_what_it_has() {
    let bed = Bed::new(options()).await;
    bed.engine.install(desk::actor_without(&["send"])).await.unwrap();
    let before = bed.status("fixture-actor").await;
    let origins = ["http://127.0.0.1:1", "https://elsewhere.example"].map(str::to_owned);
    let mut greedy = desk::actor("{}", &ALL, &origins);
    greedy.manifest = greedy.manifest.replace("0.1.0", "0.2.0");
    // What it has it keeps, and no more: nobody grants what is new by installing it.
    let installed = bed.engine.install(Install { grants: None, ..greedy }).await.unwrap();
    assert_eq!(installed.state, State::Pending);
    let missing: Vec<_> = installed.missing.iter().map(|capability| capability.capability.as_str()).collect();
    assert_eq!(missing, ["http=https://elsewhere.example", "send"]);
    let status = bed.status("fixture-actor").await;
    assert_eq!((&status.version, &status.grants), (&before.version, &before.grants));
}

#[tokio::test]
async fn a_sender_who_traps_stalls_or_floods_the_moderator_gets_nothing_through_and_closes_it_to_nobody() {
    let bed = Bed::new(options()).await;
    for mode in ["trap", "loop", "grow", "recurse"] {
        let config = format!(r#"{{"moderation": {{"mode": "{mode}", "on": "bait"}}}}"#);
        let mut install = fixture("a", "1", &config);
        install.manifest = manifest("a", "1") + "[failure]\nmoderation = \"reject\"\n";
        bed.engine.install(install).await.unwrap();
        for n in 0..12 {
            let bait = format!("bait {}", n / 3);
            let (bait, good) = tokio::join!(bed.judge(&bait), bed.judge_of(2, "hello"));
            assert!(allowed(&bait.0).is_none(), "{mode}: {bait:?}");
            assert_eq!(allowed(&good.0), Some("hello"), "{mode}: {good:?}");
        }
        let (poisoned, _) = bed.judge_of(3, "bait 0").await;
        assert_eq!(refused(&poisoned), Some("poison"), "{mode}");
        bed.engine.remove("a").await.unwrap();
    }
}
