//! The built-in rule where many are in: those who follow, and heads for the others.

use crate::house::{Client, House, Rules};
use godwit_core::limits;
use serde_json::{Value, json};

/// Three of them are many.
async fn many() -> (House, [Client; 3], Value) {
    let limits = limits::Options { follow_above: 2, follows_max: 2, ..Default::default() };
    let house = House::new(Rules::default(), limits).await;
    let (mut ada, ben, cleo) = (house.join("ada").await, house.join("ben").await, house.join("cleo").await);
    let place = ada.group("Waders", &[ben.id, cleo.id]).await;
    let mut all = [ada, ben, cleo];
    all.iter_mut().for_each(|client| drop(client.heard()));
    (house, all, place)
}

fn tell_slowly(house: &House) {
    (0..30).for_each(|turn| house.host.tell_slowly(turn));
}

#[tokio::test]
async fn live_messages_of_a_large_conversation_flow_to_the_sessions_that_follow() {
    let (house, [mut ada, mut ben, mut cleo], place) = many().await;
    let mut laptop = house.connect(ada.id, json!({})).await;
    let mut phone = house.connect(ben.id, json!({})).await;
    let here = || json!({ "conversation": place });
    for _ in 0..2 {
        ben.ask("follow", here()).await.unwrap();
    }
    ada.send(&place, "one").await;
    ada.send(&place, "two").await;
    assert_eq!(ben.heard(), ["one", "two"]);
    house.host.tell_heads();
    for client in [&mut cleo, &mut laptop, &mut phone] {
        assert_eq!(client.heard(), Vec::<String>::new(), "nothing at once");
    }
    tell_slowly(&house);
    for client in [&mut cleo, &mut laptop, &mut phone] {
        let pushes = client.pushes();
        assert_eq!(pushes[0].0, "heads");
        assert_eq!(pushes[0].1[0]["last_seq"], 2, "coalesced, and the same for all");
        assert_eq!(pushes[1].0, "cursor", "which covers it");
    }
    assert_eq!(ada.heard(), Vec::<String>::new(), "it has its replies");

    ada.ask("edit", json!({ "conversation": place, "seq": 1, "body": "first" })).await.unwrap();
    assert_eq!(ben.heard(), ["revision 4"]);
    assert_eq!(cleo.heard(), Vec::<String>::new());
    for _ in 0..2 {
        ben.ask("unfollow", here()).await.unwrap();
    }
    ada.send(&place, "three").await;
    tell_slowly(&house);
    assert_eq!(ben.heard(), ["heads 3"]);
    assert_eq!(cleo.heard(), ["heads 3"]);
    drop(ben);
    ada.ask("remove", json!({ "conversation": place, "user": cleo.id })).await.unwrap();
    assert_eq!(cleo.heard(), ["conversation", "revision 5"], "whom it concerns is told");
}

/// The cursor used to be told every twenty seconds, and heads of large conversations every thirty.
#[tokio::test]
async fn no_cursor_covers_heads_that_were_not_told_yet() {
    let (house, [mut ada, mut ben, _cleo], place) = many().await;
    let elsewhere = ada.group("Small", &[ben.id]).await;
    ada.send(&place, "one").await;
    ada.send(&elsewhere, "hi").await;
    house.clock.advance(1_000);
    house.host.tell_cursors();
    let names = |client: &mut Client| client.pushes().into_iter().map(|(name, _)| name).collect::<Vec<_>>();
    let told = names(&mut ben);
    assert!(told.contains(&"message".to_owned()) && !told.contains(&"cursor".to_owned()), "{told:?}");
    tell_slowly(&house);
    assert_eq!(names(&mut ben), ["heads", "cursor"]);
}

#[tokio::test]
async fn a_session_follows_so_many_and_what_is_small_as_well_and_forgets_them_with_its_end() {
    let (house, [mut ada, mut ben, _cleo], place) = many().await;
    let small = ada.group("Small", &[ben.id]).await;
    let other = ada.group("Other", &[ben.id]).await;
    let follow = |conversation: &Value| json!({ "conversation": conversation });
    ben.ask("follow", follow(&small)).await.unwrap();
    ben.ask("follow", follow(&place)).await.unwrap();
    assert_eq!(ben.ask("follow", follow(&other)).await, Err("invalid".into()));
    ben.ask("follow", follow(&place)).await.unwrap();
    ben.ask("unfollow", follow(&small)).await.unwrap();
    ben.ask("follow", follow(&other)).await.unwrap();
    ada.send(&small, "small").await;
    ada.send(&place, "large").await;
    let told: Vec<_> =
        ben.heard().into_iter().filter(|heard| ["small", "large"].contains(&&**heard)).collect();
    assert_eq!(told, ["small", "large"]);
    let mut back = house.connect(ben.id, json!({})).await;
    drop(ben);
    ada.send(&place, "again").await;
    assert!(!back.heard().contains(&"again".to_owned()));
    let stranger = house.person("sven", None).await;
    let mut stranger = house.connect(stranger, json!({})).await;
    assert_eq!(stranger.ask("follow", follow(&place)).await, Err("not_found".into()));
}
