//! How a plugin hears: what stands in a conversation's log after its place, merged in the order in which it happened,
//! one event after the other, each until it is settled.

use super::{
    HOPS_MAX,
    desk::AtDesk,
    hears_all,
    lane::Lane,
    patience::{How, failed},
    range::Range,
};
use crate::{
    faults::{self, Fault},
    host::Host,
    sequencer::{Stand, place},
};
use godwit_domain::{
    actor::{Actor, Call, Event, EventKind, Hook, Outcome, What},
    conversation::Member,
    filter::{Decision, Place},
    id::{ConversationId, Rev, Seq},
    message::Message,
    revision::{Revision, What as Change},
    tables::{Cause, End, Failing, Letter, Notice, Position, Settlement, Settling, Timer},
    time::Ms,
    waist,
};
use godwit_protocol::error::{Code, Error};
use std::sync::Arc;

/// Entries of the log that are read at once.
const PAGE: u64 = 64;
/// The most bytes of bodies that are read at once.
const PAGE_BYTES_MAX: usize = 1 << 20;
/// How often one run of an event may meet what another wrote before it waits.
const CONFLICTS_MAX: u32 = 16;
/// Events that are older than this are skipped.
const AGE_MS_MAX: u64 = 7 * 24 * 60 * 60 * 1_000;

/// Why a walk through a conversation ends.
pub enum Pause {
    /// Everything was heard.
    Heard,
    /// There is more; others have their turn first.
    More,
    /// The next event failed, and is tried again then.
    Until(Ms),
    /// The store failed.
    Store,
    /// The plugin is not to be called any more, or not this version of it.
    Suspended,
}

/// What became of one event.
enum Heard {
    /// Nothing came of it: only the place moves.
    Quiet,
    /// It is over, and that is stored.
    Stored,
    /// It is to be tried again then.
    Failed(Failing, Ms),
}

/// An entry of the log.
enum Entry {
    Message(Message),
    Revision(Revision),
}

/// What there is to read.
struct Page {
    /// In order; each with the place after it.
    entries: Vec<(Entry, Position)>,
    /// The place after all of them and what follows and does not matter.
    end: Position,
    /// Whether there is more after that.
    more: bool,
}

/// Hears what waits in one conversation, or outside of all.
pub async fn walk(lane: &Arc<Lane>, actor: &Arc<dyn Actor>, key: Option<ConversationId>) -> Pause {
    match try_walk(lane, actor, key).await {
        Ok(pause) => pause,
        Err(error) => {
            if let Some(conversation) = key {
                // How far it came is read again.
                lane.forget(conversation);
            }
            tracing::warn!(%error, plugin = lane.id, "events could not be read or settled; it is tried again");
            Pause::Store
        }
    }
}

async fn try_walk(
    lane: &Arc<Lane>,
    actor: &Arc<dyn Actor>,
    key: Option<ConversationId>,
) -> Result<Pause, Error> {
    let Some(host) = lane.host() else { return Ok(Pause::Suspended) };
    let ear = Ear { lane, actor, host: &host };
    while let Some((notice, failing)) = lane.first_notice(key) {
        if !ear.may_go_on() {
            return Ok(Pause::Suspended);
        }
        match ear.notice(&notice, failing).await? {
            Heard::Failed(failing, at) => {
                lane.settle_notice(key, Some(failing));
                return Ok(Pause::Until(at));
            }
            Heard::Quiet | Heard::Stored => lane.settle_notice(key, None),
        }
    }
    match key {
        Some(conversation) if super::hears_conversations(&**actor) => ear.log(conversation).await,
        _ => Ok(Pause::Heard),
    }
}

/// Fires a timer; when it is tried again, if it has to be.
///
/// # Errors
/// That of the store.
pub async fn fire(
    lane: &Arc<Lane>,
    actor: &Arc<dyn Actor>,
    timer: &Timer,
    failing: Option<Failing>,
) -> Result<Option<(Failing, Ms)>, waist::Error> {
    let Some(host) = lane.host() else { return Ok(None) };
    let Timer { n, name, at, payload, hops } = timer.clone();
    let end = End::Timer(name.clone(), n);
    let cause = Cause::Timer { name: name.clone(), at, payload: payload.clone() };
    let what = What::Timer { name, at, payload };
    let event = Event { id: format!("t.{n}"), at, hops, place: None, what };
    let heard = Ear { lane, actor, host: &host }.tell(event, EventKind::Timer, end, cause, failing).await;
    match heard? {
        Heard::Quiet | Heard::Stored => Ok(None),
        Heard::Failed(failing, at) => Ok(Some((failing, at))),
    }
}

struct Ear<'a> {
    lane: &'a Arc<Lane>,
    actor: &'a Arc<dyn Actor>,
    host: &'a Arc<Host>,
}

impl Ear<'_> {
    /// Whether this version may be told more.
    fn may_go_on(&self) -> bool {
        self.lane.may_run().is_some_and(|actor| Arc::ptr_eq(&actor, self.actor))
    }

    fn wants(&self, kind: EventKind) -> bool {
        self.actor.hooks().contains(&Hook::Bot) && self.actor.events().contains(&kind)
    }

    /// Hears one page of a conversation's log.
    async fn log(&self, conversation: ConversationId) -> Result<Pause, Error> {
        let lane = self.lane;
        let stand = match self.host.sequencer.stand(conversation, lane.user.id).await {
            Ok(stand) => stand,
            // Its creation was marked and did not happen.
            Err(error) if error.code == Code::NotFound => return Ok(Pause::Heard),
            Err(error) => return Err(error),
        };
        let place = place(&stand.meta, stand.member_count);
        let Some(range) = self.range(&stand, &place) else { return Ok(Pause::Heard) };
        let mut position = match lane.standing(conversation) {
            Some(position) => position,
            None => match lane.work.position(&lane.id, conversation).await? {
                Some(position) => {
                    lane.stand(conversation, position, true);
                    position
                }
                None => self.beginning(conversation, &stand).await?,
            },
        };
        let page = self.page(conversation, &stand, &range, position).await?;
        for (entry, after) in page.entries {
            if !self.may_go_on() {
                return Ok(Pause::Suspended);
            }
            let end = End::Position(conversation, after);
            match self.entry(&place, &range, entry, end, position.failing).await? {
                Heard::Quiet => lane.stand(conversation, after, false),
                Heard::Stored => lane.stand(conversation, after, true),
                Heard::Failed(failing, at) => {
                    lane.stand(conversation, Position { failing: Some(failing), ..position }, false);
                    return Ok(Pause::Until(at));
                }
            }
            position = after;
        }
        if page.end.is_past(&position) {
            lane.stand(conversation, page.end, false);
        }
        Ok(if page.more { Pause::More } else { Pause::Heard })
    }

    /// What it may hear there; `None` where that is nothing.
    fn range(&self, stand: &Stand, place: &Place) -> Option<Range> {
        if !self.actor.serves(place) {
            return None;
        }
        if hears_all(&**self.actor, stand.meta.kind) {
            return Some(Range { stretches: None, visible: None });
        }
        let Member { intervals, .. } = stand.member.as_ref()?;
        let stretch = |interval: &godwit_domain::conversation::Interval| {
            (interval.after_seq, interval.after_rev, interval.until.map(|until| (until.seq, until.rev)))
        };
        let stretches = Some(intervals.iter().map(stretch).collect());
        Some(Range { stretches, visible: Some(stand.visible.clone()) })
    }

    /// Where a plugin begins that was never told anything there: after what was there before it came.
    async fn beginning(&self, conversation: ConversationId, stand: &Stand) -> Result<Position, Error> {
        if faults::on(Fault::HeardFromTheBeginning) {
            return Ok(Position { seq: Seq(0), rev: Rev(0), failing: None });
        }
        let tables = &self.host.parts.conversations;
        let (last_seq, last_rev) = (stand.head.last_seq, stand.head.last_rev);
        let first = tables.first_sent_since(conversation, last_seq, self.lane.since).await?;
        // By bisection: the times of revisions never decrease.
        let (mut low, mut high) = (0, last_rev.0);
        while low < high {
            let middle = low + (high - low).div_ceil(2);
            let read = tables.revisions(conversation, Rev(middle)..=Rev(middle)).await?;
            if read.first().is_some_and(|revision| revision.at < self.lane.since) {
                low = middle;
            } else {
                high = middle - 1;
            }
        }
        Ok(Position { seq: Seq(first.0.saturating_sub(1)), rev: Rev(low), failing: None })
    }

    /// Reads what follows a place.
    async fn page(
        &self,
        conversation: ConversationId,
        stand: &Stand,
        range: &Range,
        from: Position,
    ) -> Result<Page, Error> {
        let tables = &self.host.parts.conversations;
        let (last_seq, last_rev) = (stand.head.last_seq, stand.head.last_rev);
        let reads_messages = self.wants(EventKind::Message) || self.wants(EventKind::Mentioned);
        let kinds =
            [EventKind::Edited, EventKind::Deleted, EventKind::Reaction, EventKind::Joined, EventKind::Left];
        let reads_revisions = kinds.into_iter().any(|kind| self.wants(kind));
        let first_seq = range.first_seq(from.seq.next()).filter(|first| *first <= last_seq && reads_messages);
        let first_rev =
            range.first_rev(from.rev.next()).filter(|first| *first <= last_rev && reads_revisions);
        let to_seq = first_seq.map(|first| Seq(last_seq.0.min(first.0 + PAGE - 1)));
        let to_rev = first_rev.map(|first| Rev(last_rev.0.min(first.0 + PAGE - 1)));
        let messages = match first_seq.zip(to_seq) {
            Some((first, to)) => tables.messages(conversation, first..=to, false, PAGE_BYTES_MAX).await?,
            None => Vec::new(),
        };
        let revisions = match first_rev.zip(to_rev) {
            Some((first, to)) => tables.revisions(conversation, first..=to).await?,
            None => Vec::new(),
        };
        // A page of messages may end early for its size.
        let (mut read_seq, read_rev) = (to_seq.unwrap_or(last_seq), to_rev.unwrap_or(last_rev));
        if let (Some(first), Some(to)) = (first_seq, to_seq)
            && let Some(last) = messages.last().map(|message| message.seq)
            && last < to
            && !tables.messages(conversation, last.next()..=to, false, 1).await?.is_empty()
        {
            read_seq = last.max(first);
        }
        let (mut messages, mut revisions) =
            (messages.into_iter().peekable(), revisions.into_iter().peekable());
        let mut entries = Vec::new();
        let mut at = Position { failing: None, ..from };
        loop {
            let revision_first = match (messages.peek(), revisions.peek()) {
                (Some(message), Some(revision)) => revision.at_seq < message.seq,
                // What comes after the page may belong before it.
                (Some(_), None) if read_rev < last_rev => {
                    at.rev = at.rev.max(read_rev);
                    break;
                }
                (None, Some(revision)) if read_seq < last_seq && revision.at_seq > read_seq => {
                    at.seq = at.seq.max(read_seq);
                    break;
                }
                (None, Some(_)) => true,
                (Some(_), None) => false,
                (None, None) => {
                    (at.seq, at.rev) = (at.seq.max(read_seq), at.rev.max(read_rev));
                    break;
                }
            };
            if revision_first {
                let Some(revision) = revisions.next() else { break };
                at.rev = revision.rev;
                if range.hears_rev(revision.rev) {
                    entries.push((Entry::Revision(revision), at));
                }
            } else {
                let Some(message) = messages.next() else { break };
                at.seq = message.seq;
                if range.hears_seq(message.seq) {
                    entries.push((Entry::Message(message), at));
                }
            }
        }
        let more = at.seq < last_seq || at.rev < last_rev;
        Ok(Page { entries, end: at, more })
    }

    /// Tells one entry of the log, if it is wanted.
    async fn entry(
        &self,
        place: &Place,
        range: &Range,
        entry: Entry,
        end: End,
        failing: Option<Failing>,
    ) -> Result<Heard, Error> {
        let event = match &entry {
            Entry::Message(message) => self.message(place, message).await?,
            Entry::Revision(revision) => self.revision(place, range, revision).await?,
        };
        let cause = match entry {
            Entry::Message(message) => Cause::Message { seq: message.seq },
            Entry::Revision(revision) => Cause::Revision { rev: revision.rev },
        };
        match event {
            Some((event, kind)) => Ok(self.tell(event, kind, end, cause, failing).await?),
            None => Ok(Heard::Quiet),
        }
    }

    /// A message as the plugin hears it. What was deleted meanwhile is not told, nor is what it said itself.
    async fn message(&self, place: &Place, message: &Message) -> Result<Option<(Event, EventKind)>, Error> {
        let me = self.lane.user.id;
        if message.sender == me || message.is_deleted() {
            return Ok(None);
        }
        let mentioned = self.wants(EventKind::Mentioned) && message.content.mentions.contains(&me);
        if !mentioned && !self.wants(EventKind::Message) {
            return Ok(None);
        }
        let Some(sender) = self.host.parts.accounts.users(&[message.sender]).await?.into_iter().next() else {
            return Ok(None);
        };
        let Some(crew) = self.lane.crew() else { return Ok(None) };
        let event = Event {
            id: format!("m.{}.{}", place.id, message.seq),
            at: message.sent_at,
            hops: crew.hops_of(message.client_id, sender.bot),
            place: Some(place.clone()),
            what: What::Message { message: Arc::new(message.clone()), sender: Arc::new(sender), mentioned },
        };
        Ok(Some((event, if mentioned { EventKind::Mentioned } else { EventKind::Message })))
    }

    /// A revision as the plugin hears it. What it did itself is not told, but that it came or went.
    async fn revision(
        &self,
        place: &Place,
        range: &Range,
        revision: &Revision,
    ) -> Result<Option<(Event, EventKind)>, Error> {
        let Revision { rev, by, at, what, .. } = revision;
        let (by, about) = (*by, what.message());
        let kind = match what {
            Change::Edit { .. } => EventKind::Edited,
            Change::Delete { .. } => EventKind::Deleted,
            Change::React { .. } => EventKind::Reaction,
            Change::Join { .. } => EventKind::Joined,
            Change::Leave { .. } => EventKind::Left,
            // Of reactions that were gathered the stream does not say whose they are.
            Change::Role { .. } | Change::Meta(_) | Change::Reacts { .. } => return Ok(None),
        };
        let own = by == self.lane.user.id && about.is_some();
        if own || !self.wants(kind) || about.is_some_and(|seq| !range.may_read(seq)) {
            return Ok(None);
        }
        let what = match what.clone() {
            Change::Edit { seq, .. } => {
                let read = self.host.parts.conversations.messages(place.id, seq..=seq, false, usize::MAX);
                match read.await?.pop().filter(|message| !message.is_deleted()) {
                    Some(message) => What::Edited { message: Arc::new(message), by },
                    None => return Ok(None),
                }
            }
            Change::Delete { seq } => What::Deleted { seq, by },
            Change::React { seq, emoji, on, .. } => What::Reaction { seq, emoji, on, by },
            Change::Join { user, .. } => What::Joined { user, by },
            Change::Leave { user, .. } => What::Left { user, by },
            Change::Role { .. } | Change::Meta(_) | Change::Reacts { .. } => return Ok(None),
        };
        let Some(crew) = self.lane.crew() else { return Ok(None) };
        let hops = about.map_or(0, |seq| crew.cause(by, place.id, seq));
        let id = format!("r.{}.{rev}", place.id);
        Ok(Some((Event { id, at: *at, hops, place: Some(place.clone()), what }, kind)))
    }

    /// Tells a notice: what became of a send, or a dead letter that is driven again.
    async fn notice(&self, notice: &Notice, failing: Option<Failing>) -> Result<Heard, Error> {
        let end = End::Notice(notice.n);
        let place = match notice.conversation {
            Some(conversation) => match self.host.sequencer.stand(conversation, self.lane.user.id).await {
                Ok(stand) => Some((place(&stand.meta, stand.member_count), stand)),
                Err(error) if error.code == Code::NotFound => None,
                Err(error) => return Err(error),
            },
            None => None,
        };
        let told = match (&notice.cause, &place) {
            (Cause::Sent { reference, fate }, place) => {
                let what = What::Sent { reference: reference.clone(), fate: fate.clone() };
                let place = place.as_ref().map(|(place, _)| place.clone());
                let id = format!("s.{reference}");
                let event = Event { id, at: notice.at, hops: notice.hops, place, what };
                Some((event, EventKind::Sent))
            }
            (Cause::Timer { name, at, payload }, _) => {
                let what = What::Timer { name: name.clone(), at: *at, payload: payload.clone() };
                let id = format!("t.{}", notice.n);
                let event = Event { id, at: notice.at, hops: notice.hops, place: None, what };
                Some((event, EventKind::Timer))
            }
            (Cause::Message { seq }, Some((place, stand))) => {
                let read = self.host.parts.conversations.messages(place.id, *seq..=*seq, false, usize::MAX);
                let read = read.await?.pop();
                match (read, self.range(stand, place)) {
                    (Some(message), Some(range)) if range.hears_seq(*seq) => {
                        self.message(place, &message).await?
                    }
                    _ => None,
                }
            }
            (Cause::Revision { rev }, Some((place, stand))) => {
                let read = self.host.parts.conversations.revisions(place.id, *rev..=*rev).await?.pop();
                match (read, self.range(stand, place)) {
                    (Some(revision), Some(range)) if range.hears_rev(*rev) => {
                        self.revision(place, &range, &revision).await?
                    }
                    _ => None,
                }
            }
            _ => None,
        };
        let Some((mut event, kind)) = told else {
            // What it was about is gone.
            self.lane.commit(Settlement::of(end), None).await?;
            return Ok(Heard::Stored);
        };
        // A letter that is driven again is as old as that, not as what it is about.
        event.at = event.at.max(notice.at);
        Ok(self.tell(event, kind, end, notice.cause.clone(), failing).await?)
    }

    /// Tells an event until it is settled, or failed.
    async fn tell(
        &self,
        event: Event,
        kind: EventKind,
        end: End,
        cause: Cause,
        failing: Option<Failing>,
    ) -> Result<Heard, waist::Error> {
        let (lane, metrics) = (self.lane, self.lane.metrics());
        let by_place = matches!(end, End::Position(..));
        let over = async |settlement: Settlement| lane.commit(settlement, None).await.map(|_| Heard::Stored);
        let now = lane.clock.now();
        if event.hops > HOPS_MAX {
            metrics.count(|metrics| &metrics.looped, &lane.id);
            let (plugin, event) = (&lane.id, &event.id);
            tracing::warn!(%plugin, %event, "an event is more than {HOPS_MAX} causes away from any person");
            return if by_place { Ok(Heard::Quiet) } else { over(Settlement::of(end)).await };
        }
        if now.since(event.at) > AGE_MS_MAX && !faults::on(Fault::EventsNeverOld) {
            metrics.count(|metrics| &metrics.skipped, &lane.id);
            return if by_place { Ok(Heard::Quiet) } else { over(Settlement::of(end)).await };
        }
        if !self.wants(kind) {
            return if by_place { Ok(Heard::Quiet) } else { over(Settlement::of(end)).await };
        }
        let call = Call {
            user: lane.user.clone(),
            event: event.id.clone(),
            at: event.at,
            hops: event.hops,
            answers: Arc::default(),
        };
        let failure = self.attempt(&call, &event, &end, by_place).await?;
        let (how, why) = match failure {
            Ok(heard) => {
                metrics.count(|metrics| &metrics.events, &lane.id);
                return Ok(heard);
            }
            Err(failure) => failure,
        };
        match failed(failing.unwrap_or_default(), how, lane.clock.now()) {
            (failing, Some(at)) => {
                metrics.count(|metrics| &metrics.retries, &lane.id);
                let (plugin, event) = (&lane.id, &event.id);
                tracing::debug!(%plugin, %event, why, "an event is tried again");
                Ok(Heard::Failed(failing, at))
            }
            (failing, None) => {
                let letter = Letter {
                    n: 0,
                    conversation: event.place.as_ref().map(|place| place.id),
                    cause,
                    at: event.at,
                    hops: event.hops,
                    dead_at: lane.clock.now(),
                    attempts: failing.attempts,
                    version: self.actor.version().to_owned(),
                    why,
                };
                tracing::warn!(plugin = lane.id, event = event.id, why = letter.why, "an event is given up");
                over(lane.given_up(end, letter)).await
            }
        }
    }

    /// Runs an event, again where it met what another wrote; how it failed, if it did.
    async fn attempt(
        &self,
        call: &Call,
        event: &Event,
        end: &End,
        by_place: bool,
    ) -> Result<Result<Heard, (How, String)>, waist::Error> {
        let lane = self.lane;
        for _ in 0..CONFLICTS_MAX {
            let desk = AtDesk::with(self.host, lane);
            let effects = match self.actor.on_event(call, event, desk).await {
                Outcome::Done((), effects) => effects,
                Outcome::Refused { retry: true, text } => return Ok(Err((How::Retry, text))),
                Outcome::Refused { retry: false, text } => return Ok(Err((How::Drop, text))),
                Outcome::Failed { how: Decision::Busy, why } => return Ok(Err((How::Retry, why))),
                Outcome::Failed { why, .. } => return Ok(Err((How::Trap, why))),
            };
            if by_place && effects.writes.is_empty() && effects.acts.is_empty() {
                return Ok(Ok(Heard::Quiet));
            }
            let settlement = match lane.settlement(call, end.clone(), effects) {
                Ok(settlement) => settlement,
                Err(why) => return Ok(Err((How::Trap, why))),
            };
            match lane.commit(settlement, Some(self.actor.clone())).await? {
                Settling::Done(_) | Settling::Over => return Ok(Ok(Heard::Stored)),
                Settling::Conflict => lane.metrics().count(|metrics| &metrics.conflicts, &lane.id),
                Settling::Full(bytes) => return Ok(Err((How::Trap, full(bytes)))),
            }
        }
        Ok(Err((How::Retry, format!("what it read was changed by others {CONFLICTS_MAX} times"))))
    }
}

/// What is said of a commit that would pass the quota.
pub fn full(bytes: u64) -> String {
    let max = godwit_domain::tables::KV_BYTES_MAX;
    format!("its keys, values and timers would have {bytes} bytes, the limit is {max}")
}
