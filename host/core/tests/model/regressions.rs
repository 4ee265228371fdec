//! Runs that failed once, shrunk.

use crate::{
    op::{Act, After, Deed, Flaw, How, Look, NONE, Op, Refer, To},
    world::World,
};

/// Devices of the four users: 0 to 2 are of the first, 3 and 4 of the second, 5 of the third, 6 of the last.
const FIRST: u8 = 0;
const SECOND: u8 = 3;
const STRANGER: u8 = 6;

fn deed(device: u8, act: Act) -> Deed {
    Deed { device, act }
}

/// A group of the first two users.
fn group() -> Op {
    Op::Ask(deed(FIRST, Act::Create { members: 0b11, open: false, since_join: false }))
}

fn send(to: To, after: After, refer: Refer) -> Act {
    Act::Send { to, after, refer, flaw: Flaw::None }
}

fn text() -> Op {
    Op::Ask(deed(FIRST, send(To::Conversation(0), After::Nothing, Refer::Nothing)))
}

#[track_caller]
fn check(ops: &[Op]) {
    if let Err(what) = World::new().run(ops) {
        panic!("{what}");
    }
}

/// The second of two marks on their way was made of what stood before the first: it was answered, and pushed, lower.
#[test]
fn a_lower_mark_behind_a_higher_one_is_answered_with_the_higher() {
    let mark = |seq, read| (deed(SECOND, Act::Mark { c: 0, seq, read }), 0);
    check(&[
        group(),
        text(),
        text(),
        text(),
        Op::Together(vec![mark(0, true), mark(2, true), mark(1, false)]),
    ]);
}

/// Who named an unknown message in `after` was told so, and thereby that the conversation exists.
#[test]
fn a_stranger_learns_nothing_by_naming_what_comes_before() {
    let asked = send(To::Conversation(0), After::Unknown, Refer::Nothing);
    check(&[group(), Op::Ask(deed(STRANGER, asked))]);
}

/// The conversation was made for a first message that was then refused, and shown to both.
#[test]
fn a_first_message_that_is_refused_makes_no_conversation() {
    for (after, refer) in [
        (After::Nothing, Refer::Reply(0)),
        (After::Nothing, Refer::Thread(0)),
        (After::Nothing, Refer::Mention(2)),
        (After::Unknown, Refer::Nothing),
    ] {
        check(&[Op::Ask(deed(FIRST, send(To::User(1), after, refer)))]);
    }
}

/// What a conversation was shown with when somebody's role changed, or when it was opened again, said that nothing
/// was hidden.
#[test]
fn a_conversation_that_is_shown_says_how_many_are_hidden() {
    let hide = Op::Ask(deed(SECOND, Act::Hide { c: 0, seq: 0 }));
    let role = Op::Ask(deed(FIRST, Act::SetRole { c: 0, user: 1, role: 2 }));
    let connect = Op::Connect { device: SECOND, how: How::Resume };
    check(&[group(), connect, text(), hide, role, Op::Again { nth: 3, device: FIRST }]);
}

/// Heads were noted for one who could not read what was edited, and told when they had left.
#[test]
fn who_has_left_is_told_no_heads() {
    let mut ops =
        vec![Op::Ask(deed(FIRST, Act::Create { members: 1, open: false, since_join: true })), text()];
    ops.push(Op::Ask(deed(FIRST, Act::Invite { c: 0, users: 0b10, unknown: false })));
    ops.push(Op::Connect { device: SECOND, how: How::Resume });
    ops.push(Op::Ask(deed(FIRST, Act::Edit { c: 0, seq: 0, body: 2 })));
    ops.push(Op::Ask(deed(SECOND, Act::Leave { c: 0 })));
    ops.push(Op::Tell);
    check(&ops);
}

/// What was wrong with its client id was said at once, before the send ahead of it was answered.
#[test]
fn a_send_with_a_bad_client_id_is_answered_in_its_turn() {
    let (to, after, refer) = (To::Conversation(0), After::Nothing, Refer::Nothing);
    let bad = Act::Send { to, after, refer, flaw: Flaw::OtherVersion };
    let both = vec![(deed(FIRST, send(to, after, refer)), 0), (deed(FIRST, bad), 0)];
    check(&[group(), Op::Together(both)]);
}

/// Membership was looked at before the client id.
#[test]
fn an_edit_is_answered_again_to_one_who_has_left_since() {
    let mut ops = vec![group()];
    ops.push(Op::Ask(deed(SECOND, send(To::Conversation(0), After::Nothing, Refer::Nothing))));
    ops.push(Op::Ask(deed(SECOND, Act::Edit { c: 0, seq: 0, body: 2 })));
    ops.push(Op::Ask(deed(SECOND, Act::Leave { c: 0 })));
    ops.push(Op::Again { nth: 1, device: 0 });
    check(&ops);
}

/// A cursor was told that lay above the stored bound of the times of change: to the next host it was of the future.
#[test]
fn a_cursor_outlives_hosts_that_die_soon_after_each_other() {
    let missing = Op::Ask(deed(FIRST, Act::Edit { c: 0, seq: 0, body: 2 }));
    let connect = Op::Connect { device: STRANGER, how: How::Resume };
    let die = || Op::Crash(Vec::new(), 0);
    check(&[group(), die(), missing.clone(), missing, connect.clone(), die(), connect]);
}

/// Who came in within the same millisecond counted as in for the same time.
#[test]
fn the_last_owner_hands_over_to_who_came_first_of_one_millisecond() {
    for (first, second) in [(0b10, 0b100), (0b100, 0b10)] {
        let invite = |users| Op::Ask(deed(FIRST, Act::Invite { c: 0, users, unknown: false }));
        let alone = Op::Ask(deed(FIRST, Act::Create { members: 1, open: false, since_join: false }));
        check(&[alone, invite(first), invite(second), Op::Ask(deed(FIRST, Act::Leave { c: 0 }))]);
    }
}

/// What is numbered in one batch was not there yet for the messages behind it.
#[test]
fn a_message_answers_one_that_is_on_its_way() {
    let answer = |seq| send(To::Conversation(0), After::Nothing, Refer::Reply(seq));
    check(&[
        group(),
        Op::Together(vec![
            (deed(FIRST, send(To::Conversation(0), After::Nothing, Refer::Nothing)), 0),
            (deed(FIRST, answer(0)), 0),
            (deed(SECOND, answer(250)), 0),
        ]),
    ]);
}

/// Who opened a conversation was told of it by the reply alone, which a first message of the other one overtook.
#[test]
fn a_conversation_is_announced_to_who_opens_it_before_its_first_message() {
    let open = (deed(FIRST, Act::Direct { user: 1 }), 0);
    let write = (deed(SECOND, send(To::User(0), After::Nothing, Refer::Nothing)), 0);
    check(&[Op::Together(vec![open, write])]);
}

/// The sender's newest message is known however old it is; one before it is not, when its client id is too old to be
/// sent again. The model took it for known for ever.
#[test]
fn what_an_old_message_comes_before_need_not_be_remembered() {
    let after = |device| (deed(device, send(To::Conversation(0), After::OwnLast, Refer::Nothing)), 0);
    let fresh = (deed(FIRST, send(To::Conversation(0), After::Nothing, Refer::Nothing)), 0);
    let days = Op::Pass(8 * 24 * 3_600_000);
    check(&[group(), text(), days.clone(), Op::Together(vec![after(FIRST + 1)])]);
    check(&[group(), text(), days, Op::Together(vec![fresh, after(FIRST + 1)])]);
}

/// The message was numbered between the two marks: it raised the one that stood right before it, and the other was then
/// answered with what had stood when it was asked for.
#[test]
fn a_mark_on_its_way_beside_an_own_message_is_answered_as_it_stands() {
    let other = || Op::Ask(deed(SECOND, send(To::Conversation(0), After::Nothing, Refer::Nothing)));
    let mark = |read| deed(FIRST, Act::Mark { c: 0, seq: 0, read });
    let own = || deed(FIRST, send(To::Conversation(0), After::Nothing, Refer::Nothing));
    for (first, second) in (0..4).flat_map(|first| (0..4).map(move |second| (first, second))) {
        let together = Op::Together(vec![(mark(false), first), (mark(true), second), (own(), 0)]);
        check(&[group(), other(), other(), other(), together, Op::Compare]);
    }
}

/// Loading lets a mark rise over one's own message right behind it, for it may have done so before the host died; who
/// had read up to there later was never told.
#[test]
fn a_mark_that_rises_by_loading_is_told() {
    let mark = Act::Mark { c: 0, seq: 1, read: true };
    let other = Op::Ask(deed(SECOND, send(To::Conversation(0), After::Nothing, Refer::Nothing)));
    let connect = |device| Op::Connect { device, how: How::Resume };
    check(&[
        group(),
        other,
        text(),
        Op::Ask(deed(FIRST, mark)),
        connect(FIRST + 1),
        Op::Crash(Vec::new(), 1),
        connect(FIRST),
        connect(FIRST + 1),
    ]);
}

/// What one may read after leaving includes who reacts, as far as nothing came of the message since.
#[test]
fn who_has_left_reads_the_reactions_of_before() {
    let react = |device, emoji, on| Op::Ask(deed(device, Act::React { c: 0, seq: 0, emoji, on }));
    let read = || Op::Ask(deed(SECOND, Act::Read { c: 0, what: Look::Reactions { seq: 0 } }));
    let leave = Op::Ask(deed(SECOND, Act::Leave { c: 0 }));
    let edit = Op::Ask(deed(FIRST, Act::Edit { c: 0, seq: 0, body: 2 }));
    check(&[
        group(),
        text(),
        react(FIRST, 0, true),
        leave,
        read(),
        react(FIRST, 1, true),
        read(),
        edit,
        read(),
    ]);
}

/// The host died between the rows of a mark, of a hidden message, or of who came in: devices that resumed were not told.
#[test]
fn what_a_crash_cuts_is_told_to_who_resumes() {
    let acts = [
        (SECOND, Act::Mark { c: 0, seq: 0, read: true }),
        (SECOND, Act::Hide { c: 0, seq: 0 }),
        (FIRST, Act::Invite { c: 0, users: 0b1111, unknown: false }),
        (FIRST, Act::Direct { user: 2 }),
        (FIRST, send(To::User(3), After::Nothing, Refer::Nothing)),
        (STRANGER, Act::Direct { user: 1 }),
    ];
    for (by, act) in acts {
        // Whoever comes first has it finished; who starts cold then must hear of it as well.
        for (turns, known) in (0..24).flat_map(|turns| [(turns, true), (turns, false)]) {
            let all = || (0..=STRANGER).map(|device| Op::Connect { device, how: How::Resume });
            let mut ops = vec![group(), text()];
            ops.extend(all().filter(|_| known));
            ops.push(Op::Crash(vec![(deed(by, act.clone()), 0)], turns));
            ops.extend(all());
            check(&ops);
        }
    }
}

/// Who was to come in is listed before that is decided: where a crash came in between, a resume showed them an open
/// conversation as theirs.
#[test]
fn who_was_to_come_in_when_the_host_died_stands_outside() {
    let open = Op::Ask(deed(FIRST, Act::Create { members: 1, open: true, since_join: false }));
    let connect = || Op::Connect { device: STRANGER, how: How::Resume };
    for turns in 0..24 {
        let join = (deed(STRANGER, Act::Join { c: 0 }), 0);
        check(&[open.clone(), connect(), Op::Crash(vec![join], turns), connect()]);
    }
}

#[test]
fn what_does_not_exist_is_refused_and_changes_nothing() {
    let at = |seq| {
        let (c, emoji) = (0, 0);
        [
            Act::Edit { c, seq, body: 2 },
            Act::Delete { c, seq },
            Act::Hide { c, seq },
            Act::React { c, seq, emoji, on: true },
            Act::Mark { c, seq, read: true },
        ]
    };
    let mut ops = vec![group(), text()];
    for act in at(NONE).into_iter().chain(at(250)) {
        ops.push(Op::Ask(deed(FIRST, act)));
    }
    check(&ops);
}
