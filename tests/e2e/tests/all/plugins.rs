//! Plugins that behave, misbehave and change while people chat.

use super::bodies;
use anyhow::{Context, Result, ensure};
use godwit_e2e::{
    admin::{Install, expect},
    client::{Client, text},
    server::Server,
};
use godwit_fixtures::{FIXTURE, WORDFILTER};
use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;

fn fixture(config: Value) -> Install {
    Install {
        id: "fixture".to_owned(),
        manifest: godwit_fixtures::manifest(FIXTURE),
        component: godwit_fixtures::component(FIXTURE),
        config: Some(config),
        ..Install::default()
    }
}

fn stamp(marker: &str) -> Install {
    fixture(json!({"normalise": {"mode": "stamp", "marker": marker}}))
}

/// A server, a person's session and their notes.
async fn start() -> Result<(Server, Client, Uuid)> {
    let server = Server::start().await?;
    let (ada, mut client) = server.join("ada").await?;
    let place = client.direct(ada.id).await?;
    Ok((server, client, place))
}

async fn stored(client: &mut Client, place: Uuid) -> Result<Vec<String>> {
    Ok(bodies(&client.history(place, 0).await?).into_iter().map(str::to_owned).collect())
}

#[tokio::test]
async fn a_decision_lets_through_rewrites_or_refuses_and_is_traced() -> Result<()> {
    let (server, mut client, place) = start().await?;
    let config = json!({
        "normalise": {"mode": "stamp", "marker": "seen:"},
        "moderation": {"mode": "reject", "on": "forbidden", "code": "language", "text": "Mind your words."},
    });
    let generation = server.admin.installed(fixture(config)).await?;
    assert_eq!(client.send(place, "hello").await?.seq, 1);
    let refusal = client.refused("send", text(place, Uuid::now_v7(), "a forbidden thing")).await?;
    assert_eq!((refusal.code.as_str(), refusal.temporary), ("moderated", false));
    assert_eq!(refusal.field.as_deref(), Some("language"));
    assert_eq!(refusal.message, "Mind your words.");
    assert_eq!(client.send(place, "bye").await?.seq, 2, "what was refused took no number");
    assert_eq!(stored(&mut client, place).await?, ["seen: hello", "seen: bye"]);
    let trace = server.admin.trace(place, 1).await?;
    assert_eq!(trace["generation"], json!(generation));
    let steps = trace["plugins"].as_array().context("a trace lists plugins")?;
    let steps: Vec<_> = steps.iter().map(|step| (&step["id"], &step["hook"], &step["decision"])).collect();
    let fixture = json!("fixture");
    assert_eq!(
        steps,
        [
            (&fixture, &json!("normalise"), &json!("rewrite")),
            (&fixture, &json!("moderation"), &json!("allow")),
        ]
    );
    Ok(())
}

#[tokio::test]
async fn a_repeat_of_a_rewritten_message_is_known_by_what_was_sent() -> Result<()> {
    let (server, mut client, place) = start().await?;
    server.admin.installed(stamp("v1")).await?;
    let id = Uuid::now_v7();
    client.send_as(place, id, "hello").await?;
    server.admin.installed(stamp("v2")).await?;
    let again = client.send_as(place, id, "hello").await?;
    assert_eq!((again.seq, again.duplicate), (1, true));
    assert_eq!(client.refused("send", text(place, id, "v1 hello")).await?.code, "client_id_reused");
    assert_eq!(stored(&mut client, place).await?, ["v1 hello"]);
    Ok(())
}

#[tokio::test]
async fn moderation_that_breaks_or_takes_too_long_refuses_as_temporary_and_never_lets_through() -> Result<()>
{
    let (server, mut client, place) = start().await?;
    let (_, mut bystander) = server.join("ben").await?;
    let elsewhere = bystander.direct(bystander.user).await?;
    for mode in ["trap", "loop", "grow", "recurse", "huge"] {
        let config = json!({"moderation": {"mode": mode, "on": "bait"}});
        server.admin.installed(fixture(config)).await?;
        let id = Uuid::now_v7();
        let refusal = client.refused("send", text(place, id, "some bait")).await?;
        ensure!(refusal.temporary, "{mode}: {refusal}");
        ensure!(["timeout", "unavailable", "internal"].contains(&refusal.code.as_str()), "{mode}: {refusal}");
        bystander.send(elsewhere, mode).await?;
        // A refusal leaves no trace: the same id is judged afresh.
        client.send_as(place, id, mode).await?;
    }
    assert_eq!(stored(&mut client, place).await?, ["trap", "loop", "grow", "recurse", "huge"]);
    Ok(())
}

#[tokio::test]
async fn normalise_that_breaks_leaves_the_text_as_it_was() -> Result<()> {
    let (server, mut client, place) = start().await?;
    for mode in ["trap", "loop", "huge"] {
        server.admin.installed(fixture(json!({"normalise": {"mode": mode, "on": mode}}))).await?;
        client.send(place, mode).await?;
    }
    assert_eq!(stored(&mut client, place).await?, ["trap", "loop", "huge"]);
    let trap = server.admin.trace(place, 1).await?;
    assert_eq!(trap["plugins"][0]["decision"], "trap");
    let cut = server.admin.trace(place, 2).await?;
    assert_eq!(cut["plugins"][0]["decision"], "deadline");
    Ok(())
}

#[tokio::test]
async fn a_plugin_is_swapped_rolled_back_and_removed_while_people_type() -> Result<()> {
    let (server, mut client, place) = start().await?;
    let first = server.admin.installed(stamp("v1")).await?;
    client.send(place, "a").await?;
    let second = server.admin.installed(stamp("v2")).await?;
    ensure!(second > first, "generations rise: {first}, {second}");
    client.send(place, "b").await?;
    let again = server.admin.installed(stamp("v2")).await?;
    assert_eq!(again, second, "installing the same changes nothing");
    let rolled = server.admin.call(Method::POST, "/admin/v1/plugins/fixture/rollback", None).await?;
    expect(rolled, 200)?;
    client.send(place, "c").await?;
    let (status, answer) = server.admin.call(Method::DELETE, "/admin/v1/plugins/fixture", None).await?;
    ensure!((200..300).contains(&status), "{status} {answer}");
    client.send(place, "d").await?;
    assert_eq!(stored(&mut client, place).await?, ["v1 a", "v2 b", "v1 c", "d"]);
    assert_eq!(server.admin.trace(place, 4).await?["plugins"], json!([]));
    Ok(())
}

#[tokio::test]
async fn what_is_refused_or_only_tried_leaves_the_present_version_in_place() -> Result<()> {
    let (server, mut client, place) = start().await?;
    let generation = server.admin.installed(stamp("v1")).await?;
    let tried = Install { dry_run: true, ..stamp("v2") };
    let (status, answer) = server.admin.install(tried).await?;
    assert_eq!((status, &answer["generation"]), (200, &json!(generation)), "{answer}");
    for mode in ["err", "trap", "loop", "grow"] {
        let (status, answer) = server.admin.install(fixture(json!({"init": {"mode": mode}}))).await?;
        assert_eq!(status, 422, "{mode}: {answer}");
    }
    client.send(place, "hello").await?;
    assert_eq!(stored(&mut client, place).await?, ["v1 hello"]);
    Ok(())
}

#[tokio::test]
async fn the_active_and_the_previous_version_survive_a_restart() -> Result<()> {
    let (mut server, mut client, place) = start().await?;
    server.admin.installed(stamp("v1")).await?;
    let generation = server.admin.installed(stamp("v2")).await?;
    client.send(place, "before").await?;
    let person = server.person("ben").await?;
    server.kill().await?;
    server.restart().await?;
    let mut client = server.session(&person).await?;
    let place = client.direct(person.id).await?;
    client.send(place, "after").await?;
    assert_eq!(server.admin.trace(place, 1).await?["generation"], json!(generation));
    expect(server.admin.call(Method::POST, "/admin/v1/plugins/fixture/rollback", None).await?, 200)?;
    client.send(place, "back").await?;
    assert_eq!(stored(&mut client, place).await?, ["v2 after", "v1 back"]);
    Ok(())
}

#[tokio::test]
async fn what_a_plugin_logs_is_shown_to_operators() -> Result<()> {
    let (server, mut client, place) = start().await?;
    server.admin.installed(fixture(json!({"moderation": {"mode": "log"}}))).await?;
    client.send(place, "hello").await?;
    let logged = async || {
        let answer = server.admin.call(Method::GET, "/admin/v1/plugins/fixture/logs?after=0", None).await?;
        let answer = expect(answer, 200)?;
        Ok(answer.to_string().contains("\"text\"").then_some(()))
    };
    godwit_e2e::eventually("a line of the plugin", logged).await
}

#[tokio::test]
async fn the_shipped_word_filter_masks_and_rejects() -> Result<()> {
    let (server, mut client, place) = start().await?;
    server
        .admin
        .installed(Install {
            id: WORDFILTER.to_owned(),
            manifest: godwit_fixtures::manifest(WORDFILTER),
            component: godwit_fixtures::component(WORDFILTER),
            config: Some(json!({"mask": ["heron"], "reject": ["cormorant"]})),
            ..Install::default()
        })
        .await?;
    client.send(place, "a Heron and herons").await?;
    let refusal = client.refused("send", text(place, Uuid::now_v7(), "a CORMORANT!")).await?;
    assert_eq!((refusal.code.as_str(), refusal.temporary), ("moderated", false));
    ensure!(refusal.field.is_some(), "{refusal}");
    assert_eq!(stored(&mut client, place).await?, ["a ***** and herons"]);
    Ok(())
}
