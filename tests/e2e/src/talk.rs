//! People who talk at random, for runs that cut their connections in some way.
//!
//! It owns what such a person does: messages under way, what was not acknowledged sent again under the same client
//! id, and everything that comes told to the [`Checker`]. When a connection ends, and over what the next one goes, is the run's
//! business.
//!
//! Start with [`meet`], then [`talk`] once per connection, then [`finish`] and the checker's verdict.

use crate::{
    admin,
    checker::{Checker, Fingerprint, Seen},
    client::{Client, Failure, sent, text},
    server::{Person, Server},
};
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::collections::{BTreeSet, HashMap, VecDeque};
use tokio::sync::Mutex;
use uuid::Uuid;

/// How many messages of one person are under way at once.
const UNDER_WAY: usize = 8;

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
pub async fn meet(server: &Server, people: usize) -> Result<Vec<Talker>> {
    let mut talkers = Vec::new();
    for n in 0..people {
        let person = server.person(&format!("talker-{n}")).await?;
        let (places, drafts, has) = (Vec::new(), VecDeque::new(), HashMap::new());
        talkers.push(Talker { person, places, drafts, sent: 0, has });
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
    Ok(talkers)
}

/// Talks until so many of its messages are acknowledged, or the connection ends, and tells the checker everything that
/// came; why it ended, where it did.
///
/// # Errors
/// The server refuses, or says what it must not.
pub async fn talk(
    talker: &mut Talker,
    mut client: Client,
    checker: &Mutex<Checker>,
    enough: usize,
) -> Result<Option<Failure>> {
    let session = {
        let mut checker = checker.lock().await;
        let session = checker.session();
        for place in client.connected["conversations"].as_array().context("conversations are listed")? {
            let last_seq = place["last_seq"].as_u64().context("`last_seq` is an integer")?;
            checker.begin(session, id(place, "id")?, last_seq);
        }
        session
    };
    let (mut under_way, mut again, mut acknowledged) = (VecDeque::new(), 0, 0);
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
                talker.acknowledged(message, &ok, &mut *checker.lock().await)?;
                again -= 1;
                acknowledged += 1;
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
    ensure!(client.kept("heads").is_empty(), "nobody is slow here, yet pushes collapsed into `heads`");
    for push in client.kept("message") {
        let seen = seen(push)?;
        talker.has.entry(seen.conversation).or_default().insert(seen.seq);
        checker.push(session, seen);
    }
    Ok(ended)
}

impl Talker {
    fn acknowledged(&mut self, message: Uuid, ok: &Value, checker: &mut Checker) -> Result<()> {
        let sent = sent(ok)?;
        checker.acknowledge(message, sent.seq);
        self.has.entry(sent.conversation).or_default().insert(sent.seq);
        self.drafts.retain(|draft| draft.client != message);
        Ok(())
    }
}

/// Settles what is open, then shows the checker all histories, each as every member sees it.
///
/// # Errors
/// The server refuses, or shows people different histories.
pub async fn finish(server: &Server, talkers: &mut [Talker], checker: &mut Checker) -> Result<()> {
    let mut shown: HashMap<Uuid, Vec<(u64, Value)>> = HashMap::new();
    for talker in talkers.iter_mut() {
        let mut client = server.session(&talker.person).await?;
        for draft in talker.drafts.drain(..) {
            let sent = client.send_as(draft.place, draft.client, &draft.body).await?;
            checker.acknowledge(draft.client, sent.seq);
        }
    }
    for talker in talkers {
        let mut client = server.session(&talker.person).await?;
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
