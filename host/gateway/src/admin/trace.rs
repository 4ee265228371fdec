//! `/admin/v1/conversations/{id}/messages/{seq}/trace`: what was decided about a message, and by which plugins.

use crate::{
    Gateway,
    answer::{self, Failure, Response},
};
use godwit_core::domain::id::{ConversationId, Seq};
use godwit_protocol::error::Error;
use hyper::StatusCode;

pub(super) async fn show(gateway: &Gateway, id: &str, seq: &str) -> Result<Response, Failure> {
    let conversation = ConversationId(super::id(id)?);
    let seq = seq
        .parse()
        .map_err(|_| Error::invalid("seq", "the number of the message in the path is no number"))?;
    Ok(answer::json(StatusCode::OK, &gateway.host.trace(conversation, Seq(seq)).await?))
}
