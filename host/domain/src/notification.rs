//! Notifications: what a delivery policy put off, and what is due.
//!
//! Who delivers them to devices stands behind [`Notifications`]; what is put off is kept until then
//! ([`crate::tables::Deferrals`]).

use crate::{
    id::{ConversationId, Seq, UserId},
    time::Ms,
};
use async_trait::async_trait;

/// The longest that a notification is put off, in milliseconds.
pub const DEFERRED_MS_MAX: u64 = 7 * 24 * 60 * 60 * 1000;

/// A notification that was put off: one for each user and conversation, however many messages join it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deferred {
    /// For whom.
    pub user: UserId,
    /// Of where.
    pub conversation: ConversationId,
    /// When it is looked at again.
    pub due_at: Ms,
    /// When it was put off first.
    pub since: Ms,
    /// The message for which it was.
    pub seq: Seq,
}

impl Deferred {
    /// When it is put off no more.
    pub fn until(&self) -> Ms {
        self.since.plus(DEFERRED_MS_MAX)
    }
}

/// A notification whose time has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Due {
    /// For whom.
    pub user: UserId,
    /// Of where.
    pub conversation: ConversationId,
    /// The newest message that they have not read.
    pub seq: Seq,
    /// Without an alert.
    pub quiet: bool,
}

/// Why a notification was not taken; it is offered again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the notification was not taken: {0}")]
pub struct NotTaken(pub String);

/// Who delivers notifications.
#[async_trait]
pub trait Notifications: Send + Sync + 'static {
    /// Takes a notification over. It may come twice after a crash: user, conversation and number tell.
    async fn take(&self, due: Due) -> Result<(), NotTaken>;
}

/// Nobody delivers any: what is due is done with.
#[derive(Debug, Clone, Copy, Default)]
pub struct Undelivered;

#[async_trait]
impl Notifications for Undelivered {
    async fn take(&self, _: Due) -> Result<(), NotTaken> {
        Ok(())
    }
}
