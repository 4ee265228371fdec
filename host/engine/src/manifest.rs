//! The manifest: what a plugin says about itself, and whether the host can take it at its word.
//!
//! Everything in it is untrusted. Each problem is a sentence that names the value and what would satisfy the host;
//! all problems are told at once.

mod test;

pub(crate) use test::{Asked, Expect, Test, When, Who};

use crate::{
    actor::{self, grants::Grants, manifest::Tests},
    faults::{self, Fault},
    grants,
    options::{Options, kib},
};
use godwit_domain::{
    actor::Hook as ActorHook,
    filter::Hook,
    plugin::{OnFailure, OnOpen},
};
use jsonschema::PatternOptions;
use serde::Deserialize;
use std::collections::BTreeMap;

/// The version of the interface that this host speaks.
pub(crate) const INTERFACE: &str = "0.1";
/// Hooks of filters.
const HOOKS: [Hook; 4] = [Hook::Normalise, Hook::Moderation, Hook::FanOut, Hook::Delivery];
/// Tests that one manifest may carry.
const TESTS_MAX: usize = 100;

/// A manifest as it is written.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Manifest {
    pub(crate) id: String,
    pub(crate) version: String,
    interface: String,
    #[serde(default)]
    name: Option<String>,
    hooks: Vec<String>,
    #[serde(default)]
    pub(crate) priority: i32,
    #[serde(default)]
    events: Vec<String>,
    #[serde(default)]
    pub(crate) capabilities: BTreeMap<String, toml::Value>,
    #[serde(default)]
    failure: BTreeMap<String, Failure>,
    #[serde(default)]
    limits: Limits,
    #[serde(default)]
    config: Config,
    #[serde(default, rename = "test")]
    pub(crate) tests: Tests,
}

/// What to do with a message when a hook fails.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Failure {
    Hold,
    Reject,
    Allow,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Limits {
    memory_mib: Option<u32>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    schema: Option<serde_json::Value>,
}

/// A manifest that holds together.
#[derive(Debug, Clone)]
pub(crate) struct Checked {
    pub(crate) manifest: Manifest,
    pub(crate) hooks: Vec<Hook>,
    /// What it says of its actor; without hooks where it has none.
    pub(crate) actor: actor::manifest::Checked,
    /// What it asks, as far as it was granted.
    pub(crate) grants: Grants,
    /// What becomes of a message that could not be judged.
    pub(crate) on_failure: OnFailure,
    /// What becomes of a message while the plugin is not asked.
    pub(crate) on_open: OnOpen,
    /// Capabilities that it asks for, as [`grants::asks`] writes them.
    pub(crate) asks: Vec<String>,
    /// Memory in MiB for each instance, within what the operator allows.
    pub(crate) memory_mib: u32,
    /// What the operator should know.
    pub(crate) warnings: Vec<String>,
}

/// The id that a manifest gives.
pub(crate) fn id(text: &str) -> Result<String, Vec<String>> {
    #[derive(Deserialize)]
    struct Identity {
        id: String,
    }
    toml::from_str(text).map(|Identity { id }| id).map_err(|error| vec![format!("manifest: {error}")])
}

/// The tests of a manifest.
pub(crate) fn tests(text: &str) -> Result<Tests, Vec<String>> {
    let manifest = toml::from_str::<Manifest>(text).map_err(|error| vec![format!("manifest: {error}")])?;
    Ok(manifest.tests)
}

/// All capabilities that a manifest asks for, as grants: what a workbench gives. None of one that cannot be read.
pub(crate) fn all_asked(text: &str) -> Vec<String> {
    toml::from_str::<Manifest>(text)
        .map(|manifest| grants::asks(&manifest.capabilities, &mut Vec::new()))
        .unwrap_or_default()
}

/// Reads a manifest and checks all that can be checked without the component.
pub(crate) fn check(
    text: &str,
    id: &str,
    grants: &[String],
    options: &Options,
) -> Result<Checked, Vec<String>> {
    if text.len() > kib(options.manifest_kib_max) {
        let limit = options.manifest_kib_max;
        return Err(vec![format!("the manifest has {} bytes, the limit is {limit} KiB", text.len())]);
    }
    let manifest: Manifest = toml::from_str(text).map_err(|error| vec![format!("manifest: {error}")])?;
    let mut problems = Vec::new();
    let mut warnings = Vec::new();
    check_names(&manifest, id, &mut problems);
    let (hooks, actor_hooks) = check_hooks(&manifest, &mut problems);
    let asks = grants::asks(&manifest.capabilities, &mut problems);
    if asks.iter().any(|asked| asked == grants::MEMBER_LIST) && !hooks.contains(&Hook::FanOut) {
        let capability = grants::MEMBER_LIST;
        warnings.push(format!(
            "capability `{capability}` is for the hook `fan-out`, which is not among `hooks`: it has no effect"
        ));
    }
    if asks.iter().any(|asked| asked == grants::TIMER) && !actor_hooks.contains(&actor::HOOK_OF_TIMERS) {
        problems.push("capability `timer` is for the hook `bot`, which is not among `hooks`".to_owned());
    }
    grants::check(&asks, grants, &mut problems, &mut warnings);
    let grants = Grants::of(&grants::granted(&asks, grants));
    let (events, memory_mib) = (&manifest.events, manifest.limits.memory_mib);
    let actor = actor::manifest::Checked::read(
        actor_hooks,
        events,
        memory_mib,
        options,
        &mut problems,
        &mut warnings,
    );
    let (on_failure, on_open) = check_failure(&manifest, &hooks, &mut problems);

    let asked = manifest.limits.memory_mib.unwrap_or(options.memory_mib).max(1);
    let memory_mib = asked.min(options.memory_mib_max);
    if memory_mib < asked && !hooks.is_empty() && !faults::on(Fault::ClampUntold) {
        warnings.push(format!(
            "limits.memory_mib = {asked} was clamped to {memory_mib}, the most this host allows"
        ));
    }
    let tests = manifest.tests.len() + manifest.tests.actors.len();
    if tests > TESTS_MAX {
        problems.push(format!("the manifest has {tests} tests, the limit is {TESTS_MAX}"));
    }
    for (n, test) in manifest.tests.actors.iter().enumerate() {
        if !actor.hooks.contains(&test.hook) {
            let hook = test.hook.name();
            problems
                .push(format!("test {} of actors asks the hook `{hook}`, which is not among `hooks`", n + 1));
        }
    }
    for (n, test) in manifest.tests.iter().enumerate() {
        if !hooks.contains(&test.hook) {
            let hook = test.hook.name();
            problems.push(format!("test {} asks the hook `{hook}`, which is not among `hooks`", n + 1));
        }
        problems.extend(test.problem().map(|problem| format!("test {} {problem}", n + 1)));
    }
    match problems.is_empty() {
        true => {
            Ok(Checked { manifest, hooks, actor, grants, on_failure, on_open, asks, memory_mib, warnings })
        }
        false => Err(problems),
    }
}

fn check_names(manifest: &Manifest, id: &str, problems: &mut Vec<String>) {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let Manifest { id: own, version, interface, name, .. } = manifest;
    if own.is_empty()
        || own.len() > 64
        || !own.starts_with(|c: char| c.is_ascii_lowercase())
        || !own.chars().all(plain)
    {
        problems.push(format!("id `{own}` must be 1 to 64 of a-z, 0-9 and -, and begin with a letter"));
    }
    if own != id {
        problems.push(format!("the manifest is of `{own}`, but `{id}` was to be installed"));
    }
    let in_version = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '+');
    if version.is_empty() || version.len() > 64 || !version.chars().all(in_version) {
        problems.push(format!("version `{version}` must be 1 to 64 letters, digits, dots, - and +"));
    }
    if interface != INTERFACE {
        problems.push(format!("interface `{interface}` is not served, this host speaks `{INTERFACE}`"));
    }
    if name.as_ref().is_some_and(|name| name.chars().count() > 100) {
        problems.push("name has more than 100 characters".to_owned());
    }
}

/// The hooks of filters and those of actors.
fn check_hooks(manifest: &Manifest, problems: &mut Vec<String>) -> (Vec<Hook>, Vec<ActorHook>) {
    let (mut hooks, mut actors) = (Vec::new(), Vec::new());
    for name in &manifest.hooks {
        if let Some(hook) = actor::manifest::HOOKS.into_iter().find(|hook| hook.name() == name) {
            match actors.contains(&hook) {
                true => problems.push(format!("hook `{name}` is named twice")),
                false => actors.push(hook),
            }
            continue;
        }
        match HOOKS.into_iter().find(|hook| hook.name() == name) {
            Some(hook) if hooks.contains(&hook) => problems.push(format!("hook `{name}` is named twice")),
            Some(hook) => hooks.push(hook),
            None => {
                let actors = actor::manifest::HOOKS.map(|hook| hook.name());
                let served: Vec<_> = HOOKS.iter().map(|hook| hook.name()).chain(actors).collect();
                let served = served.join(", ");
                problems.push(format!("there is no hook `{name}`; this host serves {served}"));
            }
        }
    }
    if manifest.hooks.is_empty() {
        problems.push("`hooks` is empty; name those that the component exports".to_owned());
    }
    hooks.sort();
    actors.sort();
    (hooks, actors)
}

fn check_failure(manifest: &Manifest, hooks: &[Hook], problems: &mut Vec<String>) -> (OnFailure, OnOpen) {
    let mut chosen = (OnFailure::default(), OnOpen::default());
    for (hook, failure) in &manifest.failure {
        match failure {
            _ if hook != Hook::Moderation.name() => {
                problems.push(format!("failure.{hook} cannot be chosen; only `moderation` can"));
            }
            _ if !hooks.contains(&Hook::Moderation) => {
                problems
                    .push("failure.moderation is given, but `moderation` is not among `hooks`".to_owned());
            }
            Failure::Hold => chosen = (OnFailure::Hold, OnOpen::Hold),
            Failure::Reject => chosen = (OnFailure::Reject, OnOpen::Reject),
            // It is about what is not asked: never about the message that traps, is cut or finds all busy.
            Failure::Allow => chosen = (OnFailure::Reject, OnOpen::Allow),
        }
    }
    chosen
}

/// Checks a configuration against the manifest's schema.
pub(crate) fn check_config(manifest: &Manifest, config: &str, options: &Options) -> Result<(), Vec<String>> {
    if config.len() > kib(options.config_kib_max) {
        let limit = options.config_kib_max;
        return Err(vec![format!("the configuration has {} bytes, the limit is {limit} KiB", config.len())]);
    }
    let config: serde_json::Value = serde_json::from_str(config)
        .map_err(|error| vec![format!("the configuration is not JSON: {error}")])?;
    let Some(schema) = &manifest.config.schema else { return Ok(()) };
    // Patterns run in time linear to the text, and nothing is fetched: the schema is untrusted.
    let validator =
        jsonschema::options().with_pattern_options(PatternOptions::regex()).build(schema).map_err(
            |error| vec![format!("config.schema cannot be used: {error}; references must stay within it")],
        )?;
    let problems: Vec<String> = validator
        .iter_errors(&config)
        .take(20)
        .map(|error| match error.instance_path().as_str() {
            "" => format!("configuration: {error}"),
            path => format!("configuration at `{path}`: {error}"),
        })
        .collect();
    match problems.is_empty() || faults::on(Fault::ConfigUnchecked) {
        true => Ok(()),
        false => Err(problems),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"
        id = "wordfilter"
        version = "1.2.0"
        interface = "0.1"
        name = "Word filter"
        hooks = ["moderation"]
        priority = 100
        [failure]
        moderation = "reject"
        [limits]
        memory_mib = 32
        [config.schema]
        type = "object"
        additionalProperties = false
        properties.words = { type = "array", items = { type = "string", pattern = "^[a-z]+$" } }
        [[test]]
        hook = "moderation"
        input = { body = "a bad word" }
        expect = { reject = { code = "language" } }
        [[test]]
        hook = "moderation"
        input = { body = "a word" }
        expect = { allow = true }
    "#;

    fn problems(text: &str) -> String {
        check(text, "wordfilter", &[], &Options::default()).unwrap_err().join("\n")
    }

    #[test]
    fn a_manifest_as_the_interface_describes_it_is_taken() {
        let checked = check(GOOD, "wordfilter", &[], &Options::default()).unwrap();
        assert_eq!(checked.hooks, [Hook::Moderation]);
        assert_eq!(checked.memory_mib, 32);
        assert_eq!(checked.manifest.priority, 100);
        assert_eq!(checked.manifest.tests[0].expect, Expect::Reject(test::Code { code: "language".into() }));
        assert_eq!(checked.manifest.tests[1].expect, Expect::Allow);
        assert!(checked.warnings.is_empty(), "{:?}", checked.warnings);
    }

    #[test]
    fn each_fault_is_named_with_what_would_satisfy_the_host() {
        let cases = [
            ("name = \"Word filter\"", "nmae = \"x\"", "nmae"),
            ("id = \"wordfilter\"", "id = \"Word\"", "id `Word` must be"),
            ("id = \"wordfilter\"", "id = \"other\"", "of `other`, but `wordfilter`"),
            ("version = \"1.2.0\"", "version = \"a b\"", "version `a b`"),
            ("interface = \"0.1\"", "interface = \"0.2\"", "interface `0.2` is not served"),
            ("[\"moderation\"]", "[\"moderate\"]", "no hook `moderate`"),
            ("[\"moderation\"]", "[\"moderation\", \"bot\", \"bot\"]", "hook `bot` is named twice"),
            ("[\"moderation\"]", "[\"moderation\", \"moderation\"]", "named twice"),
            ("[\"moderation\"]", "[]", "`hooks` is empty"),
            ("[\"moderation\"]", "[\"normalise\"]", "test 1 asks the hook `moderation`"),
            (
                "[limits]",
                "[capabilities]\ntimer = true\n[limits]",
                "capability `timer` is for the hook `bot`",
            ),
            ("[limits]", "[capabilities]\nroot = true\n[limits]", "no capability `root`"),
            ("priority = 100", "priority = 100\nevents = [\"mentioned\"]", "`events` are for the hook `bot`"),
            ("moderation = \"reject\"", "normalise = \"reject\"", "failure.normalise cannot be chosen"),
            ("allow = true", "allow = false", "`allow` must be true"),
            ("memory_mib = 32", "cpu_ms = 32", "cpu_ms"),
        ];
        for (from, to, expected) in cases {
            assert!(GOOD.contains(from), "{from}");
            let found = problems(&GOOD.replacen(from, to, 1));
            assert!(found.contains(expected), "{from} -> {to}: {found}");
        }
    }

    #[test]
    fn a_grant_that_nobody_asked_for_is_told() {
        for grant in ["kv", grants::MEMBER_LIST] {
            let checked = check(GOOD, "wordfilter", &[grant.into()], &Options::default()).unwrap();
            let told = checked.warnings.join("\n");
            assert!(told.contains(&format!("the grant `{grant}` has no effect")), "{told}");
            assert!(!checked.grants.may(grant));
        }
    }

    #[test]
    fn the_member_list_is_for_fan_out() {
        let with = |hooks: &str| {
            let text = GOOD.replace("[\"moderation\"]", hooks);
            let text = text.replace("[limits]", "[capabilities]\nmember-list = true\n[limits]");
            check(&text, "wordfilter", &[grants::MEMBER_LIST.to_owned()], &Options::default()).unwrap()
        };
        let checked = with(r#"["moderation", "fan-out"]"#);
        assert_eq!(checked.asks, [grants::MEMBER_LIST]);
        assert!(checked.warnings.is_empty(), "{:?}", checked.warnings);
        let warnings = with(r#"["moderation"]"#).warnings.join("\n");
        assert!(warnings.contains("is for the hook `fan-out`"), "{warnings}");
    }

    #[test]
    fn a_clamp_is_told() {
        let text = GOOD.replace("memory_mib = 32", "memory_mib = 3200");
        let checked = check(&text, "wordfilter", &[], &Options::default()).unwrap();
        assert_eq!(checked.memory_mib, 64);
        assert!(checked.warnings.join("\n").contains("clamped to 64"), "{:?}", checked.warnings);
    }

    #[test]
    fn what_cannot_be_judged_is_refused_unless_the_manifest_says_hold_and_allow_is_for_what_is_not_asked() {
        let advice = |said: &str| {
            let text = GOOD.replace("moderation = \"reject\"\n", said);
            let checked = check(&text, "wordfilter", &[], &Options::default()).unwrap();
            assert!(checked.warnings.is_empty(), "{:?}", checked.warnings);
            (checked.on_failure, checked.on_open)
        };
        assert_eq!(advice(""), (OnFailure::Reject, OnOpen::Reject));
        assert_eq!(advice("moderation = \"reject\"\n"), (OnFailure::Reject, OnOpen::Reject));
        assert_eq!(advice("moderation = \"hold\"\n"), (OnFailure::Hold, OnOpen::Hold));
        assert_eq!(advice("moderation = \"allow\"\n"), (OnFailure::Reject, OnOpen::Allow));
    }

    #[test]
    fn a_configuration_is_checked_against_the_schema() {
        let options = Options::default();
        let checked = check(GOOD, "wordfilter", &[], &options).unwrap();
        let check = |config: &str| check_config(&checked.manifest, config, &options);
        check("{}").unwrap();
        check(r#"{"words": ["bad"]}"#).unwrap();
        for (config, expected) in [
            (r#"{"words": [1]}"#, "`/words/0`"),
            (r#"{"words": ["B"]}"#, "`/words/0`"),
            (r#"{"wrods": []}"#, "wrods"),
            ("{", "not JSON"),
        ] {
            let found = check(config).unwrap_err().join("\n");
            assert!(found.contains(expected), "{config}: {found}");
        }
    }

    #[test]
    fn a_schema_may_not_refer_to_what_is_elsewhere() {
        let text = GOOD.replace("type = \"object\"\n", "\"$ref\" = \"https://example.com/schema.json\"\n");
        let checked = check(&text, "wordfilter", &[], &Options::default()).unwrap();
        let found = check_config(&checked.manifest, "{}", &Options::default()).unwrap_err().join("\n");
        assert!(found.contains("config.schema cannot be used"), "{found}");
    }
}
