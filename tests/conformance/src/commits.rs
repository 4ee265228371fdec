//! Commits: checks, outcomes, order, concurrency; and `put_all`.

use crate::{
    NOW, Subject, TestClock, absent, batch, bytes, commit_one, equals, fill, get, here, keys, open,
    partition, put, put_until, row, whole,
};
use godwit_domain::waist::{Batch, Consistency, Outcome, Space, Store};
use std::sync::Arc;

/// Puts and deletes of a batch happen together.
pub async fn a_batch_is_applied_whole(subject: &mut impl Subject) {
    let store = open(subject).await;
    fill(&*store, &here(), &[("old", "1"), ("kept", "2")]).await;
    let batch = Batch {
        deletes: vec![bytes("old")],
        ..batch(&here(), vec![equals("old", "1"), absent("new")], vec![put("new", "3"), put("newer", "4")])
    };
    assert_eq!(commit_one(&*store, batch).await, Outcome::Applied);
    assert_eq!(keys(&*store, whole(&here())).await, ["kept", "new", "newer"]);
}

/// A batch whose check fails leaves everything as it was and shows the row that stands there.
pub async fn a_conflict_writes_nothing_and_shows_what_stands(subject: &mut impl Subject) {
    let store = open(subject).await;
    fill(&*store, &here(), &[("a", "1")]).await;
    for check in [absent("a"), equals("a", "2")] {
        let batch =
            Batch { deletes: vec![bytes("a")], ..batch(&here(), vec![check.clone()], vec![put("b", "2")]) };
        let outcome = commit_one(&*store, batch).await;
        assert_eq!(outcome, Outcome::Conflict(vec![row("a", "1")]), "{check:?}");
        assert_eq!(keys(&*store, whole(&here())).await, ["a"], "{check:?}");
    }
}

/// Where a row is missing there is none to show.
pub async fn a_conflict_leaves_out_rows_that_do_not_exist(subject: &mut impl Subject) {
    let store = open(subject).await;
    fill(&*store, &here(), &[("b", "1")]).await;
    let checks = vec![equals("a", "1"), absent("b")];
    let outcome = commit_one(&*store, batch(&here(), checks, vec![put("c", "")])).await;
    assert_eq!(outcome, Outcome::Conflict(vec![row("b", "1")]));
}

/// One failing check among others that hold is enough, wherever it stands.
pub async fn every_check_must_hold(subject: &mut impl Subject) {
    let store = open(subject).await;
    fill(&*store, &here(), &[("a", "1"), ("b", "2")]).await;
    for checks in [
        vec![equals("a", "other"), equals("b", "2")],
        vec![equals("a", "1"), equals("b", "other")],
        vec![equals("a", "1"), equals("b", "2"), absent("a")],
    ] {
        let outcome = commit_one(&*store, batch(&here(), checks.clone(), vec![put("c", "")])).await;
        assert!(matches!(outcome, Outcome::Conflict(_)), "{checks:?} gave {outcome:?}");
    }
    let checks = vec![equals("a", "1"), equals("b", "2"), absent("c")];
    assert_eq!(commit_one(&*store, batch(&here(), checks, vec![put("c", "")])).await, Outcome::Applied);
}

/// A check guards the batch, not only the rows that it names.
pub async fn checks_may_be_on_keys_that_are_not_written(subject: &mut impl Subject) {
    let store = open(subject).await;
    let outcome = commit_one(&*store, batch(&here(), vec![equals("guard", "1")], vec![put("a", "1")])).await;
    assert_eq!(outcome, Outcome::Conflict(vec![]));
    fill(&*store, &here(), &[("guard", "1")]).await;
    let outcome = commit_one(&*store, batch(&here(), vec![equals("guard", "1")], vec![put("a", "1")])).await;
    assert_eq!(outcome, Outcome::Applied);
}

/// A value that begins alike is another value.
pub async fn equals_compares_the_whole_value(subject: &mut impl Subject) {
    let store = open(subject).await;
    fill(&*store, &here(), &[("a", "12")]).await;
    for other in ["", "1", "123", "13"] {
        let outcome =
            commit_one(&*store, batch(&here(), vec![equals("a", other)], vec![put("a", "x")])).await;
        assert_eq!(outcome, Outcome::Conflict(vec![row("a", "12")]), "{other:?}");
    }
}

/// A batch that conflicts does not hold back the others of its call, and outcomes stand in the order of batches.
pub async fn batches_of_a_call_are_applied_by_themselves(subject: &mut impl Subject) {
    let store = open(subject).await;
    let place = |name| partition(Space::Log, name);
    fill(&*store, &place("b"), &[("a", "taken")]).await;
    let claim = |name| batch(&place(name), vec![absent("a")], vec![put("a", "mine")]);
    let outcomes = store.commit(vec![claim("c"), claim("b"), claim("a")]).await;
    assert_eq!(outcomes, [Outcome::Applied, Outcome::Conflict(vec![row("a", "taken")]), Outcome::Applied]);
    for (name, value) in [("a", "mine"), ("b", "taken"), ("c", "mine")] {
        assert_eq!(get(&*store, &place(name), "a").await.as_deref(), Some(value), "{name}");
    }
}

/// Batches of one partition within a call are applied in their order.
pub async fn batches_of_one_partition_see_those_before_them(subject: &mut impl Subject) {
    let store = open(subject).await;
    let step = |before: &str, after: &str| batch(&here(), vec![equals("a", before)], vec![put("a", after)]);
    let outcomes = store
        .commit(vec![
            batch(&here(), vec![absent("a")], vec![put("a", "1")]),
            step("1", "2"),
            step("1", "lost"),
            step("2", "3"),
            Batch { deletes: vec![bytes("a")], ..batch(&here(), vec![equals("a", "3")], vec![]) },
            batch(&here(), vec![absent("a")], vec![put("a", "4")]),
        ])
        .await;
    let mut expected = vec![Outcome::Applied; 6];
    expected[2] = Outcome::Conflict(vec![row("a", "2")]);
    assert_eq!(outcomes, expected);
    assert_eq!(get(&*store, &here(), "a").await.as_deref(), Some("4"));
}

/// A batch that conflicts on the row that it would write leaves no trace, also where others of its call are applied.
pub async fn a_conflict_beside_what_is_applied_leaves_its_row_as_it_stood(subject: &mut impl Subject) {
    let clock = TestClock::at(NOW);
    let store = subject.open(clock.clone()).await;
    let place = |name| partition(Space::Log, name);
    let ending = vec![(place("stood"), put_until("a", "1", NOW.plus(10)))];
    assert_eq!(store.put_all(ending).await, Ok(()));
    let step =
        |name| batch(&place(name), vec![equals("a", "other")], vec![put("a", "mine"), put("b", "mine")]);
    let applied = |value| batch(&place("applied"), vec![], vec![put("a", value)]);
    let outcomes = store.commit(vec![step("stood"), step("absent"), applied("1")]).await;
    assert_eq!(
        outcomes,
        [Outcome::Conflict(vec![row("a", "1")]), Outcome::Conflict(vec![]), Outcome::Applied]
    );
    assert_eq!(get(&*store, &place("stood"), "a").await.as_deref(), Some("1"));
    assert_eq!(keys(&*store, whole(&place("absent"))).await, Vec::<String>::new());
    clock.advance(10);
    assert_eq!(get(&*store, &place("stood"), "a").await, None, "its end stayed");
    let outcomes = store.commit(vec![step("stood"), applied("2")]).await;
    assert_eq!(outcomes, [Outcome::Conflict(vec![]), Outcome::Applied]);
    assert_eq!(keys(&*store, whole(&place("stood"))).await, Vec::<String>::new());
}

/// Nothing asked, nothing answered.
pub async fn a_call_without_batches_has_no_outcomes(subject: &mut impl Subject) {
    let store = open(subject).await;
    assert_eq!(store.commit(vec![]).await, []);
    assert_eq!(store.raise(vec![]).await, Ok(()));
    assert_eq!(store.put_all(vec![]).await, Ok(()));
}

/// However a backend divides a large call, its order and its outcomes stay.
pub async fn a_large_call_keeps_its_order(subject: &mut impl Subject) {
    const BATCHES: usize = 20_000;
    let store = open(subject).await;
    let place = |index: usize| partition(Space::Log, &format!("{}", index % 7));
    let value = |index: usize| format!("{index}");
    // Each follows the one before it in its partition; every 100th is wrong about that.
    let chain = |index: usize| {
        let check = match index {
            _ if index % 100 == 99 => equals("a", "wrong"),
            _ if index < 7 => absent("a"),
            _ => equals("a", &value(last_right(index))),
        };
        batch(&place(index), vec![check], vec![put("a", &value(index))])
    };
    fn last_right(index: usize) -> usize {
        let before = index - 7;
        if before % 100 == 99 { last_right(before) } else { before }
    }
    let outcomes = store.commit((0..BATCHES).map(chain).collect()).await;
    assert_eq!(outcomes.len(), BATCHES);
    for (index, outcome) in outcomes.iter().enumerate() {
        let conflicts = matches!(outcome, Outcome::Conflict(_));
        assert!(conflicts == (index % 100 == 99), "{index}: {outcome:?}");
        assert!(conflicts || *outcome == Outcome::Applied, "{index}: {outcome:?}");
    }
}

/// Many tasks that read, add one and compare: the sum is that of all.
pub async fn concurrent_commits_lose_no_update(subject: &mut impl Subject) {
    const TASKS: usize = 16;
    const TIMES: usize = 20;
    let store = open(subject).await;
    fill(&*store, &here(), &[("n", "0")]).await;
    let add = |store: Arc<dyn Store>| async move {
        for _ in 0..TIMES {
            loop {
                let before = store.get(here(), bytes("n"), Consistency::Committed).await;
                let before = before.expect("the read is answered").expect("the counter stands");
                let before = String::from_utf8_lossy(&before).into_owned();
                let after = (before.parse::<usize>().expect("a number") + 1).to_string();
                let step = batch(&here(), vec![equals("n", &before)], vec![put("n", &after)]);
                match commit_one(&*store, step).await {
                    Outcome::Applied => break,
                    Outcome::Conflict(rows) => assert_eq!(rows.len(), 1),
                    other => panic!("the commit gave {other:?}"),
                }
            }
        }
    };
    let tasks: Vec<_> = (0..TASKS).map(|_| tokio::spawn(add(store.clone()))).collect();
    for task in tasks {
        task.await.expect("the task ends");
    }
    assert_eq!(get(&*store, &here(), "n").await, Some((TASKS * TIMES).to_string()));
}

/// Of many who find a key absent at the same time, one has it, and all others are shown the winner's row.
pub async fn of_concurrent_claims_one_wins(subject: &mut impl Subject) {
    let store = open(subject).await;
    let claim = |store: Arc<dyn Store>, index: usize| async move {
        commit_one(&*store, batch(&here(), vec![absent("a")], vec![put("a", &index.to_string())])).await
    };
    let tasks: Vec<_> = (0..32).map(|index| tokio::spawn(claim(store.clone(), index))).collect();
    let mut outcomes = Vec::new();
    for task in tasks {
        outcomes.push(task.await.expect("the task ends"));
    }
    let winner = outcomes.iter().position(|outcome| *outcome == Outcome::Applied).expect("one wins");
    for (index, outcome) in outcomes.into_iter().enumerate().filter(|(index, _)| *index != winner) {
        assert_eq!(outcome, Outcome::Conflict(vec![row("a", &winner.to_string())]), "{index}");
    }
}

/// Removing what is not there is safe to repeat.
pub async fn a_delete_of_nothing_is_applied(subject: &mut impl Subject) {
    let store = open(subject).await;
    let delete = Batch { deletes: vec![bytes("a")], ..batch(&here(), vec![], vec![]) };
    assert_eq!(commit_one(&*store, delete).await, Outcome::Applied);
}

/// `put_all` spans partitions, replaces what stands, and changes nothing the second time.
pub async fn put_all_writes_without_a_check_and_may_be_repeated(subject: &mut impl Subject) {
    let store = open(subject).await;
    let other = partition(Space::Ephemeral, "other");
    fill(&*store, &here(), &[("a", "before")]).await;
    let rows = vec![(here(), put("a", "1")), (other.clone(), put("a", "2")), (here(), put("b", "3"))];
    for _ in 0..2 {
        assert_eq!(store.put_all(rows.clone()).await, Ok(()));
        assert_eq!(get(&*store, &here(), "a").await.as_deref(), Some("1"));
        assert_eq!(get(&*store, &other, "a").await.as_deref(), Some("2"));
        assert_eq!(keys(&*store, whole(&here())).await, ["a", "b"]);
    }
}
