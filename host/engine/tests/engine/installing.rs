//! What is refused before it serves, and what the refusal says.

use crate::bed::{Bed, allowed, fixture, manifest};
use godwit_domain::plugin::{Component, Install, Manager};
use godwit_engine::Options;

/// A component that exports the moderation hook as an instance of these items.
fn moderation(items: &str) -> String {
    format!(r#"(component {items} (export "godwit:plugin/moderation@0.1.0" (instance $hook)))"#)
}

/// Installs a component written by hand.
fn by_hand(wat: &str) -> Install {
    let component = Component::Bytes(wat::parse_str(wat).unwrap());
    let manifest = manifest("a", "1").replace("\"normalise\", ", "");
    Install { component, manifest, ..fixture("a", "1", "{}") }
}

#[tokio::test]
async fn a_component_that_cannot_serve_is_refused_with_what_would_satisfy_the_host() {
    let bed = Bed::new(Options::default()).await;
    let wrong_types = moderation(
        r#"(core module $m (func (export "review") (result i32) (i32.const 0)))
           (core instance $i (instantiate $m))
           (func $review (result u32) (canon lift (core func $i "review")))
           (instance $hook (export "review" (func $review)))"#,
    );
    let wrong_import = format!(
        r#"(component (import "godwit:plugin/log@0.1.0" (instance (export "log" (func (param "message" string)))))
           {}"#,
        &moderation("(instance $hook)")["(component ".len()..]
    );
    let undeclared = format!(
        r#"(component (import "godwit:plugin/kv@0.1.0" (instance)) {}"#,
        &moderation("(instance $hook)")["(component ".len()..]
    );
    for (wat, expected) in [
        (wrong_types, "export `godwit:plugin/moderation@0.1.0` has other types"),
        (wrong_import, "other types"),
        (undeclared, "import `godwit:plugin/kv@0.1.0` needs the capability `kv`"),
        (moderation("(instance $hook)"), "review"),
        ("(component)".to_owned(), "exports no hook"),
        ("(module)".to_owned(), "a core module"),
    ] {
        let found = bed.refusal(by_hand(&wat)).await;
        assert!(found.contains(expected), "{wat}: {found}");
    }
    for garbage in [&b""[..], b"garbage", b"\0asm\x0d\0\x01\0\x07\xff"] {
        let found = bed
            .refusal(Install { component: Component::Bytes(garbage.to_vec()), ..fixture("a", "1", "{}") })
            .await;
        assert!(found.contains("not a component"), "{garbage:?}: {found}");
    }
    assert!(bed.engine.list().await.is_empty());
    assert!(bed.tables.stored().is_empty());
}

#[tokio::test]
async fn the_manifest_must_name_just_the_hooks_that_are_exported() {
    let bed = Bed::new(Options::default()).await;
    let mut install = fixture("a", "1", "{}");
    install.manifest = install.manifest.replace("\"normalise\", ", "");
    let found = bed.refusal(install).await;
    assert!(found.contains("exports the hook `normalise`, which the manifest does not name"), "{found}");
}

#[tokio::test]
async fn all_problems_are_told_at_once() {
    let bed = Bed::new(Options::default()).await;
    let mut install = fixture("a", "1", "{}");
    install.component = Component::Bytes(b"garbage".to_vec());
    install.manifest = install.manifest.replace("\"0.1\"", "\"0.9\"");
    let found = bed.refusal(install).await;
    assert!(found.contains("interface `0.9`") && found.contains("not a component"), "{found}");
}

#[tokio::test]
async fn an_init_that_fails_is_told_with_the_plugins_own_words() {
    let bed = Bed::new(Options { init_cpu_ms: 250, ..Options::default() }).await;
    for (config, expected) in [
        (r#"{"init": {"mode": "err", "text": "no such list"}}"#, "no such list"),
        (r#"{"init": {"mode": "trap"}}"#, "the fixture traps in init as configured"),
        (r#"{"init": {"mode": "loop"}}"#, "250 ms of CPU time in `init`"),
        (r#"{"init": {"mode": "grow"}}"#, "memory limit"),
        (r#"{"moderation": {"mode": "dance"}}"#, "dance"),
    ] {
        let found = bed.refusal(fixture("a", "1", config)).await;
        assert!(found.contains(expected), "{config}: {found}");
    }
}

#[tokio::test]
async fn the_manifests_tests_run_before_the_version_goes_live() {
    let bed = Bed::new(Options::default()).await;
    let config =
        r#"{"normalise": {"mode": "stamp", "marker": "m"}, "moderation": {"mode": "reject", "on": "bad"}}"#;
    let with = |tests: &str| {
        let mut install = fixture("a", "1", config);
        install.manifest += tests;
        install
    };
    let found = bed
        .refusal(with(
            r#"
            [[test]]
            hook = "moderation"
            input = { body = "good" }
            expect = { reject = { code = "fixture" } }
            [[test]]
            hook = "normalise"
            input = { body = "x" }
            expect = { rewrite = { body = "n x" } }
            "#,
        ))
        .await;
    assert!(found.contains("test 1 failed") && found.contains("test 2 failed"), "{found}");
    let good = with(
        r#"
        [[test]]
        hook = "moderation"
        input = { body = "bad" }
        expect = { reject = { code = "fixture" } }
        [[test]]
        hook = "moderation"
        input = { body = "good" }
        expect = { allow = true }
        [[test]]
        hook = "normalise"
        input = { body = "x" }
        expect = { rewrite = { body = "m x" } }
        "#,
    );
    bed.engine.install(good).await.unwrap();
    assert_eq!(allowed(&bed.judge("x").await.0), Some("m x"));
}

#[tokio::test]
async fn a_clamp_is_reported() {
    let bed = Bed::new(Options::default()).await;
    let mut install = fixture("a", "1", "{}");
    install.manifest += "[limits]\nmemory_mib = 4000\n";
    let installed = bed.engine.install(install).await.unwrap();
    assert!(installed.warnings.join("\n").contains("clamped to 64"), "{:?}", installed.warnings);
}
