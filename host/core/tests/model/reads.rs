//! What reading is answered: pages are checked number by number, because where one ends is the server's choice.

use crate::{
    request::{Page, Reply, Request},
    same::same,
    state::{Conversation, Model, Revision, Standing, What},
};
use godwit_core::domain::id::{ConversationId, UserId};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// What is expected, or that all was looked at already.
type Read = Result<Option<Result<Value, Vec<&'static str>>>, String>;

impl Model {
    /// Checks what reading is answered; or says what is expected of the answer.
    pub fn read(&self, by: UserId, request: &Request, reply: &Reply) -> Read {
        let (id, wants_in) = match request {
            Request::Conversations => {
                let Reply::Ok(actual) = reply else { return Err(format!("refused: {reply:?}")) };
                return self.all(by, actual).map(|()| None);
            }
            Request::Conversation { conversation } => {
                let standing = self.standing(*conversation, by);
                if standing == Standing::Nothing {
                    return Ok(Some(Err(vec!["not_found"])));
                }
                let object = self.conversations[conversation].object(by, standing);
                return Ok(Some(Ok(json!({"conversation": object}))));
            }
            // Who left does not read how far others have come: it may be of later.
            Request::Members { conversation } | Request::Receipts { conversation, .. } => {
                (*conversation, true)
            }
            Request::History { conversation, .. }
            | Request::Reactions { conversation, .. }
            | Request::Revisions { conversation, .. }
            | Request::Hidden { conversation, .. } => (*conversation, false),
            _ => return Err("a request that does not only read".into()),
        };
        if let Err(codes) = self.may_ask(id, by, wants_in, request) {
            return Ok(Some(Err(codes)));
        }
        let conversation = &self.conversations[&id];
        let Reply::Ok(actual) = reply else { return Err(format!("refused: {reply:?}")) };
        match request {
            Request::Members { .. } => {
                let members = conversation.members.iter().filter(|(_, member)| member.is_in());
                let members: Vec<_> =
                    members.map(|(user, member)| json!({"user": user, "role": member.role})).collect();
                Ok(Some(Ok(json!({"members": members, "next": null}))))
            }
            Request::Reactions { seq, .. } => {
                let reactions = actual["reactions"].as_array().into_iter().flatten();
                let users = |value: &Value| -> BTreeSet<String> {
                    let users = value["users"].as_array().into_iter().flatten();
                    users.filter_map(|user| user.as_str().map(str::to_owned)).collect()
                };
                let told: BTreeMap<_, _> = reactions
                    .map(|value| (value["emoji"].as_str().unwrap_or_default().to_owned(), users(value)))
                    .collect();
                let text = |user: &UserId| user.to_string();
                let expected = conversation.message(*seq).map(|message| {
                    // As in `history`: none to who has left since, where something became of the message later.
                    let is_later = conversation.has_left(by) && message.rev > conversation.heads_of(by).1;
                    let all = message.reactions.iter().filter(|_| !is_later);
                    all.map(|(emoji, users)| (emoji.clone(), users.iter().map(text).collect())).collect()
                });
                match expected == Some(told) {
                    true => Ok(None),
                    false => Err(format!("reactions {actual}, expected {expected:?}")),
                }
            }
            Request::Receipts { seq, .. } => {
                Ok(Some(Ok(conversation.receipts(seq.unwrap_or(conversation.last_seq())))))
            }
            Request::History { page, thread: None, limit, .. } => {
                conversation.check_page(by, *page, limit.unwrap_or(50), actual).map(|()| None)
            }
            Request::History { page, thread: Some(root), limit, .. } => {
                conversation.check_thread(by, *page, *root, limit.unwrap_or(50), actual).map(|()| None)
            }
            Request::Revisions { after, limit, .. } => {
                conversation.check_revisions(by, *after, limit.unwrap_or(50), actual).map(|()| None)
            }
            Request::Hidden { after, limit, .. } => {
                let (after, limit) = (*after as usize, limit.unwrap_or(50) as usize);
                let rest = conversation.hidden_of(by).get(after..).unwrap_or_default();
                let page = &rest[..rest.len().min(limit)];
                Ok(Some(Ok(json!({"seqs": page, "more": rest.len() > limit}))))
            }
            _ => Err("a request that does not only read".into()),
        }
    }

    fn may_ask(
        &self,
        id: ConversationId,
        by: UserId,
        wants_in: bool,
        request: &Request,
    ) -> Result<(), Vec<&'static str>> {
        if let Request::History { limit: Some(0), .. }
        | Request::Revisions { limit: Some(0), .. }
        | Request::Hidden { limit: Some(0), .. } = request
        {
            return Err(vec!["invalid"]);
        }
        self.readable(id, by)?;
        let conversation = &self.conversations[&id];
        let is_seen = |seq: u64| conversation.may_read(by, seq);
        match request {
            Request::Reactions { seq, .. } if !is_seen(*seq) || conversation.is_withdrawn(by, *seq) => {
                return Err(vec!["not_found"]);
            }
            Request::Receipts { seq, .. } => {
                let seq = seq.unwrap_or(conversation.heads_of(by).0);
                if seq > 0 && !is_seen(seq) {
                    return Err(vec!["not_found", "not_member"]);
                }
            }
            Request::History { thread: Some(root), .. } if !is_seen(*root) => return Err(vec!["invalid"]),
            _ => {}
        }
        if wants_in { self.role(id, by).map(drop) } else { Ok(()) }
    }

    fn all(&self, by: UserId, actual: &Value) -> Result<(), String> {
        let told = actual["conversations"].as_array().ok_or("no conversations")?;
        let times: Vec<_> = told.iter().map(|object| object["updated_at"].as_u64()).collect();
        if !times.is_sorted_by(|a, b| a >= b) {
            return Err(format!("conversations are not newest first: {times:?}"));
        }
        let is_in = |id: &ConversationId| matches!(self.standing(*id, by), Standing::In(_));
        let expected: BTreeSet<_> = self.conversations.keys().filter(|id| is_in(id)).copied().collect();
        let mut found = BTreeSet::new();
        for object in told {
            let id = serde_json::from_value(object["id"].clone()).map_err(|error| error.to_string())?;
            if !expected.contains(&id) || !found.insert(id) {
                return Err(format!("conversation {id} is listed twice, or to one who is not in"));
            }
            same(&self.conversations[&id].object(by, self.standing(id, by)), object)?;
        }
        if found == expected { Ok(()) } else { Err(format!("listed {found:?}, expected {expected:?}")) }
    }
}

impl Conversation {
    fn receipts(&self, seq: u64) -> Value {
        let sender = self.message(seq).map(|message| message.sender);
        let others: Vec<_> = self.present().into_iter().filter(|user| Some(*user) != sender).collect();
        let count = |reached: fn(crate::state::Marks) -> u64| {
            others.iter().filter(|user| reached(self.marks_of(**user)) >= seq).count()
        };
        let member = |user: &UserId| {
            let marks = self.marks_of(*user);
            json!({"user": user, "received_seq": marks.received, "read_seq": marks.read})
        };
        json!({
            "received": count(|marks| marks.received),
            "read": count(|marks| marks.read),
            "members": others.iter().map(member).collect::<Vec<_>>(),
        })
    }

    /// Whether a message shows to that user, and if not, why.
    fn shows(&self, user: UserId, seq: u64) -> Result<(), &'static str> {
        if self.hidden_of(user).contains(&seq) {
            return Err("hidden");
        }
        if !self.may_read(user, seq) {
            return Err("not_visible");
        }
        if self.is_withdrawn(user, seq) { Err("not_visible") } else { Ok(()) }
    }

    /// Whether a message that the user could read was edited since they left.
    fn is_withdrawn(&self, user: UserId, seq: u64) -> bool {
        let message = &self.messages[seq as usize - 1];
        self.has_left(user) && message.edited > self.heads_of(user).1 && !message.deleted
    }

    fn check_message(&self, user: UserId, seq: u64, actual: &Value) -> Result<(), String> {
        same(&self.message_object(user, seq), actual)?;
        let message = &self.messages[seq as usize - 1];
        if !message.deleted && actual["edited_at"].is_u64() != (message.edited > 0) {
            return Err(format!("message {seq}: edited_at is {}", actual["edited_at"]));
        }
        if !self.has_left(user) {
            let of_user =
                |(emoji, users): (&String, &BTreeSet<UserId>)| users.contains(&user).then(|| emoji.clone());
            let mine: BTreeSet<_> = message.reactions.iter().filter_map(of_user).collect();
            let told = actual["my_reactions"].as_array().into_iter().flatten();
            let told: BTreeSet<_> = told.filter_map(|emoji| emoji.as_str().map(str::to_owned)).collect();
            if mine != told {
                return Err(format!("message {seq}: my_reactions are {told:?}, expected {mine:?}"));
            }
        }
        Ok(())
    }

    fn check_page(&self, user: UserId, page: Page, limit: u32, actual: &Value) -> Result<(), String> {
        let (last, last_rev) = self.heads_of(user);
        if actual["as_of_rev"] != json!(last_rev) {
            return Err(format!("as_of_rev is {}, expected {last_rev}", actual["as_of_rev"]));
        }
        let (messages, told) = numbers(&actual["messages"], &actual["gone"], "seq")?;
        for (seq, message) in &messages {
            self.shows(user, *seq).map_err(|why| format!("message {seq} is shown, which is {why}"))?;
            self.check_message(user, *seq, message)?;
        }
        for (seq, why) in &told {
            match self.shows(user, *seq) {
                Ok(()) => return Err(format!("message {seq} is gone, but it is there")),
                // Of two reasons either may be told.
                Err(expected) if why == expected || !self.may_read(user, *seq) => {}
                Err(expected) => return Err(format!("message {seq} is {why}, expected {expected}")),
            }
        }
        if messages.len() > limit as usize {
            return Err(format!("{} messages, the limit is {limit}", messages.len()));
        }
        let all: BTreeSet<u64> = messages.iter().map(|(seq, _)| *seq).chain(told.into_keys()).collect();
        let more = actual["more"] == json!(true);
        let end = last + 1;
        let (from, to, upwards) = match page {
            Page::Newest => (1, end, false),
            Page::Before(seq) => (1, seq.clamp(1, end), false),
            Page::After(seq) => (seq.min(last) + 1, end, true),
        };
        accounted(&all, from..to, upwards, more)
    }

    fn check_thread(
        &self,
        user: UserId,
        page: Page,
        root: u64,
        limit: u32,
        actual: &Value,
    ) -> Result<(), String> {
        let (from, to) = match page {
            Page::Newest => (1, self.heads_of(user).0 + 1),
            Page::Before(seq) => (1, seq),
            Page::After(seq) => (seq.saturating_add(1), self.heads_of(user).0 + 1),
        };
        let is_reply = |seq: &u64| {
            let message = self.message(*seq);
            // Whether a deleted reply is still one of its thread is left open.
            message.is_some_and(|message| message.thread == Some(root) && !message.deleted)
                && self.shows(user, *seq).is_ok()
        };
        let expected: Vec<u64> = (from..to).filter(is_reply).collect();
        let (messages, _) = numbers(&actual["messages"], &Value::Null, "seq")?;
        for (seq, message) in &messages {
            self.check_message(user, *seq, message)?;
        }
        let is_deleted = |seq: &u64| self.message(*seq).is_some_and(|message| message.deleted);
        let told: Vec<_> = messages.iter().map(|(seq, _)| *seq).filter(|seq| !is_deleted(seq)).collect();
        let more = actual["more"] == json!(true);
        let is_right = match page {
            Page::After(_) => expected.starts_with(&told),
            _ => expected.ends_with(&told),
        };
        if !is_right || (!more && told != expected) || messages.len() > limit as usize {
            return Err(format!("a page of thread {root} has {told:?} of {expected:?}, more: {more}"));
        }
        Ok(())
    }

    fn check_revisions(&self, user: UserId, after: u64, limit: u32, actual: &Value) -> Result<(), String> {
        let last = self.heads_of(user).1;
        let (revisions, told) = numbers(&actual["revisions"], &actual["gone"], "rev")?;
        for (rev, object) in &revisions {
            if !(1..=last).contains(rev) || !self.may_read_revision(user, *rev) {
                return Err(format!("revision {rev} is shown to one who may not read it"));
            }
            same(&self.revision_object(user, *rev), object)?;
        }
        if let Some(rev) = told.keys().find(|rev| self.may_read_revision(user, **rev)) {
            return Err(format!("revision {rev} is gone, but it is there"));
        }
        if revisions.len() > limit as usize {
            return Err(format!("{} revisions, the limit is {limit}", revisions.len()));
        }
        let all = revisions.iter().map(|(rev, _)| *rev).chain(told.into_keys()).collect();
        accounted(&all, after.min(last) + 1..last + 1, true, actual["more"] == json!(true))
    }

    /// The object of a revision as `revisions` shows it.
    fn revision_object(&self, user: UserId, rev: u64) -> Value {
        let Revision { at_seq, by, what } = &self.revisions[rev as usize - 1];
        let mut object = json!({"conversation": self.id, "rev": rev, "at_seq": at_seq, "by": by});
        match what {
            What::Edit { seq, .. } => {
                let message = &self.messages[*seq as usize - 1];
                let stands = message.edited == rev && !message.deleted && self.edit_shows(user, *seq);
                object["edit"] = json!({"seq": seq, "body": stands.then_some(&message.body)});
            }
            What::Delete { seq } => object["delete"] = json!({"seq": seq}),
            What::React { seq, emoji, on, count } => {
                object["react"] = json!({"seq": seq, "emoji": emoji, "on": on, "count": count});
            }
            What::Join { user, role } => object["join"] = json!({"user": user, "role": role}),
            What::Leave { user } => object["leave"] = json!({"user": user}),
            What::Role { user, role } => object["role"] = json!({"user": user, "role": role}),
            What::Meta { title, open, history } => {
                let title = title.as_ref().and_then(Option::as_ref);
                object["meta"] = json!({"title": title, "open": open, "history": history});
            }
        }
        object
    }

    fn edit_shows(&self, user: UserId, seq: u64) -> bool {
        self.shows(user, seq) != Err("not_visible")
    }
}

/// The numbered objects of a page, and the numbers that are gone.
type Numbers = (Vec<(u64, Value)>, BTreeMap<u64, String>);

fn numbers(shown: &Value, gone: &Value, field: &str) -> Result<Numbers, String> {
    let shown = shown.as_array().into_iter().flatten();
    let shown: Vec<_> =
        shown.map(|object| (object[field].as_u64().unwrap_or_default(), object.clone())).collect();
    if !shown.is_sorted_by(|(a, _), (b, _)| a < b) {
        return Err("a page is not ascending".into());
    }
    let mut all = BTreeMap::new();
    for range in gone.as_array().into_iter().flatten() {
        let (from, to) =
            (range["from"].as_u64().unwrap_or_default(), range["to"].as_u64().unwrap_or_default());
        if from > to || from == 0 {
            return Err(format!("what is gone from {from} to {to} is no range"));
        }
        let why = range["why"].as_str().unwrap_or_default();
        for number in from..=to {
            if all.insert(number, why.to_owned()).is_some() || shown.iter().any(|(shown, _)| *shown == number)
            {
                return Err(format!("number {number} is told twice"));
            }
        }
    }
    Ok((shown, all))
}

/// Whether a page tells of every number of its range, from the side where it begins.
fn accounted(
    told: &BTreeSet<u64>,
    range: std::ops::Range<u64>,
    upwards: bool,
    more: bool,
) -> Result<(), String> {
    let wrong = || Err(format!("a page tells of {told:?}, asked for {range:?}, more: {more}"));
    if told.iter().any(|number| !range.contains(number)) {
        return wrong();
    }
    let count = told.len() as u64;
    let expected = if upwards { range.start..range.start + count } else { range.end - count..range.end };
    let is_dense = told.iter().copied().eq(expected);
    let is_done = count == range.end.saturating_sub(range.start);
    if !is_dense || more == is_done || (more && count == 0) { wrong() } else { Ok(()) }
}
