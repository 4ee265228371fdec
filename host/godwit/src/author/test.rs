//! `godwit plugin test`: the manifest's tests and the scenarios of a plugin, in the real engine.
//!
//! It owns which tests there are and how results are shown: as text, as JSON, as JUnit XML. What a test is, and what
//! counts as passed, is said by [`godwit_engine::workbench`].

mod junit;
mod report;

use super::{
    build,
    project::{self, Project, SCENARIOS},
};
use crate::{cli, dev::progress::note, plugin::package::Package};
use anyhow::{Context, anyhow, bail};
use godwit_engine::{
    Compile, Options, Program,
    workbench::{Outcome, Played, Plugin, SCENARIO_BYTES_MAX, Scenario, Usage, Workbench},
};
use std::path::{Path, PathBuf};

/// What is wanted of a run.
pub struct Wanted {
    /// Whether to build before.
    pub build: bool,
    /// What names must contain.
    pub only: Option<String>,
    /// When instances are thrown away.
    pub seed: Option<u64>,
    /// Where to write JUnit XML.
    pub junit: Option<PathBuf>,
    /// Whether to show the log of what passed.
    pub verbose: bool,
    /// Whether to print JSON.
    pub json: bool,
}

/// A test that there is.
struct Planned {
    /// Its file, or the manifest's.
    file: String,
    scenario: Result<Scenario, String>,
}

/// What came of a test.
pub(super) struct Tested {
    file: String,
    name: String,
    /// Why it could not be played at all.
    problem: Option<String>,
    steps: Vec<Outcome>,
}

impl Tested {
    fn passed(&self) -> bool {
        self.problem.is_none() && self.steps.iter().all(|step| step.problem.is_none())
    }
}

/// All results of a run.
pub(super) struct Results {
    plugin: String,
    seed: u64,
    warnings: Vec<String>,
    tests: Vec<Tested>,
    usage: Vec<Usage>,
}

/// Runs the tests of the plugin at `path`.
///
/// # Errors
/// It cannot be built or loaded, there is no test, or one failed.
pub fn run(path: &Path, wanted: &Wanted) -> anyhow::Result<()> {
    let seed = wanted.seed.unwrap_or_else(|| uuid::Uuid::new_v4().as_u64_pair().0);
    let folder = path.is_dir().then_some(path);
    let package = match folder {
        Some(folder) if wanted.build => {
            let project = Project::find(folder)?;
            Package::built(folder, build::build(&project)?)?
        }
        _ => Package::find(path)?,
    };
    let mut planned = Vec::new();
    let refused =
        |error: godwit_domain::plugin::Error| anyhow!("a host would refuse this plugin: {}", told(&error));
    if let Some(scenario) = Workbench::of_manifest(&package.manifest).map_err(refused)? {
        planned.push(Planned { file: project::MANIFEST.to_owned(), scenario: Ok(scenario) });
    }
    if let Some(folder) = folder {
        planned.extend(scenarios(folder, &package.manifest)?);
    }
    if let Some(only) = &wanted.only {
        planned.retain(|test| match &test.scenario {
            Ok(scenario) => scenario.name.contains(only) || test.file.contains(only),
            Err(_) => test.file.contains(only),
        });
    }
    if planned.is_empty() {
        bail!(
            "there is nothing to test: {} has no [[test]], and there is no scenario in {SCENARIOS}/{}",
            project::MANIFEST,
            wanted.only.as_ref().map(|only| format!(" whose name contains `{only}`")).unwrap_or_default()
        );
    }
    let config = folder.map_or_else(|| Ok("{}".to_owned()), project::dev_config)?;
    let component = package.bytes()?;
    let plugin = Plugin { manifest: &package.manifest, component: &component, config: &config };
    let runtime = tokio::runtime::Runtime::new()?;
    let results = runtime.block_on(play(&package.id, &plugin, planned, seed))?;
    if let Some(file) = &wanted.junit {
        std::fs::write(file, junit::xml(&results))
            .with_context(|| format!("cannot write {}", file.display()))?;
    }
    match wanted.json {
        true => cli::print(&format!("{}\n", report::json(&results)))?,
        false => cli::print(&report::text(&results, wanted.verbose))?,
    }
    let failed = results.tests.iter().filter(|test| !test.passed()).count();
    match failed {
        0 => Ok(()),
        failed => bail!("{failed} of {} tests failed", results.tests.len()),
    }
}

async fn play(id: &str, plugin: &Plugin<'_>, planned: Vec<Planned>, seed: u64) -> anyhow::Result<Results> {
    let compiler = Program { path: std::env::current_exe()?, args: vec!["compile-component".into()] };
    let (cache, _throw_away) = cache()?;
    // A laptop that does other things may take its time to compile; what counts for a host is CPU time, which stays.
    let compile = Compile { wall_s: 900, ..Compile::default() };
    let options = Options { compile, ..Options::default() };
    let mut bench = Workbench::open(options, &cache, compiler, seed)?;
    if plugin.component.len() > 4 << 20 {
        note("Compiling the component to machine code; the result is kept for the next time …");
    }
    // Scenarios may have configurations of their own, so one that the manifest refuses is a matter of its test.
    let warnings = bench.stage(plugin, plugin.config).await.unwrap_or_default();
    let mut tests = Vec::new();
    for Planned { file, scenario } in planned {
        let test = match scenario {
            Err(problem) => Tested { name: file.clone(), file, problem: Some(problem), steps: Vec::new() },
            Ok(scenario) => match bench.play(plugin, &scenario).await {
                Ok(Played { name, steps }) => Tested { file, name, problem: None, steps },
                Err(error) => Tested {
                    file,
                    name: scenario.name.clone(),
                    problem: Some(format!("a host would refuse this plugin: {}", told(&error))),
                    steps: Vec::new(),
                },
            },
        };
        tests.push(test);
    }
    Ok(Results { plugin: id.to_owned(), seed, warnings, tests, usage: bench.usage() })
}

fn told(error: &godwit_domain::plugin::Error) -> String {
    match error {
        godwit_domain::plugin::Error::Refused(problems) => format!("\n  - {}", problems.join("\n  - ")),
        other => other.to_string(),
    }
}

/// The scenarios of a folder, in the order of their names. One that cannot be read is a test that fails.
fn scenarios(folder: &Path, manifest: &str) -> anyhow::Result<Vec<Planned>> {
    let folder = folder.join(SCENARIOS);
    if !folder.is_dir() {
        return Ok(Vec::new());
    }
    let hooks = project::Manifest::parse(manifest.to_owned())?.hooks;
    let only = if let [only] = &*hooks { Some(only.as_str()) } else { None };
    let mut files = Vec::new();
    for entry in std::fs::read_dir(&folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "toml") {
            files.push(path);
        }
    }
    files.sort();
    let read = |path: PathBuf| {
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let file = path.file_name().unwrap_or_default().to_string_lossy();
        let file = format!("{SCENARIOS}/{file}");
        Planned { scenario: read_scenario(&path, &name, only), file }
    };
    Ok(files.into_iter().map(read).collect())
}

fn read_scenario(path: &Path, name: &str, only: Option<&str>) -> Result<Scenario, String> {
    let bytes = std::fs::metadata(path).map_err(|error| error.to_string())?.len();
    if bytes > SCENARIO_BYTES_MAX as u64 {
        return Err(format!("it has {bytes} bytes, the limit is {SCENARIO_BYTES_MAX}"));
    }
    let text = std::fs::read_to_string(path).map_err(|error| format!("it cannot be read: {error}"))?;
    Scenario::parse(&text, name, only)
}

/// Where compiled components are kept between runs; where there is no place for it, a folder for this run.
fn cache() -> anyhow::Result<(PathBuf, Option<tempfile::TempDir>)> {
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
    let base = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).or_else(home);
    if let Some(base) = base.filter(|base| base.is_absolute()) {
        let folder = base.join("godwit").join("plugin-test");
        if std::fs::create_dir_all(&folder).is_ok() {
            return Ok((folder, None));
        }
    }
    let folder = tempfile::tempdir()?;
    Ok((folder.path().to_owned(), Some(folder)))
}
