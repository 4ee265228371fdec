//! Every fault, planted.

use super::*;

const PLACE: Uuid = Uuid::from_u128(1);
const ADA: Uuid = Uuid::from_u128(2);
const BEN: Uuid = Uuid::from_u128(3);

fn client(seq: u64) -> Uuid {
    Uuid::from_u128(1000 + u128::from(seq))
}

fn seen(seq: u64) -> Seen {
    let sender = if seq % 2 == 1 { ADA } else { BEN };
    let body = Fingerprint::of(&format!("message {seq}"));
    Seen { conversation: PLACE, seq, sender, client: Some(client(seq)), body }
}

fn pushed(seq: u64) -> Seen {
    Seen { client: None, ..seen(seq) }
}

/// What is told of a run of six messages, three of each, in which each hears the other's.
struct Run {
    acknowledged: Vec<(Uuid, u64)>,
    heard_by_ben: Vec<Seen>,
    stored: Vec<Seen>,
}

impl Run {
    fn clean() -> Self {
        Self {
            acknowledged: (1..=6).map(|seq| (client(seq), seq)).collect(),
            heard_by_ben: [1, 3, 5].map(pushed).to_vec(),
            stored: (1..=6).map(seen).collect(),
        }
    }

    fn faults(&self) -> Vec<Fault> {
        let mut checker = Checker::new();
        let (ada, ben) = (checker.session(), checker.session());
        checker.begin(ben, PLACE, 0);
        for seq in 1..=6 {
            let sent = seen(seq);
            let session = if sent.sender == ADA { ada } else { ben };
            checker.attempt(session, PLACE, sent.sender, client(seq), sent.body);
        }
        for &(client, seq) in &self.acknowledged {
            checker.acknowledge(client, seq);
        }
        for &seen in &self.heard_by_ben {
            checker.push(ben, seen);
        }
        for &seen in &self.stored {
            checker.store(seen);
        }
        checker.faults()
    }
}

/// Plants something and expects this fault to be among those found.
fn check(plant: impl FnOnce(&mut Run), expected: Fault) {
    let mut run = Run::clean();
    plant(&mut run);
    let faults = run.faults();
    assert!(faults.contains(&expected), "expected {expected:?}, found {faults:?}");
}

#[test]
fn a_clean_run_has_no_faults() {
    assert_eq!(Run::clean().faults(), []);
}

#[test]
fn an_unacknowledged_message_may_be_stored_or_not() {
    let mut run = Run::clean();
    run.acknowledged.pop();
    assert_eq!(run.faults(), []);
    run.stored.pop();
    assert_eq!(run.faults(), []);
}

#[test]
fn a_pushed_message_needs_no_acknowledgement_but_must_be_stored() {
    let plant = |run: &mut Run| {
        run.acknowledged.truncate(4);
        run.stored.truncate(4);
    };
    check(plant, Fault::Vanished { conversation: PLACE, seq: 5 });
}

#[test]
fn a_lost_message_is_found_at_the_end_and_in_the_middle() {
    let lost = |seq| Fault::Lost { conversation: PLACE, seq, client: client(seq) };
    check(|run| run.stored.retain(|seen| seen.seq != 6), lost(6));
    check(|run| run.stored.retain(|seen| seen.seq != 3), lost(3));
}

#[test]
fn a_hole_is_found_even_where_nobody_was_acknowledged() {
    let plant = |run: &mut Run| {
        run.acknowledged.remove(2);
        run.stored.remove(2);
    };
    check(plant, Fault::Hole { conversation: PLACE, seq: 3 });
}

#[test]
fn a_client_id_with_two_numbers_is_found_in_answers_and_in_history() {
    let doubled = Fault::Doubled { conversation: PLACE, client: client(6), first: 6, second: 7 };
    check(|run| run.acknowledged.push((client(6), 7)), doubled.clone());
    check(|run| run.stored.push(Seen { seq: 7, ..seen(6) }), doubled);
}

#[test]
fn a_number_with_two_messages_is_found_in_answers_and_in_history() {
    let shared = Fault::Shared { conversation: PLACE, seq: 5 };
    check(|run| run.acknowledged[5] = (client(6), 5), shared.clone());
    check(|run| run.stored.push(Seen { seq: 5, ..seen(6) }), shared);
}

#[test]
fn swapped_messages_are_found() {
    let plant = |run: &mut Run| {
        (run.stored[0].client, run.stored[2].client) = (run.stored[2].client, run.stored[0].client);
        (run.stored[0].body, run.stored[2].body) = (run.stored[2].body, run.stored[0].body);
    };
    check(plant, Fault::Lost { conversation: PLACE, seq: 1, client: client(1) });
}

#[test]
fn a_sender_numbered_out_of_order_is_found() {
    let plant = |run: &mut Run| {
        run.acknowledged[0].1 = 3;
        run.acknowledged[2].1 = 1;
        run.stored[0] = Seen { seq: 1, ..seen(3) };
        run.stored[2] = Seen { seq: 3, ..seen(1) };
    };
    check(plant, Fault::NumberedOutOfOrder { conversation: PLACE, sender: ADA, earlier: 1, later: 3 });
}

#[test]
fn pushes_that_are_swapped_repeated_or_left_out_are_found() {
    let out_of_order = |later, seq| Fault::PushedOutOfOrder { session: 1, conversation: PLACE, later, seq };
    check(|run| run.heard_by_ben.swap(0, 1), out_of_order(3, 1));
    check(|run| run.heard_by_ben.push(pushed(5)), out_of_order(5, 5));
    let left_out = Fault::NotPushed { session: 1, conversation: PLACE, seq: 3 };
    check(|run| run.heard_by_ben.retain(|seen| seen.seq != 3), left_out);
    let at_the_start = Fault::NotPushed { session: 1, conversation: PLACE, seq: 1 };
    check(|run| run.heard_by_ben.retain(|seen| seen.seq != 1), at_the_start);
}

#[test]
fn a_changed_body_is_found_in_history_and_in_pushes() {
    let altered = |seq| Fault::Altered { conversation: PLACE, seq };
    let other = Fingerprint::of("something else");
    check(|run| run.stored[3].body = other, altered(4));
    check(|run| run.heard_by_ben[1].body = other, altered(3));
}

#[test]
fn a_message_that_nobody_sent_is_found() {
    let plant = |run: &mut Run| run.stored.push(Seen { client: Some(client(99)), ..seen(7) });
    check(plant, Fault::Unknown { conversation: PLACE, seq: 7 });
}

#[test]
fn the_verdict_counts_all_faults_and_names_the_first() {
    let mut checker = Checker::new();
    for seq in 2..=100 {
        checker.store(pushed(seq * 2));
    }
    let text = checker.verdict().unwrap_err().to_string();
    assert!(text.starts_with("the history has 101 faults:"), "{text}");
    assert_eq!(text.lines().count(), 21);
}

const EVE: Uuid = Uuid::from_u128(4);

fn marks(received: u64, read: u64) -> Marks {
    Marks { received, read }
}

#[test]
fn marks_that_rise_have_no_fault_in_whichever_order_sessions_hear_of_them() {
    let mut checker = Checker::new();
    let (phone, laptop) = (checker.session(), checker.session());
    checker.mark(phone, PLACE, ADA, marks(3, 1));
    checker.mark(phone, PLACE, ADA, marks(3, 2));
    // It is on its way to the other for longer.
    checker.mark(laptop, PLACE, ADA, marks(3, 1));
    checker.mark(laptop, PLACE, BEN, marks(0, 0));
    let asked = checker.moment();
    checker.mark(phone, PLACE, ADA, marks(4, 4));
    let tablet = checker.session();
    checker.begin_marks(tablet, asked, PLACE, ADA, marks(3, 2));
    assert_eq!(checker.faults(), []);
}

#[test]
fn a_mark_that_falls_within_a_session_is_found() {
    for (from, to) in [(marks(3, 3), marks(3, 2)), (marks(3, 1), marks(2, 1))] {
        let mut checker = Checker::new();
        let phone = checker.session();
        checker.mark(phone, PLACE, ADA, from);
        checker.mark(phone, PLACE, ADA, to);
        let fell = Fault::MarkFell { session: 0, conversation: PLACE, user: ADA, from, to };
        assert_eq!(checker.faults(), [fell]);
    }
}

#[test]
fn a_mark_that_another_device_begins_with_and_that_is_lower_than_what_was_told_is_found() {
    let mut checker = Checker::new();
    let phone = checker.session();
    let before = checker.moment();
    checker.mark(phone, PLACE, ADA, marks(5, 3));
    let (asked, early, late) = (checker.moment(), checker.session(), checker.session());
    checker.begin_marks(early, before, PLACE, ADA, marks(4, 3));
    checker.begin_marks(late, asked, PLACE, ADA, marks(4, 3));
    let (from, to) = (marks(5, 3), marks(4, 3));
    assert_eq!(checker.faults(), [Fault::MarkFell { session: 2, conversation: PLACE, user: ADA, from, to }]);
}

/// Eve comes in after message 2 with revision 3, goes after message 4 with revision 5.
fn with_eve(tell: impl FnOnce(&mut Checker, Session)) -> Vec<Fault> {
    let mut checker = Checker::new();
    for seq in 1..=6 {
        let sent = seen(seq);
        let session = checker.session();
        checker.attempt(session, PLACE, sent.sender, client(seq), sent.body);
        checker.acknowledge(client(seq), seq);
        checker.store(sent);
    }
    let eve = checker.session_of(EVE);
    let came = |user, came_in, rev, at_seq| Came { user, came_in, rev, at_seq };
    checker.members(
        PLACE,
        [came(ADA, true, 1, 0), came(BEN, true, 2, 0), came(EVE, true, 3, 2), came(EVE, false, 5, 4)],
    );
    tell(&mut checker, eve);
    checker.faults()
}

#[test]
fn who_is_told_what_happened_while_they_were_in_has_no_fault() {
    let told = with_eve(|checker, eve| {
        checker.begin(eve, PLACE, 2);
        checker.told(eve, PLACE, Told::In);
        checker.told(eve, PLACE, Told::Revision(3));
        checker.push(eve, pushed(3));
        checker.told(eve, PLACE, Told::Receipt(ADA));
        checker.push(eve, pushed(4));
        checker.told(eve, PLACE, Told::Revision(5));
        checker.told(eve, PLACE, Told::Receipt(EVE));
        (1..=4).for_each(|seq| checker.shown(EVE, PLACE, seq));
        (1..=6).for_each(|seq| checker.shown(BEN, PLACE, seq));
    });
    assert_eq!(told, []);
}

#[test]
fn what_is_told_to_one_who_is_not_in_is_found() {
    for what in [Told::Message(2), Told::Message(5), Told::Revision(2), Told::Revision(6)] {
        let faults = with_eve(|checker, eve| match what {
            Told::Message(seq) => {
                checker.begin(eve, PLACE, seq - 1);
                checker.push(eve, pushed(seq));
            }
            what => checker.told(eve, PLACE, what),
        });
        let session = 6;
        assert_eq!(faults, [Fault::ToldOutside { session, conversation: PLACE, what }], "{what:?}");
    }
}

#[test]
fn a_receipt_behind_ones_own_leave_is_found_until_one_is_back() {
    let what = Told::Receipt(ADA);
    let faults = with_eve(|checker, eve| {
        checker.told(eve, PLACE, Told::Revision(5));
        checker.told(eve, PLACE, what);
        checker.told(eve, PLACE, Told::In);
        checker.told(eve, PLACE, what);
    });
    assert_eq!(faults, [Fault::ToldOutside { session: 6, conversation: PLACE, what }]);
}

#[test]
fn whatever_a_stranger_is_told_is_found() {
    let stranger = Uuid::from_u128(9);
    for what in [Told::Message(3), Told::Revision(3), Told::Receipt(ADA), Told::In] {
        let faults = with_eve(|checker, _| {
            let session = checker.session_of(stranger);
            match what {
                Told::Message(seq) => {
                    checker.begin(session, PLACE, seq - 1);
                    checker.push(session, pushed(seq));
                }
                what => checker.told(session, PLACE, what),
            }
        });
        assert_eq!(faults, [Fault::ToldOutside { session: 7, conversation: PLACE, what }], "{what:?}");
    }
}

#[test]
fn what_history_shows_to_one_who_may_not_read_it_is_found() {
    let shown = |user, seq| Fault::ShownOutside { conversation: PLACE, user, seq };
    let stranger = Uuid::from_u128(9);
    for (user, seq) in [(EVE, 5), (stranger, 1)] {
        assert_eq!(with_eve(|checker, _| checker.shown(user, PLACE, seq)), [shown(user, seq)]);
    }
}

#[test]
fn who_was_out_in_between_misses_nothing_and_who_was_in_does() {
    let back = |in_between: bool| {
        with_eve(|checker, eve| {
            let came = |came_in, rev, at_seq| Came { user: EVE, came_in, rev, at_seq };
            let all = [came(true, 1, 0), came(false, 2, 2), came(true, 3, 4)];
            checker.members(PLACE, all.into_iter().take(if in_between { 1 } else { 3 }));
            checker.begin(eve, PLACE, 0);
            [1, 2, 5, 6].into_iter().for_each(|seq| checker.push(eve, pushed(seq)));
        })
    };
    assert_eq!(back(false), []);
    let missed = |seq| Fault::NotPushed { session: 6, conversation: PLACE, seq };
    assert_eq!(back(true), [missed(3), missed(4)]);
}
