//! Replies of the admin API as a person reads them.
//!
//! Each function makes text of one kind of reply; none asks, and none decides.

use comfy_table::{Table, presets};
use godwit_domain::{
    plugin::{
        AtWork, CandidateStatus, Circuit, Comparison, Delta, Diff, Health, HookStatus, Installed, OnFailure,
        OnOpen, Poisoned, Scope, State, Status, Upload, Uploaded,
    },
    time::Ms,
};
use serde::{Deserialize, Serialize};
use std::{
    fmt::Write as _,
    time::{Duration, UNIX_EPOCH},
};

/// What decided about a message.
#[derive(Debug, Serialize, Deserialize)]
pub struct Traced {
    generation: u64,
    plugins: Vec<Call>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Call {
    id: String,
    version: String,
    digest: String,
    hook: String,
    decision: String,
    micros: u64,
}

/// What became of an installation, or would.
pub fn installed(installed: &Installed, dry_run: bool) -> String {
    let Installed { id, version, generation, state, missing, diff, warnings, .. } = installed;
    let mut text = match (dry_run, state) {
        (true, State::Pending) => format!("{id} {version} would wait for its grant; nothing was changed.\n"),
        (true, _) => format!("{id} {version} would be accepted; nothing was changed.\n"),
        (false, State::Active) => format!("{id} {version} serves, as of generation {generation}.\n"),
        (false, State::Pending) => {
            format!("{id} {version} waits for its grant; what served before goes on serving.\n")
        }
        (false, State::Shadow) => {
            format!("{id} {version} sees what the active version sees; `plugin show {id}` compares them.\n")
        }
        (false, State::Canary) => format!("{id} {version} decides in its share of conversations.\n"),
    };
    for missing in missing {
        let _ = match &missing.import {
            Some(import) => writeln!(text, "missing: {} (for the import {import})", missing.capability),
            None => writeln!(text, "missing: {}", missing.capability),
        };
    }
    if *state == State::Pending && !dry_run {
        let names: Vec<_> = missing.iter().map(|missing| missing.capability.as_str()).collect();
        let _ = writeln!(text, "grant it with: godwit plugin grant {id} {}", names.join(","));
    }
    text.push_str(&difference(diff));
    for warning in warnings {
        let _ = writeln!(text, "warning: {warning}");
    }
    text
}

/// How a version differs from the active one; nothing where there was none, or where it is the same.
fn difference(diff: &Diff) -> String {
    let Diff { from: Some(from), to, hooks, imports, asks, grants, component, config } = diff else {
        return String::new();
    };
    let mut lines = String::new();
    for (name, Delta { added, removed }) in
        [("hooks", hooks), ("imports", imports), ("asks for", asks), ("granted", grants)]
    {
        let signed = |sign: char, entries: &[String]| {
            entries.iter().map(|entry| format!(" {sign}{entry}")).collect::<String>()
        };
        let entries = signed('+', added) + &signed('-', removed);
        if !entries.is_empty() {
            let _ = writeln!(lines, "  {name}:{entries}");
        }
    }
    for (name, changed) in [("component", component), ("configuration", config)] {
        if *changed {
            let _ = writeln!(lines, "  {name}: another");
        }
    }
    match lines.is_empty() {
        true => String::new(),
        false => format!("from {from} to {to}:\n{lines}"),
    }
}

/// All plugins at a glance.
pub fn table(plugins: &[Status]) -> String {
    if plugins.is_empty() {
        return "no plugin is installed; `godwit plugin install PATH` installs one.\n".to_owned();
    }
    let rows = plugins.iter().map(|plugin| {
        let sum = |of: fn(&HookStatus) -> u64| plugin.calls.iter().map(of).sum::<u64>();
        [
            plugin.id.clone(),
            plugin.version.clone() + if plugin.pinned { " (pinned)" } else { "" },
            state(plugin),
            plugin.priority.to_string(),
            or_dash(plugin.hooks.join(", ")),
            if plugin.scope.is_everything() { "all".to_owned() } else { "some".to_owned() },
            sum(|hook| hook.calls).to_string(),
            sum(|hook| hook.traps + hook.deadlines).to_string(),
            or_dash(plugin.candidate.as_ref().map(beside).unwrap_or_default()),
            or_dash(plugin.previous.clone().unwrap_or_default()),
            time(plugin.installed_at),
        ]
    });
    lay_out(
        [
            "PLUGIN",
            "VERSION",
            "STATE",
            "PRIORITY",
            "HOOKS",
            "SCOPE",
            "CALLS",
            "FAILED",
            "BESIDE",
            "PREVIOUS",
            "INSTALLED",
        ],
        rows,
    )
}

fn state(plugin: &Status) -> String {
    let open = plugin.calls.iter().find(|hook| hook.breaker != Circuit::Closed);
    match (plugin.health, open) {
        (Health::Serving, None) => "serving".to_owned(),
        (Health::Serving, Some(hook)) => format!("breaker {}", circuit(hook.breaker)),
        (Health::Disabled, _) => "disabled".to_owned(),
        (Health::Quarantined, _) => "quarantined".to_owned(),
        (Health::Broken, _) => "broken".to_owned(),
    }
}

fn circuit(circuit: Circuit) -> &'static str {
    match circuit {
        Circuit::Closed => "closed",
        Circuit::HalfOpen => "half-open",
        Circuit::Open => "open",
    }
}

fn beside(candidate: &CandidateStatus) -> String {
    let version = &candidate.version;
    match (candidate.state, candidate.percent) {
        (State::Canary, Some(percent)) => format!("{version} canary {percent} %"),
        (State::Shadow, _) => format!("{version} shadow"),
        (State::Pending, _) => format!("{version} pending"),
        _ => version.clone(),
    }
}

/// One plugin, whole.
pub fn status(plugin: &Status) -> String {
    let mut text = format!("{} {}: {}\n", plugin.id, plugin.version, state(plugin));
    let mut line = |name: &str, value: String| {
        let _ = writeln!(text, "  {:<12}{value}", format!("{name}:"));
    };
    if let Some(why) = &plugin.why {
        line("why", why.clone());
    }
    if let Some(quarantine) = &plugin.quarantine {
        line("quarantine", format!("since {}: {}", time(quarantine.at), quarantine.why));
    }
    if let Some(reverted) = &plugin.reverted {
        let (from, to, why) = (&reverted.from, &reverted.to, &reverted.why);
        line("taken back", format!("{from} to {to} at {}: {why}", time(reverted.at)));
    }
    line("digest", plugin.digest.clone());
    line("installed", time(plugin.installed_at));
    line("priority", plugin.priority.to_string());
    line("scope", scope(&plugin.scope));
    let on_failure = match plugin.on_failure {
        OnFailure::Hold => "hold",
        OnFailure::Reject => "reject",
    };
    let on_open = match plugin.on_open {
        OnOpen::Allow => "allow",
        OnOpen::Hold => "hold",
        OnOpen::Reject => "reject",
    };
    line("on failure", format!("{on_failure}; while it is not asked: {on_open}"));
    line("pinned", if plugin.pinned { "yes" } else { "no" }.to_owned());
    line("asks for", or_dash(plugin.asks.join(", ")));
    line("granted", or_dash(plugin.grants.join(", ")));
    line("previous", or_dash(plugin.previous.clone().unwrap_or_default()));
    let Status { instances, memory_kib, waiting, .. } = plugin;
    line("instances", format!("{instances}, {memory_kib} KiB, {waiting} calls wait"));
    if let Some(AtWork { user, heard, done, waiting, dead }) = &plugin.at_work {
        line("user", user.to_string());
        line(
            "acts",
            format!("{heard} events heard, {done} things done, {waiting} wait, {dead} dead letters"),
        );
    }
    line("poison", format!("{} bodies are refused unseen", plugin.poisoned));
    text.push_str(&hooks(&plugin.calls));
    if let Some(candidate) = &plugin.candidate {
        let _ = writeln!(text, "beside it: {}", beside(candidate));
        for missing in &candidate.missing {
            let _ = writeln!(text, "  missing: {}", missing.capability);
        }
        text.push_str(&difference(&candidate.diff));
        if let Some(comparison) = &candidate.comparison {
            text.push_str(&compared(comparison));
        }
        text.push_str(&hooks(&candidate.calls));
    }
    text
}

fn scope(scope: &Scope) -> String {
    if scope.is_everything() {
        return "everything".to_owned();
    }
    let kinds = scope.kinds.iter().map(|kind| format!("{kind:?}").to_lowercase());
    let labels = scope.labels.iter().map(|label| format!("label {label}"));
    let ids = scope.conversations.iter().map(ToString::to_string);
    kinds.chain(labels).chain(ids).collect::<Vec<_>>().join(", ")
}

fn hooks(calls: &[HookStatus]) -> String {
    if calls.is_empty() {
        return String::new();
    }
    let rows = calls.iter().map(|hook| {
        [
            hook.hook.clone(),
            hook.calls.to_string(),
            hook.refusals.to_string(),
            hook.traps.to_string(),
            hook.deadlines.to_string(),
            hook.busy.to_string(),
            (hook.open + hook.poison).to_string(),
            format!("{} µs", hook.micros_mean),
            format!("{} ms", hook.cpu_ms),
            format!("{} ({} trips)", circuit(hook.breaker), hook.trips),
        ]
    });
    lay_out(
        ["HOOK", "CALLS", "REFUSED", "TRAPS", "DEADLINES", "BUSY", "NOT ASKED", "MEAN", "CPU", "BREAKER"],
        rows,
    )
}

fn compared(comparison: &Comparison) -> String {
    let Comparison { agreed, differed, dropped, micros_mean, since, .. } = comparison;
    let mut text = format!(
        "compared since {}: {agreed} agree, {differed} differ, {dropped} not compared; {micros_mean} µs a call\n",
        time(*since)
    );
    let rows = comparison.pairs.iter().map(|pair| {
        let agree = if pair.agree { "agree" } else { "differ" };
        let cells = [&pair.hook, &pair.active, &pair.candidate];
        let [hook, active, candidate] = cells.map(Clone::clone);
        [hook, active, candidate, agree.to_owned(), pair.count.to_string()]
    });
    if !comparison.pairs.is_empty() {
        text.push_str(&lay_out(["HOOK", "ACTIVE", "CANDIDATE", "", "COUNT"], rows));
    }
    let rows = comparison.differences.iter().map(|difference| {
        let place = difference.conversation.map_or_else(|| "-".to_owned(), |id| id.to_string());
        let (active, candidate) = (difference.active.clone(), difference.candidate.clone());
        let bytes = format!("{} bytes", difference.body_bytes);
        [time(difference.at), place, difference.hook.clone(), active, candidate, bytes]
    });
    if !comparison.differences.is_empty() {
        text.push_str(&lay_out(
            ["LAST DIFFERENCES", "CONVERSATION", "HOOK", "ACTIVE", "CANDIDATE", "BODY"],
            rows,
        ));
    }
    text
}

/// What was found in a component that was staged.
pub fn uploaded(uploaded: &Uploaded) -> String {
    let Uploaded { digest, size, hooks, .. } = uploaded;
    format!(
        "{digest} is staged: {size} bytes, hooks {}; install it with --digest {digest}\n",
        or_dash(hooks.join(", "))
    )
}

/// The staged components.
pub fn uploads(uploads: &[Upload]) -> String {
    if uploads.is_empty() {
        return "no component is staged; `godwit plugin stage PATH` uploads one.\n".to_owned();
    }
    let rows = uploads.iter().map(|upload| {
        let Upload { digest, size, uploaded_at, plugins } = upload;
        [digest.clone(), size.to_string(), time(*uploaded_at), or_dash(plugins.join(", "))]
    });
    lay_out(["DIGEST", "BYTES", "STAGED", "IN USE BY"], rows)
}

/// What a plugin is not shown.
pub fn poisoned(poisoned: &[Poisoned]) -> String {
    if poisoned.is_empty() {
        return "it is shown everything.\n".to_owned();
    }
    let rows = poisoned.iter().map(|poisoned| {
        let Poisoned { hash, hook, version, how, at, until } = poisoned;
        [hash.clone(), hook.clone(), version.clone(), how.clone(), time(*at), time(*until)]
    });
    lay_out(["HASH", "HOOK", "VERSION", "HOW", "SINCE", "UNTIL"], rows)
}

/// What decided about a message.
pub fn traced(trace: &Traced) -> String {
    if trace.plugins.is_empty() {
        return format!("generation {}: no plugin was asked.\n", trace.generation);
    }
    let rows = trace.plugins.iter().map(|call| {
        let Call { id, version, digest, hook, decision, micros } = call;
        let digest = digest.get(..12).unwrap_or(digest).to_owned();
        [id.clone(), version.clone(), digest, hook.clone(), decision.clone(), format!("{micros} µs")]
    });
    let table = lay_out(["PLUGIN", "VERSION", "DIGEST", "HOOK", "DECISION", "TIME"], rows);
    format!("generation {}\n{table}", trace.generation)
}

fn or_dash(text: String) -> String {
    if text.is_empty() { "-".to_owned() } else { text }
}

/// A table as a person reads it.
pub fn lay_out<const N: usize>(head: [&str; N], rows: impl Iterator<Item = [String; N]>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(head);
    for row in rows {
        table.add_row(row);
    }
    // The library pads every line to the table's width; what is copied from a terminal should not carry that.
    let lines = table.to_string();
    lines.lines().map(|line| line.trim_end().trim_start_matches(' ').to_owned() + "\n").collect()
}

/// A moment as a person reads it.
pub fn time(Ms(ms): Ms) -> String {
    // Past the year 9999 the formatter gives up; a number is still true.
    let time = UNIX_EPOCH.checked_add(Duration::from_millis(ms)).filter(|_| ms < 253_402_300_800_000);
    time.map_or_else(|| ms.to_string(), |time| humantime::format_rfc3339_seconds(time).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use godwit_domain::{
        id::Generation,
        plugin::{Capability, Pair, Quarantine, Reverted},
    };

    fn plugin(id: &str) -> Status {
        Status {
            id: id.to_owned(),
            version: "1.2.0".to_owned(),
            digest: "ab".repeat(32),
            hooks: vec!["normalise".to_owned(), "moderation".to_owned(), "bot".to_owned()],
            priority: 100,
            installed_at: Ms(1_700_000_000_000),
            calls: vec![HookStatus {
                hook: "moderation".to_owned(),
                calls: 7,
                traps: 2,
                ..HookStatus::default()
            }],
            ..Status::default()
        }
    }

    fn candidate(state: State) -> CandidateStatus {
        CandidateStatus {
            version: "1.3.0".to_owned(),
            digest: "cd".repeat(32),
            state,
            percent: (state == State::Canary).then_some(10),
            missing: Vec::new(),
            diff: Diff::default(),
            comparison: None,
            calls: Vec::new(),
            installed_at: Ms(0),
        }
    }

    fn installation(state: State) -> Installed {
        Installed {
            id: "wordfilter".to_owned(),
            version: "1.2.0".to_owned(),
            digest: String::new(),
            generation: Generation(3),
            state,
            missing: Vec::new(),
            diff: Diff::default(),
            warnings: Vec::new(),
        }
    }

    #[test]
    fn the_list_is_a_table_that_a_person_can_read() {
        let canary = Status { candidate: Some(candidate(State::Canary)), ..plugin("wordfilter") };
        let text = table(&[canary, Status { health: Health::Quarantined, ..plugin("other") }]);
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), 3, "{text}");
        assert!(lines[0].starts_with("PLUGIN "), "{text}");
        let cells = |line: &str| -> Vec<String> {
            line.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).map(str::to_owned).collect()
        };
        let (name, hooks, at) = ("wordfilter", "normalise, moderation, bot", "2023-11-14T22:13:20Z");
        let expected =
            [name, "1.2.0", "serving", "100", hooks, "all", "7", "2", "1.3.0 canary 10 %", "-", at];
        assert_eq!(cells(lines[1]), expected);
        assert_eq!(cells(lines[2])[2], "quarantined");
    }

    #[test]
    fn an_empty_list_says_what_to_do() {
        assert!(table(&[]).contains("godwit plugin install"));
        assert!(uploads(&[]).contains("godwit plugin stage"));
    }

    #[test]
    fn an_installation_is_told_with_its_warnings_and_what_it_changes() {
        let warnings = vec!["memory clamped to 16 MiB".to_owned()];
        let diff = Diff {
            from: Some("1.1.0".to_owned()),
            to: "1.2.0".to_owned(),
            hooks: Delta { added: vec!["normalise".to_owned()], removed: Vec::new() },
            grants: Delta { added: Vec::new(), removed: vec!["kv".to_owned()] },
            config: true,
            ..Diff::default()
        };
        let told = Installed { warnings, diff, ..installation(State::Active) };
        assert_eq!(
            installed(&told, false),
            "wordfilter 1.2.0 serves, as of generation 3.\nfrom 1.1.0 to 1.2.0:\n  hooks: +normalise\n  \
             granted: -kv\n  configuration: another\nwarning: memory clamped to 16 MiB\n"
        );
        assert!(installed(&told, true).contains("would be accepted"));
    }

    #[test]
    fn a_version_that_waits_says_for_what_and_how_to_grant_it() {
        let import = Some("godwit:plugin/kv@0.1.0".to_owned());
        let missing = vec![Capability { capability: "kv".to_owned(), import }];
        let told = installed(&Installed { missing, ..installation(State::Pending) }, false);
        for part in ["waits for its grant", "godwit:plugin/kv@0.1.0", "godwit plugin grant wordfilter kv"] {
            assert!(told.contains(part), "{part} in {told}");
        }
    }

    #[test]
    fn all_that_is_wrong_with_a_plugin_is_shown() {
        let at = Ms(1_700_000_000_000);
        let (from, to) = ("1.3.0".to_owned(), "1.2.0".to_owned());
        let comparison = Comparison {
            agreed: 8,
            differed: 1,
            pairs: vec![Pair {
                hook: "moderation".to_owned(),
                active: "allow".to_owned(),
                candidate: "reject".to_owned(),
                agree: false,
                count: 1,
            }],
            ..Comparison::default()
        };
        let shadow = CandidateStatus { comparison: Some(comparison), ..candidate(State::Shadow) };
        let text = status(&Status {
            health: Health::Quarantined,
            quarantine: Some(Quarantine { why: "it opened 5 times".to_owned(), at }),
            reverted: Some(Reverted { from, to, why: "12 of 12 calls trapped".to_owned(), at }),
            candidate: Some(shadow),
            poisoned: 3,
            on_open: OnOpen::Allow,
            ..plugin("wordfilter")
        });
        for part in [
            "wordfilter 1.2.0: quarantined",
            "since 2023-11-14T22:13:20Z: it opened 5 times",
            "1.3.0 to 1.2.0 at 2023-11-14T22:13:20Z: 12 of 12 calls trapped",
            "while it is not asked: allow",
            "3 bodies are refused unseen",
            "beside it: 1.3.0 shadow",
            "8 agree, 1 differ",
            "differ",
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
    }

    #[test]
    fn a_trace_is_a_line_for_each_call() {
        let call = |hook: &str, decision: &str, micros| Call {
            id: "wordfilter".to_owned(),
            version: "1.2.0".to_owned(),
            digest: "ab".repeat(32),
            hook: hook.to_owned(),
            decision: decision.to_owned(),
            micros,
        };
        let plugins = vec![call("normalise", "rewrite", 3), call("moderation", "allow", 5)];
        let text = traced(&Traced { generation: 9, plugins });
        let lines: Vec<_> = text.lines().collect();
        assert_eq!((lines.len(), lines[0]), (4, "generation 9"), "{text}");
        assert!(lines[3].contains("moderation") && lines[3].contains("allow") && lines[3].contains("5 µs"));
        assert!(traced(&Traced { generation: 9, plugins: Vec::new() }).contains("no plugin was asked"));
    }
}
