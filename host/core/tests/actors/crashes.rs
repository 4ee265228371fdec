//! The host dies after any write of an actor's transaction: what the actor wants happens once.

use crate::{
    house::{House, quiet, until},
    script::{Cast, Script, count_up, place, say},
};
use futures_util::{StreamExt, stream};
use godwit_core::domain::actor::{Act, Effects, EventKind, Outcome, What};
use serde_json::json;
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

/// Counts, answers, and sets a timer that counts as well.
fn busy() -> Arc<Script> {
    let kinds = [EventKind::Message, EventKind::Timer, EventKind::Sent];
    Arc::new(Script::new("busy").bot(&kinds, |event, desk| async move {
        let mut effects = Effects::default();
        match &event.what {
            What::Message { .. } => {
                count_up(&*desk, "messages", &mut effects).await;
                let timer = Act::SetTimer { name: "later".into(), at: desk.now(), payload: Vec::new() };
                effects.acts = vec![say(place(&event), "answer"), timer];
            }
            What::Timer { .. } => count_up(&*desk, "timers", &mut effects).await,
            _ => count_up(&*desk, "sent", &mut effects).await,
        }
        Outcome::Done((), effects)
    }))
}

/// One life that ends after so many writes, and the one after it; whether the first was cut.
async fn dies_after(writes: i64) -> bool {
    let house = House::new(Cast::of([busy()])).await;
    let (mut ada, bot) = (house.join("ada").await, house.bot("busy").await);
    let room = ada.group(&[&bot]).await;
    house.store.stop_after(writes);
    let send = json!({ "conversation": room, "client_id": ada.client_id(), "body": "go" });
    let sent = ada.ask("send", send.clone()).await;
    let begun = Instant::now();
    while !house.store.has_stopped() && begun.elapsed() < Duration::from_millis(2_500) {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let cut = house.store.has_stopped();
    drop(ada);
    let house = house.restart().await;
    let mut ada = house.join("ada").await;
    let again = ada.ask("send", send).await.unwrap();
    assert!(sent.is_err() || again["duplicate"] == true);
    let counts = async || {
        let mut counts = Vec::new();
        for key in ["messages", "timers", "sent"] {
            counts.push(house.kept("busy", key).await);
        }
        counts
    };
    until(async || counts().await.iter().all(|count| *count >= 1).then_some(())).await;
    ada.said(&room, &bot, 1).await;
    quiet().await;
    assert_eq!(counts().await, [1, 1, 1], "after {writes} writes");
    assert_eq!(ada.said(&room, &bot, 1).await, ["answer"], "after {writes} writes");
    assert_eq!(ada.history(&room).await.len(), 2, "after {writes} writes");
    cut
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn effects_happen_once_wherever_the_host_dies() {
    let lives = stream::iter(0..24).map(dies_after).buffer_unordered(6);
    let cut: Vec<_> = lives.collect().await;
    let (cut, whole): (Vec<bool>, Vec<bool>) = cut.into_iter().partition(|cut| *cut);
    assert!(cut.len() > 5 && !whole.is_empty(), "{} lives were cut, {} were not", cut.len(), whole.len());
}
