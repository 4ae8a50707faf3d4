//! `format`: which count (`apiserver/validation/formats.go`), and their checks (`kube-openapi/pkg/validation/strfmt`).

use super::fault::{Fault, Outcome};
use crate::parse::Schema;

/// Whether a schema's format means something; others are ignored, with a warning when they are defined.
pub(crate) fn recognized(schema: &Schema) -> bool {
    // Type and int-or-string together are no single type.
    match (schema.int_or_string, schema.ty.as_str()) {
        (true, _) | (_, "" | "string") => formats::is_known(&schema.format),
        (_, "integer") => matches!(schema.format.as_str(), "int32" | "int64"),
        (_, "number") => matches!(schema.format.as_str(), "float" | "double"),
        _ => false,
    }
}

/// The format, where it counts; else empty.
pub(super) fn effective(schema: &Schema) -> &str {
    if schema.raw_format || recognized(schema) { &schema.format } else { "" }
}

pub(super) fn check(given: &str, format: &str, path: &str) -> Outcome {
    if formats::matches(format, given) {
        Outcome::default()
    } else {
        Outcome::of(Fault::wrong_type(path, format, given))
    }
}
