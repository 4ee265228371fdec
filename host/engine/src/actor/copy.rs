//! The copy of a plugin's `kv` in memory, which filters read as `state`.
//!
//! It is filled once, when the plugin is first seated, and follows every commit after that. It owns its bound: what
//! does not fit is left out, and the plugin's log says so once.

use godwit_domain::{actor::KvWrite, kept::KvRow, time::Ms};
use parking_lot::RwLock;
use std::{collections::HashMap, sync::Arc};

/// What a row costs beside its bytes.
const ROW_BYTES: usize = 96;

#[derive(Debug, Clone)]
struct Row {
    value: Arc<[u8]>,
    expires_at: Option<Ms>,
}

/// The rows of one plugin.
#[derive(Debug, Default)]
pub(crate) struct Copy(RwLock<Rows>);

#[derive(Debug, Default)]
struct Rows {
    filled: bool,
    rows: HashMap<String, Row>,
    bytes: usize,
    /// Whether something was left out.
    short: bool,
}

impl Rows {
    /// Says whether there was room.
    fn put(&mut self, key: String, row: Row, bytes_max: usize) -> bool {
        self.remove(&key);
        let bytes = key.len() + row.value.len() + ROW_BYTES;
        if self.bytes + bytes > bytes_max {
            self.short = true;
            return false;
        }
        self.bytes += bytes;
        self.rows.insert(key, row);
        true
    }

    fn remove(&mut self, key: &str) {
        if let Some(row) = self.rows.remove(key) {
            self.bytes -= key.len() + row.value.len() + ROW_BYTES;
        }
    }
}

impl Copy {
    /// Whether it was filled before: a new version finds it as the one before left it.
    pub(crate) fn filled(&self) -> bool {
        self.0.read().filled
    }

    /// Takes what is stored. Says whether all of it fits.
    pub(crate) fn fill(&self, stored: Vec<KvRow>, bytes_max: usize) -> bool {
        let mut rows = self.0.write();
        rows.filled = true;
        let mut all = true;
        for KvRow { key, value, expires_at } in stored {
            all &= rows.put(key, Row { value, expires_at }, bytes_max);
        }
        all
    }

    /// Takes what was committed. Says `false` where something is left out for the first time.
    pub(crate) fn apply(&self, writes: &[KvWrite], now: Ms, bytes_max: usize) -> bool {
        let mut rows = self.0.write();
        let short = rows.short;
        for write in writes {
            match &write.value {
                None => rows.remove(&write.key),
                Some(value) => {
                    let expires_at = write.ttl_s.map(|ttl_s| now.plus(ttl_s.saturating_mul(1_000)));
                    let row = Row { value: value.as_slice().into(), expires_at };
                    rows.put(write.key.clone(), row, bytes_max);
                }
            }
        }
        // Room is made of what is over, so that a plugin of short-lived rows does not run out of it.
        if rows.short {
            let over: Vec<String> = rows
                .rows
                .iter()
                .filter(|(_, row)| row.expires_at.is_some_and(|at| at <= now))
                .map(|(key, _)| key.clone())
                .collect();
            over.iter().for_each(|key| rows.remove(key));
        }
        short || !rows.short
    }

    pub(crate) fn get(&self, key: &str, now: Ms) -> Option<Vec<u8>> {
        let rows = self.0.read();
        let row = rows.rows.get(key)?;
        row.expires_at.is_none_or(|at| at > now).then(|| row.value.to_vec())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(key: &str, value: Option<&str>, ttl_s: Option<u64>) -> KvWrite {
        KvWrite { key: key.into(), value: value.map(|value| value.as_bytes().to_vec()), ttl_s }
    }

    #[test]
    fn a_copy_follows_what_is_committed() {
        let copy = Copy::default();
        let row = KvRow { key: "a".into(), value: (*b"1").into(), expires_at: Some(Ms(50)) };
        assert!(copy.fill(vec![row], 10_000) && copy.filled());
        assert_eq!(copy.get("a", Ms(49)), Some(b"1".to_vec()));
        assert_eq!(copy.get("a", Ms(50)), None, "it is over");
        assert!(copy.apply(&[write("a", Some("2"), None), write("b", Some("3"), Some(1))], Ms(100), 10_000));
        assert_eq!((copy.get("a", Ms(100)), copy.get("b", Ms(1_100))), (Some(b"2".to_vec()), None));
        assert!(copy.apply(&[write("a", None, None)], Ms(100), 10_000));
        assert_eq!(copy.get("a", Ms(100)), None);
    }

    #[test]
    fn what_does_not_fit_is_left_out_and_told_once() {
        let copy = Copy::default();
        let long = "x".repeat(900);
        assert!(copy.apply(&[write("a", Some(&long), Some(1))], Ms(0), 1_000));
        assert!(!copy.apply(&[write("b", Some(&long), None)], Ms(0), 1_000), "told");
        assert!(copy.apply(&[write("b", Some(&long), None)], Ms(0), 1_000), "told once");
        assert_eq!(copy.get("b", Ms(0)), None);
        copy.apply(&[], Ms(5_000), 1_000);
        assert!(copy.apply(&[write("b", Some(&long), None)], Ms(5_000), 1_000));
        assert_eq!(copy.get("b", Ms(5_000)).map(|value| value.len()), Some(900));
    }
}
