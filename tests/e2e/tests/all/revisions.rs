//! Edits, deletions and reactions: their numbers, who may, who is told, and that what was deleted is gone.

use super::{bodies, list};
use anyhow::Result;
use godwit_e2e::{
    client::{Client, sent},
    server::Server,
};
use serde_json::{Value, json};
use uuid::Uuid;

async fn history(client: &mut Client, place: Uuid) -> Result<Vec<Value>> {
    client.history(place, 0).await
}

#[tokio::test]
async fn revisions_are_numbered_densely_told_to_all_and_shown_by_history() -> Result<()> {
    let server = Server::start().await?;
    let (ada, mut first) = server.join("ada").await?;
    let (ben, mut second) = server.join("ben").await?;
    let place = first.direct(ben.id).await?;
    first.send(place, "helo").await?;
    first.send(place, "oops").await?;
    let edit = json!({"conversation": place, "seq": 1, "body": "hello"});
    assert_eq!(first.request("edit", edit.clone()).await?, json!({"rev": 1}));
    let react = json!({"conversation": place, "seq": 1, "emoji": "+1", "on": true});
    assert_eq!(second.request("react", react.clone()).await?, json!({"rev": 2}));
    assert_eq!(second.request("react", react).await?, json!({"rev": 2}), "it changes nothing");
    let delete = json!({"conversation": place, "seq": 2, "for": "everyone"});
    assert_eq!(first.request("delete", delete.clone()).await?, json!({"rev": 3}));
    assert_eq!(first.request("delete", delete).await?, json!({"rev": 3}), "it changes nothing");
    for reader in [&mut first, &mut second] {
        let told =
            [reader.push("revision").await?, reader.push("revision").await?, reader.push("revision").await?];
        let of = |n: usize, by: Uuid, what: Value| {
            let mut expected =
                json!({"conversation": place, "rev": n + 1, "at_seq": 2, "by": by, "at": told[n]["at"]});
            for (name, payload) in what.as_object().into_iter().flatten() {
                expected[name] = payload.clone();
            }
            assert_eq!(told[n], expected);
        };
        of(0, ada.id, json!({"edit": {"seq": 1, "body": "hello"}}));
        of(1, ben.id, json!({"react": {"seq": 1, "emoji": "+1", "on": true, "count": 1}}));
        of(2, ada.id, json!({"delete": {"seq": 2}}));
    }
    let page = second.request("history", json!({"conversation": place})).await?;
    assert_eq!(page["as_of_rev"], 3);
    let messages = list(&page, "messages")?;
    assert_eq!((&messages[0]["body"], &messages[0]["rev"]), (&json!("hello"), &json!(2)));
    assert_eq!(
        (&messages[0]["reactions"], &messages[0]["my_reactions"]),
        (&json!({"+1": 1}), &json!(["+1"]))
    );
    assert!(messages[0]["edited_at"].is_u64());
    assert_eq!((&messages[1]["body"], &messages[1]["deleted"]), (&json!(""), &json!(true)));
    let all = json!({"conversation": place, "after_rev": 0});
    let revisions = second.request("revisions", all).await?;
    assert_eq!(list(&revisions, "revisions")?.len(), 3);
    assert_eq!((&revisions["gone"], &revisions["more"]), (&json!([]), &json!(false)));
    assert_eq!(revisions["revisions"][0]["edit"]["body"], "hello");
    let shown = second.request("conversation", json!({"conversation": place})).await?;
    assert_eq!(shown["conversation"]["last_rev"], 3);
    assert_eq!(shown["conversation"]["last_message"]["deleted"], true);
    Ok(())
}

#[tokio::test]
async fn only_the_sender_edits_and_only_the_sender_or_an_admin_deletes() -> Result<()> {
    let server = Server::start().await?;
    let (_, mut owner) = server.join("ada").await?;
    let (ben, mut ben_client) = server.join("ben").await?;
    let (cleo, mut cleo_client) = server.join("cleo").await?;
    let place = owner.group("Birds", &[ben.id, cleo.id]).await?;
    ben_client.send(place, "ben's").await?;
    let edit = |body: &str| json!({"conversation": place, "seq": 1, "body": body});
    assert_eq!(owner.refused("edit", edit("the owner's")).await?.code, "forbidden");
    assert_eq!(cleo_client.refused("edit", edit("cleo's")).await?.code, "forbidden");
    let delete = json!({"conversation": place, "seq": 1, "for": "everyone"});
    assert_eq!(cleo_client.refused("delete", delete.clone()).await?.code, "forbidden");
    owner.request("delete", delete).await?;
    assert_eq!(ben_client.refused("edit", edit("again")).await?.code, "conflict");
    let react = json!({"conversation": place, "seq": 1, "emoji": "x", "on": true});
    assert_eq!(ben_client.refused("react", react).await?.code, "conflict");
    let missing = json!({"conversation": place, "seq": 2, "body": "x"});
    assert_eq!(ben_client.refused("edit", missing).await?.code, "not_found");
    let other = server.join("dora").await?.1.refused("edit", edit("x")).await?;
    assert_eq!(other.code, "not_found", "a stranger learns nothing");
    let direct = owner.direct(ben.id).await?;
    ben_client.send(direct, "mine").await?;
    let theirs = json!({"conversation": direct, "seq": 1, "for": "everyone"});
    assert_eq!(owner.refused("delete", theirs).await?.code, "forbidden", "nobody is an admin of two");
    Ok(())
}

#[tokio::test]
async fn a_repeated_revision_gets_its_first_number_after_a_restart_too() -> Result<()> {
    let mut server = Server::start().await?;
    let (ada, mut client) = server.join("ada").await?;
    let (ben, _) = server.join("ben").await?;
    let place = client.direct(ben.id).await?;
    client.send(place, "one").await?;
    let called = Uuid::now_v7();
    let edit = json!({"conversation": place, "seq": 1, "body": "two", "client_id": called});
    assert_eq!(client.request("edit", edit.clone()).await?["rev"], 1);
    client.request("edit", json!({"conversation": place, "seq": 1, "body": "three"})).await?;
    assert_eq!(client.request("edit", edit.clone()).await?["rev"], 1, "and nothing is done");
    server.kill().await?;
    server.restart().await?;
    let mut client = server.session(&ada).await?;
    assert_eq!(client.request("edit", edit).await?["rev"], 1);
    assert_eq!(bodies(&history(&mut client, place).await?), ["three"]);
    let revisions = client.request("revisions", json!({"conversation": place, "after_rev": 0})).await?;
    let texts: Vec<_> = list(&revisions, "revisions")?.iter().map(|r| r["edit"]["body"].clone()).collect();
    assert_eq!(texts, [Value::Null, json!("three")], "what a later edit replaced comes without its text");
    Ok(())
}

#[tokio::test]
async fn reactions_tell_who_and_stay_counted_when_many_come_at_once() -> Result<()> {
    let server = Server::start().await?;
    let (_, mut ada) = server.join("ada").await?;
    let mut others = Vec::new();
    for n in 0..5 {
        others.push(server.join(&format!("bird-{n}")).await?);
    }
    let ids: Vec<_> = others.iter().map(|(person, _)| person.id).collect();
    let place = ada.group("Birds", &ids).await?;
    ada.send(place, "who is here?").await?;
    let react = |emoji: &str, on: bool| json!({"conversation": place, "seq": 1, "emoji": emoji, "on": on});
    let mut asked = Vec::new();
    for (_, client) in &mut others {
        asked.push(client.post_all([("react", react("✋", true)), ("react", react("!", true))]).await?);
    }
    for ((_, client), ids) in others.iter_mut().zip(asked) {
        for id in ids {
            client.reply(id).await?;
        }
    }
    others[0].1.request("react", react("!", false)).await?;
    let all = ada.request("reactions", json!({"conversation": place, "seq": 1})).await?;
    let of = |emoji: &str| {
        let found = all["reactions"].as_array().into_iter().flatten().find(|one| one["emoji"] == emoji);
        found.map_or(0, |one| one["users"].as_array().map_or(0, Vec::len))
    };
    assert_eq!((of("✋"), of("!")), (5, 4));
    let one = ada.request("reactions", json!({"conversation": place, "seq": 1, "emoji": "!"})).await?;
    assert_eq!(list(&one, "reactions")?.len(), 1);
    let message = &history(&mut ada, place).await?[0];
    assert_eq!(message["reactions"], json!({"✋": 5, "!": 4}));
    assert_eq!(message["my_reactions"], Value::Null);
    let long = json!({"conversation": place, "seq": 1, "emoji": "x".repeat(65), "on": true});
    assert_eq!(ada.refused("react", long).await?.field.as_deref(), Some("emoji"));
    let all = json!({"conversation": place, "seq": 1, "emoji": "x".repeat(10_000)});
    assert_eq!(ada.refused("reactions", all).await?.field.as_deref(), Some("emoji"));
    Ok(())
}

#[tokio::test]
async fn what_one_deletes_for_oneself_is_gone_for_oneself_alone_on_every_device() -> Result<()> {
    let mut server = Server::start().await?;
    let (ada, mut phone) = server.join("ada").await?;
    let mut laptop = server.session(&ada).await?;
    let ben = server.person("ben").await?;
    let place = phone.direct(ben.id).await?;
    for body in ["one", "two", "three"] {
        phone.send(place, body).await?;
    }
    let hide = |seq: u64| json!({"conversation": place, "seq": seq, "for": "me"});
    assert_eq!(phone.request("delete", hide(2)).await?, json!({"hidden": 1}));
    assert_eq!(phone.request("delete", hide(2)).await?, json!({"hidden": 1}));
    assert_eq!(phone.request("delete", hide(1)).await?, json!({"hidden": 2}));
    let told = laptop.push("hidden").await?;
    assert_eq!(told, json!({"conversation": place, "seq": 2, "hidden": 1}));
    server.kill().await?;
    server.restart().await?;
    let mut phone = server.session(&ada).await?;
    let page = phone.request("history", json!({"conversation": place})).await?;
    assert_eq!(bodies(list(&page, "messages")?), ["three"]);
    assert_eq!(page["gone"], json!([{"from": 1, "to": 2, "why": "hidden"}]));
    let hidden = phone.request("hidden", json!({"conversation": place, "after": 0})).await?;
    assert_eq!(hidden, json!({"seqs": [2, 1], "more": false}));
    let after = phone.request("hidden", json!({"conversation": place, "after": 1})).await?;
    assert_eq!(after["seqs"], json!([1]));
    let shown = phone.request("conversation", json!({"conversation": place})).await?;
    assert_eq!(shown["conversation"]["hidden"], 2);
    let mut other = server.session(&ben).await?;
    assert_eq!(bodies(&history(&mut other, place).await?), ["one", "two", "three"]);
    Ok(())
}

#[tokio::test]
async fn replies_threads_and_mentions_refer_to_what_is_there() -> Result<()> {
    let server = Server::start().await?;
    let (_, mut ada) = server.join("ada").await?;
    let (ben, mut reader) = server.join("ben").await?;
    let cleo = server.person("cleo").await?;
    let place = ada.group("Birds", &[ben.id]).await?;
    ada.send(place, "root").await?;
    ada.send(place, "aside").await?;
    let send = |more: Value| {
        let mut send = json!({"conversation": place, "client_id": Uuid::now_v7(), "body": "reply"});
        for (name, value) in more.as_object().into_iter().flatten() {
            send[name] = value.clone();
        }
        send
    };
    for (field, more) in [
        ("reply_to", json!({"reply_to": 9})),
        ("thread", json!({"thread": 9})),
        ("mentions", json!({"mentions": [cleo.id]})),
    ] {
        let refused = ada.refused("send", send(more)).await?;
        assert_eq!((refused.code.as_str(), refused.field.as_deref()), ("invalid", Some(field)));
    }
    let full = send(json!({"reply_to": 2, "thread": 1, "mentions": [ben.id]}));
    assert_eq!(sent(&ada.request("send", full).await?)?.seq, 3);
    reader.push("message").await?;
    reader.push("message").await?;
    let pushed = reader.push("message").await?;
    assert_eq!(
        (&pushed["reply_to"], &pushed["thread"], &pushed["mentions"]),
        (&json!(2), &json!(1), &json!([ben.id]))
    );
    ada.send(place, "aside too").await?;
    ada.request("send", send(json!({"thread": 1}))).await?;
    let thread = reader.request("history", json!({"conversation": place, "thread": 1})).await?;
    assert_eq!(super::seqs(list(&thread, "messages")?), [3, 5], "the replies alone, without the root");
    let older = json!({"conversation": place, "thread": 1, "before_seq": 5, "limit": 1});
    assert_eq!(super::seqs(list(&reader.request("history", older).await?, "messages")?), [3]);
    Ok(())
}

#[tokio::test]
async fn a_message_comes_after_the_one_that_it_names_or_not_at_all() -> Result<()> {
    let mut server = Server::start().await?;
    let (ada, mut client) = server.join("ada").await?;
    let (ben, _) = server.join("ben").await?;
    let place = client.direct(ben.id).await?;
    let send = |client: Uuid, after: Uuid| json!({"conversation": place, "client_id": client, "body": "next", "after": after});
    let ids: Vec<_> = (0..4).map(|_| Uuid::now_v7()).collect();
    let refused = client.refused("send", send(ids[1], ids[0])).await?;
    assert_eq!((refused.code.as_str(), refused.field.as_deref()), ("out_of_turn", Some("after")));
    for never in [Uuid::new_v4(), "00000000-0000-7000-8000-000000000001".parse()?] {
        assert_eq!(client.refused("send", send(ids[1], never)).await?.code, "out_of_turn", "{never}");
    }
    client.send_as(place, ids[0], "first").await?;
    let pipelined =
        [("send", send(ids[1], ids[0])), ("send", send(ids[2], ids[1])), ("send", send(ids[3], ids[0]))];
    let asked = client.post_all(pipelined).await?;
    for (expected, id) in (2..).zip(asked) {
        assert_eq!(client.reply(id).await?["seq"], expected);
    }
    server.kill().await?;
    server.restart().await?;
    let mut client = server.session(&ada).await?;
    let late = client.request("send", send(Uuid::now_v7(), ids[0])).await?;
    assert_eq!(late["seq"], 5, "what was accepted long ago counts");
    Ok(())
}
