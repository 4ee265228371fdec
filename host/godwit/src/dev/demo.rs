//! Two people who have a conversation, so that there is something to see.
//!
//! They come in as anyone would: made by the admin API, talking over a socket in the words of the client protocol.

use crate::admin::{Body, Client};
use anyhow::{Context, bail};
use futures_util::{SinkExt, StreamExt};
use hyper::{Method, StatusCode};
use serde_json::{Value, json};
use std::{collections::VecDeque, net::SocketAddr};
use tokio::net::TcpStream;
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{Message, client::IntoClientRequest, http::HeaderValue},
};
use uuid::Uuid;

/// Someone to log in as.
pub struct Person {
    /// The name to log in with.
    pub name: &'static str,
    /// The name to show.
    pub display_name: &'static str,
    /// No secret: it is printed.
    pub password: &'static str,
}

const ADA: Person = Person { name: "ada", display_name: "Ada", password: "ada-says-hi" };
const BEN: Person = Person { name: "ben", display_name: "Ben", password: "ben-says-hi" };

/// What they say: who, and what.
const CONVERSATION: [(usize, &str); 4] = [
    (0, "Hi Ben! So this is the new chat?"),
    (1, "It is. Every rule here is a plugin, and you can swap it while we talk."),
    (0, "What the heck, really?"),
    (1, "Change one under plugins/, save, and write again."),
];

/// Makes the two, unless they are there already, and lets them talk.
///
/// # Errors
/// The host refuses, or is gone.
pub async fn prepare(admin: &Client, public: SocketAddr) -> anyhow::Result<[Person; 2]> {
    if let (Some(ada), Some(ben)) = (create(admin, &ADA).await?, create(admin, &BEN).await?) {
        talk(admin, public, [&ada, &ben]).await?;
    }
    Ok([ADA, BEN])
}

/// The new person's id, or `None` where the name is taken: of a folder that was used before.
async fn create(admin: &Client, person: &Person) -> anyhow::Result<Option<String>> {
    let Person { name, display_name, password } = person;
    let body = json!({ "name": name, "password": password, "display_name": display_name });
    let (status, reply) = admin.exchange(Method::POST, "/admin/v1/users", Body::Json(body)).await?;
    let reply: Value = serde_json::from_slice(&reply).unwrap_or_default();
    match status {
        StatusCode::CREATED => Ok(reply["user"]["id"].as_str().map(str::to_owned)),
        StatusCode::CONFLICT => Ok(None),
        _ => bail!("{name} could not be made: {status} {reply}"),
    }
}

async fn talk(admin: &Client, public: SocketAddr, people: [&str; 2]) -> anyhow::Result<()> {
    let mut ada = Socket::connect(admin, public, people[0]).await?;
    let mut ben = Socket::connect(admin, public, people[1]).await?;
    let conversation = ada.call("direct", json!({ "user": people[1] })).await?["conversation"]["id"].clone();
    for (who, body) in CONVERSATION {
        let speaker = if who == 0 { &mut ada } else { &mut ben };
        let client_id = Uuid::now_v7();
        let send = json!({ "conversation": conversation, "client_id": client_id, "body": body });
        // A plugin under development may refuse anything; that is no reason not to start.
        if let Err(error) = speaker.call("send", send).await {
            super::say(&format!("  the demo message {body:?} was refused: {error:#}"));
        }
    }
    Ok(())
}

/// A connected session.
struct Socket {
    socket: WebSocketStream<TcpStream>,
    /// Objects of a frame that were read with the one before.
    read: VecDeque<Value>,
    last_id: u64,
}

impl Socket {
    async fn connect(admin: &Client, public: SocketAddr, user: &str) -> anyhow::Result<Self> {
        let path = format!("/admin/v1/users/{user}/tokens");
        let minted: Value = admin.call(Method::POST, &path, Body::Json(json!({ "ttl_s": 60 }))).await?;
        let mut request = format!("ws://{public}/v1/ws").into_client_request()?;
        request.headers_mut().insert("sec-websocket-protocol", HeaderValue::from_static("godwit.v1.json"));
        let stream = TcpStream::connect(public).await?;
        let (socket, _) = client_async(request, stream).await.context("no socket at /v1/ws")?;
        let mut socket = Self { socket, read: VecDeque::new(), last_id: 0 };
        let device = json!({ "id": Uuid::new_v4(), "name": "godwit dev" });
        socket.call("connect", json!({ "token": minted["access_token"], "device": device })).await?;
        Ok(socket)
    }

    /// Sends a request and waits for its reply; pushes that come between are passed over.
    async fn call(&mut self, request: &str, payload: Value) -> anyhow::Result<Value> {
        self.last_id += 1;
        let text = json!({ "id": self.last_id, request: payload }).to_string();
        self.socket.send(Message::text(text)).await?;
        loop {
            let mut object = self.next().await?;
            if object["id"] != self.last_id {
                continue;
            }
            return match object["ok"].take() {
                Value::Null => {
                    bail!("{}", object["error"]["message"].as_str().unwrap_or("refused without a word"))
                }
                reply => Ok(reply),
            };
        }
    }

    async fn next(&mut self) -> anyhow::Result<Value> {
        loop {
            if let Some(object) = self.read.pop_front() {
                return Ok(object);
            }
            match self.socket.next().await.context("the host closed the socket")?? {
                Message::Text(text) => {
                    for line in text.lines().filter(|line| !line.is_empty()) {
                        self.read.push_back(serde_json::from_str(line)?);
                    }
                }
                Message::Close(frame) => bail!("the host closed the socket: {frame:?}"),
                _ => {}
            }
        }
    }
}
