//! Edits, deletions and reactions: what several people ask of the messages of a conversation becomes one change.
//!
//! Who may ask at all is decided by the slot, from memory. What is asked depends on the messages as they stand, so
//! they are read here, while the conversation is busy; then one change takes all that can be done.

use super::{Ask, Ports, Wanted, storage};
use crate::changes::Stamp;
use futures_util::future::try_join_all;
use godwit_domain::{
    conversation::Head,
    id::{ClientId, ConversationId, Rev, Seq, UserId},
    message::{Message, Reaction},
    revision::{Change, Reacted, Revised, Revision, What},
    waist,
};
use godwit_protocol::error::{Code, Error};
use std::collections::{BTreeMap, HashMap};

/// How many different reactions a message may have: they stand with it.
const REACTIONS_MAX: usize = 64;

/// What is to be done to a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Deed {
    /// Another text, as the filters left it.
    Edit(String),
    /// To be seen no more.
    Delete,
    /// A reaction, from now on or no longer.
    React {
        /// With what.
        emoji: String,
        /// Whether from now on, or no longer.
        on: bool,
    },
}

/// A request, and whether it was let through.
pub struct Permitted {
    pub ask: Box<Ask>,
    /// Whether they may delete what others sent, or why they may do nothing: a repeat gets its first answer even then.
    pub admin: Result<bool, Error>,
}

/// By whom a revision is that gathers what several did.
const NOBODY: UserId = UserId::from_u128(0);

/// The reactions to a message that become one revision.
#[derive(Default)]
struct Gathered {
    counts: BTreeMap<String, u32>,
    reacted: Vec<Reacted>,
}

impl Gathered {
    fn add(&mut self, one: Reacted, count: u32) {
        self.counts.insert(one.emoji.clone(), count);
        self.reacted.push(one);
    }
}

/// What requests came to, in their order: the number that each is answered with, or why it is not done.
pub type Outcomes = Vec<(Box<Ask>, Result<Rev, Error>)>;

/// Reads what the requests are about and says what they come to. Where they are gathered, all reactions to a message
/// become one revision, the last of the change.
///
/// # Errors
/// That of the store, with the requests.
pub async fn plan(
    ports: &Ports,
    conversation: ConversationId,
    head: Head,
    asks: Vec<Permitted>,
    gathers: bool,
    stamp: &Stamp,
) -> Result<(Change, Outcomes), (waist::Error, Vec<Permitted>)> {
    match Book::read(ports, conversation, head, &asks).await {
        Ok(book) => Ok(book.plan(head, asks, gathers, stamp)),
        Err(error) => Err((error, asks)),
    }
}

/// The messages as they stand, and as they will after what was planned already.
struct Book {
    messages: BTreeMap<Seq, Message>,
    reacts: HashMap<(Seq, String, UserId), bool>,
    /// What client ids were answered.
    answered: HashMap<(UserId, ClientId), Rev>,
}

impl Book {
    async fn read(
        ports: &Ports,
        conversation: ConversationId,
        head: Head,
        asks: &[Permitted],
    ) -> Result<Self, waist::Error> {
        let tables = &ports.conversations;
        let mut numbers: Vec<_> =
            asks.iter().filter_map(|permitted| permitted.ask.deed()).map(|(seq, _)| seq).collect();
        numbers.sort_unstable();
        numbers.dedup();
        let read = numbers.into_iter().map(|seq| tables.messages(conversation, seq..=seq, false, usize::MAX));
        let messages = try_join_all(read).await?.into_iter().flatten();
        let reacts = asks.iter().filter_map(|Permitted { ask, .. }| match ask.deed() {
            Some((seq, Deed::React { emoji, .. })) => Some((seq, emoji.clone(), ask.by)),
            _ => None,
        });
        let reacts: Vec<_> = reacts.collect();
        let known = try_join_all(reacts.iter().map(|(seq, emoji, by)| async move {
            let found = tables.reacts(conversation, *by, &[(*seq, emoji.as_str())]).await?;
            Ok(found.first().copied().unwrap_or_default())
        }))
        .await?;
        let called = asks.iter().filter_map(|Permitted { ask, .. }| Some((ask.by, ask.client_id?)));
        let answered = try_join_all(called.map(|(by, client)| async move {
            let found = storage::revised(ports, conversation, head, by, client).await?;
            Ok(found.map(|rev| ((by, client), rev)))
        }))
        .await?;
        Ok(Self {
            answered: answered.into_iter().flatten().collect(),
            messages: messages.map(|message| (message.seq, message)).collect(),
            reacts: reacts.into_iter().zip(known).collect(),
        })
    }

    fn plan(mut self, head: Head, asks: Vec<Permitted>, gathers: bool, stamp: &Stamp) -> (Change, Outcomes) {
        let mut change = Change::default();
        let mut outcomes = Vec::with_capacity(asks.len());
        let mut gathered: BTreeMap<Seq, Gathered> = BTreeMap::new();
        for Permitted { ask, admin } in asks {
            let called = ask.client_id.map(|client| (ask.by, client));
            if let Some(rev) = called.and_then(|called| self.answered.get(&called)) {
                outcomes.push((ask, Ok(*rev)));
                continue;
            }
            let last = Rev(head.last_rev.0 + change.revisions.len() as u64);
            let outcome = admin.and_then(|admin| self.what(&ask, admin)).map(|what| {
                let Some(what) = what else { return last };
                if let (true, What::React { seq, emoji, on, count }) = (gathers, &what) {
                    if let Some(message) = self.messages.get_mut(seq) {
                        message.revised.get_or_insert_default().count(emoji, *count);
                    }
                    let one = Reacted { user: ask.by, emoji: emoji.clone(), on: *on };
                    gathered.entry(*seq).or_default().add(one, *count);
                    return last;
                }
                let revision =
                    Revision { rev: last.next(), at_seq: head.last_seq, by: ask.by, at: stamp.at(), what };
                if let Some(message) = revision.what.message().and_then(|seq| self.messages.get_mut(&seq)) {
                    message.revise(&revision);
                }
                let what = revision.what;
                change.revisions.push(Revised { by: ask.by, what, client_id: ask.client_id });
                last.next()
            });
            if let (Some(called), Ok(rev)) = (called, &outcome) {
                self.answered.insert(called, *rev);
            }
            outcomes.push((ask, outcome));
        }
        for (seq, Gathered { counts, reacted }) in gathered {
            // To what was deleted after all nobody reacts.
            if self.messages.get(&seq).is_some_and(|message| !message.is_deleted()) {
                let counts = counts.into_iter().map(|(emoji, count)| Reaction { emoji, count }).collect();
                let what = What::Reacts { seq, counts, reacted };
                change.revisions.push(Revised { by: NOBODY, what, client_id: None });
            }
        }
        if gathers {
            let last = Rev(head.last_rev.0 + change.revisions.len() as u64);
            outcomes.iter_mut().filter_map(|(_, outcome)| outcome.as_mut().ok()).for_each(|rev| *rev = last);
        }
        (change, outcomes)
    }

    /// What a request comes to now; `None` where it changes nothing.
    fn what(&mut self, ask: &Ask, admin: bool) -> Result<Option<What>, Error> {
        let Some((seq, deed)) = ask.deed() else { return Ok(None) };
        let gone = || Error::new(Code::NotFound, format!("no message {seq} is to be seen here")).field("seq");
        let message = self.messages.get(&seq).ok_or_else(gone)?;
        let deleted = || Error::new(Code::Conflict, format!("message {seq} is deleted")).field("seq");
        let forbidden = |text: &str| Err(Error::new(Code::Forbidden, text));
        match deed {
            Deed::Edit(_) if message.sender != ask.by => forbidden("only the sender edits a message"),
            Deed::Edit(_) if message.is_deleted() => Err(deleted()),
            Deed::Edit(body) if message.content.body == *body => Ok(None),
            Deed::Edit(body) => Ok(Some(What::Edit { seq, body: Some(body.clone()) })),
            Deed::Delete if message.sender != ask.by && !admin => {
                forbidden("the sender and admins delete a message, you are neither")
            }
            Deed::Delete if message.is_deleted() => Ok(None),
            Deed::Delete => Ok(Some(What::Delete { seq })),
            Deed::React { .. } if message.is_deleted() => Err(deleted()),
            Deed::React { emoji, on } => {
                let reacts = self.reacts.entry((seq, emoji.clone(), ask.by)).or_default();
                if *reacts == *on {
                    return Ok(None);
                }
                let reactions = message.revised.as_ref().map_or(&[][..], |revised| &revised.reactions);
                let known = reactions.iter().find(|reaction| reaction.emoji == *emoji);
                if *on && known.is_none() && reactions.len() >= REACTIONS_MAX {
                    let text = format!("the message has {REACTIONS_MAX} different reactions, the limit");
                    return Err(Error::invalid("emoji", text));
                }
                *reacts = *on;
                let before = known.map_or(0, |reaction| reaction.count);
                let count = if *on { before + 1 } else { before.saturating_sub(1) };
                Ok(Some(What::React { seq, emoji: emoji.clone(), on: *on, count }))
            }
        }
    }
}

impl Ask {
    fn deed(&self) -> Option<(Seq, &Deed)> {
        match &self.what {
            Wanted::Message(seq, deed) => Some((*seq, deed)),
            Wanted::Members(_) => None,
        }
    }
}
