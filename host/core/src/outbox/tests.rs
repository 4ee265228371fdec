//! What comes out of an outbox, in which order, and what closes it.

use super::*;
use godwit_domain::{id::Rev, time::Ms};

fn drained(drain: &mut Drain) -> Result<Vec<Bytes>, Close> {
    let mut frames = Vec::new();
    match drain.poll_next(&mut Context::from_waker(Waker::noop()), &mut frames) {
        Poll::Ready(Err(close)) => Err(close),
        _ => Ok(frames.into_iter().map(Frame::into_bytes).collect()),
    }
}

#[test]
fn frames_come_out_in_order_and_an_overflow_closes() {
    let (outbox, mut drain) = channel(10);
    outbox.reply(1, "four");
    outbox.push(Bytes::from("five!"), None);
    assert_eq!(drained(&mut drain).unwrap(), ["four", "five!"]);
    outbox.reply(1, "a frame over the limit");
    assert_eq!(drained(&mut drain).unwrap().len(), 1);
    outbox.reply(1, "12345678");
    outbox.reply(1, "90a");
    assert_eq!(drained(&mut drain), Err(Close::SlowConsumer));
    outbox.close(Close::Draining);
    assert_eq!(drained(&mut drain), Err(Close::SlowConsumer), "the first reason stays");
}

fn at(last_seq: u64) -> At {
    let conversation = ConversationId::from_u128(1);
    let head = object::Head { conversation, last_seq: Seq(last_seq), last_rev: Rev(0), updated_at: Ms(1) };
    At { head, seq: Some(Seq(last_seq)) }
}

#[test]
fn what_is_too_much_for_a_gate_is_told_as_heads() {
    let (outbox, mut drain) = channel(1000);
    outbox.shut_gate();
    for seq in 1..=100 {
        outbox.push(Bytes::from("m".repeat(100)), Some(at(seq)));
    }
    outbox.push(Bytes::from("other"), None);
    outbox.open_gate(1, "reply", &HashMap::new());
    let frames = drained(&mut drain).unwrap();
    assert_eq!(frames[0], "reply");
    let text: Vec<_> = frames.iter().map(|frame| std::str::from_utf8(frame).unwrap()).collect();
    assert!(text.contains(&"other") && text.len() < 10, "{text:?}");
    assert!(text.last().unwrap().contains(r#""last_seq":100"#), "{text:?}");
}

#[test]
fn a_cursor_follows_what_moved_and_what_was_spared() {
    let (outbox, mut drain) = channel(1000);
    let frame = || Bytes::from("cursor");
    outbox.cursor(frame);
    assert!(drained(&mut drain).unwrap().is_empty());
    assert!(outbox.spare(at(1).head, Pace::Soon));
    assert!(!outbox.spare(at(2).head, Pace::Soon));
    outbox.cursor(frame);
    outbox.cursor(frame);
    let frames = drained(&mut drain).unwrap();
    assert!(frames.len() == 2 && frames[0].starts_with(br#"{"heads":[{"#) && frames[1] == "cursor");
}

#[test]
fn what_is_told_slowly_holds_the_cursor_back_until_it_is_told() {
    let (outbox, mut drain) = channel(1000);
    let frame = || Bytes::from("cursor");
    let other = |last_seq| {
        let At { head, .. } = at(last_seq);
        object::Head { conversation: ConversationId::from_u128(2), ..head }
    };
    outbox.push(Bytes::from("moved"), None);
    assert!(outbox.spare(at(1).head, Pace::Slowly));
    assert!(!outbox.spare(at(2).head, Pace::Slowly));
    outbox.tell_heads();
    outbox.cursor(frame);
    assert_eq!(drained(&mut drain).unwrap(), ["moved"], "the cursor would cover what was not told");
    assert!(outbox.spare(other(3), Pace::Soon), "each pace has a first note of its own");
    outbox.tell_heads();
    let frames = drained(&mut drain).unwrap();
    let text = std::str::from_utf8(&frames[0]).unwrap();
    assert!(frames.len() == 1 && text.contains(r#""last_seq":3"#), "{text}");
    assert!(!text.contains(r#""last_seq":2"#), "that is told slowly: {text}");
    outbox.tell_all(frame);
    let frames = drained(&mut drain).unwrap();
    assert!(std::str::from_utf8(&frames[0]).unwrap().contains(r#""last_seq":2"#));
    assert_eq!(frames[1..], ["cursor"]);
    assert!(outbox.spare(at(4).head, Pace::Slowly));
    assert!(outbox.spare(at(5).head, Pace::Soon), "what is told soon is not told slowly as well");
    outbox.tell_all(frame);
    let frames = drained(&mut drain).unwrap();
    let text = std::str::from_utf8(&frames[0]).unwrap();
    assert!(text.contains(r#""last_seq":5"#) && !text.contains(r#""last_seq":4"#), "{text}");
}

#[test]
fn a_gate_drops_what_the_reply_covers_and_keeps_the_rest_in_order() {
    let (outbox, mut drain) = channel(1000);
    let conversation = ConversationId::from_u128(1);
    outbox.shut_gate();
    outbox.push(Bytes::from("old"), Some(at(4)));
    outbox.push(Bytes::from("other"), None);
    outbox.push(Bytes::from("new"), Some(at(5)));
    assert_eq!(drained(&mut drain).unwrap(), Vec::<Bytes>::new());
    outbox.open_gate(1, "reply", &HashMap::from([(conversation, Seq(4))]));
    outbox.push(Bytes::from("later"), Some(at(4)));
    assert_eq!(drained(&mut drain).unwrap(), ["reply", "other", "new", "later"]);
}

#[test]
fn a_request_is_answered_exactly_once_even_when_it_is_dropped() {
    let (outbox, mut drain) = channel(1000);
    let reply = outbox.begin(1, 2).ok().unwrap();
    assert!(matches!(outbox.begin(1, 2), Err(Busy::InUse)));
    let second = outbox.begin(2, 2).ok().unwrap();
    assert!(matches!(outbox.begin(3, 2), Err(Busy::Full)));
    second.done();
    drop(reply);
    let frames = drained(&mut drain).unwrap();
    assert_eq!(frames[0], r#"{"id":2,"ok":{}}"#);
    assert!(frames[1].starts_with(br#"{"id":1,"error":{"code":"internal""#));
    assert_eq!(outbox.in_flight(), 0);
}

#[test]
fn what_is_kept_by_the_transport_counts_until_it_is_released() {
    let (outbox, mut drain) = channel(10);
    let take = |drain: &mut Drain| {
        let mut frames = Vec::new();
        let _ = drain.poll_kept(&mut Context::from_waker(Waker::noop()), &mut frames);
        frames
    };
    outbox.push(Bytes::from("123456"), None);
    assert_eq!(take(&mut drain), [Frame::Push(Bytes::from("123456"))]);
    drain.release(6);
    outbox.reply(7, "1234567");
    assert_eq!(take(&mut drain), [Frame::Reply(7, Bytes::from("1234567"))]);
    outbox.push(Bytes::from("890"), None);
    assert_eq!(take(&mut drain).len(), 1, "just within the limit");
    outbox.push(Bytes::from("a"), None);
    assert_eq!(drained(&mut drain), Err(Close::SlowConsumer));
}

#[test]
fn what_gathers_behind_a_gate_still_counts_when_frames_before_it_are_written() {
    let (outbox, mut drain) = channel(30);
    outbox.push(Bytes::from("hello"), None);
    outbox.shut_gate();
    let at = Some(at(1));
    outbox.push(Bytes::from("12345"), at);
    assert_eq!(drained(&mut drain).unwrap(), ["hello"]);
    outbox.open_gate(1, "reply", &HashMap::from([(ConversationId::from_u128(1), Seq(1))]));
    outbox.push(Bytes::from("67890"), at);
    assert_eq!(drained(&mut drain).unwrap(), ["reply", "67890"]);
}
