//! Everyone drops at once and comes back, each with messages missed, while others go on talking.
//!
//! It owns the time until all have caught up, what a session costs, and what those who stayed felt of it. Every missed
//! message is checked: each comes once, under the next number. Start with [`run`].

use super::Plan;
use crate::{
    connection::Connection,
    host::Host,
    people::{Pairs, names, user},
    process::allow_files,
    report::{Report, microseconds, milliseconds},
};
use anyhow::{Context, Result, ensure};
use futures_util::{StreamExt, TryStreamExt, stream};
use serde_json::{Value, json};
use std::{
    rc::Rc,
    time::{Duration, Instant},
};
use uuid::Uuid;

/// Messages that each misses.
const MISSED: u64 = 20;
/// How many are in one group.
const GROUP: usize = 50;
/// Pairs who stay and talk.
const STAYING: usize = 20;
const AT_ONCE: usize = 256;
/// Files that the generator has open beside its connections.
const OTHER_FILES: u64 = 400;

/// Someone who drops, and where they left off.
struct Member {
    token: String,
    conversation: Uuid,
    resume: Value,
}

/// Runs the scenario.
///
/// # Errors
/// The host refused something, or a message is missing, doubled or out of order.
pub async fn run(plan: &Plan, report: &mut Report) -> Result<()> {
    allow_files(plan.crowd as u64 + OTHER_FILES)?;
    let host = Host::start(&plan.running).await?;
    let (members, speakers) = groups(&host, plan.crowd).await?;
    let staying = Pairs::of_host(host.public, &host.admin, STAYING).await?;
    let quiet = staying_p99(&staying, plan).await?;

    for speaker in &speakers {
        for _ in 0..MISSED {
            speaker.send();
        }
        speaker.settle().await?;
    }
    let from = staying.now_us();
    let (reading, began) = (host.read().await?, Instant::now());
    let pace = async {
        let done = std::cell::Cell::new(false);
        let back = async {
            let back = stream::iter(&members).map(|member| back(&host, member, began));
            let connections: Result<Vec<_>> = back.buffer_unordered(AT_ONCE).try_collect().await;
            done.set(true);
            connections
        };
        let talk = staying.pace(plan.per_s / 4, Duration::from_secs(600), || done.get());
        let (connections, talked) = tokio::join!(back, talk);
        talked?;
        connections
    };
    let connections = pace.await?;
    let took = began.elapsed();
    let usage = host.since(&reading).await?;
    let to = staying.now_us();
    staying.settle().await?;
    let busy = staying.span(from, to).acknowledgement.value_at_quantile(0.99);

    let sessions = connections.len();
    report.figure(
        "reconnect",
        format!("{sessions} sessions resume, {MISSED} missed messages each"),
        format!(
            "all caught up after {:.1} s, {:.0} sessions/s",
            took.as_secs_f64(),
            sessions as f64 / took.as_secs_f64()
        ),
    );
    let cpu = usage.cpu_us_each(sessions as u64).map_or("unknown without `--pid`".to_owned(), microseconds);
    report.figure("reconnect", "CPU per session, the talk of others included", cpu);
    let p99 = |us| milliseconds(Duration::from_micros(us));
    let felt = format!("p99 {} before, {} meanwhile", p99(quiet), p99(busy));
    report.figure("reconnect", "those who stayed: acknowledged after", felt);
    super::judge("reconnect", &staying, report).await?;
    let checked = format!("{} missed messages, each once and in order: no fault", sessions as u64 * MISSED);
    report.figure("reconnect", "checked", checked);
    host.end().await
}

async fn staying_p99(staying: &Pairs, plan: &Plan) -> Result<u64> {
    let from = staying.now_us();
    staying.pace(plan.per_s / 4, plan.span, || false).await?;
    let to = staying.now_us();
    staying.settle().await?;
    Ok(staying.span(from, to).acknowledgement.value_at_quantile(0.99))
}

/// Members who have connected once and dropped, and one who speaks to each group.
async fn groups(host: &Host, count: usize) -> Result<(Vec<Member>, Vec<Rc<Connection>>)> {
    let began = Instant::now();
    let admin = &host.admin;
    let accounts = stream::iter(names(count + count.div_ceil(GROUP))).map(|name| user(admin, name));
    let mut accounts: Vec<_> = accounts.buffered(AT_ONCE).try_collect().await?;
    let members = accounts.split_off(count.div_ceil(GROUP));
    let made =
        stream::iter(accounts.iter().zip(members.chunks(GROUP))).map(|((_, token), some)| async move {
            let speaker = Connection::open(host.public, began).await?;
            speaker.authenticate(token).await?;
            let users: Vec<_> = some.iter().map(|(user, _)| user).collect();
            let create =
                json!({"kind": "group", "client_id": Uuid::now_v7(), "title": "Flock", "members": users});
            let made = speaker.request("create", create).await?;
            let conversation = godwit_e2e::admin::id(&made["conversation"]["id"])?;
            speaker.enter(conversation);
            let dropped = stream::iter(some).map(|(_, token)| async move {
                let connection = Connection::open(host.public, began).await?;
                let connected = connection.connect(token, Value::Null).await?;
                let resume = json!({"epoch": connected["epoch"], "cursor": connected["cursor"]});
                connection.shut();
                anyhow::Ok(Member { token: token.clone(), conversation, resume })
            });
            let dropped: Vec<_> = dropped.buffer_unordered(GROUP).try_collect().await?;
            anyhow::Ok((speaker, dropped))
        });
    let made: Vec<_> = made.buffer_unordered(4).try_collect().await?;
    let (speakers, members): (Vec<_>, Vec<_>) = made.into_iter().unzip();
    Ok((members.into_iter().flatten().collect(), speakers))
}

/// Connects again, asks for what was missed, and checks it.
async fn back(host: &Host, member: &Member, began: Instant) -> Result<Rc<Connection>> {
    let connection = Connection::open(host.public, began).await?;
    let connected = connection.connect(&member.token, member.resume.clone()).await?;
    ensure!(connected["recovered"] == json!(true), "a cursor was not taken: {connected}");
    let changed = connected["conversations"].as_array().context("conversations are a list")?;
    ensure!(changed.len() == 1, "{} conversations changed, not one", changed.len());
    let asked = json!({"conversation": member.conversation, "after_seq": 0});
    let page = connection.request("history", asked).await?;
    let messages = page["messages"].as_array().context("messages are a list")?;
    let numbers = messages.iter().filter_map(|message| message["seq"].as_u64());
    ensure!(numbers.eq(1..=MISSED), "a page of {} messages is not 1 to {MISSED}", messages.len());
    Ok(connection)
}
