//! Calls webhooks: one JSON body to a URL or a Service over TLS, one JSON body back. No redirects (upstream's client follows
//! some, with the body: where a webhook points to is not for it to choose), no proxies, no credentials, a time limit and a
//! size limit. Follows `apiserver/pkg/util/webhook/client.go`: the certificate is checked for the Service's DNS name,
//! whatever address it has.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::SendRequest;
use machinery::gvk::GroupResource;
use machinery::json::Fields;
use model::lookup::Lookup;
use parking_lot::Mutex;
use rustls::pki_types::ServerName;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// The longest a call may take, from the dial to the last byte.
const TIME: Duration = Duration::from_secs(30);
/// The largest answer.
const LIMIT_BYTES: usize = 100 * 1024 * 1024;
/// Connections that are kept for the next call.
const IDLE_MOST: usize = 4;

/// Where a webhook is.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Target {
    Url,
    Service { namespace: String, name: String, port: u16 },
}

/// One webhook, with the connections to it.
pub struct Webhook {
    uri: Uri,
    /// `host:port`, as the dial and messages have it.
    authority: String,
    host: String,
    target: Target,
    tls: Arc<rustls::ClientConfig>,
    idle: Mutex<Vec<SendRequest<Full<Bytes>>>>,
}

impl fmt::Debug for Webhook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Webhook").field("uri", &self.uri).finish_non_exhaustive()
    }
}

impl Webhook {
    /// From a `clientConfig` as CustomResourceDefinitions and webhook configurations have it.
    ///
    /// # Errors
    /// In words, where it cannot be used.
    pub fn new(config: &Value) -> Result<Self, String> {
        let service = &config["service"];
        let (url, target) = match (config["url"].as_str(), service.as_object()) {
            (_, Some(_)) => {
                let (namespace, name) = (service.text("namespace").to_string(), service.text("name").to_string());
                let port = service["port"].as_u64().and_then(|port| u16::try_from(port).ok()).unwrap_or(443);
                let path = service.text("path").to_string();
                let slash = if path.starts_with('/') { "" } else { "/" };
                let url = format!("https://{name}.{namespace}.svc:{port}{slash}{path}");
                (url, Target::Service { namespace, name, port })
            }
            (Some(url), None) => (url.to_string(), Target::Url),
            (None, None) => return Err("webhook configuration must have either service or URL".into()),
        };
        let uri: Uri = url.parse().map_err(|e| format!("Unparsable URL: {e}"))?;
        let host = uri.host().unwrap_or_default().trim_matches(['[', ']']).to_string();
        let port = uri.port_u16().unwrap_or(443);
        let authority = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
        let tls = tls(config.text("caBundle"))?;
        Ok(Self { uri, authority, host, target, tls: Arc::new(tls), idle: Mutex::default() })
    }

    /// Posts a body; the answer's, or in words why there is none, as Go's client puts it.
    pub async fn post(&self, lookup: &dyn Lookup, body: &Value) -> Result<Value, String> {
        let failed = |why: String| format!("Post \"{}?timeout=30s\": {why}", self.uri);
        match tokio::time::timeout(TIME, self.exchange(lookup, body)).await {
            Ok(answer) => answer.map_err(|error| match error {
                Failure::NotSent(why) => failed(why),
                Failure::Answered(why) => why,
            }),
            Err(_) => Err(failed("context deadline exceeded".into())),
        }
    }

    async fn exchange(&self, lookup: &dyn Lookup, body: &Value) -> Result<Value, Failure> {
        let lost = |e: hyper::Error| Failure::NotSent(e.to_string());
        let path = self.uri.path_and_query().map_or("/", |path| path.as_str());
        let path = format!("{path}{}timeout=30s", if path.contains('?') { '&' } else { '?' });
        let bytes: Bytes = machinery::go::json(body).into();
        let request = || {
            Request::post(&path)
                .header(header::HOST, &self.authority)
                .header(header::CONTENT_TYPE, "application/json")
                .header(header::ACCEPT, "application/json, */*")
                .header(header::USER_AGENT, "kube-apiserver-admission")
                .body(Full::new(bytes.clone()))
                .map_err(|e| Failure::NotSent(e.to_string()))
        };
        let kept = self.idle.lock().pop();
        let mut answered = None;
        // A kept connection may be gone: then the call is made again on a new one.
        if let Some(mut sender) = kept.filter(|sender| !sender.is_closed())
            && sender.ready().await.is_ok()
            && let Ok(response) = sender.send_request(request()?).await
        {
            answered = Some((sender, response));
        }
        let (sender, response) = match answered {
            Some(answered) => answered,
            None => {
                let mut sender = self.connect(lookup).await.map_err(Failure::NotSent)?;
                let response = sender.send_request(request()?).await.map_err(lost)?;
                (sender, response)
            }
        };
        let code = response.status();
        let media = response.headers().get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
        let media = media.to_owned();
        let body = Limited::new(response.into_body(), LIMIT_BYTES).collect().await;
        let bytes = body.map_err(|e| Failure::NotSent(e.to_string()))?.to_bytes();
        {
            let mut idle = self.idle.lock();
            if idle.len() < IDLE_MOST && !sender.is_closed() {
                idle.push(sender);
            }
        }
        read(code, &media, &bytes).map_err(Failure::Answered)
    }

    async fn connect(&self, lookup: &dyn Lookup) -> Result<SendRequest<Full<Bytes>>, String> {
        let address = match &self.target {
            Target::Url => self.authority.clone(),
            Target::Service { namespace, name, port } => resolve(lookup, namespace, name, *port)?,
        };
        let stream = TcpStream::connect(&address).await.map_err(|e| {
            let why = if e.kind() == std::io::ErrorKind::ConnectionRefused {
                "connection refused".into()
            } else {
                e.to_string()
            };
            format!("dial tcp {address}: connect: {why}")
        })?;
        let _ = stream.set_nodelay(true);
        let name = ServerName::try_from(self.host.clone()).map_err(|e| e.to_string())?;
        let stream = TlsConnector::from(self.tls.clone()).connect(name, stream).await.map_err(|e| e.to_string())?;
        let opened = component::http1::handshake("connection to a webhook", stream).await;
        opened.map(|(sender, _)| sender).map_err(|e| e.to_string())
    }
}

enum Failure {
    /// No answer.
    NotSent(String),
    /// One that is of no use.
    Answered(String),
}

/// The body of an answer, or what a client makes of one that is no success.
fn read(code: StatusCode, media: &str, bytes: &[u8]) -> Result<Value, String> {
    let value = machinery::json::from_slice(bytes).map(|document| document.value);
    let unread = |why: String| Err(format!("couldn't get version/kind; json parse error: {why}"));
    match (code.is_success(), value) {
        (true, _) if bytes.is_empty() => {
            Err(format!("0-length response with status code: {} and content type: {media}", code.as_u16()))
        }
        (true, Ok(value)) if value.is_object() => Ok(value),
        (true, Ok(other)) => unread(negotiation::no_object(&other)),
        (true, Err(why)) => unread(why),
        (false, Ok(status)) if status["kind"] == "Status" => Err(status.text("message").to_string()),
        (false, _) => {
            let resource = GroupResource::new("", "");
            let text = String::from_utf8_lossy(&bytes[..bytes.len().min(2048)]).trim().to_string();
            let status =
                machinery::status::StatusError::generic_server_response(code.as_u16(), "POST", &resource, "", &text, 0);
            Err(status.message)
        }
    }
}

/// The address of a Service: its cluster IP.
fn resolve(lookup: &dyn Lookup, namespace: &str, name: &str, port: u16) -> Result<String, String> {
    let services = GroupResource::new("", "services");
    let missing = || format!("service \"{name}\" not found");
    let service = lookup.get(&services, Some(namespace), name).ok_or_else(missing)?;
    let spec = &service["spec"];
    let listens = spec["ports"].as_array().into_iter().flatten().any(|p| p["port"] == port);
    if spec["type"] == "ExternalName" {
        return Ok(format!("{}:{port}", spec.text("externalName")));
    }
    if !listens {
        return Err(format!("no service port {port} found for service \"{name}\""));
    }
    match spec["clusterIP"].as_str() {
        Some("None") | None => Err(format!("no endpoints available for service \"{name}\"")),
        Some(ip) if ip.contains(':') => Ok(format!("[{ip}]:{port}")),
        Some(ip) => Ok(format!("{ip}:{port}")),
    }
}

fn tls(ca_bundle: &str) -> Result<rustls::ClientConfig, String> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| e.to_string())?;
    let mut roots = rustls::RootCertStore::empty();
    let pem = STANDARD.decode(ca_bundle).map_err(|e| e.to_string())?;
    if !pem.trim_ascii().is_empty() {
        for certificate in component::tls::certificates(&pem).map_err(|e| e.to_string())? {
            roots.add(certificate).map_err(|e| e.to_string())?;
        }
    }
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    // One connection for each call: HTTP/2 would send all to one of a Service's endpoints.
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}
