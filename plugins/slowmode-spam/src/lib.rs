//! Slows down who sends too much, and keeps the links of newcomers from going out unseen.
//!
//! It owns limits and what counts as a link; it counts nothing itself, because the host tells every filter what the
//! sender did lately. Start with [`Slowmode::review`](Moderation::review).

mod config;
mod links;
#[cfg(test)]
mod tests;

use config::{Config, Flood, Limits, Links};
use godwit_plugin::{Lifecycle, Moderation, Reason, Scene, Subject, Verdict};

const HOUR_MS: u64 = 3_600_000;

/// The filter.
pub struct Slowmode {
    config: Config,
}

impl Lifecycle for Slowmode {
    type Config = Config;

    fn init(mut config: Config) -> Result<Self, String> {
        for host in &mut config.hosts {
            *host = host.trim_start_matches('.').to_lowercase();
            if host.is_empty() {
                return Err("`hosts` has an entry without a name".to_owned());
            }
        }
        Ok(Self { config })
    }
}

impl Moderation for Slowmode {
    fn review(&self, scene: &Scene, subject: Subject) -> Verdict {
        let (content, new) = match &subject {
            Subject::Message(content) => (content, true),
            // An edit is no message more, but may bring a link in.
            Subject::Edit(edit) => (&edit.content, false),
            _ => return Verdict::Allow,
        };
        if new && let Some(reason) = self.beyond(scene) {
            return match self.config.flood {
                Flood::Reject => Verdict::Reject(reason),
                Flood::Hold => Verdict::Hold(reason),
            };
        }
        if !self.newcomer(scene) || !links::any(&content.body, &self.config.hosts) {
            return Verdict::Allow;
        }
        let text = "Links of new members are looked at first.";
        match self.config.newcomer_links {
            Links::Allow => Verdict::Allow,
            Links::Hold => Verdict::hold("newcomer-link", text),
            Links::Reject => Verdict::reject("newcomer-link", "New members cannot send links yet."),
        }
    }
}

impl Slowmode {
    /// Beyond which limit this message is. What was sent before is told without it, so the limit itself is reached.
    fn beyond(&self, scene: &Scene) -> Option<Reason> {
        let Limits { in_10s, in_60s, in_1h, same_in_60s, everywhere_in_60s } =
            self.config.limits_of(scene.sender_role);
        let activity = &scene.activity;
        let here = activity.here.unwrap_or_default();
        let reached = |limit: Option<u32>, sent: u32| limit.is_some_and(|limit| sent >= limit);
        if reached(same_in_60s, activity.same_body_60s) {
            return Some(Reason::new("repeated", "You have sent this just now."));
        }
        let fast = [
            (in_10s, here.messages_10s),
            (in_60s, here.messages_60s),
            (everywhere_in_60s, activity.overall.messages_60s),
        ];
        if fast.into_iter().any(|(limit, sent)| reached(limit, sent)) {
            return Some(Reason::new(
                "too-fast",
                "That was a lot at once. Wait a moment, then send it again.",
            ));
        }
        let much = reached(in_1h, here.messages_1h);
        much.then(|| {
            Reason::new("too-much", "You have written a lot here. Give others a turn, for up to an hour.")
        })
    }

    /// Whether the sender came in a short time ago; outside of conversations, whether the account is new.
    fn newcomer(&self, scene: &Scene) -> bool {
        let since = scene.activity.member_since.unwrap_or(scene.sender.joined_at);
        scene.now < since.saturating_add(u64::from(self.config.newcomer_hours) * HOUR_MS)
    }
}

godwit_plugin::lifecycle!(Slowmode);
godwit_plugin::moderation!(Slowmode);
