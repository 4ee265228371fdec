//! The hooks of actors: traits, the macros that export them, and what they are told and answer.
//!
//! It owns the step from the generated exports to the traits, as [`crate::hooks`] does for filters; it knows neither
//! the services nor what a plugin does with them. Start with [`Bot`].

#[doc(hidden)]
pub mod bindings;

use crate::{
    hooks::Served,
    instance::Instance,
    types::{Content, Fault},
};

/// What a [`Bot`] hears.
pub mod bot {
    pub use super::bindings::bot::exports::godwit::plugin::bot::{
        Accepted, Alarm, Deleted, Edited, Event, Fate, Moved, Reaction, Refused, Said, Sent, What,
    };
}

/// What a [`Command`] is, is given and answers.
pub mod command {
    pub use super::bindings::command::exports::godwit::plugin::command::{
        Argument, ArgumentKind, CommandSpec, Given, Invocation, Reply, Value,
    };
}

/// What a [`Notifier`] delivers.
pub mod notifier {
    pub use super::bindings::notifier::exports::godwit::plugin::notifier::{Notification, Outcome};
}

/// What an [`Inbound`] is asked and answers.
pub mod inbound {
    pub use super::bindings::inbound::exports::godwit::plugin::inbound::{Header, Media, Request, Response};
}

/// Hears events, one at a time in each conversation.
///
/// What it does through [`kv`](crate::kv), [`chat`](crate::chat) and [`timer`](crate::timer) happens if, and only if,
/// it returns `Ok`, and then exactly once. An event may come again after an error or a crash, until it ended well.
///
/// Export it with [`bot!`](crate::bot!).
pub trait Bot: 'static {
    /// Reacts to an event of a kind that the manifest names.
    ///
    /// # Errors
    /// [`Fault::Retry`] has the event come again, later and later; [`Fault::Drop`] gives it up. Errors of services
    /// become one or the other by `?`.
    fn on_event(&self, event: &bot::Event) -> Result<(), Fault>;
}

/// Serves slash commands.
///
/// Export it with [`command!`](crate::command!).
pub trait Command: 'static {
    /// Which commands there are: asked once, when the version is staged, without any service of actors.
    fn commands(&self) -> Vec<command::CommandSpec>;

    /// Runs one of them.
    ///
    /// # Errors
    /// The text is shown to the caller, up to 500 characters; nothing that was done happens.
    fn run(&self, invocation: &command::Invocation) -> Result<command::Reply, String>;
}

/// Delivers notifications to kinds of devices that the host does not serve itself.
///
/// Export it with [`notifier!`](crate::notifier!).
pub trait Notifier: 'static {
    /// Which kinds: asked once, when the version is staged, without any service of actors.
    fn kinds(&self) -> Vec<String>;

    /// Delivers one.
    ///
    /// # Errors
    /// As [`Bot::on_event`].
    fn notify(&self, notification: &notifier::Notification) -> Result<notifier::Outcome, Fault>;
}

/// Answers HTTP requests to `/v1/hooks/{plugin}/{path}`.
///
/// Export it with [`inbound!`](crate::inbound!).
pub trait Inbound: 'static {
    /// Answers one; it is called at most once for each.
    ///
    /// # Errors
    /// Either fault is a `504` to whom asked, and nothing that was done happens.
    fn handle(&self, request: &inbound::Request) -> Result<inbound::Response, Fault>;
}

impl<P: Bot + Instance> bindings::bot::exports::godwit::plugin::bot::Guest for Served<P> {
    fn on_event(event: bot::Event) -> Result<(), Fault> {
        crate::broken::watch();
        P::instance().on_event(&event)
    }
}

impl<P: Command + Instance> bindings::command::exports::godwit::plugin::command::Guest for Served<P> {
    fn commands() -> Vec<command::CommandSpec> {
        crate::broken::watch();
        P::instance().commands()
    }

    fn run(invocation: command::Invocation) -> Result<command::Reply, String> {
        crate::broken::watch();
        P::instance().run(&invocation)
    }
}

impl<P: Notifier + Instance> bindings::notifier::exports::godwit::plugin::notifier::Guest for Served<P> {
    fn kinds() -> Vec<String> {
        crate::broken::watch();
        P::instance().kinds()
    }

    fn notify(notification: notifier::Notification) -> Result<notifier::Outcome, Fault> {
        crate::broken::watch();
        P::instance().notify(&notification)
    }
}

impl<P: Inbound + Instance> bindings::inbound::exports::godwit::plugin::inbound::Guest for Served<P> {
    fn handle(request: inbound::Request) -> Result<inbound::Response, Fault> {
        crate::broken::watch();
        P::instance().handle(&request)
    }
}

impl command::CommandSpec {
    /// A command without arguments: its name without the slash, and what it does in a line.
    pub fn new(name: impl Into<String>, help: impl Into<String>) -> Self {
        Self { name: name.into(), help: help.into(), arguments: Vec::new() }
    }

    /// The command with one more argument that must be given.
    #[must_use]
    pub fn required(
        self,
        name: impl Into<String>,
        kind: command::ArgumentKind,
        help: impl Into<String>,
    ) -> Self {
        self.with(name.into(), kind, true, help.into())
    }

    /// The command with one more argument that may be given.
    #[must_use]
    pub fn optional(
        self,
        name: impl Into<String>,
        kind: command::ArgumentKind,
        help: impl Into<String>,
    ) -> Self {
        self.with(name.into(), kind, false, help.into())
    }

    /// The command with one more argument that must be one of these.
    #[must_use]
    pub fn choice(mut self, name: impl Into<String>, help: impl Into<String>, choices: &[&str]) -> Self {
        self = self.with(name.into(), command::ArgumentKind::Choice, true, help.into());
        if let Some(last) = self.arguments.last_mut() {
            last.choices = choices.iter().map(|choice| (*choice).to_owned()).collect();
        }
        self
    }

    fn with(mut self, name: String, kind: command::ArgumentKind, required: bool, help: String) -> Self {
        self.arguments.push(command::Argument { name, kind, required, help, choices: Vec::new() });
        self
    }
}

impl command::Invocation {
    /// The value of an argument, if it was given.
    pub fn argument(&self, name: &str) -> Option<&command::Value> {
        self.arguments.iter().find(|given| given.name == name).map(|given| &given.value)
    }

    /// The text of an argument that is a text or a choice, if it was given.
    pub fn text(&self, name: &str) -> Option<&str> {
        match self.argument(name)? {
            command::Value::Text(text) | command::Value::Choice(text) => Some(text),
            _ => None,
        }
    }
}

impl command::Reply {
    /// A text that the caller alone sees.
    pub fn to_caller(body: impl Into<String>) -> Self {
        Self::ToCaller(Content::text(body))
    }

    /// A text of the plugin's user to everyone.
    pub fn to_all(body: impl Into<String>) -> Self {
        Self::ToAll(Content::text(body))
    }
}

impl inbound::Response {
    /// A response in JSON.
    pub fn json(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self { status, media: inbound::Media::Json, body: body.into() }
    }

    /// A response in plain text.
    pub fn text(status: u16, body: impl Into<String>) -> Self {
        Self { status, media: inbound::Media::Text, body: body.into().into_bytes() }
    }
}

impl inbound::Request {
    /// The value of a header, by its name in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|header| header.name == name).map(|header| &*header.value)
    }
}

/// Exports a [`Bot`].
#[macro_export]
macro_rules! bot {
    ($plugin:ty) => {
        const _: () = {
            type Served = $crate::__private::Served<$plugin>;
    $crate::actors::bindings::bot::export_bot!(Served with_types_in $crate::actors::bindings::bot);
        };
    };
}

/// Exports a [`Command`].
#[macro_export]
macro_rules! command {
    ($plugin:ty) => {
        const _: () = {
            type Served = $crate::__private::Served<$plugin>;
            $crate::actors::bindings::command::export_command!(Served with_types_in $crate::actors::bindings::command);
        };
    };
}

/// Exports a [`Notifier`].
#[macro_export]
macro_rules! notifier {
    ($plugin:ty) => {
        const _: () = {
            type Served = $crate::__private::Served<$plugin>;
            $crate::actors::bindings::notifier::export_notifier!(
                Served with_types_in $crate::actors::bindings::notifier
            );
        };
    };
}

/// Exports an [`Inbound`].
#[macro_export]
macro_rules! inbound {
    ($plugin:ty) => {
        const _: () = {
            type Served = $crate::__private::Served<$plugin>;
            $crate::actors::bindings::inbound::export_inbound!(Served with_types_in $crate::actors::bindings::inbound);
        };
    };
}
