//! The life of a connection, and the codes with which it ends.

use anyhow::{Context, Result, ensure};
use futures_util::StreamExt;
use godwit_e2e::{
    client::{Client, request, text, upgrade},
    server::{Server, UNLIMITED},
};
use serde_json::json;
use std::time::{Duration, Instant};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_tungstenite::tungstenite::Message;
use uuid::Uuid;

#[tokio::test]
async fn the_server_says_hello_with_its_limits_first() -> Result<()> {
    let server =
        Server::with("[limits]\nbody_bytes_max = 1234\n[gateway]\nping_interval_ms = 9000\n").await?;
    let hello = Client::open(server.public).await?.hello;
    assert_eq!((&hello["protocol"], &hello["max_body_bytes"]), (&json!(1), &json!(1234)));
    assert_eq!((&hello["ping_interval_ms"], &hello["max_frame_bytes"]), (&json!(9000), &json!(131_072)));
    ensure!(hello["server"].as_str().is_some_and(|server| server.starts_with("godwit/")), "{hello}");
    ensure!(hello["features"].is_array() && hello["max_in_flight"].is_u64(), "{hello}");
    Ok(())
}

#[tokio::test]
async fn the_subprotocol_is_chosen_assumed_or_refused_and_compression_declined() -> Result<()> {
    let server = Server::start().await?;
    let offer = |offered: Option<&str>| -> Result<_> {
        let mut request = request(server.public, &[("sec-websocket-extensions", "permessage-deflate")])?;
        request.headers_mut().remove("sec-websocket-protocol");
        if let Some(offered) = offered {
            request.headers_mut().insert("sec-websocket-protocol", offered.parse()?);
        }
        Ok(request)
    };
    let chosen = Some("godwit.v1.json".to_owned());
    assert_eq!(upgrade(server.public, offer(Some("godwit.v1.json"))?).await?, Ok(chosen.clone()));
    assert_eq!(upgrade(server.public, offer(Some("other, godwit.v1.json"))?).await?, Ok(chosen));
    assert_eq!(upgrade(server.public, offer(Some("other"))?).await?, Err(400));
    // A client that offers none is not told one, as WebSocket demands.
    assert_eq!(upgrade(server.public, offer(None)?).await?, Ok(None));
    Ok(())
}

#[tokio::test]
async fn an_origin_must_be_absent_the_hosts_own_or_on_the_list() -> Result<()> {
    let server = Server::with("[gateway]\norigins = [\"https://chat.example.com\"]\n").await?;
    let own = format!("http://{}", server.public);
    for (origin, granted) in [
        (own.as_str(), true),
        ("https://chat.example.com", true),
        ("https://chat.example.com.evil.example", false),
        ("http://chat.example.com", false),
        ("https://evil.example", false),
        ("null", false),
    ] {
        let upgraded = upgrade(server.public, request(server.public, &[("origin", origin)])?).await?;
        let expected = if granted { Ok(Some("godwit.v1.json".to_owned())) } else { Err(403) };
        assert_eq!(upgraded, expected, "{origin}");
    }
    Ok(())
}

#[tokio::test]
async fn requests_before_connect_and_a_second_connect_are_refused() -> Result<()> {
    let server = Server::start().await?;
    let ada = server.person("ada").await?;
    let mut client = Client::open(server.public).await?;
    assert_eq!(client.refused("conversations", json!({})).await?.code, "unauthorised");
    let unfinished = client.refused("connect", json!({"token": ada.token})).await?;
    assert_eq!((unfinished.code.as_str(), unfinished.field.as_deref()), ("invalid", Some("device")));
    client.authenticate(&ada.token).await?;
    let again = json!({"token": ada.token, "device": {"id": "d"}});
    assert_eq!(client.refused("connect", again).await?.code, "conflict");
    client.request("conversations", json!({})).await?;
    Ok(())
}

#[tokio::test]
async fn connect_may_be_sent_before_hello_is_read_and_several_requests_share_a_frame() -> Result<()> {
    let server = Server::start().await?;
    let ada = server.person("ada").await?;
    let mut client = Client::open(server.public).await?;
    let connect = json!({"token": ada.token, "device": {"id": "d"}});
    let to_self = json!({"to": ada.id, "client_id": Uuid::now_v7(), "body": "note"});
    let ids =
        client.post_all([("connect", connect), ("send", to_self), ("conversations", json!({}))]).await?;
    assert_eq!(client.reply(ids[0]).await?["user"]["id"], json!(ada.id));
    assert_eq!(client.reply(ids[1]).await?["seq"], 1);
    client.reply(ids[2]).await?;
    // Blank lines are passed over.
    client.raw(Message::text("\n\n{\"id\": 100, \"conversations\": {}}\n\n")).await?;
    client.reply(100).await?;
    Ok(())
}

#[tokio::test]
async fn what_stands_before_a_broken_line_takes_effect() -> Result<()> {
    let server = Server::start().await?;
    let (ada, mut client) = server.join("ada").await?;
    let place = client.direct(ada.id).await?;
    let send = json!({"id": 900, "send": text(place, Uuid::now_v7(), "before the break")});
    client.raw(Message::text(format!("{send}\n{{broken"))).await?;
    assert_eq!(client.closed().await?, 3501);
    let mut client = server.session(&ada).await?;
    // It was in flight when its socket ended.
    let arrived = async || Ok(client.history(place, 0).await?.pop());
    let message = godwit_e2e::eventually("the message before the break", arrived).await?;
    assert_eq!(message["body"], "before the break");
    Ok(())
}

#[tokio::test]
async fn frames_that_break_the_rules_end_their_socket_with_its_code_and_no_other() -> Result<()> {
    let server = Server::start().await?;
    let (ben, mut bystander) = server.join("ben").await?;
    let deep = |depth: usize| format!("{{\"id\": 5, \"x\": {}{}}}", "[".repeat(depth), "]".repeat(depth));
    let frames = [
        ("text that is no JSON", Message::text("hello"), 3501),
        ("an array", Message::text("[]"), 3501),
        ("half an object", Message::text("{\"id\": 1"), 3501),
        ("nested 65 deep", Message::text(deep(64)), 3501),
        ("a binary frame", Message::binary(vec![1, 2, 3]), 3501),
        (
            "more than 1,000 objects",
            Message::text("{\"id\": 1, \"conversations\": {}}\n".repeat(1_001)),
            3501,
        ),
        ("a frame over the limit", Message::text(" ".repeat(131_073)), 3502),
    ];
    for (name, frame, code) in frames {
        let (_, mut client) = server.join(&format!("x-{}", Uuid::new_v4().simple())[..20]).await?;
        client.raw(frame).await?;
        assert_eq!(client.closed().await?, code, "{name}");
    }
    // As deep as allowed, and as large: answered, and the socket stays.
    let (_, mut client) = server.join("ada").await?;
    client.raw(Message::text(deep(63))).await?;
    assert_eq!(client.reply(5).await.err().context("it is no request")?.code(), "unknown_request");
    client
        .raw(Message::text(format!("{}{}", " ".repeat(131_000), "{\"id\": 6, \"conversations\": {}}")))
        .await?;
    client.reply(6).await?;
    bystander.direct(ben.id).await?;
    Ok(())
}

/// Upgrades and hands over the bare stream, behind `hello`.
async fn bare(server: &Server) -> Result<TcpStream> {
    let mut stream = TcpStream::connect(server.public).await?;
    let head = format!(
        "GET /v1/ws HTTP/1.1\r\nHost: {}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n",
        server.public
    );
    stream.write_all(head.as_bytes()).await?;
    let mut seen = Vec::new();
    while !seen.windows(8).any(|window| window == b"features") {
        ensure!(stream.read_buf(&mut seen).await? > 0, "the server ended the connection");
    }
    Ok(stream)
}

/// Reads to the end: the code of the last close frame, which is short and unmasked.
async fn close_code(mut stream: TcpStream) -> Result<u16> {
    let mut rest = Vec::new();
    // A reset after the close frame is an end as well.
    let _ = tokio::time::timeout(godwit_e2e::PATIENCE, stream.read_to_end(&mut rest)).await?;
    let at = rest.iter().rposition(|&byte| byte == 0x88).context("there is no close frame")?;
    let code = rest.get(at + 2..at + 4).context("the close frame has no code")?;
    Ok(u16::from_be_bytes([code[0], code[1]]))
}

#[tokio::test]
async fn violations_of_websocket_itself_close_with_its_own_codes() -> Result<()> {
    let server = Server::start().await?;
    for (name, bytes, code) in [
        ("an unmasked frame", &b"\x81\x02{}"[..], 1002),
        ("a reserved opcode", b"\x83\x80\0\0\0\0", 1002),
        ("a reserved bit", b"\xc1\x80\0\0\0\0", 1002),
        ("a long ping", &[&b"\x89\xfe\x00\x7e\0\0\0\0"[..], &[0; 126]].concat(), 1002),
        ("text that is not UTF-8", b"\x81\x82\0\0\0\0\xc3\x28", 1007),
        ("a length over the limit", b"\x81\xff\0\0\0\0\x7f\xff\xff\xff\0\0\0\0", 3502),
    ] {
        let mut stream = bare(&server).await?;
        stream.write_all(bytes).await?;
        assert_eq!(close_code(stream).await?, code, "{name}");
    }
    Ok(())
}

#[tokio::test]
async fn who_does_not_connect_in_time_is_closed_even_with_a_frame_half_sent() -> Result<()> {
    let server = Server::start().await?;
    let began = Instant::now();
    let mut silent = Client::open(server.public).await?;
    let mut unfinished = bare(&server).await?;
    unfinished.write_all(b"\x81\xfe\x10\x00\0\0\0\0{\"id\": 1, ").await?;
    let (silent, unfinished) = tokio::join!(silent.closed(), close_code(unfinished));
    assert_eq!((silent?, unfinished?), (3505, 3505));
    assert!(began.elapsed() >= Duration::from_secs(9), "10 s are given");
    Ok(())
}

#[tokio::test]
async fn a_silent_socket_is_closed_as_idle_and_one_that_answers_pings_is_not() -> Result<()> {
    let server = Server::with(&[UNLIMITED, "[gateway]\nping_interval_ms = 300\n"].concat()).await?;
    let ada = server.person("ada").await?;
    let (_, mut alive) = server.join("ben").await?;
    // A bare stream reads pings and answers none.
    let mut silent = bare(&server).await?;
    let connect = json!({"id": 1, "connect": {"token": ada.token, "device": {"id": "d"}}}).to_string();
    let mut frame = vec![0x81, 0xfe];
    frame.extend_from_slice(&u16::try_from(connect.len())?.to_be_bytes());
    frame.extend_from_slice(&[0; 4]);
    frame.extend_from_slice(connect.as_bytes());
    silent.write_all(&frame).await?;
    let (closed, listened) = tokio::join!(close_code(silent), alive.listen(Duration::from_secs(3)));
    assert_eq!(closed?, 3002);
    listened?;
    alive.request("conversations", json!({})).await?;
    Ok(())
}

#[tokio::test]
async fn a_ping_is_answered_with_its_own_payload() -> Result<()> {
    let server = Server::start().await?;
    let stream = TcpStream::connect(server.public).await?;
    let (mut socket, _) = tokio_tungstenite::client_async(request(server.public, &[])?, stream).await?;
    futures_util::SinkExt::send(&mut socket, Message::Ping("are you there".into())).await?;
    let answered = async {
        loop {
            match socket.next().await.context("the connection ended")?? {
                Message::Pong(payload) => return anyhow::Ok(payload),
                other => ensure!(other.is_text(), "{other:?} came"),
            }
        }
    };
    assert_eq!(&tokio::time::timeout(godwit_e2e::PATIENCE, answered).await??[..], b"are you there");
    Ok(())
}
