//! Staging: from bytes and a manifest to something that may go live, or to all the reasons why it may not.
//!
//! Parse and check, compile off the path of messages, link, run `init` and the manifest's tests in a throw-away
//! instance. Nothing here changes what serves.

use crate::{
    actor::{self, grants::Grants},
    compile::{self, Compiler},
    component::{self, Outside},
    faults::{self, Fault},
    instance::{Blueprint, Instance},
    manifest::{self, Checked},
    metrics::Meter,
    options::Options,
    rehearsal, runtime,
    services::Private,
    state::State,
    ticker::Ticker,
};
use godwit_domain::{
    actor::Served,
    plugin::{Digest, Error},
    time::Clock,
};
use std::sync::Arc;
use wasmtime::{
    Engine,
    component::{Component, InstancePre, Linker},
};

/// How many lines of a plugin that is refused are told with the refusal.
const LINES_TOLD: usize = 5;

/// Where versions are made ready.
pub(crate) struct Stage {
    pub(crate) options: Arc<Options>,
    clock: Arc<dyn Clock>,
    ticker: Arc<Ticker>,
    linker: Linker<State>,
    compiler: Compiler,
    pub(crate) actors: actor::stage::Stage,
}

/// What is to be made ready.
pub(crate) struct Candidate<'a> {
    pub(crate) id: &'a str,
    pub(crate) manifest: &'a str,
    pub(crate) digest: Digest,
    pub(crate) component: &'a [u8],
    pub(crate) config: &'a str,
    pub(crate) grants: &'a [String],
}

/// A version that holds together, seen from outside.
pub(crate) struct Looked {
    pub(crate) checked: Checked,
    pub(crate) outside: Outside,
    pub(crate) warnings: Vec<String>,
}

/// A version that may go live.
pub(crate) struct Ready {
    pub(crate) checked: Checked,
    pub(crate) warnings: Vec<String>,
    pub(crate) id: Arc<str>,
    config: String,
    pre: InstancePre<State>,
    lifecycle: bool,
    /// The same as an actor, if it is one.
    pub(crate) actor: Option<actor::stage::Ready>,
    options: Arc<Options>,
    ticker: Arc<Ticker>,
}

impl Stage {
    pub(crate) fn new(
        options: Arc<Options>,
        clock: Arc<dyn Clock>,
        engine: &Engine,
        ticker: Ticker,
        compiler: Compiler,
        actors: actor::stage::Stage,
    ) -> wasmtime::Result<Self> {
        let (ticker, linker) = (Arc::new(ticker), runtime::linker(engine, false)?);
        Ok(Self { options, clock, ticker, linker, compiler, actors })
    }

    /// Checks all that can be checked from outside.
    pub(crate) fn check(&self, candidate: &Candidate<'_>) -> Result<Looked, Error> {
        check(candidate, &self.options, true)
    }

    /// Checks, compiles and links.
    pub(crate) async fn prepare(&self, candidate: &Candidate<'_>) -> Result<Ready, Error> {
        let looked = self.check(candidate)?;
        self.make(candidate, looked).await
    }

    /// Compiles and links what was checked.
    pub(crate) async fn make(&self, candidate: &Candidate<'_>, looked: Looked) -> Result<Ready, Error> {
        let Candidate { id, digest, component: bytes, config, .. } = *candidate;
        let Looked { checked, outside, warnings } = looked;
        let refused = |error: compile::Error| match error {
            compile::Error::Refused(problem) => Error::Refused(vec![problem]),
            compile::Error::Io(error) => Error::Conflict(format!("cannot compile: {error}")),
        };
        let untyped = |error: wasmtime::Error| {
            Error::Refused(vec![format!("an import has other types than this host serves: {error:#}")])
        };
        let component = self.compiler.compile(digest, bytes).await.map_err(refused)?;
        let grants = Arc::new(checked.grants.clone());
        let pre = self.link(&component, &grants).map_err(untyped)?;
        let actor = match checked.actor.hooks.is_empty() {
            true => None,
            false => {
                let component =
                    self.compiler.compile_for(self.actors.engine(), digest, bytes).await.map_err(refused)?;
                let version = actor::stage::Version {
                    checked: checked.actor.clone(),
                    tests: checked.manifest.tests.actors.clone(),
                    version: &checked.manifest.version,
                    config,
                    lifecycle: outside.lifecycle,
                };
                Some(self.actors.prepare(&component, grants, version).map_err(untyped)?)
            }
        };
        Ok(Ready {
            checked,
            warnings,
            id: id.into(),
            config: config.to_owned(),
            pre,
            lifecycle: outside.lifecycle,
            actor,
            options: self.options.clone(),
            ticker: self.ticker.clone(),
        })
    }

    /// Links a component for filters: actors' services that were granted are there, and deny.
    fn link(&self, component: &Component, grants: &Grants) -> wasmtime::Result<InstancePre<State>> {
        let mut linker = self.linker.clone();
        actor::services::link_granted(&mut linker, grants)?;
        linker.instantiate_pre(component)
    }

    /// Runs `init` and the manifest's tests in throw-away instances, whose counters and log are their own. Returns
    /// what it says it serves as an actor.
    pub(crate) async fn rehearse(&self, ready: &Ready) -> Result<Option<Served>, Error> {
        let private = Private::new(&ready.id, &self.options, self.clock.clone());
        let blueprint = ready.blueprint(private.clone(), Arc::new(Meter::detached()));
        let mut problems = Vec::new();
        let mut served = None;
        if let Some(actor) = &ready.actor {
            match self.actors.rehearse(&ready.id, actor, private.clone()).await {
                Ok(told) => served = Some(told),
                Err(found) => problems.extend(found),
            }
        }
        let made = match ready.checked.hooks.is_empty() {
            true => None,
            false => Some(Instance::make(blueprint).await),
        };
        match made {
            None => {}
            Some(Err(failure)) => problems.push(failure.why),
            Some(Ok(mut instance)) => {
                let tests = &ready.checked.manifest.tests;
                for (n, test) in tests.iter().enumerate().filter(|_| !faults::on(Fault::TestsSkipped)) {
                    let (now, cpu_ms) = (self.clock.now(), self.options.call_cpu_ms);
                    if let Err(problem) = rehearsal::run(&mut instance, test, now, cpu_ms).await {
                        problems.push(format!("test {} failed: {problem}", n + 1));
                    }
                    if !instance.usable() {
                        break;
                    }
                }
            }
        }
        if problems.is_empty() {
            return Ok(served);
        }
        // What a plugin says of its own failure is told before what else it wrote.
        let (errors, others): (Vec<_>, Vec<_>) =
            private.lines(0).into_iter().partition(|line| line.level == "error");
        let errors = &errors[errors.len().saturating_sub(LINES_TOLD)..];
        let others = &others[others.len().saturating_sub(LINES_TOLD - errors.len())..];
        problems.extend(errors.iter().chain(others).map(|line| format!("it logged: {}", line.text)));
        Err(Error::Refused(problems))
    }
}

impl Ready {
    /// What its instances are made from.
    pub(crate) fn blueprint(&self, private: Arc<Private>, meter: Arc<Meter>) -> Arc<Blueprint> {
        Arc::new(Blueprint {
            id: self.id.clone(),
            version: self.checked.manifest.version.as_str().into(),
            config: self.config.clone(),
            memory_mib: self.checked.memory_mib,
            hooks: self.checked.hooks.clone(),
            pre: self.pre.clone(),
            lifecycle: self.lifecycle,
            private,
            meter,
            options: self.options.clone(),
            ticker: self.ticker.clone(),
        })
    }
}

/// Checks all that can be checked from outside; the configuration too, where there is one.
pub(crate) fn check(candidate: &Candidate<'_>, options: &Options, configured: bool) -> Result<Looked, Error> {
    let Candidate { id, manifest, component, config, grants, .. } = *candidate;
    let checked = manifest::check(manifest, id, grants, options);
    let outside = component::inspect(component, options);
    let (mut checked, outside) = match (checked, outside) {
        (Ok(checked), Ok(outside)) => (checked, outside),
        (checked, outside) => {
            let problems = checked.err().into_iter().chain(outside.err()).flatten();
            return Err(Error::Refused(problems.collect()));
        }
    };
    let mut problems =
        compare_hooks(&component::names(&checked.hooks, &checked.actor.hooks), &outside.hook_names());
    problems.extend(actor::grants::unasked(&outside.services, &checked.asks));
    if configured {
        problems
            .extend(manifest::check_config(&checked.manifest, config, options).err().into_iter().flatten());
    }
    if !problems.is_empty() {
        return Err(Error::Refused(problems));
    }
    let mut warnings = std::mem::take(&mut checked.warnings);
    warnings
        .extend(outside.unknown.iter().map(|name| format!("export `{name}` is not known and is ignored")));
    Ok(Looked { checked, outside, warnings })
}

/// What is wrong, as a list.
pub(crate) fn problems(error: &Error) -> Vec<String> {
    match error {
        Error::Refused(problems) => problems.clone(),
        other => vec![other.to_string()],
    }
}

/// What the manifest says it serves must be what the component exports.
fn compare_hooks(named: &[&str], exported: &[&str]) -> Vec<String> {
    let missing = named
        .iter()
        .filter(|hook| !exported.contains(hook))
        .map(|hook| format!("the manifest names the hook `{hook}`, which the component does not export"));
    let unnamed = exported
        .iter()
        .filter(|hook| !named.contains(hook))
        .map(|hook| format!("the component exports the hook `{hook}`, which the manifest does not name"));
    if faults::on(Fault::HooksUnmatched) {
        return Vec::new();
    }
    missing.chain(unnamed).collect()
}
