//! Behaviour: who may do what, in which order, and who is told.
//!
//! It owns sessions, the sequencer, conversations, fan-out, presence and accounts, all against the ports of the domain.
//! It refuses to know sockets, HTTP, wasmtime and redb: those are plugged in by the binary.
//!
//! Start with [`host::Host`], then follow a message: [`session`] → [`sequencer`] → [`deliver`] →
//! [`registry`] → [`outbox`].

pub mod host;
pub mod session;
pub mod sequencer;
pub mod held;
pub mod actors;
mod labels;
pub mod changes;
pub mod deliver;
pub mod presence;
pub mod sight;
pub mod profile;
pub mod registry;
pub mod outbox;
pub mod view;
pub mod facts;
pub mod person;
pub mod relations;
pub mod lanes;
pub mod review;
pub mod accounts;
mod faults;
pub mod limits;
pub mod metrics;

pub use godwit_domain as domain;
