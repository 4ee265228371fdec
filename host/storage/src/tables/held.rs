//! Drafts on hold: the draft in the partition of its conversation, a note of it in its sender's, and a timer.
//!
//! The timer comes first, then the note, then the draft under a check, so that a draft on hold is always found again,
//! by its time and by its sender; a timer or a note without a draft says nothing. A draft that is rejected becomes a
//! rejection in one batch; one that was accepted goes only after it was numbered, so that whoever finds it compares
//! it with the client ids.

use super::{Tables, absent, clients::CLIENT_IDS_MS, layout, record, stays};
use async_trait::async_trait;
use godwit_domain::{
    held::{Held, Rejection, Settled, Why},
    id::{ClientId, ConversationId, UserId},
    message::Content,
    tables::{HeldDrafts, Written},
    time::Ms,
    waist::{Batch, Direction, Error, Partition, Put, Row},
};
use serde::{Deserialize, Serialize};
use std::{borrow::Cow, ops::Bound};

/// A draft on hold as it is stored; conversation, sender and client id stand in partition and key.
#[derive(Serialize, Deserialize)]
struct Stored<'a> {
    content: Cow<'a, Content>,
    content_hash: u64,
    why: Why,
    reason: Cow<'a, str>,
    after: Option<ClientId>,
    place: u64,
    since: Ms,
    until: Ms,
    retry_at: Ms,
}

impl<'a> Stored<'a> {
    fn of(held: &'a Held) -> Self {
        Self {
            content: Cow::Borrowed(&held.content),
            content_hash: held.content_hash,
            why: held.why,
            reason: Cow::Borrowed(&held.reason),
            after: held.after,
            place: held.place,
            since: held.since,
            until: held.until,
            retry_at: held.retry_at,
        }
    }
}

fn put(partition: &Partition, held: &Held) -> Result<Put, Error> {
    stays(partition, &layout::held(held.sender, held.client_id), &Stored::of(held))
}

fn timer(conversation: ConversationId, at: Ms) -> Result<(Partition, Put), Error> {
    let timers = layout::timers();
    let put = stays(&timers, &layout::timer(at, conversation), &())?;
    Ok((timers, put))
}

fn read(conversation: ConversationId, partition: &Partition, row: &Row) -> Result<Held, Error> {
    let what = "a held draft";
    let stored: Stored<'_> = record::read(what, partition, &row.key, &row.value)?;
    let wrong = || record::corrupt(what, partition, &row.key, "the key names no draft");
    let (sender, client_id) = layout::split_draft(&row.key).ok_or_else(wrong)?;
    Ok(Held {
        conversation,
        sender,
        client_id,
        content: stored.content.into_owned(),
        content_hash: stored.content_hash,
        why: stored.why,
        reason: stored.reason.into_owned(),
        after: stored.after,
        place: stored.place,
        since: stored.since,
        until: stored.until,
        retry_at: stored.retry_at,
    })
}

#[async_trait]
impl HeldDrafts for Tables {
    async fn hold(&self, held: &[Held]) -> Result<Written, Error> {
        let Some(first) = held.iter().min_by_key(|held| held.due_at()) else { return Ok(Written::Yes) };
        self.store.put_all(vec![timer(first.conversation, first.due_at())?]).await?;
        let mut notes = Vec::with_capacity(held.len());
        for held in held {
            let theirs = layout::user(held.sender);
            let note = stays(&theirs, &layout::held_note(held.conversation, held.client_id), &())?;
            notes.push((theirs, note));
        }
        self.store.put_all(notes).await?;
        let partition = layout::drafts(first.conversation);
        let checks = held.iter().map(|held| absent(&layout::held(held.sender, held.client_id))).collect();
        let puts = held.iter().map(|held| put(&partition, held)).collect::<Result<_, _>>()?;
        self.write(Batch { partition, checks, puts, deletes: vec![] }).await
    }

    async fn hold_anew(&self, held: &Held) -> Result<(), Error> {
        let partition = layout::drafts(held.conversation);
        let row = put(&partition, held)?;
        self.store.put_all(vec![timer(held.conversation, held.due_at())?]).await?;
        self.store.put_all(vec![(partition, row)]).await
    }

    async fn held(&self, conversation: ConversationId) -> Result<Vec<Held>, Error> {
        let partition = layout::drafts(conversation);
        let rows = self.scan_all(&partition, layout::HELD).await?;
        let mut held =
            rows.iter().map(|row| read(conversation, &partition, row)).collect::<Result<Vec<_>, _>>()?;
        held.sort_unstable_by_key(|held| held.place);
        Ok(held)
    }

    async fn settle(&self, conversation: ConversationId, settled: &[Settled], at: Ms) -> Result<(), Error> {
        let partition = layout::drafts(conversation);
        let (mut puts, mut deletes) = (Vec::new(), Vec::with_capacity(settled.len()));
        for Settled { sender, client_id, rejection } in settled {
            deletes.push(record::key(&layout::held(*sender, *client_id)));
            if let Some(rejection) = rejection {
                let row = record::row(&partition, &layout::rejected(*sender, *client_id), rejection)?;
                puts.push(Put { row, expires_at: Some(at.plus(CLIENT_IDS_MS)) });
            }
        }
        // Without a check there is nothing to conflict with.
        let _ = self.write(Batch { partition, checks: vec![], puts, deletes }).await?;
        for Settled { sender, client_id, .. } in settled {
            let deletes = vec![layout::held_note(conversation, *client_id)];
            let notes = Batch { partition: layout::user(*sender), checks: vec![], puts: vec![], deletes };
            let _ = self.write(notes).await?;
        }
        Ok(())
    }

    async fn rejection(
        &self,
        conversation: ConversationId,
        sender: UserId,
        client: ClientId,
    ) -> Result<Option<Rejection>, Error> {
        let key = layout::rejected(sender, client);
        let found = self.find_settled("a rejection", &layout::drafts(conversation), &key).await?;
        Ok(found.map(|(_, rejection)| rejection))
    }

    async fn rejected(&self, conversation: ConversationId) -> Result<Vec<(UserId, ClientId)>, Error> {
        let partition = layout::drafts(conversation);
        let rows = self.scan_all(&partition, layout::REJECTED).await?;
        let client = |row: &Row| {
            let wrong = || record::corrupt("a rejection", &partition, &row.key, "the key names no draft");
            layout::split_draft(&row.key).ok_or_else(wrong)
        };
        rows.iter().map(client).collect()
    }

    async fn held_by(&self, user: UserId) -> Result<Vec<ConversationId>, Error> {
        let partition = layout::user(user);
        let rows = self.scan_all(&partition, layout::HELD_NOTES).await?;
        let conversation = |row: &Row| {
            let wrong = || record::corrupt("a note of a held draft", &partition, &row.key, "it names none");
            layout::split_held_note(&row.key).ok_or_else(wrong)
        };
        let mut conversations = rows.iter().map(conversation).collect::<Result<Vec<_>, _>>()?;
        conversations.dedup();
        Ok(conversations)
    }

    async fn timers(&self, until: Ms, limit: usize) -> Result<Vec<(Ms, ConversationId)>, Error> {
        let partition = layout::timers();
        let last = layout::timer(until, ConversationId::from_u128(u128::MAX));
        let bounds = (Bound::Unbounded, Bound::Included(record::key(&last)));
        let rows = self.scan_range(&partition, bounds, Direction::Forward, limit).await?;
        let timer = |row: &Row| {
            let wrong = || record::corrupt("a timer", &partition, &row.key, "the key names no time");
            layout::split_timer(&row.key).ok_or_else(wrong)
        };
        rows.iter().map(timer).collect()
    }

    async fn move_timer(
        &self,
        conversation: ConversationId,
        from: Option<Ms>,
        to: Option<Ms>,
    ) -> Result<(), Error> {
        if from == to {
            return Ok(());
        }
        let puts = to.map(|to| Ok(timer(conversation, to)?.1)).transpose()?.into_iter().collect();
        let deletes = from.map(|from| record::key(&layout::timer(from, conversation))).into_iter().collect();
        let partition = layout::timers();
        let _ = self.write(Batch { partition, checks: vec![], puts, deletes }).await?;
        Ok(())
    }
}
