//! The patch between two objects.

use super::list::{self, Elements};
use super::{DELETE_FROM_PRIMITIVE_LIST, Error, PATCH, PatchSchema, RETAIN_KEYS, SET_ELEMENT_ORDER};
use serde_json::{Map, Value, json};

/// What a diff leaves out and puts in.
#[derive(Clone, Copy, Default)]
pub(super) struct Options {
    pub(super) set_element_order: bool,
    pub(super) ignore_changes_and_additions: bool,
    pub(super) ignore_deletions: bool,
    pub(super) build_retain_keys: bool,
}

pub(super) fn diff_maps(
    original: &Map<String, Value>,
    modified: &Map<String, Value>,
    schema: &dyn PatchSchema,
    options: Options,
) -> Result<Map<String, Value>, Error> {
    let mut patch = Map::new();
    let mut retained = Vec::new();
    for (key, new) in modified {
        if options.build_retain_keys && !new.is_null() {
            retained.push(Value::String(key.clone()));
        }
        let Some(old) = original.get(key) else {
            if !options.ignore_changes_and_additions {
                patch.insert(key.clone(), new.clone());
            }
            continue;
        };
        if key == PATCH {
            let (Value::String(old), Value::String(text)) = (old, new) else {
                return Err(Error::Other(format!("invalid value for special key: {PATCH}")));
            };
            if old != text {
                patch.insert(key.clone(), new.clone());
            }
            continue;
        }
        match (old, new) {
            (Value::Object(old), Value::Object(new)) => map_field(key, old, new, &mut patch, schema, options)?,
            (Value::Array(old), Value::Array(new)) => list_field(key, old, new, &mut patch, schema, options)?,
            (old, new) if old != new && !options.ignore_changes_and_additions => {
                patch.insert(key.clone(), new.clone());
            }
            _ => {}
        }
    }
    if !options.ignore_deletions {
        for key in original.keys().filter(|k| !modified.contains_key(*k)) {
            patch.insert(key.clone(), Value::Null);
        }
    }
    let lost_a_field = || original.iter().any(|(k, v)| !v.is_null() && !modified.contains_key(k));
    if !retained.is_empty() && (!patch.is_empty() || lost_a_field()) {
        patch.insert(RETAIN_KEYS.to_owned(), Value::Array(sort(retained)));
    }
    Ok(patch)
}

fn sort(mut list: Vec<Value>) -> Vec<Value> {
    list.sort_by_key(crate::go::print);
    list
}

fn map_field(
    key: &str,
    old: &Map<String, Value>,
    new: &Map<String, Value>,
    patch: &mut Map<String, Value>,
    schema: &dyn PatchSchema,
    options: Options,
) -> Result<(), Error> {
    let field = match schema.field(key) {
        Ok(field) => field,
        // Data without a schema is of no matter as long as it is the same.
        Err(_) if old == new => return Ok(()),
        Err(message) => return Err(Error::Other(message)),
    };
    if field.replace {
        if !options.ignore_changes_and_additions {
            patch.insert(key.to_owned(), Value::Object(new.clone()));
        }
        return Ok(());
    }
    let options = Options { build_retain_keys: field.retain_keys, ..options };
    let inner = diff_maps(old, new, &*field.schema, options)?;
    if !inner.is_empty() {
        patch.insert(key.to_owned(), Value::Object(inner));
    }
    Ok(())
}

fn list_field(
    key: &str,
    old: &[Value],
    new: &[Value],
    patch: &mut Map<String, Value>,
    schema: &dyn PatchSchema,
    options: Options,
) -> Result<(), Error> {
    let field = match schema.field(key) {
        Ok(field) => field,
        Err(_) if old == new => return Ok(()),
        Err(message) => return Err(Error::Other(message)),
    };
    if !field.merge {
        if !options.ignore_changes_and_additions && old != new {
            patch.insert(key.to_owned(), Value::Array(new.to_vec()));
        }
        return Ok(());
    }
    let options = Options { build_retain_keys: field.retain_keys, ..options };
    let found = diff_lists(old, new, &*field.schema, field.merge_key.unwrap_or_default(), options)?;
    let mut put = |name: String, list: Vec<Value>| {
        if !list.is_empty() {
            patch.insert(name, Value::Array(list));
        }
    };
    put(key.to_owned(), found.patch);
    put(format!("{DELETE_FROM_PRIMITIVE_LIST}/{key}"), found.deletions);
    put(format!("{SET_ELEMENT_ORDER}/{key}"), found.order);
    Ok(())
}

#[derive(Default)]
struct ListDiff {
    patch: Vec<Value>,
    deletions: Vec<Value>,
    order: Vec<Value>,
}

fn diff_lists(
    old: &[Value],
    new: &[Value],
    schema: &dyn PatchSchema,
    key: &str,
    options: Options,
) -> Result<ListDiff, Error> {
    if old.is_empty() {
        let patch = if options.ignore_changes_and_additions { Vec::new() } else { new.to_vec() };
        return Ok(ListDiff { patch, ..ListDiff::default() });
    }
    let kind = list::elements(&[old, new])?;
    match kind {
        Elements::Maps => {
            let (patch, deletions) = diff_lists_of_maps(old, new, schema, key, options)?;
            let mut patch = list::sort_by_order(patch, new, key, kind)?;
            let same_order = old.len() == new.len() && old.iter().zip(new).all(|(o, n)| o.get(key) == n.get(key));
            patch.extend(deletions);
            let changes = !options.ignore_changes_and_additions && (!patch.is_empty() || !same_order);
            let removals = !options.ignore_deletions && !patch.is_empty();
            let order = if options.set_element_order && (changes || removals) {
                new.iter().map(|item| json!({ key: item.get(key) })).collect()
            } else {
                Vec::new()
            };
            Ok(ListDiff { patch, deletions: Vec::new(), order })
        }
        Elements::Scalars => {
            let (patch, deletions) = diff_lists_of_scalars(old, new, options);
            let patch = list::sort_by_order(patch, new, key, kind)?;
            let removals = !options.ignore_deletions && !deletions.is_empty();
            let changes = !options.ignore_changes_and_additions && old != new;
            let order = if options.set_element_order && (removals || changes) { new.to_vec() } else { Vec::new() };
            Ok(ListDiff { patch, deletions, order })
        }
    }
}

fn diff_lists_of_scalars(old: &[Value], new: &[Value], options: Options) -> (Vec<Value>, Vec<Value>) {
    let (old, new) = (sort(old.to_vec()), sort(new.to_vec()));
    let (mut added, mut deleted) = (Vec::new(), Vec::new());
    let (mut i, mut j) = (0, 0);
    while i < old.len() || j < new.len() {
        let o = old.get(i).map(crate::go::print);
        let n = new.get(j).map(crate::go::print);
        match (o, n) {
            (Some(o), Some(n)) if o == n => {
                i += 1;
                j += 1;
            }
            (Some(o), n) if n.as_ref().is_none_or(|n| o < *n) => {
                if !options.ignore_deletions {
                    deleted.push(old[i].clone());
                }
                i += 1;
            }
            _ => {
                if !options.ignore_changes_and_additions {
                    added.push(new[j].clone());
                }
                j += 1;
            }
        }
    }
    (added, list::deduplicate(deleted))
}

fn diff_lists_of_maps(
    old: &[Value],
    new: &[Value],
    schema: &dyn PatchSchema,
    key: &str,
    options: Options,
) -> Result<(Vec<Value>, Vec<Value>), Error> {
    let sorted = |list: &[Value]| -> Result<Vec<(String, Value)>, Error> {
        let mut out = Vec::with_capacity(list.len());
        for item in list {
            out.push((crate::go::print(list::key_of(item, key)?), item.clone()));
        }
        out.sort_by(|a, b| a.0.cmp(&b.0));
        Ok(out)
    };
    let (old, new) = (sorted(old)?, sorted(new)?);
    let (mut patch, mut deletions) = (Vec::new(), Vec::new());
    let (mut i, mut j) = (0, 0);
    while i < old.len() || j < new.len() {
        match (old.get(i), new.get(j)) {
            (Some((o, before)), Some((n, after))) if o == n => {
                if let (Value::Object(before), Value::Object(after)) = (before, after) {
                    let mut inner = diff_maps(before, after, schema, options)?;
                    if !inner.is_empty() {
                        inner.insert(key.to_owned(), after.get(key).cloned().unwrap_or(Value::Null));
                        patch.push(Value::Object(inner));
                    }
                }
                i += 1;
                j += 1;
            }
            (Some((o, before)), n) if n.is_none_or(|(n, _)| o < n) => {
                if !options.ignore_deletions {
                    deletions.push(json!({ key: before.get(key), PATCH: "delete" }));
                }
                i += 1;
            }
            (_, Some((_, after))) => {
                if !options.ignore_changes_and_additions {
                    patch.push(after.clone());
                }
                j += 1;
            }
            (_, None) => unreachable!("one of the two lists has more"),
        }
    }
    Ok((patch, deletions))
}
