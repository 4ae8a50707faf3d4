//! Defaults must be valid values of their own schemas, without unknown fields (`apiserver/schema/defaulting/validation.go`).

use std::borrow::Cow;

use machinery::field::{Error, ErrorList, Path, aggregate};
use serde_json::{Map, Value, json};

use crate::parse::{Additional, Items, Schema};
use crate::prune::META_FIELDS;
use crate::{object_meta, openapi, prune, rules};

/// How to build the object around a value: fields, and elements of lists.
#[derive(Clone)]
enum Around {
    Field(String),
    Element,
}

struct Walk<'a> {
    require_pruned: bool,
    /// The resource whose metadata a value may belong to.
    root: &'a Schema,
    around: Vec<Around>,
    inside_meta: bool,
}

pub(super) fn validate(schema: &Schema, require_pruned: bool, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    let walk = Walk { require_pruned, root: schema, around: Vec::new(), inside_meta: false };
    walk.node(schema, path, true, &mut errors);
    errors
}

/// Whether a default says what its schema does not know.
pub(super) fn has_unpruned(schema: &Schema) -> bool {
    if !super::structural::is_structural(schema) {
        return false;
    }
    let mut pruned = schema.clone();
    prune::prune_defaults(&mut pruned);
    pruned != *schema
}

impl<'a> Walk<'a> {
    fn node(&self, s: &'a Schema, path: &Path, resource: bool, errors: &mut ErrorList) {
        let mut here = Walk { around: self.around.clone(), ..*self };
        if resource || s.embedded {
            here = Walk { root: s, around: Vec::new(), inside_meta: false, ..here };
        }
        if let Some(default) = &s.default {
            let at = path.child("default");
            if !here.inside_meta && here.require_pruned {
                here.pruned(s, default, resource || s.embedded, &at, errors);
            }
            let before = errors.len();
            if here.inside_meta {
                here.metadata(default, &at, errors);
            } else {
                here.plain(s, default, resource || s.embedded, &at, errors);
            }
            if errors.len() == before {
                errors.extend(openapi::validate(default, &untyped(s), None, &at));
            }
            if errors.len() == before {
                errors.extend(rules::validate_default(default, s, resource || s.embedded, &at));
            }
        }
        if let Some(item) = s.item() {
            let inner = here.inside(Around::Element, here.inside_meta);
            inner.node(item, &path.child("items"), false, errors);
        }
        for (name, field) in &s.properties {
            let meta = here.inside_meta || ((resource || s.embedded) && META_FIELDS.contains(&name.as_str()));
            let inner = here.inside(Around::Field(name.clone()), meta);
            inner.node(field, &path.child("properties").key(name), false, errors);
        }
    }

    fn inside(&self, around: Around, inside_meta: bool) -> Self {
        let mut all = self.around.clone();
        all.push(around);
        Walk { around: all, inside_meta, ..*self }
    }

    /// The resource that has the value at this place, and little else.
    fn object(&self, value: &Value) -> Value {
        let mut object = self.around.iter().rev().fold(value.clone(), |inner, around| match around {
            Around::Field(name) => Value::Object(Map::from_iter([(name.clone(), inner)])),
            Around::Element => Value::Array(vec![inner]),
        });
        if let Some(map) = object.as_object_mut() {
            map.entry("kind").or_insert_with(|| json!("Validation"));
            map.entry("apiVersion").or_insert_with(|| json!("validation/v1"));
        }
        object
    }

    fn metadata(&self, default: &Value, at: &Path, errors: &mut ErrorList) {
        let mut object = self.object(default);
        let resource = Schema { embedded: true, ..self.root.clone() };
        let fault = match object_meta::coerce(&mut object, &resource, false) {
            Err(fault) => Some(fault.to_string()),
            Ok(_) => aggregate(&object_meta::validate(&object, &resource, &Path::nil())),
        };
        if let Some(fault) = fault {
            errors.push(Error::invalid(at, default.clone(), format!("must result in valid metadata: {fault}")));
        }
    }

    fn pruned(&self, s: &Schema, default: &Value, resource: bool, at: &Path, errors: &mut ErrorList) {
        let schema = Schema { embedded: s.embedded || resource, default: None, ..s.clone() };
        let mut pruned = default.clone();
        prune::prune_part(&mut pruned, &schema);
        if pruned != *default {
            errors.push(Error::invalid(at, default.clone(), "must not have unknown fields"));
        }
    }

    fn plain(&self, s: &Schema, default: &Value, resource: bool, at: &Path, errors: &mut ErrorList) {
        let schema = Schema { embedded: s.embedded || resource, default: None, ..s.clone() };
        match object_meta::coerce(&mut default.clone(), &schema, false) {
            Err(fault) => errors.push(Error { field: joined(at, &fault.field), ..fault }),
            Ok(_) => errors.extend(object_meta::validate(default, &schema, at)),
        }
    }
}

/// Upstream checks defaults by a schema in which int-or-string takes everything, and formats stand that mean nothing.
fn untyped(schema: &Schema) -> Cow<'_, Schema> {
    if !schema.any(&|s| s.int_or_string || !s.format.is_empty()) {
        return Cow::Borrowed(schema);
    }
    let mut schema = schema.clone();
    loosen(&mut schema);
    Cow::Owned(schema)
}

fn loosen(schema: &mut Schema) {
    schema.int_or_string = false;
    schema.raw_format = true;
    schema.properties.values_mut().for_each(loosen);
    for list in [&mut schema.all_of, &mut schema.any_of, &mut schema.one_of] {
        list.iter_mut().for_each(loosen);
    }
    schema.not.as_deref_mut().into_iter().for_each(loosen);
    if let Some(Items::Schema(item)) = &mut schema.items {
        loosen(item);
    }
    if let Some(Additional::Schema(other)) = &mut schema.additional {
        loosen(other);
    }
}

fn joined(at: &Path, field: &str) -> String {
    at.child(field).to_string()
}
