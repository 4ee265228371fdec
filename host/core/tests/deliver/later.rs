//! Notifications that are put off: once for each user and conversation, at their own hour, whatever happens meanwhile.

use crate::house::{Client, House, NOW, Rules};
use godwit_core::{
    domain::{
        filter::{Attention, Scene},
        message::Message,
        time::Ms,
    },
    limits,
    metrics::{DeferralEnd, Ended},
};
use serde_json::{Value, json};
use std::sync::atomic::Ordering;

const MINUTE_MS: u64 = 60_000;
const HOUR_MS: u64 = 60 * MINUTE_MS;
const DAY_MS: u64 = 24 * HOUR_MS;
/// 2026-10-25, 00:00 UTC: in Berlin the clocks go back at 01:00 UTC.
const BERLIN_CHANGES: u64 = 1_792_886_400_000;
/// 2026-11-01, 00:00 UTC: in New York the clocks go back at 06:00 UTC.
const NEW_YORK_CHANGES: u64 = BERLIN_CHANGES + 7 * DAY_MS;

/// What is to be added to UTC there and then, in hours; of the autumn of 2026 alone.
fn offset(zone: &str, at: u64) -> i64 {
    match zone {
        "Europe/Berlin" if at < BERLIN_CHANGES + HOUR_MS => 2,
        "Europe/Berlin" => 1,
        "America/New_York" if at < NEW_YORK_CHANGES + 6 * HOUR_MS => -4,
        "America/New_York" => -5,
        zone => panic!("nobody lives in {zone}"),
    }
}

fn hour(zone: &str, at: u64) -> u64 {
    at.saturating_add_signed(offset(zone, at) * HOUR_MS as i64) / HOUR_MS % 24
}

/// From ten in the evening to eight in the morning nobody is notified before eight.
fn is_night(zone: &str, at: u64) -> bool {
    !(8..22).contains(&hour(zone, at))
}

fn by_night(scene: &Scene, _: &Message, recipient: &godwit_core::domain::filter::Recipient) -> Attention {
    let Some(zone) = &recipient.user.time_zone else { return Attention::Normal };
    let now = scene.now.0;
    if !is_night(zone, now) {
        return Attention::Normal;
    }
    let mut at = now - now % HOUR_MS;
    while is_night(zone, at) {
        at += HOUR_MS;
    }
    Attention::NotifyLater(Ms(at))
}

fn ended(house: &House, end: DeferralEnd) -> u64 {
    house.metrics.deferrals_ended.get_or_create(&Ended { end }).get()
}

async fn night(midnight: u64, berlin_hour: u64, new_york_hour: u64) {
    const STEP_MS: u64 = 5 * MINUTE_MS;
    const MESSAGES: usize = 40;
    let rules = Rules { decide: Some(Box::new(by_night)), ..Rules::default() };
    let start = midnight - 2 * HOUR_MS;
    let mut house = House::at(Ms(start), rules, limits::Options::default()).await;
    let anna = house.person("anna", Some("Europe/Berlin")).await;
    let nina = house.person("nina", Some("America/New_York")).await;
    let sam = house.person("sam", None).await;
    let mut sender = house.connect(sam, json!({})).await;
    let zones = [(anna, "Europe/Berlin"), (nina, "America/New_York")];
    let mut places: Vec<Value> = Vec::new();
    for (user, _) in zones {
        places
            .push(sender.ask("direct", json!({ "user": user })).await.unwrap()["conversation"]["id"].clone());
    }
    let mut sent = [0; 2];
    for step in 0..16 * HOUR_MS / STEP_MS {
        let now = start + step * STEP_MS;
        for (index, (_, zone)) in zones.into_iter().enumerate() {
            if is_night(zone, now) && sent[index] < MESSAGES {
                sender.send(&places[index], "psst").await;
                sent[index] += 1;
            }
        }
        house.host.settle().await;
        if now == midnight + 4 * HOUR_MS {
            drop(sender);
            house = house.restart().await;
            sender = house.connect(sam, json!({})).await;
        }
        house.host.tend_deferred().await;
        house.clock.advance(STEP_MS);
    }
    assert_eq!(sent, [MESSAGES; 2]);
    let taken = house.taken.due.lock().clone();
    let told: Vec<_> =
        taken.iter().map(|(at, due)| (due.user.0, at.0 - midnight, due.seq.0, due.quiet)).collect();
    let seq = MESSAGES as u64;
    let expected = [(anna, berlin_hour * HOUR_MS, seq, false), (nina, new_york_hour * HOUR_MS, seq, false)];
    assert_eq!(told, expected, "one each, at eight where they are, for the newest message");
    assert_eq!((house.metrics.deferred.get(), ended(&house, DeferralEnd::Due)), (0, 2));
}

#[tokio::test]
async fn a_night_in_which_the_clocks_of_berlin_change_ends_for_everyone_at_their_own_hour() {
    night(BERLIN_CHANGES, 7, 12).await;
}

#[tokio::test]
async fn a_night_in_which_the_clocks_of_new_york_change_ends_for_everyone_at_their_own_hour() {
    night(NEW_YORK_CHANGES, 7, 13).await;
}

/// Ada and ben, whom a policy puts off until `until` whatever the time is.
async fn put_off(until: u64) -> (House, Client, Client, Value) {
    let decide = move |scene: &Scene, _: &_, _: &_| match scene.now.0 < until {
        true => Attention::NotifyLater(Ms(until)),
        false => Attention::Normal,
    };
    let rules = Rules { decide: Some(Box::new(decide)), ..Rules::default() };
    let house = House::new(rules, limits::Options::default()).await;
    let (mut ada, ben) = (house.join("ada").await, house.join("ben").await);
    let place = ada.ask("direct", json!({ "user": ben.id })).await.unwrap()["conversation"]["id"].clone();
    (house, ada, ben, place)
}

#[tokio::test]
async fn reading_cancels_and_what_comes_after_it_is_put_off_anew() {
    let (house, mut ada, mut ben, place) = put_off(NOW + HOUR_MS).await;
    ada.send(&place, "one").await;
    house.host.settle().await;
    assert_eq!(ben.push("message").await["quiet"], true, "live, without an alert");
    assert_eq!(house.metrics.deferred.get(), 1);
    ada.send(&place, "two").await;
    house.host.settle().await;
    assert_eq!(house.metrics.deferred.get(), 1, "it joins");
    let read = |seq: u64| json!({ "conversation": place, "seq": seq });
    ben.ask("read", read(1)).await.unwrap();
    house.host.settle().await;
    assert_eq!(house.metrics.deferred.get(), 1, "there is an unread one");
    ben.ask("read", read(2)).await.unwrap();
    house.host.settle().await;
    assert_eq!((house.metrics.deferred.get(), ended(&house, DeferralEnd::Cancelled)), (0, 1));
    ada.send(&place, "three").await;
    house.host.settle().await;
    house.clock.advance(HOUR_MS);
    house.host.tend_deferred().await;
    let taken = house.taken.due.lock().clone();
    assert_eq!(taken.iter().map(|(_, due)| due.seq.0).collect::<Vec<_>>(), [3]);
}

#[tokio::test]
async fn what_was_read_in_a_way_that_nobody_heard_of_is_found_when_its_time_has_come() {
    let (house, mut ada, mut ben, place) = put_off(NOW + HOUR_MS).await;
    ada.send(&place, "one").await;
    ada.send(&place, "two").await;
    house.host.settle().await;
    // Of the one that stays unread nothing is left to see.
    ben.ask("read", json!({ "conversation": place, "seq": 1 })).await.unwrap();
    ada.ask("delete", json!({ "conversation": place, "seq": 2, "for": "everyone" })).await.unwrap();
    house.clock.advance(HOUR_MS);
    house.host.tend_deferred().await;
    assert!(house.taken.due.lock().is_empty());
    assert_eq!((house.metrics.deferred.get(), ended(&house, DeferralEnd::Cancelled)), (0, 1));
}

#[tokio::test]
async fn nobody_is_put_off_for_more_than_seven_days() {
    let (house, mut ada, _ben, place) = put_off(u64::MAX).await;
    ada.send(&place, "one").await;
    house.host.settle().await;
    for _ in 0..6 {
        house.clock.advance(DAY_MS);
        house.host.tend_deferred().await;
        assert_eq!((house.metrics.deferred.get(), ended(&house, DeferralEnd::Expired)), (1, 0));
    }
    house.clock.advance(DAY_MS);
    house.host.tend_deferred().await;
    assert_eq!((house.metrics.deferred.get(), ended(&house, DeferralEnd::Expired)), (0, 1));
    assert!(house.taken.due.lock().is_empty());
}

#[tokio::test]
async fn what_is_not_taken_is_offered_again() {
    let (house, mut ada, ben, place) = put_off(NOW + HOUR_MS).await;
    house.taken.refusals.store(2, Ordering::SeqCst);
    ada.send(&place, "one").await;
    house.host.settle().await;
    house.clock.advance(HOUR_MS);
    for _ in 0..3 {
        assert!(house.taken.due.lock().is_empty());
        house.host.tend_deferred().await;
        house.clock.advance(5_000);
    }
    let taken = house.taken.due.lock().clone();
    assert_eq!(taken.iter().map(|(_, due)| due.user.0).collect::<Vec<_>>(), [ben.id]);
    assert_eq!(house.metrics.deferred.get(), 0);
}
