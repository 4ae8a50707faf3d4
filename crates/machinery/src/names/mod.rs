//! Rules for names, labels and other short strings, with upstream's messages
//! (`apimachinery/pkg/util/validation`, `api/validate/content`). Each function gives what is wrong, nothing when all is well.
//! The patterns in the messages are what users are shown; the matching is by hand, as it runs on every write.

mod ip;
mod pattern;
mod workload;

pub use ip::{
    canonical_cidr, canonical_ip, cidr, cidr_for_legacy_field, cidr_warnings, interface_address, ip,
    ip_for_legacy_field, ip_warnings, parse_cidr_sloppy, parse_ip_sloppy,
};
use pattern::{c_identifier_matches, dns1035_label_matches, label_matches, qualified_matches, subdomain_matches};
pub use workload::{
    config_map_key, domain_prefixed_key, domain_prefixed_path, env_var_name, fully_qualified_domain_name,
    fully_qualified_name, group_id, http_header_name, is_extended_resource, is_native_resource, percent, port_name,
    port_num, relaxed_env_var_name, user_id,
};

/// Longest label.
pub const DNS1123_LABEL_MAX_LENGTH: usize = 63;
/// Longest subdomain.
pub const DNS1123_SUBDOMAIN_MAX_LENGTH: usize = 253;
/// Longest label value.
pub const LABEL_VALUE_MAX_LENGTH: usize = 63;

const LABEL_FMT: &str = "[a-z0-9]([-a-z0-9]*[a-z0-9])?";
const SUBDOMAIN_FMT: &str = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*";
const QUALIFIED_FMT: &str = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]";
const QUALIFIED_MESSAGE: &str =
    "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character";

/// `a message (e.g. 'x',  or 'y', regex used for validation is '…')`: upstream's own odd punctuation.
pub fn regex_error(message: &str, format: &str, examples: &[&str]) -> String {
    if examples.is_empty() {
        return format!("{message} (regex used for validation is '{format}')");
    }
    let examples: Vec<String> = examples.iter().map(|e| format!("'{e}', ")).collect();
    format!("{message} (e.g. {}regex used for validation is '{format}')", examples.join(" or "))
}

/// `must be between lo and hi, inclusive`.
pub fn inclusive_range_error(low: i64, high: i64) -> String {
    format!("must be between {low} and {high}, inclusive")
}

fn max_length_error(length: usize) -> String {
    format!("must be no more than {length} characters")
}

/// A lowercase RFC 1123 label: most names of pods' parts, namespaces.
pub fn dns1123_label(value: &str) -> Vec<String> {
    let mut errors = Vec::new();
    if value.len() > DNS1123_LABEL_MAX_LENGTH {
        errors.push(max_length_error(DNS1123_LABEL_MAX_LENGTH));
    }
    if !label_matches(value) {
        errors.push(if subdomain_matches(value) {
            "must not contain dots".to_owned()
        } else {
            regex_error(
                "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character",
                LABEL_FMT,
                &["my-name", "123-abc"],
            )
        });
    }
    errors
}

/// A lowercase RFC 1123 subdomain: most objects' names.
pub fn dns1123_subdomain(value: &str) -> Vec<String> {
    let mut errors = Vec::new();
    if value.len() > DNS1123_SUBDOMAIN_MAX_LENGTH {
        errors.push(max_length_error(DNS1123_SUBDOMAIN_MAX_LENGTH));
    }
    if !subdomain_matches(value) {
        errors.push(regex_error(
            "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character",
            SUBDOMAIN_FMT,
            &["example.com"],
        ));
    }
    errors
}

/// The same where underscores are let through (DNS search paths).
pub fn dns1123_subdomain_with_underscore(value: &str) -> Vec<String> {
    let mut errors = Vec::new();
    if value.len() > DNS1123_SUBDOMAIN_MAX_LENGTH {
        errors.push(max_length_error(DNS1123_SUBDOMAIN_MAX_LENGTH));
    }
    if !value.split('.').all(pattern::underscore_label_matches) {
        errors.push(regex_error(
            "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '_', '-' or '.', and must start and end with an alphanumeric character",
            r"_?[a-z0-9]([-_a-z0-9]*[a-z0-9])?(\._?[a-z0-9]([-_a-z0-9]*[a-z0-9])?)*",
            &["example.com"],
        ));
    }
    errors
}

/// A DNS-1035 label: names of Services.
pub fn dns1035_label(value: &str) -> Vec<String> {
    let mut errors = Vec::new();
    if value.len() > DNS1123_LABEL_MAX_LENGTH {
        errors.push(max_length_error(DNS1123_LABEL_MAX_LENGTH));
    }
    if !dns1035_label_matches(value) {
        errors.push(regex_error(
            "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character",
            "[a-z]([-a-z0-9]*[a-z0-9])?",
            &["my-name", "abc-123"],
        ));
    }
    errors
}

/// `*.` and a subdomain: hosts of Ingress.
pub fn wildcard_dns1123_subdomain(value: &str) -> Vec<String> {
    let mut errors = Vec::new();
    if value.len() > DNS1123_SUBDOMAIN_MAX_LENGTH {
        errors.push(max_length_error(DNS1123_SUBDOMAIN_MAX_LENGTH));
    }
    if !value.strip_prefix("*.").is_some_and(subdomain_matches) {
        errors.push(regex_error(
            "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which must consist of lower case alphanumeric characters, '-' or '.' and end with an alphanumeric character",
            &format!(r"\*\.{SUBDOMAIN_FMT}"),
            &["*.example.com"],
        ));
    }
    errors
}

/// A name with an optional DNS prefix: label keys, annotation keys, finalizers.
pub fn qualified_name(value: &str) -> Vec<String> {
    let mut errors = Vec::new();
    let (prefix, name) = match value.split_once('/') {
        None => (None, value),
        Some((_, rest)) if rest.contains('/') => {
            let message = regex_error(QUALIFIED_MESSAGE, QUALIFIED_FMT, &["MyName", "my.name", "123-abc"]);
            errors.push(format!(
                "a valid label key {message} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"
            ));
            return errors;
        }
        Some((prefix, name)) => (Some(prefix), name),
    };
    match prefix {
        None => {}
        Some("") => errors.push("prefix part must be non-empty".to_owned()),
        Some(prefix) => errors.extend(prefix_subdomain(prefix).into_iter().map(|m| format!("prefix part {m}"))),
    }
    if name.is_empty() {
        errors.push("name part must be non-empty".to_owned());
    } else if name.len() > 63 {
        errors.push("name part must be no more than 63 bytes".to_owned());
    }
    if !qualified_matches(name) {
        errors.push(format!(
            "name part {}",
            regex_error(QUALIFIED_MESSAGE, QUALIFIED_FMT, &["MyName", "my.name", "123-abc"])
        ));
    }
    errors
}

// The newer package counts bytes where the older one says characters.
fn prefix_subdomain(value: &str) -> Vec<String> {
    let mut errors = dns1123_subdomain(value);
    if value.len() > DNS1123_SUBDOMAIN_MAX_LENGTH {
        errors[0] = format!("must be no more than {DNS1123_SUBDOMAIN_MAX_LENGTH} bytes");
    }
    errors
}

/// The value of a label.
pub fn label_value(value: &str) -> Vec<String> {
    let mut errors = Vec::new();
    if value.len() > LABEL_VALUE_MAX_LENGTH {
        errors.push(format!("must be no more than {LABEL_VALUE_MAX_LENGTH} bytes"));
    }
    if !value.is_empty() && !qualified_matches(value) {
        errors.push(regex_error(
            "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character",
            &format!("({QUALIFIED_FMT})?"),
            &["MyValue", "my_value", "12345"],
        ));
    }
    errors
}

/// A C identifier.
pub fn c_identifier(value: &str) -> Vec<String> {
    if c_identifier_matches(value) {
        return Vec::new();
    }
    vec![regex_error(
        "a valid C identifier must start with alphabetic character or '_', followed by a string of alphanumeric characters or '_'",
        "[A-Za-z_][A-Za-z0-9_]*",
        &["my_name", "MY_NAME", "MyName"],
    )]
}

/// A name that is one segment of a URL path (RBAC, and anything free in form).
pub fn path_segment(value: &str) -> Vec<String> {
    if value == "." || value == ".." {
        return vec![format!("may not be '{value}'")];
    }
    path_segment_prefix(value)
}

/// The beginning of such a name.
pub fn path_segment_prefix(value: &str) -> Vec<String> {
    ["/", "%"].iter().filter(|s| value.contains(**s)).map(|s| format!("may not contain '{s}'")).collect()
}

/// How an object's name is checked; `prefix` when it is a generateName, whose last dash will be followed by more.
pub type NameRule = fn(name: &str, prefix: bool) -> Vec<String>;

/// Most kinds' names.
pub fn name_is_dns_subdomain(name: &str, prefix: bool) -> Vec<String> {
    if prefix { dns1123_subdomain(&mask_trailing_dash(name)) } else { dns1123_subdomain(name) }
}

/// Namespaces' names.
pub fn name_is_dns_label(name: &str, prefix: bool) -> Vec<String> {
    if prefix { dns1123_label(&mask_trailing_dash(name)) } else { dns1123_label(name) }
}

/// Services' names.
pub fn name_is_dns1035_label(name: &str, prefix: bool) -> Vec<String> {
    if prefix { dns1035_label(&mask_trailing_dash(name)) } else { dns1035_label(name) }
}

/// Names of roles, bindings and others that need only fit into a path.
pub fn name_is_path_segment(name: &str, prefix: bool) -> Vec<String> {
    if prefix { path_segment_prefix(name) } else { path_segment(name) }
}

// Upstream's own: the last two characters become one.
fn mask_trailing_dash(name: &str) -> String {
    if name.len() > 1 && name.ends_with('-') {
        let mut cut = name.len() - 2;
        while !name.is_char_boundary(cut) {
            cut -= 1;
        }
        return format!("{}a", &name[..cut]);
    }
    name.to_owned()
}

#[cfg(test)]
mod tests;
