//! Rules for the strings in workloads: ports, environment variables, keys of ConfigMaps, user ids.

use super::{
    DNS1123_SUBDOMAIN_MAX_LENGTH, dns1123_label, dns1123_subdomain, inclusive_range_error, max_length_error,
    qualified_name, regex_error,
};
use crate::field::{Error, ErrorList, Path};

/// Whether a resource is one that Kubernetes knows itself (`IsNativeResource`).
pub fn is_native_resource(name: &str) -> bool {
    !name.contains('/') || name.contains("kubernetes.io/")
}

/// Whether a resource is one that nodes have beside those, such as a device plugin's (`IsExtendedResourceName`).
pub fn is_extended_resource(name: &str) -> bool {
    !is_native_resource(name)
        && !name.starts_with("requests.")
        && qualified_name(&format!("requests.{name}")).is_empty()
}

/// A port's number.
pub fn port_num(port: i64) -> Vec<String> {
    if (1..=65535).contains(&port) { Vec::new() } else { vec![inclusive_range_error(1, 65535)] }
}

/// A container's user.
pub fn user_id(id: i64) -> Vec<String> {
    if (0..=i64::from(i32::MAX)).contains(&id) { Vec::new() } else { vec![inclusive_range_error(0, i32::MAX.into())] }
}

/// A container's group.
pub fn group_id(id: i64) -> Vec<String> {
    user_id(id)
}

/// A port's name.
pub fn port_name(name: &str) -> Vec<String> {
    let mut errors = Vec::new();
    if name.len() > 15 {
        errors.push(max_length_error(15));
    }
    if name.is_empty() || !name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-') {
        errors.push("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)".to_owned());
    }
    if !name.bytes().any(|b| b.is_ascii_lowercase()) {
        errors.push("must contain at least one letter (a-z)".to_owned());
    }
    if name.contains("--") {
        errors.push("must not contain consecutive hyphens".to_owned());
    }
    if name.starts_with('-') || name.ends_with('-') {
        errors.push("must not begin or end with a hyphen".to_owned());
    }
    errors
}

/// `25%`.
pub fn percent(text: &str) -> Vec<String> {
    let digits = text.strip_suffix('%').unwrap_or_default();
    if !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) {
        return Vec::new();
    }
    vec![regex_error(
        "a valid percent string must be a numeric string followed by an ending '%'",
        "[0-9]+%",
        &["1%", "93%"],
    )]
}

/// The name of an HTTP header.
pub fn http_header_name(name: &str) -> Vec<String> {
    if !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') {
        return Vec::new();
    }
    vec![regex_error(
        "a valid HTTP header must consist of alphanumeric characters or '-'",
        "[-A-Za-z0-9]+",
        &["X-Header-Name"],
    )]
}

fn no_dots_first(value: &str) -> Option<String> {
    match value {
        "." => Some("must not be '.'".to_owned()),
        ".." => Some("must not be '..'".to_owned()),
        v if v.starts_with("..") => Some("must not start with '..'".to_owned()),
        _ => None,
    }
}

/// The strict rule of an environment variable's name.
pub fn env_var_name(name: &str) -> Vec<String> {
    let mut errors = Vec::new();
    let inner = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_');
    if name.is_empty() || name.as_bytes()[0].is_ascii_digit() || !name.bytes().all(inner) {
        errors.push(regex_error(
            "a valid environment variable name must consist of alphabetic characters, digits, '_', '-', or '.', and must not start with a digit",
            "[-._a-zA-Z][-._a-zA-Z0-9]*",
            &["my.env-name", "MY_ENV.NAME", "MyEnvName1"],
        ));
    }
    errors.extend(no_dots_first(name));
    errors
}

/// The rule of an environment variable's name since v1.34.
pub fn relaxed_env_var_name(name: &str) -> Vec<String> {
    let mut errors = Vec::new();
    if name.is_empty() {
        errors.push("environment variable name must be non-empty".to_owned());
    }
    if !name.bytes().all(|b| (b' '..=b'~').contains(&b) && b != b'=') {
        errors.push(
            "a valid environment variable name must consist only of printable ASCII characters other than '='"
                .to_owned(),
        );
    }
    errors
}

/// A key of a ConfigMap or Secret.
pub fn config_map_key(key: &str) -> Vec<String> {
    let mut errors = Vec::new();
    if key.len() > DNS1123_SUBDOMAIN_MAX_LENGTH {
        errors.push(max_length_error(DNS1123_SUBDOMAIN_MAX_LENGTH));
    }
    if key.is_empty() || !key.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_')) {
        errors.push(regex_error(
            "a valid config key must consist of alphanumeric characters, '-', '_' or '.'",
            "[-._a-zA-Z0-9]+",
            &["key.name", "KEY_NAME", "key-name"],
        ));
    }
    errors.extend(no_dots_first(key));
    errors
}

/// A domain of three segments or more.
pub fn fully_qualified_name(path: &Path, name: &str) -> ErrorList {
    if name.is_empty() {
        return vec![Error::required(path, "")];
    }
    let errors = dns1123_subdomain(name);
    if !errors.is_empty() {
        return vec![Error::invalid(path, name, errors.join(","))];
    }
    if name.split('.').count() < 3 {
        let message = "should be a domain with at least three segments separated by dots";
        return vec![Error::invalid(path, name, message)];
    }
    Vec::new()
}

/// A domain of two segments or more, a last dot allowed.
pub fn fully_qualified_domain_name(path: &Path, name: &str) -> ErrorList {
    if name.is_empty() {
        return vec![Error::required(path, "")];
    }
    let name = name.strip_suffix('.').unwrap_or(name);
    let errors = dns1123_subdomain(name);
    if !errors.is_empty() {
        return vec![Error::invalid(path, name, errors.join(","))];
    }
    if name.split('.').count() < 2 {
        let message = "should be a domain with at least two segments separated by dots";
        return vec![Error::invalid(path, name, message)];
    }
    for label in name.split('.') {
        let errors = dns1123_label(label);
        if !errors.is_empty() {
            return vec![Error::invalid(path, label, errors.join(","))];
        }
    }
    Vec::new()
}

/// `acme.io/foo/bar`.
pub fn domain_prefixed_path(path: &Path, value: &str) -> ErrorList {
    if value.is_empty() {
        return vec![Error::required(path, "")];
    }
    let Some((host, rest)) = value.split_once('/').filter(|(h, r)| !h.is_empty() && !r.is_empty()) else {
        return vec![Error::invalid(path, value, "must be a domain-prefixed path (such as \"acme.io/foo\")")];
    };
    let mut errors: ErrorList = dns1123_subdomain(host).into_iter().map(|m| Error::invalid(path, host, m)).collect();
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"/-._~%!$&'()*+,;=:".contains(&b);
    if !rest.bytes().all(allowed) {
        let message = regex_error("Invalid path", r"[A-Za-z0-9/\-._~%!$&'()*+,;=:]+", &[]);
        errors.push(Error::invalid(path, rest, message));
    }
    errors
}

/// `acme.io/foo`.
pub fn domain_prefixed_key(path: &Path, key: &str) -> ErrorList {
    if key.is_empty() {
        return vec![Error::required(path, "")];
    }
    let errors: ErrorList = qualified_name(key).into_iter().map(|m| Error::invalid(path, key, m)).collect();
    if errors.is_empty() && !key.contains('/') {
        return vec![Error::invalid(path, key, "must be a domain-prefixed key (such as \"acme.io/foo\")")];
    }
    errors
}
