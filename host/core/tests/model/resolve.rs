//! Makes requests of small integers, with the numbers and ids that there are by then.

use crate::{
    op::{Act, After, Flaw, Look, NONE, Refer, To},
    request::{Change, Letter, Page, Place, Request},
    world::World,
};
use godwit_core::domain::{
    conversation::{History, Role},
    id::{ClientId, ConversationId, UserId},
};

const DAY_MS: u64 = 24 * 60 * 60 * 1000;
const ROLES: [Role; 4] = [Role::Reader, Role::Member, Role::Admin, Role::Owner];
const EMOJIS: [&str; 3] = ["👍", "heart", "🎉"];
/// One over the limit of 64 bytes, and empty.
const BAD_EMOJIS: [&str; 2] = ["wwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwww", ""];

/// What that device asks.
pub fn request(world: &mut World, device: usize, act: &Act) -> Request {
    let me = world.devices[device].user;
    let place = |world: &World, c: u8| match world.conversations.len() {
        0 => ConversationId::from_u128(1),
        _ if c == NONE => ConversationId::from_u128(2),
        count => world.conversations[usize::from(c) % count],
    };
    let person = |world: &World, user: u8| match user {
        NONE => UserId::from_u128(3),
        user => world.users[usize::from(user) % world.users.len()],
    };
    let people = |world: &World, mask: u8| -> Vec<UserId> {
        let nth = (0..world.users.len()).filter(|nth| mask & (1 << nth) != 0);
        nth.map(|nth| world.users[nth]).collect()
    };
    let history = |since_join: bool| if since_join { History::SinceJoin } else { History::All };
    let change = |world: &mut World, conversation, change| {
        // One in four goes without: nobody can ask again for that.
        let client = (world.made % 4 != 3).then(|| client(world));
        world.made += 1;
        Request::Change { conversation, client, change }
    };
    match act {
        Act::Direct { user } => Request::Direct { user: person(world, *user) },
        Act::Create { members, open, since_join } => {
            let members = people(world, *members);
            Request::Create { client: client(world), members, open: *open, history: history(*since_join) }
        }
        Act::Send { to, after, refer, flaw } => {
            let place = match to {
                To::Conversation(c) => Place::In(place(world, *c)),
                To::User(user) => Place::With(person(world, *user)),
            };
            let conversation = place.conversation(me);
            let mut letter = Letter {
                place,
                client: client(world),
                body: format!("text {}", world.made),
                reply_to: None,
                thread: None,
                mentions: Vec::new(),
                after: match after {
                    After::Nothing => None,
                    After::OwnLast => own_last(world, me, conversation),
                    After::Unknown => Some(client(world)),
                },
            };
            match refer {
                Refer::Nothing => {}
                Refer::Reply(nth) => letter.reply_to = Some(seq(world, conversation, *nth)),
                Refer::Thread(nth) => letter.thread = Some(seq(world, conversation, *nth)),
                Refer::Mention(user) => letter.mentions.push(person(world, *user)),
            }
            let now = world.now().0;
            match flaw {
                Flaw::None => {}
                Flaw::Empty => letter.body.clear(),
                Flaw::Long => letter.body = "x".repeat(16 * 1024 + 1),
                Flaw::OldId => letter.client = made_at(now - 7 * DAY_MS - 1, world.made),
                Flaw::EarlyId => letter.client = made_at(now + 10 * 60 * 1000 + 1, world.made),
                Flaw::OtherVersion => letter.client = ClientId::from_u128(u128::from(world.made)),
            }
            Request::Send(letter)
        }
        Act::Edit { c, seq: nth, body } => {
            let conversation = place(world, *c);
            let seq = seq(world, conversation, *nth);
            let body = match body {
                // What it says already.
                0 => body_of(world, conversation, seq),
                1 => "another text".into(),
                _ => format!("edit {}", world.made),
            };
            change(world, conversation, Change::Edit { seq, body })
        }
        Act::Delete { c, seq: nth } => {
            let conversation = place(world, *c);
            let seq = seq(world, conversation, *nth);
            change(world, conversation, Change::Delete { seq })
        }
        Act::Hide { c, seq: nth } => {
            let conversation = place(world, *c);
            Request::Hide { conversation, seq: seq(world, conversation, *nth) }
        }
        Act::React { c, seq: nth, emoji, on } => {
            let conversation = place(world, *c);
            let seq = seq(world, conversation, *nth);
            let bad = || BAD_EMOJIS[usize::from(*nth) % BAD_EMOJIS.len()];
            let emoji = EMOJIS.get(usize::from(*emoji)).copied().unwrap_or_else(bad).to_owned();
            change(world, conversation, Change::React { seq, emoji, on: *on })
        }
        Act::Mark { c, seq: nth, read } => {
            let conversation = place(world, *c);
            Request::Mark { conversation, seq: seq(world, conversation, *nth), read: *read }
        }
        Act::Invite { c, users, unknown } => {
            let mut users = people(world, *users);
            users.extend(unknown.then(|| UserId::from_u128(3)));
            let conversation = place(world, *c);
            change(world, conversation, Change::Invite { users })
        }
        Act::Remove { c, user } => {
            let (conversation, user) = (place(world, *c), person(world, *user));
            change(world, conversation, Change::Remove { user })
        }
        Act::Join { c } => {
            let conversation = place(world, *c);
            change(world, conversation, Change::Join)
        }
        Act::Leave { c } => {
            let conversation = place(world, *c);
            change(world, conversation, Change::Leave)
        }
        Act::SetRole { c, user, role } => {
            let (user, role) = (person(world, *user), ROLES[usize::from(*role) % ROLES.len()]);
            let conversation = place(world, *c);
            change(world, conversation, Change::SetRole { user, role })
        }
        Act::Update { c, title, open, since_join } => {
            let title = title.map(|nth| match nth {
                0 => None,
                1 => Some(String::new()),
                nth => Some(format!("title {nth}")),
            });
            let (conversation, history) = (place(world, *c), since_join.map(history));
            change(world, conversation, Change::Update { title, open: *open, history })
        }
        Act::Read { c, what } => look(world, place(world, *c), *what),
    }
}

fn look(world: &World, conversation: ConversationId, what: Look) -> Request {
    let history = |page, thread, limit: u8| Request::History {
        conversation,
        page,
        thread,
        limit: Some(u32::from(limit)),
    };
    let seq = |nth| seq(world, conversation, nth);
    match what {
        Look::Conversation => Request::Conversation { conversation },
        Look::Conversations => Request::Conversations,
        Look::Members => Request::Members { conversation },
        Look::Newest { limit } => history(Page::Newest, None, limit),
        Look::Before { seq: nth, limit } => history(Page::Before(seq(nth)), None, limit),
        Look::After { seq: nth, limit } => history(Page::After(seq(nth)), None, limit),
        Look::Thread { root, limit } => history(Page::Newest, Some(seq(root)), limit),
        Look::Revisions { after, limit } => {
            let last = world.model().conversations.get(&conversation).map_or(0, |found| found.last_rev());
            let after = if after == NONE { last + 5 } else { u64::from(after) % (last + 1) };
            Request::Revisions { conversation, after, limit: Some(u32::from(limit)) }
        }
        Look::Hidden { after, limit } => {
            Request::Hidden { conversation, after: u64::from(after), limit: Some(u32::from(limit)) }
        }
        Look::Reactions { seq: nth } => Request::Reactions { conversation, seq: seq(nth) },
        Look::Receipts { seq: nth } => Request::Receipts { conversation, seq: nth.map(seq) },
    }
}

/// Everything that can be read of a conversation.
pub fn everything(conversation: ConversationId) -> Vec<Request> {
    let limit = Some(200);
    vec![
        Request::Conversation { conversation },
        Request::History { conversation, page: Page::After(0), thread: None, limit },
        Request::Revisions { conversation, after: 0, limit },
        Request::Hidden { conversation, after: 0, limit },
        Request::Members { conversation },
        Request::Receipts { conversation, seq: None },
    ]
}

/// A number counted from the newest message; the last byte is 0, and those just below lie beyond the end.
fn seq(world: &World, conversation: ConversationId, nth: u8) -> u64 {
    let last = world.model().conversations.get(&conversation).map_or(0, |found| found.last_seq());
    match nth {
        NONE => 0,
        250.. => last + u64::from(nth - 249),
        _ if last == 0 => 1,
        nth => last - u64::from(nth) % last,
    }
}

fn body_of(world: &World, conversation: ConversationId, seq: u64) -> String {
    let message = world.model().conversations.get(&conversation).and_then(|found| found.message(seq));
    message.map_or_else(|| "nothing".into(), |message| message.body.clone())
}

fn own_last(world: &World, me: UserId, conversation: ConversationId) -> Option<ClientId> {
    let found = world.model().conversations.get(&conversation)?;
    found.messages.iter().rev().find(|message| message.sender == me).map(|message| message.client)
}

/// A fresh id.
fn client(world: &mut World) -> ClientId {
    world.made += 1;
    made_at(world.now().0, world.made)
}

/// A UUID of version 7 of that moment.
fn made_at(ms: u64, nth: u64) -> ClientId {
    ClientId::from_u128((u128::from(ms) << 80) | (7 << 76) | (2 << 62) | u128::from(nth))
}
