//! The fields of an object or of a part of one: those that it sets (`typed/tofieldset.go`), which is what an applied
//! configuration owns, and all of them, which is what a write adds or removes where only one side has something.

use super::{MergeSchema, Relation, Set, element};
use serde_json::Value;

/// The fields that a valid object sets.
pub fn fields<'a, S: MergeSchema<'a>>(object: &Value, schema: S) -> Set {
    let mut out = Set::default();
    descend(object, schema, Extent::Set, &mut out);
    out
}

/// All that is below a value: each field on the way to another one too, and what is always written.
pub(super) fn all<'a, S: MergeSchema<'a>>(value: &Value, schema: Option<S>) -> Set {
    let mut out = Set::default();
    below(value, schema, Extent::All, &mut out);
    out
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Extent {
    Set,
    All,
}

// Adds what is below one place; says whether the place itself is one value.
fn descend<'a, S: MergeSchema<'a>>(value: &Value, schema: S, extent: Extent, out: &mut Set) -> bool {
    match schema.relation() {
        Relation::Leaf => return true,
        Relation::Struct => {
            let Some(map) = value.as_object() else { return false };
            for (name, value) in map {
                let field = schema.field(name);
                put(name, value, field, field.is_none(), extent, out);
            }
            if extent == Extent::All {
                schema.always(&mut |name, zero, schema| {
                    if !map.contains_key(name) {
                        put(name, zero, Some(schema), true, extent, out);
                    }
                });
            }
        }
        Relation::Map(values) => {
            for (name, value) in value.as_object().into_iter().flatten() {
                put(name, value, Some(values), true, extent, out);
            }
        }
        Relation::Deduced => return deduced(value, out),
        Relation::Set => list(value, element::value, |_, _| true, out),
        Relation::Keyed(items, keys) => {
            list(value, |item| element::key(item, items, keys), |item, out| descend(item, items, extent, out), out)
        }
    }
    false
}

fn below<'a, S: MergeSchema<'a>>(value: &Value, schema: Option<S>, extent: Extent, out: &mut Set) -> bool {
    match schema {
        Some(schema) => descend(value, schema, extent, out),
        None => deduced(value, out),
    }
}

fn put<'a, S: MergeSchema<'a>>(
    name: &str,
    value: &Value,
    schema: Option<S>,
    always: bool,
    extent: Extent,
    out: &mut Set,
) {
    let mut inner = Set::default();
    let leaf = below(value, schema, extent, &mut inner);
    let empty = value.is_null() || value.as_object().is_some_and(|m| m.is_empty());
    out.put(element::field(name), leaf || always || empty || extent == Extent::All, inner);
}

fn deduced(value: &Value, out: &mut Set) -> bool {
    let Some(map) = value.as_object() else { return true };
    for (name, value) in map {
        let mut inner = Set::default();
        deduced(value, &mut inner);
        out.put(element::field(name), true, inner);
    }
    false
}

fn list(
    value: &Value,
    element: impl Fn(&Value) -> Result<String, String>,
    inside: impl Fn(&Value, &mut Set) -> bool,
    out: &mut Set,
) {
    let items = value.as_array().map_or(&[][..], Vec::as_slice);
    let mut keyed: Vec<(String, &Value)> = items.iter().filter_map(|item| Some((element(item).ok()?, item))).collect();
    keyed.sort_by(|(a, _), (b, _)| a.cmp(b));
    for same in keyed.chunk_by_mut(|(a, _), (b, _)| a == b) {
        let mut inner = Set::default();
        // Elements of one key are owned as one.
        if let [(_, item)] = same {
            inside(item, &mut inner);
        }
        out.put(std::mem::take(&mut same[0].0), true, inner);
    }
}
