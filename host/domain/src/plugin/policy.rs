//! What an operator decides about a plugin, whichever version serves: order, scope, failures, on and off.

use crate::{
    conversation::Kind,
    filter::Place,
    id::ConversationId,
    plugin::{Capability, Release},
    time::Ms,
};
use serde::{Deserialize, Serialize};

/// What becomes of a message that moderation could not judge.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnFailure {
    /// It is refused as temporary.
    #[default]
    Reject,
    /// It is held, and judged again by itself.
    Hold,
}

/// What becomes of a message while moderation is not asked: its breaker is open, or it is in quarantine.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnOpen {
    /// It is refused as temporary.
    #[default]
    Reject,
    /// It is held, and judged again by itself.
    Hold,
    /// It goes on, as if this plugin were not there.
    Allow,
}

/// The conversations for which a plugin is installed: those that any of the lists names. With none, it is installed
/// for everything, what belongs to no conversation included.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Scope {
    /// All conversations of these kinds.
    pub kinds: Vec<Kind>,
    /// All conversations that carry one of these labels.
    pub labels: Vec<String>,
    /// These conversations, in the order of their ids.
    pub conversations: Vec<ConversationId>,
}

impl Scope {
    /// Entries of one list.
    pub const ENTRIES_MAX: usize = 1_000;
    /// Bytes of a label.
    pub const LABEL_BYTES_MAX: usize = 100;

    /// Whether it leaves nothing out.
    pub fn is_everything(&self) -> bool {
        self.kinds.is_empty() && self.labels.is_empty() && self.conversations.is_empty()
    }

    /// Whether the plugin is asked there; `None` is what belongs to no conversation.
    pub fn covers(&self, place: Option<&Place>) -> bool {
        if self.is_everything() {
            return true;
        }
        place.is_some_and(|place| {
            self.kinds.contains(&place.kind)
                || self.conversations.binary_search(&place.id).is_ok()
                || place.labels.iter().any(|label| self.labels.contains(label))
        })
    }

    /// The same scope with sorted lists, each entry once; or what is wrong with it.
    pub fn checked(mut self) -> Result<Self, String> {
        let counts = [
            ("kinds", self.kinds.len()),
            ("labels", self.labels.len()),
            ("conversations", self.conversations.len()),
        ];
        for (list, count) in counts {
            if count > Self::ENTRIES_MAX {
                return Err(format!("`{list}` has {count} entries, the limit is {}", Self::ENTRIES_MAX));
            }
        }
        let limit = Self::LABEL_BYTES_MAX;
        if let Some(label) = self.labels.iter().find(|label| label.is_empty() || label.len() > limit) {
            return Err(format!("the label {label:?} must have 1 to {limit} bytes"));
        }
        self.kinds.sort_by_key(|kind| *kind as u8);
        self.kinds.dedup();
        self.labels.sort();
        self.labels.dedup();
        self.conversations.sort();
        self.conversations.dedup();
        Ok(self)
    }
}

/// What an operator decided about a plugin; it outlives its versions.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// It is not asked.
    pub disabled: bool,
    /// Its version stays: no upgrade, no rollback.
    pub pinned: bool,
    /// In place of the manifest's.
    pub priority: Option<i32>,
    /// In place of the manifest's.
    pub on_failure: Option<OnFailure>,
    /// In place of the manifest's.
    pub on_open: Option<OnOpen>,
    /// Where it is asked.
    pub scope: Scope,
}

/// How far a version is that does not decide yet, or not everywhere.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Trial {
    /// It asks for more than it was granted, and waits.
    Pending {
        /// What it was not granted.
        missing: Vec<Capability>,
    },
    /// It sees what the active version sees, and what it says is compared and dropped.
    Shadow,
    /// It decides in some conversations.
    Canary {
        /// In how many of a hundred.
        percent: u8,
    },
}

/// A version beside the active one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Candidate {
    /// The version.
    pub release: Release,
    /// How far it is.
    pub trial: Trial,
}

/// Why a version is asked no more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quarantine {
    /// What it did.
    pub why: String,
    /// Since when.
    pub at: Ms,
}

/// A version that was taken back by the host itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reverted {
    /// What was taken back.
    pub from: String,
    /// What serves in its place.
    pub to: String,
    /// What it did.
    pub why: String,
    /// When.
    pub at: Ms,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(id: u128, kind: Kind, labels: &[&str]) -> Place {
        Place {
            id: ConversationId::from_u128(id),
            kind,
            title: None,
            member_count: 2,
            encrypted: false,
            labels: labels.iter().map(|label| (*label).to_owned()).collect(),
        }
    }

    #[test]
    fn a_scope_covers_what_any_of_its_lists_names_and_nothing_without_a_conversation() {
        let everything = Scope::default();
        assert!(everything.covers(None) && everything.covers(Some(&place(1, Kind::Direct, &[]))));
        let some = Scope {
            kinds: vec![Kind::Channel],
            labels: vec!["press".to_owned()],
            conversations: vec![ConversationId::from_u128(9), ConversationId::from_u128(4)],
        };
        let some = some.checked().unwrap();
        for (place, covered) in [
            (place(1, Kind::Channel, &[]), true),
            (place(1, Kind::Group, &[]), false),
            (place(1, Kind::Group, &["staff"]), false),
            (place(1, Kind::Group, &["staff", "press"]), true),
            (place(4, Kind::Direct, &[]), true),
            (place(9, Kind::Direct, &[]), true),
        ] {
            assert_eq!(some.covers(Some(&place)), covered, "{place:?}");
        }
        assert!(!some.covers(None));
    }

    #[test]
    fn a_scope_is_bounded() {
        let at = |count: usize| Scope {
            conversations: (0..count).map(|id| ConversationId::from_u128(id as u128)).collect(),
            ..Scope::default()
        };
        assert!(at(Scope::ENTRIES_MAX).checked().is_ok());
        assert!(at(Scope::ENTRIES_MAX + 1).checked().unwrap_err().contains("the limit is 1000"));
        let label = |label: String| Scope { labels: vec![label], ..Scope::default() };
        assert!(label("x".repeat(100)).checked().is_ok());
        assert!(label("x".repeat(101)).checked().is_err() && label(String::new()).checked().is_err());
    }
}
