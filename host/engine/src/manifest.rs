//! The manifest: what a plugin says about itself, and whether the host can take it at its word.
//!
//! Everything in it is untrusted. Each problem is a sentence that names the value and what would satisfy the host;
//! all problems are told at once.

mod test;

pub(crate) use test::{Asked, Expect, Test};

use crate::options::{Options, kib};
use godwit_domain::{filter::Hook, plugin::OnFailure};
use jsonschema::PatternOptions;
use serde::Deserialize;
use std::collections::BTreeMap;

/// The version of the interface that this host speaks.
const INTERFACE: &str = "0.1";
/// Hooks of the interface that come later.
const HOOKS_LATER: [&str; 4] = ["bot", "command", "notifier", "inbound"];
/// Hooks that this host serves.
const HOOKS: [Hook; 4] = [Hook::Normalise, Hook::Moderation, Hook::FanOut, Hook::Delivery];
/// The capability of a fan-out rule to see who is in.
pub(crate) const MEMBER_LIST: &str = "member-list";
/// Capabilities of the interface that come later.
const CAPABILITIES_LATER: [&str; 8] =
    ["kv", "send", "history", "members", "timer", "http", "secret", "all-conversations"];
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
    capabilities: BTreeMap<String, toml::Value>,
    #[serde(default)]
    failure: BTreeMap<String, Failure>,
    #[serde(default)]
    limits: Limits,
    #[serde(default)]
    config: Config,
    #[serde(default, rename = "test")]
    pub(crate) tests: Vec<Test>,
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
    /// What becomes of a message that could not be judged.
    pub(crate) on_failure: OnFailure,
    /// Memory in MiB for each instance, within what the operator allows.
    pub(crate) memory_mib: u32,
    /// What the operator should know.
    pub(crate) warnings: Vec<String>,
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
    let hooks = check_hooks(&manifest, &mut problems);
    check_capabilities(&manifest, grants, &hooks, &mut problems, &mut warnings);
    let on_failure = check_failure(&manifest, &hooks, &mut problems, &mut warnings);

    let asked = manifest.limits.memory_mib.unwrap_or(options.memory_mib).max(1);
    let memory_mib = asked.min(options.memory_mib_max);
    if memory_mib < asked {
        warnings.push(format!(
            "limits.memory_mib = {asked} was clamped to {memory_mib}, the most this host allows"
        ));
    }
    if manifest.tests.len() > TESTS_MAX {
        problems.push(format!("the manifest has {} tests, the limit is {TESTS_MAX}", manifest.tests.len()));
    }
    for (n, test) in manifest.tests.iter().enumerate() {
        if !hooks.contains(&test.hook) {
            let hook = test.hook.name();
            problems.push(format!("test {} asks the hook `{hook}`, which is not among `hooks`", n + 1));
        }
        problems.extend(test.problem().map(|problem| format!("test {} {problem}", n + 1)));
    }
    match problems.is_empty() {
        true => Ok(Checked { manifest, hooks, on_failure, memory_mib, warnings }),
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

fn check_hooks(manifest: &Manifest, problems: &mut Vec<String>) -> Vec<Hook> {
    let mut hooks = Vec::new();
    for name in &manifest.hooks {
        match HOOKS.into_iter().find(|hook| hook.name() == name) {
            Some(hook) if hooks.contains(&hook) => problems.push(format!("hook `{name}` is named twice")),
            Some(hook) => hooks.push(hook),
            None if HOOKS_LATER.contains(&name.as_str()) => {
                problems.push(format!("hook `{name}` is not served by this host yet"));
            }
            None => {
                let served = HOOKS.map(|hook| format!("`{}`", hook.name())).join(", ");
                problems.push(format!("there is no hook `{name}`; this host serves {served}"));
            }
        }
    }
    if manifest.hooks.is_empty() {
        problems.push("`hooks` is empty; name those that the component exports".to_owned());
    }
    if !manifest.events.is_empty() {
        problems.push("`events` are for the hook `bot`, which is not served by this host yet".to_owned());
    }
    hooks.sort();
    hooks
}

fn check_capabilities(
    manifest: &Manifest,
    grants: &[String],
    hooks: &[Hook],
    problems: &mut Vec<String>,
    warnings: &mut Vec<String>,
) {
    let mut check = |what: &str, name: &str| match CAPABILITIES_LATER.contains(&name) {
        true => problems.push(format!("{what} `{name}` is not served by this host yet")),
        false => problems.push(format!(
            "there is no {what} `{name}`; the list is {MEMBER_LIST}, {}",
            CAPABILITIES_LATER.join(", ")
        )),
    };
    manifest
        .capabilities
        .keys()
        .filter(|name| *name != MEMBER_LIST)
        .for_each(|name| check("capability", name));
    let unasked = grants.iter().filter(|grant| !manifest.capabilities.contains_key(*grant));
    unasked.filter(|grant| *grant != MEMBER_LIST).for_each(|grant| check("grant", grant));

    let granted = grants.iter().any(|grant| grant == MEMBER_LIST);
    match manifest.capabilities.get(MEMBER_LIST) {
        None if granted => problems.push(format!("grant `{MEMBER_LIST}` is not among `capabilities`")),
        None => {}
        Some(toml::Value::Boolean(true)) if !hooks.contains(&Hook::FanOut) => problems.push(format!(
            "capability `{MEMBER_LIST}` is for the hook `fan-out`, which is not among `hooks`"
        )),
        Some(toml::Value::Boolean(true)) if !granted => warnings.push(format!(
            "capability `{MEMBER_LIST}` is not granted: the plugin is not shown who is in; grant \
             `{MEMBER_LIST}` if it should be"
        )),
        Some(toml::Value::Boolean(true)) => {}
        Some(other) => problems.push(format!("capability `{MEMBER_LIST}` is {other}, it must be true")),
    }
}

fn check_failure(
    manifest: &Manifest,
    hooks: &[Hook],
    problems: &mut Vec<String>,
    warnings: &mut Vec<String>,
) -> OnFailure {
    let mut on_failure = OnFailure::default();
    for (hook, failure) in &manifest.failure {
        match failure {
            _ if hook != Hook::Moderation.name() => {
                problems.push(format!("failure.{hook} cannot be chosen; only `moderation` can"));
            }
            _ if !hooks.contains(&Hook::Moderation) => {
                problems
                    .push("failure.moderation is given, but `moderation` is not among `hooks`".to_owned());
            }
            Failure::Hold => on_failure = OnFailure::Hold,
            Failure::Reject => on_failure = OnFailure::Reject,
            // It is about an open breaker alone, which this host does not have yet.
            Failure::Allow => warnings.push(
                "failure.moderation = \"allow\" is not obeyed by this host yet: a message that could not be \
                 judged is refused as temporary"
                    .to_owned(),
            ),
        }
    }
    on_failure
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
    match problems.is_empty() {
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
            ("[\"moderation\"]", "[\"moderation\", \"bot\"]", "hook `bot` is not served by this host yet"),
            ("[\"moderation\"]", "[\"moderation\", \"moderation\"]", "named twice"),
            ("[\"moderation\"]", "[]", "`hooks` is empty"),
            ("[\"moderation\"]", "[\"normalise\"]", "test 1 asks the hook `moderation`"),
            (
                "[limits]",
                "[capabilities]\nkv = true\n[limits]",
                "capability `kv` is not served by this host yet",
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
    fn a_grant_that_nobody_asked_for_is_refused() {
        for grant in ["kv", MEMBER_LIST] {
            let found =
                check(GOOD, "wordfilter", &[grant.into()], &Options::default()).unwrap_err().join("\n");
            assert!(found.contains(&format!("grant `{grant}`")), "{found}");
        }
    }

    #[test]
    fn the_member_list_is_for_fan_out_and_without_its_grant_the_operator_is_told() {
        let with = |hooks: &str, value: &str, grants: &[String]| {
            let text = GOOD.replace("[\"moderation\"]", hooks);
            let text = text.replace("[limits]", &format!("[capabilities]\nmember-list = {value}\n[limits]"));
            check(&text, "wordfilter", grants, &Options::default())
        };
        let (hooks, granted) = (r#"["moderation", "fan-out"]"#, [MEMBER_LIST.to_owned()]);
        assert!(with(hooks, "true", &granted).unwrap().warnings.is_empty());
        let warnings = with(hooks, "true", &[]).unwrap().warnings.join("\n");
        assert!(warnings.contains("grant `member-list` if it should be"), "{warnings}");
        for (hooks, value, expected) in [
            (r#"["moderation"]"#, "true", "is for the hook `fan-out`"),
            (hooks, "\"all\"", "it must be true"),
            (hooks, "false", "it must be true"),
        ] {
            let found = with(hooks, value, &granted).unwrap_err().join("\n");
            assert!(found.contains(expected), "{found}");
        }
    }

    #[test]
    fn a_clamp_and_advice_that_is_not_obeyed_are_told() {
        let text =
            GOOD.replace("memory_mib = 32", "memory_mib = 3200").replace("\"reject\"\n", "\"allow\"\n");
        let checked = check(&text, "wordfilter", &[], &Options::default()).unwrap();
        assert_eq!(checked.memory_mib, 64);
        let warnings = checked.warnings.join("\n");
        assert!(warnings.contains("clamped to 64") && warnings.contains("failure.moderation"), "{warnings}");
    }

    #[test]
    fn what_cannot_be_judged_is_refused_unless_the_manifest_says_hold() {
        let advice = |said: &str| {
            let text = GOOD.replace("moderation = \"reject\"\n", said);
            let checked = check(&text, "wordfilter", &[], &Options::default()).unwrap();
            (checked.on_failure, checked.warnings.len())
        };
        assert_eq!(advice(""), (OnFailure::Reject, 0));
        assert_eq!(advice("moderation = \"reject\"\n"), (OnFailure::Reject, 0));
        assert_eq!(advice("moderation = \"hold\"\n"), (OnFailure::Hold, 0));
        assert_eq!(advice("moderation = \"allow\"\n"), (OnFailure::Reject, 1));
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
