//! Who writes plugins: from nothing to a message that is judged, and what they are told on the way.
//!
//! Here is Rust, whose tools every test has; the other languages stand in `tests/languages.rs`, because their tools
//! come over the network.

use anyhow::{Context, Result, ensure};
use godwit_e2e::{
    author::{Author, plugin, said},
    client::text,
    server::Server,
};
use godwit_fixtures::{FIXTURE, SHIPPED};
use serde_json::Value;
use uuid::Uuid;

#[tokio::test]
async fn a_plugin_comes_from_a_template_to_a_message_that_it_judges() -> Result<()> {
    let author = Author::new("door", "rust", &["normalise", "moderation"]).await?;

    // Built and tested in the real engine, with what it used.
    let tested = author.well(&["test", "--junit", "results.xml", "--seed", "7"]).await?;
    for part in ["2 passed, 0 failed", "`--seed 7`", "of its time", "normalise", "moderation", "init"] {
        ensure!(tested.contains(part), "{part} is not in {tested}");
    }
    let junit = std::fs::read_to_string(author.project.join("results.xml"))?;
    ensure!(junit.contains("<testsuite name=\"door: moderation\" tests=\"2\" failures=\"0\""), "{junit}");

    let inspected: Value = serde_json::from_str(&author.well(&["inspect", ".", "--json"]).await?)?;
    assert_eq!(inspected["hooks"], serde_json::json!(["normalise", "moderation"]));
    assert_eq!(inspected["problems"], serde_json::json!([]));

    // One file, the same whenever it is made, from which the server takes the component as it was built.
    author.well(&["pack", "--output", "one.wasm"]).await?;
    author.well(&["pack", "--output", "two.wasm"]).await?;
    let read = |file: &str| std::fs::read(author.project.join(file));
    ensure!(read("one.wasm")? == read("two.wasm")?, "packing is not deterministic");
    let server = Server::start().await?;
    author.on(&server, &["install", "one.wasm"]).await?;
    let shown: Value = serde_json::from_str(&author.on(&server, &["show", "door", "--json"]).await?)?;
    assert_eq!(shown["digest"], inspected["digest"]);

    // A decision and a refusal.
    let (ada, mut client) = server.join("ada").await?;
    let place = client.direct(ada.id).await?;
    let sent = client.send(place, "one -- two").await?;
    assert_eq!((sent.seq, client.history(place, 0).await?[0]["body"].as_str()), (1, Some("one – two")));
    let refused = client.refused("send", text(place, Uuid::now_v7(), "a Spoiler")).await?;
    assert_eq!((refused.code.as_str(), refused.field.as_deref()), ("moderated", Some("not-here")));

    // A trap: the author reads what it was and where, in tests and in the server's log.
    author.replace(
        "src/moderation.rs",
        "        if !subject",
        "        assert!(!subject.text().contains(\"boom\"), \"the fuse was too short\");\n        if !subject",
    )?;
    author.write(
        "scenarios/boom.toml",
        "[[step]]\nhook = \"moderation\"\ninput = { body = \"boom\" }\n\
         expect = { trap = \"src/moderation.rs:8:9: the fuse was too short\" }\n",
    )?;
    author.well(&["test"]).await?;
    let swapped = author.on(&server, &["dev", "--once"]).await?;
    ensure!(swapped.contains("door 0.1.0 serves"), "{swapped}");
    let refused = client.refused("send", text(place, Uuid::now_v7(), "boom")).await?;
    ensure!(refused.temporary, "{refused:?}");
    let log = author.on(&server, &["logs", "door"]).await?;
    ensure!(log.contains("panicked at src/moderation.rs:8:9: the fuse was too short"), "{log}");
    Ok(())
}

#[tokio::test]
async fn every_hook_of_the_template_builds_and_passes_its_tests() -> Result<()> {
    let hooks = ["normalise", "moderation", "fan-out", "delivery", "bot", "command", "notifier", "inbound"];
    let author = Author::new("all-hooks", "rust", &hooks).await?;
    let results: Value = serde_json::from_str(&author.well(&["test", "--json"]).await?)?;
    let tests = results["tests"].as_array().context("`tests` is a list")?;
    assert_eq!(tests.len(), hooks.len(), "{results}");
    let used: Vec<_> = results["usage"].as_array().into_iter().flatten().map(|used| &used["hook"]).collect();
    for hook in hooks {
        ensure!(used.iter().any(|used| *used == hook), "{hook} is not in {used:?}");
    }
    Ok(())
}

#[tokio::test]
async fn a_test_that_fails_says_what_came_instead() -> Result<()> {
    let folder = fixture(&godwit_fixtures::manifest(FIXTURE))?;
    let config = r#"{ "moderation": { "mode": "reject", "code": "language" } }"#;
    std::fs::write(folder.path().join("dev-config.json"), config)?;
    std::fs::create_dir(folder.path().join("scenarios"))?;
    let scenario = "[[step]]\ntitle = \"it is let through\"\nhook = \"moderation\"\n\
        input = { body = \"x\" }\nexpect = { allow = true }\n";
    std::fs::write(folder.path().join("scenarios/open.toml"), scenario)?;
    std::fs::write(folder.path().join("scenarios/wrong.toml"), "[[step]]\nhook = \"review\"\n")?;
    let path = folder.path().to_string_lossy();
    let junit = folder.path().join("results.xml");
    let output = plugin(&["test", &path, "--no-build", "--junit", &junit.to_string_lossy()]).await?;
    assert_eq!(output.status.code(), Some(1));
    let told = said(&output);
    for part in [
        "FAILED open (scenarios/open.toml, 1 steps)",
        "step 1: it is let through",
        "reject = { code = \"language\"",
        "FAILED scenarios/wrong.toml",
        "2 of 2 tests failed",
    ] {
        ensure!(told.contains(part), "{part} is not in {told}");
    }
    let junit = std::fs::read_to_string(junit)?;
    ensure!(junit.contains("failures=\"1\" errors=\"0\"") && junit.contains("errors=\"1\""), "{junit}");
    Ok(())
}

/// A folder with this manifest and the component of the fixture.
fn fixture(manifest: &str) -> Result<tempfile::TempDir> {
    let folder = tempfile::tempdir()?;
    let manifest = manifest.split("[[test]]").next().unwrap_or_default();
    std::fs::write(folder.path().join("plugin.toml"), manifest)?;
    let id = manifest.lines().find_map(|line| line.strip_prefix("id = \"")).unwrap_or("x\"");
    let file = format!("{}.wasm", id.trim_end_matches('"'));
    std::fs::write(folder.path().join(file), godwit_fixtures::component(FIXTURE))?;
    Ok(folder)
}

#[tokio::test]
async fn each_mistake_of_an_author_is_told_with_what_to_change() -> Result<()> {
    let good = godwit_fixtures::manifest(FIXTURE);
    let test = "[[step]]\nhook = \"moderation\"\ninput = { body = \"x\" }\nexpect = { allow = true }\n";
    let hooks = good.lines().find(|line| line.starts_with("hooks")).context("the fixture names its hooks")?;
    for (mistake, from, to, config, told) in [
        ("no version", "version = ", "# version = ", "{}", "missing field `version`"),
        ("a wrong hook", hooks, "hooks = [\"moderate\", \"normalise\"]", "{}", "there is no hook `moderate`"),
        (
            "a hook too many",
            hooks,
            "hooks = [\"moderation\", \"normalise\", \"delivery\"]",
            "{}",
            "names the hook `delivery`, which the component does not export",
        ),
        ("a hook too few", hooks, "hooks = [\"moderation\"]", "{}", "exports the hook `normalise`"),
        ("another interface", "interface = \"0.1\"", "interface = \"0.2\"", "{}", "this host speaks `0.1`"),
        (
            "a capability that is none",
            hooks,
            &format!("{hooks}\n[capabilities]\nroot = true"),
            "{}",
            "no capability `root`",
        ),
        (
            "a configuration beside the schema",
            hooks,
            &format!("{hooks}\n[config.schema]\ntype = \"object\"\nrequired = [\"word\"]"),
            "{}",
            "\"word\" is a required property",
        ),
        (
            "a panic in init",
            "",
            "",
            r#"{ "init": { "mode": "trap" } }"#,
            "the fixture traps in init as configured",
        ),
        (
            "a panic's place",
            "",
            "",
            r#"{ "init": { "mode": "trap" } }"#,
            "panicked at tests/fixtures/plugin/src/lib.rs:",
        ),
        ("an error of init", "", "", r#"{ "init": { "mode": "err", "text": "no way" } }"#, "no way"),
        ("a loop", "", "", r#"{ "moderation": { "mode": "loop" } }"#, "more than 5 ms of CPU time used"),
    ] {
        let folder = fixture(&good.replacen(from, to, 1)).context(mistake)?;
        std::fs::write(folder.path().join("dev-config.json"), config)?;
        std::fs::create_dir(folder.path().join("scenarios"))?;
        std::fs::write(folder.path().join("scenarios/one.toml"), test)?;
        let path = folder.path().to_string_lossy();
        let output = plugin(&["test", &path, "--no-build"]).await?;
        let said = said(&output);
        ensure!(!output.status.success() && said.contains(told), "{mistake}: {told} is not in {said}");
    }
    let empty = tempfile::tempdir()?;
    for command in ["build", "test", "pack"] {
        let output = plugin(&[command, &empty.path().to_string_lossy()]).await?;
        ensure!(said(&output).contains("plugin.toml"), "{command}: {}", said(&output));
    }
    Ok(())
}

#[tokio::test]
async fn what_the_project_ships_passes_its_own_scenarios() -> Result<()> {
    godwit_fixtures::build();
    for name in SHIPPED {
        let folder = godwit_fixtures::folder(name);
        let path = folder.to_string_lossy();
        let output = plugin(&["test", &path, "--no-build", "--json"]).await?;
        ensure!(output.status.success(), "{name}: {}", said(&output));
        let results: Value = serde_json::from_slice(&output.stdout)?;
        let tests = results["tests"].as_array().context("`tests` is a list")?;
        ensure!(tests.len() > 1 || name == godwit_fixtures::WORDFILTER, "{name} has no scenario: {results}");
    }
    Ok(())
}
