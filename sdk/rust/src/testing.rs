//! A stand-in for the host, so that `cargo test` runs a plugin natively.
//!
//! It owns a captured log, counters with a clock that a test moves, and arguments to call hooks with.
//! All of it belongs to the running thread, so tests do not meet each other's.
//! It enforces no limit and runs no manifest: the host's own test run does. Start with [`init`].
//!
//! ```
//! use godwit_plugin::{testing, Lifecycle, Moderation, NoConfig, Scene, Subject, Verdict};
//!
//! struct Filter;
//!
//! impl Lifecycle for Filter {
//!     type Config = NoConfig;
//!     fn init(_config: NoConfig) -> Result<Self, String> {
//!         Ok(Filter)
//!     }
//! }
//!
//! impl Moderation for Filter {
//!     fn review(&self, _scene: &Scene, subject: Subject) -> Verdict {
//!         if subject.text().is_empty() { Verdict::hold("empty", "Say something.") } else { Verdict::Allow }
//!     }
//! }
//!
//! let filter: Filter = testing::init("{}").unwrap();
//! assert_eq!(filter.review(&testing::scene(), testing::message("hello")), Verdict::Allow);
//! ```

use crate::{
    hooks::{Lifecycle, build},
    types::{
        Content, Conversation, ConversationKind, Counts, Edit, Facts, Id, Level, Message, Ms, Recipient,
        Role, Scene, SenderActivity, Subject, User,
    },
};
use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    time::Duration,
};

/// When a test's clock starts: an ordinary day in 2025.
pub const START: Ms = 1_750_000_000_000;

thread_local! {
    static NOW: Cell<Ms> = const { Cell::new(START) };
    static LOG: RefCell<Vec<(Level, String)>> = const { RefCell::new(Vec::new()) };
    static HITS: RefCell<HashMap<String, Vec<Ms>>> = RefCell::new(HashMap::new());
}

/// Builds a plugin from configuration text as the host does.
///
/// # Errors
/// What the operator would read: the configuration does not fit the type, or the plugin refused it.
pub fn init<P: Lifecycle>(config: &str) -> Result<P, String> {
    build(config)
}

/// The present time of this thread's stand-in.
pub fn now() -> Ms {
    NOW.get()
}

/// Sets the time, which never goes by itself.
pub fn set_now(now: Ms) {
    NOW.set(now);
}

/// Lets time pass.
pub fn advance(by: Duration) {
    NOW.set(NOW.get() + by.as_millis() as Ms);
}

/// Takes the lines logged so far, oldest first.
pub fn take_log() -> Vec<(Level, String)> {
    LOG.take()
}

/// A scene for one hook call: a member of a small group, now.
pub fn scene() -> Scene {
    Scene {
        now: now(),
        conversation: Some(Conversation {
            id: Id::from_u128(1),
            kind: ConversationKind::Group,
            title: Some("Team".to_owned()),
            member_count: 3,
            encrypted: false,
            labels: Vec::new(),
        }),
        sender: User {
            id: Id::from_u128(2),
            name: "ada".to_owned(),
            display_name: Some("Ada".to_owned()),
            bot: false,
            joined_at: START - 86_400_000,
            time_zone: None,
        },
        sender_role: Some(Role::Member),
        activity: SenderActivity {
            here: Some(Counts::default()),
            overall: Counts::default(),
            same_body_60s: 0,
            member_since: Some(START - 3_600_000),
        },
        via: None,
    }
}

/// The scene of what belongs to no conversation: a name, the title of one that is to be made, an upload.
pub fn nowhere() -> Scene {
    let activity = SenderActivity { here: None, member_since: None, ..scene().activity };
    Scene { conversation: None, sender_role: None, activity, ..scene() }
}

/// A message to be reviewed.
pub fn message(body: impl Into<String>) -> Subject {
    Subject::Message(Content::text(body))
}

/// An edit to be reviewed, of a message of the [`scene`]'s sender.
pub fn edit(original: impl Into<String>, body: impl Into<String>) -> Subject {
    Subject::Edit(Edit { original: sent(original), content: Content::text(body) })
}

/// A message that has its number, of the [`scene`]'s sender, for the hooks that come after it.
pub fn sent(body: impl Into<String>) -> Message {
    Message {
        conversation: Id::from_u128(1),
        seq: 1,
        sender: Id::from_u128(2),
        sent_at: now(),
        content: Content::text(body),
        edited: false,
        via: None,
    }
}

/// The facts of a conversation of these members, whom a fan-out rule is shown; the first of them is an admin.
pub fn facts(members: &[Id]) -> Facts {
    Facts {
        follow_above: 100,
        member_count: members.len() as u32,
        follower_count: 0,
        online_count: members.len() as u32,
        admins: members.first().copied().into_iter().collect(),
        mentioned: Vec::new(),
        members: Some(members.to_vec()),
    }
}

/// A member whom a message is about to reach: online, and not looking.
pub fn recipient(id: Id, name: impl Into<String>) -> Recipient {
    let user = User { id, name: name.into(), display_name: None, ..scene().sender };
    Recipient { user, role: Role::Member, online: true, active: false, mentioned: false, muted_until: None }
}

pub(crate) fn log(level: Level, message: &str) {
    LOG.with_borrow_mut(|lines| lines.push((level, message.to_owned())));
}

pub(crate) fn hit(key: &str, window_ms: u32) -> u32 {
    HITS.with_borrow_mut(|hits| hits.entry(key.to_owned()).or_default().push(now()));
    peek(key, window_ms)
}

pub(crate) fn peek(key: &str, window_ms: u32) -> u32 {
    let recent = |&at: &Ms| at + Ms::from(window_ms) > now();
    HITS.with_borrow(|hits| {
        hits.get(key).map_or(0, |times| times.iter().filter(|at| recent(at)).count() as u32)
    })
}
