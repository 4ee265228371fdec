//! Plugins written for a test: a function per hook, and a note of everything that they heard.

use async_trait::async_trait;
use godwit_core::domain::{
    actor::{
        Act, Actor, Actors, Call, CommandSpec, Desk, Effects, Event, EventKind, Hook, Invocation, KvWrite,
        Notification, Notified, Outcome, Reply, Request, Response, Target, What,
    },
    filter::Decision,
    id::ConversationId,
    message::Content,
};
use std::sync::{Arc, Mutex};

type OnEvent =
    dyn Fn(Event, Arc<dyn Desk>) -> futures_util::future::BoxFuture<'static, Outcome<()>> + Send + Sync;
type Run = dyn Fn(&Invocation) -> Outcome<Reply> + Send + Sync;
type Handle = dyn Fn(&Request) -> Outcome<Response> + Send + Sync;

/// One plugin.
pub struct Script {
    pub id: String,
    hooks: Vec<Hook>,
    events: Vec<EventKind>,
    granted: Vec<&'static str>,
    pub commands: Vec<CommandSpec>,
    on_event: Option<Arc<OnEvent>>,
    pub run: Option<Box<Run>>,
    pub handle: Option<Box<Handle>>,
    pub suspended: Mutex<Option<String>>,
    /// What it heard, in a few words each.
    pub heard: Mutex<Vec<String>>,
    /// How often it was called, whatever came of it.
    pub calls: Mutex<u32>,
}

impl Script {
    pub fn new(id: &str) -> Self {
        Self {
            id: id.into(),
            hooks: Vec::new(),
            events: Vec::new(),
            granted: Vec::new(),
            commands: Vec::new(),
            on_event: None,
            run: None,
            handle: None,
            suspended: Mutex::default(),
            heard: Mutex::default(),
            calls: Mutex::default(),
        }
    }

    pub fn granted(mut self, capability: &'static str) -> Self {
        self.granted.push(capability);
        self
    }

    pub fn hook(mut self, hook: Hook) -> Self {
        self.hooks.push(hook);
        self
    }

    /// A bot that hears such events and does what the function says.
    pub fn bot<F: Future<Output = Outcome<()>> + Send + 'static>(
        mut self,
        events: &[EventKind],
        on_event: impl Fn(Event, Arc<dyn Desk>) -> F + Send + Sync + 'static,
    ) -> Self {
        self.hooks.push(Hook::Bot);
        self.events = events.to_vec();
        self.on_event = Some(Arc::new(move |event, desk| Box::pin(on_event(event, desk))));
        self
    }

    pub fn heard(&self) -> Vec<String> {
        self.heard.lock().unwrap().clone()
    }

    pub fn calls(&self) -> u32 {
        *self.calls.lock().unwrap()
    }

    pub fn suspend(&self, why: Option<&str>) {
        *self.suspended.lock().unwrap() = why.map(str::to_owned);
    }
}

/// Nothing of that hook.
fn unserved<T>() -> Outcome<T> {
    Outcome::Failed { how: Decision::Trap, why: "the test serves no such hook".into() }
}

/// Effects that are these acts.
pub fn acts(acts: Vec<Act>) -> Outcome<()> {
    Outcome::Done((), Effects { acts, ..Effects::default() })
}

/// Nothing happens.
pub fn nothing() -> Outcome<()> {
    acts(Vec::new())
}

pub fn say(conversation: ConversationId, body: impl Into<String>) -> Act {
    Act::Send(Target::Conversation(conversation), Content::text(body))
}

/// The conversation in which an event took place.
pub fn place(event: &Event) -> ConversationId {
    event.place.as_ref().unwrap().id
}

/// Reads a number, and writes the next one.
pub async fn count_up(desk: &dyn Desk, key: &str, effects: &mut Effects) {
    let before = desk.kv_get(key).await.unwrap();
    let number: u64 =
        before.as_deref().map_or(0, |value| std::str::from_utf8(value).unwrap().parse().unwrap());
    effects.reads.push((key.to_owned(), before));
    let value = Some((number + 1).to_string().into_bytes());
    effects.writes.push(KvWrite { key: key.to_owned(), value, ttl_s: None });
}

fn words(event: &Event) -> String {
    match &event.what {
        What::Message { message, sender, mentioned } => {
            let how = if *mentioned { "mentioned" } else { "message" };
            format!("{how} {} by {}", message.content.body, sender.name)
        }
        What::Edited { message, .. } => format!("edited {} to {}", message.seq, message.content.body),
        What::Deleted { seq, .. } => format!("deleted {seq}"),
        What::Reaction { seq, emoji, on, .. } => format!("reaction {emoji} {on} to {seq}"),
        What::Joined { .. } => "joined".into(),
        What::Left { .. } => "left".into(),
        What::Timer { name, payload, .. } => {
            format!("timer {name} {}", String::from_utf8_lossy(payload))
        }
        What::Sent { reference, fate } => format!("sent {reference} {fate:?}"),
    }
}

#[async_trait]
impl Actor for Script {
    fn id(&self) -> &str {
        &self.id
    }

    fn version(&self) -> &str {
        "1.0.0"
    }

    fn hooks(&self) -> &[Hook] {
        &self.hooks
    }

    fn events(&self) -> &[EventKind] {
        &self.events
    }

    fn may(&self, capability: &str) -> bool {
        self.granted.contains(&capability)
    }

    fn suspended(&self) -> Option<String> {
        self.suspended.lock().unwrap().clone()
    }

    fn commands(&self) -> &[CommandSpec] {
        &self.commands
    }

    fn kinds(&self) -> &[String] {
        &[]
    }

    async fn on_event(&self, _: &Call, event: &Event, desk: Arc<dyn Desk>) -> Outcome<()> {
        *self.calls.lock().unwrap() += 1;
        let Some(on_event) = self.on_event.clone() else { return unserved() };
        let outcome = on_event(event.clone(), desk).await;
        if matches!(outcome, Outcome::Done(..)) {
            self.heard.lock().unwrap().push(words(event));
        }
        outcome
    }

    async fn run(&self, _: &Call, invocation: &Invocation, _: Arc<dyn Desk>) -> Outcome<Reply> {
        *self.calls.lock().unwrap() += 1;
        self.run.as_ref().map_or_else(unserved, |run| run(invocation))
    }

    async fn handle(&self, _: &Call, request: &Request, _: Arc<dyn Desk>) -> Outcome<Response> {
        *self.calls.lock().unwrap() += 1;
        self.handle.as_ref().map_or_else(unserved, |handle| handle(request))
    }

    async fn notify(&self, _: &Call, _: &Notification, _: Arc<dyn Desk>) -> Outcome<Notified> {
        unserved()
    }

    fn committed(&self, _: &[KvWrite]) {}
}

/// All plugins that are installed.
#[derive(Default)]
pub struct Cast {
    present: Mutex<Vec<Arc<Script>>>,
    wake: Mutex<Vec<Box<dyn Fn() + Send + Sync>>>,
}

impl Cast {
    pub fn of(scripts: impl IntoIterator<Item = Arc<Script>>) -> Arc<Self> {
        let cast = Self::default();
        cast.present.lock().unwrap().extend(scripts);
        Arc::new(cast)
    }

    pub fn install(&self, script: &Arc<Script>) {
        self.present.lock().unwrap().push(script.clone());
        self.changed();
    }

    pub fn remove(&self, id: &str) {
        self.present.lock().unwrap().retain(|script| script.id != id);
        self.changed();
    }

    pub fn changed(&self) {
        self.wake.lock().unwrap().iter().for_each(|wake| wake());
    }
}

impl Actors for Cast {
    fn all(&self) -> Vec<Arc<dyn Actor>> {
        self.present.lock().unwrap().iter().map(|script| script.clone() as Arc<dyn Actor>).collect()
    }

    fn on_change(&self, wake: Box<dyn Fn() + Send + Sync>) {
        self.wake.lock().unwrap().push(wake);
    }
}
