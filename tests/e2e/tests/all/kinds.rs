//! What a conversation is set to: found by anyone, who may post, how often.

use super::list;
use anyhow::{Result, bail};
use godwit_e2e::{
    client::{Client, Failure, text},
    server::Server,
};
use serde_json::{Value, json};
use std::time::Duration;
use uuid::Uuid;

async fn titles(client: &mut Client, asked: Value) -> Result<Vec<String>> {
    let found = client.request("discover", asked).await?;
    let title = |one: &Value| one["title"].as_str().unwrap_or_default().to_owned();
    let mut titles: Vec<_> = list(&found, "conversations")?.iter().map(title).collect();
    titles.sort();
    Ok(titles)
}

#[tokio::test]
async fn open_conversations_are_found_by_anyone_and_closed_ones_by_nobody() -> Result<()> {
    let mut server = Server::start().await?;
    let (ada, mut owner) = server.join("ada").await?;
    let (ben, mut visitor) = server.join("ben").await?;
    let mut places = Vec::new();
    for (title, kind, open) in [
        ("Wading birds", "group", true),
        ("BIRDS of prey", "channel", true),
        ("Secret birds", "group", false),
    ] {
        let create = json!({"kind": kind, "client_id": Uuid::now_v7(), "title": title, "open": open});
        places.push(owner.request("create", create).await?["conversation"]["id"].clone());
    }
    assert_eq!(titles(&mut visitor, json!({})).await?, ["BIRDS of prey", "Wading birds"]);
    assert_eq!(titles(&mut visitor, json!({"query": "birds OF"})).await?, ["BIRDS of prey"]);
    assert_eq!(titles(&mut visitor, json!({"query": "fish"})).await?, Vec::<String>::new());
    let first = visitor.request("discover", json!({"limit": 1})).await?;
    let second = visitor.request("discover", json!({"limit": 1, "page": first["next"]})).await?;
    assert_ne!(first["conversations"][0]["id"], second["conversations"][0]["id"]);
    assert_eq!(first["conversations"][0]["last_message"], Value::Null, "seen from outside");
    let unreadable = visitor.refused("discover", json!({"page": "no page"})).await?;
    assert_eq!(unreadable.field.as_deref(), Some("page"));
    let long = visitor.refused("discover", json!({"query": "x".repeat(101)})).await?;
    assert_eq!((long.code.as_str(), long.field.as_deref()), ("invalid", Some("query")));
    owner.request("update", json!({"conversation": places[0], "open": false})).await?;
    owner.request("update", json!({"conversation": places[2], "open": true, "title": "No secret"})).await?;
    server.kill().await?;
    server.restart().await?;
    let mut visitor = server.session(&ben).await?;
    assert_eq!(titles(&mut visitor, json!({})).await?, ["BIRDS of prey", "No secret"]);
    let mut owner = server.session(&ada).await?;
    owner.request("leave", json!({"conversation": places[2]})).await?;
    assert_eq!(titles(&mut visitor, json!({})).await?, ["BIRDS of prey"], "where nobody is, nobody lets in");
    Ok(())
}

#[tokio::test]
async fn slow_mode_makes_members_wait_and_admins_not() -> Result<()> {
    let server = Server::start().await?;
    let (_, mut owner) = server.join("ada").await?;
    let (ben, mut member) = server.join("ben").await?;
    let place = owner.group("Waders", &[ben.id]).await?;
    let slow = |seconds: Value| json!({"conversation": place, "slow_mode_s": seconds});
    assert_eq!(member.refused("update", slow(json!(2))).await?.code, "forbidden");
    let long = owner.refused("update", slow(json!(86_401))).await?;
    assert_eq!((long.code.as_str(), long.field.as_deref()), ("invalid", Some("slow_mode_s")));
    let rev = owner.request("update", slow(json!(2))).await?["rev"].clone();
    let told = loop {
        let told = member.push("revision").await?;
        if told["rev"] == rev {
            break told;
        }
    };
    assert_eq!(told["meta"], json!({"slow_mode_s": 2}));
    let first = Uuid::now_v7();
    // Two in one frame are one batch.
    let [one, two] = [first, Uuid::now_v7()].map(|client| ("send", text(place, client, "x")));
    let ids = member.post_all([one, two]).await?;
    assert_eq!(member.reply(ids[0]).await?["seq"], 1);
    let Err(Failure::Refused(refused)) = member.reply(ids[1]).await else { bail!("it is refused") };
    let wait = refused.retry_after_ms.unwrap_or_default();
    assert!(
        refused.code == "rate_limited" && refused.temporary && (1..=2_000).contains(&wait),
        "{refused:?}"
    );
    assert_eq!(member.send_as(place, first, "x").await?.seq, 1, "a repeat gets its first answer");
    for n in 2..4 {
        assert_eq!(owner.send(place, "from the owner").await?.seq, n);
    }
    tokio::time::sleep(Duration::from_millis(wait)).await;
    assert_eq!(member.send(place, "later").await?.seq, 4);
    owner.request("update", slow(Value::Null)).await?;
    assert_eq!(member.send(place, "at once").await?.seq, 5);
    let shown = member.request("conversation", json!({"conversation": place})).await?;
    assert_eq!(shown["conversation"]["slow_mode_s"], Value::Null);
    Ok(())
}

#[tokio::test]
async fn where_admins_alone_post_members_read() -> Result<()> {
    let server = Server::start().await?;
    let (_, mut owner) = server.join("ada").await?;
    let (ben, mut member) = server.join("ben").await?;
    let place = owner.group("Announcements", &[ben.id]).await?;
    owner.request("update", json!({"conversation": place, "posting": "admins"})).await?;
    assert_eq!(member.refused("send", text(place, Uuid::now_v7(), "x")).await?.code, "read_only");
    owner.send(place, "hear, hear").await?;
    let role = json!({"conversation": place, "user": ben.id, "role": "admin"});
    owner.request("set_role", role).await?;
    member.send(place, "thank you").await?;
    owner.request("update", json!({"conversation": place, "posting": "members"})).await?;
    let wrong = owner.refused("update", json!({"conversation": place, "posting": "nobody"})).await?;
    assert_eq!((wrong.code.as_str(), wrong.field.as_deref()), ("invalid", Some("posting")));
    Ok(())
}

#[tokio::test]
async fn a_link_lets_in_whoever_has_it_until_it_ends() -> Result<()> {
    let mut server = Server::start().await?;
    let (ada, mut owner) = server.join("ada").await?;
    let (_, mut ben) = server.join("ben").await?;
    let cleo = server.person("cleo").await?;
    let place = owner.group("Waders", &[]).await?;
    let link = owner.request("link", json!({"conversation": place})).await?["link"].clone();
    let short =
        owner.request("link", json!({"conversation": place, "expires_in_s": 1})).await?["link"].clone();
    assert!(short["expires_at"].as_u64() > short["created_at"].as_u64(), "{short}");
    let listed = owner.request("links", json!({"conversation": place})).await?;
    assert_eq!(list(&listed, "links")?.len(), 2);
    assert_eq!(ben.refused("conversation", json!({"conversation": place})).await?.code, "not_found");
    let rev = ben.request("join", json!({"code": link["code"]})).await?["rev"].clone();
    assert_eq!(ben.push("conversation").await?["role"], "member");
    assert_eq!(ben.request("join", json!({"code": link["code"]})).await?["rev"], rev, "in already");
    assert_eq!(ben.refused("link", json!({"conversation": place})).await?.code, "forbidden");
    server.kill().await?;
    server.restart().await?;
    let (mut owner, mut late) = (server.session(&ada).await?, server.session(&cleo).await?);
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    let ended = late.refused("join", json!({"code": short["code"]})).await?;
    assert_eq!((ended.code.as_str(), ended.field.as_deref()), ("not_found", Some("code")));
    owner.request("unlink", json!({"conversation": place, "code": link["code"]})).await?;
    for wrong in [link["code"].clone(), json!("no code")] {
        assert_eq!(late.refused("join", json!({"code": wrong})).await?.code, "not_found");
    }
    assert_eq!(late.refused("join", json!({})).await?.code, "invalid");
    for seconds in [0, u64::MAX] {
        let wrong = owner.refused("link", json!({"conversation": place, "expires_in_s": seconds})).await?;
        assert_eq!((wrong.code.as_str(), wrong.field.as_deref()), ("invalid", Some("expires_in_s")));
    }
    Ok(())
}
