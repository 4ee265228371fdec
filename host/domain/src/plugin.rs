//! Installed plugins: what is stored about them, and the port through which operators manage them.

mod policy;
mod status;

pub use policy::{Candidate, OnFailure, OnOpen, Policy, Quarantine, Reverted, Scope, Trial};
pub use status::{
    AtWork, CandidateStatus, Capability, Circuit, Comparison, Delta, Diff, Difference, Health, HookStatus,
    Installed, Pair, Poisoned, State, Status, Upload, Uploaded,
};

use crate::{actor, filter::Hook, id::Generation, time::Ms};
use async_trait::async_trait;
use serde::{Deserialize, Serialize};

/// The SHA-256 of a component.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Digest(pub [u8; 32]);

impl std::fmt::Display for Digest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl std::str::FromStr for Digest {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is no digest, which has 64 hexadecimal digits");
        let mut digest = Self([0; 32]);
        if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(wrong());
        }
        for (byte, at) in digest.0.iter_mut().zip((0..64).step_by(2)) {
            *byte = u8::from_str_radix(&text[at..at + 2], 16).map_err(|_| wrong())?;
        }
        Ok(digest)
    }
}

impl std::fmt::Debug for Digest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Digest({self})")
    }
}

/// One version of a plugin with all that it was installed with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Release {
    /// The manifest's `version`.
    pub version: String,
    /// Which component.
    pub digest: Digest,
    /// The manifest as it was given (TOML).
    pub manifest: String,
    /// The configuration (JSON text), already checked against the manifest's schema.
    pub config: String,
    /// Capabilities that the operator granted: those of [`Release::asks`] that it may use.
    pub grants: Vec<String>,
    /// Hooks of filters that it serves.
    pub hooks: Vec<Hook>,
    /// What it serves as an actor, if anything.
    pub actor: Option<actor::Served>,
    /// The manifest's: lower runs first.
    pub priority: i32,
    /// The manifest's: what becomes of a message that its moderation could not judge.
    pub on_failure: OnFailure,
    /// The manifest's: what becomes of a message while it is not asked.
    pub on_open: OnOpen,
    /// Capabilities that its manifest asks for, each with what it is for: `kv`, `http=https://api.example.com`.
    pub asks: Vec<String>,
    /// What its component imports.
    pub imports: Vec<String>,
    /// When it was installed.
    pub installed_at: Ms,
}

impl Release {
    /// The names of the hooks that it serves: those of filters, then those of actors.
    pub fn hook_names(&self) -> Vec<String> {
        let filters = self.hooks.iter().map(|hook| hook.name());
        let actors = self.actor.iter().flat_map(|actor| &actor.hooks).map(|hook| hook.name());
        filters.chain(actors).map(str::to_owned).collect()
    }
}

/// An installed plugin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Installation {
    /// The manifest's `id`.
    pub id: String,
    /// What serves.
    pub active: Release,
    /// What a rollback returns to.
    pub previous: Option<Release>,
    /// A version beside it that waits or is tried out.
    pub candidate: Option<Candidate>,
    /// What the operator decided, whichever version serves.
    pub policy: Policy,
    /// Since when the active version serves.
    pub swapped_at: Ms,
    /// Whether the active version is asked no more.
    pub quarantine: Option<Quarantine>,
    /// What the host took back by itself, until the next change of version.
    pub reverted: Option<Reverted>,
}

impl Installation {
    /// A plugin of one version, as it is before an operator decides anything about it.
    pub fn new(id: String, active: Release) -> Self {
        let swapped_at = active.installed_at;
        let (policy, previous, candidate) = (Policy::default(), None, None);
        Self { id, active, previous, candidate, policy, swapped_at, quarantine: None, reverted: None }
    }

    /// Makes `release` the active one, and what was active the way back.
    pub fn swap(&mut self, release: Release, now: Ms) {
        self.previous = Some(std::mem::replace(&mut self.active, release));
        self.swapped_at = now;
        (self.quarantine, self.reverted) = (None, None);
    }

    /// All its versions.
    pub fn releases(&self) -> impl Iterator<Item = &Release> {
        let candidate = self.candidate.iter().map(|candidate| &candidate.release);
        std::iter::once(&self.active).chain(&self.previous).chain(candidate)
    }

    /// The version that decides in some conversations, and in how many of a hundred.
    pub fn canary(&self) -> Option<(&Release, u8)> {
        match &self.candidate {
            Some(Candidate { release, trial: Trial::Canary { percent } }) => Some((release, *percent)),
            _ => None,
        }
    }
}

/// All installed plugins: active and previous versions change together, in one row.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Roster {
    /// Raised by every change.
    pub generation: Generation,
    /// By id.
    pub plugins: Vec<Installation>,
}

/// Which plugins made up a generation, in the order in which [`crate::filter::Step::plugin`] counts them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Composition {
    /// The plugins.
    pub plugins: Vec<Part>,
}

/// A plugin of a generation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// Its id.
    pub id: String,
    /// Its version.
    pub version: String,
    /// Its component.
    pub digest: Digest,
}

impl Roster {
    /// The composition that this roster makes: the active versions in order, then the canaries in the same order.
    pub fn composition(&self) -> Composition {
        let part = |id: &String, release: &Release| Part {
            id: id.clone(),
            version: release.version.clone(),
            digest: release.digest,
        };
        let active = self.plugins.iter().map(|plugin| part(&plugin.id, &plugin.active));
        let canaries = self.plugins.iter().filter_map(|plugin| Some(part(&plugin.id, plugin.canary()?.0)));
        Composition { plugins: active.chain(canaries).collect() }
    }
}

/// What an operator asks to install. Everything in it is untrusted.
#[derive(Debug, Clone)]
pub struct Install {
    /// The id in the address; must equal the manifest's.
    pub id: String,
    /// The manifest (TOML).
    pub manifest: String,
    /// The component.
    pub component: Component,
    /// Capabilities granted, by name; `None` stands for what the active version has.
    pub grants: Option<Vec<String>>,
    /// The configuration (JSON text); `None` stands for `{}`, or for what the active version has.
    pub config: Option<String>,
    /// How it is to begin.
    pub to: Begin,
    /// Check only.
    pub dry_run: bool,
}

/// The component of an [`Install`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Component {
    /// Here it is.
    Bytes(Vec<u8>),
    /// One that was uploaded before.
    Digest(Digest),
}

/// How a version begins.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Begin {
    /// It decides at once.
    #[default]
    Active,
    /// Beside the active one, seeing what that sees.
    Shadow,
    /// Beside the active one, deciding in some conversations of a hundred.
    Canary(u8),
}

/// Something that an operator decides about a plugin, whichever version serves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Setting {
    /// Whether it is asked; enabling also ends a quarantine.
    Disabled(bool),
    /// Whether its version stays.
    Pinned(bool),
    /// Its place; `None` is the manifest's.
    Priority(Option<i32>),
    /// What becomes of what it could not judge, and of messages while it is not asked; `None` is the manifest's.
    Failure(Option<OnFailure>, Option<OnOpen>),
    /// Where it is asked.
    Scope(Scope),
}

/// What becomes of a version beside the active one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Advance {
    /// These capabilities are granted to the version that waits; once it has all, it is active.
    Grant(Vec<String>),
    /// It sees what the active version sees.
    Shadow,
    /// It decides in some conversations of a hundred.
    Canary(u8),
    /// It is active.
    Promote,
    /// It is forgotten.
    Drop,
}

/// A line that a plugin, or the host on its behalf, wrote.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LogLine {
    /// Counts the lines of this plugin from 1; asking after the last one seen shows each once.
    pub n: u64,
    /// When.
    pub at: Ms,
    /// `trace`, `debug`, `info`, `warn` or `error`.
    pub level: &'static str,
    /// Which version.
    pub version: String,
    /// What.
    pub text: String,
}

/// Why a plugin could not be managed as asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Something is wrong with what was given; each problem says what would satisfy the host.
    #[error("plugin refused: {}", .0.join("; "))]
    Refused(Vec<String>),
    /// No plugin of that id is installed.
    #[error("no plugin `{0}` is installed")]
    NotFound(String),
    /// No component of that digest is stored.
    #[error("no component {0} is stored; upload it first")]
    NoComponent(Digest),
    /// There is no version to go back to, or another change came between.
    #[error("{0}")]
    Conflict(String),
    /// The store failed; what serves is what served before.
    #[error(transparent)]
    Store(#[from] crate::waist::Error),
}

/// Management of plugins while messages flow. Changes are carried out one after the other.
#[async_trait]
pub trait Manager: Send + Sync + 'static {
    /// Checks a component and keeps it, so that it can be installed by its digest.
    async fn upload(&self, component: Vec<u8>) -> Result<Uploaded, Error>;

    /// The components that are kept.
    async fn uploads(&self) -> Result<Vec<Upload>, Error>;

    /// Forgets an uploaded component. A version that stands on it keeps it.
    async fn discard(&self, digest: Digest) -> Result<(), Error>;

    /// Stage, check, compile, try, store and publish.
    async fn install(&self, install: Install) -> Result<Installed, Error>;

    /// All installed plugins, in the order in which they run.
    async fn list(&self) -> Vec<Status>;

    /// Makes the previous version the active one, and the active one the previous.
    async fn rollback(&self, id: &str) -> Result<Installed, Error>;

    /// Moves a version that waits or is tried out.
    async fn advance(&self, id: &str, advance: Advance) -> Result<Installed, Error>;

    /// Decides something about a plugin, whichever version serves.
    async fn set(&self, id: &str, setting: Setting) -> Result<Status, Error>;

    /// Removes a plugin; returns the generation that serves without it.
    async fn remove(&self, id: &str) -> Result<Generation, Error>;

    /// The names of its secrets, sorted; their values are told to nobody but the plugin.
    async fn secrets(&self, id: &str) -> Result<Vec<String>, Error>;

    /// Sets a secret, or forgets it where there is no value.
    async fn set_secret(&self, id: &str, name: &str, value: Option<String>) -> Result<(), Error>;

    /// Its log lines after the `after`th, oldest first, as far back as the ring reaches.
    async fn logs(&self, id: &str, after: u64) -> Result<Vec<LogLine>, Error>;

    /// The bodies that it is not shown any more.
    async fn poisoned(&self, id: &str) -> Result<Vec<Poisoned>, Error>;

    /// Lets it be shown all bodies again; how many were kept from it.
    async fn forgive(&self, id: &str) -> Result<usize, Error>;
}
