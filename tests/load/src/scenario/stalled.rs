//! As many who stop reading as others talk: what the others feel of it, and what it comes to for those who stalled.
//!
//! It owns the comparison of runs with them and without, by turns. Someone speaks at a pace into the group of those who
//! stall in both, so that their connections alone make the difference. Each of them must be closed as a slow consumer,
//! and resume with every message that it missed, once and in order. Start with [`run`].

use super::Plan;
use crate::{
    connection::Connection,
    host::Host,
    metrics,
    people::{Pairs, names, user},
    process::{allow_files, memory_bytes},
    report::{Report, median, milliseconds},
};
use anyhow::{Context, Result, ensure};
use futures_util::{StreamExt, TryStreamExt, stream};
use serde_json::{Value, json};
use std::{
    cell::Cell,
    rc::Rc,
    time::{Duration, Instant},
};
use tokio::time::{MissedTickBehavior, interval};
use uuid::Uuid;

/// How much longer a delivery may take beside those who stall.
const BESIDE: f64 = 1.25;
/// How many pairs of runs the full form has, at least.
const ROUNDS_MIN: usize = 5;
/// What is said to those who stall: enough, within a second, for more than the host keeps for them.
const BODY_BYTES: usize = 15_000;
const SPOKEN_PER_S: u64 = 50;
/// What the host keeps for each, in bytes, where it is ours.
const OUTBOX_BYTES_MAX: u64 = 256 << 10;
/// How long the last of them may take to be closed.
const CLOSED_WITHIN: Duration = Duration::from_secs(60);
/// The close code of a slow consumer.
const SLOW_CONSUMER: u16 = 3001;
/// How many one `invite` names.
const INVITED: usize = 500;
const AT_ONCE: usize = 64;
/// Files that the generator has open beside its connections.
const OTHER_FILES: u64 = 400;

/// A group of people who will stall, and the one who speaks there.
struct Group {
    conversation: Uuid,
    speaker: Rc<Connection>,
    tokens: Vec<String>,
    /// How many messages there are.
    spoken: Cell<u64>,
}

/// Someone who stalls, and where they left off.
struct Stalled {
    connection: Rc<Connection>,
    token: String,
    resume: Value,
    has: u64,
}

/// Runs the scenario.
///
/// # Errors
/// The host refused something, kept one of those who stall, or a message is missing, doubled or out of order.
pub async fn run(plan: &Plan, report: &mut Report) -> Result<()> {
    let count = plan.connections;
    allow_files(2 * count as u64 + OTHER_FILES)?;
    let settings = format!("\n[gateway]\noutbox_bytes_max = {OUTBOX_BYTES_MAX}\n");
    let host = Host::start_with(&plan.running, &settings).await?;
    let live = Pairs::of_host(host.public, &host.admin, plan.pairs()).await?;
    let group = Group::new(&host, count).await?;
    live.pace(plan.per_s, plan.warm_up, || false).await?;

    let rounds = if plan.rounds == 1 { 1 } else { plan.rounds.max(ROUNDS_MIN) };
    let (mut without, mut with, mut more) = (Vec::new(), Vec::new(), Vec::new());
    let (mut closed, mut missed) = (0, 0);
    for _ in 0..rounds {
        without.push(group.p99(&live, plan).await?);
        let before = host.pid.map(memory_bytes).transpose()?;
        let stalled = group.stall(&host).await?;
        let closes = closes(&host).await?;
        with.push(group.p99(&live, plan).await?);
        if let (Some(before), Some(pid)) = (before, host.pid) {
            let grown = memory_bytes(pid)?.saturating_sub(before);
            more.push(grown as f64 / 1024.0 / count as f64);
        }
        group.speak_until_closed(&host, closes + count as u64).await?;
        closed += count;
        let back = stream::iter(&stalled).map(|one| group.back(&host, one)).buffer_unordered(AT_ONCE);
        missed += back.try_fold(0, |sum, some| async move { Ok(sum + some) }).await?;
    }
    tell(report, count, &without, &with, more);
    let done =
        format!("{closed} closed with {SLOW_CONSUMER}, {missed} missed messages, each once and in order");
    report.figure("stalled", "those who stalled", done);
    super::judge("stalled", &live, report).await?;
    host.end().await
}

fn tell(report: &mut Report, count: usize, without: &[f64], with: &[f64], more: Vec<f64>) {
    let ratios: Vec<_> = with.iter().zip(without).map(|(with, without)| with / without).collect();
    let all: Vec<_> = ratios.iter().map(|ratio| format!("{ratio:.2}")).collect();
    let spread = |figures: &[f64]| {
        let (low, high) = figures.iter().fold((f64::MAX, 0_f64), |(l, h), f| (l.min(*f), h.max(*f)));
        let ms = |us: f64| milliseconds(Duration::from_secs_f64(us / 1e6));
        format!("{} ({} to {})", ms(median(figures.to_vec())), ms(low), ms(high))
    };
    let ratio = median(ratios);
    let measured = format!(
        "{ratio:.2} × (rounds {}); p99 {} with, {} without",
        all.join(", "),
        spread(with),
        spread(without)
    );
    let name = format!("deliveries beside {count} stalled readers");
    report.goal("stalled", name, measured, format!("≤ {BESIDE} ×"), ratio <= BESIDE);
    if !more.is_empty() {
        let most = more.into_iter().fold(0_f64, f64::max);
        report.figure("stalled", "memory for each of them", format!("{most:.0} KiB at most"));
    }
}

/// How many sessions the host closed as slow consumers so far.
async fn closes(host: &Host) -> Result<u64> {
    metrics::counter(
        &host.admin.metrics().await?,
        &format!("godwit_closes_total{{code=\"{SLOW_CONSUMER}\"}}"),
    )
}

impl Group {
    async fn new(host: &Host, count: usize) -> Result<Self> {
        let admin = &host.admin;
        let accounts = stream::iter(names(count + 1)).map(|name| user(admin, name));
        let mut accounts: Vec<_> = accounts.buffered(AT_ONCE).try_collect().await?;
        let (_, token) = accounts.pop().context("somebody speaks")?;
        let speaker = Connection::open(host.public, Instant::now()).await?;
        speaker.authenticate(&token).await?;
        let create = json!({"kind": "group", "client_id": Uuid::now_v7(), "title": "Stalled"});
        let made = speaker.request("create", create).await?;
        let conversation = godwit_e2e::admin::id(&made["conversation"]["id"])?;
        for some in accounts.chunks(INVITED) {
            let users: Vec<_> = some.iter().map(|(user, _)| user).collect();
            speaker.request("invite", json!({"conversation": conversation, "users": users})).await?;
        }
        let tokens = accounts.into_iter().map(|(_, token)| token).collect();
        Ok(Self { conversation, speaker, tokens, spoken: Cell::new(0) })
    }

    /// Everyone connects, and reads no more.
    async fn stall(&self, host: &Host) -> Result<Vec<Stalled>> {
        let has = self.spoken.get();
        let all = stream::iter(&self.tokens).map(|token| async move {
            let connection = Connection::open_narrow(host.public, Instant::now()).await?;
            let connected = connection.connect(token, Value::Null).await?;
            connection.stall();
            let resume = json!({"epoch": connected["epoch"], "cursor": connected["cursor"]});
            anyhow::Ok(Stalled { connection, token: token.clone(), resume, has })
        });
        all.buffer_unordered(AT_ONCE).try_collect().await
    }

    async fn speak(&self) -> Result<()> {
        let (client, body) = (Uuid::now_v7(), "x".repeat(BODY_BYTES));
        let send = json!({"conversation": self.conversation, "client_id": client, "body": body});
        let sent = self.speaker.request("send", send).await?;
        self.spoken.set(self.spoken.get() + 1);
        ensure!(sent["seq"] == json!(self.spoken.get()), "{sent} is not the next number");
        Ok(())
    }

    /// Speaks at a pace until `stop`.
    async fn speak_on(&self, stop: impl Fn() -> bool) -> Result<()> {
        let mut ticks = interval(Duration::from_millis(1000 / SPOKEN_PER_S));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        while !stop() {
            ticks.tick().await;
            self.speak().await?;
        }
        Ok(())
    }

    /// How long deliveries of the live take, at the 99th percentile, while somebody speaks here, in microseconds.
    async fn p99(&self, live: &Pairs, plan: &Plan) -> Result<f64> {
        let done = Cell::new(false);
        let from = live.now_us();
        let talk = async {
            let talked = live.pace(plan.per_s, plan.span, || false).await;
            done.set(true);
            talked
        };
        let (talked, spoken) = tokio::join!(talk, self.speak_on(|| done.get()));
        talked?;
        spoken?;
        let to = live.now_us();
        live.settle().await?;
        Ok(live.span(from, to).delivery.value_at_quantile(0.99) as f64)
    }

    /// Speaks until that many were closed in all.
    async fn speak_until_closed(&self, host: &Host, due: u64) -> Result<()> {
        let began = Instant::now();
        loop {
            let closed = closes(host).await?;
            if closed >= due {
                return Ok(());
            }
            ensure!(
                began.elapsed() < CLOSED_WITHIN,
                "{} of those who stall are kept after {CLOSED_WITHIN:?}",
                due - closed
            );
            for _ in 0..SPOKEN_PER_S / 10 {
                self.speak().await?;
            }
        }
    }

    /// Connects again, asks for what was missed, and checks it; how many messages that were.
    async fn back(&self, host: &Host, stalled: &Stalled) -> Result<u64> {
        stalled.connection.shut();
        let last = self.spoken.get();
        let connection = Connection::open(host.public, Instant::now()).await?;
        let connected = connection.connect(&stalled.token, stalled.resume.clone()).await?;
        ensure!(connected["recovered"] == json!(true), "a cursor was not taken: {connected}");
        let shown = &connected["conversations"][0];
        ensure!(shown["last_seq"] == json!(last), "the group stands at {}, not {last}", shown["last_seq"]);
        let mut has = stalled.has;
        while has < last {
            let asked = json!({"conversation": self.conversation, "after_seq": has, "limit": 200});
            let page = connection.request("history", asked).await?;
            let messages = page["messages"].as_array().context("messages are a list")?;
            ensure!(!messages.is_empty(), "history ends at {has}, the group stands at {last}");
            for message in messages {
                has += 1;
                ensure!(message["seq"] == json!(has), "{} comes in place of {has}", message["seq"]);
            }
        }
        connection.shut();
        Ok(last - stalled.has)
    }
}
