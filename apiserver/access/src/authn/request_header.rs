//! An authenticating proxy in front: it shows a certificate of its own authority and names the user in headers.
//! Without the certificate the headers mean nothing. Follows `authentication/request/headerrequest`.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use http::HeaderMap;
use jiff::Timestamp;
use model::user::UserInfo;

use super::ca::CaPool;
use super::x509::X509;
use super::{Authenticator, Peer};

/// The `--requestheader-*` flags.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Headers {
    /// Common names that the proxy may have; empty: any.
    pub allowed_names: Vec<String>,
    /// Headers with the user's name, the first that is there counts.
    pub username: Vec<String>,
    /// Headers with the user's uid.
    pub uid: Vec<String>,
    /// Headers with groups.
    pub group: Vec<String>,
    /// What headers with further facts begin with.
    pub extra_prefix: Vec<String>,
}

/// See the module.
pub struct RequestHeader {
    proxies: X509,
    headers: Headers,
}

impl RequestHeader {
    /// Proxies with a certificate of these authorities.
    pub fn new(pool: Arc<CaPool>, headers: Headers) -> Self {
        Self { proxies: X509::new(pool), headers }
    }
}

#[async_trait]
impl Authenticator for RequestHeader {
    async fn authenticate(&self, request: &http::request::Parts, peer: &Peer) -> Result<Option<UserInfo>, String> {
        // Asked first by upstream as well; the headers are looked at before the certificate to spare everybody else.
        if peer.certificates.is_empty() {
            return Ok(None);
        }
        let Some(user) = user(&request.headers, &self.headers) else { return Ok(None) };
        let proxy = self.proxies.identify(&peer.certificates, Timestamp::now())?.unwrap_or_default();
        let allowed = &self.headers.allowed_names;
        if !allowed.is_empty() && !allowed.contains(&proxy.name) {
            return Err(format!("x509: subject with cn={} is not in the allowed list", proxy.name));
        }
        Ok(Some(user))
    }
}

/// The user that the headers name.
fn user(sent: &HeaderMap, names: &Headers) -> Option<UserInfo> {
    let name = first(sent, &names.username)?;
    let mut extra: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for prefix in &names.extra_prefix {
        for (header, value) in sent {
            // Header names are lower-case here.
            if let Some(key) = header.as_str().strip_prefix(&prefix.to_ascii_lowercase()) {
                extra.entry(unescape(key)).or_default().push(string(value));
            }
        }
    }
    let groups = names.group.iter().flat_map(|name| sent.get_all(name)).map(string).filter(|g| !g.is_empty()).collect();
    Some(UserInfo { name, uid: first(sent, &names.uid).unwrap_or_default(), groups, extra })
}

fn first(sent: &HeaderMap, names: &[String]) -> Option<String> {
    names.iter().filter_map(|name| sent.get(name)).map(string).find(|value| !value.is_empty())
}

/// A header as a string; what is no UTF-8 is replaced.
pub fn string(value: &http::HeaderValue) -> String {
    String::from_utf8_lossy(value.as_bytes()).into_owned()
}

/// Undoes the percent-encoding of a key of `extra`, which a header name cannot carry as it is; a malformed one is
/// taken literally.
pub fn unescape(key: &str) -> String {
    let mut out = Vec::with_capacity(key.len());
    let mut bytes = key.bytes();
    while let Some(b) = bytes.next() {
        if b != b'%' {
            out.push(b);
            continue;
        }
        let digit = |b: Option<u8>| b.and_then(|b| (b as char).to_digit(16));
        match (digit(bytes.next()), digit(bytes.next())) {
            (Some(high), Some(low)) => out.push((high * 16 + low) as u8),
            _ => return key.to_owned(),
        }
    }
    String::from_utf8(out).unwrap_or_else(|_| key.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_name_a_user() {
        let names = Headers {
            username: vec!["X-Remote-User".into()],
            uid: vec!["X-Remote-Uid".into()],
            group: vec!["X-Remote-Group".into()],
            extra_prefix: vec!["X-Remote-Extra-".into()],
            ..Headers::default()
        };
        let mut sent = HeaderMap::new();
        assert_eq!(user(&sent, &names), None);
        for (name, value) in [
            ("x-remote-user", "jane"),
            ("x-remote-group", "a"),
            ("x-remote-group", "b"),
            ("x-remote-extra-acme.com%2fproject", "p"),
            ("x-remote-extra-scopes", "s1"),
            ("x-remote-extra-scopes", "s2"),
        ] {
            sent.append(name, value.parse().unwrap());
        }
        let jane = user(&sent, &names).unwrap();
        assert_eq!((jane.name.as_str(), jane.groups.join(",").as_str()), ("jane", "a,b"));
        assert_eq!(jane.extra["acme.com/project"], ["p"]);
        assert_eq!(jane.extra["scopes"], ["s1", "s2"]);
    }

    #[test]
    fn a_malformed_escape_is_literal() {
        for (key, expect) in [("a%2fb", "a/b"), ("a%2", "a%2"), ("a%zz", "a%zz"), ("%ff", "%ff"), ("", "")] {
            assert_eq!(unescape(key), expect);
        }
    }
}
