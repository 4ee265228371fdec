//! Who is shown what of whom: contacts, blocks, and what each keeps to themselves.

use crate::house::{Client, House, Rules};
use godwit_core::limits;
use serde_json::{Value, json};
use uuid::Uuid;

async fn house() -> House {
    House::new(Rules::default(), limits::Options::default()).await
}

async fn contact(client: &mut Client, user: Uuid, action: &str) {
    client.ask("contact", json!({ "user": user, "action": action })).await.unwrap();
}

/// Whether the client is shown that user as online.
async fn sees(client: &mut Client, user: Uuid) -> bool {
    let all = client.ask("presence", json!({ "users": [user] })).await.unwrap();
    let one = &all["presence"][0];
    assert!(one["online"] == true || one["last_seen"].is_null(), "who is here, or not shown at all");
    one["online"] == true
}

#[tokio::test]
async fn contacts_see_each_other_wherever_they_are_and_strangers_do_not() {
    let house = house().await;
    let (mut ada, mut ben) = (house.join("ada").await, house.join("ben").await);
    ben.ask("watch", json!({ "users": [ada.id] })).await.unwrap();
    assert!(!sees(&mut ben, ada.id).await && !sees(&mut ada, ben.id).await);
    contact(&mut ada, ben.id, "request").await;
    assert!(!sees(&mut ben, ada.id).await, "asked is not agreed");
    contact(&mut ben, ada.id, "accept").await;
    assert_eq!(ben.push("presence").await["online"], true);
    assert!(sees(&mut ben, ada.id).await && sees(&mut ada, ben.id).await);
    for (shown, expected) in [("contacts", true), ("nobody", false), ("everyone", true)] {
        ada.ask("profile", json!({ "privacy": { "presence": shown } })).await.unwrap();
        assert_eq!(sees(&mut ben, ada.id).await, expected, "{shown}");
    }
    contact(&mut ada, ben.id, "remove").await;
    assert!(!sees(&mut ben, ada.id).await);
}

#[tokio::test]
async fn a_block_hides_presence_typing_receipts_and_profiles_both_ways_and_no_messages() {
    let house = house().await;
    let (mut ada, mut ben, mut cleo) =
        (house.join("ada").await, house.join("ben").await, house.join("cleo").await);
    let direct = ada.ask("direct", json!({ "user": ben.id })).await.unwrap()["conversation"]["id"].clone();
    let group = ada.group("Waders", &[ben.id, cleo.id]).await;
    ada.send(&group, "one").await;
    ben.ask("watch", json!({ "users": [ada.id] })).await.unwrap();
    ada.ask("watch", json!({ "users": [ben.id] })).await.unwrap();
    contact(&mut ben, ada.id, "block").await;
    for client in [&mut ada, &mut ben] {
        assert_eq!(client.push("presence").await["online"], false);
    }
    assert!(!sees(&mut ben, ada.id).await && !sees(&mut ada, ben.id).await && sees(&mut cleo, ada.id).await);
    [&mut ada, &mut ben, &mut cleo].into_iter().for_each(|client| drop(client.heard()));

    ben.typing(&group).await;
    ben.ask("read", json!({ "conversation": group, "seq": 1 })).await.unwrap();
    ben.ask("profile", json!({ "display_name": "Ben" })).await.unwrap();
    house.host.tell_profiles().await;
    assert_eq!(cleo.heard(), ["typing", "receipt 1", "user"]);
    assert_eq!(ada.heard(), Vec::<String>::new());
    let of = async |client: &mut Client, name: &str, conversation: &Value| {
        client.ask(name, json!({ "conversation": conversation, "seq": 1 })).await.unwrap()
    };
    assert_eq!(of(&mut ada, "receipts", &group).await["members"].as_array().unwrap().len(), 1);
    assert_eq!(of(&mut cleo, "receipts", &group).await["members"].as_array().unwrap().len(), 2);
    let shown = of(&mut ada, "conversation", &direct).await["conversation"].clone();
    assert!(shown["peer_read_seq"].is_null() && !shown["read_seq"].is_null(), "{shown}");
    ada.typing(&group).await;
    ada.send(&group, "two").await;
    assert_eq!(ben.heard(), ["two"]);
    assert_eq!(cleo.heard(), ["typing", "two"]);

    // A session that comes later knows of it from the start.
    let mut back = house.connect(ada.id, json!({})).await;
    back.typing(&group).await;
    cleo.push("typing").await;
    assert_eq!(ben.heard(), Vec::<String>::new());
    contact(&mut ben, ada.id, "unblock").await;
    assert_eq!(ben.push("presence").await["online"], true);
    back.typing(&group).await;
    ben.push("typing").await;
    let shown = of(&mut ada, "conversation", &direct).await["conversation"].clone();
    assert_eq!(shown["peer_read_seq"], 0);
}

#[tokio::test]
async fn the_same_change_by_several_devices_at_once_is_told_once_as_it_is_then() {
    let house = house().await;
    let (mut phone, mut ben) = (house.join("ada").await, house.join("ben").await);
    let mut laptop = house.connect(phone.id, json!({})).await;
    phone.ask("direct", json!({ "user": ben.id })).await.unwrap();
    // Should it be told in between by itself, which is done every second, it is tried again.
    for attempt in 0..4 {
        house.host.tell_profiles().await;
        [&mut phone, &mut laptop, &mut ben].into_iter().for_each(|client| drop(client.heard()));
        let before = house.metrics.profiles_told.get();
        let name = format!("Ada {attempt}");
        let zone = format!("Etc/GMT+{attempt}");
        phone.ask("profile", json!({ "display_name": name })).await.unwrap();
        laptop.ask("profile", json!({ "time_zone": zone })).await.unwrap();
        house.host.tell_profiles().await;
        if house.metrics.profiles_told.get() != before + 1 {
            continue;
        }
        for client in [&mut phone, &mut laptop, &mut ben] {
            let users: Vec<_> = client.pushes().into_iter().filter(|(name, _)| name == "user").collect();
            let [(_, user)] = &users[..] else { panic!("told once: {users:?}") };
            assert_eq!((&user["display_name"], &user["time_zone"]), (&json!(name), &json!(zone)));
        }
        return;
    }
    panic!("it was told in between each time");
}
