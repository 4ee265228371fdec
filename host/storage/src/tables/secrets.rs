//! What operators entrust to plugins: a partition of its own for each, so that it goes with the plugin.

use super::{Tables, layout, record, stays};
use async_trait::async_trait;
use godwit_domain::{
    kept::Secrets,
    waist::{Batch, Check, Consistency, Direction, Error, Scan},
};
use std::ops::Bound;

/// How many names are read in one call.
const PAGE: usize = 256;

#[async_trait]
impl Secrets for Tables {
    async fn secret(&self, plugin: &str, name: &str) -> Result<Option<String>, Error> {
        let found = self.find("a secret", &layout::secrets(plugin), &layout::secret(name)).await?;
        Ok(found.map(|(_, value)| value))
    }

    async fn secret_names(&self, plugin: &str) -> Result<Vec<String>, Error> {
        let mut names = Vec::new();
        let mut from = Bound::Unbounded;
        loop {
            let scan = Scan {
                partition: layout::secrets(plugin),
                from,
                to: Bound::Unbounded,
                direction: Direction::Forward,
                limit: PAGE,
                consistency: Consistency::Committed,
            };
            let rows = self.store.scan(scan).await?;
            names.extend(rows.iter().filter_map(|row| layout::split_secret(&row.key)));
            match rows.last() {
                Some(last) if rows.len() == PAGE => from = Bound::Excluded(last.key.clone()),
                _ => return Ok(names),
            }
        }
    }

    async fn put_secret(&self, plugin: &str, name: &str, value: &str) -> Result<(), Error> {
        let partition = layout::secrets(plugin);
        let row = stays(&partition, &layout::secret(name), &value)?;
        self.store.put_all(vec![(partition, row)]).await
    }

    async fn drop_secret(&self, plugin: &str, name: &str) -> Result<bool, Error> {
        let (partition, key) = (layout::secrets(plugin), layout::secret(name));
        let Some((row, _)) = self.find::<String>("a secret", &partition, &key).await? else {
            return Ok(false);
        };
        let deletes = vec![record::key(&key)];
        let batch = Batch { partition, checks: vec![Check::Equals(row)], puts: vec![], deletes };
        // Where another change came between, there was one that is gone or replaced: the caller looks again.
        Ok(self.write(batch).await? == godwit_domain::tables::Written::Yes)
    }
}
