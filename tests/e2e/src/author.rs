//! An author's folder, and the command line in it.
//!
//! It owns where a project stands while it is tested and how its tools are run; it refuses to know what is in it.

use crate::server::{Server, binary};
use anyhow::{Context, Result, ensure};
use std::{
    path::{Path, PathBuf},
    process::{Output, Stdio},
    time::Duration,
};
use tempfile::TempDir;
use tokio::{process::Command, time::timeout};

/// How long a command may take that builds: on a busy machine a component takes its time.
const BUILD_WITHIN: Duration = Duration::from_secs(900);

/// An author with a project.
pub struct Author {
    root: TempDir,
    /// Where the project is.
    pub project: PathBuf,
}

impl Author {
    /// Makes a project by `godwit plugin new`.
    ///
    /// # Errors
    /// It could not be made.
    pub async fn new(name: &str, language: &str, hooks: &[&str]) -> Result<Self> {
        let root = tempfile::Builder::new().prefix("godwit-author-").tempdir()?;
        let project = root.path().join(name);
        let author = Self { root, project };
        let made = author
            .godwit_in(author.root.path(), &["new", name, "--language", language, "--hook", &hooks.join(",")])
            .await?;
        ensure!(made.status.success(), "{}", said(&made));
        if language == "rust" {
            // The versions that this project itself was built with: they are on this machine.
            let lock = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../Cargo.lock");
            std::fs::copy(lock, author.project.join("Cargo.lock"))?;
        }
        Ok(author)
    }

    /// `godwit plugin …` in the project.
    ///
    /// # Errors
    /// It cannot be run, or does not end.
    pub async fn godwit(&self, arguments: &[&str]) -> Result<Output> {
        self.godwit_in(&self.project, arguments).await
    }

    /// The same, which must go well; what it printed.
    ///
    /// # Errors
    /// It did not go well; what it said is told.
    pub async fn well(&self, arguments: &[&str]) -> Result<String> {
        let output = self.godwit(arguments).await?;
        ensure!(output.status.success(), "godwit plugin {}: {}", arguments.join(" "), said(&output));
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// The same against a server.
    ///
    /// # Errors
    /// As [`Self::well`].
    pub async fn on(&self, server: &Server, arguments: &[&str]) -> Result<String> {
        let (admin, token) = (server.admin.address().to_string(), server.data().join("admin-token"));
        let token = token.to_string_lossy();
        self.well(&[arguments, &["--admin", &admin, "--token-file", &token]].concat()).await
    }

    async fn godwit_in(&self, folder: &Path, arguments: &[&str]) -> Result<Output> {
        // Beside the projects' own target folders, so that what they all need is built once.
        let target = target()?;
        let mut command = Command::new(binary()?);
        command
            .arg("plugin")
            .args(arguments)
            .current_dir(folder)
            .env("CARGO_TARGET_DIR", target.join("authors"))
            .env("CARGO_NET_OFFLINE", "true")
            .env("XDG_CACHE_HOME", target.join("authors-cache"))
            .stdin(Stdio::null())
            .kill_on_drop(true);
        let ended = timeout(BUILD_WITHIN, command.output()).await;
        Ok(ended.with_context(|| format!("godwit plugin {arguments:?} does not end"))??)
    }

    /// Replaces text in a file of the project.
    ///
    /// # Errors
    /// It does not stand there.
    pub fn replace(&self, file: &str, text: &str, by: &str) -> Result<()> {
        let path = self.project.join(file);
        let before = std::fs::read_to_string(&path)?;
        ensure!(before.contains(text), "{file} does not contain {text:?}");
        Ok(std::fs::write(path, before.replace(text, by))?)
    }

    /// Writes a file into the project.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write(&self, file: &str, text: &str) -> Result<()> {
        Ok(std::fs::write(self.project.join(file), text)?)
    }
}

/// `godwit plugin …` anywhere, with the cache of tests.
///
/// # Errors
/// It cannot be run, or does not end.
pub async fn plugin(arguments: &[&str]) -> Result<Output> {
    let cache = target()?.join("authors-cache");
    let environment = [("XDG_CACHE_HOME", &*cache.to_string_lossy())];
    crate::server::run(&[&["plugin"], arguments].concat(), &environment).await
}

/// The target folder that the binary stands in.
fn target() -> Result<&'static Path> {
    binary()?.parent().and_then(Path::parent).context("the binary stands in a target folder")
}

/// All that a command said.
pub fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}
