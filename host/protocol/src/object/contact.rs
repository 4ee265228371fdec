//! How others stand to a user.

use super::User;
use godwit_domain::{
    contact::{Side, State},
    time::Ms,
    user,
};
use serde::Serialize;

/// A contact as its owner sees it.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Contact<'a> {
    user: User<'a>,
    state: State,
    since: Ms,
}

impl<'a> Contact<'a> {
    /// How `user` stands to whom this is shown. `blocked` is whether either blocks the other.
    pub fn new(user: &'a user::User, side: Side, blocked: bool) -> Self {
        Self { user: User::from(user).guarded(blocked), state: side.state, since: side.since }
    }
}
