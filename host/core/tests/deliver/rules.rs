//! Rules that name audiences and policies that name attention, what they are told, and what becomes of wrong answers.

use crate::house::{Client, House, NOW, Rules};
use godwit_core::{
    domain::{
        conversation::Role,
        filter::{Attention, Audience, Live, Notified},
        id::UserId,
        time::Ms,
    },
    limits,
};
use parking_lot::Mutex;
use serde_json::json;
use std::sync::Arc;
use uuid::Uuid;

fn live(live: Live) -> Option<Audience> {
    Some(Audience { live, notified: Notified::Everyone })
}

/// Ada, who speaks, and two listeners; what they heard so far is forgotten.
async fn three(house: &House) -> ([Client; 3], serde_json::Value) {
    let (mut ada, ben, cleo) = (house.join("ada").await, house.join("ben").await, house.join("cleo").await);
    let place = ada.group("Waders", &[ben.id, cleo.id]).await;
    house.host.settle().await;
    let mut all = [ada, ben, cleo];
    all.iter_mut().for_each(|client| drop(client.heard()));
    (all, place)
}

#[tokio::test]
async fn a_rule_says_who_gets_a_live_push_and_everyone_else_hears_of_it_by_heads() {
    let named = Arc::<Mutex<Vec<UserId>>>::default();
    let by_test = named.clone();
    let choose = move |message: &godwit_core::domain::message::Message, _: &_| {
        let named = by_test.lock().clone();
        match &*message.content.body {
            "everyone" => live(Live::Everyone),
            "followers" => live(Live::Followers),
            "followers and" => live(Live::FollowersAnd(named)),
            "only" => live(Live::Only(named)),
            _ => None,
        }
    };
    let rules = Rules { choose: Some(Box::new(choose)), ..Rules::default() };
    let house = House::new(rules, limits::Options::default()).await;
    let ([mut ada, mut ben, mut cleo], place) = three(&house).await;
    let mut laptop = house.connect(ada.id, json!({})).await;
    let stranger = house.join("sven").await;
    cleo.ask("follow", json!({ "conversation": place })).await.unwrap();
    *named.lock() = vec![UserId(ben.id), UserId(stranger.id), UserId(Uuid::nil()), UserId(ben.id)];
    // What ben, cleo and ada's laptop hear.
    let cases: [(&str, [&str; 3]); 5] = [
        ("everyone", ["everyone", "everyone", "everyone"]),
        ("followers", ["heads 2", "followers", "heads 2"]),
        ("followers and", ["followers and", "followers and", "heads 3"]),
        ("only", ["only", "heads 4", "only"]),
        ("none", ["none", "none", "none"]),
    ];
    let mut stranger = stranger;
    for (body, expected) in cases {
        ada.send(&place, body).await;
        house.host.settle().await;
        house.host.tell_heads();
        let heard = [&mut ben, &mut cleo, &mut laptop].map(Client::heard);
        assert_eq!(heard, expected.map(|one| vec![one.to_owned()]), "{body}");
        assert_eq!(stranger.heard(), Vec::<String>::new(), "who may not read it gets nothing");
        assert_eq!(ada.heard(), Vec::<String>::new(), "the session that sent has its reply");
    }
    let page = ben.ask("history", json!({ "conversation": place, "after_seq": 0 })).await.unwrap();
    assert_eq!(page["messages"].as_array().unwrap().len(), 5, "no rule touches what may be read");
}

#[tokio::test]
async fn a_rule_is_told_what_there_is_to_know() {
    let seen = Arc::<Mutex<Vec<_>>>::default();
    let note = seen.clone();
    let choose = move |_: &_, facts: &godwit_core::domain::filter::Facts| {
        note.lock().push(facts.clone());
        None
    };
    let rules = Rules { choose: Some(Box::new(choose)), wants_members: true, ..Rules::default() };
    let house = House::new(rules, limits::Options { follow_above: 7, ..Default::default() }).await;
    let ([mut ada, ben, mut cleo], place) = three(&house).await;
    cleo.ask("follow", json!({ "conversation": place })).await.unwrap();
    let ben_id = ben.id;
    drop(ben);
    ada.say(&place, "hello", &[ben_id]).await;
    house.host.settle().await;
    let facts = seen.lock().pop().unwrap();
    assert_eq!(
        (facts.follow_above, facts.member_count, facts.follower_count, facts.online_count),
        (7, 3, 1, 2)
    );
    assert_eq!(facts.admins, [UserId(ada.id)]);
    assert_eq!(facts.mentioned, [UserId(ben_id)]);
    let mut members = vec![UserId(ada.id), UserId(ben_id), UserId(cleo.id)];
    members.sort_unstable();
    assert_eq!(facts.members, Some(members));
}

#[tokio::test]
async fn a_policy_is_told_of_each_recipient_and_who_is_not_alerted_gets_it_quietly() {
    let seen = Arc::<Mutex<Vec<_>>>::default();
    let note = seen.clone();
    let decide = move |_: &_, _: &_, recipient: &godwit_core::domain::filter::Recipient| {
        note.lock().push(recipient.clone());
        match &*recipient.user.name {
            "ben" => Attention::Quiet,
            "dora" => Attention::NoNotification,
            _ => Attention::Normal,
        }
    };
    let rules = Rules { decide: Some(Box::new(decide)), ..Rules::default() };
    let house = House::new(rules, limits::Options::default()).await;
    let ([mut ada, mut ben, mut cleo], place) = three(&house).await;
    let dora = house.person("dora", Some("Europe/Berlin")).await;
    ada.ask("invite", json!({ "conversation": place, "users": [dora] })).await.unwrap();
    let mut laptop = house.connect(ada.id, json!({ "active": false })).await;
    let mut phone = house.connect(ben.id, json!({ "active": false })).await;
    ben.ask("active", json!({ "active": false })).await.unwrap();
    for client in [&mut ben, &mut cleo, &mut laptop, &mut phone] {
        client.heard();
    }
    ada.say(&place, "hi", &[cleo.id]).await;
    house.host.settle().await;
    let mut recipients = std::mem::take(&mut *seen.lock());
    recipients.sort_by(|a, b| a.user.name.cmp(&b.user.name));
    let told: Vec<_> = recipients
        .iter()
        .map(|one| (&*one.user.name, one.online, one.active, one.mentioned, one.muted_until))
        .collect();
    let expected = [
        ("ben", true, false, false, None),
        ("cleo", true, true, true, None),
        ("dora", false, false, false, None),
    ];
    assert_eq!(told, expected, "all but the sender");
    assert_eq!(recipients[2].user.time_zone.as_deref(), Some("Europe/Berlin"));
    assert_eq!(recipients[0].role, Role::Member);
    assert_eq!(ben.heard(), ["hi*"]);
    assert_eq!(phone.heard(), ["hi*"], "every session of theirs");
    assert_eq!(cleo.heard(), ["hi"]);
    assert_eq!(laptop.heard(), ["hi"], "own devices are asked for nobody");
    phone.ask("active", json!({ "active": true })).await.unwrap();
    ada.send(&place, "again").await;
    house.host.settle().await;
    assert!(seen.lock().iter().any(|one| one.user.name == "ben" && one.active), "one of them is enough");
    // What somebody sets is told from then on, and what is over is not.
    let muted = [(&mut ben, NOW + 1_000), (&mut cleo, NOW)];
    for (client, until) in muted {
        let settings = json!({ "conversation": place, "muted_until": until });
        client.ask("settings", settings).await.unwrap();
    }
    seen.lock().clear();
    ada.send(&place, "to who muted it").await;
    house.host.settle().await;
    let mut told: Vec<_> = seen.lock().iter().map(|one| (one.user.name.clone(), one.muted_until)).collect();
    told.sort();
    let expected = [("ben", Some(Ms(NOW + 1_000))), ("cleo", None), ("dora", None)];
    assert_eq!(told, expected.map(|(name, until)| (name.to_owned(), until)));
}

#[tokio::test]
async fn who_is_spared_and_not_to_be_notified_is_not_asked_about() {
    let seen = Arc::<Mutex<Vec<String>>>::default();
    let note = seen.clone();
    let decide = move |_: &_, _: &_, recipient: &godwit_core::domain::filter::Recipient| {
        note.lock().push(recipient.user.name.clone());
        Attention::Normal
    };
    let choose = |message: &godwit_core::domain::message::Message, _: &_| {
        let mentioned = message.content.mentions.clone();
        let notified = match &*message.content.body {
            "mentioned" => Notified::Mentioned,
            "only" => Notified::Only(mentioned),
            _ => Notified::Nobody,
        };
        Some(Audience { live: Live::Only(Vec::new()), notified })
    };
    let rules = Rules { choose: Some(Box::new(choose)), decide: Some(Box::new(decide)), ..Rules::default() };
    let house = House::new(rules, limits::Options::default()).await;
    let ([mut ada, ben, _cleo], place) = three(&house).await;
    for (body, expected) in [("mentioned", &["ben"][..]), ("only", &["ben"]), ("nobody", &[])] {
        ada.say(&place, body, &[ben.id]).await;
        house.host.settle().await;
        assert_eq!(std::mem::take(&mut *seen.lock()), expected, "{body}");
    }
}

#[tokio::test]
async fn a_policy_that_answers_for_too_few_alerts_the_rest() {
    let decide = |_: &_, _: &_, _: &_| Attention::Quiet;
    let rules = Rules { decide: Some(Box::new(decide)), unanswered: 1, ..Rules::default() };
    let house = House::new(rules, limits::Options::default()).await;
    let ([mut ada, mut ben, mut cleo], place) = three(&house).await;
    ada.send(&place, "hi").await;
    house.host.settle().await;
    let mut heard = [ben.heard(), cleo.heard()].concat();
    heard.sort();
    assert_eq!(heard, ["hi", "hi*"]);
}

#[tokio::test]
async fn where_no_plugin_serves_a_place_nobody_is_asked() {
    let rules = Rules {
        choose: Some(Box::new(|_, _| live(Live::Only(Vec::new())))),
        decide: Some(Box::new(|_, _, _| Attention::NotifyLater(Ms(u64::MAX)))),
        ..Rules::default()
    };
    let house = House::new(rules, limits::Options::default()).await;
    let (mut ada, mut ben) = (house.join("ada").await, house.join("ben").await);
    let place = ada.group("Elsewhere", &[ben.id]).await;
    ada.send(&place, "slow, were anybody asked").await;
    assert_eq!(ben.push("message").await["seq"], 1);
    assert_eq!(house.rules.asked.load(std::sync::atomic::Ordering::SeqCst), 0);
}
