//! How drafts gather into a batch: each gets its number, its refusal or its hold in the order of arrival, or gathering
//! stops because something has to be known or durable first.

use super::{
    Draft,
    clients::AGE_MS_MAX,
    conversation::State,
    hold,
    shard::Turn,
    slot::{Batch, Entry, out_of_turn},
};
use godwit_domain::{
    message::{Content, Message},
    tables::Append,
    time::Ms,
};
use godwit_protocol::{
    error::{Code, Error},
    object,
};
use std::sync::Arc;

/// Messages that one append may carry.
pub const BATCH_MAX: usize = 1024;

/// Why gathering stops at a draft.
pub enum Stop {
    /// The batch is as large as it may be.
    Full,
    /// The client ids of the conversation must be read.
    Clients,
    /// Storage must say what this client id was answered.
    LookUp,
    /// Storage must say whether what `after` names was accepted.
    LookUpAfter,
}

/// Gives the draft its number within the batch, or its refusal its place.
pub fn gather(
    state: &mut State,
    mut draft: Box<Draft>,
    check: bool,
    batch: &mut Batch,
    turn: &mut Turn<'_>,
) -> Result<(), (Box<Draft>, Stop)> {
    let made_at = draft.client_id.made_at().unwrap_or_default();
    let now = turn.ports.clock.now();
    let (head, next_sent_at, allowed) = (state.head, state.next_sent_at(now), state.may_send(&draft));
    let is_release = draft.waiter.is_release();
    if let Some(holding) = state.held.get(draft.sender.id, draft.client_id).filter(|_| !is_release) {
        let on_hold = object::OnHold::from(&holding.held);
        batch.entries.push(match holding.held.content_hash == draft.content_hash {
            true => Entry::Held { draft, on_hold },
            false => Entry::Refuse { draft, error: reused() },
        });
        return Ok(());
    }
    let must_hold = hold::must_hold(state, &draft);
    let too_soon = too_soon(state, &draft, batch, now);
    let names_held = draft.after.is_some_and(|after| state.held.get(draft.sender.id, after).is_some());
    let newest = draft.after.is_some_and(|after| state.is_newest(draft.sender.id, after));
    let Some(clients) = &mut state.clients else { return Err((draft, Stop::Clients)) };
    if check && clients.may_contain(draft.sender.id, draft.client_id, made_at) {
        return Err((draft, Stop::LookUp));
    }
    let gathered = batch.append.as_ref().map_or(&[][..], |append| &append.messages);
    let refers_to = draft.content.reply_to.max(draft.content.thread);
    if !gathered.is_empty() && refers_to.is_some_and(|seq| seq > head.last_seq) {
        // What it refers to may be among those: that is known when they are durable.
        return Err((draft, Stop::Full));
    }
    // Whoever may not send learns nothing of what was accepted here.
    if let Some(after) = draft.after.filter(|_| draft.refusal.is_none() && allowed.is_ok() && !names_held) {
        let sender = draft.sender.id;
        let here =
            |(message, _): &(Arc<Message>, u64)| message.sender == sender && message.client_id == after;
        if !newest && !gathered.iter().any(here) {
            // What no client could have sent lately is not looked for.
            let made_at = after.made_at().filter(|made_at| *made_at >= now.minus(AGE_MS_MAX));
            if made_at.is_some_and(|made_at| clients.may_contain(sender, after, made_at)) {
                return Err((draft, Stop::LookUpAfter));
            }
            draft.refusal = Some(out_of_turn());
        }
    }
    let refusal = draft.refusal.take();
    if let Some(error) = refusal.or(allowed.err()).or(too_soon) {
        if is_release && let Some(holding) = state.held.get_mut(draft.sender.id, draft.client_id) {
            holding.asking = false;
        }
        batch.entries.push(Entry::Refuse { draft, error });
        return Ok(());
    }
    if let Some(why) = must_hold {
        return hold::gather(state, draft, why, batch, turn.ports);
    }
    if !batch.holds.is_empty() {
        return Err((draft, Stop::Full));
    }
    let last = gathered.last().map(|(last, _)| last);
    let seq = last.map_or(head.last_seq, |last| last.seq).next();
    let bucket_end = turn.ports.conversations.bucket_end(head.last_seq.next());
    if seq > bucket_end || gathered.len() >= BATCH_MAX {
        return Err((draft, Stop::Full));
    }
    let sent_at = last.map_or(next_sent_at, |last| now.max(last.sent_at));
    clients.insert(draft.sender.id, draft.client_id, seq, bucket_end, now);
    let message = Arc::new(Message {
        conversation: draft.conversation,
        seq,
        sender: draft.sender.id,
        client_id: draft.client_id,
        sent_at,
        content: std::mem::replace(&mut draft.content, Content::text(String::new())),
        // A plugin's user bears the plugin's id.
        via: draft.sender.bot.then(|| draft.sender.name.clone()),
        verdict: std::mem::take(&mut draft.verdict),
        revised: None,
    });
    let stamp = batch.stamp.get_or_insert_with(|| turn.stamp());
    let append = batch.append.get_or_insert_with(|| Append {
        conversation: draft.conversation,
        head,
        changed_at: head.changed_at.max(head.revised_at).max(stamp.at()),
        messages: Vec::new(),
    });
    append.messages.push((message.clone(), draft.content_hash));
    batch.entries.push(Entry::Accept { draft, message });
    Ok(())
}

/// Why the draft comes too soon after the sender's message before, be that in the same batch. What was on hold has waited.
fn too_soon(state: &State, draft: &Draft, batch: &Batch, now: Ms) -> Option<Error> {
    if state.meta.slow_mode_s == 0 || draft.waiter.is_release() {
        return None;
    }
    let own = |(message, _): &&(Arc<Message>, u64)| message.sender == draft.sender.id;
    let before = batch.append.as_ref().and_then(|append| append.messages.iter().rev().find(own));
    state.may_send_now(draft.sender.id, before.map(|(message, _)| message.sent_at), now).err()
}

/// The error of a client id under which something else was sent.
pub fn reused() -> Error {
    Error::new(Code::ClientIdReused, "this client_id was used for another message").field("client_id")
}
