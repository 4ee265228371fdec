//! `godwit plugin dev`: one plugin, swapped into a running server as its sources change.
//!
//! It does nothing that `build`, `install` and `logs` could not do one after the other; it keeps going.

use super::{
    build,
    project::{DEV_CONFIG, Project, SCENARIOS},
};
use crate::{
    admin::Client,
    dev::{
        progress::{say, took},
        watch::Watch,
    },
    plugin::{self, Connection, package::Package},
};
use godwit_domain::plugin::HookStatus;
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

/// How often the server is asked for lines and decisions.
const ASK_EVERY: Duration = Duration::from_millis(500);

/// Builds, installs, and goes on until interrupted.
///
/// # Errors
/// There is no project, or no server answers.
pub fn run(folder: &Path, config: Option<&Path>, once: bool, connection: Connection) -> anyhow::Result<()> {
    let project = Project::find(folder)?;
    let own = project.folder.join(DEV_CONFIG);
    let config = config.map(Path::to_owned).or_else(|| own.is_file().then_some(own));
    plugin::connected(connection, async |client, json| {
        // Before the first build, so that what is saved meanwhile is not missed.
        let mut watch = Watch::start(std::slice::from_ref(&project.folder))?;
        let id = project.manifest.id.clone();
        let mut live = Live { project, config, client: client.clone(), installed: false };
        let swapped = live.swap().await;
        if once {
            return swapped;
        }
        if let Err(error) = swapped {
            say(&format!("{error:#}"));
        }
        say(&format!(
            "Save a file under {}, and it is swapped. Ctrl-C ends it.",
            live.project.folder.display()
        ));
        let mut told = Told::default();
        loop {
            tokio::select! {
                changed = watch.changed() => {
                    say(&format!("\n{} changed.", changed?));
                    if let Err(error) = live.swap().await {
                        say(&format!("{error:#}"));
                    }
                }
                () = tokio::time::sleep(ASK_EVERY), if live.installed => {
                    // A server that restarts is there again a moment later.
                    if let Err(error) = told.tell(client, &id, json).await {
                        told.trouble(&format!("{error:#}"));
                    }
                }
                _ = tokio::signal::ctrl_c() => {
                    say(&format!("\n{id} stays installed as it is now; `godwit plugin remove {id}` takes it away."));
                    return Ok(());
                }
            }
        }
    })
}

struct Live {
    project: Project,
    config: Option<PathBuf>,
    client: Client,
    installed: bool,
}

impl Live {
    /// Builds and installs, with all that the manifest asks: that is the author's own server.
    async fn swap(&mut self) -> anyhow::Result<()> {
        // The manifest may be what changed.
        self.project = Project::find(&self.project.folder)?;
        let component = build::build_within(&self.project).await?;
        let package = Package::built(&self.project.folder, component)?;
        let config = self.config.as_deref().map(plugin::read_config).transpose()?;
        let began = Instant::now();
        let installed = plugin::install(&self.client, &package, package.capabilities()?, config).await?;
        say(&format!("{} {} serves, installed in {}.", installed.id, installed.version, took(began)));
        for warning in installed.warnings {
            say(&format!("  warning: {warning}"));
        }
        if self.project.folder.join(SCENARIOS).is_dir() {
            say("  `godwit plugin test` runs its scenarios.");
        }
        self.installed = true;
        Ok(())
    }
}

/// What was told already.
#[derive(Default)]
struct Told {
    line: u64,
    calls: BTreeMap<String, HookStatus>,
    trouble: String,
}

impl Told {
    async fn tell(&mut self, client: &Client, id: &str, json: bool) -> anyhow::Result<()> {
        self.line = plugin::show_lines(client, id, self.line, json).await?;
        let status = plugin::status(client, id).await?;
        for now in status.calls {
            let before = self.calls.get(&now.hook);
            if let Some(text) = before.and_then(|before| decisions(before, &now)) {
                say(&format!("  {}: {text}", now.hook));
            }
            self.calls.insert(now.hook.clone(), now);
        }
        self.trouble.clear();
        Ok(())
    }

    /// Says the same trouble once.
    fn trouble(&mut self, text: &str) {
        if self.trouble != text {
            say(text);
            self.trouble = text.to_owned();
        }
    }
}

/// What was decided between two times; nothing where it was not asked, or where counting began anew.
fn decisions(before: &HookStatus, now: &HookStatus) -> Option<String> {
    let more = |count: fn(&HookStatus) -> u64| count(now).checked_sub(count(before));
    let calls = more(|status| status.calls).filter(|calls| *calls > 0)?;
    type Count = fn(&HookStatus) -> u64;
    let kinds: [(&str, Count); 5] = [
        ("refused", |status| status.refusals),
        ("trapped", |status| status.traps),
        ("cut", |status| status.deadlines),
        ("busy", |status| status.busy),
        ("refused unseen", |status| status.poison),
    ];
    let kinds = kinds.into_iter().filter_map(|(name, count)| {
        let count = more(count).filter(|count| *count > 0)?;
        Some(format!(", {count} {name}"))
    });
    Some(format!("{calls} calls{}; {} µs each", kinds.collect::<String>(), now.micros_mean))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_decided_since_is_told_and_a_new_version_begins_anew() {
        let status =
            |calls, refusals| HookStatus { calls, refusals, micros_mean: 7, ..HookStatus::default() };
        assert_eq!(decisions(&status(2, 1), &status(2, 1)), None);
        let told = decisions(&status(2, 1), &status(5, 2)).unwrap();
        assert_eq!(told, "3 calls, 1 refused; 7 µs each");
        assert_eq!(decisions(&status(5, 2), &status(1, 0)), None);
    }
}
