//! The rules of kinds as rows: all of them, and the strategy of kinds that need nothing else.
//!
//! To add a rule: find the type's row (in the folder of its group; types that several kinds share are under `core`), and
//! put a step where upstream's validator has it (`api::rules` says what a step can be). A kind whose updates or
//! subresources are examined otherwise than [`Ruled`] does has a strategy of its own, and calls [`object`] and [`change`].

use std::sync::LazyLock;

use api::rules::{Here, Row, Rules};
use api::schema::{self, Type};
use machinery::field::{ErrorList, Path};
use machinery::json::Fields;
use machinery::meta;
use model::check::Faults;
use model::resource::Resource;
use serde_json::Value;
use writes::strategy::{Strategy, WriteContext};

use super::core::{pod, volume};
use super::{batch, node, resource, scheduling, storage_k8s};

/// The rows, by group.
const ROWS: &[&[Row]] = &[
    pod::ROWS,
    volume::ROWS,
    volume::SOURCES,
    batch::ROWS,
    scheduling::ROWS,
    node::ROWS,
    storage_k8s::ROWS,
    resource::ROWS,
];

static RULES: LazyLock<Rules> = LazyLock::new(|| Rules::new(ROWS));

/// What is wrong with an object of a row by itself.
pub fn object(row: &Resource, new: &Value, old: Option<&Value>) -> ErrorList {
    row.types.built_in().map(|ty| RULES.object(ty, new, old)).unwrap_or_default()
}

/// What is wrong with a change of an object of a row.
pub fn change(row: &Resource, new: &Value, old: &Value) -> ErrorList {
    row.types.built_in().map(|ty| RULES.change(ty, new, old)).unwrap_or_default()
}

/// What is wrong with a field of an object of a row (its status).
pub fn field(row: &Resource, name: &'static str, new: &Value, old: Option<&Value>) -> ErrorList {
    row.types.built_in().map(|ty| RULES.field(ty, name, new, old)).unwrap_or_default()
}

/// What is wrong with a part of an object, by the type's name (`core.v1`, `PodSpec`).
pub fn part(ty: (&str, &str), new: &Value, old: Option<&Value>, at: &Path) -> ErrorList {
    RULES.part(named(ty), new, old, at)
}

/// The same, by the type.
pub fn of_type(ty: &'static Type, new: &Value, old: Option<&Value>, at: &Path) -> ErrorList {
    RULES.part(ty, new, old, at)
}

/// What is wrong with the change of a part of an object.
pub fn part_change(ty: (&str, &str), new: &Value, old: &Value, at: &Path) -> ErrorList {
    RULES.part_change(named(ty), new, old, at)
}

fn named((package, name): (&str, &str)) -> &'static Type {
    schema::named(package, name).expect("code names types of the table, whose tests call it")
}

/// Changes an object before it is examined; beside it is what it replaces.
type Prepare = fn(&mut Value, Option<&Value>);
/// What a client is told that writes an object; beside it is what it replaces.
type Warn = fn(&Value, Option<&Value>) -> Vec<String>;

/// The strategy of kinds whose rules are rows, and whose other decisions need to see nothing but the object.
pub struct Ruled {
    update: Update,
    parts: bool,
    prepare: Prepare,
    warn: Warn,
}

/// What of an update is examined, in upstream's order.
enum Update {
    ObjectThenChange,
    ChangeThenObject,
    Change,
}

/// Of an update the object is examined first, then the change; subresources are not examined.
pub const RULED: Ruled =
    Ruled { update: Update::ObjectThenChange, parts: false, prepare: |_, _| {}, warn: |_, _| Vec::new() };

impl Ruled {
    /// Of an update the change is examined first.
    pub const fn change_first(self) -> Self {
        Self { update: Update::ChangeThenObject, ..self }
    }

    /// Of an update the change alone is examined.
    pub const fn change_only(self) -> Self {
        Self { update: Update::Change, ..self }
    }

    /// A write to a subresource is examined as one to the object.
    pub const fn parts_too(self) -> Self {
        Self { parts: true, ..self }
    }

    /// Before the examination: clears what clients may not set.
    pub const fn prepare(self, prepare: Prepare) -> Self {
        Self { prepare, ..self }
    }

    /// What clients are told.
    pub const fn warn(self, warn: Warn) -> Self {
        Self { warn, ..self }
    }
}

impl Strategy for Ruled {
    fn prepare_for_create(&self, _: &WriteContext<'_>, new: &mut Value) {
        (self.prepare)(new, None);
    }

    fn prepare_for_update(&self, cx: &WriteContext<'_>, new: &mut Value, old: &Value) {
        if cx.subresource.is_none() {
            (self.prepare)(new, Some(old));
        }
    }

    fn validate(&self, cx: &WriteContext<'_>, new: &Value) -> ErrorList {
        object(cx.resource, new, None)
    }

    fn validate_update(&self, cx: &WriteContext<'_>, new: &Value, old: &Value) -> ErrorList {
        if cx.subresource.is_some() && !self.parts {
            return ErrorList::new();
        }
        let object = || object(cx.resource, new, Some(old));
        let change = || change(cx.resource, new, old);
        match self.update {
            Update::ObjectThenChange => [object(), change()].concat(),
            Update::ChangeThenObject => [change(), object()].concat(),
            Update::Change => change(),
        }
    }

    fn warnings(&self, cx: &WriteContext<'_>, new: &Value, old: Option<&Value>) -> Vec<String> {
        if cx.subresource.is_some() { Vec::new() } else { (self.warn)(new, old) }
    }
}

/// Removes a field whose feature is not enabled, unless the object had it before.
pub fn drop_disabled(new: &mut Value, old: Option<&Value>, pointer: &str) {
    let (parent, name) = pointer.rsplit_once('/').expect("a JSON pointer has a slash");
    if old.and_then(|old| old.pointer(pointer)).is_none_or(Value::is_null)
        && let Some(parent) = new.pointer_mut(parent).and_then(Value::as_object_mut)
    {
        parent.remove(name);
    }
}

/// Metadata of a template (`ValidateTemplateObjectMeta`), in which labels and annotations alone have a meaning.
pub fn template_metadata(here: &Here<'_, '_>, errors: &mut ErrorList) {
    let at = here.path();
    errors.extend(meta::validate_annotations(here.value.object("annotations"), &at.child("annotations")));
    errors.extend(meta::validate_labels(here.value.object("labels"), &at.child("labels")));
    for field in schema::object_meta().fields.iter().filter(|f| !matches!(f.name, "annotations" | "labels")) {
        let given = |value: &Value| value.as_str() != Some("");
        if here.value.sub(field.name).is_some_and(given) {
            // The Go field's name with its first letter in lower case.
            let shown = if field.name == "uid" { "uID" } else { field.name };
            errors.forbidden(&at.child(shown), "cannot be set");
        }
    }
}

/// What the rules say of an object (and of the update from another) of a kind, for tests: a fault a line.
#[cfg(test)]
pub fn said(kind: (&str, &str, &str), new: &Value, old: Option<&Value>) -> String {
    let ty = schema::kind(kind.0, kind.1, kind.2).expect("a kind");
    let mut errors = RULES.object(ty, new, old);
    errors.extend(old.into_iter().flat_map(|old| RULES.change(ty, new, old)));
    errors.iter().map(|error| format!("{error}\n")).collect()
}

/// What the rules say of a field of an object that replaces another, for tests.
#[cfg(test)]
pub fn said_of(kind: (&str, &str, &str), name: &'static str, new: &Value, old: &Value) -> String {
    let ty = schema::kind(kind.0, kind.1, kind.2).expect("a kind");
    RULES.field(ty, name, new, Some(old)).iter().map(|error| format!("{error}\n")).collect()
}

/// An object with some places set (null: removed), by JSON pointers whose parents are made, for tests.
#[cfg(test)]
pub fn with(base: &Value, places: &[(&str, Value)]) -> Value {
    let mut object = base.clone();
    for (pointer, value) in places {
        let (parent, name) = pointer.rsplit_once('/').expect("a pointer has a slash");
        let mut at = &mut object;
        for part in parent.split('/').skip(1) {
            at = match part.parse::<usize>() {
                Ok(index) if at.is_array() => &mut at[index],
                _ => &mut at[part],
            };
        }
        match (name.parse::<usize>(), at.is_array()) {
            (Ok(index), true) => at[index] = value.clone(),
            _ if value.is_null() => drop(at.as_object_mut().map(|fields| fields.remove(name))),
            _ => at[name.replace("~1", "/")] = value.clone(),
        }
    }
    object
}
