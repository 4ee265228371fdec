//! `kill -9` at random moments, again and again, on one data folder.
//!
//! People talk in a group and in pairs, with several messages under way; the server is killed, started again, and they
//! go on: what was not acknowledged is sent again under the same client id. In the end every number is compared, as it
//! was acknowledged, as it was pushed, and as history shows it. SIGTERM must do no more harm, so it is tried as well.
//! The moments come from a seed, which is printed; `GODWIT_SEED` repeats a run. `GODWIT_LONG=1` runs the long form:
//! 200 ends, and a million acknowledgements at least.

use anyhow::{Context, Result, ensure};
use godwit_e2e::{
    checker::{Checker, Fingerprint, Seen},
    client::{Client, Failure, sent, text},
    server::{Person, Server, UNLIMITED},
};
use serde_json::Value;
use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};
use tokio::sync::Mutex;
use uuid::Uuid;

/// How a server ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// `kill -9`.
    Kill,
    /// SIGTERM: clients are told, and what they sent is written.
    Terminate,
}

/// How long and how wide a run is.
struct Form {
    ends: u32,
    people: usize,
    /// How many messages of one person are under way at once.
    under_way: usize,
    /// How long people talk before the end, in milliseconds.
    talk_ms: std::ops::Range<u64>,
    /// How many messages must have been acknowledged for the run to mean something.
    acknowledged_min: usize,
}

impl Form {
    fn of(end: End) -> Self {
        if std::env::var_os("GODWIT_LONG").is_some() {
            return Self {
                ends: 200,
                people: 32,
                under_way: 32,
                talk_ms: 200..2_000,
                acknowledged_min: 1_000_000,
            };
        }
        let ends = if end == End::Kill { 50 } else { 8 };
        Self { ends, people: 4, under_way: 8, talk_ms: 5..250, acknowledged_min: 100 }
    }
}

/// A draining server does not wait long: nobody here goes by themselves.
const DRAIN: &str = "\n[server]\ndrain_ms = 100\n";

/// A message that is not acknowledged yet.
#[derive(Clone)]
struct Draft {
    place: Uuid,
    client: Uuid,
    body: String,
}

/// Someone who talks, over all cycles.
struct Talker {
    person: Person,
    places: Vec<Uuid>,
    /// In the order in which they were first sent.
    drafts: VecDeque<Draft>,
    sent: u64,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost_doubled_or_reordered_however_often_the_server_is_killed() -> Result<()>
{
    run(End::Kill).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nor_however_often_it_is_told_to_stop() -> Result<()> {
    run(End::Terminate).await
}

async fn run(end: End) -> Result<()> {
    let form = Form::of(end);
    let seed = match std::env::var("GODWIT_SEED") {
        Ok(seed) => seed.parse().context("GODWIT_SEED is a number")?,
        Err(_) => fastrand::u64(..),
    };
    println!("{end:?}: seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let mut server = Server::with(&format!("{UNLIMITED}{DRAIN}")).await?;
    let mut talkers = meet(&server, form.people).await?;
    let checker = Arc::new(Mutex::new(Checker::new()));
    let mut cycles_with_answers = 0;
    for cycle in 0..form.ends {
        let before = checker.lock().await.acknowledged();
        let mut talking = Vec::new();
        for talker in talkers.drain(..) {
            let client = server
                .session(&talker.person)
                .await
                .with_context(|| format!("seed {seed}, cycle {cycle}"))?;
            talking.push(tokio::spawn(talk(talker, client, form.under_way, Arc::clone(&checker))));
        }
        tokio::time::sleep(Duration::from_millis(random.u64(form.talk_ms.clone()))).await;
        match end {
            End::Kill => server.kill().await?,
            End::Terminate => ensure!(server.terminate().await?.success(), "{}", server.log()),
        }
        for talk in talking {
            talkers.push(talk.await?.with_context(|| format!("seed {seed}, cycle {cycle}"))?);
        }
        let acknowledged = checker.lock().await.acknowledged();
        cycles_with_answers += u32::from(acknowledged > before);
        if cycle % 10 == 9 {
            println!("{end:?}: {} of {} ends, {acknowledged} messages acknowledged", cycle + 1, form.ends);
        }
        server.restart().await.with_context(|| format!("seed {seed}, cycle {cycle}"))?;
    }
    let mut checker = checker.lock().await;
    finish(&server, &mut talkers, &mut checker).await.with_context(|| format!("seed {seed}"))?;
    let (acknowledged, pushed) = (checker.acknowledged(), checker.pushed());
    println!("{end:?}: {} ends, {acknowledged} messages acknowledged, {pushed} pushes", form.ends);
    ensure!(
        cycles_with_answers > form.ends / 2 && acknowledged >= form.acknowledged_min,
        "{cycles_with_answers} cycles had answers, {acknowledged} in all: too few to tell"
    );
    checker.verdict().with_context(|| format!("seed {seed}"))
}

/// A group of all, and a direct conversation of each with the next.
async fn meet(server: &Server, people: usize) -> Result<Vec<Talker>> {
    let mut talkers = Vec::new();
    for n in 0..people {
        let person = server.person(&format!("talker-{n}")).await?;
        talkers.push(Talker { person, places: Vec::new(), drafts: VecDeque::new(), sent: 0 });
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

/// Talks until the connection ends, and tells the checker everything that came.
async fn talk(
    mut talker: Talker,
    mut client: Client,
    under_way_max: usize,
    checker: Arc<Mutex<Checker>>,
) -> Result<Talker> {
    let session = {
        let mut checker = checker.lock().await;
        let session = checker.session();
        for place in client.connected["conversations"].as_array().context("conversations are listed")? {
            let last_seq = place["last_seq"].as_u64().context("`last_seq` is an integer")?;
            checker.begin(session, id(place, "id")?, last_seq);
        }
        session
    };
    let mut under_way = VecDeque::new();
    let mut again = 0;
    let failure = 'talk: loop {
        // First what an earlier connection left open, in its order, then what is new.
        while under_way.len() < under_way_max {
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
                Err(failure) => break 'talk failure,
            }
            again += 1;
        }
        let (request, message) = under_way.pop_front().context("something is under way")?;
        match client.reply(request).await {
            Ok(ok) => {
                checker.lock().await.acknowledge(message, sent(&ok)?.seq);
                talker.drafts.retain(|draft| draft.client != message);
                again -= 1;
            }
            Err(failure) => {
                under_way.push_front((request, message));
                break failure;
            }
        }
    };
    ensure!(
        matches!(failure, Failure::Closed(1006 | 3000) | Failure::Broken(_)),
        "{}: {failure}",
        talker.person.name
    );
    // What had arrived before the end counts like everything else.
    client.closed().await?;
    let mut checker = checker.lock().await;
    for (request, message) in under_way {
        if let Some(reply) = client.take_reply(request) {
            checker.acknowledge(message, sent(&reply.map_err(Failure::Refused)?)?.seq);
            talker.drafts.retain(|draft| draft.client != message);
        }
    }
    ensure!(client.kept("heads").is_empty(), "nobody is slow here, yet pushes collapsed into `heads`");
    for push in client.kept("message") {
        checker.push(session, seen(push)?);
    }
    Ok(talker)
}

/// Settles what is open, then shows the checker all histories, each as every member sees it.
async fn finish(server: &Server, talkers: &mut [Talker], checker: &mut Checker) -> Result<()> {
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
    godwit_e2e::admin::id(&object[field])
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
