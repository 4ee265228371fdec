//! A call that runs: what it read, what is to happen if it returns `ok`, and how much of both it may.
//!
//! It owns the buffer of effects and its bounds. Nothing here happens by itself: what is gathered goes to `core` with
//! the call's answer, or nowhere.

use super::{
    grants::Grants,
    http::{self, Client},
    options::Options,
};
use crate::{
    faults::{self, Fault},
    options::{kib, mib},
};
use godwit_domain::{
    actor::{self, Act, Call, Denied, Desk, Effects, KvWrite, Named, Target},
    kept::Secrets,
    message::{self, Content},
    time::Ms,
};
use sha2::{Digest as _, Sha256};
use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex},
};

/// Rows, messages or members that one read may ask for.
const PAGE_MAX: u32 = 256;
const TIMER_NAME_BYTES_MAX: usize = 128;
const EMOJI_BYTES_MAX: usize = 64;
const SECRET_NAME_BYTES_MAX: usize = 64;
const REFERENCE_BYTES_MAX: usize = 512;
const ATTACHMENTS_MAX: usize = 32;
/// What an effect counts beside its bytes, so that empty ones cost as well.
const EFFECT_BYTES: usize = 64;

/// What a call may use, beside its budgets of time and memory.
#[derive(Clone)]
pub(crate) struct Means {
    pub(crate) plugin: Arc<str>,
    pub(crate) grants: Arc<Grants>,
    pub(crate) options: Arc<crate::Options>,
    pub(crate) secrets: Arc<dyn Secrets>,
    /// Absent in rehearsals, which reach nobody.
    pub(crate) http: Option<Arc<Client>>,
}

/// A call that runs.
pub(crate) struct Running {
    means: Means,
    desk: Arc<dyn Desk>,
    event: String,
    answers: Arc<Mutex<HashMap<String, Vec<u8>>>>,
    reads: BTreeMap<String, Option<Arc<[u8]>>>,
    scans: BTreeMap<String, u64>,
    writes: BTreeMap<String, KvWrite>,
    acts: Vec<Act>,
    /// Of acts alone.
    act_bytes: usize,
    other_reads: u32,
    requests: u32,
    /// How often each request was made, so that equal ones are told apart.
    asked: HashMap<[u8; 32], u32>,
}

fn denied(why: impl Into<String>) -> Denied {
    Denied::Denied(why.into())
}

fn invalid<T>(why: String) -> Result<T, Denied> {
    Err(Denied::Invalid(why))
}

impl Running {
    pub(crate) fn new(means: Means, call: &Call, desk: Arc<dyn Desk>) -> Self {
        Self {
            means,
            desk,
            event: call.event.clone(),
            answers: call.answers.clone(),
            reads: BTreeMap::new(),
            scans: BTreeMap::new(),
            writes: BTreeMap::new(),
            acts: Vec::new(),
            act_bytes: 0,
            other_reads: 0,
            requests: 0,
            asked: HashMap::new(),
        }
    }

    /// What is to happen, now that it returned `ok`.
    pub(crate) fn effects(self) -> Effects {
        Effects {
            reads: self.reads.into_iter().collect(),
            scans: self.scans.into_iter().collect(),
            writes: self.writes.into_values().collect(),
            acts: self.acts,
        }
    }

    fn options(&self) -> &Options {
        &self.means.options.actors
    }

    fn may(&self, capability: &str) -> Result<(), Denied> {
        match self.means.grants.may(capability) {
            true => Ok(()),
            false => Err(denied(format!("the capability `{capability}` is not granted"))),
        }
    }

    fn reading(&mut self) -> Result<(), Denied> {
        let limit = self.options().reads_max;
        if self.other_reads >= limit && !faults::on(Fault::ReadsUnbounded) {
            return invalid(format!("{limit} reads were made, which is the limit of one call"));
        }
        self.other_reads += 1;
        Ok(())
    }

    // ── kv ──

    pub(crate) async fn kv_get(&mut self, key: String) -> Result<Option<Vec<u8>>, Denied> {
        self.check_key(&key)?;
        if let Some(write) = self.writes.get(&key).filter(|_| !faults::on(Fault::OwnWritesUnseen)) {
            return Ok(write.value.clone());
        }
        if let Some(read) = self.reads.get(&key) {
            return Ok(read.as_deref().map(<[u8]>::to_vec));
        }
        let limit = self.options().reads_max as usize;
        if self.reads.len() >= limit {
            return invalid(format!("{limit} keys were read, which is the limit of one call"));
        }
        let found = self.desk.kv_get(&key).await?;
        let value = found.as_deref().map(<[u8]>::to_vec);
        self.reads.insert(key, found);
        Ok(value)
    }

    pub(crate) fn kv_set(&mut self, key: String, value: Vec<u8>, ttl_s: Option<u64>) -> Result<(), Denied> {
        let (bytes, limit) = (value.len(), self.options().kv_value_kib_max);
        if bytes > kib(limit) && !faults::on(Fault::KvUnbounded) {
            return invalid(format!("the value of `{key}` has {bytes} bytes, the limit is {limit} KiB"));
        }
        if ttl_s == Some(0) {
            return invalid(format!("the time to live of `{key}` is 0 s; leave it out, or delete the key"));
        }
        self.write(KvWrite { key, value: Some(value), ttl_s })
    }

    pub(crate) fn kv_delete(&mut self, key: String) -> Result<(), Denied> {
        self.write(KvWrite { key, value: None, ttl_s: None })
    }

    fn write(&mut self, write: KvWrite) -> Result<(), Denied> {
        self.check_key(&write.key)?;
        let before = self.writes.get(&write.key);
        let (freed, more) = (before.map_or(0, write_bytes), usize::from(before.is_none()));
        self.check_room(more, write_bytes(&write), freed)?;
        self.writes.insert(write.key.clone(), write);
        Ok(())
    }

    pub(crate) async fn kv_scan(
        &mut self,
        bucket: String,
        after: Option<String>,
        limit: u32,
    ) -> Result<Vec<(String, Vec<u8>)>, Denied> {
        let limit = page(limit)?;
        let longest = self.options().kv_key_bytes_max as usize;
        if bucket.len() > longest || bucket.contains('/') {
            return invalid(format!("a bucket is up to {longest} bytes without a `/`"));
        }
        let mut rows = BTreeMap::new();
        let mut cursor = after.clone();
        // Own deletions make room for rows beyond the page, so there may be several.
        let end = loop {
            self.reading()?;
            let (found, version) = self.desk.kv_scan(&bucket, cursor.as_deref(), limit).await?;
            // Where another event came between two pages the commit is to fail: the first version stays.
            self.scans.entry(bucket.clone()).or_insert(version);
            let last = found.last().map(|(key, _)| key.clone());
            let whole = found.len() < limit;
            let kept = found.into_iter().filter(|(key, _)| !self.writes.contains_key(key));
            rows.extend(kept.map(|(key, value)| (key, value.to_vec())));
            match last {
                Some(last) if !whole && rows.len() < limit => cursor = Some(last),
                Some(last) if !whole => break Some(last),
                _ => break None,
            }
        };
        let own = self.writes.values().filter(|write| {
            actor::bucket(&write.key) == bucket
                && after.as_ref().is_none_or(|after| write.key > *after)
                && end.as_ref().is_none_or(|end| write.key <= *end)
        });
        for write in own {
            if let Some(value) = &write.value {
                rows.insert(write.key.clone(), value.clone());
            }
        }
        Ok(rows.into_iter().take(limit).collect())
    }

    fn check_key(&self, key: &str) -> Result<(), Denied> {
        let (bytes, limit) = (key.len(), self.options().kv_key_bytes_max as usize);
        match bytes {
            0 => invalid("a key must not be empty".to_owned()),
            _ if bytes > limit && !faults::on(Fault::KvUnbounded) => {
                invalid(format!("a key has {bytes} bytes, the limit is {limit}"))
            }
            _ => Ok(()),
        }
    }

    // ── effects ──

    fn check_room(&self, more: usize, bytes: usize, freed: usize) -> Result<(), Denied> {
        let count = self.writes.len() + self.acts.len() + more;
        let limit = self.options().effects_max as usize;
        if faults::on(Fault::EffectsUnbounded) {
            return Ok(());
        }
        if count > limit {
            return invalid(format!("{count} effects, the limit of one call is {limit}"));
        }
        let written: usize = self.writes.values().map(write_bytes).sum();
        let (bytes, limit) = (written + self.act_bytes + bytes - freed, self.options().effects_kib_max);
        if bytes > kib(limit) {
            return invalid(format!("effects of {bytes} bytes, the limit of one call is {limit} KiB"));
        }
        Ok(())
    }

    fn act(&mut self, act: Act, bytes: usize) -> Result<usize, Denied> {
        self.check_room(1, bytes + EFFECT_BYTES, 0)?;
        self.act_bytes += bytes + EFFECT_BYTES;
        self.acts.push(act);
        Ok(self.acts.len() - 1)
    }

    pub(crate) async fn send(&mut self, to: Target, content: Content) -> Result<String, Denied> {
        self.may("send")?;
        let bytes = check_content(&content, &self.means.options).or_else(invalid)?;
        // Before it is asked, so that a flood is bounded whatever the desk answers.
        self.check_room(1, bytes + EFFECT_BYTES, 0)?;
        self.reading()?;
        self.desk.sendable(to).await?;
        let ordinal = self.act(Act::Send(to, content), bytes)?;
        Ok(actor::reference(&self.event, ordinal))
    }

    pub(crate) fn edit(&mut self, message: Named, body: String) -> Result<(), Denied> {
        self.may("send")?;
        check_named(&message)?;
        let (bytes, limit) = (body.len(), self.means.options.body_bytes_max as usize);
        if bytes > limit {
            return invalid(format!("the body has {bytes} bytes, the limit is {limit}"));
        }
        self.act(Act::Edit(message, body), bytes).map(drop)
    }

    pub(crate) fn delete(&mut self, message: Named) -> Result<(), Denied> {
        self.may("send")?;
        check_named(&message)?;
        self.act(Act::Delete(message), 0).map(drop)
    }

    pub(crate) fn react(&mut self, message: Named, emoji: String, on: bool) -> Result<(), Denied> {
        self.may("send")?;
        check_named(&message)?;
        let bytes = emoji.len();
        if bytes == 0 || bytes > EMOJI_BYTES_MAX {
            return invalid(format!("an emoji of {bytes} bytes; 1 to {EMOJI_BYTES_MAX} are possible"));
        }
        self.act(Act::React { message, emoji, on }, bytes).map(drop)
    }

    pub(crate) async fn typing(&mut self, target: Target) -> Result<(), Denied> {
        self.may("send")?;
        self.check_room(1, EFFECT_BYTES, 0)?;
        self.reading()?;
        self.desk.sendable(target).await?;
        match target {
            Target::Conversation(conversation) => self.act(Act::Typing(conversation), 0).map(drop),
            Target::User(_) => invalid("typing is shown in a conversation".to_owned()),
        }
    }

    pub(crate) fn set_timer(&mut self, name: String, at: Ms, payload: Vec<u8>) -> Result<(), Denied> {
        self.may("timer")?;
        check_timer(&name)?;
        let (bytes, limit) = (payload.len(), self.options().kv_value_kib_max);
        if bytes > kib(limit) {
            return invalid(format!("the payload of `{name}` has {bytes} bytes, the limit is {limit} KiB"));
        }
        let bytes = name.len() + bytes;
        self.act(Act::SetTimer { name, at, payload }, bytes).map(drop)
    }

    pub(crate) fn cancel_timer(&mut self, name: String) -> Result<(), Denied> {
        self.may("timer")?;
        check_timer(&name)?;
        let bytes = name.len();
        self.act(Act::CancelTimer(name), bytes).map(drop)
    }

    // ── reads ──

    /// The desk, for a read under one of these capabilities.
    pub(crate) fn read(&mut self, capabilities: &[&str]) -> Result<Arc<dyn Desk>, Denied> {
        if !capabilities.iter().any(|name| self.means.grants.may(name)) {
            let names: Vec<_> = capabilities.iter().map(|name| format!("`{name}`")).collect();
            return Err(denied(format!("the capability {} is not granted", names.join(" or "))));
        }
        self.reading()?;
        Ok(self.desk.clone())
    }

    pub(crate) async fn secret(&mut self, name: String) -> Result<Option<String>, Denied> {
        self.may("secret")?;
        if !secret_name(&name) {
            return invalid(format!("a secret's name is 1 to {SECRET_NAME_BYTES_MAX} of a-z, 0-9, _ and -"));
        }
        self.reading()?;
        let found = self.means.secrets.secret(&self.means.plugin, &name).await;
        found.map_err(|error| Denied::Unavailable(error.to_string()))
    }

    // ── http ──

    pub(crate) async fn fetch(&mut self, request: http::Request) -> Result<http::Answer, http::Error> {
        if !self.means.grants.may("http") {
            return Err(http::Error::Denied("the capability `http` is not granted".to_owned()));
        }
        let key = self.request_key(&request);
        if let Some(answer) = self.recorded(&key) {
            return Ok(answer);
        }
        let Some(client) = self.means.http.clone() else {
            return Err(http::Error::Denied("tests of a manifest reach nobody".to_owned()));
        };
        let limit = self.options().http.requests_max;
        if self.requests >= limit {
            return Err(http::Error::Busy(format!(
                "{limit} requests were made, which is the limit of one call"
            )));
        }
        self.requests += 1;
        let answer = client.fetch(self.means.grants.origins(), &key, request).await?;
        if let Ok(bytes) = postcard::to_stdvec(&answer) {
            self.answers.lock().unwrap_or_else(std::sync::PoisonError::into_inner).insert(key, bytes);
        }
        Ok(answer)
    }

    fn recorded(&self, key: &str) -> Option<http::Answer> {
        let answers = self.answers.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        postcard::from_bytes(answers.get(key)?).ok()
    }

    /// What the request is called: the same in every run of this event, another for its next equal one.
    fn request_key(&mut self, request: &http::Request) -> String {
        let mut hasher = Sha256::new();
        for part in [
            self.means.plugin.as_bytes(),
            self.event.as_bytes(),
            request.method.as_bytes(),
            request.url.as_bytes(),
        ] {
            hasher.update((part.len() as u64).to_be_bytes());
            hasher.update(part);
        }
        hasher.update(&request.body);
        let request: [u8; 32] = hasher.finalize().into();
        let count = self.asked.entry(request).or_default();
        *count += 1;
        let key = Sha256::new().chain_update(request).chain_update(count.to_be_bytes()).finalize();
        key[..16].iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

fn write_bytes(write: &KvWrite) -> usize {
    write.key.len() + write.value.as_ref().map_or(0, Vec::len) + EFFECT_BYTES
}

/// How many rows were asked for, which is refused rather than cut.
pub(crate) fn page(limit: u32) -> Result<usize, Denied> {
    match limit {
        1..=PAGE_MAX => Ok(limit as usize),
        _ => invalid(format!("a limit of {limit}; 1 to {PAGE_MAX} are possible")),
    }
}

/// Whether a secret may have this name.
pub(crate) fn secret_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'_');
    !name.is_empty() && name.len() <= SECRET_NAME_BYTES_MAX && name.bytes().all(plain)
}

/// Checks what a plugin wants to be said, and says how many bytes it has.
pub(crate) fn check_content(content: &Content, options: &crate::Options) -> Result<usize, String> {
    let (bytes, limit) = (content.body.len(), options.body_bytes_max as usize);
    if content.kind == message::Kind::Encrypted {
        return Err("a plugin cannot say what is encrypted".to_owned());
    }
    if bytes > limit {
        return Err(format!("the body has {bytes} bytes, the limit is {limit}"));
    }
    let (count, limit) = (content.mentions.len(), options.mentions_max as usize);
    if count > limit {
        return Err(format!("the content mentions {count} users, the limit is {limit}"));
    }
    let count = content.attachments.len();
    if count > ATTACHMENTS_MAX {
        return Err(format!("the content has {count} attachments, the limit is {ATTACHMENTS_MAX}"));
    }
    let attached: usize = content
        .attachments
        .iter()
        .map(|attachment| attachment.name.len() + attachment.media_type.len())
        .sum();
    if attached > mib(1) / 16 {
        return Err(format!("the names of attachments have {attached} bytes, the limit is {}", mib(1) / 16));
    }
    Ok(bytes + attached + 16 * content.mentions.len())
}

fn check_named(named: &Named) -> Result<(), Denied> {
    match named {
        Named::Sent(reference) if reference.is_empty() || reference.len() > REFERENCE_BYTES_MAX => invalid(
            format!("a reference has {} bytes; 1 to {REFERENCE_BYTES_MAX} are possible", reference.len()),
        ),
        _ => Ok(()),
    }
}

fn check_timer(name: &str) -> Result<(), Denied> {
    match name.len() {
        1..=TIMER_NAME_BYTES_MAX => Ok(()),
        bytes => {
            invalid(format!("a timer's name has {bytes} bytes; 1 to {TIMER_NAME_BYTES_MAX} are possible"))
        }
    }
}
