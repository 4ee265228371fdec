//! Finding a plugin's manifest and component on disk.
//!
//! It knows where `cargo` leaves a component, and of what is in one only where a packed file has its manifest.

use anyhow::{Context, anyhow, bail};
use godwit_engine::{
    Options,
    package::{Unpacked, unpack},
};
use serde::Deserialize;
use std::{
    path::{Path, PathBuf},
    process::Command,
};

/// What plugins are compiled to, and with which profile.
pub const TARGET: &str = "wasm32-wasip2";
/// The profile of the workspace's `Cargo.toml` for plugins: small and fast.
pub const PROFILE: &str = "guest";
const MANIFEST: &str = "plugin.toml";

/// A plugin on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Package {
    /// The id that its manifest gives.
    pub id: String,
    /// The manifest's text.
    pub manifest: String,
    /// Where the component is.
    pub component: PathBuf,
}

/// The one thing of a manifest that a client must know: it stands in the request's path.
#[derive(Deserialize)]
struct Identity {
    id: String,
}

impl Package {
    /// The plugin at `path`: a folder with its manifest, or a component with its manifest in it or beside it.
    ///
    /// # Errors
    /// A file is missing; the text says where it was looked for and how it is made.
    pub fn find(path: &Path) -> anyhow::Result<Self> {
        if path.is_dir() {
            let (id, manifest) = read_manifest(path)?;
            let component = find_component(path, &id)?;
            return Ok(Self { id, manifest, component });
        }
        if !path.is_file() {
            bail!("{} does not exist; name a plugin's folder, or its .wasm file", path.display());
        }
        if path.extension().is_none_or(|extension| extension != "wasm") {
            bail!("{} is no .wasm file; name a plugin's folder, or its component", path.display());
        }
        if let Some(Unpacked { manifest, .. }) = unpacked(path)? {
            let Identity { id } =
                toml::from_str(&manifest).with_context(|| format!("{} names no `id`", path.display()))?;
            return Ok(Self { id, manifest, component: path.to_owned() });
        }
        let folder = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let (id, manifest) = read_manifest(folder)?;
        Ok(Self { id, manifest, component: path.to_owned() })
    }

    /// The component as it was built.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn bytes(&self) -> anyhow::Result<Vec<u8>> {
        read_component(&self.component)
    }

    /// What is said about the plugin at `path`, whose component is not needed.
    ///
    /// # Errors
    /// The manifest cannot be read.
    pub fn described(path: &Path) -> anyhow::Result<Self> {
        let beside = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let (id, manifest) = read_manifest(if path.is_dir() { path } else { beside })?;
        Ok(Self { id, manifest, component: PathBuf::new() })
    }

    /// The plugin in `folder`, whose component was just built.
    ///
    /// # Errors
    /// The manifest cannot be read.
    pub fn built(folder: &Path, component: PathBuf) -> anyhow::Result<Self> {
        let (id, manifest) = read_manifest(folder)?;
        Ok(Self { id, manifest, component })
    }

    /// The capabilities that the manifest asks for, by name.
    ///
    /// # Errors
    /// The manifest is no TOML.
    pub fn capabilities(&self) -> anyhow::Result<Vec<String>> {
        #[derive(Deserialize)]
        struct Asks {
            #[serde(default)]
            capabilities: toml::Table,
        }
        let asks: Asks = toml::from_str(&self.manifest).context("the manifest is no TOML")?;
        let asked = asks.capabilities.into_iter().filter(|(_, value)| value.as_bool() != Some(false));
        Ok(asked.map(|(name, _)| name).collect())
    }
}

/// The component in a file, without the manifest that a packed one has.
///
/// # Errors
/// The file cannot be read, or is not as it was packed.
pub fn read_component(path: &Path) -> anyhow::Result<Vec<u8>> {
    match unpacked(path)? {
        Some(Unpacked { component, .. }) => Ok(component),
        None => std::fs::read(path).with_context(|| format!("cannot read {}", path.display())),
    }
}

/// What a packed file holds. What is no component is left to the host, which says so better.
fn unpacked(path: &Path) -> anyhow::Result<Option<Unpacked>> {
    let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    if !bytes.starts_with(b"\0asm\x0d") {
        return Ok(None);
    }
    unpack(&bytes, &Options::default()).map_err(|problem| anyhow!("{}: {problem}", path.display()))
}

fn read_manifest(folder: &Path) -> anyhow::Result<(String, String)> {
    let path = folder.join(MANIFEST);
    let manifest = std::fs::read_to_string(&path)
        .with_context(|| format!("cannot read the plugin's manifest {}", path.display()))?;
    let Identity { id } =
        toml::from_str(&manifest).with_context(|| format!("{} names no `id`", path.display()))?;
    Ok((id, manifest))
}

/// In the folder under the plugin's id, or where cargo leaves what it builds from the folder's crate.
fn find_component(folder: &Path, id: &str) -> anyhow::Result<PathBuf> {
    let packed = folder.join(format!("{id}.wasm"));
    if packed.is_file() {
        return Ok(packed);
    }
    if !folder.join("Cargo.toml").is_file() {
        bail!("no component: {} does not exist; build it with `godwit plugin build`", packed.display());
    }
    let (name, target) = crate_of(folder)?;
    let built = target.join(TARGET).join(PROFILE).join(format!("{}.wasm", name.replace('-', "_")));
    if !built.is_file() {
        bail!(
            "no component: neither {} nor {} exists; build it with `godwit plugin build`, or with \
             `cargo build --profile {PROFILE} --target {TARGET} -p {name}`",
            packed.display(),
            built.display()
        );
    }
    Ok(built)
}

/// The name of the folder's crate and its workspace's target folder, as cargo sees them.
fn crate_of(folder: &Path) -> anyhow::Result<(String, PathBuf)> {
    #[derive(Deserialize)]
    struct Metadata {
        packages: Vec<Member>,
        target_directory: PathBuf,
    }
    #[derive(Deserialize)]
    struct Member {
        name: String,
        manifest_path: PathBuf,
    }
    let manifest = folder.join("Cargo.toml").canonicalize()?;
    let output = Command::new("cargo")
        .args(["metadata", "--no-deps", "--offline", "--format-version=1", "--manifest-path"])
        .arg(&manifest)
        .output()
        .context("cannot run cargo to find the built component; name its .wasm file instead")?;
    if !output.status.success() {
        bail!("cargo cannot read {}: {}", manifest.display(), String::from_utf8_lossy(&output.stderr).trim());
    }
    let metadata: Metadata =
        serde_json::from_slice(&output.stdout).context("cannot understand cargo metadata")?;
    let member = metadata.packages.into_iter().find(|member| member.manifest_path == manifest);
    let name = member.with_context(|| format!("{} is no crate", manifest.display()))?.name;
    Ok((name, metadata.target_directory))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        folder
    }

    #[test]
    fn a_folder_with_manifest_and_component_is_a_package() {
        let folder = folder(&[("plugin.toml", "id = \"echo\""), ("echo.wasm", "")]);
        let package = Package::find(folder.path()).unwrap();
        assert_eq!(package.id, "echo");
        assert_eq!(package.component, folder.path().join("echo.wasm"));
    }

    #[test]
    fn what_a_manifest_asks_is_listed() {
        let manifest =
            "id = \"echo\"\n[capabilities]\nkv = true\nsend = false\nhttp = [\"https://example.com\"]";
        let package = Package {
            id: "echo".to_owned(),
            manifest: manifest.to_owned(),
            component: PathBuf::from("echo.wasm"),
        };
        assert_eq!(package.capabilities().unwrap(), ["http", "kv"]);
    }

    #[test]
    fn a_component_finds_the_manifest_beside_it() {
        let folder = folder(&[("plugin.toml", "id = \"echo\""), ("other.wasm", "")]);
        let package = Package::find(&folder.path().join("other.wasm")).unwrap();
        assert_eq!((package.id.as_str(), package.manifest.as_str()), ("echo", "id = \"echo\""));
    }

    #[test]
    fn what_is_missing_is_named() {
        for (files, missing) in [
            (&[][..], "plugin.toml"),
            (&[("plugin.toml", "name = \"echo\"")][..], "names no `id`"),
            (&[("plugin.toml", "id = \"echo\"")][..], "echo.wasm does not exist"),
        ] {
            let folder = folder(files);
            let error = format!("{:#}", Package::find(folder.path()).unwrap_err());
            assert!(error.contains(missing), "{error:?} does not name {missing:?}");
        }
        let error = Package::find(Path::new("/nonexistent/plugin")).unwrap_err().to_string();
        assert!(error.contains("does not exist"), "{error}");
    }

    #[test]
    fn a_crate_that_is_not_built_says_how_to_build_it() {
        let folder = folder(&[
            ("plugin.toml", "id = \"echo\""),
            ("Cargo.toml", "[package]\nname = \"echo-plugin\"\nedition = \"2024\"\n[workspace]\n"),
            ("lib.rs", ""),
        ]);
        std::fs::create_dir(folder.path().join("src")).unwrap();
        std::fs::write(folder.path().join("src/lib.rs"), "").unwrap();
        let error = Package::find(folder.path()).unwrap_err().to_string();
        assert!(error.contains("-p echo-plugin"), "{error}");
        assert!(error.contains("echo_plugin.wasm"), "{error}");
    }
}
