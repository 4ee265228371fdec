//! Changes of what serves: one after the other, while messages flow.
//!
//! A change is staged, then stored, then published, in this order: what serves was durable first, and what could not
//! be stored never served. Each change runs in a task of its own, so that a caller who goes away cannot stop it
//! between the two.
//!
//! Start with [`Live`]; then `install` and `trial` for versions, `settings` for what an operator decides about a
//! plugin, `alarms` for what the host does by itself, `status` for what operators see.

mod alarms;
mod components;
mod install;
mod settings;
mod status;
mod trial;

pub(crate) use alarms::heed;

use crate::{
    chain::Snapshot,
    compile::Compiler,
    health::{Alarm, Health, Role},
    instance::Instance,
    metrics::{Meter, Metrics},
    options::Options,
    poison::{self, Poison},
    pool::Pool,
    seat::{self, Seat, Version},
    services::Private,
    shadow::Shadow,
    stage::{Candidate, Ready, Stage},
    ticker::Ticker,
};
use arc_swap::ArcSwap;
use godwit_domain::{
    id::Generation,
    plugin::{self, Error, Installation, LogLine, Release, Roster},
    tables::{self, Written},
    time::Clock,
};
use std::{collections::HashSet, sync::Arc, time::Duration};
use tokio::{
    runtime::Handle,
    sync::{Mutex, mpsc},
};

/// Plugins that one host may have; with a canary each, what a [`godwit_domain::filter::Step`] can count.
const PLUGINS_MAX: usize = 1_000;

/// What serves, and the one way to change it.
pub(crate) struct Live {
    stage: Stage,
    tables: Arc<dyn tables::Plugins>,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
    runtime: Handle,
    alarms: mpsc::Sender<Alarm>,
    /// Read by every message.
    pub(crate) snapshot: ArcSwap<Snapshot>,
    /// Held during a change; messages and lists never take it.
    roster: Mutex<Roster>,
}

/// What the whole engine shares, handed to [`Live::load`].
pub(crate) struct Parts {
    pub(crate) options: Arc<Options>,
    pub(crate) tables: Arc<dyn tables::Plugins>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) alarms: mpsc::Sender<Alarm>,
}

/// What belongs to a plugin, whichever version serves.
#[derive(Clone)]
struct Own {
    private: Arc<Private>,
    poison: Arc<Poison>,
}

impl Live {
    /// Loads what is installed. A plugin that does not load keeps its seat, so that moderation is not switched off by
    /// a broken disk; operators see why in its log and may roll back or remove it.
    pub(crate) async fn load(
        parts: Parts,
        engine: &wasmtime::Engine,
        ticker: Ticker,
        compiler: Compiler,
    ) -> Result<Arc<Self>, crate::Error> {
        let Parts { options, tables, clock, metrics, alarms } = parts;
        let roster = tables.roster().await?;
        let none = Snapshot::new(Generation::ZERO, Vec::new(), &options);
        let stage = Stage::new(options, clock.clone(), engine, ticker, compiler)?;
        let live = Self {
            stage,
            tables,
            clock,
            metrics,
            runtime: Handle::current(),
            alarms,
            snapshot: ArcSwap::from_pointee(none),
            roster: Mutex::default(),
        };
        let mut seats = Vec::new();
        for installation in &roster.plugins {
            seats.push(live.restore(installation).await?);
        }
        live.publish(&roster, seats);
        *live.roster.lock().await = roster;
        Ok(Arc::new(live))
    }

    async fn restore(&self, plugin: &Installation) -> Result<Seat, godwit_domain::waist::Error> {
        let poisoned = self.tables.poisoned(&plugin.id).await?;
        let own = self.own_anew(&plugin.id, poisoned);
        let log = |version: &str, why: &str| {
            tracing::error!(plugin = %plugin.id, version, why, "plugin could not be loaded");
            own.private.log("error", version, &format!("host: {why}"));
        };
        let active = match self.active(plugin, &own, None).await {
            Ok(active) => active,
            Err(error) => {
                let why = format!("the plugin could not be loaded: {error}");
                log(&plugin.active.version, &why);
                self.idle(plugin, &own, why)
            }
        };
        let trial = match self.trial(plugin, &own, None).await {
            Ok(trial) => trial,
            Err(error) => {
                let version = plugin.candidate.as_ref().map_or("", |candidate| &candidate.release.version);
                log(version, &format!("the candidate could not be loaded, and is not tried: {error}"));
                None
            }
        };
        Ok(seat(plugin, own, active, trial))
    }

    /// The seat that an installation makes: what runs already goes on, what is new is started. `fresh` is a version
    /// that was made ready just now.
    async fn assemble(&self, plugin: &Installation, fresh: Option<&Ready>) -> Result<Seat, Error> {
        let own = self.own(&plugin.id);
        let active = self.active(plugin, &own, fresh).await?;
        let trial = self.trial(plugin, &own, fresh).await?;
        Ok(seat(plugin, own, active, trial))
    }

    async fn active(
        &self,
        plugin: &Installation,
        own: &Own,
        fresh: Option<&Ready>,
    ) -> Result<Version, Error> {
        if plugin.policy.disabled {
            return Ok(self.idle(plugin, own, "an operator disabled it".to_owned()));
        }
        if let Some(quarantine) = &plugin.quarantine {
            return Ok(self.idle(plugin, own, format!("it is in quarantine: {}", quarantine.why)));
        }
        if let Some(now) = self.find(&plugin.id) {
            let Seat { active, installation, .. } = now;
            let same = *active.release == plugin.active
                && installation.swapped_at == plugin.swapped_at
                && installation.policy.pinned == plugin.policy.pinned;
            if same && active.pool.is_ok() && !active.health.is_stopped() {
                return Ok(active);
            }
        }
        self.start(&plugin.id, &plugin.active, self.role(plugin), own, fresh).await
    }

    /// What failures of the active version lead to.
    fn role(&self, plugin: &Installation) -> Role {
        let back = plugin.previous.is_some() && plugin.reverted.is_none() && !plugin.policy.pinned;
        let window_ms = u64::from(self.stage.options.rollback.window_s) * 1_000;
        Role::Active { revert_until: back.then(|| plugin.swapped_at.plus(window_ms)) }
    }

    async fn trial(
        &self,
        plugin: &Installation,
        own: &Own,
        fresh: Option<&Ready>,
    ) -> Result<Option<seat::Trial>, Error> {
        let Some(plugin::Candidate { release, trial }) = &plugin.candidate else { return Ok(None) };
        if plugin.policy.disabled {
            return Ok(None);
        }
        let now = self.find(&plugin.id).and_then(|seat| seat.trial);
        match (trial, now) {
            (plugin::Trial::Pending { .. }, _) => Ok(None),
            (plugin::Trial::Shadow, Some(seat::Trial::Shadow(shadow))) if shadow.is_of(release) => {
                Ok(Some(seat::Trial::Shadow(shadow)))
            }
            (plugin::Trial::Shadow, _) => {
                let prepared;
                let ready = match fresh {
                    Some(ready) => ready,
                    None => {
                        prepared = self.prepare(&plugin.id, release).await?;
                        &prepared
                    }
                };
                let aside = own.private.aside(&self.stage.options);
                let blueprint = ready.blueprint(aside, Arc::new(Meter::detached()));
                let first = Instance::make(blueprint.clone()).await;
                let first = first.map_err(|failure| Error::Refused(vec![failure.why]))?;
                let (clock, options) = (self.clock.clone(), &self.stage.options);
                let release = Arc::new(release.clone());
                let shadow = Shadow::start(release, blueprint, first, clock, options, &self.runtime);
                Ok(Some(seat::Trial::Shadow(shadow)))
            }
            (plugin::Trial::Canary { percent }, Some(seat::Trial::Canary(version, _)))
                if *version.release == *release && !version.health.is_stopped() =>
            {
                Ok(Some(seat::Trial::Canary(version, *percent)))
            }
            (plugin::Trial::Canary { percent }, _) => {
                let version = self.start(&plugin.id, release, Role::Canary, own, fresh).await?;
                Ok(Some(seat::Trial::Canary(version, *percent)))
            }
        }
    }

    /// A version with its first instances: one for each core, so that short calls find one free from the beginning.
    async fn start(
        &self,
        id: &str,
        release: &Release,
        role: Role,
        own: &Own,
        fresh: Option<&Ready>,
    ) -> Result<Version, Error> {
        let prepared;
        let ready = match fresh {
            Some(ready) => ready,
            None => {
                prepared = self.prepare(id, release).await?;
                &prepared
            }
        };
        let mut version = self.version(id, release, role, own, String::new());
        let blueprint = ready.blueprint(own.private.clone(), version.meter.clone());
        let mut first = Vec::new();
        for _ in 0..self.stage.options.warm_instances() {
            let made = Instance::make(blueprint.clone()).await;
            first.push(made.map_err(|failure| Error::Refused(vec![failure.why]))?);
        }
        version.pool = Ok(Pool::new(blueprint, version.health.clone(), first, self.runtime.clone()));
        Ok(version)
    }

    /// The active version without instances: it is not asked, or what it is asked counts as trapped.
    fn idle(&self, plugin: &Installation, own: &Own, why: String) -> Version {
        let role = match plugin.quarantine {
            Some(_) => Role::Quarantined,
            None => Role::Active { revert_until: None },
        };
        self.version(&plugin.id, &plugin.active, role, own, why)
    }

    fn version(&self, id: &str, release: &Release, role: Role, own: &Own, why: String) -> Version {
        let (release, meter) =
            (Arc::new(release.clone()), Arc::new(self.metrics.meter(id, &release.version)));
        let parts = (own.poison.clone(), own.private.clone(), meter.clone());
        let (options, alarms) = (self.stage.options.clone(), self.alarms.clone());
        let health = Health::new(id.into(), release.clone(), role, parts, options, alarms);
        health.show_all();
        let print = poison::of_version(&release);
        Version { release, print, meter, health, pool: Err(why.into()) }
    }

    /// Makes a stored release ready again.
    async fn prepare(&self, id: &str, release: &Release) -> Result<Ready, Error> {
        let Release { manifest, digest, config, grants, .. } = release;
        let missing = || Error::Conflict(format!("the component {digest} of `{id}` is not stored"));
        let component = self.tables.component(*digest).await?.ok_or_else(missing)?;
        self.stage
            .prepare(&Candidate { id, manifest, digest: *digest, component: &component, config, grants })
            .await
    }

    pub(crate) async fn remove(&self, id: &str) -> Result<Generation, Error> {
        let mut roster = self.roster.lock().await;
        let mut after = roster.clone();
        find(&mut after, id)?;
        after.plugins.retain(|plugin| plugin.id != id);
        let generation = self.change(&mut roster, after, None).await?;
        // Removed it is already: what stays behind ends by itself.
        if let Err(error) = self.forget_poison(id).await {
            tracing::warn!(plugin = id, %error, "what a removed plugin was not shown stays stored");
        }
        Ok(generation)
    }

    pub(crate) fn logs(&self, id: &str, after: u64) -> Result<Vec<LogLine>, Error> {
        self.find(id).map(|seat| seat.private.lines(after)).ok_or_else(|| Error::NotFound(id.to_owned()))
    }

    /// Drops instances that nobody needs, and tells metrics what time alone has changed.
    pub(crate) fn retire_idle(&self) {
        let idle = Duration::from_secs(self.stage.options.instance_idle_s.into());
        for version in self.snapshot.load().seats().iter().flat_map(Seat::versions) {
            version.health.show_all();
            if let Ok(pool) = &version.pool {
                pool.retire_idle(idle);
            }
        }
    }

    fn find(&self, id: &str) -> Option<Seat> {
        self.snapshot.load().seats().iter().find(|seat| &*seat.id == id).cloned()
    }

    /// What is the plugin's own, whichever version serves.
    fn own(&self, id: &str) -> Own {
        match self.find(id) {
            Some(Seat { private, poison, .. }) => Own { private, poison },
            None => self.own_anew(id, Vec::new()),
        }
    }

    fn own_anew(&self, id: &str, poisoned: Vec<plugin::Poisoned>) -> Own {
        let options = &self.stage.options;
        Own {
            private: Private::new(id, options, self.clock.clone()),
            poison: Arc::new(Poison::new(options.poison.clone(), poisoned)),
        }
    }

    /// Stores a roster and publishes it. `seat` is that of the plugin that changed, unless it went.
    async fn change(
        &self,
        roster: &mut Roster,
        mut after: Roster,
        seat: Option<Seat>,
    ) -> Result<Generation, Error> {
        after.generation = roster.generation.next();
        let refused = match self.tables.replace_roster(roster.generation, &after).await {
            Ok(Written::Yes) => None,
            Ok(Written::No) => Some(Error::Conflict("another change of the plugins came between".to_owned())),
            Err(error) => Some(error.into()),
        };
        if let Some(refused) = refused {
            self.forget_components(&after, roster).await;
            return Err(refused);
        }
        let mut seats =
            seat.into_iter().chain(self.snapshot.load().seats().iter().cloned()).collect::<Vec<_>>();
        let mut seen = HashSet::new();
        seats.retain(|seat| {
            after.plugins.iter().any(|plugin| plugin.id == *seat.id) && seen.insert(seat.id.clone())
        });
        seats.sort_by(|a, b| a.id.cmp(&b.id));
        self.publish(&after, seats);
        let before = std::mem::replace(roster, after);
        self.forget_components(&before, roster).await;
        Ok(roster.generation)
    }

    fn publish(&self, roster: &Roster, seats: Vec<Seat>) {
        self.snapshot.store(Arc::new(Snapshot::new(roster.generation, seats, &self.stage.options)));
        self.metrics.generation(roster.generation);
        self.metrics.keep(roster);
        tracing::info!(generation = %roster.generation, plugins = roster.plugins.len(), "plugins published");
    }
}

fn seat(plugin: &Installation, own: Own, active: Version, trial: Option<seat::Trial>) -> Seat {
    let Own { private, poison } = own;
    Seat {
        id: plugin.id.as_str().into(),
        installation: Arc::new(plugin.clone()),
        private,
        poison,
        active,
        trial,
    }
}

fn find<'a>(roster: &'a mut Roster, id: &str) -> Result<&'a mut Installation, Error> {
    roster.plugins.iter_mut().find(|plugin| plugin.id == id).ok_or_else(|| Error::NotFound(id.to_owned()))
}
