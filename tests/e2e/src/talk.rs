//! People who talk at random, for runs that cut their connections in some way.
//!
//! It owns what such a person does: messages under way, what was not acknowledged sent again under the same client
//! id, marks raised on the way, a visitor let in and out by the first of them, and everything that comes told to the
//! [`Checker`]. When a connection ends, and over what the next one goes, is the run's business.
//!
//! Start with [`meet`], then [`talk`] and [`Visitor::listen`] once per connection, then [`finish`] and the checker's
//! verdict.

use crate::{
    admin,
    checker::{Came, Checker, Fingerprint, Marks, Moment, Seen, Session, Told},
    client::{Client, Failure, Sent, sent, text},
    server::{Person, Server},
};
use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    time::Duration,
};
use tokio::sync::Mutex;
use uuid::Uuid;

/// How many messages of one person are under way at once.
const UNDER_WAY: usize = 8;

/// After how many acknowledgements the person says how far they have read.
const READ_EVERY: usize = 5;
/// After how many the first of them lets the visitor in or out.
const LET_EVERY: usize = 12;

/// A message that is not acknowledged yet.
#[derive(Clone)]
struct Draft {
    place: Uuid,
    client: Uuid,
    body: String,
}

/// Someone who talks, over many connections.
pub struct Talker {
    /// Who.
    pub person: Person,
    places: Vec<Uuid>,
    /// In the order in which they were first sent.
    drafts: VecDeque<Draft>,
    sent: u64,
    /// What this person's device has of each place: as acknowledged, pushed, or read from history.
    has: HashMap<Uuid, BTreeSet<u64>>,
    /// Whom the first of them lets in and out.
    guest: Option<Guest>,
}

/// A visitor, as the one who lets them in and out knows it.
struct Guest {
    user: Uuid,
    group: Uuid,
    is_in: bool,
    /// What the change that is under way, or of which nothing was heard, is called.
    change: Option<Uuid>,
}

/// Someone who is let in and out of the group, and only listens.
pub struct Visitor {
    /// Who.
    pub person: Person,
    group: Uuid,
}

impl Visitor {
    /// Listens until the connection ends, or for `span`, and tells the checker everything that came.
    ///
    /// # Errors
    /// The server says what it must not.
    pub async fn listen(
        &self,
        mut client: Client,
        checker: &Mutex<Checker>,
        asked: Moment,
        span: Duration,
    ) -> Result<()> {
        let ended = client.listen(span).await;
        ensure!(matches!(ended, Ok(()) | Err(Failure::Closed(_) | Failure::Broken(_))), "{ended:?}");
        let mut checker = checker.lock().await;
        let mut listener = Listener::begin(&self.person, &client, &mut checker, asked)?;
        client.heard().try_for_each(|(name, push)| listener.heard(name, push, &mut checker).map(drop))
    }
}

/// A connection, as the checker knows it.
struct Listener {
    session: Session,
    user: Uuid,
    /// The places of which it was told where they stand.
    places: BTreeSet<Uuid>,
}

impl Listener {
    /// Tells the checker with what the connection, which was asked for at that moment, began.
    fn begin(person: &Person, client: &Client, checker: &mut Checker, asked: Moment) -> Result<Self> {
        let user = person.id;
        let mut listener = Self { session: checker.session_of(user), user, places: BTreeSet::new() };
        for place in client.connected["conversations"].as_array().context("conversations are listed")? {
            let id = listener.stands(place, checker)?;
            checker.begin_marks(listener.session, asked, id, user, marks(place)?);
            if place["peer"].is_object() {
                let peer = admin::id(&place["peer"]["id"])?;
                let (received, read) = (&place["peer_received_seq"], &place["peer_read_seq"]);
                let marks = marks(&json!({"received_seq": received, "read_seq": read}))?;
                checker.begin_marks(listener.session, asked, id, peer, marks);
            }
        }
        Ok(listener)
    }

    fn stands(&mut self, place: &Value, checker: &mut Checker) -> Result<Uuid> {
        let id = id(place, "id")?;
        if self.places.insert(id) {
            let last_seq = place["last_seq"].as_u64().context("`last_seq` is an integer")?;
            checker.begin(self.session, id, last_seq);
        }
        Ok(id)
    }

    /// Tells the checker of a push; the message that it shows, if one.
    fn heard(&mut self, name: &str, push: &Value, checker: &mut Checker) -> Result<Option<Seen>> {
        match name {
            "message" => {
                let seen = seen(push)?;
                checker.push(self.session, seen);
                return Ok(Some(seen));
            }
            "revision" => {
                let rev = push["rev"].as_u64().context("`rev` is an integer")?;
                checker.told(self.session, id(push, "conversation")?, Told::Revision(rev));
            }
            "receipt" => {
                let (place, of) = (id(push, "conversation")?, id(push, "user")?);
                checker.told(self.session, place, Told::Receipt(of));
                // Replies and pushes are kept apart: one's own marks are told by the former.
                if of != self.user {
                    checker.mark(self.session, place, of, marks(push)?);
                }
            }
            "conversation" if push["left"] != json!(true) => {
                let place = self.stands(push, checker)?;
                checker.told(self.session, place, Told::In);
            }
            "heads" => bail!("nobody is slow here, yet pushes collapsed into `heads`"),
            _ => {}
        }
        Ok(None)
    }
}

impl Talker {
    /// Reads from history what is missing of every place.
    ///
    /// # Errors
    /// The connection ends.
    pub async fn catch_up(&mut self, client: &mut Client, checker: &Mutex<Checker>) -> Result<()> {
        for &place in &self.places {
            let has = self.has.entry(place).or_default();
            // Numbers are dense: before the first hole nothing is missing.
            let whole = (1..).zip(has.iter()).take_while(|(expected, seq)| expected == *seq).count() as u64;
            for message in client.history(place, whole).await? {
                let seen = seen(&message)?;
                has.insert(seen.seq);
                checker.lock().await.store(seen);
            }
        }
        Ok(())
    }

    /// Checks that this person's device, after its last [`Talker::catch_up`], has every message of every place.
    ///
    /// # Errors
    /// Something is missing.
    pub fn check_complete(&self) -> Result<()> {
        for (place, has) in &self.has {
            let last = has.last().copied().unwrap_or_default();
            ensure!(has.len() as u64 == last, "{} misses messages of {place} up to {last}", self.person.name);
        }
        Ok(())
    }
}

/// A group of all, and a direct conversation of each with the next.
///
/// # Errors
/// The server refuses.
pub async fn meet(server: &Server, people: usize) -> Result<(Vec<Talker>, Visitor)> {
    let mut talkers = Vec::new();
    for n in 0..people {
        let person = server.person(&format!("talker-{n}")).await?;
        let (places, drafts, has) = (Vec::new(), VecDeque::new(), HashMap::new());
        talkers.push(Talker { person, places, drafts, sent: 0, has, guest: None });
    }
    let ids: Vec<_> = talkers.iter().map(|talker| talker.person.id).collect();
    let mut first = server.session(&talkers[0].person).await?;
    let group = first.group("Everyone", &ids[1..]).await?;
    for n in 0..people {
        let next = (n + 1) % people;
        let direct = server.session(&talkers[n].person).await?.direct(ids[next]).await?;
        talkers[n].places.extend([group, direct]);
        talkers[next].places.push(direct);
    }
    let person = server.person("visitor").await?;
    talkers[0].guest = Some(Guest { user: person.id, group, is_in: false, change: None });
    Ok((talkers, Visitor { person, group }))
}

/// Talks until so many of its messages are acknowledged, or the connection, which was asked for at that moment, ends, and
/// tells the checker everything that came; why it ended, where it did.
///
/// # Errors
/// The server refuses, or says what it must not.
pub async fn talk(
    talker: &mut Talker,
    mut client: Client,
    checker: &Mutex<Checker>,
    asked: Moment,
    enough: usize,
) -> Result<Option<Failure>> {
    let mut listener = Listener::begin(&talker.person, &client, &mut *checker.lock().await, asked)?;
    let session = listener.session;
    let (mut under_way, mut again, mut acknowledged) = (VecDeque::new(), 0, 0);
    let mut reads = Vec::new();
    let ended = 'talk: loop {
        if acknowledged == enough {
            break None;
        }
        // First what an earlier connection left open, in its order, then what is new.
        while under_way.len() < UNDER_WAY {
            if again == talker.drafts.len() {
                let place = talker.places[talker.sent as usize % talker.places.len()];
                let body = format!("{} {}", talker.person.name, talker.sent);
                talker.sent += 1;
                talker.drafts.push_back(Draft { place, client: Uuid::now_v7(), body });
            }
            let draft = &talker.drafts[again];
            let body = Fingerprint::of(&draft.body);
            checker.lock().await.attempt(session, draft.place, talker.person.id, draft.client, body);
            match client.post("send", text(draft.place, draft.client, &draft.body)).await {
                Ok(request) => under_way.push_back((request, draft.client)),
                Err(failure) => break 'talk Some(failure),
            }
            again += 1;
        }
        let (request, message) = under_way.pop_front().context("something is under way")?;
        match client.reply(request).await {
            Ok(ok) => {
                let sent = talker.acknowledged(message, &ok, &mut *checker.lock().await)?;
                again -= 1;
                acknowledged += 1;
                if acknowledged % READ_EVERY == 0 {
                    let read = json!({"conversation": sent.conversation, "seq": sent.seq});
                    match client.post("read", read).await {
                        Ok(request) => reads.push((request, sent.conversation)),
                        Err(failure) => break Some(failure),
                    }
                }
                if acknowledged % LET_EVERY == 0
                    && let Some(guest) = &mut talker.guest
                    && let Err(failure) = guest.let_in_or_out(&mut client).await
                {
                    break Some(failure);
                }
            }
            Err(failure) => {
                under_way.push_front((request, message));
                break Some(failure);
            }
        }
    };
    if ended.is_some() {
        // What had arrived before the end counts like everything else.
        client.closed().await?;
    }
    let mut checker = checker.lock().await;
    for (request, message) in under_way {
        if let Some(reply) = client.take_reply(request) {
            talker.acknowledged(message, &reply.map_err(Failure::Refused)?, &mut checker)?;
        }
    }
    for (request, place) in reads {
        // One that the end cut off may have happened or not.
        if let Some(Ok(told)) = client.take_reply(request) {
            checker.mark(session, place, talker.person.id, marks(&told)?);
        }
    }
    for (name, push) in client.heard() {
        if let Some(seen) = listener.heard(name, push, &mut checker)? {
            talker.has.entry(seen.conversation).or_default().insert(seen.seq);
        }
    }
    Ok(ended)
}

impl Guest {
    /// Lets the visitor in, or out again; what was not answered is asked for again under the same client id.
    async fn let_in_or_out(&mut self, client: &mut Client) -> Result<(), Failure> {
        let called = *self.change.get_or_insert_with(Uuid::now_v7);
        let (conversation, user) = (self.group, self.user);
        let asked = if self.is_in {
            client.request("remove", json!({"conversation": conversation, "user": user, "client_id": called}))
        } else {
            client.request(
                "invite",
                json!({"conversation": conversation, "users": [user], "client_id": called}),
            )
        };
        asked.await?;
        self.is_in = !self.is_in;
        self.change = None;
        Ok(())
    }
}

impl Talker {
    fn acknowledged(&mut self, message: Uuid, ok: &Value, checker: &mut Checker) -> Result<Sent> {
        let sent = sent(ok)?;
        checker.acknowledge(message, sent.seq);
        self.has.entry(sent.conversation).or_default().insert(sent.seq);
        self.drafts.retain(|draft| draft.client != message);
        Ok(sent)
    }
}

/// Settles what is open, then shows the checker all histories, each as every member sees it.
///
/// # Errors
/// The server refuses, or shows people different histories.
pub async fn finish(
    server: &Server,
    talkers: &mut [Talker],
    visitor: &Visitor,
    checker: &mut Checker,
) -> Result<()> {
    let mut shown: HashMap<Uuid, Vec<(u64, Value)>> = HashMap::new();
    for talker in talkers.iter_mut() {
        let mut client = server.session(&talker.person).await?;
        for draft in talker.drafts.drain(..) {
            let sent = client.send_as(draft.place, draft.client, &draft.body).await?;
            checker.acknowledge(draft.client, sent.seq);
        }
    }
    // The first of them has been in from the start.
    let mut client = server.session(&talkers[0].person).await?;
    checker.members(visitor.group, came(&mut client, visitor.group).await?);
    let mut client = server.session(&visitor.person).await?;
    // Who was never let in finds nothing.
    match client.history(visitor.group, 0).await {
        Ok(history) => {
            for message in history {
                checker.shown(visitor.person.id, visitor.group, seen(&message)?.seq);
            }
        }
        Err(error)
            if error.downcast_ref::<Failure>().is_some_and(|failure| failure.code() == "not_found") => {}
        Err(error) => return Err(error),
    }
    for talker in talkers {
        let asked = checker.moment();
        let mut client = server.session(&talker.person).await?;
        Listener::begin(&talker.person, &client, checker, asked)?;
        for &place in &talker.places {
            let mut history = Vec::new();
            for message in client.history(place, 0).await? {
                let seen = seen(&message)?;
                checker.store(seen);
                history.push((seen.seq, message["body"].clone()));
            }
            let same = shown.entry(place).or_insert_with(|| history.clone());
            ensure!(*same == history, "{} sees another history of {place}", talker.person.name);
        }
    }
    Ok(())
}

/// Everyone who came into that conversation or went.
async fn came(client: &mut Client, conversation: Uuid) -> Result<Vec<Came>> {
    let (mut all, mut after) = (Vec::new(), 0);
    loop {
        let asked = json!({"conversation": conversation, "after_rev": after, "limit": 200});
        let page = client.request("revisions", asked).await?;
        for revision in page["revisions"].as_array().context("revisions are a list")? {
            let number = |field: &str| revision[field].as_u64().context("numbers are integers");
            let (rev, at_seq) = (number("rev")?, number("at_seq")?);
            ensure!(rev == after + 1, "revision {rev} of {conversation} comes after {after}");
            after = rev;
            for (name, came_in) in [("join", true), ("leave", false)] {
                if revision[name].is_object() {
                    all.push(Came { user: admin::id(&revision[name]["user"])?, came_in, rev, at_seq });
                }
            }
        }
        if page["more"] != json!(true) {
            return Ok(all);
        }
    }
}

fn marks(object: &Value) -> Result<Marks> {
    let number = |field: &str| object[field].as_u64().context("marks are integers");
    Ok(Marks { received: number("received_seq")?, read: number("read_seq")? })
}

fn id(object: &Value, field: &str) -> Result<Uuid> {
    admin::id(&object[field])
}

fn seen(message: &Value) -> Result<Seen> {
    Ok(Seen {
        conversation: id(message, "conversation")?,
        seq: message["seq"].as_u64().context("`seq` is an integer")?,
        sender: id(message, "sender")?,
        client: id(message, "client_id").ok(),
        body: Fingerprint::of(message["body"].as_str().context("`body` is a string")?),
    })
}
