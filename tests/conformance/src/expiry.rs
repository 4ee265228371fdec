//! Rows that end by themselves, by a clock that is passed in.

use crate::{
    NOW, Subject, TestClock, absent, batch, bytes, commit_one, equals, get, here, keys, put, put_until, row,
    whole,
};
use godwit_domain::waist::{Outcome, Scan};

/// At its end, not before, no read shows the row; nobody has to remove it.
pub async fn a_row_is_hidden_from_its_end_on(subject: &mut impl Subject) {
    let clock = TestClock::at(NOW);
    let store = subject.open(clock.clone()).await;
    let puts = vec![put_until("a", "1", NOW.plus(10)), put("b", "2"), put_until("past", "3", NOW.minus(1))];
    assert_eq!(commit_one(&*store, batch(&here(), vec![], puts)).await, Outcome::Applied);
    assert_eq!(store.put_all(vec![(here(), put_until("c", "4", NOW.plus(10)))]).await, Ok(()));
    clock.advance(9);
    assert_eq!(get(&*store, &here(), "a").await.as_deref(), Some("1"));
    assert_eq!(keys(&*store, whole(&here())).await, ["a", "b", "c"]);
    clock.advance(1);
    assert_eq!(get(&*store, &here(), "a").await, None);
    assert_eq!(keys(&*store, whole(&here())).await, ["b"]);
    let many = ["a", "b", "c"].map(|key| (here(), bytes(key))).to_vec();
    assert_eq!(store.get_many(many).await, Ok(vec![None, Some(bytes("2")), None]));
}

/// What has ended does not stand in anyone's way.
pub async fn a_row_that_ended_is_absent_to_checks(subject: &mut impl Subject) {
    let clock = TestClock::at(NOW);
    let store = subject.open(clock.clone()).await;
    let first = batch(&here(), vec![], vec![put_until("a", "1", NOW.plus(10))]);
    assert_eq!(commit_one(&*store, first).await, Outcome::Applied);
    let claim = batch(&here(), vec![absent("a")], vec![put("a", "2")]);
    assert_eq!(commit_one(&*store, claim.clone()).await, Outcome::Conflict(vec![row("a", "1")]));
    clock.advance(10);
    let replace = batch(&here(), vec![equals("a", "1")], vec![put("a", "3")]);
    assert_eq!(commit_one(&*store, replace).await, Outcome::Conflict(vec![]));
    assert_eq!(commit_one(&*store, claim).await, Outcome::Applied);
    assert_eq!(get(&*store, &here(), "a").await.as_deref(), Some("2"));
}

/// A limit counts rows that are shown.
pub async fn a_row_that_ended_is_not_counted_by_a_limit(subject: &mut impl Subject) {
    let clock = TestClock::at(NOW);
    let store = subject.open(clock.clone()).await;
    let puts =
        vec![put_until("a", "", NOW.plus(1)), put_until("b", "", NOW.plus(1)), put("c", ""), put("d", "")];
    assert_eq!(commit_one(&*store, batch(&here(), vec![], puts)).await, Outcome::Applied);
    clock.advance(1);
    assert_eq!(keys(&*store, Scan { limit: 1, ..whole(&here()) }).await, ["c"]);
}

/// The end belongs to what was put last: later, or none.
pub async fn a_new_row_replaces_the_end_of_the_old_one(subject: &mut impl Subject) {
    let clock = TestClock::at(NOW);
    let store = subject.open(clock.clone()).await;
    let puts = ["a", "b", "c"].map(|key| put_until(key, "old", NOW.plus(10))).to_vec();
    assert_eq!(commit_one(&*store, batch(&here(), vec![], puts)).await, Outcome::Applied);
    let puts = vec![put("a", "new"), put_until("b", "new", NOW.plus(20))];
    assert_eq!(commit_one(&*store, batch(&here(), vec![], puts)).await, Outcome::Applied);
    clock.advance(10);
    assert_eq!(keys(&*store, whole(&here())).await, ["a", "b"]);
    clock.advance(10);
    assert_eq!(keys(&*store, whole(&here())).await, ["a"]);
}
