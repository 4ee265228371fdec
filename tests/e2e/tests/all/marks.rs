//! How far everyone has come.

use anyhow::{Result, ensure};
use godwit_e2e::{client::Client, server::Server};
use serde_json::{Value, json};
use uuid::Uuid;

async fn mark(client: &mut Client, name: &str, place: Uuid, seq: u64) -> Result<(u64, u64)> {
    let ok = client.request(name, json!({"conversation": place, "seq": seq})).await?;
    let number = |field: &str| ok[field].as_u64().unwrap_or(u64::MAX);
    Ok((number("received_seq"), number("read_seq")))
}

/// The conversation as this client sees it now.
async fn shown(client: &mut Client, place: Uuid) -> Result<Value> {
    Ok(client.request("conversation", json!({"conversation": place})).await?["conversation"].clone())
}

/// Waits for a receipt of that user with these marks; marks may be pushed one by one or gathered.
async fn receipt(client: &mut Client, user: Uuid, received: u64, read: u64) -> Result<()> {
    loop {
        let receipt = client.push("receipt").await?;
        ensure!(receipt["user"] == json!(user), "someone else's receipt: {receipt}");
        ensure!(receipt["read_seq"].as_u64() <= Some(read), "read too far: {receipt}");
        if (&receipt["received_seq"], &receipt["read_seq"]) == (&json!(received), &json!(read)) {
            return Ok(());
        }
    }
}

#[tokio::test]
async fn marks_rise_only_are_cut_to_the_newest_and_told_to_the_sender_and_the_own_devices() -> Result<()> {
    let server = Server::start().await?;
    let (_, mut ada) = server.join("ada").await?;
    let (ben, mut phone) = server.join("ben").await?;
    let mut laptop = server.session(&ben).await?;
    let place = ada.direct(ben.id).await?;
    for n in 1..=5 {
        ada.send(place, &format!("message {n}")).await?;
    }
    assert_eq!(mark(&mut phone, "received", place, 3).await?, (3, 0));
    receipt(&mut ada, ben.id, 3, 0).await?;
    receipt(&mut laptop, ben.id, 3, 0).await?;
    assert_eq!(mark(&mut phone, "received", place, 2).await?, (3, 0), "a lower one changes nothing");
    assert_eq!(mark(&mut phone, "read", place, 4).await?, (4, 4), "what was read was received");
    receipt(&mut ada, ben.id, 4, 4).await?;
    receipt(&mut laptop, ben.id, 4, 4).await?;
    assert_eq!(mark(&mut phone, "read", place, 99).await?, (5, 5));
    receipt(&mut ada, ben.id, 5, 5).await?;
    let seen = shown(&mut ada, place).await?;
    assert_eq!((&seen["peer_received_seq"], &seen["peer_read_seq"]), (&json!(5), &json!(5)));
    Ok(())
}

#[tokio::test]
async fn unread_is_what_came_after_the_mark_and_is_kept_over_restarts() -> Result<()> {
    let mut server = Server::start().await?;
    let (ada, mut sender) = server.join("ada").await?;
    let (ben, mut reader) = server.join("ben").await?;
    let place = sender.group("Marks", &[ben.id]).await?;
    for n in 1..=4 {
        sender.send(place, &format!("message {n}")).await?;
    }
    assert_eq!(shown(&mut reader, place).await?["unread"], 4);
    assert_eq!(shown(&mut sender, place).await?["unread"], 0, "who sends has read");
    mark(&mut reader, "read", place, 3).await?;
    assert_eq!(shown(&mut reader, place).await?["unread"], 1);
    for graceful in [true, false] {
        if graceful {
            ensure!(server.terminate().await?.success(), "{}", server.log());
        } else {
            server.kill().await?;
        }
        server.restart().await?;
        let mut reader = server.session(&ben).await?;
        let listed = reader.connected["conversations"][0].clone();
        assert_eq!(
            (&listed["id"], &listed["unread"], &listed["read_seq"]),
            (&json!(place), &json!(1), &json!(3))
        );
        assert_eq!(shown(&mut reader, place).await?["received_seq"], 3);
        assert_eq!(shown(&mut server.session(&ada).await?, place).await?["unread"], 0);
    }
    Ok(())
}

#[tokio::test]
async fn sending_reads_on_only_for_who_had_read_everything_before() -> Result<()> {
    let server = Server::start().await?;
    let (_, mut ada) = server.join("ada").await?;
    let (ben, mut reader) = server.join("ben").await?;
    let place = ada.direct(ben.id).await?;
    ada.send(place, "one").await?;
    reader.send(place, "two, without having read").await?;
    let seen = shown(&mut reader, place).await?;
    assert_eq!((&seen["read_seq"], &seen["unread"]), (&json!(0), &json!(2)));
    mark(&mut reader, "read", place, 2).await?;
    reader.send(place, "three").await?;
    let seen = shown(&mut reader, place).await?;
    assert_eq!((&seen["read_seq"], &seen["unread"]), (&json!(3), &json!(0)));
    Ok(())
}

#[tokio::test]
async fn marks_of_strangers_are_refused() -> Result<()> {
    let server = Server::start().await?;
    let (_, mut ada) = server.join("ada").await?;
    let (ben, _) = server.join("ben").await?;
    let (_, mut stranger) = server.join("cleo").await?;
    let place = ada.direct(ben.id).await?;
    ada.send(place, "private").await?;
    for name in ["received", "read"] {
        let refusal = stranger.refused(name, json!({"conversation": place, "seq": 1})).await?;
        assert_eq!(refusal.code, "not_found", "{name}");
    }
    Ok(())
}
