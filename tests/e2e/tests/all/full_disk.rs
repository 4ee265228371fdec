//! A full disk: the server's file may not grow, then not be written at all, then all is well again.
//!
//! The system says so by the limit on the size of files, which counts for the running server alone.

use super::seqs;
use anyhow::{Context, Result, ensure};
use godwit_e2e::{
    checker::{Checker, Fingerprint, Seen, Session},
    client::{Client, Failure, sent, text},
    eventually,
    server::{Server, UNLIMITED},
};
use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;

/// It is opened anew soon, so that the test is short.
const REOPEN: &str = "\n[storage]\nreopen_after_ms = 20\nreopen_after_ms_max = 200\n";
/// A file grows by at most so much before it must have hit its limit.
const BYTES_MAX: usize = 64 << 20;
const BODY_BYTES: usize = 16_000;
const TOGETHER: usize = 32;

/// Someone who notes what became of everything.
struct Sender {
    client: Client,
    session: Session,
    place: Uuid,
    checker: Checker,
    /// What was refused, which may have happened or not.
    open: Vec<(Uuid, String)>,
}

impl Sender {
    /// Sends several at once; the codes of those that were refused.
    async fn send(&mut self, count: usize) -> Result<Vec<String>> {
        let mut under_way = Vec::new();
        for _ in 0..count {
            let client = Uuid::now_v7();
            let body = format!("{client}{}", "x".repeat(BODY_BYTES));
            let (session, place, sender) = (self.session, self.place, self.client.user);
            self.checker.attempt(session, place, sender, client, Fingerprint::of(&body));
            let request = self.client.post("send", text(place, client, &body)).await?;
            under_way.push((request, client, body));
        }
        let mut codes = Vec::new();
        for (request, client, body) in under_way {
            match self.client.reply(request).await {
                Ok(ok) => self.checker.acknowledge(client, sent(&ok)?.seq),
                Err(Failure::Refused(refusal)) => {
                    ensure!(refusal.temporary, "{refusal}");
                    codes.push(refusal.code);
                    self.open.push((client, body));
                }
                Err(other) => return Err(other.into()),
            }
        }
        Ok(codes)
    }
}

async fn ready(server: &Server) -> Result<(u16, String)> {
    let url = format!("http://{}/health/ready", server.admin.address());
    let answer = reqwest::get(url).await?;
    Ok((answer.status().as_u16(), answer.text().await?))
}

/// The size of the largest file in the data folder: the store's.
fn store_bytes(server: &Server) -> Result<u64> {
    let mut sizes = Vec::new();
    for entry in std::fs::read_dir(server.data())? {
        sizes.push(entry?.metadata()?.len());
    }
    sizes.into_iter().max().context("the data folder has files")
}

fn stored(message: &Value) -> Result<Seen> {
    let id = |field: &str| godwit_e2e::admin::id(&message[field]);
    Ok(Seen {
        conversation: id("conversation")?,
        seq: message["seq"].as_u64().context("`seq` is an integer")?,
        sender: id("sender")?,
        client: id("client_id").ok(),
        body: Fingerprint::of(message["body"].as_str().context("`body` is a string")?),
    })
}

#[tokio::test]
async fn on_a_full_disk_nothing_is_acknowledged_reads_go_on_and_room_is_all_it_takes() -> Result<()> {
    let mut server = Server::with(&format!("{UNLIMITED}{REOPEN}")).await?;
    let (ada, client) = server.join("ada").await?;
    let (ben, mut reader) = server.join("ben").await?;
    let mut checker = Checker::new();
    let session = checker.session();
    let mut sender = Sender { client, session, place: Uuid::nil(), checker, open: Vec::new() };
    sender.place = sender.client.direct(ben.id).await?;
    ensure!(sender.send(TOGETHER).await?.is_empty(), "there is room at first");

    // The file may not grow: what fits into it is taken, and then nothing.
    server.limit_file_bytes(Some(store_bytes(&server)?))?;
    let mut codes = Vec::new();
    for _ in 0..BYTES_MAX / (BODY_BYTES * TOGETHER) {
        codes = sender.send(TOGETHER).await?;
        if !codes.is_empty() {
            break;
        }
    }
    ensure!(!codes.is_empty(), "{BYTES_MAX} bytes fitted into a file that may not grow");
    let known = |code: &String| matches!(&**code, "unavailable" | "unknown_outcome");
    ensure!(codes.iter().all(known), "{codes:?}");

    // Nor may anything in it be written: so it stays, however often the server tries.
    server.limit_file_bytes(Some(0))?;
    let _ = sender.send(1).await?;
    let why = eventually("a server that is not ready", async || {
        let (status, text) = ready(&server).await?;
        Ok((status == 503).then_some(text))
    })
    .await?;
    ensure!(why.contains("read-only"), "{why}");
    assert_eq!(sender.send(3).await?, ["unavailable"; 3]);
    ensure!(ready(&server).await?.0 == 503, "it is ready while nothing can be written");
    let metrics = server.admin.metrics().await?;
    ensure!(metrics.contains("godwit_storage_read_only 1"), "the metrics do not say so");
    let (status, refused) =
        server.admin.call(Method::POST, "/admin/v1/users", Some(&json!({"name": "eve"}))).await?;
    ensure!(status == 503, "an account was made: {status} {refused}");

    // Who is here reads on, and who comes as well.
    let acknowledged = sender.checker.acknowledged() as u64;
    let shown = seqs(&reader.history(sender.place, 0).await?);
    ensure!(shown.len() as u64 >= acknowledged, "{} of {acknowledged} are shown", shown.len());
    assert_eq!(shown, Vec::from_iter(1..=shown.len() as u64));
    let mut late = server.session(&ben).await?;
    ensure!(late.connected["conversations"][0]["last_seq"].as_u64() >= Some(acknowledged));
    assert_eq!(seqs(&late.history(sender.place, 0).await?), shown);

    // There is room again: nobody has to do anything.
    server.limit_file_bytes(None)?;
    eventually("a server that is ready", async || Ok((ready(&server).await?.0 == 200).then_some(()))).await?;
    for (client, body) in std::mem::take(&mut sender.open) {
        let sent = sender.client.send_as(sender.place, client, &body).await?;
        sender.checker.acknowledge(client, sent.seq);
    }
    ensure!(sender.send(TOGETHER).await?.is_empty(), "there is room again");

    // All of it is on the disk, not in what the server remembers.
    server.kill().await?;
    server.restart().await?;
    let mut client = server.session(&ada).await?;
    for message in client.history(sender.place, 0).await? {
        sender.checker.store(stored(&message)?);
    }
    sender.checker.verdict()
}
