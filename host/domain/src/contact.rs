//! How two users stand to each other: contacts, requests and blocks.

use crate::{id::UserId, time::Ms};
use serde::{Deserialize, Serialize};

/// How another user stands to somebody, as that one sees it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Not at all, as far as they are told.
    #[default]
    None,
    /// They asked, and there is no answer.
    Requested,
    /// They were asked, and did not answer.
    Asked,
    /// Both agreed.
    Friend,
    /// They block the other.
    Blocked,
}

/// What one of two users sees of their relation.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Side {
    /// How the other one stands to them.
    pub state: State,
    /// Since when.
    pub since: Ms,
}

/// The relation of two users: one row, of which both users' contacts are copies.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Relation {
    /// What the user with the lower id sees.
    pub low: Side,
    /// What the other sees.
    pub high: Side,
    /// When it changed last; every change has a later time than the one before.
    pub changed_at: Ms,
}

impl Relation {
    /// What `user` sees of the relation with `other`.
    pub fn side(&self, user: UserId, other: UserId) -> Side {
        if user < other { self.low } else { self.high }
    }

    /// The relation in which `user` sees the first and `other` the second.
    pub fn of(user: UserId, other: UserId, sides: (Side, Side), changed_at: Ms) -> Self {
        let (low, high) = if user < other { sides } else { (sides.1, sides.0) };
        Self { low, high, changed_at }
    }

    /// Whether either blocks the other.
    pub fn is_blocked(&self) -> bool {
        self.low.state == State::Blocked || self.high.state == State::Blocked
    }
}

/// A user's own copy of a relation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Contact {
    /// The other one.
    pub user: UserId,
    /// How they stand to the owner of the copy.
    pub side: Side,
    /// Whether either blocks the other: not to be told.
    pub blocked: bool,
    /// When the relation changed last.
    pub changed_at: Ms,
}

/// What somebody may do about another user.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Ask them to be a contact.
    Request,
    /// Agree.
    Accept,
    /// Refuse.
    Decline,
    /// End it, or take the request back.
    Remove,
    /// Hear and see nothing of them, and the other way round.
    Block,
    /// No longer.
    Unblock,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_of_two_sees_their_own_side_whichever_way_it_is_asked() {
        let (ada, ben) = (UserId::from_u128(1), UserId::from_u128(2));
        let side = |state| Side { state, since: Ms(1) };
        let relation = Relation::of(ben, ada, (side(State::Blocked), side(State::None)), Ms(1));
        assert_eq!(relation.side(ben, ada).state, State::Blocked);
        assert_eq!(relation.side(ada, ben).state, State::None);
        assert!(relation.is_blocked() && !Relation::default().is_blocked());
    }
}
