//! The stand-in for the services of actors: rows, messages, timers and answers of one thread.
//!
//! It owns what a test put in and what a plugin did; it grants everything, and enforces no limit. Start with
//! [`transaction`].
//!
//! ```
//! use godwit_plugin::{chat, kv, testing, Fault, Id};
//!
//! let greeted = testing::transaction(|| -> Result<(), Fault> {
//!     kv::set("seen", b"ada")?;
//!     chat::say(Id::from_u128(1), "Hello Ada.")?;
//!     Ok(())
//! });
//! assert_eq!(greeted, Ok(()));
//! assert_eq!(testing::sent(), ["Hello Ada."]);
//! assert_eq!(testing::row("seen"), Some(b"ada".to_vec()));
//! ```

use crate::{
    actors::bot::{Event, Said, What},
    http::{HttpError, Incoming, Outgoing},
    types::{Content, Id, Message, Ms, ServiceError, User},
};
use std::{
    cell::RefCell,
    collections::{BTreeMap, HashMap},
};

/// Something that a plugin did through its services, apart from its `kv`.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// It sent a message, which is called so until it has a number.
    Send(crate::chat::Target, Content, String),
    /// It edited one.
    Edit(crate::chat::Named, String),
    /// It deleted one.
    Delete(crate::chat::Named),
    /// It set a reaction, or took it away.
    React(crate::chat::Named, String, bool),
    /// It showed that something is being written.
    Typing(Id),
    /// It set a timer.
    SetTimer(String, Ms, Vec<u8>),
    /// It cancelled one.
    CancelTimer(String),
}

type Answers = Box<dyn Fn(&Outgoing) -> Result<Incoming, HttpError>>;

#[derive(Default)]
struct Host {
    rows: BTreeMap<String, (Vec<u8>, Option<Ms>)>,
    effects: Vec<Effect>,
    messages: Vec<Message>,
    members: Vec<(Id, crate::chat::Member)>,
    users: Vec<User>,
    secrets: HashMap<String, String>,
    zones: HashMap<String, i32>,
    answers: Option<Answers>,
    count: usize,
}

thread_local! {
    static HOST: RefCell<Host> = RefCell::default();
}

fn with<T>(act: impl FnOnce(&mut Host) -> T) -> T {
    HOST.with_borrow_mut(act)
}

/// Runs a hook as the host does: what it did stays if it returns `Ok`, and is forgotten if it does not.
///
/// # Errors
/// Those of the hook.
pub fn transaction<T, E>(hook: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
    let (rows, effects) = with(|host| (host.rows.clone(), host.effects.len()));
    let result = hook();
    if result.is_err() {
        with(|host| {
            host.rows = rows;
            host.effects.truncate(effects);
        });
    }
    result
}

/// Takes what was done so far, in order.
pub fn take_effects() -> Vec<Effect> {
    with(|host| std::mem::take(&mut host.effects))
}

/// The texts that were sent and are not taken yet, in order.
pub fn sent() -> Vec<String> {
    with(|host| {
        let texts = host.effects.iter().filter_map(|effect| match effect {
            Effect::Send(_, content, _) => Some(content.body.clone()),
            _ => None,
        });
        texts.collect()
    })
}

/// What stands under a key of the plugin's `kv`.
pub fn row(key: &str) -> Option<Vec<u8>> {
    kv::get(key).ok().flatten()
}

/// Puts a row into the plugin's `kv`.
pub fn set_row(key: &str, value: impl Into<Vec<u8>>) {
    with(|host| host.rows.insert(key.to_owned(), (value.into(), None)));
}

/// Sets a secret.
pub fn set_secret(name: &str, value: &str) {
    with(|host| host.secrets.insert(name.to_owned(), value.to_owned()));
}

/// Puts a user among those who can be found.
pub fn add_user(user: User) {
    with(|host| host.users.push(user));
}

/// Puts a member into a conversation.
pub fn add_member(conversation: Id, member: crate::chat::Member) {
    with(|host| host.members.push((conversation, member)));
}

/// Puts a message into the history of its conversation.
pub fn add_message(message: Message) {
    with(|host| host.messages.push(message));
}

/// Gives a time zone a fixed offset, in seconds east of Greenwich; only `UTC` is there by itself.
pub fn set_zone(zone: &str, offset_s: i32) {
    with(|host| host.zones.insert(zone.to_owned(), offset_s));
}

/// Answers the plugin's HTTP requests; without it there is no connection.
pub fn answer_http(answers: impl Fn(&Outgoing) -> Result<Incoming, HttpError> + 'static) {
    with(|host| host.answers = Some(Box::new(answers)));
}

/// An event of a message with that text, in the group of [`scene`](super::scene).
pub fn said(body: impl Into<String>) -> Event {
    let scene = super::scene();
    let conversation = Id::from_u128(1);
    let message = Message {
        conversation,
        seq: 1,
        sender: scene.sender.id,
        sent_at: super::now(),
        content: Content::text(body),
        edited: false,
        via: None,
    };
    event(What::Message(Said { message, sender: scene.sender }))
}

/// An event in the group of [`scene`](super::scene).
pub fn event(what: What) -> Event {
    Event { id: "test".to_owned(), at: super::now(), conversation: super::scene().conversation, what }
}

pub(crate) mod kv {
    use super::{ServiceError, with};
    use crate::kv::Entry;

    pub(crate) fn get(key: &str) -> Result<Option<Vec<u8>>, ServiceError> {
        let now = crate::testing::now();
        Ok(with(|host| {
            let (value, ends) = host.rows.get(key)?;
            ends.is_none_or(|ends| ends > now).then(|| value.clone())
        }))
    }

    pub(crate) fn set(key: &str, value: &[u8], ttl_s: Option<u64>) -> Result<(), ServiceError> {
        let ends = ttl_s.map(|ttl_s| crate::testing::now() + ttl_s * 1_000);
        with(|host| host.rows.insert(key.to_owned(), (value.to_vec(), ends)));
        Ok(())
    }

    pub(crate) fn delete(key: &str) -> Result<(), ServiceError> {
        with(|host| host.rows.remove(key));
        Ok(())
    }

    pub(crate) fn scan(bucket: &str, after: Option<&str>, limit: u32) -> Result<Vec<Entry>, ServiceError> {
        let keys: Vec<String> = with(|host| host.rows.keys().cloned().collect());
        let of_bucket = |key: &String| key.split_once('/').map_or("", |(bucket, _)| bucket) == bucket;
        let later = |key: &String| after.is_none_or(|after| key.as_str() > after);
        let mut entries = Vec::new();
        for key in keys.into_iter().filter(|key| of_bucket(key) && later(key)) {
            if let Some(value) = get(&key)? {
                entries.push(Entry { key, value });
            }
        }
        entries.truncate(limit as usize);
        Ok(entries)
    }
}

pub(crate) mod chat {
    use super::{Content, Effect, Id, Message, ServiceError, User, with};
    use crate::chat::{Member, Named, Person, Target};

    fn act(effect: Effect) -> Result<(), ServiceError> {
        with(|host| host.effects.push(effect));
        Ok(())
    }

    pub(crate) fn send(to: Target, content: &Content) -> Result<String, ServiceError> {
        let reference = with(|host| {
            host.count += 1;
            format!("test#{}", host.count - 1)
        });
        act(Effect::Send(to, content.clone(), reference.clone()))?;
        Ok(reference)
    }

    pub(crate) fn edit(message: &Named, body: &str) -> Result<(), ServiceError> {
        act(Effect::Edit(message.clone(), body.to_owned()))
    }

    pub(crate) fn delete(message: &Named) -> Result<(), ServiceError> {
        act(Effect::Delete(message.clone()))
    }

    pub(crate) fn react(message: &Named, emoji: &str, on: bool) -> Result<(), ServiceError> {
        act(Effect::React(message.clone(), emoji.to_owned(), on))
    }

    pub(crate) fn typing(conversation: Id) -> Result<(), ServiceError> {
        act(Effect::Typing(conversation))
    }

    pub(crate) fn history(place: Id, before: Option<u64>, limit: u32) -> Result<Vec<Message>, ServiceError> {
        let mut found: Vec<Message> = with(|host| {
            let here = |message: &&Message| {
                message.conversation == place && before.is_none_or(|before| message.seq < before)
            };
            host.messages.iter().filter(here).cloned().collect()
        });
        found.sort_by_key(|message| std::cmp::Reverse(message.seq));
        found.truncate(limit as usize);
        Ok(found)
    }

    pub(crate) fn members(place: Id, after: Option<Id>, limit: u32) -> Result<Vec<Member>, ServiceError> {
        let mut found: Vec<Member> = with(|host| {
            let here = host.members.iter().filter(|(conversation, _)| *conversation == place);
            here.map(|(_, member)| *member)
                .filter(|member| after.is_none_or(|after| member.user > after))
                .collect()
        });
        found.sort_by_key(|member| member.user);
        found.truncate(limit as usize);
        Ok(found)
    }

    pub(crate) fn find_user(who: &Person) -> Result<Option<User>, ServiceError> {
        Ok(with(|host| {
            let is = |user: &&User| match who {
                Person::Id(id) => user.id == *id,
                Person::Name(name) => user.name == *name,
            };
            host.users.iter().find(is).cloned()
        }))
    }
}

pub(crate) mod timer {
    use super::{Effect, Ms, ServiceError, with};

    pub(crate) fn set(name: &str, at: Ms, payload: &[u8]) -> Result<(), ServiceError> {
        with(|host| host.effects.push(Effect::SetTimer(name.to_owned(), at, payload.to_vec())));
        Ok(())
    }

    pub(crate) fn cancel(name: &str) -> Result<(), ServiceError> {
        with(|host| host.effects.push(Effect::CancelTimer(name.to_owned())));
        Ok(())
    }
}

pub(crate) mod http {
    use super::{HttpError, Incoming, Outgoing, with};

    pub(crate) fn fetch(request: &Outgoing) -> Result<Incoming, HttpError> {
        // Taken out meanwhile, so that who answers may look at the host.
        let answers = with(|host| host.answers.take());
        let Some(answers) = answers else {
            return Err(HttpError::Connection("no test answers; see `testing::answer_http`".to_owned()));
        };
        let answer = answers(request);
        with(|host| {
            host.answers.get_or_insert(answers);
        });
        answer
    }
}

pub(crate) mod secret {
    use super::{ServiceError, with};

    pub(crate) fn get(name: &str) -> Result<Option<String>, ServiceError> {
        Ok(with(|host| host.secrets.get(name).cloned()))
    }
}

pub(crate) mod state {
    pub(crate) fn get(key: &str) -> Option<Vec<u8>> {
        super::row(key)
    }

    pub(crate) fn get_many(keys: &[String]) -> Vec<Option<Vec<u8>>> {
        keys.iter().map(|key| get(key)).collect()
    }
}

pub(crate) mod zone {
    use super::{Ms, with};
    use crate::zone::LocalTime;

    const DAY_S: i64 = 86_400;

    fn offset(zone: &str) -> Option<i32> {
        with(|host| host.zones.get(zone).copied()).or((zone == "UTC").then_some(0))
    }

    pub(crate) fn local(zone: &str, at: Ms) -> Option<LocalTime> {
        let offset_s = offset(zone)?;
        let shown = i64::try_from(at / 1_000).ok()? + i64::from(offset_s);
        let (day, second) = (shown.div_euclid(DAY_S), shown.rem_euclid(DAY_S));
        let (year, month, date) = civil(day);
        Some(LocalTime {
            year: i16::try_from(year).ok()?,
            month,
            day: date,
            hour: (second / 3_600) as u8,
            minute: (second / 60 % 60) as u8,
            second: (second % 60) as u8,
            millisecond: (at % 1_000) as u16,
            // The epoch was a Thursday.
            weekday: ((day + 3).rem_euclid(7) + 1) as u8,
            offset_s,
        })
    }

    pub(crate) fn instant(zone: &str, local: LocalTime) -> Option<Ms> {
        let offset_s = offset(zone)?;
        // Close enough to begin with; then day by day.
        let mut day = (i64::from(local.year) - 1970) * 365 - 2 + i64::from(local.month) * 28;
        let wanted = (i64::from(local.year), local.month, local.day);
        while civil(day) < wanted {
            day += 1;
        }
        while civil(day) > wanted {
            day -= 1;
        }
        let second = i64::from(local.hour) * 3_600 + i64::from(local.minute) * 60 + i64::from(local.second);
        let at = (day * DAY_S + second - i64::from(offset_s)) * 1_000 + i64::from(local.millisecond);
        (civil(day) == wanted).then(|| u64::try_from(at).ok()).flatten()
    }

    /// Year, month and day of a day since the epoch, by the Gregorian calendar.
    fn civil(day: i64) -> (i64, u8, u8) {
        // Years are counted from March, so that the leap day is a year's last.
        let since = day + 719_468;
        let era = since.div_euclid(146_097);
        let of_era = since.rem_euclid(146_097);
        let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
        let of_year = of_era - (365 * year + year / 4 - year / 100);
        let march = (5 * of_year + 2) / 153;
        let date = (of_year - (153 * march + 2) / 5 + 1) as u8;
        let month = (if march < 10 { march + 3 } else { march - 9 }) as u8;
        (year + era * 400 + i64::from(month <= 2), month, date)
    }
}
