//! Notifications that a policy put off: kept, looked at again when they are due, and forgotten when read.
//!
//! One task writes them, in the order in which it hears of messages and of marks: a message that came after a `read` is
//! never forgotten with what was read. There is one for each user and conversation, with the first time; what joins it
//! changes nothing, because at that time the newest unread message counts. How long somebody waits at most is
//! [`godwit_domain::notification::DEFERRED_MS_MAX`].

use super::rule::{mentions, recipient};
use crate::{
    host::Host,
    metrics::{DeferralEnd, Metrics},
    registry::Router,
    sequencer::Standing,
};
use futures_util::{FutureExt, future::join_all};
use godwit_domain::{
    conversation::Role,
    filter::{Activity, Attention, Hook, Scene, Spent},
    id::{ConversationId, Seq, UserId},
    message::Message,
    notification::{Deferred, Due},
    tables::Deferrals,
    time::Ms,
};
use godwit_protocol::error::{Code, Error};
use std::{
    collections::HashSet,
    panic::AssertUnwindSafe,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};

/// How often it is looked what is due.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How many are looked at together.
const DUE_MAX: usize = 256;
/// Commands that may wait; beyond it who puts off waits, and a `read` is found when the time has come.
const COMMANDS_MAX: usize = 1_024;
/// After how many milliseconds one that could not be looked at is tried again.
const AGAIN_MS: u64 = 5_000;
/// How late one may be looked at, in milliseconds, before it is too old to be of use.
const LATE_MS_MAX: u64 = 60 * 60 * 1000;
/// How far back the newest unread message of somebody else is looked for.
const LOOK_BACK: u64 = 32;

enum Command {
    Defer(Vec<Deferred>),
    Read(UserId, ConversationId),
    Tend(oneshot::Sender<()>),
    Settle(oneshot::Sender<()>),
}

/// The way to the task.
#[derive(Clone)]
pub struct Handle {
    commands: mpsc::Sender<Command>,
    /// Whether nothing is put off: a `read` then costs nothing.
    none: Arc<AtomicBool>,
}

/// The other end of a [`Handle`].
pub struct Commands(mpsc::Receiver<Command>, Arc<AtomicBool>);

/// A handle, and what [`run`] is to be given.
pub fn channel() -> (Handle, Commands) {
    let (commands, receiver) = mpsc::channel(COMMANDS_MAX);
    // Until they are counted there may be some.
    let none = Arc::new(AtomicBool::new(false));
    (Handle { commands, none: none.clone() }, Commands(receiver, none))
}

impl Handle {
    /// Puts notifications off, unless others of the same users and conversation are.
    pub async fn defer(&self, deferred: Vec<Deferred>) {
        // The task ends with the host.
        let _ = self.commands.send(Command::Defer(deferred)).await;
    }

    /// That user has read all there is in that conversation.
    pub fn read(&self, user: UserId, conversation: ConversationId) {
        if !self.none.load(Ordering::Relaxed) {
            // Where there is no room, it is found read when its time has come.
            let _ = self.commands.try_send(Command::Read(user, conversation));
        }
    }

    /// Looks now what is due.
    pub async fn tend(&self) {
        self.ask(Command::Tend).await;
    }

    /// Waits until everything that was handed in is durable.
    pub async fn settle(&self) {
        self.ask(Command::Settle).await;
    }

    async fn ask(&self, command: impl FnOnce(oneshot::Sender<()>) -> Command) {
        let (done, answered) = oneshot::channel();
        if self.commands.send(command(done)).await.is_ok() {
            let _ = answered.await;
        }
    }
}

/// What becomes of a notification whose time has come.
enum Outcome {
    /// It is offered to who delivers it.
    Due(Due),
    /// It is put off again.
    Later(Ms),
    /// There is nothing to notify of any more.
    Cancelled,
    /// It was put off for as long as may be.
    Expired,
}

struct Task {
    tables: Arc<dyn Deferrals>,
    metrics: Metrics,
    none: Arc<AtomicBool>,
}

/// Keeps what is put off for as long as there is a host.
pub async fn run(host: Weak<Host>, commands: Commands, tables: Arc<dyn Deferrals>, metrics: Metrics) {
    let Commands(mut commands, none) = commands;
    let task = Task { tables, metrics, none };
    task.count().await;
    let mut looks = tokio::time::interval(LOOK_EVERY);
    looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            command = commands.recv() => match command {
                None => return,
                Some(Command::Defer(deferred)) => task.defer(deferred).await,
                Some(Command::Read(user, conversation)) => task.read(user, conversation).await,
                Some(Command::Tend(done)) => {
                    if let Some(host) = host.upgrade() {
                        task.tend(&host).await;
                    }
                    // Who asked may have given up.
                    let _ = done.send(());
                }
                Some(Command::Settle(done)) => {
                    let _ = done.send(());
                }
            },
            _ = looks.tick() => match host.upgrade() {
                Some(host) => task.tend(&host).await,
                None => return,
            },
        }
    }
}

impl Task {
    async fn count(&self) {
        match self.tables.deferral_timers_count().await {
            Ok(count) => {
                self.metrics.deferred.set(count as i64);
                self.none.store(count == 0, Ordering::Relaxed);
            }
            Err(error) => self.failed(&error, "deferred notifications could not be counted"),
        }
    }

    fn failed(&self, error: &dyn std::fmt::Display, what: &str) {
        tracing::warn!(%error, "{what}");
        self.metrics.store_failures.inc();
    }

    fn gone(&self, count: usize) {
        let left = self.metrics.deferred.dec_by(count as i64) - count as i64;
        self.none.store(left == 0, Ordering::Relaxed);
    }

    async fn defer(&self, mut deferred: Vec<Deferred>) {
        // From here on a `read` is heard of.
        self.none.store(false, Ordering::Relaxed);
        let asked: Vec<_> = deferred.iter().map(|one| (one.user, one.conversation)).collect();
        let stored = async {
            let known = self.tables.deferred(&asked).await?;
            let mut known = known.into_iter();
            deferred.retain(|_| known.next().flatten().is_none());
            self.tables.defer(&deferred).await?;
            Ok::<_, godwit_domain::waist::Error>(deferred.len())
        };
        match stored.await {
            Ok(count) => {
                self.metrics.deferred.inc_by(count as i64);
            }
            Err(error) => self.failed(&error, "notifications could not be put off"),
        }
    }

    async fn read(&self, user: UserId, conversation: ConversationId) {
        let found = match self.tables.deferred(&[(user, conversation)]).await {
            Ok(found) => found.into_iter().flatten().collect::<Vec<_>>(),
            Err(error) => return self.failed(&error, "a deferred notification could not be read"),
        };
        if !found.is_empty() {
            self.end(&found, DeferralEnd::Cancelled).await;
        }
    }

    async fn end(&self, deferred: &[Deferred], end: DeferralEnd) {
        match self.tables.undefer(deferred).await {
            Ok(()) => {
                self.gone(deferred.len());
                self.metrics.deferral_ended(end, deferred.len());
            }
            // Its timer finds it again.
            Err(error) => self.failed(&error, "a deferred notification could not be forgotten"),
        }
    }

    /// Does what is due.
    async fn tend(&self, host: &Arc<Host>) {
        let mut seen = HashSet::new();
        loop {
            let timers = match self.tables.deferral_timers(host.parts.clock.now(), DUE_MAX).await {
                Ok(timers) => timers,
                Err(error) => return self.failed(&error, "timers of notifications could not be read"),
            };
            // What could not be ended is tried with the next look.
            let is_new = timers.iter().filter(|timer| seen.insert(**timer)).count() > 0;
            if !is_new {
                return;
            }
            self.tend_some(host, &timers).await;
        }
    }

    async fn tend_some(&self, host: &Arc<Host>, timers: &[(Ms, UserId, ConversationId)]) {
        let asked: Vec<_> = timers.iter().map(|(_, user, conversation)| (*user, *conversation)).collect();
        let found = match self.tables.deferred(&asked).await {
            Ok(found) => found,
            Err(error) => return self.failed(&error, "deferred notifications could not be read"),
        };
        let (mut stale, mut due) = (Vec::new(), Vec::new());
        for (timer, found) in timers.iter().zip(found) {
            match found {
                Some(deferred) if deferred.due_at == timer.0 => due.push(deferred),
                _ => stale.push(*timer),
            }
        }
        match self.tables.drop_deferral_timers(&stale).await {
            Ok(()) => self.gone(stale.len()),
            Err(error) => self.failed(&error, "timers of notifications could not be removed"),
        }
        // The task must outlive whatever one of them meets.
        let looks = due.iter().map(|deferred| AssertUnwindSafe(look(host, deferred)).catch_unwind());
        let outcomes = join_all(looks).await;
        let mut ended = [(DeferralEnd::Due, Vec::new()), (DeferralEnd::Cancelled, Vec::new())];
        let mut expired = Vec::new();
        for (deferred, outcome) in due.into_iter().zip(outcomes) {
            let outcome =
                outcome.unwrap_or_else(|_| Err(Error::new(Code::Internal, "looking at it panicked")));
            match outcome {
                Ok(Outcome::Due(due)) => match host.parts.notifications.take(due).await {
                    Ok(()) => ended[0].1.push(deferred),
                    Err(error) => {
                        tracing::warn!(%error, "a notification is offered again");
                        self.again(deferred, host.parts.clock.now().plus(AGAIN_MS)).await;
                    }
                },
                Ok(Outcome::Later(at)) => self.again(deferred, at).await,
                Ok(Outcome::Cancelled) => ended[1].1.push(deferred),
                Ok(Outcome::Expired) => expired.push(deferred),
                Err(error) => {
                    self.failed(&error, "a deferred notification could not be looked at");
                    self.again(deferred, host.parts.clock.now().plus(AGAIN_MS)).await;
                }
            }
        }
        for (end, some) in ended.into_iter().chain([(DeferralEnd::Expired, expired)]) {
            if !some.is_empty() {
                self.end(&some, end).await;
            }
        }
    }

    async fn again(&self, before: Deferred, due_at: Ms) {
        let moved = async {
            self.tables.defer(&[Deferred { due_at, ..before }]).await?;
            self.tables.drop_deferral_timers(&[(before.due_at, before.user, before.conversation)]).await
        };
        if let Err(error) = moved.await {
            self.failed(&error, "a deferred notification could not be put off again");
        }
    }
}

/// Looks at a notification whose time has come.
async fn look(host: &Arc<Host>, deferred: &Deferred) -> Result<Outcome, Error> {
    let now = host.parts.clock.now();
    if now.since(deferred.until()) > LATE_MS_MAX {
        return Ok(Outcome::Expired);
    }
    let Some(message) = newest_unread(host, deferred).await? else { return Ok(Outcome::Cancelled) };
    let due = |quiet| {
        let Deferred { user, conversation, .. } = *deferred;
        Outcome::Due(Due { user, conversation, seq: message.seq, quiet })
    };
    Ok(match ask(host, deferred, &message, now).await? {
        None | Some(Attention::NoNotification) => Outcome::Cancelled,
        Some(Attention::Normal) => due(false),
        Some(Attention::Quiet) => due(true),
        Some(Attention::NotifyLater(at)) if at <= now => due(false),
        Some(Attention::NotifyLater(_)) if deferred.until() <= now => Outcome::Expired,
        Some(Attention::NotifyLater(at)) => Outcome::Later(at.min(deferred.until())),
    })
}

/// The newest message that somebody else sent and the user has neither read nor hidden, if they may read it.
async fn newest_unread(host: &Arc<Host>, deferred: &Deferred) -> Result<Option<Message>, Error> {
    let Deferred { user, conversation, .. } = *deferred;
    let view = match host.sequencer.view(conversation, user).await {
        Ok(view) if view.standing == Standing::In => view,
        Ok(_) => return Ok(None),
        Err(error) if error.code == Code::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let last = view.head.last_seq;
    if view.marks.read >= last {
        return Ok(None);
    }
    let first = view.marks.read.0.max(last.0.saturating_sub(LOOK_BACK)) + 1;
    let range = Seq(first)..=last;
    let tables = &host.parts.conversations;
    let hidden = tables.hidden_within(user, conversation, range.clone()).await?;
    let unread = tables.messages(conversation, range, true, usize::MAX).await?;
    Ok(unread.into_iter().rev().find(|message| {
        let is_shown = !message.is_deleted() && !hidden.contains(&message.seq);
        message.sender != user && is_shown && view.visible.message(message.seq)
    }))
}

/// What the present policies say of it; `None` where sender or recipient are no more.
async fn ask(
    host: &Arc<Host>,
    deferred: &Deferred,
    message: &Message,
    now: Ms,
) -> Result<Option<Attention>, Error> {
    let Deferred { user, conversation, .. } = *deferred;
    let gone = || Error::new(Code::Unavailable, "the conversation is not in memory");
    let card = host.cards.get(conversation).ok_or_else(gone)?;
    let chain = host.parts.filters.pin();
    if !chain.serves(Hook::Delivery, &card.place) {
        return Ok(Some(Attention::Normal));
    }
    let tables = &host.parts.account_tables;
    let (sender, recipient_account) = (tables.account(message.sender).await?, tables.account(user).await?);
    let (Some(sender), Some(account)) = (sender, recipient_account) else { return Ok(None) };
    let member = card.members.get(&message.sender).copied();
    let scene = Scene {
        now,
        conversation: Some(card.place.clone()),
        sender: Arc::new(sender.user),
        sender_role: member.map(|(role, _)| role),
        activity: Activity { member_since: member.map(|(_, since)| since), ..Activity::default() },
        via: message.via.clone(),
    };
    let role = card.members.get(&user).map_or(Role::Member, |(role, _)| *role);
    let attends = host.parts.registry.attends(user, conversation);
    let muted_until = host.stage.muted_until(user, conversation).await?;
    let mentioned = mentions(message, user);
    let recipients = [recipient(Arc::new(account.user), role, attends, mentioned, muted_until)];
    let mut spent = Spent::default();
    let asked = chain.decide(&scene, message, &recipients, &mut spent);
    let within = Duration::from_millis(host.parts.limits.deliver_ms);
    Ok(Some(match timeout(within, asked).await {
        Ok(answers) => answers.first().copied().unwrap_or(Attention::Normal),
        Err(_) => {
            host.parts.metrics.overdue.inc();
            Attention::Normal
        }
    }))
}
