//! What a command works with: its flags, the server, the namespace, the output.

use std::{fmt, sync::Arc};

use http::{Method, Request};
use http_body_util::BodyExt;
use kube::client::Body;
use serde_json::Value;
use tokio::sync::OnceCell;

use super::{
    config,
    failure::{Failure, Outcome},
    flags::Parsed,
    streams::Streams,
};
use crate::resource_builder::mapper::Mapper;

/// See the module.
pub struct Context {
    /// The command line.
    pub flags: Parsed,
    /// What it reads and writes.
    pub streams: Streams,
    client: OnceCell<kube::Client>,
    server: OnceCell<String>,
    mapper: OnceCell<Arc<Mapper>>,
}

/// What a command line runs in.
pub struct Session {
    /// What it reads and writes.
    pub streams: Streams,
    /// The server to speak to, whatever flags and kubeconfig say; `None`: the one they name.
    pub client: Option<kube::Client>,
}

/// A request to the server.
#[derive(Clone, Debug)]
pub struct Call {
    /// GET and so on.
    pub method: Method,
    /// The path.
    pub path: String,
    /// The query, to be encoded.
    pub query: Vec<(String, String)>,
    /// Accept.
    pub accept: &'static str,
    /// The body and its type.
    pub body: Option<(&'static str, Vec<u8>)>,
}

impl Call {
    /// A GET of JSON.
    pub fn get(path: impl Into<String>) -> Self {
        Self { method: Method::GET, path: path.into(), query: Vec::new(), accept: "application/json", body: None }
    }

    /// Another method, with a JSON body.
    pub fn send(method: Method, path: impl Into<String>, body: &Value) -> Self {
        Self { method, body: Some(("application/json", body.to_string().into_bytes())), ..Self::get(path) }
    }

    /// A PATCH of a type.
    pub fn patch(path: impl Into<String>, kind: &'static str, body: &Value) -> Self {
        Self::raw_patch(path, kind, body.to_string().into_bytes())
    }

    /// A PATCH of a type, its body as it is.
    pub fn raw_patch(path: impl Into<String>, kind: &'static str, body: Vec<u8>) -> Self {
        Self { method: Method::PATCH, body: Some((kind, body)), ..Self::get(path) }
    }

    /// Adds to the query.
    #[must_use]
    pub fn query(mut self, key: &str, value: impl Into<String>) -> Self {
        self.query.push((key.to_owned(), value.into()));
        self
    }

    /// Adds to the query unless the value is empty.
    #[must_use]
    pub fn query_if(self, key: &str, value: &str) -> Self {
        if value.is_empty() { self } else { self.query(key, value) }
    }

    /// As an HTTP request.
    pub fn request<B>(&self, body: impl FnOnce(Vec<u8>) -> B) -> Outcome<Request<B>> {
        let mut uri = self.path.clone();
        for (index, (key, value)) in self.query.iter().enumerate() {
            uri.push(if index == 0 && !uri.contains('?') { '?' } else { '&' });
            uri.push_str(key);
            uri.push('=');
            uri.push_str(&encode(value));
        }
        // The part before the slash is the field manager of writes that name none.
        let agent = concat!("kubectl/v1.36.2+ferry.", env!("CARGO_PKG_VERSION"));
        let request = Request::builder().method(self.method.clone()).uri(uri);
        let mut request = request.header("accept", self.accept).header("user-agent", agent);
        if let Some((kind, _)) = &self.body {
            request = request.header("content-type", *kind);
        }
        let bytes = self.body.as_ref().map(|(_, bytes)| bytes.clone()).unwrap_or_default();
        request.body(body(bytes)).map_err(|error| Failure::new(error.to_string()))
    }
}

/// Percent-encoding for queries and path segments.
pub fn encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(byte as char);
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

impl Context {
    /// For a command line.
    pub fn new(flags: Parsed, session: Session) -> Self {
        let client = session.client.map_or_else(OnceCell::new, |client| OnceCell::new_with(Some(client)));
        Self { flags, streams: session.streams, client, server: OnceCell::new(), mapper: OnceCell::new() }
    }

    /// Writes to standard output; a reader that went away ends the command silently.
    pub fn print(&self, text: &str) -> Outcome {
        Ok(self.streams.write(text.as_bytes())?)
    }

    /// Writes a line to standard error.
    pub fn note(&self, line: fmt::Arguments<'_>) {
        self.streams.note(&line.to_string());
    }

    /// The namespace in use, and whether it was given by flag.
    pub fn namespace(&self) -> Outcome<(String, bool)> {
        Ok(config::namespace(&config::load(&self.flags)?, &self.flags))
    }

    /// The client, made on first use.
    pub async fn client(&self) -> Outcome<&kube::Client> {
        self.client
            .get_or_try_init(|| async {
                let built = config::client_config(config::load(&self.flags)?, &self.flags).await?;
                let authority = built.cluster_url.authority().map(ToString::to_string).unwrap_or_default();
                // Set once: the cell is empty as long as the client's is.
                let _ = self.server.set(authority);
                let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
                kube::Client::try_from(built).map_err(|error| Failure::new(error.to_string()))
            })
            .await
    }

    /// What kinds the server has, asked on first use.
    pub async fn mapper(&self) -> Outcome<Arc<Mapper>> {
        self.mapper.get_or_try_init(|| async { Ok(Arc::new(Mapper::discover(self).await?)) }).await.cloned()
    }

    /// A failure of the transport, as kubectl words it.
    pub fn transport(&self, error: &dyn std::error::Error) -> Failure {
        let server = self.server.get().map(String::as_str).unwrap_or_default();
        let mut text = error.to_string();
        let mut source = error.source();
        while let Some(inner) = source {
            text = inner.to_string();
            if text.contains("Connection refused") {
                return Failure::plain(format!(
                    "The connection to the server {server} was refused - did you specify the right host or port?"
                ));
            }
            source = inner.source();
        }
        Failure::plain(format!("Unable to connect to the server: {text}"))
    }

    /// Sends, and gives the answer's head when it is a success; warnings go to standard error.
    pub async fn send(&self, call: Call) -> Outcome<http::Response<Body>> {
        let client = self.client().await?;
        let request = call.request(Body::from)?;
        let sending = client.send(request);
        let response = match self.flags.timeout("request-timeout")?.filter(|timeout| !timeout.is_zero()) {
            None => sending.await,
            Some(limit) => tokio::time::timeout(limit, sending)
                .await
                .map_err(|_| Failure::plain("Unable to connect to the server: context deadline exceeded"))?,
        };
        let response = response.map_err(|error| self.transport(&error))?;
        for warning in response.headers().get_all("warning") {
            let text = warning.to_str().unwrap_or_default();
            if let Some(quoted) = text.splitn(3, ' ').nth(2) {
                let bare = quoted.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(quoted);
                self.note(format_args!("Warning: {}", bare.replace("\\\"", "\"").replace("\\\\", "\\")));
            }
        }
        if response.status().is_success() {
            return Ok(response);
        }
        let code = response.status().as_u16();
        let body = response.into_body().collect().await.map(|body| body.to_bytes()).unwrap_or_default();
        match serde_json::from_slice::<Value>(&body) {
            Ok(status) if status["kind"] == "Status" => Err(Failure::from_status(code, &status)),
            _ => {
                let text = String::from_utf8_lossy(&body).trim().to_owned();
                let message = match code {
                    401 => "the server has asked for the client to provide credentials".to_owned(),
                    403 => text,
                    404 => "the server could not find the requested resource".to_owned(),
                    _ => text,
                };
                let reason = match code {
                    401 => "Unauthorized",
                    403 => "Forbidden",
                    404 => "NotFound",
                    405 => "MethodNotAllowed",
                    500 => "InternalError",
                    503 => "ServiceUnavailable",
                    _ => "",
                };
                Err(Failure::from_status(code, &serde_json::json!({"reason": reason, "message": message})))
            }
        }
    }

    /// Sends, and gives the answer's body.
    pub async fn bytes(&self, call: Call) -> Outcome<bytes::Bytes> {
        let response = self.send(call).await?;
        let body = response.into_body().collect().await.map_err(|error| self.transport(&error))?;
        Ok(body.to_bytes())
    }

    /// Sends, and gives the answer as JSON.
    pub async fn json(&self, call: Call) -> Outcome<Value> {
        let bytes = self.bytes(call).await?;
        serde_json::from_slice(&bytes).map_err(|error| Failure::new(format!("the server's answer is no JSON: {error}")))
    }

    /// Watches; each line of the answer is an event.
    pub async fn watch(&self, call: Call) -> Outcome<Lines> {
        let response = self.send(call).await?;
        Ok(Lines { body: response.into_body(), buffer: Vec::new() })
    }
}

/// The lines of a body as they come.
pub struct Lines {
    body: Body,
    buffer: Vec<u8>,
}

impl Lines {
    /// The next chunk as it comes, for streams without lines.
    pub async fn chunk(&mut self) -> Outcome<Option<bytes::Bytes>> {
        while let Some(frame) = self.body.frame().await {
            let frame = frame.map_err(|error| Failure::new(error.to_string()))?;
            if let Ok(data) = frame.into_data() {
                return Ok(Some(data));
            }
        }
        Ok(None)
    }

    /// The next line as JSON; `None` at the end.
    pub async fn next(&mut self) -> Outcome<Option<Value>> {
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.buffer.drain(..=end).collect();
                if line.iter().all(u8::is_ascii_whitespace) {
                    continue;
                }
                return serde_json::from_slice(&line).map(Some).map_err(|error| Failure::new(error.to_string()));
            }
            match self.chunk().await? {
                Some(data) => self.buffer.extend_from_slice(&data),
                None => return Ok(None),
            }
        }
    }
}
