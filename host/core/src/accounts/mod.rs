//! Accounts, logins and tokens.
//!
//! It owns who may come in: registration, passwords, the rotation of refresh tokens, and what ends a login.
//! It refuses to know HTTP, sockets, the storage behind its tables, and where the signing key is kept.
//! None of it stands on the way of a message: a session asks once, when it connects.
//!
//! Tokens are signed, not stored; what they rest on is stored. An access token names a login, and is good while that
//! login's row is there; every token carries the account's `token_version`, so raising that ends them all.
//! A refresh token carries how often its login was refreshed before: the row moves on with each use, and who comes
//! with an old number shows that the token was copied, which ends the login.
//!
//! Start with [`Service`].

mod attempts;
mod hasher;
mod options;
mod service;
mod token;

pub use options::{Misconfigured, Options};
pub use service::Service;
pub use token::Key;

use godwit_domain::{
    id::{LoginId, UserId},
    time::Ms,
    user::User,
};
use std::sync::Arc;

/// Who a token stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    /// The user.
    pub user: Arc<User>,
    /// The login, whose end is the end of its sockets; none for minted tokens.
    pub login: Option<LoginId>,
    /// Of a minted token, which has no login to live as long as: when it ends, and its socket with it.
    pub expires_at: Option<Ms>,
}

/// What a login is given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tokens {
    /// Whose they are.
    pub user: Arc<User>,
    /// For requests and sockets, until `expires_at`.
    pub access_token: String,
    /// For the next tokens, once.
    pub refresh_token: String,
    /// When the access token ends.
    pub expires_at: Ms,
}

/// A token made by an administrator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Minted {
    /// For requests and sockets, until `expires_at`.
    pub access_token: String,
    /// When it ends.
    pub expires_at: Ms,
}

/// Who is told that tokens ended, to close the sockets that rest on them.
///
/// The call comes after the end is durable. A session that registers itself first and calls
/// [`Service::authenticate`] then, in this order, hears of every end: by the refusal or by the call.
pub trait Ends: Send + Sync + 'static {
    /// This login ended: by logout, or because its refresh token was used twice.
    fn login_ended(&self, login: LoginId);

    /// All tokens of this user ended, minted ones too.
    fn user_ended(&self, user: UserId);
}
