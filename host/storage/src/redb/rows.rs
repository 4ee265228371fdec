//! How rows and marks of the waist become keys and values of the one redb table.
//!
//! It owns the byte layouts that `FORMAT.md` calls the outer key and the envelope, and nothing of what is inside.
//! Start with [`write_key`] and [`Envelope`].

use bytes::Bytes;
use godwit_domain::{
    time::Ms,
    waist::{Error, Partition, Space},
};
use std::ops::Bound;

/// Everything that is stored, rows and marks of all spaces: one tree, so that a commit rewrites one path of pages.
pub(super) const ROWS: ::redb::TableDefinition<&[u8], &[u8]> = ::redb::TableDefinition::new("rows");
/// Which format the file has, under the key `format`.
pub(super) const FORMAT: ::redb::TableDefinition<&str, u32> = ::redb::TableDefinition::new("format");
/// How the journal stands to the file, under the names that follow.
pub(super) const JOURNAL: ::redb::TableDefinition<&str, u64> = ::redb::TableDefinition::new("journal");
/// What tells this store's records from those of others.
pub(super) const JOURNAL_STORE: &str = "store";
/// The number of the last record of the journal that the file holds.
pub(super) const JOURNAL_LAST: &str = "last";
/// 1 from its opening to its close: meanwhile the file is nothing without its journal.
pub(super) const JOURNAL_OPEN: &str = "open";
/// Written and removed again when a file is opened anew.
pub(super) const TRIAL: ::redb::TableDefinition<&str, &[u8]> = ::redb::TableDefinition::new("trial");
/// The format that this code reads and writes.
pub(super) const FORMAT_VERSION: u32 = 4;

/// Rows and marks share the table and never meet: the first byte of a key tells them apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Written by commits and `put_all`.
    Row,
    /// Written by `raise`.
    Mark,
}

/// What orders partitions in the file: all rows of one stand together.
pub(super) fn order(partition: &Partition) -> (u8, usize, &[u8]) {
    (space(partition.space), partition.name.len(), &partition.name)
}

fn space(space: Space) -> u8 {
    match space {
        Space::Log => 1,
        Space::State => 2,
        Space::Ephemeral => 3,
    }
}

/// Replaces `out` by the outer key: kind and space, length of the partition's name, that name, the key.
pub(super) fn write_key(out: &mut Vec<u8>, kind: Kind, partition: &Partition, key: &[u8]) {
    let tag = match kind {
        Kind::Row => space(partition.space),
        Kind::Mark => space(partition.space) | 0x80,
    };
    // The waist's limit of 255 bytes is checked before anything gets here.
    let length = u8::try_from(partition.name.len()).unwrap_or(u8::MAX);
    out.clear();
    out.extend_from_slice(&[tag, length]);
    out.extend_from_slice(&partition.name);
    out.extend_from_slice(key);
}

/// The outer key as a new vector.
pub(super) fn key(kind: Kind, partition: &Partition, key: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(2 + partition.name.len() + key.len());
    write_key(&mut out, kind, partition, key);
    out
}

/// From which outer key to which.
pub(super) type Bounds = (Bound<Vec<u8>>, Bound<Vec<u8>>);

/// The bounds of a scan as outer keys; `None` where no key can lie between them.
pub(super) fn bounds(
    kind: Kind,
    partition: &Partition,
    from: &Bound<Bytes>,
    to: &Bound<Bytes>,
) -> Option<Bounds> {
    let whole = key(kind, partition, &[]);
    let lower = match from {
        Bound::Included(from) => Bound::Included(key(kind, partition, from)),
        Bound::Excluded(from) => Bound::Excluded(key(kind, partition, from)),
        Bound::Unbounded => Bound::Included(whole.clone()),
    };
    let upper = match to {
        Bound::Included(to) => Bound::Included(key(kind, partition, to)),
        Bound::Excluded(to) => Bound::Excluded(key(kind, partition, to)),
        Bound::Unbounded => after_prefix(whole).map_or(Bound::Unbounded, Bound::Excluded),
    };
    let empty = match (&lower, &upper) {
        (Bound::Included(lower), Bound::Included(upper)) => lower > upper,
        (
            Bound::Included(lower) | Bound::Excluded(lower),
            Bound::Included(upper) | Bound::Excluded(upper),
        ) => lower >= upper,
        _ => false,
    };
    (!empty).then_some((lower, upper))
}

/// The first key that sorts after everything that begins with `prefix`; `None` where there is none.
pub(super) fn after_prefix(mut prefix: Vec<u8>) -> Option<Vec<u8>> {
    while let Some(last) = prefix.pop() {
        if last < u8::MAX {
            prefix.push(last + 1);
            return Some(prefix);
        }
    }
    None
}

/// What the backend itself must know of a row, in front of its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Envelope {
    /// A row that stays until it is removed.
    Stays,
    /// A row that ends by itself.
    Ends(Ms),
    /// A mark and its version.
    Mark(u64),
}

const STAYS: u8 = 0;
const ENDS: u8 = 1;
const MARK: u8 = 2;

impl Envelope {
    /// The envelope of a row that ends at `expires_at`, if it does.
    pub(super) fn row(expires_at: Option<Ms>) -> Self {
        expires_at.map_or(Self::Stays, Self::Ends)
    }

    /// Replaces `out` by the envelope and the value.
    pub(super) fn write(self, value: &[u8], out: &mut Vec<u8>) {
        out.clear();
        match self {
            Self::Stays => out.push(STAYS),
            Self::Ends(Ms(number)) | Self::Mark(number) => {
                out.push(if matches!(self, Self::Mark(_)) { MARK } else { ENDS });
                out.extend_from_slice(&number.to_be_bytes());
            }
        }
        out.extend_from_slice(value);
    }

    /// Splits what is stored under `key` into envelope and value.
    pub(super) fn split<'a>(key: &[u8], stored: &'a [u8]) -> Result<(Self, &'a [u8]), Error> {
        let corrupt = || Error::Corrupt(format!("no envelope around the row under {}", key.escape_ascii()));
        let (&tag, rest) = stored.split_first().ok_or_else(corrupt)?;
        if tag == STAYS {
            return Ok((Self::Stays, rest));
        }
        let (number, value) = rest.split_first_chunk().ok_or_else(corrupt)?;
        let number = u64::from_be_bytes(*number);
        match tag {
            ENDS => Ok((Self::Ends(Ms(number)), value)),
            MARK => Ok((Self::Mark(number), value)),
            _ => Err(corrupt()),
        }
    }

    /// Whether the row has ended.
    pub(super) fn ended(self, now: Ms) -> bool {
        matches!(self, Self::Ends(at) if at <= now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_envelope_is_read_as_written() {
        for envelope in [Envelope::Stays, Envelope::Ends(Ms(7)), Envelope::Mark(u64::MAX)] {
            let mut stored = Vec::new();
            envelope.write(b"ab", &mut stored);
            assert_eq!(Envelope::split(b"k", &stored), Ok((envelope, &b"ab"[..])));
        }
    }

    #[test]
    fn an_envelope_that_is_cut_or_unknown_is_corrupt() {
        for stored in [&b""[..], &[ENDS, 0, 0], &[9; 12]] {
            assert!(matches!(Envelope::split(b"k", stored), Err(Error::Corrupt(_))), "{stored:?}");
        }
    }

    #[test]
    fn the_end_of_a_prefix_carries_over_full_bytes() {
        assert_eq!(after_prefix(vec![1, 0xff]), Some(vec![2]));
        assert_eq!(after_prefix(vec![0xff, 0xff]), None);
    }
}
