//! Where what actors work with stands: one partition per plugin, its name ending in a letter that says what for.

use bytes::Bytes;
use godwit_domain::{
    actor::bucket,
    id::ConversationId,
    tables::RequestKey,
    time::Ms,
    waist::{Partition, Space},
};

fn state(parts: &[&[u8]]) -> Partition {
    Partition { space: Space::State, name: parts.concat().into() }
}

/// What a plugin works with.
pub fn work(plugin: &str) -> Partition {
    state(&[b"p", plugin.as_bytes(), b"w"])
}

/// What operators entrusted to a plugin.
pub fn secrets(plugin: &str) -> Partition {
    state(&[b"p", plugin.as_bytes(), b"s"])
}

/// Which plugins have a partition. No id ends in a slash, so that it is none of theirs.
pub fn workers() -> Partition {
    state(&[b"p", b"workers/"])
}

/// The conversations of a shard in which something may have happened.
pub fn dirty(shard: u32) -> Partition {
    Partition { space: Space::Ephemeral, name: [&b"q"[..], &shard.to_be_bytes()].concat().into() }
}

/// The row that every commit of events changes: on it each of them is conditional.
pub const CONTROL: &[u8] = b"a";

/// The first bytes of the keys that are read in order.
pub const DUE: u8 = b'd';
pub const KV: u8 = b'k';
pub const NOTICE: u8 = b'n';
pub const ERRAND: u8 = b'o';
pub const TIMER: u8 = b't';
pub const LETTER: u8 = b'x';

/// The version of a bucket.
pub fn version(bucket: &str) -> Bytes {
    [b"b", bucket.as_bytes()].concat().into()
}

/// The answer to a request.
pub fn answer(key: &RequestKey) -> Bytes {
    match key {
        RequestKey::Command(conversation, user, client) => {
            [&b"c"[..], conversation.as_bytes(), user.as_bytes(), client.as_bytes()].concat().into()
        }
        RequestKey::Hook(hash) => [&b"i"[..], hash].concat().into(),
    }
}

/// What a reference means.
pub fn named(reference: &str) -> Bytes {
    [b"f", reference.as_bytes()].concat().into()
}

/// Where the plugin stands in a conversation.
pub fn position(conversation: ConversationId) -> Bytes {
    [&b"s"[..], conversation.as_bytes()].concat().into()
}

/// A row of one of the queues.
pub fn numbered(first: u8, n: u64) -> Bytes {
    [&[first], &n.to_be_bytes()[..]].concat().into()
}

/// A timer.
pub fn timer(name: &str) -> Bytes {
    [&[TIMER], name.as_bytes()].concat().into()
}

/// That a timer is due then.
pub fn due(at: Ms, n: u64) -> Bytes {
    [&[DUE], &at.0.to_be_bytes()[..], &n.to_be_bytes()[..]].concat().into()
}

/// When the timer of a key that [`due`] made is due.
pub fn split_due(key: &[u8]) -> Option<Ms> {
    let (at, _) = key.get(1..)?.split_first_chunk::<8>()?;
    Some(Ms(u64::from_be_bytes(*at)))
}

/// A row of the plugin's `kv`. The length of the bucket comes first, so that the rows of a bucket are neighbours.
pub fn kv(key: &str) -> Bytes {
    // It fits: a key has up to 512 bytes.
    let length = (bucket(key).len() as u16).to_be_bytes();
    [&[KV], &length[..], key.as_bytes()].concat().into()
}

/// What begins the keys of a bucket's rows.
pub fn kv_bucket(bucket: &str) -> Vec<u8> {
    let length = (bucket.len() as u16).to_be_bytes();
    let slash: &[u8] = if bucket.is_empty() { b"" } else { b"/" };
    [&[KV], &length[..], bucket.as_bytes(), slash].concat()
}

/// The key in a key that [`kv`] made.
pub fn split_kv(key: &[u8]) -> Option<&str> {
    std::str::from_utf8(key.get(3..)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_keys_of_a_bucket_are_neighbours_and_read_as_written() {
        for key in ["", "x", "/x", "a/", "a/b", "a/b/c", "aa/b", "\u{0}/\u{10ffff}"] {
            assert_eq!(split_kv(&kv(key)), Some(key));
            assert!(kv(key).starts_with(&kv_bucket(bucket(key))), "{key:?}");
        }
        for (bucket, key) in [("a", "aa/b"), ("a", "a"), ("", "a/b"), ("a", "/a/b")] {
            assert!(!kv(key).starts_with(&kv_bucket(bucket)), "{key:?} is not in {bucket:?}");
        }
    }

    #[test]
    fn the_partitions_of_plugins_are_apart() {
        let ids = ["a", "as", "aw", "worker", "workers", "roster", "component"];
        let names: Vec<_> = ids.iter().flat_map(|id| [work(id).name, secrets(id).name]).collect();
        for (index, name) in names.iter().enumerate() {
            assert!(!names[..index].contains(name) && *name != workers().name, "{name:?}");
        }
    }
}
