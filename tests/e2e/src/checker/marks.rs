//! Marks: how far users have come, as sessions were told, in the order in which the run tells it.

use super::{Checker, Fault, Session};
use std::{
    collections::{BTreeMap, HashMap},
    fmt,
};
use uuid::Uuid;

/// How far a user has come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Marks {
    /// Up to where they have received.
    pub received: u64,
    /// Up to where they have read.
    pub read: u64,
}

impl Marks {
    fn is_at_least(self, other: Self) -> bool {
        self.received >= other.received && self.read >= other.read
    }

    fn raised(self, other: Self) -> Self {
        Self { received: self.received.max(other.received), read: self.read.max(other.read) }
    }
}

impl fmt::Display for Marks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} received, {} read", self.received, self.read)
    }
}

/// A moment of the run: what was told before it must be known to who asks after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Moment(usize);

#[derive(Debug)]
struct Fact {
    session: Session,
    of: (Uuid, Uuid),
    to: Marks,
    /// When it was asked for, where it is what a session began with.
    asked: Option<Moment>,
}

/// What was told of marks.
#[derive(Debug, Default)]
pub(super) struct Book(Vec<Fact>);

impl Book {
    pub(super) fn check(&self, faults: &mut Vec<Fault>) {
        let fell = |fact: &Fact, from| {
            let (conversation, user) = fact.of;
            Fault::MarkFell { session: fact.session.0, conversation, user, from, to: fact.to }
        };
        let mut in_session: HashMap<_, Marks> = HashMap::new();
        let mut asked: BTreeMap<Moment, Vec<&Fact>> = BTreeMap::new();
        for fact in &self.0 {
            if let Some(moment) = fact.asked {
                // What was pushed while it was read comes behind it, and may be of before.
                asked.entry(moment).or_default().push(fact);
                continue;
            }
            let last = in_session.entry((fact.session, fact.of)).or_default();
            if !fact.to.is_at_least(*last) {
                faults.push(fell(fact, *last));
            }
            *last = last.raised(fact.to);
        }
        let mut known: HashMap<_, Marks> = HashMap::new();
        let mut facts = self.0.iter();
        let mut told = 0;
        for (Moment(moment), began) in asked {
            for fact in facts.by_ref().take(moment - told) {
                let last = known.entry(fact.of).or_default();
                *last = last.raised(fact.to);
            }
            told = moment;
            for fact in began {
                let floor = known.get(&fact.of).copied().unwrap_or_default();
                if !fact.to.is_at_least(floor) {
                    faults.push(fell(fact, floor));
                }
            }
        }
    }
}

impl Checker {
    /// The present moment.
    pub fn moment(&self) -> Moment {
        Moment(self.marks.0.len())
    }

    /// The session was answered or pushed how far that user has come.
    pub fn mark(&mut self, session: Session, conversation: Uuid, user: Uuid, to: Marks) {
        self.marks.0.push(Fact { session, of: (conversation, user), to, asked: None });
    }

    /// The session, which was asked for at that moment, began with this.
    pub fn begin_marks(
        &mut self,
        session: Session,
        asked: Moment,
        conversation: Uuid,
        user: Uuid,
        marks: Marks,
    ) {
        self.marks.0.push(Fact { session, of: (conversation, user), to: marks, asked: Some(asked) });
    }
}
