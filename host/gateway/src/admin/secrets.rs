//! `/admin/v1/plugins/{id}/secrets…`: what an operator entrusts to a plugin. A value goes in and never comes out.

use super::plugins;
use crate::{
    Gateway,
    answer::{self, Failure, Request, Response},
};
use godwit_core::domain::plugin::Error as Refusal;
use godwit_protocol::{error::Error, request};
use hyper::StatusCode;
use serde::{Deserialize, Serialize};

/// The longest value, each byte of which JSON may write in six, and what stands around it.
const BODY_BYTES_MAX: usize = 6 * (16 << 10) + (1 << 10);

fn failure(refusal: Refusal) -> Failure {
    match refusal {
        Refusal::Refused(problems) => Error::invalid("secret", problems.join("; ")).into(),
        refusal => plugins::failure(refusal),
    }
}

#[derive(Deserialize)]
struct Value {
    value: String,
}

pub(super) async fn list(gateway: &Gateway, id: &str) -> Result<Response, Failure> {
    #[derive(Serialize)]
    struct Body {
        secrets: Vec<String>,
    }
    let secrets = gateway.plugins.secrets(id).await.map_err(failure)?;
    Ok(answer::json(StatusCode::OK, &Body { secrets }))
}

pub(super) async fn set(
    gateway: &Gateway,
    request: Request,
    id: &str,
    name: &str,
) -> Result<Response, Failure> {
    let body = answer::read(request, BODY_BYTES_MAX, gateway.options.body_timeout_ms).await?;
    let text = String::from_utf8(body).map_err(|_| Error::invalid("body", "`body` must be UTF-8"))?;
    let Value { value } = request::read("body", &text)?;
    gateway.plugins.set_secret(id, name, Some(value)).await.map_err(failure)?;
    Ok(answer::nothing())
}

pub(super) async fn remove(gateway: &Gateway, id: &str, name: &str) -> Result<Response, Failure> {
    gateway.plugins.set_secret(id, name, None).await.map_err(failure)?;
    Ok(answer::nothing())
}
