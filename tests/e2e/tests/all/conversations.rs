//! Making conversations, being in them, and finding them again.

use super::list;
use anyhow::Result;
use godwit_e2e::{admin::id, server::Server};
use serde_json::{Value, json};
use uuid::Uuid;

#[tokio::test]
async fn a_pair_has_one_conversation_whoever_asks_and_however_often() -> Result<()> {
    let server = Server::start().await?;
    let (ada, mut first) = server.join("ada").await?;
    let (ben, mut second) = server.join("ben").await?;
    let made = first.request("direct", json!({"user": ben.id})).await?;
    let place = id(&made["conversation"]["id"])?;
    assert_eq!(made["conversation"]["kind"], "direct");
    assert_eq!(made["conversation"]["peer"]["name"], "ben");
    assert_eq!(made["conversation"]["last_seq"], 0);
    assert_eq!(second.direct(ada.id).await?, place);
    assert_eq!(first.direct(ben.id).await?, place);
    let shown = second.request("conversation", json!({"conversation": place})).await?;
    assert_eq!(shown["conversation"]["peer"]["id"], json!(ada.id));
    let nobody = first.refused("direct", json!({"user": Uuid::new_v4()})).await?;
    assert_eq!(nobody.code, "unknown_user");
    Ok(())
}

#[tokio::test]
async fn a_group_is_made_once_and_announced_to_every_member() -> Result<()> {
    let server = Server::start().await?;
    let (ada, mut maker) = server.join("ada").await?;
    let mut other_device = server.session(&ada).await?;
    let (ben, mut member) = server.join("ben").await?;
    let create =
        json!({"kind": "group", "client_id": Uuid::now_v7(), "title": "Waders", "members": [ben.id]});
    let made = maker.request("create", create.clone()).await?["conversation"].clone();
    assert_eq!((&made["title"], &made["role"]), (&json!("Waders"), &json!("owner")));
    assert_eq!(
        (&made["member_count"], &made["last_seq"], &made["kind"]),
        (&json!(2), &json!(0), &json!("group"))
    );
    let again = maker.request("create", create).await?["conversation"].clone();
    assert_eq!(again["id"], made["id"]);
    for (session, role) in [(&mut other_device, "owner"), (&mut member, "member")] {
        let announced = session.push("conversation").await?;
        assert_eq!((&announced["id"], &announced["role"]), (&made["id"], &json!(role)));
    }
    Ok(())
}

#[tokio::test]
async fn invited_people_are_told_and_heard_and_those_who_are_in_are_passed_over() -> Result<()> {
    let server = Server::start().await?;
    let (_, mut ada) = server.join("ada").await?;
    let (ben, mut member) = server.join("ben").await?;
    let (cleo, mut newcomer) = server.join("cleo").await?;
    let place = ada.group("Waders", &[ben.id]).await?;
    ada.send(place, "before").await?;
    let outside = newcomer.refused("conversation", json!({"conversation": place})).await?;
    let absent = newcomer.refused("conversation", json!({"conversation": Uuid::now_v7()})).await?;
    assert_eq!(
        (&outside.code, &outside.message),
        (&absent.code, &absent.message),
        "a stranger learns nothing"
    );
    assert_eq!(outside.code, "not_found");
    let nobody = json!({"conversation": place, "users": [cleo.id, Uuid::new_v4()]});
    assert_eq!(ada.refused("invite", nobody).await?.code, "unknown_user");
    assert_eq!(newcomer.refused("conversation", json!({"conversation": place})).await?.code, "not_found");

    let invite = json!({"conversation": place, "users": [ben.id, cleo.id]});
    let rev = ada.request("invite", invite.clone()).await?["rev"].clone();
    assert_eq!(newcomer.push("conversation").await?["id"], json!(place));
    let told = loop {
        let revision = member.push("revision").await?;
        if revision["rev"] == rev {
            break revision;
        }
    };
    assert_eq!(told["join"], json!({"user": cleo.id, "role": "member"}));
    assert_eq!(ada.request("invite", invite).await?["rev"], rev, "a repeat changes nothing");
    assert_eq!(newcomer.send(place, "thank you").await?.seq, 2);
    assert_eq!(member.push("message").await?["body"], "before");
    assert_eq!(member.push("message").await?["body"], "thank you");
    let dora = server.person("dora").await?;
    let above = json!({"conversation": place, "users": [dora.id]});
    assert_eq!(member.refused("invite", above).await?.code, "forbidden", "a member invites nobody");
    Ok(())
}

#[tokio::test]
async fn members_are_listed_page_by_page_and_each_once() -> Result<()> {
    let server = Server::start().await?;
    let (ada, mut owner) = server.join("ada").await?;
    let mut everyone = vec![ada.id];
    for n in 0..7 {
        everyone.push(server.person(&format!("member-{n}")).await?.id);
    }
    let place = owner.group("Eight", &everyone[1..]).await?;
    let (mut listed, mut page) = (Vec::new(), Value::Null);
    loop {
        let answer =
            owner.request("members", json!({"conversation": place, "limit": 3, "page": page})).await?;
        let members = list(&answer, "members")?;
        assert!((1..=3).contains(&members.len()), "{answer}");
        for member in members {
            let who = id(&member["user"])?;
            assert_eq!(member["role"], if who == ada.id { "owner" } else { "member" });
            assert!(member["joined_at"].as_u64().is_some_and(|at| at > 0), "{member}");
            listed.push(who);
        }
        page = answer["next"].clone();
        if page.is_null() {
            break;
        }
    }
    listed.sort_unstable();
    everyone.sort_unstable();
    assert_eq!(listed, everyone);
    let unreadable = owner.refused("members", json!({"conversation": place, "page": "no page"})).await?;
    assert_eq!((unreadable.code.as_str(), unreadable.field.as_deref()), ("invalid", Some("page")));
    Ok(())
}

#[tokio::test]
async fn the_list_shows_the_newest_first_page_by_page() -> Result<()> {
    let server = Server::start().await?;
    let (_, mut ada) = server.join("ada").await?;
    let mut places = Vec::new();
    for n in 0..5 {
        places.push(ada.group(&format!("Group {n}"), &[]).await?);
    }
    // Written to in another order than made.
    for &n in &[3, 0, 4, 2, 1] {
        ada.send(places[n], &format!("news of {n}")).await?;
        // What changed within one millisecond has no order.
        tokio::time::sleep(std::time::Duration::from_millis(2)).await;
    }
    let (mut listed, mut page) = (Vec::new(), Value::Null);
    loop {
        let answer = ada.request("conversations", json!({"limit": 2, "page": page})).await?;
        listed.extend(list(&answer, "conversations")?.iter().cloned());
        page = answer["next"].clone();
        if page.is_null() {
            break;
        }
    }
    let last: Vec<_> =
        listed.iter().map(|place| place["last_message"]["body"].as_str().unwrap_or_default()).collect();
    assert_eq!(last, ["news of 1", "news of 2", "news of 4", "news of 0", "news of 3"]);
    assert!(listed.is_sorted_by_key(|place| std::cmp::Reverse(place["updated_at"].as_u64())));
    Ok(())
}

#[tokio::test]
async fn a_cold_start_shows_the_newest_conversations_of_the_window() -> Result<()> {
    let mut server = Server::start().await?;
    let (ada, mut client) = server.join("ada").await?;
    for n in 0..4 {
        let place = client.group(&format!("Group {n}"), &[]).await?;
        client.send(place, "x").await?;
    }
    server.kill().await?;
    server.restart().await?;
    let mut client = godwit_e2e::client::Client::open(server.public).await?;
    let connect = json!({"token": ada.token, "device": {"id": "phone"}, "window": 3});
    let connected = client.request("connect", connect).await?;
    assert_eq!((&connected["recovered"], &connected["user"]["id"]), (&json!(false), &json!(ada.id)));
    let titles: Vec<_> =
        list(&connected, "conversations")?.iter().map(|place| place["title"].clone()).collect();
    assert_eq!(titles, ["Group 3", "Group 2", "Group 1"]);
    Ok(())
}
