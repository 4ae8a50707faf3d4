//! A fault before it is told, and how faults add up.

use machinery::field::{Error, Path};
use serde_json::Value;

/// What sort of error it becomes.
enum Sort {
    Required,
    Enum(Vec<String>),
    TooLong(i64),
    TooMany(i64, i64),
    Type,
    Other,
    /// Not about a field.
    Whole,
}

pub(super) struct Fault {
    sort: Sort,
    name: String,
    value: Value,
    message: String,
}

#[derive(Default)]
pub(super) struct Outcome {
    pub(super) faults: Vec<Fault>,
    /// How many checks passed.
    pub(super) matches: u32,
}

impl Outcome {
    pub(super) fn of(fault: Fault) -> Self {
        Outcome { faults: vec![fault], matches: 0 }
    }

    pub(super) fn passed() -> Self {
        Outcome { faults: Vec::new(), matches: 1 }
    }

    /// What was said already is not said again.
    pub(super) fn add(&mut self, fault: Fault) {
        if self.faults.iter().all(|f| f.message != fault.message) {
            self.faults.push(fault);
        }
    }

    pub(super) fn merge(&mut self, other: Outcome) {
        self.matches += other.matches;
        other.faults.into_iter().for_each(|fault| self.add(fault));
    }

    /// The outcome of a check that was made, whatever came of it.
    pub(super) fn applied(&mut self, other: Outcome) {
        self.merge(other);
        self.matches += 1;
    }

    pub(super) fn valid(&self) -> bool {
        self.faults.is_empty()
    }
}

impl Fault {
    fn new(sort: Sort, name: &str, value: impl Into<Value>, message: String) -> Self {
        Fault { sort, name: name.to_owned(), value: value.into(), message }
    }

    pub(super) fn other(name: &str, value: impl Into<Value>, message: String) -> Self {
        Self::new(Sort::Other, name, value, message)
    }

    pub(super) fn whole(message: String) -> Self {
        Self::new(Sort::Whole, "", Value::Null, message)
    }

    pub(super) fn required(name: &str) -> Self {
        Self::new(Sort::Required, name, Value::Null, format!("{name} in body is required"))
    }

    pub(super) fn too_long(name: &str, max: i64) -> Self {
        let message = format!("{name} in body should be at most {max} chars long");
        Self::new(Sort::TooLong(max), name, Value::Null, message)
    }

    pub(super) fn too_many(name: &str, actual: i64, max: i64, message: String) -> Self {
        Self::new(Sort::TooMany(actual, max), name, actual, message)
    }

    pub(super) fn enumeration(name: &str, value: Value, allowed: Vec<String>) -> Self {
        let message = format!("{name} in body should be one of [{}]", allowed.join(" "));
        Self::new(Sort::Enum(allowed), name, value, message)
    }

    /// `given` is the name of the value's type, which upstream puts in the place of the value.
    pub(super) fn wrong_type(name: &str, wanted: &str, given: &str) -> Self {
        let message = format!("{name} in body must be of type {wanted}: {}", machinery::go::quote(given));
        Self::new(Sort::Type, name, given, message)
    }

    pub(super) fn error(self, base: &Path) -> Error {
        let name = self.name.strip_prefix('.').unwrap_or(&self.name);
        let at = if name.is_empty() { base.clone() } else { base.child(name) };
        let shown = |value: Value| if value.is_null() { Value::from("") } else { value };
        match self.sort {
            Sort::Required => Error::required(&at, ""),
            Sort::Enum(allowed) => Error::not_supported(&at, self.value, allowed),
            Sort::TooLong(max) => Error::too_long(&at, usize::try_from(max).unwrap_or_default()),
            Sort::TooMany(actual, max) => Error::too_many(
                &at,
                usize::try_from(actual).unwrap_or_default(),
                usize::try_from(max).unwrap_or_default(),
            ),
            Sort::Type => Error::type_invalid(&at, shown(self.value), self.message),
            Sort::Other => Error::invalid(&at, shown(self.value), self.message),
            Sort::Whole => Error::invalid(base, "", self.message),
        }
    }
}

/// The name of a field of an object at a path.
pub(super) fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}
