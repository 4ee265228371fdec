//! What is left after closing and opening again.

use crate::{
    NOW, Subject, TestClock, batch, bytes, commit_one, fill, get, here, keys, partition, put_until, whole,
};
use godwit_domain::waist::{Batch, Outcome, Raise, Space};

/// Rows, deletes and marks are there when the store is opened again.
pub async fn what_was_acknowledged_survives_reopening(subject: &mut impl Subject) {
    let clock = TestClock::at(NOW);
    let store = subject.open(clock.clone()).await;
    let log = partition(Space::Log, "log");
    fill(&*store, &here(), &[("a", "1"), ("b", "2")]).await;
    fill(&*store, &log, &[("a", "3")]).await;
    let delete = Batch { deletes: vec![bytes("a")], ..batch(&here(), vec![], vec![]) };
    assert_eq!(commit_one(&*store, delete).await, Outcome::Applied);
    let raise = Raise { partition: here(), key: bytes("m"), version: 7, value: bytes("seven") };
    assert_eq!(store.raise(vec![raise]).await, Ok(()));
    drop(store);

    let store = subject.open(clock).await;
    assert_eq!(keys(&*store, whole(&here())).await, ["b"]);
    assert_eq!(get(&*store, &here(), "b").await.as_deref(), Some("2"));
    assert_eq!(get(&*store, &log, "a").await.as_deref(), Some("3"));
    assert_eq!(store.mark(here(), bytes("m")).await, Ok(Some((7, bytes("seven")))));
}

/// An end that comes while the store is closed counts; a mark does not fall back.
pub async fn ends_and_versions_survive_reopening(subject: &mut impl Subject) {
    let clock = TestClock::at(NOW);
    let store = subject.open(clock.clone()).await;
    let puts = vec![put_until("early", "", NOW.plus(10)), put_until("late", "", NOW.plus(30))];
    assert_eq!(commit_one(&*store, batch(&here(), vec![], puts)).await, Outcome::Applied);
    let raise = |version| Raise { partition: here(), key: bytes("m"), version, value: bytes("v") };
    assert_eq!(store.raise(vec![raise(7)]).await, Ok(()));
    drop(store);
    clock.advance(20);

    let store = subject.open(clock.clone()).await;
    assert_eq!(keys(&*store, whole(&here())).await, ["late"]);
    clock.advance(10);
    assert_eq!(keys(&*store, whole(&here())).await, [""; 0]);
    assert_eq!(store.raise(vec![raise(6)]).await, Ok(()));
    assert_eq!(store.mark(here(), bytes("m")).await, Ok(Some((7, bytes("v")))));
}
