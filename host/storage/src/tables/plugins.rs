//! The roster of plugins, the compositions of its generations, components in parts, and what plugins are not shown.

use super::{Tables, absent, layout, record, stays};
use async_trait::async_trait;
use godwit_domain::{
    id::Generation,
    plugin::{Composition, Digest, Poisoned, Roster},
    tables::{Plugins, Written},
    time::Ms,
    waist::{Batch, Check, Consistency, Direction, Error, Partition, Row, Scan},
};
use std::ops::Bound;

/// Bytes of a component in one row: half of what a value may have.
const PART_BYTES: usize = 512 << 10;
/// How many parts are read, written or removed in one call.
const PARTS: usize = 4;
/// How many small rows are read in one call.
const ROWS: usize = 500;

#[async_trait]
impl Plugins for Tables {
    async fn roster(&self) -> Result<Roster, Error> {
        let found = self.find("the roster", &layout::roster(), layout::ONE).await?;
        Ok(found.map(|(_, roster)| roster).unwrap_or_default())
    }

    async fn replace_roster(&self, before: Generation, after: &Roster) -> Result<Written, Error> {
        let partition = layout::roster();
        let check = match self.find::<Roster>("the roster", &partition, layout::ONE).await? {
            None if before == Generation::ZERO => absent(layout::ONE),
            Some((row, roster)) if roster.generation == before => Check::Equals(row),
            _ => return Ok(Written::No),
        };
        let puts = vec![
            stays(&partition, layout::ONE, after)?,
            stays(&partition, &layout::composition(after.generation), &after.composition())?,
        ];
        self.write(Batch { partition, checks: vec![check], puts, deletes: vec![] }).await
    }

    async fn composition(&self, generation: Generation) -> Result<Option<Composition>, Error> {
        let key = layout::composition(generation);
        let found = self.find("a composition", &layout::roster(), &key).await?;
        Ok(found.map(|(_, composition)| composition))
    }

    async fn put_component(&self, digest: Digest, component: &[u8]) -> Result<(), Error> {
        let partition = layout::component(digest);
        let mut rows = Vec::new();
        for (index, part) in (0..).zip(component.chunks(PART_BYTES)) {
            rows.push((partition.clone(), stays(&partition, &layout::part(index), &part)?));
            if rows.len() == PARTS {
                self.store.put_all(std::mem::take(&mut rows)).await?;
            }
        }
        if !rows.is_empty() {
            self.store.put_all(rows).await?;
        }
        // Last, because with it the component is there.
        let length = stays(&partition, layout::LENGTH, &(component.len() as u64))?;
        self.store.put_all(vec![(partition, length)]).await
    }

    async fn component(&self, digest: Digest) -> Result<Option<Vec<u8>>, Error> {
        let partition = layout::component(digest);
        let Some((_, length)) = self.find::<u64>("a component's length", &partition, layout::LENGTH).await?
        else {
            return Ok(None);
        };
        let mut component = Vec::new();
        let mut after = record::key(layout::LENGTH);
        loop {
            let rows = self.component_rows(digest, Bound::Excluded(after)).await?;
            for row in &rows {
                component.extend(record::read::<Vec<u8>>(
                    "a part of a component",
                    &partition,
                    &row.key,
                    &row.value,
                )?);
            }
            match rows.last() {
                Some(last) => after = last.key.clone(),
                None => break,
            }
        }
        if component.len() as u64 != length {
            let why = format!("its parts have {} bytes instead of {length}", component.len());
            return Err(record::corrupt("a component", &partition, layout::LENGTH, &why));
        }
        Ok(Some(component))
    }

    async fn drop_component(&self, digest: Digest) -> Result<(), Error> {
        // The length sorts first, so that a component half removed is none. Without it there may still be parts.
        loop {
            let rows = self.component_rows(digest, Bound::Unbounded).await?;
            if rows.is_empty() {
                return Ok(());
            }
            let deletes = rows.into_iter().map(|row| row.key).collect();
            self.delete(layout::component(digest), deletes).await?;
        }
    }

    async fn uploads(&self) -> Result<Vec<(Digest, u64, Ms)>, Error> {
        self.read_all("an upload", &layout::uploads()).await
    }

    async fn put_upload(&self, digest: Digest, size: u64, at: Ms) -> Result<(), Error> {
        let partition = layout::uploads();
        let row = stays(&partition, &digest.0, &(digest, size, at))?;
        self.store.put_all(vec![(partition, row)]).await
    }

    async fn drop_upload(&self, digest: Digest) -> Result<(), Error> {
        self.delete(layout::uploads(), vec![record::key(&digest.0)]).await
    }

    async fn poisoned(&self, plugin: &str) -> Result<Vec<Poisoned>, Error> {
        self.read_all("a body that is not shown", &layout::poison(plugin)).await
    }

    async fn put_poisoned(&self, plugin: &str, poisoned: &Poisoned) -> Result<(), Error> {
        let partition = layout::poison(plugin);
        let mut rows = record::Rows::new(partition.clone(), 256);
        let row = rows.put_until(poisoned.hash.as_bytes(), poisoned, poisoned.until)?;
        self.store.put_all(vec![(partition, row)]).await
    }

    async fn drop_poisoned(&self, plugin: &str, hashes: &[String]) -> Result<(), Error> {
        let keys: Vec<_> = hashes.iter().map(|hash| record::key(hash.as_bytes())).collect();
        for keys in keys.chunks(ROWS) {
            self.delete(layout::poison(plugin), keys.to_vec()).await?;
        }
        Ok(())
    }
}

impl Tables {
    /// All rows of a partition that has few.
    async fn read_all<T: serde::de::DeserializeOwned>(
        &self,
        what: &str,
        partition: &Partition,
    ) -> Result<Vec<T>, Error> {
        let (mut found, mut from) = (Vec::new(), Bound::Unbounded);
        loop {
            let scan = Scan {
                partition: partition.clone(),
                from,
                to: Bound::Unbounded,
                direction: Direction::Forward,
                limit: ROWS,
                consistency: Consistency::Committed,
            };
            let rows = self.store.scan(scan).await?;
            for row in &rows {
                found.push(record::read(what, partition, &row.key, &row.value)?);
            }
            match rows.last() {
                Some(last) => from = Bound::Excluded(last.key.clone()),
                None => return Ok(found),
            }
        }
    }

    async fn delete(&self, partition: Partition, deletes: Vec<bytes::Bytes>) -> Result<(), Error> {
        let batch = Batch { partition, checks: vec![], puts: vec![], deletes };
        // Without a check there is nothing to conflict with.
        let _ = self.write(batch).await?;
        Ok(())
    }

    async fn component_rows(&self, digest: Digest, from: Bound<bytes::Bytes>) -> Result<Vec<Row>, Error> {
        let scan = Scan {
            partition: layout::component(digest),
            from,
            to: Bound::Unbounded,
            direction: Direction::Forward,
            limit: PARTS,
            consistency: Consistency::Committed,
        };
        self.store.scan(scan).await
    }
}
