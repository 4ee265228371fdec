//! The floor under the network's share: a bare relay of the same frames.
//!
//! It owns two sockets per pair and a counter. It reads a frame, writes a reply to one and a push to the other, and
//! does nothing else: no JSON, no queue, no storage. What it costs per message is what no host on this runtime can
//! save. It runs as a process of its own, so that its processor time can be read from outside.
//! Start with [`serve`].

use crate::{
    message::{BODY_BYTES, push, reply},
    wire::{self, Side},
};
use anyhow::{Context, Result, ensure};
use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::Mutex as AsyncMutex,
};
use uuid::Uuid;

/// One end of a pair, locked while writing: both ends of a pair write to both.
type End = AsyncMutex<OwnedWriteHalf>;

#[derive(Default)]
struct Pair {
    ends: Mutex<[Option<Arc<End>>; 2]>,
    last_seq: AtomicU64,
}

type Pairs = Arc<Mutex<HashMap<Uuid, Arc<Pair>>>>;

/// Serves on a free port of the loopback, which it prints, until it is killed.
///
/// # Errors
/// The port cannot be opened.
pub async fn serve() -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("{}", listener.local_addr()?);
    let pairs = Pairs::default();
    loop {
        let (stream, _) = listener.accept().await?;
        let pairs = Arc::clone(&pairs);
        tokio::spawn(async move {
            // An end that goes away ends its pair; the generator notices that by itself.
            let _ = relay(stream, &pairs).await;
        });
    }
}

async fn relay(mut stream: TcpStream, pairs: &Pairs) -> Result<()> {
    stream.set_nodelay(true)?;
    let mut input = wire::grant(&mut stream).await?;
    let (mut reader, writer) = stream.into_split();
    let end = Arc::new(End::new(writer));
    // The first frame names the conversation, which makes the pair.
    let conversation = loop {
        if let Some(frame) = wire::take(&input)? {
            let name = str::from_utf8(&input[frame.payload.clone()])?.parse()?;
            input.drain(..frame.payload.end);
            break name;
        }
        fill(&mut reader, &mut input).await?;
    };
    let pair =
        Arc::clone(pairs.lock().unwrap_or_else(PoisonError::into_inner).entry(conversation).or_default());
    let side = {
        let mut ends = pair.ends.lock().unwrap_or_else(PoisonError::into_inner);
        let side = usize::from(ends[0].is_some());
        ends[side] = Some(Arc::clone(&end));
        side
    };
    let sender = Uuid::from_u128(side as u128);
    let mut peer = None;
    let (mut line, mut replies, mut pushes) = (Vec::new(), Vec::new(), Vec::new());
    loop {
        let mut read = 0;
        while let Some(frame) = wire::take(&input[read..])? {
            let payload = &input[read..][frame.payload.clone()];
            if frame.opcode == wire::TEXT {
                let seq = pair.last_seq.fetch_add(1, Ordering::Relaxed) + 1;
                let (id, body) = parts(payload)?;
                line.clear();
                reply(&mut line, id, conversation, seq);
                wire::put(&mut replies, Side::Server, wire::TEXT, &line);
                line.clear();
                push(&mut line, conversation, seq, sender, body);
                wire::put(&mut pushes, Side::Server, wire::TEXT, &line);
            }
            read += frame.payload.end;
        }
        input.drain(..read);
        if !replies.is_empty() {
            if peer.is_none() {
                peer = pair.ends.lock().unwrap_or_else(PoisonError::into_inner)[1 - side].clone();
            }
            let peer = peer.as_ref().context("a message came before its pair was complete")?;
            write(&end, &mut replies).await?;
            write(peer, &mut pushes).await?;
        }
        fill(&mut reader, &mut input).await?;
    }
}

/// The id and the body of a request, by their places in the generator's own frames.
fn parts(request: &[u8]) -> Result<(u64, &[u8])> {
    const START: &[u8] = b"{\"id\":";
    const END: &[u8] = b"\"}}";
    let rest = request.strip_prefix(START).context("a request begins with its id")?;
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit());
    let id = digits.fold(0, |id, digit| id * 10 + u64::from(digit - b'0'));
    let rest = rest.strip_suffix(END).context("a request ends with its body")?;
    let body = rest.len().checked_sub(BODY_BYTES).context("a request holds a whole body")?;
    Ok((id, &rest[body..]))
}

/// Reads once: what comes by itself is one system call, as it is for the host.
async fn fill(reader: &mut OwnedReadHalf, input: &mut Vec<u8>) -> Result<()> {
    input.reserve(4096);
    let count = reader.read_buf(input).await?;
    ensure!(count > 0, "the connection ended");
    Ok(())
}

async fn write(end: &End, bytes: &mut Vec<u8>) -> Result<()> {
    end.lock().await.write_all(bytes).await?;
    bytes.clear();
    Ok(())
}
