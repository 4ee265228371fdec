//! What devices ask, with every choice made, and what they are answered.

use godwit_core::domain::{
    conversation::{History, Role, direct_id},
    id::{ClientId, ConversationId, UserId},
};
use serde_json::{Map, Value, json};

/// Where a message goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    In(ConversationId),
    With(UserId),
}

impl Place {
    /// `to` and the conversation that it means are the same place.
    pub fn conversation(self, by: UserId) -> ConversationId {
        match self {
            Self::In(conversation) => conversation,
            Self::With(user) => direct_id(by, user),
        }
    }
}

/// A message as it is sent. Two are the same content where all but `after` is the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Letter {
    pub place: Place,
    pub client: ClientId,
    pub body: String,
    pub reply_to: Option<u64>,
    pub thread: Option<u64>,
    pub mentions: Vec<UserId>,
    pub after: Option<ClientId>,
}

/// Which page of a history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Page {
    Newest,
    Before(u64),
    After(u64),
}

/// One request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    Direct { user: UserId },
    Create { client: ClientId, members: Vec<UserId>, open: bool, history: History },
    Send(Letter),
    Change { conversation: ConversationId, client: Option<ClientId>, change: Change },
    Hide { conversation: ConversationId, seq: u64 },
    Mark { conversation: ConversationId, seq: u64, read: bool },
    Conversation { conversation: ConversationId },
    Conversations,
    Members { conversation: ConversationId },
    History { conversation: ConversationId, page: Page, thread: Option<u64>, limit: Option<u32> },
    Revisions { conversation: ConversationId, after: u64, limit: Option<u32> },
    Hidden { conversation: ConversationId, after: u64, limit: Option<u32> },
    Reactions { conversation: ConversationId, seq: u64 },
    Receipts { conversation: ConversationId, seq: Option<u64> },
}

/// What is answered with the number of a revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    Edit { seq: u64, body: String },
    Delete { seq: u64 },
    React { seq: u64, emoji: String, on: bool },
    Invite { users: Vec<UserId> },
    Remove { user: UserId },
    Join,
    Leave,
    SetRole { user: UserId, role: Role },
    Update { title: Option<Option<String>>, open: Option<bool>, history: Option<History> },
}

/// What came back.
#[derive(Debug, Clone, PartialEq)]
pub enum Reply {
    Ok(Value),
    Error { code: String, whole: Value },
}

impl Request {
    /// Whether it only reads.
    pub fn reads(&self) -> bool {
        use Request::{
            Conversation, Conversations, Hidden, History, Members, Reactions, Receipts, Revisions,
        };
        matches!(
            self,
            Conversation { .. }
                | Conversations
                | Members { .. }
                | History { .. }
                | Revisions { .. }
                | Hidden { .. }
                | Reactions { .. }
                | Receipts { .. }
        )
    }

    /// The request as it goes over the wire.
    pub fn frame(&self, id: u64) -> String {
        let (name, payload) = self.payload();
        let mut object = Map::from_iter([("id".to_owned(), json!(id))]);
        object.insert(name.to_owned(), without_null(payload));
        Value::Object(object).to_string()
    }

    fn payload(&self) -> (&'static str, Value) {
        match self {
            Self::Direct { user } => ("direct", json!({"user": user})),
            Self::Create { client, members, open, history } => {
                let title = "team";
                let payload = json!({
                    "kind": "group", "client_id": client, "title": title, "members": members,
                    "open": open, "history": history,
                });
                ("create", payload)
            }
            Self::Send(letter) => {
                let (conversation, to) = match letter.place {
                    Place::In(conversation) => (Some(conversation), None),
                    Place::With(user) => (None, Some(user)),
                };
                let payload = json!({
                    "conversation": conversation, "to": to, "client_id": letter.client, "body": letter.body,
                    "reply_to": letter.reply_to, "thread": letter.thread, "mentions": letter.mentions,
                    "after": letter.after,
                });
                ("send", payload)
            }
            Self::Change { conversation, client, change } => {
                let (name, mut payload) = change.payload();
                payload["conversation"] = json!(conversation);
                payload["client_id"] = json!(client);
                (name, payload)
            }
            Self::Hide { conversation, seq } => {
                ("delete", json!({"conversation": conversation, "seq": seq, "for": "me"}))
            }
            Self::Mark { conversation, seq, read } => {
                let name = if *read { "read" } else { "received" };
                (name, json!({"conversation": conversation, "seq": seq}))
            }
            Self::Conversation { conversation } => ("conversation", json!({"conversation": conversation})),
            Self::Conversations => ("conversations", json!({"limit": 200})),
            Self::Members { conversation } => ("members", json!({"conversation": conversation})),
            Self::History { conversation, page, thread, limit } => {
                let (before, after) = match page {
                    Page::Newest => (None, None),
                    Page::Before(seq) => (Some(seq), None),
                    Page::After(seq) => (None, Some(seq)),
                };
                let payload = json!({
                    "conversation": conversation, "before_seq": before, "after_seq": after,
                    "thread": thread, "limit": limit,
                });
                ("history", payload)
            }
            Self::Revisions { conversation, after, limit } => {
                ("revisions", json!({"conversation": conversation, "after_rev": after, "limit": limit}))
            }
            Self::Hidden { conversation, after, limit } => {
                ("hidden", json!({"conversation": conversation, "after": after, "limit": limit}))
            }
            Self::Reactions { conversation, seq } => {
                ("reactions", json!({"conversation": conversation, "seq": seq}))
            }
            Self::Receipts { conversation, seq } => {
                ("receipts", json!({"conversation": conversation, "seq": seq}))
            }
        }
    }
}

impl Change {
    fn payload(&self) -> (&'static str, Value) {
        match self {
            Self::Edit { seq, body } => ("edit", json!({"seq": seq, "body": body})),
            Self::Delete { seq } => ("delete", json!({"seq": seq, "for": "everyone"})),
            Self::React { seq, emoji, on } => ("react", json!({"seq": seq, "emoji": emoji, "on": on})),
            Self::Invite { users } => ("invite", json!({"users": users})),
            Self::Remove { user } => ("remove", json!({"user": user})),
            Self::Join => ("join", json!({})),
            Self::Leave => ("leave", json!({})),
            Self::SetRole { user, role } => ("set_role", json!({"user": user, "role": role})),
            Self::Update { title, open, history } => {
                let mut payload = json!({"open": open, "history": history});
                match title {
                    Some(Some(title)) => payload["title"] = json!(title),
                    // `null` clears: the only one that must go over the wire.
                    Some(None) => payload["title"] = json!(CLEAR),
                    None => {}
                }
                ("update", payload)
            }
        }
    }
}

/// Stands for a `null` that is to be sent.
const CLEAR: &str = "\u{0}clear";

fn without_null(payload: Value) -> Value {
    let Value::Object(fields) = payload else { return payload };
    let kept = fields.into_iter().filter(|(_, value)| !value.is_null());
    Value::Object(kept.map(|(key, value)| (key, if value == CLEAR { Value::Null } else { value })).collect())
}

impl Reply {
    /// What people need of it.
    pub fn short(&self) -> String {
        match self {
            Self::Ok(value) => crate::world::cut(&value.to_string()).to_owned(),
            Self::Error { whole, .. } => whole.to_string(),
        }
    }
}
