//! Changes: what they write, and that a crash between any two steps is repaired.

use crate::common::{
    BUCKET, House, NOW, Stopping, change, client, create, creation, delete, edit, fill, following,
    invitation, member, react, revised, revising, user,
};
use godwit_domain::{
    conversation::{Head, Interval, Kind, Listed, Marks, Member, Meta, Role, Settings, Until},
    id::{ConversationId, Rev, Seq},
    revision::{Change, MetaChange, Revised, Revision, What},
    tables::{Appended, Conversations},
    time::Ms,
    waist::{Error, VALUE_BYTES_MAX},
};

fn join(rev: u64, at_seq: u64, who: u128, role: Role, at: Ms) -> Revision {
    let what = What::Join { user: user(who), role };
    Revision { rev: Rev(rev), at_seq: Seq(at_seq), by: user(1), at, what }
}

/// A row of a list that says nothing but who is in since when.
fn listed(conversation: ConversationId, present: bool, changed_at: Ms) -> Listed {
    let (none, settings) = (Ms(0), Settings::default());
    let (marked_at, hidden_at, peer_changed_at, set_at) = (none, none, none, none);
    Listed { conversation, present, changed_at, marked_at, hidden_at, peer_changed_at, settings, set_at }
}

#[tokio::test]
async fn a_group_begins_with_a_join_of_each_first_member() {
    let house = House::new();
    let id = ConversationId::from_u128(1);
    let change = creation(id, Kind::Group, 3);
    let (head, revisions) = house.tables.change(id, None, &change, NOW).await.unwrap().unwrap();
    assert_eq!(head, Head { last_seq: Seq::ZERO, last_rev: Rev(3), changed_at: NOW, revised_at: NOW });
    let expected =
        [join(1, 0, 1, Role::Owner, NOW), join(2, 0, 2, Role::Member, NOW), join(3, 0, 3, Role::Member, NOW)];
    assert_eq!(revisions, expected);
    assert_eq!(house.tables.revisions(id, Rev(1)..=Rev(3)).await.unwrap(), expected);
    assert_eq!(house.tables.revisions(id, Rev(2)..=Rev(2)).await.unwrap(), expected[1..2]);

    let loaded = house.tables.load(id).await.unwrap().unwrap();
    assert_eq!((Some(loaded.meta), loaded.members, loaded.head), (change.meta, change.members, head));
    assert_eq!(house.tables.listed(user(3)).await, Ok(vec![listed(id, true, NOW)]));
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
    let change = invitation([8, 9], head.last_seq);
    let (invited, revisions) = house.tables.change(id, Some(head), &change, at).await.unwrap().unwrap();
    assert_eq!(invited, Head { last_rev: Rev(4), changed_at: at, revised_at: at, ..head });
    let expected = [join(3, 5, 8, Role::Member, at), join(4, 5, 9, Role::Member, at)];
    assert_eq!(revisions, expected);
    assert_eq!(house.tables.revisions(id, Rev(3)..=Rev(9)).await.unwrap(), expected);

    let loaded = house.tables.load(id).await.unwrap().unwrap();
    let who: Vec<_> = loaded.members.iter().map(|member| member.user).collect();
    assert_eq!((loaded.head, who), (invited, [1, 2, 8, 9].map(user).to_vec()));
    let begin = Marks { received: Seq(5), read: Seq(5) };
    assert_eq!(house.tables.marks(id).await, Ok(vec![(user(8), begin), (user(9), begin)]));
    let expected = Listed { marked_at: at, ..listed(id, true, at) };
    assert_eq!(house.tables.listed(user(9)).await, Ok(vec![expected]));

    // What was known before is stale now, for changes and for appends.
    assert_eq!(house.tables.change(id, Some(head), &invitation([10], Seq(5)), at).await, Ok(None));
    assert_eq!(house.tables.append(vec![following(id, head, 1)]).await, [Appended::Stale]);
    assert_eq!(house.tables.append(vec![following(id, invited, 1)]).await, [Appended::Yes]);
}

#[tokio::test]
async fn who_leaves_stays_listed_as_gone_and_who_is_promoted_keeps_the_marks() {
    let house = House::new();
    let (id, head) = create(&house.tables, 1, Kind::Group, 3).await;
    let head = fill(&house.tables, id, head, 2).await;
    let at = head.revised_at.plus(10);
    let until = Some(Until { seq: Seq(2), rev: Rev(4), at });
    let gone = Member {
        intervals: vec![Interval { after_seq: Seq(1), after_rev: Rev::ZERO, until }],
        ..member(3, Role::Member)
    };
    let promoted = member(2, Role::Admin);
    let leave = What::Leave { user: user(3), reason: Some("noise".into()) };
    let role = What::Role { user: user(2), role: Role::Admin };
    let both = Change {
        revisions: vec![revised(1, leave.clone()), revised(1, role.clone())],
        members: vec![gone.clone(), promoted.clone()],
        meta: None,
    };
    let (changed, revisions) = change(&house.tables, id, head, &both).await;
    assert_eq!(changed, Head { last_rev: Rev(5), changed_at: at, revised_at: at, ..head });
    let whats: Vec<_> = revisions.iter().map(|revision| revision.what.clone()).collect();
    assert_eq!(whats, [leave, role]);
    let loaded = house.tables.load(id).await.unwrap().unwrap();
    assert_eq!(loaded.members, [member(1, Role::Owner), promoted, gone]);
    assert_eq!(house.tables.listed(user(3)).await, Ok(vec![listed(id, false, at)]));
    assert_eq!(house.tables.listed(user(2)).await, Ok(vec![listed(id, true, at)]));
    assert_eq!(house.tables.listed(user(1)).await, Ok(vec![listed(id, true, NOW)]));
    // The promoted one was in from the beginning, and who left has no marks to begin.
    assert_eq!(house.tables.marks(id).await, Ok(vec![]));
}

#[tokio::test]
async fn only_members_and_meta_move_a_conversation_in_the_lists() {
    let house = House::new();
    let (id, head) = create(&house.tables, 1, Kind::Group, 2).await;
    let head = fill(&house.tables, id, head, 1).await;
    let (edited, _) = change(&house.tables, id, head, &revising([(1, edit(1, "other"))])).await;
    let revised_at = head.revised_at.plus(10);
    assert_eq!(edited, Head { last_rev: Rev(3), revised_at, ..head });
    let loaded = house.tables.load(id).await.unwrap().unwrap();
    assert_eq!((loaded.head, house.tables.heads(&[id]).await), (edited, Ok(vec![Some(edited)])));

    let meta = Meta { title: None, open: true, ..loaded.meta };
    let opened = Change { meta: Some(meta.clone()), ..Change::default() };
    let (opened, revisions) = change(&house.tables, id, edited, &opened).await;
    let at = revised_at.plus(10);
    assert_eq!(opened, Head { changed_at: at, revised_at: at, ..edited });
    assert_eq!(revisions, []);
    let loaded = house.tables.load(id).await.unwrap().unwrap();
    assert_eq!((loaded.head, loaded.meta), (opened, meta));
}

#[tokio::test]
async fn the_time_of_change_does_not_go_back() {
    let house = House::new();
    let (id, head) = create(&house.tables, 1, Kind::Group, 1).await;
    let (head, revisions) = house
        .tables
        .change(id, Some(head), &invitation([2], Seq::ZERO), NOW.minus(9))
        .await
        .unwrap()
        .unwrap();
    assert_eq!((head.changed_at, head.revised_at, revisions[0].at), (NOW, NOW, NOW));
    // Nor behind a revision that did not move the conversation.
    let head = fill(&house.tables, id, head, 1).await;
    let (edited, _) = change(&house.tables, id, head, &revising([(1, edit(1, "other"))])).await;
    let again = house.tables.change(id, Some(edited), &invitation([3], Seq(1)), NOW).await;
    let (invited, _) = again.unwrap().unwrap();
    assert_eq!((invited.changed_at, invited.revised_at), (edited.revised_at, edited.revised_at));
}

/// The story: an intent that cannot be carried out would stop its conversation for good, so that it is refused before
/// anything is written.
#[tokio::test]
async fn what_could_not_be_carried_out_is_refused_and_says_why() {
    let house = House::new();
    let (id, head) = create(&house.tables, 1, Kind::Group, 1).await;
    let head = fill(&house.tables, id, head, 3).await;
    let long = "x".repeat(VALUE_BYTES_MAX / 2);
    let other = creation(ConversationId::from_u128(9), Kind::Group, 1);
    let cases = [
        (None, invitation([2], Seq::ZERO), "begins with its meta"),
        (Some(head), other, "the meta of"),
        (Some(head), revising([(1, delete(0))]), "message 0"),
        (Some(head), revising([(1, react(4, "+", true, 1))]), "messages 1 to 3"),
        (Some(head), revising([(1, What::Edit { seq: Seq(1), body: None })]), "no text"),
        (Some(head), revising([(1, edit(1, &format!("{long}x")))]), "524289 bytes"),
        (Some(head), revising([(1, edit(1, &long)), (1, edit(2, &long))]), "up to 1048576"),
        (Some(head), revising([(1, react(1, &"x".repeat(256), true, 1))]), "256 bytes"),
    ];
    for (head, change, why) in cases {
        let answer = house.tables.change(id, head, &change, NOW.plus(50)).await;
        let Err(Error::Invalid(text)) = &answer else { panic!("{why}: {answer:?}") };
        assert!(text.contains(why), "{text} does not say {why}");
    }
    assert_eq!(house.tables.load(id).await.unwrap().unwrap().head, head);
    let longest = revising([(1, edit(1, &long)), (1, react(1, &"x".repeat(255), true, 1))]);
    let (head, _) = change(&house.tables, id, head, &longest).await;
    assert_eq!(house.tables.append(vec![following(id, head, 1)]).await, [Appended::Yes]);
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
        let change = invitation(numbers, Seq::ZERO);
        (head, _) = house.tables.change(id, Some(head), &change, NOW).await.unwrap().unwrap();
    }
    let around = house.tables.revisions(id, Rev(BUCKET - 1)..=Rev(BUCKET + 2)).await.unwrap();
    let revs: Vec<_> = around.iter().map(|revision| revision.rev.0).collect();
    assert_eq!(revs, [BUCKET - 1, BUCKET, BUCKET + 1, BUCKET + 2]);
    let loaded = house.tables.load(id).await.unwrap().unwrap();
    assert_eq!(loaded.members.len() as u64, head.last_rev.0);
    assert_eq!(loaded.head, head);
}

/// A group with messages, of which some were reacted to and edited before.
async fn lively(house: &House, id: ConversationId) -> Head {
    let (_, head) = create(&house.tables, 1, Kind::Group, 3).await;
    assert_eq!(id, ConversationId::from_u128(1));
    let head = fill(&house.tables, id, head, 4).await;
    let before = revising([
        (1, edit(1, "THE FIRST EDIT")),
        (2, react(3, "+", true, 1)),
        (2, react(4, "+", true, 1)),
        (3, react(4, "-", true, 1)),
    ]);
    change(&house.tables, id, head, &before).await.0
}

/// A change of every kind at once.
fn everything(head: Head) -> Change {
    let until = Some(Until { seq: head.last_seq, rev: Rev(head.last_rev.0 + 1), at: NOW.plus(50) });
    let gone = Member {
        intervals: vec![Interval { after_seq: Seq::ZERO, after_rev: Rev::ZERO, until }],
        ..member(3, Role::Member)
    };
    let mut change = invitation([4], head.last_seq);
    change.members.extend([gone, member(2, Role::Admin)]);
    change.meta = creation(ConversationId::from_u128(1), Kind::Group, 1).meta;
    let title = Some("Sailors".to_owned());
    if let Some(meta) = &mut change.meta {
        meta.title = title.clone();
    }
    let whats = [
        What::Leave { user: user(3), reason: None },
        What::Role { user: user(2), role: Role::Admin },
        What::Meta(MetaChange { title: Some(title), ..MetaChange::default() }),
        edit(1, "THE SECOND EDIT"),
        react(1, "+", true, 1),
        edit(2, "AN EDIT BEFORE THE DELETION"),
        delete(2),
        react(2, "+", true, 1),
        react(3, "+", false, 0),
        delete(4),
    ];
    for (number, what) in (0..).zip(whats) {
        let by = if matches!(what, What::React { .. }) { user(2) } else { user(1) };
        change.revisions.push(Revised { by, what, client_id: Some(client(900 + number)) });
    }
    change
}

/// The story: the host is killed in the middle of a change. Before the intent stands, nothing has happened but that who
/// comes in may find in their list what is not there yet; after it, whoever loads the conversation next finishes the change, whatever was written of it, be they killed themselves
/// meanwhile. In the end every row of the file is what it is without a kill.
#[tokio::test]
async fn a_change_that_was_cut_at_any_step_is_not_begun_or_is_finished_by_the_next_load() {
    let id = ConversationId::from_u128(1);
    let at = NOW.plus(50);
    for creates in [true, false] {
        let begin = async || {
            let house = House::new();
            let before = if creates { None } else { Some(lively(&house, id).await) };
            let change = before.map_or_else(|| creation(id, Kind::Group, 3), everything);
            (house, before, change)
        };
        let (untouched, ..) = begin().await;
        let untouched = untouched.rows().await;
        let (whole, before, change) = begin().await;
        let (head, _) = whole.tables.change(id, before, &change, at).await.unwrap().unwrap();
        let whole = whole.rows().await;

        let mut cut = 0;
        loop {
            let (house, before, change) = begin().await;
            let stopping = Stopping::after(cut, house.store.clone());
            let answer = house.by_way_of(stopping.clone()).change(id, before, &change, at).await;
            let stopped = stopping.has_stopped();
            assert_eq!(stopped, answer.is_err(), "an answer comes when all is written: {answer:?} at {cut}");
            if stopped {
                // What is open has not happened yet.
                let numbers = |head: Option<Head>| head.map(|head| (head.last_seq, head.last_rev));
                let listed = house.tables.heads(&[id]).await.unwrap()[0];
                assert_eq!(numbers(listed), numbers(before), "cut at {cut}");
                let again = Stopping::after(cut / 2, house.store.clone());
                let _ = house.by_way_of(again).load(id).await;
            }
            let loaded = house.tables.load(id).await.unwrap();
            // First come the rows of who is in by then, one each; with the next write the change has begun.
            let listed = change.members.iter().filter(|member| member.present()).count() as i64;
            let begun = cut > listed;
            let expected = if begun { Some(head) } else { before };
            assert_eq!(loaded.map(|loaded| loaded.head), expected, "cut at {cut}");
            assert_eq!(house.tables.heads(&[id]).await, Ok(vec![expected]), "cut at {cut}");
            let rows = house.rows().await;
            let same = if begun { rows == whole } else { but_lists(&rows) == but_lists(&untouched) };
            assert!(same, "the rows after {cut} writes");
            if !stopped {
                break;
            }
            cut += 1;
        }
        assert!(cut > 8, "the cuts went through all steps, there were {cut}");
    }
}

/// The rows that stand in no user's list.
fn but_lists(rows: &[(Vec<u8>, Vec<u8>)]) -> Vec<&(Vec<u8>, Vec<u8>)> {
    const STATE_OF_A_USER: [u8; 3] = [2, 17, b'u'];
    let is_listed = |key: &[u8]| key.starts_with(&STATE_OF_A_USER) && key.get(19) == Some(&b'c');
    rows.iter().filter(|(key, _)| !is_listed(key)).collect()
}

#[tokio::test]
async fn what_was_deleted_and_what_an_edit_replaced_is_in_no_row_any_more() {
    const GONE: [&str; 5] =
        ["message 1", "message 2", "message 4", "THE FIRST EDIT", "AN EDIT BEFORE THE DELETION"];
    let house = House::new();
    let id = ConversationId::from_u128(1);
    let head = lively(&house, id).await;
    let _ = change(&house.tables, id, head, &everything(head)).await;
    let rows = house.rows().await;
    let holds = |text: &str| {
        let text = text.as_bytes();
        let within = |bytes: &Vec<u8>| bytes.windows(text.len()).any(|window| window == text);
        rows.iter().filter(|(key, value)| within(key) || within(value)).count()
    };
    for text in GONE {
        assert_eq!(holds(text), 0, "{text}");
    }
    // What stands is in the row of its message alone.
    for text in ["THE SECOND EDIT", "message 3"] {
        assert_eq!(holds(text), 1, "{text}");
    }
}

#[tokio::test]
async fn two_who_finish_the_same_change_write_it_once() {
    let house = House::new();
    let id = ConversationId::from_u128(1);
    let head = lively(&house, id).await;
    // Two are listed, then the change begins.
    let stopping = Stopping::after(3, house.store.clone());
    let cut = house.by_way_of(stopping).change(id, Some(head), &everything(head), NOW.plus(50)).await;
    assert!(cut.is_err());
    let (one, two) = tokio::join!(house.tables.load(id), house.tables.load(id));
    let (one, two) = (one.unwrap().unwrap(), two.unwrap().unwrap());
    assert_eq!((one.head, one.members), (two.head, two.members));

    let alone = House::new();
    let head = lively(&alone, id).await;
    let change = alone.tables.change(id, Some(head), &everything(head), NOW.plus(50)).await;
    assert!(change.unwrap().is_some());
    assert!(house.rows().await == alone.rows().await, "two wrote something else than one");
}
