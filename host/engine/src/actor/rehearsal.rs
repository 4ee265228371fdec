//! Rehearsals: what a version says of itself, and the manifest's tests, in a throw-away instance.
//!
//! Nothing that an actor does here happens: its effects are compared with what the test expects, and forgotten. It
//! reads the rows that the test gives, and reaches nobody.

use super::{
    answer::Answer,
    instance::{Ask, Blueprint, Instance},
    manifest::{Expect, Input, Test, event_kind},
    pool::Pool,
    running::{Means, Running},
};
use crate::{instance::Failure, manifest::Who};
use async_trait::async_trait;
use godwit_domain::{
    actor::{
        self, Act, Call, Denied, Desk, Effects, Event, EventKind, Fate, Hook, Invocation, Notification,
        Notified, Reply, Request, Served, Target, Value, What,
    },
    conversation::{Kind, Member, Role},
    filter::{Place, Verdict},
    id::{ClientId, ConversationId, Seq, UserId},
    message::{Content, Message},
    time::Ms,
    user::{Privacy, User},
};
use std::{collections::BTreeMap, sync::Arc};
use tokio::sync::Semaphore;

/// Where the manifest's tests take place.
const GROUP: ConversationId = ConversationId::from_u128(1);
const TESTER: UserId = UserId::from_u128(1);
const OWN: UserId = UserId::from_u128(2);

/// Asks what is served, and runs the tests. All problems are told at once.
pub(super) async fn rehearse(
    blueprint: Arc<Blueprint>,
    events: &[EventKind],
    tests: &[Test],
    places: Arc<Semaphore>,
    now: Ms,
) -> Result<Served, Vec<String>> {
    let mut served = Served {
        hooks: blueprint.hooks.clone(),
        events: events.to_vec(),
        commands: Vec::new(),
        kinds: Vec::new(),
    };
    let pool = Pool::open(blueprint.clone(), places).await.map_err(|failure| vec![failure.why])?;
    let mut instance = pool.lend().await.map_err(|failure| vec![failure.why])?;
    let failed =
        |hook: &str, failure: Failure| vec![format!("`{hook}`: {}: {}", failure.how.name(), failure.why)];
    if served.hooks.contains(&Hook::Command) {
        served.commands = instance.commands().await.map_err(|failure| failed("commands", failure))?;
    }
    if served.hooks.contains(&Hook::Notifier) {
        served.kinds = instance.kinds().await.map_err(|failure| failed("kinds", failure))?;
    }
    let mut problems = Vec::new();
    for (n, test) in tests.iter().enumerate() {
        if let Err(problem) = run(&mut instance, &blueprint, test, now).await {
            problems.push(format!("test {} of actors failed: `{}`: {problem}", n + 1, test.hook.name()));
        }
        if !instance.usable() {
            break;
        }
    }
    if problems.is_empty() { Ok(served) } else { Err(problems) }
}

async fn run(instance: &mut Instance, blueprint: &Blueprint, test: &Test, now: Ms) -> Result<(), String> {
    let setting = Setting {
        now,
        sender: Arc::new(user(TESTER, "tester", false, now)),
        role: Role::Member,
        place: group(),
        event: "test".to_owned(),
        payload: None,
    };
    let desk = Rehearsed { now, kv: test.input.kv.clone() };
    let asked = ask(instance, blueprint.means.clone(), test, &setting, Arc::new(desk)).await?;
    let (answer, effects) = asked.map_err(|failure| format!("{}: {}", failure.how.name(), failure.why))?;
    let differences = compare(&test.expect, &answer, &effects);
    if differences.is_empty() { Ok(()) } else { Err(differences.join("; ")) }
}

/// In what surroundings a test takes place.
pub(crate) struct Setting {
    pub(crate) now: Ms,
    pub(crate) sender: Arc<User>,
    pub(crate) role: Role,
    pub(crate) place: Place,
    /// What the event is called.
    pub(crate) event: String,
    /// Of a timer that was set: when it was due, and what comes with it.
    pub(crate) payload: Option<(Ms, Vec<u8>)>,
}

/// The plugin's own user.
pub(crate) fn own(now: Ms) -> User {
    user(OWN, "plugin", true, now)
}

/// Asks what a test asks. The outer error is the test's own mistake.
pub(crate) async fn ask(
    instance: &mut Instance,
    means: Means,
    test: &Test,
    setting: &Setting,
    desk: Arc<dyn Desk>,
) -> Result<Result<(Answer, Effects), Failure>, String> {
    let body = &test.input.body;
    let call = Call {
        user: Arc::new(own(setting.now)),
        event: setting.event.clone(),
        at: setting.now,
        hops: 0,
        answers: Arc::default(),
    };
    let running = Running::new(means, &call, desk);
    Ok(match test.hook {
        Hook::Bot => instance.ask(Ask::Event(&event(&test.input, setting)?), running).await,
        Hook::Command => instance.ask(Ask::Run(&invocation(&test.input, setting)?), running).await,
        Hook::Inbound => {
            let headers = test.input.headers.iter();
            let request = Request {
                method: test.input.method.clone().unwrap_or_else(|| "POST".to_owned()),
                path: test.input.path.clone(),
                query: test.input.query.clone(),
                headers: headers.map(|(name, value)| (name.to_lowercase(), value.clone())).collect(),
                body: body.clone().into_bytes(),
                address: "127.0.0.1".to_owned(),
            };
            instance.ask(Ask::Handle(&request), running).await
        }
        Hook::Notifier => {
            let notification = Notification {
                kind: test.input.kind.clone(),
                endpoint: test.input.endpoint.clone(),
                keys: None,
                user: setting.sender.id,
                device: "device".to_owned(),
                conversation: setting.place.id,
                seq: Seq(1),
                sender: OWN,
                preview: (!body.is_empty()).then(|| body.clone()),
            };
            instance.ask(Ask::Notify(&notification), running).await
        }
    })
}

fn user(id: UserId, name: &str, bot: bool, now: Ms) -> User {
    let (name, privacy) = (name.to_owned(), Privacy::default());
    User { id, name, display_name: None, bot, time_zone: None, joined_at: now, avatar: None, privacy }
}

fn group() -> Place {
    Place { id: GROUP, kind: Kind::Group, title: None, member_count: 2, encrypted: false, labels: Vec::new() }
}

fn event(input: &Input, setting: &Setting) -> Result<Event, String> {
    let Setting { now, sender, place, .. } = setting;
    let (now, by) = (*now, sender.id);
    let named = input.event.as_deref().unwrap_or("message");
    let kind = event_kind(named).ok_or_else(|| format!("there is no event `{named}`"))?;
    let message = Arc::new(Message {
        conversation: place.id,
        seq: Seq(1),
        sender: by,
        client_id: ClientId::from_u128(1),
        sent_at: now,
        content: Content::text(&input.body),
        via: None,
        verdict: Verdict::default(),
        revised: None,
    });
    let what = match kind {
        EventKind::Message | EventKind::Mentioned => {
            What::Message { message, sender: sender.clone(), mentioned: kind == EventKind::Mentioned }
        }
        EventKind::Edited => What::Edited { message, by },
        EventKind::Deleted => What::Deleted { seq: Seq(1), by },
        EventKind::Reaction => What::Reaction { seq: Seq(1), emoji: input.name.clone(), on: true, by },
        EventKind::Joined => What::Joined { user: by, by },
        EventKind::Left => What::Left { user: by, by },
        EventKind::Timer => {
            let written = || (now, input.body.clone().into_bytes());
            let (at, payload) = setting.payload.clone().unwrap_or_else(written);
            What::Timer { name: input.name.clone(), at, payload }
        }
        EventKind::Sent => {
            What::Sent { reference: input.name.clone(), fate: Fate::Accepted(place.id, Seq(1)) }
        }
    };
    let place = (kind != EventKind::Timer).then(|| place.clone());
    Ok(Event { id: setting.event.clone(), at: now, hops: 0, place, what })
}

fn invocation(input: &Input, setting: &Setting) -> Result<Invocation, String> {
    let value = |(name, value): (&String, &toml::Value)| {
        let value = match value {
            toml::Value::String(text) => Value::Text(text.clone()),
            toml::Value::Integer(number) => Value::Integer(*number),
            toml::Value::Float(number) => Value::Number(*number),
            toml::Value::Table(typed) => typed_value(typed)
                .ok_or_else(|| format!("argument `{name}` is {value}; write {{ duration = 60000 }}, {{ user = \"ben\" }} or {{ choice = \"yes\" }}"))?,
            other => return Err(format!("argument `{name}` is {other}, and must be a text or a number")),
        };
        Ok((name.clone(), value))
    };
    Ok(Invocation {
        name: input.command.clone(),
        arguments: input.arguments.iter().map(value).collect::<Result<_, _>>()?,
        place: setting.place.clone(),
        caller: setting.sender.clone(),
        role: setting.role,
        client_id: ClientId::from_u128(1),
    })
}

/// A value whose type cannot be seen from how it is written.
fn typed_value(typed: &toml::Table) -> Option<Value> {
    let (kind, value) = typed.iter().next().filter(|_| typed.len() == 1)?;
    match (kind.as_str(), value) {
        ("duration", toml::Value::Integer(ms)) => u64::try_from(*ms).ok().map(Value::Duration),
        ("user", toml::Value::String(name)) => {
            let id = uuid::Uuid::try_parse(name);
            Some(Value::User(id.map_or_else(|_| Who::named(name).into(), UserId)))
        }
        ("choice", toml::Value::String(choice)) => Some(Value::Choice(choice.clone())),
        _ => None,
    }
}

pub(crate) fn compare(expect: &Expect, answer: &Answer, effects: &Effects) -> Vec<String> {
    let mut differences = Vec::new();
    let mut differ = |what: &str, expected: String, found: String| {
        if expected != found {
            differences.push(format!("{what} should be {expected} and is {found}"));
        }
    };
    if let Some(send) = &expect.send {
        let sent = effects.acts.iter().filter_map(|act| match act {
            Act::Send(_, content) => Some(&content.body),
            _ => None,
        });
        differ("what it sends", format!("{send:?}"), format!("{:?}", sent.collect::<Vec<_>>()));
    }
    if let Some(kv) = &expect.kv {
        let written = effects.writes.iter().map(|write| {
            let value = write.value.as_ref().map(|value| String::from_utf8_lossy(value).into_owned());
            (&write.key, value.map_or(toml::Value::Boolean(false), toml::Value::String))
        });
        let written: BTreeMap<_, _> = written.collect();
        let expected: BTreeMap<_, _> = kv.iter().map(|(key, value)| (key, value.clone())).collect();
        differ("what it writes", format!("{expected:?}"), format!("{written:?}"));
    }
    if let Some(timers) = &expect.timers {
        let set = effects.acts.iter().filter_map(|act| match act {
            Act::SetTimer { name, .. } => Some(name),
            _ => None,
        });
        differ("its timers", format!("{timers:?}"), format!("{:?}", set.collect::<Vec<_>>()));
    }
    if let Some(count) = expect.effects {
        differ(
            "the number of its effects",
            count.to_string(),
            (effects.acts.len() + effects.writes.len()).to_string(),
        );
    }
    let shown = shown(answer);
    if let Some(text) = &expect.to_caller {
        differ("its answer", format!("to-caller {text:?}"), shown.clone());
    }
    if let Some(text) = &expect.to_all {
        differ("its answer", format!("to-all {text:?}"), shown.clone());
    }
    if expect.silent == Some(true) {
        differ("its answer", "none".to_owned(), shown.clone());
    }
    if let Some(status) = expect.status {
        let found =
            if let Answer::Response(response) = answer { response.status.to_string() } else { shown.clone() };
        differ("its status", status.to_string(), found);
    }
    if let Some(body) = &expect.body {
        let found = match answer {
            Answer::Response(response) => String::from_utf8_lossy(&response.body).into_owned(),
            _ => shown.clone(),
        };
        differ("its body", format!("{body:?}"), format!("{found:?}"));
    }
    if let Some(outcome) = &expect.outcome {
        differ("its outcome", outcome.clone(), shown.clone());
    }
    match (&expect.refused, answer) {
        (Some(part), Answer::Refused { text, .. }) if text.contains(part) => {}
        (Some(part), _) => differ("its answer", format!("an error with {part:?}"), shown),
        (None, Answer::Refused { .. }) => differ("its answer", "no error".to_owned(), shown),
        (None, _) => {}
    }
    differences
}

pub(crate) fn shown(answer: &Answer) -> String {
    match answer {
        Answer::Heard => "ok".to_owned(),
        Answer::Reply(Reply::ToCaller(content)) => format!("to-caller {:?}", content.body),
        Answer::Reply(Reply::ToAll(content)) => format!("to-all {:?}", content.body),
        Answer::Reply(Reply::None) => "none".to_owned(),
        Answer::Response(response) => format!("status {}", response.status),
        Answer::Notified(Notified::Sent) => "sent".to_owned(),
        Answer::Notified(Notified::Gone) => "gone".to_owned(),
        Answer::Notified(Notified::Later(_)) => "later".to_owned(),
        Answer::Refused { text, .. } => format!("an error: {text}"),
    }
}

/// A host in which nobody is but the tester.
struct Rehearsed {
    now: Ms,
    kv: BTreeMap<String, String>,
}

#[async_trait]
impl Desk for Rehearsed {
    fn now(&self) -> Ms {
        self.now
    }

    async fn kv_get(&self, key: &str) -> Result<Option<Arc<[u8]>>, Denied> {
        Ok(self.kv.get(key).map(|value| value.as_bytes().into()))
    }

    async fn kv_scan(
        &self,
        bucket: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<(Vec<(String, Arc<[u8]>)>, u64), Denied> {
        let rows = self.kv.iter().filter(|(key, _)| {
            actor::bucket(key) == bucket && after.is_none_or(|after| key.as_str() > after)
        });
        Ok((rows.take(limit).map(|(key, value)| (key.clone(), value.as_bytes().into())).collect(), 0))
    }

    async fn history(&self, _: ConversationId, _: Option<Seq>, _: usize) -> Result<Vec<Message>, Denied> {
        Ok(Vec::new())
    }

    async fn members(&self, _: ConversationId, _: Option<UserId>, _: usize) -> Result<Vec<Member>, Denied> {
        Ok(Vec::new())
    }

    async fn sendable(&self, _: Target) -> Result<(), Denied> {
        Ok(())
    }

    async fn user(&self, id: UserId) -> Result<Option<User>, Denied> {
        Ok((id == TESTER).then(|| user(TESTER, "tester", false, self.now)))
    }

    async fn user_by_name(&self, name: &str) -> Result<Option<User>, Denied> {
        Ok((name == "tester").then(|| user(TESTER, "tester", false, self.now)))
    }
}
