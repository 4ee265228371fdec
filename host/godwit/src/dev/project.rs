//! Finding the project and its plugins.

use anyhow::{Context, bail};
use serde::Deserialize;
use serde_json::Value;
use std::path::{Path, PathBuf};

/// What the developer's server runs a plugin with, where the plugin's own defaults show too little.
const DEV_CONFIG: &str = "dev-config.json";

/// A cargo workspace with plugins.
#[derive(Debug, Clone)]
pub struct Project {
    /// The folder of its `Cargo.toml`.
    pub root: PathBuf,
    /// The folders of its plugins.
    pub plugins: Vec<PathBuf>,
}

impl Project {
    /// The nearest project, from `start` upwards.
    ///
    /// # Errors
    /// There is none, or it has no plugin.
    pub fn find(start: &Path) -> anyhow::Result<Self> {
        let is_project =
            |folder: &&Path| folder.join("plugins").is_dir() && folder.join("Cargo.toml").is_file();
        let Some(root) = start.ancestors().find(is_project) else {
            bail!(
                "no project here: neither {} nor a folder above it has `plugins/` and `Cargo.toml`",
                start.display()
            );
        };
        let mut plugins = Vec::new();
        for entry in std::fs::read_dir(root.join("plugins"))? {
            let folder = entry?.path();
            if folder.join("plugin.toml").is_file() && folder.join("Cargo.toml").is_file() {
                plugins.push(folder);
            }
        }
        plugins.sort();
        if plugins.is_empty() {
            bail!(
                "{} has no plugin: a folder with `plugin.toml` and `Cargo.toml`",
                root.join("plugins").display()
            );
        }
        Ok(Self { root: root.to_owned(), plugins })
    }

    /// The folders whose changes mean another build: the plugins, and where it is part of the project what they stand
    /// on.
    pub fn watched(&self) -> Vec<PathBuf> {
        let folders = ["plugins", "sdk/rust", "wit"].map(|folder| self.root.join(folder));
        folders.into_iter().filter(|folder| folder.is_dir()).collect()
    }

    /// Whether the web client's sources are here, to be served as they are.
    pub fn has_web_pages(&self) -> bool {
        self.root.join("host/web").is_dir()
    }
}

/// The name of the crate in `folder`.
///
/// # Errors
/// Its manifest cannot be read.
pub fn crate_name(folder: &Path) -> anyhow::Result<String> {
    #[derive(Deserialize)]
    struct Manifest {
        package: Named,
    }
    #[derive(Deserialize)]
    struct Named {
        name: String,
    }
    let path = folder.join("Cargo.toml");
    let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let manifest: Manifest =
        toml::from_str(&text).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(manifest.package.name)
}

/// The configuration for this command, where the plugin has one.
///
/// # Errors
/// It is there and cannot be read.
pub fn dev_config(folder: &Path) -> anyhow::Result<Option<Value>> {
    let path = folder.join(DEV_CONFIG);
    if path.is_file() { crate::plugin::read_config(&path).map(Some) } else { Ok(None) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(files: &[&str]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for file in files {
            let path = root.path().join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
        }
        root
    }

    #[test]
    fn the_nearest_folder_upward_with_plugins_is_the_project() {
        let root = tree(&[
            "Cargo.toml",
            "plugins/b/plugin.toml",
            "plugins/b/Cargo.toml",
            "plugins/b/src/lib.rs",
            "plugins/a/plugin.toml",
            "plugins/a/Cargo.toml",
            "plugins/notes/README.md",
        ]);
        let project = Project::find(&root.path().join("plugins/b/src")).unwrap();
        assert_eq!(project.root, root.path());
        assert_eq!(project.plugins, [root.path().join("plugins/a"), root.path().join("plugins/b")]);
        assert_eq!(project.watched(), [root.path().join("plugins")]);
    }

    #[test]
    fn a_folder_without_plugins_is_no_project() {
        let root = tree(&["Cargo.toml", "src/lib.rs"]);
        assert!(Project::find(root.path()).unwrap_err().to_string().contains("no project here"));
        let root = tree(&["Cargo.toml", "plugins/README.md"]);
        assert!(Project::find(root.path()).unwrap_err().to_string().contains("has no plugin"));
    }
}
