//! What a block does, held against the page that says so.

use super::list;
use anyhow::{Context, Result};
use godwit_e2e::{
    client::Client,
    server::{Person, Server},
};
use serde_json::{Value, json};
use std::time::Duration;
use uuid::Uuid;

/// What each of the two is answered, once one blocks the other.
const PAGE: &str = include_str!("../../../../host/protocol/BLOCKS.md");

/// Ada blocks ben. They had a direct conversation, in which each said something, and are in a group.
struct Scene {
    direct: Uuid,
    common: Uuid,
    /// A group of each, in which the other is not.
    own: [Uuid; 2],
    people: [Person; 2],
}

/// A request, what it carries for whom (0 is who blocks), and what is answered.
type Row = (&'static str, fn(&Scene, usize) -> Value, &'static str);

fn other(scene: &Scene, me: usize) -> Uuid {
    scene.people[1 - me].id
}

fn text(to: &str, place: Uuid) -> Value {
    json!({to: place, "client_id": Uuid::now_v7(), "body": "x"})
}

/// The message of one's own in the direct conversation.
fn mine(scene: &Scene, me: usize) -> Value {
    json!({"conversation": scene.direct, "seq": me + 1})
}

fn with(mut payload: Value, name: &str, value: Value) -> Value {
    payload[name] = value;
    payload
}

/// In the order of the page.
const TABLE: &[Row] = &[
    ("send", |s, _| text("conversation", s.direct), "blocked"),
    ("send", |s, me| text("to", other(s, me)), "blocked"),
    ("edit", |s, me| with(mine(s, me), "body", json!("y")), "blocked"),
    ("react", |s, me| with(with(mine(s, me), "emoji", json!("+")), "on", json!(true)), "ok"),
    ("delete", |s, me| with(mine(s, me), "for", json!("everyone")), "ok"),
    ("history", |s, _| json!({"conversation": s.direct}), "ok"),
    ("conversation", |s, _| json!({"conversation": s.direct}), "ok"),
    ("direct", |s, me| json!({"user": other(s, me)}), "ok"),
    ("received", |s, _| json!({"conversation": s.direct, "seq": 2}), "ok"),
    ("read", |s, _| json!({"conversation": s.direct, "seq": 2}), "ok"),
    ("receipts", |s, _| json!({"conversation": s.direct, "seq": 2}), "ok"),
    ("settings", |s, _| json!({"conversation": s.direct, "pinned": true}), "ok"),
    ("contact", |s, me| json!({"user": other(s, me), "action": "request"}), "blocked"),
    ("contact", |s, me| json!({"user": other(s, me), "action": "accept"}), "conflict"),
    ("contact", |s, me| json!({"user": other(s, me), "action": "remove"}), "ok"),
    ("invite", |s, me| json!({"conversation": s.own[me], "users": [other(s, me)]}), "blocked"),
    (
        "create",
        |s, me| json!({"kind": "group", "client_id": Uuid::now_v7(), "title": "x", "members": [other(s, me)]}),
        "blocked",
    ),
    ("send", |s, _| text("conversation", s.common), "ok"),
    ("read", |s, _| json!({"conversation": s.common, "seq": 1}), "ok"),
    ("users", |s, me| json!({"ids": [other(s, me)]}), "ok"),
    ("presence", |s, me| json!({"users": [other(s, me)]}), "ok"),
    ("watch", |s, me| json!({"users": [other(s, me)]}), "ok"),
];

async fn stage(server: &Server) -> Result<(Scene, [Client; 2])> {
    let (ada, mut first) = server.join("ada").await?;
    let (ben, mut second) = server.join("ben").await?;
    let direct = first.direct(ben.id).await?;
    first.send(direct, "from ada").await?;
    second.send(direct, "from ben").await?;
    let common = first.group("Common", &[ben.id]).await?;
    first.send(common, "hello").await?;
    let own = [first.group("Ada's", &[]).await?, second.group("Ben's", &[]).await?];
    first.request("contact", json!({"user": ben.id, "action": "block"})).await?;
    Ok((Scene { direct, common, own, people: [ada, ben] }, [first, second]))
}

#[tokio::test]
async fn whatever_the_two_ask_is_answered_as_the_page_says() -> Result<()> {
    let server = Server::start().await?;
    let (scene, mut clients) = stage(&server).await?;
    let rows = PAGE.lines().filter_map(|line| line.strip_prefix("| `"));
    let said: Vec<_> = rows.filter_map(|row| Some((row.split('`').next()?, row))).collect();
    assert_eq!(said.len(), TABLE.len(), "the page has a row for each of the table");
    for ((name, payload, expected), (says, row)) in TABLE.iter().zip(said) {
        assert_eq!(says, *name, "the page and the table have one order");
        assert!(row.contains(&format!("| {expected} |")), "the page says of {name}: {row}");
        for (me, client) in clients.iter_mut().enumerate() {
            let code = match client.request(name, payload(&scene, me)).await {
                Ok(_) => "ok".to_owned(),
                Err(failure) => failure.refusal().with_context(|| format!("{name} by {me}"))?.code,
            };
            assert_eq!(code, *expected, "{name} by {me}: {row}");
        }
    }
    let (cleo, mut blocked) = server.join("cleo").await?;
    let (dora, mut blocks) = server.join("dora").await?;
    blocks.request("contact", json!({"user": cleo.id, "action": "block"})).await?;
    for (client, other) in [(&mut blocked, dora.id), (&mut blocks, cleo.id)] {
        assert_eq!(client.refused("direct", json!({"user": other})).await?.code, "blocked", "none is made");
        assert_eq!(client.refused("send", text("to", other)).await?.code, "blocked", "none is made");
    }
    Ok(())
}

#[tokio::test]
async fn only_who_blocks_is_told_and_nothing_of_how_far_either_has_come_reaches_the_other() -> Result<()> {
    let server = Server::start().await?;
    let (scene, [mut first, mut second]) = stage(&server).await?;
    let (cleo, mut third) = server.join("cleo").await?;
    first.request("invite", json!({"conversation": scene.common, "users": [cleo.id]})).await?;
    third.push("conversation").await?;
    second.listen(Duration::from_millis(200)).await?;
    assert!(second.kept("contact").is_empty(), "to ben ada was nobody, and still is");
    first.forget();
    second.forget();
    first.request("read", json!({"conversation": scene.direct, "seq": 2})).await?;
    second.request("read", json!({"conversation": scene.direct, "seq": 2})).await?;
    second.request("read", json!({"conversation": scene.common, "seq": 1})).await?;
    let receipt = third.push("receipt").await?;
    assert_eq!((&receipt["user"], &receipt["read_seq"]), (&json!(scene.people[1].id), &json!(1)));
    for client in [&mut first, &mut second] {
        client.listen(Duration::from_millis(200)).await?;
        assert!(client.kept("receipt").is_empty(), "{:?}", client.kept("receipt"));
        let shown = client.request("conversation", json!({"conversation": scene.direct})).await?;
        assert_eq!(shown["conversation"]["peer_read_seq"], Value::Null);
        let receipts = client.request("receipts", json!({"conversation": scene.common, "seq": 1})).await?;
        for member in list(&receipts, "members")? {
            let themselves = json!(client.user);
            assert!(
                [json!(cleo.id), themselves].contains(&member["user"]),
                "of the others cleo alone: {member}"
            );
        }
    }
    let listed = second.request("contacts", json!({})).await?;
    assert_eq!(listed["contacts"], json!([]));
    first.request("contact", json!({"user": scene.people[1].id, "action": "unblock"})).await?;
    second.send(scene.direct, "again").await?;
    let shown = first.request("conversation", json!({"conversation": scene.direct})).await?;
    assert_eq!(shown["conversation"]["peer_read_seq"], json!(3), "what was hidden shows again");
    Ok(())
}

/// What was sent before the block was answered stands, and nothing after it: the shard of the conversation decides.
#[tokio::test]
async fn nothing_slips_past_a_block_while_messages_flow_and_a_repeat_gets_its_first_answer() -> Result<()> {
    let mut server = Server::start().await?;
    let (ada, mut first) = server.join("ada").await?;
    let (ben, mut second) = server.join("ben").await?;
    let direct = first.direct(ben.id).await?;
    let clients: Vec<_> = (0..50).map(|_| Uuid::now_v7()).collect();
    let mut asked = Vec::new();
    for client in &clients {
        let payload = godwit_e2e::client::text(direct, *client, "x");
        asked.push(second.post("send", payload).await?);
    }
    first.request("contact", json!({"user": ben.id, "action": "block"})).await?;
    let late = second.refused("send", text("conversation", direct)).await?;
    assert_eq!(late.code, "blocked");
    let mut accepted = Vec::new();
    for (id, client) in asked.into_iter().zip(&clients) {
        match second.reply(id).await {
            Ok(sent) => accepted.push((*client, sent["seq"].clone())),
            Err(failure) => assert_eq!(failure.code(), "blocked"),
        }
    }
    server.kill().await?;
    server.restart().await?;
    let mut second = server.session(&ben).await?;
    let mut first = server.session(&ada).await?;
    assert_eq!(first.history(direct, 0).await?.len(), accepted.len());
    for (client, seq) in accepted {
        let again = second.request("send", godwit_e2e::client::text(direct, client, "x")).await?;
        assert_eq!((&again["seq"], &again["duplicate"]), (&seq, &json!(true)));
    }
    assert_eq!(first.refused("send", text("conversation", direct)).await?.code, "blocked", "over a restart");
    Ok(())
}
