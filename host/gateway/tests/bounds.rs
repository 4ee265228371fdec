//! Connections that are too many, too large, too slow or cut off: each gets an end, and nobody else notices.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod common;

use common::{House, ask, exchange, parse};
use godwit_gateway::Options;
use std::time::Duration;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

const LOGIN: &str = r#"{"name": "ada", "password": "correct horse"}"#;

async fn with(options: Options) -> House {
    House::with(options, Default::default(), 0).await
}

fn impatient() -> Options {
    Options { header_timeout_ms: 200, body_timeout_ms: 200, upload_timeout_ms: 200, ..Options::default() }
}

/// Reads one answer of a connection that stays open.
async fn answer(stream: &mut TcpStream) -> u16 {
    let mut bytes = Vec::new();
    loop {
        assert_ne!(stream.read_buf(&mut bytes).await.unwrap(), 0, "closed without an answer");
        if let Some(answer) = parse(&bytes)
            && answer.header("content-length").is_none_or(|length| length == answer.body.len().to_string())
        {
            return answer.status;
        }
    }
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused_and_the_refusal_is_read() {
    let house = with(Options::default()).await;
    for size in [16 * 1024 + 1, 4 << 20] {
        let answer = house.ask("POST", "/v1/auth/login", &" ".repeat(size)).await;
        answer.check_error(413, "too_large", Some("body"));
    }
    let padded = format!("{LOGIN}{}", " ".repeat(16 * 1024 - LOGIN.len()));
    house.ask("POST", "/v1/auth/login", &padded).await.check_error(401, "unauthorised", None);
}

#[tokio::test]
async fn a_body_in_chunks_is_held_to_the_same_limit() {
    let house = with(Options::default()).await;
    let head =
        "POST /v1/auth/login HTTP/1.1\r\nhost: x\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n";
    let chunk = format!("1000\r\n{}\r\n", " ".repeat(0x1000));
    let small = format!("{head}{:x}\r\n{LOGIN}\r\n0\r\n\r\n", LOGIN.len());
    let large = format!("{head}{}0\r\n\r\n", chunk.repeat(5));
    for (request, status, code, field) in
        [(small, 401, "unauthorised", None), (large, 413, "too_large", Some("body"))]
    {
        parse(&exchange(house.public, request.as_bytes()).await).unwrap().check_error(status, code, field);
    }
}

#[tokio::test]
async fn a_head_over_the_limit_ends_the_connection() {
    let house = with(Options::default()).await;
    let long = "x".repeat(20_000);
    let many = "x: y\r\n".repeat(200);
    for request in [
        format!("GET / HTTP/1.1\r\nhost: x\r\nx-long: {long}\r\n\r\n"),
        format!("GET /{long} HTTP/1.1\r\nhost: x\r\n\r\n"),
        format!("GET / HTTP/1.1\r\nhost: x\r\n{many}\r\n"),
    ] {
        let bytes = exchange(house.public, request.as_bytes()).await;
        assert!(bytes.is_empty() || matches!(parse(&bytes).unwrap().status, 414 | 431), "{request:.40}");
    }
}

#[tokio::test]
async fn what_is_no_http_ends_the_connection() {
    let house = with(Options::default()).await;
    for garbage in [
        "garbage\r\n\r\n",
        "\0\0\0\0\r\n\r\n",
        "GET / HTTP/9.9\r\n\r\n",
        "GET\r\n\r\n",
        "{\"id\": 1}\r\n\r\n",
    ] {
        let bytes = exchange(house.public, garbage.as_bytes()).await;
        assert!(bytes.is_empty() || parse(&bytes).unwrap().status == 400, "{garbage:?}");
    }
    assert_eq!(house.ask("GET", "/", "").await.status, 200);
}

#[tokio::test]
async fn a_head_that_does_not_end_is_cut_off() {
    let house = with(impatient()).await;
    for start in ["", "G", "GET / HTTP/1.1\r\nhost: x\r\n", "GET / HTTP/1.1\r\nhost: x\r\n\r\n"] {
        // `exchange` returns when the other side closes; what it has not got to by then is no answer of 200 but one
        // to the last case, whose second request never comes.
        let bytes = exchange(house.public, start.as_bytes()).await;
        let status = parse(&bytes).map(|answer| answer.status);
        assert_eq!(status == Some(200), start.ends_with("\r\n\r\n"), "{start:?}: {status:?}");
    }
}

#[tokio::test]
async fn a_body_that_does_not_end_is_answered_in_the_end() {
    let house = with(impatient()).await;
    let token = format!("authorization: Bearer {}", common::ADMIN_TOKEN);
    for (address, start) in [
        (house.public, "POST /v1/auth/login HTTP/1.1".to_owned()),
        (house.admin, format!("POST /admin/v1/users HTTP/1.1\r\n{token}")),
        (
            house.admin,
            format!(
                "PUT /admin/v1/plugins/good HTTP/1.1\r\n{token}\r\ncontent-type: multipart/form-data; boundary=b"
            ),
        ),
    ] {
        let request = format!("{start}\r\nhost: x\r\ncontent-length: 100\r\n\r\n--b\r\n");
        parse(&exchange(address, request.as_bytes()).await).unwrap().check_error(408, "timeout", None);
    }
    assert!(house.plugins.asked.lock().unwrap().is_empty());
}

#[tokio::test]
async fn who_hangs_up_in_the_middle_disturbs_nobody() {
    let house = with(Options::default()).await;
    for start in [
        "",
        "POST /v1/auth/login HTTP/1.1\r\nhost",
        "POST /v1/auth/register HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{\"name\": \"ada\"",
    ] {
        let mut stream = TcpStream::connect(house.public).await.unwrap();
        stream.write_all(start.as_bytes()).await.unwrap();
    }
    house.register("ada").await;
}

#[tokio::test]
async fn connections_past_the_limit_are_closed_as_they_come() {
    let house = with(Options { connections_max: 2, ..Options::default() }).await;
    let mut open = Vec::new();
    for _ in 0..2 {
        let mut stream = TcpStream::connect(house.public).await.unwrap();
        stream.write_all(b"GET /web/icon.svg HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        assert_eq!(answer(&mut stream).await, 200);
        open.push(stream);
    }
    assert_eq!(exchange(house.public, b"").await, b"");
    let metrics = ask(house.admin, "GET", "/metrics", &[], b"").await;
    let text = String::from_utf8(metrics.body).unwrap();
    for line in [
        "godwit_gateway_connections{listener=\"public\"} 2",
        "godwit_gateway_connections_refused_total{listener=\"public\"} 1",
    ] {
        assert!(text.contains(line), "{line} is missing in {text}");
    }

    drop(open);
    let freed = async {
        let request = b"GET /web/icon.svg HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
        while parse(&exchange(house.public, request).await).is_none() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), freed).await.expect("places are given back");
}

#[tokio::test]
async fn one_connection_serves_several_requests() {
    let house = with(Options::default()).await;
    let mut stream = TcpStream::connect(house.public).await.unwrap();
    for (request, status) in [
        ("GET /nothing HTTP/1.1\r\nhost: x\r\n\r\n", 404),
        ("POST /v1/auth/login HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n{}", 400),
        ("GET /web/icon.svg HTTP/1.1\r\nhost: x\r\n\r\n", 200),
    ] {
        stream.write_all(request.as_bytes()).await.unwrap();
        assert_eq!(answer(&mut stream).await, status);
    }
}

#[tokio::test]
async fn a_stopping_listener_finishes_what_was_begun_and_takes_nothing_new() {
    let mut house = with(Options::default()).await;
    let mut idle = TcpStream::connect(house.public).await.unwrap();
    idle.write_all(b"GET /web/icon.svg HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    assert_eq!(answer(&mut idle).await, 200);
    let mut begun = TcpStream::connect(house.public).await.unwrap();
    let head = format!(
        "POST /v1/auth/register HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: {}\r\n\r\n",
        LOGIN.len()
    );
    begun.write_all(head.as_bytes()).await.unwrap();
    // That the body is asked for shows that the request has begun.
    let mut asked = [0; 25];
    begun.read_exact(&mut asked).await.unwrap();
    assert_eq!(&asked, b"HTTP/1.1 100 Continue\r\n\r\n");

    house.stop.remove(0).send(()).unwrap();
    assert_eq!(idle.read(&mut [0; 1]).await.unwrap(), 0, "an idle connection is closed");
    assert!(TcpStream::connect(house.public).await.is_err(), "nobody listens");
    begun.write_all(LOGIN.as_bytes()).await.unwrap();
    assert_eq!(answer(&mut begun).await, 201);
    tokio::time::timeout(Duration::from_secs(20), house.doors.remove(0))
        .await
        .expect("the listener ends")
        .unwrap();
    assert_eq!(ask(house.admin, "GET", "/health/live", &[], b"").await.status, 200, "the other one goes on");
}
