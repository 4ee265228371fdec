//! Relations of two users, and the copies of them, wherever writing them is cut off.

use crate::common::{House, NOW, Stopping, user};
use godwit_domain::{
    contact::{Contact, Relation, Side, State},
    tables::{Relations, Written},
};

fn relation(mine: State, theirs: State, ms: u64) -> Relation {
    let side = |state| Side { state, since: NOW.plus(ms) };
    Relation::of(user(1), user(2), (side(mine), side(theirs)), NOW.plus(ms))
}

/// The contact of one with the other, as it is listed.
async fn listed(house: &House, of: u128) -> Option<Contact> {
    house.tables.contacts(user(of)).await.unwrap().into_iter().next()
}

#[tokio::test]
async fn both_sides_have_the_relation_among_their_contacts() {
    let house = House::new();
    let nothing = Relation::default();
    assert_eq!(house.tables.relation(user(1), user(2)).await, Ok(nothing));
    let asked = relation(State::Requested, State::Asked, 1);
    assert_eq!(house.tables.relate(user(2), user(1), &nothing, &asked).await, Ok(Written::Yes));
    for (a, b) in [(1, 2), (2, 1)] {
        assert_eq!(house.tables.relation(user(a), user(b)).await, Ok(asked));
    }
    let contact = |other, state| {
        let side = Side { state, since: NOW.plus(1) };
        Some(Contact { user: user(other), side, blocked: false, changed_at: NOW.plus(1) })
    };
    assert_eq!(listed(&house, 1).await, contact(2, State::Requested));
    assert_eq!(listed(&house, 2).await, contact(1, State::Asked));
    let friends = relation(State::Friend, State::Friend, 2);
    assert_eq!(
        house.tables.relate(user(1), user(2), &nothing, &friends).await,
        Ok(Written::No),
        "not as before"
    );
    assert_eq!(house.tables.relation(user(1), user(2)).await, Ok(asked));
    assert_eq!(house.tables.relate(user(1), user(2), &asked, &friends).await, Ok(Written::Yes));
    let other = Relation::of(user(1), user(3), (friends.low, friends.high), NOW.plus(3));
    assert_eq!(house.tables.relate(user(1), user(3), &nothing, &other).await, Ok(Written::Yes));
    let all = house.tables.contacts(user(1)).await.unwrap();
    assert_eq!(all.iter().map(|contact| contact.user).collect::<Vec<_>>(), [user(2), user(3)]);
}

#[tokio::test]
async fn wherever_a_change_is_cut_off_both_sides_tell_of_the_same() {
    let before = relation(State::Friend, State::Friend, 1);
    let after = relation(State::Blocked, State::None, 2);
    for cut in 0..=5 {
        let house = House::new();
        let nothing = Relation::default();
        assert_eq!(house.tables.relate(user(1), user(2), &nothing, &before).await, Ok(Written::Yes));
        let stopping = Stopping::after(cut, house.store.clone());
        let answer = house.by_way_of(stopping).relate(user(1), user(2), &before, &after).await;
        assert_eq!(answer.is_ok(), cut == 5, "cut at {cut}");
        // Both copies are raised, then the row is replaced.
        let stands = if cut < 3 { before } else { after };
        assert_eq!(house.tables.relation(user(1), user(2)).await, Ok(stands), "cut at {cut}");
        for (of, other) in [(1, 2), (2, 1)] {
            let found = listed(&house, of).await.unwrap();
            let side = stands.side(user(of), user(other));
            assert_eq!((found.side, found.blocked), (side, stands.is_blocked()), "of {of}, cut at {cut}");
            // Once the row may stand, whoever asks what changed since before is told.
            assert!(cut < 2 || found.changed_at == after.changed_at, "of {of}, cut at {cut}");
        }
        // Whoever tries again is not held up by what was left.
        if cut < 3 {
            let later = relation(State::Blocked, State::None, 3);
            assert_eq!(house.tables.relate(user(1), user(2), &before, &later).await, Ok(Written::Yes));
            assert_eq!(listed(&house, 2).await.map(|contact| contact.changed_at), Some(NOW.plus(3)));
        }
    }
}
