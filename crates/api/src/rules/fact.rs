//! The facts of a field, in upstream's words.

use std::collections::HashSet;

use machinery::field::{Error, ErrorList, Path};
use machinery::names;
use machinery::quantity::Quantity;
use serde_json::Value;

use crate::internal;
use crate::schema::{Field, Shape, Type};

use super::equal::same_field;
use super::here::Here;
use super::{Fact, walk};

/// What upstream says of a field that may not change.
const IMMUTABLE: &str = "field is immutable";

/// That a field of a struct did not change (upstream's `ValidateImmutableField`), for code among the rows: there it is
/// [`Fact::Immutable`].
///
/// # Panics
/// When the type has no such field.
pub fn immutable(ty: &'static Type, name: &str, new: &Value, old: &Value, path: &Path) -> Option<Error> {
    let field = ty.field(name).unwrap_or_else(|| panic!("{} has no field {name}", ty.name));
    let of = |object: &Value| object.get(name).cloned().unwrap_or_default();
    let (new, old) = (of(new), of(old));
    (!same_field(field, &new, &old)).then(|| internal::invalid(path, Some(&new), field, IMMUTABLE))
}

/// How the examination of a field goes on.
#[derive(PartialEq, Eq)]
pub(super) enum Next {
    /// With its parts.
    Parts,
    /// Not at all.
    Done,
    /// Not at all, and nothing of the object around it is examined either.
    End,
}

/// The facts of a field.
pub(super) fn all(facts: &'static [Fact], field: &Field, here: &Here<'_, '_>, errors: &mut ErrorList) -> Next {
    if facts.is_empty() {
        return Next::Parts;
    }
    let absent = absent(field, here.value);
    for fact in facts {
        match fact {
            Fact::Required(detail) if absent => {
                errors.push(Error::required(&here.path(), *detail));
                return Next::Done;
            }
            Fact::Needed(detail) if absent => {
                errors.push(Error::required(&here.path(), *detail));
                return Next::End;
            }
            Fact::Missing(detail) if absent => errors.push(Error::required(&here.path(), *detail)),
            Fact::Optional if absent || here.value.as_str().is_some_and(str::is_empty) => return Next::Done,
            Fact::Forbidden(detail) if !absent => errors.push(Error::forbidden(&here.path(), *detail)),
            Fact::Required(_) | Fact::Needed(_) | Fact::Missing(_) | Fact::Optional | Fact::Forbidden(_) => {}
            Fact::Immutable => {
                if changed(field, here) {
                    errors.push(internal::invalid(&here.path(), Some(here.value), field, IMMUTABLE));
                }
            }
            Fact::Fixed(detail) => {
                if changed(field, here) {
                    errors.push(Error::forbidden(&here.path(), *detail));
                }
            }
            Fact::Unique if here.value.is_null() && !field.pointer => {
                if here.repeated(std::ptr::from_ref(fact).addr()) {
                    errors.push(Error::duplicate(&here.path(), internal::or_zero(here.value, field)));
                }
            }
            // Nothing is behind the pointer.
            _ if absent && field.pointer => {}
            fact => {
                if value(fact, here, errors) == Next::Done {
                    return Next::Done;
                }
            }
        }
    }
    Next::Parts
}

/// As upstream's structs have it: a zero, unless the field is a pointer. A struct is always there.
fn absent(field: &Field, value: &Value) -> bool {
    match value {
        Value::Null => field.pointer || !matches!(field.shape, Shape::Object(_)),
        _ if field.pointer => false,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(map) => map.is_empty() && !matches!(field.shape, Shape::Object(_)),
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::Bool(set) => !set,
    }
}

/// Whether a field is another than before; of an item that cannot be told from the others nothing is known.
fn changed(field: &Field, here: &Here<'_, '_>) -> bool {
    here.old.is_some_and(|old| !same_field(field, here.value, old))
}

/// A fact of a value.
fn value(fact: &'static Fact, here: &Here<'_, '_>, errors: &mut ErrorList) -> Next {
    let text = || here.value.as_str().unwrap_or_default();
    let number = || here.value.as_i64().unwrap_or_default();
    let invalid = |value: Value, detail: String| Error::invalid(&here.path(), value, detail);
    match fact {
        Fact::NotEmpty(detail) if text().is_empty() => {
            errors.push(Error::required(&here.path(), *detail));
            return Next::Done;
        }
        Fact::OneOf(known) if !known.contains(&text()) => {
            errors.push(Error::not_supported(&here.path(), text(), *known));
        }
        Fact::Form(rule) => errors.extend(rule(text()).into_iter().map(|m| invalid(text().into(), m))),
        Fact::Parsed(rule) => errors.extend(rule(&here.path(), text())),
        Fact::Number(rule) => errors.extend(rule(number()).into_iter().map(|m| invalid(number().into(), m))),
        Fact::AtLeast(least) if number() < *least => {
            errors.push(invalid(number().into(), format!("must be greater than or equal to {least}")));
        }
        Fact::AtMost(most) if number() > *most => {
            errors.push(invalid(number().into(), format!("must be less than or equal to {most}")));
        }
        Fact::Between(low, high) if !(*low..=*high).contains(&number()) => {
            errors.push(invalid(number().into(), names::inclusive_range_error(*low, *high)));
        }
        Fact::Positive if number() <= 0 => {
            errors.push(invalid(number().into(), "must be greater than zero".to_owned()));
        }
        Fact::QuantityAtLeastZero => {
            if let Some(amount) = Quantity::from_value(here.value).filter(|amount| amount.sign() < 0) {
                errors.push(invalid(amount.to_string().into(), "must be greater than or equal to 0".to_owned()));
            }
        }
        Fact::MaxBytes(most) if text().len() > *most => errors.push(Error::too_long(&here.path(), *most)),
        Fact::MaxCharacters(most) if text().chars().count() > *most => {
            errors.push(Error::too_long_characters(&here.path(), *most));
        }
        Fact::MinItems(least) if length(here.value) < *least => {
            errors.push(Error::too_few(&here.path(), length(here.value), *least));
        }
        Fact::MaxItems(most) if length(here.value) > *most => {
            errors.push(Error::too_many(&here.path(), length(here.value), *most));
            return Next::Done;
        }
        Fact::Unique if here.repeated(std::ptr::from_ref(fact).addr()) => {
            errors.push(Error::duplicate(&here.path(), here.value.clone()));
        }
        Fact::Each(facts) => walk::items(here, |item| items(facts, item, errors)),
        Fact::Keys(facts) => {
            for key in here.value.as_object().into_iter().flat_map(|map| map.keys()) {
                for fact in *facts {
                    key_fact(fact, key, here, errors);
                }
            }
        }
        Fact::Check(code) => code(here, errors),
        _ => {}
    }
    Next::Parts
}

/// The facts that need a list's items to have been examined before.
pub(super) fn after(facts: &'static [Fact], here: &Here<'_, '_>, errors: &mut ErrorList) {
    let fields = facts.iter().filter_map(|fact| match fact {
        Fact::Distinct(field) => Some(*field),
        _ => None,
    });
    for field in fields {
        let mut seen = HashSet::new();
        for (i, item) in here.value.as_array().into_iter().flatten().enumerate() {
            let key = if field.is_empty() { Some(item) } else { item.get(field) };
            if !seen.insert(key) {
                errors.push(Error::duplicate(&here.path().index(i), key.cloned().unwrap_or_else(|| "".into())));
            }
        }
    }
}

/// A fact of a map's key. The path is the map's.
fn key_fact(fact: &'static Fact, key: &str, here: &Here<'_, '_>, errors: &mut ErrorList) {
    let at = || here.path();
    match fact {
        Fact::Form(rule) => errors.extend(rule(key).into_iter().map(|m| Error::invalid(&at(), key, m))),
        Fact::Parsed(rule) => errors.extend(rule(&at(), key)),
        Fact::Required(detail) | Fact::Missing(detail) if key.is_empty() => {
            errors.push(Error::required(&at(), *detail));
        }
        Fact::OneOf(known) if !known.contains(&key) => errors.push(Error::not_supported(&at(), key, *known)),
        _ => {}
    }
}

fn items(facts: &'static [Fact], here: &Here<'_, '_>, errors: &mut ErrorList) {
    let empty = here.value.as_str().is_some_and(str::is_empty);
    for fact in facts {
        match fact {
            Fact::Required(detail) if empty => return errors.push(Error::required(&here.path(), *detail)),
            Fact::Missing(detail) if empty => errors.push(Error::required(&here.path(), *detail)),
            Fact::Optional if empty => return,
            fact => {
                if value(fact, here, errors) == Next::Done {
                    return;
                }
            }
        }
    }
}

fn length(value: &Value) -> usize {
    match value {
        Value::Array(items) => items.len(),
        Value::Object(map) => map.len(),
        _ => 0,
    }
}
