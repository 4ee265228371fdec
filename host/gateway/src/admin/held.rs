//! `/admin/v1/held` and `/admin/v1/conversations/{id}/held…`: drafts on hold, listed, released and rejected by an
//! operator.

use crate::{
    Gateway,
    answer::{self, Failure, Request, Response},
};
use godwit_core::{
    domain::{
        id::{ClientId, ConversationId, Seq, UserId},
        time::Ms,
    },
    sequencer::By,
};
use godwit_protocol::{error::Error, request};
use hyper::StatusCode;
use serde::{Deserialize, Serialize};

#[derive(Deserialize)]
struct Reject {
    reason: Option<String>,
}

#[derive(Serialize)]
struct Released {
    seq: Seq,
    sent_at: Ms,
}

#[derive(Serialize)]
struct Rejected {}

pub(super) async fn everywhere(gateway: &Gateway, request: &Request) -> Result<Response, Failure> {
    let page = answer::parameter(request, "page");
    Ok(answer::json(StatusCode::OK, &gateway.host.held_everywhere(page, limit(request)?).await?))
}

pub(super) async fn list(gateway: &Gateway, request: &Request, id: &str) -> Result<Response, Failure> {
    let conversation = ConversationId(super::id(id)?);
    let page = answer::parameter(request, "page");
    let page = gateway.host.held(conversation, By::Operator, page, limit(request)?).await?;
    Ok(answer::json(StatusCode::OK, &page))
}

pub(super) async fn release(gateway: &Gateway, path: [&str; 3]) -> Result<Response, Failure> {
    let (conversation, sender, client_id) = draft(path)?;
    let sent = gateway.host.release(conversation, sender, client_id, By::Operator).await?;
    Ok(answer::json(StatusCode::OK, &Released { seq: sent.seq, sent_at: sent.sent_at }))
}

pub(super) async fn reject(
    gateway: &Gateway,
    request: Request,
    path: [&str; 3],
) -> Result<Response, Failure> {
    let (conversation, sender, client_id) = draft(path)?;
    let Reject { reason } = gateway.read_json(request).await?;
    gateway.host.reject(conversation, sender, client_id, By::Operator, reason).await?;
    Ok(answer::json(StatusCode::OK, &Rejected {}))
}

/// Conversation, sender and client id in a path.
fn draft([conversation, sender, client]: [&str; 3]) -> Result<(ConversationId, UserId, ClientId), Error> {
    Ok((ConversationId(super::id(conversation)?), UserId(super::id(sender)?), ClientId(super::id(client)?)))
}

fn limit(request: &Request) -> Result<usize, Error> {
    let limit = answer::parameter(request, "limit").map(str::parse).transpose();
    request::limit(limit.map_err(|_| Error::invalid("limit", "`limit` must be a number"))?)
}
