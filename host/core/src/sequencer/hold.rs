//! How a slot keeps drafts on hold, and how they leave it: released by a person, judged again by themselves, rejected.
//!
//! Judging takes place beside the slot, which goes on meanwhile; what it came to returns as a command. A release is
//! then a draft like any other; a rejection is stored first and told afterwards.

use super::{
    Answer, By, Command, Draft, Ports, Waiter,
    card::place,
    conversation::State,
    gather::{BATCH_MAX, Stop},
    publish,
    shard::{Done, Turn},
    slot::{Batch, Entry, Slot},
};
use futures_util::FutureExt;
use godwit_domain::{
    conversation::{Kind, Role},
    filter::{Activity, Decision, Hook, Judgement, Scene, Verdict},
    held::{Held, Rejection, Settled, Why},
    id::{ClientId, ConversationId, UserId},
    message::Content,
    tables::Written,
    time::Ms,
    user::User,
    waist,
};
use godwit_protocol::{
    error::{Code, Error},
    object,
};
use std::sync::Arc;

/// Drafts on hold in one conversation, whoever sent them.
const HELD_MAX: usize = 1_000;
/// The shortest that a draft is on hold, in milliseconds.
const HOLD_MS_MIN: u64 = 1000;
/// The longest that a draft may be on hold, in milliseconds: a client id is good for 7 days, and its last retry has to
/// find out how it ended.
const HOLD_MS_MAX: u64 = (7 * 24 - 1) * 60 * 60 * 1000;

const BEHIND: &str = "this waits behind an earlier message of yours that is on hold";

/// What the sender of a draft that could not be judged is told.
pub const UNHEARD: &str = "this could not be judged yet; it will be tried again by itself";

/// What is to become of a draft on hold.
pub struct Moderation {
    pub conversation: ConversationId,
    pub sender: UserId,
    pub client_id: ClientId,
    pub by: By,
    pub act: Act,
}

/// What a person decided about a draft on hold.
pub enum Act {
    Release(Answer<object::Sent>),
    Reject { reason: String, answer: Answer<()> },
}

impl Moderation {
    /// Answers that it was not done.
    pub fn refuse(self, error: Error) {
        match self.act {
            Act::Release(answer) => drop(answer.send(Err(error))),
            Act::Reject { answer, .. } => drop(answer.send(Err(error))),
        }
    }
}

/// What judging a draft again came to.
pub struct Asked {
    pub conversation: ConversationId,
    sender: UserId,
    client_id: ClientId,
    /// Who released it, unless its turn had come by itself.
    pub by: Option<Answer<object::Sent>>,
    /// `None` where its sender is no more.
    outcome: Result<Option<(Arc<User>, Judgement, Verdict)>, waist::Error>,
}

/// Drafts on their way to be rejected.
pub struct Settling {
    pub conversation: ConversationId,
    settled: Vec<Settled>,
    then: Then,
}

/// Who is told when drafts are rejected, beside their senders.
enum Then {
    Rejected(Answer<()>),
    /// Whoever wanted to release it, if anybody.
    Refused(Option<Answer<object::Sent>>, Error),
    Due(Answer<Option<Ms>>),
}

/// Which drafts on hold somebody asks for.
pub struct HeldQuery {
    pub conversation: ConversationId,
    pub by: By,
    /// One's own alone.
    pub own: bool,
    /// Those after this place.
    pub after: u64,
    pub limit: usize,
}

/// Puts the draft on hold within the batch. In memory it is so at once: nobody sees it before it is durable.
pub fn gather(
    state: &mut State,
    mut draft: Box<Draft>,
    why: Why,
    batch: &mut Batch,
    ports: &Ports,
) -> Result<(), (Box<Draft>, Stop)> {
    if batch.append.is_some() || batch.holds.len() >= BATCH_MAX {
        return Err((draft, Stop::Full));
    }
    batch.entries.push(match hold(state, &mut draft, why, ports) {
        Ok(held) => {
            ports.metrics.held.inc();
            state.held.insert(held.clone());
            let on_hold = object::OnHold::from(&held);
            batch.holds.push(held);
            Entry::Held { draft, on_hold }
        }
        Err(error) => Entry::Refuse { draft, error },
    });
    Ok(())
}

/// The draft as it is held.
///
/// # Errors
/// Too many are on hold already.
fn hold(state: &State, draft: &mut Draft, why: Why, ports: &Ports) -> Result<Held, Error> {
    let (of_sender, max) = (state.held.len_of(draft.sender.id), ports.limits.held_max);
    if of_sender >= max {
        let text = format!("{of_sender} messages of yours are on hold here, the limit is {max}");
        return Err(Error::new(Code::RateLimited, text));
    }
    if state.held.len() >= HELD_MAX {
        let text = format!("{HELD_MAX} messages are on hold in this conversation, the limit");
        return Err(Error::new(Code::Unavailable, text));
    }
    let reason = match (why, draft.doubt.take()) {
        (Why::Behind, _) => BEHIND.to_owned(),
        (_, Some(doubt)) => doubt.reason,
        (_, None) => UNHEARD.to_owned(),
    };
    let now = ports.clock.now();
    let content = std::mem::replace(&mut draft.content, Content::text(String::new()));
    Ok(Held {
        conversation: draft.conversation,
        sender: draft.sender.id,
        client_id: draft.client_id,
        content: draft.sent.take().map_or(content, |sent| *sent),
        content_hash: draft.content_hash,
        why,
        reason,
        after: draft.after,
        place: state.held.next_place(),
        since: now,
        until: now.plus(ports.limits.hold_max_s.saturating_mul(1000).clamp(HOLD_MS_MIN, HOLD_MS_MAX)),
        retry_at: now.plus(super::holdings::RETRY_MS),
    })
}

/// Whether that draft has to be held, be it allowed or not, and why.
pub fn must_hold(state: &State, draft: &Draft) -> Option<Why> {
    if draft.waiter.is_release() {
        return None;
    }
    let sender = draft.sender.id;
    let names_held = draft.after.is_some_and(|after| state.held.get(sender, after).is_some());
    match draft.doubt.as_ref().map(|doubt| doubt.why) {
        Some(Why::Decided) => Some(Why::Decided),
        _ if names_held || state.held.next(sender).is_some() => Some(Why::Behind),
        doubt => doubt,
    }
}

impl Slot {
    /// Stores the drafts of the batch that are to be held.
    pub fn store_held(&mut self, mut batch: Batch, turn: &Turn<'_>) {
        let (held, ports) = (std::mem::take(&mut batch.holds), turn.ports.clone());
        self.busy = true;
        let work = async move {
            let written = ports.held.hold(&held).await;
            Done::Held(batch, written)
        };
        turn.work.push(work.boxed());
    }

    /// The drafts of the batch are on hold, or not.
    pub fn held_stored(&mut self, batch: Batch, written: Result<Written, waist::Error>, ports: &Ports) {
        let error = match written {
            Ok(Written::Yes) => None,
            Ok(Written::No) => {
                self.state = None;
                Some(Error::new(Code::Unavailable, "the conversation is read anew; try again"))
            }
            Err(error) => {
                tracing::error!(%error, conversation = %batch.conversation, "drafts could not be put on hold");
                self.unsettle(ports);
                let text = "whether this is on hold is not known; the same client_id settles it";
                Some(Error::new(Code::UnknownOutcome, text))
            }
        };
        for entry in batch.entries {
            match (entry, &error) {
                (Entry::Held { draft, on_hold, .. }, None) => draft.waiter.held(&on_hold),
                (Entry::Held { draft, .. } | Entry::Accept { draft, .. }, error) => {
                    let stopped = || Error::new(Code::Internal, "the draft was not appended");
                    draft.waiter.error(&error.clone().unwrap_or_else(stopped));
                }
                (Entry::Refuse { draft, error }, _) => draft.waiter.error(&error),
            }
        }
    }

    /// What storage made of a write is not known: it is read again before anything else changes.
    fn unsettle(&mut self, ports: &Ports) {
        ports.metrics.store_failures.inc();
        self.unsettled.push(Arc::new(ports.changes.begin()));
    }

    /// Begins what is to be done about drafts on hold without anybody asking.
    pub fn tend(&mut self, conversation: ConversationId, turn: &Turn<'_>) {
        let Some(state) = &mut self.state else { return };
        if !state.held.is_stirred() || !self.unsettled.is_empty() {
            return;
        }
        let now = turn.ports.clock.now();
        let accepted = state.held.take_accepted();
        if !accepted.is_empty() {
            let ports = turn.ports.clone();
            let work = async move { Done::Forgotten(ports.held.settle(conversation, &accepted, now).await) };
            turn.work.push(work.boxed());
        }
        for held in state.held.take_turns(now) {
            ask(state, held, None, turn);
        }
    }

    /// Lists drafts on hold.
    pub fn list_held(&self, query: &HeldQuery, answer: Answer<Vec<Held>>) {
        let Some(state) = &self.state else { return };
        let list = |sender: Option<UserId>| {
            let held = state.held.after(query.after);
            let own = held.filter(|held| sender.is_none_or(|sender| sender == held.sender));
            own.take(query.limit).cloned().collect()
        };
        let listed = match query.by {
            By::Operator => Ok(list(None)),
            By::User(user) if query.own => Ok(list(Some(user))),
            By::User(user) => match state.member(user) {
                Ok(_) if may_moderate(state, query.by).is_ok() => Ok(list(None)),
                Ok(_) => Ok(list(Some(user))),
                Err(error) => Err(error),
            },
        };
        drop(answer.send(listed));
    }

    /// Does what a person decided about a draft on hold.
    pub fn moderate(&mut self, moderation: Moderation, turn: &Turn<'_>) {
        let Some(state) = &mut self.state else { return };
        let Moderation { sender, client_id, by, .. } = moderation;
        if let Err(error) = may_moderate(state, by) {
            return moderation.refuse(error);
        }
        let missing = || {
            let text = format!("no draft {client_id} of {sender} is on hold here");
            Error::new(Code::NotFound, text).field("client_id")
        };
        let Some(holding) = state.held.get(sender, client_id) else { return moderation.refuse(missing()) };
        if holding.asking {
            let text = "this draft is being judged at this moment; try again";
            return moderation.refuse(Error::new(Code::Unavailable, text));
        }
        let held = holding.held.clone();
        match moderation.act {
            Act::Reject { reason, answer } => {
                let error = Error::new(Code::Moderated, reason).field("rejected");
                self.reject([(sender, client_id, error)], Then::Rejected(answer), turn);
            }
            Act::Release(answer) if held.until <= turn.ports.clock.now() => {
                let then = Then::Refused(Some(answer), expired());
                self.reject([(sender, client_id, expired())], then, turn);
            }
            Act::Release(answer) if !state.held.is_first(&held) => {
                let text = "an earlier draft of this sender has to be released or rejected first";
                drop(answer.send(Err(Error::new(Code::Conflict, text))));
            }
            Act::Release(answer) => {
                if let Some(holding) = state.held.get_mut(sender, client_id) {
                    holding.asking = true;
                }
                ask(state, held, Some(answer), turn);
            }
        }
    }

    /// A draft on hold was judged again.
    pub fn asked(&mut self, asked: Asked, turn: &Turn<'_>) {
        let Some(state) = &mut self.state else { return };
        let Asked { sender, client_id, by, outcome, .. } = asked;
        let Some(holding) = state.held.get_mut(sender, client_id) else {
            return by.into_iter().for_each(|answer| {
                drop(answer.send(Err(Error::new(Code::NotFound, "this draft is no longer on hold"))));
            });
        };
        holding.asking = false;
        let (user, content, verdict) = match outcome {
            Ok(Some((user, Judgement::Allow(content), verdict))) => (user, content, verdict),
            // A person has looked at it.
            Ok(Some((user, Judgement::Hold { content, .. }, verdict))) if by.is_some() => {
                (user, content, verdict)
            }
            Ok(Some((_, Judgement::Hold { reason, .. }, _))) => {
                let held =
                    Held { why: Why::Decided, reason: reason.shown().to_owned(), ..holding.held.clone() };
                holding.held = held.clone();
                // What comes after it is not delayed any more.
                state.held.stir(sender);
                return self.hold_anew(held, turn);
            }
            Ok(Some((_, Judgement::Reject { reason, .. }, _))) => {
                let error = Error::new(Code::Moderated, reason.text).field(reason.code);
                let then = Then::Refused(by, error.clone());
                return self.reject([(sender, client_id, error)], then, turn);
            }
            Ok(None) => {
                let error = Error::new(Code::NotMember, "the sender's account is no more");
                let then = Then::Refused(by, error.clone());
                return self.reject([(sender, client_id, error)], then, turn);
            }
            Ok(Some((_, Judgement::Failed { plugin, hook, how, .. }, _))) => {
                return self.unheard(sender, client_id, by, unheard(plugin, hook, how), turn);
            }
            Err(error) => return self.unheard(sender, client_id, by, error.into(), turn),
        };
        holding.asking = true;
        let held = &holding.held;
        let draft = Draft {
            conversation: held.conversation,
            to: None,
            sender: user,
            session: None,
            client_id,
            content,
            sent: None,
            content_hash: held.content_hash,
            after: None,
            verdict,
            activity: Activity::default(),
            refusal: None,
            doubt: None,
            waiter: Waiter::Releaser(by),
            judging: None,
        };
        match state.may_send(&draft) {
            Ok(()) => self.waiting.push_front(Command::Fresh(Box::new(draft))),
            Err(error) => {
                let by = if let Waiter::Releaser(by) = draft.waiter { by } else { None };
                let then = Then::Refused(by, error.clone());
                self.reject([(sender, client_id, error)], then, turn);
            }
        }
    }

    /// A plugin that must be heard could not be, once more.
    fn unheard(
        &mut self,
        sender: UserId,
        client: ClientId,
        by: Option<Answer<object::Sent>>,
        error: Error,
        turn: &Turn<'_>,
    ) {
        if let Some(answer) = by {
            return drop(answer.send(Err(error)));
        }
        let state = self.state.as_mut();
        let Some(holding) = state.and_then(|state| state.held.get_mut(sender, client)) else { return };
        if holding.held.why != Why::Failed {
            holding.held = Held { why: Why::Failed, reason: UNHEARD.to_owned(), ..holding.held.clone() };
            let held = holding.held.clone();
            self.hold_anew(held, turn);
        }
    }

    fn hold_anew(&mut self, held: Held, turn: &Turn<'_>) {
        let ports = turn.ports.clone();
        self.busy = true;
        let work = async move { Done::HeldAnew(held.conversation, ports.held.hold_anew(&held).await) };
        turn.work.push(work.boxed());
    }

    /// Storage knows anew why a draft is on hold, or does not.
    pub fn held_anew(&mut self, result: Result<(), waist::Error>, ports: &Ports) {
        if let Err(error) = result {
            tracing::error!(%error, "a draft on hold could not be written");
            self.unsettle(ports);
        }
    }

    /// Tends what is due: rejects what was on hold for too long and has the rest judged again. Answers when it is due
    /// next.
    pub fn due(&mut self, answer: Answer<Option<Ms>>, turn: &Turn<'_>) {
        let Some(state) = &mut self.state else { return };
        state.held.stir_all();
        let over = state.held.expired(turn.ports.clock.now());
        let over: Vec<_> = over.into_iter().map(|(sender, client)| (sender, client, expired())).collect();
        if !over.is_empty() {
            return self.reject(over, Then::Due(answer), turn);
        }
        let conversation = state.meta.id;
        self.tend(conversation, turn);
        let due_at = self.state.as_ref().and_then(|state| state.held.due_at());
        drop(answer.send(Ok(due_at)));
    }

    /// Begins to reject drafts, and with each those that come after it.
    fn reject(
        &mut self,
        drafts: impl IntoIterator<Item = (UserId, ClientId, Error)>,
        then: Then,
        turn: &Turn<'_>,
    ) {
        let Some(state) = &self.state else { return };
        let mut settled: Vec<Settled> = Vec::new();
        let mut add = |sender, client_id, error: &Error| {
            let known = settled.iter().any(|one| one.sender == sender && one.client_id == client_id);
            let Some(holding) = state.held.get(sender, client_id).filter(|_| !known) else { return };
            let rejection = Rejection {
                content_hash: holding.held.content_hash,
                code: error.code.as_str().to_owned(),
                field: error.field.clone(),
                text: error.message.clone(),
            };
            settled.push(Settled { sender, client_id, rejection: Some(rejection) });
        };
        for (sender, client, error) in drafts {
            add(sender, client, &error);
            for follower in state.held.followers(sender, client) {
                add(sender, follower, &super::slot::out_of_turn());
            }
        }
        let (conversation, ports, now) = (state.meta.id, turn.ports.clone(), turn.ports.clock.now());
        self.busy = true;
        let work = async move {
            let result = ports.held.settle(conversation, &settled, now).await;
            Done::Settled(Box::new(Settling { conversation, settled, then }), result)
        };
        turn.work.push(work.boxed());
    }

    /// Drafts are rejected, or not.
    pub fn rejected(&mut self, settling: Settling, result: Result<(), waist::Error>, ports: &Ports) {
        let Settling { conversation, settled, then } = settling;
        if let Err(error) = &result {
            tracing::error!(%error, %conversation, "drafts on hold could not be rejected");
            self.unsettle(ports);
        }
        if let (Ok(()), Some(state)) = (&result, &mut self.state) {
            for Settled { sender, client_id, rejection } in settled {
                state.held.remove(sender, client_id);
                if let Some(clients) = &mut state.clients {
                    clients.insert_rejected(sender, client_id);
                }
                if let Some(rejection) = rejection {
                    let rejected = Some(&*rejection.text);
                    let verdict =
                        object::Verdict { conversation, client_id, seq: None, sent_at: None, rejected };
                    publish::verdict(sender, &verdict, None, ports);
                }
            }
        }
        let due_at = self.state.as_ref().and_then(|state| state.held.due_at());
        match then {
            Then::Rejected(answer) => drop(answer.send(result.map_err(Error::from))),
            Then::Refused(answer, error) => {
                let error = result.map_or_else(Error::from, |()| error);
                answer.into_iter().for_each(|answer| drop(answer.send(Err(error.clone()))));
            }
            Then::Due(answer) => drop(answer.send(result.map(|()| due_at).map_err(Error::from))),
        }
    }
}

/// Whether that one may decide about drafts on hold.
fn may_moderate(state: &State, by: By) -> Result<(), Error> {
    let By::User(user) = by else { return Ok(()) };
    let member = state.member(user)?;
    if state.meta.kind == Kind::Direct {
        let text = "in a direct conversation operators alone decide about drafts on hold";
        return Err(Error::new(Code::Forbidden, text));
    }
    if member.role < Role::Admin {
        let text = "admins and owners decide about drafts on hold, you are neither";
        return Err(Error::new(Code::Forbidden, text));
    }
    Ok(())
}

/// The error of a plugin that must be heard and could not be.
pub fn unheard(plugin: String, hook: Hook, how: Decision) -> Error {
    let (hook, how) = (hook.name(), how.name());
    let text = format!("the plugin `{plugin}` could not judge this ({hook}: {how}); try again");
    Error::new(Code::Unavailable, text).field(plugin)
}

fn expired() -> Error {
    let text = "nobody released this message in time";
    Error::new(Code::Moderated, text).field("hold_expired")
}

/// Has the present plugins judge a draft on hold, beside the slot.
fn ask(state: &State, held: Held, by: Option<Answer<object::Sent>>, turn: &Turn<'_>) {
    let ports = turn.ports.clone();
    let Held { conversation, sender, client_id, content, .. } = held;
    let place = place(&state.meta, state.member_count() as u32);
    let member = state.known(sender);
    let (sender_role, member_since) =
        (member.map(|member| member.role), member.map(|member| member.joined_at));
    let work = async move {
        let judged = async {
            let Some(account) = ports.accounts.account(sender).await? else { return Ok(None) };
            let user = Arc::new(account.user);
            let chain = ports.filters.pin();
            if chain.is_empty() {
                let verdict = Verdict { generation: chain.generation(), steps: Vec::new() };
                return Ok(Some((user, Judgement::Allow(content), verdict)));
            }
            let scene = Scene {
                now: ports.clock.now(),
                conversation: Some(place),
                sender: user.clone(),
                sender_role,
                activity: Activity { member_since, ..Activity::default() },
                via: user.bot.then(|| user.name.clone()),
            };
            let (judgement, verdict) = chain.judge(&scene, content, None).await;
            Ok(Some((user, judgement, verdict)))
        };
        let outcome = judged.await;
        Done::Asked(Box::new(Asked { conversation, sender, client_id, by, outcome }))
    };
    turn.work.push(work.boxed());
}
