//! SPDY/3.1: many streams over one connection, as kubectl, the kubelet and container runtimes speak it.
//!
//! Only what upstream's peers do is here. They all use one library, which sends no window updates and ignores those it
//! gets; a sender that waited for a window would hang after 64 KiB. So the brake is the transport's: a stream's reader
//! that falls behind by [`Limits::stream_buffer_bytes`] stops the connection from being read, and the peer's writes
//! block. Own writes are bounded by [`Limits::write_buffer_bytes`] for the whole connection.

mod connection;
mod dictionary;
pub mod frame;
pub mod headers;
mod stream;
#[cfg(test)]
mod tests;

pub use connection::{Connection, Incoming, Limits, Role};
pub use stream::{ReadHalf, Stream, WriteHalf};

/// The `Upgrade` header's value.
pub const UPGRADE: &str = "SPDY/3.1";

/// What can go wrong on a connection.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The transport failed.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// The peer broke the protocol; the connection is given up.
    #[error("SPDY protocol error: {0}")]
    Protocol(&'static str),
    /// The peer reset the stream instead of accepting it.
    #[error("stream refused by the peer (status {0})")]
    Refused(u32),
    /// The peer did not accept the stream in time.
    #[error("timed out waiting for the peer to accept the stream")]
    Timeout,
    /// The connection is closed, or closing.
    #[error("connection closed")]
    Closed,
    /// The limit of streams is reached.
    #[error("too many streams")]
    TooManyStreams,
}
