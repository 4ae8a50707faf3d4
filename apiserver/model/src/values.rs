//! Quoting texts as Go's `%q` does.

pub use machinery::go::quote as quoted;

/// Go's `%q` of a list of strings: `["a" "b"]`.
pub fn quoted_list<T: AsRef<str>>(list: &[T]) -> String {
    let parts: Vec<String> = list.iter().map(|item| quoted(item.as_ref())).collect();
    format!("[{}]", parts.join(" "))
}
