//! A connection: one task reads, one writes, one keeps time; a panic of one ends the connection.
//!
//! The writer owns the compressor, so header blocks leave in the order they were coded. All frames go through one
//! queue, which keeps each stream's order; data takes permits of a byte budget before it may enter, so the queue is
//! bounded although control frames (a few bytes, at most a few a stream) never wait.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use component::supervisor::{detached, guarded_future};
use http::HeaderMap;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Error;
use super::frame::{Control, HEAD_BYTES, Head, reset};
use super::headers::{Deflater, Inflater};
use super::stream::{End, Slot, Stream};

/// Which side of the connection we are: clients number their streams odd, servers even.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// We dialled.
    Client,
    /// We were dialled.
    Server,
}

/// Bounds and timers of a connection.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Most streams at once, ours and the peer's. Further ones are refused.
    pub streams: usize,
    /// How far a stream's reader may fall behind before the connection is no longer read.
    pub stream_buffer_bytes: usize,
    /// How much may wait to be written, all streams together. At least 32 KiB.
    pub write_buffer_bytes: usize,
    /// How long the peer may take to accept a stream.
    pub open_timeout: Duration,
    /// Send a ping this often (upstream's API server: 5 s).
    pub ping_every: Option<Duration>,
    /// Close after this long without a frame either way.
    pub idle_timeout: Option<Duration>,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            streams: 1000,
            stream_buffer_bytes: 256 << 10,
            write_buffer_bytes: 256 << 10,
            open_timeout: Duration::from_secs(30),
            ping_every: None,
            idle_timeout: None,
        }
    }
}

pub(super) enum Out {
    Control(Control),
    Data { id: u32, fin: bool, data: Bytes, permit: Option<OwnedSemaphorePermit> },
    Close,
}

struct Streams {
    next_id: u32,
    last_received: u32,
    open: HashMap<u32, Arc<Slot>>,
    closing: bool,
}

pub(super) struct Shared {
    role: Role,
    limits: Limits,
    pub(super) budget: Arc<Semaphore>,
    out: mpsc::UnboundedSender<Out>,
    streams: Mutex<Streams>,
    active: Mutex<Instant>,
    echoes: AtomicUsize,
    /// Stops the reader.
    stop: CancellationToken,
    /// Somebody wants the connection closed: the writer has `GOODBYE` left.
    leaving: CancellationToken,
    /// The writer is done: the transport is shut down.
    closed: CancellationToken,
}

/// Pings of the peer that may wait for their echo; one that sends more without reading is not served further.
const MAX_ECHOES: usize = 1000;
/// How long a peer that reads nothing may hold up a connection that is being closed.
const GOODBYE: Duration = Duration::from_secs(10);

impl Shared {
    pub(super) fn send(&self, out: Out) {
        // A failed send means that the writer has ended; readers and writers of streams hear of it by themselves.
        let _ = self.out.send(out);
    }

    fn streams(&self) -> MutexGuard<'_, Streams> {
        self.streams.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Takes a stream out of the table; false if it was not there.
    pub(super) fn forget(&self, id: u32) -> bool {
        self.streams().open.remove(&id).is_some()
    }

    fn slot(&self, id: u32) -> Option<Arc<Slot>> {
        self.streams().open.get(&id).cloned()
    }

    fn touch(&self) {
        *self.active.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Instant::now();
    }

    fn idle_since(&self) -> Instant {
        *self.active.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Ends every stream and refuses new ones. Returns the ids of those that were open.
    fn end_all(&self, end: End) -> Vec<u32> {
        let slots: Vec<Arc<Slot>> = {
            let mut streams = self.streams();
            streams.closing = true;
            streams.open.drain().map(|(_, slot)| slot).collect()
        };
        slots.iter().for_each(|slot| {
            slot.end(end, reset::CANCEL);
        });
        slots.iter().map(|slot| slot.id).collect()
    }

    fn close(&self) {
        let mut ids = self.end_all(End::Reset);
        ids.sort_unstable();
        for id in ids {
            self.send(Out::Control(Control::RstStream { id, status: reset::CANCEL }));
        }
        self.send(Out::Close);
        self.leaving.cancel();
    }
}

/// A SPDY connection. Dropping it resets its streams and closes it.
pub struct Connection {
    shared: Arc<Shared>,
    incoming: tokio::sync::Mutex<mpsc::Receiver<Incoming>>,
}

impl Connection {
    /// Speaks SPDY over `io`, which has been upgraded already.
    pub fn new<S>(io: S, role: Role, limits: Limits) -> Connection
    where
        S: AsyncRead + AsyncWrite + Send + 'static,
    {
        let (out, queue) = mpsc::unbounded_channel();
        let (offer, incoming) = mpsc::channel(limits.streams.max(1));
        let shared = Arc::new(Shared {
            role,
            budget: Arc::new(Semaphore::new(limits.write_buffer_bytes.max(32 << 10))),
            out,
            streams: Mutex::new(Streams {
                next_id: if role == Role::Client { 1 } else { 2 },
                last_received: 0,
                open: HashMap::new(),
                closing: false,
            }),
            active: Mutex::new(Instant::now()),
            echoes: AtomicUsize::new(0),
            stop: CancellationToken::new(),
            leaving: CancellationToken::new(),
            closed: CancellationToken::new(),
            limits,
        });
        let (read, write) = tokio::io::split(io);
        detached("spdy-read", read_task(read, shared.clone(), offer));
        detached("spdy-write", write_task(write, shared.clone(), queue));
        if shared.limits.ping_every.is_some() || shared.limits.idle_timeout.is_some() {
            detached("spdy-time", time_task(shared.clone()));
        }
        Connection { shared, incoming: tokio::sync::Mutex::new(incoming) }
    }

    /// Opens a stream and waits until the peer has accepted it.
    ///
    /// # Errors
    /// The peer refuses or does not answer, the connection is closed, too many streams are open.
    pub async fn open(&self, headers: HeaderMap) -> Result<Stream, Error> {
        let (reply, accepted) = oneshot::channel();
        let slot = {
            let mut streams = self.shared.streams();
            if streams.closing {
                return Err(Error::Closed);
            }
            if streams.open.len() >= self.shared.limits.streams || streams.next_id > 0x7fff_fffd {
                return Err(Error::TooManyStreams);
            }
            let slot = Slot::new(streams.next_id, Some(reply));
            streams.next_id += 2;
            streams.open.insert(slot.id, slot.clone());
            // Sent under the lock: numbers must rise on the wire.
            self.shared.send(Out::Control(Control::SynStream {
                id: slot.id,
                associated: 0,
                priority: 0,
                fin: false,
                unidirectional: false,
                headers: headers.clone(),
            }));
            slot
        };
        let stream = Stream::new(headers, slot, self.shared.clone());
        match tokio::time::timeout(self.shared.limits.open_timeout, accepted).await {
            Ok(Ok(Ok(()))) => Ok(stream),
            Ok(Ok(Err(error))) => Err(error),
            Ok(Err(_)) => Err(Error::Closed),
            Err(_) => {
                stream.reset();
                Err(Error::Timeout)
            }
        }
    }

    /// The next stream that the peer opens; `None` once the connection is over.
    pub async fn accept(&self) -> Option<Incoming> {
        self.incoming.lock().await.recv().await
    }

    /// Resets what is open, says goodbye and waits until the transport is shut down.
    pub async fn close(&self) {
        self.shared.close();
        self.closed().await;
    }

    /// Waits until the connection is over, by whoever's doing.
    pub async fn closed(&self) {
        self.shared.closed.cancelled().await;
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.shared.close();
    }
}

/// A stream that the peer wants to open. Dropping it refuses it.
pub struct Incoming(Option<Stream>, Arc<Shared>);

impl Incoming {
    /// What the stream is for.
    pub fn headers(&self) -> &HeaderMap {
        &self.0.as_ref().expect("present until accepted").headers
    }

    /// Takes it.
    pub fn accept(mut self) -> Stream {
        let stream = self.0.take().expect("present until accepted");
        self.1.send(Out::Control(Control::SynReply { id: stream.id(), fin: false, headers: HeaderMap::new() }));
        stream
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        if let Some(stream) = &self.0 {
            stream.reset();
        }
    }
}

async fn read_task<R: AsyncRead + Unpin>(io: R, shared: Arc<Shared>, offer: mpsc::Sender<Incoming>) {
    let io = BufReader::with_capacity(16 << 10, io);
    let mut reader = Reader { io, inflater: Inflater::default(), shared: shared.clone(), offer };
    let reading = async {
        tokio::select! {
            () = shared.stop.cancelled() => End::Lost,
            end = reader.run() => match end {
                Ok(()) => End::Finished,
                Err(error) => {
                    tracing::debug!(%error, "SPDY connection ended");
                    End::Lost
                }
            },
        }
    };
    let end = guarded_future("spdy-read", reading).await.unwrap_or(End::Lost);
    shared.end_all(end);
    shared.send(Out::Close);
    shared.leaving.cancel();
}

struct Reader<R> {
    io: BufReader<R>,
    inflater: Inflater,
    shared: Arc<Shared>,
    offer: mpsc::Sender<Incoming>,
}

impl<R: AsyncRead + Unpin> Reader<R> {
    /// Reads frames until the peer says goodbye (`Ok`) or the transport ends.
    async fn run(&mut self) -> Result<(), Error> {
        let mut payload = Vec::new();
        loop {
            let mut head = [0; HEAD_BYTES];
            self.io.read_exact(&mut head).await?;
            self.shared.touch();
            match Head::parse(&head)? {
                Head::Data { id, fin, len } => self.data(id, fin, len).await?,
                Head::Control { kind, flags, len } => {
                    payload.resize(len, 0);
                    self.io.read_exact(&mut payload).await?;
                    match Control::decode(kind, flags, &payload, &mut self.inflater)? {
                        Some(Control::GoAway { .. }) => return Ok(()),
                        Some(frame) => self.control(frame)?,
                        None => {}
                    }
                }
            }
        }
    }

    async fn data(&mut self, id: u32, fin: bool, mut len: usize) -> Result<(), Error> {
        let slot = self.shared.slot(id);
        while len > 0 {
            let mut chunk = BytesMut::with_capacity(len.min(16 << 10));
            if (&mut self.io).take(len.min(16 << 10) as u64).read_buf(&mut chunk).await? == 0 {
                return Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof).into());
            }
            len -= chunk.len();
            if let Some(slot) = &slot {
                slot.deliver(chunk.freeze(), self.shared.limits.stream_buffer_bytes).await;
            }
        }
        if let (true, Some(slot)) = (fin, slot) {
            self.finish(&slot);
        }
        Ok(())
    }

    fn finish(&self, slot: &Slot) {
        if slot.end(End::Finished, 0) {
            self.shared.forget(slot.id);
        }
    }

    fn control(&self, frame: Control) -> Result<(), Error> {
        match frame {
            Control::SynStream { id, fin, headers, .. } => self.opened(id, fin, headers),
            Control::SynReply { id, fin, .. } => {
                if let Some(slot) = self.shared.slot(id) {
                    slot.replied();
                    if fin {
                        self.finish(&slot);
                    }
                }
            }
            Control::Headers { id, fin: true, .. } => {
                if let Some(slot) = self.shared.slot(id) {
                    self.finish(&slot);
                }
            }
            Control::RstStream { id, status } => {
                if let Some(slot) = self.shared.slot(id) {
                    self.shared.forget(id);
                    slot.end(End::Reset, status);
                }
            }
            Control::Ping(id) => {
                let ours = (id % 2 == 1) == (self.shared.role == Role::Client);
                if !ours {
                    if self.shared.echoes.fetch_add(1, Ordering::Relaxed) >= MAX_ECHOES {
                        return Err(Error::Protocol("too many pings"));
                    }
                    self.shared.send(Out::Control(Control::Ping(id)));
                }
            }
            Control::Headers { .. } | Control::Settings(_) | Control::WindowUpdate { .. } | Control::GoAway { .. } => {}
        }
        Ok(())
    }

    fn opened(&self, id: u32, fin: bool, headers: HeaderMap) {
        let refuse = |status| self.shared.send(Out::Control(Control::RstStream { id, status }));
        let slot = Slot::new(id, None);
        {
            let mut streams = self.shared.streams();
            let theirs = (id % 2 == 1) == (self.shared.role == Role::Server);
            if !theirs || id <= streams.last_received {
                return refuse(reset::PROTOCOL_ERROR);
            }
            streams.last_received = id;
            if streams.closing || streams.open.len() >= self.shared.limits.streams {
                return refuse(reset::REFUSED_STREAM);
            }
            streams.open.insert(id, slot.clone());
        }
        if fin {
            slot.end(End::Finished, 0);
        }
        // Dropped if nobody accepts streams, or too many wait: that refuses it.
        let stream = Stream::new(headers, slot, self.shared.clone());
        drop(self.offer.try_send(Incoming(Some(stream), self.shared.clone())));
    }
}

async fn write_task<W: AsyncWrite + Unpin>(mut io: W, shared: Arc<Shared>, queue: mpsc::UnboundedReceiver<Out>) {
    // Its panic was counted, and is an end like any other.
    let _ = guarded_future("spdy-write", write(&mut io, &shared, queue)).await;
    let _closed = shared.closed.clone().drop_guard();
    shared.budget.close();
    shared.stop.cancel();
    let _ = tokio::time::timeout(Duration::from_secs(1), io.shutdown()).await;
}

/// Writes what is queued until the connection is closed, or its transport fails.
async fn write<W: AsyncWrite + Unpin>(io: &mut W, shared: &Shared, mut queue: mpsc::UnboundedReceiver<Out>) {
    let (mut deflater, mut buffer) = (Deflater::default(), Vec::with_capacity(4096));
    while let Some(mut out) = queue.recv().await {
        let mut permits = Vec::new();
        let mut close = false;
        loop {
            match out {
                Out::Control(frame) => {
                    if matches!(frame, Control::Ping(_)) {
                        let _ = shared.echoes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1));
                    }
                    frame.encode(&mut deflater, &mut buffer);
                }
                Out::Data { id, fin, data, permit } => {
                    Head::put_data(id, fin, data.len(), &mut buffer);
                    buffer.extend_from_slice(&data);
                    permits.extend(permit);
                }
                Out::Close => {
                    let last = shared.streams().last_received;
                    Control::GoAway { last, status: 0 }.encode(&mut deflater, &mut buffer);
                    close = true;
                }
            }
            if close || buffer.len() >= 64 << 10 {
                break;
            }
            match queue.try_recv() {
                Ok(more) => out = more,
                Err(_) => break,
            }
        }
        shared.touch();
        let written = tokio::select! {
            written = async {
                io.write_all(&buffer).await?;
                io.flush().await
            } => written,
            () = async {
                shared.leaving.cancelled().await;
                tokio::time::sleep(GOODBYE).await;
            } => return,
        };
        buffer.clear();
        if close || written.is_err() {
            return;
        }
    }
}

async fn time_task(shared: Arc<Shared>) {
    if guarded_future("spdy-time", keep_time(&shared)).await.is_err() {
        shared.close();
    }
}

async fn keep_time(shared: &Shared) {
    let mut ping = if shared.role == Role::Client { 1 } else { 2 };
    let mut next_ping = shared.limits.ping_every.map(|every| Instant::now() + every);
    loop {
        let idle_end = shared.limits.idle_timeout.map(|idle| shared.idle_since() + idle);
        let Some(next) = next_ping.into_iter().chain(idle_end).min() else { return };
        tokio::select! {
            () = shared.closed.cancelled() => return,
            () = tokio::time::sleep_until(next) => {}
        }
        let now = Instant::now();
        if shared.limits.idle_timeout.is_some_and(|idle| now >= shared.idle_since() + idle) {
            return shared.close();
        }
        if let (Some(at), Some(every)) = (next_ping, shared.limits.ping_every)
            && now >= at
        {
            shared.send(Out::Control(Control::Ping(ping)));
            ping = if ping > 0x7fff_fff0 { ping % 2 + 2 } else { ping + 2 };
            next_ping = Some(now + every);
        }
    }
}
