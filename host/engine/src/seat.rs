//! A plugin in its place: which of its versions is asked about what, and what its failures mean.
//!
//! It owns scope, canary and the policies of an operator; it refuses to know the order of plugins. Everything in a
//! seat is shared: a change makes a new one of what stays and what is new.

use crate::{
    actor::Seated,
    faults::{self, Fault},
    health::Health,
    instance::Failure,
    metrics::Meter,
    poison::Poison,
    pool::Pool,
    services::Private,
    shadow::Shadow,
};
use godwit_domain::{
    filter::{Decision, Hook, Place, Reason},
    id::ConversationId,
    plugin::{Digest, Installation, OnFailure, OnOpen, Release},
};
use std::sync::Arc;

/// A plugin in its place.
#[derive(Clone)]
pub(crate) struct Seat {
    pub(crate) id: Arc<str>,
    pub(crate) installation: Arc<Installation>,
    pub(crate) private: Arc<Private>,
    pub(crate) poison: Arc<Poison>,
    pub(crate) active: Version,
    /// What its active version is as an actor, if it is one. A version beside it acts once it is active.
    pub(crate) actor: Option<Arc<Seated>>,
    pub(crate) trial: Option<Trial>,
}

/// A version that serves, or could not be loaded.
#[derive(Clone)]
pub(crate) struct Version {
    pub(crate) release: Arc<Release>,
    /// What [`crate::poison`] knows it by.
    pub(crate) print: Digest,
    pub(crate) meter: Arc<Meter>,
    pub(crate) health: Arc<Health>,
    /// Where its instances are; or why there are none, in which case it counts as trapped: what must be heard and
    /// cannot be lets nothing through.
    pub(crate) pool: Result<Arc<Pool>, Arc<str>>,
}

/// A version beside the active one that runs.
#[derive(Clone)]
pub(crate) enum Trial {
    Shadow(Arc<Shadow>),
    /// It decides in so many conversations of a hundred.
    Canary(Version, u8),
}

impl Seat {
    pub(crate) fn priority(&self) -> i32 {
        self.installation.policy.priority.unwrap_or(self.installation.active.priority)
    }

    /// Whether there is anything to ask it at that hook.
    pub(crate) fn serves(&self, hook: Hook) -> bool {
        let trial = match &self.trial {
            Some(Trial::Shadow(shadow)) => shadow.serves(hook),
            Some(Trial::Canary(version, _)) => version.release.hooks.contains(&hook),
            None => false,
        };
        !self.installation.policy.disabled && (trial || self.active.release.hooks.contains(&hook))
    }

    /// The version that is asked about what happens there, and whether it is the canary; none outside the scope.
    pub(crate) fn route(&self, place: Option<&Place>) -> Option<(&Version, bool)> {
        if !self.installation.policy.scope.covers(place) && !faults::on(Fault::ScopeIgnored) {
            return None;
        }
        match (&self.trial, place) {
            (Some(Trial::Canary(version, percent)), Some(place)) if in_canary(place.id, *percent) => {
                Some((version, true))
            }
            _ => Some((&self.active, false)),
        }
    }

    /// Who looks on.
    pub(crate) fn shadow(&self) -> Option<&Shadow> {
        match &self.trial {
            Some(Trial::Shadow(shadow)) => Some(shadow),
            _ => None,
        }
    }

    /// What becomes of a message there that the plugin did not judge. Only what was not asked may go on.
    pub(crate) fn unjudged(&self, place: Option<&Place>, how: Decision) -> OnOpen {
        let policy = &self.installation.policy;
        let (version, _) = self.route(place).unwrap_or((&self.active, false));
        if how == Decision::Open {
            return policy.on_open.unwrap_or(version.release.on_open);
        }
        match policy.on_failure.unwrap_or(version.release.on_failure) {
            OnFailure::Hold => OnOpen::Hold,
            OnFailure::Reject => OnOpen::Reject,
        }
    }

    /// All that run.
    pub(crate) fn versions(&self) -> impl Iterator<Item = &Version> {
        let canary = match &self.trial {
            Some(Trial::Canary(version, _)) => Some(version),
            _ => None,
        };
        std::iter::once(&self.active).chain(canary)
    }
}

impl Version {
    /// Writes a failure into the plugin's log and its kind into the metrics. Who was not asked has nothing to log: it
    /// was told when that began.
    pub(crate) fn note(&self, private: &Private, hook: Hook, failure: &Failure) {
        let Failure { how, kind, why } = failure;
        if matches!(how, Decision::Open | Decision::Poison) {
            return;
        }
        if *how == Decision::Trap {
            self.meter.trapped(hook, kind);
        }
        let text = format!("host: {} of `{}`: {why}", how.name(), hook.name());
        private.log("error", &self.release.version, &text);
    }
}

/// What a sender hears of content that is not shown any more: it is no use to try again.
pub(crate) fn poisonous() -> Reason {
    Reason { code: "poison".to_owned(), text: "This message cannot be checked, so it is refused.".to_owned() }
}

/// Whether a conversation belongs to that share. It stays in it when the share grows.
fn in_canary(conversation: ConversationId, percent: u8) -> bool {
    let id = conversation.0.as_u128();
    // Ids are random or hashes, but for the bits of their version and of time: mixed as in SplitMix64.
    let mut mixed = (id >> 64) as u64 ^ id as u64;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    faults::on(Fault::CanaryEverywhere) || (mixed ^ (mixed >> 31)) % 100 < u64::from(percent)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_canary_has_its_share_and_keeps_its_conversations_when_it_grows() {
        let ids: Vec<_> = (0..20_000u128)
            .map(|id| ConversationId(uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_OID, &id.to_be_bytes())))
            .collect();
        let share = |percent| ids.iter().filter(|id| in_canary(**id, percent)).count();
        for percent in [1, 10, 50, 99] {
            let (found, expected) = (share(percent), usize::from(percent) * 200);
            assert!(found.abs_diff(expected) < 300, "{percent}: {found} of 20,000");
        }
        assert!(ids.iter().all(|id| !in_canary(*id, 10) || in_canary(*id, 11)));
        // Small numbers, as tests use them, are spread as well.
        let small = (0..1_000).filter(|id| in_canary(ConversationId::from_u128(*id), 50)).count();
        assert!(small.abs_diff(500) < 100, "{small}");
    }
}
