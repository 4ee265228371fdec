//! `godwit dev`: a project's plugins, built, served, and swapped as their sources change.
//!
//! It owns the loop of a plugin author: build, try, change. It refuses to do anything that the command line of a
//! running server could not do: plugins go in through the admin API, people talk over sockets.
//!
//! Start with [`run`]; [`project`] finds the sources, [`build`] compiles them, [`watch`] waits for the next change,
//! [`demo`] makes two people who have a conversation.

pub mod build;
mod demo;
pub mod progress;
pub mod project;
pub mod watch;

use crate::{
    admin::Client,
    config::{self, Sources},
    logs,
    plugin::{self, package::Package},
    serve,
};
use anyhow::Context;
use build::Builder;
use godwit_domain::plugin::Installed;
use progress::{say, took};
use project::Project;
use std::{collections::BTreeMap, time::Instant};
use watch::Watch;

/// Runs until interrupted.
///
/// # Errors
/// There is no project here, its plugins cannot be built for want of tools, or the server does not start.
pub fn run(mut sources: Sources) -> anyhow::Result<()> {
    let project = Project::find(&std::env::current_dir()?)?;
    // Removed at the end, whether or not it is used.
    let folder = tempfile::Builder::new().prefix("godwit-dev-").tempdir()?;
    sources.presets = vec![
        ("server.data", folder.path().join("data").to_string_lossy().into_owned()),
        ("auth.registration", "true".to_owned()),
        // What `dev` itself says is enough, as long as nothing goes wrong.
        ("log.level", "warn".to_owned()),
    ];
    if project.has_web_pages() {
        sources.presets.push(("gateway.assets_dir", project.root.to_string_lossy().into_owned()));
    }
    let mut settings = config::load(&sources, std::env::vars())?;
    if settings.gateway.tls != Default::default() {
        // The demo users, and browsers that know no certificate of this machine, come without.
        settings.gateway.tls = Default::default();
        say("`gateway.tls` is left aside: `godwit dev` speaks plain HTTP.");
    }
    logs::start(&settings.log)?;
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(async {
        let mut stop = serve::Signals::listen()?;
        let mut dev = tokio::select! {
            begun = Dev::begin(project, &settings) => begun?,
            () = stop.first() => return Ok(()),
        };
        if settings.server.data.starts_with(folder.path()) {
            say("Data is kept in a throw-away folder, removed at the end; `--data DIR` keeps it.");
        }
        tokio::select! {
            watched = dev.watch() => watched?,
            () = stop.first() => {}
        }
        say("\nStopping.");
        tokio::select! {
            stopped = dev.server.stop() => stopped,
            () = stop.first() => Ok(()),
        }
    })
}

struct Dev {
    builder: Builder,
    watch: Watch,
    server: serve::Running,
    client: Client,
    /// What serves, by id: only what differs is swapped.
    installed: BTreeMap<String, build::Built>,
}

impl Dev {
    async fn begin(project: Project, settings: &config::Settings) -> anyhow::Result<Self> {
        say(&format!("Godwit development server for {}", project.root.display()));
        build::ensure_target(&project.root).await?;
        // Before the first build, so that what is saved meanwhile is not missed.
        let watch = Watch::start(&project.watched())?;
        let builder = Builder::new(project);
        let built = builder.build().await?;
        let server = serve::start(settings).await?;
        let token = match std::env::var("GODWIT_ADMIN_TOKEN") {
            Ok(token) => token,
            Err(_) => plugin::read_token(&server.admin_token_file)?,
        };
        let client = Client { address: server.admin.to_string(), token };
        let mut dev = Self { builder, watch, server, client, installed: BTreeMap::new() };
        dev.install(built).await;
        let people =
            demo::prepare(&dev.client, dev.server.public).await.context("cannot make the demo users")?;
        dev.greet(&people);
        Ok(dev)
    }

    fn greet(&self, people: &[demo::Person]) {
        say(&format!("\nOpen http://{} in two windows, and log in as", self.server.public));
        for person in people {
            say(&format!("  {}  with the password  {}", person.name, person.password));
        }
        say(&format!(
            "\nSave a file under {}, and the plugin is swapped while people chat.",
            self.builder.watching()
        ));
        say("To manage plugins by hand, in another terminal:");
        say(&format!(
            "  godwit plugin list --admin {} --token-file {}",
            self.server.admin,
            self.server.admin_token_file.display()
        ));
        say("Ctrl-C ends it.");
    }

    /// Rebuilds and swaps, for ever.
    async fn watch(&mut self) -> anyhow::Result<()> {
        loop {
            let changed = self.watch.changed().await?;
            say(&format!("\n{changed} changed."));
            match self.builder.build().await {
                Ok(built) => self.install(built).await,
                Err(error) => say(&format!("{error:#}")),
            }
        }
    }

    /// Installs what differs from what serves. A refusal is told, and the version before goes on.
    async fn install(&mut self, built: Vec<build::Built>) {
        for built in built {
            let package = match Package::built(&built.folder, built.component.clone()) {
                Ok(package) => package,
                Err(error) => {
                    say(&format!("{error:#}"));
                    continue;
                }
            };
            if self.installed.get(&package.id) == Some(&built) {
                continue;
            }
            let began = Instant::now();
            let swap = self.installed.contains_key(&package.id);
            match self.put(&package, &built).await {
                Ok(installed) => {
                    let what = if swap { "swapped" } else { "installed" };
                    say(&format!("{} {} {what} in {}.", installed.id, installed.version, took(began)));
                    for warning in installed.warnings {
                        say(&format!("  warning: {warning}"));
                    }
                    self.installed.insert(package.id, built);
                }
                Err(error) => {
                    let then = if swap { "; the version before goes on" } else { "" };
                    say(&format!("{} is refused{then}: {error:#}", package.id));
                }
            }
        }
    }

    /// A developer's own machine grants whatever the manifest asks.
    async fn put(&self, package: &Package, built: &build::Built) -> anyhow::Result<Installed> {
        let config = project::dev_config(&built.folder)?;
        plugin::install(&self.client, package, package.capabilities()?, config).await
    }
}
