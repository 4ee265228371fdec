//! Installed plugins: what is stored about them, and the port through which operators manage them.

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

impl std::fmt::Debug for Digest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Digest({self})")
    }
}

/// What becomes of a message that moderation could not judge.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnFailure {
    /// It is refused as temporary.
    #[default]
    Reject,
    /// It is held, and judged again by itself.
    Hold,
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
    /// Capabilities that the operator granted, by name.
    pub grants: Vec<String>,
    /// Hooks of filters that it serves.
    pub hooks: Vec<Hook>,
    /// What it serves as an actor, if anything.
    pub actor: Option<actor::Served>,
    /// Lower runs first.
    pub priority: i32,
    /// What becomes of a message that its moderation could not judge.
    pub on_failure: OnFailure,
    /// When it was installed.
    pub installed_at: Ms,
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
    /// The composition that this roster makes: its plugins in order.
    pub fn composition(&self) -> Composition {
        let part = |installation: &Installation| Part {
            id: installation.id.clone(),
            version: installation.active.version.clone(),
            digest: installation.active.digest,
        };
        Composition { plugins: self.plugins.iter().map(part).collect() }
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
    pub component: Vec<u8>,
    /// Capabilities granted, by name.
    pub grants: Vec<String>,
    /// The configuration (JSON text); `None` stands for `{}`, or for what the active version has.
    pub config: Option<String>,
    /// Check only.
    pub dry_run: bool,
}

/// What was installed, or would be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Installed {
    /// Which plugin.
    pub id: String,
    /// Which version.
    pub version: String,
    /// Which component, in hexadecimal.
    pub digest: String,
    /// The generation that serves it; of a dry run the present one.
    pub generation: Generation,
    /// What the operator should know: clamps, exports that were ignored.
    pub warnings: Vec<String>,
}

/// A plugin as operators see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Status {
    /// Which.
    pub id: String,
    /// The active version.
    pub version: String,
    /// Its component, in hexadecimal.
    pub digest: String,
    /// Hooks that it serves.
    pub hooks: Vec<Hook>,
    /// Lower runs first.
    pub priority: i32,
    /// What becomes of a message that its moderation could not judge.
    pub on_failure: OnFailure,
    /// Capabilities granted.
    pub grants: Vec<String>,
    /// The version that a rollback returns to.
    pub previous: Option<String>,
    /// When the active version was installed.
    pub installed_at: Ms,
    /// The present generation.
    pub generation: Generation,
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
    /// Stage, check, compile, try, store and publish.
    async fn install(&self, install: Install) -> Result<Installed, Error>;

    /// All installed plugins, in the order in which they run.
    async fn list(&self) -> Vec<Status>;

    /// Makes the previous version the active one, and the active one the previous.
    async fn rollback(&self, id: &str) -> Result<Installed, Error>;

    /// Removes a plugin; returns the generation that serves without it.
    async fn remove(&self, id: &str) -> Result<Generation, Error>;

    /// Its log lines after the `after`th, oldest first, as far back as the ring reaches.
    async fn logs(&self, id: &str, after: u64) -> Result<Vec<LogLine>, Error>;
}
