//! Who muted what, remembered for a while: a policy is told of it with every message.

use godwit_domain::{
    id::{ConversationId, UserId},
    tables,
    time::{Clock, Ms},
    waist,
};
use lru::LruCache;
use parking_lot::Mutex;
use std::sync::Arc;

/// How many are remembered; who was not asked about for longest goes first.
const MUTES_MAX: usize = 65_536;
/// For how long, in milliseconds: another host may have changed it since.
const REMEMBERED_MS: u64 = 60_000;

pub struct Mutes {
    conversations: Arc<dyn tables::Conversations>,
    clock: Arc<dyn Clock>,
    known: Mutex<Known>,
}

struct Known {
    mutes: LruCache<(UserId, ConversationId), (Ms, Option<Ms>)>,
    /// Counts changes: what was read before one is not remembered.
    changes: u64,
}

impl Mutes {
    pub fn new(conversations: Arc<dyn tables::Conversations>, clock: Arc<dyn Clock>) -> Self {
        let known = Known { mutes: LruCache::unbounded(), changes: 0 };
        Self { conversations, clock, known: Mutex::new(known) }
    }

    /// Until when each of these users muted the conversation, in the order asked; `None` where they do not any more.
    pub async fn get(
        &self,
        users: &[UserId],
        conversation: ConversationId,
    ) -> Result<Vec<Option<Ms>>, waist::Error> {
        let now = self.clock.now();
        let mut found = vec![None; users.len()];
        let (mut missing, mut places) = (Vec::new(), Vec::new());
        let changes = {
            let mut known = self.known.lock();
            for (place, user) in users.iter().enumerate() {
                match known.mutes.get(&(*user, conversation)) {
                    Some((at, until)) if now.since(*at) < REMEMBERED_MS => found[place] = *until,
                    _ => {
                        missing.push((*user, conversation));
                        places.push(place);
                    }
                }
            }
            known.changes
        };
        if !missing.is_empty() {
            let read = self.conversations.settings(&missing).await?;
            let mut known = self.known.lock();
            for ((place, key), settings) in places.into_iter().zip(missing).zip(read) {
                found[place] = settings.muted_until;
                if known.changes == changes {
                    known.mutes.put(key, (now, settings.muted_until));
                }
            }
            while known.mutes.len() > MUTES_MAX {
                known.mutes.pop_lru();
            }
        }
        Ok(found.into_iter().map(|until| until.filter(|until| *until > now)).collect())
    }

    /// Somebody muted a conversation until then, or no longer does.
    pub fn set(&self, user: UserId, conversation: ConversationId, until: Option<Ms>) {
        let now = self.clock.now();
        let mut known = self.known.lock();
        known.changes += 1;
        known.mutes.put((user, conversation), (now, until));
    }
}
