//! A version that is shown what the active one is shown, and whose verdicts are compared and dropped.
//!
//! It owns the queue between messages and the comparison, the one instance in which the candidate runs, and what the
//! comparison showed. A sender never waits for it: what the queue cannot take is counted and not compared. Its `rate`
//! counters are its own. It keeps no text of a message, only what was decided about it.

use crate::{
    answer::Answer,
    bindings::Told,
    faults::{self, Fault},
    hooks::{Question, Subject},
    instance::{Blueprint, Failure, Instance},
    options::Options,
};
use godwit_domain::{
    filter::{Decision, Hook, Scene},
    id::UserId,
    message::Content,
    plugin::{Comparison, Difference, Pair, Release},
    time::Clock,
};
use parking_lot::Mutex;
use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Weak},
    time::Instant,
};
use tokio::{runtime::Handle, sync::mpsc};

/// Differences that are kept.
const DIFFERENCES_MAX: usize = 50;

/// A version in the shadow of the active one.
pub(crate) struct Shadow {
    release: Arc<Release>,
    queue: mpsc::Sender<Sample>,
    seen: Arc<Seen>,
}

/// What the active version was asked, and what it said.
struct Sample {
    hook: Hook,
    scene: Scene,
    content: Content,
    active: Said,
}

/// What a version said, as far as it is compared.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Said {
    decision: Decision,
    /// The code of a reason.
    code: Option<String>,
    /// Text and mentions of a rewrite; compared, never kept.
    rewrite: Option<(String, Vec<UserId>)>,
}

impl Said {
    fn of(answer: &Result<Answer, Failure>) -> Self {
        let (decision, code, rewrite) = match answer {
            Ok(Answer::Allow) => (Decision::Allow, None, None),
            Ok(Answer::Rewrite { body, mentions }) => {
                (Decision::Rewrite, None, Some((body.clone(), mentions.clone())))
            }
            Ok(Answer::Reject(reason)) => (Decision::Reject, Some(reason.code.clone()), None),
            Ok(Answer::Hold(reason)) => (Decision::Hold, Some(reason.code.clone()), None),
            Ok(other) => (other.decision(), None, None),
            Err(failure) => (failure.how, None, None),
        };
        Self { decision, code, rewrite }
    }

    fn shown(&self) -> String {
        match &self.code {
            Some(code) => format!("{} {code}", self.decision.name()),
            None => self.decision.name().to_owned(),
        }
    }
}

/// What the comparison showed.
struct Seen {
    clock: Arc<dyn Clock>,
    results: Mutex<Results>,
}

#[derive(Default)]
struct Results {
    comparison: Comparison,
    pairs: BTreeMap<(&'static str, &'static str, &'static str, bool), u64>,
    differences: VecDeque<Difference>,
    micros: u64,
}

impl Shadow {
    /// Begins to compare; it ends when this is dropped. `blueprint` is the candidate's, with counters of its own.
    pub(crate) fn start(
        release: Arc<Release>,
        blueprint: Arc<Blueprint>,
        first: Instance,
        clock: Arc<dyn Clock>,
        options: &Options,
        runtime: &Handle,
    ) -> Arc<Self> {
        let (queue, samples) = mpsc::channel(options.shadow_queue_max.max(1) as usize);
        let results = Results {
            comparison: Comparison { since: clock.now(), ..Comparison::default() },
            ..Results::default()
        };
        let seen = Arc::new(Seen { clock, results: Mutex::new(results) });
        runtime.spawn(run(blueprint, first, samples, Arc::downgrade(&seen)));
        Arc::new(Self { release, queue, seen })
    }

    pub(crate) fn is_of(&self, release: &Release) -> bool {
        *self.release == *release
    }

    pub(crate) fn serves(&self, hook: Hook) -> bool {
        self.release.hooks.contains(&hook)
    }

    /// Shows it what the active version was asked. It costs a copy, and never waits.
    ///
    /// Compared is what decides about messages: their text, and whether people may read it.
    pub(crate) fn offer(&self, question: Question<'_>, scene: &Scene, answer: &Result<Answer, Failure>) {
        if faults::on(Fault::ShadowBlind) {
            return;
        }
        let hook = question.hook();
        let (Question::Normalise(content) | Question::Review(Subject::Message(content))) = question else {
            return;
        };
        match self.queue.try_reserve() {
            Ok(place) => {
                let (scene, content) = (scene.clone(), content.clone());
                place.send(Sample { hook, scene, content, active: Said::of(answer) });
            }
            Err(_) => self.seen.results.lock().comparison.dropped += 1,
        }
    }

    /// What the comparison has shown.
    pub(crate) fn comparison(&self) -> Comparison {
        let results = self.seen.results.lock();
        let pair = |(&(hook, active, candidate, agree), &count): (&_, &_)| {
            let (hook, active, candidate) =
                (String::from(hook), String::from(active), String::from(candidate));
            Pair { hook, active, candidate, agree, count }
        };
        let compared = results.comparison.agreed + results.comparison.differed;
        Comparison {
            pairs: results.pairs.iter().map(pair).collect(),
            differences: results.differences.iter().cloned().collect(),
            micros_mean: results.micros.checked_div(compared).unwrap_or_default(),
            ..results.comparison.clone()
        }
    }
}

async fn run(
    blueprint: Arc<Blueprint>,
    first: Instance,
    mut samples: mpsc::Receiver<Sample>,
    seen: Weak<Seen>,
) {
    let mut instance = Some(first);
    while let Some(sample) = samples.recv().await {
        let Some(seen) = seen.upgrade() else { break };
        let Sample { hook, scene, content, active } = sample;
        if !blueprint.hooks.contains(&hook) {
            // What it does not serve, it leaves as it is.
            seen.note((hook, &scene, &content), &active, &Said::of(&Ok(Answer::Allow)), 0);
            continue;
        }
        let started = Instant::now();
        let answer = ask(&blueprint, &mut instance, hook, &scene, &content).await;
        let micros = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX);
        seen.note((hook, &scene, &content), &active, &Said::of(&answer), micros);
    }
}

async fn ask(
    blueprint: &Arc<Blueprint>,
    instance: &mut Option<Instance>,
    hook: Hook,
    scene: &Scene,
    content: &Content,
) -> Result<Answer, Failure> {
    let mut lent = match instance.take() {
        Some(instance) => instance,
        None => Instance::make(blueprint.clone()).await?,
    };
    let mut cpu_ms = blueprint.options.call_cpu_ms;
    let question = match hook {
        Hook::Normalise => Question::Normalise(content),
        _ => Question::Review(Subject::Message(content)),
    };
    let answer = lent.ask(&Told::new(scene), question, Instant::now(), &mut cpu_ms).await;
    if lent.usable() && !lent.worn() {
        *instance = Some(lent);
    }
    answer
}

impl Seen {
    fn note(&self, asked: (Hook, &Scene, &Content), active: &Said, candidate: &Said, micros: u64) {
        let (hook, scene, content) = asked;
        let agree = active == candidate;
        let mut results = self.results.lock();
        let pair = (hook.name(), active.decision.name(), candidate.decision.name(), agree);
        *results.pairs.entry(pair).or_default() += 1;
        results.micros += micros;
        if agree {
            results.comparison.agreed += 1;
            return;
        }
        results.comparison.differed += 1;
        if results.differences.len() >= DIFFERENCES_MAX {
            results.differences.pop_front();
        }
        results.differences.push_back(Difference {
            at: self.clock.now(),
            conversation: scene.conversation.as_ref().map(|place| place.id),
            hook: hook.name().to_owned(),
            active: active.shown(),
            // Why a trap came is not told: its text may quote what the plugin was shown.
            candidate: candidate.shown(),
            body_bytes: content.body.len() as u64,
        });
    }
}
