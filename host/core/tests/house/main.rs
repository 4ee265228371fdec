//! A host with its real store, and sessions without sockets, where something goes wrong: a disk that fails, a
//! connection that is dropped.

#![allow(missing_docs, reason = "a test")]
#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

#[allow(clippy::module_inception, reason = "what all tests here live in")]
mod house;
mod storage_failure;
mod dropped_sockets;
