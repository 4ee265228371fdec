//! The door for clients, behind TLS: who knocks wrongly gets an end, and nobody else notices.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod common;

use common::{House, exchange, parse};
use godwit_gateway::{Options, TlsOptions};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use std::sync::Arc;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::{
    TlsConnector,
    client::TlsStream,
    rustls::{
        ClientConfig, RootCertStore,
        crypto::ring,
        pki_types::{CertificateDer, ServerName, pem::PemObject},
    },
};

/// A house with a certificate for `localhost`, and what trusts that alone.
async fn house(handshake_timeout_ms: u64) -> (House, RootCertStore) {
    let folder = tempfile::tempdir().unwrap();
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (certificate, key) = (folder.path().join("chain.pem"), folder.path().join("key.pem"));
    std::fs::write(&certificate, cert.pem()).unwrap();
    std::fs::write(&key, signing_key.serialize_pem()).unwrap();
    let tls = TlsOptions { certificate: Some(certificate), key: Some(key), handshake_timeout_ms };
    let house = House::with(Options { tls, ..Options::default() }, Default::default(), 0).await;
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(cert.pem().as_bytes()).unwrap()).unwrap();
    (house, roots)
}

async fn connect(
    house: &House,
    roots: &RootCertStore,
    offered: &[&str],
) -> std::io::Result<TlsStream<TcpStream>> {
    let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots.clone())
        .with_no_client_auth();
    config.alpn_protocols = offered.iter().map(|name| name.as_bytes().to_vec()).collect();
    let stream = TcpStream::connect(house.public).await.unwrap();
    TlsConnector::from(Arc::new(config)).connect(ServerName::try_from("localhost").unwrap(), stream).await
}

/// Asks for the first page; the status.
async fn ask(stream: &mut TlsStream<TcpStream>) -> u16 {
    stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    parse(&answer).unwrap().status
}

#[tokio::test]
async fn http_1_1_is_what_is_agreed_on_and_nothing_else() {
    let (house, roots) = house(10_000).await;
    for (offered, agreed) in [
        (&["h2", "http/1.1"][..], Some(&b"http/1.1"[..])),
        (&["http/1.1"], Some(b"http/1.1")),
        // Who does not ask is served the same.
        (&[], None),
    ] {
        let mut stream = connect(&house, &roots, offered).await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), agreed, "{offered:?}");
        assert_eq!(ask(&mut stream).await, 200, "{offered:?}");
    }
    let refused = connect(&house, &roots, &["h2"]).await.unwrap_err();
    assert!(refused.to_string().contains("NoApplicationProtocol"), "{refused}");
}

#[tokio::test]
async fn who_stalls_the_handshake_is_cut_off_and_the_others_come_in_meanwhile() {
    let (house, roots) = house(2_000).await;
    let mut stalled = Vec::new();
    // Nothing at all, the first byte, and a record that never ends.
    for start in [&b""[..], b"\x16", b"\x16\x03\x01\x02\x00\x01"].repeat(50) {
        let mut stream = TcpStream::connect(house.public).await.unwrap();
        stream.write_all(start).await.unwrap();
        stalled.push(stream);
    }
    assert_eq!(ask(&mut connect(&house, &roots, &[]).await.unwrap()).await, 200);
    for mut stream in stalled {
        let mut rest = Vec::new();
        // A reset is an end as well: what was sent may not have been read.
        let _ = stream.read_to_end(&mut rest).await;
        assert_eq!(rest, b"");
    }
    let metrics = house.administer("GET", "/metrics", "").await;
    let text = String::from_utf8(metrics.body).unwrap();
    assert!(text.contains("godwit_gateway_tls_handshakes_failed_total 150\n"), "{text}");
}

#[tokio::test]
async fn who_speaks_without_tls_is_shown_the_way_and_let_go() {
    let (house, roots) = house(10_000).await;
    for request in [
        "GET / HTTP/1.1\r\nhost: x\r\n\r\n",
        "POST /v1/auth/register HTTP/1.1\r\nhost: x\r\ncontent-length: 43\r\n\r\n{\"name\": \"ada\", \"password\": \"correct horse\"}",
    ] {
        // It returns when the other side closes.
        let answer = parse(&exchange(house.public, request.as_bytes()).await).unwrap();
        answer.check_error(400, "invalid", None);
        assert!(answer.json()["error"]["message"].as_str().unwrap().contains("https://"), "{answer:?}");
    }
    for garbage in ["\0\0\0\0\r\n\r\n", "SSH-2.0-x\r\n\r\n"] {
        let bytes = exchange(house.public, garbage.as_bytes()).await;
        assert!(bytes.is_empty() || parse(&bytes).unwrap().status == 400, "{garbage:?}");
    }
    assert_eq!(ask(&mut connect(&house, &roots, &[]).await.unwrap()).await, 200);
}

#[tokio::test]
async fn operators_are_served_without_tls_and_closing_does_not_wait_for_a_stalled_handshake() {
    let (mut house, _) = house(3_600_000).await;
    let mut stalled = TcpStream::connect(house.public).await.unwrap();
    stalled.write_all(b"\x16").await.unwrap();
    assert_eq!(house.administer("GET", "/health/live", "").await.status, 200);
    for stop in house.stop.drain(..) {
        stop.send(()).unwrap();
    }
    for door in house.doors {
        tokio::time::timeout(common::PATIENCE, door).await.expect("a door stays open").unwrap();
    }
}
