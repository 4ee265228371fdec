//! The engine as its users see it: its two ports, with real components.
//!
//! It knows nothing of the engine's insides. Start with [`bed`].

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod actor_limits;
mod actors;
mod bad;
mod bed;
mod benching;
mod cancelling;
mod compiling;
mod delivering;
mod failing;
mod desk;
mod hostile;
mod installing;
mod judging;
mod operating;
mod subjects;
mod swapping;
mod trying;
