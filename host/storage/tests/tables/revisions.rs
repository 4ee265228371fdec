//! Revisions: what they do to messages and reactions, and their client ids.

use crate::common::{
    BUCKET, House, NOW, change, client, create, delete, edit, fill, message, react, revising, user,
};
use godwit_domain::{
    conversation::{Head, Kind},
    id::{ConversationId, Rev, Seq},
    message::{Content, Message, Reaction, Revised},
    revision::{Change, What},
    tables::{Appended, Conversations},
    time::Ms,
    waist::{Batch, Partition, Space, Store},
};
use std::sync::Arc;

/// A group of two with so many messages. Its first two revisions are the members'.
async fn group(house: &House, messages: u64) -> (ConversationId, Head) {
    let (id, head) = create(&house.tables, 1, Kind::Group, 2).await;
    (id, fill(&house.tables, id, head, messages).await)
}

async fn one(house: &House, id: ConversationId, seq: u64) -> Message {
    house.tables.messages(id, Seq(seq)..=Seq(seq), false, 0).await.unwrap().remove(0)
}

fn reaction(emoji: &str, count: u32) -> Reaction {
    Reaction { emoji: emoji.into(), count }
}

#[tokio::test]
async fn an_edit_is_told_with_its_text_and_kept_without() {
    let house = House::new();
    let (id, head) = group(&house, 2).await;
    let (head, told) = change(&house.tables, id, head, &revising([(2, edit(1, "new"))])).await;
    let [told] = &told[..] else { panic!("{told:?}") };
    assert_eq!((told.rev, told.at_seq, told.by, told.at), (Rev(3), Seq(2), user(2), head.revised_at));
    assert_eq!(told.what, edit(1, "new"));
    let kept = house.tables.revisions(id, Rev(3)..=Rev(9)).await.unwrap();
    assert_eq!(kept.len(), 1);
    assert_eq!(kept[0].what, What::Edit { seq: Seq(1), body: None });

    let expected = Message {
        content: Content::text("new"),
        revised: Some(Box::new(Revised {
            rev: Rev(3),
            edited: Some((Rev(3), head.revised_at)),
            ..Revised::default()
        })),
        ..message(id, 1, "")
    };
    assert_eq!(one(&house, id, 1).await, expected);
    assert_eq!(one(&house, id, 2).await, message(id, 2, "message 2"));
}

#[tokio::test]
async fn revisions_of_one_message_are_applied_in_their_order() {
    let house = House::new();
    let (id, head) = group(&house, 1).await;
    let first = revising([
        (1, react(1, "b", true, 1)),
        (1, edit(1, "one")),
        (2, react(1, "a", true, 1)),
        (2, react(1, "b", true, 2)),
        (1, edit(1, "two")),
        (1, react(1, "b", false, 1)),
    ]);
    let (head, _) = change(&house.tables, id, head, &first).await;
    let message = one(&house, id, 1).await;
    assert_eq!((message.content.body.as_str(), message.rev()), ("two", Rev(8)));
    let revised = message.revised.unwrap();
    assert_eq!(revised.edited, Some((Rev(7), head.revised_at)));
    assert_eq!(revised.reactions, [reaction("b", 1), reaction("a", 1)], "in the order of the first of each");

    let (_, _) = change(&house.tables, id, head, &revising([(2, react(1, "b", false, 0))])).await;
    let revised = one(&house, id, 1).await.revised.unwrap();
    assert_eq!((revised.rev, revised.reactions), (Rev(9), vec![reaction("a", 1)]));
    assert_eq!(revised.edited, Some((Rev(7), head.revised_at)));
    assert_eq!(house.tables.reactions(id, Seq(1), None).await, Ok(vec![("a".into(), user(2))]));
}

#[tokio::test]
async fn a_deleted_message_keeps_its_place_and_shows_nothing_for_ever() {
    let house = House::new();
    let (id, head) = create(&house.tables, 1, Kind::Group, 2).await;
    let head = fill(&house.tables, id, head, 2).await;
    let full = Message {
        content: Content {
            attachments: vec![godwit_domain::message::Attachment {
                media: client(5).0,
                name: "sea.png".into(),
                media_type: "image/png".into(),
                size: 1,
                width: None,
                height: None,
            }],
            reply_to: Some(Seq(2)),
            thread: Some(Seq(1)),
            mentions: vec![user(2)],
            ..Content::text("secret")
        },
        ..message(id, 3, "")
    };
    let append = godwit_domain::tables::Append {
        messages: vec![(Arc::new(full.clone()), 0)],
        ..crate::common::following(id, head, 1)
    };
    let head = crate::common::after(&append);
    assert_eq!(house.tables.append(vec![append]).await, [Appended::Yes]);
    let reacted = revising([(1, edit(3, "other")), (1, react(3, "+", true, 1))]);
    let (head, _) = change(&house.tables, id, head, &reacted).await;
    let (head, _) = change(&house.tables, id, head, &revising([(1, delete(3))])).await;

    let deleted = Message {
        content: Content { reply_to: Some(Seq(2)), thread: Some(Seq(1)), ..Content::text("") },
        revised: Some(Box::new(Revised { rev: Rev(5), deleted: true, ..Revised::default() })),
        ..full
    };
    assert_eq!(one(&house, id, 3).await, deleted);
    assert!(deleted.is_deleted());
    assert_eq!(house.tables.reactions(id, Seq(3), None).await, Ok(vec![]));

    let late = revising([(1, edit(3, "again")), (1, react(3, "+", true, 1)), (2, delete(3))]);
    let (head, _) = change(&house.tables, id, head, &late).await;
    assert_eq!(head.last_rev, Rev(8));
    assert_eq!(one(&house, id, 3).await, deleted);
    assert_eq!(house.tables.reactions(id, Seq(3), None).await, Ok(vec![]));
}

#[tokio::test]
async fn a_change_revises_messages_of_several_buckets() {
    let house = House::new();
    let (id, head) = group(&house, BUCKET + 1).await;
    let seqs = [1, BUCKET, BUCKET + 1];
    let (head, _) = change(&house.tables, id, head, &revising(seqs.map(|seq| (1, edit(seq, "new"))))).await;
    let reacted = seqs.map(|seq| (2, react(seq, "+", true, 1)));
    let _ = change(&house.tables, id, head, &revising(reacted)).await;
    for seq in seqs {
        assert_eq!(one(&house, id, seq).await.content.body, "new", "{seq}");
        assert_eq!(house.tables.reactions(id, Seq(seq), None).await.unwrap().len(), 1, "{seq}");
    }
    let asked = seqs.map(|seq| (Seq(seq), "+"));
    assert_eq!(house.tables.reacts(id, user(2), &asked).await, Ok(vec![true; 3]));
}

/// A message ends by itself, or has ended before a revision of it is carried out.
#[tokio::test]
async fn a_message_that_is_not_stored_any_more_is_passed_over() {
    let house = House::new();
    let (id, head) = group(&house, 2).await;
    let name = [b"c", &id.as_bytes()[..], b"m", &0_u32.to_be_bytes()].concat();
    let partition = Partition { space: Space::Log, name: name.into() };
    let entry = [b"e", &1_u64.to_be_bytes()[..]].concat();
    let removed = Batch { partition, checks: vec![], puts: vec![], deletes: vec![entry.into()] };
    assert_eq!(house.store.commit(vec![removed]).await, [godwit_domain::waist::Outcome::Applied]);

    let both = revising([(1, edit(1, "new")), (1, react(1, "+", true, 1)), (1, edit(2, "new"))]);
    let (head, told) = change(&house.tables, id, head, &both).await;
    assert_eq!((head.last_rev, told.len()), (Rev(5), 3));
    let left = house.tables.messages(id, Seq(1)..=Seq(2), false, usize::MAX).await.unwrap();
    let left: Vec<_> = left.iter().map(|message| (message.seq.0, message.content.body.as_str())).collect();
    assert_eq!(left, [(2, "new")]);
    assert_eq!(house.tables.reactions(id, Seq(1), None).await, Ok(vec![]));
}

#[tokio::test]
async fn who_reacts_is_read_by_emoji_then_user() {
    let house = House::new();
    let (id, head) = group(&house, 2).await;
    let reacted = revising([
        (9, react(1, "ab", true, 1)),
        (2, react(1, "b", true, 1)),
        (3, react(1, "a", true, 1)),
        (1, react(1, "ab", true, 2)),
        (1, react(1, "a", true, 2)),
        (1, react(2, "a", true, 1)),
        (4, react(1, "🌊", true, 1)),
    ]);
    let (head, _) = change(&house.tables, id, head, &reacted).await;
    let expected = [("a", 1), ("a", 3), ("ab", 1), ("ab", 9), ("b", 2), ("🌊", 4)];
    let expected = expected.map(|(emoji, by)| (emoji.to_owned(), user(by)));
    assert_eq!(house.tables.reactions(id, Seq(1), None).await.unwrap(), expected);
    for (emoji, range) in [("a", 0..2), ("ab", 2..4), ("🌊", 5..6), ("c", 0..0)] {
        let found = house.tables.reactions(id, Seq(1), Some(emoji)).await.unwrap();
        assert_eq!(found, expected[range], "{emoji}");
    }
    let asked = [(Seq(1), "a"), (Seq(1), "b"), (Seq(2), "a"), (Seq(2), "ab"), (Seq(3), "a")];
    assert_eq!(house.tables.reacts(id, user(1), &asked).await, Ok(vec![true, false, true, false, false]));

    let (_, _) = change(&house.tables, id, head, &revising([(1, react(1, "a", false, 1))])).await;
    assert_eq!(house.tables.reacts(id, user(1), &asked[..1]).await, Ok(vec![false]));
    assert_eq!(house.tables.reactions(id, Seq(1), Some("a")).await, Ok(vec![("a".into(), user(3))]));
}

/// So many reactions under the client ids from `first` on.
fn reacting(first: u64, count: u64) -> Change {
    let mut change = revising((0..count).map(|_| (1, react(1, "+", true, 1))));
    for (client_id, revision) in (first..).map(client).zip(&mut change.revisions) {
        revision.client_id = Some(client_id);
    }
    change
}

#[tokio::test]
async fn the_number_of_a_revision_is_found_in_the_buckets_that_count() {
    let house = House::new();
    let (id, head) = group(&house, 1).await;
    let first_opened = NOW;
    // The first two revisions have no client id: revision 3 has the client id 3, and so on over a bound of buckets.
    let (head, _) = change(&house.tables, id, head, &reacting(3, BUCKET - 4)).await;
    let (head, _) = change(&house.tables, id, head, &reacting(BUCKET - 1, 4)).await;
    assert_eq!(head.last_rev, Rev(BUCKET + 2));
    let second_opened = head.revised_at;
    for (number, opened_before, found) in [
        (BUCKET + 2, second_opened, true),
        (BUCKET + 1, second_opened, true),
        (BUCKET, second_opened, false),
        (BUCKET, second_opened.minus(1), true),
        (3, second_opened.minus(1), true),
        (3, first_opened, true),
        (3, Ms(0), true),
        (2, Ms(0), false),
        (BUCKET + 3, Ms(0), false),
    ] {
        let rev = house.tables.revised(id, head, user(1), client(number), opened_before).await;
        assert_eq!(rev, Ok(found.then_some(Rev(number))), "{number} opened before {opened_before}");
    }
    // Under another user the same client id is another one.
    assert_eq!(house.tables.revised(id, head, user(2), client(3), Ms(0)).await, Ok(None));
}

#[tokio::test]
async fn where_nothing_was_revised_no_client_id_was_used() {
    let house = House::new();
    let (id, head) = create(&house.tables, 1, Kind::Direct, 2).await;
    assert_eq!(head.last_rev, Rev::ZERO);
    assert_eq!(house.tables.revised(id, head, user(1), client(1), NOW).await, Ok(None));
}

#[tokio::test]
async fn client_ids_of_revisions_are_forgotten_after_eight_days() {
    let house = House::new();
    let (id, head) = group(&house, 1).await;
    let (head, _) = change(&house.tables, id, head, &reacting(3, 1)).await;
    let days = 24 * 60 * 60 * 1_000;
    house.clock.advance(8 * days + head.revised_at.since(NOW) - 1);
    let find = || house.tables.revised(id, head, user(1), client(3), NOW);
    assert_eq!(find().await, Ok(Some(Rev(3))));
    house.clock.advance(1);
    assert_eq!(find().await, Ok(None));
    assert_eq!(house.tables.revisions(id, Rev(3)..=Rev(3)).await.unwrap().len(), 1);
}
