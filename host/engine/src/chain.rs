//! The filters in their order: one immutable snapshot, by which a message is judged from its first hook to its last.
//!
//! It owns the way a message takes through the hooks and what each failure means; it refuses to know how plugins
//! come and go. A snapshot that was replaced lives until the last message that pinned it is judged.

use crate::{
    actor::Seated,
    answer::Answer,
    bindings::Told,
    instance::Failure,
    metrics::Meter,
    pool::{Pool, Turn},
    services::Private,
};
use async_trait::async_trait;
use godwit_domain::{
    filter::{Chain, Decision, Hook, Judgement, Reason, Scene, Step, Verdict},
    id::Generation,
    message::Content,
    plugin::{Installation, OnFailure, Release},
};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

/// A plugin in its place.
#[derive(Clone)]
pub(crate) struct Seat {
    pub(crate) id: Arc<str>,
    pub(crate) installation: Arc<Installation>,
    pub(crate) private: Arc<Private>,
    pub(crate) meter: Arc<Meter>,
    /// Where its instances are; or why there are none, in which case it counts as trapped: what must be heard and
    /// cannot be lets nothing through.
    pub(crate) pool: Result<Arc<Pool>, Arc<str>>,
    /// What it is as an actor, if it is one.
    pub(crate) actor: Option<Arc<Seated>>,
}

/// One set of filters.
pub(crate) struct Snapshot {
    generation: Generation,
    /// In the order of the composition: by id.
    seats: Vec<Seat>,
    /// Places of the plugins that serve the hook, in the order in which they run.
    normalise: Vec<u16>,
    moderation: Vec<u16>,
    chain_cpu_ms: u32,
}

/// What a plugin's call left to do.
enum Next {
    Go,
    Stop(Judgement),
}

impl Snapshot {
    pub(crate) fn new(generation: Generation, seats: Vec<Seat>, chain_cpu_ms: u32) -> Self {
        let mut order: Vec<u16> = (0..=u16::MAX).take(seats.len()).collect();
        // By id already, which the sort keeps among equals.
        order.sort_by_key(|place| seats[usize::from(*place)].release().priority);
        let serving = |hook| {
            let serves = |place: &u16| seats[usize::from(*place)].release().hooks.contains(&hook);
            order.iter().copied().filter(serves).collect()
        };
        let (normalise, moderation) = (serving(Hook::Normalise), serving(Hook::Moderation));
        Self { generation, normalise, moderation, seats, chain_cpu_ms }
    }

    /// All plugins, in the order in which they run.
    pub(crate) fn ordered(&self) -> Vec<&Seat> {
        let mut seats: Vec<&Seat> = self.seats.iter().collect();
        seats.sort_by_key(|seat| seat.release().priority);
        seats
    }

    /// All plugins, by id.
    pub(crate) fn seats(&self) -> &[Seat] {
        &self.seats
    }

    /// Asks one plugin, and writes down what it came to.
    async fn ask(&self, place: u16, hook: Hook, pass: &mut Pass<'_>) -> Next {
        let seat = &self.seats[usize::from(place)];
        let started = Instant::now();
        let answer = seat.ask(hook, pass).await;
        let took = started.elapsed();
        let (decision, next) = match answer {
            Ok(Answer::Allow) => (Decision::Allow, Next::Go),
            Ok(Answer::Rewrite { body, mentions }) => {
                pass.content.body = body;
                pass.content.mentions = mentions;
                (Decision::Rewrite, Next::Go)
            }
            Ok(Answer::Reject(reason)) => (Decision::Reject, Next::Stop(rejected(seat, reason))),
            Ok(Answer::Hold(reason)) => {
                // A later plugin may still refuse it.
                pass.held.get_or_insert((place, reason));
                (Decision::Hold, Next::Go)
            }
            Err(Failure { how, why }) => {
                let text = format!("host: {} of `{}`: {why}", how.name(), hook.name());
                seat.private.log("error", &seat.release().version, &text);
                let next = match hook {
                    // The text stays as it was; moderation sees it and decides.
                    Hook::Normalise | Hook::FanOut | Hook::Delivery => Next::Go,
                    Hook::Moderation => match seat.release().on_failure {
                        OnFailure::Reject => Next::Stop(failed(seat, hook, how, None)),
                        OnFailure::Hold => {
                            pass.failed.get_or_insert((place, hook, how));
                            Next::Go
                        }
                    },
                };
                (how, next)
            }
        };
        seat.meter.called(hook, decision, took);
        pass.verdict.steps.push(Step { plugin: place, hook, decision, micros: micros(took) });
        next
    }
}

/// A message on its way through the filters.
struct Pass<'a> {
    scene: &'a Scene,
    told: Told<'a>,
    content: Content,
    cpu_ms: u32,
    verdict: Verdict,
    /// The first plugin that wants a person to look at it, and why.
    held: Option<(u16, Reason)>,
    /// The first failure for which it is to be held.
    failed: Option<(u16, Hook, Decision)>,
}

impl Seat {
    pub(crate) fn new(
        installation: &Installation,
        private: Arc<Private>,
        meter: Arc<Meter>,
        pool: Result<Arc<Pool>, Arc<str>>,
    ) -> Self {
        Self {
            id: installation.id.as_str().into(),
            installation: Arc::new(installation.clone()),
            private,
            meter,
            pool,
            actor: None,
        }
    }

    /// The same seat with what sits in it as an actor.
    pub(crate) fn acting(self, actor: Option<Arc<Seated>>) -> Self {
        Self { actor, ..self }
    }

    pub(crate) fn release(&self) -> &Release {
        &self.installation.active
    }

    async fn ask(&self, hook: Hook, pass: &mut Pass<'_>) -> Result<Answer, Failure> {
        let pool = self.pool.as_ref().map_err(|why| Failure::trap(&**why))?;
        if pass.cpu_ms == 0 {
            let why = "the filters before it used up the CPU time of the whole chain".to_owned();
            return Err(Failure { how: Decision::Deadline, why });
        }
        let mut instance = pool.lend(Turn { user: pass.scene.sender.id, hook }).await?;
        instance.ask(hook, &pass.told, &pass.content, &mut pass.cpu_ms).await
    }
}

#[async_trait]
impl Chain for Snapshot {
    fn generation(&self) -> Generation {
        self.generation
    }

    fn is_empty(&self) -> bool {
        self.normalise.is_empty() && self.moderation.is_empty()
    }

    fn rewrites(&self) -> bool {
        !self.normalise.is_empty()
    }

    async fn judge(&self, scene: &Scene, content: Content) -> (Judgement, Verdict) {
        let steps = Vec::with_capacity(self.normalise.len() + self.moderation.len());
        let verdict = Verdict { generation: self.generation, steps };
        let (told, cpu_ms) = (Told::new(scene), self.chain_cpu_ms);
        let mut pass = Pass { scene, told, content, cpu_ms, verdict, held: None, failed: None };
        for (hook, places) in [(Hook::Normalise, &self.normalise), (Hook::Moderation, &self.moderation)] {
            for place in places {
                if let Next::Stop(judgement) = self.ask(*place, hook, &mut pass).await {
                    return (judgement, pass.verdict);
                }
            }
        }
        let Pass { content, verdict, held, .. } = pass;
        let seat = |place| &self.seats[usize::from(place)];
        let judgement = match (pass.failed, held) {
            // A person cannot stand in for a plugin that was not heard: it is asked again first.
            (Some((place, hook, how)), _) => failed(seat(place), hook, how, Some(content)),
            (None, Some((place, reason))) => {
                Judgement::Hold { plugin: seat(place).id.to_string(), reason, content }
            }
            (None, None) => Judgement::Allow(content),
        };
        (judgement, verdict)
    }
}

fn rejected(seat: &Seat, reason: Reason) -> Judgement {
    Judgement::Reject { plugin: seat.id.to_string(), reason }
}

fn failed(seat: &Seat, hook: Hook, how: Decision, held: Option<Content>) -> Judgement {
    Judgement::Failed { plugin: seat.id.to_string(), hook, how, held }
}

fn micros(took: Duration) -> u32 {
    u32::try_from(took.as_micros()).unwrap_or(u32::MAX)
}
