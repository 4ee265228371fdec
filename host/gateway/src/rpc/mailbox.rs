//! Pushes that wait for a client to come and fetch them: numbered from 1, kept until they are acknowledged.
//!
//! It owns numbers and nothing else. How many bytes may wait is the outbox's business, which counts them until they are
//! released.

use bytes::Bytes;
use std::{collections::VecDeque, io::Write};

/// See the module.
#[derive(Default)]
pub(super) struct Mailbox {
    /// Up to where the client has said that it has them.
    acknowledged: u64,
    /// Those after it, in order.
    pushes: VecDeque<Bytes>,
    bytes: usize,
}

/// Why a number cannot be acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    /// No push has it yet; the newest has this one.
    Unknown(u64),
    /// What comes after it is gone, for a later one was acknowledged.
    Forgotten,
}

impl Mailbox {
    /// Gives a push the next number.
    pub fn add(&mut self, push: Bytes) {
        self.bytes += push.len();
        self.pushes.push_back(push);
    }

    /// The number up to which everything is acknowledged.
    pub fn acknowledged(&self) -> u64 {
        self.acknowledged
    }

    /// The newest number; 0 before the first.
    pub fn last(&self) -> u64 {
        self.acknowledged + self.pushes.len() as u64
    }

    /// How many bytes are not acknowledged.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether everything is acknowledged.
    pub fn is_empty(&self) -> bool {
        self.pushes.is_empty()
    }

    /// Forgets everything up to that number; how many bytes that were.
    pub fn acknowledge(&mut self, up_to: u64) -> Result<usize, Refused> {
        if up_to > self.last() {
            return Err(Refused::Unknown(self.last()));
        }
        let count = up_to.checked_sub(self.acknowledged).ok_or(Refused::Forgotten)?;
        self.acknowledged = up_to;
        // It is no more than there are.
        let bytes = self.pushes.drain(..count as usize).map(|push| push.len()).sum();
        self.bytes -= bytes;
        Ok(bytes)
    }

    /// What comes after that number, with its numbers.
    pub fn after(&self, number: u64) -> impl Iterator<Item = (u64, &Bytes)> {
        let skipped = number.saturating_sub(self.acknowledged);
        (self.acknowledged + 1..).zip(&self.pushes).skip(usize::try_from(skipped).unwrap_or(usize::MAX))
    }

    /// All that waits, as `{"events": [{"n": 1, "push": {…}}, …]}`.
    pub fn page(&self) -> Vec<u8> {
        let mut page = Vec::with_capacity(16 + self.bytes + 40 * self.pushes.len());
        page.extend_from_slice(b"{\"events\":[");
        for (n, push) in self.after(self.acknowledged) {
            let comma = if n == self.acknowledged + 1 { "" } else { "," };
            // A `Vec` takes every write.
            let _ = write!(page, "{comma}{{\"n\":{n},\"push\":");
            page.extend_from_slice(push);
            page.push(b'}');
        }
        page.extend_from_slice(b"]}");
        page
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mailbox(pushes: &[&'static str]) -> Mailbox {
        let mut mailbox = Mailbox::default();
        pushes.iter().for_each(|push| mailbox.add(Bytes::from(*push)));
        mailbox
    }

    fn page(mailbox: &Mailbox) -> String {
        String::from_utf8(mailbox.page()).unwrap()
    }

    #[test]
    fn pushes_are_numbered_from_one_and_shown_until_they_are_acknowledged() {
        let mut mailbox = mailbox(&["{\"a\":1}", "{\"b\":2}", "{\"c\":3}"]);
        let all = r#"{"events":[{"n":1,"push":{"a":1}},{"n":2,"push":{"b":2}},{"n":3,"push":{"c":3}}]}"#;
        assert_eq!(mailbox.acknowledge(0), Ok(0));
        assert_eq!(page(&mailbox), all);
        assert_eq!(page(&mailbox), all);
        assert_eq!((mailbox.bytes(), mailbox.acknowledge(2), mailbox.bytes()), (21, Ok(14), 7));
        assert_eq!(page(&mailbox), r#"{"events":[{"n":3,"push":{"c":3}}]}"#);
        assert_eq!(mailbox.acknowledge(3), Ok(7));
        assert_eq!(page(&mailbox), r#"{"events":[]}"#);
        mailbox.add(Bytes::from("{}"));
        assert_eq!(mailbox.after(3).map(|(n, _)| n).collect::<Vec<_>>(), [4]);
        assert_eq!(mailbox.after(4).count(), 0);
    }

    #[test]
    fn what_was_never_sent_and_what_is_gone_cannot_be_asked_for() {
        let mut mailbox = mailbox(&["{}", "{}"]);
        assert_eq!(mailbox.acknowledge(3), Err(Refused::Unknown(2)));
        assert_eq!(mailbox.acknowledge(2), Ok(4));
        assert_eq!(mailbox.acknowledge(1), Err(Refused::Forgotten));
        assert_eq!((mailbox.acknowledged(), mailbox.last()), (2, 2));
    }
}
