//! Who may see whose presence: the one place that knows.
//!
//! A user is shown to contacts and to those with whom they share a conversation that is small; their privacy narrows
//! that, a block ends it, and strangers see nothing. It keeps nothing: whoever asks remembers, and asks again when
//! something changed.

use crate::{
    deliver::People,
    relations::{Between, Relations},
};
use async_trait::async_trait;
use godwit_domain::{
    conversation::direct_id,
    id::{ConversationId, UserId},
    tables::Conversations,
    user::Shown,
    waist::Error,
};
use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

/// See the module.
#[async_trait]
pub trait Sight: Send + Sync + 'static {
    /// Which of `targets` the viewer is shown, in the order asked. One sees oneself.
    async fn of(&self, viewer: UserId, targets: &[UserId]) -> Result<Vec<bool>, Error>;

    /// Which of `viewers` are shown the target, in the order asked.
    async fn on(&self, target: UserId, viewers: &[UserId]) -> Result<Vec<bool>, Error>;
}

/// By what is stored of people, of their relations and of their conversations.
pub struct Stored {
    people: Arc<People>,
    conversations: Arc<dyn Conversations>,
    relations: Arc<Relations>,
    /// How many may be in a conversation that is small.
    small_max: usize,
}

#[async_trait]
impl Sight for Stored {
    async fn of(&self, viewer: UserId, targets: &[UserId]) -> Result<Vec<bool>, Error> {
        let users = self.people.get(targets).await?;
        let shown = |target: &UserId| users.get(target).map_or(Shown::Nobody, |user| user.privacy.presence);
        let asked: Vec<_> = targets.iter().map(|target| (*target, shown(target))).collect();
        self.decide(viewer, &asked).await
    }

    async fn on(&self, target: UserId, viewers: &[UserId]) -> Result<Vec<bool>, Error> {
        let users = self.people.get(&[target]).await?;
        let shown = users.get(&target).map_or(Shown::Nobody, |user| user.privacy.presence);
        let asked: Vec<_> = viewers.iter().map(|viewer| (*viewer, shown)).collect();
        self.decide(target, &asked).await
    }
}

impl Stored {
    /// `small_max` is how many members a conversation may have in which people see one another.
    pub fn new(
        people: Arc<People>,
        conversations: Arc<dyn Conversations>,
        relations: Arc<Relations>,
        small_max: usize,
    ) -> Self {
        Self { people, conversations, relations, small_max }
    }

    /// For each of these whether they and `user` are shown to one another, where the one who is to be shown shows
    /// themselves to those. Everything else is the same from both sides.
    async fn decide(&self, user: UserId, asked: &[(UserId, Shown)]) -> Result<Vec<bool>, Error> {
        let others: Vec<_> = asked.iter().map(|(other, _)| *other).collect();
        let circle = self.relations.circle(user).await?;
        let between: Vec<_> = others.iter().map(|other| circle.between(*other)).collect();
        let mut seen: Vec<_> =
            asked.iter().zip(&between).map(|(asked, between)| known(user, *asked, *between)).collect();
        let unknown: Vec<_> =
            others.iter().zip(&seen).filter_map(|(other, seen)| seen.is_none().then_some(*other)).collect();
        let mut sharing = self.sharing(user, &unknown).await?.into_iter();
        for seen in seen.iter_mut().filter(|seen| seen.is_none()) {
            *seen = sharing.next();
        }
        Ok(seen.into_iter().map(|seen| seen == Some(true)).collect())
    }

    /// Which of these share a small conversation with the user. The direct one is found by its id alone.
    async fn sharing(&self, user: UserId, others: &[UserId]) -> Result<Vec<bool>, Error> {
        if others.is_empty() {
            return Ok(Vec::new());
        }
        let here: HashSet<_> = self.conversations.present_in(user).await?.into_iter().collect();
        let mut small = HashMap::new();
        let mut sharing = Vec::with_capacity(others.len());
        for other in others {
            let is_shared = here.contains(&direct_id(user, *other)) || {
                let theirs = self.conversations.present_in(*other).await?;
                self.any_small(theirs.into_iter().filter(|id| here.contains(id)), &mut small).await?
            };
            sharing.push(is_shared);
        }
        Ok(sharing)
    }

    async fn any_small(
        &self,
        conversations: impl Iterator<Item = ConversationId>,
        known: &mut HashMap<ConversationId, bool>,
    ) -> Result<bool, Error> {
        for conversation in conversations {
            let is_small = match known.get(&conversation) {
                Some(is_small) => *is_small,
                None => {
                    let is_small = self.conversations.circle(conversation, self.small_max).await?.is_some();
                    known.insert(conversation, is_small);
                    is_small
                }
            };
            if is_small {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// What can be said without knowing the conversations of both.
fn known(user: UserId, (other, shown): (UserId, Shown), between: Between) -> Option<bool> {
    match shown {
        _ if user == other => Some(true),
        _ if between.blocked => Some(false),
        Shown::Nobody => Some(false),
        _ if between.contact => Some(true),
        Shown::Contacts => Some(false),
        Shown::Everyone => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contacts_blocks_and_privacy_decide_before_conversations_do() {
        let [ada, ben] = [1, 2].map(UserId::from_u128);
        let (contact, stranger) = (Between { contact: true, blocked: false }, Between::default());
        let blocked = Between { contact: true, blocked: true };
        let cases = [
            (Shown::Everyone, stranger, None),
            (Shown::Everyone, contact, Some(true)),
            (Shown::Everyone, blocked, Some(false)),
            (Shown::Contacts, stranger, Some(false)),
            (Shown::Contacts, contact, Some(true)),
            (Shown::Contacts, blocked, Some(false)),
            (Shown::Nobody, contact, Some(false)),
        ];
        for (shown, between, expected) in cases {
            assert_eq!(known(ada, (ben, shown), between), expected, "{shown:?} {between:?}");
        }
        assert_eq!(known(ada, (ada, Shown::Nobody), stranger), Some(true), "one sees oneself");
    }
}
