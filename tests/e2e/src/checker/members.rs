//! Membership: who was in a conversation from which number to which, and what was told to those who were not.

use super::{Checker, Fault, Session};
use std::collections::HashMap;
use uuid::Uuid;

/// What a session was pushed of a conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Told {
    /// The message of that number.
    Message(u64),
    /// The revision of that number.
    Revision(u64),
    /// How far that user has come.
    Receipt(Uuid),
    /// That the user of the session came in, or the conversation as one in which they are.
    In,
}

/// A revision by which somebody came in or went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Came {
    /// Who.
    pub user: Uuid,
    /// Whether they came in.
    pub came_in: bool,
    /// Its number.
    pub rev: u64,
    /// The last message before it.
    pub at_seq: u64,
}

#[derive(Debug, Clone, Copy)]
struct Stretch {
    after_seq: u64,
    from_rev: u64,
    /// The last message and the last revision.
    until: Option<(u64, u64)>,
}

#[derive(Debug)]
struct Fact {
    session: Session,
    user: Uuid,
    conversation: Uuid,
    what: Told,
}

/// Who was in, and who was told what.
#[derive(Debug, Default)]
pub(super) struct Book {
    /// Of the conversations whose members are known.
    stretches: HashMap<Uuid, HashMap<Uuid, Vec<Stretch>>>,
    told: Vec<Fact>,
    shown: Vec<(Uuid, Uuid, u64)>,
}

impl Book {
    /// Whether that user was in when that message was numbered, or nobody knows who was.
    pub(super) fn has(&self, conversation: Uuid, user: Uuid, seq: u64) -> bool {
        self.within(conversation, user, |stretch| {
            seq > stretch.after_seq && stretch.until.is_none_or(|(last, _)| seq <= last)
        })
    }

    fn within(&self, conversation: Uuid, user: Uuid, is_within: impl Fn(&Stretch) -> bool) -> bool {
        let Some(members) = self.stretches.get(&conversation) else { return true };
        members.get(&user).is_some_and(|stretches| stretches.iter().any(is_within))
    }

    pub(super) fn told(&mut self, session: Session, user: Uuid, conversation: Uuid, what: Told) {
        self.told.push(Fact { session, user, conversation, what });
    }

    pub(super) fn check(&self, faults: &mut Vec<Fault>) {
        // Receipts carry no number: what a session was told last of its own user says whether it is in.
        let mut out: HashMap<(Session, Uuid), bool> = HashMap::new();
        for &Fact { session, user, conversation, what } in &self.told {
            let is_out = out.entry((session, conversation)).or_default();
            let allowed = match what {
                Told::Message(seq) => self.has(conversation, user, seq),
                Told::Revision(rev) => {
                    if self.ends(conversation, user, rev) {
                        *is_out = true;
                    }
                    self.within(conversation, user, |stretch| {
                        rev >= stretch.from_rev && stretch.until.is_none_or(|(_, last)| rev <= last)
                    })
                }
                Told::Receipt(of) => of == user || !*is_out && self.within(conversation, user, |_| true),
                Told::In => {
                    *is_out = false;
                    self.within(conversation, user, |_| true)
                }
            };
            if !allowed {
                faults.push(Fault::ToldOutside { session: session.0, conversation, what });
            }
        }
        for &(user, conversation, seq) in &self.shown {
            // History is for all here: who is in reads everything, who left what was there then.
            if !self.within(conversation, user, |stretch| stretch.until.is_none_or(|(last, _)| seq <= last)) {
                faults.push(Fault::ShownOutside { conversation, user, seq });
            }
        }
    }

    /// Whether that user went with that revision.
    fn ends(&self, conversation: Uuid, user: Uuid, rev: u64) -> bool {
        let stretches = self.stretches.get(&conversation).and_then(|members| members.get(&user));
        stretches.is_some_and(|all| all.iter().any(|one| one.until.is_some_and(|(_, last)| last == rev)))
    }
}

impl Checker {
    /// Everyone who came into that conversation, whose history is for all, or went, in order of revisions.
    pub fn members(&mut self, conversation: Uuid, all: impl IntoIterator<Item = Came>) {
        let members = self.members.stretches.entry(conversation).or_default();
        members.clear();
        for Came { user, came_in, rev, at_seq } in all {
            let stretches = members.entry(user).or_default();
            if came_in {
                stretches.push(Stretch { after_seq: at_seq, from_rev: rev, until: None });
            } else if let Some(last) = stretches.last_mut() {
                last.until = Some((at_seq, rev));
            }
        }
    }

    /// The session, which is of a known user, was pushed this; messages are told by [`Checker::push`].
    pub fn told(&mut self, session: Session, conversation: Uuid, what: Told) {
        if let Some(user) = self.sessions[session.0].user {
            self.members.told(session, user, conversation, what);
        }
    }

    /// History showed that user this message.
    pub fn shown(&mut self, user: Uuid, conversation: Uuid, seq: u64) {
        self.members.shown.push((user, conversation, seq));
    }
}
