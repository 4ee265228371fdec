//! Capabilities: what a manifest asks for, what an operator granted, and what is missing between the two.
//!
//! What is asked stands here as one line for each thing: `kv` for a capability that is wanted or not, and
//! `http:https://api.example.com` for each entry of one that says what it is for, so that a version that wants one
//! more address asks for more. A grant by name covers all that a version asks under that name when it is given; what is
//! stored is what it covered, and a later version that asks for more waits.

use godwit_domain::plugin::Capability;
use std::collections::BTreeMap;

/// The capability to be told who is in a conversation; without an import.
pub(crate) const MEMBER_LIST: &str = "member-list";
/// Capabilities that this host serves.
const SERVED: [&str; 1] = [MEMBER_LIST];
/// Capabilities of the interface that come later.
const LATER: [&str; 8] = ["kv", "send", "history", "members", "timer", "http", "secret", "all-conversations"];
/// Services that need a capability, and those of which one is enough.
const SERVICES: [(&str, &[&str]); 6] = [
    ("godwit:plugin/kv@", &["kv"]),
    ("godwit:plugin/state@", &["kv"]),
    ("godwit:plugin/chat@", &["send", "history", "members"]),
    ("godwit:plugin/timer@", &["timer"]),
    ("godwit:plugin/http@", &["http"]),
    ("godwit:plugin/secret@", &["secret"]),
];

/// The name of a capability without what it is for.
fn name(capability: &str) -> &str {
    capability.split(':').next().unwrap_or(capability)
}

/// What a manifest asks for.
pub(crate) fn asks(capabilities: &BTreeMap<String, toml::Value>, problems: &mut Vec<String>) -> Vec<String> {
    let mut asks = Vec::new();
    for (name, value) in capabilities {
        problems.extend(unknown("capability", name));
        match value {
            toml::Value::Boolean(false) => {}
            toml::Value::Boolean(true) => asks.push(name.clone()),
            toml::Value::String(what) => asks.push(format!("{name}:{what}")),
            toml::Value::Array(list) if list.iter().all(toml::Value::is_str) => {
                asks.extend(list.iter().filter_map(toml::Value::as_str).map(|what| format!("{name}:{what}")));
            }
            _ => problems.push(format!("capability `{name}` must be true, a text or a list of texts")),
        }
    }
    asks.sort();
    asks.dedup();
    asks
}

/// Whether there are such capabilities, and whether anyone asked for them.
pub(crate) fn check(
    asks: &[String],
    grants: &[String],
    problems: &mut Vec<String>,
    warnings: &mut Vec<String>,
) {
    for grant in grants {
        match unknown("grant", name(grant)) {
            Some(problem) => problems.push(problem),
            None if covered(asks, grant).is_empty() => {
                warnings.push(format!("the grant `{grant}` has no effect: the manifest does not ask for it"));
            }
            None => {}
        }
    }
}

fn unknown(what: &str, name: &str) -> Option<String> {
    if SERVED.contains(&name) {
        None
    } else if LATER.contains(&name) {
        Some(format!("{what} `{name}` is not served by this host yet"))
    } else {
        let all: Vec<_> = SERVED.iter().chain(&LATER).copied().collect();
        Some(format!("there is no {what} `{name}`; the list is {}", all.join(", ")))
    }
}

/// What of `asks` a grant covers.
fn covered(asks: &[String], grant: &str) -> Vec<String> {
    asks.iter().filter(|asked| *asked == grant || name(asked) == grant).cloned().collect()
}

/// What of `asks` the grants cover.
pub(crate) fn granted(asks: &[String], grants: &[String]) -> Vec<String> {
    let mut granted: Vec<_> = grants.iter().flat_map(|grant| covered(asks, grant)).collect();
    granted.sort();
    granted.dedup();
    granted
}

/// What of `asks` was not granted, each with the import that needs it, where there is one.
pub(crate) fn missing(asks: &[String], granted: &[String], imports: &[String]) -> Vec<Capability> {
    let import = |capability: &str| {
        let needs = |import: &&String| {
            SERVICES
                .iter()
                .any(|(service, names)| import.starts_with(service) && names.contains(&name(capability)))
        };
        imports.iter().find(needs).cloned()
    };
    let missing = asks.iter().filter(|asked| !granted.contains(asked));
    missing.map(|asked| Capability { capability: asked.clone(), import: import(asked) }).collect()
}

/// Says what is missing, by import and grant.
pub(crate) fn refusal(missing: &Capability) -> String {
    let Capability { capability, import } = missing;
    let grant = name(capability);
    match import {
        Some(import) => {
            format!(
                "import `{import}` needs the capability `{capability}`, which is not granted: grant `{grant}`"
            )
        }
        None => {
            format!(
                "the manifest asks for the capability `{capability}`, which is not granted: grant `{grant}`"
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strings(list: &[&str]) -> Vec<String> {
        list.iter().map(|text| (*text).to_owned()).collect()
    }

    #[test]
    fn what_is_asked_is_one_line_for_each_thing() {
        let manifest = "kv = true\nsend = false\nhttp = [\"https://b\", \"https://a\"]\n\
                        all-conversations = \"with-direct\"";
        let expected = strings(&["all-conversations:with-direct", "http:https://a", "http:https://b", "kv"]);
        let mut problems = Vec::new();
        assert_eq!(asks(&toml::from_str(manifest).unwrap(), &mut problems), expected);
        asks(&toml::from_str("member-list = 7").unwrap(), &mut problems);
        assert!(problems.last().unwrap().contains("`member-list` must be true"), "{problems:?}");
    }

    #[test]
    fn a_grant_by_name_covers_what_is_asked_now_and_not_what_a_later_version_asks() {
        let first = strings(&["http:https://a", "kv"]);
        let stored = granted(&first, &strings(&["http", "kv"]));
        assert_eq!(stored, first);
        let later = strings(&["http:https://a", "http:https://evil", "kv"]);
        let missing = missing(&later, &granted(&later, &stored), &strings(&["godwit:plugin/http@0.1.0"]));
        let import = Some("godwit:plugin/http@0.1.0".to_owned());
        assert_eq!(missing, [Capability { capability: "http:https://evil".to_owned(), import }]);
        let told = refusal(&missing[0]);
        for named in ["`godwit:plugin/http@0.1.0`", "`http:https://evil`", "grant `http`"] {
            assert!(told.contains(named), "{told}");
        }
    }

    #[test]
    fn a_grant_that_nobody_asked_for_is_told_and_one_that_does_not_exist_is_refused() {
        let (mut problems, mut warnings) = (Vec::new(), Vec::new());
        check(&[], &strings(&["member-list", "root"]), &mut problems, &mut warnings);
        assert!(warnings[0].contains("`member-list` has no effect"), "{warnings:?}");
        assert!(problems[0].contains("no grant `root`"), "{problems:?}");
        assert_eq!((problems.len(), warnings.len()), (1, 1));
    }
}
