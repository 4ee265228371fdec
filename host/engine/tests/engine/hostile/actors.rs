//! Actors that misbehave when they hear of something.

use super::{
    Case,
    Outcome::{self, Deadline, Decision, Refusal, Trap},
    Plugin,
};

pub(super) fn cases() -> Vec<Case> {
    let steps = |name, does, steps: &str, calls: &'static [Outcome], says| {
        // What was done before it goes wrong must not happen.
        let steps = format!(r#"[{{"send": "x"}}, {{"set": ["a", "b"]}}, {steps}]"#);
        Case { name, does, plugin: Plugin::Actor("{}", steps), calls, says }
    };
    let flood = |name, does, step: &str, says| {
        steps(name, does, &format!(r#"{{"repeat": [5000, {step}]}}"#), &[Decision], says)
    };
    vec![
        steps("bot-loops", "never ends", r#""spin""#, &[Deadline, Deadline], "100 ms of CPU time"),
        steps("bot-grows", "allocates until there is no more", r#""grow""#, &[Trap, Trap], "memory limit"),
        steps(
            "bot-recurses",
            "calls itself without end",
            r#""recurse""#,
            &[Trap, Trap],
            "call stack exhausted",
        ),
        steps("bot-traps", "traps", r#""trap""#, &[Trap, Trap], "the fixture traps as it was told"),
        steps("bot-sleeps", "sleeps for an hour", r#"{"sleep": 3600000}"#, &[Deadline], "1000 ms passed"),
        steps("bot-refuses", "asks to be tried again", r#"{"retry": "later"}"#, &[Refusal, Refusal], ""),
        steps("bot-sends-2-mb", "sends a text of 2 MB", r#"{"send_huge": 2000000}"#, &[Trap], "fuel"),
        flood(
            "bot-floods-sends",
            "sends 5,000 messages; 64 effects are the limit",
            r#"{"send": "x"}"#,
            "the limit of one call is 64",
        ),
        flood(
            "bot-floods-timers",
            "sets 5,000 timers",
            r#"{"timer": ["t", 1, ""]}"#,
            "the limit of one call is 64",
        ),
        flood(
            "bot-floods-edits",
            "deletes 5,000 messages",
            r#"{"delete_number": 1}"#,
            "the limit of one call is 64",
        ),
        flood(
            "bot-floods-reads",
            "reads history 5,000 times",
            r#"{"history": [null, 1]}"#,
            "the limit of one call",
        ),
        flood(
            "bot-floods-secrets",
            "reads secrets 5,000 times",
            r#"{"secret": "a"}"#,
            "the limit of one call",
        ),
        flood("bot-floods-log", "logs 5,000 lines", r#"{"log": "x"}"#, ""),
        flood("bot-floods-rate", "counts 5,000 times", r#"{"hit": "k"}"#, ""),
        flood(
            "bot-floods-http",
            "makes 5,000 requests to a server that was not granted",
            r#"{"fetch": "http://169.254.169.254/"}"#,
            "the limit of one call",
        ),
        steps(
            "bot-floods-kv",
            "writes 2 MiB of values; 1 MiB is the limit",
            &(0..32).map(|n| format!(r#"{{"set_huge": ["k{n}", 65536]}}"#)).collect::<Vec<_>>().join(", "),
            &[Decision],
            "the limit of one call is 1024 KiB",
        ),
        steps(
            "bot-long-key",
            "writes a key of 60 KB",
            &format!(r#"{{"set": ["{}", "v"]}}"#, "k".repeat(60_000)),
            &[Decision],
            "the limit is 512",
        ),
        steps(
            "bot-long-value",
            "writes a value of 65 KiB",
            r#"{"set_huge": ["k", 66560]}"#,
            &[Decision],
            "the limit is 64 KiB",
        ),
    ]
}
