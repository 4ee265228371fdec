//! Coming back: by cursor, from long ago, from another store; and that all three end with the same state.

use super::{list, seqs};
use anyhow::{Context, Result, ensure};
use godwit_e2e::{
    client::{Client, Failure},
    server::{Person, Server, UNLIMITED},
};
use serde_json::{Value, json};
use std::{collections::BTreeMap, time::Duration};
use uuid::Uuid;

/// Cursors come fast, and a device that was away for six seconds was away for too long.
const FAST: &str = "\n[resume]\nretention_s = 6\ncursor_interval_ms = 100\n";

/// A device as a client keeps it: what it knows, and where it left off.
#[derive(Default)]
struct Device {
    epoch: String,
    cursor: String,
    /// By conversation: the object, its messages by number, the last revision that was read.
    known: BTreeMap<String, (Value, BTreeMap<u64, Value>, u64)>,
}

impl Device {
    /// Connects, with the cursor if there is one, and fetches what the reply names; whether it was recovered.
    async fn catch_up(&mut self, server: &Server, person: &Person) -> Result<(Client, bool)> {
        let mut client = Client::open(server.public).await?;
        let mut connect = json!({"token": person.token, "device": {"id": "d"}, "window": 200});
        if !self.cursor.is_empty() {
            connect["resume"] = json!({"epoch": self.epoch, "cursor": self.cursor});
        }
        let connected = client.request("connect", connect).await?;
        let recovered = connected["recovered"] == true;
        if connected["epoch"] != json!(self.epoch) {
            self.known.clear();
        }
        let mut changed = list(&connected, "conversations")?.clone();
        let mut next = connected["next"].clone();
        while next != Value::Null {
            let page = client.request("sync", json!({"page": next})).await?;
            changed.extend(list(&page, "conversations")?.iter().cloned());
            next = page["next"].clone();
        }
        for conversation in changed {
            self.fetch(&mut client, conversation).await?;
        }
        self.epoch = connected["epoch"].as_str().context("an epoch")?.to_owned();
        self.cursor = connected["cursor"].as_str().context("a cursor")?.to_owned();
        Ok((client, recovered))
    }

    async fn fetch(&mut self, client: &mut Client, conversation: Value) -> Result<(), Failure> {
        let id = conversation["id"].as_str().unwrap_or_default().to_owned();
        let (known, messages, rev) = self.known.entry(id.clone()).or_default();
        *known = conversation;
        let after = messages.last_key_value().map_or(0, |(seq, _)| *seq);
        let place: Uuid = id.parse().unwrap_or_default();
        for message in client.history(place, after).await.map_err(|e| Failure::Broken(e.to_string()))? {
            messages.insert(message["seq"].as_u64().unwrap_or_default(), message);
        }
        loop {
            let asked = json!({"conversation": id, "after_rev": *rev, "limit": 200});
            let page = client.request("revisions", asked).await?;
            for revision in page["revisions"].as_array().into_iter().flatten() {
                *rev = revision["rev"].as_u64().unwrap_or_default();
                let about =
                    ["edit", "delete", "react"].iter().find_map(|what| revision[what]["seq"].as_u64());
                // The message is read anew: what the revision says may have been overtaken.
                if let Some(seq) = about {
                    let one = json!({"conversation": id, "after_seq": seq - 1, "limit": 1});
                    let page = client.request("history", one).await?;
                    let found = page["messages"].as_array().into_iter().flatten().find(|m| m["seq"] == seq);
                    messages.extend(found.map(|message| (seq, message.clone())));
                }
            }
            if page["more"] != json!(true) {
                break;
            }
        }
        let hidden = client.request("hidden", json!({"conversation": id, "after": 0, "limit": 200})).await?;
        for seq in hidden["seqs"].as_array().into_iter().flatten() {
            messages.remove(&seq.as_u64().unwrap_or_default());
        }
        Ok(())
    }

    /// What it shows: everything but the numbers of the devices' own making.
    fn state(&self) -> Vec<(Value, Vec<Value>)> {
        self.known
            .values()
            .map(|(known, messages, _)| (known.clone(), messages.values().cloned().collect()))
            .collect()
    }
}

/// Everything that can change while a device is away.
async fn live_on(server: &Server, ada: &Person, ben: &mut Client, place: Uuid, round: u32) -> Result<()> {
    let mut ada_client = server.session(ada).await?;
    let first = ben.send(place, &format!("round {round}")).await?.seq;
    ben.send(place, "to be deleted").await?;
    ben.request("edit", json!({"conversation": place, "seq": first, "body": format!("edited {round}")}))
        .await?;
    ben.request("delete", json!({"conversation": place, "seq": first + 1, "for": "everyone"})).await?;
    ada_client
        .request("react", json!({"conversation": place, "seq": first, "emoji": "+1", "on": true}))
        .await?;
    ada_client.request("read", json!({"conversation": place, "seq": first + 1})).await?;
    ada_client.request("delete", json!({"conversation": place, "seq": 1, "for": "me"})).await?;
    let group = ben.group(&format!("Made in round {round}"), &[ada.id]).await?;
    ben.send(group, "welcome").await?;
    ben.request("update", json!({"conversation": group, "title": format!("Renamed {round}")})).await?;
    Ok(())
}

#[tokio::test]
async fn a_device_that_was_away_and_one_that_never_was_end_with_the_same_state() -> Result<()> {
    let mut server = Server::with(&format!("{UNLIMITED}{FAST}")).await?;
    let (ada, _) = server.join("ada").await?;
    let (ben_person, mut ben) = server.join("ben").await?;
    let place = ben.direct(ada.id).await?;
    ben.send(place, "before everything").await?;
    let (mut there, mut away, mut long_away) = (Device::default(), Device::default(), Device::default());
    there.catch_up(&server, &ada).await?;
    long_away.catch_up(&server, &ada).await?;
    for round in 0..3 {
        let (_, recovered) = away.catch_up(&server, &ada).await?;
        assert_eq!(recovered, round > 0, "round {round}");
        live_on(&server, &ada, &mut ben, place, round).await?;
        let (_, recovered) = there.catch_up(&server, &ada).await?;
        ensure!(recovered, "round {round}");
        if round == 1 {
            server.kill().await?;
            server.restart().await?;
            ben = server.session(&ben_person).await?;
        }
    }
    away.catch_up(&server, &ada).await?;
    tokio::time::sleep(Duration::from_millis(6_500)).await;
    let (_, recovered) = long_away.catch_up(&server, &ada).await?;
    ensure!(!recovered, "it was away for longer than the host remembers");
    let mut fresh = Device::default();
    fresh.catch_up(&server, &ada).await?;
    there.catch_up(&server, &ada).await?;
    let expected = fresh.state();
    assert_eq!(expected.len(), 4);
    assert_eq!(there.state(), expected, "the one that never was away");
    assert_eq!(away.state(), expected, "the one that came back by its cursor");
    assert_eq!(long_away.state(), expected, "the one that came back too late");
    Ok(())
}

#[tokio::test]
async fn a_cursor_that_is_none_or_another_users_or_of_another_epoch_starts_cold() -> Result<()> {
    let server = Server::start().await?;
    let (ada, first) = server.join("ada").await?;
    let (ben, other) = server.join("ben").await?;
    let epoch = first.connected["epoch"].clone();
    let cursor = first.connected["cursor"].clone();
    for (epoch, cursor, recovered) in [
        (epoch.clone(), cursor.clone(), true),
        (json!("another"), cursor.clone(), false),
        (epoch.clone(), json!("no cursor"), false),
        (epoch.clone(), json!(""), false),
        (epoch.clone(), other.connected["cursor"].clone(), false),
    ] {
        let mut client = Client::open(server.public).await?;
        let resume = json!({"epoch": epoch, "cursor": cursor});
        let connect = json!({"token": ada.token, "device": {"id": "d"}, "resume": resume});
        assert_eq!(client.request("connect", connect).await?["recovered"], recovered, "{resume}");
    }
    ensure!(ben.id != ada.id);
    Ok(())
}

#[tokio::test]
async fn what_changed_is_told_page_by_page_and_what_did_not_is_left_out() -> Result<()> {
    let server = Server::start().await?;
    let (ada, reader) = server.join("ada").await?;
    let (_, mut ben) = server.join("ben").await?;
    let mut groups = Vec::new();
    for n in 0..70 {
        groups.push(ben.group(&format!("Group {n}"), &[ada.id]).await?);
    }
    drop(reader);
    let before = server.session(&ada).await?;
    let resume = json!({"epoch": before.connected["epoch"], "cursor": before.connected["cursor"]});
    for group in &groups[..60] {
        ben.send(*group, "news").await?;
    }
    let mut client = Client::open(server.public).await?;
    let connect = json!({"token": ada.token, "device": {"id": "d"}, "resume": resume});
    let connected = client.request("connect", connect).await?;
    assert_eq!(connected["recovered"], true);
    let mut told: Vec<Value> =
        list(&connected, "conversations")?.iter().map(|one| one["id"].clone()).collect();
    assert_eq!(told.len(), 50);
    let page = client.request("sync", json!({"page": connected["next"]})).await?;
    told.extend(list(&page, "conversations")?.iter().map(|one| one["id"].clone()));
    assert_eq!(page["next"], Value::Null);
    let mut expected: Vec<Value> = groups[..60].iter().map(|group| json!(group)).collect();
    expected.sort_by_key(Value::to_string);
    told.sort_by_key(Value::to_string);
    assert_eq!(told, expected);
    assert_eq!(client.refused("sync", json!({"page": "x"})).await?.field.as_deref(), Some("page"));
    Ok(())
}

#[tokio::test]
async fn a_cursor_comes_from_time_to_time_and_covers_what_was_sent_before_it() -> Result<()> {
    let server = Server::with(&format!("{UNLIMITED}{FAST}")).await?;
    let (ada, mut reader) = server.join("ada").await?;
    let (_, mut ben) = server.join("ben").await?;
    let place = ben.direct(ada.id).await?;
    let epoch = reader.connected["epoch"].clone();
    let mut newest = 0;
    for n in 0..10 {
        newest = ben.send(place, &format!("message {n}")).await?.seq;
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
    // Up to a second after the last message there may be one cursor more.
    let first = reader.push("cursor").await?;
    reader.listen(Duration::from_millis(2_500)).await?;
    let last =
        reader.kept("cursor").last().map_or(first["cursor"].clone(), |cursor| cursor["cursor"].clone());
    assert_eq!(seqs(&reader.kept("message").into_iter().cloned().collect::<Vec<_>>()).last(), Some(&newest));
    let mut client = Client::open(server.public).await?;
    let resume = json!({"epoch": epoch, "cursor": last});
    let connect = json!({"token": ada.token, "device": {"id": "d"}, "resume": resume});
    let connected = client.request("connect", connect).await?;
    assert_eq!(connected["recovered"], true);
    // The sender's own marks are stored a little later, which is a change as well; nothing else may be one.
    for listed in list(&connected, "conversations")? {
        assert_eq!((&listed["id"], &listed["last_seq"]), (&json!(place), &json!(newest)));
    }
    Ok(())
}
