//! Staging of actors: linked by their grants, rehearsed, seated.

use super::{
    Seated,
    grants::Grants,
    http::Client,
    instance::Blueprint,
    manifest::{Checked, Test},
    pool::Pool,
    rehearsal, running,
    running::Means,
    services,
};
use crate::{
    metrics::Metrics,
    options::{Options, mib},
    runtime,
    services::Private,
    state::State,
    ticker::Ticker,
};
use godwit_domain::{
    actor::Served,
    kept::{Kv, Secrets},
    plugin::{Error, Installation},
    time::Clock,
};
use std::sync::{Arc, OnceLock};
use tokio::sync::Semaphore;
use wasmtime::{
    Engine,
    component::{Component, InstancePre, Linker},
};

/// Where actors are made ready, in an engine of their own.
pub(crate) struct Stage {
    engine: Engine,
    linker: Linker<State>,
    ticker: Arc<Ticker>,
    options: Arc<Options>,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
    kv: Arc<dyn Kv>,
    secrets: Arc<dyn Secrets>,
    http: Arc<Client>,
    /// Places for instances of all plugins together.
    places: Arc<Semaphore>,
}

/// An actor that may go live.
pub(crate) struct Ready {
    checked: Checked,
    pub(crate) tests: Vec<Test>,
    grants: Arc<Grants>,
    config: String,
    version: Arc<str>,
    pre: InstancePre<State>,
    lifecycle: bool,
}

/// What a version is, beside its code.
pub(crate) struct Version<'a> {
    pub(crate) checked: Checked,
    pub(crate) tests: Vec<Test>,
    pub(crate) version: &'a str,
    pub(crate) config: &'a str,
    pub(crate) lifecycle: bool,
}

impl Stage {
    pub(crate) fn open(
        options: Arc<Options>,
        clock: Arc<dyn Clock>,
        metrics: Arc<Metrics>,
        kv: Arc<dyn Kv>,
        secrets: Arc<dyn Secrets>,
    ) -> Result<Self, crate::Error> {
        let engine = runtime::actors(&options)?;
        let linker = runtime::linker(&engine, true)?;
        let ticker = Arc::new(Ticker::start(&engine)?);
        let http = Arc::new(Client::new(&options.actors.http).map_err(crate::Error::Http)?);
        let places = Arc::new(Semaphore::new(options.actors.instances_max.max(1) as usize));
        Ok(Self { engine, linker, ticker, options, clock, metrics, kv, secrets, http, places })
    }

    pub(crate) fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Links a component to what it was granted.
    pub(crate) fn prepare(
        &self,
        component: &Component,
        grants: Arc<Grants>,
        version: Version<'_>,
    ) -> wasmtime::Result<Ready> {
        let mut linker = self.linker.clone();
        services::link_granted(&mut linker, &grants)?;
        Ok(Ready {
            pre: linker.instantiate_pre(component)?,
            checked: version.checked,
            tests: version.tests,
            grants,
            config: version.config.to_owned(),
            version: version.version.into(),
            lifecycle: version.lifecycle,
        })
    }

    /// Asks what it serves, and runs the manifest's tests, in an instance whose counters and log are its own.
    pub(crate) async fn rehearse(
        &self,
        id: &str,
        ready: &Ready,
        private: Arc<Private>,
    ) -> Result<Served, Vec<String>> {
        let blueprint = self.blueprint(id, ready, private, None);
        let (events, now) = (&ready.checked.events, self.clock.now());
        rehearsal::rehearse(blueprint, events, &ready.tests, self.places.clone(), now).await
    }

    /// Takes its place, with a first instance.
    pub(crate) async fn seat(
        &self,
        installation: &Installation,
        ready: &Ready,
        private: &Arc<Private>,
    ) -> Result<Arc<Seated>, Error> {
        let private = private.of_actors(&self.options);
        self.fill(&installation.id, ready, &private).await?;
        let blueprint = self.blueprint(&installation.id, ready, private.clone(), Some(self.http.clone()));
        let means = blueprint.means.clone();
        let pool = Pool::open(blueprint, self.places.clone()).await;
        let pool = pool.map_err(|failure| Error::Refused(vec![failure.why]))?;
        Ok(self.seated(installation, ready.grants.clone(), private, Ok((pool, means))))
    }

    /// Keeps the place of one that cannot be loaded or is not to act, so that its events wait for it.
    pub(crate) fn idle(
        &self,
        installation: &Installation,
        private: &Arc<Private>,
        why: &str,
    ) -> Option<Arc<Seated>> {
        installation.active.actor.as_ref()?;
        let private = private.of_actors(&self.options);
        Some(self.seated(installation, Arc::default(), private, Err(why.into())))
    }

    fn seated(
        &self,
        installation: &Installation,
        grants: Arc<Grants>,
        private: Arc<Private>,
        pool: Result<(Arc<Pool>, Means), Arc<str>>,
    ) -> Arc<Seated> {
        Arc::new(Seated {
            id: installation.id.clone(),
            version: installation.active.version.clone(),
            served: installation.active.actor.clone().unwrap_or_default(),
            grants,
            private,
            options: self.options.clone(),
            metrics: self.metrics.clone(),
            pool,
        })
    }

    /// Fills the copy of its `kv`, unless an earlier version left it.
    async fn fill(&self, id: &str, ready: &Ready, private: &Private) -> Result<(), Error> {
        if private.kv.filled() || !ready.grants.may("kv") {
            return Ok(());
        }
        let limit = self.options.actors.state_mib_max;
        if !private.kv.fill(self.kv.kv_all(id).await?, mib(limit)) {
            let text = format!("host: `kv` has more than {limit} MiB; what is beyond is not seen by `state`");
            private.log("warn", &ready.version, &text);
        }
        Ok(())
    }

    /// What instances of it are made from; without `http` it reaches nobody.
    pub(crate) fn blueprint(
        &self,
        id: &str,
        ready: &Ready,
        private: Arc<Private>,
        http: Option<Arc<Client>>,
    ) -> Arc<Blueprint> {
        Arc::new(Blueprint {
            version: ready.version.clone(),
            config: ready.config.clone(),
            memory_mib: ready.checked.memory_mib,
            hooks: ready.checked.hooks.clone(),
            pre: ready.pre.clone(),
            lifecycle: ready.lifecycle,
            private,
            means: Means {
                plugin: id.into(),
                grants: ready.grants.clone(),
                options: self.options.clone(),
                secrets: self.secrets.clone(),
                http,
            },
            options: self.options.clone(),
            ticker: self.ticker.clone(),
            bytes_max: OnceLock::new(),
        })
    }

    /// The names of a plugin's secrets.
    pub(crate) async fn secrets(&self, id: &str) -> Result<Vec<String>, Error> {
        Ok(self.secrets.secret_names(id).await?)
    }

    /// Forgets all secrets of a plugin.
    pub(crate) async fn forget_secrets(&self, id: &str) -> Result<(), Error> {
        for name in self.secrets.secret_names(id).await? {
            self.secrets.drop_secret(id, &name).await?;
        }
        Ok(())
    }

    /// Sets a secret, or forgets it where there is no value.
    pub(crate) async fn set_secret(&self, id: &str, name: &str, value: Option<String>) -> Result<(), Error> {
        if !running::secret_name(name) {
            let problem =
                format!("a secret's name is 1 to 64 of a-z, 0-9, _ and -, and not `{}`", clip(name));
            return Err(Error::Refused(vec![problem]));
        }
        match value {
            Some(value) if value.len() > SECRET_BYTES_MAX => {
                let bytes = value.len();
                let problem =
                    format!("the secret `{name}` has {bytes} bytes, the limit is {SECRET_BYTES_MAX}");
                Err(Error::Refused(vec![problem]))
            }
            Some(value) => {
                let known = self.secrets.secret_names(id).await?;
                if known.len() >= SECRETS_MAX && !known.iter().any(|known| known == name) {
                    let problem = format!("`{id}` has {SECRETS_MAX} secrets, which is the limit; remove one");
                    return Err(Error::Refused(vec![problem]));
                }
                Ok(self.secrets.put_secret(id, name, &value).await?)
            }
            None => match self.secrets.drop_secret(id, name).await? {
                true => Ok(()),
                false => Err(Error::Conflict(format!("`{id}` has no secret `{name}`"))),
            },
        }
    }
}

const SECRET_BYTES_MAX: usize = 16 << 10;
const SECRETS_MAX: usize = 64;

fn clip(text: &str) -> &str {
    &text[..text.floor_char_boundary(64)]
}
