//! What filters are told of a conversation and of the sender's place in it: kept by the shards, read by anyone.
//!
//! A draft is judged before it reaches its shard; asking the shard first would cost every judged send a round trip.
//! A card may be a moment old. That is enough for a plugin's scene; the shard checks what matters again.

use godwit_domain::{
    conversation::{Meta, Role},
    filter::Place,
    id::{ConversationId, UserId},
    time::Ms,
};
use parking_lot::RwLock;
use std::{collections::HashMap, sync::Arc};

const STRIPES: usize = 64;

/// A conversation as filters are told of it.
pub struct Card {
    /// What it is.
    pub place: Place,
    /// Who is in, as what, since when.
    pub members: HashMap<UserId, (Role, Ms)>,
}

/// A conversation of so many members as plugins are told of it.
pub fn place(meta: &Meta, member_count: u32) -> Place {
    Place {
        id: meta.id,
        kind: meta.kind,
        title: meta.title.clone(),
        member_count,
        encrypted: false,
        labels: meta.labels.clone(),
    }
}

/// The cards of the conversations that are held in memory.
pub struct Cards {
    stripes: [RwLock<HashMap<ConversationId, Arc<Card>>>; STRIPES],
}

impl Default for Cards {
    fn default() -> Self {
        Self { stripes: std::array::from_fn(|_| RwLock::default()) }
    }
}

impl Cards {
    fn stripe(&self, conversation: ConversationId) -> &RwLock<HashMap<ConversationId, Arc<Card>>> {
        &self.stripes[usize::from(conversation.as_bytes()[15]) % STRIPES]
    }

    /// The card, if the conversation is held in memory.
    pub fn get(&self, conversation: ConversationId) -> Option<Arc<Card>> {
        self.stripe(conversation).read().get(&conversation).cloned()
    }

    /// Lays out a card in place of the one before.
    pub fn put(&self, conversation: ConversationId, card: Card) {
        self.stripe(conversation).write().insert(conversation, Arc::new(card));
    }

    /// Takes a card away.
    pub fn remove(&self, conversation: ConversationId) {
        self.stripe(conversation).write().remove(&conversation);
    }
}
