//! YAML with the habits of kubectl and the API server (sigs.k8s.io/yaml over go-yaml v2): YAML 1.1 booleans and octal,
//! the last of equal keys wins, numbers and booleans as keys become strings, whole floats become integers; printed
//! with sorted keys and go-yaml's quoting. Alias bombs and deep nesting are refused in bounded time.

mod emit;
mod read;
mod resolve;

pub use emit::from_json;

use crate::json::Document;
use serde_json::Value;

/// Reads the first document of the text. The error has upstream's prefix.
pub fn to_json(bytes: &[u8]) -> Result<Value, String> {
    let text = text(bytes)?;
    read::read(documents(text).next().unwrap_or_default())
}

/// The same, and what is wrong with it in strict mode (keys given twice), as upstream words it.
pub fn to_json_strict(bytes: &[u8]) -> Result<(Value, Option<String>), String> {
    let text = text(bytes)?;
    let first = documents(text).next().unwrap_or_default();
    Ok((read::read(first)?, read::duplicate(first)))
}

/// Reads YAML or JSON, as kubectl does: what begins with a brace is JSON.
pub fn from_either(bytes: &[u8]) -> Result<Value, String> {
    if bytes.trim_ascii_start().starts_with(b"{") {
        return crate::json::from_slice(bytes).map(|Document { value, .. }| value);
    }
    to_json(bytes)
}

fn text(bytes: &[u8]) -> Result<&str, String> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    std::str::from_utf8(bytes)
        .map_err(|_| "error converting YAML to JSON: yaml: invalid leading UTF-8 octet".to_owned())
}

/// The documents of a stream, cut at lines that begin with `---`; those without content are left out.
pub fn documents(text: &str) -> impl Iterator<Item = &str> {
    let mut cuts = Vec::new();
    let mut start = 0;
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        let is_separator =
            line.strip_prefix("---").is_some_and(|rest| rest.trim().is_empty() || rest.trim_start().starts_with('#'));
        if is_separator {
            cuts.push(&text[start..at]);
            start = at + line.len();
        }
        at += line.len();
    }
    cuts.push(&text[start..]);
    cuts.into_iter().filter(|d| has_content(d))
}

fn has_content(document: &str) -> bool {
    document.lines().any(|l| {
        let l = l.trim();
        !l.is_empty() && !l.starts_with('#') && l != "..."
    })
}

#[cfg(test)]
mod tests;
