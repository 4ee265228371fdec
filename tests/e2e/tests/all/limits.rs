//! What one client may take, and that nobody else pays for it.

use super::{bodies, seqs};
use anyhow::{Context, Result, ensure};
use godwit_e2e::{
    client::{Client, Failure, text},
    server::{Server, UNLIMITED},
};
use serde_json::json;
use std::time::Duration;
use uuid::Uuid;

#[tokio::test]
async fn a_reader_that_stalls_is_closed_and_the_others_are_not_delayed() -> Result<()> {
    const MESSAGES: u64 = 1_500;
    let server = Server::with(&[UNLIMITED, "[gateway]\noutbox_bytes_max = 65536\n"].concat()).await?;
    let (_, mut sender) = server.join("ada").await?;
    let (ben, mut reader) = server.join("ben").await?;
    let cleo = server.person("cleo").await?;
    let mut stalled = Client::open_narrow(server.public).await?;
    stalled.authenticate(&cleo.token).await?;
    let place = sender.group("Slow", &[ben.id, cleo.id]).await?;
    let body = "x".repeat(8_000);
    for n in 1..=MESSAGES {
        assert_eq!(sender.send(place, &body).await?.seq, n);
        assert_eq!(reader.push("message").await?["seq"], json!(n));
    }
    // What was on its way is still read, then comes the end; the close frame may not have got through.
    let code = stalled.closed().await?;
    ensure!([3001, 1006].contains(&code), "closed with {code}");
    let heard = stalled.kept("message").len() as u64;
    ensure!(heard < MESSAGES, "the stalled reader was never behind");
    let got: Vec<_> = stalled.kept("message").iter().filter_map(|message| message["seq"].as_u64()).collect();
    assert_eq!(got, Vec::from_iter(1..=heard), "until then it heard all, in order");
    let mut back = server.session(&cleo).await?;
    assert_eq!(
        seqs(&back.history(place, heard).await?),
        Vec::from_iter(heard + 1..=MESSAGES),
        "nothing is lost"
    );
    Ok(())
}

#[tokio::test]
async fn more_requests_in_flight_than_allowed_are_refused_as_temporary_and_take_no_number() -> Result<()> {
    let server = Server::with(&[UNLIMITED, "in_flight_max = 4\n"].concat()).await?;
    let (ada, mut client) = server.join("ada").await?;
    assert_eq!(client.hello["max_in_flight"], 4);
    let place = client.direct(ada.id).await?;
    let sends =
        |count: u32| (0..count).map(move |n| ("send", text(place, Uuid::now_v7(), &format!("message {n}"))));
    let (mut accepted, mut refused) = (0, 0);
    for id in client.post_all(sends(8)).await? {
        match client.reply(id).await {
            Ok(_) => accepted += 1,
            Err(Failure::Refused(refusal)) => {
                assert_eq!((refusal.code.as_str(), refusal.temporary), ("rate_limited", true));
                refused += 1;
            }
            Err(other) => return Err(other.into()),
        }
    }
    ensure!(accepted >= 4 && refused > 0, "{accepted} accepted, {refused} refused");
    client.post_all(sends(100)).await?;
    assert_eq!(client.closed().await?, 3503, "who goes on is closed");
    let mut client = server.session(&ada).await?;
    let stored = client.history(place, 0).await?;
    ensure!(stored.len() >= accepted, "{accepted} accepted, {} stored", stored.len());
    assert_eq!(seqs(&stored), Vec::from_iter(1..=stored.len() as u64));
    Ok(())
}

#[tokio::test]
async fn who_sends_too_fast_is_told_when_to_try_again_and_the_others_are_not() -> Result<()> {
    let server = Server::with("[limits]\nsends_per_s = 1\nsends_burst = 5\n").await?;
    let (_, mut fast) = server.join("ada").await?;
    let (ben, mut slow) = server.join("ben").await?;
    let place = fast.direct(ben.id).await?;
    let (mut accepted, mut refusal) = (0, None);
    for n in 0..50 {
        match fast.send(place, &format!("message {n}")).await {
            Ok(_) => accepted += 1,
            Err(Failure::Refused(refused)) => {
                refusal = Some(refused);
                break;
            }
            Err(other) => return Err(other.into()),
        }
    }
    let refusal = refusal.context("50 messages were let through")?;
    assert_eq!((refusal.code.as_str(), refusal.temporary), ("rate_limited", true));
    ensure!(refusal.retry_after_ms.is_some_and(|ms| ms > 0), "{refusal}");
    ensure!(accepted >= 5, "only {accepted} of the 5 allowed at once");
    let answer = slow.send(place, "unhurried").await?;
    assert_eq!(answer.seq, accepted + 1, "refusals take no number");
    // The server says how long to wait; after that it keeps its word.
    tokio::time::sleep(Duration::from_millis(refusal.retry_after_ms.unwrap_or_default())).await;
    assert_eq!(fast.send(place, "patient").await?.seq, accepted + 2);
    Ok(())
}

#[tokio::test]
async fn guessing_passwords_is_slowed_down_per_name() -> Result<()> {
    let settings = "[limits]\nlogins_per_minute = 3\n[auth]\nhash_memory_kib = 64\nhash_passes = 1\n";
    let server = Server::with(settings).await?;
    server.admin.create_user("ada", Some("the right one")).await?;
    let body = json!({"name": "ada", "password": "a wrong one"});
    let mut refused = None;
    for _ in 0..6 {
        let (status, error) = server.post("/v1/auth/login", None, &body).await?;
        match status {
            401 => {}
            429 => refused = Some(error),
            other => anyhow::bail!("{other}: {error}"),
        }
    }
    let error = refused.context("six guesses were let through")?;
    assert_eq!(
        (&error["error"]["code"], &error["error"]["temporary"]),
        (&json!("rate_limited"), &json!(true))
    );
    let url = format!("http://{}/v1/auth/login", server.public);
    let response = reqwest::Client::new().post(url).json(&body).send().await?;
    let wait = response.headers().get("retry-after").context("`Retry-After` is told")?.to_str()?.to_owned();
    ensure!(wait.parse::<u64>()? > 0, "{wait}");
    Ok(())
}

#[tokio::test]
async fn a_request_names_only_so_many_users() -> Result<()> {
    let server = Server::with(&[UNLIMITED, "users_per_request_max = 3\n"].concat()).await?;
    let (_, mut client) = server.join("ada").await?;
    assert_eq!(client.hello["max_users_per_request"], 3);
    let many: Vec<_> = (0..4).map(|_| Uuid::now_v7()).collect();
    let create = json!({"kind": "group", "client_id": Uuid::now_v7(), "title": "Many", "members": many});
    let refusal = client.refused("create", create).await?;
    assert_eq!((refusal.code.as_str(), refusal.field.as_deref()), ("invalid", Some("members")));
    let long = json!({"kind": "group", "client_id": Uuid::now_v7(), "title": "x".repeat(101)});
    let refusal = client.refused("create", long).await?;
    assert_eq!((refusal.code.as_str(), refusal.field.as_deref()), ("invalid", Some("title")));
    let place = client.group(&"ä".repeat(100), &[]).await?;
    client.send(place, "here").await?;
    assert_eq!(bodies(&client.history(place, 0).await?), ["here"]);
    Ok(())
}
