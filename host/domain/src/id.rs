//! Identifiers and positions: every one its own type, so that none is passed for another.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl $name {
            /// The id with this value; for tests and examples.
            pub const fn from_u128(value: u128) -> Self {
                Self(Uuid::from_u128(value))
            }

            /// The 16 bytes of the id, in network order: what keys of stored rows are made of.
            pub const fn as_bytes(&self) -> &[u8; 16] {
                self.0.as_bytes()
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                self.0.as_hyphenated().fmt(f)
            }
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0)
            }
        }
    )*};
}

ids! {
    /// A person or a plugin's own user.
    UserId;
    /// A conversation; see [`crate::conversation::direct_id`] and [`crate::conversation::created_id`].
    ConversationId;
    /// What a client calls a request that must happen once: a UUID version 7 of its own making.
    ClientId;
    /// One connection's session.
    SessionId;
    /// One login (a family of refresh tokens) of a user.
    LoginId;
}

impl ClientId {
    /// When the client made the id, by its own clock, or `None` where the id is not of version 7.
    pub fn made_at(&self) -> Option<crate::time::Ms> {
        (self.0.get_version_num() == 7).then(|| crate::time::Ms((self.0.as_u128() >> 80) as u64))
    }
}

macro_rules! positions {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub u64);

        impl $name {
            /// Stands for "before the first".
            pub const ZERO: Self = Self(0);

            /// The position after this one.
            pub const fn next(self) -> Self {
                Self(self.0 + 1)
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                self.0.fmt(f)
            }
        }
    )*};
}

positions! {
    /// The number of a message in its conversation: dense from 1.
    Seq;
    /// The number of a revision in its conversation: dense from 1.
    Rev;
    /// Which set of plugins decided: raised by every change of the set, never reused. 0 is the empty set of a new host.
    Generation;
}
