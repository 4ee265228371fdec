//! The tests in a manifest: what they hand in, and what they want to see.
//!
//! Names are those of the interface. What is left out has a plain value, so that a test says what it is about alone.
//! The steps of scenarios ([`crate::workbench`]) are written in the same words.

mod words;

pub(crate) use words::{When, Who};

use crate::hooks::{Question, Subject};
use godwit_domain::{
    conversation::Role,
    filter::{self, Hook, Notified, Scene, Verdict, Wording},
    id::{ClientId, ConversationId, Seq, UserId},
    message::{Content, Message},
    time::Ms,
    user::{Privacy, User},
};
use serde::{Deserialize, Deserializer, de::Error as _};
use std::sync::Arc;
use uuid::Uuid;

/// A test that runs before the version goes live.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Test {
    pub(crate) hook: Hook,
    input: Input,
    pub(crate) expect: Expect,
}

/// What a test hands in: something of some sender in some group.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
struct Input {
    /// When it happens; the present time where it is left out.
    now: Option<When>,
    /// What a message says.
    body: Option<String>,
    /// What the message said that `body` is to replace.
    original: Option<String>,
    title: Option<String>,
    user_name: Option<String>,
    display_name: Option<String>,
    file_name: Option<String>,
    reaction: Option<String>,
    /// Whom the message mentions.
    mentions: Vec<Who>,
    /// What the sender did lately.
    activity: Option<Activity>,
    facts: Option<Facts>,
    recipients: Option<Vec<Recipient>>,
}

#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
struct Activity {
    here: Option<Counts>,
    overall: Counts,
    same_body_60s: u32,
    member_since: Option<When>,
}

#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
struct Counts {
    messages_10s: u32,
    messages_60s: u32,
    messages_1h: u32,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
struct Facts {
    follow_above: Option<u32>,
    member_count: Option<u32>,
    follower_count: u32,
    online_count: u32,
    admins: Vec<Who>,
    mentioned: Vec<Who>,
    members: Option<Vec<Who>>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
struct Recipient {
    id: Option<Who>,
    name: Option<String>,
    time_zone: Option<String>,
    role: Option<Role>,
    online: bool,
    active: bool,
    mentioned: bool,
    muted_until: Option<When>,
}

/// What a test wants to see.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Expect {
    /// `allow = true`: left as it was, or to the built-in rule.
    #[serde(deserialize_with = "just_true")]
    Allow,
    /// `reject = { code = "…" }`.
    Reject(Code),
    /// `hold = { code = "…" }`.
    Hold(Code),
    /// `rewrite = { body = "…" }`.
    Rewrite(Body),
    /// `audience = { live = "followers", notified = { only = ["…"] } }`.
    Audience(Audience),
    /// `attention = ["normal", "quiet", { notify-later = … }]`, one for each recipient.
    Attention(Vec<Attention>),
    /// `trap = "…"`: it breaks, and says this among what it says of it.
    Trap(String),
    /// `deadline = true`: it is cut.
    #[serde(deserialize_with = "just_true")]
    Deadline,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Code {
    pub(crate) code: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Body {
    pub(crate) body: String,
}

/// [`filter::Audience`] as a manifest writes it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Audience {
    live: Live,
    notified: Told,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Live {
    Everyone,
    Followers,
    FollowersAnd(Vec<Who>),
    Only(Vec<Who>),
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Told {
    Everyone,
    Mentioned,
    Only(Vec<Who>),
    Nobody,
}

/// [`filter::Attention`] as a manifest writes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Attention {
    Normal,
    Quiet,
    NotifyLater(When),
    NoNotification,
}

fn just_true<'de, D: Deserializer<'de>>(from: D) -> Result<(), D::Error> {
    match bool::deserialize(from)? {
        true => Ok(()),
        false => Err(D::Error::custom(
            "`allow` must be true, as `deadline` must: what else is expected has a name of its own",
        )),
    }
}

/// What is asked in a test.
pub(crate) enum Asked<'a> {
    Normalise(Content),
    Message(Content),
    Edit(Message, Content),
    Wording(Wording<'a>),
    Choose(Message, filter::Facts),
    Decide(Message, Vec<filter::Recipient>, Ms),
}

impl Asked<'_> {
    pub(crate) fn question(&self) -> Question<'_> {
        match self {
            Self::Normalise(content) => Question::Normalise(content),
            Self::Message(content) => Question::Review(Subject::Message(content)),
            Self::Edit(original, content) => Question::Review(Subject::Edit { original, content }),
            Self::Wording(wording) => Question::Review(Subject::Wording(*wording)),
            Self::Choose(message, facts) => Question::Choose { message, facts, members: true },
            Self::Decide(message, recipients, now) => Question::Decide { message, recipients, now: *now },
        }
    }
}

impl Test {
    /// When it happens, if that is not the present time.
    pub(crate) fn now(&self) -> Option<Ms> {
        self.input.now.map(Ms::from)
    }

    /// What the sender did lately, where the test says so.
    pub(crate) fn activity(&self) -> Option<filter::Activity> {
        let counts = |counts: Counts| filter::Counts {
            messages_10s: counts.messages_10s,
            messages_60s: counts.messages_60s,
            messages_1h: counts.messages_1h,
        };
        self.input.activity.map(|activity| filter::Activity {
            here: activity.here.map(counts),
            overall: counts(activity.overall),
            same_body_60s: activity.same_body_60s,
            member_since: activity.member_since.map(Ms::from),
        })
    }

    /// What is sent in it, if it is about a message that is new.
    pub(crate) fn sends(&self) -> Option<&str> {
        self.input.body.as_deref().filter(|_| self.input.original.is_none())
    }

    /// Gives recipients that are named what is known of them; what the test says itself stays.
    pub(crate) fn introduce(&mut self, known: impl Fn(&str) -> Option<(Option<Role>, Option<String>)>) {
        for recipient in self.input.recipients.iter_mut().flatten() {
            if let Some((role, time_zone)) = recipient.name.as_deref().and_then(&known) {
                recipient.role = recipient.role.or(role);
                recipient.time_zone = recipient.time_zone.take().or(time_zone);
            }
        }
    }

    /// What of it does not fit together.
    pub(crate) fn problem(&self) -> Option<String> {
        let hook = self.hook.name();
        let fits = match self.hook {
            _ if matches!(self.expect, Expect::Trap(_) | Expect::Deadline) => true,
            Hook::Normalise => matches!(self.expect, Expect::Allow | Expect::Reject(_) | Expect::Rewrite(_)),
            Hook::Moderation => matches!(self.expect, Expect::Allow | Expect::Reject(_) | Expect::Hold(_)),
            Hook::FanOut => matches!(self.expect, Expect::Allow | Expect::Audience(_)),
            Hook::Delivery => matches!(self.expect, Expect::Allow | Expect::Attention(_)),
        };
        if !fits {
            return Some(format!("expects what `{hook}` cannot answer: {:?}", self.expect));
        }
        let given = self.input.given();
        let (needs, may): (&[&[&str]], &[&str]) = match self.hook {
            Hook::Normalise => (&[&["body"]], &[]),
            Hook::Moderation => (
                &[&["body"], &["title"], &["user-name"], &["display-name"], &["file-name"], &["reaction"]],
                &["original"],
            ),
            Hook::FanOut => (&[&["body"]], &["facts"]),
            Hook::Delivery => (&[&["body", "recipients"]], &[]),
        };
        let satisfied = needs.iter().any(|need| {
            let may = if need.contains(&"body") { may } else { &[] };
            need.iter().all(|key| given.contains(key))
                && given.iter().all(|key| need.contains(key) || may.contains(key))
        });
        if satisfied {
            return None;
        }
        let needs: Vec<_> = needs.iter().map(|need| format!("`{}`", need.join("` and `"))).collect();
        let given = if given.is_empty() { "nothing".to_owned() } else { given.join(", ") };
        Some(format!("hands in {given}; `{hook}` takes {}", needs.join(" or ")))
    }

    /// What it asks, in that scene. Only for one without a [`Test::problem`].
    pub(crate) fn asked(&self, scene: &Scene) -> Asked<'_> {
        let Input { body, original, title, user_name, display_name, file_name, reaction, .. } = &self.input;
        let wordings = [
            title.as_deref().map(Wording::Title),
            user_name.as_deref().map(Wording::UserName),
            display_name.as_deref().map(Wording::DisplayName),
            file_name.as_deref().map(Wording::FileName),
            reaction.as_deref().map(Wording::Reaction),
        ];
        let mentions = users(&self.input.mentions);
        let content = Content { mentions, ..Content::text(body.clone().unwrap_or_default()) };
        match (self.hook, original, wordings.into_iter().flatten().next()) {
            (Hook::Normalise, ..) => Asked::Normalise(content),
            (Hook::Moderation, _, Some(wording)) => Asked::Wording(wording),
            (Hook::Moderation, Some(original), _) => {
                Asked::Edit(message(scene, Content::text(original)), content)
            }
            (Hook::Moderation, ..) => Asked::Message(content),
            (Hook::FanOut, ..) => {
                let facts = self.input.facts.clone().unwrap_or_default().shown(&content.mentions);
                let mentions = facts.mentioned.clone();
                Asked::Choose(message(scene, Content { mentions, ..content }), facts)
            }
            (Hook::Delivery, ..) => {
                let recipients = self.input.recipients.iter().flatten().enumerate();
                let recipients: Vec<_> =
                    recipients.map(|(n, recipient)| recipient.shown(n, scene.now)).collect();
                let mentioned = recipients.iter().filter(|recipient| recipient.mentioned);
                let mentions = mentioned.map(|recipient| recipient.user.id).collect();
                Asked::Decide(message(scene, Content { mentions, ..content }), recipients, scene.now)
            }
        }
    }
}

/// Shows what is asked.
impl std::fmt::Display for Test {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Input { body, title, user_name, display_name, file_name, reaction, .. } = &self.input;
        let texts = [body, title, user_name, display_name, file_name, reaction];
        let text = texts.into_iter().flatten().next().map_or("", String::as_str);
        write!(f, "`{}` of {text:?}", self.hook.name())
    }
}

impl Input {
    /// The names of what is handed in.
    fn given(&self) -> Vec<&'static str> {
        let given = [
            ("body", self.body.is_some()),
            ("original", self.original.is_some()),
            ("title", self.title.is_some()),
            ("user-name", self.user_name.is_some()),
            ("display-name", self.display_name.is_some()),
            ("file-name", self.file_name.is_some()),
            ("reaction", self.reaction.is_some()),
            ("facts", self.facts.is_some()),
            ("recipients", self.recipients.is_some()),
        ];
        given.into_iter().filter(|(_, given)| *given).map(|(name, _)| name).collect()
    }
}

impl Facts {
    fn shown(self, mentions: &[UserId]) -> filter::Facts {
        let mentioned = if self.mentioned.is_empty() { mentions.to_vec() } else { users(&self.mentioned) };
        let members = self.members.as_deref().map(users);
        filter::Facts {
            follow_above: self.follow_above.unwrap_or(100),
            member_count: self.member_count.unwrap_or_else(|| {
                members.as_ref().map_or(2, |members| u32::try_from(members.len()).unwrap_or(u32::MAX))
            }),
            follower_count: self.follower_count,
            online_count: self.online_count,
            admins: users(&self.admins),
            mentioned,
            members,
        }
    }
}

impl Recipient {
    /// The `n`th of a list, who came in at that time.
    fn shown(&self, n: usize, joined_at: Ms) -> filter::Recipient {
        // After the sender, who is the first.
        let named = || self.name.as_deref().map(Who::named);
        let id = self.id.or_else(named).map_or(UserId::from_u128(n as u128 + 2), UserId::from);
        let user = User {
            id,
            name: self.name.clone().unwrap_or_else(|| format!("recipient-{}", n + 1)),
            display_name: None,
            bot: false,
            time_zone: self.time_zone.clone(),
            joined_at,
            avatar: None,
            privacy: Privacy::default(),
        };
        filter::Recipient {
            user: Arc::new(user),
            role: self.role.unwrap_or(Role::Member),
            online: self.online,
            active: self.active,
            mentioned: self.mentioned,
            muted_until: self.muted_until.map(Ms::from),
        }
    }
}

fn users(list: &[Who]) -> Vec<UserId> {
    list.iter().copied().map(UserId::from).collect()
}

/// A message of the scene's sender.
fn message(scene: &Scene, content: Content) -> Message {
    let conversation = scene.conversation.as_ref().map_or(ConversationId(Uuid::nil()), |place| place.id);
    Message {
        conversation,
        seq: Seq(1),
        sender: scene.sender.id,
        client_id: ClientId(Uuid::nil()),
        sent_at: scene.now,
        content,
        via: None,
        verdict: Verdict::default(),
        revised: None,
    }
}

impl PartialEq<filter::Audience> for Audience {
    fn eq(&self, found: &filter::Audience) -> bool {
        let live = match (&self.live, &found.live) {
            (Live::Everyone, filter::Live::Everyone) | (Live::Followers, filter::Live::Followers) => true,
            (Live::FollowersAnd(list), filter::Live::FollowersAnd(found))
            | (Live::Only(list), filter::Live::Only(found)) => users(list) == *found,
            _ => false,
        };
        let notified = match (&self.notified, &found.notified) {
            (Told::Everyone, Notified::Everyone)
            | (Told::Mentioned, Notified::Mentioned)
            | (Told::Nobody, Notified::Nobody) => true,
            (Told::Only(list), Notified::Only(found)) => users(list) == *found,
            _ => false,
        };
        live && notified
    }
}

impl PartialEq<filter::Attention> for Attention {
    fn eq(&self, found: &filter::Attention) -> bool {
        match (*self, *found) {
            (Self::Normal, filter::Attention::Normal)
            | (Self::Quiet, filter::Attention::Quiet)
            | (Self::NoNotification, filter::Attention::NoNotification) => true,
            (Self::NotifyLater(at), filter::Attention::NotifyLater(found)) => Ms::from(at) == found,
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(text: &str) -> Option<String> {
        toml::from_str::<Test>(text).unwrap().problem()
    }

    #[test]
    fn each_hook_takes_what_it_is_about() {
        for good in [
            r#"hook = "normalise"
               input = { body = "x", now = 7 }
               expect = { rewrite = { body = "y" } }"#,
            r#"hook = "moderation"
               input = { body = "x", original = "y" }
               expect = { hold = { code = "a" } }"#,
            r#"hook = "moderation"
               input = { user-name = "x" }
               expect = { allow = true }"#,
            r#"hook = "fan-out"
               input = { body = "x", facts = { member-count = 7 } }
               expect = { audience = { live = "followers", notified = { only = [] } } }"#,
            r#"hook = "delivery"
               input = { body = "x", recipients = [{ role = "admin", online = true }] }
               expect = { attention = [{ notify-later = 7 }] }"#,
        ] {
            assert_eq!(problem(good), None, "{good}");
        }
        for (wrong, expected) in [
            (r#"{ hook = "moderation", input = {}, expect = { allow = true } }"#, "hands in nothing"),
            (
                r#"{ hook = "moderation", input = { title = "x", original = "y" }, expect = { allow = true } }"#,
                "hands in original, title",
            ),
            (
                r#"{ hook = "normalise", input = { title = "x" }, expect = { allow = true } }"#,
                "`normalise` takes `body`",
            ),
            (
                r#"{ hook = "delivery", input = { body = "x" }, expect = { allow = true } }"#,
                "takes `body` and `recipients`",
            ),
            (
                r#"{ hook = "fan-out", input = { body = "x" }, expect = { reject = { code = "a" } } }"#,
                "expects what `fan-out` cannot answer",
            ),
        ] {
            #[derive(Deserialize)]
            struct One {
                test: Test,
            }
            let One { test } = toml::from_str(&format!("test = {wrong}")).unwrap();
            let found = test.problem().unwrap();
            assert!(found.contains(expected), "{wrong}: {found}");
        }
    }
}
