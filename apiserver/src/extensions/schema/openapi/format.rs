//! `format`: which count (`apiserver/validation/formats.go`), and their checks (`kube-openapi/pkg/validation/strfmt`).

use super::fault::{Fault, Outcome};
use super::format_text as text;
use crate::extensions::schema::parse::Schema;

/// A format of texts and its check.
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

fn row(format: &str) -> Option<&'static Row> {
    FORMATS.iter().find(|(name, _)| format.chars().filter(|c| *c != '-').eq(name.chars()))
}

/// Whether a schema's format means something; others are ignored, with a warning when they are defined.
pub(in crate::extensions::schema) fn recognized(schema: &Schema) -> bool {
    // Type and int-or-string together are no single type.
    match (schema.int_or_string, schema.ty.as_str()) {
        (true, _) | (_, "" | "string") => row(&schema.format).is_some(),
        (_, "integer") => matches!(schema.format.as_str(), "int32" | "int64"),
        (_, "number") => matches!(schema.format.as_str(), "float" | "double"),
        _ => false,
    }
}

/// The format, where it counts; else empty.
pub(super) fn effective(schema: &Schema) -> &str {
    if schema.raw_format || recognized(schema) { &schema.format } else { "" }
}

/// Whether a text has a format; all have one that is not known.
pub(in crate::extensions::schema) fn matches(format: &str, text: &str) -> bool {
    row(format).is_none_or(|(_, matches)| matches(text))
}

/// Whether texts of the format can be checked.
pub(super) fn known(format: &str) -> bool {
    row(format).is_some()
}

pub(super) fn check(given: &str, format: &str, path: &str) -> Outcome {
    match row(format) {
        Some((_, matches)) if !matches(given) => Outcome::of(Fault::wrong_type(path, format, given)),
        _ => Outcome::default(),
    }
}
