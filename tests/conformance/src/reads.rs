//! Point reads and scans.

use crate::{Subject, bytes, fill, get, here, keys, open, partition, whole};
use bytes::Bytes;
use godwit_domain::waist::{Batch, Direction, Outcome, Put, Row, Scan, Space};
use std::ops::Bound;

/// A read shows the bytes that were put, the empty value and a replaced value included.
pub async fn what_was_put_is_read_back(subject: &mut impl Subject) {
    let store = open(subject).await;
    fill(&*store, &here(), &[("a", "1"), ("empty", "")]).await;
    assert_eq!(get(&*store, &here(), "a").await.as_deref(), Some("1"));
    assert_eq!(get(&*store, &here(), "empty").await.as_deref(), Some(""));
    fill(&*store, &here(), &[("a", "longer than before")]).await;
    assert_eq!(get(&*store, &here(), "a").await.as_deref(), Some("longer than before"));
}

/// Neither a key beside a row nor a partition beside one has it.
pub async fn a_row_that_was_never_put_is_none(subject: &mut impl Subject) {
    let store = open(subject).await;
    assert_eq!(get(&*store, &here(), "a").await, None);
    fill(&*store, &here(), &[("ab", "1")]).await;
    for key in ["a", "abc", "b"] {
        assert_eq!(get(&*store, &here(), key).await, None, "{key}");
    }
    assert_eq!(keys(&*store, whole(&partition(Space::State, "nowhere"))).await, [""; 0]);
}

/// `get_many` answers in the order asked, over partitions, with repeats and misses in their places.
pub async fn many_reads_answer_in_the_order_asked(subject: &mut impl Subject) {
    let store = open(subject).await;
    let other = partition(Space::Log, "other");
    fill(&*store, &here(), &[("a", "1"), ("b", "2")]).await;
    fill(&*store, &other, &[("a", "3")]).await;
    let asked = [(&here(), "b"), (&other, "a"), (&here(), "missing"), (&here(), "a"), (&here(), "b")];
    let asked = asked.map(|(partition, key)| (partition.clone(), bytes(key))).to_vec();
    let expected = [Some("2"), Some("3"), None, Some("1"), Some("2")].map(|value| value.map(bytes));
    assert_eq!(store.get_many(asked).await, Ok(expected.to_vec()));
    assert_eq!(store.get_many(vec![]).await, Ok(vec![]));
}

/// Keys are compared byte by byte, and a key sorts before those that it begins.
pub async fn rows_sort_by_key_bytewise(subject: &mut impl Subject) {
    let store = open(subject).await;
    let sorted: [&[u8]; 8] = [&[0], &[0, 0], &[0, 255], &[1], &[127], &[128], &[255], &[255, 255, 0]];
    let put = |key: &&[u8]| Put {
        row: Row { key: Bytes::copy_from_slice(key), value: Bytes::new() },
        expires_at: None,
    };
    let puts = sorted.iter().rev().map(put).collect();
    let batch = Batch { partition: here(), checks: vec![], puts, deletes: vec![] };
    assert_eq!(store.commit(vec![batch]).await, [Outcome::Applied]);
    for direction in [Direction::Forward, Direction::Backward] {
        let rows = store.scan(Scan { direction, ..whole(&here()) }).await.expect("the scan is answered");
        let mut found: Vec<_> = rows.iter().map(|row| &row.key[..]).collect();
        if direction == Direction::Backward {
            found.reverse();
        }
        assert_eq!(found, sorted, "{direction:?}");
    }
}

/// All kinds of bounds, in both directions, on rows and between them.
pub async fn a_scan_keeps_its_bounds_both_ways(subject: &mut impl Subject) {
    let store = open(subject).await;
    // Neighbours of the same space, which no bound may let in.
    fill(&*store, &partition(Space::State, "herd"), &[("x", ""), ("y", "")]).await;
    fill(&*store, &partition(Space::State, "hero"), &[("x", ""), ("y", "")]).await;
    fill(&*store, &here(), &[("b", ""), ("d", ""), ("f", "")]).await;
    let (included, excluded) = (|key| Bound::Included(bytes(key)), |key| Bound::Excluded(bytes(key)));
    let cases = [
        (Bound::Unbounded, Bound::Unbounded, "bdf"),
        (included("b"), included("f"), "bdf"),
        (excluded("b"), excluded("f"), "d"),
        (included("c"), included("e"), "d"),
        (included("c"), Bound::Unbounded, "df"),
        (Bound::Unbounded, excluded("d"), "b"),
        (Bound::Unbounded, included("d"), "bd"),
        (excluded("f"), Bound::Unbounded, ""),
        (Bound::Unbounded, excluded("b"), ""),
        (included("d"), included("d"), "d"),
        (included("g"), included("z"), ""),
    ];
    for (from, to, expected) in cases {
        let scan = Scan { from, to, ..whole(&here()) };
        assert_eq!(keys(&*store, scan.clone()).await.concat(), expected, "{scan:?}");
        let backward = Scan { direction: Direction::Backward, ..scan };
        let expected: String = expected.chars().rev().collect();
        assert_eq!(keys(&*store, backward.clone()).await.concat(), expected, "{backward:?}");
    }
}

/// A limit takes the first rows of its direction.
pub async fn a_scan_stops_at_its_limit(subject: &mut impl Subject) {
    let store = open(subject).await;
    fill(&*store, &here(), &[("a", ""), ("b", ""), ("c", "")]).await;
    let cases = [
        (0, Direction::Forward, ""),
        (2, Direction::Forward, "ab"),
        (2, Direction::Backward, "cb"),
        (3, Direction::Backward, "cba"),
        (4, Direction::Forward, "abc"),
    ];
    for (limit, direction, expected) in cases {
        let scan = Scan { limit, direction, ..whole(&here()) };
        assert_eq!(keys(&*store, scan).await.concat(), expected, "{limit} {direction:?}");
    }
}

/// Bounds between which no key lies are no error.
pub async fn a_scan_with_crossed_bounds_is_empty(subject: &mut impl Subject) {
    let store = open(subject).await;
    fill(&*store, &here(), &[("a", ""), ("b", "")]).await;
    let (a, b) = (bytes("a"), bytes("b"));
    for (from, to) in [
        (Bound::Included(b.clone()), Bound::Included(a.clone())),
        (Bound::Excluded(b.clone()), Bound::Excluded(a.clone())),
        (Bound::Excluded(a.clone()), Bound::Included(a.clone())),
        (Bound::Included(a.clone()), Bound::Excluded(a.clone())),
        (Bound::Excluded(a.clone()), Bound::Excluded(a.clone())),
    ] {
        let scan = Scan { from, to, ..whole(&here()) };
        assert_eq!(keys(&*store, scan.clone()).await, [""; 0], "{scan:?}");
    }
}

/// The same key under the same name of another space is another row; so is one under a name that begins alike.
pub async fn partitions_and_spaces_do_not_mix(subject: &mut impl Subject) {
    let store = open(subject).await;
    let mut places = Vec::new();
    for space in [Space::Log, Space::State, Space::Ephemeral] {
        for name in ["p", "pp", "q"] {
            places.push((partition(space, name), format!("{space:?} {name}")));
        }
    }
    for (partition, value) in &places {
        fill(&*store, partition, &[("p", value)]).await;
    }
    for (partition, value) in &places {
        assert_eq!(get(&*store, partition, "p").await.as_ref(), Some(value));
        assert_eq!(keys(&*store, whole(partition)).await, ["p"]);
    }
}
