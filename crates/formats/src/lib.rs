//! What a text may look like: the named formats of JSON schemas (`kube-openapi/pkg/validation/strfmt`), and regular
//! expressions as Go reads them.
//!
//! It knows texts alone: no schema, no expression language, no object.

pub mod pattern;
pub mod text;

/// A format and its check.
type Row = (&'static str, fn(&str) -> bool);

/// By name without dashes.
const FORMATS: &[Row] = &[
    ("bsonobjectid", text::bson_object_id),
    ("uri", text::uri),
    ("email", text::email),
    ("hostname", text::hostname),
    ("ipv4", text::ipv4),
    ("ipv6", text::ipv6),
    ("cidr", text::cidr),
    ("mac", text::mac),
    ("uuid", text::uuid),
    ("uuid3", text::uuid3),
    ("uuid4", text::uuid4),
    ("uuid5", text::uuid5),
    ("isbn", text::isbn),
    ("isbn10", text::isbn10),
    ("isbn13", text::isbn13),
    ("creditcard", text::credit_card),
    ("ssn", text::ssn),
    ("hexcolor", text::hex_color),
    ("rgbcolor", text::rgb_color),
    ("byte", text::base64),
    ("password", |_| true),
    ("date", text::date),
    ("duration", text::duration),
    ("datetime", text::date_time),
    ("k8sshortname", text::short_name),
    ("k8slongname", text::long_name),
];

fn check(format: &str) -> Option<fn(&str) -> bool> {
    let named = |name: &str| format.chars().filter(|c| *c != '-').eq(name.chars());
    FORMATS.iter().find(|(name, _)| named(name)).map(|(_, check)| *check)
}

/// Whether texts of the format can be checked.
pub fn is_known(format: &str) -> bool {
    check(format).is_some()
}

/// Whether a text has a format; every text has one that is not known.
pub fn matches(format: &str, text: &str) -> bool {
    check(format).is_none_or(|check| check(text))
}
