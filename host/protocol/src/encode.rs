//! What the server says, as bytes: replies, errors and pushes.

use crate::error::Error;
use serde::Serialize;
use std::io::Write;

/// `{"id": …, "ok": {…}}`.
pub fn ok(id: u64, payload: &impl Serialize) -> Vec<u8> {
    reply(id, "ok", payload)
}

/// `{"id": …, "ok": {}}`.
pub fn done(id: u64) -> Vec<u8> {
    #[derive(Serialize)]
    struct Empty {}
    reply(id, "ok", &Empty {})
}

/// `{"id": …, "error": {…}}`.
pub fn error(id: u64, error: &Error) -> Vec<u8> {
    reply(id, "error", error)
}

/// `{"<name>": {…}}`, without an id.
pub fn push(name: &str, payload: &impl Serialize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(512);
    // A `Vec` takes every write.
    let _ = write!(bytes, "{{\"{name}\":");
    close(bytes, payload)
}

fn reply(id: u64, outcome: &str, payload: &impl Serialize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(192);
    let _ = write!(bytes, "{{\"id\":{id},\"{outcome}\":");
    close(bytes, payload)
}

fn close(mut bytes: Vec<u8>, payload: &impl Serialize) -> Vec<u8> {
    // Only maps with keys that are no strings could fail, and no object of ours has one.
    if let Err(error) = serde_json::to_writer(&mut bytes, payload) {
        debug_assert!(false, "an object cannot be written: {error}");
    }
    bytes.push(b'}');
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{error::Code, object};
    use godwit_domain::{
        id::{ConversationId, Seq},
        time::Ms,
    };

    #[test]
    fn replies_and_errors_read_as_the_contract_shows() {
        let sent = object::Sent {
            conversation: ConversationId::from_u128(1),
            seq: Seq(7),
            sent_at: Ms(5),
            duplicate: false,
        };
        let text = |bytes| String::from_utf8(bytes).unwrap();
        assert_eq!(
            text(ok(7, &sent)),
            r#"{"id":7,"ok":{"conversation":"00000000-0000-0000-0000-000000000001","seq":7,"sent_at":5}}"#
        );
        assert_eq!(
            text(error(0, &Error::invalid("id", "no id").retry_after_ms(9))),
            r#"{"id":0,"error":{"code":"invalid","message":"no id","temporary":false,"retry_after_ms":9,"field":"id"}}"#
        );
        assert_eq!(
            text(error(1, &Error::new(Code::Unavailable, "later"))),
            r#"{"id":1,"error":{"code":"unavailable","message":"later","temporary":true}}"#
        );
        assert_eq!(text(done(3)), r#"{"id":3,"ok":{}}"#);
        assert_eq!(text(push("x", &1)), r#"{"x":1}"#);
    }
}
