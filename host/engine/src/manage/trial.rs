//! A version beside the active one: granted what it waits for, shown what the active one sees, given its share of
//! conversations, made active, or dropped.

use super::{
    Live, find,
    install::{check_percent, diff, installed, pinned_to},
};
use crate::grants;
use godwit_domain::plugin::{Advance, Candidate, Error, Installation, Installed, State, Trial};

impl Live {
    pub(crate) async fn advance(&self, id: &str, advance: Advance) -> Result<Installed, Error> {
        let mut roster = self.roster.lock().await;
        let mut after = roster.clone();
        let plugin = find(&mut after, id)?;
        let Some(Candidate { mut release, trial }) = plugin.candidate.take() else {
            return Err(Error::Conflict(format!("`{id}` has no version beside the active one")));
        };
        if let (Trial::Pending { missing }, Advance::Shadow | Advance::Canary(_) | Advance::Promote) =
            (&trial, &advance)
        {
            let missing = missing.iter().map(grants::refusal).collect();
            return Err(Error::Refused(missing));
        }
        let becomes_active = matches!(advance, Advance::Grant(_) | Advance::Promote);
        if becomes_active && plugin.policy.pinned {
            return Err(Error::Conflict(pinned_to(plugin)));
        }
        let difference = diff(Some(&plugin.active), &release);
        let beside = |state| move |told: Installed| Installed { state, ..told };
        let mut ready = None;
        let mut told = match advance {
            Advance::Grant(capabilities) => {
                if !matches!(trial, Trial::Pending { .. }) {
                    return Err(Error::Conflict(format!("no version of `{id}` waits for a grant")));
                }
                let (mut problems, mut unasked) = (Vec::new(), Vec::new());
                grants::check(&release.asks, &capabilities, &mut problems, &mut unasked);
                problems.extend(unasked);
                release.grants.extend(grants::granted(&release.asks, &capabilities));
                release.grants = grants::granted(&release.asks, &release.grants);
                let missing = grants::missing(&release.asks, &release.grants, &release.imports);
                problems.extend(missing.iter().map(grants::refusal));
                if !problems.is_empty() {
                    return Err(Error::Refused(problems));
                }
                let made = self.prepare(id, &release).await?;
                release.actor = self.stage.rehearse(&made).await?;
                let difference = diff(Some(&plugin.active), &release);
                plugin.swap(release, self.clock.now());
                let told = Installed { warnings: made.warnings.clone(), ..installed(plugin, difference) };
                ready = Some(made);
                told
            }
            Advance::Promote => {
                plugin.swap(release, self.clock.now());
                installed(plugin, difference)
            }
            Advance::Drop => installed(plugin, Default::default()),
            Advance::Shadow => {
                plugin.candidate = Some(Candidate { release, trial: Trial::Shadow });
                beside(State::Shadow)(of_candidate(plugin))
            }
            Advance::Canary(percent) => {
                check_percent(percent)?;
                plugin.candidate = Some(Candidate { release, trial: Trial::Canary { percent } });
                beside(State::Canary)(of_candidate(plugin))
            }
        };
        let seat = self.assemble(plugin, ready.as_ref()).await?;
        told.generation = self.change(&mut roster, after, Some(seat)).await?;
        Ok(told)
    }
}

/// The version beside the active one, as it is told after a change.
fn of_candidate(plugin: &Installation) -> Installed {
    let told = installed(plugin, Default::default());
    match &plugin.candidate {
        Some(Candidate { release, .. }) => Installed {
            version: release.version.clone(),
            digest: release.digest.to_string(),
            diff: diff(Some(&plugin.active), release),
            ..told
        },
        None => told,
    }
}
