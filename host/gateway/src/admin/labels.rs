//! `/admin/v1/conversations/{id}/labels`: what an operator calls a conversation, so that plugins are installed for it.

use crate::{
    Gateway,
    answer::{self, Failure, Request, Response},
};
use godwit_core::domain::id::ConversationId;
use hyper::StatusCode;
use serde::{Deserialize, Serialize};

#[derive(Deserialize, Serialize)]
struct Labels {
    labels: Vec<String>,
}

pub(super) async fn set(gateway: &Gateway, request: Request, id: &str) -> Result<Response, Failure> {
    let conversation = ConversationId(super::id(id)?);
    let Labels { labels } = gateway.read_json(request).await?;
    let labels = gateway.host.label(conversation, labels).await?;
    Ok(answer::json(StatusCode::OK, &Labels { labels }))
}
