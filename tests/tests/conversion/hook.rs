//! A conversion webhook of TLS on loopback that does as its path says, and notes what it was sent.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use component::tls::pki;
use http::{Request, Response, StatusCode};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::{Notify, Semaphore};

/// A webhook that runs as long as the test.
pub struct Hook {
    port: u16,
    certificate: String,
    seen: Arc<Seen>,
}

/// What it was sent.
#[derive(Default)]
struct Seen {
    requests: Mutex<Vec<http::request::Parts>>,
    hanging: Notify,
    /// Open once objects with the label `slow` are converted.
    released: Released,
}

/// A gate that is closed at first.
struct Released(Semaphore);

impl Default for Released {
    fn default() -> Self {
        Self(Semaphore::new(0))
    }
}

impl Hook {
    pub async fn start() -> anyhow::Result<Self> {
        let pair = pki::self_signed("hook", &["127.0.0.1".to_owned()], time::OffsetDateTime::now_utc())?;
        let key = component::tls::certified_key(pair.cert_pem.as_bytes(), pair.key_pem.as_bytes())?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(key)));
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let (port, seen) = (listener.local_addr()?.port(), Arc::<Seen>::default());
        let (acceptor, noted) = (tokio_rustls::TlsAcceptor::from(Arc::new(tls)), seen.clone());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, seen) = (acceptor.clone(), noted.clone());
                tokio::spawn(async move {
                    let Ok(stream) = acceptor.accept(stream).await else { return };
                    let service = service_fn(move |request| serve(request, seen.clone(), port));
                    let connection = hyper::server::conn::http1::Builder::new();
                    drop(connection.serve_connection(TokioIo::new(stream), service).await);
                });
            }
        });
        Ok(Self { port, certificate: pair.cert_pem, seen })
    }

    /// How a definition names it, to be converted by `mode`.
    pub fn conversion(&self, mode: &str) -> Value {
        let (url, ca) = (format!("https://127.0.0.1:{}/{mode}", self.port), STANDARD.encode(&self.certificate));
        json!({"strategy": "Webhook", "webhook": {
            "conversionReviewVersions": ["v1"], "clientConfig": {"url": url, "caBundle": ca}}})
    }

    /// Waits until a request hangs.
    pub async fn hangs(&self) {
        self.seen.hanging.notified().await;
    }

    /// From now on also what is slow is converted.
    pub fn release(&self) {
        self.seen.released.0.add_permits(1);
    }

    /// What is slow hangs again.
    pub fn close(&self) {
        self.seen.released.0.forget_permits(1);
    }

    /// The heads of all requests so far.
    pub fn requests(&self) -> Vec<http::request::Parts> {
        self.seen.requests.lock().expect("nobody panics with it").clone()
    }
}

type Answer = Response<BoxBody<Bytes, Infallible>>;

async fn serve(request: Request<Incoming>, seen: Arc<Seen>, port: u16) -> Result<Answer, hyper::Error> {
    let (head, body) = request.into_parts();
    let mode = head.uri.path().trim_start_matches('/').to_owned();
    seen.requests.lock().expect("nobody panics with it").push(head);
    let review: Value = serde_json::from_slice(&body.collect().await?.to_bytes()).unwrap_or_default();
    let whole = |code: u16, text: String| {
        let mut answer = Response::new(Full::from(text).boxed());
        *answer.status_mut() = StatusCode::from_u16(code).expect("a status code");
        answer.headers_mut().insert("content-type", "application/json".parse().expect("a header"));
        answer
    };
    if let Some(code) = mode.strip_prefix("redirect") {
        let mut answer = whole(code.parse().unwrap_or(302), String::new());
        let to = format!("https://127.0.0.1:{port}/stolen");
        answer.headers_mut().insert("location", to.parse().expect("a header"));
        return Ok(answer);
    }
    let plain = match mode.as_str() {
        "hang" => {
            seen.hanging.notify_one();
            return std::future::pending().await;
        }
        "endless" => return Ok(Response::new(Endless.boxed())),
        "empty" => Some((200, "")),
        "broken" => Some((200, "{\"a\":")),
        "list" => Some((200, "[]")),
        "failing" => Some((500, "the password is 1234")),
        _ => None,
    };
    if let Some((code, text)) = plain {
        return Ok(whole(code, text.to_owned()));
    }
    if review["request"]["objects"][0]["metadata"]["labels"]["slow"].is_string() {
        seen.hanging.notify_one();
        drop(seen.released.0.acquire().await);
    }
    let mut objects = review["request"]["objects"].as_array().cloned().unwrap_or_default();
    for object in &mut objects {
        object["apiVersion"] = review["request"]["desiredAPIVersion"].clone();
    }
    let mut answer = json!({"apiVersion": review["apiVersion"], "kind": review["kind"], "response": {
        "uid": review["request"]["uid"], "result": {"status": "Success"}, "convertedObjects": objects}});
    let (at, value) = match mode.as_str() {
        "uid" => ("/response/uid", json!("other")),
        "none" => ("/response/convertedObjects", json!([])),
        "text" => ("/response/convertedObjects/0", json!("x")),
        "name" => ("/response/convertedObjects/0/metadata/name", json!("other")),
        "namespace" => ("/response/convertedObjects/0/metadata/namespace", json!("kube-system")),
        "owner" => ("/response/convertedObjects/0/metadata/uid", json!("other")),
        "kind" => ("/response/convertedObjects/0/kind", json!("Secret")),
        "labels" => ("/response/convertedObjects/0/metadata/labels", json!({"a": 1})),
        "refusing" => ("/response/result", json!({"status": "Failure", "message": "I will not"})),
        "pod" => ("/kind", json!("Pod")),
        _ => ("/kind", answer["kind"].clone()),
    };
    *answer.pointer_mut(at).expect("a place in the answer") = value;
    Ok(whole(200, answer.to_string()))
}

/// A body without end.
struct Endless;

impl Body for Endless {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        static PIECE: [u8; 1 << 20] = [b' '; 1 << 20];
        std::task::Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(&PIECE)))))
    }
}
