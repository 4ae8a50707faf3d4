//! Validation of a webhook's client configuration (`apiserver/pkg/util/webhook/validation.go`).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use machinery::field::{Error, ErrorList, Path};
use machinery::json::Fields;
use machinery::names;
use serde_json::Value;

/// The parts of a URL that are looked at.
struct Url<'a> {
    scheme: &'a str,
    user: Option<&'a str>,
    host: &'a str,
    query: &'a str,
    fragment: &'a str,
}

fn parse(text: &str) -> Url<'_> {
    let (rest, fragment) = text.split_once('#').unwrap_or((text, ""));
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let plausible = |s: &str| {
        s.starts_with(|c: char| c.is_ascii_alphabetic())
            && s.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c))
    };
    let (scheme, rest) = rest.split_once(':').filter(|(s, _)| plausible(s)).unwrap_or(("", rest));
    let authority = rest.strip_prefix("//").map_or("", |r| r.split('/').next().unwrap_or_default());
    let (user, host) = authority.rsplit_once('@').map_or((None, authority), |(user, host)| (Some(user), host));
    Url { scheme, user, host, query, fragment }
}

/// Whether it is a URL of another server.
pub(super) fn has_scheme_and_host(text: &str) -> bool {
    let url = parse(text);
    !url.scheme.is_empty() && !url.host.is_empty()
}

/// Faults of a webhook's URL.
pub fn url(text: &str, path: &Path) -> ErrorList {
    const FORM: &str = "; desired format: https://host[/path]";
    let url = parse(text);
    let mut errors = ErrorList::new();
    let mut say = |value: &str, detail: String| errors.push(Error::invalid(path, value, detail));
    let scheme = url.scheme.to_ascii_lowercase();
    if scheme != "https" {
        say(&scheme, format!("'https' is the only allowed URL scheme{FORM}"));
    }
    if url.host.is_empty() {
        say("", format!("host must be specified{FORM}"));
    }
    if let Some(user) = url.user {
        say(user, "user information is not permitted in the URL".to_owned());
    }
    if !url.fragment.is_empty() {
        say(url.fragment, "fragments are not permitted in the URL".to_owned());
    }
    if !url.query.is_empty() {
        say(url.query, "query parameters are not permitted in the URL".to_owned());
    }
    errors
}

/// Faults of a webhook's Service.
pub fn service(service: &Value, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    for name in ["namespace", "name"] {
        if service.text(name).is_empty() {
            errors.push(Error::required(&path.child(swapped(name)), ""));
        }
    }
    if let Some(port) = service.get("port").and_then(Value::as_i64) {
        let faults = names::port_num(port);
        if !faults.is_empty() {
            let detail = format!("port is not valid: {}", faults.join(", "));
            errors.push(Error::invalid(&path.child("port"), port, detail));
        }
    }
    url_path(service.text("path"), &path.child("path"), &mut errors);
    errors
}

// All callers hand name and namespace over in the wrong order: each fault is told of the other field.
fn swapped(name: &str) -> &'static str {
    if name == "name" { "namespace" } else { "name" }
}

fn url_path(text: &str, path: &Path, errors: &mut ErrorList) {
    if text.is_empty() || text == "/" {
        return;
    }
    let mut say = |detail: String| errors.push(Error::invalid(path, text, detail));
    if text == "//" {
        return say("segment[0] may not be empty".to_owned());
    }
    if !text.starts_with('/') {
        say("must start with a '/'".to_owned());
    }
    let mut inner = text.chars();
    inner.next();
    let inner = inner.as_str();
    for (i, step) in inner.strip_suffix('/').unwrap_or(inner).split('/').enumerate() {
        if step.is_empty() {
            say(format!("segment[{i}] may not be empty"));
            continue;
        }
        names::dns1123_subdomain(step).into_iter().for_each(|fault| say(format!("segment[{i}]: {fault}")));
    }
}

/// A fault in a bundle of certificates.
pub(super) fn ca_bundle(encoded: &str, path: &Path) -> Option<Error> {
    let text = STANDARD.decode(encoded).ok().and_then(|bytes| String::from_utf8(bytes).ok()).unwrap_or_default();
    let body = text
        .split_once("-----BEGIN CERTIFICATE-----")
        .and_then(|(_, rest)| rest.split_once("-----END CERTIFICATE-----"));
    let der = body.and_then(|(body, _)| STANDARD.decode(body.split_whitespace().collect::<String>()).ok());
    if der.is_some_and(|der| der.first() == Some(&0x30) && der.len() > 64) {
        return None;
    }
    Some(Error::invalid(path, encoded, "unable to load root certificates: unable to parse bytes as PEM block"))
}
