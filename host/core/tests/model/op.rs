//! What may happen, before anything is known of ids and numbers: small integers that shrink well and are made into
//! requests by [`crate::world`] when their turn comes.

use proptest::prelude::*;

/// Stands for a user, a conversation or a number that does not exist.
pub const NONE: u8 = u8::MAX;

/// One step of a run.
#[derive(Debug, Clone)]
pub enum Op {
    /// One request, waited for.
    Ask(Deed),
    /// Several at once, each after some turns of the host.
    Together(Vec<(Deed, u8)>),
    /// The host dies while these are under way, after some turns, and another starts on the same store.
    Crash(Vec<(Deed, u8)>, u8),
    /// A request of the past again, by any device of the same user.
    Again {
        nth: u8,
        device: u8,
    },
    Disconnect {
        device: u8,
    },
    Connect {
        device: u8,
        how: How,
    },
    /// The host tells heads and cursors.
    Tell,
    /// Time passes, in milliseconds.
    Pass(u64),
    /// Everything is read and compared.
    Compare,
}

/// How a device comes back.
#[derive(Debug, Clone, Copy)]
pub enum How {
    Resume,
    /// With what it had some cursors ago.
    Older(u8),
    /// With what it has, and a cursor of some cursors ago.
    OlderCursor(u8),
    Cold,
    OtherEpoch,
    Garbage,
}

/// What a device does.
#[derive(Debug, Clone)]
pub struct Deed {
    pub device: u8,
    pub act: Act,
}

#[derive(Debug, Clone)]
pub enum Act {
    Direct { user: u8 },
    Create { members: u8, open: bool, since_join: bool },
    Send { to: To, after: After, refer: Refer, flaw: Flaw },
    Edit { c: u8, seq: u8, body: u8 },
    Delete { c: u8, seq: u8 },
    Hide { c: u8, seq: u8 },
    React { c: u8, seq: u8, emoji: u8, on: bool },
    Mark { c: u8, seq: u8, read: bool },
    Invite { c: u8, users: u8, unknown: bool },
    Remove { c: u8, user: u8 },
    Join { c: u8 },
    Leave { c: u8 },
    SetRole { c: u8, user: u8, role: u8 },
    Update { c: u8, title: Option<u8>, open: Option<bool>, since_join: Option<bool> },
    Read { c: u8, what: Look },
}

#[derive(Debug, Clone, Copy)]
pub enum To {
    Conversation(u8),
    User(u8),
}

#[derive(Debug, Clone, Copy)]
pub enum After {
    Nothing,
    OwnLast,
    Unknown,
}

#[derive(Debug, Clone, Copy)]
pub enum Refer {
    Nothing,
    Reply(u8),
    Thread(u8),
    Mention(u8),
}

#[derive(Debug, Clone, Copy)]
pub enum Flaw {
    None,
    Empty,
    Long,
    OldId,
    EarlyId,
    OtherVersion,
}

#[derive(Debug, Clone, Copy)]
pub enum Look {
    Conversation,
    Conversations,
    Members,
    Newest { limit: u8 },
    Before { seq: u8, limit: u8 },
    After { seq: u8, limit: u8 },
    Thread { root: u8, limit: u8 },
    Revisions { after: u8, limit: u8 },
    Hidden { after: u8, limit: u8 },
    Reactions { seq: u8 },
    Receipts { seq: Option<u8> },
}

/// A run: how the first group is made, and what happens then.
pub fn runs(steps_max: usize) -> impl Strategy<Value = Vec<Op>> {
    let group = (any::<bool>(), any::<bool>(), 1..16u8).prop_map(|(open, since_join, members)| {
        Op::Ask(Deed { device: 0, act: Act::Create { members, open, since_join } })
    });
    (group, proptest::collection::vec(op(), 1..steps_max)).prop_map(|(group, mut ops)| {
        ops.insert(0, group);
        ops
    })
}

fn op() -> impl Strategy<Value = Op> {
    let batch = |size| proptest::collection::vec((deed(writing()), 0..4u8), size);
    prop_oneof![
        24 => deed(writing()).prop_map(Op::Ask),
        6 => deed(look()).prop_map(Op::Ask),
        14 => batch(2..6).prop_map(Op::Together),
        3 => (batch(0..5), 0..40u8).prop_map(|(deeds, turns)| Op::Crash(deeds, turns)),
        4 => (any::<u8>(), any::<u8>()).prop_map(|(nth, device)| Op::Again { nth, device }),
        4 => any::<u8>().prop_map(|device| Op::Disconnect { device }),
        5 => (any::<u8>(), how()).prop_map(|(device, how)| Op::Connect { device, how }),
        3 => Just(Op::Tell),
        3 => prop_oneof![1..3_000u64, 60_000..7_200_000u64, Just(3 * 24 * 3_600_000u64)].prop_map(Op::Pass),
        2 => Just(Op::Compare),
    ]
}

fn how() -> impl Strategy<Value = How> {
    prop_oneof![
        6 => Just(How::Resume),
        3 => any::<u8>().prop_map(How::Older),
        3 => any::<u8>().prop_map(How::OlderCursor),
        1 => Just(How::Cold),
        1 => Just(How::OtherEpoch),
        1 => Just(How::Garbage),
    ]
}

fn deed(act: impl Strategy<Value = Act>) -> impl Strategy<Value = Deed> {
    (any::<u8>(), act).prop_map(|(device, act)| Deed { device, act })
}

/// A conversation, mostly one of the first.
fn place() -> impl Strategy<Value = u8> {
    prop_oneof![10 => Just(0u8), 6 => 1..6u8, 1 => Just(NONE)]
}

/// A message, counted from the newest; now and then 0 or beyond the end.
fn seq() -> impl Strategy<Value = u8> {
    prop_oneof![12 => 0..4u8, 4 => 0..40u8, 1 => 250..=NONE]
}

fn person() -> impl Strategy<Value = u8> {
    prop_oneof![20 => 0..4u8, 1 => Just(NONE)]
}

fn limit() -> impl Strategy<Value = u8> {
    prop_oneof![8 => 1..6u8, 2 => Just(50u8), 1 => Just(0u8)]
}

fn writing() -> impl Strategy<Value = Act> {
    let to = prop_oneof![4 => place().prop_map(To::Conversation), 1 => person().prop_map(To::User)];
    let after = prop_oneof![10 => Just(After::Nothing), 3 => Just(After::OwnLast), 1 => Just(After::Unknown)];
    let refer = prop_oneof![
        8 => Just(Refer::Nothing),
        2 => seq().prop_map(Refer::Reply),
        2 => seq().prop_map(Refer::Thread),
        2 => person().prop_map(Refer::Mention),
    ];
    let flaw = prop_oneof![
        30 => Just(Flaw::None),
        1 => Just(Flaw::Empty),
        1 => Just(Flaw::Long),
        1 => Just(Flaw::OldId),
        1 => Just(Flaw::EarlyId),
        1 => Just(Flaw::OtherVersion),
    ];
    let maybe = || proptest::option::of(any::<bool>());
    prop_oneof![
        20 => (to, after, refer, flaw).prop_map(|(to, after, refer, flaw)| Act::Send { to, after, refer, flaw }),
        6 => (place(), seq(), 0..4u8).prop_map(|(c, seq, body)| Act::Edit { c, seq, body }),
        4 => (place(), seq()).prop_map(|(c, seq)| Act::Delete { c, seq }),
        3 => (place(), seq()).prop_map(|(c, seq)| Act::Hide { c, seq }),
        6 => (place(), seq(), 0..4u8, any::<bool>())
            .prop_map(|(c, seq, emoji, on)| Act::React { c, seq, emoji, on }),
        7 => (place(), seq(), any::<bool>()).prop_map(|(c, seq, read)| Act::Mark { c, seq, read }),
        4 => (place(), 0..16u8, proptest::bool::weighted(0.05))
            .prop_map(|(c, users, unknown)| Act::Invite { c, users, unknown }),
        4 => (place(), person()).prop_map(|(c, user)| Act::Remove { c, user }),
        3 => place().prop_map(|c| Act::Join { c }),
        3 => place().prop_map(|c| Act::Leave { c }),
        4 => (place(), person(), 0..4u8).prop_map(|(c, user, role)| Act::SetRole { c, user, role }),
        3 => (place(), proptest::option::of(0..4u8), maybe(), maybe())
            .prop_map(|(c, title, open, since_join)| Act::Update { c, title, open, since_join }),
        2 => person().prop_map(|user| Act::Direct { user }),
        1 => (0..16u8, any::<bool>(), any::<bool>())
            .prop_map(|(members, open, since_join)| Act::Create { members, open, since_join }),
    ]
}

fn look() -> impl Strategy<Value = Act> {
    let what = prop_oneof![
        Just(Look::Conversation),
        Just(Look::Conversations),
        Just(Look::Members),
        limit().prop_map(|limit| Look::Newest { limit }),
        (seq(), limit()).prop_map(|(seq, limit)| Look::Before { seq, limit }),
        (seq(), limit()).prop_map(|(seq, limit)| Look::After { seq, limit }),
        (seq(), limit()).prop_map(|(root, limit)| Look::Thread { root, limit }),
        (any::<u8>(), limit()).prop_map(|(after, limit)| Look::Revisions { after, limit }),
        (0..4u8, limit()).prop_map(|(after, limit)| Look::Hidden { after, limit }),
        seq().prop_map(|seq| Look::Reactions { seq }),
        proptest::option::of(seq()).prop_map(|seq| Look::Receipts { seq }),
    ];
    (place(), what).prop_map(|(c, what)| Act::Read { c, what })
}
