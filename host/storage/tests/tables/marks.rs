//! Marks, what lists show of them, hidden messages, the epoch and the bound of the times of change.

use crate::common::{House, NOW, Stopping, create, fill, user};
use godwit_domain::{
    conversation::{Kind, Listed, Marks, Rise},
    id::{ConversationId, Seq},
    tables::Conversations,
    time::Ms,
};

fn marks(received: u64, read: u64) -> Marks {
    Marks { received: Seq(received), read: Seq(read) }
}

fn rise(conversation: ConversationId, by: u128, to: Marks, ms: u64) -> Rise {
    Rise { conversation, user: user(by), peer: None, to, at: NOW.plus(ms) }
}

#[tokio::test]
async fn marks_only_rise_each_by_itself() {
    let house = House::new();
    let (id, _) = create(&house.tables, 1, Kind::Direct, 2).await;
    for (raised, expected) in [
        (marks(0, 0), None),
        (marks(5, 0), Some(marks(5, 0))),
        (marks(5, 3), Some(marks(5, 3))),
        (marks(4, 4), Some(marks(5, 4))),
        (marks(2, 1), Some(marks(5, 4))),
    ] {
        house.tables.raise_marks(&[rise(id, 2, raised, 0)]).await.unwrap();
        let found = house.tables.marks(id).await.unwrap();
        let expected: Vec<_> = expected.map(|marks| (user(2), marks)).into_iter().collect();
        assert_eq!(found, expected, "{raised:?}");
    }
    let both = [rise(id, 1, marks(9, 9), 0), rise(id, 2, marks(9, 9), 0)];
    house.tables.raise_marks(&both).await.unwrap();
    let all = [(user(1), marks(9, 9)), (user(2), marks(9, 9))];
    assert_eq!(house.tables.marks(id).await.unwrap(), all);
}

/// What the list of a user says.
async fn says(house: &House, number: u128, id: ConversationId) -> Listed {
    let all = house.tables.listed(user(number)).await.unwrap();
    all.into_iter().find(|listed| listed.conversation == id).unwrap()
}

#[tokio::test]
async fn a_list_says_when_the_marks_of_its_conversations_rose() {
    let house = House::new();
    let (id, _) = create(&house.tables, 2, Kind::Direct, 2).await;
    let (other, _) = create(&house.tables, 1, Kind::Group, 2).await;
    let none = says(&house, 1, id).await;
    assert_eq!((none.marked_at, none.touched_at()), (Ms(0), NOW));
    for (raised, own, peers) in [
        (Rise { peer: Some(user(2)), ..rise(id, 1, marks(4, 0), 10) }, 10, 10),
        (Rise { peer: Some(user(1)), ..rise(id, 2, marks(3, 2), 20) }, 20, 20),
        (rise(id, 2, marks(4, 2), 30), 20, 30),
        // What does not rise is no change.
        (Rise { peer: Some(user(2)), ..rise(id, 1, marks(4, 0), 40) }, 20, 30),
        (Rise { peer: Some(user(2)), ..rise(id, 1, marks(4, 1), 50) }, 50, 50),
    ] {
        house.tables.raise_marks(&[raised]).await.unwrap();
        let found = (says(&house, 1, id).await.marked_at, says(&house, 2, id).await.marked_at);
        assert_eq!(found, (NOW.plus(own), NOW.plus(peers)), "{raised:?}");
    }
    assert_eq!(says(&house, 1, id).await.touched_at(), NOW.plus(50));
    assert_eq!(says(&house, 1, other).await.marked_at, Ms(0));
    // The peer's copies are none of the user's own marks.
    assert_eq!(house.tables.marks(id).await.unwrap(), [(user(1), marks(4, 1)), (user(2), marks(4, 2))]);
}

/// The story: a conversation is loaded from its own marks, so that those are raised last: whoever repeats a request that
/// was cut finds that there is something to do.
#[tokio::test]
async fn marks_that_were_cut_are_not_the_conversations_yet() {
    let house = House::new();
    let (id, _) = create(&house.tables, 1, Kind::Direct, 2).await;
    let raised = Rise { peer: Some(user(2)), ..rise(id, 1, marks(2, 2), 10) };
    // Each of two marks, the user's own and told to the peer.
    let tables = house.by_way_of(Stopping::after(4, house.store.clone()));
    assert!(tables.raise_marks(&[raised]).await.is_err());
    assert_eq!(house.tables.marks(id).await.unwrap(), []);
    for number in [1, 2] {
        assert_eq!(says(&house, number, id).await.marked_at, NOW.plus(10), "{number}");
    }
    house.tables.raise_marks(&[raised]).await.unwrap();
    assert_eq!(house.tables.marks(id).await.unwrap(), [(user(1), marks(2, 2))]);
}

#[tokio::test]
async fn hidden_messages_are_counted_once_and_read_by_number_and_in_order() {
    let house = House::new();
    let (id, head) = create(&house.tables, 1, Kind::Group, 2).await;
    let (other, _) = create(&house.tables, 2, Kind::Group, 2).await;
    let _ = fill(&house.tables, id, head, 9).await;
    for (ms, seq, count) in [(10, 7, 1), (20, 3, 2), (30, 7, 2), (40, 5, 3), (50, 3, 3)] {
        assert_eq!(house.tables.hide(user(1), id, Seq(seq), NOW.plus(ms)).await, Ok(count), "{seq}");
    }
    let said = says(&house, 1, id).await;
    assert_eq!((said.hidden_at, said.touched_at()), (NOW.plus(50), NOW.plus(50)));
    assert_eq!(house.tables.hidden_count(user(1), id).await, Ok(3));
    for (number, conversation) in [(2, id), (1, other)] {
        assert_eq!(says(&house, number, conversation).await.hidden_at, Ms(0));
        assert_eq!(house.tables.hidden_count(user(number), conversation).await, Ok(0));
    }

    for (from, to, expected) in [(1, 9, &[3, 5, 7][..]), (4, 7, &[5, 7]), (4, 4, &[]), (8, 9, &[])] {
        let found = house.tables.hidden_within(user(1), id, Seq(from)..=Seq(to)).await.unwrap();
        let found: Vec<_> = found.iter().map(|seq| seq.0).collect();
        assert_eq!(found, expected, "{from} to {to}");
    }
    for (after, limit, expected) in [(0, 9, &[7, 3, 5][..]), (0, 2, &[7, 3]), (1, 9, &[3, 5]), (3, 9, &[])] {
        let found = house.tables.hidden(user(1), id, after, limit).await.unwrap();
        let found: Vec<_> = found.iter().map(|seq| seq.0).collect();
        assert_eq!(found, expected, "{limit} after {after}");
    }
    assert_eq!(house.tables.hidden(user(2), id, 0, 9).await, Ok(vec![]));
}

#[tokio::test]
async fn of_many_who_hide_at_once_each_is_counted() {
    const EACH: u64 = 8;
    let house = House::new();
    let (id, _) = create(&house.tables, 1, Kind::Group, 1).await;
    let tasks: Vec<_> = (0..2 * EACH)
        .map(|number| {
            let (tables, seq) = (house.tables.clone(), Seq(number % EACH + 1));
            tokio::spawn(async move { tables.hide(user(1), id, seq, NOW.plus(number)).await.unwrap() })
        })
        .collect();
    for task in tasks {
        let _ = task.await.unwrap();
    }
    assert_eq!(house.tables.hidden_count(user(1), id).await, Ok(EACH));
    let mut all = house.tables.hidden(user(1), id, 0, usize::MAX).await.unwrap();
    all.sort_unstable();
    assert_eq!(all, (1..=EACH).map(Seq).collect::<Vec<_>>());
}

/// The story: the host is killed between the two writes that hide a message, or after both, before the answer. The
/// count stood in the user's own partition and was written last: it was behind until the client asked again.
#[tokio::test]
async fn what_is_hidden_is_counted_at_once_and_found_by_a_resume_wherever_a_crash_cuts() {
    for (writes, count) in [(0, 0), (1, 0), (2, 1)] {
        let house = House::new();
        let (id, _) = create(&house.tables, 1, Kind::Group, 1).await;
        let tables = house.by_way_of(Stopping::after(writes, house.store.clone()));
        assert_eq!(tables.hide(user(1), id, Seq(3), NOW.plus(10)).await.is_ok(), writes == 2);
        assert_eq!(house.tables.hidden_count(user(1), id).await, Ok(count), "after {writes} writes");
        let hidden = house.tables.hidden(user(1), id, 0, 9).await.unwrap();
        assert_eq!(hidden.len() as u64, count, "after {writes} writes");
        let told_at = says(&house, 1, id).await.hidden_at;
        assert!(count == 0 || told_at == NOW.plus(10), "told at {told_at}");
        assert_eq!(house.tables.hide(user(1), id, Seq(3), NOW.plus(20)).await, Ok(1));
        assert_eq!(says(&house, 1, id).await.hidden_at, NOW.plus(20), "whoever repeats it tells it again");
    }
}

#[tokio::test]
async fn the_epoch_is_made_once_and_kept() {
    let house = House::new();
    let (one, two) = tokio::join!(house.tables.epoch(), house.tables.epoch());
    let epoch = one.unwrap();
    assert_eq!(two, Ok(epoch.clone()));
    assert_eq!(house.by_way_of(house.store.clone()).epoch().await, Ok(epoch.clone()));
    assert_ne!(House::new().tables.epoch().await, Ok(epoch));
}

#[tokio::test]
async fn the_bound_of_the_times_of_change_only_rises() {
    let house = House::new();
    for (raised, expected) in [(None, Ms(0)), (Some(NOW), NOW), (Some(NOW.minus(1)), NOW)] {
        if let Some(bound) = raised {
            house.tables.raise_change_bound(bound).await.unwrap();
        }
        assert_eq!(house.tables.change_bound().await, Ok(expected), "{raised:?}");
    }
}
