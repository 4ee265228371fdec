//! In which conversations people are, who else is there, whose profile changed, and when they were seen last.

use crate::common::{House, NOW, change, create, creation, member, user};
use godwit_domain::{
    conversation::{Circle, Interval, Kind, Member, Role, Until},
    id::{ConversationId, Rev, Seq},
    revision::Change,
    tables::{Conversations, LastSeen},
    time::Ms,
};

/// The second member has gone.
fn gone() -> Change {
    let until = Some(Until { seq: Seq::ZERO, rev: Rev(4), at: NOW });
    let intervals = vec![Interval { after_seq: Seq::ZERO, after_rev: Rev::ZERO, until }];
    Change { members: vec![Member { intervals, ..member(2, Role::Member) }], ..Change::default() }
}

#[tokio::test]
async fn a_circle_is_who_is_in_unless_these_are_too_many() {
    let house = House::new();
    let (id, head) = create(&house.tables, 1, Kind::Group, 3).await;
    let circle = |members: &[u128]| {
        Some(Circle { kind: Kind::Group, members: members.iter().copied().map(user).collect() })
    };
    assert_eq!(house.tables.circle(id, 3).await, Ok(circle(&[1, 2, 3])));
    assert_eq!(house.tables.circle(id, 2).await, Ok(None));
    change(&house.tables, id, head, &gone()).await;
    assert_eq!(house.tables.circle(id, 2).await, Ok(circle(&[1, 3])), "who left is in it no more");
    assert_eq!(house.tables.present_in(user(1)).await, Ok(vec![id]));
    assert_eq!(house.tables.present_in(user(2)).await, Ok(vec![]));
    assert_eq!(house.tables.circle(ConversationId::from_u128(9), 9).await, Ok(None), "there is none");
}

/// Rows of members are read page by page: those who are in may stand behind any number of those who left.
#[tokio::test]
async fn a_circle_is_found_behind_very_many_who_left() {
    let house = House::new();
    let id = ConversationId::from_u128(1);
    let mut many = creation(id, Kind::Group, 500);
    let until = Some(Until { seq: Seq::ZERO, rev: Rev(1), at: NOW });
    for member in &mut many.members[..498] {
        member.intervals[0].until = until;
    }
    assert!(house.tables.change(id, None, &many, NOW).await.unwrap().is_some());
    let expected = Circle { kind: Kind::Group, members: vec![user(499), user(500)] };
    assert_eq!(house.tables.circle(id, 2).await, Ok(Some(expected)));
    assert_eq!(house.tables.circle(id, 1).await, Ok(None));
}

#[tokio::test]
async fn a_list_says_when_the_other_one_changed_their_profile() {
    let house = House::new();
    let (id, _) = create(&house.tables, 1, Kind::Direct, 2).await;
    let (other, _) = create(&house.tables, 2, Kind::Direct, 2).await;
    house.tables.note_peer_changed(&[(user(1), id)], NOW.plus(9)).await.unwrap();
    house.tables.note_peer_changed(&[(user(1), id)], NOW.plus(5)).await.unwrap();
    house.tables.note_peer_changed(&[], NOW.plus(5)).await.unwrap();
    let listed = house.tables.listed(user(1)).await.unwrap();
    let says = |id| listed.iter().find(|listed| listed.conversation == id).unwrap();
    assert_eq!((says(id).peer_changed_at, says(id).touched_at()), (NOW.plus(9), NOW.plus(9)));
    assert_eq!((says(other).peer_changed_at, says(other).touched_at()), (Ms(0), NOW));
    assert_eq!(
        house.tables.listed(user(2)).await.unwrap()[0].peer_changed_at,
        Ms(0),
        "whom it does not concern"
    );
}

#[tokio::test]
async fn the_newest_time_at_which_a_user_was_seen_stays() {
    let house = House::new();
    house.tables.raise_last_seen(&[(user(1), NOW), (user(2), NOW.plus(1))]).await.unwrap();
    house.tables.raise_last_seen(&[(user(1), NOW.plus(5)), (user(2), NOW)]).await.unwrap();
    house.tables.raise_last_seen(&[]).await.unwrap();
    let seen = house.tables.last_seen(&[user(2), user(3), user(1)]).await;
    assert_eq!(seen, Ok(vec![Some(NOW.plus(1)), None, Some(NOW.plus(5))]));
}
