//! HTTP requests to plugins: at most one attempt, whose effects are stored before it is answered.

use super::{desk::AtDesk, hear, lane::Lane};
use crate::{
    faults::{self, Fault},
    host::Host,
    person::Bucket,
};
use godwit_domain::{
    actor::{Actor, Call, Hook, Media, Outcome, Request, Response},
    tables::{Answered, End, RequestKey, Settling},
};
use godwit_protocol::error::{Code, Error};
use lru::LruCache;
use parking_lot::Mutex;
use sha2::{Digest, Sha256};
use std::{num::NonZeroUsize, sync::Arc};
use uuid::Uuid;

/// Pairs of plugin and address whose rate is remembered.
const CALLERS_MAX: NonZeroUsize = NonZeroUsize::new(20_000).unwrap();
/// The longest idempotency key, in bytes.
const KEY_BYTES_MAX: usize = 255;
/// For how long the answer to one is remembered, in milliseconds.
const ANSWERS_MS: u64 = 24 * 60 * 60 * 1_000;
/// How often a request may meet what another wrote.
const CONFLICTS_MAX: u32 = 16;
/// The largest body of a response, in bytes.
const RESPONSE_BYTES_MAX: usize = 1 << 20;

/// How fast each address calls each plugin.
pub(super) struct Limits(Mutex<LruCache<(String, String), Bucket>>);

impl Default for Limits {
    fn default() -> Self {
        Self(Mutex::new(LruCache::new(CALLERS_MAX)))
    }
}

/// Why an HTTP request has no response of a plugin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unanswered {
    /// No plugin of that id answers requests.
    Nobody,
    /// The plugin broke, was cut, refused or is busy.
    Failed(String),
    /// Anything else.
    Refused(Error),
}

impl From<godwit_domain::waist::Error> for Unanswered {
    fn from(error: godwit_domain::waist::Error) -> Self {
        Self::Refused(error.into())
    }
}

impl Host {
    /// Counts a request of that address to that plugin, whether there is one or not.
    ///
    /// # Errors
    /// `rate_limited`.
    pub fn admit_hook(&self, plugin: &str, address: &str, per_s: u32) -> Result<(), Error> {
        let now = self.parts.clock.now();
        let mut callers = self.crew.inbound.0.lock();
        let key = (plugin.chars().take(64).collect(), address.to_owned());
        let bucket = callers.get_or_insert_mut(key, Bucket::default);
        let taken = bucket.take(now, per_s, per_s.saturating_mul(2));
        taken.or_else(|ms| if faults::on(Fault::CallersUnbounded) { Ok(()) } else { Err(ms) }).map_err(|ms| {
            let text = format!("more than {per_s} requests a second to this plugin");
            Error::new(Code::RateLimited, text).retry_after_ms(ms)
        })
    }

    async fn inbound(&self, plugin: &str) -> Result<(Arc<Lane>, Arc<dyn Actor>), Unanswered> {
        let serves = |actor: &Arc<dyn Actor>| actor.id() == plugin && actor.hooks().contains(&Hook::Inbound);
        let actor = self.crew.actors.all().into_iter().find(serves).ok_or(Unanswered::Nobody)?;
        Ok((self.crew.lane_soon(plugin).await.map_err(Unanswered::Refused)?, actor))
    }

    /// Has a plugin answer a request. With an idempotency key a repeat gets the first response.
    ///
    /// # Errors
    /// See [`Unanswered`].
    pub async fn hook(
        self: &Arc<Self>,
        plugin: &str,
        request: Request,
        idempotency_key: Option<&str>,
    ) -> Result<Response, Unanswered> {
        let (lane, actor) = self.inbound(plugin).await?;
        let key = match idempotency_key {
            Some(key) if key.is_empty() || key.len() > KEY_BYTES_MAX => {
                let text =
                    format!("an Idempotency-Key of {} bytes, it must have 1 to {KEY_BYTES_MAX}", key.len());
                return Err(Unanswered::Refused(Error::invalid("idempotency-key", text)));
            }
            Some(key) => Some(RequestKey::Hook(hash(&[&request.method, &request.path, key]))),
            None => None,
        };
        let key = key.filter(|_| !faults::on(Fault::RepeatsUnknown));
        let query = request.query.as_deref().unwrap_or_default();
        let body: [u8; 32] = Sha256::digest(&request.body).into();
        let content = hash(&[query, &format!("{body:02x?}")]);
        if let Some(key) = &key
            && let Some(first) = lane.work.answered(&lane.id, key).await?
        {
            return repeated(&first, content);
        }
        if let Some(why) = actor.suspended() {
            return Err(Unanswered::Failed(why));
        }
        let now = self.parts.clock.now();
        let event = match &key {
            Some(RequestKey::Hook(hash)) => format!("h.{}.{}", now.0, hex(&hash[..16])),
            _ => format!("h.{}.{}", now.0, Uuid::new_v4().simple()),
        };
        let call = Call { user: lane.user.clone(), event, at: now, hops: 0, answers: Arc::default() };
        for _ in 0..CONFLICTS_MAX {
            let desk = AtDesk::with(self, &lane);
            let (response, effects) = match actor.handle(&call, &request, desk).await {
                Outcome::Done(response, effects) => (response, effects),
                Outcome::Refused { text, .. } => return Err(failed(&lane, text)),
                Outcome::Failed { how, why } => return Err(failed(&lane, format!("{}: {why}", how.name()))),
            };
            check(&response).map_err(|why| failed(&lane, why))?;
            let end = match &key {
                Some(key) => {
                    let answered = Answered { hash: content, answer: write(&response) };
                    End::Answer(key.clone(), answered, now.plus(ANSWERS_MS))
                }
                None => End::Nothing,
            };
            if key.is_none() && effects.writes.is_empty() && effects.acts.is_empty() {
                return Ok(response);
            }
            let settlement = lane.settlement(&call, end, effects).map_err(|why| failed(&lane, why))?;
            match lane.commit(settlement, Some(actor.clone())).await? {
                Settling::Done(_) => return Ok(response),
                Settling::Over => break,
                Settling::Conflict => lane.metrics().count(|metrics| &metrics.conflicts, &lane.id),
                Settling::Full(bytes) => return Err(failed(&lane, hear::full(bytes))),
            }
        }
        // The same request was answered meanwhile, or others are always faster.
        if let Some(key) = &key
            && let Some(first) = lane.work.answered(&lane.id, key).await?
        {
            return repeated(&first, content);
        }
        Err(failed(&lane, "what it read was changed by others all the time".into()))
    }
}

fn failed(lane: &Lane, why: String) -> Unanswered {
    tracing::warn!(plugin = lane.id, why, "a request to a plugin failed");
    Unanswered::Failed(why)
}

fn check(response: &Response) -> Result<(), String> {
    let (status, bytes) = (response.status, response.body.len());
    if !(200..=599).contains(&status) {
        return Err(format!("it answered the status {status}, it must be 200 to 599"));
    }
    if bytes > RESPONSE_BYTES_MAX {
        return Err(format!("it answered {bytes} bytes, the limit is {RESPONSE_BYTES_MAX}"));
    }
    Ok(())
}

/// A response in a few bytes more than its body: status, kind, body.
fn write(response: &Response) -> Vec<u8> {
    let media = match response.media {
        Media::Json => 0,
        Media::Text => 1,
        Media::Bytes => 2,
    };
    let [high, low] = response.status.to_be_bytes();
    [&[high, low, media], &response.body[..]].concat()
}

fn repeated(first: &Answered, content: [u8; 32]) -> Result<Response, Unanswered> {
    if first.hash != content {
        let text = "this Idempotency-Key was used for another request";
        return Err(Unanswered::Refused(Error::new(Code::Conflict, text).field("idempotency-key")));
    }
    let broken = || Unanswered::Refused(Error::new(Code::Internal, "a stored response cannot be read"));
    let (&[high, low, media], body) = first.answer.split_first_chunk::<3>().ok_or_else(broken)?;
    let media = match media {
        0 => Media::Json,
        1 => Media::Text,
        _ => Media::Bytes,
    };
    Ok(Response { status: u16::from_be_bytes([high, low]), media, body: body.to_vec() })
}

fn hash(parts: &[&str]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part.as_bytes());
    }
    hash.finalize().into()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
