//! Content that kills a plugin: known by its hash, and not shown to it a third time.
//!
//! What traps or is cut is noted, and is poison when the same happens again with no success of the same content in
//! between, so that a version that fails now and then does not make poison of what everybody says. The hash covers the
//! component, its configuration and the hook: another version is tried afresh. Content of which a plugin sees nothing but its size is
//! left alone, for it would all be the same.
//!
//! It owns what is noted, bounded, and refuses to know where it is stored; poison is stored by who is told of it.

use crate::{
    hooks::{Question, Subject},
    options,
};
use godwit_domain::{
    filter::{Decision, Hook, Wording},
    message::Kind,
    plugin::{Digest, Poisoned, Release},
    time::Ms,
};
use lru::LruCache;
use parking_lot::Mutex;
use sha2::{Digest as _, Sha256};
use std::{
    fmt::Write,
    num::NonZeroUsize,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
};

/// What tells one content from another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Print([u8; 32]);

impl Print {
    /// The hash of what is shown at that hook to the version that [`of_version`] tells from others, if it is shown
    /// anything.
    pub(crate) fn of(version: Digest, question: Question<'_>) -> Option<Self> {
        let hook = question.hook();
        let content = match question {
            Question::Normalise(content)
            | Question::Review(Subject::Message(content) | Subject::Edit { content, .. }) => content,
            Question::Choose { message, .. } | Question::Decide { message, .. } => &message.content,
            Question::Review(Subject::Wording(wording)) => {
                let (kind, text) = match wording {
                    Wording::Title(text) => ("title", text),
                    Wording::UserName(text) => ("user-name", text),
                    Wording::DisplayName(text) => ("display-name", text),
                    Wording::FileName(text) => ("file-name", text),
                    Wording::Reaction(text) => ("reaction", text),
                };
                let mut hash = Sha256::new();
                for part in [&version.0[..], kind.as_bytes(), text.as_bytes()] {
                    hash.update((part.len() as u64).to_be_bytes());
                    hash.update(part);
                }
                return Some(Self(hash.finalize().into()));
            }
        };
        let shown = content.kind != Kind::Encrypted;
        if !shown || (content.body.is_empty() && content.attachments.is_empty()) {
            return None;
        }
        let mut hash = Sha256::new();
        let mut part = |bytes: &[u8]| {
            hash.update((bytes.len() as u64).to_be_bytes());
            hash.update(bytes);
        };
        part(&version.0);
        part(hook.name().as_bytes());
        part(content.body.as_bytes());
        for attachment in &content.attachments {
            part(attachment.name.as_bytes());
            part(attachment.media_type.as_bytes());
        }
        Some(Self(hash.finalize().into()))
    }

    fn hex(self) -> String {
        self.0.iter().fold(String::new(), |mut text, byte| {
            // Writing to a string does not fail.
            let _ = write!(text, "{byte:02x}");
            text
        })
    }

    fn from_hex(hex: &str) -> Option<Self> {
        let Digest(bytes) = hex.parse().ok()?;
        Some(Self(bytes))
    }
}

/// Tells versions apart by what they do with content: component and configuration.
pub(crate) fn of_version(release: &Release) -> Digest {
    let hash = Sha256::new().chain_update(release.digest.0).chain_update(release.config.as_bytes());
    Digest(hash.finalize().into())
}

/// What one plugin is not shown.
pub(crate) struct Poison {
    settings: options::Poison,
    /// Nothing is noted: nothing needs to be hashed.
    empty: AtomicBool,
    noted: Mutex<LruCache<Print, Noted>>,
}

enum Noted {
    /// It killed the plugin once.
    Struck { until: Ms },
    /// It is not shown.
    Refused(Poisoned),
}

impl Noted {
    fn until(&self) -> Ms {
        match self {
            Self::Struck { until } | Self::Refused(Poisoned { until, .. }) => *until,
        }
    }
}

impl Poison {
    /// With what was poison before a restart.
    pub(crate) fn new(settings: options::Poison, stored: Vec<Poisoned>) -> Self {
        let mut noted = LruCache::unbounded();
        noted.resize(NonZeroUsize::new(settings.bodies_max as usize).unwrap_or(NonZeroUsize::MIN));
        for poisoned in stored {
            if let Some(print) = Print::from_hex(&poisoned.hash) {
                noted.put(print, Noted::Refused(poisoned));
            }
        }
        Self { settings, empty: AtomicBool::new(noted.is_empty()), noted: Mutex::new(noted) }
    }

    /// Whether nothing needs to be asked or told.
    pub(crate) fn is_empty(&self) -> bool {
        self.empty.load(Relaxed)
    }

    /// Whether that content is not shown.
    pub(crate) fn refuses(&self, print: Print, now: Ms) -> bool {
        let mut noted = self.noted.lock();
        match noted.peek(&print) {
            Some(found) if found.until() <= now => {
                noted.pop(&print);
                self.empty.store(noted.is_empty(), Relaxed);
                false
            }
            Some(Noted::Refused(_)) => true,
            _ => false,
        }
    }

    /// That content did no harm.
    pub(crate) fn harmless(&self, print: Print) {
        let mut noted = self.noted.lock();
        noted.pop(&print);
        self.empty.store(noted.is_empty(), Relaxed);
    }

    /// That content killed it; poison, if that is what it is from now on.
    pub(crate) fn killed(
        &self,
        print: Print,
        hook: Hook,
        version: &str,
        how: Decision,
        now: Ms,
    ) -> Option<Poisoned> {
        let mut noted = self.noted.lock();
        self.empty.store(false, Relaxed);
        let until = now.plus(u64::from(self.settings.expires_s) * 1_000);
        if noted.peek(&print).is_none_or(|found| found.until() <= now) {
            noted.put(print, Noted::Struck { until });
            return None;
        }
        let poisoned = Poisoned {
            hash: print.hex(),
            hook: hook.name().to_owned(),
            version: version.to_owned(),
            how: how.name().to_owned(),
            at: now,
            until,
        };
        noted.put(print, Noted::Refused(poisoned.clone()));
        Some(poisoned)
    }

    /// What is not shown, the newest first.
    pub(crate) fn list(&self, now: Ms) -> Vec<Poisoned> {
        let noted = self.noted.lock();
        let refused =
            noted.iter().filter(|(_, noted)| noted.until() > now).filter_map(|(_, noted)| match noted {
                Noted::Refused(poisoned) => Some(poisoned.clone()),
                Noted::Struck { .. } => None,
            });
        refused.collect()
    }

    /// Forgets everything.
    pub(crate) fn clear(&self) {
        self.noted.lock().clear();
        self.empty.store(true, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use godwit_domain::message::Content;

    const NOW: Ms = Ms(1_000_000);

    fn poison(bodies_max: u32) -> Poison {
        Poison::new(options::Poison { bodies_max, expires_s: 60 }, Vec::new())
    }

    fn review(version: u8, content: &Content) -> Option<Print> {
        Print::of(Digest([version; 32]), Question::Review(Subject::Message(content)))
    }

    fn print(body: &str) -> Print {
        review(1, &Content::text(body)).unwrap()
    }

    fn kill(poison: &Poison, body: &str, now: Ms) -> bool {
        poison.killed(print(body), Hook::Moderation, "1", Decision::Trap, now).is_some()
    }

    #[test]
    fn the_second_death_in_a_row_is_poison_until_its_time_is_over() {
        let poison = poison(10);
        assert!(poison.is_empty());
        assert!(!kill(&poison, "a", NOW));
        assert!(!poison.refuses(print("a"), NOW) && !poison.is_empty());
        assert!(kill(&poison, "a", NOW.plus(1_000)));
        assert!(poison.refuses(print("a"), NOW.plus(60_999)));
        assert!(!poison.refuses(print("b"), NOW.plus(60_999)));
        assert_eq!(poison.list(NOW.plus(60_999)).len(), 1);
        assert!(poison.list(NOW.plus(61_000)).is_empty());
        assert!(!poison.refuses(print("a"), NOW.plus(61_000)));
        assert!(poison.is_empty());
    }

    #[test]
    fn a_success_in_between_and_a_long_time_clear_it() {
        let poison = poison(10);
        kill(&poison, "a", NOW);
        poison.harmless(print("a"));
        assert!(poison.is_empty());
        assert!(!kill(&poison, "a", NOW));
        assert!(!kill(&poison, "a", NOW.plus(60_000)), "the first lies too far back");
    }

    #[test]
    fn no_more_is_kept_than_may_be() {
        let poison = poison(2);
        for body in ["a", "a", "b", "b"] {
            kill(&poison, body, NOW);
        }
        assert!(poison.refuses(print("a"), NOW) && poison.refuses(print("b"), NOW));
        kill(&poison, "c", NOW);
        assert!(!poison.refuses(print("a"), NOW), "the oldest made room");
        assert!(poison.refuses(print("b"), NOW));
    }

    #[test]
    fn what_was_stored_is_known_again() {
        let before = poison(10);
        kill(&before, "a", NOW);
        kill(&before, "a", NOW);
        let after = Poison::new(options::Poison { bodies_max: 10, expires_s: 60 }, before.list(NOW));
        assert!(after.refuses(print("a"), NOW));
        after.clear();
        assert!(!after.refuses(print("a"), NOW));
    }

    #[test]
    fn prints_tell_apart_version_hook_body_and_attachments() {
        let content = Content::text("a");
        let named = |name: &str, media_type: &str| {
            let attachment = godwit_domain::message::Attachment {
                media: uuid::Uuid::nil(),
                name: name.to_owned(),
                media_type: media_type.to_owned(),
                size: 1,
                width: None,
                height: None,
            };
            Content { attachments: vec![attachment], ..Content::text("") }
        };
        let prints = [
            review(1, &content),
            review(2, &content),
            Print::of(Digest([1; 32]), Question::Normalise(&content)),
            review(1, &Content::text("b")),
            review(1, &named("a", "b")),
            review(1, &named("ab", "")),
        ];
        assert!(prints.iter().all(Option::is_some));
        let different: std::collections::HashSet<_> = prints.iter().collect();
        assert_eq!(different.len(), prints.len());
        assert_eq!(review(1, &Content::text("")), None);
        let opaque = Content { kind: Kind::Encrypted, ..content };
        assert_eq!(review(1, &opaque), None);
    }
}
