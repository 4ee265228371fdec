//! Every check on planted breaches, and on what looks like one and is none.

use godwit_tidy::{
    Finding, Tree,
    arrows::{self, Crate, Dependency},
    contract, docs, source,
};

/// Runs a check on these files; what it finds must be these places, in order.
#[track_caller]
fn finds(check: fn(&Tree) -> Vec<Finding>, files: &[(&str, &str)], expected: &[(&str, usize)]) {
    let findings = check(&Tree::of(files));
    let found: Vec<_> = findings.iter().map(|finding| (finding.path.as_str(), finding.line)).collect();
    assert_eq!(found, expected, "{findings:?}");
}

fn one(name: &str, folder: &str, dependencies: &[(&str, Option<&str>)]) -> Crate {
    let dependency = |(name, kind): &(&str, Option<&str>)| Dependency {
        name: (*name).to_owned(),
        kind: kind.map(str::to_owned),
    };
    Crate {
        name: name.to_owned(),
        manifest_path: format!("/somewhere/{folder}/Cargo.toml"),
        dependencies: dependencies.iter().map(dependency).collect(),
    }
}

fn arrows_from(from: Crate) -> usize {
    let others = [
        one("godwit", "host/godwit", &[]),
        one("godwit-domain", "host/domain", &[]),
        one("godwit-storage", "host/storage", &[]),
        one("godwit-engine", "host/engine", &[]),
        one("godwit-core", "host/core", &[]),
        one("godwit-plugin", "sdk/rust", &[]),
    ];
    let others = others.into_iter().filter(|other| other.name != from.name).collect::<Vec<_>>();
    arrows::check(&[others, vec![from]].concat()).len()
}

#[test]
fn an_arrow_that_nobody_drew_is_found() {
    for (name, folder, to) in [
        ("godwit-core", "host/core", "wasmtime"),
        ("godwit-core", "host/core", "wasmtime-wasi"),
        ("godwit-core", "host/core", "redb"),
        ("godwit-core", "host/core", "hyper-util"),
        ("godwit-core", "host/core", "godwit-storage"),
        ("godwit-engine", "host/engine", "godwit-storage"),
        ("godwit-storage", "host/storage", "godwit-engine"),
        ("godwit-gateway", "host/gateway", "godwit-storage"),
        ("godwit-domain", "host/domain", "tokio"),
        ("godwit-core", "host/core", "godwit"),
        ("wordfilter", "plugins/wordfilter", "godwit-domain"),
        ("godwit-plugin", "sdk/rust", "godwit-domain"),
        ("godwit-load", "tests/load", "godwit"),
    ] {
        assert_eq!(arrows_from(one(name, folder, &[(to, None)])), 1, "{name} -> {to}");
    }
}

#[test]
fn a_host_crate_that_nobody_decided_on_is_found() {
    assert_eq!(arrows_from(one("godwit-helpers", "host/helpers", &[])), 1);
}

#[test]
fn drawn_arrows_and_those_of_tests_are_allowed() {
    for (name, folder, to, kind) in [
        ("godwit-core", "host/core", "godwit-domain", None),
        ("godwit-core", "host/core", "godwit-storage", Some("dev")),
        ("godwit-core", "host/core", "tokio", None),
        ("godwit-engine", "host/engine", "wasmtime", None),
        ("godwit-gateway", "host/gateway", "tokio-tungstenite", None),
        ("wordfilter", "plugins/wordfilter", "godwit-plugin", None),
        ("godwit-e2e", "tests/e2e", "godwit-domain", None),
    ] {
        assert_eq!(arrows_from(one(name, folder, &[(to, kind)])), 0, "{name} -> {to}");
    }
}

#[test]
fn long_files_are_found_unless_they_explain_themselves() {
    let explained = format!("//! A table.\n//! {} it is one table.\n", source::EXPLANATION);
    let long = "//! A module.\n".to_owned() + &"x\n".repeat(source::LINES_EXPLAINED);
    let files = [
        ("a.rs", long.clone()),
        ("b.rs", explained.clone() + &"x\n".repeat(source::LINES_EXPLAINED)),
        ("c.rs", explained + &"x\n".repeat(source::LINES_MAX)),
        ("d.js", "// A script.\n".repeat(source::LINES_EXPLAINED)),
        ("data.json", long),
    ];
    let files: Vec<_> = files.iter().map(|(path, text)| (*path, text.as_str())).collect();
    finds(source::lengths, &files, &[("a.rs", 0), ("c.rs", 0)]);
}

#[test]
fn modules_without_an_opening_are_found() {
    let files = [
        ("a.rs", "//! What it owns.\n"),
        ("b.rs", "use std::fmt;\n//! Too late.\n"),
        ("c.js", "import x from 'y';\n"),
        ("d.js", "// What it owns.\n"),
        ("e.js", "/** What it owns. */\n"),
    ];
    finds(source::openings, &files, &[("b.rs", 0), ("c.js", 0)]);
}

#[test]
fn markers_of_unfinished_work_are_found() {
    let files = [
        ("a.rs", concat!("//! x\n// FIX", "ME: broken\n")),
        ("b.rs", concat!("//! x\n// TO", "DO: later\n")),
        ("c.rs", concat!("//! x\n// TO", "DO: drop this once redb has a serial read.\n")),
        ("d.rs", concat!("//! The name of a TO", "DO list is no marker.\n")),
    ];
    finds(source::markers, &files, &[("a.rs", 2), ("b.rs", 2)]);
}

#[test]
fn machines_and_registries_are_found() {
    let files = [
        ("a.md", concat!("see /wo", "rk/main\n")),
        ("b.rs", concat!("//! in /ro", "ot/x\n")),
        ("tests/c/package-lock.json", "{\n\"resolved\": \"https://mirror.example/x.tgz\"\n}"),
        ("Cargo.lock", "source = \"registry+https://mirror.example/index\"\n"),
        (".npmrc", "registry=https://mirror.example\n"),
        (".cargo/config.toml", "[source.mirror]\n"),
        ("d.md", "see framework/main, roots/x\n"),
    ];
    let expected = [
        ("a.md", 1),
        ("b.rs", 1),
        ("tests/c/package-lock.json", 2),
        ("Cargo.lock", 1),
        (".npmrc", 1),
        (".cargo/config.toml", 1),
    ];
    finds(source::machine, &files, &expected);
}

#[test]
fn two_sentences_in_a_line_are_found() {
    for (line, two) in [
        ("It is one. It is two.", true),
        ("Is it one? Yes, and two.", true),
        ("- **Item.** It may say more. Like this.", false),
        ("It ends with `code`. Then another.", true),
        ("It is one thing; it goes on.", false),
        ("1. Steps are numbered. ", false),
        ("See e.g. Cassandra, or redb 4.4. And v. Neumann.", false),
        ("| cells. May | hold. Several |", false),
        ("`a. B` is code.", false),
        ("It ends here.", false),
    ] {
        let expected: &[_] = if two { &[("a.md", 1)] } else { &[] };
        finds(docs::sentences, &[("a.md", line)], expected);
    }
    finds(docs::sentences, &[("a.md", "```\ncode here. More here.\n```\n")], &[]);
}

#[test]
fn an_architecture_that_does_not_match_is_found() {
    let crates = [("host/core/Cargo.toml", ""), ("host/engine/Cargo.toml", "")];
    let with = |text: &'static str| [crates[0], crates[1], ("host/ARCHITECTURE.md", text)];
    finds(docs::architecture, &with("`host/core` and `host/engine`."), &[]);
    finds(docs::architecture, &with("`host/core` alone"), &[("host/ARCHITECTURE.md", 0)]);
    finds(docs::architecture, &with("host/core, host/engine\nhost/cache"), &[("host/ARCHITECTURE.md", 2)]);
    finds(docs::architecture, &crates, &[("host/ARCHITECTURE.md", 0)]);
}

#[test]
fn decisions_out_of_number_or_without_their_parts_are_found() {
    let whole = "# Title\n## Background\n## Proposal\n## Consequences\n";
    finds(docs::decisions, &[("host/decisions/0001-a.md", whole), ("host/decisions/0002-b.md", whole)], &[]);
    let hole = [("host/decisions/0001-a.md", whole), ("host/decisions/0003-b.md", whole)];
    finds(docs::decisions, &hole, &[("host/decisions/0003-b.md", 0)]);
    let twice = [("host/decisions/0001-a.md", whole), ("host/decisions/0001-b.md", whole)];
    finds(docs::decisions, &twice, &[("host/decisions/0001-b.md", 0)]);
    let lacking = [("host/decisions/0001-a.md", "# Title\n## Background\n## Proposal\n")];
    finds(docs::decisions, &lacking, &[("host/decisions/0001-a.md", 0)]);
}

#[test]
fn a_released_interface_that_is_gone_or_renamed_is_found() {
    finds(docs::interfaces, &[("wit/0.1/types.wit", "package godwit:plugin@0.1.0;\n")], &[]);
    finds(
        docs::interfaces,
        &[("wit/0.1/types.wit", "package godwit:plugin@0.2.0;\n")],
        &[("wit/0.1/types.wit", 0)],
    );
    finds(docs::interfaces, &[("wit/0.2/types.wit", "package godwit:plugin@0.2.0;\n")], &[("wit/0.1/", 0)]);
}

#[test]
fn fields_that_a_record_would_lose_are_found() {
    let attribute = concat!("//! x\n#[serde(skip_", "serializing_if = \"Vec::is_empty\")]\n");
    let files = [("host/domain/src/a.rs", attribute), ("host/protocol/src/b.rs", attribute)];
    finds(source::records, &files, &[("host/domain/src/a.rs", 2)]);
}

#[test]
fn a_promise_without_its_test_or_its_switch_is_found_and_so_is_an_idle_switch() {
    const PAGE: &str = "host/engine/CONTRACT.md";
    let faults = ("host/engine/src/faults.rs", "switches! {\n    /// No.\n    LoopsOn = \"loops-on\",\n}\n");
    let test = ("host/engine/tests/engine/bad.rs", "async fn a_loop_is_cut() {}\n");
    let elsewhere = ("tests/e2e/tests/all/plugins.rs", "async fn it_is_seen() -> Result<()> {}\n");
    let head = "| promise | test | switch |\n|---|---|---|\n";
    let page = |rows: &str| format!("{head}{rows}");
    let good = "| Loops end. | `tests/engine/bad.rs::a_loop_is_cut` | `loops-on` |\n";
    let check = |rows: &str, expected: &[(&str, usize)]| {
        let page = page(rows);
        finds(contract::contract, &[(PAGE, &*page), faults, test, elsewhere], expected);
    };
    check(good, &[]);
    let seen = "| It is seen. | `tests/e2e/tests/all/plugins.rs::it_is_seen` | – |\n";
    check(&format!("{good}{seen}"), &[]);
    check(&good.replace("a_loop_is_cut", "a_loop"), &[(PAGE, 3)]);
    check(&good.replace("bad.rs", "good.rs"), &[(PAGE, 3)]);
    check(&good.replace("loops-on", "loops-off"), &[(PAGE, 3), (faults.0, 0)]);
    check(seen, &[(faults.0, 0)]);
    check("", &[(PAGE, 0), (faults.0, 0)]);
    finds(contract::contract, &[faults], &[(PAGE, 0)]);
}
