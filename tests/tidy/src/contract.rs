//! The contract of plugins: each promise names a test that exists and a switch that breaks it, and no switch is idle.
//!
//! Whether the test fails under its switch is for `tests/faults` to show: here only names are compared.

use crate::{File, Finding, Tree};
use std::collections::BTreeSet;

const CONTRACT: &str = "host/engine/CONTRACT.md";
/// Paths of tests may leave out the crate that the page belongs to.
const HOME: &str = "host/engine/";
/// Where switches are declared.
const SWITCHES: [&str; 2] = ["host/engine/src/faults.rs", "host/core/src/faults.rs"];
/// In the place of a switch: no single fault of the host would show.
const NONE: &str = "–";

/// Rows of the contract that name what does not exist, and switches that no row names.
pub fn contract(tree: &Tree) -> Vec<Finding> {
    let Some(page) = tree.get(CONTRACT) else {
        return vec![Finding { path: CONTRACT.into(), line: 0, text: "is missing".into() }];
    };
    let declared: Vec<(&File, &str)> =
        SWITCHES.iter().filter_map(|path| tree.get(path)).flat_map(switches).collect();
    let (mut findings, mut named) = (Vec::new(), BTreeSet::new());
    for (n, line) in page.text.lines().enumerate() {
        let cells: Vec<_> = line.split('|').map(str::trim).collect();
        let ["", promise, test, switch, ""] = cells[..] else { continue };
        if test == "test" || promise.starts_with("---") {
            continue;
        }
        let mut finding = |text: String| findings.push(page.finding_at(n + 1, text));
        let (test, switch) = (test.trim_matches('`'), switch.trim_matches('`'));
        if !exists(tree, test) {
            finding(format!("names the test `{test}`, which does not exist"));
        }
        named.insert(switch);
        if switch != NONE && !declared.iter().any(|(_, name)| *name == switch) {
            finding(format!("names the switch `{switch}`, which does not exist"));
        }
    }
    if named.is_empty() {
        findings.push(page.finding("names no promise"));
    }
    let idle = declared.iter().filter(|(_, name)| !named.contains(name));
    findings.extend(
        idle.map(|(file, name)| file.finding(format!("the switch `{name}` breaks no promise of {CONTRACT}"))),
    );
    findings
}

/// The names that a file declares as `Name = "name",`.
fn switches(file: &File) -> impl Iterator<Item = (&File, &str)> {
    file.text.lines().filter_map(move |line| {
        let text = line.trim().strip_suffix("\",")?.split_once(" = \"")?.1;
        Some((file, text))
    })
}

/// Whether there is such a test, as `path::name`.
fn exists(tree: &Tree, test: &str) -> bool {
    let Some((path, name)) = test.split_once("::") else { return false };
    let file = tree.get(&format!("{HOME}{path}")).or_else(|| tree.get(path));
    file.is_some_and(|file| file.text.contains(&format!("fn {name}(")))
}
