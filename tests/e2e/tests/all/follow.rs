//! Large conversations: live messages for who follows, `heads` for the others, and how these fill their gaps.

use super::seqs;
use anyhow::{Result, ensure};
use godwit_e2e::{
    client::{Client, Transport},
    server::{Person, Server, UNLIMITED},
};
use serde_json::{Value, json};
use std::time::Duration;
use uuid::Uuid;

/// A server on which three are many; ada, who owns the conversation, ben and cleo.
async fn large() -> Result<(Server, [Person; 3], [Client; 3], Uuid)> {
    let limits = UNLIMITED.replacen("[limits]\n", "[limits]\nfollow_above = 2\n", 1);
    ensure!(limits != UNLIMITED, "the settings begin with limits");
    let server = Server::with(&limits).await?;
    let (ada, mut speaker) = server.join("ada").await?;
    let (ben, first) = server.join("ben").await?;
    let (cleo, second) = server.join("cleo").await?;
    let place = speaker.group("Waders", &[ben.id, cleo.id]).await?;
    Ok((server, [ada, ben, cleo], [speaker, first, second], place))
}

/// Waits until `heads` have told of that number, in as many turns as the messages fell into.
async fn told(client: &mut Client, place: Uuid, seq: u64) -> Result<()> {
    for _ in 0..2 {
        let heads = client.push("heads").await?;
        assert_eq!(heads[0]["conversation"], json!(place));
        if heads[0]["last_seq"] == seq {
            return Ok(());
        }
    }
    anyhow::bail!("`heads` were told more often than every 30 s")
}

fn here(place: Uuid) -> Value {
    json!({"conversation": place})
}

#[tokio::test]
async fn live_messages_of_a_large_conversation_flow_to_who_follows_and_the_others_hear_of_it_by_heads()
-> Result<()> {
    let (server, [_, ben, _], [mut ada, mut first, mut second], place) = large().await?;
    assert_eq!(ada.hello["follow_above"], 2);
    for _ in 0..2 {
        assert_eq!(first.request("follow", here(place)).await?, json!({}));
    }
    let mut phone = server.session_over(Transport::LongPoll, &ben).await?;
    for body in ["one", "two", "three"] {
        ada.send(place, body).await?;
    }
    for seq in 1..=3 {
        assert_eq!(first.push("message").await?["seq"], seq);
    }
    // The others are told once, and fetch what they lack.
    for client in [&mut second, &mut phone] {
        told(client, place, 3).await?;
        ensure!(client.kept("message").is_empty(), "{:?}", client.kept("message"));
        assert_eq!(seqs(&client.history(place, 0).await?), [1, 2, 3]);
        // The cursor covers what was told before it.
        let cursor = client.push("cursor").await?["cursor"].clone();
        ensure!(cursor.is_string(), "{cursor}");
    }
    assert_eq!(first.request("unfollow", here(place)).await?, json!({}));
    ada.send(place, "four").await?;
    told(&mut first, place, 4).await?;
    ensure!(first.kept("message").is_empty(), "it no longer follows");
    Ok(())
}

#[tokio::test]
async fn small_conversations_flow_to_all_and_may_be_followed_as_well() -> Result<()> {
    let (_server, [_, ben, _], [mut ada, mut first, _], _) = large().await?;
    let small = ada.direct(ben.id).await?;
    for name in ["unfollow", "follow", "unfollow"] {
        assert_eq!(first.request(name, here(small)).await?, json!({}));
        ada.send(small, name).await?;
        assert_eq!(first.push("message").await?["body"], name);
    }
    Ok(())
}

#[tokio::test]
async fn a_conversation_that_grows_large_goes_on_for_who_followed_it_and_only_for_that_session() -> Result<()>
{
    let (server, [_, ben, _], [mut ada, mut first, _], _) = large().await?;
    let dora = server.person("dora").await?;
    let place = ada.group("Small yet", &[ben.id]).await?;
    first.request("follow", here(place)).await?;
    let mut other = server.session(&ben).await?;
    ada.send(place, "to all").await?;
    assert_eq!(first.push("message").await?["body"], "to all");
    assert_eq!(other.push("message").await?["body"], "to all");
    ada.request("invite", json!({"conversation": place, "users": [dora.id]})).await?;
    ada.send(place, "to followers").await?;
    assert_eq!(first.push("message").await?["body"], "to followers");
    // Another session of the same person follows for itself.
    other.listen(Duration::from_millis(300)).await?;
    ensure!(other.kept("message").is_empty(), "{:?}", other.kept("message"));
    told(&mut other, place, 2).await?;
    Ok(())
}

#[tokio::test]
async fn a_device_that_did_not_follow_resumes_without_a_gap() -> Result<()> {
    let (server, [_, _, cleo], [mut ada, _, second], place) = large().await?;
    let cursor = second.connected["cursor"].clone();
    let epoch = second.connected["epoch"].clone();
    ada.send(place, "one").await?;
    ada.send(place, "two").await?;
    drop(second);
    let mut back = Client::open(server.public).await?;
    let connect = json!({"token": cleo.token, "device": {"id": "d"}, "active": false,
        "resume": {"epoch": epoch, "cursor": cursor}});
    let connected = back.request("connect", connect).await?;
    assert_eq!(connected["recovered"], true);
    assert_eq!(connected["conversations"][0]["last_seq"], 2);
    assert_eq!(back.request("active", json!({"active": true})).await?, json!({}));
    assert_eq!(back.refused("active", json!({"active": 1})).await?.field.as_deref(), Some("active"));
    Ok(())
}
