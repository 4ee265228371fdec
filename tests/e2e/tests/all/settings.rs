//! What a user sets for themselves in a conversation: kept, told to their other devices, and to nobody else.

use super::list;
use anyhow::Result;
use godwit_e2e::{client::Client, server::Server};
use serde_json::{Value, json};
use std::time::Duration;

/// Years from now.
const MUTED_UNTIL: u64 = 4_000_000_000_000;

fn own(conversation: &Value) -> [Value; 4] {
    ["muted_until", "label", "pinned", "archived"].map(|name| conversation[name].clone())
}

#[tokio::test]
async fn settings_reach_the_own_other_devices_and_outlive_a_restart() -> Result<()> {
    let mut server = Server::start().await?;
    let (ada, mut phone) = server.join("ada").await?;
    let mut laptop = server.session(&ada).await?;
    let (ben, mut other) = server.join("ben").await?;
    let place = phone.group("Waders", &[ben.id]).await?;
    laptop.push("conversation").await?;
    other.push("conversation").await?;
    let set = json!({"conversation": place, "muted_until": MUTED_UNTIL, "label": "birds", "pinned": true});
    let answer = phone.request("settings", set.clone()).await?["conversation"].clone();
    let expected = [json!(MUTED_UNTIL), json!("birds"), json!(true), json!(false)];
    assert_eq!(own(&answer), expected);
    let told = laptop.push("conversation").await?;
    assert_eq!((&told["id"], own(&told)), (&json!(place), expected.clone()));
    phone.request("settings", set).await?;
    let cleared = json!({"conversation": place, "muted_until": null, "label": null});
    phone.request("settings", cleared).await?;
    let told = laptop.push("conversation").await?;
    assert_eq!(own(&told), [Value::Null, Value::Null, json!(true), json!(false)], "a repeat is not told");
    other.listen(Duration::from_millis(200)).await?;
    assert!(other.kept("conversation").is_empty(), "nobody else is told");
    let shown = other.request("conversation", json!({"conversation": place})).await?;
    assert_eq!(shown["conversation"]["pinned"], false);
    server.kill().await?;
    server.restart().await?;
    let phone = server.session(&ada).await?;
    assert_eq!(phone.connected["conversations"][0]["pinned"], true);
    Ok(())
}

#[tokio::test]
async fn a_device_that_was_away_is_told_of_settings() -> Result<()> {
    let server = Server::start().await?;
    let (ada, mut phone) = server.join("ada").await?;
    let (quiet, _) = (phone.group("Quiet", &[]).await?, phone.group("Other", &[]).await?);
    let away = server.session(&ada).await?;
    let resume = json!({"epoch": away.connected["epoch"], "cursor": away.connected["cursor"]});
    drop(away);
    // Cursors are milliseconds: what changed within that of the cursor is told once more.
    tokio::time::sleep(Duration::from_millis(5)).await;
    phone.request("settings", json!({"conversation": quiet, "archived": true})).await?;
    let mut back = Client::open(server.public).await?;
    let connect = json!({"token": ada.token, "device": {"id": "tablet"}, "resume": resume});
    let connected = back.request("connect", connect).await?;
    let told = list(&connected, "conversations")?;
    let archived = told.iter().find(|conversation| conversation["id"] == json!(quiet));
    assert_eq!(archived.map(|conversation| conversation["archived"].clone()), Some(json!(true)));
    Ok(())
}

#[tokio::test]
async fn archived_conversations_are_listed_apart_and_stay_so_when_written_to() -> Result<()> {
    let server = Server::start().await?;
    let (ada, mut first) = server.join("ada").await?;
    let (_, mut second) = server.join("ben").await?;
    let old = second.group("Old", &[ada.id]).await?;
    let new = second.group("New", &[ada.id]).await?;
    first.request("settings", json!({"conversation": old, "archived": true})).await?;
    second.send(old, "anybody here?").await?;
    for (asked, expected) in
        [(json!({}), new), (json!({"archived": false}), new), (json!({"archived": true}), old)]
    {
        let listed = first.request("conversations", asked.clone()).await?;
        let ids: Vec<_> = list(&listed, "conversations")?.iter().map(|one| one["id"].clone()).collect();
        assert_eq!(ids, [json!(expected)], "{asked}");
    }
    first.request("leave", json!({"conversation": old})).await?;
    let kept = first.request("settings", json!({"conversation": old, "archived": false})).await?;
    assert_eq!(kept["conversation"]["left"], true, "it goes on working in what was left");
    Ok(())
}

#[tokio::test]
async fn a_label_has_a_length_and_a_stranger_sets_nothing() -> Result<()> {
    let server = Server::start().await?;
    let (_, mut ada) = server.join("ada").await?;
    let (_, mut ben) = server.join("ben").await?;
    let place = ada.group("Waders", &[]).await?;
    let label = |characters: usize| json!({"conversation": place, "label": "ä".repeat(characters)});
    ada.request("settings", label(100)).await?;
    for wrong in [0, 101] {
        let refused = ada.refused("settings", label(wrong)).await?;
        assert_eq!((refused.code.as_str(), refused.field.as_deref()), ("invalid", Some("label")));
    }
    assert_eq!(ben.refused("settings", label(1)).await?.code, "not_found");
    Ok(())
}
