//! Changes of what serves: install, roll back, remove; one after the other, while messages flow.
//!
//! A change is staged, then stored, then published, in this order: what serves was durable first, and what could not
//! be stored never served. Each change runs in a task of its own, so that a caller who goes away cannot stop it
//! between the two.

use crate::{
    chain::{Seat, Snapshot},
    compile::Compiler,
    instance::Instance,
    metrics::Metrics,
    options::Options,
    pool::Pool,
    runtime::Ticker,
    services::Private,
    stage::{Candidate, Ready, Stage},
};
use arc_swap::ArcSwap;
use godwit_domain::{
    filter::Chain,
    id::Generation,
    plugin::{Digest, Error, Install, Installation, Installed, LogLine, Release, Roster, Status},
    tables::{self, Written},
    time::Clock,
};
use sha2::{Digest as _, Sha256};
use std::{collections::HashSet, sync::Arc, time::Duration};
use tokio::{runtime::Handle, sync::Mutex};

/// Plugins that one host may have: what a [`godwit_domain::filter::Step`] can count.
const PLUGINS_MAX: usize = 1_000;

/// What serves, and the one way to change it.
pub(crate) struct Live {
    stage: Stage,
    tables: Arc<dyn tables::Plugins>,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
    runtime: Handle,
    /// Read by every message.
    pub(crate) snapshot: ArcSwap<Snapshot>,
    /// Held during a change; messages and lists never take it.
    roster: Mutex<Roster>,
}

impl Live {
    /// Loads what is installed. A plugin that does not load keeps its seat, so that moderation is not switched off by
    /// a broken disk; operators see why in its log and may roll back or remove it.
    pub(crate) async fn load(
        options: Arc<Options>,
        tables: Arc<dyn tables::Plugins>,
        clock: Arc<dyn Clock>,
        engine: &wasmtime::Engine,
        ticker: Ticker,
        compiler: Compiler,
        metrics: Arc<Metrics>,
    ) -> Result<Arc<Self>, crate::Error> {
        let roster = tables.roster().await?;
        let none = Snapshot::new(Generation::ZERO, Vec::new(), &options);
        let stage = Stage::new(options, clock.clone(), engine, ticker, compiler)?;
        let live = Self {
            stage,
            tables,
            clock,
            metrics,
            runtime: Handle::current(),
            snapshot: ArcSwap::from_pointee(none),
            roster: Mutex::default(),
        };
        let mut seats = Vec::new();
        for installation in &roster.plugins {
            seats.push(live.restore(installation).await);
        }
        live.publish(&roster, seats);
        *live.roster.lock().await = roster;
        Ok(Arc::new(live))
    }

    async fn restore(&self, installation: &Installation) -> Seat {
        let Installation { id, active, .. } = installation;
        let private = Private::new(id, &self.stage.options, self.clock.clone());
        match self.prepare(id, active).await {
            Ok(ready) => match self.seat(installation, &ready, private.clone()).await {
                Ok(seat) => seat,
                Err(error) => self.broken(installation, private, &error),
            },
            Err(error) => self.broken(installation, private, &error),
        }
    }

    fn broken(&self, installation: &Installation, private: Arc<Private>, error: &Error) -> Seat {
        let Installation { id, active, .. } = installation;
        let why = format!("the plugin could not be loaded: {error}");
        tracing::error!(plugin = %id, version = active.version, %error, "plugin could not be loaded");
        private.log("error", &active.version, &format!("host: {why}"));
        Seat::new(installation, private, Arc::new(self.metrics.meter(id, &active.version)), Err(why.into()))
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

    /// A seat with its first instances: one for each core, so that short calls find one free from the beginning.
    async fn seat(
        &self,
        installation: &Installation,
        ready: &Ready,
        private: Arc<Private>,
    ) -> Result<Seat, Error> {
        let meter = Arc::new(self.metrics.meter(&installation.id, &installation.active.version));
        let blueprint = ready.blueprint(private.clone(), meter.clone());
        let mut first = Vec::new();
        for _ in 0..self.stage.options.warm_instances() {
            let made = Instance::make(blueprint.clone()).await;
            first.push(made.map_err(|failure| Error::Refused(vec![failure.why]))?);
        }
        let pool = Pool::new(blueprint, first, self.runtime.clone());
        Ok(Seat::new(installation, private, meter, Ok(pool)))
    }

    pub(crate) async fn install(&self, install: Install) -> Result<Installed, Error> {
        let mut roster = self.roster.lock().await;
        let Install { id, manifest, component, grants, config, dry_run } = install;
        let active = roster.plugins.iter().find(|plugin| plugin.id == id).map(|plugin| &plugin.active);
        let config = match (config, active) {
            (Some(config), _) => config,
            (None, Some(active)) => active.config.clone(),
            (None, None) => "{}".to_owned(),
        };
        let digest = Digest(Sha256::digest(&component).into());
        let candidate = Candidate {
            id: &id,
            manifest: &manifest,
            digest,
            component: &component,
            config: &config,
            grants: &grants,
        };
        let ready = self.stage.prepare(&candidate).await?;
        let version = ready.checked.manifest.version.clone();
        let warnings = ready.warnings.clone();
        let installed = |generation| Installed {
            id: id.clone(),
            version,
            digest: digest.to_string(),
            generation,
            warnings,
        };

        let same = active.is_some_and(|active| {
            active.digest == digest
                && active.config == config
                && active.grants == grants
                && active.manifest == manifest
        });
        if same && self.find(&id).is_some_and(|seat| seat.pool.is_ok()) {
            return Ok(installed(roster.generation));
        }
        self.stage.rehearse(&ready).await?;
        if active.is_none() && roster.plugins.len() >= PLUGINS_MAX {
            let problem = format!("{PLUGINS_MAX} plugins are installed, which is the limit; remove one");
            return Err(Error::Refused(vec![problem]));
        }
        if dry_run {
            return Ok(installed(roster.generation));
        }

        let release = Release {
            version: ready.checked.manifest.version.clone(),
            digest,
            manifest,
            config,
            grants,
            hooks: ready.checked.hooks.clone(),
            actor: None,
            priority: ready.checked.manifest.priority,
            on_failure: ready.checked.on_failure,
            installed_at: self.clock.now(),
        };
        let mut after = roster.clone();
        let place = match after.plugins.binary_search_by(|plugin| plugin.id.cmp(&id)) {
            Ok(place) => {
                let plugin = &mut after.plugins[place];
                let before = std::mem::replace(&mut plugin.active, release);
                // The same once more repairs a plugin that did not load; what it replaced stays the way back.
                if !same {
                    plugin.previous = Some(before);
                }
                place
            }
            Err(place) => {
                after.plugins.insert(place, Installation { id: id.clone(), active: release, previous: None });
                place
            }
        };
        self.tables.put_component(digest, &component).await?;
        let seat = self.seat(&after.plugins[place], &ready, self.private(&id)).await?;
        let generation = self.change(&mut roster, after, Some(seat)).await?;
        Ok(installed(generation))
    }

    pub(crate) async fn rollback(&self, id: &str) -> Result<Installed, Error> {
        let mut roster = self.roster.lock().await;
        let mut after = roster.clone();
        let plugin = find(&mut after, id)?;
        let Some(previous) = plugin.previous.take() else {
            return Err(Error::Conflict(format!("`{id}` has no version before `{}`", plugin.active.version)));
        };
        plugin.previous = Some(std::mem::replace(&mut plugin.active, previous));
        let ready = self.prepare(id, &plugin.active).await?;
        let (version, digest) = (plugin.active.version.clone(), plugin.active.digest.to_string());
        let seat = self.seat(plugin, &ready, self.private(id)).await?;
        let generation = self.change(&mut roster, after, Some(seat)).await?;
        Ok(Installed { id: id.to_owned(), version, digest, generation, warnings: ready.warnings })
    }

    pub(crate) async fn remove(&self, id: &str) -> Result<Generation, Error> {
        let mut roster = self.roster.lock().await;
        let mut after = roster.clone();
        find(&mut after, id)?;
        after.plugins.retain(|plugin| plugin.id != id);
        self.change(&mut roster, after, None).await
    }

    pub(crate) fn list(&self) -> Vec<Status> {
        let snapshot = self.snapshot.load();
        let status = |seat: &Seat| {
            let Installation { id, active, previous } = &*seat.installation;
            Status {
                id: id.clone(),
                version: active.version.clone(),
                digest: active.digest.to_string(),
                hooks: active.hooks.clone(),
                priority: active.priority,
                on_failure: active.on_failure,
                grants: active.grants.clone(),
                previous: previous.as_ref().map(|release| release.version.clone()),
                installed_at: active.installed_at,
                generation: snapshot.generation(),
            }
        };
        snapshot.ordered().into_iter().map(status).collect()
    }

    pub(crate) fn logs(&self, id: &str, after: u64) -> Result<Vec<LogLine>, Error> {
        self.find(id).map(|seat| seat.private.lines(after)).ok_or_else(|| Error::NotFound(id.to_owned()))
    }

    /// Drops instances that nobody needs.
    pub(crate) fn retire_idle(&self) {
        let idle = Duration::from_secs(self.stage.options.instance_idle_s.into());
        for seat in self.snapshot.load().seats() {
            if let Ok(pool) = &seat.pool {
                pool.retire_idle(idle);
            }
        }
    }

    fn find(&self, id: &str) -> Option<Seat> {
        self.snapshot.load().seats().iter().find(|seat| &*seat.id == id).cloned()
    }

    /// What is the plugin's own, whichever version serves.
    fn private(&self, id: &str) -> Arc<Private> {
        match self.find(id) {
            Some(seat) => seat.private,
            None => Private::new(id, &self.stage.options, self.clock.clone()),
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

    /// Forgets the components of `gone` that `kept` does not need. One that stays behind costs disk, nothing else.
    async fn forget_components(&self, gone: &Roster, kept: &Roster) {
        let kept: HashSet<Digest> = digests(kept).collect();
        for digest in digests(gone).filter(|digest| !kept.contains(digest)) {
            if let Err(error) = self.tables.drop_component(digest).await {
                tracing::warn!(%digest, %error, "a component that is no longer needed stays stored");
            }
        }
    }
}

fn digests(roster: &Roster) -> impl Iterator<Item = Digest> {
    let releases =
        roster.plugins.iter().flat_map(|plugin| std::iter::once(&plugin.active).chain(&plugin.previous));
    releases.map(|release| release.digest)
}

fn find<'a>(roster: &'a mut Roster, id: &str) -> Result<&'a mut Installation, Error> {
    roster.plugins.iter_mut().find(|plugin| plugin.id == id).ok_or_else(|| Error::NotFound(id.to_owned()))
}
