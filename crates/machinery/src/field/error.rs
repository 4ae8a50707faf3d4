//! One fault of one field, worded as upstream words it.

use super::Path;
use crate::go;
use serde_json::Value;
use std::fmt;

/// What is wrong with the field; becomes the cause's `reason`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ErrorType {
    /// A named value that should exist does not.
    NotFound,
    /// A value must be given.
    Required,
    /// A value must be unique and is not.
    Duplicate,
    /// The value breaks a rule.
    Invalid,
    /// The value is none of the known ones.
    NotSupported,
    /// The value would be right but may not be given here.
    Forbidden,
    /// The value is longer than allowed.
    TooLong,
    /// The list has more items than allowed.
    TooMany,
    /// The list has fewer items than asked for.
    TooFew,
    /// The value is shorter than asked for.
    TooShort,
    /// Not the user's fault.
    Internal,
    /// The value has the wrong type.
    TypeInvalid,
}

impl ErrorType {
    /// The machine-readable name, as in a Status cause.
    pub fn cause(self) -> &'static str {
        match self {
            ErrorType::NotFound => "FieldValueNotFound",
            ErrorType::Required => "FieldValueRequired",
            ErrorType::Duplicate => "FieldValueDuplicate",
            ErrorType::Invalid => "FieldValueInvalid",
            ErrorType::NotSupported => "FieldValueNotSupported",
            ErrorType::Forbidden => "FieldValueForbidden",
            ErrorType::TooLong => "FieldValueTooLong",
            ErrorType::TooMany => "FieldValueTooMany",
            ErrorType::TooFew => "FieldValueTooFew",
            ErrorType::TooShort => "FieldValueTooShort",
            ErrorType::Internal => "InternalError",
            ErrorType::TypeInvalid => "FieldValueTypeInvalid",
        }
    }

    fn words(self) -> &'static str {
        match self {
            ErrorType::NotFound => "Not found",
            ErrorType::Required => "Required value",
            ErrorType::Duplicate => "Duplicate value",
            ErrorType::Invalid | ErrorType::TypeInvalid => "Invalid value",
            ErrorType::NotSupported => "Unsupported value",
            ErrorType::Forbidden => "Forbidden",
            ErrorType::TooLong => "Too long",
            ErrorType::TooMany => "Too many",
            ErrorType::TooFew => "Too few",
            ErrorType::TooShort => "Too short",
            ErrorType::Internal => "Internal error",
        }
    }
}

/// A fault of a field. `bad_value` is printed where the type prints one; None leaves it out.
#[derive(Clone, Debug, PartialEq)]
pub struct Error {
    /// What is wrong.
    pub kind: ErrorType,
    /// Where, printed.
    pub field: String,
    /// The offending value.
    pub bad_value: Option<Value>,
    /// More words, may be empty.
    pub detail: String,
}

/// Everything that is wrong with an object, in the order in which it was found.
pub type ErrorList = Vec<Error>;

impl Error {
    fn new(kind: ErrorType, path: &Path, bad_value: Option<Value>, detail: impl Into<String>) -> Self {
        Error { kind, field: path.to_string(), bad_value, detail: detail.into() }
    }

    /// `Required value`; the detail may be empty.
    pub fn required(path: &Path, detail: impl Into<String>) -> Self {
        Self::new(ErrorType::Required, path, None, detail)
    }

    /// `Invalid value: …: detail`.
    pub fn invalid(path: &Path, value: impl Into<Value>, detail: impl Into<String>) -> Self {
        Self::new(ErrorType::Invalid, path, Some(value.into()), detail)
    }

    /// `Invalid value: …: detail` of the type FieldValueTypeInvalid.
    pub fn type_invalid(path: &Path, value: impl Into<Value>, detail: impl Into<String>) -> Self {
        Self::new(ErrorType::TypeInvalid, path, Some(value.into()), detail)
    }

    /// `Unsupported value: …: supported values: "a", "b"`. The caller sorts the values where upstream does.
    pub fn not_supported<S: AsRef<str>>(
        path: &Path,
        value: impl Into<Value>,
        supported: impl IntoIterator<Item = S>,
    ) -> Self {
        let names: Vec<String> = supported.into_iter().map(|s| go::quote(s.as_ref())).collect();
        let detail = if names.is_empty() { String::new() } else { format!("supported values: {}", names.join(", ")) };
        Self::new(ErrorType::NotSupported, path, Some(value.into()), detail)
    }

    /// `Forbidden: detail`.
    pub fn forbidden(path: &Path, detail: impl Into<String>) -> Self {
        Self::new(ErrorType::Forbidden, path, None, detail)
    }

    /// `Duplicate value: …`.
    pub fn duplicate(path: &Path, value: impl Into<Value>) -> Self {
        Self::new(ErrorType::Duplicate, path, Some(value.into()), "")
    }

    /// `Not found: …`.
    pub fn not_found(path: &Path, value: impl Into<Value>) -> Self {
        Self::new(ErrorType::NotFound, path, Some(value.into()), "")
    }

    /// `Too long: may not be more than N bytes`.
    pub fn too_long(path: &Path, max: usize) -> Self {
        let unit = if max == 1 { "byte" } else { "bytes" };
        Self::new(ErrorType::TooLong, path, None, format!("may not be more than {max} {unit}"))
    }

    /// `Too long: may not be more than N characters`.
    pub fn too_long_characters(path: &Path, max: usize) -> Self {
        let unit = if max == 1 { "character" } else { "characters" };
        Self::new(ErrorType::TooLong, path, None, format!("may not be more than {max} {unit}"))
    }

    /// `Too many: actual: must have at most N items`.
    pub fn too_many(path: &Path, actual: usize, max: usize) -> Self {
        let unit = if max == 1 { "item" } else { "items" };
        Self::new(ErrorType::TooMany, path, Some(actual.into()), format!("must have at most {max} {unit}"))
    }

    /// `Too few: actual: must have at least N items`.
    pub fn too_few(path: &Path, actual: usize, min: usize) -> Self {
        let unit = if min == 1 { "item" } else { "items" };
        Self::new(ErrorType::TooFew, path, Some(actual.into()), format!("must have at least {min} {unit}"))
    }

    /// `Too short: must be at least N characters`.
    pub fn too_short(path: &Path, min: usize) -> Self {
        let unit = if min == 1 { "character" } else { "characters" };
        Self::new(ErrorType::TooShort, path, None, format!("must be at least {min} {unit}"))
    }

    /// The same fault with its value printed already: Go prints structs as no JSON value can be.
    #[must_use]
    pub fn printed(mut self, value: &str) -> Self {
        self.bad_value = None;
        self.detail = if self.detail.is_empty() { value.to_owned() } else { format!("{value}: {}", self.detail) };
        self
    }

    /// `Internal error: detail`.
    pub fn internal(path: &Path, detail: impl Into<String>) -> Self {
        Self::new(ErrorType::Internal, path, None, detail)
    }

    /// The error without the field's name: the message of a Status cause.
    pub fn body(&self) -> String {
        let mut out = self.kind.words().to_owned();
        let prints_value = !matches!(
            self.kind,
            ErrorType::Required | ErrorType::Forbidden | ErrorType::TooLong | ErrorType::TooShort | ErrorType::Internal
        );
        if let (true, Some(value)) = (prints_value, &self.bad_value) {
            out.push_str(": ");
            match value {
                Value::String(text) => out.push_str(&go::quote(text)),
                Value::Number(_) => out.push_str(&go::print(value)),
                other => out.push_str(&go::json(other)),
            }
        }
        if !self.detail.is_empty() {
            out.push_str(": ");
            out.push_str(&self.detail);
        }
        out
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.body())
    }
}

impl std::error::Error for Error {}

/// Upstream's aggregate: one message as it is, several in brackets, repetitions once. None when the list is empty.
pub fn aggregate(errors: &[Error]) -> Option<String> {
    let mut messages: Vec<String> = Vec::with_capacity(errors.len());
    for error in errors {
        let message = error.to_string();
        if !messages.contains(&message) {
            messages.push(message);
        }
    }
    match messages.len() {
        0 => None,
        1 => messages.pop(),
        _ => Some(format!("[{}]", messages.join(", "))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn worded_as_upstream() {
        let p = Path::new("spec").child("x");
        for (error, want) in [
            (Error::required(&p, ""), "spec.x: Required value"),
            (Error::required(&p, "give it"), "spec.x: Required value: give it"),
            (Error::invalid(&p, "a\"b", "no"), r#"spec.x: Invalid value: "a\"b": no"#),
            (Error::invalid(&p, -1, "no"), "spec.x: Invalid value: -1: no"),
            (Error::invalid(&p, 1.0, "no"), "spec.x: Invalid value: 1: no"),
            (Error::invalid(&p, json!([1.0, 1.5, 1e21]), "no"), "spec.x: Invalid value: [1,1.5,1e+21]: no"),
            (Error::invalid(&p, Value::Null, "no"), "spec.x: Invalid value: null: no"),
            (
                Error::invalid(&p, json!({"b": 1, "a": ["<"]}), "no"),
                r#"spec.x: Invalid value: {"a":["\u003c"],"b":1}: no"#,
            ),
            (
                Error::not_supported(&p, "z", ["a", "b"]),
                r#"spec.x: Unsupported value: "z": supported values: "a", "b""#,
            ),
            (Error::not_supported(&p, "z", [""; 0]), r#"spec.x: Unsupported value: "z""#),
            (Error::forbidden(&p, "no"), "spec.x: Forbidden: no"),
            (Error::duplicate(&p, "z"), r#"spec.x: Duplicate value: "z""#),
            (Error::not_found(&p, "z"), r#"spec.x: Not found: "z""#),
            (Error::too_long(&p, 5), "spec.x: Too long: may not be more than 5 bytes"),
            (Error::too_many(&p, 3, 1), "spec.x: Too many: 3: must have at most 1 item"),
            (Error::too_few(&p, 0, 2), "spec.x: Too few: 0: must have at least 2 items"),
            (Error::internal(&p, "oh"), "spec.x: Internal error: oh"),
            (Error::invalid(&p, Value::Null, "no").printed("{A}"), "spec.x: Invalid value: {A}: no"),
            (Error::duplicate(&p, Value::Null).printed("{A}"), "spec.x: Duplicate value: {A}"),
        ] {
            assert_eq!(error.to_string(), want);
        }
    }

    #[test]
    fn aggregates() {
        let p = Path::new("a");
        let one = Error::required(&p, "");
        assert_eq!(aggregate(&[]), None);
        assert_eq!(aggregate(&[one.clone(), one.clone()]).as_deref(), Some("a: Required value"));
        let two = [one.clone(), Error::forbidden(&p, "x"), one];
        assert_eq!(aggregate(&two).as_deref(), Some("[a: Required value, a: Forbidden: x]"));
    }
}
