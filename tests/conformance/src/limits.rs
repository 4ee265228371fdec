//! The limits of names, keys and values.

use crate::{Subject, absent, batch, get, here, open, put};
use bytes::Bytes;
use godwit_domain::waist::{
    Batch, Check, Consistency, Error, KEY_BYTES_MAX, Outcome, PARTITION_BYTES_MAX, Partition, Put, Raise,
    Row, Space, VALUE_BYTES_MAX,
};

fn long(length: usize) -> Bytes {
    vec![b'x'; length].into()
}

fn sized(name: usize, key: usize, value: usize) -> (Partition, Put) {
    let partition = Partition { space: Space::State, name: long(name) };
    (partition, Put { row: Row { key: long(key), value: long(value) }, expires_at: None })
}

/// The largest name, key and value are stored and read back.
pub async fn sizes_at_the_limit_are_stored(subject: &mut impl Subject) {
    let store = open(subject).await;
    let (partition, put) = sized(PARTITION_BYTES_MAX, KEY_BYTES_MAX, VALUE_BYTES_MAX);
    let row = put.row.clone();
    assert_eq!(
        store.commit(vec![batch(&partition, vec![Check::Absent(row.key.clone())], vec![put])]).await,
        [Outcome::Applied]
    );
    let found = store.get(partition, row.key, Consistency::Committed).await.expect("the read is answered");
    assert!(found == Some(row.value), "the value differs");
}

/// One byte more, or none where there must be one, is refused by every call, with the size and its limit.
pub async fn sizes_over_the_limit_are_refused_and_named(subject: &mut impl Subject) {
    let store = open(subject).await;
    let cases = [
        (sized(0, 1, 1), "0"),
        (sized(PARTITION_BYTES_MAX + 1, 1, 1), "256"),
        (sized(1, 0, 1), "0"),
        (sized(1, KEY_BYTES_MAX + 1, 1), "1025"),
        (sized(1, 1, VALUE_BYTES_MAX + 1), "1048577"),
    ];
    for ((partition, put), named) in cases {
        let check = |error: Error| {
            let text = error.to_string();
            assert!(
                matches!(error, Error::Invalid(_)) && text.contains(named),
                "{text} does not name {named}"
            );
        };
        let key = put.row.key.clone();
        match store.commit(vec![batch(&partition, vec![], vec![put.clone()])]).await.pop() {
            Some(Outcome::Refused(error)) => check(error),
            other => panic!("the commit gave {other:?} for {named}"),
        }
        let raise = Raise {
            partition: partition.clone(),
            key: key.clone(),
            version: 1,
            value: put.row.value.clone(),
        };
        check(store.raise(vec![raise]).await.expect_err(named));
        check(store.put_all(vec![(partition.clone(), put)]).await.expect_err(named));
        if named != "1048577" {
            check(store.get(partition.clone(), key.clone(), Consistency::Committed).await.expect_err(named));
            check(store.get_many(vec![(partition.clone(), key.clone())]).await.expect_err(named));
            check(store.mark(partition.clone(), key.clone()).await.expect_err(named));
            let delete = Batch { deletes: vec![key], ..batch(&partition, vec![], vec![]) };
            assert!(matches!(store.commit(vec![delete]).await[..], [Outcome::Refused(_)]), "{named}");
        }
    }
}

/// Outcomes stay in the order of the batches when one of them is refused.
pub async fn a_refused_batch_does_not_touch_the_others(subject: &mut impl Subject) {
    let store = open(subject).await;
    let (wrong, put_wrong) = sized(1, KEY_BYTES_MAX + 1, 1);
    let outcomes = store
        .commit(vec![
            batch(&here(), vec![absent("a")], vec![put("a", "1")]),
            batch(&wrong, vec![], vec![put_wrong]),
            batch(&here(), vec![absent("a")], vec![put("a", "2")]),
            batch(&here(), vec![], vec![put("b", "3")]),
        ])
        .await;
    assert!(
        matches!(
            &outcomes[..],
            [Outcome::Applied, Outcome::Refused(_), Outcome::Conflict(_), Outcome::Applied]
        ),
        "{outcomes:?}"
    );
    assert_eq!(get(&*store, &here(), "a").await.as_deref(), Some("1"));
    assert_eq!(get(&*store, &here(), "b").await.as_deref(), Some("3"));
}
