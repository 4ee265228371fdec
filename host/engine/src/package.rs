//! A plugin as one file, and what can be told of a plugin without running it.
//!
//! The file is the component itself with one custom section behind it, which holds the manifest: any tool that reads
//! components reads it, equal contents make equal bytes, and what is installed is the component as it was built.
//! Everything read here is untrusted; nothing is compiled.

use crate::{
    actor::grants,
    component, manifest,
    options::{Options, kib, mib},
    stage::{self, Candidate},
};
use godwit_domain::plugin::Digest;
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use wasmparser::{Parser, Payload};

/// The name of the section that holds the manifest.
const SECTION: &str = "godwit-manifest";

/// What a packed file holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unpacked {
    /// The manifest's text.
    pub manifest: String,
    /// The component as it was built.
    pub component: Vec<u8>,
}

/// What a component says on its outside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Description {
    /// The version of the interface that it is of.
    pub interface: String,
    /// The hooks that it exports.
    pub hooks: Vec<String>,
    /// Whether it has an `init`.
    pub lifecycle: bool,
    /// What it imports.
    pub imports: Vec<Import>,
    /// Exports that the host does not call.
    pub ignored: Vec<String>,
    /// Its size in bytes.
    pub bytes: u64,
    /// Its SHA-256, by which the host knows it.
    pub digest: String,
}

/// One import of a component.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Import {
    /// Its name with its version.
    pub name: String,
    /// The capabilities of which any opens it; none where it is always there.
    pub capabilities: Vec<String>,
}

/// The digest by which the host knows a component.
pub fn digest(component: &[u8]) -> Digest {
    Digest(Sha256::digest(component).into())
}

/// Puts manifest and component into one file.
///
/// # Errors
/// All that keeps the host from taking the two together.
pub fn pack(manifest: &str, component: &[u8], options: &Options) -> Result<Vec<u8>, Vec<String>> {
    check(manifest, component, options)?;
    if sections(component).map_err(|problem| vec![problem])? > 0 {
        return Err(vec!["the component is a packed plugin already; pack the one that was built".to_owned()]);
    }
    let mut packed = component.to_vec();
    packed.extend(section(manifest));
    Ok(packed)
}

/// Takes a packed file apart; `None` for a component without a manifest in it.
///
/// # Errors
/// It is no component, is larger than any may be, or the manifest in it is not as [`pack`] puts it there.
pub fn unpack(bytes: &[u8], options: &Options) -> Result<Option<Unpacked>, String> {
    let (limit, manifest_limit) = (options.component_mib_max, options.manifest_kib_max);
    if bytes.len() > mib(limit) + kib(manifest_limit) {
        return Err(format!("the file has {} bytes, the limit is {limit} MiB", bytes.len()));
    }
    let mut found = Vec::new();
    each_section(bytes, |data| found.push(data.to_vec()))?;
    let data = match found.len() {
        0 => return Ok(None),
        1 => found.remove(0),
        several => return Err(format!("the file holds {several} manifests; pack it anew")),
    };
    if data.len() > kib(manifest_limit) {
        return Err(format!("the manifest has {} bytes, the limit is {manifest_limit} KiB", data.len()));
    }
    let manifest = String::from_utf8(data).map_err(|_| "the manifest in the file is no UTF-8".to_owned())?;
    // Behind the component and nowhere else: what stands before it is what was built.
    match bytes.strip_suffix(&*section(&manifest)) {
        Some(component) => Ok(Some(Unpacked { manifest, component: component.to_vec() })),
        None => Err("the manifest does not stand at the file's end; pack it anew".to_owned()),
    }
}

/// Tells what a component is from outside.
///
/// # Errors
/// All that keeps the host from taking it.
pub fn describe(component: &[u8], options: &Options) -> Result<Description, Vec<String>> {
    let outside = component::inspect(component, options)?;
    let hooks = outside.hook_names().into_iter().map(str::to_owned).collect();
    let imports = outside.imports.into_iter().map(|name| {
        let capabilities = grants::service(&name).unwrap_or_default();
        Import { capabilities: capabilities.iter().map(|name| (*name).to_owned()).collect(), name }
    });
    Ok(Description {
        interface: manifest::INTERFACE.to_owned(),
        hooks,
        lifecycle: outside.lifecycle,
        imports: imports.collect(),
        ignored: outside.unknown,
        bytes: component.len() as u64,
        digest: digest(component).to_string(),
    })
}

/// Checks manifest and component together as far as that is possible from outside; returns warnings.
///
/// # Errors
/// All that keeps the host from taking the two together.
pub fn check(manifest: &str, component: &[u8], options: &Options) -> Result<Vec<String>, Vec<String>> {
    let id = manifest::id(manifest)?;
    let candidate = Candidate {
        id: &id,
        manifest,
        digest: digest(component),
        component,
        config: "{}",
        grants: &manifest::all_asked(manifest),
    };
    stage::check(&candidate, options, false)
        .map(|looked| looked.warnings)
        .map_err(|error| stage::problems(&error))
}

/// The section that holds this manifest.
fn section(manifest: &str) -> Vec<u8> {
    let mut content = leb(SECTION.len());
    content.extend(SECTION.as_bytes());
    content.extend(manifest.as_bytes());
    let mut section = vec![0];
    section.extend(leb(content.len()));
    section.extend(content);
    section
}

/// A number as WebAssembly writes lengths: seven bits a byte, the lowest first.
fn leb(mut number: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let low = (number & 0x7f) as u8;
        number >>= 7;
        if number == 0 {
            bytes.push(low);
            return bytes;
        }
        bytes.push(low | 0x80);
    }
}

fn sections(bytes: &[u8]) -> Result<usize, String> {
    let mut count = 0;
    each_section(bytes, |_| count += 1)?;
    Ok(count)
}

/// Shows each manifest in a component; those of components within it are not its own.
fn each_section(bytes: &[u8], mut see: impl FnMut(&[u8])) -> Result<(), String> {
    if !bytes.starts_with(b"\0asm") {
        return Err("not a component: the file does not begin as WebAssembly does".to_owned());
    }
    let mut depth = 0;
    for payload in Parser::new(0).parse_all(bytes) {
        match payload.map_err(|error| format!("not a component: {error}"))? {
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
            Payload::End(_) => depth -= 1,
            Payload::CustomSection(section) if depth == 0 && section.name() == SECTION => see(section.data()),
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const MANIFEST: &str = "id = \"echo\"\nversion = \"1\"\ninterface = \"0.1\"\nhooks = [\"moderation\"]\n";

    fn component() -> Vec<u8> {
        let text = r#"(component (instance $i) (export "godwit:plugin/moderation@0.1.0" (instance $i)))"#;
        wat::parse_str(text).unwrap()
    }

    #[test]
    fn what_was_packed_comes_out_as_it_went_in_and_equal_contents_make_equal_files() {
        let options = Options::default();
        let packed = pack(MANIFEST, &component(), &options).unwrap();
        assert_eq!(packed, pack(MANIFEST, &component(), &options).unwrap());
        let unpacked = unpack(&packed, &options).unwrap().unwrap();
        assert_eq!(unpacked, Unpacked { manifest: MANIFEST.to_owned(), component: component() });
        // It is still a component, to the host as well.
        assert_eq!(describe(&packed, &options).unwrap().hooks, ["moderation"]);
        assert_eq!(unpack(&component(), &options).unwrap(), None);
    }

    #[test]
    fn a_file_that_was_made_otherwise_is_refused() {
        let options = Options::default();
        let packed = pack(MANIFEST, &component(), &options).unwrap();
        let twice = [packed.clone(), section(MANIFEST)].concat();
        assert!(unpack(&twice, &options).unwrap_err().contains("2 manifests"));
        // Another section behind it.
        let inside = [packed.clone(), vec![0, 2, 1, b'x']].concat();
        assert!(unpack(&inside, &options).unwrap_err().contains("at the file's end"));
        let long = [component(), section(&"#".repeat(70_000))].concat();
        assert!(unpack(&long, &options).unwrap_err().contains("the limit is 64 KiB"));
        let binary = [component(), section("x")].concat();
        let binary = [&binary[..binary.len() - 1], b"\xff"].concat();
        assert!(unpack(&binary, &options).unwrap_err().contains("no UTF-8"));
        assert!(unpack(b"PK", &options).unwrap_err().contains("not a component"));
        assert!(pack(MANIFEST, &packed, &options).unwrap_err()[0].contains("packed plugin already"));
        for end in 0..packed.len() {
            // A file that was cut short is an error, or what stood before the manifest: never a panic.
            let _ = unpack(&packed[..end], &options);
        }
    }

    #[test]
    fn what_does_not_fit_together_is_not_packed() {
        let other = MANIFEST.replace("moderation", "normalise");
        let problems = pack(&other, &component(), &Options::default()).unwrap_err().join("\n");
        assert!(problems.contains("names the hook `normalise`"), "{problems}");
        let problems = pack("id = 7", &component(), &Options::default()).unwrap_err().join("\n");
        assert!(problems.contains("id"), "{problems}");
    }

    #[test]
    fn an_import_is_told_with_what_opens_it() {
        let text = r#"(component (import "godwit:plugin/chat@0.1.0" (instance)) (import "godwit:plugin/log@0.1.0" (instance))
            (instance $i) (export "godwit:plugin/bot@0.1.0" (instance $i)) (export "godwit:plugin/lifecycle@0.1.0" (instance $i)))"#;
        let described = describe(&wat::parse_str(text).unwrap(), &Options::default()).unwrap();
        assert_eq!(described.imports[0].capabilities, ["send", "history", "members"]);
        assert!(described.imports[1].capabilities.is_empty());
        assert_eq!((described.hooks, described.lifecycle), (vec!["bot".to_owned()], true));
    }
}
