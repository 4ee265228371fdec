//! Showing what a component is, before anyone installs it.

use crate::{cli, plugin::package::Package};
use anyhow::{Context, anyhow};
use godwit_engine::{
    Options,
    package::{self, Description},
};
use serde_json::json;
use std::{fmt::Write, path::Path};

/// Shows it.
///
/// # Errors
/// It cannot be read, or a host would not take it.
pub fn run(path: &Path, json: bool) -> anyhow::Result<()> {
    let options = Options::default();
    // A component may come without a manifest here: it can be looked at all the same.
    let (component, manifest) = match Package::find(path) {
        Ok(package) => (package.bytes()?, Some(package.manifest)),
        Err(_) if path.is_file() => {
            (std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?, None)
        }
        Err(error) => return Err(error),
    };
    let listed = |problems: Vec<String>| anyhow!("{}:\n  - {}", path.display(), problems.join("\n  - "));
    let described = package::describe(&component, &options).map_err(listed)?;
    let judged = manifest.map(|manifest| package::check(&manifest, &component, &options));
    if json {
        let (warnings, problems) = match judged {
            Some(Ok(warnings)) => (warnings, Vec::new()),
            Some(Err(problems)) => (Vec::new(), problems),
            None => (Vec::new(), Vec::new()),
        };
        let mut value = serde_json::to_value(&described)?;
        value["warnings"] = json!(warnings);
        value["problems"] = json!(problems);
        return cli::print(&format!("{value}\n"));
    }
    let mut text = told(&described);
    match judged {
        None => text.push_str("manifest    none is beside it or in it\n"),
        Some(Ok(warnings)) => {
            text.push_str("manifest    fits the component\n");
            for warning in warnings {
                writeln!(text, "            warning: {warning}")?;
            }
        }
        Some(Err(problems)) => {
            text.push_str("manifest    a host would refuse it:\n");
            for problem in problems {
                writeln!(text, "            - {problem}")?;
            }
        }
    }
    cli::print(&text)
}

fn told(described: &Description) -> String {
    let Description { interface, hooks, lifecycle, imports, ignored, bytes, digest } = described;
    let init = if *lifecycle { "with an `init`" } else { "without an `init`" };
    let mut text = format!(
        "digest      {digest}\nsize        {} KiB\ninterface   {interface}\nhooks       {}, {init}\n",
        bytes.div_ceil(1024),
        hooks.join(", ")
    );
    let mut head = "imports";
    for import in imports.iter().filter(|import| !import.name.starts_with("wasi:")) {
        let needs = match import.capabilities.is_empty() {
            true => String::new(),
            false => format!(" needs the capability {}", import.capabilities.join(" or ")),
        };
        text.push_str(&format!("{head:<12}{}{needs}\n", import.name));
        head = "";
    }
    let wasi = imports.iter().filter(|import| import.name.starts_with("wasi:")).count();
    if wasi > 0 {
        text.push_str(&format!("{head:<12}{wasi} of WASI, which do nothing\n"));
        head = "";
    }
    if !head.is_empty() {
        text.push_str("imports     none\n");
    }
    if !ignored.is_empty() {
        text.push_str(&format!("ignored     {}\n", ignored.join(", ")));
    }
    text
}
