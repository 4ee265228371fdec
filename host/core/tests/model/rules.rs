//! What a request does and is answered, one at a time, in the words of the protocol.

use crate::{
    request::{Change, Letter, Place, Reply, Request},
    same::same,
    state::{Conversation, Marks, Member, Message, Model, Revision, Standing, Stretch, What},
};
use godwit_core::domain::{
    conversation::{History, Role, created_id, direct_id},
    id::{ClientId, ConversationId, UserId},
    time::Ms,
};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

const DAY_MS: u64 = 24 * 60 * 60 * 1000;
const AHEAD_MS_MAX: u64 = 10 * 60 * 1000;
const BODY_BYTES_MAX: usize = 16 * 1024;
const EMOJI_BYTES_MAX: usize = 64;

/// What is expected: an object of which every field must be there, or one of these codes.
type Expected = Result<Value, Vec<&'static str>>;

fn refuse<T>(code: &'static str) -> Result<T, Vec<&'static str>> {
    Err(vec![code])
}

impl Model {
    /// Lets the request happen now, and checks that it may be answered so; without a reply nobody knows the answer.
    pub fn step(
        &mut self,
        by: UserId,
        request: &Request,
        reply: Option<&Reply>,
        now: Ms,
    ) -> Result<(), String> {
        let expected = if request.reads() {
            let Some(reply) = reply else { return Ok(()) };
            match self.read(by, request, reply)? {
                Some(expected) => expected,
                None => return Ok(()),
            }
        } else if Self::is_forgotten(request, reply, now) {
            // Whether a message of so long ago was accepted need not be remembered; what may be refused is.
            let accepted = self.clone().write(by, request, now);
            if accepted.is_ok() { refuse("out_of_turn") } else { accepted }
        } else {
            self.write(by, request, now)
        };
        match (expected, reply) {
            (_, None) => Ok(()),
            (Ok(expected), Some(Reply::Ok(actual))) => same(&expected, actual),
            (Err(codes), Some(Reply::Error { code, .. })) if codes.contains(&&**code) => Ok(()),
            (Ok(expected), Some(Reply::Error { whole, .. })) => {
                Err(format!("refused with {whole}, expected {expected}"))
            }
            (Err(codes), Some(Reply::Error { whole, .. })) => {
                Err(format!("refused with {whole}, expected {codes:?}"))
            }
            (Err(codes), Some(Reply::Ok(actual))) => Err(format!("answered {actual}, expected {codes:?}")),
        }
    }

    /// What is left of a request that was cut in the middle, where that is something: a first message has its
    /// conversation made before it.
    pub fn cut(&self, by: UserId, request: &Request) -> Option<Self> {
        let Request::Send(Letter { place: Place::With(user), .. }) = request else { return None };
        let id = direct_id(by, *user);
        if self.conversations.contains_key(&id) || !self.users.contains(user) {
            return None;
        }
        let mut cut = self.clone();
        cut.conversations.insert(id, Conversation::direct(id, by, *user));
        Some(cut)
    }

    /// Whether it was refused for an `after` whose client id is older than any that may still be sent.
    fn is_forgotten(request: &Request, reply: Option<&Reply>, now: Ms) -> bool {
        let Request::Send(Letter { after: Some(after), .. }) = request else { return false };
        let is_old = after.made_at().is_some_and(|at| at < now.minus(7 * DAY_MS));
        is_old && matches!(reply, Some(Reply::Error { code, .. }) if code == "out_of_turn")
    }

    fn write(&mut self, by: UserId, request: &Request, now: Ms) -> Expected {
        match request {
            Request::Direct { user } if !self.users.contains(user) => refuse("unknown_user"),
            Request::Direct { user } => {
                let id = direct_id(by, *user);
                self.conversations.entry(id).or_insert_with(|| Conversation::direct(id, by, *user));
                Ok(self.shown(id, by))
            }
            Request::Create { client, members, open, history } => {
                check_client(Some(*client), now)?;
                if members.iter().any(|member| !self.users.contains(member)) {
                    return refuse("unknown_user");
                }
                let id = created_id(by, *client);
                self.conversations
                    .entry(id)
                    .or_insert_with(|| Conversation::group(id, by, members, *open, *history));
                Ok(self.shown(id, by))
            }
            Request::Send(letter) => self.send(by, letter, now),
            Request::Change { conversation, client, change } => {
                check_client(*client, now)?;
                check_fields(change)?;
                self.change(by, *conversation, *client, change)
            }
            Request::Hide { conversation, seq } => {
                self.readable(*conversation, by)?;
                let conversation = self.found(*conversation);
                if !conversation.may_read(by, *seq) {
                    return Err(vec!["not_found", "invalid"]);
                }
                let hidden = conversation.hidden.entry(by).or_default();
                if !hidden.contains(seq) {
                    hidden.push(*seq);
                }
                Ok(json!({"hidden": hidden.len()}))
            }
            Request::Mark { conversation, seq, read } => {
                self.readable(*conversation, by)?;
                let conversation = self.found(*conversation);
                let seq = (*seq).min(conversation.heads_of(by).0);
                let marks = conversation.marks.entry(by).or_default();
                marks.received = marks.received.max(seq);
                if *read {
                    marks.read = marks.read.max(seq);
                }
                Ok(json!({"received_seq": marks.received, "read_seq": marks.read}))
            }
            _ => refuse("a request that only reads"),
        }
    }

    fn shown(&self, id: ConversationId, by: UserId) -> Value {
        json!({"conversation": self.conversations[&id].object(by, self.standing(id, by))})
    }

    fn found(&mut self, id: ConversationId) -> &mut Conversation {
        self.conversations.get_mut(&id).expect("whoever stands to it has found it")
    }

    /// Whether that user is in, or was.
    pub fn readable(&self, id: ConversationId, by: UserId) -> Result<(), Vec<&'static str>> {
        match self.standing(id, by) {
            Standing::In(_) | Standing::Left => Ok(()),
            Standing::Outside => refuse("not_member"),
            Standing::Nothing => refuse("not_found"),
        }
    }

    /// What that user may do in the conversation; whoever is not in is refused.
    pub fn role(&self, id: ConversationId, by: UserId) -> Result<Role, Vec<&'static str>> {
        match self.standing(id, by) {
            Standing::In(role) => Ok(role),
            Standing::Left | Standing::Outside => refuse("not_member"),
            Standing::Nothing => refuse("not_found"),
        }
    }

    fn send(&mut self, by: UserId, letter: &Letter, now: Ms) -> Expected {
        check_client(Some(letter.client), now)?;
        let id = letter.place.conversation(by);
        let to = match letter.place {
            Place::In(_) => None,
            Place::With(user) => Some(user),
        };
        // A conversation that is to be made is as good as there; it stays only where the message is accepted.
        let made = to.filter(|user| self.users.contains(user) && !self.conversations.contains_key(&id));
        let made = made.map(|user| Conversation::direct(id, by, user));
        if let Some(first) = self.conversations.get(&id).and_then(|found| found.sent(by, letter.client)) {
            let message = self.conversations[&id].message(first);
            return match message.is_some_and(|message| message.sent == letter.content()) {
                true => Ok(json!({"conversation": id, "seq": first, "duplicate": true})),
                false => refuse("client_id_reused"),
            };
        }
        if letter.body.is_empty() {
            return refuse("invalid");
        }
        if letter.body.len() > BODY_BYTES_MAX {
            return refuse("too_large");
        }
        let conversation = match &made {
            Some(made) => made,
            None if to.is_some_and(|user| !self.users.contains(&user)) => {
                return Err(vec!["unknown_user", "invalid", "out_of_turn"]);
            }
            None => {
                if self.role(id, by)? == Role::Reader {
                    return refuse("read_only");
                }
                &self.conversations[&id]
            }
        };
        let mut wrong = Vec::new();
        let names = [letter.reply_to, letter.thread].into_iter().flatten();
        let is_member = |user: &UserId| conversation.present().contains(user);
        if !names.clone().all(|seq| conversation.may_read(by, seq)) || !letter.mentions.iter().all(is_member)
        {
            wrong.push("invalid");
        }
        if letter.after.is_some_and(|after| conversation.sent(by, after).is_none()) {
            wrong.push("out_of_turn");
        }
        if !wrong.is_empty() {
            return Err(wrong);
        }
        if let Some(made) = made {
            self.conversations.insert(id, made);
        }
        let conversation = self.found(id);
        conversation.messages.push(Message {
            sender: by,
            client: letter.client,
            sent: letter.content(),
            body: letter.body.clone(),
            reply_to: letter.reply_to,
            thread: letter.thread,
            mentions: letter.mentions.clone(),
            rev: 0,
            edited: 0,
            deleted: false,
            reactions: BTreeMap::new(),
        });
        let seq = conversation.last_seq();
        conversation.raise_by_sending(by, seq);
        Ok(json!({"conversation": id, "seq": seq, "duplicate": null}))
    }

    fn change(
        &mut self,
        by: UserId,
        id: ConversationId,
        client: Option<ClientId>,
        change: &Change,
    ) -> Expected {
        let first = client.and_then(|client| self.conversations.get(&id)?.answered.get(&(by, client)));
        if let Some(rev) = first {
            return Ok(json!({"rev": rev}));
        }
        let made = self.decide(by, id, change)?;
        let is_left = self.standing(id, by) == Standing::Left;
        let conversation = self.found(id);
        if made.is_empty() {
            let rev = if is_left { conversation.heads_of(by).1 } else { conversation.last_rev() };
            return Ok(json!({"rev": rev}));
        }
        for what in made {
            conversation.happen(by, what);
        }
        let rev = conversation.last_rev();
        if let Some(client) = client {
            conversation.answered.insert((by, client), rev);
        }
        Ok(json!({"rev": rev}))
    }

    /// What a change comes to, if anything.
    fn decide(
        &self,
        by: UserId,
        id: ConversationId,
        change: &Change,
    ) -> Result<Vec<What>, Vec<&'static str>> {
        let direct = self.conversations.get(&id).is_some_and(|found| found.direct);
        match change {
            Change::Join => return self.join(by, id),
            Change::Leave if !direct && self.standing(id, by) == Standing::Left => return Ok(Vec::new()),
            _ => {}
        }
        let role = match (change, self.role(id, by)) {
            // Which users there are is no secret to whoever sees the conversation.
            (Change::Invite { users }, Err(codes))
                if codes != ["not_found"] && users.iter().any(|user| !self.users.contains(user)) =>
            {
                return Err(codes.into_iter().chain(["unknown_user"]).collect());
            }
            (_, role) => role?,
        };
        let conversation = &self.conversations[&id];
        let role_of = |user: UserId| {
            conversation.members.get(&user).filter(|member| member.is_in()).map(|member| member.role)
        };
        let of_members = matches!(
            change,
            Change::Invite { .. } | Change::Remove { .. } | Change::Leave | Change::SetRole { .. }
        );
        if direct && of_members {
            return match change {
                Change::Invite { users } if users.iter().any(|user| !self.users.contains(user)) => {
                    Err(vec!["invalid", "unknown_user"])
                }
                _ => refuse("invalid"),
            };
        }
        match change {
            Change::Edit { seq, .. } | Change::Delete { seq } | Change::React { seq, .. }
                if !conversation.may_read(by, *seq) =>
            {
                refuse("not_found")
            }
            Change::Edit { .. } | Change::Delete { .. } if role == Role::Reader => refuse("forbidden"),
            Change::Edit { seq, body } => {
                let message = &conversation.messages[*seq as usize - 1];
                match (message.sender == by, message.deleted) {
                    (false, true) => Err(vec!["forbidden", "conflict"]),
                    (false, false) => refuse("forbidden"),
                    (true, true) => refuse("conflict"),
                    (true, false) if message.body == *body => Ok(Vec::new()),
                    (true, false) => Ok(vec![What::Edit { seq: *seq, body: body.clone() }]),
                }
            }
            Change::Delete { seq } => {
                let message = &conversation.messages[*seq as usize - 1];
                let may = message.sender == by || (role >= Role::Admin && !direct);
                match (may, message.deleted) {
                    (false, _) => refuse("forbidden"),
                    (true, true) => Ok(Vec::new()),
                    (true, false) => Ok(vec![What::Delete { seq: *seq }]),
                }
            }
            Change::React { seq, emoji, on } => {
                let message = &conversation.messages[*seq as usize - 1];
                let users = message.reactions.get(emoji);
                let is_on = users.is_some_and(|users| users.contains(&by));
                let count = users.map_or(0, BTreeSet::len);
                match (message.deleted, is_on == *on) {
                    (true, _) => refuse("conflict"),
                    (false, true) => Ok(Vec::new()),
                    (false, false) => {
                        let count = if *on { count + 1 } else { count - 1 };
                        Ok(vec![What::React { seq: *seq, emoji: emoji.clone(), on: *on, count }])
                    }
                }
            }
            Change::Invite { users } => {
                let mut wrong = Vec::new();
                if role < Role::Admin {
                    wrong.push("forbidden");
                }
                if users.iter().any(|user| !self.users.contains(user)) {
                    wrong.push("unknown_user");
                }
                if !wrong.is_empty() {
                    return Err(wrong);
                }
                let mut come = Vec::new();
                for user in users.iter().filter(|user| role_of(**user).is_none()) {
                    if !come.contains(user) {
                        come.push(*user);
                    }
                }
                Ok(come.into_iter().map(|user| What::Join { user, role: Role::Member }).collect())
            }
            Change::Remove { user } => {
                let theirs = role_of(*user);
                if role < Role::Admin {
                    return if *user == by { Err(vec!["forbidden", "invalid"]) } else { refuse("forbidden") };
                }
                match theirs {
                    _ if *user == by => refuse("invalid"),
                    None => Ok(Vec::new()),
                    Some(theirs) if role != Role::Owner && theirs >= role => refuse("forbidden"),
                    Some(_) => Ok(vec![What::Leave { user: *user }]),
                }
            }
            Change::Leave => {
                let mut made = conversation.heir(by);
                made.push(What::Leave { user: by });
                Ok(made)
            }
            Change::SetRole { .. } if role != Role::Owner => refuse("forbidden"),
            Change::SetRole { user, role: wanted } => {
                let owners =
                    conversation.present().iter().filter(|user| role_of(**user) == Some(Role::Owner)).count();
                match role_of(*user) {
                    None => refuse("invalid"),
                    Some(theirs) if theirs == *wanted => Ok(Vec::new()),
                    Some(Role::Owner) if owners == 1 => refuse("invalid"),
                    Some(_) => Ok(vec![What::Role { user: *user, role: *wanted }]),
                }
            }
            Change::Update { .. } if role < Role::Admin => refuse("forbidden"),
            Change::Update { title, open, history } => {
                let title = title.clone().filter(|title| *title != conversation.title);
                let open = open.filter(|open| *open != conversation.open);
                let history = history.filter(|history| *history != conversation.history);
                let nothing = title.is_none() && open.is_none() && history.is_none();
                Ok(if nothing { Vec::new() } else { vec![What::Meta { title, open, history }] })
            }
            Change::Join => self.join(by, id),
        }
    }

    fn join(&self, by: UserId, id: ConversationId) -> Result<Vec<What>, Vec<&'static str>> {
        let open = self.conversations.get(&id).is_some_and(|found| found.open);
        match self.standing(id, by) {
            Standing::In(_) => Ok(Vec::new()),
            Standing::Left if !open => refuse("forbidden"),
            Standing::Left | Standing::Outside => Ok(vec![What::Join { user: by, role: Role::Member }]),
            Standing::Nothing => refuse("not_found"),
        }
    }
}

impl Letter {
    /// What makes it another message.
    pub fn content(&self) -> String {
        format!("{:?} {:?} {:?} {:?}", self.body, self.reply_to, self.thread, self.mentions)
    }
}

impl Conversation {
    fn direct(id: ConversationId, one: UserId, other: UserId) -> Self {
        let none = Self {
            id,
            direct: true,
            title: None,
            open: false,
            history: History::All,
            members: BTreeMap::new(),
            messages: Vec::new(),
            revisions: Vec::new(),
            marks: BTreeMap::new(),
            hidden: BTreeMap::new(),
            answered: BTreeMap::new(),
        };
        let first = Member {
            role: Role::Member,
            since_rev: 0,
            stretches: vec![Stretch { after_seq: 0, after_rev: 0, until: None }],
        };
        Self { members: BTreeMap::from([(one, first.clone()), (other, first)]), ..none }
    }

    fn group(id: ConversationId, by: UserId, members: &[UserId], open: bool, history: History) -> Self {
        let mut group = Self::direct(id, by, by);
        (group.direct, group.open, group.history) = (false, open, history);
        group.title = Some("team".into());
        group.members.clear();
        let mut first = vec![(by, Role::Owner)];
        for user in members {
            if !first.iter().any(|(known, _)| known == user) {
                first.push((*user, Role::Member));
            }
        }
        for (user, role) in first {
            group.happen(by, What::Join { user, role });
            // They are in from the start, all of them.
            group.members.insert(
                user,
                Member {
                    role,
                    since_rev: 0,
                    stretches: vec![Stretch { after_seq: 0, after_rev: 0, until: None }],
                },
            );
        }
        group
    }

    /// The number that this client id of that sender got.
    fn sent(&self, by: UserId, client: ClientId) -> Option<u64> {
        let is_it = |message: &Message| message.sender == by && message.client == client;
        self.messages.iter().position(is_it).map(|nth| nth as u64 + 1)
    }

    /// To whom the last owner hands over.
    fn heir(&self, by: UserId) -> Vec<What> {
        let others = || self.members.iter().filter(|(user, member)| member.is_in() && **user != by);
        let is_owner = self.members[&by].role == Role::Owner;
        if !is_owner || others().any(|(_, member)| member.role == Role::Owner) {
            return Vec::new();
        }
        let heir =
            others().min_by_key(|(user, member)| (std::cmp::Reverse(member.role), member.since_rev, **user));
        heir.map(|(user, _)| What::Role { user: *user, role: Role::Owner }).into_iter().collect()
    }

    /// Makes the next revision, and what follows from it.
    fn happen(&mut self, by: UserId, what: What) {
        let (seq, rev) = (self.last_seq(), self.last_rev() + 1);
        self.revisions.push(Revision { at_seq: seq, by, what: what.clone() });
        if let Some(about) = what.message() {
            self.messages[about as usize - 1].rev = rev;
        }
        match what {
            What::Edit { seq, body } => {
                let message = &mut self.messages[seq as usize - 1];
                (message.body, message.edited) = (body, rev);
            }
            What::Delete { seq } => {
                let message = &mut self.messages[seq as usize - 1];
                message.deleted = true;
                message.body.clear();
                message.mentions.clear();
                message.reactions.clear();
            }
            What::React { seq, emoji, on, .. } => {
                let reactions = &mut self.messages[seq as usize - 1].reactions;
                let users = reactions.entry(emoji.clone()).or_default();
                if on {
                    users.insert(by)
                } else {
                    users.remove(&by)
                };
                if users.is_empty() {
                    reactions.remove(&emoji);
                }
            }
            What::Join { user, role } => {
                let member = self.members.entry(user).or_insert_with(|| Member {
                    role,
                    since_rev: rev,
                    stretches: Vec::new(),
                });
                (member.role, member.since_rev) = (role, rev);
                member.stretches.push(Stretch { after_seq: seq, after_rev: rev - 1, until: None });
                let marks = self.marks.entry(user).or_default();
                *marks = Marks { received: marks.received.max(seq), read: marks.read.max(seq) };
            }
            What::Leave { user } => {
                let member = self.members.get_mut(&user).expect("who leaves was in");
                if let Some(stretch) = member.stretches.last_mut() {
                    stretch.until = Some((seq, rev));
                }
            }
            What::Role { user, role } => {
                self.members.get_mut(&user).expect("who has a role is in").role = role;
            }
            What::Meta { title, open, history } => {
                self.title = title.unwrap_or(self.title.take());
                self.open = open.unwrap_or(self.open);
                self.history = history.unwrap_or(self.history);
            }
        }
    }
}

fn check_client(client: Option<ClientId>, now: Ms) -> Result<(), Vec<&'static str>> {
    let Some(client) = client else { return Ok(()) };
    match client.made_at() {
        None => refuse("invalid"),
        Some(at) if at > now.plus(AHEAD_MS_MAX) => refuse("invalid"),
        Some(at) if at < now.minus(7 * DAY_MS) => refuse("client_id_expired"),
        Some(_) => Ok(()),
    }
}

fn check_fields(change: &Change) -> Result<(), Vec<&'static str>> {
    match change {
        Change::Edit { seq: 0, .. } | Change::Delete { seq: 0 } | Change::React { seq: 0, .. } => {
            Err(vec!["invalid"])
        }
        Change::Edit { body, .. } if body.is_empty() => refuse("invalid"),
        Change::Edit { body, .. } if body.len() > BODY_BYTES_MAX => refuse("too_large"),
        Change::React { emoji, .. } if emoji.is_empty() || emoji.len() > EMOJI_BYTES_MAX => refuse("invalid"),
        Change::Update { title: Some(Some(title)), .. } if title.is_empty() => refuse("invalid"),
        _ => Ok(()),
    }
}
