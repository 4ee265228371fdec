//! `godwit plugin secret …`: what an operator entrusts to a plugin.
//!
//! A value comes by standard input, so that neither the shell's history nor the list of processes shows it, and is
//! never printed.

use super::{print, segment};
use crate::admin::{Body, Client};
use anyhow::{Context, bail};
use clap::Subcommand;
use hyper::Method;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::io::Read as _;

/// The longest value that is read.
const VALUE_BYTES_MAX: u64 = 1 << 20;

#[derive(Debug, Subcommand)]
pub enum Action {
    /// Set a secret; its value comes by standard input, without the line's end.
    Set {
        /// Which plugin.
        id: String,
        /// What the plugin asks for.
        name: String,
    },
    /// Show the names of a plugin's secrets.
    List {
        /// Which plugin.
        id: String,
    },
    /// Remove a secret.
    Remove {
        /// Which plugin.
        id: String,
        /// Which secret.
        name: String,
    },
}

#[derive(Debug, Serialize, Deserialize)]
struct Names {
    secrets: Vec<String>,
}

pub async fn act(client: &Client, action: Action, json: bool) -> anyhow::Result<()> {
    match action {
        Action::Set { id, name } => {
            let mut value = String::new();
            let read = std::io::stdin().lock().take(VALUE_BYTES_MAX).read_to_string(&mut value);
            read.context("cannot read the value from standard input")?;
            let value =
                value.strip_suffix('\n').map_or(&*value, |line| line.strip_suffix('\r').unwrap_or(line));
            if value.is_empty() {
                bail!(
                    "the value is empty; give it by standard input, as in `godwit plugin secret set {id} {name} < FILE`"
                );
            }
            let body = Body::Json(json!({ "value": value }));
            let reply: Value = client.call(Method::PUT, &path(&id, &name)?, body).await?;
            print(&reply, json, |_| format!("{id} may read its secret {name}.\n"))
        }
        Action::List { id } => {
            let path = format!("/admin/v1/plugins/{}/secrets", segment(&id)?);
            let reply = client.call(Method::GET, &path, Body::Empty).await?;
            print(&reply, json, |names: &Names| match names.secrets.is_empty() {
                true => format!("{id} has no secrets.\n"),
                false => names.secrets.iter().map(|name| name.clone() + "\n").collect(),
            })
        }
        Action::Remove { id, name } => {
            let reply: Value = client.call(Method::DELETE, &path(&id, &name)?, Body::Empty).await?;
            print(&reply, json, |_| format!("{id} has no secret {name} any more.\n"))
        }
    }
}

fn path(id: &str, name: &str) -> anyhow::Result<String> {
    Ok(format!("/admin/v1/plugins/{}/secrets/{}", segment(id)?, segment(name)?))
}
