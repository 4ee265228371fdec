//! The tables over the real backend: what they promise, what a crash leaves, what a changed byte does.

mod accounts;
mod common;
mod golden;
mod membership;
mod messages;
mod plugins;
