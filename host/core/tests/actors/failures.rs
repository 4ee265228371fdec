//! What becomes of events that fail.

use crate::{
    house::{House, quiet, until, until_true},
    script::{Cast, Script, nothing},
};
use godwit_core::domain::{
    actor::{EventKind, Outcome, What},
    filter::Decision,
};
use serde_json::Value;
use std::sync::{Arc, Mutex};

/// What becomes of `bad`, if it fails.
type Mood = Arc<Mutex<Option<fn() -> Outcome<()>>>>;

/// Fails on `bad` as it is told to, for as long as it is told to.
fn moody(how: Mood) -> Arc<Script> {
    Arc::new(Script::new("moody").bot(&[EventKind::Message], move |event, _| {
        let how = how.clone();
        async move {
            let is_bad =
                matches!(&event.what, What::Message { message, .. } if message.content.body == "bad");
            match *how.lock().unwrap() {
                Some(how) if is_bad => how(),
                _ => nothing(),
            }
        }
    }))
}

fn retry() -> Outcome<()> {
    Outcome::Refused { retry: true, text: "not yet".into() }
}

fn never() -> Outcome<()> {
    Outcome::Refused { retry: false, text: "not this one".into() }
}

fn trap() -> Outcome<()> {
    Outcome::Failed { how: Decision::Trap, why: "unreachable".into() }
}

async fn letters(house: &House) -> Vec<Value> {
    // Once the plugin is at work.
    let page = until(async || house.host.letters("moody", None, 10).await.ok()).await;
    serde_json::to_value(page).unwrap()["letters"].as_array().unwrap().clone()
}

async fn house(how: fn() -> Outcome<()>) -> (House, Arc<Script>, Mood) {
    let mood = Arc::new(Mutex::new(Some(how)));
    let script = moody(mood.clone());
    (House::new(Cast::of([script.clone()])).await, script, mood)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_that_asks_for_it_is_tried_again_and_what_comes_after_it_waits() {
    let (house, script, mood) = house(retry).await;
    let (mut ada, bot) = (house.join("ada").await, house.bot("moody").await);
    let (room, other) = (ada.group(&[&bot]).await, ada.group(&[&bot]).await);
    for body in ["bad", "good"] {
        ada.say(&room, body).await;
    }
    ada.say(&other, "elsewhere").await;
    until_true(|| script.heard() == ["message elsewhere by ada"]).await;
    until_true(|| script.calls() >= 2).await;
    house.clock.pass(1_000);
    until_true(|| script.calls() >= 3).await;
    *mood.lock().unwrap() = None;
    house.clock.pass(300_000);
    until_true(|| script.heard().len() == 3).await;
    assert_eq!(script.heard()[1..], ["message bad by ada", "message good by ada"]);
    assert!(letters(&house).await.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_is_given_up_after_a_day() {
    let (house, script, _) = house(retry).await;
    let (mut ada, bot) = (house.join("ada").await, house.bot("moody").await);
    let room = ada.group(&[&bot]).await;
    for body in ["bad", "good"] {
        ada.say(&room, body).await;
    }
    while script.heard().is_empty() {
        let calls = script.calls();
        // More often than it takes, and by less than what counts: time jumps while a call is judged as well.
        until(async || {
            house.clock.pass(100_000);
            tokio::time::sleep(std::time::Duration::from_millis(30)).await;
            (script.calls() > calls || !script.heard().is_empty()).then_some(())
        })
        .await;
        assert!(calls < 400, "it is never given up");
    }
    // In steps of up to five minutes, each of which lasts up to twice as long here.
    assert!(script.calls() > 140, "given up after {} calls", script.calls());
    let letters = letters(&house).await;
    assert_eq!((letters.len(), &letters[0]["cause"]["message"]["seq"]), (1, &Value::from(1)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_letter_can_be_read_driven_again_and_dropped() {
    let (house, script, mood) = house(never).await;
    let (mut ada, bot) = (house.join("ada").await, house.bot("moody").await);
    let room = ada.group(&[&bot]).await;
    for body in ["bad", "good", "bad"] {
        ada.say(&room, body).await;
    }
    let two = async || Some(letters(&house).await).filter(|letters| letters.len() == 2);
    let dead = until(two).await;
    assert_eq!((&dead[0]["why"], &dead[0]["attempts"]), (&Value::from("not this one"), &Value::from(1)));
    assert_eq!(script.heard(), ["message good by ada"]);
    let number = |index: usize| dead[index]["n"].as_u64().unwrap();
    assert_eq!(house.host.letter("moody", number(0)).await.unwrap().why, "not this one");
    *mood.lock().unwrap() = None;
    house.host.redrive("moody", number(0)).await.unwrap();
    until_true(|| script.heard().len() == 2).await;
    assert_eq!(script.heard()[1], "message bad by ada");
    house.host.drop_letter("moody", number(1)).await.unwrap();
    assert!(letters(&house).await.is_empty());
    for gone in [number(0), number(1)] {
        assert_eq!(house.host.redrive("moody", gone).await.unwrap_err().code.as_str(), "not_found");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_traps_are_enough_also_over_a_restart() {
    let (house, script, _) = house(trap).await;
    let (mut ada, bot) = (house.join("ada").await, house.bot("moody").await);
    let room = ada.group(&[&bot]).await;
    ada.say(&room, "bad").await;
    until_true(|| script.calls() == 1).await;
    // The failure is stored with the place.
    house.clock.pass(999);
    quiet().await;
    until_true(|| script.calls() == 2).await;
    house.clock.pass(1_000);
    quiet().await;
    drop(ada);
    let house = house.restart().await;
    house.clock.pass(10_000);
    let one = async || Some(letters(&house).await).filter(|letters| letters.len() == 1);
    let dead = until(one).await;
    assert_eq!(dead[0]["attempts"], 3, "{dead:?}");
    assert_eq!(script.calls(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_suspended_plugin_hears_later_what_it_missed_but_not_what_is_a_week_old() {
    let (house, script, _) = house(nothing).await;
    let (mut ada, bot) = (house.join("ada").await, house.bot("moody").await);
    let room = ada.group(&[&bot]).await;
    script.suspend(Some("disabled"));
    ada.say(&room, "old").await;
    house.clock.pass(7 * 24 * 60 * 60 * 1_000 + 1_000);
    ada.say(&room, "new").await;
    quiet().await;
    assert_eq!(script.calls(), 0);
    script.suspend(None);
    house.cast.changed();
    until_true(|| !script.heard().is_empty()).await;
    quiet().await;
    assert_eq!(script.heard(), ["message new by ada"]);
}
