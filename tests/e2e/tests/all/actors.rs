//! Bots, commands, webhooks and timers: real guests at the real binary, over restarts and kills.
//!
//! The plugin is the fixture of actors, which takes the steps that a message, a command or a request carries.

use super::bodies;
use anyhow::{Context, Result, ensure};
use godwit_e2e::{
    admin::{Install, expect},
    client::Client,
    eventually,
    server::{Person, Server, UNLIMITED, run},
};
use godwit_fixtures::ACTOR;
use reqwest::Method;
use serde_json::{Value, json};
use std::{
    collections::HashSet,
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use uuid::Uuid;

const ID: &str = "fixture-actor";
const PLUGIN: &str = "/admin/v1/plugins/fixture-actor";

fn fixture() -> Install {
    Install {
        id: ID.to_owned(),
        manifest: godwit_fixtures::manifest(ACTOR),
        component: godwit_fixtures::component(ACTOR),
        grants: ["kv", "send", "history", "members", "timer", "secret", "http"].map(str::to_owned).to_vec(),
        ..Install::default()
    }
}

/// Ada's group with the fixture in it.
struct Room {
    server: Server,
    ada: Person,
    client: Client,
    place: Uuid,
    bot: Uuid,
}

impl Room {
    async fn open() -> Result<Self> {
        let server = Server::with(UNLIMITED).await?;
        server.admin.installed(fixture()).await?;
        let at_work = eventually("the plugin at work", async || {
            let status = expect(server.admin.call(Method::GET, PLUGIN, None).await?, 200)?;
            Ok(status["at_work"]["user"].as_str().map(str::to_owned))
        });
        let bot = at_work.await?.parse()?;
        let (ada, mut client) = server.join("ada").await?;
        let place = client.group("Waders", &[bot]).await?;
        Ok(Self { server, ada, client, place, bot })
    }

    /// What the plugin answers to a command.
    async fn told(&mut self, steps: Value) -> Result<Value> {
        let arguments = json!({ "steps": steps.to_string() });
        let told = self.command(Uuid::now_v7(), arguments).await?;
        Ok(serde_json::from_str(told["reply"]["body"].as_str().context("a reply")?)?)
    }

    async fn command(&mut self, client_id: Uuid, arguments: Value) -> Result<Value> {
        let payload =
            json!({"conversation": self.place, "client_id": client_id, "name": "do", "arguments": arguments});
        Ok(self.client.request("command", payload).await?)
    }

    async fn restart(&mut self) -> Result<()> {
        self.server.restart().await?;
        self.client = self.server.session(&self.ada).await?;
        Ok(())
    }

    /// All that stands in the conversation.
    async fn said(&mut self) -> Result<Vec<String>> {
        let read = self.client.history(self.place, 0).await?;
        Ok(bodies(&read).into_iter().map(str::to_owned).collect())
    }
}

fn now_ms() -> Result<u64> {
    Ok(SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis().try_into()?)
}

#[tokio::test]
async fn a_bot_that_is_invited_hears_answers_and_remembers() -> Result<()> {
    let mut room = Room::open().await?;
    room.client.send(room.place, r#"[{"set": ["tea/ada", "green"]}, {"send": "noted"}]"#).await?;
    let noted = loop {
        let pushed = room.client.push("message").await?;
        if pushed["body"] == "noted" {
            break pushed;
        }
    };
    assert_eq!((&noted["sender"], &noted["via"]), (&json!(room.bot), &json!(ID)));
    assert_eq!(room.told(json!([{"get": "tea/ada"}])).await?, json!(["green"]));
    room.server.terminate().await?;
    room.restart().await?;
    assert_eq!(room.told(json!([{"get": "tea/ada"}])).await?, json!(["green"]));
    assert_eq!(room.said().await?.last().map(String::as_str), Some("noted"), "said once");
    Ok(())
}

#[tokio::test]
async fn what_a_bot_is_not_granted_it_does_not_get() -> Result<()> {
    let server = Server::with(UNLIMITED).await?;
    let answer = server.admin.install(Install { grants: vec!["kv".to_owned()], ..fixture() }).await?;
    let told = answer.1.to_string();
    ensure!(told.contains("send"), "{told}");
    let (_, mut client) = server.join("ada").await?;
    let place = client.group("Waders", &[]).await?;
    let listed = client.request("commands", json!({ "conversation": place })).await?;
    assert_eq!(listed["commands"], json!([]), "a version that waits for its grant serves nothing");
    Ok(())
}

#[tokio::test]
async fn commands_are_listed_checked_and_answered_once() -> Result<()> {
    let mut room = Room::open().await?;
    let listed = room.client.request("commands", json!({ "conversation": room.place })).await?;
    let listed = &listed["commands"][0];
    assert_eq!((&listed["plugin"], &listed["name"]), (&json!(ID), &json!("do")));
    assert_eq!(
        listed["arguments"][0],
        json!({"name": "steps", "type": "text", "required": true, "help": "The steps, in JSON."})
    );
    for (arguments, field) in [
        (json!({}), "arguments.steps"),
        (json!({"steps": 7}), "arguments.steps"),
        (json!({"steps": "[]", "count": "many"}), "arguments.count"),
        (json!({"steps": "[]", "colour": "red"}), "arguments.colour"),
    ] {
        let payload = json!({"conversation": room.place, "client_id": Uuid::now_v7(), "name": "do", "arguments": arguments});
        let refusal = room.client.refused("command", payload).await?;
        assert_eq!((refusal.code.as_str(), refusal.field.as_deref()), ("invalid", Some(field)), "{refusal}");
    }
    let once = Uuid::now_v7();
    let steps = json!({"steps": r#"[{"get": "n/n"}, {"set": ["n/n", "1"]}, {"send": "counted"}]"#});
    let first = room.command(once, steps.clone()).await?;
    room.server.kill().await?;
    room.restart().await?;
    assert_eq!(room.command(once, steps).await?, first, "a retry gets the first answer, over a kill as well");
    let counted = eventually("what the command said", async || {
        let mut reader = room.server.session(&room.ada).await?;
        let read = reader.history(room.place, 0).await?;
        Ok((!read.is_empty()).then(|| bodies(&read).into_iter().map(str::to_owned).collect::<Vec<_>>()))
    });
    assert_eq!(counted.await?, ["counted"], "and it is done once");
    Ok(())
}

#[tokio::test]
async fn a_webhook_is_answered_and_done_once_for_its_key() -> Result<()> {
    let mut room = Room::open().await?;
    let url = format!("http://{}/v1/hooks/fixture-actor/deploys/7?by=ci", room.server.public);
    let http = reqwest::Client::new();
    let mut answers = Vec::new();
    for _ in 0..2 {
        let request = http
            .post(&url)
            .header("idempotency-key", "d-7")
            .body(r#"[{"get": "d/7"}, {"set": ["d/7", "x"]}]"#);
        let answer = request.send().await?;
        assert_eq!(answer.status(), 200);
        answers.push(answer.text().await?);
        if answers.len() == 1 {
            room.server.kill().await?;
            room.server.restart().await?;
        }
    }
    assert_eq!(answers[0], answers[1], "the second is the first one's answer");
    assert_eq!(answers[0], r#"[null,"ok"]"#);
    let missing = http.post(url.replace(ID, "nobody")).send().await?;
    assert_eq!(missing.status(), 404);
    Ok(())
}

#[tokio::test]
async fn a_timer_rings_over_a_restart_and_a_cancelled_one_does_not() -> Result<()> {
    let mut room = Room::open().await?;
    let at = now_ms()? + 1_500;
    let rings = |key: &str| format!(r#"[{{"set": ["rang/{key}", "yes"]}}]"#);
    let set = json!([{"timer": ["tea", at, rings("tea")]}, {"timer": ["egg", at, rings("egg")]}, {"cancel": "egg"}]);
    assert_eq!(room.told(set).await?[0], "ok");
    room.server.kill().await?;
    tokio::time::sleep(Duration::from_millis(1_600)).await;
    room.restart().await?;
    for _ in 0..100 {
        let rang = room.told(json!([{"get": "rang/tea"}, {"get": "rang/egg"}])).await?;
        assert_eq!(rang[1], Value::Null, "a cancelled timer rang");
        if rang[0] == "yes" {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    anyhow::bail!("the timer did not ring: {}", room.server.log())
}

#[tokio::test]
async fn what_a_bot_never_heard_is_a_dead_letter_that_operators_read_drive_again_and_drop() -> Result<()> {
    let mut room = Room::open().await?;
    room.client.send(room.place, r#"[{"drop": "not for me"}]"#).await?;
    let address = room.server.admin.address().to_string();
    let token = room.server.admin_token()?;
    let environment = [("GODWIT_ADMIN", address.as_str()), ("GODWIT_ADMIN_TOKEN", token.as_str())];
    let dead = async |arguments: &[&str]| {
        let done = run(&[&["plugin", "dead"], arguments].concat(), &environment).await?;
        ensure!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        anyhow::Ok(String::from_utf8(done.stdout)?)
    };
    let listed = eventually("a dead letter", async || {
        let listed: Value = serde_json::from_str(&dead(&["list", ID, "--json"]).await?)?;
        Ok(listed["letters"].get(0).cloned())
    });
    let letter = listed.await?;
    let number = letter["n"].to_string();
    ensure!(letter["why"].as_str().is_some_and(|why| why.contains("not for me")), "{letter}");
    ensure!(!letter.to_string().contains("\"drop\""), "a letter keeps no text: {letter}");
    let table = dead(&["list", ID]).await?;
    ensure!(table.contains("not for me") && table.contains("message 1"), "{table}");
    dead(&["redrive", ID, &number]).await?;
    let again = eventually("the letter, dead again", async || {
        let listed: Value = serde_json::from_str(&dead(&["list", ID, "--json"]).await?)?;
        Ok(listed["letters"].get(0).map(|letter| letter["n"].to_string()))
    });
    dead(&["drop", ID, &again.await?]).await?;
    assert_eq!(dead(&["list", ID]).await?, "fixture-actor has no dead letters.\n");
    Ok(())
}

#[tokio::test]
async fn bots_that_answer_each_other_come_to_an_end() -> Result<()> {
    let mut room = Room::open().await?;
    let manifest = godwit_fixtures::manifest(ACTOR).replace("id = \"fixture-actor\"", "id = \"other-actor\"");
    room.server.admin.installed(Install { id: "other-actor".to_owned(), manifest, ..fixture() }).await?;
    let other = eventually("the other plugin at work", async || {
        let path = "/admin/v1/plugins/other-actor";
        let status = expect(room.server.admin.call(Method::GET, path, None).await?, 200)?;
        Ok(status["at_work"]["user"].as_str().map(str::to_owned))
    });
    let payload = json!({"conversation": room.place, "users": [other.await?]});
    room.client.request("invite", payload).await?;
    // Each says what makes the other one say the same, one level less deep: more levels than there are hops.
    let mut body = json!([{"log": "end"}]);
    for _ in 0..12 {
        body = json!([{ "send": body.to_string() }]);
    }
    room.client.send(room.place, &body.to_string()).await?;
    eventually("the loop's end", async || {
        let metrics = room.server.admin.metrics().await?;
        let looped = metrics.lines().find(|line| line.starts_with("godwit_actor_looped_total"));
        Ok(looped.filter(|line| !line.ends_with(" 0")).map(|_| ()))
    })
    .await?;
    let said = room.said().await?.len();
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(room.said().await?.len(), said, "nothing goes on");
    Ok(())
}

#[tokio::test]
async fn each_message_is_answered_exactly_once_however_often_the_server_is_killed() -> Result<()> {
    const KILLS: usize = 6;
    const EACH: usize = 40;
    let mut room = Room::open().await?;
    for kill in 0..KILLS {
        for n in 0..EACH {
            let body = json!([{ "send": format!("answer {kill}.{n}") }]).to_string();
            room.client.send(room.place, &body).await?;
        }
        // Some are answered by now, one is about to be, the others wait.
        tokio::time::sleep(Duration::from_millis(fastrand::u64(0..200))).await;
        room.server.kill().await?;
        room.restart().await?;
    }
    let answers =
        |said: &[String]| said.iter().filter(|body| body.starts_with("answer")).cloned().collect::<Vec<_>>();
    let all = KILLS * EACH;
    for _ in 0..600 {
        let said = answers(&room.said().await?);
        let different: HashSet<_> = said.iter().collect();
        assert_eq!(different.len(), said.len(), "an answer came twice: {said:?}");
        if said.len() == all {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    anyhow::bail!("of {all} answers {} came: {}", answers(&room.said().await?).len(), room.server.log())
}
