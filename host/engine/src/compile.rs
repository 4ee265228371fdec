//! Compilation: a component becomes machine code in a process of its own, and is kept in a guarded cache.
//!
//! It owns the cache folder and the child's bounds, and refuses to know what a plugin is.
//! Nothing that the cache holds is loaded before its seal was checked over all bytes: wasmtime itself loads most
//! artefacts of which a byte was flipped.
//!
//! Start with [`Compiler::compile`]; the child's side is [`child`], its walls are in [`sandbox`].

pub(crate) mod cache;
pub mod child;
pub mod sandbox;

use crate::{
    metrics::Metrics,
    options::{Compile, Options, mib},
};
use cache::Cache;
use godwit_domain::plugin::Digest;
use std::{ffi::OsString, path::PathBuf, process::Stdio, sync::Arc, time::Instant};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    process::Command,
    sync::Mutex,
    time::{Duration, timeout},
};
use wasmtime::{Engine, component::Component};

/// How the process that compiles is started: the host's own binary and its hidden subcommand.
#[derive(Debug, Clone)]
pub struct Program {
    /// The binary.
    pub path: PathBuf,
    /// What makes it call [`child::main`].
    pub args: Vec<OsString>,
}

/// Compiles one component at a time.
pub(crate) struct Compiler {
    engine: Engine,
    program: Program,
    limits: Compile,
    metrics: Arc<Metrics>,
    /// Held while a component is compiled: one at a time.
    cache: Mutex<Cache>,
}

/// Why a component was not compiled.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The component is at fault.
    #[error("{0}")]
    Refused(String),
    /// The host is.
    #[error("cannot compile: {0}")]
    Io(#[from] std::io::Error),
}

impl Compiler {
    pub(crate) fn new(
        engine: Engine,
        program: Program,
        options: &Options,
        cache: Cache,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self { engine, program, limits: options.compile.clone(), metrics, cache: Mutex::new(cache) }
    }

    /// The compiled component: from the cache where its seal holds, else compiled by a child.
    pub(crate) async fn compile(&self, digest: Digest, component: &[u8]) -> Result<Component, Error> {
        self.compile_for(&self.engine, digest, component).await
    }

    /// The same for another engine of the same settings for code, which finds in the cache what the first put there.
    pub(crate) async fn compile_for(
        &self,
        engine: &Engine,
        digest: Digest,
        component: &[u8],
    ) -> Result<Component, Error> {
        let cache = self.cache.lock().await;
        if let Some(artefact) = cache.get(digest)? {
            match load(engine, &artefact) {
                Ok(component) => return Ok(component),
                Err(error) => {
                    tracing::warn!(%digest, %error, "cached artefact does not load, compiling again")
                }
            }
        }
        let started = Instant::now();
        let compiled = self.run(component).await;
        self.metrics.compiled(started.elapsed(), compiled.is_ok());
        let artefact = compiled?;
        let component = load(engine, &artefact).map_err(|error| Error::Refused(format!("{error:#}")))?;
        // A full disk costs the next start some seconds, not this plugin.
        if let Err(error) = cache.put(digest, &artefact) {
            tracing::warn!(%digest, %error, "compiled component is not cached");
        }
        Ok(component)
    }

    /// Runs the child: component in, artefact out.
    async fn run(&self, component: &[u8]) -> Result<Vec<u8>, Error> {
        let limits = &self.limits;
        let mut child = Command::new(&self.program.path)
            .args(&self.program.args)
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let (mut stdin, stdout, stderr) = match (child.stdin.take(), child.stdout.take(), child.stderr.take())
        {
            (Some(stdin), Some(stdout), Some(stderr)) => (stdin, stdout, stderr),
            _ => return Err(std::io::Error::other("the compiling process has no pipes").into()),
        };
        let artefact_bytes_max = mib(limits.artefact_mib_max);
        let feed = async {
            let mut header = serde_json::to_vec(limits).map_err(std::io::Error::other)?;
            header.push(b'\n');
            stdin.write_all(&header).await?;
            stdin.write_all(component).await?;
            drop(stdin);
            Ok::<_, std::io::Error>(())
        };
        let (mut artefact, mut said) = (Vec::new(), Vec::new());
        let talk = async {
            let mut stdout = stdout.take(artefact_bytes_max as u64 + 1);
            let mut stderr = stderr.take(16 << 10);
            // A child that dies stops reading: what it said tells why, not the broken pipe.
            let feeding = async { feed.await.or(Ok(())) };
            let listening = async { stderr.read_to_end(&mut said).await.map(drop).or(Ok(())) };
            let reading = async {
                stdout.read_to_end(&mut artefact).await?;
                // At once, and not at the child's end: whose machine code nobody reads on comes to none.
                if artefact.len() > artefact_bytes_max {
                    return Err(Error::Refused(format!(
                        "compile limit: the machine code has more than {} MiB",
                        limits.artefact_mib_max
                    )));
                }
                Ok(())
            };
            tokio::try_join!(feeding, reading, listening)?;
            Ok::<_, Error>(child.wait().await?)
        };
        let status = match timeout(Duration::from_secs(limits.wall_s.into()), talk).await {
            Ok(status) => status?,
            Err(_) => {
                return Err(Error::Refused(format!("compile limit: more than {} s passed", limits.wall_s)));
            }
        };
        let said = String::from_utf8_lossy(&said);
        if status.success() {
            return Ok(artefact);
        }
        Err(why(status, said.trim(), limits))
    }
}

/// What the end of a child means.
fn why(status: std::process::ExitStatus, said: &str, limits: &Compile) -> Error {
    use std::os::unix::process::ExitStatusExt;
    const SIGABRT: i32 = 6;
    const SIGXCPU: i32 = 24;
    match (status.code().and_then(|code| u8::try_from(code).ok()), status.signal()) {
        (Some(child::REFUSED), _) => Error::Refused(format!("does not compile: {said}")),
        (_, Some(SIGXCPU)) => {
            Error::Refused(format!("compile limit: more than {} s of CPU time used", limits.cpu_s))
        }
        (_, Some(SIGABRT)) if said.contains("memory allocation") => {
            Error::Refused(format!("compile limit: more than {} MiB of memory used", limits.memory_mib))
        }
        _ => std::io::Error::other(format!("the compiling process ended with {status}: {said}")).into(),
    }
}

/// Loads machine code that this host's own compiler made.
fn load(engine: &Engine, artefact: &[u8]) -> wasmtime::Result<Component> {
    // SAFETY: the bytes came from our own compiling process just now, or from the cache with a seal that only this
    // host can make and that was checked over all of them, in this very buffer.
    unsafe { Component::deserialize(engine, artefact) }
}
