//! What a manifest says of actors: their hooks, the events that a bot wants to hear, and tests.

use crate::options::Options;
use godwit_domain::actor::{EventKind, Hook};
use serde::Deserialize;
use std::{collections::BTreeMap, ops::Deref};

/// Hooks of actors.
pub(crate) const HOOKS: [Hook; 4] = [Hook::Bot, Hook::Command, Hook::Notifier, Hook::Inbound];
/// What a bot may ask to hear.
const EVENTS: [(&str, EventKind); 9] = [
    ("message", EventKind::Message),
    ("mentioned", EventKind::Mentioned),
    ("edited", EventKind::Edited),
    ("deleted", EventKind::Deleted),
    ("reaction", EventKind::Reaction),
    ("joined", EventKind::Joined),
    ("left", EventKind::Left),
    ("timer", EventKind::Timer),
    ("sent", EventKind::Sent),
];

/// What a manifest that holds together says of its actor.
#[derive(Debug, Clone, Default)]
pub(crate) struct Checked {
    pub(crate) hooks: Vec<Hook>,
    pub(crate) events: Vec<EventKind>,
    /// Memory in MiB for each instance, within what the operator allows.
    pub(crate) memory_mib: u32,
}

impl Checked {
    /// Takes the names of hooks out of which filters took theirs, and the names of events.
    pub(crate) fn read(
        hooks: Vec<Hook>,
        events: &[String],
        memory_mib: Option<u32>,
        options: &Options,
        problems: &mut Vec<String>,
        warnings: &mut Vec<String>,
    ) -> Self {
        let bot = hooks.contains(&Hook::Bot);
        let mut heard = Vec::new();
        for name in events {
            match EVENTS.iter().find(|(known, _)| known == name) {
                Some((_, kind)) if heard.contains(kind) => {
                    problems.push(format!("event `{name}` is named twice"))
                }
                Some((_, kind)) => heard.push(*kind),
                None => {
                    let known: Vec<_> = EVENTS.iter().map(|(known, _)| *known).collect();
                    problems.push(format!("there is no event `{name}`; the list is {}", known.join(", ")));
                }
            }
        }
        if !bot && !events.is_empty() {
            problems.push("`events` are for the hook `bot`, which is not among `hooks`".to_owned());
        }
        if bot && events.is_empty() {
            warnings.push("`events` is empty, so the hook `bot` hears nothing".to_owned());
        }
        heard.sort();
        let limit = options.actors.memory_mib_max;
        let asked = memory_mib.unwrap_or(options.actors.memory_mib).max(1);
        if asked > limit && !hooks.is_empty() {
            warnings.push(format!(
                "limits.memory_mib = {asked} was clamped to {limit} for actors, the most this host allows"
            ));
        }
        Self { hooks, events: heard, memory_mib: asked.min(limit) }
    }
}

/// The tests of a manifest: those of filters, as a list, and those of actors beside it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tests {
    filters: Vec<crate::manifest::Test>,
    pub(crate) actors: Vec<Test>,
}

impl Deref for Tests {
    type Target = Vec<crate::manifest::Test>;

    fn deref(&self) -> &Self::Target {
        &self.filters
    }
}

impl<'de> Deserialize<'de> for Tests {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let mut tests = Self::default();
        for (n, table) in Vec::<toml::Table>::deserialize(from)?.into_iter().enumerate() {
            let refused = |error: toml::de::Error| {
                serde::de::Error::custom(format!("test {}: {}", n + 1, error.message()))
            };
            let name = table.get("hook").and_then(toml::Value::as_str).unwrap_or_default();
            match HOOKS.iter().any(|hook| hook.name() == name) {
                true => tests.actors.push(toml::Value::Table(table).try_into().map_err(refused)?),
                false => tests.filters.push(toml::Value::Table(table).try_into().map_err(refused)?),
            }
        }
        Ok(tests)
    }
}

/// A test of an actor.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Test {
    pub(crate) hook: Hook,
    #[serde(default)]
    pub(crate) input: Input,
    pub(crate) expect: Expect,
}

/// What a test hands in. What does not belong to its hook is not looked at.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Input {
    /// Of a bot: which event, `message` where it is left out.
    pub(crate) event: Option<String>,
    /// The text of the message, the body of the request, the preview of the notification.
    pub(crate) body: String,
    /// The timer's name, or the emoji.
    pub(crate) name: String,
    /// The command, without the slash.
    pub(crate) command: String,
    pub(crate) arguments: BTreeMap<String, toml::Value>,
    /// Of a request.
    pub(crate) method: Option<String>,
    pub(crate) path: String,
    pub(crate) query: Option<String>,
    pub(crate) headers: BTreeMap<String, String>,
    /// Of a notification.
    pub(crate) kind: String,
    pub(crate) endpoint: String,
    /// What stands in `kv` before.
    pub(crate) kv: BTreeMap<String, String>,
}

/// What a test wants to see. What is left out may be anything.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Expect {
    /// The texts that it sends, in order.
    pub(crate) send: Option<Vec<String>>,
    /// What it writes to `kv`, all of it; a key that it deletes is `false`.
    pub(crate) kv: Option<BTreeMap<String, toml::Value>>,
    /// The names of the timers that it sets.
    pub(crate) timers: Option<Vec<String>>,
    /// The requests that it makes, as `POST https://api.example.com/x`; in scenarios alone, where they are answered.
    pub(crate) http: Option<Vec<String>>,
    /// How many effects there are in all.
    pub(crate) effects: Option<usize>,
    /// Of a command: what the caller alone sees, what all see, or that nobody sees anything.
    pub(crate) to_caller: Option<String>,
    pub(crate) to_all: Option<String>,
    pub(crate) silent: Option<bool>,
    /// Of a request.
    pub(crate) status: Option<u16>,
    pub(crate) body: Option<String>,
    /// Of a notification: `sent`, `gone` or `later`.
    pub(crate) outcome: Option<String>,
    /// That it answers `err`, with a text that contains this.
    pub(crate) refused: Option<String>,
    /// That it breaks, and says this among what it says of it.
    pub(crate) trap: Option<String>,
}

/// The kind of event that a test names.
pub(crate) fn event_kind(name: &str) -> Option<EventKind> {
    EVENTS.iter().find(|(known, _)| *known == name).map(|(_, kind)| *kind)
}
