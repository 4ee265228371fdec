//! Error codes and close codes: the one list for every transport.

use serde::Serialize;

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $text:literal, $temporary:literal, $status:literal;)*) => {
        /// What went wrong, in a form that programs can rely on.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Code {
            $($(#[$doc])* $name,)*
        }

        impl Code {
            /// Every code.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// The code as it is written on the wire.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// Whether the same request may succeed later.
            pub const fn temporary(self) -> bool {
                match self { $(Self::$name => $temporary,)* }
            }

            /// The HTTP status under which it travels.
            pub const fn status(self) -> u16 {
                match self { $(Self::$name => $status,)* }
            }
        }
    };
}

codes! {
    /// No valid token, or no `connect` yet.
    Unauthorised = "unauthorised", false, 401;
    /// Seen, but not allowed.
    Forbidden = "forbidden", false, 403;
    /// Not there, or not to be seen.
    NotFound = "not_found", false, 404;
    /// The asker stands outside.
    NotMember = "not_member", false, 403;
    /// One of the two blocks the other.
    Blocked = "blocked", false, 403;
    /// A plugin refused it; `field` is the plugin's code.
    Moderated = "moderated", false, 422;
    /// The client id was used with other content.
    ClientIdReused = "client_id_reused", false, 409;
    /// The client id is too old to be told from a repeat.
    ClientIdExpired = "client_id_expired", false, 400;
    /// What `after` names was not accepted.
    OutOfTurn = "out_of_turn", false, 409;
    /// A wrong or missing field.
    Invalid = "invalid", false, 400;
    /// Over a limit of size.
    TooLarge = "too_large", false, 413;
    /// Over a limit of rate.
    RateLimited = "rate_limited", true, 429;
    /// The asker may read only.
    ReadOnly = "read_only", false, 403;
    /// The host cannot serve this now; nothing was done.
    Unavailable = "unavailable", true, 503;
    /// Whether it was done is not known; the same `client_id` settles it.
    UnknownOutcome = "unknown_outcome", true, 503;
    /// No such request.
    UnknownRequest = "unknown_request", false, 400;
    /// No such user.
    UnknownUser = "unknown_user", false, 404;
    /// It contradicts what is there.
    Conflict = "conflict", false, 409;
    /// It took too long; a plugin may be to blame.
    Timeout = "timeout", true, 504;
    /// The session has ended.
    SessionGone = "session_gone", false, 410;
    /// A fault of the host.
    Internal = "internal", true, 500;
}

impl std::str::FromStr for Code {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let code = Self::ALL.iter().copied().find(|code| code.as_str() == text);
        code.ok_or_else(|| format!("no error code is `{text}`"))
    }
}

impl Serialize for Code {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// An error as clients see it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}: {message}", code.as_str())]
pub struct Error {
    /// What.
    pub code: Code,
    /// For people.
    pub message: String,
    /// When it may be tried again, in milliseconds from now.
    pub retry_after_ms: Option<u64>,
    /// What was wrong: a field, or a plugin's own code.
    pub field: Option<String>,
}

impl Error {
    /// An error of that code.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), retry_after_ms: None, field: None }
    }

    /// A wrong or missing field.
    pub fn invalid(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new(Code::Invalid, message).field(field)
    }

    /// What is not there, or not to be seen: the same words for both.
    pub fn not_found() -> Self {
        Self::new(Code::NotFound, "no such conversation")
    }

    /// Names the field.
    pub fn field(mut self, field: impl Into<String>) -> Self {
        self.field = Some(field.into());
        self
    }

    /// Says when to try again.
    pub fn retry_after_ms(mut self, ms: u64) -> Self {
        self.retry_after_ms = Some(ms);
        self
    }
}

impl From<godwit_domain::waist::Error> for Error {
    fn from(error: godwit_domain::waist::Error) -> Self {
        use godwit_domain::waist::Error as Store;
        match error {
            Store::Unavailable(_) => Self::new(Code::Unavailable, "the store cannot be used now; try again"),
            // What exactly is broken concerns the operator, who finds it in the log.
            Store::Corrupt(_) | Store::Invalid(_) => Self::new(Code::Internal, "the store could not answer"),
        }
    }
}

impl Serialize for Error {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeStruct;
        let optional = usize::from(self.retry_after_ms.is_some()) + usize::from(self.field.is_some());
        let mut object = serializer.serialize_struct("Error", 3 + optional)?;
        object.serialize_field("code", &self.code)?;
        object.serialize_field("message", &self.message)?;
        object.serialize_field("temporary", &self.code.temporary())?;
        if let Some(ms) = self.retry_after_ms {
            object.serialize_field("retry_after_ms", &ms)?;
        }
        if let Some(field) = &self.field {
            object.serialize_field("field", field)?;
        }
        object.end()
    }
}

/// Why the server closes a connection. 3000 to 3499: reconnect; 3500 to 3999: stop, do not retry unchanged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Close {
    /// The host goes away.
    Draining,
    /// The outbox overflowed; nothing is lost.
    SlowConsumer,
    /// No sign of life.
    Idle,
    /// A fault of the host.
    Internal,
    /// A bad token.
    Unauthorised,
    /// No JSON object, too deeply nested, or a binary frame.
    Malformed,
    /// A frame over the limit.
    TooLarge,
    /// Went on past a rate limit.
    TooManyRequests,
    /// The login or the token has ended.
    Revoked,
    /// No `connect` in time.
    NoConnect,
    /// Text that is not UTF-8.
    NotUtf8,
    /// A violation of WebSocket itself.
    Protocol,
}

impl Close {
    /// The code of the close frame.
    pub const fn code(self) -> u16 {
        match self {
            Self::Draining => 3000,
            Self::SlowConsumer => 3001,
            Self::Idle => 3002,
            Self::Internal => 3003,
            Self::Unauthorised => 3500,
            Self::Malformed => 3501,
            Self::TooLarge => 3502,
            Self::TooManyRequests => 3503,
            Self::Revoked => 3504,
            Self::NoConnect => 3505,
            Self::NotUtf8 => 1007,
            Self::Protocol => 1002,
        }
    }

    /// The reason of the close frame.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Draining => "draining",
            Self::SlowConsumer => "slow consumer",
            Self::Idle => "idle",
            Self::Internal => "internal",
            Self::Unauthorised => "unauthorised",
            Self::Malformed => "malformed",
            Self::TooLarge => "too large",
            Self::TooManyRequests => "too many requests",
            Self::Revoked => "revoked session",
            Self::NoConnect => "no connect in time",
            Self::NotUtf8 => "not utf-8",
            Self::Protocol => "protocol error",
        }
    }
}
