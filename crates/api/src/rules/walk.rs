//! The walk over an object by the rows of its types.

use machinery::field::{ErrorList, Path};
use serde_json::Value;

use crate::schema::{Field, ListType, MAX_FIELDS, Shape, Type};

use super::compile::{Act, Rules, Stop};
use super::fact::{self, Next};
use super::here::{Here, Place, Seen};

impl Rules {
    /// What is wrong with an object by itself. Where it replaces another, code may ask for that.
    pub fn object(&self, ty: &'static Type, new: &Value, old: Option<&Value>) -> ErrorList {
        whole(&self.object, Place::Root, ty, new, old)
    }

    /// What is wrong with the change from one object to another.
    pub fn change(&self, ty: &'static Type, new: &Value, old: &Value) -> ErrorList {
        whole(&self.change, Place::Root, ty, new, Some(old))
    }

    /// What is wrong with a field of an object alone (its status).
    pub fn field(&self, ty: &'static Type, name: &'static str, new: &Value, old: Option<&Value>) -> ErrorList {
        let mut errors = ErrorList::new();
        Here::new(&self.object, Place::Root, ty, new, old).at(name).walk(&mut errors);
        errors
    }

    /// What is wrong with a part of an object, which is at that path.
    pub fn part(&self, ty: &'static Type, new: &Value, old: Option<&Value>, at: &Path) -> ErrorList {
        whole(&self.object, Place::Base(at), ty, new, old)
    }

    /// What is wrong with the change of a part of an object.
    pub fn part_change(&self, ty: &'static Type, new: &Value, old: &Value, at: &Path) -> ErrorList {
        whole(&self.change, Place::Base(at), ty, new, Some(old))
    }
}

fn whole(stops: &[Option<Stop>], place: Place<'_>, ty: &'static Type, new: &Value, old: Option<&Value>) -> ErrorList {
    let mut errors = ErrorList::new();
    object(ty, &Here::new(stops, place, ty, new, old), &mut errors);
    errors
}

fn object(ty: &'static Type, here: &Here<'_, '_>, errors: &mut ErrorList) {
    if let Some(stop) = &here.stops[ty.id.index()] {
        take(&stop.acts, ty, here, errors);
    }
}

fn take(acts: &[Act], ty: &'static Type, here: &Here<'_, '_>, errors: &mut ErrorList) {
    let news = members(ty, Some(here.value));
    let olds = here.old.map(|old| members(ty, Some(old)));
    for act in acts {
        let (position, field, facts, inline, walked) = match act {
            Act::Code(code) => {
                code(here, errors);
                continue;
            }
            Act::When(condition, acts) => {
                if condition(here) {
                    take(acts, ty, here, errors);
                }
                continue;
            }
            Act::Field { position, field, facts, inline, walked } => (*position, *field, *facts, inline, *walked),
        };
        let value = news[position].filter(|value| !value.is_null());
        let part = here.to(field, field.name, value, olds.as_ref().and_then(|olds| olds[position]));
        match fact::all(facts, field, &part, errors) {
            Next::Parts => {}
            Next::Done => continue,
            Next::End => return,
        }
        if let Some(acts) = inline {
            parts(field, &part, &mut |ty, here| take(acts, ty, here, errors));
        } else if walked {
            parts(field, &part, &mut |ty, here| object(ty, here, errors));
        }
        fact::after(facts, &part, errors);
    }
}

fn members<'v>(ty: &Type, value: Option<&'v Value>) -> [Option<&'v Value>; MAX_FIELDS] {
    match value.and_then(Value::as_object) {
        Some(map) => ty.members(map),
        None => [None; MAX_FIELDS],
    }
}

/// The value here, or the objects in it.
pub(super) fn below(here: &Here<'_, '_>, errors: &mut ErrorList) {
    match (here.field, here.ty) {
        (Some(field), _) => parts(field, here, &mut |ty, here| object(ty, here, errors)),
        (None, Some(ty)) => object(ty, here, errors),
        (None, None) => {}
    }
}

/// Each object that a field holds: itself (a struct is there though nothing was given), its items, its entries.
fn parts(field: &'static Field, here: &Here<'_, '_>, visit: &mut dyn FnMut(&'static Type, &Here<'_, '_>)) {
    if here.value.is_null() && (field.pointer || !matches!(field.shape, Shape::Object(_))) {
        return;
    }
    shape(&field.shape, field, here, visit);
}

fn shape(
    shape: &'static Shape,
    field: &'static Field,
    here: &Here<'_, '_>,
    visit: &mut dyn FnMut(&'static Type, &Here<'_, '_>),
) {
    let seen = Seen::default();
    let (ty, inner) = match shape {
        Shape::Object(id) => return visit(id.get(), here),
        Shape::List(inner) | Shape::Map(inner) => match inner {
            Shape::Object(id) => (Some(id.get()), inner),
            _ => (None, inner),
        },
        _ => return,
    };
    match here.value {
        Value::Array(items) => {
            for (i, value) in items.iter().enumerate() {
                let old = here.old.and_then(|old| before(field, value, i, old));
                let item = here.item(Place::Index(&here.place, i), value, old, ty, &seen);
                self::shape(inner, field, &item, visit);
            }
        }
        Value::Object(entries) => {
            for (key, value) in entries {
                let old = here.old.and_then(|old| old.get(key));
                let item = here.item(Place::Key(&here.place, key), value, old, ty, &seen);
                self::shape(inner, field, &item, visit);
            }
        }
        _ => {}
    }
}

/// The item of the old list that has an item's keys; most often it is at the same place.
fn before<'v>(field: &Field, item: &Value, index: usize, old: &'v Value) -> Option<&'v Value> {
    let ListType::Map(keys) = field.list else { return None };
    let old = old.as_array()?;
    let same = |other: &&Value| keys.iter().all(|key| item.get(key) == other.get(key));
    old.get(index).filter(same).or_else(|| old.iter().find(same))
}

/// Each item of a list and each value of a map, for facts.
pub(super) fn items<'v>(here: &Here<'_, 'v>, mut visit: impl FnMut(&Here<'_, 'v>)) {
    let seen = Seen::default();
    match here.value {
        Value::Array(items) => {
            for (i, value) in items.iter().enumerate() {
                visit(&here.item(Place::Index(&here.place, i), value, None, None, &seen));
            }
        }
        Value::Object(entries) => {
            for (key, value) in entries {
                visit(&here.item(Place::Key(&here.place, key), value, None, None, &seen));
            }
        }
        _ => {}
    }
}
