//! Every behaviour of the contracts that can be seen from outside, at the real binary.
//!
//! One program, so that it is linked once; each test has a server of its own, so that they run side by side.
//! Start with [`messages`]; `kill -9` has a program of its own, because it wants the machine for itself.

mod accounts;
mod actors;
mod authorisation;
mod authors;
mod bad_input;
mod blocks;
mod channels;
mod contacts;
mod conversations;
mod delivering;
mod follow;
mod full_disk;
mod held;
mod history;
mod kinds;
mod life;
mod limit_table;
mod limits;
mod marks;
mod membership;
mod messages;
mod operating;
mod people;
mod plugins;
mod presence;
mod proxies;
mod resume;
mod revisions;
mod secrets;
mod settings;
mod sockets;
mod subjects;
mod tls;
mod transports;

use anyhow::{Context, Result};
use serde_json::Value;

/// The numbers in a list of messages.
fn seqs(messages: &[Value]) -> Vec<u64> {
    messages.iter().filter_map(|message| message["seq"].as_u64()).collect()
}

/// The bodies in a list of messages.
fn bodies(messages: &[Value]) -> Vec<&str> {
    messages.iter().filter_map(|message| message["body"].as_str()).collect()
}

/// A list within an answer.
fn list<'a>(value: &'a Value, field: &str) -> Result<&'a Vec<Value>> {
    value[field].as_array().with_context(|| format!("`{field}` is a list in {value}"))
}
