//! What a connection begins with: everything that changed since the device's cursor, or a cold start.

use super::{cursor::Cursor, listing};
use crate::{host::Host, view::Place};
use godwit_domain::{held::Held, id::UserId, time::Ms};
use godwit_protocol::{
    error::Error,
    request::{self, LIMIT_DEFAULT, Resume},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The `[resume]` section of the configuration.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Options {
    /// For how long a device that was away may resume, in seconds; after that it starts cold.
    pub retention_s: u64,
    /// How often a connected device is told a new cursor while anything changes, in milliseconds. Clients count on a
    /// minute.
    pub cursor_interval_ms: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self { retention_s: 7 * 24 * 60 * 60, cursor_interval_ms: 20_000 }
    }
}

/// What a connection begins with.
pub struct Beginning {
    /// Up to when what is told is complete.
    pub cursor: Cursor,
    /// Whether it is what changed, or a cold start.
    pub recovered: bool,
    /// The conversations.
    pub shown: Vec<listing::Shown>,
    /// The drafts of the user that are on hold.
    pub held: Vec<Held>,
    /// Where `sync` goes on.
    pub next: Option<Place>,
}

/// Reads what the device lacks. The session hears of what changes from before this on.
///
/// # Errors
/// That of the store.
pub async fn begin(
    host: &Host,
    user: UserId,
    resume: Option<&Resume>,
    window: usize,
) -> Result<Beginning, Error> {
    // Before anything is read: what changes while it is read lies above the cursor.
    let cursor = Cursor { user, at: host.parts.changes.cursor() };
    let held = host.held_by(user).await?;
    match resume.and_then(|resume| since(host, resume, cursor)) {
        Some(since) => {
            let (shown, next) = listing::changed(host, user, since, None, LIMIT_DEFAULT as usize).await?;
            Ok(Beginning { cursor, recovered: true, shown, held, next })
        }
        None => {
            let (shown, _) = listing::newest(host, user, None, window).await?;
            Ok(Beginning { cursor, recovered: false, shown, held, next: None })
        }
    }
}

/// The time from which a device can be told what changed; `None` where it cannot.
fn since(host: &Host, resume: &Resume, now: Cursor) -> Option<Ms> {
    let known = Cursor::parse(&resume.cursor)?;
    let retention_ms = host.parts.resume.retention_s.saturating_mul(1000);
    let is_ours = resume.epoch == host.parts.epoch && known.user == now.user;
    (is_ours && known.at <= now.at && now.at.since(known.at) <= retention_ms).then_some(known.at)
}

/// The next page of what [`begin`] told the first of.
///
/// # Errors
/// `invalid` for a page that was never given, or that of the store.
pub async fn go_on(
    host: &Host,
    user: UserId,
    page: &str,
) -> Result<(Vec<listing::Shown>, Option<Place>), Error> {
    let Place { changed_at: since, conversation } = page.parse()?;
    listing::changed(host, user, since, Some(conversation), request::limit(None)?).await
}
