//! What is told of changes that are no messages.

use super::Counts;
use godwit_domain::{
    conversation::{History, Posting, Role},
    id::{ConversationId, Rev, Seq, UserId},
    revision::{self, MetaChange, What},
    time::Ms,
};
use serde::Serialize;
use uuid::Uuid;

/// A revision.
#[derive(Debug, Clone, Serialize)]
pub struct Revision<'a> {
    conversation: ConversationId,
    rev: Rev,
    at_seq: Seq,
    #[serde(skip_serializing_if = "Option::is_none")]
    by: Option<UserId>,
    at: Ms,
    #[serde(flatten)]
    what: Told<'a>,
}

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "snake_case")]
enum Told<'a> {
    Edit {
        seq: Seq,
        #[serde(skip_serializing_if = "Option::is_none")]
        body: Option<&'a str>,
    },
    Delete {
        seq: Seq,
    },
    React {
        seq: Seq,
        emoji: &'a str,
        on: bool,
        count: u32,
    },
    #[serde(rename = "react")]
    Reacts {
        seq: Seq,
        counts: Counts<'a>,
    },
    Join {
        user: UserId,
        role: Role,
    },
    Leave {
        user: UserId,
        #[serde(skip_serializing_if = "Option::is_none")]
        reason: Option<&'a str>,
    },
    Role {
        user: UserId,
        role: Role,
    },
    Meta(Meta<'a>),
}

/// `null` says that it was cleared.
#[derive(Debug, Clone, Copy, Serialize)]
struct Meta<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    title: Option<Option<&'a str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    avatar: Option<Option<Uuid>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    open: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    history: Option<History>,
    #[serde(skip_serializing_if = "Option::is_none")]
    posting: Option<Posting>,
    #[serde(skip_serializing_if = "Option::is_none")]
    slow_mode_s: Option<Option<u32>>,
}

impl<'a> From<&'a MetaChange> for Meta<'a> {
    fn from(change: &'a MetaChange) -> Self {
        let title = change.title.as_ref().map(Option::as_deref);
        let MetaChange { avatar, open, history, posting, slow_mode_s, .. } = *change;
        let slow_mode_s = slow_mode_s.map(|seconds| (seconds > 0).then_some(seconds));
        Self { title, avatar, open, history, posting, slow_mode_s }
    }
}

impl<'a> Revision<'a> {
    /// The revision of that conversation. `body` is the text that an edit gave, where it still stands.
    pub fn new(
        conversation: ConversationId,
        revision: &'a revision::Revision,
        body: Option<&'a str>,
    ) -> Self {
        let what = match &revision.what {
            What::Edit { seq, body: given } => Told::Edit { seq: *seq, body: body.or(given.as_deref()) },
            What::Delete { seq } => Told::Delete { seq: *seq },
            What::React { seq, emoji, on, count } => Told::React { seq: *seq, emoji, on: *on, count: *count },
            What::Reacts { seq, counts, .. } => Told::Reacts { seq: *seq, counts: Counts(counts) },
            What::Join { user, role } => Told::Join { user: *user, role: *role },
            What::Leave { user, reason } => Told::Leave { user: *user, reason: reason.as_deref() },
            What::Role { user, role } => Told::Role { user: *user, role: *role },
            What::Meta(change) => Told::Meta(change.into()),
        };
        let revision::Revision { rev, at_seq, by, at, .. } = *revision;
        // Those who did were many.
        let by = (!matches!(what, Told::Reacts { .. })).then_some(by);
        Self { conversation, rev, at_seq, by, at, what }
    }
}

/// Where a conversation stands, for a session that was spared a push.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Head {
    /// Which.
    pub conversation: ConversationId,
    /// The number of the newest message.
    pub last_seq: Seq,
    /// The number of the newest revision.
    pub last_rev: Rev,
    /// When a message, the membership or the meta changed last.
    pub updated_at: Ms,
}

/// A message that the user deleted for themselves.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Hidden {
    /// Where.
    pub conversation: ConversationId,
    /// Which.
    pub seq: Seq,
    /// How many they hid there.
    pub hidden: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_revision_names_what_happened_and_null_clears() {
        let change = MetaChange { title: Some(None), open: Some(true), ..MetaChange::default() };
        let what = [
            (What::Meta(change), r#""meta":{"title":null,"open":true}"#),
            (What::Edit { seq: Seq(2), body: Some("x".into()) }, r#""edit":{"seq":2,"body":"x"}"#),
            (What::Edit { seq: Seq(2), body: None }, r#""edit":{"seq":2}"#),
            (What::Delete { seq: Seq(2) }, r#""delete":{"seq":2}"#),
        ];
        for (what, expected) in what {
            let by = UserId::from_u128(1);
            let revision = revision::Revision { rev: Rev(1), at_seq: Seq(3), by, at: Ms(5), what };
            let told = Revision::new(ConversationId::from_u128(7), &revision, None);
            let json = serde_json::to_string(&told).unwrap_or_default();
            assert!(json.ends_with(&format!(r#""at":5,{expected}}}"#)), "{json}");
        }
    }
}
