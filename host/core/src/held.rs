//! Drafts on hold as the host as a whole sees them: lists, what people decide, and what is due.

use crate::{host::Host, sequencer::By};
use futures_util::future::join_all;
use godwit_domain::{
    held::Held,
    id::{ClientId, ConversationId, UserId},
    time::Ms,
};
use godwit_protocol::{
    error::{Code, Error},
    object,
};
use serde::Serialize;
use std::{
    sync::{Arc, Weak},
    time::Duration,
};

/// How often it is looked what is due.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How many conversations are tended at once.
const TENDED_MAX: usize = 256;
/// After how many milliseconds a conversation that could not be tended is tried again.
const TEND_AGAIN_MS: u64 = 5_000;
/// The longest reason that a person may give, in characters.
const REASON_CHARS_MAX: usize = 500;
/// The most bytes of bodies in one page: a frame of the server has up to 1 MiB.
const PAGE_BYTES_MAX: usize = 512 * 1024;
/// How many of a user's own drafts a connection begins with. Whoever misses one sends it again, and is told the same.
const OWN_MAX: usize = 200;

/// A page of drafts on hold.
#[derive(Debug, Serialize)]
pub struct Page {
    held: Vec<object::HeldDraft>,
    /// Where to go on.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

impl Page {
    /// Of more than is asked for, so that it shows whether there is more; `place` tells where to go on after one.
    fn of(found: Vec<Held>, limit: usize, place: impl Fn(&Held) -> String) -> Self {
        let mut bytes = 0;
        let fits = |(index, held): &(usize, &Held)| {
            bytes += held.content.body.len();
            *index == 0 || (*index < limit && bytes <= PAGE_BYTES_MAX)
        };
        let taken = found.iter().enumerate().take_while(fits).count();
        let next = (taken < found.len()).then(|| found[..taken].last().map(place)).flatten();
        Self { held: found.into_iter().take(taken).map(object::HeldDraft::from).collect(), next }
    }
}

fn unreadable() -> Error {
    Error::invalid("page", "`page` is not one that this list gave")
}

impl Host {
    /// Drafts on hold in a conversation: all of them for who may decide, else one's own.
    ///
    /// # Errors
    /// `not_found`, `not_member`, `invalid` for a page that was never given, or that of the store.
    pub async fn held(
        &self,
        conversation: ConversationId,
        by: By,
        page: Option<&str>,
        limit: usize,
    ) -> Result<Page, Error> {
        let after = page.map_or(Ok(0), |page| page.parse().map_err(|_| unreadable()))?;
        let found = self.sequencer.held(conversation, by, after, limit + 1).await?;
        Ok(Page::of(found, limit, |held| held.place.to_string()))
    }

    /// Drafts on hold in all conversations, ordered by these.
    ///
    /// # Errors
    /// `invalid` for a page that was never given, or that of the store.
    pub async fn held_everywhere(&self, page: Option<&str>, limit: usize) -> Result<Page, Error> {
        let after = |page: &str| {
            let (conversation, place) = page.split_once('.')?;
            Some((ConversationId(conversation.parse().ok()?), place.parse::<u64>().ok()?))
        };
        let after = page.map(|page| after(page).ok_or_else(unreadable)).transpose()?;
        // A timer stands for each conversation that has any.
        let timers = self.parts.held.timers(Ms(u64::MAX), usize::MAX).await?;
        let mut conversations: Vec<_> = timers.into_iter().map(|(_, conversation)| conversation).collect();
        conversations.sort_unstable();
        conversations.dedup();
        conversations.retain(|conversation| after.is_none_or(|(first, _)| *conversation >= first));
        let mut found = Vec::new();
        for conversation in conversations {
            let place = after.filter(|(first, _)| *first == conversation).map_or(0, |(_, place)| place);
            let rest = limit + 1 - found.len();
            match self.sequencer.held(conversation, By::Operator, place, rest).await {
                Ok(held) => found.extend(held),
                Err(error) if error.code == Code::NotFound => {}
                Err(error) => return Err(error),
            }
            if found.len() > limit {
                break;
            }
        }
        Ok(Page::of(found, limit, |held| format!("{}.{}", held.conversation, held.place)))
    }

    /// The user's own drafts on hold, oldest first, up to [`OWN_MAX`].
    pub(crate) async fn held_by(&self, user: UserId) -> Result<Vec<Held>, Error> {
        let conversations = self.parts.held.held_by(user).await?;
        // The notes say where to look; what is on hold there the shards say.
        let asked = conversations.into_iter().take(OWN_MAX);
        let asked = asked.map(|conversation| self.sequencer.own_held(conversation, user));
        let mut own = Vec::new();
        for held in join_all(asked).await {
            match held {
                Ok(held) => own.extend(held),
                Err(error) if error.code == Code::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        own.sort_unstable_by_key(|held| (held.since, held.client_id));
        own.truncate(OWN_MAX);
        Ok(own)
    }

    /// Has a draft on hold numbered, unless the present plugins refuse it.
    ///
    /// # Errors
    /// `forbidden`, `not_found`; `conflict` where another one comes first; that with which it was rejected; or that
    /// of the store.
    pub async fn release(
        &self,
        conversation: ConversationId,
        sender: UserId,
        client_id: ClientId,
        by: By,
    ) -> Result<object::Sent, Error> {
        self.sequencer.release(conversation, sender, client_id, by).await
    }

    /// Rejects a draft on hold, and those that come after it.
    ///
    /// # Errors
    /// `forbidden`, `not_found`, `invalid` for a reason that is too long, or that of the store.
    pub async fn reject(
        &self,
        conversation: ConversationId,
        sender: UserId,
        client_id: ClientId,
        by: By,
        reason: Option<String>,
    ) -> Result<(), Error> {
        let reason = reason.unwrap_or_else(|| "a moderator rejected this message".to_owned());
        let characters = reason.chars().count();
        if reason.trim().is_empty() || characters > REASON_CHARS_MAX {
            let text = format!("a reason of {characters} characters, it must have 1 to {REASON_CHARS_MAX}");
            return Err(Error::invalid("reason", text));
        }
        self.sequencer.reject(conversation, sender, client_id, by, reason).await
    }

    async fn tend(&self, at: Ms, conversation: ConversationId) {
        let soon = self.parts.clock.now().plus(1);
        let to = match self.sequencer.due(conversation).await {
            Ok(due_at) => due_at.map(|due_at| due_at.max(soon)),
            Err(error) if error.code == Code::NotFound => None,
            Err(error) => {
                tracing::warn!(%error, %conversation, "drafts on hold could not be tended");
                Some(soon.plus(TEND_AGAIN_MS))
            }
        };
        // Until it is moved it is due: nothing is forgotten.
        if let Err(error) = self.parts.held.move_timer(conversation, Some(at), to).await {
            tracing::warn!(%error, %conversation, "a timer could not be moved");
        }
    }
}

/// Tends drafts on hold when their time has come, for as long as there is a host.
pub(crate) async fn tend_in_time(host: Weak<Host>) {
    let mut looks = tokio::time::interval(LOOK_EVERY);
    looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        looks.tick().await;
        let Some(host) = host.upgrade() else { return };
        tend_due(&host).await;
    }
}

async fn tend_due(host: &Arc<Host>) {
    match host.parts.held.timers(host.parts.clock.now(), TENDED_MAX).await {
        Ok(timers) => {
            join_all(timers.into_iter().map(|(at, conversation)| host.tend(at, conversation))).await;
        }
        Err(error) => tracing::warn!(%error, "timers could not be read"),
    }
}
