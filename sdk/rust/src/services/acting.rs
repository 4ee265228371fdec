//! What an actor may call beside the log and the counters, and what both kinds may read.
//!
//! Each function is the host's own inside a component, and that of [`crate::testing`] everywhere else.

/// What the plugin keeps, under the capability `kv`.
///
/// A key's bucket is what stands before its first `/`. Own writes are seen at once, and happen with the event if the
/// hook returns `Ok`. If another event changed a key that was read or a bucket that was scanned, this one runs again.
///
/// ```
/// use godwit_plugin::kv;
///
/// # fn main() -> Result<(), godwit_plugin::ServiceError> {
/// kv::set("votes/ada", b"yes")?;
/// assert_eq!(kv::get_text("votes/ada")?.as_deref(), Some("yes"));
/// assert_eq!(kv::scan("votes", None, 10)?.len(), 1);
/// # Ok(())
/// # }
/// ```
pub mod kv {
    pub use crate::bindings::services::godwit::plugin::kv::Entry;

    #[cfg(target_family = "wasm")]
    use crate::bindings::services::godwit::plugin::kv as host;
    #[cfg(not(target_family = "wasm"))]
    use crate::testing::host::kv as host;
    use crate::types::ServiceError;
    use std::time::Duration;

    /// What stands under a key.
    ///
    /// # Errors
    /// `invalid` beyond the host's limits (256 keys a call), `unavailable` where the store does not answer.
    pub fn get(key: &str) -> Result<Option<Vec<u8>>, ServiceError> {
        host::get(key)
    }

    /// The same as text; what is not UTF-8 is shown as well as it can be.
    ///
    /// # Errors
    /// As [`get`].
    pub fn get_text(key: &str) -> Result<Option<String>, ServiceError> {
        Ok(get(key)?.map(|value| String::from_utf8_lossy(&value).into_owned()))
    }

    /// Writes a value: up to 64 KiB, under a key of up to 512 bytes.
    ///
    /// # Errors
    /// `invalid` beyond these limits, or those of a call's effects.
    pub fn set(key: &str, value: impl AsRef<[u8]>) -> Result<(), ServiceError> {
        host::set(key, value.as_ref(), None)
    }

    /// Writes a value that is gone by itself after a while, which counts in seconds.
    ///
    /// # Errors
    /// As [`set`].
    pub fn set_for(key: &str, value: impl AsRef<[u8]>, lasting: Duration) -> Result<(), ServiceError> {
        host::set(key, value.as_ref(), Some(lasting.as_secs().max(1)))
    }

    /// Removes a key.
    ///
    /// # Errors
    /// As [`set`].
    pub fn delete(key: &str) -> Result<(), ServiceError> {
        host::delete(key)
    }

    /// Up to `limit` (256 at most) entries of a bucket after a key, in order of their bytes.
    ///
    /// # Errors
    /// As [`get`].
    pub fn scan(bucket: &str, after: Option<&str>, limit: u32) -> Result<Vec<Entry>, ServiceError> {
        host::scan(bucket, after, limit)
    }
}

/// What the plugin's own user sees and does, under the capabilities `send`, `history` and `members`.
pub mod chat {
    pub use crate::bindings::services::godwit::plugin::chat::{Member, Named, Numbered, Person, Target};

    #[cfg(target_family = "wasm")]
    use crate::bindings::services::godwit::plugin::chat as host;
    #[cfg(not(target_family = "wasm"))]
    use crate::testing::host::chat as host;
    use crate::types::{Content, Id, Message, ServiceError, User};

    /// Sends a message if the hook returns `Ok`, and says what it is called until the event `sent` tells its number.
    ///
    /// # Errors
    /// `denied`, `not-found` and `encrypted` as things stand; `invalid` beyond a limit.
    pub fn send(to: Target, content: &Content) -> Result<String, ServiceError> {
        host::send(to, content)
    }

    /// Sends a text to a conversation.
    ///
    /// # Errors
    /// As [`send`].
    pub fn say(conversation: Id, body: impl Into<String>) -> Result<String, ServiceError> {
        send(Target::Conversation(conversation), &Content::text(body))
    }

    /// Gives a message another text.
    ///
    /// # Errors
    /// As [`send`].
    pub fn edit(message: &Named, body: &str) -> Result<(), ServiceError> {
        host::edit(message, body)
    }

    /// Deletes a message for everyone.
    ///
    /// # Errors
    /// As [`send`].
    pub fn delete(message: &Named) -> Result<(), ServiceError> {
        host::delete(message)
    }

    /// Sets a reaction, or takes it away.
    ///
    /// # Errors
    /// As [`send`].
    pub fn react(message: &Named, emoji: &str, on: bool) -> Result<(), ServiceError> {
        host::react(message, emoji, on)
    }

    /// Shows that something is being written.
    ///
    /// # Errors
    /// As [`send`].
    pub fn typing(conversation: Id) -> Result<(), ServiceError> {
        host::typing(conversation)
    }

    /// Up to `limit` (256 at most) messages before a number, or the newest; newest first.
    ///
    /// # Errors
    /// `denied` or `not-found` where the plugin's user may not read.
    pub fn history(conversation: Id, before: Option<u64>, limit: u32) -> Result<Vec<Message>, ServiceError> {
        host::history(conversation, before, limit)
    }

    /// Up to `limit` (256 at most) members after a user, by id.
    ///
    /// # Errors
    /// As [`history`].
    pub fn members(conversation: Id, after: Option<Id>, limit: u32) -> Result<Vec<Member>, ServiceError> {
        host::members(conversation, after, limit)
    }

    /// The user of an id or a name.
    ///
    /// # Errors
    /// `denied` without the capability `members` or `send`.
    pub fn find_user(who: &Person) -> Result<Option<User>, ServiceError> {
        host::find_user(who)
    }
}

/// Durable alarms of a bot, under the capability `timer`: each fires once, as the event `timer`.
pub mod timer {
    #[cfg(target_family = "wasm")]
    use crate::bindings::services::godwit::plugin::timer as host;
    #[cfg(not(target_family = "wasm"))]
    use crate::testing::host::timer as host;
    use crate::types::{Ms, ServiceError};

    /// Sets a timer, in place of one of the same name, if the hook returns `Ok`.
    ///
    /// # Errors
    /// `invalid` beyond a limit.
    pub fn set(name: &str, at: Ms, payload: impl AsRef<[u8]>) -> Result<(), ServiceError> {
        host::set(name, at, payload.as_ref())
    }

    /// Has no timer of that name any more.
    ///
    /// # Errors
    /// As [`set`].
    pub fn cancel(name: &str) -> Result<(), ServiceError> {
        host::cancel(name)
    }
}

/// Requests to servers whose origins were granted under the capability `http`: the one service that acts at once.
///
/// A request carries an `Idempotency-Key` that is the same whenever this event makes it, so that a server can tell a
/// repeat from a second request.
pub mod http {
    pub use crate::bindings::services::godwit::plugin::http::{Header, HttpError, Incoming, Outgoing};

    #[cfg(target_family = "wasm")]
    use crate::bindings::services::godwit::plugin::http as host;
    #[cfg(not(target_family = "wasm"))]
    use crate::testing::host::http as host;

    /// Makes a request, and waits for its answer, whatever its status.
    ///
    /// # Errors
    /// There is no answer; an [`HttpError`] says why.
    pub fn fetch(request: &Outgoing) -> Result<Incoming, HttpError> {
        host::fetch(request)
    }

    impl Outgoing {
        /// A `GET` without headers.
        pub fn get(url: impl Into<String>) -> Self {
            Self {
                method: "GET".to_owned(),
                url: url.into(),
                headers: Vec::new(),
                body: Vec::new(),
                timeout_ms: None,
            }
        }

        /// A `POST` of a body of that type.
        pub fn post(url: impl Into<String>, content_type: &str, body: impl Into<Vec<u8>>) -> Self {
            Self { method: "POST".to_owned(), body: body.into(), ..Self::get(url) }
                .header("content-type", content_type)
        }

        /// The request with one more header.
        #[must_use]
        pub fn header(mut self, name: &str, value: &str) -> Self {
            self.headers.push(Header { name: name.to_owned(), value: value.to_owned() });
            self
        }
    }
}

/// What the operator entrusted to the plugin, under the capability `secret`.
pub mod secret {
    #[cfg(target_family = "wasm")]
    use crate::bindings::services::godwit::plugin::secret as host;
    #[cfg(not(target_family = "wasm"))]
    use crate::testing::host::secret as host;
    use crate::types::ServiceError;

    /// The value of a secret, if the operator set it by `godwit plugin secret set`.
    ///
    /// # Errors
    /// `unavailable` where the store does not answer.
    pub fn get(name: &str) -> Result<Option<String>, ServiceError> {
        host::get(name)
    }
}

/// The plugin's own `kv`, for filters: from a copy in memory, of which two reads may differ.
pub mod state {
    #[cfg(target_family = "wasm")]
    use crate::bindings::services::godwit::plugin::state as host;
    #[cfg(not(target_family = "wasm"))]
    use crate::testing::host::state as host;

    /// What stands under a key.
    pub fn get(key: &str) -> Option<Vec<u8>> {
        host::get(key)
    }

    /// What stands under up to 256 keys, in their order; as if nothing stood under those beyond.
    pub fn get_many(keys: &[String]) -> Vec<Option<Vec<u8>>> {
        host::get_many(keys)
    }
}

/// Time zones by their IANA names, from the host's database.
pub mod zone {
    pub use crate::bindings::services::godwit::plugin::zone::LocalTime;

    #[cfg(target_family = "wasm")]
    use crate::bindings::services::godwit::plugin::zone as host;
    #[cfg(not(target_family = "wasm"))]
    use crate::testing::host::zone as host;
    use crate::types::Ms;

    /// What clocks show there; `None` for a zone that does not exist.
    pub fn local(zone: &str, at: Ms) -> Option<LocalTime> {
        host::local(zone, at)
    }

    /// When clocks there show that; `None` for a zone or a day that does not exist.
    pub fn instant(zone: &str, local: LocalTime) -> Option<Ms> {
        host::instant(zone, local)
    }
}
