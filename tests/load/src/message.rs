//! The messages of a run, as text.
//!
//! It owns what a body says and how requests, replies and pushes are laid out; the relay answers in the same words as
//! the host, so that both move the same bytes. It refuses to know sockets.
//! Start with [`Body`].

use std::io::Write;
use uuid::Uuid;

/// The length of every body.
pub const BODY_BYTES: usize = 200;

/// Harmless words, so that word filters have words to look at.
const WORDS: &str = "the tide was low and the birds stood along the water with their long bills in the wet sand \
                     while the wind from the west drove small clouds over the bay and nobody on the shore spoke";

/// What a body carries: who sent it and when, so that every body is unlike every other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Body {
    /// The message's client id.
    pub client: Uuid,
    /// When it was sent, in microseconds since the run began.
    pub sent_us: u64,
}

impl Body {
    /// Appends the text, [`BODY_BYTES`] long.
    pub fn write(&self, out: &mut Vec<u8>) {
        let begin = out.len();
        // A `Vec` takes every write.
        let _ = write!(out, "{:012} {} ", self.sent_us, self.client.hyphenated());
        out.extend_from_slice(&WORDS.as_bytes()[..BODY_BYTES - (out.len() - begin)]);
    }

    /// The client id that stands in a body.
    pub fn client_in(body: &str) -> Option<Uuid> {
        body.get(13..49)?.parse().ok()
    }

    /// The text.
    pub fn text(&self) -> String {
        let mut out = Vec::with_capacity(BODY_BYTES);
        self.write(&mut out);
        String::from_utf8_lossy(&out).into_owned()
    }
}

/// Splits what a plugin put before a body from the body as it was sent; `None` where it is too short to be one.
pub fn split(body: &str) -> Option<(&str, &str)> {
    body.split_at_checked(body.len().checked_sub(BODY_BYTES)?)
}

/// When a body says that it was sent.
pub fn sent_us(body: &str) -> Option<u64> {
    body.get(..12)?.parse().ok()
}

/// Appends a `send`; `id` must be new on its connection.
pub fn request(out: &mut Vec<u8>, id: u64, conversation: Uuid, body: Body) {
    let (place, client) = (conversation.hyphenated(), body.client.hyphenated());
    let _ = write!(out, r#"{{"id":{id},"send":{{"conversation":"{place}","client_id":"{client}","body":""#);
    body.write(out);
    out.extend_from_slice(b"\"}}");
}

/// Appends the reply to a `send`.
pub fn reply(out: &mut Vec<u8>, id: u64, conversation: Uuid, seq: u64) {
    let place = conversation.hyphenated();
    let _ =
        write!(out, r#"{{"id":{id},"ok":{{"conversation":"{place}","seq":{seq},"sent_at":1700000000000}}}}"#);
}

/// Appends the push of a message.
pub fn push(out: &mut Vec<u8>, conversation: Uuid, seq: u64, sender: Uuid, body: &[u8]) {
    let (place, sender) = (conversation.hyphenated(), sender.hyphenated());
    let _ = write!(
        out,
        r#"{{"message":{{"conversation":"{place}","seq":{seq},"sender":"{sender}","sent_at":1700000000000,"kind":"text","body":""#
    );
    out.extend_from_slice(body);
    out.extend_from_slice(b"\"}}");
}

/// Appends the push of someone who came or went.
pub fn presence(out: &mut Vec<u8>, user: Uuid, online: bool) {
    let user = user.hyphenated();
    let _ = write!(out, r#"{{"presence":{{"user":"{user}","online":{online}}}}}"#);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_has_its_length_and_tells_its_time_even_behind_a_marker() {
        let body = Body { client: Uuid::now_v7(), sent_us: 1_234_567 };
        let text = body.text();
        assert_eq!(text.len(), BODY_BYTES);
        let stamped = format!("v17 {text}");
        let (marker, rest) = split(&stamped).unwrap();
        assert_eq!((marker, rest, sent_us(rest)), ("v17 ", &*text, Some(1_234_567)));
        assert_eq!(Body::client_in(rest), Some(body.client));
        assert_eq!(split("short"), None);
    }

    #[test]
    fn requests_replies_and_pushes_are_json() {
        let (place, body) = (Uuid::from_u128(1), Body { client: Uuid::now_v7(), sent_us: 1 });
        let mut out = Vec::new();
        request(&mut out, 7, place, body);
        let value: serde_json::Value = serde_json::from_slice(&out).unwrap();
        assert_eq!((&value["id"], &value["send"]["body"]), (&7.into(), &body.text().into()));
        out.clear();
        reply(&mut out, 7, place, 3);
        let value: serde_json::Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(value["ok"]["seq"], 3);
        out.clear();
        push(&mut out, place, 3, Uuid::nil(), body.text().as_bytes());
        let value: serde_json::Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(value["message"]["body"], body.text());
        out.clear();
        presence(&mut out, Uuid::nil(), true);
        let value: serde_json::Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(value["presence"], serde_json::json!({"user": Uuid::nil(), "online": true}));
    }
}
