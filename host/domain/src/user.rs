//! Users, their accounts and their logins.

use crate::{
    id::{LoginId, UserId},
    time::Ms,
};
use serde::{Deserialize, Serialize};

/// What others see of a user.
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
