//! The connections under a client.
//!
//! A component holds dozens of watches open for ever, and a server allows 100 streams a connection: with one shared
//! HTTP/2 connection the hundred-and-first request waits for ever. So requests are spread over several connections, a
//! new one being opened when the others are nearly full. Upgrades (exec, attach, port-forward) can't be carried by
//! HTTP/2 streams here and go over HTTP/1.1 connections of their own.

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

/// Below the 100 streams that servers grant, so that a burst between choosing and sending still fits.
const STREAMS_PER_CONNECTION: usize = 80;
/// Windows are opened wide: a list or a busy watch must not wait for window updates.
const STREAM_WINDOW_BYTES: u32 = 4 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 16 << 20;

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

/// A tower service that sends each request over a connection with room for it.
pub(crate) struct Transport<C> {
    connector: C,
    protocol: Protocol,
    upgrades: Client<C, Body>,
    slots: Arc<Mutex<Vec<Slot<C>>>>,
}

impl<C: Clone> Clone for Transport<C> {
    fn clone(&self) -> Self {
        let Self { connector, protocol, upgrades, slots } = self;
        Self { connector: connector.clone(), protocol: *protocol, upgrades: upgrades.clone(), slots: slots.clone() }
    }
}

impl<C: Connect + Clone + Send + Sync + 'static> Transport<C> {
    /// `connector` for ordinary requests, `upgrading` (HTTP/1.1 only) for requests that ask for an upgrade.
    pub(crate) fn new(connector: C, upgrading: C, protocol: Protocol) -> Self {
        let upgrades = build(upgrading, Protocol::Http1);
        Self { connector, protocol, upgrades, slots: Arc::default() }
    }

    fn pick(&self) -> (Client<C, Body>, Guard) {
        let mut slots = self.slots.lock();
        let mut first = true;
        slots.retain(|s| std::mem::take(&mut first) || s.in_flight.load(Ordering::Relaxed) > 0);
        let limit = if self.protocol == Protocol::Http1 { usize::MAX } else { STREAMS_PER_CONNECTION };
        let at = slots.iter().position(|s| s.in_flight.load(Ordering::Relaxed) < limit).unwrap_or_else(|| {
            let client = build(self.connector.clone(), self.protocol);
            slots.push(Slot { client, in_flight: Arc::default() });
            slots.len() - 1
        });
        let slot = &slots[at];
        (slot.client.clone(), Guard::new(slot.in_flight.clone()))
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
            b.http2_keep_alive_interval(Duration::from_secs(30)).http2_keep_alive_timeout(Duration::from_secs(15));
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
        let (client, guard) = match request.headers().contains_key(header::UPGRADE) {
            true => (self.upgrades.clone(), Guard::new(Arc::default())),
            false => self.pick(),
        };
        Box::pin(async move {
            let response = client.request(request).await?;
            Ok(response.map(|body| Counted { body, _guard: guard }))
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

/// A response body that keeps its stream counted.
pub(crate) struct Counted {
    body: Incoming,
    _guard: Guard,
}

impl HttpBody for Counted {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
