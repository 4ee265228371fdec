//! Who is connected here: user → sessions, and the port through which everything for a user leaves a shard.

use crate::{
    facts::Facts,
    outbox::{Outbox, Pace},
};
use bytes::Bytes;
use godwit_domain::id::{ConversationId, LoginId, Seq, SessionId, UserId};
use godwit_protocol::{error::Close, object};
use parking_lot::{Mutex, RwLock};
use std::{
    collections::HashMap,
    ops::Deref,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

/// A frame on its way to users.
pub struct Push<'a> {
    /// To sessions of these.
    pub audience: &'a [UserId],
    /// To which of them.
    pub reach: Reach,
    /// What they get, encoded once and shared.
    pub frame: Bytes,
    /// What the sessions of this one user get in its place.
    pub own: Option<(UserId, Bytes)>,
    /// The session that asked: it has its reply.
    pub except: Option<SessionId>,
    /// What it is about, where that can be fetched as well.
    pub at: Option<At>,
}

/// Which sessions of its audience a push reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// All.
    Sessions,
    /// Those that follow the conversation that it is [`At`]; the others are told in a while where that stands.
    Followers(Pace),
}

/// What a push is about: where one is too many, the head tells what to fetch in its place.
#[derive(Debug, Clone, Copy)]
pub struct At {
    /// Where the conversation stands with it.
    pub head: object::Head,
    /// Which message it shows, if one.
    pub seq: Option<Seq>,
}

/// The way from a shard to the sessions of users, wherever they are.
pub trait Router: Send + Sync + 'static {
    /// Hands the frame to every session of the audience. Never waits: full outboxes close.
    fn route(&self, push: Push<'_>);

    /// Tells the sessions of the audience in a while where a conversation stands, in place of a push.
    fn spare(&self, audience: &[UserId], head: object::Head, pace: Pace);

    /// Takes back what [`Router::spare`] noted of a conversation for a user who goes, and was shown how it stood then.
    fn unspare(&self, user: UserId, conversation: ConversationId);

    /// Whether the user has a session other than `except`: saves encoding for nobody.
    fn reaches(&self, user: UserId, except: Option<SessionId>) -> bool;

    /// Hands a frame that is worth something now or never to the sessions of the audience that follow a conversation.
    fn tell_followers(&self, audience: &[UserId], conversation: ConversationId, frame: Bytes);

    /// How the user's sessions stand to a conversation.
    fn attends(&self, user: UserId, conversation: ConversationId) -> Attends;
}

/// How a user's sessions stand to a conversation.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Attends {
    /// One is live.
    pub online: bool,
    /// A person is looking at one.
    pub active: bool,
    /// One follows.
    pub follows: bool,
}

/// A session that is connected.
pub struct Entry {
    /// Which.
    pub id: SessionId,
    /// Whose.
    pub user: UserId,
    /// By which login; minted tokens have none.
    pub login: Option<LoginId>,
    /// Where its frames go.
    pub outbox: Outbox,
    /// Whether a person is looking.
    pub active: AtomicBool,
    /// The conversations that it follows, in order.
    pub following: Mutex<Vec<ConversationId>>,
    /// What is known of its user: the same for all of their sessions.
    pub facts: Arc<Facts>,
}

impl Entry {
    /// Whether it follows that conversation.
    pub fn follows(&self, conversation: ConversationId) -> bool {
        self.following.lock().binary_search(&conversation).is_ok()
    }

    /// Follows a conversation, or no longer does; `false` where it follows `max` others.
    pub fn follow(&self, conversation: ConversationId, on: bool, max: usize) -> bool {
        let mut following = self.following.lock();
        match (following.binary_search(&conversation), on) {
            (Err(_), true) if following.len() >= max => return false,
            (Err(place), true) => following.insert(place, conversation),
            (Ok(place), false) => drop(following.remove(place)),
            (Ok(_), true) | (Err(_), false) => {}
        }
        true
    }
}

/// A session's place in the registry: it ends with whoever owns it, and so where a socket is dropped in the midst of
/// `connect` as well.
pub struct Registered {
    registry: Arc<Registry>,
    /// How the session stands there.
    pub entry: Arc<Entry>,
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.registry.remove(&self.entry);
    }
}

impl Deref for Registered {
    type Target = Entry;

    fn deref(&self) -> &Entry {
        &self.entry
    }
}

const STRIPES: usize = 64;
/// Every how many turns of [`Registry::owing`] a session is told what is told [`Pace::Slowly`].
const SLOW_TURNS: usize = 30;

/// The sessions of this host.
pub struct Registry {
    stripes: [RwLock<HashMap<UserId, Vec<Arc<Entry>>>>; STRIPES],
    /// The outboxes with heads to tell.
    spared: Mutex<Vec<Outbox>>,
    /// The sessions with heads to tell slowly, each in the turn that is its own: not all at the same moment.
    slowly: [Mutex<Vec<Arc<Entry>>>; SLOW_TURNS],
}

impl Default for Registry {
    fn default() -> Self {
        Self {
            stripes: std::array::from_fn(|_| RwLock::default()),
            spared: Mutex::default(),
            slowly: std::array::from_fn(|_| Mutex::default()),
        }
    }
}

impl Registry {
    fn stripe(&self, user: UserId) -> &RwLock<HashMap<UserId, Vec<Arc<Entry>>>> {
        // The low bytes of a UUID are random in every version that is used.
        &self.stripes[usize::from(user.as_bytes()[15]) % STRIPES]
    }

    /// Adds a session, which is here until what this returns is dropped. What the user's other sessions know of them
    /// already it knows as well.
    pub fn add(self: &Arc<Self>, mut entry: Entry) -> Registered {
        let mut users = self.stripe(entry.user).write();
        let sessions = users.entry(entry.user).or_insert_with(|| Vec::with_capacity(1));
        if let Some(other) = sessions.first() {
            entry.facts = other.facts.clone();
        }
        let entry = Arc::new(entry);
        sessions.push(entry.clone());
        drop(users);
        Registered { registry: self.clone(), entry }
    }

    /// What is known of a user who is connected.
    pub fn facts(&self, user: UserId) -> Option<Arc<Facts>> {
        self.stripe(user).read().get(&user)?.first().map(|entry| entry.facts.clone())
    }

    fn remove(&self, entry: &Entry) {
        let mut users = self.stripe(entry.user).write();
        if let Some(sessions) = users.get_mut(&entry.user) {
            sessions.retain(|other| other.id != entry.id);
            if sessions.is_empty() {
                users.remove(&entry.user);
            }
        }
    }

    /// Closes the sessions of a user that `which` chooses.
    pub fn close(&self, user: UserId, close: Close, which: impl Fn(&Entry) -> bool) {
        if let Some(sessions) = self.stripe(user).read().get(&user) {
            sessions.iter().filter(|entry| which(entry)).for_each(|entry| entry.outbox.close(close));
        }
    }

    /// Calls `f` with every session.
    pub fn each(&self, mut f: impl FnMut(&Entry)) {
        for stripe in &self.stripes {
            stripe.read().values().flatten().for_each(|entry| f(entry));
        }
    }

    /// Tells every session that was spared pushes where its conversations stand.
    pub fn tell_heads(&self) {
        let spared = std::mem::take(&mut *self.spared.lock());
        spared.iter().for_each(Outbox::tell_heads);
    }

    /// The sessions with heads to tell slowly whose turn this is.
    pub fn owing(&self, turn: usize) -> Vec<Arc<Entry>> {
        std::mem::take(&mut *self.slowly[turn % SLOW_TURNS].lock())
    }

    fn note(&self, entry: &Arc<Entry>, head: object::Head, pace: Pace) {
        if !entry.outbox.spare(head, pace) {
            return;
        }
        match pace {
            Pace::Soon => self.spared.lock().push(entry.outbox.clone()),
            Pace::Slowly => {
                let turn = usize::from(entry.id.as_bytes()[15]) % SLOW_TURNS;
                self.slowly[turn].lock().push(entry.clone());
            }
        }
    }

    /// How many sessions there are.
    pub fn len(&self) -> usize {
        self.stripes.iter().map(|stripe| stripe.read().values().map(Vec::len).sum::<usize>()).sum()
    }

    /// Whether nobody is connected.
    pub fn is_empty(&self) -> bool {
        self.stripes.iter().all(|stripe| stripe.read().is_empty())
    }
}

impl Router for Registry {
    fn route(&self, push: Push<'_>) {
        for user in push.audience {
            let users = self.stripe(*user).read();
            let Some(sessions) = users.get(user) else { continue };
            let frame = match &push.own {
                Some((owner, own)) if owner == user => own,
                _ => &push.frame,
            };
            for entry in sessions.iter().filter(|entry| push.except != Some(entry.id)) {
                match (push.reach, push.at) {
                    (Reach::Followers(pace), Some(at)) if !entry.follows(at.head.conversation) => {
                        self.note(entry, at.head, pace);
                    }
                    _ => entry.outbox.push(frame.clone(), push.at),
                }
            }
        }
    }

    fn spare(&self, audience: &[UserId], head: object::Head, pace: Pace) {
        for user in audience {
            for entry in self.stripe(*user).read().get(user).into_iter().flatten() {
                self.note(entry, head, pace);
            }
        }
    }

    fn unspare(&self, user: UserId, conversation: ConversationId) {
        for entry in self.stripe(user).read().get(&user).into_iter().flatten() {
            entry.outbox.unspare(conversation);
        }
    }

    fn tell_followers(&self, audience: &[UserId], conversation: ConversationId, frame: Bytes) {
        for user in audience {
            let users = self.stripe(*user).read();
            let sessions = users.get(user).into_iter().flatten();
            let following = sessions.filter(|entry| entry.follows(conversation));
            following.for_each(|entry| entry.outbox.push(frame.clone(), None));
        }
    }

    fn reaches(&self, user: UserId, except: Option<SessionId>) -> bool {
        let users = self.stripe(user).read();
        users.get(&user).is_some_and(|sessions| sessions.iter().any(|entry| except != Some(entry.id)))
    }

    fn attends(&self, user: UserId, conversation: ConversationId) -> Attends {
        let users = self.stripe(user).read();
        let mut attends = Attends::default();
        for entry in users.get(&user).into_iter().flatten() {
            attends.online = true;
            attends.active |= entry.active.load(Ordering::Relaxed);
            attends.follows |= entry.follows(conversation);
        }
        attends
    }
}
