//! Who is here, told to who watches; and who is writing.

use super::list;
use anyhow::{Context, Result, ensure};
use godwit_e2e::{
    admin::expect,
    client::{Client, Transport},
    server::{Person, Server, UNLIMITED},
};
use reqwest::Method;
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use tokio_tungstenite::tungstenite::Message;
use uuid::Uuid;

/// Soon enough for a test, and far enough apart to be told from at once.
const SOON: &str = "\n[presence]\nonline_after_ms = 300\noffline_after_ms = 500\n";

async fn server(more: &str) -> Result<Server> {
    Server::with(&[UNLIMITED, SOON, more].concat()).await
}

/// What a list of presence says of one user: whether online, and since when not.
fn says(answer: &Value, user: Uuid) -> Result<(bool, Option<u64>)> {
    let found = list(answer, "presence")?.iter().find(|one| one["user"] == json!(user));
    let found = found.with_context(|| format!("nothing of {user} in {answer}"))?;
    Ok((found["online"].as_bool().context("`online` is a bool")?, found["last_seen"].as_u64()))
}

async fn watch(client: &mut Client, users: &[Uuid]) -> Result<Value> {
    Ok(client.request("watch", json!({"users": users})).await?)
}

async fn asked(client: &mut Client, user: Uuid) -> Result<(bool, Option<u64>)> {
    says(&client.request("presence", json!({"users": [user]})).await?, user)
}

/// The next push of presence, which is of that user.
async fn told(client: &mut Client, user: Uuid) -> Result<(bool, Option<u64>)> {
    let push = client.push("presence").await?;
    says(&json!({"presence": [push]}), user)
}

/// Ada, who is away, and ben, who may see her.
async fn pair(server: &Server) -> Result<(Person, Person, Client)> {
    let ada = server.person("ada").await?;
    let (ben, mut watcher) = server.join("ben").await?;
    watcher.direct(ada.id).await?;
    Ok((ada, ben, watcher))
}

#[tokio::test]
async fn comings_and_goings_are_told_to_who_watches_when_they_have_settled_over_every_transport() -> Result<()>
{
    let server = server("").await?;
    let (ben, mut watcher) = server.join("ben").await?;
    let mut bystander = server.session(&ben).await?;
    for (transport, name) in Transport::ALL.into_iter().zip(["ada", "cleo", "dora"]) {
        let person = server.person(name).await?;
        watcher.direct(person.id).await?;
        assert_eq!(says(&watch(&mut watcher, &[person.id]).await?, person.id)?, (false, None));
        let began = Instant::now();
        let client = server.session_over(transport, &person).await?;
        assert_eq!(told(&mut watcher, person.id).await?, (true, None), "{transport:?}");
        ensure!(began.elapsed() >= Duration::from_millis(300), "{transport:?}: told at once");
        assert_eq!(asked(&mut watcher, person.id).await?, (true, None));
        let left = Instant::now();
        match transport {
            Transport::WebSocket => drop(client),
            // A session over HTTP goes on when its connections end.
            _ => {
                let (path, body) =
                    (format!("/admin/v1/users/{}/disabled", person.id), json!({"disabled": true}));
                expect(server.admin.call(Method::PUT, &path, Some(&body)).await?, 204)?;
            }
        }
        let (online, last_seen) = told(&mut watcher, person.id).await?;
        ensure!(!online && last_seen.is_some(), "{transport:?}: {last_seen:?}");
        ensure!(left.elapsed() >= Duration::from_millis(500), "{transport:?}: told at once");
        assert_eq!(asked(&mut watcher, person.id).await?, (false, last_seen));
    }
    bystander.listen(Duration::from_millis(100)).await?;
    ensure!(bystander.kept("presence").is_empty(), "who does not watch is told nothing");
    Ok(())
}

#[tokio::test]
async fn several_devices_are_one_person_and_a_watched_set_takes_the_place_of_the_one_before() -> Result<()> {
    let server = server("").await?;
    let (ada, _, mut watcher) = pair(&server).await?;
    let cleo = server.person("cleo").await?;
    watcher.direct(cleo.id).await?;
    watch(&mut watcher, &[ada.id, ada.id, cleo.id]).await?;
    let phone = server.session(&ada).await?;
    assert!(told(&mut watcher, ada.id).await?.0);
    let laptop = server.session(&ada).await?;
    drop(phone);
    watcher.listen(Duration::from_millis(1_000)).await?;
    ensure!(watcher.kept("presence").is_empty(), "one of two devices went: {:?}", watcher.kept("presence"));
    assert_eq!(says(&watch(&mut watcher, &[cleo.id]).await?, cleo.id)?, (false, None));
    drop(laptop);
    let _cleo = server.session(&cleo).await?;
    assert_eq!(told(&mut watcher, cleo.id).await?, (true, None), "and nothing of who is no longer watched");
    let users: Vec<_> = (0..=200).map(Uuid::from_u128).collect();
    for name in ["watch", "presence"] {
        let refusal = watcher.refused(name, json!({"users": users})).await?;
        assert_eq!((&*refusal.code, refusal.field.as_deref()), ("invalid", Some("users")));
        let all = watcher.request(name, json!({"users": users[..200]})).await?;
        assert_eq!(list(&all, "presence")?.len(), 200);
    }
    Ok(())
}

#[tokio::test]
async fn a_socket_without_a_sign_of_life_is_gone_after_two_pings() -> Result<()> {
    let server = server("[gateway]\nping_interval_ms = 1000\n").await?;
    let (ada, _, mut watcher) = pair(&server).await?;
    watch(&mut watcher, &[ada.id]).await?;
    // It never reads again, and so answers no ping.
    let _silent = server.session(&ada).await?;
    let began = Instant::now();
    assert!(told(&mut watcher, ada.id).await?.0);
    assert!(!told(&mut watcher, ada.id).await?.0);
    ensure!(began.elapsed() >= Duration::from_millis(2_000), "after {:?}", began.elapsed());
    Ok(())
}

#[tokio::test]
async fn strangers_see_nothing_until_they_share_a_small_conversation_and_nothing_more_when_they_part()
-> Result<()> {
    let server = Server::with(&format!("{UNLIMITED}follow_above = 3\n{SOON}")).await?;
    let (ada, mut here) = server.join("ada").await?;
    let (ben, mut watcher) = server.join("ben").await?;
    let (cleo, _cleo) = server.join("cleo").await?;
    let dora = server.person("dora").await?;
    let eve = server.person("eve").await?;
    // Many are in: that brings nobody together.
    here.group("Waders", &[ben.id, cleo.id, dora.id]).await?;
    let unknown = Uuid::now_v7();
    let all = watch(&mut watcher, &[ada.id, unknown, dora.id, ben.id]).await?;
    for user in [ada.id, unknown, dora.id] {
        assert_eq!(says(&all, user)?, (false, None));
    }
    let small = here.group("Snipes", &[cleo.id]).await?;
    watcher.listen(Duration::from_millis(700)).await?;
    let heard: Vec<_> = watcher.kept("presence").into_iter().map(|one| one["user"].clone()).collect();
    assert!(heard.iter().all(|user| *user == json!(ben.id)), "of oneself alone: {heard:?}");
    watcher.forget();
    here.request("invite", json!({"conversation": small, "users": [ben.id]})).await?;
    assert_eq!(told(&mut watcher, ada.id).await?, (true, None), "who came in sees who is there");
    here.request("invite", json!({"conversation": small, "users": [eve.id]})).await?;
    assert_eq!(told(&mut watcher, ada.id).await?, (false, None), "too many are in");
    here.request("remove", json!({"conversation": small, "user": eve.id})).await?;
    assert_eq!(told(&mut watcher, ada.id).await?, (true, None));
    here.request("remove", json!({"conversation": small, "user": ben.id})).await?;
    assert_eq!(told(&mut watcher, ada.id).await?, (false, None), "and not since when");
    assert_eq!(asked(&mut watcher, ada.id).await?, (false, None));
    Ok(())
}

#[tokio::test]
async fn who_shows_themselves_to_nobody_reads_as_offline_from_then_on() -> Result<()> {
    let server = server("").await?;
    let (ada, _, mut watcher) = pair(&server).await?;
    let mut here = server.session(&ada).await?;
    watch(&mut watcher, &[ada.id]).await?;
    assert!(told(&mut watcher, ada.id).await?.0);
    for shown in ["nobody", "contacts"] {
        here.request("profile", json!({"privacy": {"presence": shown}})).await?;
        assert_eq!(told(&mut watcher, ada.id).await?, (false, None), "{shown}");
        assert_eq!(asked(&mut watcher, ada.id).await?, (false, None), "{shown}");
        assert_eq!(asked(&mut here, ada.id).await?, (true, None), "one sees oneself");
        here.request("profile", json!({"privacy": {"presence": "everyone"}})).await?;
        assert_eq!(told(&mut watcher, ada.id).await?, (true, None));
    }
    Ok(())
}

#[tokio::test]
async fn when_someone_was_seen_last_outlives_the_host() -> Result<()> {
    let mut server = server("").await?;
    let (ada, ben, mut watcher) = pair(&server).await?;
    watch(&mut watcher, &[ada.id]).await?;
    let here = server.session(&ada).await?;
    assert!(told(&mut watcher, ada.id).await?.0);
    drop(here);
    let (_, seen) = told(&mut watcher, ada.id).await?;
    drop(watcher);
    // It is written within seconds of being here, and again when the host ends.
    ensure!(server.terminate().await?.success(), "{}", server.log());
    server.restart().await?;
    let mut watcher = server.session(&ben).await?;
    assert_eq!(asked(&mut watcher, ada.id).await?, (false, seen));
    let metrics = server.admin.metrics().await?;
    ensure!(
        metrics.contains("godwit_online ") && metrics.contains("godwit_last_seen_failures_total 0"),
        "{metrics}"
    );
    Ok(())
}

#[tokio::test]
async fn who_is_writing_is_told_to_the_others_over_every_transport_and_never_answered_or_kept() -> Result<()>
{
    let server = server("").await?;
    let (ada, mut writer) = server.join("ada").await?;
    let (ben, mut hears) = server.join("ben").await?;
    let (_, mut stranger) = server.join("sven").await?;
    let mut own = server.session(&ada).await?;
    let place = writer.direct(ben.id).await?;
    let typing = json!({"typing": {"conversation": place}});
    writer.raw(Message::text(typing.to_string())).await?;
    let told = hears.push("typing").await?;
    assert_eq!(told, json!({"conversation": place, "user": ada.id}));
    for transport in [Transport::LongPoll, Transport::ServerSentEvents] {
        let mut client = server.session_over(transport, &ada).await?;
        let id = client.post("typing", typing["typing"].clone()).await?;
        hears.push("typing").await?;
        client.request("active", json!({"active": true})).await?;
        ensure!(client.take_reply(id).is_none(), "{transport:?}: there is no answer");
    }
    let id = stranger.post("typing", typing["typing"].clone()).await?;
    stranger.request("active", json!({"active": true})).await?;
    ensure!(stranger.take_reply(id).is_none(), "nobody learns what is there");
    assert_eq!(stranger.refused("typing", json!({})).await?.field.as_deref(), Some("conversation"));
    // What comes behind it shows that nothing else came.
    writer.send(place, "written").await?;
    hears.push("message").await?;
    own.push("message").await?;
    ensure!(
        hears.kept("typing").is_empty() && own.kept("typing").is_empty(),
        "to the others alone, once each"
    );
    let back = server.session(&ben).await?;
    assert_eq!(back.connected["conversations"][0]["last_seq"], 1);
    Ok(())
}

#[tokio::test]
async fn in_large_conversations_who_follows_hears_who_is_writing_and_readers_write_nothing() -> Result<()> {
    let server = Server::with(&format!("{UNLIMITED}follow_above = 2\n{SOON}")).await?;
    let (_, mut ada) = server.join("ada").await?;
    let (ben, mut follower) = server.join("ben").await?;
    let (cleo, mut other) = server.join("cleo").await?;
    let place = ada.group("Waders", &[ben.id, cleo.id]).await?;
    let here = json!({"conversation": place});
    follower.request("follow", here.clone()).await?;
    ada.request("set_role", json!({"conversation": place, "user": cleo.id, "role": "reader"})).await?;
    other.post("typing", here.clone()).await?;
    other.request("active", json!({"active": true})).await?;
    ada.post("typing", here).await?;
    assert_eq!(follower.push("typing").await?["user"], json!(ada.user), "and not the reader");
    other.listen(Duration::from_millis(200)).await?;
    ensure!(other.kept("typing").is_empty(), "who does not follow hears nothing");
    Ok(())
}
