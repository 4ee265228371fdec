//! What revisions do to the messages that they are about.
//!
//! Messages are rolled forward in the order of the revisions, each by a row that is conditional on the row as it was
//! read. A message knows the last revision that it shows, so that none is applied twice.

use super::{Tables, change::Intent, layout, messages::Stored, record, stays};
use godwit_domain::{
    id::{ConversationId, Rev, Seq},
    message::{Content, Revised},
    revision::{self, What},
    tables::Written,
    time::Ms,
    waist::{Batch, Check, Error, Row},
};
use std::collections::{BTreeMap, BTreeSet};

/// The revisions of one message, in order.
pub(super) type About<'a> = (Seq, Vec<(Rev, &'a revision::Revised)>);

impl Tables {
    /// Writes what revisions do to messages, then to the rows of who reacts.
    pub(super) async fn write_effects(
        &self,
        conversation: ConversationId,
        intent: &Intent,
    ) -> Result<(), Error> {
        let mut about: BTreeMap<Seq, Vec<_>> = BTreeMap::new();
        for (rev, revised) in intent.numbered() {
            if let Some(seq) = revised.what.message() {
                about.entry(seq).or_default().push((rev, revised));
            }
        }
        let about: Vec<About<'_>> = about.into_iter().collect();
        for chunk in about.chunk_by(|(a, _), (b, _)| layout::bucket(a.0) == layout::bucket(b.0)) {
            let gone = self.revise_messages(conversation, chunk, intent.at).await?;
            self.write_reactions(conversation, chunk, &gone, intent.at).await?;
        }
        Ok(())
    }

    /// Rolls the messages of one bucket forward; returns those that show nothing afterwards: what is deleted, or no
    /// longer stored.
    async fn revise_messages(
        &self,
        conversation: ConversationId,
        chunk: &[About<'_>],
        at: Ms,
    ) -> Result<BTreeSet<Seq>, Error> {
        let Some((first, _)) = chunk.first() else { return Ok(BTreeSet::new()) };
        let partition = layout::messages(conversation, layout::bucket(first.0));
        let keys: Vec<_> =
            chunk.iter().map(|(seq, _)| (partition.clone(), record::key(&layout::entry(seq.0)))).collect();
        loop {
            let mut batch =
                Batch { partition: partition.clone(), checks: vec![], puts: vec![], deletes: vec![] };
            let mut gone = BTreeSet::new();
            let found = self.store.get_many(keys.clone()).await?;
            for (((seq, revisions), (_, key)), value) in chunk.iter().zip(&keys).zip(found) {
                let Some(value) = value else {
                    gone.insert(*seq);
                    continue;
                };
                let mut stored: Stored<'_> = record::read("a message", &partition, key, &value)?;
                if stored.revise(revisions, at) {
                    batch.puts.push(stays(&partition, key, &stored)?);
                    batch.checks.push(Check::Equals(Row { key: key.clone(), value }));
                }
                if stored.revised.is_some_and(|revised| revised.deleted) {
                    gone.insert(*seq);
                }
            }
            if batch.puts.is_empty() || self.write(batch).await? == Written::Yes {
                return Ok(gone);
            }
        }
    }
}

impl Stored<'_> {
    /// Applies the revisions that it does not show yet; whether there were any. What is deleted stays as it is.
    fn revise(&mut self, revisions: &[(Rev, &revision::Revised)], at: Ms) -> bool {
        let mut changed = false;
        for (rev, made) in revisions {
            if self.revised.as_ref().is_some_and(|revised| revised.deleted || revised.rev >= *rev) {
                continue;
            }
            let revised = self.revised.get_or_insert_default();
            revised.rev = *rev;
            changed = true;
            match &made.what {
                What::Edit { body: Some(body), .. } => {
                    self.content.to_mut().body.clone_from(body);
                    revised.edited = Some((*rev, at));
                }
                What::Delete { .. } => {
                    **revised = Revised { rev: *rev, deleted: true, ..Revised::default() };
                    let Content { kind, reply_to, thread, expires_in_s, .. } = *self.content;
                    *self.content.to_mut() =
                        Content { kind, reply_to, thread, expires_in_s, ..Content::text("") };
                }
                What::React { emoji, count, .. } => revised.count(emoji, *count),
                What::Reacts { counts, .. } => {
                    counts.iter().for_each(|reaction| revised.count(&reaction.emoji, reaction.count));
                }
                // A change with an edit that has no text was refused, and the others are about no message.
                What::Edit { body: None, .. }
                | What::Join { .. }
                | What::Leave { .. }
                | What::Role { .. }
                | What::Meta(_) => {}
            }
        }
        changed
    }
}
