//! Guests written by hand, for what no compiler would make of a program: each export is a few lines of WebAssembly.
//!
//! It owns the frame around those lines (memory, allocation, the hook's export) and makes a component of it; what the
//! lines do is the table's. Start with [`Guest`].

use std::{path::Path, sync::LazyLock};
use wit_component::{ComponentEncoder, StringEncoding};
use wit_parser::Resolve;

/// Where the frame keeps an answer that leaves everything as it is: zeros.
pub const NOTHING: &str = "(i32.const 16)";
/// Ends never.
pub const SPIN: &str = "(loop $on (br $on))";

/// Just as much of WASI as the guests import.
const WASI: [&str; 5] = [
    "package wasi:io@0.2.12;
     interface poll {
         resource pollable { ready: func() -> bool; block: func(); }
         poll: func(in: list<borrow<pollable>>) -> list<u32>;
     }",
    "package wasi:clocks@0.2.12;
     interface monotonic-clock {
         use wasi:io/poll@0.2.12.{pollable};
         subscribe-duration: func(when: u64) -> pollable;
     }",
    "package wasi:random@0.2.12;
     interface random { get-random-bytes: func(len: u64) -> list<u8>; }",
    "package wasi:filesystem@0.2.12;
     interface types { resource descriptor {} }
     interface preopens {
         use types.{descriptor};
         get-directories: func() -> list<tuple<descriptor, string>>;
     }",
    "package wasi:cli@0.2.12;
     interface environment {
         get-environment: func() -> list<tuple<string, string>>;
         get-arguments: func() -> list<string>;
     }
     interface exit { exit: func(status: result); }",
];

/// The interface's own text, with a world for each hook that may import everything.
static WORLDS: LazyLock<Resolve> = LazyLock::new(|| {
    let mut resolve = Resolve::default();
    let interface = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../wit/0.1");
    resolve.push_dir(interface).unwrap();
    for package in WASI {
        resolve.push_str("wasi.wit", package).unwrap();
    }
    let world = |hook: &str| {
        format!(
            "world {hook} {{
                 include godwit:plugin/services@0.1.0;
                 import wasi:io/poll@0.2.12;
                 import wasi:clocks/monotonic-clock@0.2.12;
                 import wasi:random/random@0.2.12;
                 import wasi:filesystem/preopens@0.2.12;
                 import wasi:cli/environment@0.2.12;
                 import wasi:cli/exit@0.2.12;
                 export godwit:plugin/{hook}@0.1.0;
             }}"
        )
    };
    let worlds: String = HOOKS.iter().map(|(hook, _)| world(hook)).collect();
    resolve.push_str("hostile.wit", &format!("package hostile:guest;\n{worlds}")).unwrap();
    resolve
});

/// Hooks, and the function of each. All of them take and return a place in memory.
const HOOKS: [(&str, &str); 4] =
    [("moderation", "review"), ("normalise", "normalise"), ("fan-out", "choose"), ("delivery", "decide")];

/// A guest that serves one hook. What is left out behaves.
#[derive(Clone)]
pub struct Guest {
    hook: &'static str,
    body: String,
    realloc: String,
    post: String,
    fields: String,
    imports: String,
    pages: u32,
}

impl Guest {
    /// A guest that behaves.
    pub fn new(hook: &'static str) -> Self {
        let [realloc, post, fields, imports] = <[String; 4]>::default();
        Self { hook, body: NOTHING.to_owned(), realloc, post, fields, imports, pages: 2 }
    }

    /// What the hook's function does; it leaves the place of its answer on the stack.
    pub fn body(mut self, body: impl Into<String>) -> Self {
        self.body = body.into();
        self
    }

    /// What allocation of `$size` bytes does; it leaves a place on the stack.
    pub fn realloc(mut self, realloc: impl Into<String>) -> Self {
        self.realloc = realloc.into();
        self
    }

    /// What is done once the host has read the answer.
    pub fn post(mut self, post: impl Into<String>) -> Self {
        self.post = post.into();
        self
    }

    /// More fields of the module.
    pub fn field(mut self, field: impl AsRef<str>) -> Self {
        self.fields += field.as_ref();
        self
    }

    /// Imports a function of that type as `$name`.
    pub fn import(mut self, interface: &str, function: &str, signature: &str) -> Self {
        let name = function.rsplit(['.', ']']).next().unwrap_or(function);
        self.imports += &format!("(import \"{interface}\" \"{function}\" (func ${name} {signature}))\n");
        self
    }

    /// Pages of memory at the start.
    pub fn pages(mut self, pages: u32) -> Self {
        self.pages = pages;
        self
    }

    /// Answers with these words of memory.
    pub fn answer(self, words: &[u32]) -> Self {
        let bytes: String =
            words.iter().flat_map(|word| word.to_le_bytes()).map(|byte| format!("\\{byte:02x}")).collect();
        self.field(format!("(data (i32.const 64) \"{bytes}\")")).body("(i32.const 64)")
    }

    /// Its component.
    pub fn component(&self) -> Vec<u8> {
        let Self { hook, body, realloc, post, fields, imports, pages } = self;
        let (_, function) = HOOKS.iter().find(|(name, _)| name == hook).unwrap();
        let realloc = match &**realloc {
            "" => {
                "(local.set $at (i32.and (i32.add (global.get $next) (i32.const 15)) (i32.const -16)))
                 (global.set $next (i32.add (local.get $at) (local.get $size)))
                 (local.get $at)"
            }
            own => own,
        };
        let text = format!(
            r#"(module
                {imports}
                (memory (export "memory") {pages})
                ;; How often it was called.
                (global $calls (mut i32) (i32.const 0))
                (global $next (mut i32) (i32.const 4096))
                (func $realloc (export "cabi_realloc")
                    (param $old i32) (param $old_size i32) (param $align i32) (param $size i32) (result i32)
                    (local $at i32)
                    {realloc})
                (func (export "godwit:plugin/{hook}@0.1.0#{function}") (param $told i32) (result i32)
                    (local $n i32)
                    (global.set $calls (i32.add (global.get $calls) (i32.const 1)))
                    {body})
                (func (export "cabi_post_godwit:plugin/{hook}@0.1.0#{function}") (param i32)
                    (global.set $next (i32.const 4096))
                    {post})
                {fields})"#
        );
        let mut module = wat::parse_str(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
        let package =
            WORLDS.packages.iter().find(|(_, package)| package.name.namespace == "hostile").unwrap().0;
        let world = WORLDS.select_world(&[package], Some(hook)).unwrap();
        wit_component::embed_component_metadata(&mut module, &WORLDS, world, StringEncoding::UTF8).unwrap();
        let mut encoder = ComponentEncoder::default().module(&module).unwrap().validate(true);
        encoder.encode().unwrap_or_else(|error| panic!("{error:?}\n{text}"))
    }

    /// Its manifest.
    pub fn manifest(&self, id: &str) -> String {
        let Self { hook, .. } = self;
        format!("id = {id:?}\nversion = \"1\"\ninterface = \"0.1\"\nhooks = [{hook:?}]\n")
    }
}
