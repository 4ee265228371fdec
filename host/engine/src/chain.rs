//! The filters in their order: one immutable snapshot, by which a message is judged from its first hook to its last.
//!
//! It owns the way a message takes through the hooks and what each failure means; it refuses to know how plugins
//! come and go. A snapshot that was replaced lives until the last message that pinned it is judged.
//! What comes after the number, who is told and with what attention, is in [`deliver`].

mod deliver;

use crate::{
    answer::Answer,
    bindings::Told,
    faults::{self, Fault},
    hooks::{Question, Subject},
    instance::Failure,
    options::Options,
    poison::Print,
    pool::Turn,
    seat::{Seat, Version, poisonous},
};
use async_trait::async_trait;
use godwit_domain::{
    filter::{
        Attention, Audience, Chain, Decision, Facts, Hook, Judgement, Place, Reason, Recipient, Review,
        Scene, Spent, Step, Verdict, Wording,
    },
    id::{Generation, UserId},
    message::{Content, Message},
    plugin::OnOpen,
};
use std::time::{Duration, Instant};
use uuid::Uuid;

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
    fan_out: Vec<u16>,
    delivery: Vec<u16>,
    chain_cpu_ms: u32,
    deliver_cpu_ms: u32,
}

impl Snapshot {
    pub(crate) fn new(generation: Generation, seats: Vec<Seat>, options: &Options) -> Self {
        let mut order: Vec<u16> = (0..=u16::MAX).take(seats.len()).collect();
        // By id already, which the sort keeps among equals.
        if !faults::on(Fault::PriorityIgnored) {
            order.sort_by_key(|place| seats[usize::from(*place)].priority());
        }
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
        Self {
            canaries: seats.iter().map(place).collect(),
            generation,
            normalise: serving(Hook::Normalise),
            moderation: serving(Hook::Moderation),
            fan_out: serving(Hook::FanOut),
            delivery: serving(Hook::Delivery),
            chain_cpu_ms: options.chain_cpu_ms,
            deliver_cpu_ms: options.deliver_cpu_ms,
            seats,
        }
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

    fn seat(&self, place: u16) -> &Seat {
        &self.seats[usize::from(place)]
    }

    fn serving(&self, hook: Hook) -> &[u16] {
        match hook {
            Hook::Normalise => &self.normalise,
            Hook::Moderation => &self.moderation,
            Hook::FanOut => &self.fan_out,
            Hook::Delivery => &self.delivery,
        }
    }

    /// A pass on the way to a number.
    fn pass<'a>(&self, scene: &'a Scene, calls: usize) -> Pass<'a> {
        Pass::new(scene, scene.sender.id.0, self.chain_cpu_ms, calls)
    }

    /// Asks one plugin, and counts and writes down what it came to. Outside its scope it is as if it had nothing to say.
    ///
    /// # Errors
    /// How it failed, of which its log tells more.
    async fn ask(&self, place: u16, question: Question<'_>, pass: &mut Pass<'_>) -> Result<Answer, Decision> {
        let (seat, hook) = (self.seat(place), question.hook());
        let scene = pass.told.told();
        let Some((version, canary)) = seat.route(scene.conversation.as_ref()) else {
            return Ok(Answer::Allow);
        };
        if !version.release.hooks.contains(&hook) {
            // A version beside it serves the hook.
            if let Some(shadow) = seat.shadow() {
                shadow.offer(question, scene, &Ok(Answer::Allow));
            }
            return Ok(Answer::Allow);
        }
        let answer = version.ask(question, pass).await;
        let took = pass.lap();
        if let Some(shadow) = seat.shadow() {
            shadow.offer(question, scene, &answer);
        }
        let answer = answer.map_err(|failure| {
            version.note(&seat.private, hook, &failure);
            failure.how
        });
        let decision = answer.as_ref().map_or_else(|how| *how, Answer::decision);
        version.meter.called(hook, decision, took);
        let plugin = if canary { self.canaries[usize::from(place)] } else { place };
        pass.steps.push(Step { plugin, hook, decision, micros: micros(took) });
        answer
    }

    /// Asks all who moderate, until one has the last word.
    async fn moderate(&self, subject: Subject<'_>, pass: &mut Pass<'_>) -> Found {
        // The first that wants a person to look at it, and the first failure for which it is to be held: a later
        // plugin may still refuse it.
        let (mut held, mut unheard) = (None, None);
        for place in &self.moderation {
            match self.ask(*place, Question::Review(subject), pass).await {
                Ok(Answer::Reject(_)) if faults::on(Fault::FirstRejectGoesOn) => {}
                Ok(Answer::Reject(reason)) => return Found::Reject(*place, reason),
                Ok(Answer::Hold(reason)) => drop(held.get_or_insert((*place, reason))),
                Ok(_) => {}
                Err(_) if faults::on(Fault::FailureAllows) => {}
                Err(Decision::Poison) => return Found::Reject(*place, poisonous()),
                Err(how) => match self.seat(*place).unjudged(pass.told.told().conversation.as_ref(), how) {
                    OnOpen::Hold if matches!(subject, Subject::Message(_)) => {
                        unheard.get_or_insert((*place, how));
                    }
                    OnOpen::Hold | OnOpen::Reject => return Found::Failed(*place, how),
                    OnOpen::Allow => {}
                },
            }
        }
        match (unheard, held) {
            // A person cannot stand in for a plugin that was not heard: it is asked again first.
            (Some((place, how)), _) => Found::Unheard(place, how),
            (None, Some((place, reason))) => Found::Hold(place, reason),
            (None, None) => Found::Allow,
        }
    }

    fn name(&self, place: u16) -> String {
        self.seat(place).id.to_string()
    }

    fn judgement(&self, found: Found, content: Content) -> Judgement {
        let failed = |place, how, held| Judgement::Failed {
            plugin: self.name(place),
            hook: Hook::Moderation,
            how,
            held,
        };
        match found {
            Found::Allow => Judgement::Allow(content),
            Found::Reject(place, reason) => Judgement::Reject { plugin: self.name(place), reason },
            Found::Hold(place, reason) => Judgement::Hold { plugin: self.name(place), reason, content },
            Found::Failed(place, how) => failed(place, how, None),
            Found::Unheard(place, how) => failed(place, how, Some(content)),
        }
    }
}

/// What moderation came to, and by whose word.
enum Found {
    Allow,
    Reject(u16, Reason),
    Hold(u16, Reason),
    /// It could not be judged, and is refused.
    Failed(u16, Decision),
    /// It could not be judged, and is to be held.
    Unheard(u16, Decision),
}

/// What the calls for one message share.
struct Pass<'a> {
    told: Told<'a>,
    /// Whose turn they take.
    whose: Uuid,
    /// What is left of their budget.
    cpu_ms: u32,
    /// When the next one begins: as the one before ends, so that the clock is read once for each.
    now: Instant,
    steps: Vec<Step>,
}

impl<'a> Pass<'a> {
    fn new(scene: &'a Scene, whose: Uuid, cpu_ms: u32, calls: usize) -> Self {
        Self { told: Told::new(scene), whose, cpu_ms, now: Instant::now(), steps: Vec::with_capacity(calls) }
    }

    /// A call ended; how long it took.
    fn lap(&mut self) -> Duration {
        let began = std::mem::replace(&mut self.now, Instant::now());
        self.now - began
    }
}

impl Version {
    async fn ask(&self, question: Question<'_>, pass: &mut Pass<'_>) -> Result<Answer, Failure> {
        let (whose, hook) = (pass.whose, question.hook());
        let call = self.health.admit(hook, UserId(whose), || Print::of(self.print, question))?;
        let pool = self.pool.as_ref().map_err(|why| Failure::trap(&**why))?;
        if faults::on(Fault::ChainUnbounded) {
            pass.cpu_ms = pool.call_cpu_ms();
        }
        if pass.cpu_ms == 0 {
            let why = "the filters before it used up the CPU time of the whole chain";
            return Err(Failure::deadline(why));
        }
        let whole = pass.cpu_ms >= pool.call_cpu_ms();
        let mut instance = pool.lend(Turn { whose, hook }).await?;
        let answer = instance.ask(&pass.told, question, pass.now, &mut pass.cpu_ms).await;
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
        [&self.normalise, &self.moderation, &self.fan_out, &self.delivery]
            .iter()
            .all(|places| places.is_empty())
    }

    fn reviews(&self) -> bool {
        !self.moderation.is_empty()
    }

    fn rewrites(&self) -> bool {
        !self.normalise.is_empty()
    }

    async fn judge(
        &self,
        scene: &Scene,
        mut content: Content,
        original: Option<&Message>,
    ) -> (Judgement, Verdict) {
        let mut pass = self.pass(scene, self.normalise.len() + self.moderation.len());
        let generation = match faults::on(Fault::GenerationOff) {
            true => self.generation.next(),
            false => self.generation,
        };
        let verdict = |pass: Pass<'_>| Verdict { generation, steps: pass.steps };
        for place in &self.normalise {
            match self.ask(*place, Question::Normalise(&content), &mut pass).await {
                Ok(Answer::Rewrite { body, mentions }) => {
                    content.body = body;
                    content.mentions = mentions;
                }
                Ok(Answer::Reject(reason)) => {
                    return (Judgement::Reject { plugin: self.name(*place), reason }, verdict(pass));
                }
                // After a failure the text stays as it was; moderation sees it and decides.
                Ok(_) | Err(_) => {}
            }
        }
        let subject = match original {
            None => Subject::Message(&content),
            Some(original) => Subject::Edit { original, content: &content },
        };
        let found = self.moderate(subject, &mut pass).await;
        (self.judgement(found, content), verdict(pass))
    }

    async fn review(&self, scene: &Scene, wording: Wording<'_>) -> Review {
        let mut pass = self.pass(scene, self.moderation.len());
        match self.moderate(Subject::Wording(wording), &mut pass).await {
            Found::Allow => Review::Allow,
            Found::Reject(place, reason) => Review::Reject { plugin: self.name(place), reason },
            Found::Hold(place, reason) => Review::Hold { plugin: self.name(place), reason },
            Found::Failed(place, how) | Found::Unheard(place, how) => {
                Review::Failed { plugin: self.name(place), how }
            }
        }
    }

    fn serves(&self, hook: Hook, place: &Place) -> bool {
        self.serving(hook).iter().any(|seat| self.seat(*seat).route(Some(place)).is_some())
    }

    fn wants_members(&self, place: &Place) -> bool {
        self.fan_out.iter().any(|seat| deliver::may_see_members(self.seat(*seat), Some(place)))
    }

    async fn choose(
        &self,
        scene: &Scene,
        message: &Message,
        facts: &Facts,
        spent: &mut Spent,
    ) -> Option<Audience> {
        deliver::choose(self, scene, message, facts, spent).await
    }

    async fn decide(
        &self,
        scene: &Scene,
        message: &Message,
        recipients: &[Recipient],
        spent: &mut Spent,
    ) -> Vec<Attention> {
        deliver::decide(self, scene, message, recipients, spent).await
    }
}

fn micros(took: Duration) -> u32 {
    u32::try_from(took.as_micros()).unwrap_or(u32::MAX)
}
