//! Drafts on hold: stored so that a crash between any two writes leaves none that cannot be found.

use crate::common::{House, NOW, Stopping, client, user};
use godwit_domain::{
    held::{Held, Rejection, Settled, Why},
    id::ConversationId,
    message::Content,
    tables::{HeldDrafts, Written},
    time::Ms,
};

const HERE: ConversationId = ConversationId::from_u128(7);
const DAY_MS: u64 = 24 * 60 * 60 * 1000;

pub fn held(place: u64, sender: u128, why: Why) -> Held {
    Held {
        conversation: HERE,
        sender: user(sender),
        client_id: client(place),
        content: Content { mentions: vec![user(2)], ..Content::text("hello") },
        content_hash: 77,
        why,
        reason: "wait".into(),
        after: (place > 1).then(|| client(place - 1)),
        place,
        since: NOW,
        until: NOW.plus(1000 + place),
        retry_at: NOW.plus(place),
    }
}

pub fn rejection() -> Rejection {
    let field = Some("language".to_owned());
    Rejection { content_hash: 77, code: "moderated".into(), field, text: "mind your words".into() }
}

fn settled(held: &Held, rejection: Option<Rejection>) -> Settled {
    Settled { sender: held.sender, client_id: held.client_id, rejection }
}

#[tokio::test]
async fn what_is_held_is_found_by_its_conversation_its_sender_and_its_time() {
    let house = House::new();
    let tables = &house.tables;
    // Client ids sort differently from places.
    let [first, second] = [held(1, 9, Why::Decided), held(2, 3, Why::Failed)];
    assert_eq!(tables.hold(&[first.clone(), second.clone()]).await, Ok(Written::Yes));
    assert_eq!(tables.held(HERE).await, Ok(vec![first.clone(), second.clone()]));
    assert_eq!(tables.held(ConversationId::from_u128(8)).await, Ok(vec![]));
    assert_eq!(tables.held_by(user(3)).await, Ok(vec![HERE]));
    assert_eq!(tables.held_by(user(4)).await, Ok(vec![]));
    // The first that is due: what failed is tried again before its time is over.
    assert_eq!(tables.timers(NOW.plus(1), 10).await, Ok(vec![]));
    assert_eq!(tables.timers(NOW.plus(2), 10).await, Ok(vec![(NOW.plus(2), HERE)]));

    assert_eq!(tables.hold(&[held(3, 3, Why::Behind), first.clone()]).await, Ok(Written::No));
    assert_eq!(tables.held(HERE).await.unwrap().len(), 2, "all or none");
    let anew = Held { why: Why::Decided, reason: "a person must look".into(), ..second };
    assert_eq!(tables.hold_anew(&anew).await, Ok(()));
    assert_eq!(tables.held(HERE).await, Ok(vec![first, anew.clone()]));
    // What is to be done about it now has its time as well.
    let timers = tables.timers(Ms(u64::MAX), 10).await.unwrap();
    assert_eq!(timers.last(), Some(&(anew.until, HERE)), "{timers:?}");
}

#[tokio::test]
async fn what_is_settled_is_held_no_more_and_a_rejection_lives_as_long_as_a_client_id() {
    let house = House::new();
    let tables = &house.tables;
    let [first, second] = [held(1, 1, Why::Decided), held(2, 1, Why::Behind)];
    assert_eq!(tables.hold(&[first.clone(), second.clone()]).await, Ok(Written::Yes));
    tables.settle(HERE, &[settled(&first, None)], NOW).await.unwrap();
    assert_eq!(tables.held(HERE).await, Ok(vec![second.clone()]));
    assert_eq!(tables.held_by(user(1)).await, Ok(vec![HERE]), "there is another one");
    assert_eq!(tables.rejection(HERE, user(1), first.client_id).await, Ok(None));

    let rejected = [settled(&second, Some(rejection()))];
    for _ in 0..2 {
        tables.settle(HERE, &rejected, NOW).await.unwrap();
    }
    assert_eq!(tables.held(HERE).await, Ok(vec![]));
    assert_eq!(tables.held_by(user(1)).await, Ok(vec![]));
    assert_eq!(tables.rejection(HERE, user(1), second.client_id).await, Ok(Some(rejection())));
    assert_eq!(tables.rejection(HERE, user(2), second.client_id).await, Ok(None));
    assert_eq!(tables.rejected(HERE).await, Ok(vec![(user(1), second.client_id)]));
    house.clock.advance(8 * DAY_MS - 1);
    assert_eq!(tables.rejected(HERE).await.unwrap().len(), 1);
    house.clock.advance(1);
    assert_eq!(tables.rejection(HERE, user(1), second.client_id).await, Ok(None));
    assert_eq!(tables.rejected(HERE).await, Ok(vec![]));
}

#[tokio::test]
async fn timers_are_read_in_their_order_and_moved() {
    let house = House::new();
    let tables = &house.tables;
    let there = ConversationId::from_u128(8);
    for (conversation, at) in [(HERE, 20), (there, 10), (HERE, 10), (there, 30)] {
        tables.move_timer(conversation, None, Some(Ms(at))).await.unwrap();
    }
    assert_eq!(tables.timers(Ms(20), 2).await, Ok(vec![(Ms(10), HERE), (Ms(10), there)]));
    tables.move_timer(HERE, Some(Ms(10)), Some(Ms(40))).await.unwrap();
    tables.move_timer(there, Some(Ms(10)), None).await.unwrap();
    tables.move_timer(HERE, Some(Ms(20)), Some(Ms(20))).await.unwrap();
    let left = vec![(Ms(20), HERE), (Ms(30), there), (Ms(40), HERE)];
    assert_eq!(tables.timers(Ms(u64::MAX), 10).await, Ok(left));
}

#[tokio::test]
async fn a_crash_never_leaves_a_held_draft_that_neither_its_sender_nor_its_time_finds() {
    let drafts = [held(1, 1, Why::Decided), held(2, 1, Why::Failed), held(3, 2, Why::Decided)];
    for writes in 0.. {
        let house = House::new();
        let store = Stopping::after(writes, house.store.clone());
        let held = house.by_way_of(store.clone()).hold(&drafts).await;
        let (tables, found) = (&house.tables, house.tables.held(HERE).await.unwrap());
        assert_eq!(held.is_ok(), !store.has_stopped(), "after {writes} writes");
        assert_eq!(found.len(), if held.is_ok() { 3 } else { 0 }, "after {writes} writes: all or none");
        if !store.has_stopped() {
            assert_eq!(tables.timers(Ms(u64::MAX), 10).await.unwrap().len(), 1);
            for sender in [1, 2] {
                assert_eq!(tables.held_by(user(sender)).await, Ok(vec![HERE]));
            }
            break;
        }
        // What a crash left does not stand in the way of a retry.
        assert_eq!(tables.hold(&drafts).await, Ok(Written::Yes), "after {writes} writes");
    }
}

#[tokio::test]
async fn a_crash_never_leaves_a_draft_both_held_and_rejected_nor_neither() {
    let drafts = [held(1, 1, Why::Decided), held(2, 2, Why::Decided)];
    let over: Vec<_> = drafts.iter().map(|draft| settled(draft, Some(rejection()))).collect();
    for writes in 0.. {
        let house = House::new();
        let tables = &house.tables;
        assert_eq!(tables.hold(&drafts).await, Ok(Written::Yes));
        let store = Stopping::after(writes, house.store.clone());
        let done = house.by_way_of(store.clone()).settle(HERE, &over, NOW).await;
        assert_eq!(done.is_ok(), !store.has_stopped(), "after {writes} writes");
        let (held, rejected) = (tables.held(HERE).await.unwrap(), tables.rejected(HERE).await.unwrap());
        let expected = if writes == 0 { (2, 0) } else { (0, 2) };
        assert_eq!((held.len(), rejected.len()), expected, "after {writes} writes");
        for draft in &held {
            assert_eq!(tables.held_by(draft.sender).await, Ok(vec![HERE]));
        }
        if !store.has_stopped() {
            break;
        }
    }
}
