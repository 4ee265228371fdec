//! How two users stand to each other: what everything asks that shows one of them to the other.
//!
//! It owns the question. What contacts and blocks are, and how they come about, is not its business.

use crate::{id::UserId, waist::Error};
use async_trait::async_trait;

/// How two users stand to each other, whichever of them asks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Between {
    /// They are contacts.
    pub contact: bool,
    /// One of them blocks the other.
    pub blocked: bool,
}

/// Who knows how users stand to each other.
#[async_trait]
pub trait Relations: Send + Sync + 'static {
    /// How the user stands to each of these, in the order asked.
    async fn between(&self, user: UserId, others: &[UserId]) -> Result<Vec<Between>, Error>;

    /// Those with whom a block stands, by whichever of the two, in order.
    async fn blocks(&self, user: UserId) -> Result<Vec<UserId>, Error>;
}

/// For hosts and tests without contacts: nobody is one, and nobody blocks.
#[derive(Debug, Clone, Copy, Default)]
pub struct Nobody;

#[async_trait]
impl Relations for Nobody {
    async fn between(&self, _: UserId, others: &[UserId]) -> Result<Vec<Between>, Error> {
        Ok(vec![Between::default(); others.len()])
    }

    async fn blocks(&self, _: UserId) -> Result<Vec<UserId>, Error> {
        Ok(Vec::new())
    }
}
