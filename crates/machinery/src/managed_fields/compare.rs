//! Comparison of an object before and after a write: the fields that were added, changed and removed.

use super::{MergeSchema, Relation, Set, element, fields};
use serde_json::{Map, Value};

/// The fields that differ between two objects.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Comparison {
    /// Only in the new one.
    pub added: Set,
    /// In both, with another value.
    pub modified: Set,
    /// Only in the old one.
    pub removed: Set,
}

/// Compares two objects of one kind.
pub fn compare<'a, S: MergeSchema<'a>>(old: &Value, new: &Value, schema: S) -> Comparison {
    let mut out = Comparison::default();
    if old != new {
        descend(old, new, Some(schema), &mut out);
    }
    out
}

// Compares below a place at which the two differ; `out` is relative to it. Says whether the place itself is one value.
fn descend<'a, S: MergeSchema<'a>>(old: &Value, new: &Value, schema: Option<S>, out: &mut Comparison) -> bool {
    let Some(schema) = schema else { return deduced::<S>(old, new, out) };
    match schema.relation() {
        Relation::Leaf => true,
        Relation::Struct => structs(old, new, schema, out),
        Relation::Map(values) => maps(old.as_object(), new.as_object(), Some(values), out),
        Relation::Deduced => deduced::<S>(old, new, out),
        Relation::Set => list(old, new, element::value, None::<S>, out),
        Relation::Keyed(items, keys) => list(old, new, |item| element::key(item, items, keys), Some(items), out),
    }
}

// Compares what both sides, or one, have at an element of the place that `out` is relative to.
fn member<'a, S: MergeSchema<'a>>(
    mut element: String,
    old: Option<&Value>,
    new: Option<&Value>,
    schema: Option<S>,
    out: &mut Comparison,
) {
    match (old, new) {
        (None, None) => {}
        // What appears or goes is itself in the set, beside what is in it.
        (None, Some(value)) => out.added.put(element, true, fields::all(value, schema)),
        (Some(value), None) => out.removed.put(element, true, fields::all(value, schema)),
        (Some(old), Some(new)) if old != new => {
            let mut inner = Comparison::default();
            let leaf = descend(old, new, schema, &mut inner);
            let parts = [
                (&mut out.added, false, inner.added),
                (&mut out.modified, leaf, inner.modified),
                (&mut out.removed, false, inner.removed),
            ];
            let mut parts = parts.into_iter().filter(|(_, member, inner)| *member || !inner.is_empty()).peekable();
            while let Some((set, member, inner)) = parts.next() {
                // Mostly there is one.
                let element = if parts.peek().is_some() { element.clone() } else { std::mem::take(&mut element) };
                set.put(element, member, inner);
            }
        }
        (Some(_), Some(_)) => {}
    }
}

fn structs<'a, S: MergeSchema<'a>>(old: &Value, new: &Value, schema: S, out: &mut Comparison) -> bool {
    let (only, set) = match (old.as_object(), new.as_object()) {
        (None, None) => return true,
        (None, Some(_)) => (new, &mut out.added),
        (Some(_), None) => (old, &mut out.removed),
        (Some(old), Some(new)) => {
            for (name, mut old, mut new) in members(Some(old), Some(new)) {
                if old.is_none() || new.is_none() {
                    // The side that leaves it out may have it as it is always written.
                    schema.always(&mut |always, zero, _| {
                        if always == name {
                            (old, new) = (old.or(Some(zero)), new.or(Some(zero)));
                        }
                    });
                }
                member(element::field(name), old, new, schema.field(name), out);
            }
            return false;
        }
    };
    let all = fields::all(only, Some(schema));
    let is_one = all.is_empty();
    set.extend(all);
    is_one
}

// A name that either has, and what each has under it.
type Pair<'m> = (&'m str, Option<&'m Value>, Option<&'m Value>);

// The members of either, each once.
fn members<'m>(
    old: Option<&'m Map<String, Value>>,
    new: Option<&'m Map<String, Value>>,
) -> impl Iterator<Item = Pair<'m>> {
    let all =
        |map: Option<&'m Map<String, Value>>| map.into_iter().flatten().map(|(name, value)| (name.as_str(), value));
    let gone = all(old).filter(move |(name, _)| new.is_none_or(|map| !map.contains_key(*name)));
    let there = all(new).map(move |(name, value)| (name, old.and_then(|map| map.get(name)), Some(value)));
    gone.map(|(name, value)| (name, Some(value), None)).chain(there)
}

fn maps<'a, S: MergeSchema<'a>>(
    old: Option<&Map<String, Value>>,
    new: Option<&Map<String, Value>>,
    values: Option<S>,
    out: &mut Comparison,
) -> bool {
    if old.is_none_or(Map::is_empty) && new.is_none_or(Map::is_empty) {
        return true;
    }
    for (name, old, new) in members(old, new) {
        member(element::field(name), old, new, values, out);
    }
    false
}

// Data without a schema: maps key by key, all else as one.
fn deduced<'a, S: MergeSchema<'a>>(old: &Value, new: &Value, out: &mut Comparison) -> bool {
    // A map that meets something else: that something is replaced as a whole.
    let is_one = |value: &Value| !value.is_object() && !value.is_null();
    maps(old.as_object(), new.as_object(), None::<S>, out) || is_one(old) || is_one(new)
}

fn items(list: &Value) -> &[Value] {
    list.as_array().map_or(&[], Vec::as_slice)
}

fn list<'a, S: MergeSchema<'a>>(
    old: &Value,
    new: &Value,
    element: impl Fn(&Value) -> Result<String, String>,
    schema: Option<S>,
    out: &mut Comparison,
) -> bool {
    let (old, new) = (items(old), items(new));
    if old.is_empty() && new.is_empty() {
        return true;
    }
    let all = old.iter().map(|item| (false, item)).chain(new.iter().map(|item| (true, item)));
    let keyed = all.filter_map(|(is_new, item)| Some(Keyed { key: element(item).ok()?, is_new, item }));
    let mut keyed: Vec<Keyed<'_>> = keyed.collect();
    keyed.sort_by(|a, b| a.key.cmp(&b.key).then(a.is_new.cmp(&b.is_new)));
    for same in keyed.chunk_by_mut(|a, b| a.key == b.key) {
        let key = std::mem::take(&mut same[0].key);
        match same.split_at(same.partition_point(|keyed| !keyed.is_new)) {
            (old @ ([] | [_]), new @ ([] | [_])) => {
                member(key, old.first().map(Keyed::item), new.first().map(Keyed::item), schema, out);
            }
            // Elements of one key are owned as one.
            (old @ [_, _, ..], new @ [_, _, ..]) => {
                if !old.iter().map(Keyed::item).eq(new.iter().map(Keyed::item)) {
                    out.modified.put(key, true, Set::default());
                }
            }
            ([_, _, ..], new) => {
                member(key.clone(), None, new.first().map(Keyed::item), schema, out);
                out.removed.put(key, true, Set::default());
            }
            (old, _) => {
                member(key.clone(), old.first().map(Keyed::item), None, schema, out);
                out.added.put(key, true, Set::default());
            }
        }
    }
    false
}

/// An element of a list by its key.
struct Keyed<'v> {
    key: String,
    is_new: bool,
    item: &'v Value,
}

impl<'v> Keyed<'v> {
    fn item(&self) -> &'v Value {
        self.item
    }
}
