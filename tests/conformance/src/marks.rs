//! Marks, which only rise.

use crate::{Subject, bytes, fill, get, here, keys, open, partition, whole};
use bytes::Bytes;
use godwit_domain::waist::{Partition, Raise, Space, Store};

fn raise(partition: &Partition, key: &str, version: u64, value: &str) -> Raise {
    Raise { partition: partition.clone(), key: bytes(key), version, value: bytes(value) }
}

async fn mark(store: &dyn Store, partition: &Partition, key: &str) -> Option<(u64, Bytes)> {
    store.mark(partition.clone(), bytes(key)).await.expect("the read is answered")
}

/// Repeated, late and reordered raises end at the highest version, within one call and over several.
pub async fn a_mark_keeps_its_highest_version(subject: &mut impl Subject) {
    let store = open(subject).await;
    assert_eq!(mark(&*store, &here(), "a").await, None);
    for calls in
        [vec![vec![2], vec![1], vec![3], vec![3], vec![0]], vec![vec![5, 9, 7]], vec![vec![9], vec![4, 8]]]
    {
        for versions in calls {
            let raises =
                versions.iter().map(|version| raise(&here(), "a", *version, &format!("at {version}")));
            assert_eq!(store.raise(raises.collect()).await, Ok(()));
        }
    }
    assert_eq!(mark(&*store, &here(), "a").await, Some((9, bytes("at 9"))));
}

/// The same version again is a repeat: the first value stays. The version 0 is one too.
pub async fn an_equal_version_does_not_replace_a_mark(subject: &mut impl Subject) {
    let store = open(subject).await;
    for version in [0, u64::MAX] {
        for value in ["first", "second"] {
            assert_eq!(store.raise(vec![raise(&here(), "a", version, value)]).await, Ok(()));
        }
        assert_eq!(mark(&*store, &here(), "a").await, Some((version, bytes("first"))));
    }
}

/// Just the marks whose keys begin so, in order, of just that partition.
pub async fn marks_of_a_prefix_come_in_order(subject: &mut impl Subject) {
    let store = open(subject).await;
    let beside = partition(Space::State, "herf");
    let raises =
        [("b", 1), ("ab", 2), ("a", 3), ("aa", 4)].map(|(key, version)| raise(&here(), key, version, "v"));
    assert_eq!(store.raise(raises.to_vec()).await, Ok(()));
    assert_eq!(store.raise(vec![raise(&beside, "a", 5, "v")]).await, Ok(()));
    for (prefix, expected) in [
        ("a", vec![("a", 3), ("aa", 4), ("ab", 2)]),
        ("", vec![("a", 3), ("aa", 4), ("ab", 2), ("b", 1)]),
        ("ab", vec![("ab", 2)]),
        ("c", vec![]),
    ] {
        let expected: Vec<_> =
            expected.into_iter().map(|(key, version)| (bytes(key), version, bytes("v"))).collect();
        assert_eq!(store.marks(here(), bytes(prefix)).await, Ok(expected), "{prefix:?}");
    }
    // A prefix of full bytes has nothing after it.
    let full = Bytes::from_static(&[255, 255]);
    let last = Raise { key: full.clone(), ..raise(&here(), "", 6, "v") };
    assert_eq!(store.raise(vec![last]).await, Ok(()));
    assert_eq!(store.marks(here(), full.clone()).await, Ok(vec![(full, 6, bytes("v"))]));
}

/// Marks are kept apart from rows: neither is seen as the other.
pub async fn marks_and_rows_do_not_meet(subject: &mut impl Subject) {
    let store = open(subject).await;
    fill(&*store, &here(), &[("row", "1")]).await;
    assert_eq!(store.raise(vec![raise(&here(), "mark", 1, "1")]).await, Ok(()));
    assert_eq!(get(&*store, &here(), "mark").await, None);
    assert_eq!(keys(&*store, whole(&here())).await, ["row"]);
    assert_eq!(mark(&*store, &here(), "row").await, None);
    assert_eq!(store.marks(here(), Bytes::new()).await, Ok(vec![(bytes("mark"), 1, bytes("1"))]));
}

/// Many tasks raise the same marks in different orders.
pub async fn concurrent_raises_end_at_the_highest(subject: &mut impl Subject) {
    let store = open(subject).await;
    let raise_all = |offset: u64| {
        let store = store.clone();
        async move {
            for step in 0..40 {
                let version = (step * 7 + offset * 13) % 40;
                let raises = ["a", "b"].map(|key| raise(&here(), key, version, &version.to_string()));
                assert_eq!(store.raise(raises.to_vec()).await, Ok(()));
            }
        }
    };
    let tasks: Vec<_> = (0..8).map(|offset| tokio::spawn(raise_all(offset))).collect();
    for task in tasks {
        task.await.expect("the task ends");
    }
    for key in ["a", "b"] {
        assert_eq!(mark(&*store, &here(), key).await, Some((39, bytes("39"))), "{key}");
    }
}
