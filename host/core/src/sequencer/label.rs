//! How a slot takes what an operator calls its conversation. No revision tells of it: labels are for plugins alone.

use super::{
    Answer, Ports,
    change::{Outcome, carry_out},
    publish,
    shard::{Done, Turn},
    slot::Slot,
};
use crate::{actors::Marked, changes::Stamp};
use futures_util::FutureExt;
use godwit_domain::{conversation::Meta, id::ConversationId, revision::Change};
use godwit_protocol::error::{Code, Error};
use std::sync::Arc;

/// Labels that were tried.
pub struct Labelled {
    pub conversation: ConversationId,
    change: Change,
    result: Outcome,
    answer: Answer<()>,
    stamp: Arc<Stamp>,
    marked: Vec<Marked>,
}

impl Slot {
    /// Begins to call the conversation so.
    pub fn label(&mut self, labels: Vec<String>, answer: Answer<()>, turn: &mut Turn<'_>) {
        let Some(state) = &self.state else { return };
        if state.meta.labels == labels {
            // Who asked may have given up.
            let _ = answer.send(Ok(()));
            return;
        }
        let (conversation, head, stamp) = (state.meta.id, state.head, turn.stamp());
        let meta = Meta { labels, ..(*state.meta).clone() };
        let change = Change { meta: Some(meta), ..Change::default() };
        let ports = turn.ports.clone();
        self.busy = true;
        let work = async move {
            let (result, marked) = carry_out(&ports, conversation, head, &change, &stamp).await;
            Done::Labelled(Box::new(Labelled { conversation, change, result, answer, stamp, marked }))
        };
        turn.work.push(work.boxed());
    }

    /// Labels are durable, or not.
    pub fn labelled(&mut self, labelled: Labelled, ports: &Ports) {
        let Labelled { conversation, change, result, answer, stamp, mut marked } = labelled;
        let answered = match (result, &mut self.state) {
            (Ok(Some((head, revisions))), Some(state)) => {
                state.apply(change, head, &revisions);
                ports.cards.put(conversation, state.card());
                publish::heads(state, Some(&stamp), ports);
                Ok(())
            }
            (Ok(_), state) => {
                *state = None;
                Err(Error::new(Code::Unavailable, "the conversation is read anew; try again"))
            }
            (Err(error), _) => {
                ports.metrics.store_failures.inc();
                tracing::error!(%error, %conversation, "labels were not set");
                self.unsettled.push(stamp.clone());
                self.unheard.append(&mut marked);
                let text = "whether this took effect is not known; asking the same again settles it";
                Err(Error::new(Code::UnknownOutcome, text))
            }
        };
        let _ = answer.send(answered);
        drop((stamp, marked));
    }
}
