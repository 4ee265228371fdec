//! Cursors, as a device gives them back.
//!
//! Promises: one that was given is read as it was given; any other text is none, or one that is written just so again.

use godwit_core::session::cursor::Cursor;
use godwit_domain::{id::UserId, time::Ms};
use godwit_fuzz::Target;

pub struct Cursors;

impl Target for Cursors {
    const NAME: &'static str = "cursors";

    fn valid(&self) -> Vec<Vec<u8>> {
        let given = [(0, 0), (1, 1_800_000_000_000), (u128::MAX, u64::MAX)];
        let text = |(user, at)| Cursor { user: UserId::from_u128(user), at: Ms(at) }.to_string();
        given.map(|given| text(given).into_bytes()).to_vec()
    }

    fn check(&self, input: &[u8]) {
        let Ok(text) = std::str::from_utf8(input) else { return };
        if let Some(cursor) = Cursor::parse(text) {
            assert_eq!(cursor.to_string(), text);
        }
    }
}
