//! Requests: one JSON object each, with an `id` and exactly one payload.
//!
//! An object is taken apart in two passes. The first finds `id` and the payloads without decoding them; the second
//! decodes the one payload into its type, and only where that fails a third finds out which field was to blame.

mod payload;

pub use payload::*;

use crate::{
    error::{Code, Error},
    frame,
};
use serde::{
    Deserialize, Deserializer,
    de::{DeserializeOwned, IgnoredAny, MapAccess, Visitor},
};
use serde_json::value::RawValue;
use std::borrow::Cow;

/// The largest `id` of a request: what a JSON number carries exactly everywhere.
pub const ID_MAX: u64 = (1 << 53) - 1;
/// The request that has no reply, and so needs no `id`.
const UNANSWERED: &str = "typing";
/// How many users a session may watch, and ask about at once.
pub const WATCHED_MAX: usize = 200;
/// How many items a list answers where the request does not say.
pub const LIMIT_DEFAULT: u32 = 50;
/// How many items a list answers at most.
pub const LIMIT_MAX: u32 = 200;

/// What stands in the text is no JSON object, or is nested too deeply: the connection ends with 3501.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no JSON object, or nested deeper than {} levels", frame::DEPTH_MAX)]
pub struct Malformed;

/// A request that came in.
#[derive(Debug, Clone, PartialEq)]
pub struct Incoming {
    /// What its reply carries: the client's id, or 0 where that could not be used, or there is none and no reply is due.
    pub id: u64,
    /// What is asked, or what is wrong with it.
    pub request: Result<Request, Error>,
}

macro_rules! requests {
    ($($(#[$doc:meta])* $name:ident($payload:ty) = $text:literal;)*) => {
        /// What is asked.
        #[derive(Debug, Clone, PartialEq)]
        pub enum Request {
            $($(#[$doc])* $name($payload),)*
        }

        /// The names of all requests.
        pub const NAMES: &[&str] = &[$($text),*];

        fn decode(name: &str, payload: &RawValue) -> Result<Request, Error> {
            match name {
                $($text => typed(name, payload).map(Request::$name),)*
                _ => Err(Error::new(Code::UnknownRequest, format!("no request is called `{name}`"))),
            }
        }
    };
}

requests! {
    /// Who this is; the first request of a connection.
    Connect(Connect) = "connect";
    /// Another token for this connection.
    Renew(Renew) = "renew";
    /// The conversation with one other user.
    Direct(Direct) = "direct";
    /// A new group.
    Create(Create) = "create";
    /// More people for a group.
    Invite(Invite) = "invite";
    /// Who is in.
    Members(Members) = "members";
    /// One conversation.
    Conversation(Conversation) = "conversation";
    /// The asker's conversations.
    Conversations(Conversations) = "conversations";
    /// The conversations that anyone may join.
    Discover(Discover) = "discover";
    /// A message.
    Send(Send) = "send";
    /// Messages that were sent.
    History(HistoryRequest) = "history";
    /// A mark: it has reached this device.
    Received(Mark) = "received";
    /// A mark: it was seen.
    Read(Mark) = "read";
    /// What changed since `connect`'s cursor, further on.
    Sync(Sync) = "sync";
    /// Another text for a message.
    Edit(Edit) = "edit";
    /// A message that is to be seen no more.
    Delete(Delete) = "delete";
    /// A reaction to a message.
    React(React) = "react";
    /// What happened apart from messages being sent.
    Revisions(Revisions) = "revisions";
    /// The messages that the asker deleted for themselves.
    Hidden(Hidden) = "hidden";
    /// Who reacts to a message.
    Reactions(Reactions) = "reactions";
    /// How far the members have come.
    Receipts(Receipts) = "receipts";
    /// Someone is to go.
    Remove(Remove) = "remove";
    /// A link by which others come in.
    Link(Link) = "link";
    /// The links by which others come in.
    Links(Conversation) = "links";
    /// A link that is to end.
    Unlink(Unlink) = "unlink";
    /// To come in where anyone may.
    Join(Join) = "join";
    /// To go.
    Leave(Leave) = "leave";
    /// What a member may do.
    SetRole(SetRole) = "set_role";
    /// What the conversation is.
    Update(Update) = "update";
    /// Live messages of a large conversation.
    Follow(Conversation) = "follow";
    /// No more of them.
    Unfollow(Conversation) = "unfollow";
    /// Whether a person is looking.
    Active(Active) = "active";
    /// Drafts on hold.
    Held(Held) = "held";
    /// A draft on hold is to be numbered.
    Release(Release) = "release";
    /// A draft on hold is not to be.
    Reject(Reject) = "reject";
    /// Other people.
    Users(Users) = "users";
    /// The slash commands of a conversation.
    Commands(Commands) = "commands";
    /// A slash command.
    Command(Command) = "command";
    /// What others are shown of the asker.
    Profile(Profile) = "profile";
    /// Whose presence the session is to be told.
    Watch(Watch) = "watch";
    /// Who is here now.
    Presence(Watch) = "presence";
    /// Someone is writing; the one request without a reply.
    Typing(Typing) = "typing";
    /// The asker's contacts.
    Contacts(Contacts) = "contacts";
    /// What is done about another user.
    Contact(Contact) = "contact";
    /// What the asker sets for themselves in a conversation.
    Settings(Settings) = "settings";
}

/// The number of items to answer: the default where none is asked, cut to the maximum, `invalid` below 1.
pub fn limit(asked: Option<u32>) -> Result<usize, Error> {
    match asked.unwrap_or(LIMIT_DEFAULT) {
        0 => Err(Error::invalid("limit", "limit is 0, the least is 1")),
        asked => Ok(asked.min(LIMIT_MAX) as usize),
    }
}

/// Takes one object apart.
///
/// # Errors
/// [`Malformed`] where the text is no JSON object or is nested too deeply; everything else that can be wrong with it
/// is within [`Incoming::request`].
pub fn parse(text: &str) -> Result<Incoming, Malformed> {
    if frame::too_deep(text) {
        return Err(Malformed);
    }
    let envelope: Envelope<'_> = serde_json::from_str(text).map_err(|_| Malformed)?;
    let is_unanswered = matches!(envelope.payload, Payload::One(UNANSWERED, _));
    let id = match envelope.id {
        None if is_unanswered => Some(0),
        id => id.and_then(|id| id.get().parse().ok()).filter(|id| (1..=ID_MAX).contains(id)),
    };
    let Some(id) = id else {
        let error = Error::invalid("id", format!("`id` must be an integer from 1 to {ID_MAX}"));
        return Ok(Incoming { id: 0, request: Err(error) });
    };
    let request = match envelope.payload {
        Payload::One(name, payload) => decode(name, payload),
        Payload::None(Some(name)) => {
            Err(Error::new(Code::UnknownRequest, format!("no request is called `{name}`")))
        }
        Payload::None(None) => Err(Error::new(Code::UnknownRequest, "the object holds no request")),
        Payload::Several => Err(Error::new(Code::Invalid, "the object holds several requests")),
    };
    Ok(Incoming { id, request })
}

struct Envelope<'a> {
    id: Option<&'a RawValue>,
    payload: Payload<'a>,
}

enum Payload<'a> {
    /// No known request; the first unknown key, cut to a printable length.
    None(Option<String>),
    One(&'static str, &'a RawValue),
    Several,
}

impl<'de: 'a, 'a> Deserialize<'de> for Envelope<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(EnvelopeVisitor)
    }
}

struct EnvelopeVisitor;

impl<'de> Visitor<'de> for EnvelopeVisitor {
    type Value = Envelope<'de>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut envelope = Envelope { id: None, payload: Payload::None(None) };
        while let Some(Key(key)) = map.next_key()? {
            if key == "id" {
                envelope.id = Some(map.next_value()?);
            } else if let Some(name) = NAMES.iter().find(|name| **name == key) {
                let payload = map.next_value()?;
                envelope.payload = match envelope.payload {
                    Payload::None(_) => Payload::One(name, payload),
                    _ => Payload::Several,
                };
            } else {
                map.next_value::<IgnoredAny>()?;
                if let Payload::None(unknown @ None) = &mut envelope.payload {
                    *unknown = Some(key.chars().take(64).collect());
                }
            }
        }
        Ok(envelope)
    }
}

#[derive(Deserialize)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

fn typed<T: DeserializeOwned>(name: &str, payload: &RawValue) -> Result<T, Error> {
    read(name, payload.get())
}

/// Reads one JSON object into `T`; what is wrong with it is `invalid`, with the field, or `name` where it is the whole.
/// What holds for the payloads of requests holds so for HTTP bodies as well.
pub fn read<T: DeserializeOwned>(name: &str, json: &str) -> Result<T, Error> {
    // Serde would read a struct from an array as well.
    if !json.trim_ascii_start().starts_with('{') {
        return Err(Error::invalid(name, format!("`{name}` must be an object")));
    }
    serde_json::from_str(json).map_err(|_| wrong_field(name, json, std::marker::PhantomData::<T>))
}

/// Decodes once more to find the field to blame: only who sends nonsense pays for it.
#[cold]
fn wrong_field<T: DeserializeOwned>(name: &str, json: &str, _: std::marker::PhantomData<T>) -> Error {
    let mut deserializer = serde_json::Deserializer::from_str(json);
    let Err(error) = serde_path_to_error::deserialize::<_, T>(&mut deserializer) else {
        return Error::invalid(name, format!("`{name}` cannot be read"));
    };
    let path = error.path().to_string();
    let message = error.into_inner().to_string();
    // Positions within the payload tell a client nothing.
    let message = message.split(" at line ").next().unwrap_or(&message).to_owned();
    // A missing field is reported on its parent; its name stands in the message.
    let missing = message.strip_prefix("missing field `").and_then(|rest| rest.strip_suffix('`'));
    let field = match (path.as_str(), missing) {
        (".", Some(missing)) => missing.to_owned(),
        (parent, Some(missing)) => format!("{parent}.{missing}"),
        // `?` stands for where not even a key could be read.
        ("." | "?", None) => name.to_owned(),
        (field, None) => field.to_owned(),
    };
    Error::invalid(field, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    const UUID: &str = "0192f0c8-7e5a-7000-8000-000000000001";

    fn check(text: &str, id: u64, code: Option<Code>, field: Option<&str>) {
        let incoming = parse(text).unwrap_or_else(|_| panic!("malformed: {text}"));
        assert_eq!(incoming.id, id, "{text}");
        let error = incoming.request.err();
        assert_eq!(error.as_ref().map(|error| error.code), code, "{text}: {error:?}");
        assert_eq!(error.and_then(|error| error.field).as_deref(), field, "{text}");
    }

    #[test]
    fn what_is_wrong_with_an_object_is_told_with_the_field() {
        use Code::{Invalid, UnknownRequest};
        let send = format!(r#"{{"conversation": "{UUID}", "client_id": "{UUID}", "body": "x"}}"#);
        check(&format!(r#"{{"id": 1, "send": {send}}}"#), 1, None, None);
        check(&format!(r#"{{"send": {send}, "id": 1, "trace": [1]}}"#), 1, None, None);
        check(&format!(r#"{{"send": {send}}}"#), 0, Some(Invalid), Some("id"));
        for id in ["0", "-1", "1.5", "\"1\"", "null", "9007199254740992", "1e3"] {
            check(&format!(r#"{{"id": {id}, "send": {send}}}"#), 0, Some(Invalid), Some("id"));
        }
        check(&format!(r#"{{"typing": {{"conversation": "{UUID}"}}}}"#), 0, None, None);
        check(r#"{"typing": {}}"#, 0, Some(Invalid), Some("conversation"));
        check(
            &format!(r#"{{"id": "1", "typing": {{"conversation": "{UUID}"}}}}"#),
            0,
            Some(Invalid),
            Some("id"),
        );
        check(r#"{"id": 2}"#, 2, Some(UnknownRequest), None);
        check(r#"{"id": 2, "dance": {}}"#, 2, Some(UnknownRequest), None);
        check(&format!(r#"{{"id": 3, "send": {send}, "read": {{}}}}"#), 3, Some(Invalid), None);
        check(r#"{"id": 4, "send": []}"#, 4, Some(Invalid), Some("send"));
        check(r#"{"id": 4, "send": {}}"#, 4, Some(Invalid), Some("client_id"));
        check(
            &format!(r#"{{"id": 5, "read": {{"conversation": "{UUID}", "seq": "1"}}}}"#),
            5,
            Some(Invalid),
            Some("seq"),
        );
        check(
            r#"{"id": 5, "read": {"conversation": "x", "seq": 1}}"#,
            5,
            Some(Invalid),
            Some("conversation"),
        );
        check(
            r#"{"id": 6, "connect": {"token": "t", "device": {"id": 1}}}"#,
            6,
            Some(Invalid),
            Some("device.id"),
        );
        check(r#"{"id": 6, "connect": {"token": "t", "device": {}}}"#, 6, Some(Invalid), Some("device.id"));
    }

    #[test]
    fn what_is_no_object_is_malformed() {
        let deep = format!(r#"{{"id": 1, "x": {}{}}}"#, "[".repeat(64), "]".repeat(64));
        for text in [
            "",
            "x",
            "1",
            "[]",
            "null",
            "{",
            r#"{"id": 1"#,
            r#"{"id": 1} x"#,
            r#"{"id": 1, "send": {]}"#,
            &deep,
        ] {
            assert_eq!(parse(text), Err(Malformed), "{text}");
        }
    }

    #[test]
    fn a_send_goes_to_exactly_one_place() {
        let target = |place: &str| {
            let text = format!(r#"{{"id": 1, "send": {{{place} "client_id": "{UUID}", "body": ""}}}}"#);
            match parse(&text).unwrap().request {
                Ok(Request::Send(send)) => send.target(),
                other => panic!("{other:?}"),
            }
        };
        assert!(matches!(target(&format!(r#""to": "{UUID}","#)), Ok(Target::User(_))));
        assert!(matches!(target(&format!(r#""conversation": "{UUID}","#)), Ok(Target::Conversation(_))));
        assert!(target("").is_err());
        assert!(target(&format!(r#""to": "{UUID}", "conversation": "{UUID}","#)).is_err());
    }

    #[test]
    fn limits_are_cut_and_zero_is_invalid() {
        assert_eq!(limit(None), Ok(50));
        assert_eq!(limit(Some(1000)), Ok(200));
        assert_eq!(limit(Some(0)).unwrap_err().field.as_deref(), Some("limit"));
    }
}
