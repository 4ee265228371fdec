//! A run: users with devices before a host, and beside them the model, which follows by the replies.
//!
//! Requests that were under way at once may have happened in any order that the replies allow, and those whose replies
//! were lost may not have happened: so there may be several models for a while, all of which explain what was seen.
//!
//! This file is long because what happens to a run and what may explain it are one state.

use crate::{
    device::Kept,
    host::{Disk, EPOCH, Life, START_MS},
    line::Line,
    op::{Deed, How, Op},
    request::{Reply, Request},
    resolve,
    state::Model,
};
use godwit_core::domain::{
    id::{ConversationId, UserId},
    time::{Clock, Ms},
};
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    future::poll_fn,
    task::Poll,
    time::Duration,
};

/// How many devices each user has.
const DEVICES: [usize; 4] = [3, 2, 1, 1];
/// No cursor is older than its run: in one that is no longer than this, all are good.
const RETENTION_MS: u64 = 7 * 24 * 60 * 60 * 1000;
/// Anything that takes longer than this hangs.
const PATIENCE: Duration = Duration::from_secs(20);
/// Models that may explain what was seen; more would mean that the run tells nothing any more.
const MODELS_MAX: usize = 2_000;

pub type Checked<T = ()> = Result<T, String>;

pub struct Device {
    pub user: UserId,
    name: String,
    kept: Kept,
    /// What it had at its last cursors, newest last.
    past: Vec<Kept>,
    line: Option<Line>,
}

pub struct World {
    disk: Disk,
    // Lines go before the life that they lead to.
    pub devices: Vec<Device>,
    life: Option<Life>,
    pub users: Vec<UserId>,
    /// In the order in which they were made.
    pub conversations: Vec<ConversationId>,
    models: Vec<Model>,
    /// Writing requests of the past.
    asked: Vec<(UserId, Request)>,
    pub made: u64,
    /// What happened, for people.
    story: Vec<String>,
}

/// A request under way.
struct Pending {
    device: usize,
    id: u64,
    request: Request,
    reply: Option<Reply>,
}

impl World {
    pub fn new() -> Self {
        let disk = Disk::new();
        let life = disk.start();
        let mut users: Vec<_> = (0..DEVICES.len()).map(|nth| life.register(&format!("user-{nth}"))).collect();
        // In an order that is the same in every run, for whatever goes by ids.
        users.sort_unstable();
        let devices = users.iter().zip(DEVICES).enumerate().flat_map(|(nth, (user, count))| {
            (0..count).map(move |device| Device {
                user: *user,
                name: format!("u{nth}.{device}"),
                kept: Kept::default(),
                past: Vec::new(),
                line: None,
            })
        });
        let model = Model { users: users.iter().copied().collect(), conversations: BTreeMap::new() };
        Self {
            devices: devices.collect(),
            disk,
            life: Some(life),
            users,
            conversations: Vec::new(),
            models: vec![model],
            asked: Vec::new(),
            made: 0,
            story: Vec::new(),
        }
    }

    /// Lets all of it happen, then compares; what went wrong comes with the story.
    pub fn run(mut self, ops: &[Op]) -> Checked {
        let result = ops.iter().chain([&Op::Compare]).try_for_each(|op| self.op(op));
        let story = self.story.join("\n");
        self.devices.clear();
        if let Some(life) = self.life.take() {
            self.disk.close(life);
        }
        result.map_err(|what| self.short(&format!("{what}\n--- what happened:\n{story}")))
    }

    /// The text with names for ids.
    fn short(&self, text: &str) -> String {
        let users = self.users.iter().enumerate().map(|(nth, id)| (id.to_string(), format!("u{nth}")));
        let conversations = self.conversations.iter().enumerate();
        let conversations = conversations.map(|(nth, id)| (id.to_string(), format!("c{nth}")));
        users.chain(conversations).fold(text.to_owned(), |text, (id, name)| text.replace(&id, &name))
    }

    pub fn now(&self) -> Ms {
        self.disk.clock.now()
    }

    /// One of the models: what it says of numbers is good enough to ask by.
    pub fn model(&self) -> &Model {
        &self.models[0]
    }

    fn life(&self) -> &Life {
        self.life.as_ref().expect("there is a host until the end")
    }

    fn op(&mut self, op: &Op) -> Checked {
        match op {
            Op::Ask(deed) => self.together(&[(deed.clone(), 0)]),
            Op::Together(deeds) => self.together(deeds),
            Op::Crash(deeds, turns) => self.crash(deeds, *turns),
            Op::Again { nth, device } => {
                if self.asked.is_empty() {
                    return Ok(());
                }
                let nth = self.asked.len() - 1 - usize::from(*nth) % self.asked.len();
                let (user, request) = self.asked[nth].clone();
                self.again(user, &request, usize::from(*device))
            }
            Op::Disconnect { device } => {
                let device = self.device(*device);
                self.tell(format!("{} disconnects", self.devices[device].name));
                self.devices[device].line = None;
                Ok(())
            }
            Op::Connect { device, how } => self.connect(self.device(*device), *how),
            Op::Tell => {
                self.tell("heads and cursors are told".into());
                self.life().host.tell_heads();
                self.life().host.tell_cursors();
                self.hear()
            }
            Op::Pass(ms) => {
                self.tell(format!("{ms} ms pass"));
                self.disk.clock.pass(*ms);
                Ok(())
            }
            Op::Compare => self.compare(),
        }
    }

    fn tell(&mut self, what: String) {
        self.story.push(what);
    }

    pub fn device(&self, nth: u8) -> usize {
        usize::from(nth) % self.devices.len()
    }

    fn together(&mut self, deeds: &[(Deed, u8)]) -> Checked {
        let mut pending = self.begin(deeds)?;
        self.finish(&mut pending)?;
        self.explain(&pending)
    }

    /// Posts requests, the next one after some turns of the host.
    fn begin(&mut self, deeds: &[(Deed, u8)]) -> Checked<Vec<Pending>> {
        for (deed, _) in deeds {
            let device = self.device(deed.device);
            if self.devices[device].line.is_none() {
                self.connect(device, How::Resume)?;
            }
        }
        let mut pending = Vec::new();
        for (deed, turns) in deeds {
            let device = self.device(deed.device);
            let mut request = resolve::request(self, device, &deed.act);
            if let Request::Mark { conversation, seq, .. } = &mut request
                && deeds.len() > 1
            {
                // Which end a mark is cut to while messages are under way is left open.
                let found = self.model().conversations.get(conversation);
                *seq = (*seq).min(found.map_or(0, |found| found.last_seq()));
            }
            // What is read while something else happens is not of one moment.
            if deeds.len() > 1 && request.reads() {
                continue;
            }
            pending.push(self.post(device, request)?);
            self.life().turns(*turns);
        }
        Ok(pending)
    }

    fn post(&mut self, device: usize, request: Request) -> Checked<Pending> {
        let life = self.life.as_ref().expect("there is a host until the end");
        let Device { user, name, line, .. } = &mut self.devices[device];
        let line = line.as_mut().ok_or("a device without a connection")?;
        let frame = request.frame(line.next_id());
        let id = line.post(life, Some(&request), &frame)?;
        // What is read is told only where it is wrong.
        if !request.reads() {
            self.story.push(format!("{name}: {}", cut(&frame)));
            self.asked.push((*user, request.clone()));
        }
        Ok(Pending { device, id, request, reply: None })
    }

    /// Waits until all of them are answered.
    fn finish(&mut self, pending: &mut [Pending]) -> Checked {
        loop {
            self.hear()?;
            let is_open = |pending: &Pending| {
                let line = self.devices[pending.device].line.as_ref();
                line.is_some_and(|line| !line.has_answered(pending.id))
            };
            if !pending.iter().any(is_open) {
                break;
            }
            self.wait()?;
        }
        self.collect(pending)
    }

    /// Takes the replies that came.
    fn collect(&mut self, pending: &mut [Pending]) -> Checked {
        for (nth, device) in self.devices.iter_mut().enumerate() {
            let Some(line) = &mut device.line else { continue };
            let replies = std::mem::take(&mut line.replies);
            let mut last_sends = BTreeMap::new();
            for (id, reply) in replies {
                let asked = pending.iter_mut().find(|pending| pending.device == nth && pending.id == id);
                let Some(asked) = asked else { continue };
                if let Request::Send(letter) = &asked.request {
                    let before = last_sends.insert(letter.place.conversation(device.user), id);
                    if before.is_some_and(|before| before > id) {
                        return Err(format!("{}: send {id} was answered after a later one", device.name));
                    }
                }
                if !asked.request.reads() {
                    self.story.push(format!("{} <- {id}: {}", device.name, reply.short()));
                }
                asked.reply = Some(reply);
            }
        }
        Ok(())
    }

    /// Waits until any device has frames.
    fn wait(&mut self) -> Checked {
        let life = self.life.as_ref().expect("there is a host until the end");
        let devices = &mut self.devices;
        let any = poll_fn(|context| {
            for device in devices.iter_mut() {
                let Some(line) = &mut device.line else { continue };
                if let Poll::Ready(frames) = line.poll(context) {
                    return Poll::Ready(device.take(frames));
                }
            }
            Poll::Pending
        });
        let waited = life.runtime.block_on(async { tokio::time::timeout(PATIENCE, any).await });
        waited.map_err(|_| "nothing came for a long time".to_owned())?
    }

    /// Takes what has come.
    fn hear(&mut self) -> Checked {
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        for device in &mut self.devices {
            let Some(line) = &mut device.line else { continue };
            if let Poll::Ready(frames) = line.poll(&mut context) {
                device.take(frames)?;
            }
        }
        Ok(())
    }

    /// Finds all that can have happened.
    fn explain(&mut self, pending: &[Pending]) -> Checked {
        let mut models = Vec::new();
        let mut wrong = BTreeSet::new();
        for model in &self.models {
            self.orders(model.clone(), pending, 0, &mut models, &mut wrong);
        }
        if models.is_empty() {
            let wrong: Vec<_> = wrong.into_iter().take(6).collect();
            return Err(format!("no order of what was asked explains the answers:\n{}", wrong.join("\n")));
        }
        if models.len() > MODELS_MAX {
            return Err(format!("{} models explain what was seen", models.len()));
        }
        for model in &models {
            for id in model.conversations.keys() {
                if !self.conversations.contains(id) {
                    self.conversations.push(*id);
                }
            }
        }
        self.models = models;
        Ok(())
    }

    fn orders(
        &self,
        model: Model,
        pending: &[Pending],
        done: u32,
        models: &mut Vec<Model>,
        wrong: &mut BTreeSet<String>,
    ) {
        let is_open = |nth: usize| done & (1 << nth) == 0;
        let rest = || (0..pending.len()).filter(|nth| is_open(*nth));
        if rest().all(|nth| pending[nth].reply.is_none()) && !models.contains(&model) {
            models.push(model.clone());
        }
        for nth in rest() {
            let Pending { device, request, reply, .. } = &pending[nth];
            if rest().any(|other| other < nth && self.keeps_order(&pending[other], &pending[nth])) {
                continue;
            }
            let by = self.devices[*device].user;
            if reply.is_none()
                && let Some(cut) = model.cut(by, request)
            {
                self.orders(cut, pending, done | (1 << nth), models, wrong);
            }
            let mut next = model.clone();
            match next.step(by, request, reply.as_ref(), self.now()) {
                Ok(()) => self.orders(next, pending, done | (1 << nth), models, wrong),
                Err(what) => {
                    wrong.insert(format!("{} {request:?}: {what}", self.devices[*device].name));
                }
            }
        }
    }

    /// Sends of one session into one conversation are numbered in their order.
    fn keeps_order(&self, first: &Pending, second: &Pending) -> bool {
        let by = self.devices[first.device].user;
        match (&first.request, &second.request) {
            (Request::Send(one), Request::Send(other)) => {
                let is_lost = first.reply.is_none();
                let same_place = one.place.conversation(by) == other.place.conversation(by);
                first.device == second.device && same_place && !is_lost
            }
            _ => false,
        }
    }

    fn again(&mut self, user: UserId, request: &Request, nth: usize) -> Checked {
        if matches!(request, Request::Change { client: None, .. }) {
            return Ok(());
        }
        let own: Vec<_> = (0..self.devices.len()).filter(|nth| self.devices[*nth].user == user).collect();
        let device = own[nth % own.len()];
        if self.devices[device].line.is_none() {
            self.connect(device, How::Resume)?;
        }
        self.ask(device, request.clone()).map(drop)
    }

    /// Asks and checks the answer.
    fn ask(&mut self, device: usize, request: Request) -> Checked<Reply> {
        let mut pending = [self.post(device, request)?];
        self.finish(&mut pending)?;
        self.explain(&pending)?;
        let [Pending { reply, .. }] = pending;
        reply.ok_or_else(|| "the connection was closed".to_owned())
    }

    fn crash(&mut self, deeds: &[(Deed, u8)], turns: u8) -> Checked {
        let mut pending = self.begin(deeds)?;
        self.life().turns(turns);
        self.hear()?;
        self.collect(&mut pending)?;
        self.tell("the host dies".into());
        for device in &mut self.devices {
            device.line = None;
        }
        drop(self.life.take());
        self.explain(&pending)?;
        let mut models: Vec<Model> = Vec::new();
        for mut model in std::mem::take(&mut self.models) {
            model.restart();
            if !models.contains(&model) {
                models.push(model);
            }
        }
        self.models = models;
        self.life = Some(self.disk.start());
        // Whoever had no answer asks again, before or after others come.
        for device in (0..self.devices.len()).filter(|_| turns % 2 == 1) {
            self.connect(device, How::Resume)?;
        }
        for Pending { device, request, .. } in pending.iter().filter(|pending| pending.reply.is_none()) {
            self.again(self.devices[*device].user, request, 0)?;
        }
        Ok(())
    }

    fn connect(&mut self, device: usize, how: How) -> Checked {
        self.tell(format!("{} connects: {how:?}", self.devices[device].name));
        let life = self.life.as_ref().expect("there is a host until the end");
        let device_now = &mut self.devices[device];
        device_now.line = None;
        let back = |steps: u8| {
            let len = device_now.past.len();
            (len > 0).then(|| device_now.past[len - 1 - usize::from(steps) % len].clone())
        };
        let (mut kept, mut cursor) = (device_now.kept.clone(), device_now.kept.cursor.clone());
        let mut epoch = EPOCH;
        match how {
            How::Resume => {}
            How::Older(steps) => {
                kept = back(steps).unwrap_or_default();
                cursor = kept.cursor.clone();
            }
            How::OlderCursor(steps) => cursor = back(steps).and_then(|older| older.cursor),
            How::Cold => cursor = None,
            How::OtherEpoch => epoch = "another",
            How::Garbage => cursor = Some("AAAA".into()),
        }
        let may_resume = cursor.is_some() && epoch == EPOCH && !matches!(how, How::Garbage);
        let resume = cursor.map(|cursor| json!({"epoch": epoch, "cursor": cursor}));
        let mut line = Line::new(life);
        let mut connect = json!({
            "token": life.token(device_now.user), "device": {"id": device_now.name}, "window": 200,
        });
        if let Some(resume) = resume {
            connect["resume"] = resume;
        }
        let id = line.post(life, None, &json!({"id": line.next_id(), "connect": connect}).to_string())?;
        (device_now.kept, device_now.line) = (kept, Some(line));
        let mut pending = [];
        while !self.line(device)?.has_answered(id) {
            self.wait()?;
        }
        let answer = self.line(device)?.replies.pop().map(|(_, reply)| reply);
        self.collect(&mut pending)?;
        let Some(Reply::Ok(answer)) = answer else { return Err(format!("connect: {answer:?}")) };
        self.connected(device, &answer, may_resume)
    }

    fn line(&mut self, device: usize) -> Checked<&mut Line> {
        self.devices[device].line.as_mut().ok_or_else(|| "the connection was closed".into())
    }

    /// Takes what `connect` was answered, reads the further pages and what is lacking, and then keeps the cursor.
    fn connected(&mut self, nth: usize, answer: &Value, may_resume: bool) -> Checked {
        let recovered = answer["recovered"] == json!(true);
        self.tell(format!(
            "  recovered: {recovered}, {} conversations",
            answer["conversations"].as_array().map_or(0, Vec::len)
        ));
        if recovered && !may_resume {
            return Err(format!("a connection without a good cursor recovered: {answer}"));
        }
        let run_ms = self.now().since(Ms(START_MS));
        if may_resume && !recovered && run_ms <= RETENTION_MS {
            return Err(format!("a good cursor was of no use: {answer}"));
        }
        let device = &mut self.devices[nth];
        let me = device.user;
        if !recovered {
            // The cursor was too old, or none: the device starts anew.
            device.kept = Kept::default();
        }
        let mut page = answer.clone();
        loop {
            let Device { name, kept, line, .. } = &mut self.devices[nth];
            for object in page["conversations"].as_array().into_iter().flatten() {
                kept.shown(me, object)?;
            }
            line.iter_mut()
                .try_for_each(|line| line.begin(me, kept))
                .map_err(|what| format!("{name}: {what}"))?;
            let Some(next) = page["next"].as_str().map(str::to_owned) else { break };
            page = self.sync(nth, &next)?;
        }
        self.fetch(nth)?;
        self.devices[nth].kept.cursor = answer["cursor"].as_str().map(str::to_owned);
        let kept = self.devices[nth].kept.clone();
        self.devices[nth].past.push(kept);
        Ok(())
    }

    fn sync(&mut self, nth: usize, page: &str) -> Checked<Value> {
        let life = self.life.as_ref().expect("there is a host until the end");
        let line = self.devices[nth].line.as_mut().ok_or("the connection was closed")?;
        let frame = json!({"id": line.next_id(), "sync": {"page": page}}).to_string();
        let id = line.post(life, None, &frame)?;
        while !self.line(nth)?.has_answered(id) {
            self.wait()?;
        }
        match self.line(nth)?.replies.pop() {
            Some((_, Reply::Ok(page))) => Ok(page),
            other => Err(format!("sync: {other:?}")),
        }
    }

    /// Gets what the device lacks.
    fn fetch(&mut self, nth: usize) -> Checked {
        for _ in 0..10_000 {
            let Some(request) = self.devices[nth].kept.wanting() else { return Ok(()) };
            let reply = self.ask(nth, request.clone())?;
            let device = &mut self.devices[nth];
            device.kept.fetched(device.user, &request, &reply)?;
        }
        Err(format!("{} never has all", self.devices[nth].name))
    }

    /// Everyone comes, hears what there is, reads everything, and must have what the model says.
    fn compare(&mut self) -> Checked {
        self.tell("everything is compared".into());
        for nth in 0..self.devices.len() {
            if self.devices[nth].line.is_none() {
                self.connect(nth, How::Resume)?;
            }
        }
        self.life().host.tell_heads();
        self.life().host.tell_cursors();
        self.hear()?;
        self.read_all()?;
        // Marks that rose by loading are told when they are stored.
        let life = self.life();
        life.runtime.block_on(life.host.settle());
        self.hear()?;
        let mut wrong = Vec::new();
        for device in &self.devices {
            let missed = |model: &Model| device.kept.missed_nothing(device.user, &model.conversations);
            // Before anything is fetched.
            if let Some(what) = self.models.iter().map(missed).find_map(Result::err)
                && self.models.len() == 1
            {
                return Err(format!("{}: {what}", device.name));
            }
        }
        for nth in 0..self.devices.len() {
            self.fetch(nth)?;
        }
        for model in &self.models {
            let agrees = |device: &Device| {
                let agreed = device.kept.agrees(device.user, &model.conversations);
                agreed.map_err(|what| format!("{}: {what}", device.name))
            };
            match self.devices.iter().try_for_each(agrees) {
                Ok(()) => {
                    self.models = vec![model.clone()];
                    return Ok(());
                }
                Err(what) => wrong.push(what),
            }
        }
        Err(format!("the devices have not what they should: {}", wrong.join("\n")))
    }

    /// Every user reads everything there is, which the model checks.
    fn read_all(&mut self) -> Checked {
        let mut reader = BTreeMap::new();
        for (nth, device) in self.devices.iter().enumerate() {
            reader.insert(device.user, nth);
        }
        for device in reader.into_values() {
            self.ask(device, Request::Conversations)?;
            for conversation in self.conversations.clone() {
                for request in resolve::everything(conversation) {
                    self.ask(device, request)?;
                }
            }
        }
        Ok(())
    }
}

/// What people need of a long text.
pub fn cut(text: &str) -> &str {
    text.char_indices().nth(300).map_or(text, |(at, _)| &text[..at])
}

impl Device {
    fn take(&mut self, frames: Result<Vec<bytes::Bytes>, godwit_protocol::error::Close>) -> Checked {
        let frames = frames.map_err(|close| format!("{} was closed with {close:?}", self.name))?;
        let Some(line) = &mut self.line else { return Ok(()) };
        for frame in frames {
            line.take(self.user, &mut self.kept, &frame).map_err(|what| format!("{}: {what}", self.name))?;
        }
        self.past.append(&mut line.cursors);
        Ok(())
    }
}
