//! Timers: once, at their time, and never after they were cancelled.

use crate::{
    house::{House, quiet, until_true},
    script::{Cast, Script, acts, nothing},
};
use godwit_core::domain::actor::{Act, EventKind, What};
use std::sync::Arc;

const MINUTE_MS: u64 = 60_000;

/// `set NAME` sets a timer of a minute, `cancel NAME` cancels it.
fn alarm() -> Arc<Script> {
    Arc::new(Script::new("alarm").bot(&[EventKind::Message, EventKind::Timer], |event, desk| async move {
        let What::Message { message, .. } = &event.what else { return nothing() };
        let (what, name) = message.content.body.split_once(' ').unwrap();
        let name = name.to_owned();
        let at = desk.now().plus(MINUTE_MS);
        acts(vec![match what {
            "set" => Act::SetTimer { payload: name.clone().into_bytes(), name, at },
            _ => Act::CancelTimer(name),
        }])
    }))
}

fn timers(script: &Script) -> Vec<String> {
    script.heard().into_iter().filter(|words| words.starts_with("timer")).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_timer_fires_once_and_a_cancelled_one_never() {
    let script = alarm();
    let house = House::new(Cast::of([script.clone()])).await;
    let (mut ada, bot) = (house.join("ada").await, house.bot("alarm").await);
    let room = ada.group(&[&bot]).await;
    for body in ["set tea", "set egg", "cancel egg", "set tea"] {
        ada.say(&room, body).await;
    }
    until_true(|| script.heard().len() == 4).await;
    house.clock.pass(MINUTE_MS / 2);
    quiet().await;
    assert!(timers(&script).is_empty());
    house.clock.pass(MINUTE_MS);
    until_true(|| !timers(&script).is_empty()).await;
    house.clock.pass(10 * MINUTE_MS);
    quiet().await;
    assert_eq!(timers(&script), ["timer tea tea"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn timers_outlive_the_host_and_a_suspension() {
    let script = alarm();
    let house = House::new(Cast::of([script.clone()])).await;
    let (mut ada, bot) = (house.join("ada").await, house.bot("alarm").await);
    let room = ada.group(&[&bot]).await;
    ada.say(&room, "set tea").await;
    until_true(|| script.heard().len() == 1).await;
    script.suspend(Some("disabled"));
    drop(ada);
    let house = house.restart().await;
    house.clock.pass(2 * MINUTE_MS);
    quiet().await;
    assert!(timers(&script).is_empty());
    script.suspend(None);
    house.cast.changed();
    until_true(|| timers(&script).len() == 1).await;
    quiet().await;
    assert_eq!(timers(&script).len(), 1);
}
