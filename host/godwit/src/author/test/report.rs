//! Results of tests, for people and for programs.

use super::{Results, Tested};
use godwit_engine::workbench::Usage;
use serde_json::{Value, json};
use std::fmt::Write;

/// For people.
pub fn text(results: &Results, verbose: bool) -> String {
    let mut text = String::new();
    for warning in &results.warnings {
        line(&mut text, &format!("warning: {warning}"));
    }
    for test in &results.tests {
        show(test, verbose, &mut text);
    }
    let failed = results.tests.iter().filter(|test| !test.passed()).count();
    let steps: usize = results.tests.iter().map(|test| test.steps.len()).sum();
    let passed = results.tests.len() - failed;
    line(&mut text, &format!("\n{passed} passed, {failed} failed; {steps} steps."));
    line(
        &mut text,
        &format!("Instances were thrown away at random; `--seed {}` does it in the same way.", results.seed),
    );
    usage(&results.usage, &mut text);
    text
}

fn line(text: &mut String, what: &str) {
    text.push_str(what);
    text.push('\n');
}

fn show(test: &Tested, verbose: bool, text: &mut String) {
    let mark = if test.passed() { "ok    " } else { "FAILED" };
    line(text, &format!("{mark} {} ({}, {} steps)", test.name, test.file, test.steps.len()));
    if let Some(problem) = &test.problem {
        indent(text, "    ", problem);
    }
    for (n, step) in test.steps.iter().enumerate() {
        if let Some(problem) = &step.problem {
            line(text, &format!("    step {}: {}", n + 1, step.title));
            indent(text, "      ", problem);
        }
        if step.problem.is_some() || verbose {
            for logged in &step.log {
                indent(text, "      ", &format!("{}: {}", logged.level, logged.text));
            }
        }
    }
}

fn indent(text: &mut String, by: &str, what: &str) {
    for part in what.trim_end().lines() {
        line(text, &format!("{by}{part}"));
    }
}

fn usage(usage: &[Usage], text: &mut String) {
    if usage.is_empty() {
        return;
    }
    let mut table = comfy_table::Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    table.set_header([
        "hook",
        "calls",
        "failed",
        "median",
        "longest",
        "of its time",
        "memory",
        "of its memory",
        "effects",
    ]);
    for used in usage {
        table.add_row([
            used.hook.clone(),
            used.calls.to_string(),
            used.failures.to_string(),
            took(used.median_us),
            took(used.longest_us),
            format!("{} % of {} ms", used.time_percent(), used.cpu_ms_max),
            format!("{} KiB", used.memory_bytes / 1024),
            format!("{} % of {} MiB", used.memory_percent(), used.memory_bytes_max >> 20),
            used.effects.map_or_else(|| "–".to_owned(), |(most, limit)| format!("{most} of {limit}")),
        ]);
    }
    let _ = write!(text, "\n{table}\n");
}

fn took(micros: u64) -> String {
    if micros < 1_000 { format!("{micros} µs") } else { format!("{:.1} ms", micros as f64 / 1_000.0) }
}

/// For programs.
pub fn json(results: &Results) -> Value {
    let tests = results.tests.iter().map(|test| {
        let steps = test.steps.iter().map(|step| {
            let log = step.log.iter().map(|line| json!({ "level": line.level, "text": line.text }));
            json!({
                "title": step.title,
                "hook": step.hook,
                "problem": step.problem,
                "took_us": u64::try_from(step.took.as_micros()).unwrap_or(u64::MAX),
                "log": log.collect::<Vec<_>>(),
            })
        });
        json!({
            "name": test.name,
            "file": test.file,
            "passed": test.passed(),
            "problem": test.problem,
            "steps": steps.collect::<Vec<_>>(),
        })
    });
    json!({
        "plugin": results.plugin,
        "seed": results.seed,
        "warnings": results.warnings,
        "tests": tests.collect::<Vec<_>>(),
        "usage": results.usage,
    })
}
