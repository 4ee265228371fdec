//! Actors of the tests' own making on a real host and a real store, without sockets and without an engine.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod house;
mod script;

mod commands;
mod crashes;
mod events;
mod failures;
mod inbound;
mod removal;
mod timers;
