//! The values of text types that upstream enumerates (`enums.txt`: a package, a Go type, its values).

use std::collections::HashMap;
use std::sync::LazyLock;

/// The values of a text type, by the package that uses it and its Go name.
static VALUES: LazyLock<HashMap<(&str, &str), Vec<&str>>> = LazyLock::new(|| {
    let lines = include_str!("enums.txt").lines().filter_map(|line| line.split_once('\t'));
    lines.filter_map(|(ty, values)| Some((ty.split_once(' ')?, values.split(',').collect()))).collect()
});

/// The values that a text of this Go type can have, where upstream says which.
pub(super) fn values(package: &'static str, go_type: &'static str) -> Option<&'static [&'static str]> {
    VALUES.get(&(package, go_type)).map(Vec::as_slice)
}
