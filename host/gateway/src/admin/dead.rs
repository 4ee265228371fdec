//! `/admin/v1/plugins/{id}/dead…`: dead letters of a plugin, listed, read, driven again and dropped.

use crate::{
    Gateway,
    answer::{self, Failure, Request, Response},
};
use godwit_protocol::{error::Error, request};
use hyper::StatusCode;

pub(super) async fn list(gateway: &Gateway, request: &Request, id: &str) -> Result<Response, Failure> {
    let unreadable = |_| Error::invalid("limit", "`limit` must be a number");
    let limit = answer::parameter(request, "limit").map(|limit| limit.parse().map_err(unreadable));
    let limit = request::limit(limit.transpose()?)?;
    let page = gateway.host.letters(id, answer::parameter(request, "page"), limit).await?;
    Ok(answer::json(StatusCode::OK, &page))
}

pub(super) async fn show(gateway: &Gateway, id: &str, n: &str) -> Result<Response, Failure> {
    Ok(answer::json(StatusCode::OK, &gateway.host.letter(id, number(n)?).await?))
}

pub(super) async fn redrive(gateway: &Gateway, id: &str, n: &str) -> Result<Response, Failure> {
    gateway.host.redrive(id, number(n)?).await?;
    Ok(answer::nothing())
}

pub(super) async fn drop(gateway: &Gateway, id: &str, n: &str) -> Result<Response, Failure> {
    gateway.host.drop_letter(id, number(n)?).await?;
    Ok(answer::nothing())
}

fn number(n: &str) -> Result<u64, Error> {
    n.parse().map_err(|_| Error::invalid("n", "a dead letter is named by its number"))
}
