//! An independent judge of histories: what was acknowledged against what was pushed and what is stored.
//!
//! It owns the rules that no run may break, whatever was killed in between: nothing acknowledged is lost, a client id
//! has one number and a number one message, numbers are dense, everyone sees one order, and bodies are unchanged.
//! It refuses to know sockets, JSON and the host's own crates: what it is told are plain facts, so that a fault that
//! the host's code shares cannot hide here.
//!
//! Start with [`Checker`]: tell it what was tried ([`Checker::attempt`]), what was answered
//! ([`Checker::acknowledge`]), what was pushed ([`Checker::push`]) and what history shows afterwards
//! ([`Checker::store`]), then ask for the [`Checker::faults`].

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
        self.sessions[session.0].heard.entry(seen.conversation).or_default().1.push(seen);
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
                        let missing =
                            (last + 1..seq).filter(|&seq| !self.sent_by(Session(session), conversation, seq));
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

#[cfg(test)]
mod tests {
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
        let out_of_order =
            |later, seq| Fault::PushedOutOfOrder { session: 1, conversation: PLACE, later, seq };
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
}
