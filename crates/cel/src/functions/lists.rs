//! Lists and sets (upstream's list library, `ext.Lists`, `ext.Sets`).

use std::cmp::Ordering;
use std::sync::Arc;

use super::{NO_OVERLOAD, Outcome, arithmetic, boxed};
use crate::value::{List, Order, Value, find};

/// The longest list that `lists.range` makes.
const MAX_RANGE: i64 = 1_000_000;

/// `a + b`. Of sets the union, of lists with no order the elements of both.
pub(super) fn concat(a: &List, b: &List) -> Value {
    let mut items = a.items.clone();
    match a.order {
        Order::Sequence => items.extend(b.items.iter().cloned()),
        Order::Any => {
            let new = b.items.iter().filter(|item| !a.items.iter().any(|x| x.equals(item)));
            items.extend(new.cloned());
        }
    }
    Value::List(Arc::new(List { items, order: a.order }))
}

fn has(list: &List, value: &Value) -> bool {
    list.items.iter().any(|item| item.equals(value))
}

fn all_in(a: &List, b: &List) -> bool {
    b.items.iter().all(|item| has(a, item))
}

fn extreme(list: &List, name: &str, wanted: Ordering) -> Outcome {
    let mut items = list.items.iter();
    let mut best = items.next().ok_or_else(|| format!("{name} called on empty list"))?;
    for item in items {
        if item.compare(best).ok_or(NO_OVERLOAD)? == wanted {
            best = item;
        }
    }
    Ok(best.clone())
}

fn sum(list: &List) -> Outcome {
    let mut items = list.items.iter();
    let Some(first) = items.next() else { return Ok(Value::Int(0)) };
    items.try_fold(first.clone(), |sum, item| arithmetic("_+_", &[sum, item.clone()]))
}

fn flat(list: &List, depth: i64, out: &mut Vec<Value>) {
    for item in &list.items {
        match item {
            Value::List(inner) if depth > 0 => flat(inner, depth - 1, out),
            other => out.push(other.clone()),
        }
    }
}

fn at(mut found: impl Iterator<Item = usize>) -> Value {
    Value::Int(found.next().map_or(-1, |i| i as i64))
}

pub(super) fn call(name: &str, args: &[Value]) -> Option<Outcome> {
    use Value::{Bool, Int, List, Map};
    Some(match (name, args) {
        ("@in", [value, List(list)]) => Ok(Bool(has(list, value))),
        ("@in", [value, Map(map)]) => Ok(Bool(value.key().is_some_and(|key| find(map, &key).is_some()))),
        ("isSorted", [List(list)]) => {
            let pairs: Option<Vec<Ordering>> = list.items.windows(2).map(|w| w[0].compare(&w[1])).collect();
            pairs.map(|o| Bool(o.iter().all(|o| o.is_le()))).ok_or_else(|| NO_OVERLOAD.to_owned())
        }
        ("sum", [List(list)]) => sum(list),
        ("min", [List(list)]) => extreme(list, name, Ordering::Less),
        ("max", [List(list)]) => extreme(list, name, Ordering::Greater),
        ("indexOf", [List(list), value]) => Ok(at((0..list.items.len()).filter(|i| list.items[*i].equals(value)))),
        ("lastIndexOf", [List(list), value]) => {
            Ok(at((0..list.items.len()).rev().filter(|i| list.items[*i].equals(value))))
        }
        ("slice", [List(list), Int(from), Int(to)]) => match (usize::try_from(*from), usize::try_from(*to)) {
            (Ok(start), Ok(end)) if start <= end && end <= list.items.len() => {
                Ok(Value::list(list.items[start..end].to_vec()))
            }
            _ => Err(format!("cannot slice({from}, {to}), list is length {}", list.items.len())),
        },
        ("flatten", [List(list), rest @ ..]) => {
            let depth = match rest {
                [] => 1,
                [Int(depth)] if *depth >= 0 => *depth,
                _ => return Some(Err("level must be non-negative".to_owned())),
            };
            let mut out = Vec::new();
            flat(list, depth, &mut out);
            Ok(Value::list(out))
        }
        ("distinct", [List(list)]) => {
            let mut out: Vec<Value> = Vec::new();
            for item in &list.items {
                if !out.iter().any(|x| x.equals(item)) {
                    out.push(item.clone());
                }
            }
            Ok(Value::list(out))
        }
        ("reverse", [List(list)]) => Ok(Value::list(list.items.iter().rev().cloned().collect())),
        ("sort", [List(list)]) => {
            let mut items = list.items.clone();
            if items.windows(2).any(|w| w[0].compare(&w[1]).is_none()) {
                return Some(Err(NO_OVERLOAD.to_owned()));
            }
            items.sort_by(|a, b| a.compare(b).unwrap_or(Ordering::Equal));
            Ok(Value::list(items))
        }
        ("first", [List(list)]) => Ok(boxed(list.items.first().cloned())),
        ("last", [List(list)]) => Ok(boxed(list.items.last().cloned())),
        ("lists.range", [Int(n)]) if *n <= MAX_RANGE => Ok(Value::list((0..*n).map(Int).collect())),
        ("lists.range", [Int(_)]) => Err(format!("lists.range: at most {MAX_RANGE} elements")),
        ("sets.contains", [List(a), List(b)]) => Ok(Bool(all_in(a, b))),
        ("sets.equivalent", [List(a), List(b)]) => Ok(Bool(all_in(a, b) && all_in(b, a))),
        ("sets.intersects", [List(a), List(b)]) => Ok(Bool(b.items.iter().any(|item| has(a, item)))),
        _ => return None,
    })
}
