//! Documents: one sentence a line, an architecture that names what exists, decisions that are numbered, interfaces
//! that stay where they were released.

use crate::{File, Finding, Tree};
use std::collections::BTreeSet;

const ARCHITECTURE: &str = "host/ARCHITECTURE.md";
const DECISIONS: &str = "host/decisions/";
/// Every decision record has these parts.
const PARTS: [&str; 3] = ["## Background", "## Proposal", "## Consequences"];
/// Released versions of the plugin interface; their folders never go.
const RELEASED: [&str; 1] = ["0.1"];

/// Lines of `.md` files that hold more than one sentence, outside code, tables and lists:
/// an item is one thing, and may open with its name.
pub fn sentences(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in tree.with_extension(&["md"]) {
        let mut fenced = false;
        for (n, line) in file.text.lines().enumerate() {
            let line = line.trim_start();
            if line.starts_with("```") {
                fenced = !fenced;
            } else if !fenced && !line.starts_with(['|', '#', '<', '-']) && holds_two_sentences(line) {
                findings
                    .push(file.finding_at(n + 1, "holds more than one sentence; each has a line of its own"));
            }
        }
    }
    findings
}

/// Whether a sentence ends and another begins. What could be an abbreviation or a number is passed over.
fn holds_two_sentences(line: &str) -> bool {
    let line = without_code(line);
    line.match_indices(['.', '!', '?']).any(|(at, _)| {
        let word = line[..at].rsplit([' ', '(', '/']).next().unwrap_or_default();
        let is_word = word.len() > 2 && word.chars().all(|c| c.is_lowercase() || "`)*_\"".contains(c));
        let mut rest = line[at + 1..].chars();
        let begins = rest.next() == Some(' ') && rest.next().is_some_and(|c| c.is_uppercase() || c == '`');
        is_word && !["etc", "approx"].contains(&word) && begins
    })
}

/// Code between backticks says nothing about sentences, but that something stands there does.
fn without_code(line: &str) -> String {
    line.split('`').enumerate().map(|(n, part)| if n % 2 == 0 { part } else { "`code`" }).collect()
}

/// Host crates that the architecture does not name, and names in it that do not exist.
pub fn architecture(tree: &Tree) -> Vec<Finding> {
    let Some(document) = tree.get(ARCHITECTURE) else {
        return vec![Finding { path: ARCHITECTURE.into(), line: 0, text: "is missing".into() }];
    };
    let exist: BTreeSet<_> = tree
        .files
        .iter()
        .filter_map(|file| file.path.strip_prefix("host/")?.strip_suffix("/Cargo.toml"))
        .collect();
    let folders: BTreeSet<_> = tree.files.iter().filter_map(|file| folder_of(&file.path)).collect();
    let mut named = BTreeSet::new();
    let mut findings = Vec::new();
    for (n, line) in document.text.lines().enumerate() {
        for name in line.match_indices("host/").map(|(at, _)| folder(&line[at + "host/".len()..])) {
            named.insert(name);
            if !name.is_empty() && name != "ARCHITECTURE" && !folders.contains(name) {
                findings.push(document.finding_at(n + 1, format!("names host/{name}, which does not exist")));
            }
        }
    }
    let missing = exist.difference(&named);
    findings.extend(missing.map(|name| document.finding(format!("does not name host/{name}"))));
    findings
}

fn folder_of(path: &str) -> Option<&str> {
    path.strip_prefix("host/")?.split_once('/').map(|(folder, _)| folder)
}

fn folder(rest: &str) -> &str {
    let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '-').unwrap_or(rest.len());
    &rest[..end]
}

/// Decision records that are not numbered from 0001 without a hole, or lack a part.
pub fn decisions(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    let records: Vec<&File> = tree.files.iter().filter(|file| file.path.starts_with(DECISIONS)).collect();
    for (n, record) in (1..).zip(&records) {
        let number = format!("{n:04}");
        let name = &record.path[DECISIONS.len()..];
        if !name.starts_with(&format!("{number}-")) || !name.ends_with(".md") {
            findings.push(record.finding(format!("is the {n}. record and must be called {number}-title.md")));
        }
        for part in PARTS.iter().filter(|part| !record.text.lines().any(|line| line == **part)) {
            findings.push(record.finding(format!("has no part `{part}`")));
        }
    }
    findings
}

/// Released interfaces that are gone, or that call themselves something else.
pub fn interfaces(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for version in RELEASED {
        let path = format!("wit/{version}/");
        let package = format!("package godwit:plugin@{version}.0;");
        let mut files = tree.files.iter().filter(|file| file.path.starts_with(&path)).peekable();
        if files.peek().is_none() {
            findings.push(Finding { path: path.clone(), line: 0, text: "is released and may not go".into() });
        }
        let foreign = files.filter(|file| file.path.ends_with(".wit") && !file.text.contains(&package));
        findings.extend(foreign.map(|file| file.finding(format!("does not open with `{package}`"))));
    }
    findings
}
