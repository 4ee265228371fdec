//! The task that owns a session without a socket, from its `connect` to its end.
//!
//! It does what the loop of a socket does: requests are worked off one after the other, in the order in which they
//! came, and what the session says is taken from its outbox. Replies go to the requests that wait for them; pushes go to the
//! mailbox, and count in the outbox until they are acknowledged, so that its limit is the limit of both.
//!
//! It ends as a socket would, and when no request has come for a while.

use super::{
    listener::{self, Listener},
    mailbox::{Mailbox, Refused},
    sessions::{Place, Sessions},
};
use crate::Gateway;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use godwit_core::{
    domain::{
        id::{LoginId, UserId},
        time::{Clock, Ms},
    },
    outbox::{Drain, Frame},
    registry::Entry,
    session::Session,
};
use godwit_protocol::error::{Close, Error};
use std::{
    collections::HashMap,
    future::{pending, poll_fn},
    sync::Arc,
    time::Duration,
};
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, sleep_until},
};

/// How long a session lasts without a request.
const IDLE: Duration = Duration::from_secs(60);
/// How many requests may wait to be worked off; who brings more waits with them.
const QUEUE: usize = 16;

/// A request to be worked off.
pub(super) struct Post {
    pub text: String,
    /// When the token that it brought ends, where that is a time of its own.
    pub expires_at: Option<Ms>,
    pub answer: oneshot::Sender<Answer>,
}

/// What a request is answered with.
pub(super) enum Answer {
    /// Its reply object.
    Reply(Bytes),
    /// There is none, and none will come.
    Nothing,
    /// It is no JSON object; the session has ended with it.
    Malformed,
}

/// Someone who asks for pushes.
pub(super) struct Listen {
    /// Up to which number it has them.
    pub after: Option<u64>,
    /// Whether it takes them as they come.
    pub stream: bool,
    /// How long it waits for one, where it does not.
    pub wait: Duration,
    /// When the token that it brought ends, where that is a time of its own.
    pub expires_at: Option<Ms>,
    pub answer: listener::Answer,
}

/// The way to a session's owner. Where that is gone nothing is answered, and [`Handle::closed`] says why.
#[derive(Clone)]
pub(super) struct Handle {
    entry: Arc<Entry>,
    pub posts: mpsc::Sender<Post>,
    pub listens: mpsc::Sender<Listen>,
}

impl Handle {
    /// Whether the session is of this user's login.
    pub fn is_of(&self, user: UserId, login: Option<LoginId>) -> bool {
        self.entry.user == user && self.entry.login == login
    }

    /// How the session ended, if it did.
    pub fn ended(&self) -> Option<Close> {
        self.entry.outbox.closed()
    }

    /// How a session ended that is known to have ended.
    pub fn closed(&self) -> Close {
        self.ended().unwrap_or(Close::Internal)
    }

    /// Ends the session.
    pub fn close(&self, close: Close) {
        self.entry.outbox.close(close);
    }
}

/// Works off `connect` in a session of its own, which goes on if that is granted. `None` where the host ended it first.
pub(super) async fn open(gateway: &Gateway, place: Place, text: String) -> Option<Answer> {
    let (session, drain) = gateway.host.open_asked_session();
    let (posts, post_queue) = mpsc::channel(QUEUE);
    let (listens, listen_queue) = mpsc::channel(QUEUE);
    let (answer, answered) = oneshot::channel();
    let mut owner = Owner {
        sessions: gateway.sessions.clone(),
        clock: gateway.host.clock(),
        session: None,
        working: None,
        current: None,
        waiting: HashMap::new(),
        drain,
        frames: Vec::new(),
        outbox_bytes_max: gateway.options.outbox_bytes_max,
        mailbox: Mailbox::default(),
        listener: None,
        last_request: Instant::now(),
        queues: Queues { posts: post_queue, listens: listen_queue },
        ways: Some((posts, listens)),
        entry: None,
        _place: place,
    };
    owner.work(session, Post { text, expires_at: None, answer });
    tokio::spawn(Box::pin(owner.run()));
    answered.await.ok()
}

struct Owner {
    sessions: Arc<Sessions>,
    clock: Arc<dyn Clock>,
    /// Absent while it works off a request.
    session: Option<Session>,
    working: Option<BoxFuture<'static, Worked>>,
    /// The request that is being worked off.
    current: Option<Current>,
    /// Those that were worked off and wait for their reply, by their id.
    waiting: HashMap<u64, oneshot::Sender<Answer>>,
    drain: Drain,
    /// Frames taken from the outbox.
    frames: Vec<Frame>,
    outbox_bytes_max: usize,
    mailbox: Mailbox,
    listener: Option<Listener>,
    /// When the last request ended.
    last_request: Instant,
    queues: Queues,
    /// What the handle is made of, until there is one.
    ways: Option<(mpsc::Sender<Post>, mpsc::Sender<Listen>)>,
    /// Present from `connect` to the end, while others find the session.
    entry: Option<Arc<Entry>>,
    _place: Place,
}

struct Queues {
    posts: mpsc::Receiver<Post>,
    listens: mpsc::Receiver<Listen>,
}

struct Current {
    answer: oneshot::Sender<Answer>,
    reply: Option<Bytes>,
}

/// What came of a piece of work, and the session that did it.
struct Worked {
    session: Session,
    /// The id under which a reply comes, where one may.
    result: Result<Option<u64>, Close>,
}

enum Event {
    /// The outbox has frames, or is closed.
    Outbox(Result<(), Close>),
    Worked(Worked),
    Listen(Listen),
    Post(Post),
    /// The listener can take more, or is gone.
    Listener,
    Time,
}

/// How a session ends.
enum End {
    /// It never began.
    Refused,
    Close(Close),
}

impl From<Close> for End {
    fn from(close: Close) -> Self {
        Self::Close(close)
    }
}

impl Owner {
    async fn run(mut self) {
        let end = loop {
            let event = self.next().await;
            if let Err(end) = self.take(event) {
                break end;
            }
        };
        if let End::Close(close) = end {
            self.end(close).await;
        }
    }

    /// Waits for what happens next. What the session says comes first, so that it is known when its work is done.
    async fn next(&mut self) -> Event {
        let (at, is_idle) = (self.next_time(), self.working.is_none());
        tokio::select! {
            biased;
            result = poll_fn(|context| self.drain.poll_kept(context, &mut self.frames)) => Event::Outbox(result),
            worked = done(&mut self.working) => Event::Worked(worked),
            Some(listen) = self.queues.listens.recv() => Event::Listen(listen),
            Some(post) = self.queues.posts.recv(), if is_idle => Event::Post(post),
            () = moved(&mut self.listener, &self.mailbox) => Event::Listener,
            () = sleep_until(at) => Event::Time,
        }
    }

    fn take(&mut self, event: Event) -> Result<(), End> {
        match event {
            Event::Outbox(result) => {
                result?;
                self.file();
            }
            Event::Worked(worked) => self.worked(worked)?,
            Event::Listen(listen) => self.listen(listen)?,
            Event::Post(post) => {
                if let Some(session) = self.session.take() {
                    self.work(session, post);
                }
            }
            Event::Listener => {}
            Event::Time => self.on_time()?,
        }
        self.serve();
        self.settle();
        Ok(())
    }

    fn work(&mut self, mut session: Session, Post { text, expires_at, answer }: Post) {
        self.current = Some(Current { answer, reply: None });
        self.working = Some(Box::pin(async move {
            session.prolong(expires_at);
            let result = session.receive_one(&text).await.map(Some);
            Worked { session, result }
        }));
    }

    /// Answers what was worked off, or has it wait for its reply.
    fn worked(&mut self, Worked { session, result }: Worked) -> Result<(), End> {
        self.working = None;
        // In this order: a reply that is not awaited any more has been given, if one is due.
        let awaited = matches!(result, Ok(Some(id)) if self.drain.awaits(id));
        self.frames.extend(self.drain.rest());
        self.file();
        // Before the client is told of it: it may come with the next request at once.
        self.list(&session);
        let is_connected = session.is_connected();
        if let Err(close) = result {
            self.close(close);
        }
        self.session = Some(session);
        if let Some(Current { answer, reply }) = self.current.take() {
            self.last_request = Instant::now();
            match (reply, result) {
                (Some(reply), _) => give(answer, Answer::Reply(reply)),
                (None, Ok(Some(id))) if awaited => {
                    self.waiting.insert(id, answer);
                }
                (None, Ok(_)) => give(answer, Answer::Nothing),
                (None, Err(Close::Malformed)) => give(answer, Answer::Malformed),
                // It is told how the session ended, like all others.
                (None, Err(_)) => {}
            }
        }
        match result {
            _ if !is_connected => Err(End::Refused),
            Ok(_) => Ok(()),
            Err(close) => Err(close.into()),
        }
    }

    fn list(&mut self, session: &Session) {
        if let Some(entry) = session.entry()
            && let Some((posts, listens)) = self.ways.take()
        {
            self.sessions.add(entry.id, Handle { entry: entry.clone(), posts, listens });
            self.entry = Some(entry);
        }
    }

    /// Hands replies to those who wait for them, and pushes to the mailbox. What nobody waits for by its id answers the
    /// request that is being worked off.
    fn file(&mut self) {
        for frame in self.frames.drain(..) {
            match frame {
                Frame::Push(push) => self.mailbox.add(push),
                Frame::Reply(id, reply) => {
                    self.drain.release(reply.len());
                    if let Some(answer) = self.waiting.remove(&id) {
                        self.last_request = Instant::now();
                        give(answer, Answer::Reply(reply));
                    } else if let Some(current) = &mut self.current {
                        current.reply = Some(reply);
                    }
                }
            }
        }
    }

    fn listen(&mut self, listen: Listen) -> Result<(), End> {
        let Listen { after, stream, wait, expires_at, answer } = listen;
        if let Some(session) = &mut self.session {
            session.prolong(expires_at);
        }
        self.last_request = Instant::now();
        match after.map_or(Ok(0), |after| self.mailbox.acknowledge(after)) {
            Ok(bytes) => self.drain.release(bytes),
            Err(Refused::Unknown(last)) => {
                let text =
                    format!("`after` is {}, but the newest push has {last}", after.unwrap_or_default());
                let _ = answer.send(Err(Error::invalid("after", text)));
                return Ok(());
            }
            // What was not read in time is lost to this session; resuming repairs it.
            Err(Refused::Forgotten) => {
                self.close(Close::SlowConsumer);
                return Err(Close::SlowConsumer.into());
            }
        }
        if let Some(older) = self.listener.take() {
            older.replace();
        }
        self.listener = Some(match stream {
            true => Listener::stream(answer, self.mailbox.acknowledged()),
            false => Listener::poll(answer, wait),
        });
        Ok(())
    }

    fn serve(&mut self) {
        if let Some(listener) = self.listener.take() {
            self.listener = listener.serve(&self.mailbox);
            if self.listener.is_none() {
                self.last_request = Instant::now();
            }
        }
    }

    /// Lets go of what an open stream wrote long ago. A stream that is read keeps half of the outbox free for what
    /// comes, however much has gone through it.
    fn settle(&mut self) {
        let Some(listener) = &mut self.listener else { return };
        while let Some(up_to) = listener.settle(self.mailbox.bytes() > self.outbox_bytes_max / 2) {
            if let Ok(bytes) = self.mailbox.acknowledge(up_to) {
                self.drain.release(bytes);
            }
        }
    }

    fn on_time(&mut self) -> Result<(), End> {
        if self.idle_at().is_some_and(|at| at <= Instant::now()) {
            return Err(Close::Idle.into());
        }
        if let Some(mut session) = self.session.take_if(|session| is_over(session, &*self.clock)) {
            self.working = Some(Box::pin(async move {
                let result = session.expire().await.map(|()| None);
                Worked { session, result }
            }));
        }
        Ok(())
    }

    fn next_time(&self) -> Instant {
        let idle = self.idle_at();
        let heard = self.listener.as_ref().map(Listener::next_time);
        let now = Instant::now();
        let over = self.session.as_ref().and_then(Session::expires_at);
        let over = over.map(|at| now + Duration::from_millis(at.since(self.clock.now())));
        idle.into_iter().chain(heard).chain(over).min().unwrap_or(now + IDLE)
    }

    /// When the session has been without a request for too long.
    fn idle_at(&self) -> Option<Instant> {
        let is_asked = self.working.is_some() || !self.waiting.is_empty() || self.listener.is_some();
        (!is_asked).then(|| self.last_request + IDLE)
    }

    /// Lets the session go, then tells those who are still there: what was said already, and why no more comes. What
    /// was being worked off is given up; none of it has been acknowledged.
    async fn end(&mut self, close: Close) {
        if let Some(session) = self.session.take() {
            session.closed(close);
        }
        self.forget(close);
        self.working = None;
        self.frames.extend(self.drain.rest());
        self.file();
        self.waiting.clear();
        self.current = None;
        if let Some(listener) = self.listener.take() {
            listener.end(&self.mailbox, close).await;
        }
    }

    /// Makes the reason known before anyone is left without an answer.
    fn close(&self, close: Close) {
        if let Some(entry) = &self.entry {
            entry.outbox.close(close);
        }
    }

    fn forget(&mut self, close: Close) {
        self.close(close);
        if let Some(entry) = self.entry.take() {
            self.sessions.end(entry.id, entry.outbox.closed().unwrap_or(close));
        }
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        // However it came to its end, nobody is to wait for it.
        self.forget(Close::Internal);
    }
}

async fn done(working: &mut Option<BoxFuture<'static, Worked>>) -> Worked {
    match working {
        Some(working) => working.await,
        None => pending().await,
    }
}

async fn moved(listener: &mut Option<Listener>, mailbox: &Mailbox) {
    match listener {
        Some(listener) => listener.moved(mailbox).await,
        None => pending().await,
    }
}

fn is_over(session: &Session, clock: &dyn Clock) -> bool {
    session.expires_at().is_some_and(|at| at <= clock.now())
}

/// Who has hung up is given nothing; a request that is made again finds its outcome by its client id.
fn give(to: oneshot::Sender<Answer>, answer: Answer) {
    let _ = to.send(answer);
}
