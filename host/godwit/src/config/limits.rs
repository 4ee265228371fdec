//! The table of limits: every setting that bounds what others may do, with its default and what answers beyond it.
//!
//! It owns no list: a field of an `Options` is a limit where its schema says what answers, by
//! `#[schemars(extend("exceeded" = "…"))]`. The page `LIMITS.md` is this table.

use super::{Settings, keys::Keys};
use std::fmt::Write as _;
use toml::{Table, Value};

/// Prints the table as a page of Markdown.
pub fn limits() -> String {
    let defaults = Table::try_from(Settings::default()).expect("settings are tables of plain values");
    let mut text = String::from(
        "# Limits\n\n\
         What clients, operators and plugins may do, and what answers whoever goes beyond it.\n\
         A word in backticks is an error, a number from 3000 a close code: `host/protocol/ERRORS.md` says what to do.\n\
         A hook that fails is judged as the plugin's manifest says; moderation lets nothing through then.\n\
         This page is what `godwit config --limits` prints.\n\n\
         | limit | default | beyond it | what it is |\n|---|---|---|---|\n",
    );
    for key in Keys::of::<Settings>().iter() {
        let Some(exceeded) = key.exceeded() else { continue };
        let default = find(&defaults, &key.path).map(Value::to_string).unwrap_or_default();
        let doc = key.doc.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|");
        let _ = writeln!(text, "| `{}` | {default} | {exceeded} | {doc} |", key.path);
    }
    text
}

fn find<'a>(table: &'a Table, path: &str) -> Option<&'a Value> {
    match path.split_once('.') {
        Some((section, rest)) => find(table.get(section)?.as_table()?, rest),
        None => table.get(path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bounds inside the host, where whoever comes waits for room, and inside a sandbox: nobody meets them at an
    /// interface.
    const OWN: [&str; 13] = [
        "auth.hashes_at_once_max",
        "plugins.actors.instances_max",
        "plugins.actors.plugin_mib_max",
        "plugins.handles_max",
        "plugins.instances_max",
        "plugins.table_elements_max",
        "storage.check_bytes_max",
        "storage.group_bytes_max",
        "storage.group_changes_max",
        "storage.queue_calls_max",
        "storage.readers_max",
        "storage.reopen_after_ms_max",
        "storage.sweep_rows_max",
    ];

    #[test]
    fn the_page_is_what_the_command_prints() {
        let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/LIMITS.md")).unwrap();
        assert!(page == limits(), "`godwit config --limits > host/godwit/LIMITS.md` makes it anew");
    }

    #[test]
    fn every_bound_says_what_answers_beyond_it_or_is_known_to_refuse_nobody() {
        for key in Keys::of::<Settings>().iter().filter(|key| key.path.ends_with("_max")) {
            assert_ne!(
                key.exceeded().is_some(),
                OWN.contains(&key.path.as_str()),
                "`{}`: either say what answers beyond it, by `#[schemars(extend(\"exceeded\" = …))]`, or list it here",
                key.path
            );
        }
    }

    #[test]
    fn every_limit_has_a_default() {
        for line in limits().lines().filter(|line| line.starts_with("| `")) {
            assert!(!line.contains("| |") && !line.contains("|  |"), "{line}");
        }
    }
}
