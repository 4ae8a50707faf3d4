//! `pods/proxy`, `services/proxy` and `nodes/proxy`: a request passed on to a pod, an endpoint or a kubelet, and its answer
//! passed back, with links rewritten so that they lead through the proxy again. Follows
//! `apimachinery/pkg/util/proxy/{upgradeaware,transport}.go`.

use component::http1;
use http::header::{self, HeaderName};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use machinery::status::StatusError;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::super::Call;
use super::nodes::CONNECT;
use model::resource::Resource;
use negotiation::Body;

mod rewrite;
mod target;

use rewrite::Links;
use target::Target;

/// Headers that concern one connection only (RFC 9110, 7.6.1).
const HOP: &[&str] = &[
    "connection",
    "keep-alive",
    "proxy-connection",
    "proxy-authenticate",
    "proxy-authorization",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

pub(super) async fn handle(mut call: Call, row: &Resource) -> Result<Response<Body>, StatusError> {
    let target = target::locate(&call, row).await?;
    let (prefix, rest) = split(call.parts.uri.path(), row.namespaced);
    let (prefix, rest) = (prefix.to_owned(), rest.to_owned());
    let upgrade = is_upgrade(&call.parts.headers).then(|| call.parts.extensions.remove::<OnUpgrade>()).flatten();
    if rest.is_empty() && upgrade.is_none() && matches!(call.parts.method, Method::GET | Method::HEAD) {
        return Ok(to_folder(call.parts.uri.path(), call.parts.uri.query()));
    }
    let links = Links {
        prefix,
        backend: target.authority.clone(),
        host: host(&call).map(|h| String::from_utf8_lossy(h.as_bytes()).into_owned()).unwrap_or_default(),
        path: format!("/{}", rest.trim_start_matches('/')),
    };
    let request = request(&mut call, &target, &links, upgrade.is_some())?;
    let stream = connect(&call, &target).await?;
    let (mut sender, _) =
        http1::handshake("connection of a proxied request", stream).await.map_err(|e| unreachable(&e))?;
    let answer = sender.send_request(request).await.map_err(|e| unreachable(&e))?;
    match upgrade {
        Some(client) => upgraded(client, answer),
        // The connection lives as long as the body is read.
        None => rewrite::response(answer, &links, sender).await,
    }
}

/// The path up to the subresource, and what follows it (with its slash), both as the client wrote them.
fn split(path: &str, namespaced: bool) -> (&str, &str) {
    // /api/v1[/namespaces/NS]/RESOURCE/NAME/proxy
    let segments = if namespaced { 7 } else { 5 };
    let end = path.match_indices('/').nth(segments).map_or(path.len(), |(at, _)| at);
    path.split_at(end)
}

/// Links of a page are relative to its folder: the root of what is proxied ends with a slash.
fn to_folder(path: &str, query: Option<&str>) -> Response<Body> {
    let query = query.filter(|q| !q.is_empty()).map(|q| format!("?{q}")).unwrap_or_default();
    let mut response = Response::new(negotiation::full(""));
    *response.status_mut() = StatusCode::MOVED_PERMANENTLY;
    if let Ok(location) = HeaderValue::from_str(&format!("{path}/{query}")) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    response
}

fn is_upgrade(headers: &HeaderMap) -> bool {
    headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|v| v.to_str().ok())
        .any(|v| v.split(',').any(|token| token.trim().eq_ignore_ascii_case("upgrade")))
}

/// The client's Host; in HTTP/2 it is in the URI.
fn host(call: &Call) -> Option<HeaderValue> {
    let authority = || call.parts.uri.authority().and_then(|a| HeaderValue::from_str(a.as_str()).ok());
    call.parts.headers.get(header::HOST).cloned().or_else(authority)
}

/// The request as the backend gets it: without the caller's credentials and the connection's own headers.
fn request(call: &mut Call, target: &Target, links: &Links, upgrade: bool) -> Result<Request<Body>, StatusError> {
    let query = call.parts.uri.query().map(|q| format!("?{q}")).unwrap_or_default();
    let uri: Uri = format!("{}{query}", links.path)
        .parse()
        .map_err(|e| StatusError::bad_request(format!("the path cannot be proxied: {e}")))?;
    let host = host(call).or_else(|| HeaderValue::from_str(&target.authority).ok());
    let mut headers = std::mem::take(&mut call.parts.headers);
    let kept = upgrade.then(|| (headers.get(header::CONNECTION).cloned(), headers.get(header::UPGRADE).cloned()));
    without_hop(&mut headers);
    if let Some((Some(connection), Some(protocol))) = kept {
        headers.insert(header::CONNECTION, connection);
        headers.insert(header::UPGRADE, protocol);
    }
    headers.remove(header::AUTHORIZATION);
    let credentials: Vec<HeaderName> = headers
        .keys()
        .filter(|n| n.as_str().starts_with("impersonate-") || n.as_str().starts_with("x-remote-"))
        .cloned()
        .collect();
    for name in credentials {
        headers.remove(name);
    }
    if let Some(host) = host {
        headers.insert(header::HOST, host);
    }
    let mut set = |name: &'static str, value: String| {
        if let Ok(value) = HeaderValue::from_str(&value) {
            headers.insert(HeaderName::from_static(name), value);
        }
    };
    set("x-forwarded-uri", format!("{}{}", links.prefix, links.path));
    if let Some(peer) = call.peer.address {
        set("x-forwarded-for", peer.ip().to_string());
    }
    let body = match call.body.take() {
        Some(body) => body.map_err(std::io::Error::other).boxed_unsync(),
        None => negotiation::full(""),
    };
    let mut request = Request::new(body);
    *request.method_mut() = call.parts.method.clone();
    *request.uri_mut() = uri;
    *request.headers_mut() = headers;
    Ok(request)
}

fn without_hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|v| v.to_str().ok())
        .flat_map(|v| v.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in named.iter().map(HeaderName::as_str).chain(HOP.iter().copied()) {
        headers.remove(name);
    }
}

async fn connect(call: &Call, target: &Target) -> Result<Box<dyn Stream>, StatusError> {
    if let Some(kubelet) = &target.kubelet {
        return Ok(Box::new(call.server.nodes.connect(kubelet).await?));
    }
    let dial = async {
        let stream = TcpStream::connect(&target.authority).await?;
        stream.set_nodelay(true)?;
        if !target.tls {
            return Ok::<Box<dyn Stream>, std::io::Error>(Box::new(stream));
        }
        let name = ServerName::try_from(target.host.clone()).map_err(std::io::Error::other)?;
        let tls = TlsConnector::from(call.server.nodes.backend_tls.clone()).connect(name, stream).await?;
        Ok(Box::new(tls))
    };
    match tokio::time::timeout(CONNECT, dial).await {
        Ok(stream) => stream.map_err(|e| unreachable(&format!("dial tcp {}: {e}", target.authority))),
        Err(_) => Err(unreachable(&format!("dial tcp {}: i/o timeout", target.authority))),
    }
}

fn unreachable(why: &dyn std::fmt::Display) -> StatusError {
    StatusError::service_unavailable(format!("error trying to reach service: {why}"))
}

/// Joins the two connections once the backend has agreed; its refusal is the client's answer.
fn upgraded(client: OnUpgrade, mut answer: Response<Incoming>) -> Result<Response<Body>, StatusError> {
    let code = answer.status();
    if code != StatusCode::SWITCHING_PROTOCOLS {
        if code.as_u16() < 400 {
            return Err(StatusError::internal(format!("invalid upgrade response: status code {}", code.as_u16())));
        }
        return Ok(answer.map(|body| body.map_err(std::io::Error::other).boxed_unsync()));
    }
    let backend = hyper::upgrade::on(&mut answer);
    component::supervisor::detached("proxied stream", async move {
        if let (Ok(client), Ok(backend)) = (client.await, backend.await) {
            let _ =
                streaming::copy::proxy_upgraded(TokioIo::new(client), TokioIo::new(backend), Default::default()).await;
        }
    });
    let mut response = Response::new(negotiation::full(""));
    *response.status_mut() = code;
    *response.headers_mut() = answer.headers().clone();
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_split_behind_the_subresource() {
        for (path, namespaced, expect) in [
            ("/api/v1/namespaces/a/pods/p/proxy", true, ("/api/v1/namespaces/a/pods/p/proxy", "")),
            ("/api/v1/namespaces/a/pods/p/proxy/", true, ("/api/v1/namespaces/a/pods/p/proxy", "/")),
            (
                "/api/v1/namespaces/a/services/s:80/proxy/x//y%2Fz/",
                true,
                ("/api/v1/namespaces/a/services/s:80/proxy", "/x//y%2Fz/"),
            ),
            ("/api/v1/nodes/n/proxy/logs", false, ("/api/v1/nodes/n/proxy", "/logs")),
        ] {
            assert_eq!(split(path, namespaced), expect);
        }
    }

    #[test]
    fn headers_of_the_connection_stay_with_it() {
        let mut headers = HeaderMap::new();
        for (name, value) in [("connection", "close, x-mine"), ("x-mine", "1"), ("te", "trailers"), ("accept", "*/*")] {
            headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        without_hop(&mut headers);
        assert_eq!(headers.keys().map(HeaderName::as_str).collect::<Vec<_>>(), ["accept"]);
    }
}
