//! What the store must hold: maps in memory, and for calls without an answer the maps as they would be with them.
//!
//! It owns what the waist promises of commits, marks and reads. Rows never end here: the clock stands still.

use bytes::Bytes;
use godwit_domain::waist::{Batch, Check, Outcome, Partition, Put, Raise, Row};
use std::collections::BTreeMap;

pub type Rows = BTreeMap<(Partition, Bytes), Bytes>;
pub type Marks = BTreeMap<(Partition, Bytes), (u64, Bytes)>;

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Model {
    pub rows: Rows,
    pub marks: Marks,
}

/// A call that writes.
#[derive(Debug, Clone)]
pub enum Call {
    Commit(Vec<Batch>),
    Raise(Vec<Raise>),
    PutAll(Vec<(Partition, Put)>),
}

impl Model {
    /// Applies a call as if it were alone; the outcomes are those of its batches.
    pub fn apply(&mut self, call: &Call) -> Vec<Outcome> {
        match call {
            Call::Commit(batches) => batches.iter().map(|batch| self.commit(batch)).collect(),
            Call::Raise(raises) => {
                for Raise { partition, key, version, value } in raises {
                    let stands = self.marks.entry((partition.clone(), key.clone())).or_default();
                    // An equal version does not replace; 0 is never raised to.
                    if *version > stands.0 {
                        *stands = (*version, value.clone());
                    }
                }
                Vec::new()
            }
            Call::PutAll(rows) => {
                for (partition, Put { row, .. }) in rows {
                    self.rows.insert((partition.clone(), row.key.clone()), row.value.clone());
                }
                Vec::new()
            }
        }
    }

    fn commit(&mut self, batch: &Batch) -> Outcome {
        let at = |key: &Bytes| (batch.partition.clone(), key.clone());
        let mut held = true;
        let mut standing = Vec::new();
        for check in &batch.checks {
            let (key, expected) = match check {
                Check::Absent(key) => (key, None),
                Check::Equals(row) => (&row.key, Some(&row.value)),
            };
            let found = self.rows.get(&at(key));
            if found != expected {
                held = false;
                standing.extend(found.map(|value| Row { key: key.clone(), value: value.clone() }));
            }
        }
        if !held {
            return Outcome::Conflict(standing);
        }
        for Put { row, .. } in &batch.puts {
            self.rows.insert(at(&row.key), row.value.clone());
        }
        for key in &batch.deletes {
            self.rows.remove(&at(key));
        }
        Outcome::Applied
    }
}
