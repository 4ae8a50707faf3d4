//! What a write added, changed and removed.

use super::{MergeSchema, Relation, Set, element};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

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
    descend(Some(old), Some(new), schema, &mut out);
    out
}

// Compares below one place; `out` is relative to it. Says whether the place itself is one value that differs.
fn descend<'a, S: MergeSchema<'a>>(old: Option<&Value>, new: Option<&Value>, schema: S, out: &mut Comparison) -> bool {
    if old == new {
        // Fields that neither side has written are no difference where both sides are there.
        return false;
    }
    match schema.relation() {
        Relation::Leaf => true,
        Relation::Struct => {
            let (o, n) = (old.and_then(Value::as_object), new.and_then(Value::as_object));
            if o.is_none() && n.is_none() {
                return true;
            }
            structs(o, n, schema, out)
        }
        Relation::Map(values) => maps(old, new, |_| Some(values), out),
        Relation::Deduced => deduced(old, new, out),
        Relation::Set => list(old, new, |item| element::value(item).ok(), |_, _, _| true, out),
        Relation::Keyed(items, keys) => {
            list(old, new, |item| element::key(item, items, keys).ok(), |o, n, out| descend(o, n, items, out), out)
        }
    }
}

fn put(out: &mut Comparison, mut element: String, old: bool, new: bool, inner: Comparison, leaf: bool) {
    // What appears or goes is itself in the set, beside what is in it.
    let (added, removed) = (!old && new, old && !new);
    let modified = leaf && old && new;
    let parts = [
        (&mut out.added, added, inner.added),
        (&mut out.modified, modified, inner.modified),
        (&mut out.removed, removed, inner.removed),
    ];
    let mut parts = parts.into_iter().filter(|(_, member, children)| *member || !children.is_empty()).peekable();
    while let Some((set, member, children)) = parts.next() {
        // Mostly there is one.
        let element = if parts.peek().is_some() { element.clone() } else { std::mem::take(&mut element) };
        set.put(element, member, children);
    }
}

fn field<'a, S: MergeSchema<'a>>(
    name: &str,
    old: Option<&Value>,
    new: Option<&Value>,
    schema: Option<S>,
    out: &mut Comparison,
) {
    let mut inner = Comparison::default();
    let leaf = match schema {
        Some(schema) => descend(old, new, schema, &mut inner),
        None => deduced(old, new, &mut inner),
    };
    put(out, element::field(name), old.is_some(), new.is_some(), inner, leaf);
}

fn structs<'a, S: MergeSchema<'a>>(
    old: Option<&Map<String, Value>>,
    new: Option<&Map<String, Value>>,
    schema: S,
    out: &mut Comparison,
) -> bool {
    let mut any = false;
    for (name, mut o, mut n) in members(old, new) {
        any = true;
        if o == n {
            continue;
        }
        if old.is_some() && new.is_some() && (o.is_none() || n.is_none()) {
            // The side that leaves it out may have it as it is always written.
            schema.always(&mut |always, zero, _| {
                if always == name {
                    (o, n) = (o.or(Some(zero)), n.or(Some(zero)));
                }
            });
        } else if old.is_some() != new.is_some() {
            field(name, o, n, schema.field(name), out);
            continue;
        }
        if o != n {
            field(name, o, n, schema.field(name), out);
        }
    }
    schema.always(&mut |name, zero, schema| {
        let written = |map: Option<&Map<String, Value>>| map.is_some_and(|m| m.contains_key(name));
        if written(old) || written(new) {
            return;
        }
        any = true;
        if old.is_some() != new.is_some() {
            field(name, old.map(|_| zero), new.map(|_| zero), Some(schema), out);
        }
    });
    !any
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
    old: Option<&Value>,
    new: Option<&Value>,
    schema: impl Fn(&str) -> Option<S>,
    out: &mut Comparison,
) -> bool {
    let (o, n) = (old.and_then(Value::as_object), new.and_then(Value::as_object));
    if o.is_none_or(Map::is_empty) && n.is_none_or(Map::is_empty) {
        return true;
    }
    for (name, o, n) in members(o, n) {
        if o != n {
            field(name, o, n, schema(name), out);
        }
    }
    false
}

// Data without a schema: maps key by key, all else as one.
fn deduced(old: Option<&Value>, new: Option<&Value>, out: &mut Comparison) -> bool {
    if old == new {
        return false;
    }
    let (o, n) = (old.and_then(Value::as_object), new.and_then(Value::as_object));
    if o.is_none_or(Map::is_empty) && n.is_none_or(Map::is_empty) {
        return true;
    }
    for (name, o, n) in members(o, n) {
        if o == n {
            continue;
        }
        let mut inner = Comparison::default();
        let leaf = deduced(o, n, &mut inner);
        put(out, element::field(name), o.is_some(), n.is_some(), inner, leaf);
    }
    // A map that meets something else: that something is replaced as a whole.
    old.is_some_and(|v| !v.is_object() && !v.is_null()) || new.is_some_and(|v| !v.is_object() && !v.is_null())
}

fn items(list: Option<&Value>) -> &[Value] {
    list.and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn list(
    old: Option<&Value>,
    new: Option<&Value>,
    element: impl Fn(&Value) -> Option<String>,
    inside: impl Fn(Option<&Value>, Option<&Value>, &mut Comparison) -> bool,
    out: &mut Comparison,
) -> bool {
    let (old, new) = (items(old), items(new));
    if old.is_empty() && new.is_empty() {
        return true;
    }
    let mut by_key: BTreeMap<String, (Vec<&Value>, Vec<&Value>)> = BTreeMap::new();
    for item in old {
        if let Some(key) = element(item) {
            by_key.entry(key).or_default().0.push(item);
        }
    }
    for item in new {
        if let Some(key) = element(item) {
            by_key.entry(key).or_default().1.push(item);
        }
    }
    for (key, (before, after)) in by_key {
        let mut inner = Comparison::default();
        match (before.as_slice(), after.as_slice()) {
            (o @ ([] | [_]), n @ ([] | [_])) => {
                let (o, n) = (o.first().copied(), n.first().copied());
                if o == n {
                    continue;
                }
                let leaf = inside(o, n, &mut inner);
                put(out, key, o.is_some(), n.is_some(), inner, leaf);
            }
            // Elements of one key are owned as one.
            (o @ [_, _, ..], n @ [_, _, ..]) => {
                if o != n {
                    out.modified.put(key, true, Set::default());
                }
            }
            ([_, _, ..], n) => {
                if let Some(item) = n.first() {
                    inside(None, Some(item), &mut inner);
                    put(out, key.clone(), false, true, inner, false);
                }
                out.removed.put(key, true, Set::default());
            }
            (o, _) => {
                if let Some(item) = o.first() {
                    inside(Some(item), None, &mut inner);
                    put(out, key.clone(), true, false, inner, false);
                }
                out.added.put(key, true, Set::default());
            }
        }
    }
    false
}
