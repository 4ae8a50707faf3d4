//! What a request is about, from its method and path alone: the attributes that authorization, admission and dispatch
//! share. Follows `apiserver/pkg/endpoints/request/requestinfo.go`.

use std::borrow::Cow;

use http::Method;
use http::request::Parts;
use machinery::selector::FieldSelector;

/// A query string, decoded once.
#[derive(Debug, Clone, Default)]
pub struct Query(Vec<(String, String)>);

impl Query {
    /// Decodes a query string.
    pub fn parse(query: &str) -> Self {
        Self(form_urlencoded::parse(query.as_bytes()).map(|(k, v)| (k.into_owned(), v.into_owned())).collect())
    }

    /// The first value of a parameter that is there and not empty.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(k, v)| k == name && !v.is_empty()).map(|(_, v)| v.as_str())
    }

    /// All values of a parameter.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> + 'a {
        self.0.iter().filter(move |(k, _)| k == name).map(|(_, v)| v.as_str())
    }

    /// A boolean as Go's conversion reads it: present without value, or anything but `0` and `false`.
    pub fn flag(&self, name: &str) -> bool {
        self.0.iter().find(|(k, _)| k == name).is_some_and(|(_, v)| *v != "0" && !v.eq_ignore_ascii_case("false"))
    }

    /// Whether a parameter is there at all.
    pub fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(k, _)| k == name)
    }
}

/// See the module.
#[derive(Debug, Clone, Default)]
pub struct RequestInfo {
    /// Whether a resource is asked for; otherwise only `path`, `verb` and `query` mean something.
    pub is_resource: bool,
    /// The path, undecoded.
    pub path: String,
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, `deletecollection`; the lower-case method otherwise.
    pub verb: &'static str,
    /// API group; empty for the core group.
    pub group: String,
    /// API version.
    pub version: String,
    /// Namespace, or empty.
    pub namespace: String,
    /// Plural resource, or empty.
    pub resource: String,
    /// Subresource, or empty.
    pub subresource: String,
    /// Name, or empty. For a list with `fieldSelector=metadata.name=x`, `x`.
    pub name: String,
    /// What follows the subresource (the path to proxy to).
    pub rest: String,
    /// The query.
    pub query: Query,
}

/// Where the whole store is read from, see `endpoints/snapshot.rs`: it takes as long as its reader.
pub const SNAPSHOT: &str = "/ferry/snapshot";

impl RequestInfo {
    /// Reads a request's head.
    pub fn of(parts: &Parts) -> Self {
        Self::parse(&parts.method, parts.uri.path(), parts.uri.query().unwrap_or_default())
    }

    /// Reads method, path and query.
    pub fn parse(method: &Method, path: &str, query: &str) -> Self {
        let mut info =
            Self { path: path.to_string(), verb: method_verb(method), query: Query::parse(query), ..Self::default() };
        let decoded = percent_decode(path);
        let segments: Vec<&str> = decoded.split('/').filter(|s| !s.is_empty()).collect();
        let mut rest = match segments.as_slice() {
            ["api", version, rest @ ..] if !rest.is_empty() => {
                info.version = version.to_string();
                rest
            }
            ["apis", group, version, rest @ ..] if !rest.is_empty() => {
                (info.group, info.version) = (group.to_string(), version.to_string());
                rest
            }
            _ => return info,
        };
        info.is_resource = true;
        info.verb = match *method {
            Method::POST => "create",
            Method::GET | Method::HEAD => "get",
            Method::PUT => "update",
            Method::PATCH => "patch",
            Method::DELETE => "delete",
            _ => "",
        };
        if let ["watch", after @ ..] = rest {
            info.verb = "watch";
            rest = after;
        }
        if let ["namespaces", namespace, after @ ..] = rest {
            info.namespace = namespace.to_string();
            // A namespace's own subresources are not resources in it.
            if !after.is_empty() && !matches!(after[0], "status" | "finalize") {
                rest = after;
            }
        }
        info.resource = rest.first().unwrap_or(&"").to_string();
        info.name = rest.get(1).unwrap_or(&"").to_string();
        info.subresource = rest.get(2).unwrap_or(&"").to_string();
        if rest.len() > 3 {
            info.rest = rest[3..].join("/");
        }
        if !info.rest.is_empty() && decoded.ends_with('/') {
            info.rest.push('/');
        }
        if info.name.is_empty() && info.verb == "get" {
            info.verb = if info.query.flag("watch") { "watch" } else { "list" };
        } else if info.name.is_empty() && info.verb == "delete" {
            info.verb = "deletecollection";
        }
        if info.name.is_empty() && matches!(info.verb, "list" | "watch" | "deletecollection") {
            let selector = info.query.get("fieldSelector").unwrap_or_default();
            if let Ok(selector) = FieldSelector::parse(selector)
                && let Some(name) = selector.exact_match("metadata.name")
            {
                info.name = name.to_string();
            }
        }
        info
    }

    /// Whether the request may stay open for long, so that no limit of time or number for ordinary ones fits it.
    pub fn long_running(&self) -> bool {
        self.verb == "watch"
            || self.path == SNAPSHOT
            || self.is_resource
                && (matches!(self.subresource.as_str(), "exec" | "attach" | "portforward" | "proxy")
                    || self.subresource == "log" && self.query.flag("follow"))
    }
}

fn method_verb(method: &Method) -> &'static str {
    match *method {
        Method::GET => "get",
        Method::HEAD => "head",
        Method::POST => "post",
        Method::PUT => "put",
        Method::PATCH => "patch",
        Method::DELETE => "delete",
        Method::OPTIONS => "options",
        _ => "",
    }
}

/// `%xx` decoded; what does not decode to UTF-8 stays as it is (and matches nothing).
fn percent_decode(path: &str) -> Cow<'_, str> {
    if !path.contains('%') {
        return path.into();
    }
    let bytes = path.as_bytes();
    let (mut out, mut at) = (Vec::with_capacity(bytes.len()), 0);
    while at < bytes.len() {
        let hex = |i: usize| bytes.get(i).and_then(|b| (*b as char).to_digit(16));
        match (bytes[at], hex(at + 1), hex(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                out.push((high * 16 + low) as u8);
                at += 3;
            }
            (byte, ..) => {
                out.push(byte);
                at += 1;
            }
        }
    }
    String::from_utf8(out).map_or(path.into(), Cow::Owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_become_attributes() {
        for (method, path, expect) in [
            ("GET", "/api/v1/pods", "list v1 /pods"),
            ("GET", "/api/v1/pods?watch=1", "watch v1 /pods"),
            ("GET", "/api/v1/watch/namespaces/a/pods", "watch v1 a/pods"),
            // As upstream: a name makes it a get, whatever the query says.
            ("GET", "/api/v1/namespaces/a/pods/b?watch=1", "get v1 a/pods/b"),
            ("GET", "/api/v1/watch/namespaces/a/pods/b", "watch v1 a/pods/b"),
            ("GET", "/api/v1/namespaces/a/pods/b", "get v1 a/pods/b"),
            ("GET", "/api/v1/namespaces/a/pods/b/log", "get v1 a/pods/b/log"),
            ("GET", "/api/v1/namespaces/a", "get v1 a/namespaces/a"),
            ("PUT", "/api/v1/namespaces/a/finalize", "update v1 a/namespaces/a/finalize"),
            ("DELETE", "/apis/apps/v1/namespaces/a/deployments", "deletecollection apps/v1 a/deployments"),
            ("PATCH", "/apis/apps/v1/namespaces/a/deployments/d/scale", "patch apps/v1 a/deployments/d/scale"),
            ("GET", "/api/v1/nodes?fieldSelector=metadata.name%3Dn1", "list v1 /nodes/n1"),
            ("POST", "/api/v1/namespaces/a/services/s:http/proxy/x/y/", "create v1 a/services/s:http/proxy>x/y/"),
            (
                "GET",
                "/apis/rbac.authorization.k8s.io/v1/clusterroles/system%3Anode",
                "get rbac.authorization.k8s.io/v1 /clusterroles/system:node",
            ),
            ("GET", "/apis/apps/v1", "-get"),
            ("POST", "/healthz", "-post"),
        ] {
            let (path, query) = path.split_once('?').unwrap_or((path, ""));
            let i = RequestInfo::parse(&method.parse().expect("method"), path, query);
            let slash = |s: &str| if s.is_empty() { String::new() } else { format!("/{s}") };
            let got = if i.is_resource {
                let gv = if i.group.is_empty() { i.version.clone() } else { format!("{}/{}", i.group, i.version) };
                let rest = if i.rest.is_empty() { String::new() } else { format!(">{}", i.rest) };
                format!(
                    "{} {gv} {}/{}{}{}{rest}",
                    i.verb,
                    i.namespace,
                    i.resource,
                    slash(&i.name),
                    slash(&i.subresource)
                )
            } else {
                format!("-{}", i.verb)
            };
            assert_eq!(got, expect);
        }
    }
}
