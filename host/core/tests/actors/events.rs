//! What bots hear, in which order, and that what they do is done once.

use crate::{
    house::{House, quiet, until_true},
    script::{Cast, Script, acts, count_up, nothing, place, say},
};
use godwit_core::domain::actor::{Act, Effects, EventKind, Named, Outcome, What};
use serde_json::json;
use std::sync::Arc;

const LOG: &[EventKind] = &[
    EventKind::Message,
    EventKind::Mentioned,
    EventKind::Edited,
    EventKind::Deleted,
    EventKind::Reaction,
    EventKind::Joined,
    EventKind::Left,
];

/// Says again what was said.
fn echo(id: &str) -> Arc<Script> {
    Arc::new(Script::new(id).bot(&[EventKind::Message, EventKind::Sent], |event, _| async move {
        match &event.what {
            What::Message { message, .. } => {
                acts(vec![say(place(&event), format!("you said {}", message.content.body))])
            }
            _ => nothing(),
        }
    }))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bot_answers_where_it_is_a_member_and_learns_what_became_of_it() {
    let script = echo("echo");
    let house = House::new(Cast::of([script.clone()])).await;
    let (mut ada, bot) = (house.join("ada").await, house.bot("echo").await);
    let (with, without) = (ada.group(&[&bot]).await, ada.group(&[]).await);
    ada.say(&without, "unheard").await;
    for body in ["one", "two"] {
        ada.say(&with, body).await;
    }
    assert_eq!(ada.said(&with, &bot, 2).await, ["you said one", "you said two"]);
    until_true(|| script.heard().len() == 4).await;
    quiet().await;
    let heard = script.heard();
    assert_eq!(heard.iter().filter(|words| words.starts_with("sent ")).count(), 2, "{heard:?}");
    assert!(!heard.iter().any(|words| words.contains("unheard") || words.contains("by echo")), "{heard:?}");
    let answer = ada.history(&with).await.into_iter().find(|message| message["sender"] == *bot).unwrap();
    assert_eq!(answer["via"], "echo");
    assert!(ada.history(&without).await.len() == 1);
}

/// A plugin that was told at once that something may have happened read the conversation as it was known to stand, and
/// was told no more when storage had said that it did happen.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bot_hears_what_turns_out_to_have_been_written() {
    let house = House::new(Cast::of([echo("echo")])).await;
    let (mut ada, bot) = (house.join("ada").await, house.bot("echo").await);
    let room = ada.group(&[&bot]).await;
    house.store.doubt_next();
    let payload = json!({ "conversation": room, "client_id": ada.client_id(), "body": "one" });
    let refused = ada.ask("send", payload).await.unwrap_err();
    assert_eq!(refused["code"], "unknown_outcome", "{refused}");
    assert_eq!(ada.said(&room, &bot, 1).await, ["you said one"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bot_hears_everything_in_the_order_in_which_it_happened() {
    let script = Arc::new(Script::new("ear").bot(LOG, |_, _| async { nothing() }));
    let house = House::new(Cast::of([script.clone()])).await;
    let (mut ada, ben, bot) = (house.join("ada").await, house.join("ben").await, house.bot("ear").await);
    let room = ada.group(&[&bot]).await;
    let at = |seq: u64| json!({ "conversation": room, "seq": seq });
    ada.say(&room, "one").await;
    let edit = json!({ "conversation": room, "seq": 1, "body": "uno" });
    // Each is heard before the next happens: what a message says is told as it stands then.
    until_true(|| script.heard().len() == 3).await;
    ada.ask("edit", edit).await.unwrap();
    until_true(|| script.heard().len() == 4).await;
    let react = json!({ "conversation": room, "seq": 1, "emoji": "+1", "on": true });
    ada.ask("react", react).await.unwrap();
    ada.ask("invite", json!({ "conversation": room, "users": [ben.id] })).await.unwrap();
    let client_id = ada.client_id();
    let mention = json!({ "conversation": room, "client_id": client_id, "body": "hey", "mentions": [bot] });
    ada.ask("send", mention).await.unwrap();
    until_true(|| script.heard().len() == 7).await;
    let mut delete = at(2);
    delete["for"] = "everyone".into();
    ada.ask("delete", delete).await.unwrap();
    ada.ask("remove", json!({ "conversation": room, "user": ben.id })).await.unwrap();
    until_true(|| script.heard().len() == 9).await;
    let told = [
        "joined",
        "joined",
        "message one by ada",
        "edited 1 to uno",
        "reaction +1 true to 1",
        "joined",
        "mentioned hey by ada",
        "deleted 2",
        "left",
    ];
    assert_eq!(script.heard(), told);
    // Its own leave is the last that it hears.
    ada.ask("remove", json!({ "conversation": room, "user": bot })).await.unwrap();
    ada.say(&room, "gone").await;
    until_true(|| script.heard().len() == 10).await;
    quiet().await;
    assert_eq!(script.heard().len(), 10, "{:?}", script.heard());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_plugin_starts_at_the_head_and_one_that_may_hears_where_it_is_no_member() {
    let cast = Cast::of([]);
    let house = House::new(cast.clone()).await;
    let mut ada = house.join("ada").await;
    let room = ada.group(&[]).await;
    ada.say(&room, "before").await;
    house.clock.pass(50);
    let script = Script::new("ear").granted("all-conversations").bot(LOG, |_, _| async { nothing() });
    let script = Arc::new(script);
    cast.install(&script);
    house.bot("ear").await;
    ada.say(&room, "after").await;
    until_true(|| !script.heard().is_empty()).await;
    let ben = house.join("ben").await;
    ada.ask("send", json!({ "to": ben.id, "client_id": ada.client_id(), "body": "for ben" })).await.unwrap();
    quiet().await;
    assert_eq!(script.heard(), ["message after by ada"], "direct ones only where that is granted");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn conversations_that_count_in_one_key_lose_nothing() {
    const ROOMS: usize = 6;
    const SAID: usize = 5;
    let script = Arc::new(Script::new("counter").bot(&[EventKind::Message], |_, desk| async move {
        let mut effects = Effects::default();
        count_up(&*desk, "count", &mut effects).await;
        Outcome::Done((), effects)
    }));
    let house = House::new(Cast::of([script.clone()])).await;
    let (mut ada, bot) = (house.join("ada").await, house.bot("counter").await);
    let mut rooms = Vec::new();
    for _ in 0..ROOMS {
        rooms.push(ada.group(&[&bot]).await);
    }
    for number in 0..SAID {
        for room in &rooms {
            ada.say(room, &number.to_string()).await;
        }
    }
    let all = (ROOMS * SAID) as u64;
    crate::house::until(async || (house.kept("counter", "count").await >= all).then_some(())).await;
    quiet().await;
    assert_eq!(house.kept("counter", "count").await, all);
    assert!(u64::from(script.calls()) >= all);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_bot_does_to_its_own_message_comes_after_it() {
    let script = Script::new("editor").bot(&[EventKind::Message], |event, _| async move {
        let reference = godwit_core::domain::actor::reference(&event.id, 0);
        acts(vec![
            say(place(&event), "draft"),
            Act::Edit(Named::Sent(reference.clone()), "final".into()),
            Act::React { message: Named::Sent(reference), emoji: "!".into(), on: true },
        ])
    });
    let house = House::new(Cast::of([Arc::new(script)])).await;
    let (mut ada, bot) = (house.join("ada").await, house.bot("editor").await);
    let room = ada.group(&[&bot]).await;
    ada.say(&room, "go").await;
    let done = crate::house::until(async || {
        let history = ada.history(&room).await;
        history.into_iter().find(|message| message["reactions"]["!"] == 1)
    });
    let message = done.await;
    assert_eq!((message["body"].as_str(), message["sender"].as_str()), (Some("final"), Some(&*bot)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bots_that_answer_each_other_come_to_an_end() {
    let (left, right) = (echo("left"), echo("right"));
    let house = House::new(Cast::of([left.clone(), right.clone()])).await;
    let mut ada = house.join("ada").await;
    let (one, other) = (house.bot("left").await, house.bot("right").await);
    let room = ada.group(&[&one, &other]).await;
    ada.say(&room, "begin").await;
    // Both answer ada, then each the other: nine from each, the last of which nobody answers.
    ada.said(&room, &one, 9).await;
    ada.said(&room, &other, 9).await;
    quiet().await;
    assert_eq!(ada.history(&room).await.len(), 1 + 18);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_send_is_told_and_becomes_a_dead_letter_without_its_text() {
    let script = Script::new("loud").bot(&[EventKind::Message, EventKind::Sent], |event, _| async move {
        match &event.what {
            What::Message { .. } => acts(vec![say(place(&event), "x".repeat(100_000))]),
            _ => nothing(),
        }
    });
    let script = Arc::new(script);
    let house = House::new(Cast::of([script.clone()])).await;
    let (mut ada, bot) = (house.join("ada").await, house.bot("loud").await);
    let room = ada.group(&[&bot]).await;
    ada.say(&room, "go").await;
    until_true(|| script.heard().len() == 2).await;
    assert!(script.heard()[1].contains("too_large"), "{:?}", script.heard());
    let page = serde_json::to_value(house.host.letters("loud", None, 10).await.unwrap()).unwrap();
    let letter = &page["letters"][0];
    assert_eq!(
        (letter["cause"]["errand"]["act"].as_str(), letter["conversation"] == *room),
        (Some("send"), true)
    );
    assert!(!page.to_string().contains("xxx"));
    let refused = house.host.redrive("loud", letter["n"].as_u64().unwrap()).await.unwrap_err();
    assert_eq!(refused.code.as_str(), "conflict");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bot_sends_no_faster_than_it_may() {
    let script = Script::new("flood").bot(&[EventKind::Message], |event, _| async move {
        let flood = (0..30).map(|number| say(place(&event), number.to_string()));
        acts(flood.collect())
    });
    let house = House::new(Cast::of([Arc::new(script)])).await;
    let (mut ada, bot) = (house.join("ada").await, house.bot("flood").await);
    let room = ada.group(&[&bot]).await;
    ada.say(&room, "go").await;
    let said = ada.said(&room, &bot, 30).await;
    assert_eq!(said, (0..30).map(|number| number.to_string()).collect::<Vec<_>>(), "in order, all of them");
    let history = ada.history(&room).await;
    let sent_at = |index: usize| history[index]["sent_at"].as_u64().unwrap();
    assert!(sent_at(30) - sent_at(1) >= 1_800, "30 messages in {} ms", sent_at(30) - sent_at(1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_without_actors_writes_nothing_for_them() {
    let house = House::new(Cast::of([])).await;
    let mut ada = house.join("ada").await;
    let room = ada.group(&[]).await;
    ada.say(&room, "one").await;
    quiet().await;
    use godwit_core::domain::tables::Work;
    assert!(house.tables.dirty(1_024).await.unwrap().is_empty());
    assert!(house.tables.workers().await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_conversation_is_clean_a_minute_after_everything_was_heard() {
    use godwit_core::domain::tables::Work;
    let script = Arc::new(Script::new("ear").bot(&[EventKind::Message], |_, _| async { nothing() }));
    let house = House::new(Cast::of([script.clone()])).await;
    let (mut ada, bot) = (house.join("ada").await, house.bot("ear").await);
    let room = ada.group(&[&bot]).await;
    ada.say(&room, "one").await;
    until_true(|| script.heard().len() == 1).await;
    assert_eq!(house.tables.dirty(1_024).await.unwrap().len(), 1);
    house.clock.pass(61_000);
    let clean = async || house.tables.dirty(1_024).await.unwrap().is_empty().then_some(());
    crate::house::until(clean).await;
    ada.say(&room, "two").await;
    until_true(|| script.heard().len() == 2).await;
    assert_eq!(house.tables.dirty(1_024).await.unwrap().len(), 1, "and dirty again");
}
