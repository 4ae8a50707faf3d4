//! A component's own server: health, metrics, and whatever routes it adds, over HTTPS or HTTP.
//!
//! Health paths are open; everything else asks the component's authorizer, and without one is closed to all but
//! explicitly opened paths. Connections, handshakes and header reads are bounded.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use axum::{
    Router,
    extract::Request,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::conn::auto::Builder,
};
use rustls::{ServerConfig, pki_types::CertificateDer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpListener,
    sync::Semaphore,
    time::timeout,
};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use crate::{
    metrics,
    supervisor::{self, Supervisor},
};

const CONNECTIONS: usize = 1000;
const HANDSHAKE: Duration = Duration::from_secs(10);
const HEADERS: Duration = Duration::from_secs(30);
const DRAIN: Duration = Duration::from_secs(5);

/// The certificates that the peer presented, verified; in the extensions of each request.
#[derive(Clone, Debug, Default)]
pub struct PeerCertificates(pub Arc<Vec<CertificateDer<'static>>>);

/// The peer's address; in the extensions of each request.
#[derive(Clone, Copy, Debug)]
pub struct PeerAddress(pub SocketAddr);

type Check = Arc<dyn Fn() -> Result<(), String> + Send + Sync>;

/// Named health checks, told apart as upstream's `/readyz?verbose` does.
#[derive(Clone, Default)]
pub struct Checks(Vec<(&'static str, Check)>);

impl Checks {
    /// None: always healthy.
    pub fn new() -> Self {
        Self::default()
    }

    /// One more; an error says why not.
    #[must_use]
    pub fn with(mut self, name: &'static str, check: impl Fn() -> Result<(), String> + Send + Sync + 'static) -> Self {
        self.0.push((name, Arc::new(check)));
        self
    }

    fn answer(&self, path: &str, query: Option<&str>) -> Response {
        let verbose = query.is_some_and(|q| q.split('&').any(|p| p == "verbose" || p.starts_with("verbose=")));
        let always: [(&str, Check); 2] = [("ping", Arc::new(|| Ok(()))), ("tasks", Arc::new(tasks))];
        let results: Vec<_> = always.iter().chain(&self.0).map(|(name, check)| (*name, check())).collect();
        let failed = results.iter().any(|(_, r)| r.is_err());
        let lines: String = results
            .iter()
            .map(|(name, r)| match r {
                Ok(()) => format!("[+]{name} ok\n"),
                // The names of tasks are no secret.
                Err(why) if *name == "tasks" => format!("[-]{name} failed: {why}\n"),
                Err(_) => format!("[-]{name} failed: reason withheld\n"),
            })
            .collect();
        for (name, why) in results.iter().filter_map(|(n, r)| r.as_ref().err().map(|e| (n, e))) {
            tracing::info!(check = name, why, "{path} check failed");
        }
        match (failed, verbose) {
            (true, _) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{lines}{path} check failed\n")).into_response(),
            (false, true) => format!("{lines}{path} check passed\n").into_response(),
            (false, false) => "ok".into_response(),
        }
    }
}

/// That no task panics again and again.
fn tasks() -> Result<(), String> {
    let troubled = supervisor::troubled();
    if troubled.is_empty() { Ok(()) } else { Err(format!("panic again and again: {}", troubled.join(", "))) }
}

/// What to serve. Build it, then [`Server::serve`].
pub struct Server {
    open: Router,
    guarded: Router,
    tls: Option<Arc<ServerConfig>>,
}

impl Default for Server {
    fn default() -> Self {
        Self::new(Checks::new(), Checks::new())
    }
}

impl Server {
    /// `/healthz` and `/livez` answer `live`, `/readyz` answers `ready`.
    pub fn new(live: Checks, ready: Checks) -> Self {
        let route = |checks: Checks, path: &'static str| {
            get(move |request: Request| {
                let answer = checks.answer(path, request.uri().query());
                async move { answer }
            })
        };
        let open = Router::new()
            .route("/healthz", route(live.clone(), "healthz"))
            .route("/livez", route(live, "livez"))
            .route("/readyz", route(ready, "readyz"));
        Self { open, guarded: Router::new(), tls: None }
    }

    /// Serves HTTPS; see [`crate::tls::server_config`].
    #[must_use]
    pub fn tls(mut self, config: Arc<ServerConfig>) -> Self {
        self.tls = Some(config);
        self
    }

    /// Serves what `write` writes and the counters of the process's tasks at `/metrics`, guarded.
    #[must_use]
    pub fn metrics(self, write: impl Fn(&mut metrics::Text) + Clone + Send + Sync + 'static) -> Self {
        let handler = get(async move || {
            let mut text = metrics::Text::default();
            write(&mut text);
            ([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], text.finish() + &supervisor::metrics())
        });
        self.guarded(Router::new().route("/metrics", handler))
    }

    /// Adds routes that anybody may ask.
    #[must_use]
    pub fn open(mut self, routes: Router) -> Self {
        self.open = self.open.merge(routes);
        self
    }

    /// Adds routes that only those may ask whom the layer around all guarded routes lets through.
    #[must_use]
    pub fn guarded(mut self, routes: Router) -> Self {
        self.guarded = self.guarded.merge(routes);
        self
    }

    /// Asks `allow` before each guarded route: an answer instead of nothing refuses. Call it after all routes are in.
    /// Without it, guarded routes are not served at all.
    pub fn authorized<F, Fut>(self, allow: F) -> Authorized
    where
        F: Fn(http::request::Parts) -> Fut + Clone + Send + Sync + 'static,
        Fut: Future<Output = Option<Response>> + Send,
    {
        let guard = axum::middleware::from_fn(move |request: Request, next: axum::middleware::Next| {
            let allow = allow.clone();
            async move {
                let (parts, body) = request.into_parts();
                match allow(parts.clone()).await {
                    Some(refusal) => refusal,
                    None => next.run(Request::from_parts(parts, body)).await,
                }
            }
        });
        // Around the routes, not around "no such path".
        let guarded = if self.guarded.has_routes() { self.guarded.route_layer(guard) } else { self.guarded };
        Authorized { router: self.open.merge(guarded), tls: self.tls }
    }

    /// Serves the open routes until `own` is stopped, then drains.
    ///
    /// # Errors
    /// Accepting fails for good.
    pub async fn serve(self, listener: TcpListener, own: Supervisor) -> io::Result<()> {
        Authorized { router: self.open, tls: self.tls }.serve(listener, own).await
    }
}

/// A server whose guarded routes have their guard.
pub struct Authorized {
    router: Router,
    tls: Option<Arc<ServerConfig>>,
}

impl Authorized {
    /// Serves until `own` is stopped, then drains.
    ///
    /// # Errors
    /// Accepting fails for good.
    pub async fn serve(self, listener: TcpListener, own: Supervisor) -> io::Result<()> {
        let acceptor = self.tls.map(TlsAcceptor::from);
        let room = Arc::new(Semaphore::new(CONNECTIONS));
        let connections = own.child_within("connections", DRAIN);
        // Connections are told first, and while they end no more are taken.
        let told = connections.token();
        loop {
            let accepted = tokio::select! {
                () = told.cancelled() => break,
                accepted = accept(&listener, &room) => accepted,
            };
            let Some((stream, peer, permit)) = accepted else {
                // Out of descriptors or the like: others will close.
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            };
            let (router, acceptor, told) = (self.router.clone(), acceptor.clone(), told.clone());
            connections.one_shot("connection", async move {
                let _permit = permit;
                let _ = stream.set_nodelay(true);
                match acceptor {
                    None => connection(stream, router, peer, PeerCertificates::default(), told).await,
                    Some(acceptor) => match timeout(HANDSHAKE, acceptor.accept(stream)).await {
                        Ok(Ok(stream)) => {
                            let chain = stream.get_ref().1.peer_certificates();
                            let certs = chain.map(|c| c.iter().map(|c| c.clone().into_owned()).collect());
                            let certs = PeerCertificates(Arc::new(certs.unwrap_or_default()));
                            connection(stream, router, peer, certs, told).await;
                        }
                        Ok(Err(error)) => tracing::debug!(%peer, %error, "TLS handshake error"),
                        Err(_) => tracing::debug!(%peer, "TLS handshake timeout"),
                    },
                }
            });
        }
        drop(listener);
        connections.shutdown().await;
        Ok(())
    }
}

/// Serves `routes` alone, over HTTP, until `own` is stopped, then drains.
///
/// # Errors
/// Accepting fails for good.
pub async fn serve(routes: Router, listener: TcpListener, own: Supervisor) -> io::Result<()> {
    Authorized { router: routes, tls: None }.serve(listener, own).await
}

type Accepted = (tokio::net::TcpStream, SocketAddr, tokio::sync::OwnedSemaphorePermit);

async fn accept(listener: &TcpListener, room: &Arc<Semaphore>) -> Option<Accepted> {
    let permit = room.clone().acquire_owned().await.ok()?;
    let (stream, peer) = listener.accept().await.ok()?;
    Some((stream, peer, permit))
}

async fn connection<S>(stream: S, router: Router, peer: SocketAddr, certs: PeerCertificates, cancel: CancellationToken)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = hyper::service::service_fn(move |mut request: hyper::Request<hyper::body::Incoming>| {
        request.extensions_mut().insert(certs.clone());
        request.extensions_mut().insert(PeerAddress(peer));
        router.clone().oneshot(request.map(axum::body::Body::new))
    });
    let mut builder = Builder::new(supervisor::executor("http-stream"));
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEADERS);
    builder.http2().timer(TokioTimer::new()).max_concurrent_streams(100);
    let serving = builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
    let mut serving = std::pin::pin!(serving);
    tokio::select! {
        _ = serving.as_mut() => return,
        () = cancel.cancelled() => serving.as_mut().graceful_shutdown(),
    }
    let _ = serving.await;
}

#[cfg(test)]
mod tests;
