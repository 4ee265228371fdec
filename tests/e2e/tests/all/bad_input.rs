//! What is wrong with a request is told in the protocol's words, and touches nobody else.
//!
//! The cases are tables: what is sent, and the code and field that must come back.

use anyhow::{Context, Result, ensure};
use godwit_e2e::{
    admin::Install,
    client::{Client, Failure},
    server::Server,
};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_tungstenite::tungstenite::Message;
use uuid::Uuid;

/// Two people who chat beside everything that goes wrong.
struct Bystanders {
    sender: Client,
    reader: Client,
    place: Uuid,
    sent: u64,
}

impl Bystanders {
    async fn join(server: &Server) -> Result<Self> {
        let (_, mut sender) = server.join("sender").await?;
        let (reader_person, reader) = server.join("reader").await?;
        let place = sender.direct(reader_person.id).await?;
        Ok(Self { sender, reader, place, sent: 0 })
    }

    /// They still hear each other, without a gap.
    async fn check(&mut self) -> Result<()> {
        self.sent += 1;
        let body = format!("still here {}", self.sent);
        assert_eq!(self.sender.send(self.place, &body).await?.seq, self.sent);
        let push = self.reader.push("message").await?;
        assert_eq!((&push["seq"], &push["body"]), (&json!(self.sent), &json!(body)));
        Ok(())
    }
}

/// Values of every type that JSON has; each field refuses those that are not its own.
fn values() -> Vec<(&'static str, Value)> {
    vec![
        ("bool", json!(true)),
        ("integer", json!(7)),
        ("negative", json!(-1)),
        ("fraction", json!(1.5)),
        ("string", json!("nonsense")),
        ("list", json!([])),
        ("numbers", json!([1])),
        ("object", json!({})),
    ]
}

/// Fields, each with the kinds of [`values`] that are right for it.
type Fields = Vec<(&'static str, Vec<&'static str>)>;

/// Requests, each with a payload that is right.
fn requests(place: Uuid, user: Uuid) -> Vec<(&'static str, Value, Fields)> {
    let id = Uuid::now_v7;
    vec![
        ("renew", json!({"token": "t"}), vec![("token", vec!["string"])]),
        ("direct", json!({"user": user}), vec![("user", vec![])]),
        (
            "create",
            json!({"kind": "group", "client_id": id(), "title": "t", "members": [], "history": "all"}),
            vec![
                ("kind", vec![]),
                ("client_id", vec![]),
                ("title", vec!["string"]),
                ("members", vec!["list"]),
                ("history", vec![]),
            ],
        ),
        (
            "invite",
            json!({"conversation": place, "users": [user]}),
            vec![("conversation", vec![]), ("users", vec!["list"])],
        ),
        (
            "members",
            json!({"conversation": place, "limit": 1}),
            vec![("conversation", vec![]), ("page", vec![]), ("limit", vec!["integer"])],
        ),
        ("conversation", json!({"conversation": place}), vec![("conversation", vec![])]),
        ("conversations", json!({"limit": 1}), vec![("page", vec![]), ("limit", vec!["integer"])]),
        (
            "send",
            json!({"conversation": place, "client_id": id(), "kind": "text", "body": "b"}),
            vec![("conversation", vec![]), ("client_id", vec![]), ("kind", vec![]), ("body", vec!["string"])],
        ),
        (
            "history",
            json!({"conversation": place}),
            vec![
                ("conversation", vec![]),
                ("before_seq", vec!["integer"]),
                ("after_seq", vec!["integer"]),
                ("before_ms", vec!["integer"]),
                ("limit", vec!["integer"]),
            ],
        ),
        (
            "received",
            json!({"conversation": place, "seq": 1}),
            vec![("conversation", vec![]), ("seq", vec!["integer"])],
        ),
        (
            "read",
            json!({"conversation": place, "seq": 1}),
            vec![("conversation", vec![]), ("seq", vec!["integer"])],
        ),
    ]
}

#[tokio::test]
async fn a_wrong_type_for_any_field_of_any_request_is_invalid_and_names_the_field() -> Result<()> {
    let server = Server::start().await?;
    let mut bystanders = Bystanders::join(&server).await?;
    let (ada, mut client) = server.join("ada").await?;
    let place = client.group("Bad input", &[]).await?;
    let mut checked = 0;
    for (name, right, fields) in requests(place, ada.id) {
        for (field, accepted) in fields {
            for (kind, value) in values() {
                if accepted.contains(&kind) {
                    continue;
                }
                let mut wrong = right.clone();
                wrong[field] = value;
                let refusal = client.refused(name, wrong.clone()).await?;
                assert_eq!(refusal.code, "invalid", "{name} {wrong}: {refusal}");
                let told = refusal.field.with_context(|| format!("{name} {wrong}: no field is named"))?;
                ensure!(
                    told == field || told.starts_with(&format!("{field}[")),
                    "{name} {wrong}: `{told}` is named"
                );
                checked += 1;
            }
        }
        for payload in [json!(null), json!(true), json!(1), json!("x"), json!([])] {
            assert_eq!(client.refused(name, payload.clone()).await?.code, "invalid", "{name} {payload}");
        }
    }
    ensure!(checked > 150, "only {checked} cases");
    assert_eq!(client.history(place, 0).await?.len(), 0, "nothing wrong was taken for a message");
    bystanders.check().await
}

#[tokio::test]
async fn a_missing_field_an_unknown_request_and_an_unusable_id_are_told_apart() -> Result<()> {
    let server = Server::start().await?;
    let mut bystanders = Bystanders::join(&server).await?;
    let (_, mut client) = server.join("ada").await?;
    let place = client.group("Bad input", &[]).await?;
    for (name, payload, code, field) in [
        ("dance", json!({}), "unknown_request", None),
        ("Send", json!({}), "unknown_request", None),
        ("direct", json!({}), "invalid", Some("user")),
        ("create", json!({"kind": "group", "client_id": Uuid::now_v7()}), "invalid", Some("title")),
        ("send", json!({"client_id": Uuid::now_v7(), "body": "b"}), "invalid", Some("conversation")),
        ("send", json!({"conversation": place, "body": "b"}), "invalid", Some("client_id")),
        ("send", json!({"conversation": place, "client_id": Uuid::now_v7()}), "invalid", Some("body")),
        ("read", json!({"conversation": place}), "invalid", Some("seq")),
        ("members", json!({}), "invalid", Some("conversation")),
    ] {
        let refusal = client.refused(name, payload.clone()).await?;
        assert_eq!((refusal.code.as_str(), refusal.field.as_deref()), (code, field), "{name} {payload}");
    }
    for (line, id, code) in [
        (json!({"id": 900}), 900, "unknown_request"),
        (json!({"id": 901, "conversations": {}, "members": {}}), 901, "invalid"),
        (json!({"conversations": {}}), 0, "invalid"),
        (json!({"id": 0, "conversations": {}}), 0, "invalid"),
        (json!({"id": -1, "conversations": {}}), 0, "invalid"),
        (json!({"id": 1.5, "conversations": {}}), 0, "invalid"),
        (json!({"id": "1", "conversations": {}}), 0, "invalid"),
        (json!({"id": 9_007_199_254_740_992_u64, "conversations": {}}), 0, "invalid"),
    ] {
        client.raw(Message::text(line.to_string())).await?;
        match client.reply(id).await {
            Err(Failure::Refused(refusal)) => assert_eq!(refusal.code, code, "{line}"),
            other => anyhow::bail!("{line}: {other:?}"),
        }
    }
    // What is unknown within a known request is passed over.
    client.request("conversations", json!({"limit": 5, "colour": "red", "deep": [[[[1]]]]})).await?;
    bystanders.check().await
}

#[tokio::test]
async fn unknown_ids_are_refused_alike_whether_or_not_they_exist() -> Result<()> {
    let server = Server::start().await?;
    let mut bystanders = Bystanders::join(&server).await?;
    let (_, mut client) = server.join("ada").await?;
    let (foreign, absent) = (bystanders.place, Uuid::now_v7());
    for (name, mut payload) in [
        ("conversation", json!({})),
        ("members", json!({})),
        ("history", json!({})),
        ("read", json!({"seq": 1})),
        ("received", json!({"seq": 1})),
        ("invite", json!({"users": [client.user]})),
        ("send", json!({"client_id": Uuid::now_v7(), "body": "let me in"})),
    ] {
        payload["conversation"] = json!(foreign);
        let of_foreign = client.refused(name, payload.clone()).await?;
        payload["conversation"] = json!(absent);
        let of_absent = client.refused(name, payload).await?;
        assert_eq!(of_foreign, of_absent, "{name}");
        assert_eq!(of_foreign.code, "not_found", "{name}");
    }
    let to_nobody = json!({"to": Uuid::now_v7(), "client_id": Uuid::now_v7(), "body": "anyone?"});
    assert_eq!(client.refused("send", to_nobody).await?.code, "unknown_user");
    bystanders.check().await
}

#[tokio::test]
async fn forged_tokens_are_refused_and_close_their_socket() -> Result<()> {
    let server = Server::start().await?;
    let mut bystanders = Bystanders::join(&server).await?;
    let ada = server.person("ada").await?;
    let other_server = Server::start().await?;
    let elsewhere = other_server.person("ada").await?.token;
    let middle = ada.token.len() / 2;
    let flipped = |at: usize| -> String {
        let flip = |(n, c): (usize, char)| if n == at { if c == 'A' { 'B' } else { 'A' } } else { c };
        ada.token.chars().enumerate().map(flip).collect()
    };
    let tokens = [
        String::new(),
        "x".to_owned(),
        "ä".repeat(100),
        ada.token[..ada.token.len() - 1].to_owned(),
        ada.token[..middle].to_owned(),
        format!("{}A", ada.token),
        flipped(0),
        flipped(middle),
        flipped(ada.token.len() - 3),
        elsewhere,
        "x".repeat(60_000),
    ];
    for token in tokens {
        let mut client = Client::open(server.public).await?;
        let connect = json!({"token": token, "device": {"id": "d"}});
        let shown: String = token.chars().take(40).collect();
        assert_eq!(client.refused("connect", connect).await?.code, "unauthorised", "{shown}");
        assert_eq!(client.closed().await?, 3500, "{shown}");
    }
    server.session(&ada).await?;
    bystanders.check().await
}

#[tokio::test]
async fn http_that_is_malformed_oversized_or_unfinished_is_refused_or_cut() -> Result<()> {
    let server = Server::with("[gateway]\nheader_timeout_ms = 1000\nbody_timeout_ms = 1000\n").await?;
    let mut bystanders = Bystanders::join(&server).await?;
    let long = "x".repeat(64 * 1024);
    for (name, bytes, statuses) in [
        ("no HTTP", "hello\r\n\r\n".to_owned(), &["400"][..]),
        ("a head over the limit", format!("GET / HTTP/1.1\r\nHost: x\r\nX-Long: {long}\r\n\r\n"), &["431", "400"]),
        ("an unknown path", "GET /nothing HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".to_owned(), &["404"]),
        ("a wrong method", "GET /v1/auth/login HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".to_owned(), &["405"]),
        ("no upgrade", "GET /v1/ws HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".to_owned(), &["400", "426"]),
        (
            "a body that is no JSON",
            "POST /v1/auth/login HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello".to_owned(),
            &["400"],
        ),
        (
            "a body over the limit",
            "POST /v1/auth/login HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999\r\nConnection: close\r\n\r\n{".to_owned(),
            &["413"],
        ),
        ("an unfinished head", "GET / HTTP/1.1\r\nHost: x\r\n".to_owned(), &["408", ""]),
        (
            "an unfinished body",
            "POST /v1/auth/login HTTP/1.1\r\nHost: x\r\nContent-Length: 50\r\n\r\n{\"name\":".to_owned(),
            &["408", "400", ""],
        ),
    ] {
        let mut stream = TcpStream::connect(server.public).await?;
        // Who answers early may close before all is written.
        let _ = stream.write_all(bytes.as_bytes()).await;
        let mut answer = Vec::new();
        let _ = tokio::time::timeout(godwit_e2e::PATIENCE, stream.read_to_end(&mut answer)).await?;
        let answer = String::from_utf8_lossy(&answer);
        let status = answer.split(' ').nth(1).unwrap_or_default();
        ensure!(statuses.contains(&status), "{name}: {answer}");
    }
    bystanders.check().await
}

#[tokio::test]
async fn garbage_as_a_plugin_is_refused_with_what_is_wrong_and_changes_nothing() -> Result<()> {
    let server = Server::start().await?;
    let mut bystanders = Bystanders::join(&server).await?;
    let manifest =
        "id = \"x\"\nversion = \"1.0.0\"\ninterface = \"0.1\"\nname = \"X\"\nhooks = [\"moderation\"]\n";
    let good = |component: &[u8]| Install {
        id: "x".to_owned(),
        manifest: manifest.to_owned(),
        component: component.to_owned(),
        ..Install::default()
    };
    let empty_module = b"\0asm\x01\0\0\0";
    let empty_component = b"\0asm\x0d\0\x01\0";
    let mut random = fastrand::Rng::with_seed(3);
    let noise: Vec<u8> = (0..10_000).map(|_| random.u8(..)).collect();
    let mut broken = empty_component.to_vec();
    broken.extend_from_slice(&noise);
    for (name, install) in [
        ("no component", good(b"")),
        ("text", good(b"hello")),
        ("noise", good(&noise)),
        ("noise behind a component's head", good(&broken)),
        ("a core module", good(empty_module)),
        ("a component without a hook", good(empty_component)),
        ("a manifest that is no TOML", Install { manifest: "id = ".to_owned(), ..good(empty_component) }),
        ("an unknown key", Install { manifest: format!("{manifest}colour = 1\n"), ..good(empty_component) }),
        ("another id", Install { id: "y".to_owned(), ..good(empty_component) }),
        ("an id that is a path", Install { id: "..%2Fx".to_owned(), ..good(empty_component) }),
        ("a configuration that is no object", Install { config: Some(json!(7)), ..good(empty_component) }),
    ] {
        let (status, answer) = server.admin.install(install).await?;
        ensure!([400, 404, 422].contains(&status), "{name}: {status} {answer}");
        ensure!(answer["error"]["message"].as_str().is_some_and(|text| !text.is_empty()), "{name}: {answer}");
    }
    let body = json!({"manifest": manifest});
    let (status, answer) = server.admin.call(Method::PUT, "/admin/v1/plugins/x", Some(&body)).await?;
    ensure!((400..500).contains(&status), "JSON in place of multipart: {status} {answer}");
    let (status, plugins) = server.admin.call(Method::GET, "/admin/v1/plugins", None).await?;
    assert_eq!(status, 200);
    ensure!(!plugins.to_string().contains("\"x\""), "something was installed: {plugins}");
    for (method, path) in [
        (Method::DELETE, "/admin/v1/plugins/nothing"),
        (Method::GET, "/admin/v1/plugins/nothing"),
        (Method::POST, "/admin/v1/plugins/nothing/rollback"),
    ] {
        let (status, answer) = server.admin.call(method, path, None).await?;
        assert_eq!((status, &answer["error"]["code"]), (404, &json!("not_found")), "{path}");
    }
    bystanders.check().await
}
