//! The client protocol: bytes to requests, objects to bytes, error and close codes.
//!
//! It owns the shapes of the wire and nothing else: it refuses to know sockets, sessions, storage and the runtime.
//! What a frame holds is found by [`frame::objects`]; one object becomes a [`request::Incoming`]; what the server says
//! is made of [`object`]s by [`encode`]. Errors and close codes stand in [`error`], one list for all transports.
//!
//! ```
//! use godwit_protocol::request::{self, Request};
//! let incoming = request::parse(r#"{"id": 7, "conversations": {"limit": 10}}"#).unwrap();
//! assert_eq!(incoming.id, 7);
//! assert!(matches!(incoming.request, Ok(Request::Conversations(_))));
//! ```

pub mod encode;
pub mod error;
pub mod frame;
pub mod object;
pub mod request;

/// The number of the protocol that `hello` names.
pub const VERSION: u32 = 1;
/// The WebSocket subprotocol.
pub const SUBPROTOCOL: &str = "godwit.v1.json";
