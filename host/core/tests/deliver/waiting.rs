//! What waits for a slow rule: its order, its limits, and that no cursor covers it.

use crate::house::{Client, House, Rules};
use godwit_core::{
    domain::{
        filter::{Attention, Audience, Live, Notified},
        message::Message,
    },
    limits,
};
use serde_json::{Value, json};

/// So long that no test waits for it.
const FOREVER_MS: u64 = 600_000;

fn slow_rules() -> Rules {
    let everyone = Audience { live: Live::Everyone, notified: Notified::Nobody };
    Rules { choose: Some(Box::new(move |_, _| Some(everyone.clone()))), ..Rules::default() }
}

async fn two(limits: limits::Options) -> (House, Client, Client, Value) {
    let house = House::new(slow_rules(), limits).await;
    let (mut ada, mut ben) = (house.join("ada").await, house.join("ben").await);
    let place = ada.group("Waders", &[ben.id]).await;
    house.host.settle().await;
    ada.heard();
    ben.heard();
    (house, ada, ben, place)
}

fn patient() -> limits::Options {
    limits::Options { deliver_ms: FOREVER_MS, ..Default::default() }
}

#[tokio::test]
async fn everything_of_a_conversation_keeps_its_order_behind_a_slow_rule_and_other_conversations_go_on() {
    let (house, mut ada, mut ben, place) = two(patient()).await;
    let elsewhere = ada.group("Elsewhere", &[ben.id]).await;
    assert_eq!(ben.push("conversation").await["id"], elsewhere);
    ada.send(&place, "slow one").await;
    ada.send(&place, "two").await;
    let edit = json!({ "conversation": place, "seq": 1, "body": "one" });
    ada.ask("edit", edit).await.unwrap();
    ada.ask("read", json!({ "conversation": place, "seq": 1 })).await.unwrap();
    ada.ask("update", json!({ "conversation": place, "title": "Shorebirds" })).await.unwrap();
    ada.send(&place, "three").await;
    // The shard serves on: it has answered all of these, and here it pushes as well.
    ada.send(&elsewhere, "meanwhile").await;
    assert_eq!(ben.push("message").await["body"], "meanwhile");
    assert!(ben.heard().iter().all(|heard| heard.starts_with("revision")), "joins of the other one");
    house.rules.permits.add_permits(1);
    house.host.settle().await;
    let heard = ben.heard();
    assert_eq!(heard, ["slow one", "two", "revision 3", "revision 4", "three"]);
}

#[tokio::test]
async fn a_rule_that_is_not_heard_in_time_is_replaced_by_the_built_in_one() {
    let limits = limits::Options { deliver_ms: 50, ..Default::default() };
    let spared = Audience { live: Live::Only(Vec::new()), notified: Notified::Nobody };
    let rules = Rules {
        choose: Some(Box::new(move |_, _| Some(spared.clone()))),
        decide: Some(Box::new(|_, _, _| Attention::Quiet)),
        ..Rules::default()
    };
    let house = House::new(rules, limits).await;
    let (mut ada, mut ben) = (house.join("ada").await, house.join("ben").await);
    let place = ada.group("Waders", &[ben.id]).await;
    house.host.settle().await;
    ben.heard();
    ada.send(&place, "slow").await;
    assert_eq!(ben.push("message").await["body"], "slow", "to everyone");
    assert!(house.metrics.overdue.get() >= 1);
}

/// It would have held what waits, and with it the cursors of everyone, for ever.
#[tokio::test]
async fn a_rule_that_panics_costs_its_own_answer_and_nothing_else() {
    let spared = Audience { live: Live::Only(Vec::new()), notified: Notified::Nobody };
    let choose = move |message: &Message, _: &_| {
        assert!(message.content.body != "boom", "as the test says");
        Some(spared.clone())
    };
    let rules = Rules { choose: Some(Box::new(choose)), ..Rules::default() };
    let house = House::new(rules, limits::Options::default()).await;
    let (mut ada, mut ben) = (house.join("ada").await, house.join("ben").await);
    let place = ada.group("Waders", &[ben.id]).await;
    ada.send(&place, "boom").await;
    assert_eq!(ben.push("message").await["body"], "boom", "by the built-in rule");
    ada.send(&place, "two").await;
    house.host.settle().await;
    house.host.tell_heads();
    assert_eq!(ben.push("heads").await[0]["last_seq"], 2);
    assert_eq!(house.metrics.delivering.get(), 0);
}

/// A cursor that covered what waits in the stage would let a device that came back then miss it for ever.
#[tokio::test]
async fn a_device_that_comes_back_while_a_push_waits_is_told_of_it() {
    let (house, mut ada, mut ben, place) = two(patient()).await;
    ada.send(&place, "slow one").await;
    // A cursor from the time while it waits.
    ada.send(&place, "two").await;
    house.clock.advance(60_000);
    house.host.tell_heads();
    house.host.tell_cursors();
    ben.ask("received", json!({ "conversation": place, "seq": 0 })).await.unwrap();
    let fresh = house.connect(ben.id, json!({})).await;
    let cursors = [
        fresh.connected["cursor"].clone(),
        ben.pushes()
            .into_iter()
            .rfind(|(name, _)| name == "cursor")
            .map_or(fresh.connected["cursor"].clone(), |(_, told)| told["cursor"].clone()),
    ];
    // The device is gone before the push comes out.
    drop((ben, fresh));
    house.rules.permits.add_permits(1);
    house.host.settle().await;
    for cursor in cursors {
        let resume = json!({ "resume": { "epoch": "test", "cursor": cursor } });
        let back = house.connect(ada.id, json!({})).await.connected;
        assert_eq!(back["recovered"], false);
        let user = uuid::Uuid::parse_str(members(&mut ada, &place).await[1].as_str().unwrap()).unwrap();
        let back = house.connect(user, resume).await.connected;
        assert_eq!(back["recovered"], true);
        assert_eq!(back["conversations"][0]["last_seq"], 2, "{back}");
    }
    // What was told is not listed again for ever.
    house.clock.advance(60_000);
    let mut told = house.connect(ada.id, json!({})).await;
    let cursor = told.connected["cursor"].clone();
    let resume = json!({ "resume": { "epoch": "test", "cursor": cursor } });
    told.heard();
    assert_eq!(house.connect(ada.id, resume).await.connected["conversations"], json!([]));
}

/// Ada, then ben.
async fn members(ada: &mut Client, place: &Value) -> Vec<Value> {
    let shown = ada.ask("conversation", json!({ "conversation": place })).await.unwrap();
    let mut members = shown["conversation"]["members"].as_array().unwrap().clone();
    members.sort_by_key(|user| *user != json!(ada.id));
    members
}

#[tokio::test]
async fn what_is_too_much_for_the_stage_is_told_as_heads_and_nothing_else_is_lost() {
    let limits = limits::Options { delivering_max: 3, ..patient() };
    let (house, mut ada, mut ben, place) = two(limits).await;
    let cleo = house.person("cleo", None).await;
    ada.send(&place, "slow one").await;
    ada.send(&place, "two").await;
    ada.ask("invite", json!({ "conversation": place, "users": [cleo] })).await.unwrap();
    assert_eq!(ben.heard(), Vec::<String>::new(), "all of it waits");
    let waiting = house.metrics.delivering.get();
    assert!(waiting >= 3, "{waiting}");
    ada.send(&place, "three is too much").await;
    house.host.tell_heads();
    let heard = ben.heard();
    assert_eq!(heard, ["revision 3", "heads 3"], "the join, which nothing else tells, and heads");
    assert_eq!(house.metrics.collapsed.get(), 3);
    // What was thought about when that happened is not told once more, and the next goes its way.
    house.rules.permits.add_permits(1);
    ada.send(&place, "four").await;
    house.host.settle().await;
    assert_eq!(ben.heard(), ["four"]);
    assert_eq!(house.metrics.delivering.get(), 0);
}

#[tokio::test]
async fn the_last_that_who_is_removed_hears_is_the_own_leave_however_slow_a_rule_is() {
    for delivering_max in [1_000, 2] {
        let limits = limits::Options { delivering_max, ..patient() };
        let (house, mut ada, mut ben, place) = two(limits).await;
        ada.send(&place, "slow one").await;
        ada.ask("remove", json!({ "conversation": place, "user": ben.id })).await.unwrap();
        ada.send(&place, "behind his back").await;
        house.rules.permits.add_permits(1);
        house.host.settle().await;
        house.host.tell_heads();
        let pushes = ben.pushes();
        let leave = pushes.iter().position(|(name, told)| name == "revision" && told["leave"].is_object());
        let leave = leave.expect("he is told");
        let after: Vec<_> = pushes[leave + 1..].iter().filter(|(name, _)| name != "heads").collect();
        assert!(after.is_empty(), "{after:?}");
        let heads = pushes[leave + 1..].iter().map(|(_, heads)| &heads[0]["last_seq"]);
        assert!(heads.into_iter().all(|last_seq| *last_seq == 1), "nothing that came after it");
    }
}
