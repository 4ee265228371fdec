//! Channels: few who write, many who read, who come and go without a word to the others.

use super::{bodies, list};
use anyhow::Result;
use godwit_e2e::{
    admin::id,
    client::Client,
    server::{Server, UNLIMITED},
};
use serde_json::{Value, json};
use std::time::Duration;
use uuid::Uuid;

async fn channel(owner: &mut Client, title: &str, members: &[Uuid]) -> Result<Uuid> {
    let create = json!({"kind": "channel", "client_id": Uuid::now_v7(), "title": title, "open": true,
        "members": members});
    id(&owner.request("create", create).await?["conversation"]["id"])
}

async fn shown(client: &mut Client, place: Uuid) -> Result<Value> {
    Ok(client.request("conversation", json!({"conversation": place})).await?["conversation"].clone())
}

#[tokio::test]
async fn readers_come_and_go_without_revisions_and_admins_post() -> Result<()> {
    let mut server = Server::start().await?;
    let (_, mut owner) = server.join("ada").await?;
    let (ben, mut reader) = server.join("ben").await?;
    let (cleo, mut other) = server.join("cleo").await?;
    let place = channel(&mut owner, "News", &[ben.id]).await?;
    let made = reader.push("conversation").await?;
    assert_eq!(
        (&made["kind"], &made["role"], &made["posting"]),
        (&json!("channel"), &json!("reader"), &json!("admins"))
    );
    assert_eq!(made["last_rev"], 1, "the owner's own coming alone");
    let outside = shown(&mut other, place).await?;
    assert_eq!((&outside["role"], &outside["members"]), (&json!("reader"), &Value::Null));
    let rev = other.request("join", json!({"conversation": place})).await?["rev"].clone();
    assert_eq!(rev, 1);
    assert_eq!(other.push("conversation").await?["role"], "reader");
    assert_eq!(shown(&mut owner, place).await?["member_count"], 3);
    let refused = reader.refused("send", godwit_e2e::client::text(place, Uuid::now_v7(), "x")).await?;
    assert_eq!(refused.code, "read_only");
    owner.send(place, "first").await?;
    for client in [&mut reader, &mut other] {
        assert_eq!(client.push("message").await?["body"], "first");
        client.request("read", json!({"conversation": place, "seq": 1})).await?;
    }
    let react = json!({"conversation": place, "seq": 1, "emoji": "+", "on": true});
    assert_eq!(reader.request("react", react).await?["rev"], 2, "readers react");
    owner.listen(Duration::from_millis(200)).await?;
    assert!(owner.kept("receipt").is_empty(), "nobody is told how far a reader has come");
    let receipts = owner.request("receipts", json!({"conversation": place, "seq": 1})).await?;
    assert_eq!((&receipts["read"], &receipts["members"]), (&json!(2), &json!([])));
    // Roles are told, as are those above reader.
    let promote = json!({"conversation": place, "user": ben.id, "role": "admin"});
    assert_eq!(owner.request("set_role", promote).await?["rev"], 3);
    reader.send(place, "from ben").await?;
    other.request("leave", json!({"conversation": place})).await?;
    other.forget();
    owner.send(place, "after cleo").await?;
    server.kill().await?;
    server.restart().await?;
    let mut other = server.session(&cleo).await?;
    let left = shown(&mut other, place).await?;
    assert_eq!((&left["left"], &left["last_seq"], &left["last_rev"]), (&json!(true), &json!(2), &json!(3)));
    assert_eq!(
        bodies(list(&other.request("history", json!({"conversation": place})).await?, "messages")?),
        ["first", "from ben"]
    );
    let mut reader = server.session(&ben).await?;
    assert_eq!(shown(&mut reader, place).await?["role"], "admin", "in the part where readers stand");
    let members = reader.request("members", json!({"conversation": place})).await?;
    assert_eq!(list(&members, "members")?.len(), 2);
    reader.request("leave", json!({"conversation": place})).await?;
    assert_eq!(shown(&mut reader, place).await?["last_rev"], 4, "an admin's going is told");
    Ok(())
}

#[tokio::test]
async fn the_last_that_a_removed_reader_hears_is_that_they_left() -> Result<()> {
    let server = Server::start().await?;
    let (ada, mut owner) = server.join("ada").await?;
    let mut laptop = server.session(&ada).await?;
    let (ben, mut reader) = server.join("ben").await?;
    let place = channel(&mut owner, "News", &[]).await?;
    laptop.push("conversation").await?;
    let invite = json!({"conversation": place, "users": [ben.id]});
    let rev = owner.request("invite", invite.clone()).await?["rev"].clone();
    assert_eq!(owner.request("invite", invite).await?["rev"], rev);
    assert_eq!(reader.push("conversation").await?["role"], "reader");
    owner.request("remove", json!({"conversation": place, "user": ben.id})).await?;
    owner.send(place, "behind his back").await?;
    let last = reader.push("conversation").await?;
    assert_eq!((&last["left"], &last["last_seq"]), (&json!(true), &json!(0)));
    reader.listen(Duration::from_millis(200)).await?;
    assert_eq!(reader.heard().count(), 0, "{:?}", reader.heard().collect::<Vec<_>>());
    assert!(laptop.kept("revision").is_empty(), "nobody else is told");
    assert_eq!(reader.request("join", json!({"conversation": place})).await?["rev"], rev, "it is open");
    Ok(())
}

#[tokio::test]
async fn many_who_join_at_once_are_all_in_and_hear_what_is_posted_when_they_follow() -> Result<()> {
    const READERS: usize = 60;
    let mut server =
        Server::with(&UNLIMITED.replacen("[limits]\n", "[limits]\nfollow_above = 20\n", 1)).await?;
    let (ada, mut owner) = server.join("ada").await?;
    let place = channel(&mut owner, "News", &[]).await?;
    let mut readers = Vec::new();
    for n in 0..READERS {
        readers.push(server.join(&format!("reader-{n}")).await?);
    }
    let mut asked = Vec::new();
    for (_, reader) in &mut readers {
        asked.push(reader.post("join", json!({"conversation": place})).await?);
    }
    for ((_, reader), id) in readers.iter_mut().zip(asked) {
        reader.reply(id).await?;
    }
    assert_eq!(shown(&mut owner, place).await?["member_count"], json!(READERS + 1));
    readers[0].1.request("follow", json!({"conversation": place})).await?;
    let sent = owner.send(place, "hello, all").await?;
    assert_eq!(sent.seq, 1);
    assert_eq!(readers[0].1.push("message").await?["seq"], 1);
    readers[1].1.listen(Duration::from_millis(200)).await?;
    assert!(readers[1].1.kept("message").is_empty(), "who does not follow is told later, and in few words");
    server.kill().await?;
    server.restart().await?;
    let mut owner = server.session(&ada).await?;
    assert_eq!(shown(&mut owner, place).await?["member_count"], json!(READERS + 1), "over a restart");
    let mut listed = 0;
    let mut page = Value::Null;
    loop {
        let answer =
            owner.request("members", json!({"conversation": place, "limit": 25, "page": page})).await?;
        listed += list(&answer, "members")?.len();
        page = answer["next"].clone();
        if page.is_null() {
            break;
        }
    }
    assert_eq!(listed, READERS + 1);
    Ok(())
}

/// Each of many reacts and reacts once more: they are counted together, a few times a second at most, and nothing is lost.
#[tokio::test]
async fn a_storm_of_reactions_is_told_by_counts_at_a_bounded_pace() -> Result<()> {
    const READERS: usize = 40;
    let mut server =
        Server::with(&UNLIMITED.replacen("[limits]\n", "[limits]\nfollow_above = 20\n", 1)).await?;
    let (ada, mut owner) = server.join("ada").await?;
    let place = channel(&mut owner, "News", &[]).await?;
    owner.request("follow", json!({"conversation": place})).await?;
    let before = owner.send(place, "hello, all").await?;
    let mut readers = Vec::new();
    for n in 0..READERS {
        let (_, mut reader) = server.join(&format!("reader-{n}")).await?;
        reader.request("join", json!({"conversation": place})).await?;
        readers.push(reader);
    }
    owner.forget();
    let react =
        |emoji: &str, on: bool| json!({"conversation": place, "seq": before.seq, "emoji": emoji, "on": on});
    let started = std::time::Instant::now();
    let mut asked = Vec::new();
    for reader in &mut readers {
        let all = [react("+", true), react("!", true), react("!", false), react("+", true)];
        asked.push(reader.post_all(all.map(|payload| ("react", payload))).await?);
    }
    for (reader, ids) in readers.iter_mut().zip(asked) {
        for id in ids {
            reader.reply(id).await?;
        }
    }
    let took = started.elapsed();
    owner.listen(Duration::from_millis(1_500)).await?;
    let told = owner.kept("revision");
    let most = 2 + took.as_secs() as usize;
    assert!((1..=most).contains(&told.len()), "{} revisions within {took:?}", told.len());
    let last = told.last().map(|last| (*last).clone()).unwrap_or_default();
    assert_eq!(
        (&last["react"]["seq"], &last["react"]["counts"]["+"], &last["by"]),
        (&json!(1), &json!(READERS), &Value::Null)
    );
    server.kill().await?;
    server.restart().await?;
    let mut owner = server.session(&ada).await?;
    let page = owner.request("history", json!({"conversation": place})).await?;
    assert_eq!(page["messages"][0]["reactions"], json!({"+": READERS}), "over a restart");
    let who = owner.request("reactions", json!({"conversation": place, "seq": 1})).await?;
    assert_eq!(who["reactions"].as_array().map(Vec::len), Some(1));
    assert_eq!(list(&who["reactions"][0], "users")?.len(), READERS);
    let page = owner.request("revisions", json!({"conversation": place, "after_rev": 1})).await?;
    assert_eq!(list(&page, "revisions")?.last(), Some(&last), "as it was told");
    Ok(())
}
