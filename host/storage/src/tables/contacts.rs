//! Relations of two users, and the copies of them in both users' partitions.
//!
//! The relation itself is one row under the id of the two users' direct conversation, be there one or not. Each copy is
//! a mark whose version is twice the time of the change, or that and one: first both copies are raised to say that
//! something changes, then the row is replaced, then both copies are raised to say what it is. Whoever reads a copy
//! that was left in the middle asks the row, so that both sides always tell of the same relation.

use super::{Tables, absent, layout, put_one, raise, record, stays};
use async_trait::async_trait;
use bytes::Bytes;
use godwit_domain::{
    contact::{Contact, Relation, Side},
    conversation::direct_id,
    id::UserId,
    tables::{Relations, Written},
    time::Ms,
    waist::{Check, Error, Raise},
};
use serde::{Deserialize, Serialize};

const RELATION: &str = "a relation";
const COPY: &str = "a contact";

/// A copy as it is stored.
#[derive(Serialize, Deserialize)]
struct Copied {
    /// When the relation changed, or was to.
    changed_at: Ms,
    /// What it is since then; `None` while that is not said.
    said: Option<Said>,
}

#[derive(Serialize, Deserialize)]
struct Said {
    side: Side,
    blocked: bool,
}

fn copy(user: UserId, other: UserId, relation: &Relation, said: bool) -> Result<Raise, Error> {
    let changed_at = relation.changed_at;
    let version = changed_at.0 * 2 + u64::from(said);
    let said = said.then(|| Said { side: relation.side(user, other), blocked: relation.is_blocked() });
    raise(&layout::user(user), &layout::contact(other), version, &Copied { changed_at, said })
}

#[async_trait]
impl Relations for Tables {
    async fn relation(&self, a: UserId, b: UserId) -> Result<Relation, Error> {
        let partition = layout::conversation(direct_id(a, b));
        let found = self.find_settled(RELATION, &partition, layout::RELATION).await?;
        Ok(found.map(|(_, relation)| relation).unwrap_or_default())
    }

    async fn relate(
        &self,
        a: UserId,
        b: UserId,
        before: &Relation,
        after: &Relation,
    ) -> Result<Written, Error> {
        let copies = |said| Ok::<_, Error>(vec![copy(a, b, after, said)?, copy(b, a, after, said)?]);
        let partition = layout::conversation(direct_id(a, b));
        let check = match self.find_settled::<Relation>(RELATION, &partition, layout::RELATION).await? {
            Some((row, said)) if said == *before => Check::Equals(row),
            None if *before == Relation::default() => absent(layout::RELATION),
            _ => return Ok(Written::No),
        };
        self.store.raise(copies(false)?).await?;
        let row = stays(&partition, layout::RELATION, after)?;
        let written = self.write(put_one(partition, check, row)).await?;
        if written == Written::Yes {
            self.store.raise(copies(true)?).await?;
        }
        Ok(written)
    }

    async fn contacts(&self, user: UserId) -> Result<Vec<Contact>, Error> {
        let partition = layout::user(user);
        let stored = self.store.marks(partition.clone(), Bytes::from_static(&[layout::CONTACTS])).await?;
        let mut all = Vec::with_capacity(stored.len());
        let mut unsaid = Vec::new();
        for (key, _, value) in stored {
            let wrong = || record::corrupt(COPY, &partition, &key, "the key names no user");
            let other = layout::split_contact(&key).ok_or_else(wrong)?;
            let Copied { changed_at, said } = record::read(COPY, &partition, &key, &value)?;
            let Said { side, blocked } = said.unwrap_or_else(|| {
                unsaid.push(all.len());
                Said { side: Side::default(), blocked: false }
            });
            all.push(Contact { user: other, side, blocked, changed_at });
        }
        let place = |other: UserId| {
            (layout::conversation(direct_id(user, other)), Bytes::from_static(layout::RELATION))
        };
        // What is certain: a change whose outcome is not known holds its time, and is told when it is.
        let rows = self.store.get_many(unsaid.iter().map(|index| place(all[*index].user)).collect()).await?;
        for (index, value) in unsaid.into_iter().zip(rows) {
            let Contact { user: other, changed_at, .. } = all[index];
            let (partition, key) = place(other);
            let read = |value: Bytes| record::read(RELATION, &partition, &key, &value);
            let relation: Relation = value.map(read).transpose()?.unwrap_or_default();
            let (side, blocked) = (relation.side(user, other), relation.is_blocked());
            all[index] = Contact { user: other, side, blocked, changed_at };
        }
        Ok(all)
    }
}
