//! The accept loop: TLS with optional client certificates, HTTP/1.1 and HTTP/2, upgrades; and the in-process listener,
//! whose connections carry the identity it was given. Limits as upstream's: 100 streams a connection, upload windows of
//! 256 KiB a stream and 25 MiB a connection, a cap on every stream's send buffer so that a slow watcher costs little, 1 MiB
//! of headers, the end of a connection that asks nothing (`idle.rs`). A client that opens streams only to reset them is
//! told so and cut off (the library's own limits; `tests/tests/limits`).
//! What a connection writes in one turn leaves in one piece (`coalesced.rs`).

use std::future::{Future, poll_fn};
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use access::authn::Peer;
use bytes::Bytes;
use coalesced::{Coalesced, Turns};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use idle::{Idle, Step};
use model::user::UserInfo;
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::{Server, chain};

mod coalesced;
mod idle;

/// How long a TLS handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Connections at once; more wait in the kernel's queue.
const CONNECTIONS: usize = 20_000;
/// Bytes of a request's headers, as upstream's.
const HEADERS_BYTES: u32 = 1024 * 1024;
/// Headers of an HTTP/1.1 request: impersonation has one for each group and fact.
const HEADERS: usize = 1024;
/// Bytes of an in-process connection under way each way.
const DUPLEX_BYTES: usize = 256 * 1024;
/// How long open requests may go on when the server stops.
const DRAIN: Duration = Duration::from_secs(60);

/// The TLS configuration in force; made anew when the files change that it is made of.
pub type Tls = Arc<component::tls::Followed<rustls::ServerConfig>>;

/// Serves TLS connections until cancelled, then drains.
pub async fn serve(server: Arc<Server>, listener: TcpListener, tls: Tls, cancel: CancellationToken) {
    let connections = TaskTracker::new();
    let places = Arc::new(tokio::sync::Semaphore::new(CONNECTIONS));
    loop {
        let Ok(place) = places.clone().acquire_owned().await else { return };
        let accepted = tokio::select! {
            () = cancel.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        let (stream, address) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of file descriptors, most likely: those that close make room.
                tracing::warn!(%error, "accept failed");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let _ = stream.set_nodelay(true);
        let (server, cancel) = (server.clone(), cancel.clone());
        let acceptor = TlsAcceptor::from(tls.current());
        let entry = connections.token();
        component::supervisor::detached("connection", async move {
            let _entry = entry;
            let _place = place;
            let stream = match tokio::time::timeout(HANDSHAKE, acceptor.accept(stream)).await {
                Ok(Ok(stream)) => stream,
                Ok(Err(error)) => return tracing::debug!(%address, %error, "TLS handshake failed"),
                Err(_) => return tracing::debug!(%address, "TLS handshake took too long"),
            };
            let certificates = stream.get_ref().1.peer_certificates().unwrap_or_default();
            let certificates = certificates.iter().map(|c| Bytes::copy_from_slice(c)).collect();
            let peer = Peer { certificates, identity: None, address: Some(address) };
            let multiplexed = stream.get_ref().1.alpn_protocol() == Some(b"h2");
            connection(server, peer, stream, multiplexed, Idle::after(idle::LIMIT), cancel).await;
        });
    }
    connections.close();
    if tokio::time::timeout(DRAIN, connections.wait()).await.is_err() {
        tracing::warn!(open = connections.len(), "connections cut off at the end of the drain");
    }
}

/// A listener inside the process: each stream it hands out is a connection of that identity.
#[derive(Clone)]
pub struct InProcess {
    server: Arc<Server>,
    identity: Arc<UserInfo>,
    cancel: CancellationToken,
}

impl InProcess {
    /// A listener for one component.
    pub fn new(server: Arc<Server>, identity: UserInfo, cancel: CancellationToken) -> Self {
        Self { server, identity: Arc::new(identity), cancel }
    }

    /// A new connection: the client's end.
    pub async fn connect(&self) -> io::Result<DuplexStream> {
        let (client, served) = tokio::io::duplex(DUPLEX_BYTES);
        let peer = Peer { identity: Some(self.identity.clone()), ..Peer::default() };
        let served = connection(self.server.clone(), peer, served, true, Idle::never(), self.cancel.clone());
        component::supervisor::detached("connection in the process", served);
        Ok(client)
    }
}

/// Serves one connection; `multiplexed` is HTTP/2, which TLS agreed on.
async fn connection<S>(
    server: Arc<Server>,
    peer: Peer,
    stream: S,
    multiplexed: bool,
    mut idle: Idle,
    cancel: CancellationToken,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let peer = Arc::new(peer);
    let activity = idle.activity();
    // This connection ends with the listener, or by itself (GOAWAY).
    let cancel = cancel.child_token();
    let close = cancel.clone();
    let in_process = peer.identity.is_some();
    let service = service_fn(move |request| {
        let (server, peer, busy) = (server.clone(), peer.clone(), activity.busy());
        let (close, goes) = (close.clone(), multiplexed && !in_process && server.leaving.goaway());
        let last = !multiplexed && server.draining();
        // Boxed, to be gone when there is an answer: the task that sends it lives as long as a watch does.
        Box::pin(async move {
            let mut response = chain::serve(server, peer, request).await;
            if goes {
                // As upstream's: the answer is sent, and what else is under way.
                close.cancel();
            }
            if last && response.status() != http::StatusCode::SWITCHING_PROTOCOLS {
                // The next request would meet the end of the connection; a client can't always know whether it was seen.
                response.headers_mut().insert(http::header::CONNECTION, http::HeaderValue::from_static("close"));
            }
            Ok::<_, std::convert::Infallible>(busy.until_sent(response))
        })
    });
    let mut builder = auto::Builder::new(component::supervisor::executor("request"));
    builder
        .http1()
        .timer(TokioTimer::new())
        // The time between two requests counts in it: no less than a connection may be idle.
        .header_read_timeout(idle::LIMIT)
        .max_buf_size(HEADERS_BYTES as usize)
        .max_headers(HEADERS)
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(100)
        .initial_stream_window_size(256 * 1024)
        .initial_connection_window_size(25 * 1024 * 1024)
        .max_send_buf_size(128 * 1024)
        .max_header_list_size(HEADERS_BYTES)
        .keep_alive_interval(Duration::from_secs(30))
        .keep_alive_timeout(Duration::from_secs(20));
    // Finding out by the first bytes would wait for them without end.
    let builder = if multiplexed { builder.http2_only() } else { builder.http1_only() };
    let stream = Coalesced::new(stream);
    let served = builder.serve_connection_with_upgrades(TokioIo::new(stream.clone()), service);
    let (mut served, mut cancelled) = (pin!(served), pin!(cancel.cancelled()));
    let (mut turns, mut stopping) = (Turns::new(stream, multiplexed), false);
    let outcome = poll_fn(|cx| {
        if !stopping && cancelled.as_mut().poll(cx).is_ready() {
            stopping = true;
            served.as_mut().graceful_shutdown();
        }
        match idle.poll(cx) {
            Poll::Ready(Step::Close) => served.as_mut().graceful_shutdown(),
            Poll::Ready(Step::Cut) => return Poll::Ready(Ok(())),
            Poll::Pending => {}
        }
        turns.poll(cx, served.as_mut())
    });
    if let Err(error) = outcome.await {
        tracing::debug!(%error, "connection ended");
    }
}
