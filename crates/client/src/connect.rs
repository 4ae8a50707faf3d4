//! Ways to an API server: a kubeconfig (over TLS), a bearer token beside it, or a stream inside this process.
//!
//! There is no client-side throttling: a controller that may only send 20 requests a second makes a slow cluster out
//! of a fast server. The server's own fairness is the place for limits.

use std::{future::Future, io, path::Path, pin::Pin, task};

use anyhow::Context;
use http::{HeaderValue, Request, Uri, header};
use hyper_util::{
    client::legacy::connect::{Connected, Connection, HttpConnector},
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

use crate::transport::{Protocol, Transport};

/// A client for the current context of the kubeconfig at `path`.
///
/// Certificates, keys and tokens are read inline or from files. Must be called inside a tokio runtime.
///
/// # Errors
/// The file can't be read, doesn't parse, names no usable context, or its credentials don't load.
pub fn from_kubeconfig(path: &Path, user_agent: &str) -> anyhow::Result<Client> {
    client_of(config_of(path)?, user_agent)
}

/// A client for the server in the kubeconfig at `path`, authenticated by the newest `token` alone: the kubeconfig's own
/// credentials are left out, as upstream's `AnonymousClientConfig` does for a controller's service account.
///
/// # Errors
/// As [`from_kubeconfig`].
pub fn from_token(path: &Path, token: watch::Receiver<String>, user_agent: &str) -> anyhow::Result<Client> {
    let mut config = config_of(path)?;
    config.auth_info = kube::config::AuthInfo::default();
    client_with(config, user_agent, Some(token), true)
}

/// A client for a server that is no API server and may know nothing newer than HTTP/1.1. Where it is, who it is and who
/// the client is are said as in a kubeconfig. Must be called inside a tokio runtime.
///
/// # Errors
/// As [`from_kubeconfig`].
pub fn over_http1(kubeconfig: serde_json::Value, user_agent: &str) -> anyhow::Result<Client> {
    client_with(loaded(serde_json::from_value(kubeconfig)?)?, user_agent, None, false)
}

fn config_of(path: &Path) -> anyhow::Result<Config> {
    let kubeconfig = Kubeconfig::read_from(path).with_context(|| format!("kubeconfig {}", path.display()))?;
    loaded(kubeconfig).with_context(|| format!("kubeconfig {}", path.display()))
}

fn loaded(kubeconfig: Kubeconfig) -> anyhow::Result<Config> {
    // The loader is async by type only; it reads files and nothing else.
    Ok(futures::executor::block_on(Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()))?)
}

fn client_of(config: Config, user_agent: &str) -> anyhow::Result<Client> {
    client_with(config, user_agent, None, true)
}

fn client_with(
    config: Config,
    user_agent: &str,
    token: Option<watch::Receiver<String>>,
    http2: bool,
) -> anyhow::Result<Client> {
    // The one provider of the workspace; an earlier installation of it is as good.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let https = config.cluster_url.scheme_str() == Some("https");
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_connect_timeout(Some(std::time::Duration::from_secs(10)));
    let tls = config.rustls_client_config()?;
    let server_name = config.tls_server_name.clone();
    let connector = |alpn_h2: bool| -> anyhow::Result<hyper_rustls::HttpsConnector<HttpConnector>> {
        let mut b = hyper_rustls::HttpsConnectorBuilder::new().with_tls_config(tls.clone()).https_or_http();
        if let Some(name) = &server_name {
            let name = name.clone().try_into().context("tls-server-name")?;
            b = b.with_server_name_resolver(hyper_rustls::FixedServerNameResolver::new(name));
        }
        Ok(match alpn_h2 {
            true => b.enable_http2().wrap_connector(tcp.clone()),
            false => b.enable_http1().wrap_connector(tcp.clone()),
        })
    };
    let http2 = https && http2;
    let protocol = if http2 { Protocol::Http2 { keep_alive: true } } else { Protocol::Http1 };
    let transport = Transport::new(connector(http2)?, connector(false)?, protocol);
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
    let transport = Transport::new(connector.clone(), connector, Protocol::Http2 { keep_alive: false });
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
