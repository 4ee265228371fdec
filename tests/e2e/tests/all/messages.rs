//! Sending: who is told, under which number, and what a repeat does.

use super::{bodies, seqs};
use anyhow::{Context, Result, ensure};
use godwit_e2e::{
    checker::{Checker, Fingerprint, Seen},
    client::{Client, sent, text},
    server::Server,
};
use serde_json::{Value, json};
use uuid::Uuid;

#[tokio::test]
async fn every_session_of_every_member_is_pushed_a_message_but_the_one_that_sent_it() -> Result<()> {
    let server = Server::start().await?;
    let (ada, mut phone) = server.join("ada").await?;
    let mut laptop = server.session(&ada).await?;
    let (ben, mut ben_phone) = server.join("ben").await?;
    let mut ben_laptop = server.session(&ben).await?;
    let place = phone.group("Birds", &[ben.id]).await?;
    let client = Uuid::now_v7();
    let first = phone.send_as(place, client, "a curlew").await?;
    assert_eq!((first.seq, first.duplicate), (1, false));
    for reader in [&mut laptop, &mut ben_phone, &mut ben_laptop] {
        let push = reader.push("message").await?;
        let own = reader.user == ada.id;
        assert_eq!(push["conversation"], json!(place));
        assert_eq!(push["seq"], 1);
        assert_eq!(push["sender"], json!(ada.id));
        assert_eq!(push["sent_at"], json!(first.sent_at));
        assert_eq!(push["kind"], "text");
        assert_eq!(push["body"], "a curlew");
        assert_eq!(push["client_id"], if own { json!(client) } else { Value::Null }, "own: {own}");
    }
    // What comes next on the sending session is the other's answer: its own message was not pushed to it.
    ben_phone.send(place, "two of them").await?;
    let push = phone.push("message").await?;
    assert_eq!((&push["seq"], &push["body"]), (&json!(2), &json!("two of them")));
    Ok(())
}

#[tokio::test]
async fn a_first_message_to_a_user_makes_the_conversation_and_announces_it_before_the_message() -> Result<()>
{
    let server = Server::start().await?;
    let (_, mut ada) = server.join("ada").await?;
    let (ben, mut reader) = server.join("ben").await?;
    let send = json!({"to": ben.id, "client_id": Uuid::now_v7(), "body": "hello"});
    let first = sent(&ada.request("send", send).await?)?;
    assert_eq!(first.seq, 1);
    reader.push("message").await?;
    let announced = reader.kept("conversation");
    ensure!(!announced.is_empty(), "the message came before its conversation");
    assert_eq!(announced[0]["id"], json!(first.conversation));
    assert_eq!(ada.direct(ben.id).await?, first.conversation);
    Ok(())
}

#[tokio::test]
async fn a_note_to_oneself_is_a_message_to_the_own_other_devices() -> Result<()> {
    let server = Server::start().await?;
    let (ada, mut phone) = server.join("ada").await?;
    let mut laptop = server.session(&ada).await?;
    let note = json!({"to": ada.id, "client_id": Uuid::now_v7(), "body": "milk"});
    let note = sent(&phone.request("send", note).await?)?;
    assert_eq!(laptop.push("message").await?["body"], "milk");
    assert_eq!(bodies(&laptop.history(note.conversation, 0).await?), ["milk"]);
    Ok(())
}

#[tokio::test]
async fn a_repeat_gets_the_first_answer_and_nothing_else_happens_even_after_a_restart() -> Result<()> {
    let mut server = Server::start().await?;
    let (ada, mut phone) = server.join("ada").await?;
    let (ben, mut reader) = server.join("ben").await?;
    let place = phone.direct(ben.id).await?;
    let client = Uuid::now_v7();
    let first = phone.send_as(place, client, "once").await?;
    let again = phone.send_as(place, client, "once").await?;
    assert_eq!((again.seq, again.sent_at, again.duplicate), (first.seq, first.sent_at, true));
    let to = json!({"to": ben.id, "client_id": client, "body": "once"});
    let by_user = sent(&phone.request("send", to).await?)?;
    assert_eq!((by_user.seq, by_user.duplicate), (first.seq, true), "`to` means the same place");
    let other = phone.refused("send", text(place, client, "twice")).await?;
    assert_eq!((other.code.as_str(), other.temporary), ("client_id_reused", false));
    phone.send(place, "next").await?;
    assert_eq!(reader.push("message").await?["body"], "once");
    assert_eq!(reader.push("message").await?["body"], "next");

    ensure!(server.terminate().await?.success(), "{}", server.log());
    server.restart().await?;
    let mut phone = server.session(&ada).await?;
    let again = phone.send_as(place, client, "once").await?;
    assert_eq!((again.seq, again.sent_at, again.duplicate), (first.seq, first.sent_at, true));
    assert_eq!(phone.refused("send", text(place, client, "twice")).await?.code, "client_id_reused");
    assert_eq!(bodies(&phone.history(place, 0).await?), ["once", "next"]);
    Ok(())
}

#[tokio::test]
async fn the_same_client_id_means_different_messages_of_different_users_and_conversations() -> Result<()> {
    let server = Server::start().await?;
    let (ada, mut first) = server.join("ada").await?;
    let (ben, mut second) = server.join("ben").await?;
    let (direct, group) = (first.direct(ben.id).await?, first.group("Two", &[ben.id]).await?);
    let client = Uuid::now_v7();
    assert_eq!(first.send_as(direct, client, "one").await?.seq, 1);
    let theirs = second.send_as(direct, client, "two").await?;
    assert_eq!((theirs.seq, theirs.duplicate), (2, false));
    let elsewhere = first.send_as(group, client, "three").await?;
    assert_eq!((elsewhere.seq, elsewhere.duplicate), (1, false));
    let history = second.history(direct, 0).await?;
    assert_eq!(history[0]["sender"], json!(ada.id));
    assert_eq!(history[0]["client_id"], Value::Null);
    assert_eq!(history[1]["client_id"], json!(client));
    Ok(())
}

#[tokio::test]
async fn repeats_that_race_on_two_sockets_get_one_number() -> Result<()> {
    let server = Server::start().await?;
    let (ada, mut phone) = server.join("ada").await?;
    let mut laptop = server.session(&ada).await?;
    let (ben, mut reader) = server.join("ben").await?;
    let place = phone.direct(ben.id).await?;
    for round in 1..=30_u64 {
        let send = text(place, Uuid::now_v7(), &format!("round {round}"));
        let one = phone.post("send", send.clone()).await?;
        let other = laptop.post("send", send).await?;
        let (one, other) = (sent(&phone.reply(one).await?)?, sent(&laptop.reply(other).await?)?);
        assert_eq!((one.seq, one.sent_at), (round, other.sent_at));
        assert_eq!(other.seq, round);
        assert_ne!(one.duplicate, other.duplicate, "exactly one of them was the first");
        assert_eq!(reader.push("message").await?["seq"], json!(round));
    }
    Ok(())
}

#[tokio::test]
async fn numbers_are_dense_and_everyone_sees_one_order_however_many_send_at_once() -> Result<()> {
    const PEOPLE: usize = 8;
    const EACH: usize = 60;
    let server = Server::start().await?;
    let mut people = Vec::new();
    for n in 0..PEOPLE {
        people.push(server.join(&format!("person-{n}")).await?);
    }
    let members: Vec<_> = people.iter().map(|(person, _)| person.id).collect();
    let place = people[0].1.group("All at once", &members[1..]).await?;
    let mut checker = Checker::new();
    let mut running = Vec::new();
    for (person, client) in people {
        let session = checker.session();
        checker.begin(session, place, 0);
        let sends: Vec<_> = (0..EACH).map(|n| (Uuid::now_v7(), format!("{} {n}", person.name))).collect();
        for (id, body) in &sends {
            checker.attempt(session, place, person.id, *id, Fingerprint::of(body));
        }
        running.push((session, tokio::spawn(talk(client, place, sends, (PEOPLE - 1) * EACH))));
    }
    let mut stored = None;
    for (session, talk) in running {
        let (mut client, answers, pushes) = talk.await??;
        ensure!(
            answers.is_sorted_by_key(|(_, seq)| *seq),
            "one socket's numbers are not in the order of its sends"
        );
        for (id, seq) in answers {
            checker.acknowledge(id, seq);
        }
        for push in pushes {
            checker.push(session, seen(&push)?);
        }
        let history = client.history(place, 0).await?;
        assert_eq!(seqs(&history), (1..=(PEOPLE * EACH) as u64).collect::<Vec<_>>());
        for message in &history {
            checker.store(seen(message)?);
        }
        let history: Vec<_> = bodies(&history).into_iter().map(str::to_owned).collect();
        assert_eq!(*stored.get_or_insert(history.clone()), history, "two members see different histories");
    }
    assert_eq!(checker.acknowledged(), PEOPLE * EACH);
    assert_eq!(checker.pushed(), PEOPLE * (PEOPLE - 1) * EACH);
    checker.verdict()
}

type Talk = (Client, Vec<(Uuid, u64)>, Vec<Value>);

/// Sends everything, several in a frame, and waits for all answers and that many pushes.
async fn talk(mut client: Client, place: Uuid, sends: Vec<(Uuid, String)>, heard: usize) -> Result<Talk> {
    const IN_FRAME: usize = 20;
    let (mut answers, mut pushes) = (Vec::new(), Vec::new());
    for sends in sends.chunks(IN_FRAME) {
        let requests = sends.iter().map(|(id, body)| ("send", text(place, *id, body)));
        let ids = client.post_all(requests).await?;
        for (id, (message, _)) in ids.into_iter().zip(sends) {
            answers.push((*message, sent(&client.reply(id).await?)?.seq));
        }
    }
    while pushes.len() < heard {
        pushes.push(client.push("message").await?);
    }
    Ok((client, answers, pushes))
}

fn seen(message: &Value) -> Result<Seen> {
    let id = |field: &str| message[field].as_str().and_then(|id| id.parse().ok());
    Ok(Seen {
        conversation: id("conversation").context("`conversation`")?,
        seq: message["seq"].as_u64().context("`seq`")?,
        sender: id("sender").context("`sender`")?,
        client: id("client_id"),
        body: Fingerprint::of(message["body"].as_str().context("`body`")?),
    })
}

#[tokio::test]
async fn a_client_id_of_another_version_from_the_future_or_from_long_ago_is_refused() -> Result<()> {
    let server = Server::start().await?;
    let (ada, mut client) = server.join("ada").await?;
    let place = client.direct(ada.id).await?;
    let now_ms = client.send(place, "now").await?.sent_at;
    let made_at = |ms: u64| uuid::Builder::from_unix_timestamp_millis(ms, &[7; 10]).into_uuid();
    const MINUTE: u64 = 60_000;
    const DAY: u64 = 24 * 60 * MINUTE;
    for (id, code) in [
        (Uuid::new_v4(), "invalid"),
        (Uuid::nil(), "invalid"),
        (made_at(now_ms + 15 * MINUTE), "invalid"),
        (made_at(now_ms - 8 * DAY), "client_id_expired"),
    ] {
        assert_eq!(client.refused("send", text(place, id, "x")).await?.code, code, "{id}");
    }
    assert_eq!(client.send_as(place, made_at(now_ms + 5 * MINUTE), "soon").await?.seq, 2);
    assert_eq!(client.send_as(place, made_at(now_ms - 6 * DAY), "lately").await?.seq, 3);
    Ok(())
}

#[tokio::test]
async fn a_body_is_kept_byte_for_byte_up_to_its_limit() -> Result<()> {
    let server = Server::start().await?;
    let (ada, mut client) = server.join("ada").await?;
    let place = client.direct(ada.id).await?;
    let limit = usize::try_from(client.hello["max_body_bytes"].as_u64().context("a limit")?)?;
    let longest = "ä".repeat(limit / 2);
    let odd = "  \u{0}\u{1f}\"\\/\n\r\t \u{202e}e\u{301}\u{1f426}\u{feff} ";
    for body in [longest.as_str(), odd] {
        let sent = client.send(place, body).await?;
        let history = client.history(place, sent.seq - 1).await?;
        assert_eq!(bodies(&history), [body]);
    }
    let too_long = client.refused("send", text(place, Uuid::now_v7(), &format!("{longest}x"))).await?;
    assert_eq!(too_long.code, "too_large");
    assert_eq!(client.refused("send", text(place, Uuid::now_v7(), "")).await?.code, "invalid");
    // Refusals take no number.
    assert_eq!(client.send(place, "next").await?.seq, 3);
    Ok(())
}
