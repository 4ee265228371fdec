//! Staging: from bytes and a manifest to something that may go live, or to all the reasons why it may not.
//!
//! Parse and check, compile off the path of messages, link, run `init` and the manifest's tests in a throw-away
//! instance. Nothing here changes what serves.

use crate::{
    compile::{self, Compiler},
    component::{self, Outside},
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
    filter::Hook,
    plugin::{Digest, Error},
    time::Clock,
};
use std::sync::Arc;
use wasmtime::{
    Engine,
    component::{InstancePre, Linker},
};

/// Where versions are made ready.
pub(crate) struct Stage {
    pub(crate) options: Arc<Options>,
    clock: Arc<dyn Clock>,
    ticker: Arc<Ticker>,
    linker: Linker<State>,
    compiler: Compiler,
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
    id: Arc<str>,
    config: String,
    pre: InstancePre<State>,
    lifecycle: bool,
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
    ) -> wasmtime::Result<Self> {
        Ok(Self { options, clock, ticker: Arc::new(ticker), linker: runtime::linker(engine)?, compiler })
    }

    /// Checks all that can be checked from outside.
    pub(crate) fn check(&self, candidate: &Candidate<'_>) -> Result<Looked, Error> {
        let options = &self.options;
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
        let mut problems = compare_hooks(&checked.hooks, &outside.hooks);
        problems
            .extend(manifest::check_config(&checked.manifest, config, options).err().into_iter().flatten());
        if !problems.is_empty() {
            return Err(Error::Refused(problems));
        }
        let mut warnings = std::mem::take(&mut checked.warnings);
        warnings.extend(
            outside.unknown.iter().map(|name| format!("export `{name}` is not known and is ignored")),
        );
        Ok(Looked { checked, outside, warnings })
    }

    /// Checks, compiles and links.
    pub(crate) async fn prepare(&self, candidate: &Candidate<'_>) -> Result<Ready, Error> {
        let looked = self.check(candidate)?;
        self.make(candidate, looked).await
    }

    /// Compiles and links what was checked.
    pub(crate) async fn make(&self, candidate: &Candidate<'_>, looked: Looked) -> Result<Ready, Error> {
        let Candidate { id, digest, component, config, .. } = *candidate;
        let Looked { checked, outside, warnings } = looked;
        let component = self.compiler.compile(digest, component).await.map_err(|error| match error {
            compile::Error::Refused(problem) => Error::Refused(vec![problem]),
            compile::Error::Io(error) => Error::Conflict(format!("cannot compile: {error}")),
        })?;
        let pre = self.linker.instantiate_pre(&component).map_err(|error| {
            Error::Refused(vec![format!("an import has other types than this host serves: {error:#}")])
        })?;
        Ok(Ready {
            checked,
            warnings,
            id: id.into(),
            config: config.to_owned(),
            pre,
            lifecycle: outside.lifecycle,
            options: self.options.clone(),
            ticker: self.ticker.clone(),
        })
    }

    /// Runs `init` and the manifest's tests in a throw-away instance, whose counters and log are its own.
    pub(crate) async fn rehearse(&self, ready: &Ready) -> Result<(), Error> {
        let private = Private::new(&ready.id, &self.options, self.clock.clone());
        let blueprint = ready.blueprint(private.clone(), Arc::new(Meter::detached()));
        let mut problems = Vec::new();
        match Instance::make(blueprint).await {
            Err(failure) => problems.push(failure.why),
            Ok(mut instance) => {
                for (n, test) in ready.checked.manifest.tests.iter().enumerate() {
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
            return Ok(());
        }
        let lines = private.lines(0);
        let last = lines.iter().skip(lines.len().saturating_sub(5));
        problems.extend(last.map(|line| format!("it logged: {}", line.text)));
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

/// What the manifest says it serves must be what the component exports.
fn compare_hooks(named: &[Hook], exported: &[Hook]) -> Vec<String> {
    let missing = named.iter().filter(|hook| !exported.contains(hook)).map(|hook| {
        format!("the manifest names the hook `{}`, which the component does not export", hook.name())
    });
    let unnamed = exported.iter().filter(|hook| !named.contains(hook)).map(|hook| {
        format!("the component exports the hook `{}`, which the manifest does not name", hook.name())
    });
    missing.chain(unnamed).collect()
}
