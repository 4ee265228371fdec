//! What an event ends with, stored: effects become a settlement, and settlements that wait share a commit.
//!
//! One task per plugin stores them, so that what one of them writes the next is judged by.

use super::{client_id, lane::Lane};
use crate::faults::{self, Fault};
use godwit_domain::{
    actor::{Act, Actor, Call, Effects, KvWrite, reference},
    tables::{
        End, Errand, KV_KEY_BYTES_MAX, KV_VALUE_BYTES_MAX, Letter, Settlement, Settling, Timer, TimerChange,
    },
    waist,
};
use std::sync::{Arc, Weak};
use tokio::sync::{mpsc, oneshot};

/// Events that share a commit.
const TOGETHER_MAX: usize = 64;
/// Settlements that wait for their commit; beyond it those that settle wait.
const WAITING_MAX: usize = 256;
/// How many effects one event may have.
const EFFECTS_MAX: usize = 64;
/// How many keys, and how many buckets, one event may read.
const READS_MAX: usize = 256;
/// The longest name of a timer, in bytes.
const TIMER_NAME_BYTES_MAX: usize = 128;
/// The furthest that a timer may lie ahead, in milliseconds: ten years.
const TIMER_AHEAD_MS_MAX: u64 = 10 * 366 * 24 * 60 * 60 * 1_000;

/// A settlement on its way.
pub struct Waiting {
    settlement: Settlement,
    actor: Option<Arc<dyn Actor>>,
    answer: oneshot::Sender<Result<Settling, waist::Error>>,
}

/// The way to the task.
pub type Queue = mpsc::Sender<Waiting>;

pub fn queue() -> (Queue, mpsc::Receiver<Waiting>) {
    mpsc::channel(WAITING_MAX)
}

/// Stores settlements as they come, for as long as there is a lane.
pub async fn run(lane: Weak<Lane>, mut waiting: mpsc::Receiver<Waiting>) {
    let mut taken = Vec::with_capacity(TOGETHER_MAX);
    while waiting.recv_many(&mut taken, TOGETHER_MAX).await > 0 {
        let Some(lane) = lane.upgrade() else { return };
        let settlements = taken.iter().map(|waiting| waiting.settlement.clone()).collect();
        let settled = lane.work.settle(&lane.id, settlements).await;
        match settled {
            Ok(settled) => {
                for (waiting, settling) in taken.drain(..).zip(settled) {
                    done(&lane, waiting, settling);
                }
            }
            Err(error) => {
                tracing::warn!(%error, plugin = lane.id, "what a plugin did could not be stored");
                for waiting in taken.drain(..) {
                    // Who asked may have given up.
                    let _ = waiting.answer.send(Err(error.clone()));
                }
            }
        }
    }
}

fn done(lane: &Arc<Lane>, waiting: Waiting, settling: Settling) {
    let Waiting { settlement, actor, answer } = waiting;
    if let Settling::Done(errands) = &settling {
        if let Some(actor) = actor.filter(|_| !settlement.writes.is_empty()) {
            actor.committed(&settlement.writes);
        }
        if settlement.letter.is_some() {
            lane.metrics().count(|metrics| &metrics.dead, &lane.id);
        }
        if !settlement.timers.is_empty() || matches!(settlement.end, End::Timer(..)) {
            lane.look_for_timers();
        }
        lane.errands.push(errands.clone());
    }
    let _ = answer.send(Ok(settling));
}

impl Lane {
    /// Stores an end with what it caused.
    ///
    /// # Errors
    /// That of the store: whether it happened is not known.
    pub async fn commit(
        &self,
        settlement: Settlement,
        actor: Option<Arc<dyn Actor>>,
    ) -> Result<Settling, waist::Error> {
        let stopping = || waist::Error::Unavailable("the host is stopping".into());
        let (answer, answered) = oneshot::channel();
        let waiting = Waiting { settlement, actor, answer };
        self.commits.send(waiting).await.map_err(|_| stopping())?;
        answered.await.unwrap_or_else(|_| Err(stopping()))
    }

    /// What an event's effects come to, or what is wrong with them.
    pub fn settlement(&self, call: &Call, end: End, effects: Effects) -> Result<Settlement, String> {
        check(&effects)?;
        let at = self.clock.now();
        let Effects { mut reads, mut scans, writes, acts } = effects;
        if faults::on(Fault::ConflictsUnseen) {
            (reads, scans) = Default::default();
        }
        let (mut errands, mut timers) = (Vec::new(), Vec::new());
        let hops = call.hops.saturating_add(u8::from(!faults::on(Fault::HopsUncounted)));
        for (ordinal, act) in acts.into_iter().enumerate() {
            match act {
                Act::SetTimer { name, at: fires_at, payload } => {
                    if fires_at > at.plus(TIMER_AHEAD_MS_MAX) {
                        return Err(format!("the timer `{name}` lies more than ten years ahead"));
                    }
                    // A timer carries the count on; what is done when it fires counts one more.
                    timers.push(TimerChange::Set(Timer {
                        n: 0,
                        name,
                        at: fires_at,
                        payload,
                        hops: call.hops,
                    }));
                }
                Act::CancelTimer(_) if faults::on(Fault::TimersStay) => {}
                Act::CancelTimer(name) => timers.push(TimerChange::Cancel(name)),
                // Not served by this host yet, and never stored.
                Act::Typing(_) => {}
                act => errands.push(Errand {
                    n: 0,
                    client_id: client_id(&self.id, &call.event, ordinal, at, hops),
                    reference: reference(&call.event, ordinal),
                    at,
                    hops,
                    act,
                }),
            }
        }
        Ok(Settlement { end, reads, scans, writes, errands, timers, letter: None })
    }

    /// An end that is a dead letter.
    pub fn given_up(&self, end: End, letter: Letter) -> Settlement {
        Settlement { letter: Some(letter), ..Settlement::of(end) }
    }
}

/// Whether effects keep their limits, whoever made them.
fn check(effects: &Effects) -> Result<(), String> {
    let Effects { reads, scans, writes, acts } = effects;
    let count = writes.len() + acts.len();
    if count > EFFECTS_MAX {
        return Err(format!("{count} effects, the limit is {EFFECTS_MAX}"));
    }
    if reads.len().max(scans.len()) > READS_MAX {
        return Err(format!("{} reads, the limit is {READS_MAX}", reads.len().max(scans.len())));
    }
    let keys = reads.iter().map(|(key, _)| key).chain(scans.iter().map(|(bucket, _)| bucket));
    for key in keys.chain(writes.iter().map(|KvWrite { key, .. }| key)) {
        if key.len() > KV_KEY_BYTES_MAX {
            return Err(format!("a key of {} bytes, the limit is {KV_KEY_BYTES_MAX}", key.len()));
        }
    }
    let values = writes.iter().filter_map(|write| write.value.as_ref());
    let payloads = acts.iter().filter_map(|act| match act {
        Act::SetTimer { payload, .. } => Some(payload),
        _ => None,
    });
    if let Some(value) = values.chain(payloads).find(|value| value.len() > KV_VALUE_BYTES_MAX) {
        return Err(format!("a value of {} bytes, the limit is {KV_VALUE_BYTES_MAX}", value.len()));
    }
    let names = acts.iter().filter_map(|act| match act {
        Act::SetTimer { name, .. } | Act::CancelTimer(name) => Some(name),
        _ => None,
    });
    for name in names {
        if !(1..=TIMER_NAME_BYTES_MAX).contains(&name.len()) {
            let bytes = name.len();
            return Err(format!("a timer's name of {bytes} bytes, it must have 1 to {TIMER_NAME_BYTES_MAX}"));
        }
    }
    Ok(())
}
