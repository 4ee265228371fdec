//! Actors: plugins off the path of messages, which react to events, and whose effects are a transaction.
//!
//! It owns how they are linked, budgeted and called, and the services that only they have; it refuses to know when an
//! event reaches them and what becomes of their effects, which is `core`'s. They run in a wasmtime engine of their
//! own, so that what they use up is not the filters'.
//!
//! Start with [`Seated`], which is the domain's port; a call goes on through `pool` and `instance` to the guest, and
//! from there by `services` into `running`, where its effects gather. `stage` makes them ready.

pub(crate) mod answer;
pub(crate) mod bindings;
pub(crate) mod copy;
pub(crate) mod grants;
pub(crate) mod http;
pub(crate) mod instance;
pub(crate) mod manifest;
pub(crate) mod metrics;
pub(crate) mod options;
mod pool;
pub(crate) mod rehearsal;
pub(crate) mod running;
pub(crate) mod services;
pub(crate) mod stage;
mod zones;

use crate::{
    faults::{self, Fault},
    instance::Failure,
    options::{Options, mib},
    services::Private,
};
use answer::Answer;
use async_trait::async_trait;
use godwit_domain::{
    actor::{
        Actor, Call, CommandSpec, Desk, Event, EventKind, Hook, Invocation, KvWrite, Notification, Notified,
        Outcome, Reply, Request, Response, Served,
    },
    filter::Decision,
};
use grants::Grants;
use instance::Ask;
use pool::Pool;
use running::{Means, Running};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

/// The hook that hears of timers.
pub(crate) const HOOK_OF_TIMERS: Hook = Hook::Bot;

/// An actor in its place: one version, with its grants and its configuration.
pub(crate) struct Seated {
    id: String,
    version: String,
    served: Served,
    grants: Arc<Grants>,
    private: Arc<Private>,
    options: Arc<Options>,
    metrics: Arc<crate::Metrics>,
    /// Where its instances are, with what a call needs; or why there are none.
    pool: Result<(Arc<Pool>, Means), Arc<str>>,
}

impl Seated {
    /// Drops instances that nobody called for a while.
    pub(crate) fn retire_idle(&self, idle: Duration) {
        if let Ok((pool, _)) = &self.pool {
            pool.retire_idle(idle);
        }
    }

    async fn call(&self, hook: Hook, ask: Ask<'_>, call: &Call, desk: Arc<dyn Desk>) -> Outcome<Answer> {
        let started = Instant::now();
        let asked = async {
            let (pool, means) = self.pool.as_ref().map_err(|why| Failure::trap(&**why))?;
            let mut instance = pool.lend().await?;
            instance.ask(ask, Running::new(means.clone(), call, desk)).await
        };
        let (name, outcome) = match asked.await {
            Ok((Answer::Refused { .. }, effects)) if faults::on(Fault::ErrCounts) => {
                ("done", Outcome::Done(Answer::Heard, effects))
            }
            Ok((Answer::Refused { retry, text }, _)) => ("refused", Outcome::Refused { retry, text }),
            Ok((answer, effects)) => ("done", Outcome::Done(answer, effects)),
            Err(Failure { how, why, .. }) => {
                let text = format!("host: {} of `{}`: {why}", how.name(), hook.name());
                self.private.log("error", &self.version, &text);
                (how.name(), Outcome::Failed { how, why })
            }
        };
        self.metrics.actors.called(&self.id, &self.version, hook, name, started.elapsed());
        outcome
    }
}

/// The answer of the hook that was asked; any other would be the host's own mistake.
fn expect<T>(outcome: Outcome<Answer>, pick: impl FnOnce(Answer) -> Option<T>) -> Outcome<T> {
    match outcome {
        Outcome::Done(answer, effects) => match pick(answer) {
            Some(answer) => Outcome::Done(answer, effects),
            None => Outcome::Failed { how: Decision::Trap, why: "it answered another hook".to_owned() },
        },
        Outcome::Refused { retry, text } => Outcome::Refused { retry, text },
        Outcome::Failed { how, why } => Outcome::Failed { how, why },
    }
}

#[async_trait]
impl Actor for Seated {
    fn id(&self) -> &str {
        &self.id
    }

    fn version(&self) -> &str {
        &self.version
    }

    fn hooks(&self) -> &[Hook] {
        &self.served.hooks
    }

    fn events(&self) -> &[EventKind] {
        &self.served.events
    }

    fn may(&self, capability: &str) -> bool {
        self.grants.may(capability)
    }

    fn suspended(&self) -> Option<String> {
        self.pool.as_ref().err().map(|why| why.to_string())
    }

    fn commands(&self) -> &[CommandSpec] {
        &self.served.commands
    }

    fn kinds(&self) -> &[String] {
        &self.served.kinds
    }

    async fn on_event(&self, call: &Call, event: &Event, desk: Arc<dyn Desk>) -> Outcome<()> {
        let outcome = self.call(Hook::Bot, Ask::Event(event), call, desk).await;
        expect(outcome, |answer| (answer == Answer::Heard).then_some(()))
    }

    async fn run(&self, call: &Call, invocation: &Invocation, desk: Arc<dyn Desk>) -> Outcome<Reply> {
        let outcome = self.call(Hook::Command, Ask::Run(invocation), call, desk).await;
        expect(outcome, |answer| if let Answer::Reply(reply) = answer { Some(reply) } else { None })
    }

    async fn handle(&self, call: &Call, request: &Request, desk: Arc<dyn Desk>) -> Outcome<Response> {
        let outcome = self.call(Hook::Inbound, Ask::Handle(request), call, desk).await;
        expect(outcome, |answer| if let Answer::Response(response) = answer { Some(response) } else { None })
    }

    async fn notify(
        &self,
        call: &Call,
        notification: &Notification,
        desk: Arc<dyn Desk>,
    ) -> Outcome<Notified> {
        let outcome = self.call(Hook::Notifier, Ask::Notify(notification), call, desk).await;
        expect(outcome, |answer| if let Answer::Notified(notified) = answer { Some(notified) } else { None })
    }

    fn committed(&self, writes: &[KvWrite]) {
        if faults::on(Fault::StateStale) {
            return;
        }
        let limit = self.options.actors.state_mib_max;
        if !self.private.kv.apply(writes, self.private.now(), mib(limit)) {
            let text = format!("host: `kv` has more than {limit} MiB; what is beyond is not seen by `state`");
            self.private.log("warn", &self.version, &text);
        }
    }
}
