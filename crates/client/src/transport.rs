//! The connections under a client.
//!
//! A component holds dozens of watches open for ever, and a server allows 100 streams a connection: with one shared
//! HTTP/2 connection the hundred-and-first request waits for ever. So requests are spread over several connections, a
//! new one being opened when the others are nearly full. Upgrades (exec, attach, port-forward) can't be carried by
//! HTTP/2 streams here and go over HTTP/1.1 connections of their own.
//!
//! A connection belongs to the certificate that it was made with. When that is replaced, requests go over new connections
//! from then on; those under way end where they are, and the old connections with them. A watch would not end: it is ended
//! here, between two events, as a server ends it when its time is over, and who watches goes on where it was. So nothing fails
//! because a certificate is renewed, and nothing depends for long on one that is about to expire.

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use component::supervisor;
use http::{Request, Response, header};
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};
use hyper_util::{
    client::legacy::{Client, Error, connect::Connect},
    rt::TokioTimer,
};
use kube::client::Body;
use parking_lot::Mutex;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

/// Below the 100 streams that servers grant, so that a burst between choosing and sending still fits.
const STREAMS_PER_CONNECTION: usize = 80;
/// Windows are opened wide: a list or a busy watch must not wait for window updates.
const STREAM_WINDOW_BYTES: u32 = 4 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 16 << 20;
/// After so long without a word the peer is asked whether it is there, and has as long to answer. Twice this is within the
/// time that a node may be silent: one whose server is gone without a word has another by then.
const KEEP_ALIVE: Duration = Duration::from_secs(10);

/// What a connection may speak.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Protocol {
    /// HTTP/2, agreed on by TLS or known beforehand; `keep_alive` detects peers that vanished.
    Http2 { keep_alive: bool },
    /// Plain HTTP/1.1.
    Http1,
}

struct Slot<C> {
    client: Client<C, Body>,
    in_flight: Arc<AtomicUsize>,
}

/// Which certificates connections are made with; another value when they are others.
pub(crate) type Version = (u64, u64);

/// What connections are made with.
pub(crate) struct Connectors<C> {
    pub(crate) version: Version,
    /// For ordinary requests.
    pub(crate) ordinary: C,
    /// For requests that ask for an upgrade: HTTP/1.1 only.
    pub(crate) upgrading: C,
}

/// Yields the connectors in force, unless they are those of the version that one has.
pub(crate) type Source<C> = Arc<dyn Fn(Option<Version>) -> Option<Connectors<C>> + Send + Sync>;

/// The connections of one version.
struct Generation<C> {
    version: Version,
    connector: C,
    upgrades: Client<C, Body>,
    slots: Vec<Slot<C>>,
    /// Ends its watches.
    retired: CancellationToken,
}

impl<C: Connect + Clone> Generation<C> {
    fn new(connectors: Connectors<C>) -> Self {
        let Connectors { version, ordinary, upgrading } = connectors;
        let upgrades = build(upgrading, Protocol::Http1);
        Self { version, connector: ordinary, upgrades, slots: Vec::new(), retired: CancellationToken::new() }
    }
}

/// A tower service that sends each request over a connection with room for it.
pub(crate) struct Transport<C> {
    source: Source<C>,
    protocol: Protocol,
    generation: Arc<Mutex<Option<Generation<C>>>>,
}

impl<C> Clone for Transport<C> {
    fn clone(&self) -> Self {
        let Self { source, protocol, generation } = self;
        Self { source: source.clone(), protocol: *protocol, generation: generation.clone() }
    }
}

/// A connection for one request, and what its answer keeps.
struct Picked<C> {
    client: Client<C, Body>,
    guard: Guard,
    retired: CancellationToken,
}

impl<C: Connect + Clone + Send + Sync + 'static> Transport<C> {
    pub(crate) fn new(source: Source<C>, protocol: Protocol) -> Self {
        Self { source, protocol, generation: Arc::default() }
    }

    fn pick(&self, upgrade: bool) -> Picked<C> {
        let mut held = self.generation.lock();
        if let Some(connectors) = (self.source)(held.as_ref().map(|generation| generation.version))
            && let Some(old) = held.replace(Generation::new(connectors))
        {
            old.retired.cancel();
        }
        let generation = held.as_mut().expect("the source yields connectors to who has none");
        let retired = generation.retired.clone();
        if upgrade {
            return Picked { client: generation.upgrades.clone(), guard: Guard::new(Arc::default()), retired };
        }
        let slots = &mut generation.slots;
        let mut first = true;
        slots.retain(|s| std::mem::take(&mut first) || s.in_flight.load(Ordering::Relaxed) > 0);
        let limit = if self.protocol == Protocol::Http1 { usize::MAX } else { STREAMS_PER_CONNECTION };
        let at = slots.iter().position(|s| s.in_flight.load(Ordering::Relaxed) < limit).unwrap_or_else(|| {
            let client = build(generation.connector.clone(), self.protocol);
            slots.push(Slot { client, in_flight: Arc::default() });
            slots.len() - 1
        });
        let slot = &slots[at];
        Picked { client: slot.client.clone(), guard: Guard::new(slot.in_flight.clone()), retired }
    }
}

fn build<C: Connect + Clone>(connector: C, protocol: Protocol) -> Client<C, Body> {
    let mut b = Client::builder(supervisor::executor("http_client"));
    b.pool_timer(TokioTimer::new()).timer(TokioTimer::new()).pool_idle_timeout(Duration::from_secs(90));
    if let Protocol::Http2 { keep_alive } = protocol {
        b.http2_only(true)
            .http2_initial_stream_window_size(STREAM_WINDOW_BYTES)
            .http2_initial_connection_window_size(CONNECTION_WINDOW_BYTES);
        if keep_alive {
            b.http2_keep_alive_interval(KEEP_ALIVE).http2_keep_alive_timeout(KEEP_ALIVE);
        }
    }
    b.build(connector)
}

impl<C: Connect + Clone + Send + Sync + 'static> tower::Service<Request<Body>> for Transport<C> {
    type Response = Response<Counted>;
    type Error = Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let Picked { client, guard, retired } = self.pick(request.headers().contains_key(header::UPGRADE));
        let watch = request.uri().query().is_some_and(|q| q.split('&').any(|p| p == "watch=true" || p == "watch=1"));
        let until = watch.then(|| Box::pin(retired.cancelled_owned()));
        Box::pin(async move {
            let response = client.request(request).await?;
            Ok(response.map(|body| Counted { body, between: true, until, _guard: guard }))
        })
    }
}

/// Counts a request as in flight until its response body is dropped.
struct Guard(Arc<AtomicUsize>);

impl Guard {
    fn new(counter: Arc<AtomicUsize>) -> Self {
        counter.fetch_add(1, Ordering::Relaxed);
        Self(counter)
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A response body that keeps its stream counted, and ends if it is a watch's when its connection is to.
pub(crate) struct Counted {
    body: Incoming,
    /// Whether what was read ends with an event.
    between: bool,
    until: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
    _guard: Guard,
}

impl HttpBody for Counted {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let this = &mut *self;
        let mut over = || this.until.as_mut().is_some_and(|until| until.as_mut().poll(cx).is_ready());
        if over() && this.between {
            return Poll::Ready(None);
        }
        let polled = Pin::new(&mut this.body).poll_frame(cx);
        if let Poll::Ready(Some(Ok(frame))) = &polled
            && let Some(last) = frame.data_ref().and_then(|data| data.last())
        {
            this.between = *last == b'\n';
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
