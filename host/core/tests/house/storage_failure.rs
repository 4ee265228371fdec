//! What senders are told where the disk fails, what is still shown, and that a repeat settles it.

use crate::house::{House, NOW};
use godwit_core::domain::id::UserId;
use serde_json::{Value, json};
use uuid::Uuid;

fn client_id(number: u64) -> Uuid {
    let time = uuid::Timestamp::from_unix(uuid::NoContext, NOW / 1_000, number as u32);
    Uuid::new_v7(time)
}

fn message(to: UserId, client: Uuid) -> Value {
    json!({ "to": to, "client_id": client, "body": client.to_string() })
}

/// The disk fails at each of the writes of a commit in turn: at the first nothing of it lasts, at the last all does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repeat_settles_what_a_failed_write_left_unknown() {
    const BEFORE: u64 = 3;
    const AFTER: u64 = 8;
    let (mut kept, mut lost) = (0, 0);
    for writes in 0..24 {
        let house = House::new().await;
        let (mut ada, mut ben) = (house.join("ada").await, house.join("ben").await);
        let ids: Vec<_> = (0..BEFORE + AFTER).map(client_id).collect();
        let mut conversation = Value::Null;
        for id in &ids[..BEFORE as usize] {
            conversation = ada.ask("send", message(ben.id, *id)).await.unwrap()["conversation"].clone();
        }

        house.disk.fail_after(writes);
        let mut under_way = Vec::new();
        for id in &ids[BEFORE as usize..] {
            under_way.push(ada.begin("send", message(ben.id, *id)).await);
        }
        let mut acknowledged = Vec::new();
        for request in under_way {
            acknowledged.push(match ada.reply(request).await {
                Ok(sent) => Some(sent["seq"].as_u64().unwrap()),
                Err(code) => {
                    assert!(matches!(&*code, "unknown_outcome" | "unavailable"), "{code}");
                    None
                }
            });
        }
        if house.store.health().is_err() {
            // What was acknowledged is shown, to those who are here and those who come.
            let page = json!({ "conversation": conversation, "after_seq": 0 });
            let shown = ben.ask("history", page.clone()).await.unwrap();
            let shown = shown["messages"].as_array().unwrap().len() as u64;
            assert!((BEFORE..=BEFORE + AFTER).contains(&shown), "{shown} messages are shown");
            assert_eq!(ada.ask("send", message(ben.id, ids[0])).await, Err("unavailable".into()));
            let read = json!({ "conversation": conversation, "seq": 1 });
            assert_eq!(ben.ask("read", read).await, Err("unavailable".into()));

            house.disk.mend();
            house.store.reopen().await.unwrap();
        }
        house.disk.mend();

        for (id, seq) in ids[BEFORE as usize..].iter().zip(acknowledged) {
            let sent = ada.ask("send", message(ben.id, *id)).await.unwrap();
            let duplicate = sent["duplicate"] == true;
            match seq {
                Some(seq) => assert_eq!((sent["seq"].as_u64(), duplicate), (Some(seq), true)),
                None if duplicate => kept += 1,
                None => lost += 1,
            }
        }
        let page = json!({ "conversation": conversation, "after_seq": 0, "limit": 100 });
        let history = ben.ask("history", page).await.unwrap();
        let history = history["messages"].as_array().unwrap();
        let seqs: Vec<_> = history.iter().map(|message| message["seq"].as_u64().unwrap()).collect();
        assert_eq!(
            seqs,
            Vec::from_iter(1..=BEFORE + AFTER),
            "dense, and nothing twice, after {writes} writes"
        );
        let mut bodies: Vec<_> = history.iter().map(|message| message["body"].as_str().unwrap()).collect();
        bodies.sort_unstable();
        bodies.dedup();
        assert_eq!(bodies.len() as u64, BEFORE + AFTER);
        house.store.close().await.unwrap();
    }
    assert!(kept > 0 && lost > 0, "{kept} unknown messages had taken effect, {lost} had not");
}

/// The disk fails at each of the writes of an opening in turn. Its answer was `unavailable`, and its time was given up:
/// cursors passed it, so that a conversation that a later load finished was of a time that devices took for told.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_conversation_of_unknown_making_is_told_whenever_it_turns_out_to_be_made() {
    const PASSED_MS: u64 = 1_000;
    let (mut kept, mut lost) = (0, 0);
    for writes in 0..24 {
        let house = House::new().await;
        let (mut ada, mut ben) = (house.join("ada").await, house.join("ben").await);
        // So that the stored bound of the times of change lies ahead: raising it is no part of this.
        ada.ask("direct", json!({ "user": ada.id })).await.unwrap();
        let create = json!({
            "kind": "group", "client_id": client_id(1), "title": "team", "members": [ben.id],
        });
        house.disk.fail_after(writes);
        let answer = ada.ask("create", create.clone()).await;
        house.clock.advance(PASSED_MS);
        house.host.tell_cursors();
        let (cold, connected) = match house.store.health() {
            Ok(()) => house.connect(ben.id, Value::Null).await,
            Err(_) => {
                house.disk.mend();
                // Who connects now is told a cursor of now, and what is certain.
                let (cold, connected) = house.connect(ben.id, Value::Null).await;
                house.store.reopen().await.unwrap();
                (cold, connected)
            }
        };
        house.disk.mend();
        let asked = answer.is_ok();
        if let Err(code) = answer {
            assert!(matches!(&*code, "unknown_outcome" | "unavailable"), "{code}");
        }
        drop(cold);
        let resume = json!({ "epoch": connected["epoch"], "cursor": connected["cursor"] });
        // A load settles it; whoever was here and whoever resumes hear of it.
        house.host.settle().await;
        let again = ada.ask("create", create).await.unwrap()["conversation"].clone();
        let shown = ben.push("conversation").await;
        assert_eq!((&shown["id"], &shown["title"]), (&again["id"], &json!("team")), "after {writes} writes");
        let (_, resumed) = house.connect(ben.id, resume).await;
        assert_eq!(resumed["recovered"], true);
        let listed = [&connected, &resumed].map(|answer| answer["conversations"].as_array().unwrap().clone());
        assert!(
            listed.concat().iter().any(|conversation| conversation["id"] == again["id"]),
            "after {writes} writes ben, who resumes, is never told"
        );
        match again["updated_at"].as_u64() < Some(NOW + PASSED_MS) {
            true if !asked => kept += 1,
            true => {}
            false => lost += 1,
        }
        house.store.close().await.unwrap();
    }
    assert!(kept > 0 && lost > 0, "{kept} unknown conversations had been made, {lost} had not");
}

/// The disk fails at each of the writes of a change of a relation in turn. Both sides tell of the same in the end, and
/// neither a device that stayed nor one that connected meanwhile is left without it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_contact_of_unknown_making_is_told_whenever_it_turns_out_to_be_made() {
    let (mut kept, mut lost) = (0, 0);
    for writes in 0..24 {
        let house = House::new().await;
        let (mut ada, mut ben) = (house.join("ada").await, house.join("ben").await);
        // So that the stored bound of the times of change lies ahead: raising it is no part of this.
        ada.ask("direct", json!({ "user": ada.id })).await.unwrap();
        let request = json!({ "user": ben.id, "action": "request" });
        house.disk.fail_after(writes);
        let answer = ada.ask("contact", request.clone()).await;
        house.clock.advance(1_000);
        house.host.tell_cursors();
        let is_whole = house.store.health().is_ok();
        house.disk.mend();
        let (cold, connected) = house.connect(ben.id, Value::Null).await;
        if !is_whole {
            house.store.reopen().await.unwrap();
        }
        drop(cold);
        house.host.settle().await;
        let asked = ada.ask("contact", request).await.unwrap()["contact"].clone();
        assert_eq!(asked["state"], "requested");
        while ben.push("contact").await["state"] != "asked" {}
        let listed = ben.ask("contacts", json!({})).await.unwrap();
        let contact = listed["contacts"][0].clone();
        assert_eq!((&contact["state"], &contact["since"]), (&json!("asked"), &asked["since"]));
        let resume = json!({ "epoch": connected["epoch"], "cursor": connected["cursor"] });
        let (_, resumed) = house.connect(ben.id, resume).await;
        assert_eq!(resumed["recovered"], true);
        let told = [&connected, &resumed].map(|answer| answer["contacts"].as_array().unwrap().clone());
        let told = told.concat();
        assert!(told.contains(&contact), "after {writes} writes ben, who resumes, is told of {told:?}");
        match (answer, asked["since"].as_u64() < Some(NOW + 1_000)) {
            (Ok(_), made) => assert!(made, "what was answered stands"),
            (Err(code), made) => {
                assert!(matches!(&*code, "unknown_outcome" | "unavailable"), "{code}");
                *(if made { &mut kept } else { &mut lost }) += 1;
            }
        }
        house.store.close().await.unwrap();
    }
    assert!(kept > 0 && lost > 0, "{kept} unknown contacts had been made, {lost} had not");
}
