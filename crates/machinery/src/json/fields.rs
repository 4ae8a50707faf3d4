//! Reading the members of a JSON object without a typed struct.

use serde_json::{Map, Value};

use crate::quantity::Quantity;

/// Reads members of an object, or of nothing.
///
/// An absent member, null and one of another type read alike, as upstream's structs make no difference either: decoding
/// has refused wrong types before. `pod.sub("spec").text("nodeName")` is empty where there is no spec.
pub trait Fields<'a>: Copy {
    /// The member's value, unless it is absent or null.
    fn sub(self, name: &str) -> Option<&'a Value>;

    /// The value at a path of names and indexes (`/spec/containers/0`), unless it is absent or null. In names nothing is
    /// escaped, unlike in [`Value::pointer`]'s, which costs that two copies of each: a name with a slash is read by
    /// [`Fields::sub`].
    fn at(self, path: &str) -> Option<&'a Value> {
        let mut names = path.split('/').skip(1);
        let first = self.sub(names.next()?)?;
        let found = names.try_fold(first, |value, name| match value {
            Value::Object(members) => members.get(name),
            Value::Array(items) => items.get(name.parse::<usize>().ok()?),
            _ => None,
        });
        found.filter(|value| !value.is_null())
    }

    /// Whether the member is there.
    fn has(self, name: &str) -> bool {
        self.sub(name).is_some()
    }

    /// A string; empty where absent.
    fn text(self, name: &str) -> &'a str {
        self.sub(name).and_then(Value::as_str).unwrap_or_default()
    }

    /// An integer.
    fn int(self, name: &str) -> Option<i64> {
        self.sub(name).and_then(Value::as_i64)
    }

    /// A truth value.
    fn flag(self, name: &str) -> Option<bool> {
        self.sub(name).and_then(Value::as_bool)
    }

    /// A list; empty where absent.
    fn list(self, name: &str) -> &'a [Value] {
        self.sub(name).and_then(Value::as_array).map_or(&[], Vec::as_slice)
    }

    /// The strings of a list.
    fn texts(self, name: &str) -> impl Iterator<Item = &'a str> {
        self.list(name).iter().filter_map(Value::as_str)
    }

    /// An object, where there is one.
    fn object(self, name: &str) -> Option<&'a Map<String, Value>> {
        self.sub(name).and_then(Value::as_object)
    }

    /// The members of an object; none where absent.
    fn entries(self, name: &str) -> impl Iterator<Item = (&'a str, &'a Value)> {
        self.object(name).into_iter().flatten().map(|(k, v)| (k.as_str(), v))
    }

    /// A quantity.
    fn quantity(self, name: &str) -> Option<Quantity> {
        self.sub(name).and_then(Quantity::from_value)
    }
}

impl<'a> Fields<'a> for &'a Map<String, Value> {
    fn sub(self, name: &str) -> Option<&'a Value> {
        self.get(name).filter(|v| !v.is_null())
    }
}

impl<'a> Fields<'a> for &'a Value {
    fn sub(self, name: &str) -> Option<&'a Value> {
        self.get(name).filter(|v| !v.is_null())
    }
}

impl<'a, F: Fields<'a>> Fields<'a> for Option<F> {
    fn sub(self, name: &str) -> Option<&'a Value> {
        self.and_then(|fields| fields.sub(name))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_absent_null_or_of_another_type_reads_alike() {
        let pod =
            json!({"spec": {"nodeName": "n", "priority": 3, "hostNetwork": true, "volumes": null}, "status": null});
        assert_eq!(pod.sub("spec").text("nodeName"), "n");
        assert_eq!((pod.sub("spec").int("priority"), pod.sub("spec").flag("hostNetwork")), (Some(3), Some(true)));
        assert_eq!((pod.sub("spec").text("priority"), pod.sub("status").text("phase")), ("", ""));
        assert!(pod.sub("spec").list("volumes").is_empty() && pod.sub("spec").object("volumes").is_none());
        assert!(pod.has("spec") && !pod.has("status") && !pod.has("metadata"));
        assert_eq!(pod.sub("status").entries("x").count() + pod.sub("status").texts("x").count(), 0);
    }

    #[test]
    fn a_path_has_names_and_indexes_and_nothing_escaped() {
        let pod =
            json!({"spec": {"containers": [{"name": "a"}, {"name": "b~1", "env": null}], "0": "zero", "a~1b": 1}});
        assert_eq!(pod.at("/spec/containers/1").text("name"), "b~1");
        assert_eq!((pod.at("/spec/0"), pod.at("/spec/a~1b")), (Some(&json!("zero")), Some(&json!(1))));
        for path in ["/spec/containers/2", "/spec/containers/x", "/spec/containers/1/env", "/spec/0/x", "/none", ""] {
            assert_eq!(pod.at(path), None, "{path}");
        }
    }
}
