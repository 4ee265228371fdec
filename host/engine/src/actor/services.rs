//! The services of actors, as guests call them: each a step to the call that runs, or `err(denied)` where none does.
//!
//! In instances of filters, and during `init`, `commands` and `kinds`, no call of an actor runs: the same functions
//! are linked there, and all of them deny. It owns no rule; what a call may is decided in [`super::running`].

use super::{
    bindings::{
        self as wit, chat, errors, http, kv,
        memory::{state, zone},
        secret, timer, types,
    },
    grants::Grants,
    http::{Error, Request},
    running::{self, Running},
    zones,
};
use crate::{
    bindings::{log, rate},
    state::State,
    wasi,
};
use errors::ServiceError;
use godwit_domain::{
    actor::{Denied, Target},
    id::{ConversationId, Seq, UserId},
    time::Ms,
};
use wasmtime::component::{HasSelf, Linker};

/// Keys in one `get-many`.
const STATE_KEYS_MAX: usize = 256;

/// Links what every plugin may import, with pollables that wait or do not.
pub(crate) fn link_always(linker: &mut Linker<State>, waits: bool) -> wasmtime::Result<()> {
    wasi::link(linker, waits)?;
    log::add_to_linker::<_, HasSelf<State>>(linker, |state| state)?;
    rate::add_to_linker::<_, HasSelf<State>>(linker, |state| state)?;
    state::add_to_linker::<_, HasSelf<State>>(linker, |state| state)?;
    zone::add_to_linker::<_, HasSelf<State>>(linker, |state| state)
}

/// Links what was granted. What is not granted is not there to be called.
pub(crate) fn link_granted(linker: &mut Linker<State>, grants: &Grants) -> wasmtime::Result<()> {
    if grants.opens("godwit:plugin/kv@0.1.0") {
        kv::add_to_linker::<_, HasSelf<State>>(linker, |state| state)?;
    }
    if grants.opens("godwit:plugin/chat@0.1.0") {
        chat::add_to_linker::<_, HasSelf<State>>(linker, |state| state)?;
    }
    if grants.opens("godwit:plugin/timer@0.1.0") {
        timer::add_to_linker::<_, HasSelf<State>>(linker, |state| state)?;
    }
    if grants.opens("godwit:plugin/http@0.1.0") {
        http::add_to_linker::<_, HasSelf<State>>(linker, |state| state)?;
    }
    if grants.opens("godwit:plugin/secret@0.1.0") {
        secret::add_to_linker::<_, HasSelf<State>>(linker, |state| state)?;
    }
    Ok(())
}

impl State {
    fn running(&mut self) -> Result<&mut Running, Denied> {
        let here = "only while a hook of an actor runs: not in filters, `init`, `commands` or `kinds`";
        self.running.as_deref_mut().ok_or_else(|| Denied::Denied(here.to_owned()))
    }
}

impl types::Host for State {}
impl errors::Host for State {}
impl wit::memory::godwit::plugin::types::Host for State {}

impl state::Host for State {
    fn get(&mut self, key: String) -> Option<Vec<u8>> {
        self.private.kv.get(&key, self.private.now())
    }

    fn get_many(&mut self, keys: Vec<String>) -> Vec<Option<Vec<u8>>> {
        let now = self.private.now();
        // One answer per key in any case: what is beyond is as if it were not there.
        let found = |(n, key): (usize, &String)| match n < STATE_KEYS_MAX {
            true => self.private.kv.get(key, now),
            false => None,
        };
        keys.iter().enumerate().map(found).collect()
    }
}

impl zone::Host for State {
    fn local(&mut self, zone: String, at: u64) -> Option<zone::LocalTime> {
        zones::local(&zone, at)
    }

    fn instant(&mut self, zone: String, local: zone::LocalTime) -> Option<u64> {
        zones::instant(&zone, &local)
    }
}

impl kv::Host for State {
    async fn get(&mut self, key: String) -> Result<Option<Vec<u8>>, ServiceError> {
        Ok(self.running()?.kv_get(key).await?)
    }

    async fn set(&mut self, key: String, value: Vec<u8>, ttl_s: Option<u64>) -> Result<(), ServiceError> {
        Ok(self.running()?.kv_set(key, value, ttl_s)?)
    }

    async fn delete(&mut self, key: String) -> Result<(), ServiceError> {
        Ok(self.running()?.kv_delete(key)?)
    }

    async fn scan(
        &mut self,
        bucket: String,
        after: Option<String>,
        limit: u32,
    ) -> Result<Vec<kv::Entry>, ServiceError> {
        let rows = self.running()?.kv_scan(bucket, after, limit).await?;
        Ok(rows.into_iter().map(|(key, value)| kv::Entry { key, value }).collect())
    }
}

impl chat::Host for State {
    async fn send(&mut self, to: chat::Target, content: types::Content) -> Result<String, ServiceError> {
        Ok(self.running()?.send(wit::target(to), wit::said(content)).await?)
    }

    async fn edit(&mut self, message: chat::Named, body: String) -> Result<(), ServiceError> {
        Ok(self.running()?.edit(wit::named(message), body)?)
    }

    async fn delete(&mut self, message: chat::Named) -> Result<(), ServiceError> {
        Ok(self.running()?.delete(wit::named(message))?)
    }

    async fn react(&mut self, message: chat::Named, emoji: String, on: bool) -> Result<(), ServiceError> {
        Ok(self.running()?.react(wit::named(message), emoji, on)?)
    }

    async fn typing(&mut self, conversation: types::Id) -> Result<(), ServiceError> {
        let conversation = ConversationId(wit::uuid(conversation));
        Ok(self.running()?.typing(Target::Conversation(conversation)).await?)
    }

    async fn history(
        &mut self,
        conversation: types::Id,
        before: Option<u64>,
        limit: u32,
    ) -> Result<Vec<types::Message>, ServiceError> {
        let limit = running::page(limit)?;
        let desk = self.running()?.read(&["history"])?;
        let conversation = ConversationId(wit::uuid(conversation));
        let messages = desk.history(conversation, before.map(Seq), limit).await?;
        Ok(messages.iter().map(wit::message).collect())
    }

    async fn members(
        &mut self,
        conversation: types::Id,
        after: Option<types::Id>,
        limit: u32,
    ) -> Result<Vec<chat::Member>, ServiceError> {
        let limit = running::page(limit)?;
        let desk = self.running()?.read(&["members"])?;
        let after = after.map(|user| UserId(wit::uuid(user)));
        let members = desk.members(ConversationId(wit::uuid(conversation)), after, limit).await?;
        Ok(members.iter().map(wit::member).collect())
    }

    async fn find_user(&mut self, who: chat::Person) -> Result<Option<types::User>, ServiceError> {
        let desk = self.running()?.read(&["members", "send"])?;
        let found = match who {
            chat::Person::Id(id) => desk.user(UserId(wit::uuid(id))).await?,
            chat::Person::Name(name) if name.len() > 128 => None,
            chat::Person::Name(name) => desk.user_by_name(&name).await?,
        };
        Ok(found.as_ref().map(wit::user))
    }
}

impl timer::Host for State {
    async fn set(&mut self, name: String, at: u64, payload: Vec<u8>) -> Result<(), ServiceError> {
        Ok(self.running()?.set_timer(name, Ms(at), payload)?)
    }

    async fn cancel(&mut self, name: String) -> Result<(), ServiceError> {
        Ok(self.running()?.cancel_timer(name)?)
    }
}

impl secret::Host for State {
    async fn get(&mut self, name: String) -> Result<Option<String>, ServiceError> {
        Ok(self.running()?.secret(name).await?)
    }
}

impl http::Host for State {
    async fn fetch(&mut self, request: http::Outgoing) -> Result<http::Incoming, http::HttpError> {
        let http::Outgoing { method, url, headers, body, timeout_ms } = request;
        let headers = headers.into_iter().map(|header| (header.name, header.value)).collect();
        let running = self.running().map_err(|denied| http::HttpError::Denied(denied.to_string()))?;
        let answer = running.fetch(Request { method, url, headers, body, timeout_ms }).await?;
        let headers = answer.headers.into_iter().map(|(name, value)| http::Header { name, value });
        Ok(http::Incoming { status: answer.status, headers: headers.collect(), body: answer.body })
    }
}

impl From<Error> for http::HttpError {
    fn from(error: Error) -> Self {
        match error {
            Error::Denied(why) => Self::Denied(why),
            Error::Invalid(why) => Self::Invalid(why),
            Error::Address(why) => Self::Address(why),
            Error::Connection(why) => Self::Connection(why),
            Error::Timeout => Self::Timeout,
            Error::TooLarge(why) => Self::TooLarge(why),
            Error::Busy(why) => Self::Busy(why),
        }
    }
}
