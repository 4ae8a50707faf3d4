//! One HTTP request to a container: for probes and lifecycle hooks. Upstream: pkg/probe/http.

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use k8s_openapi::{
    api::core::v1::{Container, HTTPGetAction},
    apimachinery::pkg::util::intstr::IntOrString,
};
use std::{sync::Arc, time::Duration};
use tokio::{net::TcpStream, time::timeout};

/// What is read of an answer, as upstream.
const BODY_LIMIT_BYTES: usize = 10 * 1024;
const REDIRECTS_LIMIT: usize = 10;

/// An answer.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: String,
    /// A redirect to another host, which is not followed.
    pub(crate) left: bool,
}

/// Where a request goes.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    pub(crate) scheme: String,
    pub(crate) host: String,
    pub(crate) port: u16,
    /// Path and query.
    pub(crate) path: String,
    pub(crate) headers: Vec<(String, String)>,
    /// `probe` or `lifecycle`: part of the user agent.
    pub(crate) agent: &'static str,
}

/// A number, or the name of one of the container's ports.
pub(crate) fn port(port: &IntOrString, container: &Container) -> Result<u16, String> {
    let number = match port {
        IntOrString::Int(number) => *number,
        IntOrString::String(name) => match container.ports.iter().flatten().find(|p| p.name.as_ref() == Some(name)) {
            Some(found) => found.container_port,
            None => name.parse().map_err(|_| format!("couldn't find port: {name}"))?,
        },
    };
    u16::try_from(number).ok().filter(|p| *p > 0).ok_or_else(|| format!("invalid port number: {number}"))
}

pub(crate) fn target(
    action: &HTTPGetAction,
    container: &Container,
    pod_ip: &str,
    agent: &'static str,
) -> Result<Target, String> {
    let path = action.path.clone().unwrap_or_default();
    Ok(Target {
        scheme: action.scheme.clone().unwrap_or_else(|| "HTTP".into()).to_lowercase(),
        host: action.host.clone().filter(|h| !h.is_empty()).unwrap_or_else(|| pod_ip.to_owned()),
        port: port(&action.port, container)?,
        path: if path.starts_with('/') { path } else { format!("/{path}") },
        headers: action.http_headers.iter().flatten().map(|h| (h.name.clone(), h.value.clone())).collect(),
        agent,
    })
}

impl Target {
    fn url(&self) -> String {
        format!("{}://{}{}", self.scheme, self.authority(), self.path)
    }

    fn authority(&self) -> String {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        format!("{host}:{}", self.port)
    }
}

/// Follows redirects on the same host. The error is worded as Go's client words it.
pub(crate) async fn get(target: &Target, limit: Duration) -> Result<Answer, String> {
    let url = target.url();
    match timeout(limit, follow(target.clone())).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(format!("Get {url:?}: {error}")),
        Err(_) => {
            Err(format!("Get {url:?}: context deadline exceeded (Client.Timeout exceeded while awaiting headers)"))
        }
    }
}

async fn follow(mut target: Target) -> Result<Answer, String> {
    for _ in 0..REDIRECTS_LIMIT {
        let (answer, location) = once(&target).await?;
        let Some(location) = location.filter(|_| (300..400).contains(&answer.status)) else { return Ok(answer) };
        match location.parse::<http::Uri>() {
            Ok(uri) if uri.host().is_some_and(|h| h.trim_matches(['[', ']']) != target.host) => {
                return Ok(Answer { left: true, ..answer });
            }
            Ok(uri) => {
                if let Some(scheme) = uri.scheme_str() {
                    target.scheme = scheme.to_owned();
                    target.port = uri.port_u16().unwrap_or(if scheme == "https" { 443 } else { 80 });
                }
                target.path = uri.path_and_query().map_or("/".to_owned(), |p| p.as_str().to_owned());
            }
            Err(_) => return Ok(answer),
        }
    }
    Err("stopped after 10 redirects".into())
}

async fn once(target: &Target) -> Result<(Answer, Option<String>), String> {
    let stream = connect(&target.host, target.port).await?;
    let text = |error: &dyn std::fmt::Display| error.to_string();
    let stream: Box<dyn Stream> = if target.scheme == "https" {
        let connector = tokio_rustls::TlsConnector::from(unverified());
        let name = rustls::pki_types::ServerName::try_from(target.host.clone()).map_err(|e| text(&e))?;
        Box::new(connector.connect(name, stream).await.map_err(|e| text(&e))?)
    } else {
        Box::new(stream)
    };
    let mut request = http::Request::get(&target.path);
    for (name, value) in &target.headers {
        request = request.header(name, value);
    }
    let headers = request.headers_mut().ok_or("invalid header")?;
    if !headers.contains_key(http::header::HOST) {
        headers.insert(http::header::HOST, target.authority().parse().map_err(|_| "invalid host".to_owned())?);
    }
    if !headers.contains_key(http::header::USER_AGENT) {
        let agent = format!("kube-{}/1.36", target.agent);
        headers.insert(http::header::USER_AGENT, agent.parse().map_err(|_| "invalid agent".to_owned())?);
    }
    headers.entry(http::header::ACCEPT).or_insert(http::HeaderValue::from_static("*/*"));
    headers.insert(http::header::CONNECTION, http::HeaderValue::from_static("close"));
    let request = request.body(Empty::<Bytes>::new()).map_err(|e| text(&e))?;
    let (mut sender, connection) =
        component::http1::handshake("request to a container", stream).await.map_err(|e| text(&e))?;
    // The connection is driven as long as it is needed, and ends with this.
    let _driven = connection.abort_on_drop();
    let answer = sender.send_request(request).await;
    let answer = answer.map_err(|e| if e.is_incomplete_message() { "EOF".into() } else { text(&e) })?;
    let status = answer.status().as_u16();
    let location = answer.headers().get(http::header::LOCATION).and_then(|l| l.to_str().ok()).map(str::to_owned);
    let body = Limited::new(answer.into_body(), BODY_LIMIT_BYTES).collect().await;
    let body = body.map(|b| b.to_bytes()).unwrap_or_default();
    Ok((Answer { status, body: String::from_utf8_lossy(&body).into_owned(), left: false }, location))
}

/// Connects, or says why not in Go's words.
pub(crate) async fn connect(host: &str, port: u16) -> Result<TcpStream, String> {
    let shown = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
    TcpStream::connect((host.trim_matches(['[', ']']), port)).await.map_err(|error| match error.raw_os_error() {
        Some(code) => format!(
            "dial tcp {shown}: connect: {}",
            std::io::Error::from_raw_os_error(code)
                .to_string()
                .split(" (os error")
                .next()
                .unwrap_or_default()
                .to_lowercase()
        ),
        None => format!("dial tcp: lookup {host}: {error}"),
    })
}

trait Stream: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin {}
impl<T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin> Stream for T {}

/// A probe asks whether something answers, not who it is: as upstream, certificates are not verified.
fn unverified() -> Arc<rustls::ClientConfig> {
    static CONFIG: std::sync::LazyLock<Arc<rustls::ClientConfig>> = std::sync::LazyLock::new(|| {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let verifier = Arc::new(Anyone(provider.clone()));
        let builder = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("the provider knows TLS 1.2 and 1.3");
        Arc::new(builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth())
    });
    CONFIG.clone()
}

#[derive(Debug)]
struct Anyone(Arc<rustls::crypto::CryptoProvider>);

mod verifier {
    //! The trait's required methods, all of which agree.

    use rustls::{
        DigitallySignedStruct, Error, SignatureScheme,
        client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        pki_types::{CertificateDer, ServerName, UnixTime},
    };

    impl ServerCertVerifier for super::Anyone {
        fn verify_server_cert(
            &self,
            _: &CertificateDer<'_>,
            _: &[CertificateDer<'_>],
            _: &ServerName<'_>,
            _: &[u8],
            _: UnixTime,
        ) -> Result<ServerCertVerified, Error> {
            Ok(ServerCertVerified::assertion())
        }
        fn verify_tls12_signature(
            &self,
            _: &[u8],
            _: &CertificateDer<'_>,
            _: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            Ok(HandshakeSignatureValid::assertion())
        }
        fn verify_tls13_signature(
            &self,
            _: &[u8],
            _: &CertificateDer<'_>,
            _: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            Ok(HandshakeSignatureValid::assertion())
        }
        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            self.0.signature_verification_algorithms.supported_schemes()
        }
    }
}
