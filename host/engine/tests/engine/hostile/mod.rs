//! Hostile plugins, one after the other in one host: what each comes to, and that nobody else notices.
//!
//! The table runs in a process of its own, so that what the host's memory grows by is what the plugin at hand made it
//! grow by. While a hostile plugin is called, a well-behaved one serves another conversation and must answer. It owns
//! the harness; the plugins are in [`filters`], [`installs`] and [`actors`], and `HOSTILE.md` is made of those tables.

mod actors;
mod filters;
pub mod guest;
mod installs;
mod kept;
pub mod mutated;
mod turns;

use crate::{
    bed::{Bed, allowed, fixture, refused, scene, sent},
    delivering::{facts, recipients},
    desk::{self, ALL},
};
use godwit_domain::{
    actor::Outcome as Done,
    filter::{Chain, Decision, Filters, Scene, Spent},
    id::ConversationId,
    message::Content,
    plugin::{Component, Error, Install, Manager, Scope, Setting},
};
use godwit_engine::{Breaker, Options};
use guest::Guest;
use std::{
    fmt,
    path::Path,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

/// What a plugin comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    /// It answered.
    Decision,
    /// It answered `err`, or with a rejection.
    Refusal,
    /// It broke.
    Trap,
    /// It was cut.
    Deadline,
    /// It never served.
    Install,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Decision => "decision",
            Self::Refusal => "refusal",
            Self::Trap => "trap",
            Self::Deadline => "deadline",
            Self::Install => "refused at install",
        })
    }
}

enum Plugin {
    /// Written by hand.
    Guest(Guest),
    /// The fixture of filters with that configuration.
    Filter(&'static str),
    /// The fixture of actors with that configuration, which takes these steps.
    Actor(&'static str, String),
    /// Anything else, made when it is its turn: some are large.
    Other(Box<dyn Fn() -> Install>),
}

/// A hostile plugin.
struct Case {
    name: &'static str,
    /// What it does.
    does: &'static str,
    plugin: Plugin,
    /// What its calls come to, one after the other; or that it is refused at install.
    calls: &'static [Outcome],
    /// Words in its log or its refusal that say why; none where there is nothing to say.
    says: &'static str,
}

impl Case {
    fn guest(
        name: &'static str,
        does: &'static str,
        guest: Guest,
        calls: &'static [Outcome],
        says: &'static str,
    ) -> Self {
        Self { name, does, plugin: Plugin::Guest(guest), calls, says }
    }

    fn refused(
        name: &'static str,
        does: &'static str,
        install: impl Fn() -> Install + 'static,
        says: &'static str,
    ) -> Self {
        Self { name, does, plugin: Plugin::Other(Box::new(install)), calls: &[Outcome::Install], says }
    }

    fn install(&self) -> Install {
        match &self.plugin {
            Plugin::Guest(guest) => Install {
                manifest: guest.manifest(ID),
                component: Component::Bytes(guest.component()),
                ..fixture(ID, "1", "{}")
            },
            Plugin::Filter(config) => fixture(ID, "1", config),
            Plugin::Actor(config, _) => desk::actor(config, &ALL, &[]),
            Plugin::Other(install) => install(),
        }
    }
}

const ID: &str = "hostile";
/// MiB that an instance may have, and instances that a plugin may have.
const MEMORY_MIB: u32 = 16;
const INSTANCES: u32 = 2;
const CALL_CPU_MS: u32 = 60;
const ACTOR_CPU_MS: u32 = 100;
/// Within this a call is over, however busy the machine is.
const PATIENCE: Duration = Duration::from_secs(20);

fn all() -> Vec<Case> {
    [filters::cases(), actors::cases(), installs::cases()].into_iter().flatten().collect()
}

fn options() -> Options {
    let mut options = Options {
        call_cpu_ms: CALL_CPU_MS,
        chain_cpu_ms: 4 * CALL_CPU_MS,
        deliver_cpu_ms: 4 * CALL_CPU_MS,
        call_wall_ms: 5_000,
        init_cpu_ms: 200,
        memory_mib: MEMORY_MIB,
        memory_mib_max: INSTANCES * MEMORY_MIB,
        instances_per_plugin: INSTANCES,
        // One and the same sender meets a plugin again and again.
        breaker: Breaker { senders: 1_000, ..Breaker::default() },
        ..Options::default()
    };
    options.compile.cpu_s = 5;
    options.actors.call_cpu_ms = ACTOR_CPU_MS;
    options.actors.call_wall_ms = 1_000;
    options.actors.memory_mib = MEMORY_MIB;
    options.actors.memory_mib_max = INSTANCES * MEMORY_MIB;
    options.actors.instances_per_plugin = INSTANCES;
    options
}

/// Runs `test` in a process in which nothing else runs: this test binary again, with this test alone. No thread of it
/// may panic.
pub fn alone(name: &str, test: impl Future<Output = ()>) {
    const ALONE: &str = "GODWIT_TEST_ALONE";
    static PANICS: AtomicUsize = AtomicUsize::new(0);
    if std::env::var_os(ALONE).is_none() {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", name, "--nocapture", "--test-threads", "1"]).env(ALONE, "1");
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let said = said + &String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && said.contains("1 passed"), "{said}");
        println!("{said}");
        return;
    }
    let told = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        PANICS.fetch_add(1, SeqCst);
        told(panic);
    }));
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    runtime.worker_threads(2).enable_all().build().unwrap().block_on(test);
    assert_eq!(PANICS.load(SeqCst), 0, "the host panicked");
}

#[test]
fn each_costs_its_own_calls_and_nobody_else_anything() {
    alone("hostile::each_costs_its_own_calls_and_nobody_else_anything", meet_all());
}

async fn meet_all() {
    let bed = Bed::new(options()).await;
    let good = r#"{"moderation": {"mode": "reject", "on": "spam"}}"#;
    bed.install("neighbour", "1", good).await.unwrap();
    bed.engine.set("neighbour", Setting::Scope(only(&elsewhere()))).await.unwrap();
    // What the host allocates once is not the first plugin's doing.
    meet(&bed, &Case::guest("", "", Guest::new("moderation"), &[Outcome::Decision], "")).await.unwrap();
    let plugin = Plugin::Actor("{}", "[]".into());
    let calls = &[Outcome::Decision];
    meet(&bed, &Case { name: "", does: "", plugin, calls, says: "" }).await.unwrap();

    let filter = std::env::var("GODWIT_HOSTILE").unwrap_or_default();
    let (mut problems, mut met) = (Vec::new(), 0);
    for case in all().iter().filter(|case| case.name.contains(&filter)) {
        let started = Instant::now();
        let found = meet(&bed, case).await;
        met += 1;
        println!("{:>6} ms  {}: {found:?}", started.elapsed().as_millis(), case.name);
        problems.extend(found.err().map(|problem| format!("{}: {problem}", case.name)));
    }
    assert!(problems.is_empty(), "{} of {met}:\n{}", problems.len(), problems.join("\n"));
}

/// Installs a plugin, calls it, and says what was not as it should be; otherwise by how many KiB memory grew.
async fn meet(bed: &Bed, case: &Case) -> Result<usize, String> {
    let install = case.install();
    let id = install.id.clone();
    let memory = Watch::start();
    let (scoped, stop) = (AtomicBool::new(false), AtomicBool::new(false));
    let hostile = async {
        let found = call_all(bed, case, install, &scoped).await;
        stop.store(true, SeqCst);
        found
    };
    let (found, served) = tokio::join!(hostile, serve(bed, bed.engine.pin(), &scoped, &stop));
    let grown_kib = memory.end();
    let _ = bed.engine.remove(&id).await;
    let (served, slowest) = served?;
    found?;
    let quota_kib = (INSTANCES * MEMORY_MIB) as usize * 1_024;
    match () {
        () if grown_kib > quota_kib + quota_kib / 10 => {
            Err(format!("memory grew by {grown_kib} KiB, the quota is {quota_kib}"))
        }
        () if served == 0 => Err("nobody else was served".to_owned()),
        () if slowest > PATIENCE => Err(format!("somebody else waited for {slowest:?}")),
        () => Ok(grown_kib),
    }
}

async fn call_all(bed: &Bed, case: &Case, install: Install, scoped: &AtomicBool) -> Result<(), String> {
    let id = install.id.clone();
    match (bed.engine.install(install).await, case.calls) {
        (Ok(_), [Outcome::Install]) => return Err("it was installed".to_owned()),
        (Ok(_), _) => {
            bed.engine.set(&id, Setting::Scope(only(&scene(1)))).await.unwrap();
            scoped.store(true, SeqCst);
        }
        (Err(Error::Refused(problems)), [Outcome::Install]) => {
            let told = problems.join("\n");
            return if told.contains(case.says) { Ok(()) } else { Err(told) };
        }
        (Err(error), _) => return Err(format!("it was not installed: {error}")),
    }
    for (n, expected) in case.calls.iter().enumerate() {
        // What an earlier call logged does not count.
        bed.clock.pass(2);
        let began = Instant::now();
        let (found, cpu_ms) = match &case.plugin {
            Plugin::Actor(_, steps) => (act(bed, steps).await, 0),
            _ => judge(bed, &id, n).await,
        };
        if found != *expected {
            return Err(format!("call {n}: {found}, not {expected}; {}", bed.log(&id).await));
        }
        if cpu_ms > u64::from(2 * CALL_CPU_MS) || began.elapsed() > PATIENCE {
            return Err(format!("call {n} used {cpu_ms} ms of CPU time and took {:?}", began.elapsed()));
        }
    }
    let log = bed.log(&id).await;
    if log.contains(case.says) { Ok(()) } else { Err(format!("it does not say `{}`: {log}", case.says)) }
}

/// Calls the hook that the plugin serves, and says what came of it as operators see it, and the CPU time it took.
async fn judge(bed: &Bed, id: &str, n: usize) -> (Outcome, u64) {
    let before = bed.status(id).await.calls;
    let (chain, scene) = (bed.engine.pin(), scene(1));
    // Each its own: what kills a plugin twice is not shown to it again.
    let body = format!("message {n}");
    if before.iter().any(|hook| matches!(&*hook.hook, "normalise" | "moderation")) {
        chain.judge(&scene, Content::text(&*body), None).await;
    } else {
        let mut spent = Spent::default();
        chain.choose(&scene, &sent(&body), &facts(), &mut spent).await;
        chain.decide(&scene, &sent(&body), &recipients(3), &mut spent).await;
    }
    let after = bed.status(id).await.calls;
    let sum = |of: fn(&godwit_domain::plugin::HookStatus) -> u64| {
        after.iter().map(of).sum::<u64>() - before.iter().map(of).sum::<u64>()
    };
    let outcome = match () {
        () if sum(|hook| hook.traps) > 0 => Outcome::Trap,
        () if sum(|hook| hook.deadlines) > 0 => Outcome::Deadline,
        () if sum(|hook| hook.refusals) > 0 => Outcome::Refusal,
        () => Outcome::Decision,
    };
    (outcome, sum(|hook| hook.cpu_ms))
}

/// Lets the bot hear of these steps. What it does is committed if it is done.
async fn act(bed: &Bed, steps: &str) -> Outcome {
    match bed.hear(steps).await {
        Done::Done((), effects) => {
            bed.commit(&effects.writes);
            Outcome::Decision
        }
        Done::Refused { .. } => Outcome::Refusal,
        Done::Failed { how: Decision::Trap, .. } => Outcome::Trap,
        Done::Failed { how: Decision::Deadline, .. } => Outcome::Deadline,
        Done::Failed { how, why } => panic!("{how:?}: {why}"),
    }
}

/// A conversation that the hostile plugin is not asked about.
fn elsewhere() -> Scene {
    let mut scene = scene(2);
    scene.conversation.as_mut().unwrap().id = ConversationId::from_u128(0xe15e);
    scene
}

/// The scene's conversation and no other.
fn only(scene: &Scene) -> Scope {
    let conversations = scene.conversation.iter().map(|place| place.id).collect();
    Scope { conversations, ..Scope::default() }
}

/// Asks the well-behaved plugin again and again; how often it answered as it should, and what the slowest took.
/// Until the hostile one is kept to its conversation, the chain from before it came decides.
async fn serve(
    bed: &Bed,
    before: Arc<dyn Chain>,
    scoped: &AtomicBool,
    stop: &AtomicBool,
) -> Result<(usize, Duration), String> {
    let mut chain = before;
    let (mut served, mut slowest) = (0, Duration::ZERO);
    while !stop.load(SeqCst) || served == 0 {
        if scoped.load(SeqCst) {
            chain = bed.engine.pin();
        }
        for (body, expected) in [("fine", None), ("spam", Some("fixture"))] {
            let began = Instant::now();
            let (judgement, _) = chain.judge(&elsewhere(), Content::text(body), None).await;
            slowest = slowest.max(began.elapsed());
            let good =
                refused(&judgement) == expected && (expected.is_some() || allowed(&judgement).is_some());
            if !good {
                return Err(format!("somebody else was not served: {body}: {judgement:?}"));
            }
            served += 1;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    Ok((served, slowest))
}

/// Looks at the memory of this process again and again.
struct Watch {
    before_kib: usize,
    most_kib: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
    watching: std::thread::JoinHandle<()>,
}

impl Watch {
    fn start() -> Self {
        let before_kib = resident_kib();
        let (most_kib, stop) = (Arc::new(AtomicUsize::new(before_kib)), Arc::<AtomicBool>::default());
        let (most, stopped) = (most_kib.clone(), stop.clone());
        let watching = std::thread::spawn(move || {
            while !stopped.load(SeqCst) {
                most.fetch_max(resident_kib(), SeqCst);
                std::thread::park_timeout(Duration::from_millis(1));
            }
        });
        Self { before_kib, most_kib, stop, watching }
    }

    /// By how many KiB it grew at most.
    fn end(self) -> usize {
        self.stop.store(true, SeqCst);
        self.watching.join().unwrap();
        self.most_kib.load(SeqCst) - self.before_kib
    }
}

fn resident_kib() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok()).unwrap_or_default()
}

/// The page that lists them.
fn page() -> String {
    let mut page = String::from(
        "# Hostile plugins\n\n\
         What the host was shown, and what became of it.\n\
         Made of the tables in `tests/engine/hostile`, which run them all in one host, beside a plugin that behaves: \
         nobody panics, memory stays within the quota and a tenth, a call is cut within twice its deadline, and the \
         other plugin's conversation is served throughout.\n\
         `GODWIT_WRITE=1` with the engine's tests makes this page anew.\n\n\
         | plugin | what it does | what becomes of it | what is said |\n|---|---|---|---|\n",
    );
    for Case { name, does, calls, says, .. } in all() {
        let mut outcomes: Vec<_> = calls.iter().map(Outcome::to_string).collect();
        if calls.iter().all(|call| *call == calls[0]) {
            outcomes.truncate(1);
        }
        let says = if says.is_empty() { String::new() } else { format!("“{says}”") };
        page += &format!("| {name} | {does} | {} | {says} |\n", outcomes.join(", "));
    }
    page
}

#[test]
fn the_page_lists_them_all() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("HOSTILE.md");
    if std::env::var_os("GODWIT_WRITE").is_some() {
        std::fs::write(&path, page()).unwrap();
    }
    let cases = all();
    let names: std::collections::BTreeSet<_> = cases.iter().map(|case| case.name).collect();
    assert!(names.len() == cases.len() && names.len() >= 40, "{} names of {}", names.len(), cases.len());
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(found == page(), "{} is not what the tables say: run with GODWIT_WRITE=1", path.display());
}
