//! An independent judge of histories: what was acknowledged against what was pushed and what is stored.
//!
//! It owns the rules that no run may break, whatever was killed in between: nothing acknowledged is lost, a client id
//! has one number and a number one message, numbers are dense, everyone sees one order, and bodies are unchanged; marks
//! never fall, and who is not in a conversation is told nothing of it ([`marks`], [`members`]).
//! It refuses to know sockets, JSON and the host's own crates: what it is told are plain facts, so that a fault that
//! the host's code shares cannot hide here.
//!
//! Start with [`Checker`]: tell it what was tried ([`Checker::attempt`]), what was answered
//! ([`Checker::acknowledge`]), what was pushed ([`Checker::push`]) and what history shows afterwards
//! ([`Checker::store`]), then ask for the [`Checker::faults`].

mod marks;
mod members;
#[cfg(test)]
mod tests;

pub use marks::{Marks, Moment};
pub use members::{Came, Told};

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    hash::{DefaultHasher, Hash, Hasher},
};
use uuid::Uuid;

/// Stands for a body, so that millions of messages fit into memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint(u64);

impl Fingerprint {
    /// The fingerprint of this body.
    pub fn of(body: &str) -> Self {
        let mut hasher = DefaultHasher::new();
        body.hash(&mut hasher);
        Self(hasher.finish())
    }
}

/// A connection, counted by [`Checker::session`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Session(usize);

/// A message as a push or a page of history shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// Where.
    pub conversation: Uuid,
    /// Its number.
    pub seq: u64,
    /// Who sent it.
    pub sender: Uuid,
    /// What the sender's client calls it, where that is shown.
    pub client: Option<Uuid>,
    /// What it says.
    pub body: Fingerprint,
}

/// What a run broke. Every variant names what it takes to find the message.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the variant says what its fields are")]
pub enum Fault {
    /// It was acknowledged under a number under which nothing is stored.
    Lost { conversation: Uuid, seq: u64, client: Uuid },
    /// It was pushed under a number under which nothing is stored.
    Vanished { conversation: Uuid, seq: u64 },
    /// One client id has two numbers.
    Doubled { conversation: Uuid, client: Uuid, first: u64, second: u64 },
    /// One number has two messages.
    Shared { conversation: Uuid, seq: u64 },
    /// Nothing is stored under a number below the newest.
    Hole { conversation: Uuid, seq: u64 },
    /// A session was pushed `later` before `seq`, or `seq` twice.
    PushedOutOfOrder { session: usize, conversation: Uuid, later: u64, seq: u64 },
    /// A session was pushed what came before and after, but not this.
    NotPushed { session: usize, conversation: Uuid, seq: u64 },
    /// A sender's messages are not numbered in the order in which they were sent.
    NumberedOutOfOrder { conversation: Uuid, sender: Uuid, earlier: u64, later: u64 },
    /// What is stored or pushed is not what was sent.
    Altered { conversation: Uuid, seq: u64 },
    /// Nobody sent it.
    Unknown { conversation: Uuid, seq: u64 },
    /// A session was told a lower mark of a user than it, or any session before it began, had been told.
    MarkFell { session: usize, conversation: Uuid, user: Uuid, from: Marks, to: Marks },
    /// A session was pushed this, of a conversation in which its user was not then.
    ToldOutside { session: usize, conversation: Uuid, what: Told },
    /// History showed someone a message that they may not read.
    ShownOutside { conversation: Uuid, user: Uuid, seq: u64 },
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lost { conversation, seq, client } => {
                write!(f, "{conversation}: {client} was acknowledged as {seq} and is not there")
            }
            Self::Vanished { conversation, seq } => {
                write!(f, "{conversation}: {seq} was pushed and is not there")
            }
            Self::Doubled { conversation, client, first, second } => {
                write!(f, "{conversation}: {client} is both {first} and {second}")
            }
            Self::Shared { conversation, seq } => write!(f, "{conversation}: {seq} stands for two messages"),
            Self::Hole { conversation, seq } => write!(f, "{conversation}: {seq} is missing"),
            Self::PushedOutOfOrder { session, conversation, later, seq } => {
                write!(f, "{conversation}: session {session} was pushed {later} before {seq}")
            }
            Self::NotPushed { session, conversation, seq } => {
                write!(f, "{conversation}: session {session} was never pushed {seq}")
            }
            Self::NumberedOutOfOrder { conversation, sender, earlier, later } => {
                write!(f, "{conversation}: {sender} sent {later} before {earlier}")
            }
            Self::Altered { conversation, seq } => write!(f, "{conversation}: {seq} is not what was sent"),
            Self::Unknown { conversation, seq } => write!(f, "{conversation}: nobody sent {seq}"),
            Self::MarkFell { session, conversation, user, from, to } => {
                write!(f, "{conversation}: session {session} was told that {user} fell from {from} to {to}")
            }
            Self::ToldOutside { session, conversation, what } => {
                write!(f, "{conversation}: session {session} was told {what:?}, but is of one who was not in")
            }
            Self::ShownOutside { conversation, user, seq } => {
                write!(f, "{conversation}: {user} was shown {seq}, and may not read it")
            }
        }
    }
}

#[derive(Debug)]
struct Attempt {
    conversation: Uuid,
    sender: Uuid,
    body: Fingerprint,
    sessions: Vec<Session>,
    seqs: Vec<u64>,
}

#[derive(Debug, Default)]
struct Listener {
    /// Whose it is, where that is known.
    user: Option<Uuid>,
    /// Per conversation: up to where it stood when the session began, and what was pushed, in order.
    heard: HashMap<Uuid, (u64, Vec<Seen>)>,
}

/// Gathers the facts of a run.
#[derive(Debug, Default)]
pub struct Checker {
    attempts: HashMap<Uuid, Attempt>,
    /// The client ids of a sender in a conversation, in the order in which they were first sent.
    order: HashMap<(Uuid, Uuid), Vec<Uuid>>,
    sessions: Vec<Listener>,
    stored: HashMap<Uuid, BTreeMap<u64, Vec<Seen>>>,
    marks: marks::Book,
    members: members::Book,
}

impl Checker {
    /// Knows nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// A connection begins.
    pub fn session(&mut self) -> Session {
        self.sessions.push(Listener::default());
        Session(self.sessions.len() - 1)
    }

    /// A connection of that user begins.
    pub fn session_of(&mut self, user: Uuid) -> Session {
        let session = self.session();
        self.sessions[session.0].user = Some(user);
        session
    }

    /// The session was told that the conversation stands at `last_seq`: what comes after it must be pushed.
    pub fn begin(&mut self, session: Session, conversation: Uuid, last_seq: u64) {
        self.sessions[session.0].heard.insert(conversation, (last_seq, Vec::new()));
    }

    /// A message is about to be sent, or sent again under the same client id.
    /// A sender's attempts must be told in the order in which they are sent.
    pub fn attempt(
        &mut self,
        session: Session,
        conversation: Uuid,
        sender: Uuid,
        client: Uuid,
        body: Fingerprint,
    ) {
        let attempt = self.attempts.entry(client).or_insert_with(|| {
            self.order.entry((conversation, sender)).or_default().push(client);
            Attempt { conversation, sender, body, sessions: Vec::new(), seqs: Vec::new() }
        });
        if !attempt.sessions.contains(&session) {
            attempt.sessions.push(session);
        }
    }

    /// It was answered with this number; repeats are told as well.
    ///
    /// # Panics
    /// Where it was never attempted: the run, not the host, is wrong then.
    pub fn acknowledge(&mut self, client: Uuid, seq: u64) {
        let attempt = self.attempts.get_mut(&client).expect("an acknowledged message was attempted before");
        if !attempt.seqs.contains(&seq) {
            attempt.seqs.push(seq);
        }
    }

    /// The session was pushed this message.
    pub fn push(&mut self, session: Session, seen: Seen) {
        let Listener { user, heard } = &mut self.sessions[session.0];
        heard.entry(seen.conversation).or_default().1.push(seen);
        if let Some(user) = *user {
            self.members.told(session, user, seen.conversation, Told::Message(seen.seq));
        }
    }

    /// History shows this message; being shown the same twice is no fault.
    pub fn store(&mut self, seen: Seen) {
        let shown = self.stored.entry(seen.conversation).or_default().entry(seen.seq).or_default();
        // Only the sender is shown the client id: two readers see the same message differently.
        match shown.iter_mut().find(|other| other.sender == seen.sender && other.body == seen.body) {
            Some(other) if other.client.is_none() || other.client == seen.client => {
                other.client = seen.client
            }
            Some(_) if seen.client.is_none() => {}
            _ => shown.push(seen),
        }
    }

    /// How many messages were acknowledged.
    pub fn acknowledged(&self) -> usize {
        self.attempts.values().filter(|attempt| !attempt.seqs.is_empty()).count()
    }

    /// How many messages were pushed, over all sessions.
    pub fn pushed(&self) -> usize {
        self.sessions.iter().flat_map(|session| session.heard.values()).map(|(_, pushes)| pushes.len()).sum()
    }

    /// Everything that the run broke; empty where all is well.
    pub fn faults(&self) -> Vec<Fault> {
        let mut faults = Vec::new();
        self.check_stored(&mut faults);
        self.check_acknowledged(&mut faults);
        self.check_senders(&mut faults);
        self.check_sessions(&mut faults);
        self.marks.check(&mut faults);
        self.members.check(&mut faults);
        faults
    }

    /// Nothing, or what the run broke as one text, the first few faults by name.
    ///
    /// # Errors
    /// Where there is any fault.
    pub fn verdict(&self) -> anyhow::Result<()> {
        const NAMED_MAX: usize = 20;
        let faults = self.faults();
        if faults.is_empty() {
            return Ok(());
        }
        let named: Vec<_> = faults.iter().take(NAMED_MAX).map(|fault| format!("\n  {fault}")).collect();
        anyhow::bail!("the history has {} faults:{}", faults.len(), named.concat())
    }

    fn stored(&self, conversation: Uuid, seq: u64) -> Option<&Seen> {
        self.stored.get(&conversation)?.get(&seq)?.first()
    }

    fn check_stored(&self, faults: &mut Vec<Fault>) {
        for (&conversation, messages) in &self.stored {
            let mut seqs: HashMap<Uuid, u64> = HashMap::new();
            let mut expected = 1;
            for (&seq, shown) in messages {
                faults.extend((expected..seq).map(|seq| Fault::Hole { conversation, seq }));
                expected = seq + 1;
                if shown.len() > 1 {
                    faults.push(Fault::Shared { conversation, seq });
                }
                for client in shown.iter().filter_map(|seen| seen.client) {
                    match seqs.insert(client, seq) {
                        Some(first) if first != seq => {
                            faults.push(Fault::Doubled { conversation, client, first, second: seq });
                        }
                        _ => {}
                    }
                    match self.attempts.get(&client) {
                        None => faults.push(Fault::Unknown { conversation, seq }),
                        Some(attempt) if attempt.conversation != conversation => {
                            faults.push(Fault::Unknown { conversation, seq });
                        }
                        Some(attempt) if shown.iter().any(|seen| seen.body != attempt.body) => {
                            faults.push(Fault::Altered { conversation, seq });
                        }
                        Some(_) => {}
                    }
                }
            }
        }
    }

    fn check_acknowledged(&self, faults: &mut Vec<Fault>) {
        let mut takers: HashMap<(Uuid, u64), Uuid> = HashMap::new();
        for (&client, attempt) in &self.attempts {
            let conversation = attempt.conversation;
            if let [first, second, ..] = attempt.seqs[..] {
                faults.push(Fault::Doubled { conversation, client, first, second });
            }
            for &seq in &attempt.seqs {
                if takers.insert((conversation, seq), client).is_some() {
                    faults.push(Fault::Shared { conversation, seq });
                }
                match self.stored(conversation, seq) {
                    None => faults.push(Fault::Lost { conversation, seq, client }),
                    Some(seen) if seen.client.is_some_and(|shown| shown != client) => {
                        faults.push(Fault::Lost { conversation, seq, client });
                    }
                    Some(seen) if seen.sender != attempt.sender || seen.body != attempt.body => {
                        faults.push(Fault::Altered { conversation, seq });
                    }
                    Some(_) => {}
                }
            }
        }
    }

    /// Acknowledged numbers of a sender must rise in the order in which its messages were first sent.
    fn check_senders(&self, faults: &mut Vec<Fault>) {
        for (&(conversation, sender), clients) in &self.order {
            let mut later = 0;
            for seq in clients.iter().filter_map(|client| self.attempts[client].seqs.first().copied()) {
                if seq < later {
                    faults.push(Fault::NumberedOutOfOrder { conversation, sender, earlier: seq, later });
                }
                later = later.max(seq);
            }
        }
    }

    fn check_sessions(&self, faults: &mut Vec<Fault>) {
        for (session, listener) in self.sessions.iter().enumerate() {
            for (&conversation, (began, pushes)) in &listener.heard {
                let mut last = *began;
                for seen in pushes {
                    let seq = seen.seq;
                    if seq <= last {
                        faults.push(Fault::PushedOutOfOrder { session, conversation, later: last, seq });
                    } else {
                        let is_due = |&seq: &u64| {
                            !self.sent_by(Session(session), conversation, seq)
                                && listener.user.is_none_or(|user| self.members.has(conversation, user, seq))
                        };
                        let missing = (last + 1..seq).filter(is_due);
                        faults.extend(missing.map(|seq| Fault::NotPushed { session, conversation, seq }));
                        last = seq;
                    }
                    match self.stored(conversation, seq) {
                        None => faults.push(Fault::Vanished { conversation, seq }),
                        Some(stored) if stored.sender != seen.sender || stored.body != seen.body => {
                            faults.push(Fault::Altered { conversation, seq });
                        }
                        Some(_) => {}
                    }
                }
            }
        }
    }

    /// A session is not pushed what it sent itself.
    fn sent_by(&self, session: Session, conversation: Uuid, seq: u64) -> bool {
        let client = self.stored(conversation, seq).and_then(|seen| seen.client);
        client.and_then(|client| self.attempts.get(&client)).is_some_and(|a| a.sessions.contains(&session))
    }
}
