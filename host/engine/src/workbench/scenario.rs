//! Scenarios: what happens to a plugin in a test, in the words of manifests, one step after the other.
//!
//! It owns the file format and its bounds, and refuses to know how a step is carried out. `sdk/TESTING.md` describes
//! the format for authors.

use crate::{
    actor::manifest::{HOOKS as ACTOR_HOOKS, Test as ActorTest},
    manifest::{Test, When, Who},
};
use godwit_domain::{
    conversation::{Kind, Role},
    filter::Place,
    id::{ConversationId, UserId},
    time::Ms,
    user::{Privacy, User},
};
use serde::Deserialize;
use std::{collections::BTreeMap, time::Duration};

/// Size in bytes of a scenario's file.
pub const SCENARIO_BYTES_MAX: usize = 1 << 20;
/// Steps of one scenario, repetitions counted.
const STEPS_MAX: usize = 100_000;
/// When a scenario begins that does not say it: a Monday at noon.
const BEGIN: Ms = Ms(1_767_614_400_000);
/// For how long people have been there who do not say it.
const MONTH_MS: u64 = 30 * 24 * 60 * 60 * 1_000;

/// What happens to a plugin in a test.
#[derive(Debug, Clone)]
pub struct Scenario {
    /// Its name, for people.
    pub name: String,
    /// The plugin's configuration, as JSON; what the folder or the manifest has where there is none.
    pub config: Option<String>,
    pub(super) begin: Ms,
    pub(super) place: Place,
    pub(super) people: BTreeMap<String, Person>,
    pub(super) kv: BTreeMap<String, String>,
    pub(super) secrets: BTreeMap<String, String>,
    pub(super) http: Vec<Exchange>,
    pub(super) steps: Vec<Step>,
}

/// Someone in a scenario.
#[derive(Debug, Clone)]
pub(super) struct Person {
    pub(super) user: User,
    pub(super) role: Role,
    pub(super) member_since: Ms,
}

/// What a server answers.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Exchange {
    #[serde(default = "get")]
    pub(super) method: String,
    pub(super) url: String,
    #[serde(default = "ok")]
    pub(super) status: u16,
    #[serde(default)]
    pub(super) headers: BTreeMap<String, String>,
    #[serde(default)]
    pub(super) body: String,
    /// Whether nobody answers.
    #[serde(default)]
    pub(super) fails: bool,
    /// How often it answers so; always where it is left out.
    pub(super) times: Option<u32>,
}

fn get() -> String {
    "GET".to_owned()
}

fn ok() -> u16 {
    200
}

/// One step.
#[derive(Debug, Clone)]
pub(super) struct Step {
    pub(super) title: Option<String>,
    /// When it happens, if the time is not the one of the step before.
    pub(super) time: Option<Time>,
    /// Who does it; the first of the people, or somebody, where it is left out.
    pub(super) from: Option<String>,
    pub(super) repeat: u32,
    /// What its log must contain.
    pub(super) log: Option<String>,
    pub(super) test: Asked,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Time {
    After(Duration),
    At(Ms),
}

/// What a step asks.
#[derive(Debug, Clone)]
pub(super) enum Asked {
    Filter(Box<Test>),
    Actor(Box<ActorTest>),
}

#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
#[derive(Default)]
struct Written {
    name: Option<String>,
    now: Option<When>,
    config: Option<toml::Value>,
    conversation: WrittenPlace,
    people: BTreeMap<String, WrittenPerson>,
    kv: BTreeMap<String, String>,
    secrets: BTreeMap<String, String>,
    http: Vec<Exchange>,
    step: Vec<toml::Table>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
struct WrittenPlace {
    kind: Option<Kind>,
    title: Option<String>,
    member_count: Option<u32>,
    labels: Vec<String>,
    encrypted: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
struct WrittenPerson {
    display_name: Option<String>,
    role: Option<Role>,
    time_zone: Option<String>,
    bot: bool,
    joined: Option<When>,
    member_since: Option<When>,
}

/// What a step says beside its test.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Beside {
    title: Option<String>,
    after: Option<String>,
    at: Option<When>,
    from: Option<String>,
    repeat: Option<u32>,
    log: Option<String>,
}

const BESIDE: [&str; 6] = ["title", "after", "at", "from", "repeat", "log"];

impl Scenario {
    /// Reads a scenario. `name` is what it is called if it does not say so itself; `only` is the plugin's one hook, if
    /// it has one alone: steps need not name it then.
    ///
    /// # Errors
    /// What is wrong with it, and in which step.
    pub fn parse(text: &str, name: &str, only: Option<&str>) -> Result<Self, String> {
        if text.len() > SCENARIO_BYTES_MAX {
            return Err(format!("it has {} bytes, the limit is {SCENARIO_BYTES_MAX}", text.len()));
        }
        let written: Written = toml::from_str(text).map_err(|error| error.to_string())?;
        let mut steps = Vec::new();
        for (n, table) in written.step.into_iter().enumerate() {
            steps.push(step(table, only).map_err(|problem| format!("step {}: {problem}", n + 1))?);
        }
        let count: usize = steps.iter().map(|step| step.repeat as usize).sum();
        if count > STEPS_MAX {
            return Err(format!("it has {count} steps, the limit is {STEPS_MAX}"));
        }
        if count == 0 {
            return Err("it has no [[step]], so it tests nothing".to_owned());
        }
        let begin = written.now.map_or(BEGIN, Ms::from);
        let people: BTreeMap<_, _> = written
            .people
            .into_iter()
            .map(|(name, person)| {
                let person = person.met(&name, begin);
                (name, person)
            })
            .collect();
        if let Some(stranger) = steps
            .iter()
            .filter_map(|step| step.from.as_ref())
            .find(|name| !people.is_empty() && !people.contains_key(*name))
        {
            return Err(format!("`{stranger}` is not among [people]"));
        }
        let config = written.config.map(|config| serde_json::to_string(&config));
        let config = config.transpose().map_err(|error| format!("config: {error}"))?;
        let WrittenPlace { kind, title, member_count, labels, encrypted } = written.conversation;
        let known = u32::try_from(people.len()).unwrap_or(u32::MAX);
        Ok(Self {
            name: written.name.unwrap_or_else(|| name.to_owned()),
            config,
            begin,
            place: Place {
                id: ConversationId::from_u128(1),
                kind: kind.unwrap_or(Kind::Group),
                title,
                member_count: member_count.unwrap_or(known.max(2)),
                encrypted,
                labels,
            },
            people,
            kv: written.kv,
            secrets: written.secrets,
            http: written.http,
            steps,
        })
    }

    /// The manifest's own tests, each as a step.
    pub(super) fn of_manifest(filters: &[Test], actors: &[ActorTest]) -> Self {
        let alone = |test| Step { title: None, time: None, from: None, repeat: 1, log: None, test };
        let filters = filters.iter().map(|test| alone(Asked::Filter(Box::new(test.clone()))));
        let actors = actors.iter().map(|test| alone(Asked::Actor(Box::new(test.clone()))));
        let place = crate::rehearsal::scene(BEGIN).conversation;
        Self {
            name: "tests of the manifest".to_owned(),
            config: None,
            begin: BEGIN,
            place: place.expect("the scene of rehearsals is a group"),
            people: BTreeMap::new(),
            kv: BTreeMap::new(),
            secrets: BTreeMap::new(),
            http: Vec::new(),
            steps: filters.chain(actors).collect(),
        }
    }
}

impl WrittenPerson {
    fn met(self, name: &str, begin: Ms) -> Person {
        let month_ago = Ms(begin.0.saturating_sub(MONTH_MS));
        let joined_at = self.joined.map_or(month_ago, Ms::from);
        Person {
            member_since: self.member_since.map_or(joined_at, Ms::from),
            role: self.role.unwrap_or(Role::Member),
            user: User {
                id: UserId::from(Who::named(name)),
                name: name.to_owned(),
                display_name: self.display_name,
                bot: self.bot,
                time_zone: self.time_zone,
                joined_at,
                avatar: None,
                privacy: Privacy::default(),
            },
        }
    }
}

fn step(mut table: toml::Table, only: Option<&str>) -> Result<Step, String> {
    let mut beside = toml::Table::new();
    for name in BESIDE {
        if let Some(value) = table.remove(name) {
            beside.insert(name.to_owned(), value);
        }
    }
    let beside: Beside =
        toml::Value::Table(beside).try_into().map_err(|error: toml::de::Error| error.message().to_owned())?;
    if let (None, Some(only)) = (table.get("hook"), only) {
        table.insert("hook".to_owned(), toml::Value::String(only.to_owned()));
    }
    let hook = table.get("hook").and_then(toml::Value::as_str).unwrap_or_default().to_owned();
    if hook.is_empty() {
        return Err("it does not say which `hook` it asks".to_owned());
    }
    let read = |error: toml::de::Error| error.message().to_owned();
    let value = toml::Value::Table(table);
    let test = match ACTOR_HOOKS.iter().any(|known| known.name() == hook) {
        true => Asked::Actor(Box::new(value.try_into().map_err(read)?)),
        false => {
            let test: Test = value.try_into().map_err(read)?;
            match test.problem() {
                Some(problem) => return Err(problem),
                None => Asked::Filter(Box::new(test)),
            }
        }
    };
    let time = match (beside.after, beside.at) {
        (Some(_), Some(_)) => return Err("it has `after` and `at`; one is enough".to_owned()),
        (Some(after), None) => Some(Time::After(duration(&after)?)),
        (None, at) => at.map(|at| Time::At(at.into())),
    };
    let repeat = beside.repeat.unwrap_or(1);
    if repeat == 0 || repeat as usize > STEPS_MAX {
        return Err(format!("`repeat` is {repeat}; 1 to {STEPS_MAX} are possible"));
    }
    Ok(Step { title: beside.title, time, from: beside.from, repeat, log: beside.log, test })
}

fn duration(text: &str) -> Result<Duration, String> {
    let parsed = text.parse::<jiff::SignedDuration>().ok().and_then(|span| Duration::try_from(span).ok());
    parsed.ok_or_else(|| format!("`after` is `{text}`; write it as in 90s, 5m or 1h 30m"))
}

impl Step {
    /// The hook that it asks.
    pub(super) fn hook(&self) -> &'static str {
        match &self.test {
            Asked::Filter(test) => test.hook.name(),
            Asked::Actor(test) => test.hook.name(),
        }
    }

    /// Its title, or what it is about.
    pub(super) fn title(&self) -> String {
        let said = |test: &ActorTest| {
            let input = &test.input;
            let words = [&input.command, &input.name, &input.path, &input.body];
            let word = words.into_iter().find(|word| !word.is_empty());
            format!("`{}` of {:?}", test.hook.name(), word.map_or("", String::as_str))
        };
        self.title.clone().unwrap_or_else(|| match &self.test {
            Asked::Filter(test) => test.to_string(),
            Asked::Actor(test) => said(test),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scenario_is_read_with_its_people_and_times() {
        let text = r#"
            now = 2026-03-28T22:00:00+01:00
            config = { limit = 3 }
            people.ada = { role = "admin", time-zone = "Europe/Berlin" }
            people.ben = { bot = true }
            conversation = { kind = "channel", member-count = 900 }
            [[step]]
            from = "ada"
            after = "1h 30m"
            input = { body = "hello" }
            expect = { allow = true }
        "#;
        let scenario = Scenario::parse(text, "night", Some("moderation")).unwrap();
        assert_eq!((scenario.name.as_str(), scenario.config.as_deref()), ("night", Some(r#"{"limit":3}"#)));
        assert_eq!(scenario.people["ada"].role, Role::Admin);
        assert!(scenario.people["ben"].user.bot);
        assert_eq!(scenario.place.member_count, 900);
        assert!(matches!(scenario.steps[0].time, Some(Time::After(time)) if time.as_secs() == 5_400));
    }

    #[test]
    fn a_mistake_is_named_with_its_step() {
        let step = "[[step]]\ninput = { body = \"x\" }\nexpect = { allow = true }\n";
        let good = format!("people.ada = {{}}\n{step}");
        assert!(Scenario::parse(&good, "x", Some("moderation")).is_ok());
        for (text, expected) in [
            (good.clone() + "[[step]]\nhook = \"normalize\"", "step 2"),
            (good.clone() + "after = \"soon\"", "write it as in 90s"),
            (good.clone() + "from = \"eve\"", "`eve` is not among [people]"),
            (good.clone() + "repeat = 0", "`repeat` is 0"),
            (good.clone() + "surprise = 1", "surprise"),
            (good.replace("body", "bodi"), "bodi"),
            ("people.ada = {}".to_owned(), "tests nothing"),
            ("steps = []".to_owned(), "steps"),
        ] {
            let found = Scenario::parse(&text, "x", Some("moderation")).unwrap_err();
            assert!(found.contains(expected), "{text}: {found}");
        }
        let found = Scenario::parse(step, "x", None).unwrap_err();
        assert!(found.contains("step 1: it does not say which `hook`"), "{found}");
    }

    #[test]
    fn the_scenarios_that_the_page_shows_can_be_read() {
        let page = include_str!("../../../../sdk/TESTING.md");
        let blocks: Vec<_> =
            page.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
        assert_eq!(blocks.len(), 3);
        for block in blocks {
            if let Err(problem) = Scenario::parse(block, "page", None) {
                panic!("{problem}: {block}");
            }
        }
    }
}
