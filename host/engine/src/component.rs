//! What a component says about itself on its outside, read without compiling it.
//!
//! It owns the list of what may be imported and what hooks are called; it refuses to judge types, which the linker
//! does later, and costs no more than one pass over the bytes.

use crate::options::{Options, mib};
use godwit_domain::filter::Hook;
use wasmparser::{Encoding, Parser, Payload};

/// The interface that makes an `init`.
const LIFECYCLE: &str = "godwit:plugin/lifecycle@0.1.0";
/// Exports that are hooks.
const HOOKS: [(&str, Hook); 4] = [
    ("godwit:plugin/normalise@0.1.0", Hook::Normalise),
    ("godwit:plugin/moderation@0.1.0", Hook::Moderation),
    ("godwit:plugin/fan-out@0.1.0", Hook::FanOut),
    ("godwit:plugin/delivery@0.1.0", Hook::Delivery),
];
/// Imports that are always linked, beside WASI.
const SERVICES: [&str; 3] =
    ["godwit:plugin/types@0.1.0", "godwit:plugin/log@0.1.0", "godwit:plugin/rate@0.1.0"];
/// Services of the interface that need a capability, which this host cannot grant yet.
const SERVICES_LATER: [(&str, &str); 6] = [
    ("godwit:plugin/kv@", "kv"),
    ("godwit:plugin/state@", "kv"),
    ("godwit:plugin/chat@", "send, history or members"),
    ("godwit:plugin/timer@", "timer"),
    ("godwit:plugin/http@", "http"),
    ("godwit:plugin/secret@", "secret"),
];
/// Packages of WASI that are linked, inert.
const WASI: [&str; 6] =
    ["wasi:cli/", "wasi:clocks/", "wasi:filesystem/", "wasi:io/", "wasi:random/", "wasi:sockets/"];

/// The outside of a component.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Outside {
    /// Hooks that it exports.
    pub(crate) hooks: Vec<Hook>,
    /// Whether it exports `lifecycle`.
    pub(crate) lifecycle: bool,
    /// Exports that the host does not know.
    pub(crate) unknown: Vec<String>,
}

/// Reads the outside of a component and checks imports and sizes.
pub(crate) fn inspect(bytes: &[u8], options: &Options) -> Result<Outside, Vec<String>> {
    if bytes.len() > mib(options.component_mib_max) {
        let limit = options.component_mib_max;
        return Err(vec![format!("the component has {} bytes, the limit is {limit} MiB", bytes.len())]);
    }
    if !bytes.starts_with(b"\0asm") {
        // The parser would show both beginnings byte by byte.
        let problem =
            "not a component: the file does not begin as WebAssembly does; build it for `wasm32-wasip2`";
        return Err(vec![problem.to_owned()]);
    }
    let read = read(bytes).map_err(|error| vec![format!("not a component: {error}")])?;
    let Some(read) = read else {
        return Err(vec![
            "a core module, not a component; build it for `wasm32-wasip2`, or wrap it with `wasm-tools component new`"
                .to_owned(),
        ]);
    };

    let mut problems: Vec<String> = read.imports.iter().filter_map(|name| refuse_import(name)).collect();
    if read.core_modules > options.core_modules_max {
        let limit = options.core_modules_max;
        problems.push(format!("the component has {} core modules, the limit is {limit}", read.core_modules));
    }
    let mut outside = Outside::default();
    for name in read.exports {
        match HOOKS.iter().find(|(export, _)| *export == name) {
            Some((_, hook)) => outside.hooks.push(*hook),
            None if name == LIFECYCLE => outside.lifecycle = true,
            None => outside.unknown.push(name),
        }
    }
    outside.hooks.sort();
    if outside.hooks.is_empty() {
        let known: Vec<_> = HOOKS.iter().map(|(export, _)| format!("`{export}`")).collect();
        problems.push(format!("the component exports no hook; this host calls {}", known.join(", ")));
    }
    match problems.is_empty() {
        true => Ok(outside),
        false => Err(problems),
    }
}

/// Why an import cannot be satisfied, and what would.
fn refuse_import(name: &str) -> Option<String> {
    if SERVICES.contains(&name) || WASI.iter().any(|package| name.starts_with(package)) {
        return None;
    }
    if let Some((_, capability)) = SERVICES_LATER.iter().find(|(service, _)| name.starts_with(service)) {
        return Some(format!(
            "import `{name}` needs the capability {capability}, which this host does not serve yet"
        ));
    }
    let why = if name.starts_with("wasi:http/") {
        "is never linked; requests go through the capability `http`, which this host does not serve yet"
            .to_owned()
    } else if name.starts_with("godwit:plugin/") {
        format!(
            "is not of this host's interface, which has {}",
            SERVICES.map(|name| format!("`{name}`")).join(", ")
        )
    } else {
        format!(
            "is not known; a plugin may import {} and WASI 0.2 without `wasi:http`",
            SERVICES.map(|name| format!("`{name}`")).join(", ")
        )
    };
    Some(format!("import `{name}` {why}"))
}

#[derive(Default)]
struct Read {
    imports: Vec<String>,
    exports: Vec<String>,
    core_modules: u32,
}

/// One pass over the bytes; `None` for a core module.
fn read(bytes: &[u8]) -> Result<Option<Read>, wasmparser::BinaryReaderError> {
    let mut read = Read::default();
    // Components nest; only the names of the outermost are its outside.
    let mut depth = 0;
    for payload in Parser::new(0).parse_all(bytes) {
        match payload? {
            Payload::Version { encoding: Encoding::Module, .. } if depth == 0 => return Ok(None),
            Payload::ModuleSection { .. } => {
                read.core_modules = read.core_modules.saturating_add(1);
                depth += 1;
            }
            Payload::ComponentSection { .. } => depth += 1,
            Payload::End(_) => depth -= 1,
            Payload::ComponentImportSection(section) if depth == 0 => {
                for import in section {
                    read.imports.push(import?.name.name.to_owned());
                }
            }
            Payload::ComponentExportSection(section) if depth == 0 => {
                for export in section {
                    read.exports.push(export?.name.name.to_owned());
                }
            }
            _ => {}
        }
    }
    Ok(Some(read))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(wat: &str) -> Result<Outside, String> {
        inspect(&wat::parse_str(wat).unwrap(), &Options::default()).map_err(|problems| problems.join("\n"))
    }

    const MODERATION: &str = r#"(instance $i) (export "godwit:plugin/moderation@0.1.0" (instance $i))"#;

    #[test]
    fn hooks_are_known_by_exact_name_and_version_and_others_are_told() {
        let outside = check(&format!(
            r#"(component {MODERATION}
                (export "godwit:plugin/lifecycle@0.1.0" (instance $i))
                (export "godwit:plugin/normalise@0.2.0" (instance $i))
                (export "exports" (instance $i)))"#
        ))
        .unwrap();
        let unknown = vec!["godwit:plugin/normalise@0.2.0".to_owned(), "exports".to_owned()];
        assert_eq!(outside, Outside { hooks: vec![Hook::Moderation], lifecycle: true, unknown });
    }

    #[test]
    fn a_component_without_a_hook_is_refused() {
        assert!(check("(component)").unwrap_err().contains("exports no hook"));
    }

    #[test]
    fn an_import_is_refused_by_name_with_what_would_satisfy_it() {
        for (import, expected) in [
            ("godwit:plugin/kv@0.1.0", "needs the capability kv"),
            ("godwit:plugin/log@0.2.0", "is not of this host's interface"),
            ("wasi:http/outgoing-handler@0.2.0", "is never linked"),
            ("acme:files/open@1.0.0", "is not known"),
        ] {
            let found =
                check(&format!(r#"(component (import "{import}" (instance)) {MODERATION})"#)).unwrap_err();
            assert!(found.contains(import) && found.contains(expected), "{found}");
        }
    }

    #[test]
    fn what_is_no_component_is_told_apart() {
        assert!(check("(module)").unwrap_err().contains("a core module"));
        for garbage in [&b""[..], b"garbage", b"\0asm", b"\0asm\x0d\0\x01\0\xff\xff\xff"] {
            let found = inspect(garbage, &Options::default()).unwrap_err().join("\n");
            assert!(found.contains("not a component"), "{garbage:?}: {found}");
        }
    }

    #[test]
    fn sizes_are_limited() {
        let options = Options { core_modules_max: 1, component_mib_max: 0, ..Options::default() };
        assert!(inspect(b"\0", &options).unwrap_err()[0].contains("the limit is 0 MiB"));
        let options = Options { core_modules_max: 1, ..Options::default() };
        let component =
            wat::parse_str(format!("(component (core module) (core module) {MODERATION})")).unwrap();
        assert!(inspect(&component, &options).unwrap_err()[0].contains("2 core modules, the limit is 1"));
    }
}
