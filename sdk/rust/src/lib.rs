//! Write plugins for the Godwit chat server: one trait and one macro per hook.
//!
//! A plugin is a WebAssembly component that the server calls while a message is on its way. It owns the bridge
//! between the WIT interface of the host and plain Rust; it knows neither the server nor what plugins are for.
//! Start with the example, then [`Lifecycle`] and the hooks: [`Normalise`], [`Moderation`], [`FanOut`] and
//! [`Delivery`]; [`log`] and [`rate`] are what a plugin may call.
//!
//! ```
//! use godwit_plugin::{log, rate, Lifecycle, Moderation, Scene, Subject, Verdict};
//! use std::time::Duration;
//!
//! /// What the operator sets.
//! #[derive(serde::Deserialize)]
//! struct Config {
//!     messages_per_minute: u32,
//! }
//!
//! struct SlowDown {
//!     messages_per_minute: u32,
//! }
//!
//! impl Lifecycle for SlowDown {
//!     type Config = Config;
//!
//!     fn init(config: Config) -> Result<Self, String> {
//!         Ok(SlowDown { messages_per_minute: config.messages_per_minute })
//!     }
//! }
//!
//! impl Moderation for SlowDown {
//!     fn review(&self, scene: &Scene, _subject: Subject) -> Verdict {
//!         let sender = scene.sender.id.to_string();
//!         if rate::hit(&sender, Duration::from_secs(60)) <= self.messages_per_minute {
//!             return Verdict::Allow;
//!         }
//!         log::info(format!("{} is too fast", scene.sender.name));
//!         Verdict::reject("too-fast", "Take a breath.")
//!     }
//! }
//!
//! godwit_plugin::lifecycle!(SlowDown);
//! godwit_plugin::moderation!(SlowDown);
//!
//! // A test needs no server.
//! fn main() {
//!     use godwit_plugin::testing;
//!     let plugin: SlowDown = testing::init(r#"{"messages_per_minute": 1}"#).unwrap();
//!     assert_eq!(plugin.review(&testing::scene(), testing::message("one")), Verdict::Allow);
//!     let second = plugin.review(&testing::scene(), testing::message("two"));
//!     assert_eq!(second, Verdict::reject("too-fast", "Take a breath."));
//!     testing::advance(Duration::from_secs(60));
//!     assert_eq!(plugin.review(&testing::scene(), testing::message("three")), Verdict::Allow);
//! }
//! ```
//!
//! Each macro exports its hook and no other; a macro that is not called exports nothing. One type may serve several
//! hooks: its value is built once per instance, by [`Lifecycle::init`].
//!
//! A panic ends the call and the instance, never the server: the message with its file and line is in the plugin's
//! log, and the host treats the call as a *trap*, not as an answer.

#[doc(hidden)]
pub mod bindings;
mod broken;
pub mod actors;
mod hooks;
mod instance;
mod services;
#[cfg(not(target_family = "wasm"))]
pub mod testing;
mod types;

pub use actors::{Bot, Command, Inbound, Notifier, bot, command, inbound, notifier};
pub use hooks::{Delivery, FanOut, Lifecycle, Moderation, Normalise};
pub use instance::Instance;
pub use services::{
    acting::{chat, http, kv, secret, state, timer, zone},
    log, rate,
};
pub use types::{
    Attachment, Attention, Audience, Content, ContentKind, Conversation, ConversationKind, Counts, Edit,
    Facts, Fault, Id, Level, Live, Message, Ms, NoConfig, Notified, Reason, Recipient, Rewrite, Role, Scene,
    SenderActivity, ServiceError, Subject, User, Verdict,
};

/// What the macros expand to; nothing here is promised.
#[doc(hidden)]
pub mod __private {
    pub use crate::{
        hooks::{Build, Served, build},
        instance::Slot,
    };
}

/// Compiles the example of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
pub struct Readme;
