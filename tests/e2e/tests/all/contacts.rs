//! Contacts: asked for, agreed to, ended and blocked, as both sides and all their devices are told.

use super::list;
use anyhow::{Result, ensure};
use godwit_e2e::{
    client::{Client, Failure},
    server::Server,
};
use serde_json::{Value, json};
use uuid::Uuid;

async fn act(client: &mut Client, user: Uuid, action: &str) -> Result<Value, Failure> {
    Ok(client.request("contact", json!({"user": user, "action": action})).await?["contact"].clone())
}

/// The states of one's contacts, by name.
async fn states(client: &mut Client) -> Result<Vec<(String, String)>> {
    let listed = client.request("contacts", json!({})).await?;
    named(&listed["contacts"])
}

fn named(contacts: &Value) -> Result<Vec<(String, String)>> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let contacts = contacts.as_array().into_iter().flatten();
    Ok(contacts.map(|contact| (text(&contact["user"]["name"]), text(&contact["state"]))).collect())
}

fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    expected.iter().map(|(name, state)| ((*name).to_owned(), (*state).to_owned())).collect()
}

#[tokio::test]
async fn a_request_that_is_accepted_makes_contacts_of_both_on_all_their_devices() -> Result<()> {
    let mut server = Server::start().await?;
    let (ada, mut first) = server.join("ada").await?;
    let mut laptop = server.session(&ada).await?;
    let (ben, mut second) = server.join("ben").await?;
    let asked = act(&mut first, ben.id, "request").await?;
    assert_eq!((&asked["state"], &asked["user"]["name"]), (&json!("requested"), &json!("ben")));
    assert_eq!(laptop.push("contact").await?, asked, "the own other device");
    let hears = second.push("contact").await?;
    assert_eq!((&hears["state"], &hears["user"]["id"]), (&json!("asked"), &json!(ada.id)));
    assert_eq!(act(&mut first, ben.id, "request").await?, asked, "a repeat changes nothing");
    assert_eq!(states(&mut second).await?, pairs(&[("ada", "asked")]));
    let conflict = first.refused("contact", json!({"user": ben.id, "action": "accept"})).await?;
    assert_eq!(conflict.code, "conflict", "who asked does not answer");
    let friends = act(&mut second, ada.id, "accept").await?;
    assert_eq!(friends["state"], "friend");
    assert!(friends["since"].as_u64() >= asked["since"].as_u64());
    assert_eq!(first.push("contact").await?["state"], "friend");
    assert_eq!(act(&mut second, ada.id, "accept").await?, friends, "a repeat changes nothing");
    server.kill().await?;
    server.restart().await?;
    for (person, other) in [(&ada, "ben"), (&ben, "ada")] {
        let client = server.session(person).await?;
        assert_eq!(named(&client.connected["contacts"])?, pairs(&[(other, "friend")]), "a cold start");
    }
    let mut first = server.session(&ada).await?;
    let mut second = server.session(&ben).await?;
    assert_eq!(act(&mut first, ben.id, "remove").await?["state"], "none");
    assert_eq!(second.push("contact").await?["state"], "none");
    assert_eq!(states(&mut first).await?, []);
    assert_eq!(states(&mut second).await?, []);
    Ok(())
}

#[tokio::test]
async fn requests_that_cross_make_contacts_and_what_is_declined_can_be_asked_again() -> Result<()> {
    let server = Server::start().await?;
    let (ada, mut first) = server.join("ada").await?;
    let (ben, mut second) = server.join("ben").await?;
    let ids = [
        first.post("contact", json!({"user": ben.id, "action": "request"})).await?,
        second.post("contact", json!({"user": ada.id, "action": "request"})).await?,
    ];
    first.reply(ids[0]).await?;
    second.reply(ids[1]).await?;
    assert_eq!(states(&mut first).await?, pairs(&[("ben", "friend")]));
    assert_eq!(states(&mut second).await?, pairs(&[("ada", "friend")]));
    act(&mut first, ben.id, "remove").await?;
    act(&mut first, ben.id, "request").await?;
    assert_eq!(act(&mut second, ada.id, "decline").await?["state"], "none");
    let again = second.refused("contact", json!({"user": ada.id, "action": "decline"})).await?;
    assert_eq!((again.code.as_str(), again.temporary), ("conflict", false));
    assert_eq!(act(&mut first, ben.id, "request").await?["state"], "requested");
    for (payload, code) in [
        (json!({"user": ada.id, "action": "request"}), "invalid"),
        (json!({"user": Uuid::new_v4(), "action": "request"}), "unknown_user"),
        (json!({"user": ben.id, "action": "hug"}), "invalid"),
    ] {
        let refused = first.refused("contact", payload.clone()).await?;
        let field = if payload["action"] == "hug" { "action" } else { "user" };
        assert_eq!((refused.code.as_str(), refused.field.as_deref()), (code, Some(field)), "{payload}");
    }
    Ok(())
}

#[tokio::test]
async fn a_device_that_was_away_is_told_what_became_of_contacts_and_of_those_alone() -> Result<()> {
    let server = Server::start().await?;
    let (ada, mut first) = server.join("ada").await?;
    let mut names = Vec::new();
    for name in ["ben", "cleo", "dora"] {
        let (person, client) = server.join(name).await?;
        names.push((person, client));
    }
    for (person, other) in &mut names {
        act(&mut first, person.id, "request").await?;
        act(other, ada.id, "accept").await?;
    }
    let away = server.session(&ada).await?;
    let resume = json!({"epoch": away.connected["epoch"], "cursor": away.connected["cursor"]});
    assert_eq!(list(&away.connected, "contacts")?.len(), 3);
    drop(away);
    act(&mut first, names[0].0.id, "remove").await?;
    act(&mut names[1].1, ada.id, "block").await?;
    let mut back = Client::open(server.public).await?;
    let connect = json!({"token": ada.token, "device": {"id": "phone"}, "resume": resume});
    let connected = back.request("connect", connect).await?;
    assert_eq!(connected["recovered"], true);
    let mut told = named(&connected["contacts"])?;
    told.sort();
    assert_eq!(told, pairs(&[("ben", "none"), ("cleo", "none")]), "who blocks is not told so");
    Ok(())
}

#[tokio::test]
async fn many_contacts_come_page_by_page_each_once() -> Result<()> {
    let server = Server::start().await?;
    let (_, mut ada) = server.join("ada").await?;
    let mut expected = Vec::new();
    for n in 0..7 {
        let person = server.person(&format!("friend-{n}")).await?;
        act(&mut ada, person.id, "request").await?;
        expected.push(person.name);
    }
    let (mut told, mut page) = (Vec::new(), Value::Null);
    loop {
        let answer = ada.request("contacts", json!({"limit": 3, "page": page})).await?;
        ensure!(list(&answer, "contacts")?.len() <= 3, "{answer}");
        told.extend(named(&answer["contacts"])?.into_iter().map(|(name, _)| name));
        page = answer["next"].clone();
        if page.is_null() {
            break;
        }
    }
    told.sort();
    assert_eq!(told, expected);
    let unreadable = ada.refused("contacts", json!({"page": "no page"})).await?;
    assert_eq!((unreadable.code.as_str(), unreadable.field.as_deref()), ("invalid", Some("page")));
    Ok(())
}
