//! The workbench of authors: a plugin in the real engine, with every limit on, in a world that a test makes up.
//!
//! It owns how scenarios are played and what is measured meanwhile; it refuses to know where files are and how results
//! are shown. Instances are thrown away at random, because a host may do so between any two calls: a plugin that keeps
//! in memory what matters is found out here. The seed makes a run repeatable.
//!
//! Start with [`Workbench::play`]; `scenario` is the file format, `world` what plugins reach, `usage` what they used.

mod scenario;
mod usage;
mod world;

pub use scenario::{SCENARIO_BYTES_MAX, Scenario};
pub use usage::Usage;

use crate::{
    Error, Options, Program,
    actor::{
        self,
        answer::Answer,
        http::Client,
        instance::{Blueprint as ActorBlueprint, Instance as ActorInstance},
        manifest::Test as ActorTest,
        rehearsal::{self as actors, Setting},
    },
    compile, instance,
    instance::{Failure, Instance},
    manifest::{self, Expect, Test},
    metrics::{Meter as Detached, Metrics},
    options::mib,
    package, rehearsal, runtime,
    services::Private,
    stage::{Candidate, Ready, Stage},
};
use godwit_domain::{
    actor::Hook as ActorHook,
    conversation::Role,
    filter::{Activity, Decision, Hook, Scene},
    plugin::{self, LogLine},
    time::{Clock, Ms},
    user::User,
};
use scenario::{Asked, Person, Step, Time};
use std::{
    collections::HashMap,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::sync::Semaphore;
use usage::{Call, Meter};
use world::World;

/// Before which share of the calls the instance is thrown away: one in so many.
const THROW_AWAY_ONE_IN: u64 = 3;

/// A plugin to be tested.
#[derive(Debug, Clone, Copy)]
pub struct Plugin<'a> {
    /// Its manifest.
    pub manifest: &'a str,
    /// Its component.
    pub component: &'a [u8],
    /// The configuration for scenarios without one of their own, as JSON.
    pub config: &'a str,
}

/// What came of a scenario.
#[derive(Debug, Clone)]
pub struct Played {
    /// The scenario's name.
    pub name: String,
    /// Its steps, in order; those that were not reached are not there.
    pub steps: Vec<Outcome>,
}

/// What came of a step.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// What it is about.
    pub title: String,
    /// Which hook it asks.
    pub hook: &'static str,
    /// What came instead of what it wants to see.
    pub problem: Option<String>,
    /// What the plugin logged, and the host about it.
    pub log: Vec<LogLine>,
    /// How long the call took.
    pub took: Duration,
}

/// A plugin in the real engine, in worlds of scenarios.
pub struct Workbench {
    stage: Stage,
    options: Arc<Options>,
    world: Arc<World>,
    http: Arc<Client>,
    places: Arc<Semaphore>,
    dice: Dice,
    meter: Meter,
    /// What was made ready, by digest and configuration.
    ready: HashMap<(plugin::Digest, String), Arc<Ready>>,
}

impl Workbench {
    /// Opens a workbench with the budgets of a host. `cache` is a folder for compiled components, `seed` decides when
    /// instances are thrown away. To be called within a tokio runtime with timers.
    pub fn open(options: Options, cache: &Path, compiler: Program, seed: u64) -> Result<Self, Error> {
        // The clock stands still while a test runs, so a second has any number of lines.
        let options = Arc::new(Options { log_lines_per_s: u32::MAX, ..options });
        let (world, metrics) = (World::new(), Arc::new(Metrics::default()));
        let engine = runtime::engine(&options)?;
        let cache = compile::cache::Cache::open(cache, &engine, mib(options.cache_mib) as u64)?;
        let compiler = compile::Compiler::new(engine.clone(), compiler, &options, cache, metrics.clone());
        let ticker = crate::ticker::Ticker::start(&engine)?;
        let clock: Arc<dyn Clock> = world.clock.clone();
        let (kv, secrets) = (world.clone(), world.clone());
        let actors = actor::stage::Stage::open(options.clone(), clock.clone(), metrics, kv, secrets)?;
        let stage = Stage::new(options.clone(), clock, &engine, ticker, compiler, actors)?;
        let http = Client::played(&options.actors.http, world.clone()).map_err(Error::Http)?;
        Ok(Self {
            stage,
            world,
            http: Arc::new(http),
            places: Arc::new(Semaphore::new(options.actors.instances_max.max(1) as usize)),
            dice: Dice(seed),
            meter: Meter::default(),
            ready: HashMap::new(),
            options,
        })
    }

    /// What a host would tell of this plugin when it is installed, short of asking it: warnings.
    ///
    /// # Errors
    /// All that keeps a host from taking it; the same that an operator would read.
    pub async fn stage(&mut self, plugin: &Plugin<'_>, config: &str) -> Result<Vec<String>, plugin::Error> {
        self.prepare(plugin, config).await.map(|ready| ready.warnings.clone())
    }

    async fn prepare(&mut self, plugin: &Plugin<'_>, config: &str) -> Result<Arc<Ready>, plugin::Error> {
        let digest = package::digest(plugin.component);
        let key = (digest, config.to_owned());
        if let Some(ready) = self.ready.get(&key) {
            return Ok(ready.clone());
        }
        let id = manifest::id(plugin.manifest).map_err(plugin::Error::Refused)?;
        let grants = manifest::all_asked(plugin.manifest);
        let Plugin { manifest, component, .. } = *plugin;
        let candidate = Candidate { id: &id, manifest, digest, component, config, grants: &grants };
        let ready = Arc::new(self.stage.prepare(&candidate).await?);
        self.ready.insert(key, ready.clone());
        Ok(ready)
    }

    /// The manifest's own tests as a scenario, if there are any.
    ///
    /// # Errors
    /// The manifest cannot be read.
    pub fn of_manifest(manifest: &str) -> Result<Option<Scenario>, plugin::Error> {
        let tests = manifest::tests(manifest).map_err(plugin::Error::Refused)?;
        match tests.is_empty() && tests.actors.is_empty() {
            true => Ok(None),
            false => Ok(Some(Scenario::of_manifest(&tests, &tests.actors))),
        }
    }

    /// Plays a scenario from its beginning, each step whatever came of the one before.
    ///
    /// # Errors
    /// A host would not take the plugin with this configuration.
    pub async fn play(&mut self, plugin: &Plugin<'_>, scenario: &Scenario) -> Result<Played, plugin::Error> {
        let config = scenario.config.as_deref().unwrap_or(plugin.config);
        let ready = self.prepare(plugin, config).await?;
        let scenario = Arc::new(scenario.clone());
        self.world.begin(scenario.clone());
        let mut run = Run::new(self, &ready, scenario.clone());
        let mut steps = Vec::new();
        'steps: for step in &scenario.steps {
            for n in 0..step.repeat {
                let mut outcome = run.step(step, n == 0).await;
                if step.repeat > 1 {
                    outcome.title = format!("{} ({} of {})", outcome.title, n + 1, step.repeat);
                }
                let stuck = run.stuck;
                steps.push(outcome);
                if stuck {
                    break 'steps;
                }
            }
        }
        Ok(Played { name: scenario.name.clone(), steps })
    }

    /// What was used in all that was played so far, by hook.
    pub fn usage(&self) -> Vec<Usage> {
        self.meter.usage(&self.options, &actor::manifest::HOOKS.map(|hook| hook.name()))
    }
}

/// A scenario that is played.
struct Run<'a> {
    bench: &'a mut Workbench,
    scenario: Arc<Scenario>,
    private: Arc<Private>,
    filters: Arc<instance::Blueprint>,
    actors: Option<Arc<ActorBlueprint>>,
    filter: Option<Instance>,
    actor: Option<ActorInstance>,
    /// The names of its commands, once they were asked.
    commands: Option<Vec<String>>,
    events: u64,
    /// Whether no instance can be made.
    stuck: bool,
}

/// What a call came to: what is wrong with it, and how long it took.
type Came = (Result<(), String>, Duration);

impl<'a> Run<'a> {
    fn new(bench: &'a mut Workbench, ready: &Ready, scenario: Arc<Scenario>) -> Self {
        let filters_of =
            |private: &Arc<Private>| ready.blueprint(private.clone(), Arc::new(Detached::detached()));
        let clock: Arc<dyn Clock> = bench.world.clock.clone();
        let private = Private::new(&ready.id, &bench.options, clock);
        private.kv.fill(bench.world.rows(), mib(bench.options.actors.state_mib_max));
        let actors = ready.actor.as_ref().map(|actor| {
            let private = private.of_actors(&bench.options);
            bench.stage.actors.blueprint(&ready.id, actor, private, Some(bench.http.clone()))
        });
        Self {
            filters: filters_of(&private),
            private,
            actors,
            bench,
            scenario,
            filter: None,
            actor: None,
            commands: None,
            events: 0,
            stuck: false,
        }
    }

    async fn step(&mut self, step: &Step, first: bool) -> Outcome {
        let clock = self.bench.world.clock.clone();
        match step.time {
            Some(Time::After(span)) => {
                clock.set(clock.now().plus(u64::try_from(span.as_millis()).unwrap_or(u64::MAX)));
            }
            Some(Time::At(at)) if first => clock.set(at),
            _ => {}
        }
        let logged = self.private.lines(0).last().map_or(0, |line| line.n);
        if self.bench.dice.one_in(THROW_AWAY_ONE_IN) {
            (self.filter, self.actor) = (None, None);
        }
        let (mut came, took) = match &step.test {
            Asked::Filter(test) => self.ask_filter(test, step).await,
            Asked::Actor(test) => self.ask_actor(test, step).await,
        };
        // What is left of its output is written when the instance goes.
        if self.filter.as_ref().is_some_and(|instance| !instance.usable()) {
            self.filter = None;
        }
        if self.actor.as_ref().is_some_and(|instance| !instance.usable()) {
            self.actor = None;
        }
        let log = self.private.lines(logged);
        let said = || log.iter().map(|line| line.text.as_str()).collect::<Vec<_>>().join("\n");
        let expected = match &step.test {
            Asked::Filter(test) => match &test.expect {
                Expect::Trap(part) => Some(part),
                _ => None,
            },
            Asked::Actor(test) => test.expect.trap.as_ref(),
        };
        if let (Ok(()), Some(part)) = (&came, expected.filter(|part| !said().contains(part.as_str()))) {
            came = Err(format!("it should break with {part:?} and said {:?}", said()));
        }
        if let (Ok(()), Some(part)) =
            (&came, step.log.as_ref().filter(|part| !said().contains(part.as_str())))
        {
            came = Err(format!("it should log {part:?} and logged {:?}", said()));
        }
        Outcome { title: step.title(), hook: step.hook(), problem: came.err(), log, took }
    }

    /// Who does what a step says.
    fn person(&self, step: &Step) -> (Arc<User>, Role, Option<Ms>) {
        let people = &self.scenario.people;
        let person = match &step.from {
            Some(name) => people.get(name),
            None => people.values().next(),
        };
        match person {
            Some(Person { user, role, member_since }) => (Arc::new(user.clone()), *role, Some(*member_since)),
            None => {
                let scene = rehearsal::scene(self.scenario.begin);
                let name = step.from.clone();
                let user = match name {
                    Some(name) => {
                        User { id: manifest::Who::named(&name).into(), name, ..User::clone(&scene.sender) }
                    }
                    None => User::clone(&scene.sender),
                };
                (Arc::new(user), Role::Member, Some(self.scenario.begin))
            }
        }
    }

    // ── filters ──

    async fn ask_filter(&mut self, test: &Test, step: &Step) -> Came {
        if !self.filters.hooks.contains(&test.hook) {
            let hook = test.hook.name();
            return (Err(format!("the plugin does not serve the hook `{hook}`")), Duration::ZERO);
        }
        if let Err(came) = self.make_filter().await {
            return came;
        }
        let now = test.now().unwrap_or_else(|| self.bench.world.clock.now());
        let (sender, role, member_since) = self.person(step);
        let attempted = test.sends().filter(|_| matches!(test.hook, Hook::Normalise | Hook::Moderation));
        let activity = match attempted {
            Some(body) => self.bench.world.attempt(sender.id, body, member_since),
            None => Activity { member_since, ..Default::default() },
        };
        let mut scene = Scene {
            now,
            conversation: Some(self.scenario.place.clone()),
            sender,
            sender_role: Some(role),
            activity: test.activity().unwrap_or(activity),
            via: None,
        };
        let mut test = test.clone();
        test.introduce(|name| {
            let person = self.scenario.people.get(name)?;
            Some((Some(person.role), person.user.time_zone.clone()))
        });
        let Some(instance) = &mut self.filter else { return unmade() };
        let mut cpu_ms = self.bench.options.call_cpu_ms;
        let began = Instant::now();
        let (came, answer) = rehearsal::ask(instance, &test, &mut scene, &mut cpu_ms).await;
        let took = began.elapsed();
        let call = Call { took, failed: answer.is_err(), memory: instance.memory(), effects: 0 };
        self.bench.meter.note(test.hook.name(), &call);
        if let Err(failure) = answer {
            self.note(test.hook.name(), &failure);
        }
        (came, took)
    }

    async fn make_filter(&mut self) -> Result<(), Came> {
        if self.filter.is_some() {
            return Ok(());
        }
        let began = Instant::now();
        let made = Instance::make(self.filters.clone()).await;
        let took = began.elapsed();
        let memory = made.as_ref().map_or((0, 0), Instance::memory);
        self.bench.meter.note("init", &Call { took, failed: made.is_err(), memory, effects: 0 });
        match made {
            Ok(instance) => {
                self.filter = Some(instance);
                Ok(())
            }
            Err(failure) => Err(self.unmade(&failure, took)),
        }
    }

    fn unmade(&mut self, failure: &Failure, took: Duration) -> Came {
        self.stuck = true;
        self.note("init", failure);
        (Err(format!("no instance could be made: {}: {}", failure.how.name(), failure.why)), took)
    }

    /// Writes a failure where an operator would find it.
    fn note(&self, hook: &str, failure: &Failure) {
        let text = format!("host: {} of `{hook}`: {}", failure.how.name(), failure.why);
        self.private.log("error", &self.filters.version, &text);
    }

    // ── actors ──

    async fn ask_actor(&mut self, test: &ActorTest, step: &Step) -> Came {
        let Some(blueprint) = self.actors.clone().filter(|actors| actors.hooks.contains(&test.hook)) else {
            let hook = test.hook.name();
            return (Err(format!("the plugin does not serve the hook `{hook}`")), Duration::ZERO);
        };
        if let Err(came) = self.make_actor(&blueprint).await {
            return came;
        }
        let command = &test.input.command;
        if let Some(known) = self.commands.as_ref().filter(|_| test.hook == ActorHook::Command)
            && !known.contains(command)
        {
            let problem = format!("there is no command `{command}`; it serves {}", known.join(", "));
            return (Err(problem), Duration::ZERO);
        }
        self.bench.world.put_rows(&test.input.kv);
        let fires = test.hook == ActorHook::Bot && test.input.event.as_deref() == Some("timer");
        let payload = match fires.then(|| self.bench.world.fire(&test.input.name)).transpose() {
            Ok(payload) => payload.flatten(),
            Err(problem) => return (Err(problem), Duration::ZERO),
        };
        let (sender, role, _) = self.person(step);
        let heard = matches!(test.input.event.as_deref(), None | Some("message" | "mentioned"));
        if test.hook == ActorHook::Bot && heard {
            self.bench.world.say(sender.id, &test.input.body);
        }
        self.events += 1;
        let (now, own) = (self.bench.world.clock.now(), actors::own(self.scenario.begin).id);
        let (place, event) = (self.scenario.place.clone(), format!("event-{}", self.events));
        let setting = Setting { now, sender, role, place, event, payload };
        let Some(instance) = &mut self.actor else { return unmade() };
        let began = Instant::now();
        let asked =
            actors::ask(instance, blueprint.means.clone(), test, &setting, self.bench.world.clone()).await;
        let took = began.elapsed();
        let memory = instance.memory();
        let asked = match asked {
            Ok(asked) => asked,
            Err(mistake) => return (Err(mistake), took),
        };
        let effects = asked.as_ref().map_or(0, |(_, effects)| effects.acts.len() + effects.writes.len());
        let call = Call { took, failed: asked.is_err(), memory, effects };
        self.bench.meter.note(test.hook.name(), &call);
        let requests = self.bench.world.take_asked();
        let (answer, effects) = match asked {
            Ok(done) => done,
            Err(failure) => {
                self.note(test.hook.name(), &failure);
                let expected = test.expect.trap.is_some() && failure.how == Decision::Trap;
                let problem = format!("{}: {}", failure.how.name(), failure.why);
                return (if expected { Ok(()) } else { Err(problem) }, took);
            }
        };
        if !matches!(answer, Answer::Refused { .. }) {
            self.bench.world.commit(&effects, own);
            let limit = mib(self.bench.options.actors.state_mib_max);
            self.private.kv.apply(&effects.writes, now, limit);
        }
        let mut differences = actors::compare(&test.expect, &answer, &effects);
        if let Some(expected) = test.expect.http.as_ref().filter(|expected| **expected != requests) {
            differences.push(format!("its requests should be {expected:?} and are {requests:?}"));
        }
        if test.expect.trap.is_some() {
            differences.push(format!("it should break and did: {}", actors::shown(&answer)));
        }
        (if differences.is_empty() { Ok(()) } else { Err(differences.join("; ")) }, took)
    }

    async fn make_actor(&mut self, blueprint: &Arc<ActorBlueprint>) -> Result<(), Came> {
        if self.actor.is_some() {
            return Ok(());
        }
        let place = self.bench.places.clone().try_acquire_owned();
        let Ok(place) = place else {
            self.stuck = true;
            return Err((Err("plugins.actors.instances_max leaves no room".to_owned()), Duration::ZERO));
        };
        let began = Instant::now();
        let made = ActorInstance::make(blueprint.clone(), place).await;
        let took = began.elapsed();
        let memory = made.as_ref().map_or((0, 0), ActorInstance::memory);
        self.bench.meter.note("init", &Call { took, failed: made.is_err(), memory, effects: 0 });
        let mut instance = match made {
            Ok(instance) => instance,
            Err(failure) => return Err(self.unmade(&failure, took)),
        };
        if self.commands.is_none() && blueprint.hooks.contains(&ActorHook::Command) {
            match instance.commands().await {
                Ok(specs) => self.commands = Some(specs.into_iter().map(|spec| spec.name).collect()),
                Err(failure) => return Err(self.unmade(&failure, took)),
            }
        }
        self.actor = Some(instance);
        Ok(())
    }
}

/// An instance was made a moment ago, so this is never told.
fn unmade() -> Came {
    (Err("there is no instance".to_owned()), Duration::ZERO)
}

/// Random enough, and the same for the same seed (SplitMix64).
struct Dice(u64);

impl Dice {
    fn one_in(&mut self, count: u64) -> bool {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)).is_multiple_of(count)
    }
}
