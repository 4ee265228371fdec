//! Building a plugin's component with the tools of its language.
//!
//! It finds them, installs what a project's own package manager can, and says exactly what to type where it cannot.

use super::{
    Language, kit,
    project::{Project, SCRATCH},
};
use crate::{
    cli,
    dev::{
        build::{Builder, ensure_target},
        progress::{Work, note},
        project as workspace,
    },
};
use anyhow::{Context, bail};
use godwit_engine::{Options, package};
use serde_json::json;
use std::{
    ffi::OsStr,
    fmt::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// Hooks under the names that JavaScript gives them.
const JS_NAMES: [(&str, &str); 1] = [("fan-out", "fanOut")];
/// Services that every plugin may import, and those that come with a capability.
const ALWAYS: [&str; 4] = ["log", "rate", "state", "zone"];
const WITH: [(&str, &[&str]); 5] = [
    ("kv", &["kv"]),
    ("chat", &["send", "history", "members"]),
    ("timer", &["timer"]),
    ("http", &["http"]),
    ("secret", &["secret"]),
];

/// Builds, and tells what came of it.
///
/// # Errors
/// A tool is missing, the sources do not compile, or a host would not take what they compile to.
pub fn run(folder: &Path, json: bool) -> anyhow::Result<()> {
    let project = Project::find(folder)?;
    let component = build(&project)?;
    let bytes = std::fs::read(&component)?;
    let warnings = checked(&project, &bytes)?;
    if json {
        let digest = package::digest(&bytes).to_string();
        let built =
            json!({ "component": component, "bytes": bytes.len(), "digest": digest, "warnings": warnings });
        return cli::print(&format!("{built}\n"));
    }
    let mut told = format!("{} has {} KiB.\n", component.display(), bytes.len().div_ceil(1024));
    for warning in warnings {
        writeln!(told, "warning: {warning}")?;
    }
    told.push_str("Next: `godwit plugin test` runs its tests in the real engine.\n");
    cli::print(&told)
}

/// What a host would say of manifest and component, short of running it.
///
/// # Errors
/// A host would refuse them.
pub fn checked(project: &Project, component: &[u8]) -> anyhow::Result<Vec<String>> {
    package::check(&project.manifest.text, component, &Options::default()).map_err(|problems| {
        anyhow::anyhow!("a host would refuse this plugin:\n  - {}", problems.join("\n  - "))
    })
}

/// Builds the component; returns where it is.
///
/// # Errors
/// A tool is missing, or the sources do not compile.
pub fn build(project: &Project) -> anyhow::Result<PathBuf> {
    match project.language {
        Language::Rust => tokio::runtime::Runtime::new()?.block_on(rust(project)),
        Language::Js => js(project),
        Language::Python => python(project),
    }
}

/// The same from within a runtime.
///
/// # Errors
/// As [`build`].
pub async fn build_within(project: &Project) -> anyhow::Result<PathBuf> {
    match project.language {
        Language::Rust => rust(project).await,
        _ => {
            let project = project.clone();
            tokio::task::spawn_blocking(move || build(&project)).await?
        }
    }
}

// ── Rust ──

async fn rust(project: &Project) -> anyhow::Result<PathBuf> {
    ensure_target(&project.folder).await?;
    let folder = project.folder.clone();
    let builder = Builder::new(workspace::Project { root: folder.clone(), plugins: vec![folder.clone()] });
    let built = builder.build().await?.into_iter().next();
    let built = built.with_context(|| {
        format!("{} was not built; what the compiler says stands above", project.manifest.id)
    })?;
    Ok(built.component)
}

// ── JavaScript ──

fn js(project: &Project) -> anyhow::Result<PathBuf> {
    let Project { folder, manifest, .. } = project;
    found("node", &["--version"], folder, "install Node.js, version 20 or later: https://nodejs.org")?;
    if !folder.join("node_modules/@bytecodealliance/componentize-js").is_dir() {
        found("npm", &["--version"], folder, "install npm, which comes with Node.js: https://nodejs.org")?;
        let install = if folder.join("package-lock.json").is_file() { "ci" } else { "install" };
        let by_hand = format!("npm {install} --prefix {}", folder.display());
        let work = Work::begin(format!("Installing what package.json names with `npm {install}`"));
        let mut npm = Command::new("npm");
        npm.args([install, "--no-audit", "--no-fund"]).current_dir(folder);
        finish(npm, work, &format!("try it by hand: `{by_hand}`"))?;
    }
    let scratch = scratch(folder)?;
    let sources = folder.join("src");
    if !sources.join("plugin.js").is_file() {
        bail!(
            "{} does not exist; the plugin's hooks are exported there",
            sources.join("plugin.js").display()
        );
    }
    copy_sources(&sources, &scratch.join("src"), "js")?;
    std::fs::copy(folder.join(kit::FOLDER).join("sdk/js/guard.js"), scratch.join("guard.js"))
        .with_context(|| format!("{}/ is not whole; `godwit plugin new` makes it", kit::FOLDER))?;
    let mut entry = String::from(
        "// Made by `godwit plugin build`.\nimport { guard, init } from \"./guard.js\";\n\
         import * as plugin from \"./src/plugin.js\";\n\nexport const lifecycle = init(plugin.lifecycle);\n",
    );
    for hook in &manifest.hooks {
        let name = JS_NAMES.iter().find(|(known, _)| known == hook).map_or(hook.as_str(), |(_, name)| name);
        writeln!(entry, "export const {name} = guard(\"{name}\", plugin.{name});")?;
    }
    std::fs::write(scratch.join("entry.js"), entry)?;
    let component = project.component();
    let work = Work::begin(format!("Building {} with componentize-js", manifest.id));
    let mut node = Command::new("node");
    node.arg(folder.join(kit::FOLDER).join("sdk/js/build.mjs"))
        .args([scratch.join("entry.js"), scratch.join("wit"), component.clone()])
        .current_dir(folder);
    finish(node, work, "what it says stands above")?;
    Ok(component)
}

// ── Python ──

fn python(project: &Project) -> anyhow::Result<PathBuf> {
    let Project { folder, manifest, .. } = project;
    let venv = folder.join(".venv");
    let tool = venv.join("bin/componentize-py");
    if !tool.is_file() {
        found(
            "python3",
            &["--version"],
            folder,
            "install Python, version 3.10 or later: https://www.python.org",
        )?;
        let work = Work::begin("Making .venv");
        let mut make = Command::new("python3");
        make.args(["-m", "venv", ".venv"]).current_dir(folder);
        finish(make, work, "install Python's venv: on Debian `apt-get install python3-venv`")?;
        let by_hand = "`.venv/bin/pip install -r requirements.txt`";
        let work = Work::begin(format!("Installing what requirements.txt names with {by_hand}"));
        let mut pip = Command::new(venv.join("bin/pip"));
        pip.args(["install", "--quiet", "-r", "requirements.txt"]).current_dir(folder);
        finish(pip, work, &format!("try it by hand: {by_hand}"))?;
        if !tool.is_file() {
            bail!("requirements.txt does not name componentize-py, with which components are made; add it");
        }
    }
    let scratch = scratch(folder)?;
    std::fs::copy(
        folder.join(kit::FOLDER).join("sdk/python/godwit_guard.py"),
        scratch.join("godwit_guard.py"),
    )
    .with_context(|| format!("{}/ is not whole; `godwit plugin new` makes it", kit::FOLDER))?;
    let mut entry = String::from(
        "# Made by `godwit plugin build`.\nimport plugin\nfrom godwit_guard import guard, init\n\n\
         Lifecycle = init(getattr(plugin, \"Lifecycle\", None))\n",
    );
    for hook in &manifest.hooks {
        let name = class_name(hook);
        writeln!(entry, "{name} = guard(plugin, \"{name}\")")?;
    }
    std::fs::write(scratch.join("godwit_entry.py"), entry)?;
    let component = project.component();
    let work = Work::begin(format!("Building {} with componentize-py", manifest.id));
    let mut make = Command::new(tool);
    make.arg("-d")
        .arg(scratch.join("wit"))
        .args(["-w", "plugin", "componentize", "godwit_entry", "-p"])
        .arg(&scratch)
        .args(["-p", ".", "-o"])
        .arg(&component)
        .current_dir(folder);
    finish(make, work, "what it says stands above")?;
    Ok(component)
}

/// `FanOut` for `fan-out`.
fn class_name(hook: &str) -> String {
    let capital = |word: &str| {
        let mut letters = word.chars();
        letters.next().map(|first| first.to_ascii_uppercase().to_string() + letters.as_str())
    };
    hook.split('-').filter_map(capital).collect()
}

// ── both ──

/// An empty folder for what a build makes on its way, with the world of this plugin.
fn scratch(folder: &Path) -> anyhow::Result<PathBuf> {
    let manifest = super::project::Manifest::read(folder)?;
    let scratch = folder.join(SCRATCH).join("build");
    if scratch.is_dir() {
        std::fs::remove_dir_all(&scratch)?;
    }
    let wit = scratch.join("wit");
    kit::write_wit(&wit)?;
    let imports = ALWAYS.into_iter().chain(
        WITH.into_iter()
            .filter(|(_, capabilities)| capabilities.iter().any(|name| manifest.asks(name)))
            .map(|(service, _)| service),
    );
    let imports = imports.map(|service| format!("    import {service};\n")).collect::<String>();
    let exports = manifest.hooks.iter().map(|hook| format!("    export {hook};\n")).collect::<String>();
    let world = format!(
        "// Made by `godwit plugin build` of the hooks and capabilities in plugin.toml.\n\
         package godwit:plugin@0.1.0;\n\nworld plugin {{\n{imports}    export lifecycle;\n{exports}}}\n"
    );
    std::fs::write(wit.join("plugin-world.wit"), world)?;
    Ok(scratch)
}

/// Copies the sources of a folder and of those in it.
fn copy_sources(from: &Path, to: &Path, extension: &str) -> anyhow::Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let path = entry?.path();
        let Some(name) = path.file_name() else { continue };
        if path.is_dir() {
            copy_sources(&path, &to.join(name), extension)?;
        } else if path.extension() == Some(OsStr::new(extension)) {
            std::fs::copy(&path, to.join(name))?;
        }
    }
    Ok(())
}

/// Makes sure that a tool can be run.
fn found(tool: &str, arguments: &[&str], folder: &Path, otherwise: &str) -> anyhow::Result<()> {
    let run = Command::new(tool)
        .args(arguments)
        .current_dir(folder)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    match run {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => bail!("`{tool} {}` ended with {status}; {otherwise}", arguments.join(" ")),
        Err(error) => bail!("{tool} was not found ({error}); {otherwise}"),
    }
}

/// Runs a tool to its end; what it said is shown if it failed.
fn finish(mut command: Command, work: Work, otherwise: &str) -> anyhow::Result<()> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot run {program}; {otherwise}"))?;
    if output.status.success() {
        work.end("done");
        return Ok(());
    }
    work.end("failed");
    for said in [&output.stdout, &output.stderr] {
        let said = String::from_utf8_lossy(said);
        if !said.trim().is_empty() {
            note(said.trim_end());
        }
    }
    bail!("{program} ended with {}; {otherwise}", output.status)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_world_has_what_the_manifest_names_and_no_more() {
        let folder = tempfile::tempdir().unwrap();
        let manifest = "id = \"x\"\nversion = \"1\"\nhooks = [\"fan-out\", \"bot\"]\n[capabilities]\nhistory = true\nkv = false";
        std::fs::write(folder.path().join("plugin.toml"), manifest).unwrap();
        let scratch = scratch(folder.path()).unwrap();
        let world = std::fs::read_to_string(scratch.join("wit/plugin-world.wit")).unwrap();
        for line in ["import log;", "import chat;", "export lifecycle;", "export fan-out;", "export bot;"] {
            assert!(world.contains(line), "{line} is not in {world}");
        }
        assert!(!world.contains("import kv") && !world.contains("import http"), "{world}");
        assert_eq!(class_name("fan-out"), "FanOut");
    }

    #[test]
    fn a_tool_that_is_missing_is_told_with_what_to_do() {
        let error = found("no-such-tool", &[], Path::new("."), "install it").unwrap_err().to_string();
        assert!(error.starts_with("no-such-tool was not found") && error.ends_with("install it"), "{error}");
    }
}
