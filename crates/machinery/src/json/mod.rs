//! JSON as upstream reads it: duplicate keys are noticed (the last one wins), depth is bounded, broken UTF-8 becomes
//! U+FFFD, and faults are told in Go's words. serde_json notices none of this, hence an own reader; writing is serde_json's.

mod fields;
mod parser;

pub use fields::Fields;
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

/// Reads one document, with nothing behind it. The error has Go's words.
pub fn from_slice(bytes: &[u8]) -> Result<Document, String> {
    parser::parse(bytes)
}

#[cfg(test)]
mod tests;
