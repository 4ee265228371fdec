//! Versions that are swapped while people talk, on a host that is killed in the midst.
//!
//! Each version of the filter writes its number before every text, so that a message shows what judged it; the host's
//! trace says what it believes judged it. A bot is swapped beside it, and what it wrote into its `kv` must be there in
//! the end. The moments come from a seed, which is printed; `GODWIT_SEED` repeats a run. `GODWIT_LONG=1` makes a
//! thousand swaps and forty kills.

use anyhow::{Context, Result, bail, ensure};
use futures_util::{StreamExt, TryStreamExt, stream};
use godwit_e2e::{
    admin::{Admin, Install, expect},
    client::{Client, Failure, sent, text},
    eventually,
    server::{Person, Server, UNLIMITED},
};
use godwit_fixtures::{ACTOR, FIXTURE};
use reqwest::Method;
use serde_json::{Value, json};
use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};
use uuid::Uuid;

/// A busy machine is no fault of a plugin, and nobody goes by themselves when the host stops.
const SETTINGS: &str = "\n[plugins]\ncall_cpu_ms = 2000\nchain_cpu_ms = 8000\ncall_wall_ms = 20000\n";
const BOT: &str = "fixture-actor";
const PEOPLE: usize = 4;
const TRACES_AT_ONCE: usize = 32;

/// Swaps and kills of a run.
fn form() -> (u32, u32) {
    if std::env::var_os("GODWIT_LONG").is_some() { (1_000, 40) } else { (24, 4) }
}

fn version(manifest: &str, n: u32) -> String {
    manifest.replace("version = \"0.1.0\"", &format!("version = \"0.{n}.0\""))
}

/// The filter in its `n`th version.
fn filter(n: u32) -> Install {
    let config = json!({"normalise": {"mode": "stamp", "marker": format!("0.{n}.0")}});
    Install {
        id: "fixture".to_owned(),
        manifest: version(&godwit_fixtures::manifest(FIXTURE), n),
        component: godwit_fixtures::component(FIXTURE),
        config: Some(config),
        ..Install::default()
    }
}

/// The bot in its `n`th version.
fn bot(n: u32) -> Install {
    let manifest = godwit_fixtures::manifest(ACTOR);
    let untested = manifest.split("[[test]]").next().unwrap_or_default();
    Install {
        id: BOT.to_owned(),
        manifest: version(untested, n),
        component: godwit_fixtures::component(ACTOR),
        grants: ["kv", "send", "history", "members", "timer", "secret", "http"].map(str::to_owned).to_vec(),
        ..Install::default()
    }
}

/// Someone who says one thing after the other, and each until it is acknowledged.
struct Talker {
    person: Person,
    place: Uuid,
    said: u64,
    /// What is not acknowledged yet.
    open: Option<(Uuid, String)>,
    acknowledged: HashMap<String, u64>,
}

/// Whether the connection is over, which is what kills are for; anything else is a fault.
fn over(failure: &Failure) -> bool {
    matches!(failure, Failure::Closed(_) | Failure::Broken(_))
}

impl Talker {
    async fn talk(mut self, mut client: Client) -> Result<Self> {
        loop {
            let (id, body) = match self.open.take() {
                Some(open) => open,
                None => {
                    self.said += 1;
                    (Uuid::now_v7(), format!("{} {}", self.person.name, self.said))
                }
            };
            match client.request("send", text(self.place, id, &body)).await {
                Ok(ok) => {
                    let seq = sent(&ok)?.seq;
                    let known = self.acknowledged.insert(body.clone(), seq);
                    ensure!(known.is_none(), "`{body}` was acknowledged twice");
                }
                Err(failure) if over(&failure) => {
                    self.open = Some((id, body));
                    return Ok(self);
                }
                Err(failure) => bail!("{body}: {failure}"),
            }
        }
    }
}

/// Someone who lets the bot write into its `kv`.
struct Keeper {
    person: Person,
    place: Uuid,
    /// Keys that it said it wrote.
    kept: Vec<String>,
    asked: u32,
}

impl Keeper {
    async fn keep(mut self, mut client: Client) -> Result<Self> {
        loop {
            self.asked += 1;
            let key = format!("kept/{}", self.asked);
            match self.steps(&mut client, json!([{ "set": [key, "here"] }])).await {
                Ok(told) => {
                    ensure!(told["reply"]["body"] == json!("[\"ok\"]"), "{told}");
                    self.kept.push(key);
                }
                Err(failure) if over(&failure) => return Ok(self),
                // While its version changes a command may find nobody.
                Err(Failure::Refused(refusal)) if refusal.temporary => {}
                Err(failure) => bail!("{key}: {failure}"),
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    async fn steps(&self, client: &mut Client, steps: Value) -> Result<Value, Failure> {
        let arguments = json!({ "steps": steps.to_string() });
        let payload = json!({"conversation": self.place, "client_id": Uuid::now_v7(), "name": "do", "arguments": arguments});
        client.request("command", payload).await
    }
}

/// Swaps one version after the other until it is dropped; the next one.
async fn swap(admin: Admin, next: &std::sync::atomic::AtomicU32) -> Result<()> {
    use std::sync::atomic::Ordering::SeqCst;
    loop {
        let n = next.load(SeqCst);
        admin.installed(filter(n)).await?;
        if n.is_multiple_of(4) {
            admin.installed(bot(n)).await?;
        }
        next.store(n + 1, SeqCst);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_message_is_judged_by_the_version_that_it_says_however_often_that_is_swapped_and_killed()
-> Result<()> {
    let (swaps, kills) = form();
    let seed = match std::env::var("GODWIT_SEED") {
        Ok(seed) => seed.parse().context("GODWIT_SEED is a number")?,
        Err(_) => fastrand::u64(..),
    };
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let mut server = Server::with(&format!("{UNLIMITED}{SETTINGS}")).await?;
    server.admin.installed(filter(0)).await?;
    server.admin.installed(bot(0)).await?;
    let (mut talkers, mut keeper) = meet(&server).await?;
    let next = std::sync::atomic::AtomicU32::new(1);
    let mut killed = 0;
    while killed < kills || next.load(std::sync::atomic::Ordering::SeqCst) <= swaps {
        let mut talking = Vec::new();
        for talker in talkers.drain(..) {
            let client = server.session(&talker.person).await?;
            talking.push(tokio::spawn(talker.talk(client)));
        }
        let client = server.session(&keeper.person).await?;
        let keeping = tokio::spawn(keeper.keep(client));
        let share = u64::from(swaps / kills.max(1));
        let span = Duration::from_millis(random.u64(20..=120 * share.max(4)));
        // Mostly in the midst of a swap.
        match tokio::time::timeout(span, swap(server.admin.clone(), &next)).await {
            Ok(failed) => failed.with_context(|| format!("seed {seed}"))?,
            Err(_) => killed += 1,
        }
        server.kill().await?;
        for talk in talking {
            talkers.push(talk.await?.with_context(|| format!("seed {seed}"))?);
        }
        keeper = keeping.await?.with_context(|| format!("seed {seed}"))?;
        server.restart().await?;
    }
    println!("{} swaps, {killed} kills", next.into_inner() - 1);
    let versions = check(&server, talkers).await.with_context(|| format!("seed {seed}"))?;
    ensure!(versions >= 3, "messages of {versions} versions: too few to tell");
    check_kept(&server, &keeper).await.with_context(|| format!("seed {seed}"))
}

/// People in pairs, and one with the bot.
async fn meet(server: &Server) -> Result<(Vec<Talker>, Keeper)> {
    let mut talkers = Vec::new();
    for n in 0..PEOPLE {
        let person = server.person(&format!("talker-{n}")).await?;
        let place = server.session(&person).await?.group("Room", &[]).await?;
        talkers.push(Talker { person, place, said: 0, open: None, acknowledged: HashMap::new() });
    }
    let bot = eventually("the bot at work", async || {
        let path = format!("/admin/v1/plugins/{BOT}");
        let status = expect(server.admin.call(Method::GET, &path, None).await?, 200)?;
        Ok(status["at_work"]["user"].as_str().map(str::to_owned))
    });
    let bot = bot.await?.parse()?;
    let person = server.person("keeper").await?;
    let place = server.session(&person).await?.group("Archive", &[bot]).await?;
    Ok((talkers, Keeper { person, place, kept: Vec::new(), asked: 0 }))
}

/// Everything that was acknowledged is there once, under its number, and says by which version it was judged; of how
/// many versions there are messages.
async fn check(server: &Server, talkers: Vec<Talker>) -> Result<usize> {
    let mut stored = Vec::new();
    for mut talker in talkers {
        let mut client = server.session(&talker.person).await?;
        if let Some((id, body)) = talker.open.take() {
            let seq = client.send_as(talker.place, id, &body).await?.seq;
            talker.acknowledged.insert(body, seq);
        }
        let mut found = HashSet::new();
        let history = client.history(talker.place, 0).await?;
        for (message, expected) in history.iter().zip(1..) {
            let (seq, body) = (message["seq"].as_u64().context("a number")?, message["body"].as_str());
            ensure!(seq == expected, "message {seq} stands where {expected} should");
            let (marker, said) =
                body.and_then(|body| body.split_once(' ')).context("a text with a marker")?;
            ensure!(talker.acknowledged.get(said) == Some(&seq), "`{said}` has the number {seq}");
            ensure!(found.insert(said.to_owned()), "`{said}` is there twice");
            stored.push((talker.place, seq, marker.to_owned()));
        }
        ensure!(found.len() == talker.acknowledged.len(), "{} of {}", found.len(), talker.acknowledged.len());
    }
    let admin = &server.admin;
    let traces = stream::iter(&stored).map(|(place, seq, marker)| async move {
        let trace = admin.trace(*place, *seq).await?;
        let steps = trace["plugins"].as_array().context("a trace lists plugins")?;
        let judged = steps.iter().filter(|step| step["id"] == "fixture");
        let versions: HashSet<_> = judged.filter_map(|step| step["version"].as_str()).collect();
        ensure!(versions == HashSet::from([marker.as_str()]), "{place} {seq} says `{marker}`: {trace}");
        Ok((*place, *seq, trace["generation"].as_u64().context("a generation")?, marker.clone()))
    });
    let mut judged: Vec<_> = traces.buffer_unordered(TRACES_AT_ONCE).try_collect().await?;
    judged.sort();
    // A generation is of one version, and a sender who waits for each answer never goes back to an older one.
    let mut of = HashMap::new();
    for (place, seq, generation, marker) in &judged {
        let before = of.entry(*generation).or_insert(marker);
        ensure!(
            *before == marker,
            "generation {generation} is of {before} and, at {place} {seq}, of {marker}"
        );
    }
    for pair in judged.windows(2) {
        let [(one, _, before, _), (other, seq, after, _)] = pair else { bail!("two") };
        ensure!(one != other || before <= after, "{other} {seq} went back from {before} to {after}");
    }
    let versions: HashSet<_> = judged.iter().map(|(.., marker)| marker).collect();
    println!("{} messages of {} versions", judged.len(), versions.len());
    Ok(versions.len())
}

/// What the bot said it wrote is in its `kv`.
async fn check_kept(server: &Server, keeper: &Keeper) -> Result<()> {
    let mut client = server.session(&keeper.person).await?;
    ensure!(!keeper.kept.is_empty(), "it wrote nothing");
    for keys in keeper.kept.chunks(40) {
        let steps = keys.iter().map(|key| json!({ "get": key })).collect();
        let told = eventually("the bot's answer", async || {
            match keeper.steps(&mut client, Value::clone(&steps)).await {
                Ok(told) => Ok(Some(told)),
                Err(Failure::Refused(refusal)) if refusal.temporary => Ok(None),
                Err(failure) => Err(failure.into()),
            }
        })
        .await?;
        let told: Vec<Option<String>> =
            serde_json::from_str(told["reply"]["body"].as_str().context("a reply")?)?;
        for (key, value) in keys.iter().zip(told) {
            ensure!(value.as_deref() == Some("here"), "{key} is {value:?}");
        }
    }
    println!("{} keys kept", keeper.kept.len());
    Ok(())
}
