//! The floor under storage's share: bare redb commits of fixed rows.
//!
//! It owns a database with one table and three rows per message, as small as they can be: the message of 200 bytes,
//! what its client id was answered, and the head of its conversation. It refuses to encode, check or look up anything.
//! What it costs per message is what no host on this store can save. Start with [`Floor::new`].

use crate::{message::BODY_BYTES, process::thread_cpu};
use anyhow::Result;
use redb::{Database, Durability, TableDefinition};
use std::{
    path::Path,
    time::{Duration, Instant},
};

const ROWS: TableDefinition<&[u8], &[u8]> = TableDefinition::new("rows");
const CACHE_BYTES: usize = 256 << 20;

/// What the id, the sender and the numbers of a message take beside its body.
const MESSAGE_BYTES: usize = BODY_BYTES;
const ANSWER: [u8; 24] = [0; 24];
const HEAD: [u8; 40] = [0; 40];

/// A database to commit to.
pub struct Floor {
    database: Database,
    random: fastrand::Rng,
    /// The next number of each conversation.
    conversations: Vec<u64>,
}

/// What commits cost.
#[derive(Debug, Clone, Copy)]
pub struct Cost {
    /// Messages committed.
    pub messages: u64,
    /// Processor time of the writing thread.
    pub cpu: Duration,
}

impl Cost {
    /// Microseconds of processor time for each message.
    pub fn us_each(&self) -> f64 {
        self.cpu.as_secs_f64() * 1e6 / self.messages.max(1) as f64
    }
}

impl Floor {
    /// An empty database in that folder, for so many conversations.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn new(folder: &Path, conversations: usize) -> Result<Self> {
        let database = Database::builder().set_cache_size(CACHE_BYTES).create(folder.join("floor.redb"))?;
        Ok(Self { database, random: fastrand::Rng::with_seed(7), conversations: vec![1; conversations] })
    }

    /// Commits that many messages, `size` at a time, each to a random conversation; stops early after `at_most`.
    ///
    /// # Errors
    /// The database cannot be written.
    pub fn commit_batches(&mut self, size: usize, messages: u64, at_most: Duration) -> Result<Cost> {
        let (began, cpu) = (Instant::now(), thread_cpu());
        let mut done = 0;
        while done < messages && began.elapsed() < at_most {
            self.commit(size)?;
            done += size as u64;
        }
        Ok(Cost { messages: done, cpu: thread_cpu() - cpu })
    }

    /// How long each of that many commits of one message took, while nothing else happens.
    ///
    /// # Errors
    /// The database cannot be written.
    pub fn lone_commits(&mut self, count: usize) -> Result<Vec<Duration>> {
        let mut took = Vec::with_capacity(count);
        for _ in 0..count {
            let began = Instant::now();
            self.commit(1)?;
            took.push(began.elapsed());
        }
        Ok(took)
    }

    fn commit(&mut self, size: usize) -> Result<()> {
        let mut rows: Vec<(Vec<u8>, &[u8])> = Vec::with_capacity(3 * size);
        let body = [b'x'; MESSAGE_BYTES];
        for _ in 0..size {
            let place = self.random.usize(..self.conversations.len());
            let seq = self.conversations[place];
            self.conversations[place] += 1;
            // Ids are random in a host, so neighbours in the tree are no neighbours in time.
            let id = (place as u128).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835).to_be_bytes();
            let key = |kind: u8, rest: &[u8]| [b"c", &id[..], &[kind], rest].concat();
            // As the host lays them out: messages, head, answers with the newest first, so that the three rows of a
            // message are neighbours and mostly share a page.
            rows.push((key(b'e', &seq.to_be_bytes()), &body));
            rows.push((key(b'h', &[]), &HEAD));
            // A client id of version 7, which begins with the time, and the sender.
            let client = !((u128::from(seq) << 64) | u128::from(self.random.u64(..)));
            rows.push((key(b's', &[client.to_be_bytes(), [0; 16]].concat()), &ANSWER));
        }
        rows.sort_unstable();
        let mut transaction = self.database.begin_write()?;
        transaction.set_durability(Durability::Immediate)?;
        transaction.set_quick_repair(true);
        {
            let mut table = transaction.open_table(ROWS)?;
            for (key, value) in &rows {
                table.insert(&key[..], *value)?;
            }
        }
        Ok(transaction.commit()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use redb::{ReadableDatabase, ReadableTableMetadata};

    #[test]
    fn each_message_leaves_a_row_an_answer_and_one_head_per_conversation() {
        let folder = tempfile::tempdir().unwrap();
        let mut floor = Floor::new(folder.path(), 3).unwrap();
        let cost = floor.commit_batches(10, 100, Duration::from_secs(60)).unwrap();
        assert_eq!(cost.messages, 100);
        assert_eq!(floor.lone_commits(5).unwrap().len(), 5);
        let rows = floor.database.begin_read().unwrap().open_table(ROWS).unwrap().len().unwrap();
        assert_eq!(rows, 2 * 105 + 3);
    }
}
