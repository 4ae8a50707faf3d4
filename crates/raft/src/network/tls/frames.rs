//! Messages on a stream: a number and a length before each.
//!
//! ```text
//! preface  "FERRYRFT" | form u16          once, by who connects
//! frame    number u64 | length u32 | bytes
//! ```
//!
//! Number 0 is a sign of life, without bytes.

use std::time::Duration;

use anyhow::bail;
use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

use crate::network::MESSAGE_LIMIT_BYTES;

const PREFACE: &[u8; 8] = b"FERRYRFT";
const FORM: u16 = 1;
/// Each side says something as often as this.
pub(super) const BEAT: Duration = Duration::from_secs(1);
/// A side that says nothing for so long is not there, or can't be heard.
const SILENCE: Duration = Duration::from_secs(4);
/// A message that can't be sent for so long.
const STUCK: Duration = Duration::from_secs(10);
/// Read at once: a length is only believed as far as its bytes have come.
const PIECE: usize = 1 << 20;

pub(super) struct Frame {
    pub(super) number: u64,
    pub(super) bytes: Bytes,
}

impl Frame {
    pub(super) fn beat() -> Self {
        Self { number: 0, bytes: Bytes::new() }
    }
}

pub(super) async fn write_preface(stream: &mut (impl AsyncWrite + Unpin)) -> anyhow::Result<()> {
    let mut preface = PREFACE.to_vec();
    preface.extend(FORM.to_le_bytes());
    stream.write_all(&preface).await?;
    Ok(())
}

pub(super) async fn read_preface(stream: &mut (impl AsyncRead + Unpin)) -> anyhow::Result<()> {
    let mut preface = [0; 10];
    timeout(SILENCE, stream.read_exact(&mut preface)).await??;
    if &preface[..8] != PREFACE {
        bail!("that is no member");
    }
    match u16::from_le_bytes([preface[8], preface[9]]) {
        FORM => Ok(()),
        other => bail!("connections of form {other} are not known to this version"),
    }
}

pub(super) async fn write(stream: &mut (impl AsyncWrite + Unpin), frame: &Frame, flush: bool) -> anyhow::Result<()> {
    if frame.bytes.len() > MESSAGE_LIMIT_BYTES {
        bail!("a message of {} bytes; the limit is {MESSAGE_LIMIT_BYTES}", frame.bytes.len());
    }
    let mut head = [0; 12];
    head[..8].copy_from_slice(&frame.number.to_le_bytes());
    head[8..].copy_from_slice(&u32::try_from(frame.bytes.len())?.to_le_bytes());
    timeout(STUCK, async {
        stream.write_all(&head).await?;
        stream.write_all(&frame.bytes).await?;
        if flush { stream.flush().await } else { Ok(()) }
    })
    .await??;
    Ok(())
}

pub(super) async fn read(stream: &mut (impl AsyncRead + Unpin)) -> anyhow::Result<Frame> {
    let mut head = [0; 12];
    timeout(SILENCE, stream.read_exact(&mut head)).await??;
    let number = u64::from_le_bytes(head[..8].try_into().expect("eight bytes"));
    let length = u32::from_le_bytes(head[8..].try_into().expect("four bytes")) as usize;
    if length > MESSAGE_LIMIT_BYTES {
        bail!("a message of {length} bytes; the limit is {MESSAGE_LIMIT_BYTES}");
    }
    let mut bytes = Vec::with_capacity(length.min(PIECE));
    while bytes.len() < length {
        let have = bytes.len();
        bytes.resize(length.min(have + PIECE), 0);
        timeout(SILENCE, stream.read_exact(&mut bytes[have..])).await??;
    }
    Ok(Frame { number, bytes: bytes.into() })
}
