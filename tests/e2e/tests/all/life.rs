//! Starting, draining, and what keeps a server from starting.

use super::seqs;
use anyhow::{Context, Result, ensure};
use godwit_e2e::{
    PATIENCE,
    client::{Client, Failure},
    server::{Server, run},
};

use std::time::{Duration, Instant};
use uuid::Uuid;

/// Sends until the connection is closed: how many were acknowledged, and the code.
async fn send_until_closed(mut client: Client, place: Uuid) -> Result<(u64, u16)> {
    let mut acknowledged = 0;
    loop {
        match client.send(place, &format!("message {acknowledged}")).await {
            Ok(sent) => {
                acknowledged += 1;
                ensure!(sent.seq == acknowledged, "number {} for message {acknowledged}", sent.seq);
            }
            Err(Failure::Closed(code)) => return Ok((acknowledged, code)),
            Err(Failure::Refused(refusal)) => ensure!(refusal.temporary, "{refusal}"),
            Err(other) => return Err(other.into()),
        }
    }
}

#[tokio::test]
async fn draining_tells_everyone_to_reconnect_loses_nothing_and_ends_in_time() -> Result<()> {
    let mut server = Server::start().await?;
    let (_, mut idle) = server.join("idle").await?;
    let (ada, mut busy) = server.join("ada").await?;
    let place = busy.direct(ada.id).await?;
    let sending = tokio::spawn(send_until_closed(busy, place));
    let mut watcher = server.session(&ada).await?;
    watcher.push("message").await?;

    let began = Instant::now();
    server.signal()?;
    let reconnect = idle.push("reconnect").await?;
    ensure!(reconnect["after_ms"].as_u64().is_some(), "{reconnect}");
    assert_eq!(idle.closed().await?, 3000);
    let (acknowledged, code) = sending.await??;
    assert_eq!(code, 3000);
    assert_eq!(server.ended().await?.code(), Some(0), "{}", server.log());
    ensure!(began.elapsed() < Duration::from_secs(10), "it took {:?}", began.elapsed());

    server.restart().await?;
    let mut client = server.session(&ada).await?;
    let stored = seqs(&client.history(place, 0).await?);
    ensure!(stored.len() as u64 >= acknowledged, "{acknowledged} acknowledged, {} stored", stored.len());
    assert_eq!(stored, Vec::from_iter(1..=stored.len() as u64));
    ensure!(client.connected["epoch"] == idle.connected["epoch"], "a restart makes no new epoch");
    Ok(())
}

#[tokio::test]
async fn a_second_host_on_one_data_folder_is_refused_with_its_name_and_the_first_goes_on() -> Result<()> {
    let server = Server::start().await?;
    let (ada, mut client) = server.join("ada").await?;
    let data = server.data();
    let data = data.to_str().context("the folder's name is text")?;
    let second =
        run(&["serve", "--data", data, "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"], &[]).await?;
    ensure!(!second.status.success(), "a second host serves");
    let complaint = String::from_utf8_lossy(&second.stderr);
    ensure!(complaint.contains(data), "the folder is not named: {complaint}");
    let place = client.direct(ada.id).await?;
    client.send(place, "still here").await?;
    Ok(())
}

#[tokio::test]
async fn settings_that_are_unknown_or_of_a_wrong_type_are_refused_by_name() -> Result<()> {
    for (settings, named) in [
        ("[gateway]\nping_intervall_ms = 5\n", "ping_intervall_ms"),
        ("[gatway]\nping_interval_ms = 5\n", "gatway"),
        ("[gateway]\nping_interval_ms = \"often\"\n", "ping_interval_ms"),
        ("[limits]\nsends_per_s = -1\n", "sends_per_s"),
        ("this is no TOML", "settings.toml"),
    ] {
        let refused =
            Server::with(settings).await.err().with_context(|| format!("it serves with {settings}"))?;
        ensure!(format!("{refused:#}").contains(named), "`{named}` is not named: {refused:#}");
    }
    let folder = tempfile::tempdir()?;
    let data = folder.path().to_str().context("the folder's name is text")?;
    let serve = ["serve", "--data", data, "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"];
    let refused = run(&serve, &[("GODWIT_LIMITS_SENDS_PER_S", "many")]).await?;
    ensure!(!refused.status.success(), "it serves");
    let complaint = String::from_utf8_lossy(&refused.stderr).into_owned();
    ensure!(complaint.contains("GODWIT_LIMITS_SENDS_PER_S"), "the variable is not named: {complaint}");
    Ok(())
}

#[tokio::test]
async fn every_setting_is_printed_as_a_configuration_that_is_accepted() -> Result<()> {
    let printed = run(&["config"], &[]).await?;
    ensure!(printed.status.success(), "{}", String::from_utf8_lossy(&printed.stderr));
    let printed = String::from_utf8(printed.stdout)?;
    for setting in ["registration", "ping_interval_ms", "outbox_bytes_max", "body_bytes_max", "sends_per_s"] {
        ensure!(printed.contains(setting), "`{setting}` is not printed:\n{printed}");
    }
    let server = Server::with(&printed).await?;
    let (ada, mut client) = server.join("ada").await?;
    let place = client.direct(ada.id).await?;
    client.send(place, "with every setting").await?;
    Ok(())
}

#[tokio::test]
async fn health_and_metrics_tell_that_the_host_serves() -> Result<()> {
    let server = Server::start().await?;
    let (ada, mut client) = server.join("ada").await?;
    let place = client.direct(ada.id).await?;
    client.send(place, "counted").await?;
    for path in ["/health/live", "/health/ready"] {
        assert_eq!(server.admin.call(reqwest::Method::GET, path, None).await?.0, 200, "{path}");
    }
    let metrics = server.admin.metrics().await?;
    for name in ["godwit_storage_commit_batches_count", "godwit_storage_commits"] {
        ensure!(metrics.contains(name), "`{name}` is not among the metrics");
    }
    ensure!(metrics.trim_end().ends_with("# EOF"), "the text format ends with its mark");
    Ok(())
}

#[tokio::test]
async fn a_server_that_was_never_used_ends_at_once() -> Result<()> {
    let mut server = Server::with("").await?;
    let began = Instant::now();
    ensure!(server.terminate().await?.success(), "{}", server.log());
    ensure!(began.elapsed() < PATIENCE, "it took {:?}", began.elapsed());
    Ok(())
}
