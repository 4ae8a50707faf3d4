//! Frames of SPDY/3.1 (the draft's section 2.2), each an eight-byte head and a payload.
//!
//! Data payloads are never held whole: the connection reads them piece by piece, so a 16 MiB frame costs no 16 MiB.
//! Control frames are small and decoded at once; `MAX_CONTROL_BYTES` bounds what is buffered for one.

use bytes::BufMut;
use http::HeaderMap;

use super::Error;
use super::headers::{Deflater, Inflater};

/// Largest control frame payload that is accepted.
pub const MAX_CONTROL_BYTES: usize = 64 << 10;
/// What a 24-bit length can say.
pub const MAX_DATA_BYTES: usize = (1 << 24) - 1;
/// The size of every frame's head.
pub const HEAD_BYTES: usize = 8;

const CONTROL: u32 = 0x8000_0000;
const VERSION: u32 = 3;
const FLAG_FIN: u8 = 1;
const FLAG_UNIDIRECTIONAL: u8 = 2;

/// Why a stream was reset (RST_STREAM's status codes).
pub mod reset {
    /// A frame that the protocol does not allow.
    pub const PROTOCOL_ERROR: u32 = 1;
    /// Data for a stream that is not open.
    pub const INVALID_STREAM: u32 = 2;
    /// The stream was refused before anything was done for it.
    pub const REFUSED_STREAM: u32 = 3;
    /// The stream's maker needs it no more.
    pub const CANCEL: u32 = 5;
    /// The other side failed.
    pub const INTERNAL_ERROR: u32 = 6;
}

/// A frame's first eight bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Head {
    /// `len` bytes of data of stream `id` follow.
    Data {
        /// Stream.
        id: u32,
        /// The sender's last frame on this stream.
        fin: bool,
        /// Payload length.
        len: usize,
    },
    /// A control frame's payload of `len` bytes follows.
    Control {
        /// Frame type, known or not.
        kind: u16,
        /// Frame flags.
        flags: u8,
        /// Payload length.
        len: usize,
    },
}

impl Head {
    /// Reads a head.
    ///
    /// # Errors
    /// Another protocol version, stream zero, an oversized control frame.
    pub fn parse(bytes: &[u8; HEAD_BYTES]) -> Result<Head, Error> {
        let first = u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
        let flags = bytes[4];
        let len = u32::from_be_bytes([0, bytes[5], bytes[6], bytes[7]]) as usize;
        if first & CONTROL == 0 {
            return match first {
                0 => Err(Error::Protocol("stream id zero is disallowed")),
                id => Ok(Head::Data { id, fin: flags & FLAG_FIN != 0, len }),
            };
        }
        if (first >> 16) & 0x7fff != VERSION {
            return Err(Error::Protocol("unsupported SPDY version"));
        }
        if len > MAX_CONTROL_BYTES {
            return Err(Error::Protocol("control frame too large"));
        }
        Ok(Head::Control { kind: first as u16, flags, len })
    }

    /// Appends a data frame's head.
    pub fn put_data(id: u32, fin: bool, len: usize, out: &mut Vec<u8>) {
        debug_assert!(id & CONTROL == 0 && len <= MAX_DATA_BYTES);
        out.put_u32(id);
        out.put_u32((u32::from(fin) << 24) | len as u32);
    }
}

/// A control frame.
#[derive(Debug, Clone, PartialEq)]
pub enum Control {
    /// Opens a stream.
    SynStream {
        /// The new stream.
        id: u32,
        /// A stream it belongs to, or 0.
        associated: u32,
        /// 0 (first) to 7.
        priority: u8,
        /// The opener sends nothing more.
        fin: bool,
        /// The other side may send nothing.
        unidirectional: bool,
        /// What the stream is for.
        headers: HeaderMap,
    },
    /// Accepts a stream.
    SynReply {
        /// Stream.
        id: u32,
        /// The accepting side sends nothing.
        fin: bool,
        /// Answer headers.
        headers: HeaderMap,
    },
    /// Ends a stream at once, both ways.
    RstStream {
        /// Stream.
        id: u32,
        /// See [`reset`].
        status: u32,
    },
    /// Settings, as (flags, id, value).
    Settings(Vec<(u8, u32, u32)>),
    /// A ping, or its echo.
    Ping(u32),
    /// The sender leaves.
    GoAway {
        /// Last stream that was taken.
        last: u32,
        /// 0 is a normal end.
        status: u32,
    },
    /// More headers.
    Headers {
        /// Stream.
        id: u32,
        /// The sender's last frame on this stream.
        fin: bool,
        /// The headers.
        headers: HeaderMap,
    },
    /// Room for `delta` more bytes.
    WindowUpdate {
        /// Stream, 0 is the connection.
        id: u32,
        /// Bytes.
        delta: u32,
    },
}

impl Control {
    /// Decodes a control frame; `None` for a type that this version does not know, which is to be ignored.
    ///
    /// # Errors
    /// A payload that is not of the type's form.
    pub fn decode(kind: u16, flags: u8, payload: &[u8], inflater: &mut Inflater) -> Result<Option<Control>, Error> {
        let fin = flags & FLAG_FIN != 0;
        let mut rest = payload;
        let frame = match kind {
            1 => {
                let (id, associated) = (stream_id(&mut rest)?, take_u32(&mut rest)? & !CONTROL);
                let ([priority, _slot], block) = rest.split_first_chunk::<2>().ok_or(TRUNCATED)?;
                let headers = inflater.decode(block)?;
                let unidirectional = flags & FLAG_UNIDIRECTIONAL != 0;
                return Ok(Some(Control::SynStream {
                    id,
                    associated,
                    priority: priority >> 5,
                    fin,
                    unidirectional,
                    headers,
                }));
            }
            2 => {
                return Ok(Some(Control::SynReply { id: stream_id(&mut rest)?, fin, headers: inflater.decode(rest)? }));
            }
            8 => return Ok(Some(Control::Headers { id: stream_id(&mut rest)?, fin, headers: inflater.decode(rest)? })),
            3 => Control::RstStream { id: stream_id(&mut rest)?, status: take_u32(&mut rest)? },
            4 => {
                let count = take_u32(&mut rest)? as usize;
                if !rest.len().is_multiple_of(8) || count != rest.len() / 8 {
                    return Err(Error::Protocol("malformed SETTINGS"));
                }
                let mut values = Vec::with_capacity(count);
                for _ in 0..count {
                    let word = take_u32(&mut rest)?;
                    values.push(((word >> 24) as u8, word & 0xff_ffff, take_u32(&mut rest)?));
                }
                Control::Settings(values)
            }
            6 => Control::Ping(take_u32(&mut rest)?),
            7 => Control::GoAway { last: take_u32(&mut rest)? & !CONTROL, status: take_u32(&mut rest)? },
            9 => Control::WindowUpdate { id: take_u32(&mut rest)? & !CONTROL, delta: take_u32(&mut rest)? & !CONTROL },
            _ => return Ok(None),
        };
        if rest.is_empty() { Ok(Some(frame)) } else { Err(Error::Protocol("control frame too long")) }
    }

    /// Appends the frame to `out`.
    pub fn encode(&self, deflater: &mut Deflater, out: &mut Vec<u8>) {
        let fin = |fin: &bool| if *fin { FLAG_FIN } else { 0 };
        let mut body = Vec::with_capacity(16);
        let (kind, flags) = match self {
            Control::SynStream { id, associated, priority, fin: f, unidirectional, headers } => {
                body.put_u32(*id);
                body.put_u32(*associated);
                body.put_u8(priority << 5);
                body.put_u8(0);
                body.extend(deflater.encode(headers));
                (1, fin(f) | if *unidirectional { FLAG_UNIDIRECTIONAL } else { 0 })
            }
            Control::SynReply { id, fin: f, headers } => {
                body.put_u32(*id);
                body.extend(deflater.encode(headers));
                (2, fin(f))
            }
            Control::Headers { id, fin: f, headers } => {
                body.put_u32(*id);
                body.extend(deflater.encode(headers));
                (8, fin(f))
            }
            Control::RstStream { id, status } => {
                body.put_u32(*id);
                body.put_u32(*status);
                (3, 0)
            }
            Control::Settings(values) => {
                body.put_u32(values.len() as u32);
                for (flags, id, value) in values {
                    body.put_u32((u32::from(*flags) << 24) | (id & 0xff_ffff));
                    body.put_u32(*value);
                }
                (4, 0)
            }
            Control::Ping(id) => {
                body.put_u32(*id);
                (6, 0)
            }
            Control::GoAway { last, status } => {
                body.put_u32(*last);
                body.put_u32(*status);
                (7, 0)
            }
            Control::WindowUpdate { id, delta } => {
                body.put_u32(*id);
                body.put_u32(*delta);
                (9, 0)
            }
        };
        out.put_u32(CONTROL | (VERSION << 16) | kind);
        out.put_u32((u32::from(flags) << 24) | body.len() as u32);
        out.extend(body);
    }
}

const TRUNCATED: Error = Error::Protocol("truncated control frame");

fn take_u32(rest: &mut &[u8]) -> Result<u32, Error> {
    let (head, tail) = rest.split_first_chunk::<4>().ok_or(TRUNCATED)?;
    *rest = tail;
    Ok(u32::from_be_bytes(*head))
}

fn stream_id(rest: &mut &[u8]) -> Result<u32, Error> {
    match take_u32(rest)? & !CONTROL {
        0 => Err(Error::Protocol("stream id zero is disallowed")),
        id => Ok(id),
    }
}
