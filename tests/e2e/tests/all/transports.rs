//! Requests by `POST`, pushes by long poll and as server-sent events: the same sessions without a socket.

use super::{bodies, list};
use anyhow::{Context, Result, ensure};
use godwit_e2e::{
    PATIENCE,
    client::{Client, Transport, text},
    eventually,
    http::{Answer, Event, Events, Way, call},
    server::{Person, Server, UNLIMITED},
};
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use uuid::Uuid;

/// A person and a session of theirs without a socket.
async fn way(server: &Server, name: &str) -> Result<(Person, Way)> {
    let person = server.person(name).await?;
    let (way, _) = Way::connect(server.public, &person.token).await?;
    Ok((person, way))
}

/// Makes one request that is answered with a reply object: that object.
async fn reply(way: &Way, body: Value) -> Result<Value> {
    let answer = call(way.post(body.to_string())).await?;
    ensure!(answer.status == 200 && answer.body["id"] == body["id"], "{answer:?}");
    Ok(answer.body)
}

/// The pushes after that number, waiting a while for the first: their numbers, and what they say.
async fn poll(way: &Way, after: u64) -> Result<Vec<(u64, Value)>> {
    let answer = call(way.get(&format!("?after={after}&wait_ms=30000"))).await?;
    ensure!(answer.status == 200, "{answer:?}");
    let events = list(&answer.body, "events")?.iter();
    events.map(|event| Ok((event["n"].as_u64().context("`n`")?, event["push"].clone()))).collect()
}

/// A stream of all that waits, and what comes.
async fn opened(way: &Way) -> Result<Events> {
    Events::open(way.get("")).await?.map_err(|answer| anyhow::anyhow!("{answer:?}"))
}

/// The close code with which a stream ends; pushes and comments before it are passed over.
async fn farewell(stream: &mut Events) -> Result<u64> {
    loop {
        if let Event::Close(said) = stream.next().await?.context("the stream ends without a word")? {
            assert_eq!(said["error"]["code"], "session_gone");
            assert_eq!(stream.next().await?, None);
            return said["close"].as_u64().context("`close` is an integer");
        }
    }
}

/// Ada without a socket, Ben with one, and their conversation; Ada's first push announced it.
async fn ada_and_ben(server: &Server) -> Result<(Person, Way, Client, Uuid)> {
    let (ada, way) = way(server, "ada").await?;
    let (_, mut ben) = server.join("ben").await?;
    let place = ben.direct(ada.id).await?;
    ben.send(place, "first").await?;
    let first = eventually("the announcement and the first message", async || {
        let waiting = poll(&way, 0).await?;
        Ok((waiting.len() == 2).then_some(waiting))
    });
    let first = first.await?;
    ensure!(first[0].1["conversation"]["id"] == json!(place), "{first:?}");
    assert_eq!(first[1].1["message"]["body"], "first");
    Ok((ada, way, ben, place))
}

#[tokio::test]
async fn people_chat_over_every_pair_of_transports() -> Result<()> {
    let server = Server::start().await?;
    let (ada, ben) = (server.person("ada").await?, server.person("ben").await?);
    for ada_over in Transport::ALL {
        for ben_over in Transport::ALL {
            let mut one = server.session_over(ada_over, &ada).await?;
            let mut other = server.session_over(ben_over, &ben).await?;
            let place = one.direct(ben.id).await?;
            let question = one.send(place, "how are you? ☀").await?;
            let pushed = other.push("message").await?;
            assert_eq!((&pushed["body"], &pushed["seq"]), (&json!("how are you? ☀"), &json!(question.seq)));
            let mark = json!({"conversation": place, "seq": question.seq});
            other.request("read", mark).await?;
            loop {
                let receipt = one.push("receipt").await?;
                if receipt["user"] == json!(ben.id) && receipt["read_seq"] == json!(question.seq) {
                    break;
                }
            }
            let answer = other.send(place, "fine").await?;
            assert_eq!(one.push("message").await?["seq"], json!(answer.seq), "{ada_over:?} {ben_over:?}");
            assert_eq!(one.refused("dance", json!({})).await?.code, "unknown_request");
        }
    }
    Ok(())
}

#[tokio::test]
async fn connect_makes_a_session_that_says_hello() -> Result<()> {
    let server = Server::start().await?;
    let ada = server.person("ada").await?;
    let (way, connected) = Way::connect(server.public, &ada.token).await?;
    assert_eq!(connected["ok"]["user"]["id"], json!(ada.id));
    let hello = &connected["ok"]["hello"];
    assert_eq!(*hello, Client::open(server.public).await?.hello, "it is what a socket is told");
    for feature in ["sse", "poll"] {
        ensure!(list(hello, "features")?.contains(&json!(feature)), "{hello}");
    }
    // An object may have line breaks within: there is one in a body.
    let pretty = serde_json::to_string_pretty(&json!({"id": 2, "conversations": {}}))?;
    assert_eq!(call(way.post(pretty)).await?.body["id"], 2);
    let again = json!({"id": 3, "connect": {"token": ada.token, "device": {"id": "d"}}});
    assert_eq!(reply(&way, again).await?["error"]["code"], "conflict");
    let unnumbered = call(way.post("{\"conversations\": {}}")).await?;
    assert_eq!((unnumbered.status, &unnumbered.body["id"]), (200, &json!(0)));
    assert_eq!(unnumbered.code(), "invalid");
    Ok(())
}

#[tokio::test]
async fn a_connect_that_is_refused_makes_no_session() -> Result<()> {
    let server = Server::start().await?;
    let ada = server.person("ada").await?;
    let way = Way::new(server.public, "");
    let connect =
        |token: &str, device: Value| json!({"id": 7, "connect": {"token": token, "device": device}});
    let forged = reply(&way, connect("forged", json!({"id": "d"}))).await?;
    assert_eq!(forged["error"]["code"], "unauthorised");
    let nameless = reply(&way, connect(&ada.token, json!({}))).await?;
    let error = &nameless["error"];
    assert_eq!((&error["code"], &error["field"]), (&json!("invalid"), &json!("device.id")));
    assert_eq!(
        reply(&way, connect(&ada.token, json!({"id": "d"}))).await?["ok"]["user"]["id"],
        json!(ada.id)
    );
    let metrics = server.admin.metrics().await?;
    ensure!(metrics.contains("godwit_sessions 1"), "one of the three is a session");
    Ok(())
}

fn check(name: &str, answer: &Answer, status: u16, code: &str, close: Option<u16>) {
    let said = (answer.status, answer.code(), answer.body["close"].as_u64());
    assert_eq!(said, (status, code, close.map(u64::from)), "{name}: {answer:?}");
}

#[tokio::test]
async fn what_is_no_request_of_a_session_is_refused_with_its_status() -> Result<()> {
    let server = Server::start().await?;
    let (ada, way) = way(&server, "ada").await?;
    let list = "{\"id\": 1, \"conversations\": {}}";
    let stranger = Way { session: String::new(), ..way.clone() };
    check("no session", &call(stranger.post(list)).await?, 401, "unauthorised", None);
    check("no session", &call(stranger.get("")).await?, 401, "unauthorised", None);
    check("no object, no session", &call(stranger.post("[]")).await?, 400, "invalid", None);
    for session in [Uuid::new_v4().to_string(), "mine".to_owned()] {
        // How a session ended is told before the token is looked at.
        let gone = Way { session, token: "forged".to_owned(), ..way.clone() };
        check("an unknown session", &call(gone.post(list)).await?, 410, "session_gone", Some(3003));
        check("an unknown session", &call(gone.get("")).await?, 410, "session_gone", Some(3003));
    }
    for token in ["forged", ""] {
        let forged = Way { token: token.to_owned(), ..way.clone() };
        check("a bad token", &call(forged.post(list)).await?, 401, "unauthorised", None);
        check("a bad token", &call(forged.get("")).await?, 401, "unauthorised", None);
    }
    let ben = server.person("ben").await?;
    let other = Way { token: ben.token, ..way.clone() };
    check("another's token", &call(other.post(list)).await?, 410, "session_gone", Some(3003));
    for origin in ["https://evil.example", "null"] {
        check(
            "a foreign page",
            &call(way.post(list).header("origin", origin)).await?,
            403,
            "forbidden",
            None,
        );
        check("a foreign page", &call(way.get("").header("origin", origin)).await?, 403, "forbidden", None);
    }
    let own = format!("http://{}", server.public);
    assert_eq!(call(way.post(list).header("origin", own)).await?.status, 200);
    for query in ["?after=x", "?after=-1", "?after=1", "?wait_ms=soon"] {
        check(query, &call(way.get(query)).await?, 400, "invalid", None);
    }
    let header = call(way.get("").header("last-event-id", "x")).await?;
    check("a bad Last-Event-ID", &header, 400, "invalid", None);
    let http = reqwest::Client::new();
    for (method, path) in [("GET", "/v1/rpc"), ("POST", "/v1/events")] {
        let url = format!("http://{}{path}", server.public);
        let answer = call(http.request(method.parse()?, url)).await?;
        check(path, &answer, 405, "unknown_request", None);
    }
    // None of all that has harmed the session.
    assert_eq!(reply(&way, json!({"id": 9, "direct": {"user": ada.id}})).await?["id"], 9);
    Ok(())
}

#[tokio::test]
async fn what_would_close_a_socket_ends_the_session() -> Result<()> {
    let server = Server::start().await?;
    let deep = format!("{{\"id\": 1, \"x\": {}{}}}", "[".repeat(64), "]".repeat(64));
    let bodies: [(&str, Vec<u8>, u16, &str, u16); 5] = [
        ("no JSON", b"hello".to_vec(), 400, "invalid", 3501),
        ("two objects", b"{\"id\": 1}\n{\"id\": 2}".to_vec(), 400, "invalid", 3501),
        ("nested 65 deep", deep.into_bytes(), 400, "invalid", 3501),
        ("no UTF-8", b"{\"id\": 1, \"\xff\": 1}".to_vec(), 400, "invalid", 1007),
        ("over the limit", vec![b' '; 131_073], 413, "too_large", 3502),
    ];
    for (n, (name, body, status, code, close)) in bodies.into_iter().enumerate() {
        let (_, way) = way(&server, &format!("user-{n}")).await?;
        let mut stream = opened(&way).await?;
        check(name, &call(way.post(body)).await?, status, code, Some(close));
        assert_eq!(farewell(&mut stream).await?, u64::from(close), "{name}");
        assert_eq!(call(way.post("{}")).await?.close()?, close, "{name}");
        assert_eq!(call(way.get("")).await?.close()?, close, "{name}");
    }
    Ok(())
}

#[tokio::test]
async fn pushes_are_shown_until_they_are_acknowledged_and_none_is_lost_with_a_lost_answer() -> Result<()> {
    let server = Server::start().await?;
    let (_, way, mut ben, place) = ada_and_ben(&server).await?;
    let all = poll(&way, 0).await?;
    assert_eq!(poll(&way, 0).await?, all, "the same `after` gives the same events");
    assert_eq!(all.iter().map(|(n, _)| *n).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(poll(&way, 1).await?, all[1..]);
    // Hung up on while it waits: what comes meanwhile is not lost with it.
    let waiting = tokio::time::timeout(Duration::from_millis(50), call(way.get("?after=2&wait_ms=30000")));
    ensure!(waiting.await.is_err(), "there is nothing to show");
    ben.send(place, "second").await?;
    let second = poll(&way, 2).await?;
    assert_eq!((second[0].0, &second[0].1["message"]["body"]), (3, &json!("second")));
    // Without `after` nothing is acknowledged.
    let waiting = call(way.get("")).await?;
    assert_eq!(list(&waiting.body, "events")?.len(), 1);
    assert_eq!(call(way.get("?after=3")).await?.body, json!({"events": []}), "0 ms is the default");
    // What was acknowledged is gone: who asks for it has lost something.
    let lost = call(way.get("?after=2")).await?;
    assert_eq!(lost.close()?, 3001);
    Ok(())
}

#[tokio::test]
async fn a_stream_numbers_its_events_and_goes_on_where_it_broke() -> Result<()> {
    let server = Server::start().await?;
    let (_, way, mut ben, place) = ada_and_ben(&server).await?;
    let open = async |after: Option<u64>| {
        let mut request = way.get("?after=1");
        if let Some(after) = after {
            request = request.header("last-event-id", after);
        }
        Events::open(request).await?.map_err(|answer| anyhow::anyhow!("{answer:?}"))
    };
    let mut stream = open(None).await?;
    assert_eq!(stream.headers()["cache-control"], "no-store");
    assert_eq!(stream.headers()["x-accel-buffering"], "no");
    assert_eq!(stream.next().await?, Some(Event::Comment), "the first bytes come at once");
    let Some(Event::Push(2, first)) = stream.next().await? else { anyhow::bail!("number 2 comes first") };
    ben.send(place, "second").await?;
    let Some(Event::Push(3, second)) = stream.next().await? else { anyhow::bail!("number 3 follows") };
    assert_eq!(serde_json::from_str::<Value>(&second)?["message"]["body"], "second");
    drop(stream);

    let mut again = open(None).await?;
    assert_eq!(again.next().await?, Some(Event::Comment));
    assert_eq!(again.next().await?, Some(Event::Push(2, first)), "nothing was acknowledged");
    assert_eq!(again.next().await?, Some(Event::Push(3, second)));
    // The browser's own header is newer than the address that it opens again.
    let mut resumed = open(Some(3)).await?;
    assert_eq!(again.next().await?, None, "a newer one ends an older one");
    ben.send(place, "third").await?;
    assert_eq!(resumed.next().await?, Some(Event::Comment));
    ensure!(matches!(resumed.next().await?, Some(Event::Push(4, _))), "number 4 comes next");
    // A poll ends a stream, and a newer poll an older one.
    let older = tokio::spawn(call(way.get("?after=4&wait_ms=30000")));
    assert_eq!(resumed.next().await?, None);
    assert_eq!(call(way.get("?after=4")).await?.body, json!({"events": []}));
    assert_eq!(older.await??.body, json!({"events": []}));
    Ok(())
}

#[tokio::test]
async fn requests_of_one_session_are_worked_off_like_frames_of_a_socket() -> Result<()> {
    let server = Server::with(&[UNLIMITED, "in_flight_max = 4\n"].concat()).await?;
    let (ada, way) = way(&server, "ada").await?;
    let place = reply(&way, json!({"id": 1, "direct": {"user": ada.id}})).await?;
    let place: Uuid = place["ok"]["conversation"]["id"].as_str().context("an id")?.parse()?;
    let send = |id: u64| json!({"id": id, "send": text(place, Uuid::now_v7(), &format!("message {id}"))});
    let ask = |id: u64| {
        let request = way.post(send(id).to_string());
        tokio::spawn(async move { anyhow::Ok((id, call(request).await?)) })
    };
    let mut accepted = Vec::new();
    for asked in (2..6).map(ask).collect::<Vec<_>>() {
        let (id, answer) = asked.await??;
        assert_eq!((answer.status, &answer.body["id"]), (200, &json!(id)), "each has its own reply");
        accepted.extend(answer.body["ok"]["seq"].as_u64());
    }
    for asked in (6..50).map(ask).collect::<Vec<_>>() {
        let (id, answer) = asked.await??;
        match answer.status {
            200 => assert_eq!(answer.body["id"], json!(id), "each has its own reply"),
            _ => assert_eq!(answer.close()?, 3503, "who goes on past the limit is closed"),
        }
        accepted.extend(answer.body["ok"]["seq"].as_u64());
        ensure!(matches!(answer.code(), "" | "rate_limited" | "session_gone"), "{answer:?}");
    }
    accepted.sort_unstable();
    ensure!(accepted.len() >= 4, "as many as may be in flight get through");
    assert_eq!(accepted, Vec::from_iter(1..=accepted.len() as u64));
    Ok(())
}

#[tokio::test]
async fn who_does_not_fetch_its_pushes_is_closed_as_a_slow_consumer() -> Result<()> {
    let settings = [UNLIMITED, "[gateway]\noutbox_bytes_max = 20000\n"].concat();
    let server = Server::with(&settings).await?;
    let (_, way, mut ben, place) = ada_and_ben(&server).await?;
    let mut sent = 1;
    let close = eventually("an end", async || {
        ben.send(place, &"x".repeat(1000)).await?;
        sent += 1;
        let answer = call(way.get("")).await?;
        Ok(if answer.status == 200 { None } else { Some(answer.close()?) })
    });
    assert_eq!(close.await?, 3001);
    ensure!((10..40).contains(&sent), "it took {sent} messages of 1,000 bytes");
    let list = json!({"id": 2, "conversations": {}}).to_string();
    assert_eq!(call(way.post(list)).await?.close()?, 3001);
    let metrics = server.admin.metrics().await?;
    ensure!(metrics.contains("godwit_closes_total{code=\"3001\"} 1"), "slow consumers are counted");
    ensure!(metrics.contains("godwit_sessions 1"), "Ben is left");
    // Nothing is lost: another session finds all of it.
    let mut ada = Client::connect(server.public, &way.token).await?;
    assert_eq!(ada.history(place, 0).await?.len(), sent);
    Ok(())
}

#[tokio::test]
async fn a_stream_that_is_read_takes_more_than_an_outbox_and_one_that_is_not_is_closed() -> Result<()> {
    let settings = [UNLIMITED, "[gateway]\noutbox_bytes_max = 40000\n"].concat();
    let server = Server::with(&settings).await?;
    let (_, reader, mut ben, place) = ada_and_ben(&server).await?;
    let mut stream = opened(&reader).await?;
    let body = "x".repeat(4000);
    for n in 0..50 {
        ben.send(place, &body).await?;
        loop {
            match stream.next().await?.context("the stream ended")? {
                Event::Push(number, _) if number == n + 3 => break,
                Event::Close(said) => anyhow::bail!("{said}"),
                _ => {}
            }
        }
    }
    // Nobody reads any more: what the system itself holds is full after a while, then the outbox.
    let large = "x".repeat(16_000);
    let closed = eventually("an end", async || {
        for _ in 0..50 {
            ben.send(place, &large).await?;
        }
        let metrics = server.admin.metrics().await?;
        Ok(metrics.contains("godwit_closes_total{code=\"3001\"} 1").then_some(()))
    });
    closed.await?;
    assert_eq!(call(reader.get("")).await?.close()?, 3001);
    Ok(())
}

/// What an account's login answers with.
async fn log_in(server: &Server, name: &str) -> Result<Value> {
    let credentials = json!({"name": name, "password": "correct horse"});
    let (status, tokens) = server.post("/v1/auth/login", None, &credentials).await?;
    ensure!(status == 200, "{tokens}");
    Ok(tokens)
}

fn token(tokens: &Value) -> Result<&str> {
    tokens["access_token"].as_str().context("`access_token` is a string")
}

#[tokio::test]
async fn a_session_is_its_logins_and_ends_with_it() -> Result<()> {
    let server = Server::start().await?;
    let user = server.admin.create_user("ada", Some("correct horse")).await?;
    let tokens = log_in(&server, "ada").await?;
    let (way, _) = Way::connect(server.public, token(&tokens)?).await?;
    let direct = |id: u64| json!({"id": id, "direct": {"user": user}});
    let other = Way { token: token(&log_in(&server, "ada").await?)?.to_owned(), ..way.clone() };
    assert_eq!(call(other.post(direct(1).to_string())).await?.close()?, 3003, "another login's token");
    let refresh = json!({"refresh_token": tokens["refresh_token"]});
    let (status, refreshed) = server.post("/v1/auth/refresh", None, &refresh).await?;
    ensure!(status == 200, "{refreshed}");
    let way = Way { token: token(&refreshed)?.to_owned(), ..way };
    reply(&way, direct(2)).await?;
    let mut stream = opened(&way).await?;
    let (status, _) = server.post("/v1/auth/logout", Some(&way.token), &Value::Null).await?;
    assert_eq!(status, 204);
    assert_eq!(call(way.post(direct(3).to_string())).await?.close()?, 3504);
    assert_eq!(farewell(&mut stream).await?, 3504);
    Ok(())
}

#[tokio::test]
async fn a_waiting_request_is_told_of_the_end_at_once() -> Result<()> {
    let server = Server::start().await?;
    server.admin.create_user("ada", Some("correct horse")).await?;
    let tokens = log_in(&server, "ada").await?;
    let (way, _) = Way::connect(server.public, token(&tokens)?).await?;
    let waiting = tokio::spawn(call(way.get("?after=0&wait_ms=30000")));
    // It waits once the session is found alive by another request behind it.
    call(way.post("{\"id\": 1, \"conversations\": {}}")).await?;
    server.post("/v1/auth/logout", Some(&way.token), &Value::Null).await?;
    let began = Instant::now();
    assert_eq!(waiting.await??.close()?, 3504);
    ensure!(began.elapsed() < Duration::from_secs(25), "it was told when its time was over");
    Ok(())
}

#[tokio::test]
async fn a_draining_host_says_so_serves_on_and_lets_nobody_in() -> Result<()> {
    let mut server = Server::start().await?;
    let (ada, way) = way(&server, "ada").await?;
    let mut stream = opened(&way).await?;
    assert_eq!(stream.next().await?, Some(Event::Comment));
    server.signal()?;
    let Some(Event::Push(1, told)) = stream.next().await? else { anyhow::bail!("nothing was told") };
    ensure!(told.starts_with("{\"reconnect\":{\"after_ms\":"), "{told}");
    // On connections of their own.
    reply(&way, json!({"id": 1, "conversations": {}})).await?;
    let newcomer = Way::new(server.public, "");
    let connect = json!({"id": 1, "connect": {"token": ada.token, "device": {"id": "d"}}}).to_string();
    check("a newcomer", &call(newcomer.post(connect)).await?, 503, "unavailable", None);
    let refused = godwit_e2e::client::request(server.public, &[])?;
    assert_eq!(godwit_e2e::client::upgrade(server.public, refused).await?, Err(503));
    assert_eq!(farewell(&mut stream).await?, 3000);
    assert_eq!(server.ended().await?.code(), Some(0), "{}", server.log());
    Ok(())
}

/// The one test that lasts a minute, because the contract's minute is what it looks at.
#[tokio::test]
async fn after_a_minute_without_a_request_a_session_ends_and_what_a_stream_wrote_counts_as_read() -> Result<()>
{
    // No cursor comes between: pushes are counted here.
    let settings = [UNLIMITED, "[resume]\ncursor_interval_ms = 3600000\n"].concat();
    let server = Server::with(&settings).await?;
    let (_, streamed, ben, place) = ada_and_ben(&server).await?;
    let began = Instant::now();
    let (_, idle) = way(&server, "cleo").await?;
    let mut stream = opened(&streamed).await?;
    let (mut comments, mut pushes) = (0, 0);
    let listening = async {
        while began.elapsed() < Duration::from_secs(70) {
            match stream.next().await?.context("the stream ended")? {
                Event::Comment => comments += 1,
                Event::Push(..) => pushes += 1,
                Event::Close(said) => anyhow::bail!("{said}"),
            }
        }
        anyhow::Ok(())
    };
    // The next comment ends the wait.
    tokio::time::timeout(Duration::from_secs(70) + PATIENCE, listening).await??;
    ensure!(comments >= 5, "{comments} comments in 70 s");
    assert_eq!(pushes, 2);
    assert_eq!(call(idle.get("")).await?.close()?, 3002);
    assert_eq!(call(streamed.get("")).await?.body, json!({"events": []}), "a minute is enough");
    // His first socket was not read all that time, and so is closed for its silence.
    let token = server.admin.mint(ben.user, None).await?;
    Client::connect(server.public, &token).await?.send(place, "second").await?;
    let (n, push) = poll(&streamed, 2).await?.remove(0);
    assert_eq!((n, bodies(&[push["message"].clone()])), (3, vec!["second"]));
    assert_eq!(call(streamed.get("?after=1")).await?.close()?, 3001);
    Ok(())
}
