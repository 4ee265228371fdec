//! Capabilities: what a manifest asks for, what an operator granted, and what is missing between the two.
//!
//! What is asked stands here as one line for each thing: `kv` for a capability that is wanted or not, and
//! `http=https://api.example.com` for each entry of one that says what it is for, so that a version that wants one
//! more address asks for more. A grant by name covers all that a version asks under that name when it is given; what is
//! stored is what it covered, and a later version that asks for more waits. What a grant opens is known to
//! [`crate::actor::grants`].

use crate::{
    actor::{grants::service, http::origin::Origin},
    faults::{self, Fault},
};
use godwit_domain::plugin::Capability;
use std::collections::BTreeMap;

/// The capability to be told who is in a conversation; without an import.
pub(crate) const MEMBER_LIST: &str = "member-list";
/// The capability of timers.
pub(crate) const TIMER: &str = "timer";
/// What a bot must be granted to hear conversations of which it is no member.
const ALL_CONVERSATIONS: &str = "all-conversations";
/// The same with direct conversations. It covers the other, and is covered by its own name alone.
pub(crate) const WITH_DIRECT: &str = "all-conversations=with-direct";
/// All capabilities, by name.
const CAPABILITIES: [&str; 9] =
    ["kv", "send", "history", "members", MEMBER_LIST, TIMER, "http", "secret", ALL_CONVERSATIONS];
/// Origins that one manifest may ask for.
const ORIGINS_MAX: usize = 32;

/// The name of a capability without what it is for.
fn name(capability: &str) -> &str {
    capability.split_once('=').map_or(capability, |(name, _)| name)
}

/// What a manifest asks for.
pub(crate) fn asks(capabilities: &BTreeMap<String, toml::Value>, problems: &mut Vec<String>) -> Vec<String> {
    let mut asks = Vec::new();
    for (name, value) in capabilities {
        match (name.as_str(), value) {
            (name, _) if !CAPABILITIES.contains(&name) => problems.push(unknown("capability", name)),
            ("http", toml::Value::Array(origins)) => ask_origins(origins, &mut asks, problems),
            ("http", _) => problems.push(
                "capability `http` must be a list of origins, as [\"https://api.example.com\"]".to_owned(),
            ),
            (ALL_CONVERSATIONS, toml::Value::String(with)) if with == "with-direct" => {
                asks.extend([ALL_CONVERSATIONS, WITH_DIRECT].map(str::to_owned));
            }
            (_, toml::Value::Boolean(true)) => asks.push(name.clone()),
            (_, toml::Value::Boolean(false)) => {}
            (_, value) => problems.push(format!("capability `{name}` must be true or false, and is {value}")),
        }
    }
    asks.sort();
    asks.dedup();
    asks
}

fn ask_origins(origins: &[toml::Value], asks: &mut Vec<String>, problems: &mut Vec<String>) {
    if origins.is_empty() || origins.len() > ORIGINS_MAX {
        let count = origins.len();
        problems.push(format!("capability `http` names {count} origins; 1 to {ORIGINS_MAX} are possible"));
    }
    for origin in origins.iter().take(ORIGINS_MAX) {
        match origin.as_str().map(Origin::parse) {
            Some(Ok(origin)) => asks.push(format!("http={origin}")),
            Some(Err(why)) => problems.push(format!("capability `http`: {why}")),
            None => problems.push(format!("capability `http`: {origin} is no text")),
        }
    }
}

/// Whether there are such capabilities, and whether anyone asked for them.
pub(crate) fn check(
    asks: &[String],
    grants: &[String],
    problems: &mut Vec<String>,
    warnings: &mut Vec<String>,
) {
    for grant in grants {
        if !CAPABILITIES.contains(&name(grant)) {
            problems.push(unknown("grant", grant));
        } else if covered(asks, grant).is_empty() {
            warnings.push(format!("the grant `{grant}` has no effect: the manifest does not ask for it"));
        }
    }
}

fn unknown(what: &str, name: &str) -> String {
    format!("there is no {what} `{name}`; the list is {}", CAPABILITIES.join(", "))
}

/// What of `asks` a grant covers.
fn covered(asks: &[String], grant: &str) -> Vec<String> {
    let covers = |asked: &&String| {
        *asked == grant
            || (name(asked) == grant && *asked != WITH_DIRECT)
            || (grant == WITH_DIRECT && *asked == ALL_CONVERSATIONS)
    };
    asks.iter().filter(covers).cloned().collect()
}

/// What of `asks` the grants cover.
pub(crate) fn granted(asks: &[String], grants: &[String]) -> Vec<String> {
    if faults::on(Fault::GrantsIgnored) {
        return asks.to_vec();
    }
    let mut granted: Vec<_> = grants.iter().flat_map(|grant| covered(asks, grant)).collect();
    granted.sort();
    granted.dedup();
    granted
}

/// What of `asks` was not granted, each with the import that needs it, where there is one.
pub(crate) fn missing(asks: &[String], granted: &[String], imports: &[String]) -> Vec<Capability> {
    let import = |capability: &str| {
        let needs = |import: &&String| {
            service(import).is_some_and(|capabilities| capabilities.contains(&name(capability)))
        };
        imports.iter().find(needs).cloned()
    };
    let missing = asks.iter().filter(|asked| !granted.contains(asked));
    missing.map(|asked| Capability { capability: asked.clone(), import: import(asked) }).collect()
}

/// Says what is missing, by import and grant.
pub(crate) fn refusal(missing: &Capability) -> String {
    let Capability { capability, import } = missing;
    let grant = match capability.as_str() {
        WITH_DIRECT => WITH_DIRECT,
        other => name(other),
    };
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
        let manifest = "kv = true\nsend = false\nhttp = [\"https://b\", \"https://a:443\"]\n\
                        all-conversations = \"with-direct\"";
        let expected = strings(&["all-conversations", WITH_DIRECT, "http=https://a", "http=https://b", "kv"]);
        let mut problems = Vec::new();
        assert_eq!(asks(&toml::from_str(manifest).unwrap(), &mut problems), expected);
        assert!(problems.is_empty(), "{problems:?}");
    }

    #[test]
    fn what_cannot_be_asked_is_refused_by_name() {
        for (asked, expected) in [
            ("root = true", "no capability `root`"),
            ("kv = 1", "capability `kv` must be true or false"),
            ("member-list = \"all\"", "capability `member-list` must be true or false"),
            ("http = true", "must be a list of origins"),
            ("http = []", "names 0 origins"),
            ("http = [1]", "1 is no text"),
            ("http = [\"ftp://a.example\"]", "`ftp://a.example`"),
        ] {
            let mut problems = Vec::new();
            asks(&toml::from_str(asked).unwrap(), &mut problems);
            assert!(problems.join("\n").contains(expected), "{asked}: {problems:?}");
        }
    }

    #[test]
    fn direct_conversations_are_granted_by_their_own_name_alone() {
        let both = strings(&["all-conversations", WITH_DIRECT]);
        assert_eq!(granted(&both, &strings(&["all-conversations"])), ["all-conversations"]);
        assert_eq!(granted(&both, &strings(&[WITH_DIRECT])), both);
        assert_eq!(granted(&both[..1], &strings(&[WITH_DIRECT])), ["all-conversations"]);
        let missing = missing(&both, &strings(&["all-conversations"]), &[]);
        assert!(refusal(&missing[0]).contains(&format!("grant `{WITH_DIRECT}`")), "{missing:?}");
    }

    #[test]
    fn a_grant_by_name_covers_what_is_asked_now_and_not_what_a_later_version_asks() {
        let first = strings(&["http=https://a", "kv"]);
        let stored = granted(&first, &strings(&["http", "kv"]));
        assert_eq!(stored, first);
        let later = strings(&["http=https://a", "http=https://evil", "kv"]);
        let missing = missing(&later, &granted(&later, &stored), &strings(&["godwit:plugin/http@0.1.0"]));
        let import = Some("godwit:plugin/http@0.1.0".to_owned());
        assert_eq!(missing, [Capability { capability: "http=https://evil".to_owned(), import }]);
        let told = refusal(&missing[0]);
        for named in ["`godwit:plugin/http@0.1.0`", "`http=https://evil`", "grant `http`"] {
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
