//! The HTTP/1.1 upgrade, from the client's side: how a kubelet or a container runtime is asked for a stream.
//!
//! The stream is connected (and wrapped in TLS) by the caller. An answer other than 101 is a value, not an error: its
//! status and body are what the first client must see.

use std::time::Duration;

use bytes::Bytes;
use component::http1;
use http::header::{CONNECTION, HOST, HeaderName, HeaderValue, UPGRADE};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::spdy;

/// The header in which stream protocols are offered and chosen.
pub const STREAM_PROTOCOL: HeaderName = HeaderName::from_static("x-stream-protocol-version");
/// Protocols of exec and attach over SPDY, best first.
pub const REMOTECOMMAND: &[&str] = &["v4.channel.k8s.io", "v3.channel.k8s.io", "v2.channel.k8s.io", "channel.k8s.io"];
/// The protocol of port-forward over SPDY.
pub const PORTFORWARD: &[&str] = &["portforward.k8s.io"];

/// Largest body of a refusal that is kept.
const MAX_REFUSAL_BYTES: usize = 1 << 20;
/// How long a refusal's body may take.
const REFUSAL_TIMEOUT: Duration = Duration::from_secs(10);

/// What came of a request for an upgrade.
pub enum Answer {
    /// The connection now speaks the other protocol.
    Upgraded {
        /// The connection.
        io: TokioIo<Upgraded>,
        /// The answer's headers.
        headers: HeaderMap,
    },
    /// Anything but 101.
    Refused(Response<Bytes>),
}

/// Sends `request` (with its `Upgrade` and `Connection` headers) over `stream` and waits for the answer.
///
/// # Errors
/// The connection breaks, or speaks no HTTP.
pub async fn upgrade<S>(stream: S, request: Request<()>) -> Result<Answer, hyper::Error>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, _) = http1::handshake("upgrade", stream).await?;
    let response = sender.send_request(request.map(|()| Empty::<Bytes>::new())).await?;
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        let headers = response.headers().clone();
        let io = TokioIo::new(hyper::upgrade::on(response).await?);
        return Ok(Answer::Upgraded { io, headers });
    }
    let (head, body) = response.into_parts();
    let body = tokio::time::timeout(REFUSAL_TIMEOUT, Limited::new(body, MAX_REFUSAL_BYTES).collect()).await;
    let body = body.ok().and_then(Result::ok).map(|body| body.to_bytes()).unwrap_or_default();
    Ok(Answer::Refused(Response::from_parts(head, body)))
}

/// A request for SPDY: `POST path_and_query`, with `protocols` offered in this order.
///
/// # Errors
/// A path or a host that no request can carry.
pub fn spdy_request(host: &str, path_and_query: &str, protocols: &[&str]) -> Result<Request<()>, http::Error> {
    let mut request = Request::builder().method(Method::POST).uri(path_and_query).header(HOST, host).body(())?;
    let headers = request.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static(spdy::UPGRADE));
    for protocol in protocols {
        headers.append(STREAM_PROTOCOL, HeaderValue::from_str(protocol)?);
    }
    Ok(request)
}

/// A SPDY connection to a server, and the protocol it chose.
pub struct Dialled {
    /// The connection.
    pub connection: spdy::Connection,
    /// The chosen stream protocol; empty if the server named none.
    pub protocol: String,
}

/// Asks for SPDY over `stream`. On failure, returns the `Status` object that the client is to be told.
///
/// # Errors
/// A `metav1.Status`: the server's own, or an internal error in upstream's words.
pub async fn spdy<S>(stream: S, request: Request<()>, limits: spdy::Limits) -> Result<Dialled, Value>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    match upgrade(stream, request).await {
        Ok(Answer::Upgraded { io, headers }) => {
            let says = |name, word: &str| {
                headers
                    .get(name)
                    .and_then(|value| value.to_str().ok())
                    .is_some_and(|v: &str| v.to_lowercase().contains(word))
            };
            if !says(CONNECTION, "upgrade") || !says(UPGRADE, "spdy/3.1") {
                return Err(internal_error("unable to upgrade connection: missing upgrade headers in response"));
            }
            let protocol = headers.get(STREAM_PROTOCOL).and_then(|value| value.to_str().ok()).unwrap_or_default();
            let connection = spdy::Connection::new(io, spdy::Role::Client, limits);
            Ok(Dialled { connection, protocol: protocol.to_owned() })
        }
        Ok(Answer::Refused(response)) => Err(refusal_status(response.body())),
        Err(error) => Err(internal_error(&format!("error sending request: {error}"))),
    }
}

/// The `Status` in a refusal's body, or one made of its text.
pub fn refusal_status(body: &[u8]) -> Value {
    match serde_json::from_slice::<Value>(body) {
        Ok(status) if status["kind"] == "Status" && status["status"].is_string() => status,
        _ => internal_error(&format!("unable to upgrade connection: {}", String::from_utf8_lossy(body).trim_end())),
    }
}

/// Upstream's `NewInternalError`.
pub fn internal_error(message: &str) -> Value {
    json!({
        "metadata": {}, "status": "Failure", "message": format!("Internal error occurred: {message}"),
        "reason": "InternalError", "details": {"causes": [{"message": message}]}, "code": 500,
    })
}

#[cfg(test)]
mod tests {
    use std::{
        io,
        pin::Pin,
        task::{Context, Poll},
    };

    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadBuf};

    /// Answers one request with `answer`; returns the request and what followed it.
    async fn server(mut io: tokio::io::DuplexStream, answer: &str) -> String {
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            request.push(io.read_u8().await.unwrap());
        }
        io.write_all(answer.as_bytes()).await.unwrap();
        let mut rest = [0; 4];
        if answer.starts_with("HTTP/1.1 101") {
            io.read_exact(&mut rest).await.unwrap();
        }
        String::from_utf8(request).unwrap()
    }

    #[tokio::test]
    async fn upgrades_and_names_the_protocol() {
        let (near, far) = tokio::io::duplex(1 << 14);
        let answer = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n\
            X-Stream-Protocol-Version: v4.channel.k8s.io\r\n\r\n";
        let request = spdy_request("node:10250", "/exec/ns/pod/c?command=ls", REMOTECOMMAND).unwrap();
        let dial = async {
            let dialled =
                spdy(near, request, spdy::Limits::default()).await.unwrap_or_else(|status| panic!("{status}"));
            dialled.connection.close().await;
            dialled.protocol
        };
        let (protocol, request) = tokio::join!(dial, server(far, answer));
        assert_eq!(protocol, "v4.channel.k8s.io");
        let offers = "x-stream-protocol-version: v4.channel.k8s.io\r\nx-stream-protocol-version: v3.channel.k8s.io";
        assert!(request.starts_with("POST /exec/ns/pod/c?command=ls HTTP/1.1\r\nhost: node:10250\r\n"), "{request}");
        assert!(request.contains(offers), "{request}");
    }

    /// Takes a request and panics when it is to give the answer.
    struct Panicking;

    impl AsyncRead for Panicking {
        fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, _: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
            panic!("no answer");
        }
    }

    impl AsyncWrite for Panicking {
        fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
            Poll::Ready(Ok(data.len()))
        }
        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    #[tokio::test]
    async fn a_connection_that_panics_is_an_error_to_who_dialled_and_is_counted() {
        let request = spdy_request("node", "/exec", REMOTECOMMAND).unwrap();
        let Err(status) = spdy(Panicking, request, spdy::Limits::default()).await else { panic!("dialled") };
        assert_eq!(status["reason"], "InternalError", "{status}");
        let metrics = component::supervisor::metrics();
        assert!(metrics.contains("ferry_task_panics_total{task=\"upgrade\"} 1\n"), "{metrics}");
    }

    #[tokio::test]
    async fn refusals_become_the_status_of_the_server() {
        let (near, far) = tokio::io::duplex(1 << 14);
        let body = r#"{"kind":"Status","status":"Failure","message":"no such pod","code":404}"#;
        let answer = format!("HTTP/1.1 404 Not Found\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        let request = spdy_request("node", "/exec", REMOTECOMMAND).unwrap();
        let (dialled, _) = tokio::join!(spdy(near, request, spdy::Limits::default()), server(far, &answer));
        assert_eq!(dialled.err().unwrap()["message"], "no such pod");
    }
}
