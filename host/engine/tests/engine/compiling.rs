//! The compiling process and its cache.

use crate::bed::{Bed, allowed, fixture, manifest};
use godwit_domain::plugin::{Component, Install};
use godwit_engine::{Compile, Options};
use std::process::Command;

/// A component whose one function takes the compiler very long.
fn bomb() -> Install {
    let step =
        "(local.set 0 (i64.mul (i64.add (local.get 0) (local.get 1)) (i64.rotl (local.get 1) (local.get 0))))
                (if (i64.eqz (local.get 0)) (then (local.set 1 (i64.xor (local.get 0) (local.get 1)))))";
    let wat = format!(
        r#"(component (core module (func (param i64 i64) {}))
            (instance $hook) (export "godwit:plugin/moderation@0.1.0" (instance $hook)))"#,
        step.repeat(60_000)
    );
    let manifest = manifest("a", "1").replace("\"normalise\", ", "");
    Install { component: Component::Bytes(wat::parse_str(wat).unwrap()), manifest, ..fixture("a", "1", "{}") }
}

#[tokio::test]
async fn a_compile_bomb_is_killed_at_its_limit_which_the_refusal_names() {
    let cpu = Compile { cpu_s: 1, wall_s: 300, ..Compile::default() };
    let wall = Compile { cpu_s: 300, wall_s: 1, ..Compile::default() };
    for (compile, expected) in [(cpu, "more than 1 s of CPU time"), (wall, "more than 1 s passed")] {
        let bed = Bed::new(Options { compile, ..Options::default() }).await;
        let found = bed.refusal(bomb()).await;
        assert!(found.contains("compile limit") && found.contains(expected), "{found}");
        assert!(bed.artefacts().is_empty());
    }
}

#[tokio::test]
async fn a_component_is_compiled_once_and_found_in_the_cache_after_a_restart() {
    let bed = Bed::new(Options::default()).await;
    bed.install("a", "1", "{}").await.unwrap();
    bed.install("a", "2", "{}").await.unwrap();
    assert!(bed.metrics().contains("godwit_plugin_compile_seconds_count 1"));
    let bed = bed.restarted().await;
    assert!(bed.metrics().contains("godwit_plugin_compile_seconds_count 0"));
    assert_eq!(allowed(&bed.judge("x").await.0), Some("x"));
}

#[tokio::test]
async fn a_tampered_artefact_is_compiled_again() {
    let bed = Bed::new(Options::default()).await;
    bed.install("a", "1", "{}").await.unwrap();
    let artefacts = bed.artefacts();
    let [path] = &artefacts[..] else { panic!("{artefacts:?}") };
    let good = std::fs::read(path).unwrap();
    let mut bad = good.clone();
    bad[good.len() / 2] ^= 1;
    std::fs::write(path, bad).unwrap();
    let bed = bed.restarted().await;
    assert!(bed.metrics().contains("godwit_plugin_compile_seconds_count 1"));
    assert_eq!(allowed(&bed.judge("x").await.0), Some("x"));
    assert_eq!(std::fs::read(path).unwrap().len(), good.len());
}

#[cfg(target_os = "linux")]
#[test]
fn the_compiling_process_reaches_no_file_socket_or_process() {
    let probe = Command::new(env!("CARGO_BIN_EXE_compile-component")).arg("probe").output().unwrap();
    let said = String::from_utf8(probe.stdout).unwrap();
    for expected in [
        "file Some(PermissionDenied)",
        "socket Some(PermissionDenied)",
        "process Some(PermissionDenied)",
        "memory true",
    ] {
        assert!(said.contains(expected), "{expected} in {said:?}");
    }
}
