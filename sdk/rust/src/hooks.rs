//! The traits that a plugin implements, one per hook, and the macros that export them.
//!
//! It owns the step from the generated exports to the traits: parsing the configuration, finding the plugin's value,
//! lending it the arguments. It knows neither the host's services nor how the types look.
//! Start with [`Lifecycle`], then the hook that you serve.

use crate::{
    bindings::{delivery, fan_out, lifecycle, moderation, normalise},
    instance::Instance,
    types::{
        Attention, Audience, Content, Facts, Message, Reason, Recipient, Rewrite, Scene, Subject, Verdict,
    },
};
use serde::de::DeserializeOwned;
use std::marker::PhantomData;

/// Builds the plugin's value, once in each new instance.
///
/// Export it with [`lifecycle!`](crate::lifecycle!).
pub trait Lifecycle: Sized + 'static {
    /// What the operator configures, as the manifest's schema describes it; [`NoConfig`](crate::NoConfig) for nothing.
    ///
    /// The host has checked the configuration against the schema before. Where the two disagree the instance is
    /// refused and the log names the field.
    type Config: DeserializeOwned;

    /// Builds whatever is costly here: automatons, tables, lists in the form in which they are searched.
    ///
    /// Instances are reused for many calls and thrown away at any time, so a plugin keeps nothing in memory that
    /// matters.
    ///
    /// # Errors
    /// An error refuses the instance, and the version with it; its text is shown to the operator.
    fn init(config: Self::Config) -> Result<Self, String>;
}

/// Changes what is about to be sent: the only place that can.
///
/// Export it with [`normalise!`](crate::normalise!).
pub trait Normalise: 'static {
    /// Answers `Ok(None)` to leave the content as it is, or what replaces its body and mentions.
    ///
    /// # Errors
    /// A [`Reason`] refuses the content; the sender is told.
    fn normalise(&self, scene: &Scene, content: Content) -> Result<Option<Rewrite>, Reason>;
}

/// Judges what other people will read, after every plugin has normalised it.
///
/// Export it with [`moderation!`](crate::moderation!).
pub trait Moderation: 'static {
    /// Allows, rejects or holds `subject`.
    ///
    /// A message on hold waits for a person. Whatever else is held is refused for now, so a plugin that is not about
    /// names, titles and reactions answers `Allow` to them.
    fn review(&self, scene: &Scene, subject: Subject) -> Verdict;
}

/// Names who gets a message as a live push, and who is to be notified.
///
/// Everyone who is in may read it all the same, under its number: whom a rule spares hears that there is something new.
/// Export it with [`fan_out!`](crate::fan_out!).
pub trait FanOut: 'static {
    /// Answers `None` to leave it to the plugins that come later, and in the end to the host's own rule.
    ///
    /// An audience names members alone, and each list as many as there are at most; whoever is named and is not in gets
    /// nothing. Where the plugin was shown [`Facts::members`], to name anyone else is a mistake that costs the answer.
    fn choose(&self, scene: &Scene, message: &Message, facts: &Facts) -> Option<Audience>;
}

/// Says with what attention a message reaches each of those to whom it goes.
///
/// Of several plugins the quietest counts. Export it with [`delivery!`](crate::delivery!).
pub trait Delivery: 'static {
    /// With what attention it reaches one recipient.
    fn attention(&self, scene: &Scene, message: &Message, recipient: &Recipient) -> Attention;

    /// With what attention it reaches each of up to 1,000 recipients, in their order.
    ///
    /// To be implemented as well where something can be done once for all of them. A list that is not as long as that of
    /// the recipients costs the answer.
    fn decide(&self, scene: &Scene, message: &Message, recipients: &[Recipient]) -> Vec<Attention> {
        recipients.iter().map(|recipient| self.attention(scene, message, recipient)).collect()
    }
}

/// The generated traits' implementation for a plugin `P`.
#[doc(hidden)]
pub struct Served<P>(PhantomData<P>);

/// Parses a configuration and builds the plugin: what the exported `init` does with its argument.
#[doc(hidden)]
pub fn build<P: Lifecycle>(config: &str) -> Result<P, String> {
    let config = match config.trim() {
        "" => "{}",
        given => given,
    };
    let mut json = serde_json::Deserializer::from_str(config);
    let config = serde_path_to_error::deserialize(&mut json)
        .map_err(|error| format!("configuration refused at {error}"))?;
    json.end().map_err(|error| format!("configuration refused: {error}"))?;
    P::init(config)
}

/// Built by [`lifecycle!`](crate::lifecycle!) alone, since only that macro can say where the value is kept.
#[doc(hidden)]
pub trait Build: Instance {
    fn build(config: &str) -> Result<(), String>;
}

impl<P: Build> lifecycle::exports::godwit::plugin::lifecycle::Guest for Served<P> {
    fn init(config: String) -> Result<(), String> {
        crate::broken::watch();
        P::build(&config)
    }
}

impl<P: Normalise + Instance> normalise::exports::godwit::plugin::normalise::Guest for Served<P> {
    fn normalise(scene: Scene, content: Content) -> Result<Option<Rewrite>, Reason> {
        crate::broken::watch();
        P::instance().normalise(&scene, content)
    }
}

impl<P: Moderation + Instance> moderation::exports::godwit::plugin::moderation::Guest for Served<P> {
    fn review(scene: Scene, subject: Subject) -> Verdict {
        crate::broken::watch();
        P::instance().review(&scene, subject)
    }
}

impl<P: FanOut + Instance> fan_out::exports::godwit::plugin::fan_out::Guest for Served<P> {
    fn choose(scene: Scene, message: Message, facts: Facts) -> Option<Audience> {
        crate::broken::watch();
        P::instance().choose(&scene, &message, &facts)
    }
}

impl<P: Delivery + Instance> delivery::exports::godwit::plugin::delivery::Guest for Served<P> {
    fn decide(scene: Scene, message: Message, recipients: Vec<Recipient>) -> Vec<Attention> {
        crate::broken::watch();
        P::instance().decide(&scene, &message, &recipients)
    }
}

/// Exports a [`Lifecycle`] and keeps the value that it builds.
///
/// A plugin calls it once; the macros of its hooks refuse to compile without it.
#[macro_export]
macro_rules! lifecycle {
    ($plugin:ty) => {
        const _: () = {
            ::std::thread_local! {
                static SLOT: $crate::__private::Slot<$plugin> = const { $crate::__private::Slot::new() };
            }
            impl $crate::Instance for $plugin {
                fn instance() -> &'static Self {
                    SLOT.with($crate::__private::Slot::get)
                }
            }
            impl $crate::__private::Build for $plugin {
                fn build(config: &str) -> ::std::result::Result<(), ::std::string::String> {
                    let plugin = $crate::__private::build::<$plugin>(config)?;
                    SLOT.with(|slot| slot.fill(plugin))
                }
            }
            type Served = $crate::__private::Served<$plugin>;
    $crate::bindings::lifecycle::export_lifecycle!(Served with_types_in $crate::bindings::lifecycle);
        };
    };
}

/// Exports a [`Normalise`].
#[macro_export]
macro_rules! normalise {
    ($plugin:ty) => {
        const _: () = {
            type Served = $crate::__private::Served<$plugin>;
    $crate::bindings::normalise::export_normalise!(Served with_types_in $crate::bindings::normalise);
        };
    };
}

/// Exports a [`Moderation`].
#[macro_export]
macro_rules! moderation {
    ($plugin:ty) => {
        const _: () = {
            type Served = $crate::__private::Served<$plugin>;
            $crate::bindings::moderation::export_moderation!(Served with_types_in $crate::bindings::moderation);
        };
    };
}

/// Exports a [`FanOut`].
#[macro_export]
macro_rules! fan_out {
    ($plugin:ty) => {
        const _: () = {
            type Served = $crate::__private::Served<$plugin>;
    $crate::bindings::fan_out::export_fan_out!(Served with_types_in $crate::bindings::fan_out);
        };
    };
}

/// Exports a [`Delivery`].
#[macro_export]
macro_rules! delivery {
    ($plugin:ty) => {
        const _: () = {
            type Served = $crate::__private::Served<$plugin>;
    $crate::bindings::delivery::export_delivery!(Served with_types_in $crate::bindings::delivery);
        };
    };
}
