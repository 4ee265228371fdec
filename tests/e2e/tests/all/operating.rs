//! An operator's hand on plugins, by the command line, at the real binary and over `kill -9`.

use super::bodies;
use anyhow::{Context, Result, bail, ensure};
use godwit_e2e::{
    admin::expect,
    client::{Client, text},
    eventually,
    server::{Server, UNLIMITED, run},
};
use godwit_fixtures::FIXTURE;
use reqwest::Method;
use serde_json::{Value, json};
use std::path::Path;
use tempfile::TempDir;
use uuid::Uuid;

/// An operator with a terminal and the fixture plugin in a folder.
struct Operator<'a> {
    server: &'a Server,
    folder: TempDir,
}

impl<'a> Operator<'a> {
    fn new(server: &'a Server) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        std::fs::write(folder.path().join("fixture.wasm"), godwit_fixtures::component(FIXTURE))?;
        let operator = Self { server, folder };
        operator.write("1", "{}", "")?;
        Ok(operator)
    }

    /// A version of the plugin, with what its manifest says beyond that.
    fn write(&self, version: &str, config: &str, more: &str) -> Result<()> {
        let manifest = godwit_fixtures::manifest(FIXTURE).replace("\"0.1.0\"", &format!("{version:?}"));
        std::fs::write(self.folder.path().join("plugin.toml"), manifest + "\n" + more)?;
        Ok(std::fs::write(self.folder.path().join("config.json"), config)?)
    }

    fn path(&self, name: &str) -> Result<String> {
        let path = self.folder.path().join(name);
        Ok(Path::to_str(&path).context("a path is UTF-8")?.to_owned())
    }

    /// What the command prints, or that it was refused and why.
    async fn says(&self, command: &[&str]) -> Result<String, String> {
        let told = |error: anyhow::Error| format!("{error:#}");
        let admin = self.server.admin.address().to_string();
        let token = self.server.admin_token().map_err(told)?;
        let environment = [("GODWIT_ADMIN", &*admin), ("GODWIT_ADMIN_TOKEN", &*token)];
        let output = run(command, &environment).await.map_err(told)?;
        match output.status.success() {
            true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
            false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
        }
    }

    async fn plugin(&self, command: &[&str]) -> Result<String> {
        let command = [&["plugin"], command].concat();
        self.says(&command).await.map_err(|said| anyhow::anyhow!("{command:?}: {said}"))
    }

    async fn refused(&self, command: &[&str]) -> Result<String> {
        match self.says(&[&["plugin"], command].concat()).await {
            Ok(said) => bail!("{command:?} went well: {said}"),
            Err(said) => Ok(said),
        }
    }

    async fn json(&self, command: &[&str]) -> Result<Value> {
        Ok(serde_json::from_str(&self.plugin(&[command, &["--json"]].concat()).await?)?)
    }

    async fn install(&self, flags: &[&str]) -> Result<String> {
        let (folder, config) = (self.path("")?, self.path("config.json")?);
        self.plugin(&[&["install", &*folder, "--config", &*config], flags].concat()).await
    }

    async fn until(&self, what: &str, done: impl Fn(&Value) -> bool) -> Result<Value> {
        eventually(what, async || {
            let status = self.json(&["show", "fixture"]).await?;
            Ok(done(&status).then_some(status))
        })
        .await
    }
}

fn stamp(version: &str) -> String {
    json!({"normalise": {"mode": "stamp", "marker": version}}).to_string()
}

async fn start(settings: &str) -> Result<(Server, Client, Uuid)> {
    let server = Server::with(&format!("{UNLIMITED}{settings}")).await?;
    let (ada, mut client) = server.join("ada").await?;
    let place = client.direct(ada.id).await?;
    Ok((server, client, place))
}

/// Kills the server and comes back to it.
async fn again(server: &mut Server, name: &str) -> Result<(Client, Uuid)> {
    server.kill().await?;
    server.restart().await?;
    let (person, mut client) = server.join(name).await?;
    let place = client.direct(person.id).await?;
    Ok((client, place))
}

/// The body under which a text is stored.
async fn sent(client: &mut Client, place: Uuid, body: &str) -> Result<String> {
    client.send(place, body).await?;
    let history = client.history(place, 0).await?;
    Ok((*bodies(&history).last().context("a message was sent")?).to_owned())
}

#[tokio::test]
async fn a_staged_component_is_installed_by_its_digest_and_its_differences_are_shown() -> Result<()> {
    let (mut server, _, _) = start("").await?;
    let digest = {
        let operator = Operator::new(&server)?;
        let staged = operator.json(&["stage", &operator.path("fixture.wasm")?]).await?;
        let digest = staged["digest"].as_str().context("a digest")?.to_owned();
        operator.write("1", &stamp("1"), "")?;
        operator.install(&["--digest", &digest]).await?;
        let staged = operator.plugin(&["staged"]).await?;
        ensure!(staged.contains(&digest) && staged.contains("fixture"), "{staged}");
        digest
    };
    let (mut client, place) = again(&mut server, "ben").await?;
    let operator = Operator::new(&server)?;
    assert_eq!(sent(&mut client, place, "x").await?, "1 x");
    operator.write("2", &stamp("2"), "[capabilities]\nmember-list = true\n")?;
    let dry = operator.install(&["--digest", &digest, "--dry-run"]).await?;
    for part in
        ["would wait for its grant", "from 1 to 2:", "asks for: +member-list", "configuration: another"]
    {
        ensure!(dry.contains(part), "{part} in {dry}");
    }
    operator.plugin(&["unstage", &digest]).await?;
    ensure!(operator.plugin(&["staged"]).await?.contains("no component is staged"));
    let unknown = operator.refused(&["unstage", &digest]).await?;
    ensure!(unknown.contains("upload it first"), "{unknown}");
    Ok(())
}

#[tokio::test]
async fn a_version_waits_for_its_grant_over_a_restart_while_the_one_before_serves() -> Result<()> {
    let (mut server, mut client, place) = start("").await?;
    let asks = "[capabilities]\nmember-list = true\n";
    {
        let operator = Operator::new(&server)?;
        operator.write("1", &stamp("1"), asks)?;
        let (folder, config) = (operator.path("")?, operator.path("config.json")?);
        let refused = operator.refused(&["install", &folder, "--config", &config]).await?;
        ensure!(refused.contains("grant `member-list`"), "{refused}");
        operator.write("1", &stamp("1"), "")?;
        operator.install(&[]).await?;
        operator.write("2", &stamp("2"), asks)?;
        let waits = operator.install(&[]).await?;
        ensure!(waits.contains("godwit plugin grant fixture member-list"), "{waits}");
        assert_eq!(sent(&mut client, place, "x").await?, "1 x");
    }
    let (mut client, place) = again(&mut server, "ben").await?;
    let operator = Operator::new(&server)?;
    assert_eq!(sent(&mut client, place, "x").await?, "1 x");
    ensure!(operator.plugin(&["list"]).await?.contains("2 pending"));
    let granted = operator.plugin(&["grant", "fixture", "member-list"]).await?;
    ensure!(granted.contains("fixture 2 serves") && granted.contains("granted: +member-list"), "{granted}");
    assert_eq!(sent(&mut client, place, "x").await?, "2 x");
    Ok(())
}

#[tokio::test]
async fn what_an_operator_decides_stands_over_a_restart() -> Result<()> {
    let (mut server, _, _) = start("").await?;
    let place = Uuid::now_v7().to_string();
    {
        let operator = Operator::new(&server)?;
        operator.write("1", &stamp("1"), "")?;
        operator.install(&[]).await?;
        operator.plugin(&["pin", "fixture"]).await?;
        operator.plugin(&["priority", "fixture", "-5"]).await?;
        operator.plugin(&["failure", "fixture", "--moderation", "hold", "--open", "allow"]).await?;
        operator.plugin(&["scope", "fixture", "--kind", "group,channel", "--conversation", &place]).await?;
        operator.plugin(&["disable", "fixture"]).await?;
    }
    let (mut client, here) = again(&mut server, "ben").await?;
    let operator = Operator::new(&server)?;
    let status = operator.json(&["show", "fixture"]).await?;
    assert_eq!(
        (&status["health"], &status["pinned"], &status["priority"]),
        (&json!("disabled"), &json!(true), &json!(-5))
    );
    assert_eq!((&status["on_failure"], &status["on_open"]), (&json!("hold"), &json!("allow")));
    assert_eq!(
        status["scope"],
        json!({"kinds": ["group", "channel"], "labels": [], "conversations": [place]})
    );
    let shown = operator.plugin(&["show", "fixture"]).await?;
    for part in ["fixture 1: disabled", "pinned:     yes", "group, channel", "while it is not asked: allow"] {
        ensure!(shown.contains(part), "{part} in {shown}");
    }
    operator.plugin(&["enable", "fixture"]).await?;
    assert_eq!(sent(&mut client, here, "x").await?, "x", "a direct conversation is out of its scope");
    operator.plugin(&["scope", "fixture"]).await?;
    assert_eq!(sent(&mut client, here, "x").await?, "1 x");
    operator.write("2", &stamp("2"), "")?;
    let (folder, config) = (operator.path("")?, operator.path("config.json")?);
    let pinned = operator.refused(&["install", &folder, "--config", &config]).await?;
    ensure!(pinned.contains("unpin it first"), "{pinned}");
    operator.plugin(&["unpin", "fixture"]).await?;
    operator.install(&[]).await?;
    let trace = {
        assert_eq!(sent(&mut client, here, "x").await?, "2 x");
        operator.says(&["trace", &here.to_string(), "3"]).await.map_err(anyhow::Error::msg)?
    };
    for part in ["generation", "fixture", "normalise", "rewrite", "moderation", "allow", "µs"] {
        ensure!(trace.contains(part), "{part} in {trace}");
    }
    Ok(())
}

#[tokio::test]
async fn a_shadow_and_a_canary_are_tried_over_a_restart_and_promoted() -> Result<()> {
    let (mut server, mut client, place) = start("").await?;
    {
        let operator = Operator::new(&server)?;
        operator.write("1", &stamp("1"), "")?;
        operator.install(&[]).await?;
        operator.write("2", &stamp("2"), "")?;
        operator.install(&["--shadow"]).await?;
        assert_eq!(sent(&mut client, place, "x").await?, "1 x");
        let compared = |status: &Value| status["candidate"]["comparison"]["agreed"] == 1;
        let status = operator.until("a comparison", compared).await?;
        assert_eq!(status["candidate"]["comparison"]["differed"], 1);
        let shown = operator.plugin(&["show", "fixture"]).await?;
        ensure!(shown.contains("beside it: 2 shadow") && shown.contains("1 agree, 1 differ"), "{shown}");
    }
    let (mut client, place) = again(&mut server, "ben").await?;
    let operator = Operator::new(&server)?;
    assert_eq!(sent(&mut client, place, "x").await?, "1 x");
    operator.plugin(&["canary", "fixture", "50"]).await?;
    ensure!(operator.plugin(&["list"]).await?.contains("2 canary 50 %"));
    let body = sent(&mut client, place, "x").await?;
    let trace = server.admin.trace(place, 2).await?;
    let version = trace["plugins"][0]["version"].as_str().context("a version")?;
    assert_eq!(body, format!("{version} x"), "the trace names who decided");
    operator.plugin(&["promote", "fixture"]).await?;
    assert_eq!(sent(&mut client, place, "x").await?, "2 x");
    operator.plugin(&["rollback", "fixture"]).await?;
    assert_eq!(sent(&mut client, place, "x").await?, "1 x");
    Ok(())
}

#[tokio::test]
async fn a_version_that_fails_after_a_swap_is_taken_back_and_nothing_gets_through_meanwhile() -> Result<()> {
    let (mut server, mut client, place) = start("[plugins.rollback]\nfailures = 4\n").await?;
    {
        let operator = Operator::new(&server)?;
        operator.write("1", &stamp("1"), "")?;
        operator.install(&[]).await?;
        operator.write("2", r#"{"moderation": {"mode": "trap"}}"#, "")?;
        operator.install(&[]).await?;
        for message in 0..4 {
            let body = format!("message {message}");
            let refusal = client.refused("send", text(place, Uuid::now_v7(), &body)).await?;
            ensure!(refusal.temporary, "{refusal}");
        }
        operator.until("the way back", |status| status["version"] == "1").await?;
        assert_eq!(sent(&mut client, place, "x").await?, "1 x");
    }
    let (mut client, place) = again(&mut server, "ben").await?;
    let operator = Operator::new(&server)?;
    assert_eq!(sent(&mut client, place, "x").await?, "1 x");
    let shown = operator.plugin(&["show", "fixture"]).await?;
    ensure!(shown.contains("taken back: 2 to 1") && shown.contains("previous:   2"), "{shown}");
    Ok(())
}

#[tokio::test]
async fn a_broken_moderator_is_quarantined_and_poison_is_remembered_over_a_restart() -> Result<()> {
    let settings = "[plugins.breaker]\nsenders = 3\ntrips = 1\n";
    let (mut server, mut client, place) = start(settings).await?;
    {
        let operator = Operator::new(&server)?;
        operator.write("1", r#"{"moderation": {"mode": "trap", "on": "bait"}}"#, "")?;
        operator.install(&[]).await?;
        for expected in [None, None, Some("poison")] {
            let refusal = client.refused("send", text(place, Uuid::now_v7(), "bait")).await?;
            assert_eq!(refusal.field.as_deref().filter(|_| !refusal.temporary), expected, "{refusal}");
        }
        client.send(place, "hello").await?;
        let stored = async || {
            let answer = server.admin.call(Method::GET, "/admin/v1/plugins/fixture/poison", None).await?;
            Ok((expect(answer, 200)?["poisoned"].as_array().map(Vec::len) == Some(1)).then_some(()))
        };
        eventually("poison", stored).await?;
    }
    let (mut client, place) = again(&mut server, "ben").await?;
    {
        let refusal = client.refused("send", text(place, Uuid::now_v7(), "bait")).await?;
        assert_eq!((refusal.code.as_str(), refusal.field.as_deref()), ("moderated", Some("poison")));
        let operator = Operator::new(&server)?;
        ensure!(operator.plugin(&["poison", "fixture"]).await?.contains("moderation"));
        operator.plugin(&["poison", "fixture", "--clear"]).await?;
        ensure!(operator.plugin(&["poison", "fixture"]).await?.contains("shown everything"));
        for name in ["cleo", "dora", "emil"] {
            let (person, mut client) = server.join(name).await?;
            let place = client.direct(person.id).await?;
            let body = format!("bait of {name}");
            ensure!(client.refused("send", text(place, Uuid::now_v7(), &body)).await?.temporary);
        }
        operator.until("quarantine", |status| status["health"] == "quarantined").await?;
        let refusal = client.refused("send", text(place, Uuid::now_v7(), "hello")).await?;
        ensure!(refusal.temporary && refusal.message.contains("open"), "{refusal}");
    }
    let (mut client, place) = again(&mut server, "fred").await?;
    let operator = Operator::new(&server)?;
    ensure!(client.refused("send", text(place, Uuid::now_v7(), "hello")).await?.temporary);
    let shown = operator.plugin(&["show", "fixture"]).await?;
    ensure!(shown.contains("fixture 1: quarantined") && shown.contains("opened 1 times"), "{shown}");
    operator.plugin(&["failure", "fixture", "--open", "allow"]).await?;
    client.send(place, "hello").await?;
    operator.plugin(&["enable", "fixture"]).await?;
    ensure!(client.refused("send", text(place, Uuid::now_v7(), "new bait")).await?.temporary);
    client.send(place, "hello").await?;
    let metrics = server.admin.metrics().await?;
    ensure!(
        metrics.contains(r#"decision="open""#) && metrics.contains("godwit_plugin_breaker{"),
        "{metrics}"
    );
    Ok(())
}

#[tokio::test]
async fn a_plugin_for_a_label_serves_the_conversations_that_an_operator_calls_so() -> Result<()> {
    let (mut server, mut client, here) = start("").await?;
    let labels = |names: &[&str]| json!({ "labels": names });
    let path = |id: Uuid| format!("/admin/v1/conversations/{id}/labels");
    {
        let operator = Operator::new(&server)?;
        operator.write("1", &stamp("1"), "")?;
        operator.install(&[]).await?;
        operator.plugin(&["scope", "fixture", "--label", "press"]).await?;
        assert_eq!(sent(&mut client, here, "x").await?, "x");
        let set =
            server.admin.call(Method::PUT, &path(here), Some(&labels(&["press", "eu", "press"]))).await?;
        assert_eq!(expect(set, 200)?, labels(&["eu", "press"]));
        assert_eq!(sent(&mut client, here, "x").await?, "1 x");
        for (id, names, status) in [(here, ["Not a label"], 400), (Uuid::now_v7(), ["press"], 404)] {
            expect(server.admin.call(Method::PUT, &path(id), Some(&labels(&names))).await?, status)?;
        }
    }
    server.kill().await?;
    server.restart().await?;
    let mut client = Client::connect(server.public, &server.admin.mint(client.user, None).await?).await?;
    assert_eq!(sent(&mut client, here, "y").await?, "1 y", "over a restart");
    expect(server.admin.call(Method::PUT, &path(here), Some(&labels(&[]))).await?, 200)?;
    assert_eq!(sent(&mut client, here, "z").await?, "z");
    Ok(())
}
