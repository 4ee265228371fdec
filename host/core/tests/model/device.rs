//! A device as the protocol wants one: it keeps what it is told, knows what it lacks, and complains of what it may not
//! be told.

use crate::{
    request::{Letter, Page, Reply, Request},
    state::{Conversation, Standing},
};
use godwit_core::domain::{
    conversation::{History, Role},
    id::{ConversationId, UserId},
};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// What a device keeps, over connections.
#[derive(Debug, Clone, Default)]
pub struct Kept {
    /// The cursor that covers what is kept here.
    pub cursor: Option<String>,
    pub conversations: BTreeMap<ConversationId, Shelf>,
}

/// What a device keeps of a conversation.
#[derive(Debug, Clone, Default)]
pub struct Shelf {
    /// It knows that there is one, and nothing else: it is to be read from the start.
    pub is_blank: bool,
    pub left: bool,
    /// Its own leave was pushed, after which nothing may follow.
    is_over: bool,
    title: Option<String>,
    open: bool,
    history: Option<History>,
    role: Option<Role>,
    members: BTreeSet<UserId>,
    pub messages: BTreeMap<u64, Paper>,
    /// Numbers of messages that were told to be gone.
    gone: BTreeSet<u64>,
    revs: BTreeSet<u64>,
    hidden: Vec<u64>,
    marks: BTreeMap<UserId, (u64, u64)>,
    /// How far there is something to fetch.
    last_seq: u64,
    last_rev: u64,
    hidden_count: usize,
    /// How far pushes may be missing, because heads were told in their place.
    spared: (u64, u64),
}

/// A message as a device keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Paper {
    sender: UserId,
    body: String,
    #[serde(default)]
    rev: u64,
    reply_to: Option<u64>,
    thread: Option<u64>,
    #[serde(default)]
    mentions: Vec<UserId>,
    #[serde(default)]
    deleted: bool,
    #[serde(default)]
    reactions: BTreeMap<String, u64>,
}

/// What one session was told, to see that it comes in order.
#[derive(Debug, Default)]
pub struct Told {
    seqs: BTreeMap<ConversationId, u64>,
    revs: BTreeMap<ConversationId, u64>,
    marks: BTreeMap<(ConversationId, UserId), (u64, u64)>,
}

type Checked<T = ()> = Result<T, String>;

fn read<T: DeserializeOwned>(value: &Value, field: &str) -> Checked<T> {
    serde_json::from_value(value[field].clone()).map_err(|error| format!("`{field}` of {value}: {error}"))
}

fn number(value: &Value, field: &str) -> Checked<u64> {
    value[field].as_u64().ok_or_else(|| format!("`{field}` of {value} is no number"))
}

impl Kept {
    /// Takes a push.
    pub fn pushed(&mut self, me: UserId, told: &mut Told, name: &str, push: &Value) -> Checked {
        match name {
            "hello" => Ok(()),
            "message" => {
                let (id, seq) = (read(push, "conversation")?, number(push, "seq")?);
                let shelf = self.known(id)?;
                let before = told.seqs.insert(id, seq).unwrap_or_default();
                if seq <= before {
                    return Err(format!("message {seq} was pushed after {before}"));
                }
                shelf.message(me, seq, push)
            }
            "revision" => {
                let (id, rev) = (read(push, "conversation")?, number(push, "rev")?);
                let shelf = self.conversations.get_mut(&id);
                let shelf = shelf.ok_or_else(|| format!("{id} was pushed to before it was announced"))?;
                // What led to the leave comes after the conversation that is shown as left.
                if shelf.is_over || (shelf.left && rev > shelf.last_rev) {
                    return Err(format!("{id} was pushed to after its own leave"));
                }
                let before = told.revs.insert(id, rev).unwrap_or_default();
                if rev <= before {
                    return Err(format!("revision {rev} was pushed after {before}"));
                }
                shelf.last_rev = shelf.last_rev.max(rev);
                shelf.revision(me, rev, push)
            }
            "receipt" => {
                let (id, user) = (read(push, "conversation")?, read(push, "user")?);
                let to = (number(push, "received_seq")?, number(push, "read_seq")?);
                let before = told.marks.insert((id, user), to).unwrap_or_default();
                if to.0 < before.0 || to.1 < before.1 || to.1 > to.0 {
                    return Err(format!("marks of {user} fell from {before:?} to {to:?}"));
                }
                let Some(shelf) = self.conversations.get_mut(&id) else {
                    // Own marks go on where one has left, which a device that started cold since does not know.
                    return if user == me {
                        Ok(())
                    } else {
                        Err("a receipt of an unknown conversation".into())
                    };
                };
                if shelf.left && user != me {
                    return Err(format!("a receipt of {user} reached one who has left"));
                }
                shelf.mark(user, to);
                Ok(())
            }
            "hidden" => {
                let (id, seq) = (read(push, "conversation")?, number(push, "seq")?);
                let count = number(push, "hidden")?;
                // As with own marks.
                if let Some(shelf) = self.conversations.get_mut(&id) {
                    shelf.hide(seq, count);
                }
                Ok(())
            }
            "conversation" => self.shown(me, push),
            "heads" => {
                for head in push.as_array().into_iter().flatten() {
                    let shelf = self.known(read(head, "conversation")?)?;
                    let to = (number(head, "last_seq")?, number(head, "last_rev")?);
                    shelf.spared = (shelf.spared.0.max(to.0), shelf.spared.1.max(to.1));
                    shelf.last_seq = shelf.last_seq.max(to.0);
                    shelf.last_rev = shelf.last_rev.max(to.1);
                }
                Ok(())
            }
            "cursor" => {
                self.cursor = Some(read(push, "cursor")?);
                Ok(())
            }
            other => Err(format!("a push that nobody asked for: {other} {push}")),
        }
    }

    /// A conversation of which the device was told, and was not told to have left it.
    fn known(&mut self, id: ConversationId) -> Checked<&mut Shelf> {
        let shelf = self.conversations.get_mut(&id);
        let shelf = shelf.ok_or_else(|| format!("{id} was pushed to before it was announced"))?;
        if shelf.left { Err(format!("{id} was pushed to after its own leave")) } else { Ok(shelf) }
    }

    /// Takes the object of a conversation.
    pub fn shown(&mut self, me: UserId, object: &Value) -> Checked {
        let id = read(object, "id")?;
        let is_new = !self.conversations.contains_key(&id);
        let shelf = self.conversations.entry(id).or_default();
        shelf.is_blank |= is_new;
        shelf.shown(me, object)
    }

    /// Takes what a request of this device was answered.
    pub fn answered(&mut self, me: UserId, request: &Request, reply: &Reply) -> Checked {
        let Reply::Ok(answer) = reply else { return Ok(()) };
        match request {
            Request::Send(letter) if answer["duplicate"] != Value::Bool(true) => {
                let seq = number(answer, "seq")?;
                let shelf = self
                    .conversations
                    .entry(read(answer, "conversation")?)
                    .or_insert_with(|| Shelf { is_blank: true, ..Shelf::default() });
                shelf.sent(me, seq, letter);
                Ok(())
            }
            Request::Hide { conversation, seq } => {
                let count = number(answer, "hidden")?;
                if let Some(shelf) = self.conversations.get_mut(conversation) {
                    shelf.hide(*seq, count);
                }
                Ok(())
            }
            Request::Mark { conversation, .. } => {
                let to = (number(answer, "received_seq")?, number(answer, "read_seq")?);
                if let Some(shelf) = self.conversations.get_mut(conversation) {
                    shelf.mark(me, to);
                }
                Ok(())
            }
            Request::Direct { .. } | Request::Create { .. } => {
                let object = &answer["conversation"];
                let id = read(object, "id")?;
                match object["left"].as_bool() {
                    // Of what this device does not know, it need not know that it was left.
                    Some(true) => Ok(()),
                    _ if self.conversations.contains_key(&id) => Ok(()),
                    _ => self.shown(me, object),
                }
            }
            _ => Ok(()),
        }
    }

    /// The next request by which the device gets what it lacks.
    pub fn wanting(&self) -> Option<Request> {
        self.conversations.iter().filter(|(_, shelf)| !shelf.left).find_map(|(id, shelf)| {
            let conversation = *id;
            let (seq, rev) = (first_missing(&shelf.messages, &shelf.gone), shelf.known_rev());
            if shelf.is_blank {
                Some(Request::Conversation { conversation })
            } else if seq <= shelf.last_seq {
                let (page, limit) = (Page::After(seq - 1), Some(7));
                Some(Request::History { conversation, page, thread: None, limit })
            } else if rev < shelf.last_rev {
                Some(Request::Revisions { conversation, after: rev, limit: Some(5) })
            } else if shelf.hidden.len() < shelf.hidden_count {
                let after = shelf.hidden.len() as u64;
                Some(Request::Hidden { conversation, after, limit: Some(2) })
            } else {
                None
            }
        })
    }

    /// Takes what [`Kept::wanting`] asked for.
    pub fn fetched(&mut self, me: UserId, request: &Request, reply: &Reply) -> Checked {
        let Reply::Ok(answer) = reply else { return Err(format!("{request:?} was refused: {reply:?}")) };
        let on = |kept: &'_ mut Self, id| kept.conversations.remove(&id).ok_or("fetched for nothing");
        match request {
            Request::Conversation { conversation } => {
                let mut shelf = Shelf::default();
                shelf.shown(me, &answer["conversation"])?;
                // The messages that are read next show these already.
                shelf.revs = (1..=shelf.last_rev).collect();
                self.conversations.insert(*conversation, shelf);
            }
            Request::History { conversation, .. } => {
                let mut shelf = on(self, *conversation)?;
                for message in answer["messages"].as_array().into_iter().flatten() {
                    shelf.read(number(message, "seq")?, message)?;
                }
                for gone in answer["gone"].as_array().into_iter().flatten() {
                    shelf.gone.extend(number(gone, "from")?..=number(gone, "to")?);
                }
                self.conversations.insert(*conversation, shelf);
            }
            Request::Revisions { conversation, .. } => {
                let mut shelf = on(self, *conversation)?;
                for revision in answer["revisions"].as_array().into_iter().flatten() {
                    shelf.revision(me, number(revision, "rev")?, revision)?;
                }
                for gone in answer["gone"].as_array().into_iter().flatten() {
                    shelf.revs.extend(number(gone, "from")?..=number(gone, "to")?);
                }
                self.conversations.insert(*conversation, shelf);
            }
            Request::Hidden { conversation, .. } => {
                let mut shelf = on(self, *conversation)?;
                let seqs: Vec<u64> = read(answer, "seqs")?;
                shelf.hidden.extend(seqs);
                self.conversations.insert(*conversation, shelf);
            }
            _ => {}
        }
        Ok(())
    }

    /// Whether everything that was to be pushed has come, without anything being fetched.
    pub fn missed_nothing(&self, me: UserId, model: &BTreeMap<ConversationId, Conversation>) -> Checked {
        for (id, conversation) in model {
            let is_in = conversation.members.get(&me).is_some_and(|member| member.is_in());
            let shelf = self.conversations.get(id);
            let Some(shelf) = shelf.filter(|shelf| is_in && !shelf.is_blank) else { continue };
            let has = |seq: &u64| {
                shelf.messages.contains_key(seq) || shelf.gone.contains(seq) || *seq <= shelf.spared.0
            };
            let seqs = (1..=conversation.last_seq()).filter(|seq| conversation.may_read(me, *seq));
            let revs = 1..=conversation.last_rev();
            let revs = revs.filter(|rev| conversation.may_read_revision(me, *rev));
            let lacks_seq = seqs.into_iter().find(|seq| !has(seq));
            let lacks_rev = revs.into_iter().find(|rev| !shelf.revs.contains(rev) && *rev > shelf.spared.1);
            if lacks_seq.is_some() || lacks_rev.is_some() {
                return Err(format!("{id}: message {lacks_seq:?}, revision {lacks_rev:?} was never pushed"));
            }
        }
        Ok(())
    }

    /// Whether the device has what the model says that its user sees, and nothing else.
    pub fn agrees(&self, me: UserId, model: &BTreeMap<ConversationId, Conversation>) -> Checked {
        for (id, conversation) in model {
            let standing = match conversation.members.get(&me) {
                Some(member) if member.is_in() => Standing::In(member.role),
                Some(_) => Standing::Left,
                None => Standing::Nothing,
            };
            match (standing, self.conversations.get(id)) {
                (Standing::In(role), Some(shelf)) => {
                    shelf.agrees(me, role, conversation).map_err(|what| format!("{id}: {what}"))?;
                }
                (Standing::In(_), None) => return Err(format!("{id} is not known")),
                (Standing::Left, Some(shelf)) => {
                    let last = conversation.heads_of(me).0;
                    let later = shelf.messages.keys().find(|seq| **seq > last);
                    if !shelf.left || later.is_some() {
                        return Err(format!("{id} was left; left: {}, of later: {later:?}", shelf.left));
                    }
                }
                (Standing::Left, None) | (_, None) => {}
                (_, Some(_)) => return Err(format!("{id} is known to a stranger")),
            }
        }
        let unknown = self.conversations.keys().find(|id| !model.contains_key(id));
        unknown.map_or(Ok(()), |id| Err(format!("{id} does not exist")))
    }
}

fn first_missing<T>(messages: &BTreeMap<u64, T>, gone: &BTreeSet<u64>) -> u64 {
    (1..).find(|seq| !messages.contains_key(seq) && !gone.contains(seq)).unwrap_or(u64::MAX)
}

impl Shelf {
    /// Up to where every revision is known.
    fn known_rev(&self) -> u64 {
        (1..).find(|rev| !self.revs.contains(rev)).map_or(0, |rev| rev - 1)
    }

    fn shown(&mut self, me: UserId, object: &Value) -> Checked {
        let was_left = self.left;
        self.left = object["left"] == Value::Bool(true);
        self.is_over = false;
        // Between leaving and coming back things were changed that will never be told.
        self.is_blank |= was_left && !self.left;
        self.title = read(object, "title")?;
        self.open = read(object, "open")?;
        self.history = Some(read(object, "history")?);
        self.role = Some(read(object, "role")?);
        self.members = read::<Option<_>>(object, "members")?.unwrap_or_default();
        (self.last_seq, self.last_rev) = (number(object, "last_seq")?, number(object, "last_rev")?);
        let marks = (number(object, "received_seq")?, number(object, "read_seq")?);
        let before = self.marks.insert(me, marks).unwrap_or_default();
        if marks.0 < before.0 || marks.1 < before.1 {
            return Err(format!("own marks fell from {before:?} to {marks:?}"));
        }
        if object["peer"].is_object() {
            let peer = read(&object["peer"], "id")?;
            self.mark(peer, (number(object, "peer_received_seq")?, number(object, "peer_read_seq")?));
        }
        let hidden = number(object, "hidden")? as usize;
        if hidden < self.hidden.len() {
            return Err(format!("{hidden} are hidden, there were {} before", self.hidden.len()));
        }
        self.hidden_count = hidden;
        Ok(())
    }

    fn mark(&mut self, user: UserId, to: (u64, u64)) {
        let marks = self.marks.entry(user).or_default();
        *marks = (marks.0.max(to.0), marks.1.max(to.1));
    }

    /// Sending raises the sender's own marks where they stood at the number before.
    fn rises(&mut self, sender: UserId, seq: u64) {
        let marks = self.marks.entry(sender).or_default();
        if marks.0 + 1 == seq {
            marks.0 = seq;
        }
        if marks.1 + 1 == seq {
            marks.1 = seq;
        }
    }

    fn hide(&mut self, seq: u64, count: u64) {
        if !self.hidden.contains(&seq) {
            self.hidden.push(seq);
        }
        self.hidden_count = self.hidden_count.max(count as usize);
    }

    fn message(&mut self, me: UserId, seq: u64, object: &Value) -> Checked {
        let paper: Paper = read_paper(object)?;
        if (paper.sender == me) != object["client_id"].is_string() {
            return Err(format!("client_id is for the sender's own devices alone: {object}"));
        }
        self.rises(paper.sender, seq);
        self.last_seq = self.last_seq.max(seq);
        self.messages.entry(seq).or_insert(paper);
        Ok(())
    }

    fn sent(&mut self, me: UserId, seq: u64, letter: &Letter) {
        self.rises(me, seq);
        self.last_seq = self.last_seq.max(seq);
        self.messages.entry(seq).or_insert_with(|| Paper {
            sender: me,
            body: letter.body.clone(),
            rev: 0,
            reply_to: letter.reply_to,
            thread: letter.thread,
            mentions: letter.mentions.clone(),
            deleted: false,
            reactions: BTreeMap::new(),
        });
    }

    /// A message from `history`: a later one never undoes a revision that is known.
    fn read(&mut self, seq: u64, object: &Value) -> Checked {
        let paper = read_paper(object)?;
        if self.messages.get(&seq).is_none_or(|known| known.rev <= paper.rev) {
            self.messages.insert(seq, paper);
        }
        Ok(())
    }

    fn revision(&mut self, me: UserId, rev: u64, object: &Value) -> Checked {
        self.revs.insert(rev);
        for (name, what) in object.as_object().into_iter().flatten() {
            match &**name {
                "edit" | "delete" | "react" => {
                    let Some(paper) = self.messages.get_mut(&number(what, "seq")?) else { continue };
                    if paper.rev < rev {
                        paper.rev = rev;
                        paper.revise(name, what)?;
                    }
                }
                "join" => {
                    let user: UserId = read(what, "user")?;
                    self.members.insert(user);
                    if user == me {
                        // It was away before: what it has may have changed meanwhile.
                        self.is_blank = true;
                        (self.left, self.is_over) = (false, false);
                        self.role = Some(read(what, "role")?);
                    }
                }
                "leave" => {
                    let user: UserId = read(what, "user")?;
                    self.members.remove(&user);
                    // One that is read later, behind which there is more, was followed by coming back.
                    let is_last = user == me && rev >= self.last_rev;
                    self.left |= is_last;
                    self.is_over |= is_last;
                }
                "role" if read::<UserId>(what, "user")? == me => self.role = Some(read(what, "role")?),
                "meta" => {
                    let fields = what.as_object().ok_or("no meta")?;
                    if fields.contains_key("title") {
                        self.title = read(what, "title")?;
                    }
                    if fields.contains_key("open") {
                        self.open = read(what, "open")?;
                    }
                    if fields.contains_key("history") {
                        // What may be read is another now.
                        self.history = Some(read(what, "history")?);
                        self.is_blank = true;
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn agrees(&self, me: UserId, role: Role, model: &Conversation) -> Checked {
        let differ = |what: &str, mine: String, expected: String| match mine == expected {
            true => Ok(()),
            false => Err(format!("{what} is {mine}, expected {expected}")),
        };
        differ("left", format!("{}", self.left), "false".into())?;
        differ("title", format!("{:?}", self.title), format!("{:?}", model.title))?;
        differ("open", format!("{:?}", self.open), format!("{:?}", model.open))?;
        differ("history", format!("{:?}", self.history), format!("{:?}", Some(model.history)))?;
        differ("role", format!("{:?}", self.role), format!("{:?}", Some(role)))?;
        differ("members", format!("{:?}", self.members), format!("{:?}", model.present()))?;
        for user in [Some(me), model.peer_of(me)].into_iter().flatten() {
            let (received, read) = self.marks.get(&user).copied().unwrap_or_default();
            let to = model.marks_of(user);
            if (received, read) != (to.received, to.read) {
                return Err(format!("marks of {user} are ({received}, {read}), expected {to:?}"));
            }
        }
        let hidden: BTreeSet<_> = self.hidden.iter().copied().collect();
        let expected: BTreeSet<u64> = model.hidden_of(me).iter().copied().collect();
        differ("hidden", format!("{hidden:?}"), format!("{expected:?}"))?;
        differ("the count of hidden", self.hidden_count.to_string(), self.hidden.len().to_string())?;
        for seq in (1..=model.last_seq()).filter(|seq| model.may_read(me, *seq)) {
            let is_hidden = expected.contains(&seq);
            let Some(paper) = self.messages.get(&seq) else {
                if is_hidden {
                    continue;
                }
                return Err(format!("message {seq} is missing"));
            };
            paper.agrees(me, seq, model).map_err(|what| format!("message {seq}: {what}"))?;
        }
        match self.messages.keys().find(|seq| **seq > model.last_seq()) {
            Some(seq) => Err(format!("message {seq} does not exist")),
            None => Ok(()),
        }
    }
}

fn read_paper(object: &Value) -> Checked<Paper> {
    let mut object = object.clone();
    if let Some(fields) = object.as_object_mut() {
        fields.retain(|_, value| !value.is_null());
    }
    serde_json::from_value(object).map_err(|error| format!("a message cannot be read: {error}"))
}

impl Paper {
    fn revise(&mut self, name: &str, what: &Value) -> Checked {
        match name {
            "edit" => {
                // Without its text it was replaced by a later one, which comes.
                if let Some(body) = what["body"].as_str() {
                    self.body = body.to_owned();
                }
            }
            "delete" => {
                self.deleted = true;
                self.body.clear();
                self.mentions.clear();
                self.reactions.clear();
            }
            _ => {
                let (emoji, count) = (read(what, "emoji")?, number(what, "count")?);
                if count == 0 {
                    self.reactions.remove(&emoji)
                } else {
                    self.reactions.insert(emoji, count)
                };
            }
        }
        Ok(())
    }

    fn agrees(&self, me: UserId, seq: u64, model: &Conversation) -> Checked {
        let expected: Paper = read_paper(&model.message_object(me, seq))?;
        let mut mine = self.clone();
        if mine.deleted {
            // What a deleted message answered is left open.
            (mine.reply_to, mine.thread) = (expected.reply_to, expected.thread);
        }
        if mine == expected { Ok(()) } else { Err(format!("{mine:?}, expected {expected:?}")) }
    }
}
