//! What never serves: components that are none, take too much, ask too much or break before their first message.

use super::{
    Case, ID, Outcome, Plugin,
    guest::{Guest, SPIN},
};
use crate::{
    bed::{fixture, manifest},
    desk::{self, ALL},
};
use godwit_domain::plugin::{Component, Install};

/// The moderation hook as an empty instance: enough for whatever is looked at before types are.
const HOOK: &str = r#"(instance $hook) (export "godwit:plugin/moderation@0.1.0" (instance $hook))"#;

fn bytes(component: Vec<u8>) -> Install {
    let manifest = manifest(ID, "1").replace("\"normalise\", ", "");
    Install { component: Component::Bytes(component), manifest, ..fixture(ID, "1", "{}") }
}

/// A component of these items that exports the hook.
fn items(items: &str) -> Install {
    bytes(wat::parse_str(format!("(component {items} {HOOK})")).unwrap())
}

fn moderation() -> Guest {
    Guest::new("moderation")
}

/// A component with the hook, and so many others in one another. The text format ends at a hundred.
fn nested(depth: usize) -> Vec<u8> {
    let whole = wat::parse_str(format!("(component {HOOK})")).unwrap();
    let (preamble, sections) = whole.split_at(8);
    let mut inner = preamble.to_vec();
    for level in 1..=depth {
        let mut outer = preamble.to_vec();
        if level == depth {
            outer.extend_from_slice(sections);
        }
        // A section of one component, whose size is written in LEB128.
        outer.push(4);
        let mut size = inner.len();
        while size > 0x7f {
            outer.push(0x80 | (size & 0x7f) as u8);
            size >>= 7;
        }
        outer.push(size as u8);
        outer.append(&mut inner);
        inner = outer;
    }
    inner
}

pub(super) fn cases() -> Vec<Case> {
    [starts(), inits(), sizes(), types(), grants(), texts()].into_iter().flatten().collect()
}

fn starts() -> Vec<Case> {
    let start = |name, does, body: &str, says| {
        let field = format!("(func $start (local $n i32) {body}) (start $start)");
        let guest = moderation().field(field).field("(table $t 1 funcref)");
        Case::guest(name, does, guest, &[Outcome::Install], says)
    };
    vec![
        start("start-loops", "never ends its start function", SPIN, "200 ms of CPU time"),
        start("start-traps", "traps in its start function", "unreachable", "unreachable"),
        start(
            "start-grows",
            "asks for 4 GiB in its start function",
            "(drop (memory.grow (i32.const 65500)))",
            "memory limit",
        ),
        start(
            "start-recurses",
            "calls its start function from itself without end",
            "(call $start) (call $start)",
            "call stack exhausted",
        ),
        start(
            "start-grows-a-table",
            "asks for a table of a million elements in its start function",
            "(drop (table.grow $t (ref.null func) (i32.const 1000000)))",
            "table limit",
        ),
        Case::guest(
            "data-beyond",
            "has data beyond its memory",
            moderation().field("(data (i32.const 131070) \"beyond\")"),
            &[Outcome::Install],
            "out of bounds memory access",
        ),
    ]
}

fn inits() -> Vec<Case> {
    let init = |name, does, config, says| Case {
        name,
        does,
        plugin: Plugin::Filter(config),
        calls: &[Outcome::Install],
        says,
    };
    vec![
        init(
            "init-loops",
            "never ends `init`",
            r#"{"init": {"mode": "loop"}}"#,
            "200 ms of CPU time in `init`",
        ),
        init("init-traps", "traps in `init`", r#"{"init": {"mode": "trap"}}"#, "traps in init as configured"),
        init(
            "init-grows",
            "allocates without end in `init`",
            r#"{"init": {"mode": "grow"}}"#,
            "memory limit",
        ),
        init(
            "init-refuses",
            "answers `err` to `init`",
            r#"{"init": {"mode": "err", "text": "no"}}"#,
            "refused the configuration",
        ),
        Case::refused(
            "actor-init-grows",
            "is an actor that takes 100 MB in `init`",
            move || desk::actor(r#"{"memory_bytes": 100000000}"#, &ALL, &[]),
            "memory limit",
        ),
        Case::refused(
            "commands-trap",
            "traps when it is asked for its commands",
            move || desk::actor(r#"{"trap_in_commands": true}"#, &ALL, &[]),
            "the fixture traps in commands as configured",
        ),
        Case::refused(
            "too-many-commands",
            "has a thousand commands",
            move || desk::actor(&commands((0..1_000).map(|n| format!("c{n}"))), &ALL, &[]),
            "commands",
        ),
        Case::refused(
            "command-of-an-odd-name",
            "has a command whose name is a path",
            move || desk::actor(&commands(["../admin".to_owned()]), &ALL, &[]),
            "../admin",
        ),
        Case::refused(
            "tests-fail",
            "does not do what its manifest's test says",
            move || Install {
                manifest: manifest(ID, "1")
                    + "[[test]]\nhook = \"moderation\"\ninput = { body = \"x\" }\nexpect = { allow = true }\n",
                ..fixture(ID, "1", r#"{"moderation": {"mode": "loop"}}"#)
            },
            "test 1 failed",
        ),
    ]
}

fn commands(names: impl IntoIterator<Item = String>) -> String {
    let names: Vec<_> = names.into_iter().collect();
    serde_json::json!({ "commands": names }).to_string()
}

fn sizes() -> Vec<Case> {
    let guest = |name, does, guest, says| Case::guest(name, does, guest, &[Outcome::Install], says);
    let times = |count: usize, item: &str| item.repeat(count);
    let numbered = |count: usize, item: fn(usize) -> String| (0..count).map(item).collect::<String>();
    let step =
        "(local.set 0 (i64.mul (i64.add (local.get 0) (local.get 1)) (i64.rotl (local.get 1) (local.get 0))))
                (if (i64.eqz (local.get 0)) (then (local.set 1 (i64.xor (local.get 0) (local.get 1)))))";
    vec![
        guest("memory-of-a-gib", "begins with a GiB of memory", moderation().pages(16_384), "memory"),
        Case::refused(
            "memory-of-64-bits",
            "has a memory of 64 bits",
            move || items("(core module (memory i64 1))"),
            "memory64",
        ),
        Case::refused(
            "nine-memories",
            "has nine memories",
            move || {
                items(&format!(
                    "(core module $m {}) (core instance (instantiate $m))",
                    times(9, "(memory 1)")
                ))
            },
            "memories",
        ),
        Case::refused(
            "memories-in-all",
            "makes eight instances of a module with 8 MiB of memory",
            move || {
                items(&format!(
                    "(core module $m (memory 128)) {}",
                    times(8, "(core instance (instantiate $m))")
                ))
            },
            "memory limit",
        ),
        guest(
            "forty-tables",
            "has forty tables",
            moderation().field(times(40, "(table 1 funcref)")),
            "tables",
        ),
        guest(
            "table-of-a-million",
            "begins with a table of a million elements",
            moderation().field("(table 1000000 funcref)"),
            "table",
        ),
        Case::refused(
            "too-many-modules",
            "holds 65 core modules",
            move || items(&times(65, "(core module)")),
            "65 core modules, the limit is 64",
        ),
        Case::refused(
            "too-many-instances",
            "makes 200 instances of a module",
            move || items(&format!("(core module $m) {}", times(200, "(core instance (instantiate $m))"))),
            "instances",
        ),
        Case::refused(
            "instances-of-memories",
            "makes twenty instances of a module with a memory",
            move || {
                items(&format!(
                    "(core module $m (memory 1)) {}",
                    times(20, "(core instance (instantiate $m))")
                ))
            },
            "memories",
        ),
        Case::refused(
            "type-bomb",
            "has a type that doubles forty times",
            move || {
                items(&format!(
                    "(type $t0 (tuple u8 u8)) {}",
                    numbered(40, |n| format!("(type $t{} (tuple $t{n} $t{n}))", n + 1))
                ))
            },
            "size",
        ),
        Case::refused("nested-deep", "nests two thousand components", move || bytes(nested(2_000)), ""),
        Case::refused(
            "compile-bomb",
            "has a function that takes the compiler minutes",
            move || items(&format!("(core module (func (param i64 i64) {}))", step.repeat(60_000))),
            "compile limit",
        ),
        Case::refused(
            "too-many-locals",
            "has a function of 60,000 variables",
            move || items(&format!("(core module (func (local {})))", times(60_000, "i64 "))),
            "locals",
        ),
        Case::refused(
            "component-of-65-mib",
            "is larger than a component may be",
            move || {
                let mut long = wat::parse_str(format!("(component {HOOK})")).unwrap();
                // A custom section of 65 MiB, whose size is written in LEB128.
                long.extend([0, 0x80, 0x80, 0xc0, 0x20]);
                long.resize(long.len() + (65 << 20), 0);
                bytes(long)
            },
            "the limit is 64 MiB",
        ),
    ]
}

fn types() -> Vec<Case> {
    let by_hand = |name, does, wat: &str, says| {
        let wat = wat.to_owned();
        Case::refused(name, does, move || bytes(wat::parse_str(&wat).unwrap()), says)
    };
    let lifted = |signature: &str, core: &str| {
        format!(
            r#"(component
                (core module $m {core})
                (core instance $i (instantiate $m))
                (func $review {signature} (canon lift (core func $i "review")))
                (instance $hook (export "review" (func $review)))
                (export "godwit:plugin/moderation@0.1.0" (instance $hook)))"#
        )
    };
    vec![
        Case::refused("empty", "is an empty file", move || bytes(Vec::new()), "not a component"),
        Case::refused(
            "garbage",
            "is no WebAssembly",
            move || bytes(b"\x7fELF and so on".to_vec()),
            "not a component",
        ),
        Case::refused(
            "magic-alone",
            "begins as WebAssembly does and goes on as it likes",
            move || bytes(b"\0asm\x0d\0\x01\0\x07\xff\xff\xff\xff".to_vec()),
            "not a component",
        ),
        by_hand("core-module", "is a core module", "(module)", "a core module"),
        by_hand("no-hook", "exports no hook", "(component)", "exports no hook"),
        by_hand(
            "hook-without-function",
            "exports the hook's interface without its function",
            &format!("(component {HOOK})"),
            "review",
        ),
        by_hand(
            "hook-of-another-type",
            "exports the hook's function with another type",
            &lifted("(result u32)", r#"(func (export "review") (result i32) (i32.const 0))"#),
            "has other types",
        ),
        by_hand(
            "hook-of-more-arguments",
            "exports the hook's function with other arguments",
            &lifted("(param \"a\" u32) (param \"b\" u32)", r#"(func (export "review") (param i32 i32))"#),
            "has other types",
        ),
        by_hand(
            "hook-that-is-a-function",
            "exports a function under the name of the hook's interface",
            r#"(component
                (core module $m (func (export "review")))
                (core instance $i (instantiate $m))
                (func $review (canon lift (core func $i "review")))
                (export "godwit:plugin/moderation@0.1.0" (func $review)))"#,
            "",
        ),
        Case::refused(
            "import-of-another-type",
            "imports a service of the host with another type",
            move || {
                items(
                    r#"(import "godwit:plugin/log@0.1.0" (instance (export "log" (func (param "message" string)))))"#,
                )
            },
            "other types",
        ),
        Case::refused(
            "import-of-another-function",
            "imports a function that the service does not have",
            move || items(r#"(import "godwit:plugin/log@0.1.0" (instance (export "log-all" (func))))"#),
            "log-all",
        ),
        Case::refused(
            "unnamed-hook",
            "exports a hook that its manifest does not name",
            move || Install {
                manifest: manifest(ID, "1").replace("\"normalise\", ", ""),
                ..fixture(ID, "1", "{}")
            },
            "which the manifest does not name",
        ),
    ]
}

fn grants() -> Vec<Case> {
    let import = |name, does, interface: &'static str, says| {
        Case::refused(name, does, move || items(&format!(r#"(import "{interface}" (instance))"#)), says)
    };
    vec![
        import("imports-http", "imports `wasi:http`", "wasi:http/outgoing-handler@0.2.0", "is never linked"),
        import("imports-the-unknown", "imports what nobody serves", "acme:files/open@1.0.0", "is not known"),
        import(
            "imports-the-future",
            "imports a service of a later version",
            "godwit:plugin/kv@0.2.0",
            "is not of this host's interface",
        ),
        import(
            "does-not-ask",
            "imports `kv` and does not ask for it",
            "godwit:plugin/kv@0.1.0",
            "needs the capability `kv`",
        ),
        Case::refused(
            "is-not-granted",
            "asks for all and is granted `kv` alone",
            move || desk::actor("{}", &["kv"], &[]),
            "`send`",
        ),
        Case::refused(
            "is-granted-what-it-did-not-ask",
            "is granted what there is not",
            move || desk::actor("{}", &["kv", "root"], &[]),
            "root",
        ),
    ]
}

fn texts() -> Vec<Case> {
    let manifest_with = |text: &str| Install { manifest: manifest(ID, "1") + text, ..fixture(ID, "1", "{}") };
    vec![
        Case::refused(
            "long-manifest",
            "has a manifest of 100 KiB",
            move || manifest_with(&"# x\n".repeat(25_600)),
            "64 KiB",
        ),
        Case::refused(
            "odd-manifest",
            "has a manifest with a key that nobody reads",
            move || manifest_with("root = true\n"),
            "root",
        ),
        Case::refused(
            "id-of-a-path",
            "calls itself by a path",
            move || Install {
                id: "../up".into(),
                manifest: manifest("../up", "1"),
                ..fixture(ID, "1", "{}")
            },
            "../up",
        ),
        Case::refused(
            "another-id",
            "calls itself otherwise than it is installed",
            move || Install { manifest: manifest("neighbour", "1"), ..fixture(ID, "1", "{}") },
            "neighbour",
        ),
        Case::refused(
            "remote-schema",
            "has a schema that refers to another server",
            move || manifest_with("[config.schema]\n\"$ref\" = \"http://169.254.169.254/schema\"\n"),
            "ref",
        ),
        Case::refused(
            "long-configuration",
            "is configured with 2 MiB",
            move || fixture(ID, "1", &format!("\"{}\"", "x".repeat(2 << 20))),
            "1024 KiB",
        ),
        Case::refused(
            "deep-configuration",
            "is configured with 10,000 lists in one another",
            move || fixture(ID, "1", &format!("{}{}", "[".repeat(10_000), "]".repeat(10_000))),
            "",
        ),
    ]
}
