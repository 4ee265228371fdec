//! What a plugin may call: the log and the sliding counters.
//!
//! It owns the choice between the host's functions, inside a component, and the stand-ins of [`crate::testing`],
//! everywhere else; it keeps nothing itself. Start with [`log`] and [`rate`].

pub mod acting;

/// Lines for the operator, shown by `godwit plugin logs`.
///
/// What a plugin prints, and the message of a panic with its file and line, goes there too.
///
/// ```
/// use godwit_plugin::{log, testing, Level};
///
/// log::warn("three lists are empty");
/// assert_eq!(testing::take_log(), [(Level::Warn, "three lists are empty".to_owned())]);
/// ```
pub mod log {
    use crate::types::Level;

    /// Writes a line of any level.
    pub fn log(level: Level, message: impl AsRef<str>) {
        #[cfg(target_family = "wasm")]
        crate::bindings::services::godwit::plugin::log::log(level, message.as_ref());
        #[cfg(not(target_family = "wasm"))]
        crate::testing::log(level, message.as_ref());
    }

    /// Writes what only helps to follow one call.
    pub fn trace(message: impl AsRef<str>) {
        log(Level::Trace, message);
    }

    /// Writes what helps to find a mistake.
    pub fn debug(message: impl AsRef<str>) {
        log(Level::Debug, message);
    }

    /// Writes what an operator may like to know.
    pub fn info(message: impl AsRef<str>) {
        log(Level::Info, message);
    }

    /// Writes what an operator should look into.
    pub fn warn(message: impl AsRef<str>) {
        log(Level::Warn, message);
    }

    /// Writes what went wrong.
    pub fn error(message: impl AsRef<str>) {
        log(Level::Error, message);
    }
}

/// Sliding counters in the host's memory, of this plugin alone: approximate, and forgotten with the process.
///
/// A plugin has 65,536 keys.
///
/// ```
/// use godwit_plugin::{rate, testing};
/// use std::time::Duration;
///
/// let window = Duration::from_secs(10);
/// assert_eq!((rate::hit("ada", window), rate::hit("ada", window)), (1, 2));
/// testing::advance(window);
/// assert_eq!(rate::peek("ada", window), 0);
/// ```
pub mod rate {
    use std::time::Duration;

    /// The longest window that the host counts.
    pub const WINDOW_MAX: Duration = Duration::from_secs(3600);

    /// Counts this call and returns how many there were in the last `window`, this one included.
    ///
    /// A window beyond [`WINDOW_MAX`] is cut to it; one below a millisecond is a millisecond.
    pub fn hit(key: &str, window: Duration) -> u32 {
        #[cfg(target_family = "wasm")]
        return crate::bindings::services::godwit::plugin::rate::hit(key, millis(window));
        #[cfg(not(target_family = "wasm"))]
        crate::testing::hit(key, millis(window))
    }

    /// Returns how many hits there were in the last `window`, without counting this call.
    pub fn peek(key: &str, window: Duration) -> u32 {
        #[cfg(target_family = "wasm")]
        return crate::bindings::services::godwit::plugin::rate::peek(key, millis(window));
        #[cfg(not(target_family = "wasm"))]
        crate::testing::peek(key, millis(window))
    }

    fn millis(window: Duration) -> u32 {
        window.clamp(Duration::from_millis(1), WINDOW_MAX).as_millis() as u32
    }
}
