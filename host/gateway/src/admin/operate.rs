//! `/admin/v1/plugins/{id}/…`: what an operator does with a plugin that is installed.
//!
//! Versions beside the active one are granted, tried out, promoted and dropped; the plugin is switched off and on,
//! pinned, moved, told what its failures mean and where it is asked. What any of it means is the manager's to know.

use super::plugins::failure;
use crate::{
    Gateway,
    answer::{self, Failure, Request, Response},
};
use godwit_core::domain::plugin::{Advance, OnFailure, OnOpen, Poisoned, Scope, Setting};
use godwit_protocol::{error::Error, request};
use hyper::StatusCode;
use serde::{Deserialize, Serialize};

/// A scope may name many conversations.
const SCOPE_BYTES_MAX: usize = 256 << 10;

#[derive(Deserialize)]
struct Grant {
    capabilities: Vec<String>,
}

#[derive(Deserialize)]
struct Canary {
    percent: u8,
}

#[derive(Deserialize)]
struct Disabled {
    disabled: bool,
}

#[derive(Deserialize)]
struct Pinned {
    pinned: bool,
}

#[derive(Deserialize)]
struct Priority {
    priority: Option<i32>,
}

#[derive(Deserialize)]
struct OnTrouble {
    moderation: Option<OnFailure>,
    open: Option<OnOpen>,
}

pub(super) async fn grant(gateway: &Gateway, request: Request, id: &str) -> Result<Response, Failure> {
    let Grant { capabilities } = gateway.read_json(request).await?;
    advance(gateway, id, Advance::Grant(capabilities)).await
}

pub(super) async fn canary(gateway: &Gateway, request: Request, id: &str) -> Result<Response, Failure> {
    let Canary { percent } = gateway.read_json(request).await?;
    advance(gateway, id, Advance::Canary(percent)).await
}

pub(super) async fn advance(gateway: &Gateway, id: &str, to: Advance) -> Result<Response, Failure> {
    let installed = gateway.plugins.advance(id, to).await.map_err(failure)?;
    Ok(answer::json(StatusCode::OK, &installed))
}

/// A setting by its name in the path.
pub(super) async fn set(
    gateway: &Gateway,
    request: Request,
    id: &str,
    name: &str,
) -> Result<Response, Failure> {
    let setting = match name {
        "disabled" => Setting::Disabled(gateway.read_json::<Disabled>(request).await?.disabled),
        "pinned" => Setting::Pinned(gateway.read_json::<Pinned>(request).await?.pinned),
        "priority" => Setting::Priority(gateway.read_json::<Priority>(request).await?.priority),
        "failure" => {
            let OnTrouble { moderation, open } = gateway.read_json(request).await?;
            Setting::Failure(moderation, open)
        }
        "scope" => {
            let body = answer::read(request, SCOPE_BYTES_MAX, gateway.options.body_timeout_ms).await?;
            let text = String::from_utf8(body).map_err(|_| Error::invalid("body", "`body` must be UTF-8"))?;
            Setting::Scope(request::read::<Scope>("body", &text)?)
        }
        _ => return Err(Failure::no_route(request.uri().path())),
    };
    let mut status = gateway.plugins.set(id, setting).await.map_err(failure)?;
    status.at_work = gateway.host.at_work(id);
    Ok(answer::json(StatusCode::OK, &status))
}

pub(super) async fn poisoned(gateway: &Gateway, id: &str) -> Result<Response, Failure> {
    #[derive(Serialize)]
    struct Body {
        poisoned: Vec<Poisoned>,
    }
    let poisoned = gateway.plugins.poisoned(id).await.map_err(failure)?;
    Ok(answer::json(StatusCode::OK, &Body { poisoned }))
}

pub(super) async fn forgive(gateway: &Gateway, id: &str) -> Result<Response, Failure> {
    #[derive(Serialize)]
    struct Body {
        forgotten: usize,
    }
    let forgotten = gateway.plugins.forgive(id).await.map_err(failure)?;
    Ok(answer::json(StatusCode::OK, &Body { forgotten }))
}
