//! Answers on their way back: redirects and links of HTML pages that lead to the backend's root are made to lead through
//! the proxy. Follows `apimachinery/pkg/util/proxy/transport.go`.

use std::io::{Read, Write};

use bytes::Bytes;
use html5gum::{DefaultEmitter, Token, Tokenizer};
use http::header::{self, HeaderValue};
use http::{Response, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use machinery::status::StatusError;
use negotiation::Body;

/// The largest page whose links are rewritten.
const PAGE_BYTES: usize = 16 * 1024 * 1024;

/// What a link is seen against.
pub(super) struct Links {
    /// The proxy's path, which is put before the backend's.
    pub prefix: String,
    /// The backend's `host:port`.
    pub backend: String,
    /// The Host that the client asked for.
    pub host: String,
    /// The path that the backend is asked for.
    pub path: String,
}

impl Links {
    /// A link, led through the proxy where it leads to the backend's root or the host asked for.
    fn rewrite(&self, link: &str) -> String {
        let Ok(uri) = link.parse::<Uri>() else { return link.to_owned() };
        let authority = uri.authority().map(|a| a.as_str()).unwrap_or_default();
        let elsewhere = !authority.is_empty() && authority != self.backend && authority != self.host;
        if elsewhere || !uri.path().starts_with('/') || (authority.is_empty() && !link.starts_with('/')) {
            return link.to_owned();
        }
        let own = authority.len() + link.find("://").map_or(0, |at| at + 3);
        let (origin, rest) = if authority.is_empty() { ("", link) } else { link.split_at(own) };
        let origin = if authority == self.host { origin } else { "" };
        if uri.path().starts_with(&self.prefix) {
            return format!("{origin}{rest}");
        }
        format!("{origin}{}{rest}", self.prefix)
    }
}

/// The answer as the client gets it. `keep` is dropped when the body has been sent.
pub(super) async fn response(
    mut answer: Response<Incoming>,
    links: &Links,
    keep: impl Send + 'static,
) -> Result<Response<Body>, StatusError> {
    let cross_origin =
        ["allow-credentials", "allow-headers", "allow-methods", "allow-origin", "expose-headers", "max-age"];
    let headers = answer.headers_mut();
    for name in cross_origin {
        headers.remove(format!("access-control-{name}"));
    }
    super::without_hop(headers);
    if let Some(location) = headers.get(header::LOCATION).and_then(|v| v.to_str().ok()) {
        let rewritten = links.rewrite(location);
        if let Ok(value) = HeaderValue::from_str(&rewritten) {
            headers.insert(header::LOCATION, value);
        }
    } else if is_page(headers) {
        return page(answer, links).await;
    }
    Ok(answer.map(|body| {
        let body = body.map_err(std::io::Error::other).map_frame(move |frame| {
            let _open = &keep;
            frame
        });
        body.boxed_unsync()
    }))
}

fn is_page(headers: &http::HeaderMap) -> bool {
    let text = |name| headers.get(name).and_then(|v: &HeaderValue| v.to_str().ok()).unwrap_or_default();
    let html = text(header::CONTENT_TYPE).split(';').next().unwrap_or_default().trim() == "text/html";
    html && matches!(text(header::CONTENT_ENCODING), "" | "gzip")
}

async fn page(answer: Response<Incoming>, links: &Links) -> Result<Response<Body>, StatusError> {
    let (mut head, body) = answer.into_parts();
    let failed =
        |e: &dyn std::fmt::Display| StatusError::service_unavailable(format!("error trying to reach service: {e}"));
    let bytes = Limited::new(body, PAGE_BYTES).collect().await.map_err(|e| failed(&e))?.to_bytes();
    let zipped = head.headers.contains_key(header::CONTENT_ENCODING);
    let out = if zipped { gzipped(&bytes, links).map_err(|e| failed(&e))? } else { html(&bytes, links) };
    head.headers.insert(header::CONTENT_LENGTH, out.len().into());
    Ok(Response::from_parts(head, Full::new(Bytes::from(out)).map_err(|never| match never {}).boxed_unsync()))
}

fn gzipped(bytes: &[u8], links: &Links) -> std::io::Result<Vec<u8>> {
    let mut text = Vec::new();
    flate2::read::GzDecoder::new(bytes).take(PAGE_BYTES as u64).read_to_end(&mut text)?;
    let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    out.write_all(&html(&text, links))?;
    out.finish()
}

/// Attributes that hold links, by element.
fn holds_link(element: &[u8], attribute: &[u8]) -> bool {
    let attributes: &[&[u8]] = match element {
        b"a" | b"area" | b"base" | b"link" => &[b"href"],
        b"applet" => &[b"codebase"],
        b"audio" | b"embed" | b"script" | b"source" => &[b"src"],
        b"blockquote" | b"del" | b"ins" | b"q" => &[b"cite"],
        b"body" => &[b"background"],
        b"button" => &[b"formaction"],
        b"command" => &[b"icon"],
        b"form" => &[b"action"],
        b"frame" | b"iframe" => &[b"longdesc", b"src"],
        b"head" => &[],
        b"html" => &[b"manifest"],
        b"img" => &[b"longdesc", b"src", b"usemap"],
        b"input" => &[b"src", b"usemap", b"formaction"],
        b"object" => &[b"classid", b"codebase", b"data", b"usemap"],
        b"video" => &[b"poster", b"src"],
        _ => &[],
    };
    attributes.contains(&attribute)
}

/// The page with its links rewritten in their places; all else stays byte for byte.
fn html(page: &[u8], links: &Links) -> Vec<u8> {
    let mut emitter = DefaultEmitter::<usize>::new_with_span();
    // The content of scripts and the like is text.
    emitter.naively_switch_states(true);
    let mut out = Vec::with_capacity(page.len() + 256);
    let mut copied = 0;
    for Ok(token) in Tokenizer::new_with_emitter(page, emitter) {
        let Token::StartTag(tag) = token else { continue };
        let Some(source) = page.get(tag.span.start..tag.span.end) else { continue };
        let mut places: Vec<_> = tag
            .attributes
            .iter()
            .filter(|(name, _)| holds_link(&tag.name, name))
            .filter_map(|(name, value)| {
                let link = std::str::from_utf8(value).ok()?;
                let rewritten = links.rewrite(link);
                let at = tag.span.start + place(source, name, link.as_bytes()).filter(|_| rewritten != link)?;
                Some((at, link.len(), rewritten))
            })
            .collect();
        places.sort();
        for (at, length, rewritten) in places {
            out.extend_from_slice(&page[copied..at]);
            out.extend_from_slice(rewritten.as_bytes());
            copied = at + length;
        }
    }
    out.extend_from_slice(&page[copied..]);
    out
}

/// Where in a tag's source an attribute's value is. None for one written with entities: it holds other text than its value.
fn place(tag: &[u8], name: &[u8], value: &[u8]) -> Option<usize> {
    let ends_before = |at: usize| {
        let before = tag[..at].strip_suffix(b"\"").or(tag[..at].strip_suffix(b"'")).unwrap_or(&tag[..at]);
        let before = before.trim_ascii_end().strip_suffix(b"=").unwrap_or_default().trim_ascii_end();
        before.len() >= name.len() && before[before.len() - name.len()..].eq_ignore_ascii_case(name)
    };
    (!value.is_empty())
        .then(|| tag.windows(value.len()).enumerate())?
        .find_map(|(at, window)| (window == value && ends_before(at)).then_some(at))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn links() -> Links {
        Links {
            prefix: "/api/v1/namespaces/a/pods/p/proxy".into(),
            backend: "10.0.0.7:80".into(),
            host: "api.example:6443".into(),
            path: "/x".into(),
        }
    }

    #[test]
    fn links_to_the_backend_lead_through_the_proxy() {
        for (link, expect) in [
            ("/y", "/api/v1/namespaces/a/pods/p/proxy/y"),
            ("/y/?q=1#f", "/api/v1/namespaces/a/pods/p/proxy/y/?q=1#f"),
            ("y", "y"),
            ("http://10.0.0.7:80/y", "/api/v1/namespaces/a/pods/p/proxy/y"),
            ("https://api.example:6443/y", "https://api.example:6443/api/v1/namespaces/a/pods/p/proxy/y"),
            ("https://elsewhere/y", "https://elsewhere/y"),
            ("/api/v1/namespaces/a/pods/p/proxy/y", "/api/v1/namespaces/a/pods/p/proxy/y"),
        ] {
            assert_eq!(links().rewrite(link), expect, "{link}");
        }
    }

    #[test]
    fn a_page_keeps_everything_but_its_links() {
        let page = "<!doctype html><p title=/a>t &amp; u<A title=/rewriteme id=1 HREF='/rewriteme' class=\"c\">x</a><img src=/i.png>\
                    <script>\"<a href='/no'>\"</script><a href=\"/a&amp;b\">";
        let at = "/api/v1/namespaces/a/pods/p/proxy";
        let expect =
            page.replace("'/rewriteme'", &format!("'{at}/rewriteme'")).replace("=/i.png", &format!("={at}/i.png"));
        assert_eq!(String::from_utf8_lossy(&html(page.as_bytes(), &links())), expect);
    }
}
