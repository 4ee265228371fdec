//! WebSocket framing, as little of it as the generator and the relay need.
//!
//! It owns the bytes of a frame's header; it refuses fragments, and masks other than zero, which leave the payload as
//! it is: the generator shares its two cores with the host, so it must not spend them on what it does not measure.
//! Start with [`put`] and [`take`].

use anyhow::{Result, bail, ensure};
use std::{net::SocketAddr, ops::Range};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// A text frame.
pub const TEXT: u8 = 0x1;
/// The end of a connection.
pub const CLOSE: u8 = 0x8;
/// Asks for a sign of life.
pub const PING: u8 = 0x9;
/// A sign of life.
pub const PONG: u8 = 0xa;

/// The largest frame that either side sends.
const FRAME_BYTES_MAX: usize = 1 << 20;
const HEADERS_BYTES_MAX: usize = 8 * 1024;

/// Who writes a frame: clients mask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Masks with zero.
    Client,
    /// Does not mask.
    Server,
}

/// Appends a whole frame.
pub fn put(out: &mut Vec<u8>, side: Side, opcode: u8, payload: &[u8]) {
    let masked = if side == Side::Client { 0x80 } else { 0 };
    out.push(0x80 | opcode);
    match payload.len() {
        // Each cast is of a length that was just compared.
        short @ 0..=125 => out.push(masked | short as u8),
        medium @ 126..=0xffff => {
            out.push(masked | 126);
            out.extend_from_slice(&(medium as u16).to_be_bytes());
        }
        long => {
            out.push(masked | 127);
            out.extend_from_slice(&(long as u64).to_be_bytes());
        }
    }
    if side == Side::Client {
        out.extend_from_slice(&[0; 4]);
    }
    out.extend_from_slice(payload);
}

/// The first frame in `bytes`, if it is whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// What kind.
    pub opcode: u8,
    /// Where its payload stands; the next frame begins at its end.
    pub payload: Range<usize>,
}

/// Finds the first frame in `bytes`; `None` where it is not whole yet.
///
/// # Errors
/// It is a fragment, too large, or masked with anything but zero.
pub fn take(bytes: &[u8]) -> Result<Option<Frame>> {
    let [first, second, rest @ ..] = bytes else { return Ok(None) };
    ensure!(first & 0x80 != 0, "a fragment came");
    let (size, mut at) = match second & 0x7f {
        126 => match rest.first_chunk() {
            Some(size) => (usize::from(u16::from_be_bytes(*size)), 4),
            None => return Ok(None),
        },
        127 => match rest.first_chunk() {
            Some(size) => (usize::try_from(u64::from_be_bytes(*size))?, 10),
            None => return Ok(None),
        },
        short => (usize::from(short), 2),
    };
    ensure!(size <= FRAME_BYTES_MAX, "a frame of {size} bytes came, at most {FRAME_BYTES_MAX} are taken");
    if second & 0x80 != 0 {
        let Some(mask) = bytes.get(at..at + 4) else { return Ok(None) };
        ensure!(mask == [0; 4], "a frame came masked with {mask:?}, only zero is taken");
        at += 4;
    }
    Ok((bytes.len() >= at + size).then_some(Frame { opcode: first & 0x0f, payload: at..at + size }))
}

/// Asks for the upgrade and reads the answer; what stands behind its head is given back.
/// The accept key is not checked: that is the end-to-end tests' work.
///
/// # Errors
/// The answer is not `101`.
pub async fn ask(stream: &mut TcpStream, address: SocketAddr) -> Result<Vec<u8>> {
    let request = format!(
        "GET /v1/ws HTTP/1.1\r\nHost: {address}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\
         Sec-WebSocket-Protocol: godwit.v1.json\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await?;
    let (head, rest) = head(stream).await?;
    let status = head.lines().next().unwrap_or_default();
    ensure!(status.contains(" 101 "), "the upgrade was answered with `{status}`");
    Ok(rest)
}

/// Reads the request for an upgrade and grants it; what stands behind it is given back.
///
/// # Errors
/// The connection ends first.
pub async fn grant(stream: &mut TcpStream) -> Result<Vec<u8>> {
    let (_, rest) = head(stream).await?;
    stream
        .write_all(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")
        .await?;
    Ok(rest)
}

async fn head(stream: &mut TcpStream) -> Result<(String, Vec<u8>)> {
    const END: &[u8] = b"\r\n\r\n";
    let mut bytes = Vec::with_capacity(512);
    loop {
        if let Some(at) = bytes.windows(END.len()).position(|window| window == END) {
            let rest = bytes.split_off(at + END.len());
            return Ok((String::from_utf8(bytes)?, rest));
        }
        ensure!(bytes.len() < HEADERS_BYTES_MAX, "more than {HEADERS_BYTES_MAX} bytes of headers came");
        if stream.read_buf(&mut bytes).await? == 0 {
            bail!("the connection ended during the upgrade");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_of_any_length_is_read_as_it_was_put_and_never_before_it_is_whole() {
        for side in [Side::Client, Side::Server] {
            for size in [0, 1, 125, 126, 0xffff, 0x10000] {
                let payload = vec![b'x'; size];
                let mut bytes = Vec::new();
                put(&mut bytes, side, TEXT, &payload);
                for cut in [0, 1, 2, 3, bytes.len() - 1] {
                    let cut = cut.min(bytes.len() - 1);
                    assert_eq!(take(&bytes[..cut]).unwrap(), None, "{side:?} {size} cut at {cut}");
                }
                let frame = take(&bytes).unwrap().unwrap();
                assert_eq!(
                    (frame.opcode, &bytes[frame.payload.clone()]),
                    (TEXT, &payload[..]),
                    "{side:?} {size}"
                );
                assert_eq!(frame.payload.end, bytes.len(), "{side:?} {size}");
            }
        }
    }

    #[test]
    fn fragments_masks_and_giants_are_refused() {
        assert!(take(&[0x01, 0x00]).is_err());
        assert!(take(&[0x81, 0x81, 1, 2, 3, 4, 5]).is_err());
        assert!(take(&[0x81, 127, 0, 0, 1, 0, 0, 0, 0, 0]).is_err());
    }
}
