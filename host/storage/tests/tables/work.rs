//! What actors work with: kept together with the end of an event, or not at all.

use crate::common::{House, Lying, NOW, Stopping, client, user};
use godwit_domain::{
    actor::{Act, Fate, KvWrite, Named, Target},
    id::{ConversationId, Rev, Seq},
    kept::Kv,
    message::Content,
    tables::{
        Answered, Cause, End, Errand, Failing, Finished, KV_BYTES_MAX, KV_VALUE_BYTES_MAX, Letter, Notice,
        Position, RequestKey, Settlement, Settling, Timer, TimerChange, Work, Worker,
    },
    time::Ms,
    waist::Error,
};
use std::sync::Arc;

const BOT: &str = "helpbot";
const HERE: ConversationId = ConversationId::from_u128(7);

async fn house() -> House {
    let house = House::new();
    let worker = Worker { user: user(9), since: NOW };
    assert_eq!(house.tables.employ(BOT, worker).await, Ok(worker));
    house
}

fn at(seq: u64) -> End {
    End::Position(HERE, Position { seq: Seq(seq), rev: Rev(0), failing: None })
}

fn write(key: &str, value: &str) -> KvWrite {
    KvWrite { key: key.into(), value: Some(value.into()), ttl_s: None }
}

fn writes(end: End, writes: Vec<KvWrite>) -> Settlement {
    Settlement { writes, ..Settlement::of(end) }
}

fn errand(reference: &str) -> Errand {
    Errand {
        n: 0,
        client_id: client(1),
        reference: reference.into(),
        at: NOW,
        hops: 1,
        act: Act::Send(Target::Conversation(HERE), Content::text("hello")),
    }
}

fn timer(name: &str, at: u64) -> Timer {
    Timer { n: 0, name: name.into(), at: NOW.plus(at), payload: b"p".to_vec(), hops: 2 }
}

fn letter(seq: u64) -> Letter {
    Letter {
        n: 0,
        conversation: Some(HERE),
        cause: Cause::Message { seq: Seq(seq) },
        at: NOW,
        hops: 0,
        dead_at: NOW,
        attempts: 3,
        version: "1.0.0".into(),
        why: "trap".into(),
    }
}

fn notice(n: u64) -> Notice {
    let fate = Fate::Accepted(HERE, Seq(3));
    let cause = Cause::Sent { reference: "m#0".into(), fate };
    Notice { n, conversation: Some(HERE), at: NOW, hops: 1, cause }
}

async fn settle(house: &House, settlement: Settlement) -> Settling {
    house.tables.settle(BOT, vec![settlement]).await.unwrap().remove(0)
}

async fn get(house: &House, key: &str) -> Option<String> {
    let value = house.tables.kv_get(BOT, key).await.unwrap();
    value.map(|value| String::from_utf8(value.to_vec()).unwrap())
}

#[tokio::test]
async fn an_end_and_what_it_caused_are_one() {
    let house = house().await;
    let effects = Settlement {
        writes: vec![write("a", "1")],
        errands: vec![errand("m#0"), errand("m#1")],
        timers: vec![TimerChange::Set(timer("tea", 5))],
        letter: Some(letter(1)),
        ..Settlement::of(at(1))
    };
    for cut in 0..2 {
        let dying = house.by_way_of(Stopping::after(cut, house.store.clone()));
        let settled = dying.settle(BOT, vec![effects.clone()]).await;
        assert_eq!(settled.is_ok(), cut == 1, "the whole is one write");
        let happened = cut == 1;
        assert_eq!(get(&house, "a").await.is_some(), happened);
        assert_eq!(house.tables.errands(BOT, 0, 10).await.unwrap().len(), 2 * usize::from(happened));
        assert_eq!(house.tables.timer(BOT, "tea").await.unwrap().is_some(), happened);
        assert_eq!(house.tables.letters(BOT, 0, 10).await.unwrap().len(), usize::from(happened));
        assert_eq!(house.tables.position(BOT, HERE).await.unwrap().is_some(), happened);
    }
    assert_eq!(settle(&house, effects).await, Settling::Over, "what has ended does not end again");
    assert_eq!(house.tables.errands(BOT, 0, 10).await.unwrap().len(), 2);
}

#[tokio::test]
async fn what_was_read_must_stand_and_what_one_writes_the_next_finds() {
    let house = house().await;
    let read = |value: Option<&str>| vec![("a".to_owned(), value.map(|value| Arc::from(value.as_bytes())))];
    let first = Settlement { reads: read(None), ..writes(at(1), vec![write("a", "1")]) };
    let stale = Settlement { reads: read(None), ..writes(at(2), vec![write("a", "x")]) };
    let third = Settlement { reads: read(Some("1")), ..writes(at(3), vec![write("a", "2")]) };
    let settled = house.tables.settle(BOT, vec![first, stale.clone(), third]).await.unwrap();
    assert_eq!(settled, [Settling::Done(vec![]), Settling::Conflict, Settling::Done(vec![])]);
    assert_eq!(get(&house, "a").await.as_deref(), Some("2"));
    assert_eq!(settle(&house, Settlement { end: at(4), ..stale }).await, Settling::Conflict);
    let deleted = KvWrite { key: "a".into(), value: None, ttl_s: None };
    assert_eq!(settle(&house, writes(at(4), vec![deleted])).await, Settling::Done(vec![]));
    assert_eq!(get(&house, "a").await, None);
}

#[tokio::test]
async fn a_bucket_is_scanned_in_order_and_whatever_is_written_there_is_noticed() {
    let house = house().await;
    let keys = ["poll/1", "poll/2", "poll/3", "polls/1", "pol", "poll"];
    let all = keys.iter().map(|key| write(key, key)).collect();
    assert_eq!(settle(&house, writes(at(1), all)).await, Settling::Done(vec![]));
    let scan = async |bucket: &str, after: Option<&str>, limit: usize| {
        let (rows, version) = house.tables.kv_scan(BOT, bucket, after, limit).await.unwrap();
        (rows.into_iter().map(|(key, _)| key).collect::<Vec<_>>(), version)
    };
    assert_eq!(scan("poll", None, 10).await, (vec!["poll/1".into(), "poll/2".into(), "poll/3".into()], 1));
    assert_eq!(scan("poll", Some("poll/1"), 1).await.0, ["poll/2"]);
    assert_eq!(scan("poll", Some("poll/3"), 1).await.0, [""; 0]);
    assert_eq!(scan("", None, 10).await.0, ["pol", "poll"]);
    assert_eq!(scan("none", None, 10).await, (vec![], 0));
    let scanned =
        |end| Settlement { scans: vec![("poll".into(), 1)], ..writes(end, vec![write("poll/4", "")]) };
    assert_eq!(settle(&house, scanned(at(2))).await, Settling::Done(vec![]));
    assert_eq!(settle(&house, scanned(at(3))).await, Settling::Conflict);
}

#[tokio::test]
async fn rows_of_kv_end_by_themselves_and_are_told_with_their_end() {
    let house = house().await;
    let short = KvWrite { ttl_s: Some(5), ..write("short", "1") };
    assert_eq!(settle(&house, writes(at(1), vec![short, write("long", "2")])).await, Settling::Done(vec![]));
    let ends: Vec<_> =
        house.tables.kv_all(BOT).await.unwrap().into_iter().map(|row| (row.key, row.expires_at)).collect();
    assert_eq!(ends, [("long".to_owned(), None), ("short".to_owned(), Some(NOW.plus(5_000)))]);
    house.clock.advance(5_000);
    assert_eq!((get(&house, "short").await, get(&house, "long").await), (None, Some("2".into())));
}

#[tokio::test]
async fn the_quota_counts_what_stands_and_not_what_has_ended() {
    let house = house().await;
    let value = "x".repeat(KV_VALUE_BYTES_MAX);
    let large = |key: String, ttl_s| KvWrite { key, value: Some(value.clone().into()), ttl_s };
    let count = KV_BYTES_MAX as usize / KV_VALUE_BYTES_MAX;
    let mut seq = 0;
    let mut put = async |key: String, ttl_s| {
        seq += 1;
        settle(&house, writes(at(seq), vec![large(key, ttl_s)])).await
    };
    for index in 0..count - 1 {
        assert_eq!(put(format!("{index}"), (index < 2).then_some(5)).await, Settling::Done(vec![]));
    }
    assert!(matches!(put("one too many".into(), None).await, Settling::Full(bytes) if bytes > KV_BYTES_MAX));
    assert_eq!(get(&house, "one too many").await, None);
    assert_eq!(put("0".into(), Some(5)).await, Settling::Done(vec![]), "in the place of another");
    house.clock.advance(5_000);
    assert_eq!(put("room again".into(), None).await, Settling::Done(vec![]));
}

#[tokio::test]
async fn a_timer_fires_once_and_one_that_was_cancelled_or_set_anew_does_not() {
    let house = house().await;
    let set = |end, timer| Settlement { timers: vec![TimerChange::Set(timer)], ..Settlement::of(end) };
    for (seq, name, ms) in [(1, "tea", 10), (2, "egg", 5), (3, "tea", 20)] {
        assert_eq!(settle(&house, set(at(seq), timer(name, ms))).await, Settling::Done(vec![]));
    }
    let due = async |ms: u64| house.tables.due(BOT, NOW.plus(ms), 10).await.unwrap();
    assert_eq!(due(4).await, []);
    assert_eq!(house.tables.next_due(BOT, NOW).await, Ok(Some(NOW.plus(5))));
    let named: Vec<_> = due(30).await.into_iter().map(|timer| (timer.name, timer.at)).collect();
    assert_eq!(named, [("egg".to_owned(), NOW.plus(5)), ("tea".to_owned(), NOW.plus(20))]);
    let fires = |timer: &Timer| Settlement::of(End::Timer(timer.name.clone(), timer.n));
    let all = due(30).await;
    assert_eq!(settle(&house, fires(&all[0])).await, Settling::Done(vec![]));
    assert_eq!(settle(&house, fires(&all[0])).await, Settling::Over);
    let cancel = vec![TimerChange::Cancel("tea".into())];
    assert_eq!(
        settle(&house, Settlement { timers: cancel, ..Settlement::of(at(4)) }).await,
        Settling::Done(vec![])
    );
    assert_eq!(settle(&house, fires(&all[1])).await, Settling::Over);
    assert_eq!((due(30).await, house.tables.next_due(BOT, Ms(0)).await), (vec![], Ok(None)));
}

#[tokio::test]
async fn errands_leave_the_queue_with_what_came_of_them() {
    let house = house().await;
    let effects = Settlement { errands: vec![errand("m#0"), errand("m#1")], ..Settlement::of(at(1)) };
    let Settling::Done(errands) = settle(&house, effects).await else { panic!("it is not settled") };
    assert_eq!(house.tables.errands(BOT, 0, 10).await, Ok(errands.clone()));
    let done = Finished {
        n: errands[0].n,
        named: Some(("m#0".into(), (HERE, Seq(3)), NOW.plus(9))),
        notice: Some(notice(0)),
        letter: None,
    };
    let dead = Finished { n: errands[1].n, letter: Some(letter(2)), ..Finished::default() };
    for _ in 0..2 {
        house.tables.finish(BOT, vec![done.clone(), dead.clone()]).await.unwrap();
    }
    assert_eq!(house.tables.errands(BOT, 0, 10).await, Ok(vec![]));
    assert_eq!(house.tables.named(BOT, "m#0").await, Ok(Some((HERE, Seq(3)))));
    assert_eq!(house.tables.notices(BOT, 0, 10).await, Ok(vec![notice(errands[0].n)]));
    let heard = Settlement::of(End::Notice(errands[0].n));
    assert_eq!(settle(&house, heard.clone()).await, Settling::Done(vec![]));
    assert_eq!(settle(&house, heard).await, Settling::Over);
    let n = errands[1].n;
    assert_eq!(house.tables.letter(BOT, n).await, Ok(Some(Letter { n, ..letter(2) })));
    assert_eq!(house.tables.take_letter(BOT, n, Some(notice(n))).await, Ok(true));
    assert_eq!(house.tables.take_letter(BOT, n, Some(notice(n))).await, Ok(false));
    assert_eq!(house.tables.letter(BOT, n).await, Ok(None));
    assert_eq!(house.tables.notices(BOT, 0, 10).await, Ok(vec![notice(n)]));
}

#[tokio::test]
async fn the_first_answer_to_a_request_stands() {
    let house = house().await;
    let key = RequestKey::Command(HERE, user(1), client(1));
    let answered = |answer: &str| Answered { hash: [1; 32], answer: answer.into() };
    let end = |answer| Settlement::of(End::Answer(key.clone(), answered(answer), NOW.plus(50)));
    assert_eq!(settle(&house, end("one")).await, Settling::Done(vec![]));
    assert_eq!(settle(&house, end("two")).await, Settling::Over);
    assert_eq!(house.tables.answered(BOT, &key).await, Ok(Some(answered("one"))));
    assert_eq!(house.tables.answered(BOT, &RequestKey::Hook([0; 32])).await, Ok(None));
}

#[tokio::test]
async fn a_plugin_that_is_dismissed_leaves_nothing_wherever_that_is_cut() {
    let house = house().await;
    let worker = Worker { user: user(9), since: NOW };
    for cut in 0..3 {
        house.tables.employ(BOT, worker).await.unwrap();
        assert_eq!(house.tables.workers().await, Ok(vec![BOT.to_owned()]));
        assert_eq!(settle(&house, writes(at(1), vec![write("a", "1")])).await, Settling::Done(vec![]));
        let dying = house.by_way_of(Stopping::after(cut, house.store.clone()));
        if dying.dismiss(BOT).await.is_err() {
            assert_eq!(house.tables.workers().await, Ok(vec![BOT.to_owned()]), "it is found again");
            house.tables.dismiss(BOT).await.unwrap();
        }
        assert_eq!((house.tables.workers().await, get(&house, "a").await), (Ok(vec![]), None));
        assert_eq!(house.tables.position(BOT, HERE).await, Ok(None));
    }
}

#[tokio::test]
async fn dirty_conversations_are_found_by_their_shard() {
    let house = house().await;
    let other = ConversationId::from_u128(8);
    house.tables.mark_dirty(&[(3, HERE), (1_023, other), (3, HERE)]).await.unwrap();
    assert_eq!(house.tables.dirty(1_024).await, Ok(vec![HERE, other]));
    house.tables.clear_dirty(3, HERE).await.unwrap();
    assert_eq!(house.tables.dirty(1_024).await, Ok(vec![other]));
}

#[tokio::test]
async fn a_changed_row_is_corrupt_and_never_taken_for_absent() {
    let house = house().await;
    let effects = Settlement {
        writes: vec![write("a", "1")],
        errands: vec![errand("m#0")],
        timers: vec![TimerChange::Set(timer("tea", 0))],
        letter: Some(letter(1)),
        ..Settlement::of(at(1))
    };
    assert!(matches!(settle(&house, effects).await, Settling::Done(_)));
    let tables = house.by_way_of(Lying::over(house.store.clone(), true));
    let errors = [
        ("a row of a plugin", tables.kv_get(BOT, "a").await.err()),
        ("a row of a plugin", tables.kv_all(BOT).await.err()),
        ("a bucket's version", tables.kv_scan(BOT, "", None, 9).await.err()),
        ("a position", tables.position(BOT, HERE).await.err()),
        ("an errand", tables.errands(BOT, 0, 9).await.err()),
        ("a timer", tables.timer(BOT, "tea").await.err()),
        ("a due timer", tables.due(BOT, NOW, 9).await.err()),
        ("a dead letter", tables.letters(BOT, 0, 9).await.err()),
        ("a control row", tables.settle(BOT, vec![Settlement::of(at(2))]).await.err()),
    ];
    for (what, error) in errors {
        let Some(Error::Corrupt(text)) = error else { panic!("{what} gave {error:?}") };
        assert!(text.starts_with(what), "{text} is not about {what}");
    }
}

/// As in `golden.rs`, of the rows of actors.
#[tokio::test]
async fn every_kind_of_row_of_actors_has_the_bytes_that_the_format_says() {
    let house = House::new();
    let store = Lying::over(house.store.clone(), false);
    let tables = house.by_way_of(store.clone());
    let worker = Worker { user: user(9), since: NOW };
    tables.employ(BOT, worker).await.unwrap();
    let failing = Failing { attempts: 2, traps: 1, waited_ms: 3, last_at: NOW };
    let position = Position { seq: Seq(1), rev: Rev(2), failing: Some(failing) };
    let acts = [
        Act::Send(Target::User(user(2)), Content::text("hello")),
        Act::Edit(Named::Number(HERE, Seq(1)), "other".into()),
        Act::Delete(Named::Sent("m#0".into())),
        Act::React { message: Named::Number(HERE, Seq(1)), emoji: "+".into(), on: true },
    ];
    let effects = Settlement {
        writes: vec![write("a", "1"), KvWrite { ttl_s: Some(5), ..write("poll/1", "2") }],
        errands: acts.map(|act| Errand { act, ..errand("m#0") }).into(),
        timers: vec![TimerChange::Set(timer("tea", 5))],
        letter: Some(letter(1)),
        ..Settlement::of(End::Position(HERE, position))
    };
    let answered = Answered { hash: [1; 32], answer: b"{}".to_vec() };
    let command = RequestKey::Command(HERE, user(1), client(1));
    let answers =
        [command, RequestKey::Hook([2; 32])].map(|key| End::Answer(key, answered.clone(), NOW.plus(9)));
    let ends: Vec<_> = [effects].into_iter().chain(answers.map(Settlement::of)).collect();
    tables.settle(BOT, ends).await.unwrap();
    let named = Some(("m#0".into(), (HERE, Seq(3)), NOW.plus(9)));
    let causes = [
        Cause::Message { seq: Seq(1) },
        Cause::Revision { rev: Rev(1) },
        Cause::Timer { name: "tea".into(), at: NOW, payload: b"p".to_vec() },
        Cause::Timer { name: "egg".into(), at: NOW, payload: Vec::new() },
        Cause::Sent { reference: "m#0".into(), fate: Fate::Held },
        Cause::Sent {
            reference: "m#0".into(),
            fate: Fate::Refused { code: "invalid".into(), text: "no".into() },
        },
        Cause::Errand { reference: "m#0".into(), act: "send".into() },
    ];
    let count = causes.len();
    let heard = (10..).zip(causes).map(|(n, cause)| {
        let notice = Some(Notice { cause, ..notice(n) });
        Finished { n, notice, ..Finished::default() }
    });
    let done = Finished { n: 2, named, notice: Some(notice(2)), letter: Some(letter(2)) };
    tables.finish(BOT, heard.chain([done]).collect()).await.unwrap();
    assert_eq!(
        tables.notices(BOT, 9, 100).await.map(|notices| notices.len()),
        Ok(count),
        "all are read back"
    );
    tables.mark_dirty(&[(3, HERE)]).await.unwrap();
    let written = crate::golden::written(&store);
    let golden = include_str!("golden_work.txt");
    assert!(written == golden, "the format has changed; it is now:\n{written}");
}
