//! What projects are built with, as files in the binary: the interface and the kits, of the version of this host.
//!
//! A project gets a copy in its folder `godwit/`, laid out as in the sources of Godwit, so that it can be built
//! wherever it goes and means the same interface as the host that made it.

use super::Language;
use anyhow::Context;
use rust_embed::{Embed, EmbeddedFile};
use std::path::Path;

/// The folder of a project that holds its kit.
pub const FOLDER: &str = "godwit";

#[derive(Embed)]
#[folder = "../../wit"]
#[include = "0.1/*.wit"]
struct Wit;

#[derive(Embed)]
#[folder = "../../sdk/rust"]
#[include = "src/*"]
#[include = "README.md"]
struct Rust;

#[derive(Embed)]
#[folder = "../../sdk/js"]
#[include = "*.js"]
#[include = "*.mjs"]
#[include = "*.d.ts"]
#[include = "README.md"]
#[exclude = "test/*"]
#[exclude = "node_modules/*"]
struct Js;

#[derive(Embed)]
#[folder = "../../sdk/python"]
#[include = "*.py"]
#[include = "README.md"]
#[exclude = "test/*"]
struct Python;

/// The crate of the Rust kit and the workspace that its versions come from.
const CRATE: &str = include_str!("../../../../sdk/rust/Cargo.toml");
const WORKSPACE: &str = include_str!("../../../../Cargo.toml");

/// Writes the kit of a language into a project.
///
/// # Errors
/// A file cannot be written.
pub fn write(language: Language, project: &Path) -> anyhow::Result<()> {
    let kit = project.join(FOLDER);
    write_wit(&kit.join("wit/0.1"))?;
    let (sdk, files): (_, Vec<_>) = match language {
        Language::Rust => ("sdk/rust", Rust::iter().map(|name| (Rust::get(&name), name)).collect()),
        Language::Js => ("sdk/js", Js::iter().map(|name| (Js::get(&name), name)).collect()),
        Language::Python => ("sdk/python", Python::iter().map(|name| (Python::get(&name), name)).collect()),
    };
    for (file, name) in files {
        put(&kit.join(sdk).join(&*name), file)?;
    }
    if language == Language::Rust {
        let manifest = standalone(CRATE, WORKSPACE)?;
        std::fs::write(kit.join(sdk).join("Cargo.toml"), manifest)?;
    }
    Ok(())
}

/// Writes the interface into a folder.
///
/// # Errors
/// A file cannot be written.
pub fn write_wit(folder: &Path) -> anyhow::Result<()> {
    for name in Wit::iter() {
        let file = Wit::get(&name);
        put(&folder.join(name.trim_start_matches("0.1/")), file)?;
    }
    Ok(())
}

fn put(path: &Path, file: Option<EmbeddedFile>) -> anyhow::Result<()> {
    let file = file.with_context(|| format!("{} is not in this binary", path.display()))?;
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    std::fs::write(path, file.data).with_context(|| format!("cannot write {}", path.display()))
}

/// The manifest of a crate of this workspace, for a place without the workspace: what it takes over from there stands
/// in it, and its lints, which are ours, do not.
fn standalone(package: &str, workspace: &str) -> anyhow::Result<String> {
    let mut package: toml::Table = toml::from_str(package)?;
    let workspace: toml::Table = toml::from_str(workspace)?;
    package.remove("lints");
    for section in ["package", "dependencies"] {
        let Some(toml::Value::Table(table)) = package.get_mut(section) else { continue };
        for (name, value) in table.iter_mut() {
            let Some(own) = value.as_table().filter(|own| own.contains_key("workspace")).cloned() else {
                continue;
            };
            let inherited = workspace["workspace"].get(section).and_then(|shared| shared.get(name));
            let inherited = inherited.with_context(|| format!("the workspace has no {section}.{name}"))?;
            *value = with(inherited.clone(), own);
        }
    }
    Ok(toml::to_string(&package)?)
}

/// What is inherited, with what is the crate's own beside it.
fn with(inherited: toml::Value, mut own: toml::Table) -> toml::Value {
    own.remove("workspace");
    match inherited {
        inherited if own.is_empty() => inherited,
        toml::Value::Table(mut inherited) => {
            inherited.extend(own);
            toml::Value::Table(inherited)
        }
        version => {
            own.insert("version".to_owned(), version);
            toml::Value::Table(own)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kit_of_rust_stands_without_its_workspace() {
        let manifest = standalone(CRATE, WORKSPACE).unwrap();
        assert!(!manifest.contains("workspace"), "{manifest}");
        let manifest: toml::Table = toml::from_str(&manifest).unwrap();
        assert_eq!(manifest["package"]["name"].as_str(), Some("godwit-plugin"));
        assert!(manifest["dependencies"]["serde"]["features"].is_array());
    }

    #[test]
    fn each_kit_is_whole() {
        for (language, files) in [
            (Language::Rust, ["godwit/sdk/rust/src/lib.rs", "godwit/sdk/rust/src/actors/bindings.rs"]),
            (Language::Js, ["godwit/sdk/js/build.mjs", "godwit/sdk/js/interface.d.ts"]),
            (
                Language::Python,
                ["godwit/sdk/python/godwit_guard.py", "godwit/sdk/python/wit_world/__init__.py"],
            ),
        ] {
            let project = tempfile::tempdir().unwrap();
            write(language, project.path()).unwrap();
            for file in files.into_iter().chain(["godwit/wit/0.1/types.wit"]) {
                assert!(project.path().join(file).is_file(), "{language:?}: {file}");
            }
        }
    }

    #[test]
    fn the_declarations_for_javascript_have_all_of_the_interface() {
        let declared = Js::get("interface.d.ts").unwrap();
        let declared = String::from_utf8_lossy(&declared.data);
        let pascal = |name: &str| -> String {
            let capital = |word: &str| word[..1].to_uppercase() + &word[1..];
            name.split('-').map(capital).collect()
        };
        let mut checked = 0;
        for file in Wit::iter() {
            let text = Wit::get(&file).unwrap();
            let text = String::from_utf8_lossy(&text.data).into_owned();
            for line in text.lines().map(str::trim_start) {
                let words: Vec<_> = line.split([' ', '{', '(', ':']).collect();
                let wanted = match words[..] {
                    ["interface", name, ..] => format!("declare module \"godwit:plugin/{name}@0.1.0\""),
                    ["record", name, ..] => format!("export interface {} {{", pascal(name)),
                    ["variant" | "enum", name, ..] => format!("export type {} =", pascal(name)),
                    _ => continue,
                };
                assert!(declared.contains(&wanted), "{file}: {wanted} is not in interface.d.ts");
                checked += 1;
            }
        }
        assert!(checked > 40, "{checked}");
    }
}
