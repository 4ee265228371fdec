//! Roles, coming and going, and what those may read who were not always there.

use super::{bodies, list, seqs};
use anyhow::Result;
use godwit_e2e::{
    client::Client,
    server::{Person, Server},
};
use serde_json::{Value, json};
use uuid::Uuid;

/// Ada the owner, ben the admin, cleo the member.
async fn three(server: &Server, history: &str) -> Result<([Person; 3], [Client; 3], Uuid)> {
    let (ada, mut owner) = server.join("ada").await?;
    let (ben, admin) = server.join("ben").await?;
    let (cleo, member) = server.join("cleo").await?;
    let create = json!({"kind": "group", "client_id": Uuid::now_v7(), "title": "Waders", "history": history,
        "members": [ben.id, cleo.id]});
    let made = owner.request("create", create).await?;
    let place = godwit_e2e::admin::id(&made["conversation"]["id"])?;
    let role = json!({"conversation": place, "user": ben.id, "role": "admin"});
    owner.request("set_role", role).await?;
    Ok(([ada, ben, cleo], [owner, admin, member], place))
}

async fn code(client: &mut Client, name: &str, payload: Value) -> Result<String> {
    Ok(client.refused(name, payload).await?.code)
}

#[tokio::test]
async fn each_role_may_what_the_contract_gives_it() -> Result<()> {
    let server = Server::start().await?;
    let ([ada, ben, cleo], [mut owner, mut admin, mut member], place) = three(&server, "all").await?;
    let dora = server.person("dora").await?;
    let remove = |user: Uuid| json!({"conversation": place, "user": user});
    let role = |user: Uuid, role: &str| json!({"conversation": place, "user": user, "role": role});
    let title = json!({"conversation": place, "title": "Shorebirds"});
    assert_eq!(code(&mut member, "remove", remove(ben.id)).await?, "forbidden");
    assert_eq!(code(&mut member, "update", title.clone()).await?, "forbidden");
    assert_eq!(code(&mut member, "set_role", role(cleo.id, "owner")).await?, "forbidden");
    assert_eq!(code(&mut admin, "set_role", role(cleo.id, "reader")).await?, "forbidden");
    assert_eq!(code(&mut admin, "remove", remove(ada.id)).await?, "forbidden", "those below alone");
    assert_eq!(code(&mut admin, "remove", remove(ben.id)).await?, "invalid", "oneself");
    assert_eq!(code(&mut owner, "set_role", role(ada.id, "member")).await?, "invalid", "the last owner");
    assert_eq!(code(&mut owner, "set_role", role(dora.id, "member")).await?, "invalid", "no member");
    owner.request("set_role", role(cleo.id, "reader")).await?;
    let send = json!({"conversation": place, "client_id": Uuid::now_v7(), "body": "x"});
    assert_eq!(code(&mut member, "send", send).await?, "read_only");
    let rev = admin.request("update", title.clone()).await?["rev"].clone();
    assert_eq!(admin.request("update", title).await?["rev"], rev, "a repeat changes nothing");
    let told = loop {
        let told = member.push("revision").await?;
        if told["rev"] == rev {
            break told;
        }
    };
    assert_eq!(told["meta"], json!({"title": "Shorebirds"}));
    let shown = member.request("conversation", json!({"conversation": place})).await?["conversation"].clone();
    assert_eq!((&shown["title"], &shown["role"]), (&json!("Shorebirds"), &json!("reader")));
    admin.request("update", json!({"conversation": place, "title": null})).await?;
    let shown = member.request("conversation", json!({"conversation": place})).await?["conversation"].clone();
    assert_eq!(shown["title"], Value::Null, "`null` clears");
    Ok(())
}

#[tokio::test]
async fn who_is_removed_reads_what_was_and_nothing_that_comes() -> Result<()> {
    let mut server = Server::start().await?;
    let ([_, _, cleo], [mut owner, mut admin, mut member], place) = three(&server, "all").await?;
    owner.send(place, "before").await?;
    owner.send(place, "said to all").await?;
    let rev = admin.request("remove", json!({"conversation": place, "user": cleo.id})).await?["rev"].clone();
    owner.send(place, "behind her back").await?;
    owner.request("edit", json!({"conversation": place, "seq": 1, "body": "edited since"})).await?;
    let left = loop {
        let told = member.push("revision").await?;
        if told["rev"] == rev {
            break told;
        }
    };
    assert_eq!(left["leave"]["user"], json!(cleo.id));
    for _ in 0..2 {
        let mut member = server.session(&cleo).await?;
        let page = member.request("history", json!({"conversation": place})).await?;
        assert_eq!(bodies(list(&page, "messages")?), ["said to all"]);
        assert_eq!(page["gone"], json!([{"from": 1, "to": 1, "why": "not_visible"}]));
        assert_eq!((&page["as_of_rev"], &page["more"]), (&rev, &json!(false)));
        let shown =
            member.request("conversation", json!({"conversation": place})).await?["conversation"].clone();
        assert_eq!((&shown["left"], &shown["last_seq"], &shown["last_rev"]), (&json!(true), &json!(2), &rev));
        assert_eq!(shown["last_message"], Value::Null);
        let listed = member.request("conversations", json!({})).await?;
        assert_eq!(listed["conversations"], json!([]), "not among those that one is in");
        let past = json!({"conversation": place, "seq": 9});
        assert_eq!(member.request("read", past).await?["read_seq"], 2, "marks go on working there");
        for (name, payload) in [
            ("send", json!({"conversation": place, "client_id": Uuid::now_v7(), "body": "x"})),
            ("members", json!({"conversation": place})),
            ("react", json!({"conversation": place, "seq": 2, "emoji": "x", "on": true})),
            ("invite", json!({"conversation": place, "users": [cleo.id]})),
        ] {
            assert_eq!(code(&mut member, name, payload).await?, "not_member", "{name}");
        }
        assert_eq!(code(&mut member, "join", json!({"conversation": place})).await?, "forbidden");
        assert_eq!(member.request("leave", json!({"conversation": place})).await?["rev"], rev);
        server.kill().await?;
        server.restart().await?;
    }
    Ok(())
}

#[tokio::test]
async fn nothing_of_what_comes_after_a_removal_is_pushed_to_the_removed() -> Result<()> {
    let server = Server::start().await?;
    let ([_, _, cleo], [mut owner, mut admin, mut member], place) = three(&server, "all").await?;
    let mut asked = Vec::new();
    for n in 0..50 {
        let body = format!("message {n}");
        let send = godwit_e2e::client::text(place, Uuid::now_v7(), &body);
        asked.push(owner.post("send", send).await?);
        if n == 25 {
            admin.post("remove", json!({"conversation": place, "user": cleo.id})).await?;
        }
    }
    for id in asked {
        owner.reply(id).await?;
    }
    let left = loop {
        let told = member.push("revision").await?;
        if told["leave"]["user"] == json!(cleo.id) {
            break told;
        }
    };
    member.listen(std::time::Duration::from_millis(300)).await?;
    let pushed: Vec<_> =
        member.kept("message").iter().filter_map(|message| message["seq"].as_u64()).collect();
    let at = left["at_seq"].as_u64().unwrap_or_default();
    assert_eq!(pushed, (1..=at).collect::<Vec<_>>(), "all up to the removal, none after it");
    assert!(member.kept("revision").is_empty(), "the last push was the own leave");
    Ok(())
}

#[tokio::test]
async fn who_came_back_reads_the_stretches_in_which_they_were_there() -> Result<()> {
    let server = Server::start().await?;
    let ([_, _, cleo], [mut owner, _, mut member], place) = three(&server, "since_join").await?;
    owner.send(place, "1 with her").await?;
    member.request("leave", json!({"conversation": place})).await?;
    owner.send(place, "2 without").await?;
    owner.send(place, "3 without").await?;
    owner.request("invite", json!({"conversation": place, "users": [cleo.id]})).await?;
    owner.send(place, "4 with her again").await?;
    let page = member.request("history", json!({"conversation": place, "after_seq": 0})).await?;
    assert_eq!(seqs(list(&page, "messages")?), [1, 4]);
    assert_eq!(page["gone"], json!([{"from": 2, "to": 3, "why": "not_visible"}]));
    let shown = member.request("conversation", json!({"conversation": place})).await?["conversation"].clone();
    assert_eq!((&shown["unread"], &shown["read_seq"]), (&json!(1), &json!(3)), "joining sets the marks");
    let hidden = json!({"conversation": place, "seq": 2, "emoji": "x", "on": true});
    assert_eq!(code(&mut member, "react", hidden).await?, "not_found");
    // A reaction to what cleo may not read is told to her as a head alone.
    owner.request("react", json!({"conversation": place, "seq": 2, "emoji": "x", "on": true})).await?;
    let heads = member.push("heads").await?;
    assert_eq!((&heads[0]["conversation"], &heads[0]["last_seq"]), (&json!(place), &json!(4)));
    let revisions = member.request("revisions", json!({"conversation": place, "after_rev": 0})).await?;
    let told: Vec<_> = list(&revisions, "revisions")?.iter().filter_map(|r| r["rev"].as_u64()).collect();
    let gone = list(&revisions, "gone")?;
    assert!(!told.contains(&heads[0]["last_rev"].as_u64().unwrap_or_default()) && !gone.is_empty());
    Ok(())
}

#[tokio::test]
async fn the_last_owner_who_leaves_hands_over_and_an_empty_group_can_be_joined_by_nobody() -> Result<()> {
    let server = Server::start().await?;
    let ([ada, ben, cleo], [mut owner, mut admin, mut member], place) = three(&server, "all").await?;
    owner.request("leave", json!({"conversation": place})).await?;
    let role = loop {
        let told = member.push("revision").await?;
        if told["role"]["role"] == "owner" {
            break told;
        }
    };
    assert_eq!(role["role"]["user"], json!(ben.id), "the longest-standing admin");
    assert_eq!(member.push("revision").await?["leave"]["user"], json!(ada.id), "before the own leave");
    admin.request("leave", json!({"conversation": place})).await?;
    let members = member.request("members", json!({"conversation": place})).await?;
    assert_eq!(members["members"][0]["role"], "owner");
    assert_eq!(members["members"][0]["user"], json!(cleo.id));
    member.request("leave", json!({"conversation": place})).await?;
    assert_eq!(code(&mut owner, "join", json!({"conversation": place})).await?, "forbidden");
    Ok(())
}

#[tokio::test]
async fn anyone_joins_what_is_open_and_sees_it_from_outside() -> Result<()> {
    let server = Server::start().await?;
    let (_, mut owner) = server.join("ada").await?;
    let (_, mut visitor) = server.join("vera").await?;
    let create = json!({"kind": "group", "client_id": Uuid::now_v7(), "title": "Open", "open": true});
    let made = owner.request("create", create).await?["conversation"].clone();
    assert_eq!(made["open"], true);
    let place = made["id"].clone();
    owner.request("send", json!({"conversation": place, "client_id": Uuid::now_v7(), "body": "hi"})).await?;
    let seen = visitor.request("conversation", json!({"conversation": place})).await?["conversation"].clone();
    assert_eq!((&seen["title"], &seen["last_message"]), (&json!("Open"), &Value::Null));
    for (name, payload) in [
        ("history", json!({"conversation": place})),
        ("send", json!({"conversation": place, "client_id": Uuid::now_v7(), "body": "x"})),
        ("members", json!({"conversation": place})),
        ("read", json!({"conversation": place, "seq": 1})),
    ] {
        assert_eq!(code(&mut visitor, name, payload).await?, "not_member", "{name}");
    }
    let called = Uuid::now_v7();
    let join = json!({"conversation": place, "client_id": called});
    let rev = visitor.request("join", join.clone()).await?["rev"].clone();
    assert_eq!(visitor.push("conversation").await?["role"], "member");
    visitor.request("leave", json!({"conversation": place})).await?;
    assert_eq!(visitor.request("join", join).await?["rev"], rev, "a repeat does nothing");
    let seen = visitor.request("conversation", json!({"conversation": place})).await?["conversation"].clone();
    assert_eq!(seen["left"], true);
    owner.request("update", json!({"conversation": place, "open": false})).await?;
    assert_eq!(code(&mut visitor, "join", json!({"conversation": place})).await?, "forbidden");
    Ok(())
}

#[tokio::test]
async fn receipts_tell_how_far_the_others_have_come() -> Result<()> {
    let server = Server::start().await?;
    let ([_, ben, cleo], [mut owner, mut admin, mut member], place) = three(&server, "all").await?;
    owner.send(place, "one").await?;
    admin.request("read", json!({"conversation": place, "seq": 1})).await?;
    member.request("received", json!({"conversation": place, "seq": 1})).await?;
    let receipts = owner.request("receipts", json!({"conversation": place, "seq": 1})).await?;
    assert_eq!((&receipts["received"], &receipts["read"]), (&json!(2), &json!(1)));
    let members = list(&receipts, "members")?;
    assert_eq!(members.len(), 2, "the sender is left out");
    for (person, read) in [(&ben, 1), (&cleo, 0)] {
        let found = members.iter().find(|member| member["user"] == json!(person.id));
        assert_eq!(found.map(|member| member["read_seq"].clone()), Some(json!(read)), "{}", person.name);
    }
    assert_eq!(code(&mut member, "receipts", json!({"conversation": place, "seq": 2})).await?, "not_found");
    Ok(())
}
