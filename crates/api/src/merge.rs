//! What managedFields need to know of built-in kinds, read from the schema table: which values are owned as one, which
//! field by field, and what is written although nobody set it.

use std::sync::LazyLock;

use machinery::gvk::{GroupVersion, GroupVersionKind};
use machinery::managed_fields::{Form, MergeSchema, Relation, Versions};
use serde_json::{Value, json};

use crate::schema::{Field, ListType, Shape, Type};

/// A place in a built-in kind.
#[derive(Debug, Clone, Copy)]
pub struct Place {
    shape: Shape,
    /// The field whose marks hold here; `None` inside lists and maps.
    field: Option<&'static Field>,
}

/// The root of a kind.
pub fn root(ty: &'static Type) -> Place {
    Place { shape: Shape::Object(ty.id), field: None }
}

/// A built-in kind in all its versions, by its name.
#[derive(Debug, Clone, Copy)]
pub struct Kind<'k>(pub &'k str);

impl Kind<'_> {
    fn of(self, api_version: &str) -> Option<GroupVersionKind> {
        Some(GroupVersion::parse(api_version).ok()?.with_kind(self.0))
    }
}

impl Versions<'static> for Kind<'_> {
    type Schema = Place;

    fn schema(&self, api_version: &str) -> Option<Place> {
        crate::schema::of_object(api_version, self.0).map(root)
    }

    fn convert(&self, object: &Value, from: &str, to: &str) -> Option<Value> {
        let (from, to) = (self.of(from)?, self.of(to)?);
        crate::convert::needed(&from, &to).then(|| crate::convert::convert(object, &from, &to))
    }
}

/// `kind` and `apiVersion`, which the table leaves out.
const TEXT: Place = Place { shape: Shape::String(""), field: None };

struct Zeros {
    null: Value,
    object: Value,
    text: Value,
    number: Value,
    truth: Value,
    tcp: Value,
}

static ZEROS: LazyLock<Zeros> = LazyLock::new(|| Zeros {
    null: Value::Null,
    object: json!({}),
    text: json!(""),
    number: json!(0),
    truth: json!(false),
    tcp: json!("TCP"),
});

fn zero(field: &Field) -> &'static Value {
    if field.pointer {
        return &ZEROS.null;
    }
    match field.shape {
        Shape::String(_) => &ZEROS.text,
        Shape::Int32(_) | Shape::Int64(_) | Shape::Double => &ZEROS.number,
        Shape::Bool => &ZEROS.truth,
        Shape::Object(_) => &ZEROS.object,
        _ => &ZEROS.null,
    }
}

impl MergeSchema<'static> for Place {
    fn relation(self) -> Relation<'static, Self> {
        let atomic = self.field.is_some_and(|f| f.atomic);
        let granular = self.field.is_some_and(|f| f.granular);
        match self.shape {
            Shape::Object(id) if atomic || (id.get().atomic && !granular) => Relation::Leaf,
            Shape::Object(_) => Relation::Struct,
            Shape::Map(_) if atomic => Relation::Leaf,
            Shape::Map(item) => Relation::Map(Place { shape: *item, field: None }),
            Shape::List(item) => match self.field.map(|f| f.list) {
                Some(ListType::Set) => Relation::Set,
                Some(ListType::Map(keys)) => Relation::Keyed(Place { shape: *item, field: None }, keys),
                _ => Relation::Leaf,
            },
            _ => Relation::Leaf,
        }
    }

    fn form(self) -> Form<Self> {
        let inside = |item: &'static Shape| Place { shape: *item, field: None };
        match self.shape {
            Shape::String(_) | Shape::Bytes | Shape::Duration => Form::Text,
            Shape::Int32(_) | Shape::Int64(_) | Shape::Double => Form::Number,
            Shape::Bool => Form::Truth,
            Shape::Quantity | Shape::IntOrString | Shape::Time | Shape::MicroTime => Form::Scalar,
            Shape::Object(_) => Form::Struct,
            Shape::Map(item) => Form::Map(inside(item)),
            Shape::List(item) => Form::List(inside(item)),
            Shape::Strings => Form::List(TEXT),
            _ => Form::Any,
        }
    }

    fn field(self, name: &str) -> Option<Self> {
        let Shape::Object(id) = self.shape else { return None };
        let ty = id.get();
        match ty.field(name) {
            Some(field) => Some(Place { shape: field.shape, field: Some(field) }),
            None if ty.is_kind && matches!(name, "kind" | "apiVersion") => Some(TEXT),
            None => None,
        }
    }

    fn always(self, visit: &mut dyn FnMut(&'static str, &'static Value, Self)) {
        let Shape::Object(id) = self.shape else { return };
        for field in id.get().always() {
            visit(field.name, zero(field), Place { shape: field.shape, field: Some(field) });
        }
    }

    fn key_default(self, key: &str) -> Option<&'static Value> {
        // What upstream's OpenAPI gives as the default: the ports' protocol, and the zero of what is always written.
        let Shape::Object(id) = self.shape else { return None };
        let field = id.get().field(key)?;
        match key {
            "protocol" => Some(&ZEROS.tcp),
            _ if field.pointer || !field.written_when_absent() => None,
            _ => Some(zero(field)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use machinery::managed_fields::{Resets, Update, update};

    #[test]
    fn a_write_owns_fields_by_key_and_atomic_values_as_one() {
        let mut pod = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": { "name": "a", "labels": { "x": "1" } },
            "spec": {
                "containers": [{ "name": "c", "image": "i", "ports": [{ "containerPort": 80, "protocol": "TCP" }] }],
                "nodeSelector": { "a": "b" },
            },
        });
        let write = Update {
            manager: "m",
            api_version: "v1",
            subresource: "",
            now: jiff::Timestamp::UNIX_EPOCH,
            resets: Resets(&[&["status"]]),
        };
        update(&Value::Null, &mut pod, &Kind("Pod"), &write);
        let fields = &pod["metadata"]["managedFields"][0]["fieldsV1"];
        assert_eq!(fields["f:metadata"]["f:labels"], json!({ ".": {}, "f:x": {} }));
        let container = &fields["f:spec"]["f:containers"]["k:{\"name\":\"c\"}"];
        assert!(container["f:ports"]["k:{\"containerPort\":80,\"protocol\":\"TCP\"}"].is_object(), "{fields}");
        assert_eq!(fields["f:spec"]["f:nodeSelector"], json!({}), "an atomic map is owned as one");
        assert_eq!(fields.get("f:status"), None);
    }
}
