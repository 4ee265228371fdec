//! The filters in their order: one immutable snapshot, by which a message is judged from its first hook to its last.
//!
//! It owns the way a message takes through the hooks and what each failure means; it refuses to know how plugins
//! come and go. A snapshot that was replaced lives until the last message that pinned it is judged.

use crate::{
    answer::Answer,
    bindings::Told,
    instance::Failure,
    poison::Print,
    pool::Turn,
    seat::{Seat, Version, poisonous},
};
use async_trait::async_trait;
use godwit_domain::{
    filter::{Chain, Decision, Hook, Judgement, Reason, Scene, Step, Verdict},
    id::Generation,
    message::Content,
    plugin::OnOpen,
};
use std::time::{Duration, Instant};

/// One set of filters.
pub(crate) struct Snapshot {
    generation: Generation,
    /// In the order of the composition: by id.
    seats: Vec<Seat>,
    /// Where the composition has each seat's canary: after the active versions. Of a seat without one, where the next
    /// one would be.
    canaries: Vec<u16>,
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
        order.sort_by_key(|place| seats[usize::from(*place)].priority());
        let serving = |hook| {
            let serves = |place: &u16| seats[usize::from(*place)].serves(hook);
            order.iter().copied().filter(serves).collect()
        };
        let mut next = seats.len() as u16;
        let place = |seat: &Seat| {
            let place = next;
            next += u16::from(seat.installation.canary().is_some());
            place
        };
        let canaries = seats.iter().map(place).collect();
        let (normalise, moderation) = (serving(Hook::Normalise), serving(Hook::Moderation));
        Self { generation, normalise, moderation, seats, canaries, chain_cpu_ms }
    }

    /// All plugins, in the order in which they run.
    pub(crate) fn ordered(&self) -> Vec<&Seat> {
        let mut seats: Vec<&Seat> = self.seats.iter().collect();
        seats.sort_by_key(|seat| seat.priority());
        seats
    }

    /// All plugins, by id.
    pub(crate) fn seats(&self) -> &[Seat] {
        &self.seats
    }

    /// Asks one plugin, and writes down what it came to.
    async fn ask(&self, place: u16, hook: Hook, pass: &mut Pass<'_>) -> Next {
        let seat = &self.seats[usize::from(place)];
        let Some((version, canary)) = seat.route(pass.scene.conversation.as_ref()) else { return Next::Go };
        if !version.release.hooks.contains(&hook) {
            // A version beside it serves the hook.
            if let Some(shadow) = seat.shadow() {
                shadow.offer(hook, pass.scene, &pass.content, &Ok(Answer::Allow));
            }
            return Next::Go;
        }
        let (started, cpu_ms) = (Instant::now(), pass.cpu_ms);
        let answer = version.ask(hook, pass).await;
        let took = started.elapsed();
        if let Some(shadow) = seat.shadow() {
            shadow.offer(hook, pass.scene, &pass.content, &answer);
        }
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
            Err(failure) => {
                version.note(&seat.private, hook, &failure);
                let how = failure.how;
                let next = match (hook, how) {
                    // The text stays as it was; moderation sees it and decides.
                    (Hook::Normalise, _) => Next::Go,
                    (Hook::Moderation, Decision::Poison) => Next::Stop(rejected(seat, poisonous())),
                    (Hook::Moderation, _) => match seat.unjudged(version, how) {
                        OnOpen::Reject => Next::Stop(failed(seat, hook, how, None)),
                        OnOpen::Hold => {
                            pass.failed.get_or_insert((place, hook, how));
                            Next::Go
                        }
                        OnOpen::Allow => Next::Go,
                    },
                };
                (how, next)
            }
        };
        version.meter.called(hook, decision, took, cpu_ms - pass.cpu_ms);
        let plugin = if canary { self.canaries[usize::from(place)] } else { place };
        pass.verdict.steps.push(Step { plugin, hook, decision, micros: micros(took) });
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

impl Version {
    async fn ask(&self, hook: Hook, pass: &mut Pass<'_>) -> Result<Answer, Failure> {
        let sender = pass.scene.sender.id;
        let Pass { content, cpu_ms, told, .. } = pass;
        let call = self.health.admit(hook, sender, || Print::of(self.print, hook, content))?;
        let pool = self.pool.as_ref().map_err(|why| Failure::trap(&**why))?;
        if *cpu_ms == 0 {
            let why = "the filters before it used up the CPU time of the whole chain";
            return Err(Failure::deadline(why));
        }
        let whole = *cpu_ms >= pool.call_cpu_ms();
        let mut instance = pool.lend(Turn { user: sender, hook }).await?;
        let answer = instance.ask(hook, told, content, cpu_ms).await;
        match &answer {
            Ok(_) => call.answered(),
            // What the plugins before it left was not enough for it: that says nothing about this one.
            Err(failure) if failure.how == Decision::Deadline && !whole => {}
            Err(failure) => call.broke(failure.how),
        }
        answer
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
