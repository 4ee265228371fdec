//! What grants open: which import needs which capability, and what a version may.
//!
//! It refuses to know how grants are spelled and who gave them, which is [`crate::grants`]; and how a service works.

use super::http::origin::Origin;
use std::collections::BTreeSet;

/// Imports that need a grant, and which: any of them opens the interface.
const SERVICES: [(&str, &[&str]); 5] = [
    ("godwit:plugin/kv@0.1.0", &["kv"]),
    ("godwit:plugin/chat@0.1.0", &["send", "history", "members"]),
    ("godwit:plugin/timer@0.1.0", &["timer"]),
    ("godwit:plugin/http@0.1.0", &["http"]),
    ("godwit:plugin/secret@0.1.0", &["secret"]),
];

/// What a version may: what it asks for, as far as the operator granted it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Grants {
    names: BTreeSet<String>,
    origins: Vec<Origin>,
}

impl Grants {
    /// Takes grants as [`crate::grants::granted`] writes them out.
    pub(crate) fn of(granted: &[String]) -> Self {
        let origins = granted.iter().filter_map(|name| name.strip_prefix("http="));
        let origins = origins.filter_map(|origin| Origin::parse(origin).ok()).collect();
        Self { names: granted.iter().cloned().collect(), origins }
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
        service(import).is_none_or(|capabilities| capabilities.iter().any(|name| self.may(name)))
    }
}

/// Any of which capabilities opens an import, if it is a service that needs one.
pub(crate) fn service(import: &str) -> Option<&'static [&'static str]> {
    SERVICES.iter().find(|(service, _)| *service == import).map(|(_, capabilities)| *capabilities)
}

/// Which of these imports stay closed whatever is granted, because the manifest asks for nothing that opens them.
pub(crate) fn unasked(imports: &[String], asks: &[String]) -> Vec<String> {
    let all = Grants::of(asks);
    let closed = imports.iter().filter(|import| !all.opens(import));
    let told = closed.filter_map(|import| {
        let names: Vec<_> = service(import)?.iter().map(|name| format!("`{name}`")).collect();
        Some(format!(
            "import `{import}` needs the capability {}, which is not granted: name it in the manifest's \
             [capabilities], and grant it",
            names.join(" or ")
        ))
    });
    told.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strings(list: &[&str]) -> Vec<String> {
        list.iter().map(|text| (*text).to_owned()).collect()
    }

    #[test]
    fn only_what_is_granted_is_open() {
        let grants = Grants::of(&strings(&["kv", "http=https://a.example"]));
        assert!(grants.may("kv") && grants.may("http") && !grants.may("secret"));
        assert!(grants.opens("godwit:plugin/kv@0.1.0") && grants.opens("godwit:plugin/log@0.1.0"));
        assert!(!grants.opens("godwit:plugin/chat@0.1.0"));
        assert_eq!(grants.origins(), [Origin::parse("https://a.example").unwrap()]);
        assert!(!Grants::default().may("http"));
    }

    #[test]
    fn an_import_for_which_nothing_is_asked_is_told_with_what_would_open_it() {
        let imports = strings(&["godwit:plugin/chat@0.1.0", "godwit:plugin/kv@0.1.0"]);
        let told = unasked(&imports, &strings(&["kv"]));
        assert_eq!(told.len(), 1);
        assert!(
            told[0].contains("`godwit:plugin/chat@0.1.0` needs the capability `send` or `history`"),
            "{told:?}"
        );
        assert!(unasked(&imports, &strings(&["kv", "history"])).is_empty());
    }
}
