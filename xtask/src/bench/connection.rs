//! Connections to an API server: TLS once, then requests one after another (HTTP/1.1) or many at a time (HTTP/2), over hyper's
//! connection API; no pool, no redirects, no retries, so that what is measured is the server.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue};
use hyper::{Method, Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// How to reach a server, and as whom.
#[derive(Clone)]
pub(crate) struct Access {
    host: String,
    port: u16,
    tls: Arc<rustls::ClientConfig>,
    authorization: Option<HeaderValue>,
}

impl Access {
    /// From PEM texts; a client certificate with its key, or a token, or neither.
    pub(crate) fn new(
        host: &str,
        port: u16,
        ca: &[u8],
        certificate: Option<(&[u8], &[u8])>,
        token: Option<&str>,
    ) -> anyhow::Result<Self> {
        let mut roots = rustls::RootCertStore::empty();
        for authority in CertificateDer::pem_slice_iter(ca) {
            roots.add(authority?)?;
        }
        let mut provider = rustls::crypto::aws_lc_rs::default_provider();
        // AES-128 first, as Go's clients (kubectl, every controller) ask for it.
        provider.cipher_suites.sort_by_key(|suite| suite.suite() != rustls::CipherSuite::TLS13_AES_128_GCM_SHA256);
        let builder = rustls::ClientConfig::builder_with_provider(Arc::new(provider))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots);
        let tls = match certificate {
            Some((certificate, key)) => {
                let chain = CertificateDer::pem_slice_iter(certificate).collect::<Result<Vec<_>, _>>()?;
                builder.with_client_auth_cert(chain, PrivateKeyDer::from_pem_slice(key)?)?
            }
            None => builder.with_no_client_auth(),
        };
        let authorization = token.map(|t| HeaderValue::from_str(&format!("Bearer {t}"))).transpose()?;
        Ok(Self { host: host.to_owned(), port, tls: Arc::new(tls), authorization })
    }

    pub(crate) fn host(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }

    async fn connect(&self, protocol: &[u8]) -> anyhow::Result<tokio_rustls::client::TlsStream<TcpStream>> {
        let stream = TcpStream::connect((self.host.as_str(), self.port)).await?;
        stream.set_nodelay(true)?;
        let mut tls = (*self.tls).clone();
        tls.alpn_protocols = vec![protocol.to_vec()];
        let name = ServerName::try_from(self.host.clone())?;
        Ok(TlsConnector::from(Arc::new(tls)).connect(name, stream).await?)
    }

    /// A connection that takes one request at a time.
    pub(crate) async fn http1(&self) -> anyhow::Result<Connection> {
        let (sender, connection) = http1::handshake(TokioIo::new(self.connect(b"http/1.1").await?)).await?;
        tokio::spawn(connection);
        Ok(Connection { sender: Sender::One(sender), access: self.clone() })
    }

    /// A connection that takes many at a time. Windows are wide: what is measured is not flow control.
    pub(crate) async fn http2(&self) -> anyhow::Result<Connection> {
        let (sender, connection) = http2::Builder::new(TokioExecutor::new())
            .initial_stream_window_size(1 << 20)
            .initial_connection_window_size(64 << 20)
            .max_frame_size(64 << 10)
            .handshake(TokioIo::new(self.connect(b"h2").await?))
            .await?;
        tokio::spawn(connection);
        Ok(Connection { sender: Sender::Many(sender), access: self.clone() })
    }
}

/// How objects are written or wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Encoding {
    Json,
    Protobuf,
}

impl Encoding {
    /// As the names of shapes have it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Json => "JSON",
            Self::Protobuf => "protobuf",
        }
    }
}

enum Sender {
    One(http1::SendRequest<Full<Bytes>>),
    Many(http2::SendRequest<Full<Bytes>>),
}

/// An open connection.
pub(crate) struct Connection {
    sender: Sender,
    access: Access,
}

/// A body's media type.
pub(crate) const JSON: &str = "application/json";
/// What Go's clients accept where they write protobuf.
const ACCEPT_PROTOBUF: &str = "application/vnd.kubernetes.protobuf,application/json";
/// A strategic merge patch.
pub(crate) const STRATEGIC: &str = "application/strategic-merge-patch+json";

impl Connection {
    /// Whether the server has not closed it: upstream's does so after a minute and a half without requests.
    pub(crate) fn is_open(&self) -> bool {
        match &self.sender {
            Sender::One(sender) => !sender.is_closed(),
            Sender::Many(sender) => !sender.is_closed(),
        }
    }

    /// Sends a request; the answer's body is still to be read.
    pub(crate) async fn send(
        &mut self,
        method: Method,
        path: &str,
        body: Option<(&'static str, Bytes)>,
    ) -> anyhow::Result<Response<Incoming>> {
        let accepts = body.as_ref().is_some_and(|(kind, _)| *kind == api::protobuf::MEDIA_TYPE);
        self.ask(method, path, body, if accepts { Encoding::Protobuf } else { Encoding::Json }).await
    }

    async fn ask(
        &mut self,
        method: Method,
        path: &str,
        body: Option<(&'static str, Bytes)>,
        accept: Encoding,
    ) -> anyhow::Result<Response<Incoming>> {
        let mut request = Request::builder().method(method);
        if accept == Encoding::Protobuf {
            request = request.header(ACCEPT, ACCEPT_PROTOBUF);
        }
        request = match &self.sender {
            Sender::One(_) => request.uri(path).header(HOST, self.access.host()),
            Sender::Many(_) => request.uri(format!("https://{}{path}", self.access.host())),
        };
        if let Some(authorization) = &self.access.authorization {
            request = request.header(AUTHORIZATION, authorization);
        }
        let body = match body {
            Some((kind, body)) => {
                request = request.header(CONTENT_TYPE, kind);
                body
            }
            None => Bytes::new(),
        };
        let request = request.body(Full::new(body))?;
        Ok(match &mut self.sender {
            Sender::One(sender) => {
                sender.ready().await?;
                sender.send_request(request).await?
            }
            Sender::Many(sender) => {
                sender.ready().await?;
                sender.send_request(request).await?
            }
        })
    }

    /// Sends a request and reads its answer to the end; an answer that is no success is an error.
    pub(crate) async fn call(
        &mut self,
        method: Method,
        path: &str,
        body: Option<(&'static str, Bytes)>,
    ) -> anyhow::Result<Bytes> {
        let what = format!("{method} {path}");
        let answer = self.send(method, path, body).await.with_context(|| what.clone())?;
        let status = answer.status();
        let body = answer.into_body().collect().await?.to_bytes();
        if !status.is_success() {
            bail!("{what}: {status}: {}", String::from_utf8_lossy(&body[..body.len().min(500)]));
        }
        Ok(body)
    }

    /// Like `call`, but counts the answer's bytes instead of keeping them, and tells when the first came.
    pub(crate) async fn drain(&mut self, path: &str, accept: Encoding) -> anyhow::Result<(usize, Duration)> {
        let begin = std::time::Instant::now();
        let answer = self.ask(Method::GET, path, None, accept).await?;
        if !answer.status().is_success() {
            bail!("GET {path}: {}", answer.status());
        }
        let (mut body, mut size, mut first) = (answer.into_body(), 0, None);
        while let Some(frame) = body.frame().await {
            if let Ok(data) = frame?.into_data() {
                first.get_or_insert_with(|| begin.elapsed());
                size += data.len();
            }
        }
        Ok((size, first.unwrap_or_default()))
    }
}
