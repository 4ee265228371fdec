//! Pairs of people, each with a connection, and what became of their messages.
//!
//! It owns the setting up of pairs against the host or the relay, the two ways of driving them (a closed loop, or a
//! pace), and the handing over of all records to the checker. It refuses to know what is measured.
//! Start with [`Pairs::of_host`].

use crate::{
    connection::{Connection, Record},
    message::{Body, split},
    report,
};
use anyhow::{Context, Result, ensure};
use futures_util::{StreamExt, TryStreamExt, stream};
use godwit_e2e::{
    admin::{Admin, id},
    checker::{Checker, Fingerprint, Seen},
};
use hdrhistogram::Histogram;
use serde_json::{Value, json};
use std::{
    net::SocketAddr,
    rc::Rc,
    time::{Duration, Instant},
};
use tokio::time::{MissedTickBehavior, interval};
use uuid::Uuid;

/// How many accounts, connections or pages are asked for at once.
const AT_ONCE: usize = 64;
const PACE: Duration = Duration::from_millis(1);

/// One of a pair.
pub struct Person {
    /// Who.
    pub user: Uuid,
    /// Their connection.
    pub connection: Rc<Connection>,
}

/// Two people and their conversation.
pub struct Pair {
    /// Where they talk.
    pub conversation: Uuid,
    /// Who talks.
    pub people: [Person; 2],
}

/// All pairs of a run.
pub struct Pairs {
    /// The pairs.
    pub pairs: Vec<Pair>,
}

/// What a span of a run came to.
#[derive(Debug)]
pub struct Span {
    /// Messages that were acknowledged.
    pub acknowledged: u64,
    /// How long it took.
    pub took: Duration,
    /// From sending to the acknowledgement, in microseconds.
    pub acknowledgement: Histogram<u64>,
    /// From sending to the peer's push, in microseconds.
    pub delivery: Histogram<u64>,
}

/// A message as history shows it, with what plugins put before its body.
#[derive(Debug)]
pub struct Stored {
    /// Where.
    pub conversation: Uuid,
    /// Its number.
    pub seq: u64,
    /// What stands before the body, without the space.
    pub marker: String,
}

/// A user with a minted token.
///
/// # Errors
/// The admin API refuses.
pub async fn user(admin: &Admin, name: String) -> Result<(Uuid, String)> {
    let user = admin.create_user(&name, None).await?;
    Ok((user, admin.mint(user, Some(86_400)).await?))
}

/// Names that no earlier run on the same host has used.
pub fn names(count: usize) -> impl Iterator<Item = String> {
    let run = &Uuid::new_v4().simple().to_string()[..8];
    let run = run.to_owned();
    (0..count).map(move |n| format!("load-{run}-{n}"))
}

impl Pairs {
    /// That many pairs of new users, connected and introduced to one another.
    ///
    /// # Errors
    /// The host refuses.
    pub async fn of_host(public: SocketAddr, admin: &Admin, count: usize) -> Result<Self> {
        let began = Instant::now();
        let people = stream::iter(names(2 * count)).map(|name| async move {
            let (user, token) = user(admin, name).await?;
            let connection = Connection::open(public, began).await?;
            ensure!(connection.authenticate(&token).await? == user, "the host took one user for another");
            anyhow::Ok(Person { user, connection })
        });
        let people: Vec<_> = people.buffered(AT_ONCE).try_collect().await?;
        let mut people = people.into_iter();
        let two = std::iter::from_fn(|| Some([people.next()?, people.next()?]));
        let pairs = stream::iter(two.collect::<Vec<_>>()).map(|people| async move {
            let direct = json!({"user": people[1].user});
            let made = people[0].connection.request("direct", direct).await?;
            let conversation = id(&made["conversation"]["id"])?;
            for person in &people {
                person.connection.enter(conversation);
            }
            anyhow::Ok(Pair { conversation, people })
        });
        Ok(Self { pairs: pairs.buffered(AT_ONCE).try_collect().await? })
    }

    /// That many pairs at the relay.
    ///
    /// # Errors
    /// The relay refuses.
    pub async fn of_relay(relay: SocketAddr, count: usize) -> Result<Self> {
        let began = Instant::now();
        let mut pairs = Vec::with_capacity(count);
        for _ in 0..count {
            let conversation = Uuid::new_v4();
            let mut people = Vec::with_capacity(2);
            for side in 0..2 {
                let connection = Connection::open(relay, began).await?;
                connection.name(conversation);
                connection.enter(conversation);
                people.push(Person { user: Uuid::from_u128(side), connection });
            }
            let people = people.try_into().ok().context("a pair is two")?;
            pairs.push(Pair { conversation, people });
        }
        Ok(Self { pairs })
    }

    fn connections(&self) -> impl Iterator<Item = &Rc<Connection>> {
        self.pairs.iter().flat_map(|pair| &pair.people).map(|person| &person.connection)
    }

    /// Everyone sends again as soon as they are answered.
    pub fn start_loop(&self) {
        self.connections().for_each(|connection| connection.start_loop());
    }

    /// Sends that many messages per second, spread evenly over everyone, for that long or until `stop`.
    ///
    /// # Errors
    /// A connection ended.
    pub async fn pace(&self, per_s: u64, span: Duration, stop: impl Fn() -> bool) -> Result<()> {
        let everyone: Vec<_> = self.connections().collect();
        let mut turns = everyone.iter().cycle();
        let (began, mut sent) = (Instant::now(), 0);
        let mut ticks = interval(PACE);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        while began.elapsed() < span && !stop() {
            ticks.tick().await;
            let due = (began.elapsed().as_micros() as u64) * per_s / 1_000_000;
            for connection in turns.by_ref().take(usize::try_from(due - sent)?) {
                if let Some(ended) = connection.ended() {
                    anyhow::bail!("a connection ended: {ended}");
                }
                connection.send();
            }
            sent = due;
        }
        Ok(())
    }

    /// Waits until everything sent is answered and pushed; no more is sent.
    ///
    /// # Errors
    /// A connection ended, or answers or pushes do not come.
    pub async fn settle(&self) -> Result<()> {
        // All at once: one after the other, each would wait behind what the rest go on sending.
        self.connections().for_each(|connection| connection.stop_loop());
        for connection in self.connections() {
            connection.settle().await?;
        }
        for pair in &self.pairs {
            for (from, to) in [(0, 1), (1, 0)] {
                let accepted =
                    |record: &Record| record.attempts.iter().filter(|a| a.acknowledged.is_some()).count();
                let due = pair.people[from].connection.with_record(accepted);
                let reader = &pair.people[to].connection;
                let what = format!("{due} pushes in {}", pair.conversation);
                godwit_e2e::eventually(&what, || async {
                    if let Some(ended) = reader.ended() {
                        anyhow::bail!("a connection ended: {ended}");
                    }
                    Ok((reader.with_record(|record| record.pushes.len()) >= due).then_some(()))
                })
                .await?;
            }
        }
        Ok(())
    }

    /// What was acknowledged and pushed between two times of the run.
    pub fn span(&self, from_us: u64, to_us: u64) -> Span {
        let (mut acknowledgement, mut delivery) = (report::histogram(), report::histogram());
        let within = |us: u64| (from_us..to_us).contains(&us);
        for connection in self.connections() {
            connection.with_record(|record| {
                for attempt in &record.attempts {
                    if let Some((_, at_us)) = attempt.acknowledged.filter(|(_, at_us)| within(*at_us)) {
                        acknowledgement.saturating_record(at_us - attempt.body.sent_us);
                    }
                }
                for push in record.pushes.iter().filter(|push| within(push.came_us)) {
                    delivery.saturating_record(push.came_us - push.sent_us);
                }
            });
        }
        let took = Duration::from_micros(to_us - from_us);
        Span { acknowledged: acknowledgement.len(), took, acknowledgement, delivery }
    }

    /// The present time of the run, in microseconds.
    pub fn now_us(&self) -> u64 {
        self.connections().next().map_or(0, |connection| connection.now_us())
    }

    /// Drops all records: nobody will judge them.
    pub fn forget(&self) {
        self.connections().for_each(|connection| drop(connection.take_record()));
    }

    /// Hands everything that was sent, answered and pushed to a checker, with what history shows now.
    ///
    /// # Errors
    /// History cannot be read, or a message was refused.
    pub async fn judge(&self) -> Result<(Checker, Vec<Stored>)> {
        let mut checker = Checker::new();
        for pair in &self.pairs {
            for person in &pair.people {
                let session = checker.session();
                checker.begin(session, pair.conversation, 0);
                let record = person.connection.take_record();
                ensure!(record.refusals.is_empty(), "messages were refused: {}", record.refusals.join(", "));
                for attempt in &record.attempts {
                    let body = Fingerprint::of(&attempt.body.text());
                    checker.attempt(session, pair.conversation, person.user, attempt.body.client, body);
                    if let Some((seq, _)) = attempt.acknowledged {
                        checker.acknowledge(attempt.body.client, seq);
                    }
                }
                for push in &record.pushes {
                    let (conversation, seq, sender, body) =
                        (push.conversation, push.seq, push.sender, push.body);
                    checker.push(session, Seen { conversation, seq, sender, client: None, body });
                }
            }
        }
        let mut stored = Vec::new();
        let mut histories = stream::iter(&self.pairs).map(history).buffer_unordered(AT_ONCE);
        while let Some(messages) = histories.try_next().await? {
            for (seen, marker) in messages {
                checker.store(seen);
                stored.push(Stored { conversation: seen.conversation, seq: seen.seq, marker });
            }
        }
        Ok((checker, stored))
    }
}

async fn history(pair: &Pair) -> Result<Vec<(Seen, String)>> {
    let (mut all, mut after) = (Vec::new(), 0);
    loop {
        let asked = json!({"conversation": pair.conversation, "after_seq": after, "limit": 200});
        let page = pair.people[0].connection.request("history", asked).await?;
        for message in page["messages"].as_array().context("messages are a list")? {
            let (seen, marker) = stored(message)?;
            after = seen.seq;
            all.push((seen, marker));
        }
        if page["more"] != json!(true) {
            return Ok(all);
        }
    }
}

fn stored(message: &Value) -> Result<(Seen, String)> {
    let text = message["body"].as_str().context("a body is a string")?;
    let (marker, body) = split(text).with_context(|| format!("`{text}` is no body of a run"))?;
    let seen = Seen {
        conversation: id(&message["conversation"])?,
        seq: message["seq"].as_u64().context("a number is an integer")?,
        sender: id(&message["sender"])?,
        // One reader is not shown the other's client ids, but each body carries its own.
        client: Some(Body::client_in(body).context("a body names its client id")?),
        body: Fingerprint::of(body),
    };
    Ok((seen, marker.trim_end().to_owned()))
}
