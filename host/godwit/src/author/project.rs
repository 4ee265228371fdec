//! A plugin's folder: its manifest, its language, and where its component stands once it is built.

use super::Language;
use anyhow::{Context, bail};
use serde::Deserialize;
use std::path::{Path, PathBuf};

/// The manifest's name.
pub const MANIFEST: &str = "plugin.toml";
/// What tests and `godwit plugin dev` run a plugin with.
pub const DEV_CONFIG: &str = "dev-config.json";
/// Where scenarios stand.
pub const SCENARIOS: &str = "scenarios";
/// What builds leave behind, beside cargo's own.
pub const SCRATCH: &str = ".godwit";

/// A plugin's folder.
#[derive(Debug, Clone)]
pub struct Project {
    /// Where it is, from the root.
    pub folder: PathBuf,
    /// In which language it is written.
    pub language: Language,
    /// What its manifest says.
    pub manifest: Manifest,
}

/// What of a manifest its tools must know. All else is the engine's to judge.
#[derive(Debug, Clone, Deserialize)]
pub struct Manifest {
    /// The plugin's id.
    pub id: String,
    /// Its version.
    pub version: String,
    /// Its hooks.
    #[serde(default)]
    pub hooks: Vec<String>,
    /// What it asks.
    #[serde(default)]
    capabilities: toml::Table,
    /// Its text.
    #[serde(skip)]
    pub text: String,
}

impl Manifest {
    /// Reads the manifest of a folder.
    ///
    /// # Errors
    /// It is not there or names no id; the text says what to do.
    pub fn read(folder: &Path) -> anyhow::Result<Self> {
        let path = folder.join(MANIFEST);
        let text = std::fs::read_to_string(&path).with_context(|| {
            format!(
                "{} is no plugin's folder: {MANIFEST} cannot be read there; \
                 make a new one with `godwit plugin new`",
                folder.display()
            )
        })?;
        Self::parse(text).with_context(|| format!("cannot read {}", path.display()))
    }

    /// Reads a manifest's text.
    ///
    /// # Errors
    /// It is no TOML, or names no id or version.
    pub fn parse(text: String) -> anyhow::Result<Self> {
        let manifest: Self = toml::from_str(&text)?;
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if manifest.id.is_empty() || manifest.id.len() > 64 || !manifest.id.chars().all(plain) {
            bail!("id `{}` must be 1 to 64 of a-z, 0-9 and -", manifest.id);
        }
        Ok(Self { text, ..manifest })
    }

    /// Whether it asks for a capability.
    pub fn asks(&self, capability: &str) -> bool {
        self.capabilities.get(capability).is_some_and(|asked| asked.as_bool() != Some(false))
    }
}

impl Project {
    /// The project in `folder`.
    ///
    /// # Errors
    /// There is none, or its language cannot be told.
    pub fn find(folder: &Path) -> anyhow::Result<Self> {
        if !folder.is_dir() {
            bail!("{} is no folder; name a plugin's folder", folder.display());
        }
        let folder = folder.canonicalize()?;
        let manifest = Manifest::read(&folder)?;
        let marks =
            [("Cargo.toml", Language::Rust), ("package.json", Language::Js), ("plugin.py", Language::Python)];
        let Some((_, language)) = marks.into_iter().find(|(file, _)| folder.join(file).is_file()) else {
            bail!(
                "{} has none of Cargo.toml (Rust), package.json (JavaScript) and plugin.py (Python), \
                 so it cannot be told how to build it",
                folder.display()
            );
        };
        Ok(Self { folder, language, manifest })
    }

    /// Where a component goes that no build tool has a place for.
    pub fn component(&self) -> PathBuf {
        self.folder.join(format!("{}.wasm", self.manifest.id))
    }
}

/// The configuration for tests: that of the folder, or none.
///
/// # Errors
/// It is there and is no JSON.
pub fn dev_config(folder: &Path) -> anyhow::Result<String> {
    let path = folder.join(DEV_CONFIG);
    match path.is_file() {
        true => Ok(crate::plugin::read_config(&path)?.to_string()),
        false => Ok("{}".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_known_by_its_files() {
        let root = tempfile::tempdir().unwrap();
        let error = Project::find(root.path()).unwrap_err().to_string();
        assert!(error.contains("godwit plugin new"), "{error}");
        let manifest = "id = \"echo\"\nversion = \"1\"\n[capabilities]\nkv = true\nsend = false\nhttp = []";
        std::fs::write(root.path().join(MANIFEST), manifest).unwrap();
        assert!(Project::find(root.path()).unwrap_err().to_string().contains("Cargo.toml (Rust)"));
        std::fs::write(root.path().join("plugin.py"), "").unwrap();
        let project = Project::find(root.path()).unwrap();
        assert_eq!(project.language, Language::Python);
        assert!(project.component().ends_with("echo.wasm"));
        let asked = ["kv", "send", "http", "timer"].map(|name| project.manifest.asks(name));
        assert_eq!(asked, [true, false, true, false]);
    }

    #[test]
    fn an_id_that_is_none_is_refused_before_it_is_part_of_a_path() {
        for id in ["", "../x", "A", "a/b"] {
            assert!(Manifest::parse(format!("id = {id:?}\nversion = \"1\"")).is_err(), "{id}");
        }
    }
}
