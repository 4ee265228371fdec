//! Links into conversations.

use godwit_domain::{id::UserId, time::Ms};
use serde::Serialize;

/// A link by which whoever has its code comes in.
#[derive(Debug, Clone, Serialize)]
pub struct Link {
    /// What `join` is given.
    pub code: String,
    /// Who made it.
    pub by: UserId,
    /// When.
    pub created_at: Ms,
    /// When it ends by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Ms>,
}
