//! Source files: how long they are, how they open, and what may not stand in them.

use crate::{File, Finding, Tree};

/// Past so many lines a file explains itself.
pub const LINES_EXPLAINED: usize = 600;
/// Past so many it is split.
pub const LINES_MAX: usize = 1000;
/// How the explanation begins, in the comment that opens the file.
pub const EXPLANATION: &str = "This file is long because";

const SOURCES: [&str; 9] = ["rs", "js", "mjs", "ts", "css", "html", "wit", "py", "sh"];

// Written in two halves, so that this file does not break its own rules.
const FIX_ME: &str = concat!("FIX", "ME");
const TO_DO: &str = concat!("TO", "DO");
const LEFT_OUT: &str = concat!("skip_", "serializing");
const MACHINE_PATHS: [&str; 3] = [concat!("/wo", "rk/"), concat!("/ro", "ot/"), concat!("/Us", "ers/")];

/// Files past their length.
pub fn lengths(tree: &Tree) -> Vec<Finding> {
    let check = |file: &File| {
        let lines = file.text.lines().count();
        let explained = file.text.lines().take(20).any(|line| line.contains(EXPLANATION));
        if lines > LINES_MAX {
            Some(file.finding(format!("has {lines} lines; past {LINES_MAX} it is split")))
        } else if lines > LINES_EXPLAINED && !explained {
            let rule = format!("past {LINES_EXPLAINED} its opening comment says `{EXPLANATION} …`");
            Some(file.finding(format!("has {lines} lines; {rule}")))
        } else {
            None
        }
    };
    tree.with_extension(&SOURCES).filter_map(check).collect()
}

/// Modules that do not say what they own.
pub fn openings(tree: &Tree) -> Vec<Finding> {
    let rust = tree.with_extension(&["rs"]).filter(|file| !file.text.starts_with("//! "));
    let rust = rust.map(|file| file.finding("opens with `//!`: what it owns, what it refuses to know"));
    let script = tree
        .with_extension(&["js", "mjs"])
        .filter(|file| !["// ", "/*", "#!"].iter().any(|opening| file.text.starts_with(opening)));
    let script =
        script.map(|file| file.finding("opens with a comment: what it owns, what it refuses to know"));
    rust.chain(script).collect()
}

/// Work that was put off without saying until when.
pub fn markers(tree: &Tree) -> Vec<Finding> {
    each_line(tree, |line| {
        if line.contains(FIX_ME) {
            return Some(format!("no {FIX_ME} lands: mend it, or say in an issue what is wrong"));
        }
        let lifted = ["once ", "when ", "until "].iter().any(|word| line.contains(word));
        let marker = line.contains(&format!("{TO_DO}:")) || line.contains(&format!("{TO_DO}("));
        (marker && !lifted)
            .then(|| format!("a {TO_DO} names what would lift it, with `once`, `when` or `until`"))
    })
}

/// Paths of the machine on which something was written, and registries that are not the public ones.
pub fn machine(tree: &Tree) -> Vec<Finding> {
    let mut findings = each_line(tree, |line| {
        let path = MACHINE_PATHS.iter().find(|path| line.contains(**path))?;
        Some(format!("names `{path}`, a path of one machine"))
    });
    for file in &tree.files {
        let name = file.path.rsplit('/').next().unwrap_or_default();
        for (n, line) in file.text.lines().enumerate() {
            let wrong = match name {
                "package-lock.json" => line.contains("\"resolved\": \"http"),
                "Cargo.lock" => {
                    line.starts_with("source = ") && !line.contains("+https://github.com/rust-lang/")
                }
                ".npmrc" | "pip.conf" => line.contains("registry=") || line.contains("index-url"),
                "config.toml" if file.path.contains(".cargo/") => line.starts_with("[source"),
                _ => false,
            };
            if wrong {
                findings.push(file.finding_at(
                    n + 1,
                    "names a registry host; the machine's own configuration does that (npm: \
                     `omit-lockfile-registry-resolved=true` in .npmrc)",
                ));
            }
        }
    }
    findings
}

/// Fields of nouns that are left out of what is stored: records are read by position, so such a row would not come back.
pub fn records(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    let rust = tree.with_extension(&["rs"]).filter(|file| file.path.starts_with("host/domain/src/"));
    for file in rust {
        for (n, line) in file.text.lines().enumerate().filter(|(_, line)| line.contains(LEFT_OUT)) {
            let text = format!(
                "has `{}`, but records are read by position; leave out where it is encoded",
                line.trim()
            );
            findings.push(file.finding_at(n + 1, text));
        }
    }
    findings
}

fn each_line(tree: &Tree, check: impl Fn(&str) -> Option<String>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in tree.files.iter().filter(|file| !file.path.ends_with(".lock")) {
        for (n, line) in file.text.lines().enumerate() {
            findings.extend(check(line).map(|text| file.finding_at(n + 1, text)));
        }
    }
    findings
}
