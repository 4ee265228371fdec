//! A session: one connection's conversation with the host, whatever the transport.
//!
//! Requests come in by [`Session::receive`], in order; everything that goes out, replies included, goes through the
//! outbox. Sends and marks are handed to their shard in the order in which they came ([`send`]); what only reads, or
//! changes membership, runs beside them in a task of its own ([`ask`]), so that it delays nobody.

mod ask;
pub(crate) mod send;
pub(crate) mod change;
mod contacts;
mod listing;
pub mod cursor;
pub mod resume;

use crate::{
    facts::Facts,
    host::Host,
    outbox::{Busy, Outbox, Reply},
    person::{Bucket, Person},
    presence::Here,
    registry::{Entry, Registered},
    sequencer::{self, Standing, Typing},
    view,
};
use godwit_domain::{
    id::{ConversationId, LoginId, SessionId},
    time::Ms,
    user::User,
};
use godwit_protocol::{
    encode,
    error::{Close, Code, Error},
    frame, object,
    request::{self, Connect, Incoming, Mark, Renew, Request, Watch, Whom},
};
use parking_lot::Mutex;
use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use uuid::Uuid;

use self::{
    change::Change,
    resume::{Beginning, Changed},
};

/// The longest name that a device may give itself, in bytes.
const DEVICE_ID_BYTES_MAX: usize = 200;
/// How many requests may come at once before [`crate::limits::Options::requests_per_s`] counts, as seconds' worth.
const REQUESTS_BURST_S: u32 = 2;

/// See the module.
pub struct Session {
    host: Arc<Host>,
    outbox: Outbox,
    requests: Bucket,
    /// Requests in a row that came when too many were in flight, or sends beyond their rate.
    overruns: usize,
    /// Whether `hello` is told in the reply to `connect`, there being no way to tell it before.
    hello_in_reply: bool,
    connected: Option<Connected>,
}

struct Connected {
    /// Before the entry: it goes first.
    here: Here,
    entry: Registered,
    /// As of the request that is worked off.
    user: Arc<User>,
    person: Arc<Person>,
    ends: End,
    /// How often it may say that someone is writing.
    typings: Bucket,
}

/// Whoever sends or changes something: a session's user, or a plugin's.
#[derive(Clone, Copy)]
pub(crate) struct Author<'a> {
    pub user: &'a Arc<User>,
    pub person: &'a Arc<Person>,
    /// From which session. What a plugin does comes from none, and is counted by who carries it out.
    pub session: Option<SessionId>,
}

impl Connected {
    fn author(&self) -> Author<'_> {
        Author { user: &self.user, person: &self.person, session: Some(self.entry.id) }
    }
}

/// When a session ends by itself.
#[derive(Debug, Clone, Copy)]
enum End {
    /// With a minted token.
    Token(Ms),
    /// With its login, which may be prolonged meanwhile: to be asked again then.
    Login(LoginId, Ms),
}

impl Session {
    pub(crate) fn new(host: Arc<Host>, outbox: Outbox, hello_in_reply: bool) -> Self {
        Self { host, outbox, requests: Bucket::default(), overruns: 0, hello_in_reply, connected: None }
    }

    /// Whether `connect` was answered.
    pub fn is_connected(&self) -> bool {
        self.connected.is_some()
    }

    /// How the session stands in the registry, once it is connected.
    pub fn entry(&self) -> Option<Arc<Entry>> {
        self.connected.as_ref().map(|connected| connected.entry.entry.clone())
    }

    /// Ends the session from the side of the transport, and counts why.
    pub fn closed(&self, close: Close) {
        self.host.parts.metrics.closed(close);
        self.outbox.close(close);
    }

    /// Takes what one text frame holds, in order. Waits where the client asks faster than it may: a transport that
    /// does not read meanwhile slows it down, which loses nothing.
    ///
    /// # Errors
    /// Why the connection must end; what came before that took effect, and its replies are in the outbox.
    pub async fn receive(&mut self, text: &str) -> Result<(), Close> {
        for (count, object) in frame::objects(text).enumerate() {
            if count == frame::OBJECTS_MAX {
                return Err(Close::Malformed);
            }
            self.receive_one(object).await?;
        }
        Ok(())
    }

    /// Takes one object, as [`Session::receive`] does; the id that its reply carries if it is not in the outbox yet.
    ///
    /// # Errors
    /// As [`Session::receive`].
    pub async fn receive_one(&mut self, object: &str) -> Result<u64, Close> {
        self.admit().await;
        let Incoming { id, request } = request::parse(object).map_err(|_| Close::Malformed)?;
        match request {
            Ok(Request::Typing(typing)) if self.connected.is_some() => {
                self.typing(typing.conversation).await;
                // No reply comes under any id.
                return Ok(0);
            }
            Ok(request) => self.begin(id, request).await?,
            Err(error) => self.refuse(id, &error),
        }
        Ok(id)
    }

    async fn admit(&mut self) {
        let per_s = self.host.parts.limits.requests_per_s;
        while let Err(ms) = self.requests.take(self.host.parts.clock.now(), per_s, per_s * REQUESTS_BURST_S) {
            tokio::time::sleep(Duration::from_millis(ms)).await;
        }
    }

    fn refuse(&self, id: u64, error: &Error) {
        self.host.parts.metrics.refused(error.code);
        self.outbox.reply(id, encode::error(id, error));
    }

    async fn begin(&mut self, id: u64, request: Request) -> Result<(), Close> {
        let max = self.host.parts.limits.in_flight_max;
        let reply = match self.outbox.begin(id, max) {
            Ok(reply) => reply,
            Err(Busy::InUse) => {
                self.refuse(0, &Error::invalid("id", format!("`id` {id} is in flight")));
                return Ok(());
            }
            Err(Busy::Full) => {
                let text = format!("{max} requests are in flight, the limit");
                self.refuse(id, &Error::new(Code::RateLimited, text));
                return self.overrun(max);
            }
        };
        let Some(connected) = &mut self.connected else {
            if let Request::Connect(connect) = request {
                // Boxed, as everything rare here: each frame is worked off by a future that has room for all of it.
                return Box::pin(self.connect(connect, reply)).await;
            }
            reply.error(&Error::new(Code::Unauthorised, "`connect` comes first"));
            return Ok(());
        };
        connected.user = connected.entry.facts.user.get();
        let connected = &*connected;
        match request {
            Request::Connect(_) => {
                reply.error(&Error::new(Code::Conflict, "this session is connected already"));
            }
            Request::Renew(renew) => Box::pin(self.renew(renew, reply)).await,
            Request::Send(send) => {
                let limited = send::begin(&self.host, connected.author(), send, reply).await;
                if limited {
                    return self.overrun(self.host.parts.limits.sends_burst as usize);
                }
                self.overruns = 0;
            }
            Request::Edit(edit) => self.change(Change::Edit(edit), reply).await,
            Request::Delete(delete) if delete.r#for == Whom::Everyone => {
                self.change(Change::Delete(delete), reply).await;
            }
            Request::React(react) => self.change(Change::React(react), reply).await,
            Request::Remove(remove) => self.change(Change::Remove(remove), reply).await,
            Request::Join(join) if join.code.is_none() => self.change(Change::Join(join), reply).await,
            Request::Leave(leave) => self.change(Change::Leave(leave), reply).await,
            Request::SetRole(set) => self.change(Change::SetRole(set), reply).await,
            Request::Update(update) => self.change(Change::Update(update), reply).await,
            Request::Follow(asked) => Box::pin(self.follow(asked.conversation, true, reply)).await,
            Request::Unfollow(asked) => Box::pin(self.follow(asked.conversation, false, reply)).await,
            Request::Watch(asked) => Box::pin(self.watch(asked, reply)).await,
            Request::Active(asked) => {
                connected.entry.active.store(asked.active, Ordering::Relaxed);
                reply.done();
            }
            Request::Received(mark) => self.mark(mark, false, reply).await,
            Request::Read(mark) => self.mark(mark, true, reply).await,
            request => {
                let asker = ask::Asker {
                    host: self.host.clone(),
                    user: connected.user.clone(),
                    session: connected.entry.id,
                };
                tokio::spawn(asker.answer(request, reply));
            }
        }
        Ok(())
    }

    /// Counts a request that was refused for its haste; who goes on is closed.
    fn overrun(&mut self, max: usize) -> Result<(), Close> {
        self.overruns += 1;
        if self.overruns > max { Err(Close::TooManyRequests) } else { Ok(()) }
    }

    async fn change(&self, change: Change, reply: Reply) {
        let Some(connected) = &self.connected else { return };
        change::begin(&self.host, connected.author(), change, reply).await;
    }

    async fn mark(&self, mark: Mark, read: bool, reply: Reply) {
        let Some(connected) = &self.connected else { return };
        let Mark { conversation, seq } = mark;
        let (user, session) = (connected.user.id, connected.entry.id);
        let discretion = match connected.entry.facts.discretion(&self.host.relations).await {
            Ok(discretion) => discretion,
            Err(error) => return reply.error(&error.into()),
        };
        let mark = sequencer::Mark { conversation, user, session, seq, read, discretion, reply };
        self.host.sequencer.mark(mark).await;
    }

    /// Follows a conversation from here on, or no longer does. In order with what the session asks before and after.
    async fn follow(&self, conversation: ConversationId, on: bool, reply: Reply) {
        let Some(connected) = &self.connected else { return };
        let max = self.host.parts.limits.follows_max;
        let answer = match self.host.sequencer.view(conversation, connected.user.id).await {
            Ok(view) => match view.standing {
                Standing::In if connected.entry.follow(conversation, on, max) => Ok(()),
                Standing::In => {
                    let text = format!("this session follows {max} conversations, the limit; `unfollow` one");
                    Err(Error::invalid("conversation", text))
                }
                Standing::Left | Standing::Outside => {
                    Err(Error::new(Code::NotMember, "you are not in this conversation"))
                }
            },
            Err(error) => Err(error),
        };
        match answer {
            Ok(()) => reply.done(),
            Err(error) => {
                self.host.parts.metrics.refused(error.code);
                reply.error(&error);
            }
        }
    }

    /// Watches these and nobody else from here on. In order with what the session asks before and after.
    async fn watch(&self, asked: Watch, reply: Reply) {
        let Some(connected) = &self.connected else { return };
        let mut reply = Some(reply);
        let watched = match ask::each_once(asked.users) {
            Ok(users) => {
                let answer = |presence: &[object::Presence]| {
                    reply.take().into_iter().for_each(|reply| reply.ok(&ask::AllPresence { presence }));
                };
                connected.here.watch(users, answer).await.map_err(Error::from)
            }
            Err(error) => Err(error),
        };
        if let (Err(error), Some(reply)) = (watched, reply) {
            self.host.parts.metrics.refused(error.code);
            reply.error(&error);
        }
    }

    /// Says that someone is writing, as often as that may be. Nothing is answered.
    async fn typing(&mut self, conversation: ConversationId) {
        let (now, per_s) = (self.host.parts.clock.now(), self.host.parts.limits.typings_per_s);
        let Some(connected) = &mut self.connected else { return };
        if connected.typings.take(now, per_s, per_s).is_err() {
            return;
        }
        // Nobody hears either where the store cannot say who may.
        let Ok(discretion) = connected.entry.facts.discretion(&self.host.relations).await else { return };
        let user = connected.user.id;
        self.host.sequencer.typing(Typing { conversation, user, discretion }).await;
    }

    async fn connect(&mut self, connect: Connect, reply: Reply) -> Result<(), Close> {
        match self.try_connect(connect).await {
            Ok((connected, beginning)) => {
                let Beginning { cursor, recovered, changed, held } = beginning;
                let Changed { shown, contacts, next } = changed;
                let covered: HashMap<_, _> =
                    shown.iter().map(|(view, _)| (view.meta.id, view.head.last_seq)).collect();
                let user = &connected.user;
                let conversations =
                    shown.iter().map(|(view, peer)| view::object(view, user.id, peer.as_deref())).collect();
                let answer = object::Connected {
                    user: object::User::own(user),
                    session: connected.entry.id,
                    epoch: &self.host.parts.epoch,
                    cursor: cursor.to_string(),
                    recovered,
                    conversations,
                    contacts: contacts.iter().map(object::Contact::from).collect(),
                    held: held.into_iter().map(object::Held::from).collect(),
                    next: next.map(|page| page.to_string()),
                    hello: self.hello_in_reply.then(|| self.host.hello()),
                };
                reply.connected(&answer, &covered);
                self.host.parts.metrics.sessions.inc();
                self.connected = Some(connected);
                Ok(())
            }
            Err(error) => {
                self.host.parts.metrics.refused(error.code);
                reply.error(&error);
                if error.code == Code::Unauthorised { Err(Close::Unauthorised) } else { Ok(()) }
            }
        }
    }

    /// Registers behind a shut gate, then reads: nothing that happens in between is missed.
    async fn try_connect(&self, connect: Connect) -> Result<(Connected, Beginning), Error> {
        let device = connect.device.id.len();
        if !(1..=DEVICE_ID_BYTES_MAX).contains(&device) {
            let text = format!("device id of {device} bytes, the limit is 1 to {DEVICE_ID_BYTES_MAX}");
            return Err(Error::invalid("device.id", text));
        }
        let window = match connect.window {
            Some(0) => 0,
            window => request::limit(window)?,
        };
        let accounts = &self.host.parts.accounts;
        let principal = accounts.authenticate(&connect.token).await?;
        self.outbox.shut_gate();
        let entry = self.host.parts.registry.add(Entry {
            id: SessionId(Uuid::new_v4()),
            user: principal.user.id,
            login: principal.login,
            outbox: self.outbox.clone(),
            active: AtomicBool::new(connect.active.unwrap_or(true)),
            following: Mutex::default(),
            facts: Facts::of(principal.user.clone()),
        });
        let user = entry.facts.user.begin();
        // Asked again now that ends of logins are heard: one that came in between is not missed.
        let principal = accounts.authenticate(&connect.token).await?;
        entry.facts.user.finish(user, principal.user.clone());
        let ends = self.end_of(principal.login, principal.expires_at).await?;
        let beginning = resume::begin(&self.host, entry.user, connect.resume.as_ref(), window).await?;
        let person = self.host.people.get(entry.user);
        let here = self.host.presence.enter(entry.entry.clone());
        let (user, typings) = (principal.user, Bucket::default());
        Ok((Connected { here, entry, user, person, ends, typings }, beginning))
    }

    async fn end_of(&self, login: Option<LoginId>, expires_at: Option<Ms>) -> Result<End, Error> {
        let ended = || Error::new(Code::Unauthorised, "the login has ended");
        match (login, expires_at) {
            (Some(login), _) => {
                let at = self.host.parts.accounts.login_expires_at(login).await?.ok_or_else(ended)?;
                Ok(End::Login(login, at))
            }
            (None, Some(at)) => Ok(End::Token(at)),
            (None, None) => Err(ended()),
        }
    }

    async fn renew(&mut self, renew: Renew, reply: Reply) {
        let Some(connected) = &self.connected else { return };
        let renewed = async {
            let principal = self.host.parts.accounts.authenticate(&renew.token).await?;
            if principal.user.id != connected.user.id {
                return Err(Error::new(Code::Forbidden, "the token is another user's"));
            }
            if principal.login != connected.entry.login {
                return Err(Error::new(
                    Code::Forbidden,
                    "the token is of another login; open another connection",
                ));
            }
            self.end_of(principal.login, principal.expires_at).await
        };
        match renewed.await {
            Ok(ends) => {
                if let Some(connected) = &mut self.connected {
                    connected.ends = ends;
                }
                reply.done();
            }
            Err(error) => reply.error(&error),
        }
    }

    /// Takes it that the client has shown a token of its login that is good until `expires_at`, if that is a time of
    /// its own: with every request, on a transport where each brings one.
    pub fn prolong(&mut self, expires_at: Option<Ms>) {
        if let (Some(connected), Some(shown)) = (&mut self.connected, expires_at)
            && let End::Token(at) = &mut connected.ends
        {
            *at = shown.max(*at);
        }
    }

    /// When [`Session::expire`] is to be asked.
    pub fn expires_at(&self) -> Option<Ms> {
        self.connected.as_ref().map(|connected| match connected.ends {
            End::Token(at) | End::Login(_, at) => at,
        })
    }

    /// Whether the session's time is over; a login that was refreshed meanwhile gives it more.
    ///
    /// # Errors
    /// Why the connection must end.
    pub async fn expire(&mut self) -> Result<(), Close> {
        let now = self.host.parts.clock.now();
        let Some(connected) = &mut self.connected else { return Ok(()) };
        match connected.ends {
            End::Token(at) | End::Login(_, at) if at > now => Ok(()),
            End::Token(_) => Err(Close::Revoked),
            End::Login(login, _) => match self.host.parts.accounts.login_expires_at(login).await {
                Ok(Some(at)) => {
                    connected.ends = End::Login(login, at);
                    Ok(())
                }
                Ok(None) => Err(Close::Revoked),
                // Without the store nobody knows; who reconnects will be asked again.
                Err(_) => Err(Close::Internal),
            },
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if self.connected.is_some() {
            self.host.parts.metrics.sessions.dec();
        }
    }
}
