//! Making one file of a plugin.

use super::project::Manifest;
use crate::{cli, plugin::package::Package};
use anyhow::{Context, anyhow};
use godwit_engine::{Options, package};
use serde_json::json;
use std::path::{Path, PathBuf};

/// Packs what was built.
///
/// # Errors
/// It was not built, a host would not take it, or the file cannot be written.
pub fn run(folder: &Path, output: Option<PathBuf>, json: bool) -> anyhow::Result<()> {
    let found = Package::find(folder)?;
    let component = found.bytes()?;
    let Manifest { id, version, .. } = Manifest::parse(found.manifest.clone())?;
    let packed = package::pack(&found.manifest, &component, &Options::default())
        .map_err(|problems| anyhow!("a host would refuse this plugin:\n  - {}", problems.join("\n  - ")))?;
    // A version may be any text until a host has checked it, which `pack` just did.
    let output = output.unwrap_or_else(|| folder.join(format!("{id}-{version}.wasm")));
    std::fs::write(&output, &packed).with_context(|| format!("cannot write {}", output.display()))?;
    let digest = package::digest(&component);
    if json {
        let told = json!({ "file": output, "bytes": packed.len(), "component": digest.to_string() });
        return cli::print(&format!("{told}\n"));
    }
    cli::print(&format!(
        "{} holds {id} {version}: {} KiB, component {digest}.\nNext: `godwit plugin install {}` on a running server.\n",
        output.display(),
        packed.len().div_ceil(1024),
        output.display()
    ))
}
