//! A plugin that is removed: what it wanted done is done, then nothing of it is left.

use crate::{
    house::{House, quiet, until, until_true},
    script::{Cast, Script, acts, place, say},
};
use godwit_core::domain::{
    actor::{Effects, EventKind, KvWrite, Outcome},
    tables::Work,
};
use std::sync::Arc;

/// Says thirty things at once, which takes some seconds.
fn talker() -> Arc<Script> {
    Arc::new(Script::new("talker").bot(&[EventKind::Message], |event, _| async move {
        let Outcome::Done((), effects) =
            acts((0..30).map(|number| say(place(&event), number.to_string())).collect())
        else {
            unreachable!()
        };
        let write = KvWrite { key: "said".into(), value: Some(b"1".to_vec()), ttl_s: None };
        Outcome::Done((), Effects { writes: vec![write], ..effects })
    }))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_removed_plugin_wanted_is_done_and_then_its_rows_are_gone() {
    let script = talker();
    let house = House::new(Cast::of([script.clone()])).await;
    let (mut ada, bot) = (house.join("ada").await, house.bot("talker").await);
    let room = ada.group(&[&bot]).await;
    ada.say(&room, "go").await;
    until_true(|| script.heard().len() == 1).await;
    house.cast.remove("talker");
    ada.say(&room, "unheard").await;
    // In the midst of it the host dies; the next one goes on.
    drop(ada);
    let house = house.restart().await;
    let mut ada = house.join("ada").await;
    assert_eq!(ada.said(&room, &bot, 30).await.len(), 30);
    until(async || house.tables.workers().await.unwrap().is_empty().then_some(())).await;
    assert_eq!(house.kept("talker", "said").await, 0);
    assert_eq!(script.calls(), 1);
    // One of the same name begins anew, as the same user.
    house.cast.install(&script);
    assert_eq!(house.bot("talker").await, bot);
    quiet().await;
    assert_eq!(script.calls(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_discarded_is_not_done() {
    let script = talker();
    let house = House::new(Cast::of([script.clone()])).await;
    let (mut ada, bot) = (house.join("ada").await, house.bot("talker").await);
    let room = ada.group(&[&bot]).await;
    ada.say(&room, "go").await;
    until_true(|| script.heard().len() == 1).await;
    house.cast.remove("talker");
    house.host.discard_errands("talker");
    until(async || house.tables.workers().await.unwrap().is_empty().then_some(())).await;
    let said = ada.said(&room, &bot, 0).await.len();
    assert!(said < 30, "{said} of 30 things were said");
    quiet().await;
    assert_eq!(ada.said(&room, &bot, 0).await.len(), said);
}
