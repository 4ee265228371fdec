//! TLS by the server itself: everything is as without, and certificates come and go while people chat.

use anyhow::{Context, Result, ensure};
use godwit_e2e::{
    PATIENCE,
    client::{Client, request},
    eventually,
    server::{Person, Server, UNLIMITED},
    tls::{Certificate, settings},
};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use tokio_tungstenite::{client_async, tungstenite};

const OPEN: &str = "[auth]\nregistration = true\nhash_memory_kib = 64\nhash_passes = 1\n";

/// A server behind this certificate; the folder has its files.
async fn start(certificate: &Certificate) -> Result<(Server, TempDir)> {
    let folder = tempfile::Builder::new().prefix("godwit-e2e-tls-").tempdir()?;
    certificate.write(folder.path())?;
    let server = Server::with(&[UNLIMITED, OPEN, &settings(folder.path())].concat()).await?;
    Ok((server, folder))
}

/// `POST` of JSON to the public listener over TLS: the JSON that came back.
async fn post(server: &Server, certificate: &Certificate, path: &str, body: &Value) -> Result<Value> {
    let body = body.to_string();
    let mut stream = certificate.connect(server.public).await?;
    let head = format!("POST {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n");
    stream.write_all(format!("{head}content-length: {}\r\n\r\n{body}", body.len()).as_bytes()).await?;
    let mut answer = String::new();
    timeout(PATIENCE, stream.read_to_string(&mut answer)).await??;
    let (_, body) = answer.split_once("\r\n\r\n").with_context(|| format!("no answer: {answer:?}"))?;
    Ok(serde_json::from_str(body)?)
}

async fn open(server: &Server, certificate: &Certificate) -> Result<Client> {
    Client::over(certificate.connect(server.public).await?, request(server.public, &[])?).await
}

async fn session(server: &Server, certificate: &Certificate, person: &Person) -> Result<Client> {
    let mut client = open(server, certificate).await?;
    client.authenticate(&person.token).await?;
    Ok(client)
}

/// They talk, in both directions.
async fn check_chat(ada: &mut Client, ben: &mut Client) -> Result<()> {
    let place = ada.direct(ben.user).await?;
    for (from, to) in [(0, 1), (1, 0)] {
        let pair = [&mut *ada, &mut *ben];
        let body = uuid::Uuid::new_v4().to_string();
        pair[from].send(place, &body).await?;
        assert_eq!(pair[to].push("message").await?["body"], json!(body));
    }
    Ok(())
}

#[tokio::test]
async fn people_register_log_in_and_chat_over_tls_as_without() -> Result<()> {
    let certificate = Certificate::new()?;
    let (server, _folder) = start(&certificate).await?;
    let mut clients = Vec::new();
    for name in ["ada", "ben"] {
        let account = json!({"name": name, "password": "long enough"});
        let made = post(&server, &certificate, "/v1/auth/register", &account).await?;
        ensure!(made["access_token"].is_string(), "{made}");
        let logged_in = post(&server, &certificate, "/v1/auth/login", &account).await?;
        let token = logged_in["access_token"].as_str().with_context(|| format!("no token: {logged_in}"))?;
        let mut client = open(&server, &certificate).await?;
        assert_eq!(client.hello["protocol"], 1);
        client.authenticate(token).await?;
        clients.push(client);
    }
    let [ada, ben] = &mut clients[..] else { anyhow::bail!("two were made") };
    check_chat(ada, ben).await?;
    // More than fits in one record, one read or one buffer, in each direction.
    let place = ada.direct(ben.user).await?;
    let large = "ä".repeat(8_000);
    for _ in 0..20 {
        ada.send(place, &large).await?;
    }
    for _ in 0..20 {
        assert_eq!(ben.push("message").await?["body"], json!(large));
    }
    ada.raw(tungstenite::Message::binary(vec![1])).await?;
    assert_eq!(ada.closed().await?, 3501, "the close frame comes through");
    Ok(())
}

#[tokio::test]
async fn an_origin_is_held_against_the_host_over_tls_as_without() -> Result<()> {
    let certificate = Certificate::new()?;
    let (server, _folder) = start(&certificate).await?;
    let own = format!("https://{}", server.public);
    for (origin, granted) in [(own.as_str(), true), ("https://evil.example", false)] {
        let stream = certificate.connect(server.public).await?;
        let upgraded = client_async(request(server.public, &[("origin", origin)])?, stream).await;
        match upgraded {
            Ok(_) => ensure!(granted, "{origin} was let in"),
            Err(tungstenite::Error::Http(response)) => {
                assert_eq!((granted, response.status().as_u16()), (false, 403), "{origin}");
            }
            Err(other) => return Err(other.into()),
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_new_certificate_is_taken_up_while_sockets_stay_open() -> Result<()> {
    let (first, second) = (Certificate::new()?, Certificate::new()?);
    let (server, folder) = start(&first).await?;
    let (ada, ben) = (server.person("ada").await?, server.person("ben").await?);
    let (mut old_ada, mut old_ben) =
        (session(&server, &first, &ada).await?, session(&server, &first, &ben).await?);
    check_chat(&mut old_ada, &mut old_ben).await?;
    second.write(folder.path())?;
    let taken_up = async || Ok(second.connect(server.public).await.ok());
    eventually("the new certificate", taken_up).await?;
    ensure!(first.connect(server.public).await.is_err(), "the old certificate is still shown");
    check_chat(&mut old_ada, &mut old_ben).await?;
    let mut new_ben = session(&server, &second, &ben).await?;
    check_chat(&mut old_ada, &mut new_ben).await?;
    Ok(())
}

#[tokio::test]
async fn files_that_cannot_be_used_keep_the_certificate_before_and_are_told() -> Result<()> {
    let (first, second) = (Certificate::new()?, Certificate::new()?);
    let (server, folder) = start(&first).await?;
    let (chain, key) = (folder.path().join("chain.pem"), folder.path().join("key.pem"));
    let told = async |reason: &str| {
        eventually(reason, async || {
            let log = server.log();
            let mut lines = log.lines().filter(|line| line.contains("ERROR") && line.contains("TLS files"));
            Ok(lines.any(|line| line.contains(reason)).then_some(()))
        })
        .await
    };
    std::fs::write(&chain, "-----BEGIN CERTIFICATE-----\nhalf of one")?;
    told("chain.pem, holds no chain of certificates").await?;
    first.connect(server.public).await?;
    std::fs::remove_file(&key)?;
    told("cannot read the file of gateway.tls.key").await?;
    first.connect(server.public).await?;
    std::fs::write(&chain, &second.chain)?;
    std::fs::write(&key, &first.key)?;
    told("cannot be served with the key").await?;
    first.connect(server.public).await?;
    second.write(folder.path())?;
    let taken_up = async || Ok(second.connect(server.public).await.ok());
    eventually("the certificate that is right at last", taken_up).await?;
    Ok(())
}

#[tokio::test]
async fn plain_http_and_stalled_handshakes_end_and_harm_nobody() -> Result<()> {
    let certificate = Certificate::new()?;
    let folder = tempfile::tempdir()?;
    certificate.write(folder.path())?;
    let settings = [UNLIMITED, &settings(folder.path()), "handshake_timeout_ms = 3000\n"].concat();
    let server = Server::with(&settings).await?;
    let mut stalled = Vec::new();
    for _ in 0..100 {
        let mut stream = TcpStream::connect(server.public).await?;
        stream.write_all(b"\x16\x03\x01").await?;
        stalled.push(stream);
    }
    let mut plain = TcpStream::connect(server.public).await?;
    plain.write_all(b"GET /v1/ws HTTP/1.1\r\nhost: x\r\n\r\n").await?;
    let mut answer = String::new();
    timeout(PATIENCE, plain.read_to_string(&mut answer)).await??;
    ensure!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("https://"), "{answer}");
    let (ada, ben) = (server.person("ada").await?, server.person("ben").await?);
    let (mut ada, mut ben) =
        (session(&server, &certificate, &ada).await?, session(&server, &certificate, &ben).await?);
    check_chat(&mut ada, &mut ben).await?;
    for mut stream in stalled {
        // A reset is an end as well.
        let _ = timeout(PATIENCE, stream.read_to_end(&mut Vec::new())).await?;
    }
    check_chat(&mut ada, &mut ben).await?;
    Ok(())
}

#[tokio::test]
async fn a_server_whose_certificate_cannot_be_used_does_not_start_and_says_why() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let certificate = Certificate::new()?;
    certificate.write(folder.path())?;
    std::fs::write(folder.path().join("key.pem"), Certificate::new()?.key)?;
    let error = Server::with(&settings(folder.path())).await.err().context("it started")?;
    let error = format!("{error:#}");
    ensure!(error.contains("error: ") && error.contains("cannot be served with the key in"), "{error}");
    Ok(())
}
