//! `/admin/v1/components…`: components uploaded once, to be installed by their digest.

use super::plugins::{failure, may_upload};
use crate::{
    Gateway,
    answer::{self, Failure, Request, Response},
};
use godwit_core::domain::plugin::Upload;
use godwit_protocol::error::Error;
use hyper::StatusCode;
use serde::Serialize;

#[derive(Serialize)]
struct Components {
    components: Vec<Upload>,
}

pub(super) async fn list(gateway: &Gateway) -> Result<Response, Failure> {
    let components = gateway.plugins.uploads().await.map_err(failure)?;
    Ok(answer::json(StatusCode::OK, &Components { components }))
}

pub(super) async fn upload(gateway: &Gateway, request: Request) -> Result<Response, Failure> {
    let _upload = may_upload(gateway)?;
    let (limit, timeout_ms) = (gateway.options.component_bytes_max, gateway.options.upload_timeout_ms);
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let component = answer::read(request, limit, timeout_ms).await?;
    let uploaded = gateway.plugins.upload(component).await.map_err(failure)?;
    Ok(answer::json(StatusCode::CREATED, &uploaded))
}

pub(super) async fn discard(gateway: &Gateway, digest: &str) -> Result<Response, Failure> {
    let digest = digest.parse().map_err(|problem: String| Error::invalid("digest", problem))?;
    gateway.plugins.discard(digest).await.map_err(failure)?;
    Ok(answer::nothing())
}
