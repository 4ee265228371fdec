//! A connection of a device: frames in, frames out, what was asked and what was answered.

use crate::{
    device::{Kept, Told},
    host::Life,
    request::{Reply, Request},
};
use bytes::Bytes;
use godwit_core::{
    domain::id::UserId,
    outbox::{Drain, Frame},
    session::Session,
};
use godwit_protocol::error::Close;
use serde_json::Value;
use std::{
    collections::BTreeMap,
    task::{Context, Poll},
};

/// One session and what came of it.
pub struct Line {
    session: Session,
    drain: Drain,
    told: Told,
    /// What was pushed behind the reply to `connect`, until that is taken in.
    behind: Option<Vec<Bytes>>,
    next_id: u64,
    /// Requests that are not answered yet; `connect` has none.
    asked: BTreeMap<u64, Option<Request>>,
    /// In the order in which they came.
    pub replies: Vec<(u64, Reply)>,
    /// Cursors that came, each with what was kept then.
    pub cursors: Vec<Kept>,
}

impl Line {
    pub fn new(life: &Life) -> Self {
        let (session, drain) = life.runtime.block_on(async { life.host.open_session() });
        Self {
            session,
            drain,
            told: Told::default(),
            behind: Some(Vec::new()),
            next_id: 1,
            asked: BTreeMap::new(),
            replies: Vec::new(),
            cursors: Vec::new(),
        }
    }

    /// Sends a request; its number.
    pub fn post(&mut self, life: &Life, request: Option<&Request>, frame: &str) -> Result<u64, String> {
        let id = self.next_id;
        self.asked.insert(id, request.cloned());
        let sent = life.runtime.block_on(self.session.receive(frame));
        sent.map_err(|close| format!("closed with {close:?} after {frame}"))?;
        self.next_id += 1;
        Ok(id)
    }

    pub fn next_id(&self) -> u64 {
        self.next_id
    }

    pub fn has_answered(&self, id: u64) -> bool {
        !self.asked.contains_key(&id)
    }

    /// Waits for frames.
    pub fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<Vec<Bytes>, Close>> {
        let mut frames = Vec::new();
        self.drain
            .poll_next(context, &mut frames)
            .map_ok(|()| frames.into_iter().map(Frame::into_bytes).collect())
    }

    /// Takes what was pushed behind the reply to `connect`, which was taken in.
    pub fn begin(&mut self, me: UserId, kept: &mut Kept) -> Result<(), String> {
        let behind = self.behind.take().unwrap_or_default();
        behind.iter().try_for_each(|frame| self.take(me, kept, frame))
    }

    /// Takes a frame, on behalf of a device.
    pub fn take(&mut self, me: UserId, kept: &mut Kept, bytes: &Bytes) -> Result<(), String> {
        let frame: Value = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        let object = frame.as_object().ok_or("a frame that is no object")?;
        let Some(id) = frame["id"].as_u64() else {
            if let Some(behind) = &mut self.behind {
                behind.push(bytes.clone());
                return Ok(());
            }
            let [(name, push)] = object.iter().collect::<Vec<_>>()[..] else {
                return Err(format!("a push of several: {frame}"));
            };
            kept.pushed(me, &mut self.told, name, push).map_err(|what| format!("{what}\n  at {frame}"))?;
            if name == "cursor" {
                self.cursors.push(kept.clone());
            }
            return Ok(());
        };
        let request = self.asked.remove(&id).ok_or_else(|| format!("nobody asked for {frame}"))?;
        let reply = match frame.get("ok") {
            Some(ok) => Reply::Ok(ok.clone()),
            None => {
                let error = frame["error"].clone();
                Reply::Error { code: error["code"].as_str().unwrap_or_default().to_owned(), whole: error }
            }
        };
        if let Some(request) = request {
            kept.answered(me, &request, &reply).map_err(|what| format!("{what}\n  at {frame}"))?;
        }
        self.replies.push((id, reply));
        Ok(())
    }
}
