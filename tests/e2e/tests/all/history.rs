//! Reading what was sent.

use super::{list, seqs};
use anyhow::Result;
use godwit_e2e::{client::Client, server::Server};
use serde_json::{Value, json};
use uuid::Uuid;

/// Asks for a page and compares its numbers and whether there is more.
async fn check(
    client: &mut Client,
    place: Uuid,
    mut asked: Value,
    expected: &[u64],
    more: bool,
) -> Result<()> {
    asked["conversation"] = json!(place);
    let page = client.request("history", asked.clone()).await?;
    assert_eq!(seqs(list(&page, "messages")?), expected, "{asked}");
    assert_eq!(page["more"], json!(more), "{asked}");
    assert_eq!(list(&page, "gone")?.len(), 0, "{asked}");
    Ok(())
}

#[tokio::test]
async fn pages_are_read_from_either_end_from_any_number_and_from_any_time() -> Result<()> {
    let server = Server::start().await?;
    let (ada, mut client) = server.join("ada").await?;
    let place = client.direct(ada.id).await?;
    check(&mut client, place, json!({}), &[], false).await?;
    let mut times = Vec::new();
    for n in 1..=10 {
        times.push(client.send(place, &format!("message {n}")).await?.sent_at);
    }
    let all: Vec<u64> = (1..=10).collect();
    let client = &mut client;
    check(client, place, json!({}), &all, false).await?;
    check(client, place, json!({"limit": 3}), &[8, 9, 10], true).await?;
    check(client, place, json!({"limit": 1000}), &all, false).await?;
    check(client, place, json!({"before_seq": 8, "limit": 3}), &[5, 6, 7], true).await?;
    check(client, place, json!({"before_seq": 3, "limit": 3}), &[1, 2], false).await?;
    check(client, place, json!({"before_seq": 1}), &[], false).await?;
    check(client, place, json!({"before_seq": 99, "limit": 2}), &[9, 10], true).await?;
    check(client, place, json!({"after_seq": 0, "limit": 3}), &[1, 2, 3], true).await?;
    check(client, place, json!({"after_seq": 7, "limit": 3}), &[8, 9, 10], false).await?;
    check(client, place, json!({"after_seq": 10}), &[], false).await?;
    check(client, place, json!({"after_seq": 99}), &[], false).await?;
    // Several may have been sent in one millisecond.
    let before: Vec<u64> = all.iter().copied().filter(|n| times[*n as usize - 1] < times[4]).collect();
    check(client, place, json!({"before_ms": times[4]}), &before, false).await?;
    check(client, place, json!({"before_ms": times[9] + 1}), &all, false).await?;
    check(client, place, json!({"before_ms": times[0]}), &[], false).await?;
    for asked in [
        json!({"before_seq": 2, "after_seq": 1}),
        json!({"after_seq": 1, "before_ms": 5}),
        json!({"limit": 0}),
    ] {
        let mut asked = asked;
        asked["conversation"] = json!(place);
        assert_eq!(client.refused("history", asked.clone()).await?.code, "invalid", "{asked}");
    }
    Ok(())
}

#[tokio::test]
async fn a_page_of_long_messages_ends_early_and_says_that_there_is_more() -> Result<()> {
    let server = Server::start().await?;
    let (ada, mut client) = server.join("ada").await?;
    let place = client.direct(ada.id).await?;
    let body = "x".repeat(16_000);
    for _ in 0..90 {
        client.send(place, &body).await?;
    }
    let page =
        client.request("history", json!({"conversation": place, "after_seq": 0, "limit": 200})).await?;
    let shown = list(&page, "messages")?.len();
    assert!((1..90).contains(&shown), "a frame of 1 MiB cannot hold {shown} messages of 16,000 bytes");
    assert_eq!(page["more"], true);
    assert_eq!(seqs(&client.history(place, 0).await?), (1..=90).collect::<Vec<_>>());
    Ok(())
}

#[tokio::test]
async fn newcomers_see_earlier_messages_only_where_the_group_shows_them() -> Result<()> {
    let server = Server::start().await?;
    let (_, mut ada) = server.join("ada").await?;
    let (ben, mut newcomer) = server.join("ben").await?;
    for (history, visible) in [("since_join", false), ("all", true)] {
        let create =
            json!({"kind": "group", "client_id": Uuid::now_v7(), "title": history, "history": history});
        let place = godwit_e2e::admin::id(&ada.request("create", create).await?["conversation"]["id"])?;
        for n in 1..=3 {
            ada.send(place, &format!("before {n}")).await?;
        }
        ada.request("invite", json!({"conversation": place, "users": [ben.id]})).await?;
        ada.send(place, "after").await?;
        let page = newcomer.request("history", json!({"conversation": place, "after_seq": 0})).await?;
        if visible {
            assert_eq!(seqs(list(&page, "messages")?), [1, 2, 3, 4]);
            assert_eq!(page["gone"], json!([]));
        } else {
            assert_eq!(seqs(list(&page, "messages")?), [4]);
            assert_eq!(page["gone"], json!([{"from": 1, "to": 3, "why": "not_visible"}]));
        }
        // Whatever came before, it is not unread.
        let shown = newcomer.request("conversation", json!({"conversation": place})).await?;
        assert_eq!(
            (&shown["conversation"]["unread"], &shown["conversation"]["last_seq"]),
            (&json!(1), &json!(4))
        );
        newcomer.forget();
    }
    Ok(())
}

#[tokio::test]
async fn a_page_that_names_every_number_of_its_range_is_also_read_across_buckets() -> Result<()> {
    // Streams are kept in buckets of 4,096 messages; what is asked may lie in two.
    const COUNT: u64 = 4_200;
    let server = Server::start().await?;
    let (ada, mut client) = server.join("ada").await?;
    let place = client.direct(ada.id).await?;
    let mut sent = 0;
    while sent < COUNT {
        let count = 100.min(COUNT - sent);
        let sends = (0..count).map(|_| ("send", godwit_e2e::client::text(place, Uuid::now_v7(), "x")));
        for id in client.post_all(sends).await? {
            client.reply(id).await?;
        }
        sent += count;
    }
    check(&mut client, place, json!({"after_seq": 4_090, "limit": 10}), &Vec::from_iter(4_091..=4_100), true)
        .await?;
    check(&mut client, place, json!({"before_seq": 4_100, "limit": 8}), &Vec::from_iter(4_092..=4_099), true)
        .await?;
    assert_eq!(seqs(&client.history(place, 0).await?), Vec::from_iter(1..=COUNT));
    Ok(())
}
