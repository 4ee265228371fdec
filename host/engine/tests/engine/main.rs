//! The engine as its users see it: its two ports, with real components.
//!
//! It knows nothing of the engine's insides. Start with [`bed`].

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod bad;
mod bed;
mod compiling;
mod delivering;
mod installing;
mod judging;
mod subjects;
mod swapping;
