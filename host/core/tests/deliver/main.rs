//! The deliver stage of a real host on a real store: rules that name audiences, are slow, fail, and put off; and who is
//! shown what of whom.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod house;
mod large;
mod later;
mod people;
mod rules;
mod waiting;
