//! The server: how the parts are put together, how it runs, and how it stops.
//!
//! It owns the order of both: the store first and last, the doors last and first. It refuses to know what goes on
//! between: every part is reached through a port, and this is the one file that names all of them.
//!
//! Start with [`start`], which is the wiring, then [`Running::stop`], which is the way down.

use crate::{
    cli, clock,
    config::{self, Settings, Sources},
    keys, logs,
};
use anyhow::Context;
use godwit_core::{
    accounts,
    changes::Changes,
    host::{self, Host},
    registry::Registry as Sessions,
};
use godwit_domain::{notification::Undelivered, plugin, tables::Conversations, time::Clock};
use godwit_engine::Engine;
use godwit_gateway::{Door, Gateway, Parts};
use godwit_storage::{redb::Backend, tables::Tables};
use prometheus_client::registry::Registry;
use std::{
    fs::DirBuilder,
    net::SocketAddr,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tokio::{
    net::{TcpListener, TcpSocket},
    signal::unix::{Signal, SignalKind, signal},
    sync::watch,
    task::JoinHandle,
    time::timeout,
};

/// After so long a stopping host ends whatever is still under way: supervisors kill at ten seconds, and what was
/// acknowledged is durable anyway.
const STOP_WITHIN: Duration = Duration::from_millis(9_500);
/// Connections that wait to be accepted: a host that comes back is met by all its clients at once.
const BACKLOG: u32 = 4_096;

/// Serves until it is told to stop.
///
/// # Errors
/// A setting is wrong, the data folder cannot be used or is in use, an address is taken.
pub fn run(sources: &Sources) -> anyhow::Result<()> {
    let settings = config::load(sources, std::env::vars())?;
    logs::start(&settings.log)?;
    let runtime = tokio::runtime::Runtime::new()?;
    let served: anyhow::Result<()> = runtime.block_on(async {
        let mut signals = Signals::listen()?;
        let running = tokio::select! {
            started = start(&settings) => started?,
            () = signals.first() => return Ok(()),
        };
        cli::print(&format!("listening on {} admin {}\n", running.public, running.admin))?;
        signals.first().await;
        tokio::select! {
            stopped = running.stop() => stopped,
            () = signals.first() => {
                tracing::warn!("told a second time to stop: ending at once");
                Ok(())
            }
        }
    });
    // A task that blocks must not keep the process: nothing that was acknowledged depends on it.
    runtime.shutdown_background();
    served
}

/// A server that serves.
pub struct Running {
    /// Where clients connect.
    pub public: SocketAddr,
    /// Where operators connect.
    pub admin: SocketAddr,
    /// Where the admin token is kept, unless the environment gave one.
    pub admin_token_file: PathBuf,
    host: Arc<Host>,
    store: Arc<Backend>,
    drain: Duration,
    close_public: watch::Sender<bool>,
    close_admin: watch::Sender<bool>,
    doors: [JoinHandle<()>; 2],
}

/// Puts the parts together and opens the doors.
///
/// # Errors
/// The data folder cannot be used or is in use, an address is taken, a part refuses its settings.
pub async fn start(settings: &Settings) -> anyhow::Result<Running> {
    raise_file_limit();
    let data = &settings.server.data;
    make_data_folder(data)?;
    let clock: Arc<dyn Clock> = Arc::new(clock::System);
    let mut registry = Registry::default();

    let store_metrics = godwit_storage::redb::Metrics::default();
    store_metrics.register(&mut registry);
    let store = Backend::open(data, &settings.storage, clock.clone(), store_metrics)?;
    let tables = Arc::new(Tables::new(store.clone(), clock.clone()));

    // Only who holds the store may make secrets beside it.
    let signing_key = keys::signing_key(data)?;
    let given = std::env::var("GODWIT_ADMIN_TOKEN").ok();
    let admin_token = keys::admin_token(data, given.as_deref())?;
    if let Some((token, path)) = &admin_token.made {
        eprintln!("made the admin token {token}, shown this once and kept in {}", path.display());
    }

    let compiler = godwit_engine::Program {
        path: std::env::current_exe().context("cannot find this program, which compiles plugins")?,
        args: vec!["compile-component".into()],
    };
    let cache = data.join("compiled");
    let kept = godwit_engine::Kept { kv: tables.clone(), secrets: tables.clone() };
    let engine =
        Engine::open(settings.plugins.clone(), tables.clone(), clock.clone(), &cache, compiler, kept).await?;
    engine.metrics().register(&mut registry);

    let sessions = Arc::new(Sessions::default());
    let accounts = accounts::Service::new(
        settings.auth.clone(),
        settings.limits.logins_per_minute,
        signing_key,
        tables.clone(),
        clock.clone(),
        sessions.clone(),
    )?
    .judged_by(engine.clone());
    let accounts = Arc::new(accounts);
    let host_metrics = godwit_core::metrics::Metrics::default();
    host_metrics.register(registry.sub_registry_with_prefix("godwit"));
    let actor_metrics = godwit_core::actors::Metrics::default();
    actor_metrics.register(registry.sub_registry_with_prefix("godwit_actor"));
    let host = Host::start(host::Parts {
        limits: settings.limits.clone(),
        transport: host::Transport {
            server: concat!("godwit/", env!("CARGO_PKG_VERSION")).to_owned(),
            ping_interval_ms: settings.gateway.ping_interval_ms,
            frame_bytes_max: settings.gateway.frame_bytes_max,
            outbox_bytes_max: settings.gateway.outbox_bytes_max,
            features: godwit_gateway::FEATURES,
        },
        epoch: tables.epoch().await?,
        conversations: tables.clone(),
        relation_tables: tables.clone(),
        held: tables.clone(),
        deferrals: tables.clone(),
        notifications: Arc::new(Undelivered),
        account_tables: tables.clone(),
        changes: Changes::start(clock.clone(), tables.clone()).await?,
        resume: settings.resume.clone(),
        actors: engine.clone(),
        work: tables.clone(),
        actor_metrics,
        last_seen: tables.clone(),
        presence: settings.presence.clone(),
        plugin_tables: tables,
        accounts: accounts.clone(),
        registry: sessions,
        filters: engine.clone(),
        clock,
        metrics: host_metrics,
        shard_tasks: std::thread::available_parallelism().map_or(1, usize::from),
    });

    let gateway_metrics = godwit_gateway::Metrics::default();
    gateway_metrics.register(registry.sub_registry_with_prefix("godwit_gateway"));
    let ready = store.clone();
    let (close_public, public_closed) = watch::channel(false);
    let draining = host.clone();
    let gateway = Gateway::new(Parts {
        options: settings.gateway.clone(),
        host: host.clone(),
        accounts,
        plugins: engine as Arc<dyn plugin::Manager>,
        registry: Arc::new(registry),
        metrics: gateway_metrics,
        admin_token: admin_token.token,
        ready: Box::new(move || {
            if draining.is_draining() {
                return Err("the host is stopping".to_owned());
            }
            ready.health()
        }),
    })?;

    let public_listener = listen(settings.server.listen, "server.listen")?;
    let admin_listener = listen(settings.server.admin, "server.admin")?;
    let (public, admin) = (public_listener.local_addr()?, admin_listener.local_addr()?);
    warn_of_open_admin(admin);
    let (close_admin, admin_closed) = watch::channel(false);
    let doors = [
        tokio::spawn(gateway.clone().serve(Door::Public, public_listener, closed(public_closed))),
        tokio::spawn(gateway.serve(Door::Admin, admin_listener, closed(admin_closed))),
    ];
    tracing::info!(%public, %admin, data = %data.display(), "serving");
    Ok(Running {
        public,
        admin,
        admin_token_file: data.join("admin-token"),
        host,
        store,
        drain: Duration::from_millis(settings.server.drain_ms),
        close_public,
        close_admin,
        doors,
    })
}

impl Running {
    /// Stops in order: no new sessions; those that are here are sent elsewhere; what they sent is written; then the doors,
    /// the admin door last, so that health can be asked until the end; then the store is closed.
    ///
    /// # Errors
    /// The store could not be closed cleanly; what was acknowledged is safe even then.
    pub async fn stop(self) -> anyhow::Result<()> {
        tracing::info!("stopping: clients are asked to connect again elsewhere");
        let stopped = timeout(STOP_WITHIN, async {
            self.host.drain(self.drain).await;
            self.close_public.send_replace(true);
            self.close_admin.send_replace(true);
            for door in self.doors {
                // A door that panicked is closed as well.
                let _ = door.await;
            }
            self.store.close().await
        })
        .await;
        match stopped {
            Ok(closed) => closed.context("the store could not be closed")?,
            Err(_) => tracing::warn!("not everything ended in {} ms", STOP_WITHIN.as_millis()),
        }
        tracing::info!("stopped");
        Ok(())
    }
}

async fn closed(mut closed: watch::Receiver<bool>) {
    // The sender's end means the same: nobody is there to keep the door open.
    let _ = closed.wait_for(|closed| *closed).await;
}

/// Makes the folder for its owner alone. One that is there keeps its mode: it may be shared on purpose, and the
/// secrets in it are guarded by themselves.
fn make_data_folder(data: &Path) -> anyhow::Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(data)
        .with_context(|| format!("cannot make the data folder {}", data.display()))
}

fn listen(address: SocketAddr, setting: &str) -> anyhow::Result<TcpListener> {
    let bind = || {
        let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        // A host that was killed leaves connections behind that would keep its address for a minute.
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        socket.listen(BACKLOG)
    };
    bind().with_context(|| {
        format!("cannot listen on {address}; set `{setting}` to another address, port 0 takes a free one")
    })
}

/// The admin listener has no TLS of its own, so that whoever can listen on the way reads the admin token.
fn warn_of_open_admin(admin: SocketAddr) {
    if !admin.ip().to_canonical().is_loopback() {
        tracing::warn!(
            %admin,
            "the admin listener can be reached from other machines, and speaks without TLS: keep it on 127.0.0.1 and \
             reach it through a tunnel or a proxy, or make sure that this network is private"
        );
    }
}

/// A socket is a file: the soft limit of most systems, 1,024, is kept for programs that use `select`.
fn raise_file_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum
        && let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit })
    {
        tracing::warn!(%error, limit = limit.current, "the limit on open files could not be raised");
    }
}

/// SIGTERM and SIGINT, which both mean stop.
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
    /// A file that may not grow is a full disk, which the store survives; it is never waited for.
    _file_size: Signal,
}

impl Signals {
    /// From now on they no longer end the process by themselves.
    ///
    /// # Errors
    /// The system refuses.
    pub fn listen() -> anyhow::Result<Self> {
        let terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
        let interrupt = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
        let file_size = SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw());
        let _file_size = signal(file_size).context("cannot listen for SIGXFSZ")?;
        Ok(Self { terminate, interrupt, _file_size })
    }

    /// Waits for the next of either.
    pub async fn first(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
