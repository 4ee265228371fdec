//! What an operator entrusts to a plugin: by the command line, by the admin API, and over a restart.

use anyhow::{Context, Result, ensure};
use godwit_e2e::{
    PATIENCE,
    admin::{Install, expect},
    server::{Server, binary},
};
use godwit_fixtures::FIXTURE;
use reqwest::Method;
use serde_json::{Value, json};
use std::process::{Output, Stdio};
use tokio::{io::AsyncWriteExt, process::Command, time::timeout};

const VALUE: &str = "correct horse battery staple";

/// `godwit plugin secret …` with that standard input.
async fn secret(server: &Server, arguments: &[&str], input: &str) -> Result<Output> {
    let mut command = Command::new(binary()?);
    command
        .args(["plugin", "secret"])
        .args(arguments)
        .args(["--admin", &server.admin.address().to_string()])
        .arg("--token-file")
        .arg(server.data().join("admin-token"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    let mut child = command.spawn()?;
    let mut stdin = child.stdin.take().context("the child reads")?;
    // Who refuses its arguments does not read.
    let _ = stdin.write_all(input.as_bytes()).await;
    drop(stdin);
    Ok(timeout(PATIENCE, child.wait_with_output()).await??)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[tokio::test]
async fn a_secret_is_set_listed_and_removed_and_its_value_is_never_shown() -> Result<()> {
    let mut server = Server::start().await?;
    let install = Install {
        id: "fixture".to_owned(),
        manifest: godwit_fixtures::manifest(FIXTURE),
        component: godwit_fixtures::component(FIXTURE),
        config: None,
        ..Install::default()
    };
    server.admin.installed(install).await?;

    let set = secret(&server, &["set", "fixture", "token"], &format!("{VALUE}\n")).await?;
    ensure!(set.status.success(), "{}", text(&set.stderr));
    let path = "/admin/v1/plugins/fixture/secrets";
    let body = json!({ "value": VALUE });
    expect(server.admin.call(Method::PUT, &format!("{path}/key"), Some(&body)).await?, 204)?;
    let listed = secret(&server, &["list", "fixture"], "").await?;
    assert_eq!(text(&listed.stdout), "key\ntoken\n");
    let shown = expect(server.admin.call(Method::GET, path, None).await?, 200)?;
    assert_eq!(shown, json!({ "secrets": ["key", "token"] }));
    let status = expect(server.admin.call(Method::GET, "/admin/v1/plugins/fixture", None).await?, 200)?;
    let logs = expect(server.admin.call(Method::GET, "/admin/v1/plugins/fixture/logs", None).await?, 200)?;
    for told in [status.to_string(), logs.to_string(), server.admin.metrics().await?, text(&set.stdout)] {
        ensure!(!told.contains(VALUE), "the value is told: {told}");
    }

    let removed = secret(&server, &["remove", "fixture", "key"], "").await?;
    ensure!(removed.status.success(), "{}", text(&removed.stderr));
    for (arguments, input, expected) in [
        (&["remove", "fixture", "key"][..], "", "no secret `key`"),
        (&["set", "nobody", "token"], "x", "no plugin `nobody` is installed"),
        (&["set", "fixture", "token"], "\n", "the value is empty"),
        (&["set", "fixture", "Token"], "x", "a secret's name"),
        (&["list", "nobody"], "", "no plugin `nobody` is installed"),
    ] {
        let refused = secret(&server, arguments, input).await?;
        let said = text(&refused.stderr);
        ensure!(!refused.status.success() && said.contains(expected), "{arguments:?}: {said}");
    }
    let answer = server
        .admin
        .call(Method::PUT, &format!("{path}/big"), Some(&json!({"value": "x".repeat(20_000)})))
        .await?;
    ensure!(answer.0 == 400 && answer.1.to_string().contains("16384"), "{answer:?}");

    server.terminate().await?;
    server.restart().await?;
    let shown: Value = expect(server.admin.call(Method::GET, path, None).await?, 200)?;
    assert_eq!(shown, json!({ "secrets": ["token"] }));
    Ok(())
}
