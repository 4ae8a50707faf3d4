//! Reading JSON values by paths, and quoting texts as Go's `%q` does.

use machinery::json::at;
use serde_json::Value;

/// The string at a path ([`at`]), or empty.
pub fn text<'v>(value: &'v Value, path: &str) -> &'v str {
    at(value, path).and_then(Value::as_str).unwrap_or_default()
}

/// The array at a path, or empty.
pub fn items<'v>(value: &'v Value, path: &str) -> &'v [Value] {
    at(value, path).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

/// The strings of the array at a path.
pub fn texts(value: &Value, path: &str) -> Vec<String> {
    items(value, path).iter().filter_map(Value::as_str).map(str::to_owned).collect()
}

pub use machinery::go::quote as quoted;

/// Go's `%q` of a list of strings: `["a" "b"]`.
pub fn quoted_list<T: AsRef<str>>(list: &[T]) -> String {
    let parts: Vec<String> = list.iter().map(|item| quoted(item.as_ref())).collect();
    format!("[{}]", parts.join(" "))
}
