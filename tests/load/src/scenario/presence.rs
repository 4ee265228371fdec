//! People who come and go, and others who watch them.
//!
//! Everyone is connected and watches so many of those with whom they share a group. Some, one of each group, come and
//! go; as many whom nobody watches do the same beside them, and what these cost is not presence. It owns the
//! comparison of the rest with bare writes of as many frames to the same number of sockets. Every push is checked: who
//! watches hears each coming and going once, in order, and nothing else. Start with [`run`].

use super::Plan;
use crate::{
    connection::Connection,
    host::{Host, Relay},
    people::{names, user},
    process::{Cpu, allow_files},
    report::{Report, median, microseconds},
};
use anyhow::{Context, Result, ensure};
use futures_util::{StreamExt, TryStreamExt, stream};
use serde_json::json;
use std::{
    net::SocketAddr,
    rc::Rc,
    time::{Duration, Instant},
};
use uuid::Uuid;

/// What a change may cost, in bare writes.
const BARE_WRITES: f64 = 1.5;
/// How many share a group, which must not be large.
const GROUP: usize = 100;
/// How many each of them watches.
const WATCHED: usize = 50;
/// How often each of those who come and go does so in a round.
const TIMES: usize = 5;
/// Between one who comes or goes and the next.
const PACE: Duration = Duration::from_millis(2);
/// Comings and goings settle sooner than they would, so that a round is short.
const SETTINGS: &str = "[presence]\nonline_after_ms = 300\noffline_after_ms = 300\n";
/// Until one that is told to nobody has settled as well.
const SETTLED: Duration = Duration::from_millis(500);
const AT_ONCE: usize = 64;
/// Files that the generator has open beside its connections.
const OTHER_FILES: u64 = 200;

struct Someone {
    id: Uuid,
    token: String,
    connection: Rc<Connection>,
}

/// Those of one group, in the order in which they watch: the first comes and goes.
struct Group {
    people: Vec<Someone>,
    /// How many of those who come after each of them they watch; none where nobody is watched.
    watched: usize,
}

/// Runs the scenario.
///
/// # Errors
/// The host refused something, or a push is missing, doubled or out of order.
pub async fn run(plan: &Plan, report: &mut Report) -> Result<()> {
    let size = GROUP.min(plan.crowd);
    let (groups, watched) = (plan.crowd / size, WATCHED.min(size - 1));
    allow_files((groups * size + groups) as u64 + OTHER_FILES)?;
    let changes = 2 * TIMES * groups;
    let floors = floors(plan.rounds, groups * size, watched, changes).await?;

    let host = Host::start_with(&plan.running, SETTINGS).await?;
    let began = Instant::now();
    let mut all = Vec::with_capacity(groups);
    for _ in 0..groups {
        all.push(Group::gather(&host, began, size, watched).await?);
    }
    // As many who are watched by nobody, in a group of the same kind.
    let mut beside = Vec::new();
    for _ in 0..groups.div_ceil(size) {
        beside.push(Group::gather(&host, began, size, 0).await?);
    }
    for group in &all {
        group.until_all_here().await?;
        group.forget();
    }
    let (mut ratios, mut costs) = (Vec::new(), Vec::new());
    for (round, floor) in floors.into_iter().enumerate() {
        let reading = host.read().await?;
        for _ in 0..TIMES {
            let unwatched = beside.iter_mut().flat_map(|group| &mut group.people).take(groups);
            let mut unwatched: Vec<_> = unwatched.collect();
            go(unwatched.iter_mut().map(|someone| &mut **someone)).await;
            tokio::time::sleep(SETTLED).await;
            come(host.public, began, unwatched.into_iter()).await?;
            tokio::time::sleep(SETTLED).await;
        }
        let without = host.since(&reading).await?.cpu;
        let reading = host.read().await?;
        for time in 0..TIMES {
            let due = 2 * (round * TIMES + time);
            go(all.iter_mut().map(Group::first)).await;
            told(&all, due + 1).await?;
            come(host.public, began, all.iter_mut().map(Group::first)).await?;
            told(&all, due + 2).await?;
        }
        let with = host.since(&reading).await?.cpu;
        if let Some((with, without)) = with.zip(without) {
            let us = |cpu: Duration| cpu.as_secs_f64() * 1e6 / changes as f64;
            // The clock of processes ticks a hundred times a second.
            let floor = us(floor.max(Duration::from_millis(10)));
            let cost = us(with.saturating_sub(without));
            ratios.push(cost / floor);
            costs.push((cost, floor));
        }
    }
    if !ratios.is_empty() {
        let listed: Vec<_> = ratios.iter().map(|ratio| format!("{ratio:.2}")).collect();
        let of = |figure: fn(&(f64, f64)) -> f64| microseconds(median(costs.iter().map(figure).collect()));
        let (cost, floor) = (of(|(cost, _)| *cost), of(|(_, floor)| *floor));
        let ratio = median(ratios);
        let measured = format!(
            "{ratio:.2} × the bare writes ({cost} against {floor} CPU per change; rounds {})",
            listed.join(", ")
        );
        let name = format!("a change, of {} people who watch {watched} each", groups * size);
        report.goal("presence", name, measured, format!("≤ {BARE_WRITES} ×"), ratio <= BARE_WRITES);
    }
    let mut pushes = 0;
    for group in &all {
        pushes += group.check(2 * TIMES * plan.rounds)?;
    }
    report.figure("presence", "checked", format!("{pushes} pushes, each change once and in order: no fault"));
    host.end().await
}

/// Processor time of bare writes of as many frames, round by round.
async fn floors(rounds: usize, sockets: usize, each: usize, changes: usize) -> Result<Vec<Duration>> {
    let relay = Relay::tell(sockets, each).await?;
    let began = Instant::now();
    let mut listeners = Vec::with_capacity(sockets);
    for _ in 0..sockets {
        listeners.push(Connection::open(relay.address, began).await?);
    }
    let speaker = Connection::open(relay.address, began).await?;
    let mut all = Vec::with_capacity(rounds);
    for round in 1..=rounds {
        let cpu = Cpu::of(relay.pid)?;
        for _ in 0..changes {
            speaker.send();
            tokio::time::sleep(PACE).await;
        }
        let due = round * changes * each;
        godwit_e2e::eventually("all that was written", || async {
            let heard: usize =
                listeners.iter().map(|listener| listener.with_record(|record| record.presence.len())).sum();
            Ok((heard >= due).then_some(()))
        })
        .await?;
        all.push(Cpu::of(relay.pid)?.since(cpu));
    }
    Ok(all)
}

async fn go(people: impl Iterator<Item = &mut Someone>) {
    for someone in people {
        someone.connection.shut();
        tokio::time::sleep(PACE).await;
    }
}

async fn come(public: SocketAddr, began: Instant, people: impl Iterator<Item = &mut Someone>) -> Result<()> {
    for someone in people {
        someone.connection = Connection::open(public, began).await?;
        someone.connection.authenticate(&someone.token).await?;
        tokio::time::sleep(PACE).await;
    }
    Ok(())
}

async fn told(groups: &[Group], times: usize) -> Result<()> {
    for group in groups {
        group.until_told(times).await?;
    }
    Ok(())
}

impl Group {
    async fn gather(host: &Host, began: Instant, size: usize, watched: usize) -> Result<Self> {
        let admin = &host.admin;
        let accounts = stream::iter(names(size)).map(|name| user(admin, name));
        let accounts: Vec<_> = accounts.buffered(AT_ONCE).try_collect().await?;
        let people = stream::iter(accounts).map(|(id, token)| async move {
            let connection = Connection::open(host.public, began).await?;
            connection.authenticate(&token).await?;
            anyhow::Ok(Someone { id, token, connection })
        });
        let people: Vec<_> = people.buffered(AT_ONCE).try_collect().await?;
        let ids: Vec<_> = people.iter().map(|someone| someone.id).collect();
        let first = people.first().context("somebody is there")?;
        let create =
            json!({"kind": "group", "client_id": Uuid::now_v7(), "title": "Watchers", "members": ids[1..]});
        first.connection.request("create", create).await?;
        let group = Self { people, watched };
        if watched > 0 {
            for index in 0..size {
                let users: Vec<_> = group.whom(index).collect();
                group.people[index].connection.request("watch", json!({"users": users})).await?;
            }
        }
        Ok(group)
    }

    /// Whom that one watches.
    fn whom(&self, index: usize) -> impl Iterator<Item = Uuid> {
        (1..=self.watched).map(move |next| self.people[(index + next) % self.people.len()].id)
    }

    fn first(&mut self) -> &mut Someone {
        &mut self.people[0]
    }

    /// Those who watch the first.
    fn watchers(&self) -> impl Iterator<Item = &Someone> {
        let size = self.people.len();
        (1..=self.watched).map(move |before| &self.people[size - before])
    }

    /// Those who watch the first have heard of them that often.
    async fn until_told(&self, times: usize) -> Result<()> {
        for listener in self.watchers() {
            godwit_e2e::eventually("a change of presence", || async {
                if let Some(ended) = listener.connection.ended() {
                    anyhow::bail!("a connection ended: {ended}");
                }
                Ok((listener.connection.with_record(|record| record.presence.len()) >= times).then_some(()))
            })
            .await?;
        }
        Ok(())
    }

    /// Everyone sees everyone whom they watch.
    async fn until_all_here(&self) -> Result<()> {
        for (index, someone) in self.people.iter().enumerate() {
            let users: Vec<_> = self.whom(index).collect();
            godwit_e2e::eventually("everyone to be here", || async {
                let asked = someone.connection.request("presence", json!({"users": users})).await?;
                let all = asked["presence"].as_array().context("presence is a list")?;
                Ok(all.iter().all(|one| one["online"] == true).then_some(()))
            })
            .await?;
        }
        Ok(())
    }

    fn forget(&self) {
        self.people.iter().for_each(|someone| drop(someone.connection.take_record()));
    }

    /// Whether who watches the first heard of each change once, going before coming, and everyone else of nothing; how
    /// many pushes that were.
    fn check(&self, changes: usize) -> Result<usize> {
        let first = self.people[0].id;
        let expected: Vec<_> = (0..changes).map(|n| (first, n % 2 == 1)).collect();
        let size = self.people.len();
        for (index, someone) in self.people.iter().enumerate().skip(1) {
            let watches = index + self.watched >= size;
            someone.connection.with_record(|record| {
                let fits = if watches { record.presence == expected } else { record.presence.is_empty() };
                let (heard, due) = (record.presence.len(), if watches { changes } else { 0 });
                ensure!(fits, "one who was to hear of {due} changes in order heard {heard}");
                Ok(())
            })?;
        }
        Ok(changes * self.watched)
    }
}
