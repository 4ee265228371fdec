//! The real binary over real sockets: what every end-to-end test and the load generator stand on.
//!
//! It owns a server's life ([`server`]), the operator's and the people's ways in ([`admin`], [`client`], within TLS by
//! [`tls`]), and an independent judge of what came out ([`checker`]). It refuses to know the host's crates: everything here is written
//! from the contracts alone, so that a misreading of the host is not repeated by its tests.
//!
//! Start with [`server::Server::start`], then [`server::Server::person`], then [`client::Client::send`].

pub mod admin;
pub mod author;
pub mod checker;
pub mod client;
pub mod http;
pub mod server;
pub mod talk;
pub mod tls;

use std::time::Duration;

/// How long anything may take that must happen. It bounds a failing run; a passing one never waits for it to end.
pub const PATIENCE: Duration = Duration::from_secs(40);

/// Waits until `ready` answers something, asking again after short pauses.
///
/// # Errors
/// `what` did not come within [`PATIENCE`].
pub async fn eventually<T>(
    what: &str,
    mut ready: impl AsyncFnMut() -> anyhow::Result<Option<T>>,
) -> anyhow::Result<T> {
    let asked = async {
        loop {
            if let Some(value) = ready().await? {
                return Ok(value);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    match tokio::time::timeout(PATIENCE, asked).await {
        Ok(answer) => answer,
        Err(_) => anyhow::bail!("{what} did not come within {PATIENCE:?}"),
    }
}
