//! The roster of plugins, the compositions of its generations, and components in parts.

use super::{Tables, absent, layout, record, stays};
use async_trait::async_trait;
use godwit_domain::{
    id::Generation,
    plugin::{Composition, Digest, Roster},
    tables::{Plugins, Written},
    waist::{Batch, Check, Consistency, Direction, Error, Row, Scan},
};
use std::ops::Bound;

/// Bytes of a component in one row: half of what a value may have.
const PART_BYTES: usize = 512 << 10;
/// How many parts are read, written or removed in one call.
const PARTS: usize = 4;

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
            let batch = Batch { partition: layout::component(digest), checks: vec![], puts: vec![], deletes };
            // Without a check there is nothing to conflict with.
            let _ = self.write(batch).await?;
        }
    }
}

impl Tables {
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
