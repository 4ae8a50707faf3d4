//! JSON as upstream reads it: duplicate keys are noticed (the last one wins), depth is bounded, broken UTF-8 becomes
//! U+FFFD, and faults are told in Go's words. serde_json notices none of this, hence an own reader; writing is serde_json's.

mod parser;

use serde_json::Value;

/// Deepest nesting that is read. Upstream stops at 10,000; walkers here recurse, on 2 MiB stacks.
pub const MAX_DEPTH: usize = 1000;

/// A document.
#[derive(Clone, Debug, PartialEq)]
pub struct Document {
    /// Its value; of keys given twice the last one's.
    pub value: Value,
    /// Paths of keys given twice, as in `spec.containers[0].name`, each once, at most 100.
    pub duplicates: Vec<String>,
}

/// The value at a path of names and indexes (`/spec/containers/0`), as [`Value::pointer`] finds it; but names have nothing
/// escaped, which costs that two copies of each.
pub fn at<'v>(value: &'v Value, path: &str) -> Option<&'v Value> {
    path.split('/').skip(1).try_fold(value, |value, name| match value {
        Value::Object(members) => members.get(name),
        Value::Array(items) => items.get(name.parse::<usize>().ok()?),
        _ => None,
    })
}

/// Reads one document, with nothing behind it. The error has Go's words.
pub fn from_slice(bytes: &[u8]) -> Result<Document, String> {
    parser::parse(bytes)
}

#[cfg(test)]
mod tests;
