//! Capabilities: the closed list of what a manifest may ask for and an operator may grant, and what each opens.
//!
//! It owns the spelling of grants and which import needs which; it refuses to know how a service works. What a plugin
//! gets is what it asks *and* what was granted: neither alone opens anything.

use super::http::origin::Origin;
use std::collections::{BTreeMap, BTreeSet};

/// All capabilities, by name.
pub(crate) const CAPABILITIES: [&str; 9] =
    ["kv", "send", "history", "members", "member-list", "timer", "http", "secret", "all-conversations"];
/// What a bot must be granted to hear direct conversations of which it is no member.
const WITH_DIRECT: &str = "all-conversations=with-direct";
/// Origins that one manifest may ask for.
const ORIGINS_MAX: usize = 32;

/// Imports that need a grant, and which: any of them opens the interface.
const SERVICES: [(&str, &[&str]); 5] = [
    ("godwit:plugin/kv@0.1.0", &["kv"]),
    ("godwit:plugin/chat@0.1.0", &["send", "history", "members"]),
    ("godwit:plugin/timer@0.1.0", &["timer"]),
    ("godwit:plugin/http@0.1.0", &["http"]),
    ("godwit:plugin/secret@0.1.0", &["secret"]),
];

/// What a plugin may: what it asks for, as far as the operator granted it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Grants {
    names: BTreeSet<String>,
    origins: Vec<Origin>,
}

impl Grants {
    /// Reads what a manifest asks for and what was granted. All problems are told at once.
    pub(crate) fn read(
        asked: &BTreeMap<String, toml::Value>,
        granted: &[String],
        problems: &mut Vec<String>,
    ) -> Self {
        let asked = names(asked, problems);
        let mut given = BTreeSet::new();
        for grant in granted {
            let capability = grant.split_once('=').map_or(grant.as_str(), |(name, _)| name);
            if !CAPABILITIES.contains(&capability) {
                problems
                    .push(format!("there is no grant `{grant}`; the list is {}", CAPABILITIES.join(", ")));
            } else if grant == "http" {
                // All that it asks now; an upgrade that asks for another origin has to be granted that.
                given.extend(asked.iter().filter(|name| name.starts_with("http=")).cloned());
            } else if !asked.iter().any(|name| name == grant || name.starts_with(&format!("{grant}="))) {
                problems.push(format!("grant `{grant}` is for what the manifest does not ask"));
            } else {
                given.insert(grant.clone());
            }
        }
        if given.contains(WITH_DIRECT) {
            given.insert("all-conversations".to_owned());
        }
        let origins = given.iter().filter_map(|name| name.strip_prefix("http="));
        let origins = origins.filter_map(|origin| Origin::parse(origin).ok()).collect();
        Self { names: given, origins }
    }

    /// As they are stored, and as they may be granted again.
    pub(crate) fn names(&self) -> Vec<String> {
        self.names.iter().cloned().collect()
    }

    /// Whether a capability was granted; `http` counts with any origin.
    pub(crate) fn may(&self, capability: &str) -> bool {
        self.names.contains(capability) || (capability == "http" && !self.origins.is_empty())
    }

    /// The origins that requests may go to.
    pub(crate) fn origins(&self) -> &[Origin] {
        &self.origins
    }

    /// Whether an import is linked; those that need no grant always are.
    pub(crate) fn opens(&self, import: &str) -> bool {
        let service = SERVICES.iter().find(|(service, _)| *service == import);
        service.is_none_or(|(_, capabilities)| capabilities.iter().any(|name| self.may(name)))
    }

    /// Which of these imports are not granted, and what would satisfy each.
    pub(crate) fn missing(&self, imports: &[String]) -> Vec<String> {
        let closed = imports.iter().filter(|import| !self.opens(import));
        let missing = closed.filter_map(|import| {
            let (_, capabilities) = SERVICES.iter().find(|(service, _)| service == import)?;
            let names: Vec<_> = capabilities.iter().map(|name| format!("`{name}`")).collect();
            Some(format!(
                "import `{import}` needs the capability {}, which is not granted: name it in the manifest's \
                 [capabilities], and grant it",
                names.join(" or ")
            ))
        });
        missing.collect()
    }
}

/// Whether this is a service that needs a grant.
pub(crate) fn is_service(import: &str) -> bool {
    SERVICES.iter().any(|(service, _)| *service == import)
}

/// What a manifest asks, in the spelling of grants.
fn names(asked: &BTreeMap<String, toml::Value>, problems: &mut Vec<String>) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for (name, value) in asked {
        match (name.as_str(), value) {
            (unknown, _) if !CAPABILITIES.contains(&unknown) => problems
                .push(format!("there is no capability `{unknown}`; the list is {}", CAPABILITIES.join(", "))),
            ("http", toml::Value::Array(origins)) => {
                if origins.is_empty() || origins.len() > ORIGINS_MAX {
                    let count = origins.len();
                    problems.push(format!(
                        "capability `http` names {count} origins; 1 to {ORIGINS_MAX} are possible"
                    ));
                }
                for origin in origins.iter().take(ORIGINS_MAX) {
                    match origin.as_str().map(Origin::parse) {
                        Some(Ok(origin)) => drop(names.insert(format!("http={origin}"))),
                        Some(Err(why)) => problems.push(format!("capability `http`: {why}")),
                        None => problems.push(format!("capability `http`: {origin} is no text")),
                    }
                }
            }
            ("http", _) => {
                problems.push(
                    "capability `http` must be a list of origins, as [\"https://api.example.com\"]"
                        .to_owned(),
                );
            }
            ("all-conversations", toml::Value::String(with)) if with == "with-direct" => {
                names.insert(WITH_DIRECT.to_owned());
                names.insert(name.clone());
            }
            (_, toml::Value::Boolean(true)) => drop(names.insert(name.clone())),
            (_, toml::Value::Boolean(false)) => {}
            (_, value) => problems.push(format!("capability `{name}` must be true or false, and is {value}")),
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(asked: &str, granted: &[&str]) -> (Grants, String) {
        let asked: BTreeMap<String, toml::Value> = toml::from_str(asked).unwrap();
        let granted: Vec<String> = granted.iter().map(|name| (*name).to_owned()).collect();
        let mut problems = Vec::new();
        let grants = Grants::read(&asked, &granted, &mut problems);
        (grants, problems.join("\n"))
    }

    #[test]
    fn only_what_is_asked_and_granted_is_open() {
        let (grants, problems) = read("kv = true\nsecret = true\nsend = false", &["kv"]);
        assert_eq!(problems, "");
        assert!(grants.may("kv") && !grants.may("secret") && !grants.may("send"));
        assert!(grants.opens("godwit:plugin/kv@0.1.0") && grants.opens("godwit:plugin/log@0.1.0"));
        let missing = grants.missing(&["godwit:plugin/chat@0.1.0".into(), "godwit:plugin/kv@0.1.0".into()]);
        assert_eq!(missing.len(), 1);
        assert!(
            missing[0].contains("`godwit:plugin/chat@0.1.0` needs the capability `send` or `history`"),
            "{missing:?}"
        );
    }

    #[test]
    fn an_origin_that_was_not_granted_stays_closed_over_an_upgrade() {
        let (before, _) = read("http = [\"https://a.example\"]", &["http"]);
        assert_eq!(before.names(), ["http=https://a.example"]);
        let stored: Vec<_> = before.names();
        let stored: Vec<_> = stored.iter().map(String::as_str).collect();
        let (after, problems) = read("http = [\"https://a.example\", \"https://b.example\"]", &stored);
        assert_eq!((after.names().join(" "), problems), ("http=https://a.example".to_owned(), String::new()));
        assert_eq!(after.origins(), [Origin::parse("https://a.example").unwrap()]);
    }

    #[test]
    fn all_conversations_leaves_the_direct_ones_out_unless_they_are_named() {
        let (grants, _) = read("all-conversations = true", &["all-conversations"]);
        assert!(grants.may("all-conversations") && !grants.may(WITH_DIRECT));
        let (grants, _) = read("all-conversations = \"with-direct\"", &["all-conversations"]);
        assert!(grants.may("all-conversations") && !grants.may(WITH_DIRECT));
        let (grants, _) = read("all-conversations = \"with-direct\"", &[WITH_DIRECT]);
        assert!(grants.may("all-conversations") && grants.may(WITH_DIRECT));
        let (_, problems) = read("all-conversations = true", &[WITH_DIRECT]);
        assert!(problems.contains("does not ask"), "{problems}");
    }

    #[test]
    fn what_is_no_capability_is_refused_by_name() {
        for (asked, granted, expected) in [
            ("root = true", &[][..], "no capability `root`"),
            ("kv = 1", &[], "capability `kv` must be true or false"),
            ("kv = true", &["root"], "no grant `root`"),
            ("kv = true", &["send"], "grant `send` is for what the manifest does not ask"),
            ("http = true", &[], "must be a list of origins"),
            ("http = []", &[], "names 0 origins"),
            ("http = [1]", &[], "1 is no text"),
            ("http = [\"ftp://a.example\"]", &[], "`ftp://a.example`"),
            ("http = [\"https://a.example\"]", &["http=https://b.example"], "does not ask"),
        ] {
            let (_, problems) = read(asked, granted);
            assert!(problems.contains(expected), "{asked} {granted:?}: {problems}");
        }
    }
}
