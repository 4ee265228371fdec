//! The nouns of Godwit and the ports between its crates.
//!
//! It owns what everyone must mean the same by: identifiers, users, conversations, messages, what a plugin is told
//! and answers, and the traits ("ports") by which `core` reaches storage and the engine without knowing either.
//! It refuses to know sockets, files, clocks, JSON on the wire and the runtime: nothing here does I/O.
//!
//! Start with [`message`] and [`conversation`] for the nouns, then [`waist`] and [`tables`] for how they are kept,
//! then [`filter`] and [`plugin`] for how plugins take part.
//!
//! ```
//! use godwit_domain::{id::UserId, conversation};
//! let (ada, ben) = (UserId::from_u128(1), UserId::from_u128(2));
//! // A pair has one conversation, whoever asks first.
//! assert_eq!(conversation::direct_id(ada, ben), conversation::direct_id(ben, ada));
//! ```

pub mod id;
pub mod time;
pub mod user;
pub mod contact;
pub mod conversation;
pub mod message;
pub mod revision;
pub mod held;
pub mod notification;
pub mod waist;
pub mod tables;
pub mod kept;
pub mod filter;
pub mod plugin;
pub mod actor;
