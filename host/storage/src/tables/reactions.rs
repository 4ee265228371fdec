//! Who reacts to messages with what: a row for each.

use super::{Tables, layout, record, revised::About, stays};
use godwit_domain::{
    id::{ConversationId, Seq, UserId},
    revision::What,
    time::Ms,
    waist::{Batch, Direction, Error, Partition, Row},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Bound,
};

impl Tables {
    /// Writes what stands after the revisions of messages of one bucket. To a message that is gone nobody reacts.
    pub(super) async fn write_reactions(
        &self,
        conversation: ConversationId,
        chunk: &[About<'_>],
        gone: &BTreeSet<Seq>,
        at: Ms,
    ) -> Result<(), Error> {
        let Some((first, _)) = chunk.first() else { return Ok(()) };
        let partition = layout::reactions(conversation, layout::bucket(first.0));
        let mut batch = Batch { partition, checks: vec![], puts: vec![], deletes: vec![] };
        for (seq, revisions) in chunk {
            if gone.contains(seq) {
                let rows = self.reaction_rows(&batch.partition, &layout::entry(seq.0)).await?;
                batch.deletes.extend(rows.into_iter().map(|row| row.key));
                continue;
            }
            let mut last = BTreeMap::new();
            for (_, revised) in revisions {
                match &revised.what {
                    What::React { emoji, on, .. } => {
                        last.insert(layout::reaction(*seq, emoji, revised.by), *on);
                    }
                    What::Reacts { reacted, .. } => last.extend(
                        reacted.iter().map(|one| (layout::reaction(*seq, &one.emoji, one.user), one.on)),
                    ),
                    _ => {}
                }
            }
            for (key, on) in last {
                match on {
                    true => batch.puts.push(stays(&batch.partition, &key, &at)?),
                    false => batch.deletes.push(key),
                }
            }
        }
        if batch.puts.is_empty() && batch.deletes.is_empty() {
            return Ok(());
        }
        // Without a check there is nothing to conflict with.
        self.write(batch).await.map(drop)
    }

    /// Who reacts to a message, with `emoji` only those who do with that; ordered by emoji, then user.
    pub(super) async fn read_reactions(
        &self,
        conversation: ConversationId,
        seq: Seq,
        emoji: Option<&str>,
    ) -> Result<Vec<(String, UserId)>, Error> {
        let partition = layout::reactions(conversation, layout::bucket(seq.0));
        let prefix = match emoji {
            Some(emoji) => layout::reactions_with(seq, emoji),
            None => layout::entry(seq.0).to_vec(),
        };
        let what = "a reaction";
        let read = |row: &Row| {
            let wrong = || record::corrupt(what, &partition, &row.key, "the key is none of a reaction");
            let (emoji, user) = layout::split_reaction(&row.key).ok_or_else(wrong)?;
            let _: Ms = record::read(what, &partition, &row.key, &row.value)?;
            Ok((emoji.to_owned(), user))
        };
        let rows = self.reaction_rows(&partition, &prefix).await?;
        let mut all = rows.iter().map(read).collect::<Result<Vec<_>, Error>>()?;
        // The keys begin with the lengths of the emoji.
        all.sort_unstable();
        Ok(all)
    }

    /// Whether a user reacts so, in the order asked.
    pub(super) async fn read_reacts(
        &self,
        conversation: ConversationId,
        user: UserId,
        asked: &[(Seq, &str)],
    ) -> Result<Vec<bool>, Error> {
        let key = |(seq, emoji): &(Seq, &str)| {
            let partition = layout::reactions(conversation, layout::bucket(seq.0));
            (partition, layout::reaction(*seq, emoji, user))
        };
        let found = self.store.get_many(asked.iter().map(key).collect()).await?;
        Ok(found.iter().map(Option::is_some).collect())
    }

    /// The rows whose keys begin with `prefix`, which is followed by no more than an emoji and a user.
    async fn reaction_rows(&self, partition: &Partition, prefix: &[u8]) -> Result<Vec<Row>, Error> {
        let end = [prefix, &[u8::MAX; 1 + layout::EMOJI_BYTES_MAX + 16]].concat();
        let bounds = (Bound::Included(record::key(prefix)), Bound::Included(end.into()));
        self.scan_range(partition, bounds, Direction::Forward, usize::MAX).await
    }
}
