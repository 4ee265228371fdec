//! What is kept for one plugin outside of its versions, as far as the engine reads it: rows of its `kv`, its secrets.
//!
//! `core` writes the rows, in the same commit as what caused them; operators write the secrets, by the engine.

use crate::{time::Ms, waist::Error};
use async_trait::async_trait;
use std::sync::Arc;

/// A row of a plugin's `kv`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KvRow {
    /// Its key.
    pub key: String,
    /// What stands there.
    pub value: Arc<[u8]>,
    /// When it is gone by itself.
    pub expires_at: Option<Ms>,
}

/// What plugins keep.
#[async_trait]
pub trait Kv: Send + Sync + 'static {
    /// All rows of a plugin, which are bounded by its quota: read once, to fill the copy that filters see.
    async fn kv_all(&self, plugin: &str) -> Result<Vec<KvRow>, Error>;
}

/// What operators entrust to plugins. Nothing here is ever logged, listed with its value or kept in a configuration.
#[async_trait]
pub trait Secrets: Send + Sync + 'static {
    /// The value of a secret.
    async fn secret(&self, plugin: &str, name: &str) -> Result<Option<String>, Error>;

    /// The names that are set, sorted.
    async fn secret_names(&self, plugin: &str) -> Result<Vec<String>, Error>;

    /// Sets a secret, in place of one of the same name.
    async fn put_secret(&self, plugin: &str, name: &str, value: &str) -> Result<(), Error>;

    /// Forgets a secret; says whether there was one.
    async fn drop_secret(&self, plugin: &str, name: &str) -> Result<bool, Error>;
}
