//! A version comes in: checked, tried, stored, and then active, beside the active one, or waiting for its grant.

use super::{Live, PLUGINS_MAX, find};
use crate::{
    actor, grants,
    stage::{Candidate, Looked},
};
use godwit_domain::{
    actor::Served,
    plugin::{
        self, Begin, Capability, Component, Delta, Diff, Digest, Error, Install, Installation, Installed,
        Release, Roster, State, Trial,
    },
};
use sha2::{Digest as _, Sha256};

impl Live {
    pub(crate) async fn install(&self, install: Install) -> Result<Installed, Error> {
        let mut roster = self.roster.lock().await;
        let Install { id, manifest, component, grants, config, to, dry_run } = install;
        let present = roster.plugins.iter().find(|plugin| plugin.id == id);
        let active = present.map(|plugin| &plugin.active);
        let (digest, component) = self.bytes(component).await?;
        let stays = |of: fn(&Release) -> String, default: &str| active.map_or_else(|| default.to_owned(), of);
        let config = config.unwrap_or_else(|| stays(|active| active.config.clone(), "{}"));
        let grants = grants.or_else(|| active.map(|active| active.grants.clone())).unwrap_or_default();
        let candidate = Candidate {
            id: &id,
            manifest: &manifest,
            digest,
            component: &component,
            config: &config,
            grants: &grants,
        };
        let mut looked = self.stage.check(&candidate)?;
        let mut warnings = std::mem::take(&mut looked.warnings);
        let mut release = self.release(&candidate, &looked);
        let missing = grants::missing(&release.asks, &release.grants, &release.imports);
        let state = begin(to, &missing, present)?;
        let (version, difference) = (release.version.clone(), diff(active, &release));
        let installed = |generation, warnings| Installed {
            id: id.clone(),
            version: version.clone(),
            digest: digest.to_string(),
            generation,
            state,
            missing: missing.clone(),
            diff: difference.clone(),
            warnings,
        };

        let same = active.is_some_and(|active| alike(active, &release));
        if same && state == State::Active && self.find(&id).is_some_and(|seat| seat.active.pool.is_ok()) {
            return Ok(installed(roster.generation, warnings));
        }
        let trial = trial(state, to, &missing);
        let waits = present.and_then(|plugin| plugin.candidate.as_ref());
        if waits.is_some_and(|waits| alike(&waits.release, &release) && Some(&waits.trial) == trial.as_ref())
        {
            return Ok(installed(roster.generation, warnings));
        }
        // A version that waits is not linked, so it cannot be tried: that comes with its grant.
        let ready = match state {
            State::Pending => None,
            _ => {
                let ready = self.stage.make(&candidate, looked).await?;
                release.actor = self.stage.rehearse(&ready).await?;
                Some(ready)
            }
        };
        if present.is_none() && roster.plugins.len() >= PLUGINS_MAX {
            let problem = format!("{PLUGINS_MAX} plugins are installed, which is the limit; remove one");
            return Err(Error::Refused(vec![problem]));
        }
        if let Some(pinned) = present.filter(|plugin| plugin.policy.pinned && !same) {
            let problem = pinned_to(pinned);
            if !dry_run {
                return Err(Error::Conflict(problem));
            }
            warnings.push(problem);
        }
        if let Some(waits) = waits.filter(|waits| !alike(&waits.release, &release)) {
            warnings.push(format!(
                "version `{}`, which was beside the active one, is dropped",
                waits.release.version
            ));
        }
        if release.actor.is_some() && matches!(state, State::Shadow | State::Canary) {
            warnings.push("its hooks of actors are not called before it is active".to_owned());
        }
        if dry_run {
            return Ok(installed(roster.generation, warnings));
        }

        let mut after = roster.clone();
        let place = enter(&mut after, &id, &release, trial, same, self.clock.now());
        self.tables.put_component(digest, &component).await?;
        let seat = self.assemble(&after.plugins[place], ready.as_ref()).await?;
        // What borrows the roster is made before it changes.
        let mut installed = installed(roster.generation, warnings);
        installed.generation = self.change(&mut roster, after, Some(seat)).await?;
        Ok(installed)
    }

    async fn bytes(&self, component: Component) -> Result<(Digest, Vec<u8>), Error> {
        match component {
            Component::Bytes(bytes) => Ok((Digest(Sha256::digest(&bytes).into()), bytes)),
            Component::Digest(digest) => {
                let bytes = self.tables.component(digest).await?.ok_or(Error::NoComponent(digest))?;
                Ok((digest, bytes))
            }
        }
    }

    fn release(&self, candidate: &Candidate<'_>, looked: &Looked) -> Release {
        let Looked { checked, outside, .. } = looked;
        // Its commands and kinds it tells when it is rehearsed.
        let actor::manifest::Checked { hooks, events, .. } = checked.actor.clone();
        let actor = Served { hooks, events, ..Served::default() };
        Release {
            version: checked.manifest.version.clone(),
            digest: candidate.digest,
            manifest: candidate.manifest.to_owned(),
            config: candidate.config.to_owned(),
            grants: grants::granted(&checked.asks, candidate.grants),
            hooks: checked.hooks.clone(),
            actor: (!checked.actor.hooks.is_empty()).then_some(actor),
            priority: checked.manifest.priority,
            on_failure: checked.on_failure,
            on_open: checked.on_open,
            asks: checked.asks.clone(),
            imports: outside.imports.clone(),
            installed_at: self.clock.now(),
        }
    }

    pub(crate) async fn rollback(&self, id: &str) -> Result<Installed, Error> {
        let mut roster = self.roster.lock().await;
        let mut after = roster.clone();
        let plugin = find(&mut after, id)?;
        if plugin.policy.pinned {
            return Err(Error::Conflict(pinned_to(plugin)));
        }
        let Some(previous) = plugin.previous.take() else {
            return Err(Error::Conflict(format!("`{id}` has no version before `{}`", plugin.active.version)));
        };
        let diff = diff(Some(&plugin.active), &previous);
        plugin.swap(previous, self.clock.now());
        let seat = self.assemble(plugin, None).await?;
        let mut installed = installed(plugin, diff);
        installed.generation = self.change(&mut roster, after, Some(seat)).await?;
        Ok(installed)
    }
}

/// What becomes of a version, or why it cannot be.
fn begin(to: Begin, missing: &[Capability], present: Option<&Installation>) -> Result<State, Error> {
    if let Begin::Canary(percent) = to {
        check_percent(percent)?;
    }
    let state = match to {
        Begin::Active if missing.is_empty() => State::Active,
        // What serves goes on serving; without anything that serves there is nothing to wait beside.
        Begin::Active if present.is_some() => State::Pending,
        Begin::Shadow if missing.is_empty() && present.is_some() => State::Shadow,
        Begin::Canary(_) if missing.is_empty() && present.is_some() => State::Canary,
        _ if !missing.is_empty() => {
            return Err(Error::Refused(missing.iter().map(grants::refusal).collect()));
        }
        _ => {
            let problem =
                "there is no active version beside which it could be tried; install it without that";
            return Err(Error::Refused(vec![problem.to_owned()]));
        }
    };
    Ok(state)
}

fn trial(state: State, to: Begin, missing: &[Capability]) -> Option<Trial> {
    match (state, to) {
        (State::Pending, _) => Some(Trial::Pending { missing: missing.to_vec() }),
        (_, Begin::Shadow) => Some(Trial::Shadow),
        (_, Begin::Canary(percent)) => Some(Trial::Canary { percent }),
        (_, Begin::Active) => None,
    }
}

/// Puts a version where it belongs; the plugin's place.
fn enter(
    after: &mut Roster,
    id: &str,
    release: &Release,
    trial: Option<Trial>,
    same: bool,
    now: godwit_domain::time::Ms,
) -> usize {
    let release = release.clone();
    let place = match after.plugins.binary_search_by(|plugin| plugin.id.as_str().cmp(id)) {
        Ok(place) => place,
        Err(place) => {
            after.plugins.insert(place, Installation::new(id.to_owned(), release));
            return place;
        }
    };
    let plugin = &mut after.plugins[place];
    plugin.candidate = None;
    match trial {
        Some(trial) => plugin.candidate = Some(plugin::Candidate { release, trial }),
        // The same once more repairs a plugin that did not load; what it replaced stays the way back.
        None if same => {
            plugin.active = release;
            plugin.quarantine = None;
        }
        None => plugin.swap(release, now),
    }
    place
}

pub(super) fn check_percent(percent: u8) -> Result<(), Error> {
    match percent {
        1..=99 => Ok(()),
        _ => Err(Error::Refused(vec![format!(
            "a canary has 1 to 99 of a hundred conversations, not {percent}"
        )])),
    }
}

/// The active version as it is told after a change.
pub(super) fn installed(plugin: &Installation, diff: Diff) -> Installed {
    let Installation { id, active, .. } = plugin;
    Installed {
        id: id.clone(),
        version: active.version.clone(),
        digest: active.digest.to_string(),
        generation: Default::default(),
        state: State::Active,
        missing: Vec::new(),
        diff,
        warnings: Vec::new(),
    }
}

pub(super) fn pinned_to(plugin: &Installation) -> String {
    format!("`{}` is pinned to version `{}`; unpin it first", plugin.id, plugin.active.version)
}

/// Whether two releases are the same but for the time at which they were installed.
fn alike(one: &Release, other: &Release) -> bool {
    one.digest == other.digest
        && one.config == other.config
        && one.grants == other.grants
        && one.manifest == other.manifest
}

/// How a version differs from the active one.
pub(super) fn diff(active: Option<&Release>, release: &Release) -> Diff {
    let none = Vec::new();
    let before = |of: fn(&Release) -> &Vec<String>| active.map_or(&none, of);
    Diff {
        from: active.map(|active| active.version.clone()),
        to: release.version.clone(),
        hooks: Delta::between(&active.map(Release::hook_names).unwrap_or_default(), &release.hook_names()),
        imports: Delta::between(before(|release| &release.imports), &release.imports),
        asks: Delta::between(before(|release| &release.asks), &release.asks),
        grants: Delta::between(before(|release| &release.grants), &release.grants),
        component: active.is_none_or(|active| active.digest != release.digest),
        config: active.is_none_or(|active| active.config != release.config),
    }
}
