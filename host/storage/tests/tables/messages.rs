//! Messages: appends over buckets, heads, client ids, reading back.

use crate::common::{
    BUCKET, House, Lying, NOW, after, change, client, create, delete, fill, following, invitation, message,
    react, revising, user,
};
use godwit_domain::{
    conversation::{Head, Kind},
    filter::{Decision, Hook, Step, Verdict},
    id::{ConversationId, Generation, Rev, Seq},
    message::{Accepted, Attachment, Content, Message},
    tables::{Append, Appended, Conversations},
    waist::{Check, Error},
};
use std::sync::Arc;

const ALL: usize = usize::MAX;

async fn numbers(house: &House, id: ConversationId, from: u64, to: u64, newest_first: bool) -> Vec<u64> {
    let found = house.tables.messages(id, Seq(from)..=Seq(to), newest_first, ALL).await.unwrap();
    found.iter().map(|message| message.seq.0).collect()
}

#[tokio::test]
async fn a_message_is_read_back_with_all_that_it_carries() {
    let house = House::new();
    let (id, head) = create(&house.tables, 1, Kind::Group, 2).await;
    let full = Message {
        content: Content {
            attachments: vec![Attachment {
                media: client(5).0,
                name: "sea.png".into(),
                media_type: "image/png".into(),
                size: 1 << 40,
                width: Some(640),
                height: None,
            }],
            reply_to: Some(Seq(7)),
            thread: Some(Seq(3)),
            mentions: vec![user(2), user(1)],
            expires_in_s: Some(60),
            ..Content::text("häläö \u{0} 🌊")
        },
        via: Some("helpbot".into()),
        verdict: Verdict {
            generation: Generation(9),
            steps: vec![Step { plugin: 1, hook: Hook::Normalise, decision: Decision::Rewrite, micros: 12 }],
        },
        ..message(id, 1, "")
    };
    let append = Append {
        conversation: id,
        head,
        changed_at: NOW,
        messages: vec![(Arc::new(full.clone()), u64::MAX)],
    };
    assert_eq!(house.tables.append(vec![append]).await, [Appended::Yes]);
    assert_eq!(house.tables.messages(id, Seq(1)..=Seq(1), false, 0).await, Ok(vec![full]));
}

#[tokio::test]
async fn appends_are_dense_over_the_bounds_of_buckets() {
    let house = House::new();
    let (id, mut head) = create(&house.tables, 1, Kind::Direct, 2).await;
    let last = 2 * BUCKET + 3;
    for stop in [1, BUCKET - 1, BUCKET, BUCKET + 1, 2 * BUCKET, last] {
        head = fill(&house.tables, id, head, stop).await;
        assert_eq!(house.tables.load(id).await.unwrap().unwrap().head, head, "loaded at {stop}");
        assert_eq!(house.tables.heads(&[id]).await, Ok(vec![Some(head)]), "listed at {stop}");
    }
    let all: Vec<_> = (1..=last).collect();
    assert_eq!(numbers(&house, id, 0, last, false).await, all);
    assert_eq!(numbers(&house, id, 1, last, true).await, all);
    assert_eq!(numbers(&house, id, BUCKET, BUCKET + 1, true).await, [BUCKET, BUCKET + 1]);
    assert_eq!(numbers(&house, id, 5, 4, false).await, [0; 0]);
}

#[tokio::test]
async fn a_bucket_ends_at_every_4096th_number() {
    let tables = House::new().tables;
    for (seq, end) in [(0, BUCKET), (1, BUCKET), (BUCKET, BUCKET), (BUCKET + 1, 2 * BUCKET)] {
        assert_eq!(tables.bucket_end(Seq(seq)), Seq(end), "{seq}");
    }
}

#[tokio::test]
async fn every_head_that_the_conversation_had_before_is_stale() {
    let house = House::new();
    let (id, start) = create(&house.tables, 1, Kind::Group, 2).await;
    let (mut head, mut before) = (start, Vec::new());
    for last in [1, 3, BUCKET - 1, BUCKET, BUCKET + 1, 2 * BUCKET, 2 * BUCKET + 1] {
        before.push(head);
        head = fill(&house.tables, id, head, last).await;
        for stale in &before {
            let outcome = house.tables.append(vec![following(id, *stale, 1)]).await;
            assert_eq!(outcome, [Appended::Stale], "{stale:?} at {last}");
        }
    }
    for stale in [
        Head { changed_at: head.changed_at.plus(1), revised_at: head.revised_at.plus(1), ..head },
        Head { revised_at: head.revised_at.plus(1), ..head },
        Head { last_rev: Rev(9), ..head },
    ] {
        assert_eq!(house.tables.append(vec![following(id, stale, 1)]).await, [Appended::Stale], "{stale:?}");
    }
    assert_eq!(numbers(&house, id, 2 * BUCKET, 2 * BUCKET + 9, false).await, [2 * BUCKET, 2 * BUCKET + 1]);
}

#[tokio::test]
async fn appends_of_one_call_stand_and_fall_by_themselves() {
    let house = House::new();
    let (one, one_head) = create(&house.tables, 1, Kind::Group, 2).await;
    let (two, two_head) = create(&house.tables, 2, Kind::Group, 2).await;
    let stale = Head { last_seq: Seq(4), ..two_head };
    let outcomes = house
        .tables
        .append(vec![following(one, one_head, 2), following(two, stale, 1), following(two, two_head, 3)])
        .await;
    assert_eq!(outcomes, [Appended::Yes, Appended::Stale, Appended::Yes]);
    assert_eq!(numbers(&house, one, 1, 9, false).await, [1, 2]);
    assert_eq!(numbers(&house, two, 1, 9, false).await, [1, 2, 3]);
}

#[tokio::test]
async fn appends_that_break_the_rules_are_refused_and_say_why() {
    let house = House::new();
    let (id, head) = create(&house.tables, 1, Kind::Group, 2).await;
    let full = fill(&house.tables, id, head, BUCKET - 1).await;
    let right = following(id, full, 1);
    let gap = Append { head: Head { last_seq: Seq(3), ..full }, ..right.clone() };
    let cases = [
        (Append { messages: vec![], ..right.clone() }, "no message"),
        (gap, "do not follow"),
        (following(id, full, 2), "two buckets"),
        (Append { changed_at: full.changed_at.minus(1), ..right.clone() }, "time of change"),
        (
            Append {
                head: Head { revised_at: full.changed_at.plus(9), ..full },
                changed_at: full.changed_at.plus(8),
                ..right.clone()
            },
            "time of change",
        ),
        (Append { conversation: ConversationId::from_u128(9), ..right.clone() }, "do not follow"),
    ];
    for (append, why) in cases {
        let outcome = house.tables.append(vec![append]).await;
        let [Appended::Refused(Error::Invalid(text))] = &outcome[..] else { panic!("{outcome:?}") };
        assert!(text.contains(why), "{text} does not say {why}");
    }
    assert_eq!(house.tables.append(vec![right]).await, [Appended::Yes]);
}

#[tokio::test]
async fn a_send_reads_nothing_and_commits_one_batch_per_conversation() {
    let house = House::new();
    let (one, one_head) = create(&house.tables, 1, Kind::Group, 50).await;
    let (two, two_head) = create(&house.tables, 2, Kind::Direct, 2).await;
    let watched = Lying::over(house.store.clone(), false);
    let tables = house.by_way_of(watched.clone());
    let outcomes = tables.append(vec![following(one, one_head, 2), following(two, two_head, 1)]).await;
    assert_eq!(outcomes, [Appended::Yes, Appended::Yes]);
    assert_eq!(*watched.reads.lock().unwrap(), 0);
    let commits = watched.commits.lock().unwrap();
    let rows: Vec<Vec<_>> =
        commits.iter().map(|call| call.iter().map(|batch| batch.puts.len()).collect()).collect();
    // A message and its client id each, and the head; nothing per recipient.
    assert_eq!(rows, [[5, 3]]);
    for batch in commits.iter().flatten() {
        let [Check::Equals(standing)] = &batch.checks[..] else { panic!("{:?}", batch.checks) };
        let keys: Vec<_> = batch.puts.iter().map(|put| &put.row.key).collect();
        assert_eq!(*keys[0], standing.key, "the row that is checked is written first");
        assert!(keys[1..].is_sorted(), "the others are written in their order: {keys:?}");
    }
}

/// A change after a bucket's last message opens the next bucket; the append that follows was made for a
/// new bucket and must find its place in the open one.
#[tokio::test]
async fn a_bucket_that_a_change_opened_is_appended_to() {
    let house = House::new();
    let (id, head) = create(&house.tables, 1, Kind::Group, 2).await;
    let full = fill(&house.tables, id, head, BUCKET).await;
    let (invited, _) = change(&house.tables, id, full, &invitation([3], full.last_seq)).await;
    assert_eq!(house.tables.load(id).await.unwrap().unwrap().head, invited);
    assert_eq!(house.tables.heads(&[id]).await, Ok(vec![Some(invited)]));

    let stale = following(id, full, 1);
    assert_eq!(house.tables.append(vec![stale]).await, [Appended::Stale]);
    let append = following(id, invited, 2);
    let head = after(&append);
    assert_eq!(house.tables.append(vec![append]).await, [Appended::Yes]);
    assert_eq!(house.tables.load(id).await.unwrap().unwrap().head, head);
    assert_eq!(numbers(&house, id, BUCKET, BUCKET + 9, false).await, [BUCKET, BUCKET + 1, BUCKET + 2]);
}

#[tokio::test]
async fn heads_come_in_the_order_asked() {
    let house = House::new();
    let (one, _) = create(&house.tables, 1, Kind::Group, 2).await;
    let (two, head) = create(&house.tables, 2, Kind::Group, 2).await;
    let long = fill(&house.tables, two, head, 2 * BUCKET + 1).await;
    let missing = ConversationId::from_u128(3);
    let heads = house.tables.heads(&[two, missing, one, two]).await.unwrap();
    assert_eq!(heads[0], Some(long));
    assert_eq!(heads[1], None);
    assert_eq!(heads[2].map(|head| head.last_seq), Some(Seq::ZERO));
    assert_eq!(heads[3], Some(long));
}

/// The hint of the last bucket is raised after the append: a crash between the two leaves it behind.
#[tokio::test]
async fn the_last_bucket_is_found_without_its_hint() {
    let house = House::new();
    let (id, head) = create(&house.tables, 1, Kind::Group, 2).await;
    let full = fill(&house.tables, id, head, BUCKET).await;
    let crashing = house.by_way_of(crate::common::Stopping::after(1, house.store.clone()));
    let append = following(id, full, 1);
    let head = after(&append);
    assert_eq!(crashing.append(vec![append]).await, [Appended::Yes]);
    assert_eq!(house.tables.load(id).await.unwrap().unwrap().head, head);
    assert_eq!(house.tables.heads(&[id]).await, Ok(vec![Some(head)]));
}

#[tokio::test]
async fn client_ids_are_read_back_through_the_first_bucket_that_is_old_enough() {
    let house = House::new();
    let (id, head) = create(&house.tables, 1, Kind::Group, 2).await;
    let last = 2 * BUCKET + 2;
    let head = fill(&house.tables, id, head, last).await;
    // Appends of `fill` open each bucket at the time of its last message; the first one at the creation.
    let opened = [NOW, NOW.plus(2 * BUCKET), NOW.plus(last)];
    for (opened_before, expected) in
        [(NOW.plus(last), 1), (NOW.plus(last - 1), 2), (NOW.plus(2 * BUCKET - 1), 3), (NOW.minus(1), 3)]
    {
        let found = house.tables.recent_clients(id, head, opened_before).await.unwrap();
        let firsts: Vec<_> = found.iter().map(|bucket| (bucket.first_seq.0, bucket.opened_at)).collect();
        let all = [(2 * BUCKET + 1, opened[2]), (BUCKET + 1, opened[1]), (1, opened[0])];
        assert_eq!(firsts, all[..expected], "{opened_before}");
        let counts: Vec<_> = found.iter().map(|bucket| bucket.clients.len() as u64).collect();
        assert_eq!(counts, [2, BUCKET, BUCKET][..expected], "{opened_before}");
    }
    let newest = &house.tables.recent_clients(id, head, NOW.plus(last)).await.unwrap()[0];
    for seq in [last - 1, last] {
        let answer = Accepted { seq: Seq(seq), sent_at: NOW.plus(seq), content_hash: seq * 31 };
        assert!(newest.clients.contains(&(user(u128::from(seq % 2) + 1), client(seq), answer)), "{seq}");
    }
}

#[tokio::test]
async fn what_a_client_id_was_answered_is_found_in_the_buckets_that_count() {
    let house = House::new();
    let (id, head) = create(&house.tables, 1, Kind::Group, 2).await;
    let head = fill(&house.tables, id, head, 2 * BUCKET + 2).await;
    let (now, long_ago) = (head.changed_at, NOW);
    let sender = |seq: u64| user(u128::from(seq % 2) + 1);
    for (seq, opened_before, found) in [
        (2 * BUCKET + 1, now, true),
        (BUCKET + 1, now, false),
        (BUCKET + 1, long_ago, true),
        (1, long_ago, true),
        (2 * BUCKET + 3, long_ago, false),
    ] {
        let answer = Accepted { seq: Seq(seq), sent_at: NOW.plus(seq), content_hash: seq.wrapping_mul(31) };
        let accepted = house.tables.accepted(id, head, sender(seq), client(seq), opened_before).await;
        assert_eq!(accepted, Ok(found.then_some(answer)), "{seq}");
    }
    // Under another sender the same client id is another one.
    assert_eq!(house.tables.accepted(id, head, user(7), client(1), long_ago).await, Ok(None));
}

#[tokio::test]
async fn client_ids_are_forgotten_after_eight_days_and_messages_are_not() {
    let house = House::new();
    let (id, head) = create(&house.tables, 1, Kind::Group, 2).await;
    let head = fill(&house.tables, id, head, 1).await;
    let days = 24 * 60 * 60 * 1_000;
    house.clock.advance(8 * days);
    assert!(house.tables.accepted(id, head, user(2), client(1), NOW).await.unwrap().is_some());
    house.clock.advance(1);
    assert_eq!(house.tables.accepted(id, head, user(2), client(1), NOW).await, Ok(None));
    assert!(house.tables.recent_clients(id, head, NOW).await.unwrap()[0].clients.is_empty());
    assert_eq!(numbers(&house, id, 1, 1, false).await, [1]);
}

#[tokio::test]
async fn a_range_stops_before_its_bytes_are_passed_at_the_far_end() {
    let house = House::new();
    let (id, head) = create(&house.tables, 1, Kind::Group, 2).await;
    let bodies = ["aaaa", "bb", "cc", "dddd", "e"];
    let messages = (1..).zip(bodies).map(|(seq, body)| (Arc::new(message(id, seq, body)), 0)).collect();
    let append = Append { conversation: id, head, changed_at: NOW, messages };
    assert_eq!(house.tables.append(vec![append]).await, [Appended::Yes]);
    for (newest_first, bytes_max, expected) in [
        (false, 0, vec![1]),
        (false, 5, vec![1]),
        (false, 6, vec![1, 2]),
        (false, 8, vec![1, 2, 3]),
        (true, 0, vec![5]),
        (true, 5, vec![4, 5]),
        (true, 6, vec![4, 5]),
        (true, 7, vec![3, 4, 5]),
        (true, 99, vec![1, 2, 3, 4, 5]),
    ] {
        let found = house.tables.messages(id, Seq(1)..=Seq(5), newest_first, bytes_max).await.unwrap();
        let found: Vec<_> = found.iter().map(|message| message.seq.0).collect();
        assert_eq!(found, expected, "{bytes_max} bytes, newest first: {newest_first}");
    }
}

#[tokio::test]
async fn a_thread_is_read_from_either_end_over_the_bounds_of_buckets() {
    let house = House::new();
    let (id, head) = create(&house.tables, 1, Kind::Group, 2).await;
    let mut head = fill(&house.tables, id, head, BUCKET - 3).await;
    // In one append the replies of two threads; the second append begins a bucket.
    for count in [3, 4] {
        let mut append = following(id, head, count);
        for (message, _) in &mut append.messages {
            let root = if message.seq.0 % 2 == 0 { Seq(2) } else { Seq(1) };
            Arc::make_mut(message).content.thread = Some(root);
        }
        head = after(&append);
        assert_eq!(house.tables.append(vec![append]).await, [Appended::Yes]);
    }
    // Who is deleted keeps the place.
    let (head, _) = change(&house.tables, id, head, &revising([(1, delete(BUCKET))])).await;
    let evens = [BUCKET - 2, BUCKET, BUCKET + 2, BUCKET + 4];
    let whole = (Seq::ZERO, head.last_seq);
    for ((from, to), newest_first, limit, expected) in [
        (whole, false, 9, &evens[..]),
        (whole, true, 9, &evens[..]),
        (whole, false, 3, &evens[..3]),
        (whole, true, 3, &evens[1..]),
        (whole, true, 0, &[]),
        ((Seq(BUCKET - 1), Seq(BUCKET + 2)), false, 9, &evens[1..3]),
        ((Seq(BUCKET + 1), Seq(BUCKET)), false, 9, &[]),
    ] {
        let found = house.tables.thread(id, Seq(2), from..=to, newest_first, limit).await.unwrap();
        let found: Vec<_> = found.iter().map(|seq| seq.0).collect();
        assert_eq!(found, expected, "{from} to {to}, newest first: {newest_first}, {limit}");
    }
    let odds = house.tables.thread(id, Seq(1), whole.0..=whole.1, false, 2).await.unwrap();
    assert_eq!(odds, [Seq(BUCKET - 1), Seq(BUCKET + 1)]);
    assert_eq!(house.tables.thread(id, Seq(3), whole.0..=whole.1, false, 9).await, Ok(vec![]));
}

#[tokio::test]
async fn the_first_message_since_a_time_is_found_by_its_time() {
    let house = House::new();
    let (id, head) = create(&house.tables, 1, Kind::Group, 2).await;
    let last = BUCKET + 20;
    assert_eq!(house.tables.first_sent_since(id, Seq::ZERO, NOW).await, Ok(Seq(1)));
    let _ = fill(&house.tables, id, head, last).await;
    for (ms, expected) in [(0, 1), (1, 1), (2, 2), (BUCKET, BUCKET), (BUCKET + 1, BUCKET + 1), (last, last)] {
        let found = house.tables.first_sent_since(id, Seq(last), NOW.plus(ms)).await;
        assert_eq!(found, Ok(Seq(expected)), "{ms}");
    }
    assert_eq!(house.tables.first_sent_since(id, Seq(last), NOW.plus(last + 1)).await, Ok(Seq(last + 1)));
}

#[tokio::test]
async fn a_row_that_was_changed_behind_the_tables_is_corrupt_and_named() {
    let house = House::new();
    let (id, head) = create(&house.tables, 1, Kind::Group, 2).await;
    let head = fill(&house.tables, id, head, 3).await;
    let (head, _) = change(&house.tables, id, head, &revising([(1, react(3, "+", true, 1))])).await;
    let (head, _) = change(&house.tables, id, head, &invitation([3], Seq(3))).await;
    let tables = house.by_way_of(Lying::over(house.store.clone(), true));
    let errors = [
        ("a message", tables.messages(id, Seq(1)..=Seq(3), false, ALL).await.err()),
        ("a head", tables.load(id).await.err()),
        ("a head", tables.heads(&[id]).await.err()),
        ("the opening of a bucket", tables.recent_clients(id, head, NOW).await.err()),
        ("a revision", tables.revisions(id, Rev(1)..=Rev(2)).await.err()),
        ("a row of a user's list", tables.listed(user(1)).await.err()),
        ("a reaction", tables.reactions(id, Seq(3), None).await.err()),
        ("a mark", tables.marks(id).await.err()),
    ];
    let in_hex = id.0.simple().to_string();
    for (what, error) in errors {
        let Some(Error::Corrupt(text)) = error else { panic!("{what} gave {error:?}") };
        assert!(text.starts_with(what) && text.contains("checksum"), "{text} is not about {what}");
        assert!(text.contains(&in_hex) || what.contains("list"), "{text} does not say where");
    }
}
