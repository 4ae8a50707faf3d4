//! One stream: headers, a reading half and a writing half.
//!
//! The inbox is shared with the connection's reader task. Its end is a value with a cause: a finished or a reset stream
//! reads as end of file (peers reset streams whose data they have sent, as upstream's `Close` does), a lost connection
//! as an error, so that a cut connection is never mistaken for the command's success.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker, ready};

use bytes::{Buf, Bytes};
use http::HeaderMap;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::{Notify, oneshot};
use tokio_util::sync::PollSemaphore;

use super::Error;
use super::connection::{Out, Shared};
use super::frame::{Control, reset};

/// Largest data frame that is sent.
const WRITE_CHUNK_BYTES: usize = 32 << 10;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Finished,
    Reset,
    Lost,
}

#[derive(Default)]
pub(super) struct Inbox {
    chunks: VecDeque<Bytes>,
    buffered: usize,
    end: Option<End>,
    reader_gone: bool,
    writer_done: bool,
    waker: Option<Waker>,
    reply: Option<oneshot::Sender<Result<(), Error>>>,
}

pub(super) struct Slot {
    pub(super) id: u32,
    inbox: Mutex<Inbox>,
    room: Notify,
}

impl Slot {
    pub(super) fn new(id: u32, reply: Option<oneshot::Sender<Result<(), Error>>>) -> Arc<Slot> {
        Arc::new(Slot { id, inbox: Mutex::new(Inbox { reply, ..Inbox::default() }), room: Notify::new() })
    }

    fn lock(&self) -> MutexGuard<'_, Inbox> {
        self.inbox.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// The peer accepted the stream.
    pub(super) fn replied(&self) {
        if let Some(reply) = self.lock().reply.take() {
            let _ = reply.send(Ok(()));
        }
    }

    /// Hands data to the reader; waits while it is `limit` bytes behind.
    pub(super) async fn deliver(&self, data: Bytes, limit: usize) {
        loop {
            let room = self.room.notified();
            {
                let mut inbox = self.lock();
                if inbox.reader_gone || inbox.end.is_some() {
                    return;
                }
                if inbox.buffered < limit {
                    inbox.buffered += data.len();
                    inbox.chunks.push_back(data);
                    if let Some(waker) = inbox.waker.take() {
                        waker.wake();
                    }
                    return;
                }
            }
            room.await;
        }
    }

    /// The peer sends no more. True if the stream is over in both directions.
    pub(super) fn end(&self, end: End, status: u32) -> bool {
        let mut inbox = self.lock();
        if inbox.end.is_none() {
            inbox.end = Some(end);
        }
        if end != End::Finished {
            inbox.writer_done = true;
            if let Some(reply) = inbox.reply.take() {
                let _ = reply.send(Err(if end == End::Lost { Error::Closed } else { Error::Refused(status) }));
            }
        }
        if let Some(waker) = inbox.waker.take() {
            waker.wake();
        }
        self.room.notify_one();
        inbox.writer_done
    }
}

/// A stream of a connection, both directions.
pub struct Stream {
    /// The headers it was opened with.
    pub headers: HeaderMap,
    read: ReadHalf,
    write: WriteHalf,
}

impl Stream {
    pub(super) fn new(headers: HeaderMap, slot: Arc<Slot>, shared: Arc<Shared>) -> Stream {
        let budget = PollSemaphore::new(shared.budget.clone());
        Stream {
            headers,
            read: ReadHalf { slot: slot.clone(), shared: shared.clone() },
            write: WriteHalf { slot, shared, budget },
        }
    }

    /// The stream's number on its connection.
    pub fn id(&self) -> u32 {
        self.read.slot.id
    }

    /// Takes it apart. Dropping the reading half discards what the peer sends; dropping the writing half finishes it.
    pub fn split(self) -> (ReadHalf, WriteHalf) {
        (self.read, self.write)
    }

    /// Ends it at once in both directions.
    pub fn reset(&self) {
        self.write.reset();
    }
}

/// The reading half.
pub struct ReadHalf {
    slot: Arc<Slot>,
    shared: Arc<Shared>,
}

impl AsyncRead for ReadHalf {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let mut inbox = self.slot.lock();
        if let Some(chunk) = inbox.chunks.front_mut() {
            let n = chunk.len().min(buf.remaining());
            buf.put_slice(&chunk[..n]);
            chunk.advance(n);
            if chunk.is_empty() {
                inbox.chunks.pop_front();
            }
            inbox.buffered -= n;
            self.slot.room.notify_one();
            return Poll::Ready(Ok(()));
        }
        match inbox.end {
            Some(End::Finished | End::Reset) => Poll::Ready(Ok(())),
            Some(End::Lost) => {
                Poll::Ready(Err(io::Error::new(io::ErrorKind::ConnectionReset, "the SPDY connection was lost")))
            }
            None => {
                inbox.waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl Drop for ReadHalf {
    fn drop(&mut self) {
        let abandoned = {
            let mut inbox = self.slot.lock();
            inbox.reader_gone = true;
            inbox.chunks.clear();
            inbox.buffered = 0;
            inbox.writer_done && inbox.end.is_none()
        };
        self.slot.room.notify_one();
        if abandoned {
            // We had our say and do not wait for the answer: tell the peer, so that it stops.
            self.shared.send(Out::Control(Control::RstStream { id: self.slot.id, status: reset::CANCEL }));
            self.shared.forget(self.slot.id);
        }
    }
}

/// The writing half. Dropping it, like `shutdown`, half-closes the stream.
pub struct WriteHalf {
    slot: Arc<Slot>,
    shared: Arc<Shared>,
    budget: PollSemaphore,
}

impl WriteHalf {
    fn finish(&self) {
        let over = {
            let mut inbox = self.slot.lock();
            if std::mem::replace(&mut inbox.writer_done, true) {
                return;
            }
            inbox.end.is_some()
        };
        self.shared.send(Out::Data { id: self.slot.id, fin: true, data: Bytes::new(), permit: None });
        if over {
            self.shared.forget(self.slot.id);
        }
    }

    /// Ends the stream at once in both directions.
    pub fn reset(&self) {
        let open = self.shared.forget(self.slot.id);
        self.slot.end(End::Reset, reset::CANCEL);
        if open {
            self.shared.send(Out::Control(Control::RstStream { id: self.slot.id, status: reset::CANCEL }));
        }
    }
}

impl AsyncWrite for WriteHalf {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let closed = || io::Error::new(io::ErrorKind::BrokenPipe, "write on a closed stream");
        if self.slot.lock().writer_done {
            return Poll::Ready(Err(closed()));
        }
        if buf.is_empty() {
            return Poll::Ready(Ok(0));
        }
        let n = buf.len().min(WRITE_CHUNK_BYTES);
        let Some(permit) = ready!(self.budget.poll_acquire_many(cx, n as u32)) else {
            return Poll::Ready(Err(closed()));
        };
        let data = Bytes::copy_from_slice(&buf[..n]);
        self.shared.send(Out::Data { id: self.slot.id, fin: false, data, permit: Some(permit) });
        Poll::Ready(Ok(n))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // The writer task flushes whenever it has nothing more to write.
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.finish();
        Poll::Ready(Ok(()))
    }
}

impl Drop for WriteHalf {
    fn drop(&mut self) {
        self.finish();
    }
}

impl AsyncRead for Stream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.read).poll_read(cx, buf)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.write).poll_write(cx, buf)
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.write).poll_flush(cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.write).poll_shutdown(cx)
    }
}
