//! One write a turn. HTTP/2 flushes after every frame that is not tiny, and over TLS a flush is a record and a system
//! call: fifty watches on a connection would cost fifty of each for one event. Here a flush only notes that there is
//! something; it is written when the connection has had its turn, all at once.
//!
//! A connection with many streams also lets the streams' own tasks go first: each that has something wakes it, and it
//! is to find what all of them have.
//!
//! When the connection's future has ended, flushes are flushes: an upgraded stream (exec, port-forward) lives on alone.

use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// What waits for the end of a turn, at most; larger writes go through at once.
const LIMIT_BYTES: usize = 64 * 1024;
/// A buffer that grew beyond this is given back when it is empty.
const KEPT_BYTES: usize = 16 * 1024;

struct Inner<S> {
    stream: S,
    waiting: Vec<u8>,
    /// How much of `waiting` is written.
    written: usize,
    /// Whether flushes wait for the end of the turn.
    deferred: bool,
    /// Who waits for room while the last turn is written out.
    blocked: Option<Waker>,
}

impl<S: AsyncWrite + Unpin> Inner<S> {
    /// Writes what waits.
    fn drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.written < self.waiting.len() {
            let count = ready!(Pin::new(&mut self.stream).poll_write(cx, &self.waiting[self.written..]))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.written += count;
        }
        self.written = 0;
        self.waiting.clear();
        if self.waiting.capacity() > KEPT_BYTES {
            self.waiting = Vec::new();
        }
        Poll::Ready(Ok(()))
    }

    /// Writes what waits, and makes the stream send it.
    fn flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.drain(cx))?;
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn write(&mut self, cx: &mut Context<'_>, parts: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let total = parts.iter().map(|part| part.len()).sum::<usize>();
        if self.waiting.len() + total > LIMIT_BYTES {
            ready!(self.drain(cx))?;
            if total > LIMIT_BYTES {
                return Pin::new(&mut self.stream).poll_write_vectored(cx, parts);
            }
        }
        parts.iter().for_each(|part| self.waiting.extend_from_slice(part));
        Poll::Ready(Ok(total))
    }
}

/// A stream whose flushes wait for the end of the turn. Clones are the same stream.
pub(super) struct Coalesced<S>(Arc<Mutex<Inner<S>>>);

impl<S> Clone for Coalesced<S> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Coalesced<S> {
    pub(super) fn new(stream: S) -> Self {
        let inner = Inner { stream, waiting: Vec::new(), written: 0, deferred: true, blocked: None };
        Self(Arc::new(Mutex::new(inner)))
    }

    fn poll<T>(&self, cx: &mut Context<'_>, step: impl FnOnce(&mut Inner<S>, &mut Context<'_>) -> Poll<T>) -> Poll<T> {
        let mut inner = self.0.lock();
        let outcome = step(&mut inner, cx);
        inner.blocked = outcome.is_pending().then(|| cx.waker().clone());
        outcome
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Coalesced<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0.lock().stream).poll_read(cx, buffer)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Coalesced<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        self.poll(cx, |inner, cx| inner.write(cx, &[IoSlice::new(data)]))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll(cx, |inner, cx| inner.write(cx, parts))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll(cx, |inner, cx| if inner.deferred { Poll::Ready(Ok(())) } else { inner.flush(cx) })
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll(cx, |inner, cx| {
            ready!(inner.flush(cx))?;
            Pin::new(&mut inner.stream).poll_shutdown(cx)
        })
    }
}

/// Gives a connection its turns.
pub(super) struct Turns<S, T> {
    stream: Coalesced<S>,
    /// Whether the connection has many streams.
    multiplexed: bool,
    /// Whether the others have gone first.
    yielded: bool,
    outcome: Option<T>,
}

impl<S: AsyncRead + AsyncWrite + Unpin, T> Turns<S, T> {
    pub(super) fn new(stream: Coalesced<S>, multiplexed: bool) -> Self {
        Self { stream, multiplexed, yielded: false, outcome: None }
    }

    /// One turn of the connection; ends with it, when all is written.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, connection: Pin<&mut impl Future<Output = T>>) -> Poll<T> {
        if self.multiplexed && self.outcome.is_none() {
            self.yielded = !self.yielded;
            if self.yielded {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
        }
        if self.outcome.is_none()
            && let Poll::Ready(outcome) = connection.poll(cx)
        {
            self.outcome = Some(outcome);
        }
        let mut inner = self.stream.0.lock();
        inner.deferred = self.outcome.is_none();
        // What cannot be written is the connection's to find out: its next write or read says why.
        let written = inner.flush(cx).is_ready();
        match self.outcome.take() {
            Some(outcome) if written => {
                inner.blocked.take().into_iter().for_each(Waker::wake);
                Poll::Ready(outcome)
            }
            outcome => {
                self.outcome = outcome;
                Poll::Pending
            }
        }
    }
}

#[cfg(test)]
mod tests;
