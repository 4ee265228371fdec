//! The cursor of a device: whose it is, and the time of change up to which the device was told everything.

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use godwit_domain::{id::UserId, time::Ms};
use uuid::Uuid;

/// The format of the bytes behind the text.
const VERSION: u8 = 1;

/// See the module. Opaque to clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cursor {
    /// Whose.
    pub user: UserId,
    /// Up to when.
    pub at: Ms,
}

impl std::fmt::Display for Cursor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut bytes = [VERSION; 25];
        bytes[1..17].copy_from_slice(self.user.as_bytes());
        bytes[17..].copy_from_slice(&self.at.0.to_be_bytes());
        f.write_str(&BASE64_URL_SAFE_NO_PAD.encode(bytes))
    }
}

impl Cursor {
    /// Reads what a client gives back; `None` where it was never given.
    pub fn parse(text: &str) -> Option<Self> {
        let mut bytes = [0; 25];
        let read = BASE64_URL_SAFE_NO_PAD.decode_slice(text, &mut bytes).ok()?;
        let (&version, rest) = bytes.split_first()?;
        let (user, at) = rest.split_first_chunk::<16>()?;
        (read == bytes.len() && version == VERSION).then_some(())?;
        let at = u64::from_be_bytes(at.try_into().ok()?);
        Some(Self { user: UserId(Uuid::from_bytes(*user)), at: Ms(at) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_read_as_it_was_given_and_nothing_else_is() {
        let cursor = Cursor { user: UserId::from_u128(7), at: Ms(1_700_000_000_000) };
        let text = cursor.to_string();
        assert_eq!(Cursor::parse(&text), Some(cursor));
        for wrong in ["", "x", "19283", &text[1..], &format!("{text}A"), &"A".repeat(10_000), "é"] {
            assert_eq!(Cursor::parse(wrong), None, "{wrong}");
        }
    }
}
