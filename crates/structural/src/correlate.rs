//! Which old value belongs to a value (`apiserver/pkg/cel/common/equality.go`): what did not change may stay invalid, and
//! transition rules need it. Fields belong to fields of the same name, elements of map lists to those with the same keys;
//! elements of other lists belong to nothing.

use serde_json::{Map, Value};

use super::parse::Schema;

/// A value, the old one, and the schema of both.
#[derive(Clone, Copy)]
pub(super) struct Correlated<'a> {
    pub(super) new: &'a Value,
    pub(super) old: &'a Value,
    pub(super) schema: &'a Schema,
}

impl<'a> Correlated<'a> {
    /// The field of that name, where both have it.
    pub(super) fn key(&self, name: &str) -> Option<Self> {
        let (new, old) = (self.new.as_object()?.get(name)?, self.old.as_object()?.get(name)?);
        Some(Correlated { new, old, schema: self.schema.at(name)? })
    }

    /// The element at that place of the new list.
    pub(super) fn index(&self, index: usize) -> Option<Self> {
        let (new, old) = (self.new.as_array()?.get(index)?, self.old.as_array()?);
        if !self.schema.is_map_list() {
            return None;
        }
        let old = find(old, new, self.schema)?;
        Some(Correlated { new, old, schema: self.schema.item()? })
    }

    /// Whether nothing changed; the order of map lists is no change.
    pub(super) fn unchanged(&self) -> bool {
        match (self.new, self.old) {
            (Value::Array(new), Value::Array(old)) => {
                if new.len() != old.len() {
                    return false;
                }
                if !self.schema.is_map_list() || self.schema.item().is_none() {
                    return new == old;
                }
                (0..new.len()).all(|i| self.index(i).is_some_and(|c| c.unchanged()))
            }
            (Value::Object(new), Value::Object(old)) => {
                new.len() == old.len()
                    // Fields without a schema belong to nothing: an object with such ones counts as changed, as upstream.
                    && new.keys().all(|name| self.key(name).is_some_and(|c| c.unchanged()))
            }
            (new, old) => new == old,
        }
    }
}

/// The element with the same keys as `like`; of several the first.
pub(super) fn find<'v>(list: &'v [Value], like: &Value, schema: &Schema) -> Option<&'v Value> {
    let like = like.as_object()?;
    list.iter().find(|item| item.as_object().is_some_and(|item| same_keys(item, like, &schema.map_keys)))
}

fn same_keys(a: &Map<String, Value>, b: &Map<String, Value>, keys: &[&str]) -> bool {
    keys.iter().all(|key| a.get(*key) == b.get(*key))
}
