//! Which conversations actors have to look at: told by the shards, remembered over restarts.
//!
//! A conversation is marked as dirty, durably, before the first commit of a burst, so that a restart finds what actors
//! have not heard yet; it is clean again when all have heard everything and a minute has passed. While no actor hears
//! conversations the shards pay for one look at a flag.

use crate::sequencer::shard_of;
use godwit_domain::{
    id::ConversationId,
    tables::Work,
    time::{Clock, Ms},
    waist,
};
use parking_lot::Mutex;
use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};
use tokio::sync::Notify;

/// How long nothing must have happened in a conversation before it counts as clean.
const CLEAN_AFTER_MS: u64 = 60_000;

/// See the module.
pub struct Watch {
    work: Arc<dyn Work>,
    clock: Arc<dyn Clock>,
    active: AtomicBool,
    dirty: Mutex<HashMap<ConversationId, Dirt>>,
    /// Held while rows are written or removed, so that a row is not removed behind who counts on it.
    rows: tokio::sync::Mutex<()>,
    moved: Mutex<HashSet<ConversationId>>,
    /// Told when there is something in `moved`.
    pub(super) stirred: Notify,
}

/// What is known of a dirty conversation.
struct Dirt {
    /// Commits that are under way.
    under_way: usize,
    /// When it was touched last.
    at: Ms,
    /// Whether its row is durable.
    stored: bool,
}

/// A commit that actors will want to hear of: told when this is dropped.
pub struct Marked {
    watch: Arc<Watch>,
    conversation: ConversationId,
}

impl Watch {
    pub(crate) fn new(work: Arc<dyn Work>, clock: Arc<dyn Clock>) -> Arc<Self> {
        Arc::new(Self {
            work,
            clock,
            active: AtomicBool::new(false),
            dirty: Mutex::default(),
            rows: tokio::sync::Mutex::default(),
            moved: Mutex::default(),
            stirred: Notify::new(),
        })
    }

    /// Whether any actor hears conversations.
    pub(super) fn set_active(&self, active: bool) {
        self.active.store(active, Ordering::SeqCst);
    }

    /// Says that these conversations are about to be changed; what comes back, one for each of them in order, is held
    /// until the change can be read. Nothing comes back where nobody hears it.
    ///
    /// # Errors
    /// That of the store; nothing may be changed then.
    pub(crate) async fn mark(
        self: &Arc<Self>,
        conversations: impl IntoIterator<Item = ConversationId>,
    ) -> Result<Vec<Marked>, waist::Error> {
        if !self.active.load(Ordering::SeqCst) {
            return Ok(Vec::new());
        }
        let marked: Vec<_> = conversations.into_iter().map(|conversation| self.enter(conversation)).collect();
        if self.unstored(&marked).is_empty() {
            return Ok(marked);
        }
        let _rows = self.rows.lock().await;
        let unstored = self.unstored(&marked);
        if !unstored.is_empty() {
            self.work.mark_dirty(&unstored).await?;
            let mut dirty = self.dirty.lock();
            for (_, conversation) in unstored {
                if let Some(dirt) = dirty.get_mut(&conversation) {
                    dirt.stored = true;
                }
            }
        }
        Ok(marked)
    }

    fn enter(self: &Arc<Self>, conversation: ConversationId) -> Marked {
        let at = self.clock.now();
        let mut dirty = self.dirty.lock();
        let dirt = dirty.entry(conversation).or_insert(Dirt { under_way: 0, at, stored: false });
        dirt.under_way += 1;
        dirt.at = dirt.at.max(at);
        Marked { watch: self.clone(), conversation }
    }

    fn unstored(&self, marked: &[Marked]) -> Vec<(u32, ConversationId)> {
        let dirty = self.dirty.lock();
        let unstored =
            |conversation: &ConversationId| dirty.get(conversation).is_none_or(|dirt| !dirt.stored);
        let ids = marked.iter().map(|marked| marked.conversation).filter(unstored);
        ids.map(|conversation| (shard_of(conversation), conversation)).collect()
    }

    /// Takes up what an earlier life of the host left dirty.
    pub(super) fn found(&self, conversations: Vec<ConversationId>) {
        let at = self.clock.now();
        let mut dirty = self.dirty.lock();
        for conversation in &conversations {
            dirty.entry(*conversation).or_insert(Dirt { under_way: 0, at, stored: true }).stored = true;
        }
        drop(dirty);
        self.moved.lock().extend(conversations);
        self.stirred.notify_one();
    }

    /// The conversations that moved since this was asked last.
    pub(super) fn take_moved(&self) -> HashSet<ConversationId> {
        std::mem::take(&mut *self.moved.lock())
    }

    /// All that are dirty.
    pub(super) fn all(&self) -> Vec<ConversationId> {
        self.dirty.lock().keys().copied().collect()
    }

    /// Whether none is dirty.
    pub(super) fn is_clean(&self) -> bool {
        self.dirty.lock().is_empty()
    }

    /// Those in which nothing happened for long enough.
    pub(super) fn quiet(&self) -> Vec<ConversationId> {
        let now = self.clock.now();
        let dirty = self.dirty.lock();
        let quiet = |dirt: &Dirt| dirt.under_way == 0 && now.since(dirt.at) >= CLEAN_AFTER_MS;
        dirty.iter().filter(|(_, dirt)| quiet(dirt)).map(|(conversation, _)| *conversation).collect()
    }

    /// Takes a conversation for clean, unless something happens there again.
    ///
    /// # Errors
    /// That of the store; it stays dirty then.
    pub(super) async fn clean(&self, conversation: ConversationId) -> Result<(), waist::Error> {
        let _rows = self.rows.lock().await;
        let now = self.clock.now();
        {
            let mut dirty = self.dirty.lock();
            let Some(dirt) = dirty.get_mut(&conversation) else { return Ok(()) };
            if dirt.under_way > 0 || now.since(dirt.at) < CLEAN_AFTER_MS {
                return Ok(());
            }
            // Whoever comes from here on writes the row again, once the lock is free.
            dirt.stored = false;
        }
        let cleared = self.work.clear_dirty(shard_of(conversation), conversation).await;
        let mut dirty = self.dirty.lock();
        if let Some(dirt) = dirty.get_mut(&conversation) {
            match cleared {
                Ok(()) if dirt.under_way == 0 => drop(dirty.remove(&conversation)),
                Ok(()) => {}
                Err(_) => dirt.stored = true,
            }
        }
        cleared
    }
}

impl Drop for Marked {
    fn drop(&mut self) {
        let watch = &self.watch;
        if let Some(dirt) = watch.dirty.lock().get_mut(&self.conversation) {
            dirt.under_way = dirt.under_way.saturating_sub(1);
            dirt.at = dirt.at.max(watch.clock.now());
        }
        watch.moved.lock().insert(self.conversation);
        watch.stirred.notify_one();
    }
}
