//! Who listens to the pushes of a session: a request that waits for some, or a stream that is open.
//!
//! It owns when something is given to whom, and the form of a stream's events. It holds back what the client does not
//! read: pushes then wait in the mailbox, within the outbox's limit.

use super::mailbox::Mailbox;
use crate::answer::Failure;
use bytes::Bytes;
use godwit_protocol::error::{Close, Error};
use std::{collections::VecDeque, io::Write, time::Duration};
use tokio::{
    sync::{mpsc, oneshot},
    time::Instant,
};

/// How often a stream says that it is alive: what stands between may cut what is silent.
const COMMENT_EVERY: Duration = Duration::from_secs(15);
const COMMENT: &[u8] = b":\n\n";
/// What was written so long ago, on a stream that is still open, counts as acknowledged.
const ACKNOWLEDGED_AFTER: Duration = Duration::from_secs(60);
/// From how many bytes on a chunk of a stream takes no further event.
const CHUNK_BYTES: usize = 32 << 10;
/// How long a stream that ends may take to say why.
const FAREWELL_WITHIN: Duration = Duration::from_secs(1);

/// What one who asks for pushes is given.
pub(super) enum Heard {
    /// Those that are there.
    Page(Vec<u8>),
    /// Those that are there, and those that come.
    Stream(mpsc::Receiver<Bytes>),
}

/// Where that goes.
pub(super) type Answer = oneshot::Sender<Result<Heard, Error>>;

/// See the module.
pub(super) enum Listener {
    /// Waits for the next push.
    Poll {
        answer: Answer,
        until: Instant,
    },
    Stream(Stream),
}

/// A stream that is open.
pub(super) struct Stream {
    chunks: mpsc::Sender<Bytes>,
    /// The number of the last push that was written.
    sent: u64,
    comment_at: Instant,
    /// Up to which number was written when, where that is not acknowledged yet.
    written: VecDeque<(u64, Instant)>,
}

impl Listener {
    /// One that waits no longer than `wait`.
    pub fn poll(answer: Answer, wait: Duration) -> Self {
        Self::Poll { answer, until: Instant::now() + wait }
    }

    /// One that is told everything after the number `sent`.
    pub fn stream(answer: Answer, sent: u64) -> Self {
        let (chunks, received) = mpsc::channel(1);
        // Where nobody waits for it any more, the next look at it finds out.
        let _ = answer.send(Ok(Heard::Stream(received)));
        // At once: what stands between shows by the first bytes that it lets a stream through.
        Self::Stream(Stream { chunks, sent, comment_at: Instant::now(), written: VecDeque::new() })
    }

    /// Gives what there is to give; itself, where it goes on listening.
    pub fn serve(self, mailbox: &Mailbox) -> Option<Self> {
        let now = Instant::now();
        match self {
            Self::Poll { answer, .. } if answer.is_closed() => None,
            Self::Poll { answer, until } if mailbox.is_empty() && now < until => {
                Some(Self::Poll { answer, until })
            }
            Self::Poll { answer, .. } => {
                // What it does not get any more is there for the next one.
                let _ = answer.send(Ok(Heard::Page(mailbox.page())));
                None
            }
            Self::Stream(mut stream) => stream.write(mailbox, now).then_some(Self::Stream(stream)),
        }
    }

    /// Ready when [`Listener::serve`] may do more than the last time, new pushes apart.
    pub async fn moved(&mut self, mailbox: &Mailbox) {
        match self {
            Self::Poll { answer, .. } => answer.closed().await,
            Self::Stream(stream) if stream.sent < mailbox.last() => {
                // Room, or an end: both are for `serve` to find.
                let _ = stream.chunks.reserve().await;
            }
            Self::Stream(stream) => stream.chunks.closed().await,
        }
    }

    /// When time alone changes something.
    pub fn next_time(&self) -> Instant {
        match self {
            Self::Poll { until, .. } => *until,
            Self::Stream(stream) => match stream.written.front() {
                Some((_, at)) => stream.comment_at.min(*at + ACKNOWLEDGED_AFTER),
                None => stream.comment_at,
            },
        }
    }

    /// Takes note of what a stream wrote first of what is not acknowledged yet, if that counts as acknowledged by now:
    /// the number up to which. With `is_pressed` it does not have to be old.
    pub fn settle(&mut self, is_pressed: bool) -> Option<u64> {
        let Self::Stream(stream) = self else { return None };
        let now = Instant::now();
        let settled = stream.written.pop_front_if(|(_, at)| is_pressed || *at + ACKNOWLEDGED_AFTER <= now);
        settled.map(|(up_to, _)| up_to)
    }

    /// Another one took its place.
    pub fn replace(self) {
        if let Self::Poll { answer, .. } = self {
            let _ = answer.send(Ok(Heard::Page(Mailbox::default().page())));
        }
    }

    /// The session has ended: gives what is there, and says why. One who waits is told by whoever let it in.
    pub async fn end(self, mailbox: &Mailbox, close: Close) {
        let Some(Self::Stream(mut stream)) = self.serve(mailbox) else { return };
        let farewell = async {
            while let Some(chunk) = stream.chunk(mailbox, Instant::now()) {
                stream.chunks.send(chunk).await?;
            }
            stream.chunks.send(closing(close)).await
        };
        // Who reads nothing, or is gone, asks again and is told then.
        let _ = tokio::time::timeout(FAREWELL_WITHIN, farewell).await;
    }
}

impl Stream {
    /// Writes as much as is read; whether someone is there to read.
    fn write(&mut self, mailbox: &Mailbox, now: Instant) -> bool {
        while !self.chunks.is_closed() && self.chunks.capacity() > 0 {
            let Some(chunk) = self.chunk(mailbox, now) else { return true };
            // There is room, and nobody else writes.
            let _ = self.chunks.try_send(chunk);
        }
        // One that has not taken the last chunk yet needs no comment.
        if now >= self.comment_at {
            self.comment_at = now + COMMENT_EVERY;
        }
        !self.chunks.is_closed()
    }

    /// The next events, or a comment where one is due.
    fn chunk(&mut self, mailbox: &Mailbox, now: Instant) -> Option<Bytes> {
        let mut chunk = Vec::new();
        if now >= self.comment_at {
            self.comment_at = now + COMMENT_EVERY;
            chunk.extend_from_slice(COMMENT);
        }
        let before = self.sent;
        for (n, push) in mailbox.after(self.sent) {
            // A `Vec` takes every write. No push has a line break: JSON escapes them.
            let _ = write!(chunk, "id: {n}\ndata: ");
            chunk.extend_from_slice(push);
            chunk.extend_from_slice(b"\n\n");
            self.sent = n;
            if chunk.len() >= CHUNK_BYTES {
                break;
            }
        }
        if self.sent > before {
            self.written.push_back((self.sent, now));
        }
        (!chunk.is_empty()).then(|| chunk.into())
    }
}

/// The last event of a stream whose session has ended: what a request would be answered with.
fn closing(close: Close) -> Bytes {
    let shown = serde_json::to_string(&Failure::gone(close).shown()).unwrap_or_default();
    format!("event: close\ndata: {shown}\n\n").into()
}
