//! What the host does by itself about a version that fails: takes it back, ends its canary, puts it into quarantine;
//! and what it remembers of content that killed one.
//!
//! Each alarm is carried out as an operator's change would be: stored, then published, and told in the log, in the
//! plugin's log and in its status.

use super::{Live, find};
use crate::health::{Alarm, What};
use godwit_domain::plugin::{Error, Installation, Quarantine, Reverted, Roster, Trial};
use std::{
    sync::{Arc, Weak},
    time::Duration,
};
use tokio::sync::mpsc;

/// How often an alarm is tried while the store fails, and how long between. The version is not asked meanwhile.
const TRIES: u32 = 60;
const PAUSE: Duration = Duration::from_secs(1);

/// Carries out alarms for as long as there is something live.
pub(crate) async fn heed(live: Weak<Live>, mut alarms: mpsc::Receiver<Alarm>) {
    while let Some(alarm) = alarms.recv().await {
        for _ in 0..TRIES {
            let Some(live) = live.upgrade() else { return };
            match live.carry_out(&alarm).await {
                Err(error @ Error::Store(_)) => {
                    tracing::warn!(plugin = %alarm.plugin, %error, "an alarm could not be stored yet");
                    drop(live);
                    tokio::time::sleep(PAUSE).await;
                }
                Err(error) => {
                    tracing::error!(plugin = %alarm.plugin, %error, "an alarm could not be carried out");
                    break;
                }
                Ok(()) => break,
            }
        }
    }
}

impl Live {
    async fn carry_out(self: &Arc<Self>, alarm: &Alarm) -> Result<(), Error> {
        if let What::Poison(poisoned) = &alarm.what {
            return Ok(self.tables.put_poisoned(&alarm.plugin, poisoned).await?);
        }
        let mut roster = self.roster.lock().await;
        let mut after = roster.clone();
        // Removed in between.
        let Ok(plugin) = find(&mut after, &alarm.plugin) else { return Ok(()) };
        let told = match &alarm.what {
            What::EndCanary(why) => end_canary(plugin, alarm, why),
            What::Revert(why) => match self.revert(plugin, alarm, why).await {
                Some(told) => Some(told),
                None => self.quarantine(plugin, alarm, why),
            },
            What::Quarantine(why) => self.quarantine(plugin, alarm, why),
            What::Poison(_) => None,
        };
        // Another version has taken its place.
        let Some(told) = told else { return Ok(()) };
        self.replace(&mut roster, after, alarm).await?;
        let version = &alarm.release.version;
        tracing::error!(plugin = %alarm.plugin, version, "{told}");
        if let Some(seat) = self.find(&alarm.plugin) {
            seat.private.log("error", version, &format!("host: {told}"));
        }
        Ok(())
    }

    async fn replace(&self, roster: &mut Roster, mut after: Roster, alarm: &Alarm) -> Result<(), Error> {
        let plugin = find(&mut after, &alarm.plugin)?;
        let seat = self.assemble(plugin, None).await?;
        self.change(roster, after, Some(seat)).await?;
        Ok(())
    }

    /// Back to the version before, if there is one that starts and the operator lets it.
    async fn revert(&self, plugin: &mut Installation, alarm: &Alarm, why: &str) -> Option<String> {
        if plugin.active != *alarm.release || plugin.policy.pinned {
            return None;
        }
        let now = self.clock.now();
        let mut back = plugin.clone();
        let previous = back.previous.take()?;
        let (from, to) = (plugin.active.version.clone(), previous.version.clone());
        back.swap(previous, now);
        back.reverted = Some(Reverted { from: from.clone(), to: to.clone(), why: why.to_owned(), at: now });
        if let Err(error) = self.assemble(&back, None).await {
            tracing::error!(plugin = %alarm.plugin, %error, "the version before cannot serve");
            return None;
        }
        *plugin = back;
        Some(format!("version `{from}` was taken back, `{to}` serves again: {why}"))
    }

    fn quarantine(&self, plugin: &mut Installation, alarm: &Alarm, why: &str) -> Option<String> {
        if plugin.active != *alarm.release || plugin.quarantine.is_some() {
            return None;
        }
        plugin.quarantine = Some(Quarantine { why: why.to_owned(), at: self.clock.now() });
        Some(format!("version `{}` is in quarantine, and is asked no more: {why}", plugin.active.version))
    }
}

fn end_canary(plugin: &mut Installation, alarm: &Alarm, why: &str) -> Option<String> {
    let candidate = plugin.candidate.take_if(|candidate| {
        candidate.release == *alarm.release && matches!(candidate.trial, Trial::Canary { .. })
    })?;
    Some(format!("the canary of version `{}` was ended: {why}", candidate.release.version))
}
