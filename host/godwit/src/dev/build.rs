//! Building plugins with cargo, as their author would.

use super::{
    progress::{Work, say},
    project::{Project, crate_name},
};
use crate::plugin::package::{PROFILE, TARGET};
use anyhow::{Context, bail};
use serde::Deserialize;
use std::{
    path::{Path, PathBuf},
    process::{Output, Stdio},
};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{ChildStderr, ChildStdout, Command},
};

/// A plugin that was built, with everything that decides whether it is another one than before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Built {
    /// Where its sources are.
    pub folder: PathBuf,
    /// Where its component is.
    pub component: PathBuf,
    /// The bytes of component, manifest and configuration, hashed; good within this process.
    fingerprint: u64,
}

/// Builds the plugins of a project.
pub struct Builder {
    project: Project,
}

/// Makes sure that plugins can be compiled, and says so where something had to be added.
///
/// # Errors
/// The target is missing and cannot be added.
pub async fn ensure_target(root: &Path) -> anyhow::Result<()> {
    let printed = output(root, "rustc", &["--print", "target-libdir", "--target", TARGET])
        .await
        .context("cannot run rustc; plugins are compiled with it: see https://rustup.rs")?;
    if printed.status.success() && Path::new(String::from_utf8_lossy(&printed.stdout).trim()).is_dir() {
        return Ok(());
    }
    let by_hand = format!("rustup target add {TARGET}");
    let work = Work::begin(format!("The compiler lacks the target {TARGET}; adding it with `{by_hand}`"));
    let added = output(root, "rustup", &["target", "add", TARGET]).await.with_context(|| {
        format!("cannot run rustup; add the target {TARGET} in the way in which this compiler was installed")
    })?;
    if !added.status.success() {
        let said = String::from_utf8_lossy(&added.stderr);
        bail!("the target {TARGET} could not be added; try it by hand: `{by_hand}`\n{}", said.trim());
    }
    work.end("done");
    Ok(())
}

async fn output(root: &Path, program: &str, arguments: &[&str]) -> std::io::Result<Output> {
    Command::new(program).args(arguments).current_dir(root).kill_on_drop(true).output().await
}

impl Builder {
    /// For this project.
    pub fn new(project: Project) -> Self {
        Self { project }
    }

    /// The folder whose changes it waits for, in words.
    pub fn watching(&self) -> String {
        self.project.root.join("plugins").display().to_string()
    }

    /// Builds all plugins; cargo knows which have changed. One that cannot be built is shown, and left out.
    ///
    /// # Errors
    /// Cargo cannot be run, or a crate's manifest cannot be read.
    pub async fn build(&self) -> anyhow::Result<Vec<Built>> {
        let names =
            self.project.plugins.iter().map(|folder| crate_name(folder)).collect::<Result<Vec<_>, _>>()?;
        let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        command
            .args(["build", "--keep-going", "--profile", PROFILE, "--target", TARGET])
            .args(["--message-format", "json-render-diagnostics"])
            .args(names.iter().flat_map(|name| ["-p", name]))
            .current_dir(&self.project.root)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        let mut cargo = command.spawn().context("cannot run cargo; plugins are built with it")?;
        let (stdout, stderr) = (cargo.stdout.take(), cargo.stderr.take());
        let (stdout, stderr) = stdout.zip(stderr).context("cargo has no output")?;
        let mut work = Work::begin(format!("Building {}", names.join(", ")));
        let (components, diagnostics) = tokio::try_join!(components(stdout), follow(stderr, &mut work))?;
        if cargo.wait().await?.success() {
            work.end("done");
        } else {
            work.end("failed");
            say(diagnostics.trim_end());
            say("What was built before goes on.");
        }
        self.project.plugins.iter().filter_map(|folder| built(folder, &components).transpose()).collect()
    }
}

/// The plugin of this folder, if cargo built it.
fn built(folder: &Path, components: &[Artefact]) -> anyhow::Result<Option<Built>> {
    let manifest = folder.join("Cargo.toml");
    let of_folder = components.iter().find(|artefact| artefact.manifest_path == manifest);
    let Some(component) = of_folder.and_then(Artefact::component) else { return Ok(None) };
    let mut hasher = std::hash::DefaultHasher::new();
    for path in [component, &folder.join("plugin.toml"), &folder.join("dev-config.json")] {
        // One that is missing counts as empty: what must be there is missed by who uses it.
        std::hash::Hash::hash(&std::fs::read(path).unwrap_or_default(), &mut hasher);
    }
    let fingerprint = std::hash::Hasher::finish(&hasher);
    Ok(Some(Built { folder: folder.to_owned(), component: component.to_owned(), fingerprint }))
}

/// What cargo says of a crate that it built or found built.
#[derive(Debug, Deserialize)]
struct Artefact {
    manifest_path: PathBuf,
    filenames: Vec<PathBuf>,
}

impl Artefact {
    fn component(&self) -> Option<&Path> {
        self.filenames.iter().map(PathBuf::as_path).find(|path| path.extension().is_some_and(|e| e == "wasm"))
    }
}

async fn components(stdout: ChildStdout) -> anyhow::Result<Vec<Artefact>> {
    let mut lines = BufReader::new(stdout).lines();
    let mut components = Vec::new();
    while let Some(line) = lines.next_line().await? {
        // Other messages of cargo have other fields, and are not of interest.
        if let Ok(artefact) = serde_json::from_str::<Artefact>(&line)
            && artefact.component().is_some()
        {
            components.push(artefact);
        }
    }
    Ok(components)
}

/// Shows what cargo is at, and returns what the compiler had to say.
async fn follow(stderr: ChildStderr, work: &mut Work) -> anyhow::Result<String> {
    let mut lines = BufReader::new(stderr).lines();
    let mut diagnostics = String::new();
    while let Some(line) = lines.next_line().await? {
        let step = line.trim_start();
        // Cargo's own steps are words flushed right, as in `   Compiling serde v1.0.0`.
        if line.len() > step.len()
            && step.starts_with(|c: char| c.is_ascii_uppercase())
            && !step.contains('|')
        {
            work.at(step);
        } else {
            diagnostics.push_str(&line);
            diagnostics.push('\n');
        }
    }
    Ok(diagnostics)
}
