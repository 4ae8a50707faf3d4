//! Ways to an API server: a kubeconfig (over TLS), a bearer token beside it, or a stream inside this process.
//!
//! What a kubeconfig says of certificates is read again when it or a file that it names changes, and a certificate may be one
//! that somebody renews ([`renewed`]): a client then goes over to new connections by itself (`transport.rs`).
//!
//! There is no client-side throttling: a controller that may only send 20 requests a second makes a slow cluster out
//! of a fast server. The server's own fairness is the place for limits.

use std::{
    future::Future,
    io,
    path::{Path, PathBuf},
    pin::Pin,
    sync::Arc,
    task,
};

use anyhow::{Context, ensure};
use component::tls::{Followed, Rotating};
use http::{HeaderValue, Request, Uri, header};
use hyper_util::{
    client::legacy::connect::{Connected, Connection},
    rt::TokioIo,
};
use kube::{
    Client, Config,
    client::{Body, ConfigExt},
    config::{KubeConfigOptions, Kubeconfig},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    sync::watch,
};
use tower::{BoxError, ServiceBuilder, ServiceExt};

use crate::servers::{self, Dial};
use crate::transport::{Connectors, Protocol, Transport};

/// A client for the current context of the kubeconfig at `path`.
///
/// Certificates, keys and tokens are read inline or from files, and followed when they change, as client-go does with those in
/// files (`transport/cert_rotation.go`, `ca_rotation.go`). Must be called inside a tokio runtime.
///
/// # Errors
/// The file can't be read, doesn't parse, names no usable context, or its credentials don't load.
pub fn from_kubeconfig(path: &Path, user_agent: &str) -> anyhow::Result<Client> {
    client_of(Place::read(path)?, Credentials::Own, user_agent)
}

/// A client for the server in the kubeconfig at `path`, authenticated by the newest `token` alone: the kubeconfig's own
/// credentials are left out, as upstream's `AnonymousClientConfig` does for a controller's service account.
///
/// # Errors
/// As [`from_kubeconfig`].
pub fn from_token(path: &Path, token: watch::Receiver<String>, user_agent: &str) -> anyhow::Result<Client> {
    client_of(Place::read(path)?, Credentials::Token(token), user_agent)
}

/// A client for the server in the kubeconfig at `path`, authenticated by `certificate` alone, whichever that is at the time.
///
/// # Errors
/// As [`from_kubeconfig`].
pub fn renewed(path: &Path, certificate: Arc<Rotating>, user_agent: &str) -> anyhow::Result<Client> {
    let mut place = Place::read(path)?;
    // Whoever renews it writes it to files too.
    let own = &place.config.auth_info;
    let own = [&own.client_certificate, &own.client_key].map(|file| file.as_ref().map(PathBuf::from));
    place.files.retain(|file| !own.iter().flatten().any(|own| own == file));
    client_of(place, Credentials::Certificate(certificate), user_agent)
}

/// A client for the server in the kubeconfig at `path` that is nobody there.
///
/// # Errors
/// As [`from_kubeconfig`].
pub fn anonymous(path: &Path, user_agent: &str) -> anyhow::Result<Client> {
    client_of(Place::read(path)?, Credentials::None, user_agent)
}

/// As [`anonymous`], with whoever answers there: for what is not to be trusted and harms nobody, as the time of an answer.
///
/// # Errors
/// As [`from_kubeconfig`].
pub fn unverified(path: &Path, user_agent: &str) -> anyhow::Result<Client> {
    let mut place = Place::read(path)?;
    (place.files, place.config.accept_invalid_certs) = (Vec::new(), true);
    client_of(place, Credentials::None, user_agent)
}

/// A client for a server that is no API server and may know nothing newer than HTTP/1.1. Where it is, who it is and who
/// the client is are said as in a kubeconfig. Must be called inside a tokio runtime.
///
/// # Errors
/// As [`from_kubeconfig`].
pub fn over_http1(kubeconfig: serde_json::Value, user_agent: &str) -> anyhow::Result<Client> {
    let config = loaded(serde_json::from_value(kubeconfig)?)?;
    let place = Place { config, servers: Vec::new(), path: PathBuf::new(), files: Vec::new() };
    client_with(place, Credentials::Own, user_agent, false)
}

/// As whom a client asks.
#[derive(Clone)]
enum Credentials {
    /// As the kubeconfig says.
    Own,
    Token(watch::Receiver<String>),
    Certificate(Arc<Rotating>),
    None,
}

/// Where a server is, and the files that say so.
struct Place {
    config: Config,
    /// All servers that will do, where the kubeconfig says so.
    servers: Vec<String>,
    path: PathBuf,
    files: Vec<PathBuf>,
}

impl Place {
    fn read(path: &Path) -> anyhow::Result<Self> {
        let kubeconfig = Kubeconfig::read_from(path).with_context(|| format!("kubeconfig {}", path.display()))?;
        let cluster = kubeconfig
            .current_context
            .as_ref()
            .and_then(|name| kubeconfig.contexts.iter().find(|context| context.name == *name))
            .and_then(|context| context.context.as_ref())
            .and_then(|context| kubeconfig.clusters.iter().find(|cluster| cluster.name == context.cluster));
        let cluster = cluster.and_then(|cluster| cluster.cluster.as_ref());
        let authority = cluster.and_then(|cluster| cluster.certificate_authority.clone());
        let servers = cluster.map(servers::named).transpose()?.unwrap_or_default();
        let config = loaded(kubeconfig).with_context(|| format!("kubeconfig {}", path.display()))?;
        let own = &config.auth_info;
        let named = [authority, own.client_certificate.clone(), own.client_key.clone()].into_iter().flatten();
        let files = [path.to_owned()].into_iter().chain(named.map(PathBuf::from)).collect();
        Ok(Self { config, servers, path: path.to_owned(), files })
    }
}

fn loaded(kubeconfig: Kubeconfig) -> anyhow::Result<Config> {
    // The loader is async by type only; it reads files and nothing else.
    Ok(futures::executor::block_on(Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()))?)
}

/// What connections are secured with. Each time the sessions that could be taken up again are forgotten: with one of them
/// its certificate would go on.
fn secured(config: &Config, credentials: &Credentials) -> anyhow::Result<rustls::ClientConfig> {
    let mut config = config.clone();
    if !matches!(credentials, Credentials::Own) {
        config.auth_info = kube::config::AuthInfo::default();
    }
    let mut tls = config.rustls_client_config()?;
    if let Credentials::Certificate(certificate) = credentials {
        tls.client_auth_cert_resolver = certificate.clone();
    }
    Ok(tls)
}

/// What connections are secured with, and with whom they may be; it is news to `dial`, too.
fn follow(place: &Place, credentials: &Credentials, dial: Dial) -> anyhow::Result<Followed<rustls::ClientConfig>> {
    let (config, path, credentials) = (place.config.clone(), place.path.clone(), credentials.clone());
    let follows = !place.files.is_empty();
    Followed::new(place.files.clone(), move || {
        if !follows {
            return secured(&config, &credentials);
        }
        let read = Place::read(&path)?;
        let follows = dial.replace(&read.servers) || read.config.cluster_url == config.cluster_url;
        ensure!(follows, "it names another server now, to which a restart would lead");
        secured(&read.config, &credentials)
    })
}

fn client_of(place: Place, credentials: Credentials, user_agent: &str) -> anyhow::Result<Client> {
    client_with(place, credentials, user_agent, true)
}

fn client_with(place: Place, credentials: Credentials, user_agent: &str, http2: bool) -> anyhow::Result<Client> {
    // The one provider of the workspace; an earlier installation of it is as good.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let dial = Dial::new(&place.servers);
    let followed = follow(&place, &credentials, dial.clone())?;
    let mut config = place.config;
    if !matches!(credentials, Credentials::Own) {
        config.auth_info = kube::config::AuthInfo::default();
    }
    let https = config.cluster_url.scheme_str() == Some("https");
    let server_name = config.tls_server_name.clone().map(rustls::pki_types::ServerName::try_from);
    let server_name = server_name.transpose().context("tls-server-name")?;
    let http2 = https && http2;
    let rotating = match &credentials {
        Credentials::Certificate(certificate) => Some(certificate.clone()),
        _ => None,
    };
    let source = move |has: Option<_>| {
        let (tls, read) = followed.look();
        let version = (read, rotating.as_ref().map_or(0, |certificate| certificate.version()));
        if has == Some(version) {
            return None;
        }
        let connector = |http2: bool| {
            let mut tls = (*tls).clone();
            tls.resumption = rustls::client::Resumption::default();
            let mut b = hyper_rustls::HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http();
            if let Some(name) = &server_name {
                b = b.with_server_name_resolver(hyper_rustls::FixedServerNameResolver::new(name.clone()));
            }
            match http2 {
                true => b.enable_http2().wrap_connector(dial.clone()),
                false => b.enable_http1().wrap_connector(dial.clone()),
            }
        };
        Some(Connectors { version, ordinary: connector(http2), upgrading: connector(false) })
    };
    let protocol = if http2 { Protocol::Http2 { keep_alive: true } } else { Protocol::Http1 };
    let transport = Transport::new(Arc::new(source), protocol);
    let token = match credentials {
        Credentials::Token(token) => Some(token),
        _ => None,
    };
    let service = ServiceBuilder::new()
        .layer(config.base_uri_layer())
        .option_layer(config.auth_layer()?)
        .layer(config.extra_headers_layer()?)
        .map_request(identify(user_agent)?)
        .map_request(move |mut request: Request<Body>| {
            let bearer = token.as_ref().map(|t| HeaderValue::from_str(&format!("Bearer {}", *t.borrow())));
            if let Some(Ok(mut bearer)) = bearer {
                bearer.set_sensitive(true);
                request.headers_mut().insert(header::AUTHORIZATION, bearer);
            }
            request
        })
        .map_err(BoxError::from)
        .service(transport);
    Ok(Client::new(service, config.default_namespace))
}

/// A client whose HTTP/2 connections run over the streams that `connect` yields: the API server of the same process.
///
/// Who the caller is belongs to the listener behind `connect`; nothing that this client sends says it.
/// Must be called inside a tokio runtime.
pub fn over_stream<F, Fut, S>(connect: F, user_agent: &str) -> Client
where
    F: Fn() -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = io::Result<S>> + Send,
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let connector = tower::service_fn(move |_: Uri| {
        let connect = connect.clone();
        Box::pin(async move { connect().await.map(|s| TokioIo::new(InProcess(s))) }) as Connecting<S>
    });
    let source = move |has: Option<_>| {
        let connectors = Connectors { version: (0, 0), ordinary: connector.clone(), upgrading: connector.clone() };
        has.is_none().then_some(connectors)
    };
    let transport = Transport::new(Arc::new(source), Protocol::Http2 { keep_alive: false });
    let base = Uri::from_static("http://ferry.internal");
    let service = ServiceBuilder::new()
        .layer(Config::new(base).base_uri_layer())
        .map_request(identify(user_agent).unwrap_or_else(|_| identify("ferry").expect("plain ASCII")))
        .map_err(BoxError::from)
        .service(transport);
    Client::new(service.map_err(BoxError::from), "default")
}

type Connecting<S> = Pin<Box<dyn Future<Output = io::Result<TokioIo<InProcess<S>>>> + Send>>;

/// Says who calls, and that JSON is wanted where the caller asked for nothing else.
fn identify(user_agent: &str) -> anyhow::Result<impl Fn(Request<Body>) -> Request<Body> + Clone + use<>> {
    let agent = HeaderValue::from_str(user_agent).context("user agent")?;
    Ok(move |mut request: Request<Body>| {
        let headers = request.headers_mut();
        headers.insert(header::USER_AGENT, agent.clone());
        headers.entry(header::ACCEPT).or_insert(HeaderValue::from_static("application/json"));
        request
    })
}

/// An in-process stream; hyper asks every connection what it is.
struct InProcess<S>(S);

impl<S> Connection for InProcess<S> {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for InProcess<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut task::Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> task::Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for InProcess<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut task::Context<'_>, data: &[u8]) -> task::Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, data)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> task::Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> task::Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
