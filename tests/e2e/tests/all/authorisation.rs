//! Who may ask what: every request, by everyone who can stand in some way to a conversation.

use anyhow::{Context, Result, ensure};
use godwit_e2e::{
    client::{Client, text},
    server::{Person, Server},
};
use godwit_protocol::request::NAMES;
use serde_json::{Value, json};
use std::{collections::BTreeSet, net::SocketAddr};
use uuid::Uuid;

/// How somebody stands to the conversation that is asked about.
/// A `blocked` one is a member whom the author of message 1 blocks.
const STANDINGS: [&str; 7] = ["stranger", "ex-member", "reader", "member", "admin", "owner", "blocked"];

const NF: &str = "not_found";
const NM: &str = "not_member";
const FB: &str = "forbidden";
const BL: &str = "blocked";
const OK: &str = "ok";
/// There is no answer.
const SILENT: &str = "silent";

/// A request, what it carries, and what each standing is answered.
type Row = (&'static str, fn(&Place) -> Value, [&'static str; 7]);

/// What each standing is answered, in the order of [`STANDINGS`]; `others` is the message of another member.
const TABLE: &[Row] = &[
    ("conversation", here, [NF, OK, OK, OK, OK, OK, OK]),
    ("members", here, [NF, NM, OK, OK, OK, OK, OK]),
    ("history", here, [NF, OK, OK, OK, OK, OK, OK]),
    ("revisions", |p| json!({"conversation": p.id, "after_rev": 0}), [NF, OK, OK, OK, OK, OK, OK]),
    ("hidden", |p| json!({"conversation": p.id, "after": 0}), [NF, OK, OK, OK, OK, OK, OK]),
    ("reactions", others, [NF, OK, OK, OK, OK, OK, OK]),
    ("receipts", others, [NF, NM, OK, OK, OK, OK, OK]),
    ("received", others, [NF, OK, OK, OK, OK, OK, OK]),
    ("read", others, [NF, OK, OK, OK, OK, OK, OK]),
    ("send", |p| text(p.id, Uuid::now_v7(), "x"), [NF, NM, "read_only", OK, OK, OK, OK]),
    ("edit", |p| with(others(p), "body", "x"), [NF, NM, FB, FB, FB, FB, FB]),
    ("delete", |p| with(others(p), "for", "everyone"), [NF, NM, FB, FB, OK, OK, FB]),
    ("delete", |p| with(others(p), "for", "me"), [NF, OK, OK, OK, OK, OK, OK]),
    ("react", |p| with(with(others(p), "emoji", "+1"), "on", true), [NF, NM, OK, OK, OK, OK, OK]),
    ("invite", |p| with(here(p), "users", json!([p.friend])), [NF, NM, FB, FB, OK, OK, FB]),
    ("remove", |p| with(here(p), "user", json!(p.other)), [NF, NM, FB, FB, OK, OK, FB]),
    (
        "set_role",
        |p| with(with(here(p), "user", json!(p.other)), "role", "reader"),
        [NF, NM, FB, FB, FB, OK, FB],
    ),
    ("update", |p| with(here(p), "title", "New"), [NF, NM, FB, FB, OK, OK, FB]),
    ("link", here, [NF, NM, FB, FB, OK, OK, FB]),
    ("links", here, [NF, NM, FB, FB, OK, OK, FB]),
    ("unlink", |p| with(here(p), "code", "x"), [NF, NM, FB, FB, NF, NF, FB]),
    ("join", here, [NF, FB, OK, OK, OK, OK, OK]),
    ("leave", here, [NF, OK, OK, OK, OK, OK, OK]),
    ("follow", here, [NF, NM, OK, OK, OK, OK, OK]),
    ("unfollow", here, [NF, NM, OK, OK, OK, OK, OK]),
    ("active", |_| json!({"active": true}), [OK; 7]),
    ("held", here, [NF, NM, OK, OK, OK, OK, OK]),
    ("release", draft, [NF, NM, FB, FB, NF, NF, FB]),
    ("reject", draft, [NF, NM, FB, FB, NF, NF, FB]),
    ("direct", |p| json!({"user": p.other}), [OK, OK, OK, OK, OK, OK, BL]),
    ("contact", |p| json!({"user": p.other, "action": "request"}), [OK, OK, OK, OK, OK, OK, BL]),
    ("contacts", |_| json!({}), [OK; 7]),
    ("profile", |_| json!({}), [OK; 7]),
    ("watch", |p| json!({"users": [p.other]}), [OK; 7]),
    ("presence", |p| json!({"users": [p.other]}), [OK; 7]),
    ("typing", here, [SILENT; 7]),
    ("commands", here, [NF, NM, OK, OK, OK, OK, OK]),
    ("command", slash, [NF, NM, NF, NF, NF, NF, NF]),
    ("settings", |p| with(here(p), "pinned", true), [NF, OK, OK, OK, OK, OK, OK]),
    ("create", |_| json!({"kind": "group", "client_id": Uuid::now_v7(), "title": "x"}), [OK; 7]),
    ("conversations", |_| json!({}), [OK; 7]),
    ("discover", |_| json!({}), [OK; 7]),
    ("users", |p| json!({"ids": [p.other]}), [OK; 7]),
    ("sync", |_| json!({"page": "none"}), ["invalid"; 7]),
    ("connect", |_| json!({"token": "x", "device": {"id": "d"}}), ["conflict"; 7]),
    ("renew", |_| json!({"token": "x"}), ["unauthorised"; 7]),
];

/// A conversation that a request is about.
struct Place {
    id: Uuid,
    /// A member who stands beside those of [`STANDINGS`], and sent message 1.
    other: Uuid,
    /// Someone who was never in.
    friend: Uuid,
}

fn here(place: &Place) -> Value {
    json!({"conversation": place.id})
}

fn others(place: &Place) -> Value {
    json!({"conversation": place.id, "seq": 1})
}

/// Nothing of the other one is on hold: who may decide is told so, nobody else learns it.
fn draft(place: &Place) -> Value {
    with(with(here(place), "sender", json!(place.other)), "client_id", json!(Uuid::now_v7()))
}

/// No plugin serves commands: who is in is told that there is none of that name.
fn slash(place: &Place) -> Value {
    with(with(here(place), "client_id", json!(Uuid::now_v7())), "name", "help")
}

fn with(mut payload: Value, name: &str, value: impl Into<Value>) -> Value {
    payload[name] = value.into();
    payload
}

/// Who stands to the conversation in each way, and who helps.
struct Cast {
    standing: Vec<(Person, Client)>,
    other: (Person, Client),
    friend: Person,
}

impl Cast {
    async fn meet(server: &Server) -> Result<Self> {
        let mut standing: Vec<(Person, Client)> = Vec::new();
        for name in STANDINGS {
            standing.push(server.join(name).await?);
        }
        let mut other = server.join("other").await?;
        let blocked = json!({"user": standing[6].0.id, "action": "block"});
        other.1.request("contact", blocked).await?;
        Ok(Self { standing, other, friend: server.person("friend").await? })
    }

    /// A new conversation to which everyone stands as they should.
    async fn place(&mut self) -> Result<Place> {
        let id = |index: usize, cast: &Self| cast.standing[index].0.id;
        let members: Vec<_> =
            [1, 2, 3, 4, 6].map(|index| id(index, self)).into_iter().chain([self.other.0.id]).collect();
        let (ex_member, reader, admin) = (id(1, self), id(2, self), id(4, self));
        let owner = &mut self.standing[5].1;
        let place = owner.group("Table", &members).await?;
        for (user, role) in [(reader, "reader"), (admin, "admin")] {
            owner.request("set_role", json!({"conversation": place, "user": user, "role": role})).await?;
        }
        self.other.1.send(place, "another's").await?;
        let owner = &mut self.standing[5].1;
        owner.request("remove", json!({"conversation": place, "user": ex_member})).await?;
        Ok(Place { id: place, other: self.other.0.id, friend: self.friend.id })
    }
}

#[tokio::test]
async fn every_request_is_answered_as_the_table_says_for_everyone() -> Result<()> {
    let named: BTreeSet<_> = TABLE.iter().map(|(name, ..)| *name).collect();
    let missing: Vec<_> = NAMES.iter().filter(|name| !named.contains(**name)).collect();
    ensure!(missing.is_empty(), "the table says nothing of {missing:?}");
    let server = Server::start().await?;
    let mut cast = Cast::meet(&server).await?;
    for (name, payload, expected) in TABLE {
        for (index, standing) in STANDINGS.into_iter().enumerate() {
            let place = cast.place().await?;
            let client = &mut cast.standing[index].1;
            let code = answered(client, name, payload(&place), expected[index])
                .await
                .with_context(|| format!("{name} by the {standing}"))?;
            assert_eq!(code, expected[index], "{name} by the {standing}");
            client.forget();
        }
        let place = cast.place().await?;
        anonymous(server.public, name, payload(&place)).await?;
    }
    Ok(())
}

/// How a request is answered. Where no answer is due, one to what is asked behind it shows that there is none.
async fn answered(client: &mut Client, name: &str, payload: Value, expected: &str) -> Result<String> {
    if expected == SILENT {
        let id = client.post(name, payload).await?;
        client.request("active", json!({"active": true})).await?;
        return Ok(client.take_reply(id).map_or(SILENT.to_owned(), |reply| format!("{reply:?}")));
    }
    match client.request(name, payload).await {
        Ok(_) => Ok(OK.to_owned()),
        Err(failure) => Ok(failure.refusal().context("no answer")?.code),
    }
}

/// Before `connect` everything but `connect` is `unauthorised`, and says nothing of what is there.
async fn anonymous(address: SocketAddr, name: &str, payload: Value) -> Result<()> {
    let mut client = Client::open(address).await?;
    let refused = client.refused(name, payload).await?;
    assert_eq!(refused.code, "unauthorised", "{name} by nobody");
    Ok(())
}
