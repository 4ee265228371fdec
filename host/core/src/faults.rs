//! Promises of actors that tests can have broken on purpose, as those of the engine are: its `CONTRACT.md` names each.
//!
//! Without the feature `faults` nothing of this is compiled: [`on`] is `false`, and what would ask it is gone. With it
//! the environment variable `GODWIT_FAULT` names the one promise that is broken; `tests/faults` goes through all.

macro_rules! switches {
    ($($(#[$meaning:meta])* $name:ident = $text:literal,)*) => {
        /// A promise that can be broken.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum Fault {
            $($(#[$meaning])* $name,)*
        }

        impl Fault {
            #[cfg(feature = "faults")]
            fn name(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }
        }
    };
}

switches! {
    /// An event that fails is tried for ever.
    GivenUpNever = "given-up-never",
    /// Causes are not counted.
    HopsUncounted = "hops-uncounted",
    /// An errand has another client id in each attempt.
    ErrandsRenamed = "errands-renamed",
    /// What an event read is not looked at when it is committed.
    ConflictsUnseen = "conflicts-unseen",
    /// A plugin's user sends as fast as it likes.
    SendsUnbounded = "sends-unbounded",
    /// A new plugin hears everything from the beginning.
    HeardFromTheBeginning = "heard-from-the-beginning",
    /// Timers that were cancelled fire.
    TimersStay = "timers-stay",
    /// Events are heard however old they are.
    EventsNeverOld = "events-never-old",
    /// An address asks a plugin as often as it likes.
    CallersUnbounded = "callers-unbounded",
    /// A repeat of a webhook is a new one.
    RepeatsUnknown = "repeats-unknown",
}

/// Whether that promise is broken.
#[cfg(feature = "faults")]
pub(crate) fn on(fault: Fault) -> bool {
    static BROKEN: std::sync::LazyLock<Option<String>> =
        std::sync::LazyLock::new(|| std::env::var("GODWIT_FAULT").ok());
    BROKEN.as_deref() == Some(fault.name())
}

/// Whether that promise is broken: never.
#[cfg(not(feature = "faults"))]
pub(crate) const fn on(_: Fault) -> bool {
    false
}
