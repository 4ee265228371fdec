//! What an operator decides about a plugin, whichever version serves; and what it is not shown.

use super::{Live, find};
use godwit_domain::plugin::{Error, Poisoned, Setting, Status};

impl Live {
    pub(crate) async fn set(&self, id: &str, setting: Setting) -> Result<Status, Error> {
        let mut roster = self.roster.lock().await;
        let mut after = roster.clone();
        let plugin = find(&mut after, id)?;
        match setting {
            Setting::Disabled(disabled) => {
                plugin.policy.disabled = disabled;
                if !disabled {
                    plugin.quarantine = None;
                }
            }
            Setting::Pinned(pinned) => plugin.policy.pinned = pinned,
            Setting::Priority(priority) => plugin.policy.priority = priority,
            Setting::Failure(on_failure, on_open) => {
                (plugin.policy.on_failure, plugin.policy.on_open) = (on_failure, on_open);
            }
            Setting::Scope(scope) => {
                plugin.policy.scope = scope.checked().map_err(|problem| Error::Refused(vec![problem]))?;
            }
        }
        let before = roster.plugins.iter().find(|other| other.id == id);
        if before != Some(&*plugin) {
            let seat = self.assemble(plugin, None).await?;
            self.change(&mut roster, after, Some(seat)).await?;
        }
        self.status(id).ok_or_else(|| Error::NotFound(id.to_owned()))
    }

    pub(crate) fn poisoned(&self, id: &str) -> Result<Vec<Poisoned>, Error> {
        let seat = self.find(id).ok_or_else(|| Error::NotFound(id.to_owned()))?;
        Ok(seat.poison.list(self.clock.now()))
    }

    pub(crate) async fn forgive(&self, id: &str) -> Result<usize, Error> {
        let seat = self.find(id).ok_or_else(|| Error::NotFound(id.to_owned()))?;
        let count = seat.poison.list(self.clock.now()).len();
        self.forget_poison(id).await?;
        seat.poison.clear();
        Ok(count)
    }

    pub(super) async fn forget_poison(&self, id: &str) -> Result<(), godwit_domain::waist::Error> {
        let stored = self.tables.poisoned(id).await?;
        let hashes: Vec<String> = stored.into_iter().map(|poisoned| poisoned.hash).collect();
        self.tables.drop_poisoned(id, &hashes).await
    }
}
