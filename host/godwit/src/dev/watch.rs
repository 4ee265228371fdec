//! Waiting for sources to change.

use anyhow::Context;
use notify::{Event, RecommendedWatcher, RecursiveMode, Watcher};
use std::{
    path::{Path, PathBuf},
    time::Duration,
};
use tokio::sync::mpsc;

/// Editors write a file in several steps, and several files at once: a build waits until it has been quiet so long.
const QUIET: Duration = Duration::from_millis(150);
/// Paths that wait to be looked at. One is enough to know that a build is due; those beyond it are not needed.
const CHANGES_MAX: usize = 1;

/// A watch over folders.
pub struct Watch {
    changes: mpsc::Receiver<notify::Result<PathBuf>>,
    _watcher: RecommendedWatcher,
}

impl Watch {
    /// Watches these folders and all below them.
    ///
    /// # Errors
    /// The system refuses, as where too many folders are watched already.
    pub fn start(folders: &[PathBuf]) -> anyhow::Result<Self> {
        let (sender, changes) = mpsc::channel(CHANGES_MAX);
        let mut watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
            let change = match event {
                // Reading is an event as well, and cargo reads them all.
                Ok(event) if event.kind.is_access() => return,
                Ok(event) => event.paths.into_iter().find(|path| is_source(path)).map(Ok),
                Err(error) => Some(Err(error)),
            };
            if let Some(change) = change {
                // Full means that a build is due already.
                let _ = sender.try_send(change);
            }
        })?;
        for folder in folders {
            watcher
                .watch(folder, RecursiveMode::Recursive)
                .with_context(|| format!("cannot watch {}", folder.display()))?;
        }
        Ok(Self { changes, _watcher: watcher })
    }

    /// Waits for a change and then for quiet; returns what changed first.
    ///
    /// # Errors
    /// The watch is broken.
    pub async fn changed(&mut self) -> anyhow::Result<String> {
        let first = self.changes.recv().await.context("the watch over the sources has ended")??;
        while let Ok(Some(more)) = tokio::time::timeout(QUIET, self.changes.recv()).await {
            more?;
        }
        let name = first.file_name().unwrap_or(first.as_os_str());
        Ok(name.to_string_lossy().into_owned())
    }
}

/// Whether a change of this file can change a plugin: no editor's backup, and nothing that a build leaves behind.
fn is_source(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let scratch = ["target", "node_modules", ".venv", ".godwit", "__pycache__"];
    let built = path.components().any(|part| scratch.iter().any(|name| part.as_os_str() == *name));
    !built
        && !name.starts_with('.')
        && !name.ends_with('~')
        && path.extension().is_some_and(|extension| {
            ["rs", "toml", "json", "wit", "js", "py"].iter().any(|source| extension == *source)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_saved_source_is_a_change_and_reading_or_scratch_files_are_none() {
        let folder = tempfile::tempdir().unwrap();
        let source = folder.path().join("lib.rs");
        std::fs::write(&source, "1").unwrap();
        let mut watch = Watch::start(&[folder.path().to_owned()]).unwrap();
        std::fs::read(&source).unwrap();
        std::fs::write(folder.path().join(".lib.rs.swp"), "x").unwrap();
        std::fs::write(folder.path().join("lib.rs~"), "x").unwrap();
        std::fs::write(&source, "2").unwrap();
        let changed = tokio::time::timeout(Duration::from_secs(10), watch.changed()).await;
        assert_eq!(changed.unwrap().unwrap(), "lib.rs");
    }

    #[test]
    fn only_sources_count() {
        for (path, source) in [
            ("plugins/a/src/lib.rs", true),
            ("plugins/a/plugin.toml", true),
            ("plugins/a/dev-config.json", true),
            ("wit/0.1/types.wit", true),
            ("plugins/a/src/plugin.js", true),
            ("plugins/a/plugin.py", true),
            ("plugins/a/node_modules/x/index.js", false),
            ("plugins/a/.godwit/build/entry.js", false),
            ("plugins/a/README.md", false),
            ("plugins/a/target/x.rs", false),
            ("plugins/a/src/.#lib.rs", false),
        ] {
            assert_eq!(is_source(Path::new(path)), source, "{path}");
        }
    }
}
