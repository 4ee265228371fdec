//! Notifications that were put off: one for each user and conversation, and never one that its time does not find.

use crate::common::{House, NOW, Stopping, user};
use godwit_domain::{
    id::{ConversationId, Seq},
    notification::Deferred,
    tables::Deferrals,
    time::Ms,
};

const HERE: ConversationId = ConversationId::from_u128(7);
const THERE: ConversationId = ConversationId::from_u128(8);

pub fn deferred(of: u128, conversation: ConversationId, in_ms: u64) -> Deferred {
    Deferred { user: user(of), conversation, due_at: NOW.plus(in_ms), since: NOW, seq: Seq(3) }
}

fn timer(deferred: &Deferred) -> (Ms, godwit_domain::id::UserId, ConversationId) {
    (deferred.due_at, deferred.user, deferred.conversation)
}

#[tokio::test]
async fn what_is_put_off_is_found_by_its_user_and_by_its_time() {
    let house = House::new();
    let tables = &house.tables;
    let all = [deferred(1, HERE, 20), deferred(1, THERE, 10), deferred(2, HERE, 10)];
    tables.defer(&all).await.unwrap();
    let asked = [(user(2), HERE), (user(2), THERE), (user(1), THERE), (user(1), HERE)];
    let found = tables.deferred(&asked).await.unwrap();
    assert_eq!(found, [Some(all[2]), None, Some(all[1]), Some(all[0])]);
    assert_eq!(tables.deferral_timers(NOW.plus(9), 10).await, Ok(vec![]));
    let first = [timer(&all[1]), timer(&all[2])];
    assert_eq!(tables.deferral_timers(NOW.plus(19), 10).await, Ok(first.to_vec()));
    assert_eq!(tables.deferral_timers(NOW.plus(20), 2).await, Ok(first.to_vec()));
    assert_eq!(tables.deferral_timers_count().await, Ok(3));

    // Moved: the timer before says nothing any more, and is removed by itself.
    let moved = Deferred { due_at: NOW.plus(30), ..all[1] };
    tables.defer(&[moved]).await.unwrap();
    assert_eq!(tables.deferred(&[(user(1), THERE)]).await, Ok(vec![Some(moved)]));
    tables.drop_deferral_timers(&[timer(&all[1])]).await.unwrap();
    for _ in 0..2 {
        tables.undefer(&[all[0], all[2]]).await.unwrap();
    }
    assert_eq!(tables.deferral_timers(Ms(u64::MAX), 10).await, Ok(vec![timer(&moved)]));
    assert_eq!(tables.deferred(&asked).await, Ok(vec![None, None, Some(moved), None]));
}

#[tokio::test]
async fn many_timers_are_counted() {
    let house = House::new();
    let many: Vec<_> = (0..2_100).map(|of| deferred(of, HERE, 1)).collect();
    house.tables.defer(&many).await.unwrap();
    assert_eq!(house.tables.deferral_timers_count().await, Ok(2_100));
    house.tables.undefer(&many).await.unwrap();
    assert_eq!(house.tables.deferral_timers_count().await, Ok(0));
}

/// Every step that puts off, moves or forgets, cut after each of its writes.
#[tokio::test]
async fn a_crash_never_leaves_a_notification_that_its_time_does_not_find() {
    let before = [deferred(1, HERE, 10), deferred(2, HERE, 20)];
    let after = before.map(|one| Deferred { due_at: one.due_at.plus(100), ..one });
    for step in 0..3 {
        for writes in 0.. {
            let house = House::new();
            let tables = &house.tables;
            if step > 0 {
                tables.defer(&before).await.unwrap();
            }
            let store = Stopping::after(writes, house.store.clone());
            let crashing = house.by_way_of(store.clone());
            let done = match step {
                0 => crashing.defer(&before).await,
                1 => crashing.defer(&after).await,
                _ => crashing.undefer(&before).await,
            };
            assert_eq!(done.is_ok(), !store.has_stopped(), "step {step} after {writes} writes");
            let timers = tables.deferral_timers(Ms(u64::MAX), 10).await.unwrap();
            let asked = before.map(|one| (one.user, one.conversation));
            for found in tables.deferred(&asked).await.unwrap().into_iter().flatten() {
                assert!(timers.contains(&timer(&found)), "step {step} after {writes} writes: {found:?}");
            }
            if !store.has_stopped() {
                break;
            }
        }
    }
}
