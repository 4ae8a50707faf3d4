//! Merging an applied configuration into the live object (`typed/merge.go`): what the configuration says wins, what it
//! does not say stays. Lists keep the configuration's order for its own elements, and the live order for the others.

use super::{MergeSchema, Relation, element};
use serde_json::{Map, Value};
use std::collections::{HashMap, HashSet};

/// The live object with the configuration over it; why the lists cannot be told apart by their keys.
pub fn merge<'a, S: MergeSchema<'a>>(live: &Value, config: &Value, schema: S) -> Result<Value, String> {
    Ok(descend(Some(live), Some(config), schema)?.unwrap_or_default())
}

fn descend<'a, S: MergeSchema<'a>>(
    live: Option<&Value>,
    config: Option<&Value>,
    schema: S,
) -> Result<Option<Value>, String> {
    match schema.relation() {
        Relation::Leaf => Ok(winner(live, config)),
        Relation::Struct => maps(live, config, |name| schema.field(name)),
        Relation::Map(values) => maps(live, config, |_| Some(values)),
        Relation::Deduced => deduced(live, config),
        Relation::Set => list(live, config, element::value, |live, config| Ok(winner(live, config))),
        Relation::Keyed(items, keys) => {
            list(live, config, |item| element::key(item, items, keys), |live, config| descend(live, config, items))
        }
    }
}

fn winner(live: Option<&Value>, config: Option<&Value>) -> Option<Value> {
    config.or(live).cloned()
}

fn maps<'a, S: MergeSchema<'a>>(
    live: Option<&Value>,
    config: Option<&Value>,
    schema: impl Fn(&str) -> Option<S>,
) -> Result<Option<Value>, String> {
    zip(live, config, |name, live, config| match schema(name) {
        // One side alone is taken as it is.
        _ if config.is_none() => Ok(live.cloned()),
        Some(schema) => descend(live, config, schema),
        None => deduced(live, config),
    })
}

fn deduced(live: Option<&Value>, config: Option<&Value>) -> Result<Option<Value>, String> {
    match (live, config) {
        (_, Some(Value::Object(_) | Value::Null)) | (Some(Value::Object(_)), None) => {
            zip(live, config, |_, live, config| deduced(live, config))
        }
        _ => Ok(winner(live, config)),
    }
}

fn zip(
    live: Option<&Value>,
    config: Option<&Value>,
    inside: impl Fn(&str, Option<&Value>, Option<&Value>) -> Result<Option<Value>, String>,
) -> Result<Option<Value>, String> {
    let (l, c) = (live.and_then(Value::as_object), config.and_then(Value::as_object));
    if l.is_none_or(Map::is_empty) && c.is_none_or(Map::is_empty) {
        // Tells empty from null.
        return Ok(winner(live, config));
    }
    let mut out = Map::new();
    for (name, value) in l.into_iter().flatten() {
        if let Some(merged) = inside(name, Some(value), c.and_then(|m| m.get(name)))? {
            out.insert(name.clone(), merged);
        }
    }
    for (name, value) in c.into_iter().flatten() {
        if l.is_some_and(|m| m.contains_key(name)) {
            continue;
        }
        if let Some(merged) = inside(name, None, Some(value))? {
            out.insert(name.clone(), merged);
        }
    }
    Ok((!out.is_empty()).then_some(Value::Object(out)))
}

// The elements of a list in order, and their values by element; null for a key that several elements have.
type Indexed<'v> = (Vec<String>, HashMap<String, &'v Value>);

fn index(
    items: &[Value],
    element: impl Fn(&Value) -> Result<String, String>,
    duplicates: bool,
) -> Result<Indexed<'_>, String> {
    let (mut order, mut values) = (Vec::with_capacity(items.len()), HashMap::with_capacity(items.len()));
    for (at, item) in items.iter().enumerate() {
        let element = element(item).map_err(|why| format!("element {at}: {why}"))?;
        if values.insert(element.clone(), item).is_some() {
            if !duplicates {
                let mut key = String::new();
                element::show(&element, &mut key);
                return Err(format!("duplicate entries for key {key}"));
            }
            values.insert(element.clone(), &Value::Null);
        }
        order.push(element);
    }
    Ok((order, values))
}

fn items(list: Option<&Value>) -> &[Value] {
    list.and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn list(
    live: Option<&Value>,
    config: Option<&Value>,
    element: impl Fn(&Value) -> Result<String, String>,
    inside: impl Fn(Option<&Value>, Option<&Value>) -> Result<Option<Value>, String>,
) -> Result<Option<Value>, String> {
    let (live_items, config_items) = (items(live), items(config));
    if live_items.is_empty() && config_items.is_empty() {
        return Ok(winner(live, config));
    }
    let (ours, by_config) = index(config_items, &element, false)?;
    let (theirs, by_live) = index(live_items, &element, true)?;

    // Elements of both sides come in the configuration's order: the next of them is waited for while walking the live.
    let mut shared = ours.iter().filter(|e| by_live.contains_key(*e));
    let mut next = shared.next();
    let mut done: HashSet<&str> = HashSet::with_capacity(ours.len());
    let mut out = Vec::with_capacity(ours.len().max(theirs.len()));
    let (mut l, mut c) = (0, 0);
    while l < theirs.len() || c < ours.len() {
        if let (Some(their), Some(our)) = (theirs.get(l), ours.get(c)) {
            if their == our {
                done.insert(our);
                out.extend(inside(by_live.get(their).copied(), by_config.get(our).copied())?);
                (l, c) = (l + 1, c + 1);
                next = shared.next();
                continue;
            }
            if by_config.contains_key(their) && next.is_some_and(|next| next != their) {
                l += 1;
                continue;
            }
        }
        if let Some(their) = theirs.get(l) {
            if !by_config.contains_key(their) {
                // By place: of several with one key, each stays as it is.
                out.extend(inside(live_items.get(l), None)?);
                l += 1;
                continue;
            }
            if done.contains(their.as_str()) {
                l += 1;
            }
        }
        if let Some(our) = ours.get(c) {
            done.insert(our);
            out.extend(inside(by_live.get(our).copied(), by_config.get(our).copied())?);
            c += 1;
            if next == Some(our) {
                next = shared.next();
            }
        }
    }
    Ok((!out.is_empty()).then_some(Value::Array(out)))
}
