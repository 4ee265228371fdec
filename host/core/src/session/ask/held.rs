//! Drafts on hold, for whoever may decide about them.

use super::Asker;
use crate::sequencer::By;
use godwit_domain::{id::Seq, time::Ms};
use godwit_protocol::{
    encode,
    error::Error,
    request::{self, Held, Reject, Release},
};
use serde::Serialize;

#[derive(Serialize)]
struct Released {
    seq: Seq,
    sent_at: Ms,
}

impl Asker {
    pub(super) async fn held(&self, id: u64, asked: Held) -> Result<Vec<u8>, Error> {
        let limit = request::limit(asked.limit)?;
        let by = By::User(self.user.id);
        let page = self.host.held(asked.conversation, by, asked.page.as_deref(), limit).await?;
        Ok(encode::ok(id, &page))
    }

    pub(super) async fn release(&self, id: u64, asked: Release) -> Result<Vec<u8>, Error> {
        let Release { conversation, sender, client_id } = asked;
        let sent = self.host.release(conversation, sender, client_id, By::User(self.user.id)).await?;
        Ok(encode::ok(id, &Released { seq: sent.seq, sent_at: sent.sent_at }))
    }

    pub(super) async fn reject(&self, id: u64, asked: Reject) -> Result<Vec<u8>, Error> {
        let Reject { conversation, sender, client_id, reason } = asked;
        self.host.reject(conversation, sender, client_id, By::User(self.user.id), reason).await?;
        Ok(encode::done(id))
    }
}
