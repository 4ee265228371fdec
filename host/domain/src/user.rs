//! Users, their accounts and their logins.

use crate::{
    id::{LoginId, UserId},
    time::Ms,
};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// What others see of a user, and how much more of it they may.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// Who.
    pub id: UserId,
    /// The unique name: 3 to 32 of `a-z0-9._-`.
    pub name: String,
    /// The name to show, up to 100 characters.
    pub display_name: Option<String>,
    /// The user of a plugin.
    pub bot: bool,
    /// IANA name of the time zone.
    pub time_zone: Option<String>,
    /// When the account was made.
    pub joined_at: Ms,
    /// The stored picture.
    pub avatar: Option<Uuid>,
    /// What of their doings others are shown.
    pub privacy: Privacy,
}

/// What of a user's doings others are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Privacy {
    /// To whom of those who might see it their presence is shown.
    pub presence: Shown,
    /// Whether others learn how far they have received and read.
    pub receipts: bool,
}

impl Default for Privacy {
    fn default() -> Self {
        Self { presence: Shown::Everyone, receipts: true }
    }
}

/// To whom something is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Shown {
    /// To contacts, and to those with whom a conversation is shared that is not large.
    Everyone,
    /// To contacts alone.
    Contacts,
    /// To no one.
    Nobody,
}

/// How a profile is to change: what is absent stays.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ProfileChange {
    /// Another name to show, or none.
    pub display_name: Option<Option<String>>,
    /// Another picture, or none.
    pub avatar: Option<Option<Uuid>>,
    /// Another time zone, or none.
    pub time_zone: Option<Option<String>>,
    /// To whom presence is shown.
    pub presence: Option<Shown>,
    /// Whether receipts are.
    pub receipts: Option<bool>,
}

/// A user with what is needed to let them in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// The user.
    pub user: User,
    /// The password's hash in PHC string format; `None` for who logs in by minted tokens only.
    pub password_hash: Option<String>,
    /// Disabled users are refused everywhere.
    pub disabled: bool,
    /// Tokens carry the version under which they were made; raising it ends them all.
    pub token_version: u32,
}

/// A login: one family of refresh tokens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Login {
    /// Which login.
    pub id: LoginId,
    /// Whose.
    pub user: UserId,
    /// How often it was refreshed; the refresh token that carries another number was used before.
    pub refreshes: u32,
    /// When it began.
    pub since: Ms,
    /// When it ends unless it is refreshed.
    pub expires_at: Ms,
}
