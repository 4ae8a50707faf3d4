//! Merging a patch into an object, or (for the three-way diff) a patch into a patch.

use super::list::{self, Elements};
use super::{DELETE_FROM_PRIMITIVE_LIST, Error, PATCH, PatchField, PatchSchema, RETAIN_KEYS, SET_ELEMENT_ORDER};
use serde_json::{Map, Value};

/// `apply` merges into an object: directives are carried out, unmatched nulls vanish. Otherwise both sides are patches,
/// and directives and nulls are kept.
#[derive(Clone, Copy)]
pub(super) struct Options {
    pub(super) apply: bool,
}

pub(super) fn merge_map(
    mut original: Map<String, Value>,
    mut patch: Map<String, Value>,
    schema: &dyn PatchSchema,
    options: Options,
) -> Result<Map<String, Value>, Error> {
    if let Some(directive) = patch.get(PATCH) {
        return match directive.as_str() {
            Some("replace") => {
                patch.remove(PATCH);
                Ok(patch)
            }
            Some("delete") => Ok(Map::new()),
            _ => {
                let kind = crate::go::print(directive);
                let map = crate::go::print(&Value::Object(patch));
                Err(Error::Other(format!("unknown patch type: {kind} in map: {map}")))
            }
        };
    }
    retain_keys(&mut original, &mut patch, options)?;
    order_lists(&mut original, &mut patch, schema, options)?;
    for (key, value) in patch {
        let (key, deletes) = match key.strip_prefix(DELETE_FROM_PRIMITIVE_LIST) {
            None => (key, false),
            Some(_) if !options.apply => {
                original.insert(key, value);
                continue;
            }
            Some(rest) => (rest.strip_prefix('/').ok_or(Error::PRIMITIVE_LIST)?.to_owned(), true),
        };
        if value.is_null() {
            original.remove(&key);
            if options.apply {
                continue;
            }
        }
        let same_type = original.get(&key).is_some_and(|o| crate::go::type_name(o) == crate::go::type_name(&value));
        if !same_type {
            if !deletes {
                put(&mut original, key, value, options);
            }
            continue;
        }
        let old = original.remove(&key).expect("its type was just compared");
        let merged = match (old, value) {
            (Value::Object(old), Value::Object(new)) => {
                let field = lookup(schema, &key)?;
                Value::Object(if field.replace { new } else { merge_map(old, new, &*field.schema, options)? })
            }
            (Value::Array(old), Value::Array(new)) => {
                let field = lookup(schema, &key)?;
                Value::Array(merge_field(old, new, &field, deletes, options)?)
            }
            (_, new) => new,
        };
        original.insert(key, merged);
    }
    Ok(original)
}

fn lookup<'a>(schema: &'a dyn PatchSchema, key: &str) -> Result<PatchField<'a>, Error> {
    schema.field(key).map_err(Error::Other)
}

// A value that meets nothing to be merged with.
fn put(original: &mut Map<String, Value>, key: String, mut value: Value, options: Options) {
    if options.apply {
        discard_nulls(&mut value);
    }
    if is_directive(&value) {
        original.remove(&key);
        return;
    }
    discard_directives(&mut value);
    original.insert(key, value);
}

fn is_directive(value: &Value) -> bool {
    value.as_object().is_some_and(|map| map.contains_key(PATCH))
}

// Loops and no closures in these two: one frame a level, so that the deepest document fits a worker's stack.
fn discard_nulls(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|_, v| !v.is_null());
            for value in map.values_mut() {
                discard_nulls(value);
            }
        }
        Value::Array(items) => {
            for item in items {
                discard_nulls(item);
            }
        }
        _ => {}
    }
}

fn discard_directives(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|_, v| !is_directive(v));
            for value in map.values_mut() {
                discard_directives(value);
            }
        }
        Value::Array(items) => {
            items.retain(|item| !is_directive(item));
            for item in items {
                discard_directives(item);
            }
        }
        _ => {}
    }
}

fn retain_keys(
    original: &mut Map<String, Value>,
    patch: &mut Map<String, Value>,
    options: Options,
) -> Result<(), Error> {
    let Some(keys) = patch.remove(RETAIN_KEYS) else { return Ok(()) };
    if !options.apply {
        return match original.get(RETAIN_KEYS) {
            Some(other) if *other != keys => Err(Error::Other(format!(
                "{} and {} are not deep equal: this may happen when calculating the 3-way diff patch",
                crate::go::print(other),
                crate::go::print(&keys)
            ))),
            Some(_) => Ok(()),
            None => {
                original.insert(RETAIN_KEYS.to_owned(), keys);
                Ok(())
            }
        };
    }
    let keys = keys.as_array().ok_or(Error::RETAIN_KEYS)?;
    let kept = |name: &str| keys.iter().any(|k| k == name);
    let directive = |name: &str| name.starts_with(DELETE_FROM_PRIMITIVE_LIST) || name.starts_with(SET_ELEMENT_ORDER);
    if patch.iter().any(|(name, value)| !value.is_null() && !directive(name) && !kept(name)) {
        return Err(Error::RETAIN_KEYS);
    }
    original.retain(|name, _| kept(name));
    Ok(())
}

// Carries out the $setElementOrder directives: the lists they name are merged here and now.
fn order_lists(
    original: &mut Map<String, Value>,
    patch: &mut Map<String, Value>,
    schema: &dyn PatchSchema,
    options: Options,
) -> Result<(), Error> {
    let directives: Vec<String> = patch.keys().filter(|k| k.starts_with(SET_ELEMENT_ORDER)).cloned().collect();
    for directive in directives {
        let order = patch.remove(&directive).expect("the key was just listed");
        if !options.apply {
            match original.get(&directive) {
                Some(other) if *other != order => return Err(Error::ELEMENT_ORDER),
                Some(_) => {}
                None => {
                    original.insert(directive.clone(), order.clone());
                }
            }
        }
        let Value::Array(order) = order else { return Err(Error::bad_type("[]interface {}", &order)) };
        let name = directive[SET_ELEMENT_ORDER.len()..].strip_prefix('/').ok_or(Error::ELEMENT_ORDER)?;
        let ours = take_list(original.get(name))?;
        let theirs = take_list(patch.get(name))?;
        let field = lookup(schema, name)?;
        check_order(theirs.as_deref().unwrap_or_default(), &order, field.merge_key)?;
        let server_order = ours.clone().unwrap_or_default();
        let kind = list::elements(&[&server_order, theirs.as_deref().unwrap_or_default()]);
        let merged = match (ours, theirs) {
            (None, None) => continue,
            (Some(ours), None) => ours,
            (None, Some(mut theirs)) => {
                theirs.retain(|item| !is_directive(item));
                for item in &mut theirs {
                    discard_directives(item);
                }
                theirs
            }
            (Some(ours), Some(theirs)) => merge_field(ours, theirs, &field, false, options)?,
        };
        let (named, server_only) = list::partition(merged, &order, field.merge_key)?;
        let key = field.merge_key.unwrap_or_default();
        let both = list::interleave(named, server_only, &order, &server_order, key, kind?)?;
        original.insert(name.to_owned(), Value::Array(both));
        patch.remove(name);
    }
    Ok(())
}

fn take_list(value: Option<&Value>) -> Result<Option<Vec<Value>>, Error> {
    match value {
        None => Ok(None),
        Some(Value::Array(items)) => Ok(Some(items.clone())),
        Some(other) => Err(Error::bad_type("[]interface {}", other)),
    }
}

// The patch's list must come in the order that it asks for.
fn check_order(patch: &[Value], order: &[Value], key: Option<&str>) -> Result<(), Error> {
    if patch.is_empty() || order.is_empty() {
        return Ok(());
    }
    let kept = match key {
        Some(_) => list::split_deletions(patch.to_vec())?.0,
        None => patch.to_vec(),
    };
    let mut wanted = order.iter();
    for item in kept.iter().filter(|i| i.get(PATCH).is_none()) {
        loop {
            let Some(next) = wanted.next() else {
                return Err(Error::Other(format!(
                    "The order in patch list:\n{}\n doesn't match {SET_ELEMENT_ORDER} list:\n{}\n",
                    crate::go::print(&Value::Array(patch.to_vec())),
                    crate::go::print(&Value::Array(order.to_vec()))
                )));
            };
            let equal = match key {
                None => item == next,
                Some(key) => list::key_of(item, key)? == list::key_of(next, key)?,
            };
            if equal {
                break;
            }
        }
    }
    Ok(())
}

fn merge_field(
    original: Vec<Value>,
    patch: Vec<Value>,
    field: &PatchField<'_>,
    deletes: bool,
    options: Options,
) -> Result<Vec<Value>, Error> {
    if !field.merge && !deletes {
        return Ok(patch);
    }
    if original.is_empty() && patch.is_empty() {
        return Ok(original);
    }
    let kind = list::elements(&[&original, &patch])?;
    let (merged, original, patch) = match kind {
        Elements::Scalars if options.apply && deletes => {
            return Ok(original.into_iter().filter(|v| !patch.contains(v)).collect());
        }
        Elements::Scalars => {
            let both = original.iter().chain(&patch).cloned().collect();
            (list::deduplicate(both), original, patch)
        }
        Elements::Maps => {
            let key = field.merge_key.ok_or_else(|| {
                Error::Other(format!("cannot merge lists without merge key for {}", field.schema.name()))
            })?;
            let (original, patch) = special_elements(original, patch, key)?;
            (merge_elements(original.clone(), &patch, key, &*field.schema, options)?, original, patch)
        }
    };
    let (named, server_only) = list::partition(merged, &patch, field.merge_key)?;
    list::interleave(named, server_only, &patch, &original, field.merge_key.unwrap_or_default(), kind)
}

// Elements of the patch with a $patch directive: deletions are done, a replace drops the original.
fn special_elements(mut original: Vec<Value>, patch: Vec<Value>, key: &str) -> Result<(Vec<Value>, Vec<Value>), Error> {
    let mut plain = Vec::with_capacity(patch.len());
    let mut replace = false;
    for item in patch {
        let Some(directive) = item.get(PATCH) else {
            plain.push(item);
            continue;
        };
        match directive.as_str() {
            Some("delete") => {
                let value = list::key_of(&item, key)?;
                while let Some(at) = list::find(&original, key, value)? {
                    original.remove(at);
                }
            }
            Some("replace") => replace = true,
            Some("merge") => {
                return Err(Error::Other("merging lists cannot yet be specified in the patch".to_owned()));
            }
            _ => {
                let kind = crate::go::print(directive);
                return Err(Error::Other(format!("unknown patch type: {kind} in map: {}", crate::go::print(&item))));
            }
        }
    }
    Ok(if replace { (plain, Vec::new()) } else { (original, plain) })
}

fn merge_elements(
    mut original: Vec<Value>,
    patch: &[Value],
    key: &str,
    schema: &dyn PatchSchema,
    options: Options,
) -> Result<Vec<Value>, Error> {
    for item in patch {
        let value = list::key_of(item, key)?;
        match list::find(&original, key, value)? {
            None => original.push(item.clone()),
            Some(at) => {
                if let (Value::Object(old), Value::Object(new)) = (original[at].take(), item.clone()) {
                    original[at] = Value::Object(merge_map(old, new, schema, options)?);
                }
            }
        }
    }
    Ok(original)
}
