//! Every check on this repository.

use godwit_tidy::{Finding, Tree, arrows, contract, docs, source};
use std::path::Path;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .nth(2)
        .expect("the crate stands two folders below the root")
}

#[track_caller]
fn check(findings: Vec<Finding>) {
    let list: Vec<_> = findings.iter().map(Finding::to_string).collect();
    assert!(findings.is_empty(), "{} found:\n{}", findings.len(), list.join("\n"));
}

fn tree() -> Tree {
    let tree = Tree::read(root()).expect("the repository can be read");
    assert!(tree.get("Cargo.toml").is_some(), "the root is not where it was");
    tree
}

#[test]
fn crates_know_only_what_the_architecture_allows() {
    check(arrows::check(&arrows::workspace(root()).unwrap()));
}

#[test]
fn no_file_is_long_without_a_reason() {
    check(source::lengths(&tree()));
}

#[test]
fn every_module_opens_with_what_it_owns() {
    check(source::openings(&tree()));
}

#[test]
fn nothing_was_put_off_without_saying_until_when() {
    check(source::markers(&tree()));
}

#[test]
fn nothing_names_the_machine_on_which_it_was_written() {
    check(source::machine(&tree()));
}

#[test]
fn records_lose_no_field() {
    check(source::records(&tree()));
}

#[test]
fn documents_have_one_sentence_a_line() {
    check(docs::sentences(&tree()));
}

#[test]
fn the_architecture_names_what_exists() {
    check(docs::architecture(&tree()));
}

#[test]
fn decisions_are_numbered_and_whole() {
    check(docs::decisions(&tree()));
}

#[test]
fn released_interfaces_stay() {
    check(docs::interfaces(&tree()));
}

#[test]
fn every_promise_to_plugins_has_its_test_and_its_switch() {
    check(contract::contract(&tree()));
}
