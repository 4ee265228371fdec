//! The limits on how many people there are, and what they do beside sending: contacts, requests to become one, members,
//! names in a request and in a minute, changes of profiles, typing.

use super::{code, some, with};
use anyhow::{Result, ensure};
use serde_json::json;
use uuid::Uuid;

pub async fn channel_members() -> Result<String> {
    let server = with("limits.channel_members_max", 3).await?;
    let (_, mut client) = server.join("ada").await?;
    let people = some(&server, 3).await?;
    let create = |members: &[Uuid]| json!({"kind": "channel", "client_id": Uuid::now_v7(), "title": "News", "open": true, "members": members});
    let place = client.request("create", create(&people[..2])).await?["conversation"]["id"].clone();
    let created = client.refused("create", create(&people)).await?;
    let invited = client.refused("invite", json!({"conversation": place, "users": [people[2]]})).await?;
    let (_, mut late) = server.join("ben").await?;
    let joined = late.refused("join", json!({"conversation": place})).await?;
    ensure!(
        created.code == invited.code && created.code == joined.code,
        "{created:?} {invited:?} {joined:?}"
    );
    Ok(code(&created.code))
}

pub async fn contacts() -> Result<String> {
    let server = with("limits.contacts_max", 2).await?;
    let (_, mut client) = server.join("ada").await?;
    let people = some(&server, 3).await?;
    for (user, action) in people.iter().zip(["request", "block"]) {
        client.request("contact", json!({"user": user, "action": action})).await?;
    }
    let over = |action: &str| json!({"user": people[2], "action": action});
    let asked = client.refused("contact", over("request")).await?;
    assert_eq!(client.refused("contact", over("block")).await?.code, asked.code);
    client.request("contact", json!({"user": people[0], "action": "remove"})).await?;
    client.request("contact", over("request")).await?;
    Ok(code(&asked.code))
}

pub async fn contact_requests() -> Result<String> {
    let server = with("limits.contact_requests_max", 2).await?;
    let (ada, mut client) = server.join("ada").await?;
    let people = some(&server, 3).await?;
    let request = |user: Uuid| json!({"user": user, "action": "request"});
    for user in &people[..2] {
        client.request("contact", request(*user)).await?;
    }
    let made = client.refused("contact", request(people[2])).await?;
    // As many may wait for an answer.
    for name in ["ben", "cleo"] {
        server.join(name).await?.1.request("contact", request(ada.id)).await?;
    }
    let (dora, mut late) = server.join("dora").await?;
    assert_eq!(late.refused("contact", request(ada.id)).await?.code, made.code);
    // What crosses is no request more.
    client.request("contact", json!({"user": people[0], "action": "remove"})).await?;
    client.request("contact", request(dora.id)).await?;
    late.request("contact", request(ada.id)).await?;
    Ok(code(&made.code))
}

pub async fn members() -> Result<String> {
    let server = with("limits.members_max", 3).await?;
    let (_, mut client) = server.join("ada").await?;
    let people = some(&server, 3).await?;
    let place = client.group("Full", &people[..2]).await?;
    let invite = json!({"conversation": place, "users": [people[2]]});
    let invited = client.refused("invite", invite.clone()).await?;
    let create = json!({"kind": "group", "client_id": Uuid::now_v7(), "title": "Over", "members": people});
    let created = client.refused("create", create).await?;
    assert_eq!(invited.code, created.code);
    Ok(code(&created.code))
}

pub async fn users_per_request() -> Result<String> {
    let server = with("limits.users_per_request_max", 3).await?;
    let (_, mut client) = server.join("ada").await?;
    assert_eq!(client.hello["max_users_per_request"], 3);
    let people = some(&server, 4).await?;
    let place = client.group("Three named", &people[..3]).await?;
    client.request("users", json!({"ids": people[..3]})).await?;
    let create = json!({"kind": "group", "client_id": Uuid::now_v7(), "title": "Over", "members": people});
    let mut codes = Vec::new();
    for (name, payload) in [
        ("create", create),
        ("users", json!({"ids": people})),
        ("invite", json!({"conversation": place, "users": people})),
    ] {
        codes.push(client.refused(name, payload).await?.code);
    }
    ensure!(codes.iter().all(|code| *code == codes[0]), "{codes:?}");
    Ok(code(&codes[0]))
}

pub async fn lookups() -> Result<String> {
    const MAX: usize = 3;
    let server = with("limits.lookups_per_minute", 3).await?;
    let (ada, mut client) = server.join("ada").await?;
    let (_, mut other) = server.join("ben").await?;
    for _ in 0..MAX {
        client.request("users", json!({"query": "ben"})).await?;
    }
    // Another connection is no way round it; whom one knows by id may be asked for, and others may ask.
    let refusal = server.session(&ada).await?.refused("users", json!({"query": "ben"})).await?;
    ensure!(refusal.retry_after_ms.is_some_and(|ms| (1..=60_000).contains(&ms)), "{refusal:?}");
    client.request("users", json!({"ids": [ada.id]})).await?;
    other.request("users", json!({"query": "ada"})).await?;
    Ok(code(&refusal.code))
}

pub async fn profiles() -> Result<String> {
    const MAX: usize = 3;
    let server = with("limits.profiles_per_minute", 3).await?;
    let (_, mut client) = server.join("ada").await?;
    let change = |n: usize| json!({"display_name": format!("Ada {n}")});
    for n in 0..MAX {
        client.request("profile", change(n)).await?;
    }
    Ok(code(&client.refused("profile", change(MAX)).await?.code))
}

pub async fn typings() -> Result<String> {
    const MAX: usize = 2;
    let server = with("limits.typings_per_s", 2).await?;
    let (_, mut ada) = server.join("ada").await?;
    let (ben, mut hears) = server.join("ben").await?;
    let place = ada.direct(ben.id).await?;
    let typing = || ("typing", json!({"conversation": place}));
    ada.post_all((0..=MAX).map(|_| typing())).await?;
    ada.send(place, "written").await?;
    hears.push("message").await?;
    assert_eq!(hears.kept("typing").len(), MAX);
    Ok("not told".to_owned())
}
