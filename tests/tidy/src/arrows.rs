//! Which crate may know which: the arrows of `host/ARCHITECTURE.md`, and no other.
//!
//! Dev-dependencies are free: a test may look at anything.

use crate::Finding;
use serde::Deserialize;
use std::{path::Path, process::Command};

/// Each host crate with the crates of ours that it may know.
const HOST: [(&str, &[&str]); 7] = [
    ("godwit-domain", &[]),
    ("godwit-protocol", &["godwit-domain"]),
    ("godwit-storage", &["godwit-domain"]),
    ("godwit-engine", &["godwit-domain"]),
    ("godwit-core", &["godwit-domain", "godwit-protocol"]),
    ("godwit-gateway", &["godwit-core", "godwit-protocol"]),
    (
        "godwit",
        &[
            "godwit-domain",
            "godwit-protocol",
            "godwit-storage",
            "godwit-engine",
            "godwit-core",
            "godwit-gateway",
        ],
    ),
];

/// Heavy dependencies, and the only host crates that may have them: the fences for which the crates exist.
const FENCED: [(&str, &[&str]); 5] = [
    ("wasmtime", &["godwit-engine"]),
    ("redb", &["godwit-storage"]),
    ("hyper", &["godwit-engine", "godwit-gateway", "godwit"]),
    ("tokio-tungstenite", &["godwit-gateway", "godwit"]),
    ("tokio", &["godwit-storage", "godwit-engine", "godwit-core", "godwit-gateway", "godwit"]),
];

/// A crate of the workspace as cargo tells of it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Crate {
    /// Its name.
    pub name: String,
    /// Its `Cargo.toml`.
    pub manifest_path: String,
    /// What it names there.
    pub dependencies: Vec<Dependency>,
}

/// A dependency of a crate.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Dependency {
    /// Its name.
    pub name: String,
    /// `None` for a normal one, else `dev` or `build`.
    pub kind: Option<String>,
}

/// The workspace below `root`.
///
/// # Errors
/// Cargo cannot be run, or does not understand the workspace.
pub fn workspace(root: &Path) -> anyhow::Result<Vec<Crate>> {
    #[derive(Deserialize)]
    struct Metadata {
        packages: Vec<Crate>,
    }
    let output = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(["metadata", "--no-deps", "--offline", "--format-version=1"])
        .current_dir(root)
        .output()?;
    anyhow::ensure!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    Ok(serde_json::from_slice::<Metadata>(&output.stdout)?.packages)
}

/// Arrows that nobody drew.
pub fn check(crates: &[Crate]) -> Vec<Finding> {
    let ours = |name: &str| crates.iter().any(|other| other.name == name);
    let mut findings = Vec::new();
    for from in crates {
        let mut report = |text: String| findings.push(Finding { path: from.name.clone(), line: 0, text });
        let place = place(from);
        let host = HOST.iter().find(|(name, _)| *name == from.name);
        if place == Place::Host && host.is_none() {
            report("is a host crate that tests/tidy/src/arrows.rs does not know; a new crate needs a decision record".into());
        }
        for dependency in
            from.dependencies.iter().filter(|dependency| dependency.kind.as_deref() != Some("dev"))
        {
            let to = dependency.name.as_str();
            if ours(to) && !may_know(place, host.map(|(_, arrows)| *arrows), to, crates) {
                report(format!("may not depend on {to}; the arrows stand in host/ARCHITECTURE.md"));
            }
            let fence = FENCED.iter().find(|(fenced, _)| {
                to == *fenced || to.starts_with(&format!("{fenced}-")) && *fenced != "tokio"
            });
            if let (Place::Host, Some((fenced, allowed))) = (place, fence)
                && !allowed.contains(&from.name.as_str())
            {
                report(format!("may not depend on {to}; {fenced} is fenced off in {}", allowed.join(", ")));
            }
        }
    }
    findings
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Host,
    Sdk,
    Plugin,
    Tests,
}

fn place(one: &Crate) -> Place {
    // From the right: a checkout may itself stand in a folder of one of these names.
    let folders = one.manifest_path.rsplit(['/', '\\']);
    for folder in folders {
        match folder {
            "host" => return Place::Host,
            "sdk" => return Place::Sdk,
            "plugins" => return Place::Plugin,
            "tests" => return Place::Tests,
            _ => {}
        }
    }
    Place::Host
}

fn may_know(from: Place, host: Option<&[&str]>, to: &str, crates: &[Crate]) -> bool {
    let to_place = crates.iter().find(|other| other.name == to).map(place);
    match from {
        Place::Host => host.is_none_or(|arrows| arrows.contains(&to)),
        // What compiles to a guest knows nothing of the host.
        Place::Sdk | Place::Plugin => to_place == Some(Place::Sdk),
        // The binary is a binary: tests run it, and do not link it.
        Place::Tests => to != "godwit",
    }
}
