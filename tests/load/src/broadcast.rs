//! The floor under fan-out and under presence: a bare write of the same bytes to every socket, or to some in turn.
//!
//! It owns the sockets of those who listen. What the one who speaks sends in one piece is written to each of them, or
//! for presence a change to so many of them, in one piece: no JSON, no queue, no storage, no task per socket. It runs as a process of its own, so that its processor
//! time can be read from outside.
//! Start with [`serve`] and [`tell`].

use crate::{
    message::{BODY_BYTES, presence, push},
    wire::{self, Side},
};
use anyhow::{Context, Result, ensure};
use std::io::ErrorKind;
use tokio::net::{TcpListener, TcpStream};
use uuid::Uuid;

/// Takes that many listeners, then one who speaks, on a free port of the loopback, which it prints.
///
/// # Errors
/// The port cannot be opened, or a connection ends.
pub async fn serve(listeners: usize) -> Result<()> {
    let door = TcpListener::bind("127.0.0.1:0").await?;
    println!("{}", door.local_addr()?);
    let mut listening = Vec::with_capacity(listeners);
    while listening.len() < listeners {
        listening.push(accept(&door).await?.0);
    }
    let (speaker, mut input) = accept(&door).await?;
    let (mut line, mut frames, mut seq) = (Vec::new(), Vec::new(), 0);
    loop {
        let mut read = 0;
        while let Some(frame) = wire::take(&input[read..])? {
            let payload = &input[read..][frame.payload.clone()];
            read += frame.payload.end;
            let body = payload.len().checked_sub(BODY_BYTES + END.len()).context("a request holds a body")?;
            seq += 1;
            line.clear();
            push(&mut line, Uuid::nil(), seq, Uuid::nil(), &payload[body..payload.len() - END.len()]);
            wire::put(&mut frames, Side::Server, wire::TEXT, &line);
        }
        input.drain(..read);
        if !frames.is_empty() {
            for listener in &listening {
                write(listener, &frames).await?;
            }
            frames.clear();
        }
        fill(&speaker, &mut input).await?;
    }
}

/// Takes that many listeners, then one who speaks, and writes a change of presence to the next `each` of them for every
/// request that comes.
///
/// # Errors
/// As [`serve`].
pub async fn tell(listeners: usize, each: usize) -> Result<()> {
    let door = TcpListener::bind("127.0.0.1:0").await?;
    println!("{}", door.local_addr()?);
    let mut listening = Vec::with_capacity(listeners);
    while listening.len() < listeners {
        listening.push(accept(&door).await?.0);
    }
    let (speaker, mut input) = accept(&door).await?;
    let (mut line, mut frame) = (Vec::new(), Vec::new());
    let mut turns = listening.iter().cycle();
    loop {
        let mut read = 0;
        while let Some(asked) = wire::take(&input[read..])? {
            read += asked.payload.end;
            line.clear();
            presence(&mut line, Uuid::nil(), true);
            frame.clear();
            wire::put(&mut frame, Side::Server, wire::TEXT, &line);
            for listener in turns.by_ref().take(each) {
                write(listener, &frame).await?;
            }
        }
        input.drain(..read);
        fill(&speaker, &mut input).await?;
    }
}

/// Reads once from the one who speaks.
async fn fill(speaker: &TcpStream, input: &mut Vec<u8>) -> Result<()> {
    input.reserve(4096);
    speaker.readable().await?;
    match speaker.try_read_buf(input) {
        Ok(count) => ensure!(count > 0, "the speaker has gone"),
        Err(error) if error.kind() == ErrorKind::WouldBlock => {}
        Err(error) => return Err(error.into()),
    }
    Ok(())
}

/// How a request ends.
const END: &[u8] = b"\"}}";

async fn accept(door: &TcpListener) -> Result<(TcpStream, Vec<u8>)> {
    let (mut stream, _) = door.accept().await?;
    stream.set_nodelay(true)?;
    let rest = wire::grant(&mut stream).await?;
    Ok((stream, rest))
}

async fn write(stream: &TcpStream, mut bytes: &[u8]) -> Result<()> {
    while !bytes.is_empty() {
        match stream.try_write(bytes) {
            Ok(count) => bytes = &bytes[count..],
            Err(error) if error.kind() == ErrorKind::WouldBlock => stream.writable().await?,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}
