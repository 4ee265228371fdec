//! Tokens: what they say, and how they are signed.
//!
//! It owns the bytes of a token and nothing else: whether what a token says still holds is the service's to find out.
//!
//! ```text
//! version 1 | kind 1 | user 16 | login 16 | token_version 4 | refreshes 4 | expires_at 8 | HMAC-SHA256 32
//! ```
//!
//! All of it, numbers big-endian, is written as base64url without padding: always 110 characters.
//! A field that a kind does not use is zero.

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use godwit_domain::{
    id::{LoginId, UserId},
    time::Ms,
};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use uuid::Uuid;

/// Raised when the layout changes, so that a token of one layout is never read as another.
const VERSION: u8 = 1;
const PAYLOAD_LEN: usize = 50;
const TOKEN_LEN: usize = PAYLOAD_LEN + 32;
const TEXT_LEN: usize = (TOKEN_LEN * 4).div_ceil(3);

const ACCESS: u8 = 1;
const REFRESH: u8 = 2;
const MINTED: u8 = 3;

/// The key under which tokens are signed; whoever has it can be anyone.
#[derive(Clone)]
pub struct Key(Hmac<Sha256>);

impl Key {
    /// How long a key is, in bytes.
    pub const LEN: usize = 32;

    /// A key of these bytes, which have to be random and secret.
    pub fn new(bytes: &[u8; Self::LEN]) -> Self {
        Self(Hmac::new_from_slice(bytes).expect("HMAC takes keys of any length"))
    }

    pub(super) fn seal(&self, token: &Token) -> String {
        let mut bytes = token.to_bytes().to_vec();
        let tag = self.0.clone().chain_update(&bytes).finalize().into_bytes();
        bytes.extend_from_slice(&tag);
        BASE64_URL_SAFE_NO_PAD.encode(bytes)
    }

    /// What the token says, if this key signed it. Its expiry is not looked at.
    pub(super) fn open(&self, text: &str) -> Option<Token> {
        if text.len() != TEXT_LEN {
            return None;
        }
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(text).ok()?;
        let (payload, tag) = bytes.split_first_chunk::<PAYLOAD_LEN>()?;
        self.0.clone().chain_update(payload).verify_slice(tag).ok()?;
        Token::from_bytes(payload)
    }
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Key(..)")
    }
}

/// What a token says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Token {
    pub user: UserId,
    pub kind: Kind,
    /// The account's version under which it was made.
    pub token_version: u32,
    pub expires_at: Ms,
}

/// What a token is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Requests and sockets, while the login lasts.
    Access(LoginId),
    /// The next pair of tokens, once: `refreshes` must still be that of the login.
    Refresh { login: LoginId, refreshes: u32 },
    /// Requests and sockets, without a login: made by an administrator.
    Minted,
}

impl Token {
    fn to_bytes(self) -> [u8; PAYLOAD_LEN] {
        let (kind, login, refreshes) = match self.kind {
            Kind::Access(login) => (ACCESS, login, 0),
            Kind::Refresh { login, refreshes } => (REFRESH, login, refreshes),
            Kind::Minted => (MINTED, LoginId(Uuid::nil()), 0),
        };
        let mut bytes = [0; PAYLOAD_LEN];
        bytes[0] = VERSION;
        bytes[1] = kind;
        bytes[2..18].copy_from_slice(self.user.as_bytes());
        bytes[18..34].copy_from_slice(login.as_bytes());
        bytes[34..38].copy_from_slice(&self.token_version.to_be_bytes());
        bytes[38..42].copy_from_slice(&refreshes.to_be_bytes());
        bytes[42..50].copy_from_slice(&self.expires_at.0.to_be_bytes());
        bytes
    }

    fn from_bytes(bytes: &[u8; PAYLOAD_LEN]) -> Option<Self> {
        let (&[version, kind], rest) = bytes.split_first_chunk()?;
        let (user, rest) = rest.split_first_chunk()?;
        let (login, rest) = rest.split_first_chunk()?;
        let (token_version, rest) = rest.split_first_chunk()?;
        let (refreshes, rest) = rest.split_first_chunk()?;
        let (expires_at, _) = rest.split_first_chunk()?;
        if version != VERSION {
            return None;
        }
        let login = LoginId(Uuid::from_bytes(*login));
        let kind = match kind {
            ACCESS => Kind::Access(login),
            REFRESH => Kind::Refresh { login, refreshes: u32::from_be_bytes(*refreshes) },
            MINTED => Kind::Minted,
            _ => return None,
        };
        Some(Self {
            user: UserId(Uuid::from_bytes(*user)),
            kind,
            token_version: u32::from_be_bytes(*token_version),
            expires_at: Ms(u64::from_be_bytes(*expires_at)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens() -> Vec<Token> {
        let login = LoginId::from_u128(0xfeed);
        [Kind::Access(login), Kind::Refresh { login, refreshes: 7 }, Kind::Minted]
            .map(|kind| Token {
                user: UserId::from_u128(42),
                kind,
                token_version: 3,
                expires_at: Ms(1_700_000_000_000),
            })
            .to_vec()
    }

    #[test]
    fn a_token_reads_as_it_was_written() {
        let key = Key::new(&[1; 32]);
        for token in tokens() {
            let text = key.seal(&token);
            assert_eq!(text.len(), TEXT_LEN);
            assert_eq!(key.open(&text), Some(token));
        }
    }

    #[test]
    fn another_key_opens_nothing() {
        for token in tokens() {
            assert_eq!(Key::new(&[2; 32]).open(&Key::new(&[1; 32]).seal(&token)), None);
        }
    }

    #[test]
    fn a_token_with_any_bit_changed_opens_no_more() {
        let key = Key::new(&[1; 32]);
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(key.seal(&tokens()[0])).unwrap();
        for bit in 0..bytes.len() * 8 {
            let mut forged = bytes.clone();
            forged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(key.open(&BASE64_URL_SAFE_NO_PAD.encode(forged)), None, "bit {bit}");
        }
    }

    #[test]
    fn what_is_no_token_opens_to_nothing() {
        let key = Key::new(&[1; 32]);
        let good = key.seal(&tokens()[0]);
        let cases =
            ["".into(), good[1..].into(), format!("{good}A"), "*".repeat(TEXT_LEN), "é".repeat(TEXT_LEN / 2)];
        for case in cases {
            assert_eq!(key.open(&case), None, "{case:?}");
        }
    }

    #[test]
    fn a_signed_token_of_another_layout_or_kind_opens_to_nothing() {
        let key = Key::new(&[1; 32]);
        for (at, value) in [(0, VERSION + 1), (1, 0), (1, MINTED + 1)] {
            let mut bytes = tokens()[0].to_bytes().to_vec();
            bytes[at] = value;
            let tag = key.0.clone().chain_update(&bytes).finalize().into_bytes();
            bytes.extend_from_slice(&tag);
            assert_eq!(key.open(&BASE64_URL_SAFE_NO_PAD.encode(bytes)), None, "byte {at} = {value}");
        }
    }
}
