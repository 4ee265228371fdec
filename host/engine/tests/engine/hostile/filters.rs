//! Filters that are installed and then misbehave when they are asked.

use super::{
    Case,
    Outcome::{self, Deadline, Decision, Refusal, Trap},
    Plugin,
    guest::{Guest, NOTHING, SPIN},
};

const LOG: &str = "godwit:plugin/log@0.1.0";
const LOGS: &str = "(param i32 i32 i32)";
/// Each time; the host has served in between.
const TRAPS: &[Outcome] = &[Trap, Trap, Trap];
const CUT: &[Outcome] = &[Deadline, Deadline, Deadline];

fn moderation() -> Guest {
    Guest::new("moderation")
}

pub(super) fn cases() -> Vec<Case> {
    [loops(), traps(), answers(), audiences(), memory(), floods(), world()].into_iter().flatten().collect()
}

fn loops() -> Vec<Case> {
    let many = |what: &str| format!("(loop $on {what} (br $on)) {NOTHING}");
    let grown = moderation().pages(200);
    vec![
        Case::guest(
            "hook-loops",
            "never ends its hook",
            moderation().body(format!("{SPIN} {NOTHING}")),
            CUT,
            "60 ms of CPU time",
        ),
        Case::guest(
            "realloc-loops",
            "never ends the allocation of its arguments",
            moderation().realloc(format!("{SPIN} (i32.const 0)")),
            CUT,
            "60 ms of CPU time",
        ),
        Case::guest(
            "post-return-loops",
            "never ends after its answer was read",
            moderation().post(SPIN),
            CUT,
            "60 ms of CPU time",
        ),
        Case::guest(
            "fill-loop",
            "fills 12 MiB of memory again and again, without a step in between",
            grown.clone().body(many("(memory.fill (i32.const 65536) (local.get $n) (i32.const 12582912))")),
            CUT,
            "",
        ),
        Case::guest(
            "copy-loop",
            "copies 6 MiB of memory again and again",
            grown
                .clone()
                .body(many("(memory.copy (i32.const 65536) (i32.const 6357056) (i32.const 6291456))")),
            CUT,
            "",
        ),
        Case::guest(
            "table-fill-loop",
            "fills a table of 20,000 elements again and again",
            moderation()
                .field("(table $t 20000 funcref)")
                .body(many("(table.fill $t (i32.const 0) (ref.null func) (i32.const 20000))")),
            CUT,
            "",
        ),
        Case {
            name: "normalise-loops",
            does: "never ends `normalise`; moderation still judges",
            plugin: Plugin::Filter(r#"{"normalise": {"mode": "loop"}}"#),
            calls: CUT,
            says: "deadline of `normalise`",
        },
    ]
}

fn traps() -> Vec<Case> {
    let body = |name, does, body: &str, says| Case::guest(name, does, moderation().body(body), TRAPS, says);
    let nth = "(if (i32.eqz (i32.rem_u (global.get $calls) (i32.const 3))) (then unreachable))";
    let after = "(if (i32.gt_u (global.get $calls) (i32.const 3)) (then unreachable))";
    vec![
        body("traps-always", "traps in each call", "unreachable", "unreachable"),
        Case::guest(
            "traps-one-in-three",
            "traps in each third call of an instance",
            moderation().body(format!("{nth} {NOTHING}")),
            &[Decision, Decision, Trap, Decision, Decision, Trap],
            "unreachable",
        ),
        Case::guest(
            "traps-after-three",
            "traps once an instance has served three calls",
            moderation().body(format!("{after} {NOTHING}")),
            &[Decision, Decision, Decision, Trap, Decision, Decision, Decision, Trap],
            "unreachable",
        ),
        body("divides-by-zero", "divides by zero", "(i32.div_u (i32.const 1) (local.get $n))", "divide by zero"),
        body(
            "reads-beyond",
            "reads beyond its memory",
            "(i32.load (i32.const -8))",
            "out of bounds memory access",
        ),
        body(
            "writes-beyond",
            "writes beyond its memory",
            "(i64.store (i32.const -4) (i64.const -1)) (i32.const 16)",
            "out of bounds memory access",
        ),
        Case::guest(
            "calls-nothing",
            "calls an element of a table that is empty",
            moderation()
                .field("(table $t 2 funcref) (type $f (func (result i32)))")
                .body("(call_indirect $t (type $f) (i32.const 1))"),
            TRAPS,
            "uninitialized element",
        ),
        Case::guest(
            "calls-another-type",
            "calls an element of a table as if it had another type",
            moderation()
                .field("(table $t funcref (elem $realloc)) (type $f (func (result i32)))")
                .body("(call_indirect $t (type $f) (i32.const 0))"),
            TRAPS,
            "indirect call type mismatch",
        ),
        Case::guest(
            "recurses",
            "calls itself without end",
            moderation()
                .field("(func $deep (param i32) (result i32) (i32.add (call $deep (local.get 0)) (i32.const 1)))")
                .body("(call $deep (i32.const 1))"),
            TRAPS,
            "call stack exhausted",
        ),
        Case::guest(
            "realloc-traps",
            "traps in the allocation of its arguments",
            moderation().realloc("unreachable"),
            TRAPS,
            "unreachable",
        ),
        Case::guest(
            "realloc-beyond",
            "allocates its arguments beyond its memory",
            moderation().realloc("(i32.const -65536)"),
            TRAPS,
            "realloc return: beyond end of memory",
        ),
        Case::guest(
            "realloc-unaligned",
            "allocates its arguments at an odd place",
            moderation().realloc("(i32.const 4097)"),
            TRAPS,
            "realloc return: result not aligned",
        ),
        Case::guest(
            "realloc-calls-out",
            "calls the host while the host writes its arguments",
            moderation()
                .import(LOG, "log", LOGS)
                .realloc("(call $log (i32.const 2) (i32.const 0) (i32.const 4)) (i32.const 4096)"),
            TRAPS,
            "cannot leave component instance",
        ),
        Case::guest("post-return-traps", "traps after its answer was read", moderation().post("unreachable"), TRAPS, "unreachable"),
        Case::guest(
            "post-return-calls-out",
            "calls the host after its answer was read",
            moderation()
                .import(LOG, "log", LOGS)
                .post("(call $log (i32.const 2) (i32.const 0) (i32.const 4))"),
            TRAPS,
            "cannot leave component instance",
        ),
    ]
}

/// Answers that are none.
fn answers() -> Vec<Case> {
    const MESSAGE: &str = r#"(data (i32.const 256) "code") (data (i32.const 272) "\c3\28\ed\a0\80 and NO")"#;
    let verdict = |name, does, words: &[u32], says| {
        Case::guest(name, does, moderation().field(MESSAGE).answer(words), TRAPS, says)
    };
    let rewrite = |name, does, words: &[u32], says| {
        Case::guest(name, does, Guest::new("normalise").pages(300).answer(words), TRAPS, says)
    };
    let body = |name, does, body: &str, says| Case::guest(name, does, moderation().body(body), TRAPS, says);
    vec![
        body("answers-beyond", "answers with a place beyond its memory", "(i32.const -64)", "out of bounds"),
        body("answers-unaligned", "answers with an odd place", "(i32.const 17)", "not aligned"),
        verdict("unknown-verdict", "answers a verdict that there is not", &[7], "discriminant"),
        verdict(
            "text-beyond",
            "answers a text beyond its memory",
            &[1, 256, 4, u32::MAX - 3, 8],
            "out of bounds",
        ),
        verdict("text-of-4-gib", "answers a text of 4 GiB", &[1, 256, 4, 272, u32::MAX], "out of bounds"),
        verdict("invalid-utf8", "answers a text that is not UTF-8", &[1, 256, 4, 272, 2], "utf-8"),
        verdict("surrogates", "answers a text with half of a surrogate pair", &[1, 256, 4, 274, 3], "utf-8"),
        verdict("cut-utf8", "answers a text that ends within a character", &[1, 256, 4, 272, 1], "utf-8"),
        verdict("code-of-capitals", "answers a code that is none", &[1, 282, 2, 256, 4], "reason code"),
        verdict("empty-code", "answers without a code", &[1, 256, 0, 256, 4], "reason code"),
        verdict(
            "text-of-60-kib",
            "answers a text of 60 KiB",
            &[2, 256, 4, 1 << 16, 60 << 10],
            "reason text has",
        ),
        verdict("text-of-100-kib", "answers a text of 100 KiB", &[2, 256, 4, 1_024, 100 << 10], "fuel"),
        rewrite("body-of-16-mib", "rewrites a message to 16 MiB", &[0, 1, 1_024, 16 << 20, 0, 0], "fuel"),
        rewrite(
            "body-of-60-kib",
            "rewrites a message to 60 KiB",
            &[0, 1, 1 << 16, 60 << 10, 0, 0],
            "limit is 16384",
        ),
        rewrite(
            "a-million-mentions",
            "mentions a million users",
            &[0, 1, 1_024, 1, 1_024, 1_000_000],
            "fuel",
        ),
        rewrite(
            "mentions-a-thousand",
            "mentions a thousand users",
            &[0, 1, 1_024, 1, 1_024, 1_000],
            "limit is 100",
        ),
        rewrite(
            "mentions-wrap",
            "mentions so many users that their size wraps round",
            &[0, 1, 1_024, 1, 1_024, 0x1000_0001],
            "out of bounds",
        ),
        rewrite(
            "mentions-unaligned",
            "mentions users at an odd place",
            &[0, 1, 1_024, 1, 1_025, 1],
            "not aligned",
        ),
    ]
}

/// Answers about people.
fn audiences() -> Vec<Case> {
    let choose = |name, does, words: &[u32], says| {
        // Four different ids.
        let ids: String = (1..=4).map(|n| format!("\\0{n}{}", "\\00".repeat(15))).collect();
        let guest = Guest::new("fan-out").pages(300).field(format!("(data (i32.const 1024) \"{ids}\")"));
        Case::guest(name, does, guest.answer(words), TRAPS, says)
    };
    let decide = |name, does, calls, words: &[u32], says| {
        Case::guest(name, does, Guest::new("delivery").pages(300).answer(words), calls, says)
    };
    vec![
        choose("audience-of-a-million", "names a million people", &[1, 3, 1_024, 1_000_000, 0], "fuel"),
        choose("audience-too-many", "names more people than are in", &[1, 3, 1_024, 4, 0], "3 members"),
        choose(
            "notifies-too-many",
            "notifies more people than are in",
            &[1, 0, 0, 0, 2, 1_024, 4],
            "3 members",
        ),
        choose("audience-unknown", "names an audience that there is not", &[1, 9, 0, 0, 0], "discriminant"),
        decide(
            "too-few-answers",
            "answers for fewer recipients than it was asked about",
            TRAPS,
            &[1_024, 2],
            "3 recipients",
        ),
        decide(
            "too-many-answers",
            "answers for more recipients than it was asked about",
            TRAPS,
            &[1_024, 4],
            "3 recipients",
        ),
        decide("a-million-answers", "answers for a million recipients", TRAPS, &[1_024, 1_000_000], "fuel"),
        decide(
            "answers-wrap",
            "answers for so many recipients that their size wraps round",
            TRAPS,
            &[1_024, 0x1000_0003],
            "out of bounds",
        ),
    ]
}

fn memory() -> Vec<Case> {
    let body = |name, does, body: &str, says| Case::guest(name, does, moderation().body(body), TRAPS, says);
    let table = |name, does, body: &str| {
        Case::guest(name, does, moderation().field("(table $t 1 funcref)").body(body), TRAPS, "table limit")
    };
    vec![
        body("grows-at-once", "asks for 4 GiB", "(memory.grow (i32.const 65500))", "memory limit"),
        body(
            "grows-slowly",
            "asks for page after page, and writes into each",
            "(loop $on
                (i32.store8 (i32.mul (memory.grow (i32.const 1)) (i32.const 65536)) (i32.const 1))
                (br $on)) (i32.const 16)",
            "memory limit",
        ),
        Case::guest(
            "grows-call-by-call",
            "keeps 4 MiB more of each call",
            moderation().body(format!(
                "(local.set $n (memory.grow (i32.const 64)))
                 (memory.fill (i32.mul (local.get $n) (i32.const 65536)) (i32.const 1) (i32.const 4194304)) {NOTHING}"
            )),
            &[Decision, Decision, Decision, Trap, Decision, Decision, Decision, Trap],
            "memory limit",
        ),
        Case {
            name: "grows-in-rust",
            does: "allocates until there is no more",
            plugin: Plugin::Filter(r#"{"moderation": {"mode": "grow"}}"#),
            calls: TRAPS,
            says: "memory limit",
        },
        table(
            "table-grows-at-once",
            "asks for a table of a million elements",
            "(table.grow $t (ref.null func) (i32.const 1000000))",
        ),
        table(
            "table-grows-slowly",
            "asks for a thousand elements again and again",
            "(loop $on (br_if $on (table.grow $t (ref.null func) (i32.const 1000)))) (i32.const 16)",
        ),
    ]
}

/// Too much of what is allowed.
fn floods() -> Vec<Case> {
    let service = |name, does, interface: &str, function: &str, signature, call: &str, says| {
        let guest = moderation().import(interface, function, signature);
        let body = format!(
            "(loop $on (local.set $n (i32.add (local.get $n) (i32.const 1))) {call} (br $on)) {NOTHING}"
        );
        Case::guest(name, does, guest.body(body), CUT, says)
    };
    const RATE: &str = "godwit:plugin/rate@0.1.0";
    vec![
        service(
            "floods-log",
            "logs without end",
            LOG,
            "log",
            LOGS,
            "(call $log (i32.const 2) (i32.const 0) (i32.const 4000))",
            "",
        ),
        Case::guest(
            "log-of-a-mib",
            "logs a line of 1 MiB",
            moderation().pages(20).import(LOG, "log", LOGS).body(format!(
                "(call $log (i32.const 2) (i32.const 0) (i32.const 1048576)) {NOTHING}"
            )),
            TRAPS,
            "fuel",
        ),
        Case::guest(
            "log-invalid-utf8",
            "logs what is not UTF-8",
            moderation().import(LOG, "log", LOGS).body(format!(
                "(i32.store8 (i32.const 900) (i32.const 255)) (call $log (i32.const 2) (i32.const 900) (i32.const 1)) {NOTHING}"
            )),
            TRAPS,
            "utf-8",
        ),
        Case {
            name: "log-flood-in-rust",
            does: "logs 300 lines in a call; those beyond the rate are dropped",
            plugin: Plugin::Filter(r#"{"moderation": {"mode": "log-flood", "lines": 300}}"#),
            calls: &[Decision],
            says: "line 99 ",
        },
        service(
            "floods-rate",
            "counts by ever new keys",
            RATE,
            "hit",
            "(param i32 i32 i32) (result i32)",
            "(i32.store (i32.const 900) (local.get $n))
             (i32.store8 (i32.const 900) (i32.and (local.get $n) (i32.const 127)))
             (i32.store8 (i32.const 901) (i32.and (i32.shr_u (local.get $n) (i32.const 7)) (i32.const 127)))
             (i32.store8 (i32.const 902) (i32.and (i32.shr_u (local.get $n) (i32.const 14)) (i32.const 127)))
             (i32.store8 (i32.const 903) (i32.const 0))
             (drop (call $hit (i32.const 900) (i32.const 4) (i32.const 3600000)))",
            "60 ms of CPU time",
        ),
        service(
            "floods-zone",
            "asks for time zones that there are not, without end",
            "godwit:plugin/zone@0.1.0",
            "local",
            "(param i32 i32 i64 i32)",
            "(call $local (i32.const 65536) (i32.const 60000) (i64.const -1) (i32.const 900))",
            "60 ms of CPU time",
        ),
        service(
            "floods-state",
            "reads `state` without end",
            "godwit:plugin/state@0.1.0",
            "get",
            "(param i32 i32 i32)",
            "(call $get (i32.const 65536) (i32.const 60000) (i32.const 900))",
            "60 ms of CPU time",
        ),
        Case {
            name: "refuses-everything",
            does: "rejects each message",
            plugin: Plugin::Filter(r#"{"moderation": {"mode": "reject"}}"#),
            calls: &[Refusal, Refusal, Refusal],
            says: "",
        },
    ]
}

/// What WASI would let it do.
fn world() -> Vec<Case> {
    const CLOCK: &str = "wasi:clocks/monotonic-clock@0.2.12";
    const POLL: &str = "wasi:io/poll@0.2.12";
    const RANDOM: &str = "wasi:random/random@0.2.12";
    let sleeper = || moderation().import(CLOCK, "subscribe-duration", "(param i64) (result i32)");
    vec![
        Case::guest(
            "leaks-handles",
            "makes handles and lets none go",
            sleeper().body(format!(
                "(loop $on (drop (call $subscribe-duration (i64.const 1))) (br $on)) {NOTHING}"
            )),
            TRAPS,
            "",
        ),
        Case::guest(
            "forged-handle",
            "uses a handle that it was not given",
            sleeper()
                .import(POLL, "[method]pollable.block", "(param i32)")
                .body(format!("(call $block (i32.const 77)) {NOTHING}")),
            TRAPS,
            "handle",
        ),
        Case::guest(
            "sleeps-a-day",
            "asks the host to wait for a day; it is not made to wait",
            sleeper()
                .import(POLL, "[method]pollable.block", "(param i32)")
                .body(format!("(call $block (call $subscribe-duration (i64.const 86400000000000))) {NOTHING}")),
            &[Decision, Decision],
            "",
        ),
        Case::guest(
            "polls-nothing",
            "waits for nothing at all",
            moderation()
                .import(POLL, "poll", "(param i32 i32 i32)")
                .body(format!("(call $poll (i32.const 0) (i32.const 0) (i32.const 900)) {NOTHING}")),
            TRAPS,
            "poll of 0 pollables",
        ),
        Case::guest(
            "random-of-a-gib",
            "asks for a GiB of random bytes",
            moderation()
                .import(RANDOM, "get-random-bytes", "(param i64 i32)")
                .body(format!("(call $get-random-bytes (i64.const 1073741824) (i32.const 900)) {NOTHING}")),
            TRAPS,
            "",
        ),
        Case::guest(
            "exits",
            "ends the process",
            moderation()
                .import("wasi:cli/exit@0.2.12", "exit", "(param i32)")
                .body(format!("(call $exit (i32.const 1)) {NOTHING}")),
            TRAPS,
            "",
        ),
        Case::guest(
            "looks-around",
            "would trap if it found a folder, an argument or a variable of the environment",
            moderation()
                .import("wasi:filesystem/preopens@0.2.12", "get-directories", "(param i32)")
                .import("wasi:cli/environment@0.2.12", "get-environment", "(param i32)")
                .import("wasi:cli/environment@0.2.12", "get-arguments", "(param i32)")
                .body(format!(
                    "(call $get-directories (i32.const 900))
                     (call $get-environment (i32.const 908))
                     (call $get-arguments (i32.const 916))
                     (if (i32.or (i32.load (i32.const 904)) (i32.or (i32.load (i32.const 912)) (i32.load (i32.const 920))))
                         (then unreachable))
                     {NOTHING}"
                )),
            &[Decision],
            "",
        ),
    ]
}
