//! Lists of a strategic merge patch: their elements' kind, identity and order.

use super::{Error, PATCH};
use serde_json::Value;

/// What all elements of some lists are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Elements {
    Maps,
    Scalars,
}

/// The kind of the elements of all the lists, which must be one kind.
pub(super) fn elements(lists: &[&[Value]]) -> Result<Elements, Error> {
    let mut first: Option<&str> = None;
    let mut kind = Elements::Scalars;
    for item in lists.iter().copied().flatten() {
        let name = crate::go::type_name(item);
        match first {
            None if item.is_array() => return Err(Error::LIST_OF_LISTS),
            None => {
                first = Some(name);
                if item.is_object() {
                    kind = Elements::Maps;
                }
            }
            Some(known) if known != name => {
                let all: Vec<String> = lists.iter().map(|l| crate::go::print(&Value::Array(l.to_vec()))).collect();
                return Err(Error::Other(format!("list element types are not identical: [{}]", all.join(" "))));
            }
            Some(_) => {}
        }
    }
    first.map(|_| kind).ok_or_else(|| Error::Other("no elements in any of the given slices".to_owned()))
}

/// An element's merge key.
pub(super) fn key_of<'a>(item: &'a Value, key: &str) -> Result<&'a Value, Error> {
    let map = item.as_object().ok_or_else(|| Error::bad_type("map[string]interface {}", item))?;
    map.get(key).ok_or_else(|| Error::no_merge_key(item, key))
}

/// Where in a list the element with that key value is.
pub(super) fn find(list: &[Value], key: &str, value: &Value) -> Result<Option<usize>, Error> {
    for (i, item) in list.iter().enumerate() {
        let map = item.as_object().ok_or_else(|| Error::Other(format!("value for key {i} is not a map")))?;
        if map.get(key) == Some(value) {
            return Ok(Some(i));
        }
    }
    Ok(None)
}

fn position(list: &[Value], item: &Value, key: &str, kind: Elements) -> Option<usize> {
    let identity = |v: &Value| match kind {
        Elements::Maps => v.get(key).cloned().unwrap_or(Value::Null),
        Elements::Scalars => v.clone(),
    };
    let wanted = identity(item);
    list.iter().position(|v| identity(v) == wanted)
}

/// What is to be deleted, apart.
pub(super) fn split_deletions(list: Vec<Value>) -> Result<(Vec<Value>, Vec<Value>), Error> {
    let mut kept = Vec::new();
    let mut deleted = Vec::new();
    for item in list {
        if !item.is_object() {
            return Err(Error::bad_type("map[string]interface {}", &item));
        }
        if item.get(PATCH).is_some_and(|d| d == "delete") { deleted.push(item) } else { kept.push(item) }
    }
    Ok((kept, deleted))
}

/// Sorts by the order that `order` gives; deletions go last.
pub(super) fn sort_by_order(list: Vec<Value>, order: &[Value], key: &str, kind: Elements) -> Result<Vec<Value>, Error> {
    let (mut sorted, deleted) = match kind {
        Elements::Maps => {
            for item in list.iter().chain(order) {
                key_of(item, key)?;
            }
            split_deletions(list)?
        }
        Elements::Scalars => (list, Vec::new()),
    };
    // Elements that the order does not know keep their place among themselves, before those it knows.
    sorted.sort_by_key(|item| position(order, item, key, kind).map_or(0, |p| p + 1));
    sorted.extend(deleted);
    Ok(sorted)
}

/// Brings together what the patch orders and what only the server has, in the server's order where that says anything.
pub(super) fn interleave(
    patch: Vec<Value>,
    server_only: Vec<Value>,
    patch_order: &[Value],
    server_order: &[Value],
    key: &str,
    kind: Elements,
) -> Result<Vec<Value>, Error> {
    let mut right = sort_by_order(patch, patch_order, key, kind)?.into_iter().peekable();
    let mut left = sort_by_order(server_only, server_order, key, kind)?.into_iter().peekable();
    let mut out = Vec::with_capacity(left.len() + right.len());
    loop {
        let take_left = match (left.peek(), right.peek()) {
            (None, None) => return Ok(out),
            (None, Some(_)) => false,
            (Some(_), None) => true,
            (Some(l), Some(r)) => match (position(server_order, l, key, kind), position(server_order, r, key, kind)) {
                (Some(l), Some(r)) => l < r,
                _ => false,
            },
        };
        out.extend(if take_left { left.next() } else { right.next() });
    }
}

/// Splits a list in what `by` names and what it does not.
pub(super) fn partition(list: Vec<Value>, by: &[Value], key: Option<&str>) -> Result<(Vec<Value>, Vec<Value>), Error> {
    let mut named = Vec::new();
    let mut others = Vec::new();
    for item in list {
        let found = match key {
            None => by.contains(&item),
            Some(key) => find(by, key, key_of(&item, key)?)?.is_some(),
        };
        if found { named.push(item) } else { others.push(item) }
    }
    Ok((named, others))
}

/// Each value once, the first place kept.
pub(super) fn deduplicate(list: Vec<Value>) -> Vec<Value> {
    let mut out: Vec<Value> = Vec::with_capacity(list.len());
    for item in list {
        if !out.contains(&item) {
            out.push(item);
        }
    }
    out
}
