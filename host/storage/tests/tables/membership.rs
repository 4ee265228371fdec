//! Changes of membership: what they write, and that a crash between any two steps is repaired.

use crate::common::{BUCKET, House, NOW, Stopping, create, creation, fill, following, member, user};
use godwit_domain::{
    conversation::{Change, Head, Kind, Listed, Marks, Revision, RevisionKind, Role},
    id::{ConversationId, Rev, Seq},
    tables::{Append, Appended, Conversations},
    waist::Error,
};

fn join(rev: u64, at_seq: u64, who: u128, role: Role, at: godwit_domain::time::Ms) -> Revision {
    let what = RevisionKind::Join { user: user(who), role };
    Revision { rev: Rev(rev), at_seq: Seq(at_seq), by: user(1), at, what }
}

fn invitation(numbers: &[u128], at_seq: Seq) -> Change {
    let members = numbers.iter().map(|number| member(*number, Role::Member)).collect();
    Change::Invite { by: user(1), members, at_seq }
}

#[tokio::test]
async fn a_group_begins_with_a_join_of_each_first_member() {
    let house = House::new();
    let id = ConversationId::from_u128(1);
    let change = creation(id, Kind::Group, 3);
    let (head, revisions) = house.tables.change(id, None, &change, NOW).await.unwrap().unwrap();
    assert_eq!(head, Head { last_seq: Seq::ZERO, last_rev: Rev(3), changed_at: NOW });
    let expected =
        [join(1, 0, 1, Role::Owner, NOW), join(2, 0, 2, Role::Member, NOW), join(3, 0, 3, Role::Member, NOW)];
    assert_eq!(revisions, expected);
    assert_eq!(house.tables.revisions(id, Rev(1)..=Rev(3)).await.unwrap(), expected);
    assert_eq!(house.tables.revisions(id, Rev(2)..=Rev(2)).await.unwrap(), expected[1..2]);

    let loaded = house.tables.load(id).await.unwrap().unwrap();
    let Change::Create { meta, members } = change else { unreachable!("it was made so") };
    assert_eq!((loaded.meta, loaded.members, loaded.head), (meta, members, head));
    let listed = Listed { conversation: id, joined_at: NOW };
    assert_eq!(house.tables.listed(user(3)).await, Ok(vec![listed]));
    assert_eq!(house.tables.listed(user(4)).await, Ok(vec![]));
}

#[tokio::test]
async fn a_direct_conversation_begins_without_revisions() {
    let house = House::new();
    let id = ConversationId::from_u128(1);
    let (head, revisions) =
        house.tables.change(id, None, &creation(id, Kind::Direct, 2), NOW).await.unwrap().unwrap();
    assert_eq!((head.last_rev, revisions), (Rev::ZERO, vec![]));
    assert_eq!(house.tables.load(id).await.unwrap().unwrap().members.len(), 2);
}

#[tokio::test]
async fn what_was_never_created_is_none() {
    let house = House::new();
    assert!(house.tables.load(ConversationId::from_u128(1)).await.unwrap().is_none());
}

#[tokio::test]
async fn a_second_creation_changes_nothing() {
    let house = House::new();
    let (id, head) = create(&house.tables, 1, Kind::Group, 2).await;
    assert_eq!(house.tables.change(id, None, &creation(id, Kind::Group, 3), NOW).await, Ok(None));
    let loaded = house.tables.load(id).await.unwrap().unwrap();
    assert_eq!((loaded.head, loaded.members.len()), (head, 2));
}

#[tokio::test]
async fn an_invitation_joins_marks_and_lists_the_newcomers() {
    let house = House::new();
    let (id, head) = create(&house.tables, 1, Kind::Group, 2).await;
    let head = fill(&house.tables, id, head, 5).await;
    let at = head.changed_at.plus(3);
    let change = invitation(&[8, 9], head.last_seq);
    let (invited, revisions) = house.tables.change(id, Some(head), &change, at).await.unwrap().unwrap();
    assert_eq!(invited, Head { last_rev: Rev(4), changed_at: at, ..head });
    let expected = [join(3, 5, 8, Role::Member, at), join(4, 5, 9, Role::Member, at)];
    assert_eq!(revisions, expected);
    assert_eq!(house.tables.revisions(id, Rev(3)..=Rev(9)).await.unwrap(), expected);

    let loaded = house.tables.load(id).await.unwrap().unwrap();
    let who: Vec<_> = loaded.members.iter().map(|member| member.user).collect();
    assert_eq!((loaded.head, who), (invited, [1, 2, 8, 9].map(user).to_vec()));
    let begin = Marks { received: Seq(5), read: Seq(5) };
    assert_eq!(house.tables.marks(id).await, Ok(vec![(user(8), begin), (user(9), begin)]));
    assert_eq!(house.tables.listed(user(9)).await.unwrap().len(), 1);

    // What was known before is stale now, for changes and for appends.
    assert_eq!(house.tables.change(id, Some(head), &invitation(&[10], Seq(5)), at).await, Ok(None));
    assert_eq!(house.tables.append(vec![following(id, head, 1)]).await, [Appended::Stale]);
    let append = Append { changed_at: at, ..following(id, invited, 1) };
    assert_eq!(house.tables.append(vec![append]).await, [Appended::Yes]);
}

#[tokio::test]
async fn the_time_of_change_does_not_go_back() {
    let house = House::new();
    let (id, head) = create(&house.tables, 1, Kind::Group, 1).await;
    let (head, revisions) = house
        .tables
        .change(id, Some(head), &invitation(&[2], Seq::ZERO), NOW.minus(9))
        .await
        .unwrap()
        .unwrap();
    assert_eq!((head.changed_at, revisions[0].at), (NOW, NOW));
}

#[tokio::test]
async fn a_creation_with_a_head_and_an_invitation_without_one_are_refused() {
    let house = House::new();
    let (id, head) = create(&house.tables, 1, Kind::Group, 1).await;
    let again = house.tables.change(id, Some(head), &creation(id, Kind::Group, 1), NOW).await;
    let nowhere = house.tables.change(id, None, &invitation(&[2], Seq::ZERO), NOW).await;
    for result in [again, nowhere] {
        assert!(matches!(result, Err(Error::Invalid(_))), "{result:?}");
    }
}

#[tokio::test]
async fn revisions_go_on_over_the_bounds_of_buckets() {
    const EACH: u64 = 500;
    let house = House::new();
    let (id, mut head) = create(&house.tables, 1, Kind::Group, 1).await;
    let mut next_user = 2;
    while head.last_rev.0 <= BUCKET {
        let numbers: Vec<_> = (next_user..next_user + u128::from(EACH)).collect();
        next_user += u128::from(EACH);
        let change = invitation(&numbers, Seq::ZERO);
        (head, _) = house.tables.change(id, Some(head), &change, NOW).await.unwrap().unwrap();
    }
    let around = house.tables.revisions(id, Rev(BUCKET - 1)..=Rev(BUCKET + 2)).await.unwrap();
    let revs: Vec<_> = around.iter().map(|revision| revision.rev.0).collect();
    assert_eq!(revs, [BUCKET - 1, BUCKET, BUCKET + 1, BUCKET + 2]);
    let loaded = house.tables.load(id).await.unwrap().unwrap();
    assert_eq!(loaded.members.len() as u64, head.last_rev.0);
    assert_eq!(loaded.head, head);
}

/// The story: the host is killed in the middle of a change. Before the intent stands, nothing has happened; after it,
/// whoever loads the conversation next finishes the change, whatever was written of it.
#[tokio::test]
async fn a_change_that_was_cut_at_any_step_is_not_begun_or_is_finished_by_the_next_load() {
    for creates in [true, false] {
        let mut cut = 0;
        loop {
            let house = House::new();
            let id = ConversationId::from_u128(1);
            let (before, change) = if creates {
                (None, creation(id, Kind::Group, 3))
            } else {
                let (_, head) = create(&house.tables, 1, Kind::Group, 2).await;
                let head = fill(&house.tables, id, head, 2).await;
                (Some(head), invitation(&[3, 4], Seq(2)))
            };
            let stopping = Stopping::after(cut, house.store.clone());
            let tables = house.by_way_of(stopping.clone());
            let answer = tables.change(id, before, &change, NOW.plus(50)).await;
            let whole = !stopping.has_stopped();
            assert_eq!(whole, answer.is_ok(), "an answer comes when all is written: {answer:?} at {cut}");
            // What is open has not happened yet.
            let listed = house.tables.heads(&[id]).await.unwrap()[0];
            if !whole {
                assert_eq!(
                    listed.map(|head| (head.last_seq, head.last_rev)),
                    before.map(|head| (head.last_seq, head.last_rev)),
                    "cut at {cut}"
                );
            }

            let loaded = house.tables.load(id).await.unwrap();
            if cut == 0 {
                let head = loaded.map(|loaded| loaded.head);
                assert_eq!(head, before, "nothing was begun");
            } else {
                finished(&house, id, creates).await;
            }
            if whole {
                break;
            }
            cut += 1;
        }
        assert!(cut > 6, "the cuts went through all steps, there were {cut}");
    }
}

/// That all parts of the change of the test above are there, and that the conversation goes on.
async fn finished(house: &House, id: ConversationId, creates: bool) {
    let loaded = house.tables.load(id).await.unwrap().unwrap();
    let members = if creates { 3 } else { 4 };
    assert_eq!((loaded.members.len(), loaded.head.last_rev), (members, Rev(members as u64)));
    assert_eq!(loaded.head.changed_at, NOW.plus(50));
    let revisions = house.tables.revisions(id, Rev(1)..=Rev(9)).await.unwrap();
    let revs: Vec<_> = revisions.iter().map(|revision| revision.rev.0).collect();
    assert_eq!(revs, (1..=members as u64).collect::<Vec<_>>());
    for number in 1..=members as u128 {
        assert_eq!(house.tables.listed(user(number)).await.unwrap().len(), 1, "{number}");
    }
    assert_eq!(house.tables.marks(id).await.unwrap().len(), if creates { 0 } else { 2 });
    assert_eq!(house.tables.heads(&[id]).await, Ok(vec![Some(loaded.head)]));
    let append = Append { changed_at: NOW.plus(60), ..following(id, loaded.head, 1) };
    assert_eq!(house.tables.append(vec![append]).await, [Appended::Yes]);
}

#[tokio::test]
async fn two_who_finish_the_same_change_write_it_once() {
    let house = House::new();
    let id = ConversationId::from_u128(1);
    let stopping = Stopping::after(1, house.store.clone());
    let cut = house.by_way_of(stopping).change(id, None, &creation(id, Kind::Group, 3), NOW).await;
    assert!(cut.is_err());
    let (one, two) = tokio::join!(house.tables.load(id), house.tables.load(id));
    let (one, two) = (one.unwrap().unwrap(), two.unwrap().unwrap());
    assert_eq!((one.head, one.members), (two.head, two.members));
    assert_eq!(house.tables.revisions(id, Rev(1)..=Rev(9)).await.unwrap().len(), 3);
}

#[tokio::test]
async fn marks_only_rise_each_by_itself() {
    let house = House::new();
    let (id, _) = create(&house.tables, 1, Kind::Direct, 2).await;
    let marks = |received, read| Marks { received: Seq(received), read: Seq(read) };
    for (raised, expected) in [
        (marks(0, 0), None),
        (marks(5, 0), Some(marks(5, 0))),
        (marks(5, 3), Some(marks(5, 3))),
        (marks(4, 4), Some(marks(5, 4))),
        (marks(2, 1), Some(marks(5, 4))),
    ] {
        house.tables.raise_marks(&[(id, user(2), raised)]).await.unwrap();
        let found = house.tables.marks(id).await.unwrap();
        assert_eq!(
            found,
            expected.map(|marks| (user(2), marks)).into_iter().collect::<Vec<_>>(),
            "{raised:?}"
        );
    }
    house.tables.raise_marks(&[(id, user(1), marks(9, 9)), (id, user(2), marks(9, 9))]).await.unwrap();
    let all = [(user(1), marks(9, 9)), (user(2), marks(9, 9))];
    assert_eq!(house.tables.marks(id).await.unwrap(), all);
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
