//! Merging and ownership of the fields of a custom resource (`kube-openapi/pkg/schemaconv`): by the schema's list and map types, and
//! metadata by the built-in table.

use std::sync::LazyLock;

use machinery::managed_fields::{Form, MergeSchema, Relation};
use serde_json::Value;

use super::parse::{Additional, Schema};

/// A place in a custom resource.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    at: At<'a>,
    /// Whether fields that the schema does not know may stand here: it, or what it stands in, keeps them.
    keeps: bool,
}

#[derive(Clone, Copy, Debug)]
enum At<'a> {
    /// A whole resource.
    Resource(&'a Schema),
    Node(&'a Schema),
    Builtin(api::merge::Place),
    /// `kind` and `apiVersion`.
    Text,
    /// Below fields that are kept without being known.
    Free,
}

/// The root of a resource.
pub(super) fn root(schema: &Schema, keeps: bool) -> Place<'_> {
    Place { at: At::Resource(schema), keeps: keeps || schema.preserve == Some(true) }
}

/// A place of which the custom resource's schema says nothing.
fn place(at: At<'_>) -> Place<'_> {
    Place { at, keeps: false }
}

static METADATA: LazyLock<api::merge::Place> = LazyLock::new(|| api::merge::root(api::schema::object_meta()));

fn node(schema: &Schema, keeps: bool) -> Place<'_> {
    let at = if schema.embedded { At::Resource(schema) } else { At::Node(schema) };
    Place { at, keeps: keeps || schema.preserve == Some(true) }
}

fn lift<'a>(relation: Relation<'static, api::merge::Place>) -> Relation<'a, Place<'a>> {
    match relation {
        Relation::Leaf => Relation::Leaf,
        Relation::Struct => Relation::Struct,
        Relation::Map(values) => Relation::Map(place(At::Builtin(values))),
        Relation::Set => Relation::Set,
        Relation::Keyed(items, keys) => Relation::Keyed(place(At::Builtin(items)), keys),
        Relation::Deduced => Relation::Deduced,
    }
}

fn relation(schema: &Schema, keeps: bool) -> Relation<'_, Place<'_>> {
    let atomic = schema.map_type.as_deref() == Some("atomic");
    match schema.ty.as_str() {
        "object" | "" if atomic => Relation::Leaf,
        "object" | "" if !schema.properties.is_empty() => Relation::Struct,
        "object" => match &schema.additional {
            Some(Additional::Schema(other)) => Relation::Map(node(other, keeps)),
            _ => Relation::Deduced,
        },
        "" => Relation::Deduced,
        "array" => match (schema.list_type.as_deref(), schema.item()) {
            (Some("set"), _) => Relation::Set,
            (Some("map"), Some(item)) => Relation::Keyed(node(item, keeps), &schema.map_keys),
            _ => Relation::Leaf,
        },
        _ => Relation::Leaf,
    }
}

fn lift_form<'a>(form: Form<api::merge::Place>) -> Form<Place<'a>> {
    match form {
        Form::Any => Form::Any,
        Form::Text => Form::Text,
        Form::Number => Form::Number,
        Form::Truth => Form::Truth,
        Form::Scalar => Form::Scalar,
        Form::Struct => Form::Struct,
        Form::Map(values) => Form::Map(place(At::Builtin(values))),
        Form::List(items) => Form::List(place(At::Builtin(items))),
    }
}

fn form(schema: &Schema, keeps: bool) -> Form<Place<'_>> {
    match schema.ty.as_str() {
        // Texts in a format are typed as in upstream: as any scalar.
        "string" if !matches!(schema.format.as_str(), "" | "byte") => Form::Scalar,
        "string" => Form::Text,
        "integer" | "number" => Form::Number,
        "boolean" => Form::Truth,
        "array" => schema.item().map_or(Form::Any, |item| Form::List(node(item, keeps))),
        "object" if !schema.properties.is_empty() => Form::Struct,
        "object" => schema.other().map_or(Form::Any, |other| Form::Map(node(other, keeps))),
        _ => Form::Any,
    }
}

impl<'a> MergeSchema<'a> for Place<'a> {
    fn relation(self) -> Relation<'a, Self> {
        match self.at {
            At::Resource(schema) if schema.map_type.as_deref() == Some("atomic") => Relation::Leaf,
            At::Resource(_) => Relation::Struct,
            At::Node(schema) => relation(schema, self.keeps),
            At::Builtin(place) => lift(place.relation()),
            At::Text => Relation::Leaf,
            At::Free => Relation::Deduced,
        }
    }

    fn form(self) -> Form<Self> {
        match self.at {
            At::Resource(_) => Form::Struct,
            At::Node(schema) => form(schema, self.keeps),
            At::Builtin(place) => lift_form(place.form()),
            At::Text => Form::Text,
            At::Free => Form::Any,
        }
    }

    fn field(self, name: &str) -> Option<Self> {
        match self.at {
            At::Resource(_) if name == "metadata" => Some(place(At::Builtin(*METADATA))),
            At::Resource(_) if matches!(name, "kind" | "apiVersion") => Some(place(At::Text)),
            At::Resource(schema) | At::Node(schema) => match schema.at(name) {
                Some(field) => Some(node(field, self.keeps)),
                // What is kept without being known, is owned without being known.
                None => self.keeps.then(|| place(At::Free)),
            },
            At::Builtin(place) => place.field(name).map(|field| self::place(At::Builtin(field))),
            At::Text | At::Free => None,
        }
    }

    fn always(self, visit: &mut dyn FnMut(&'a str, &'a Value, Self)) {
        if let At::Builtin(place) = self.at {
            place.always(&mut |name, value, below| visit(name, value, self::place(At::Builtin(below))));
        }
    }

    fn key_default(self, key: &str) -> Option<&'a Value> {
        match self.at {
            At::Resource(schema) | At::Node(schema) => schema.properties.get(key).and_then(|k| k.default.as_ref()),
            At::Builtin(place) => place.key_default(key),
            At::Text | At::Free => None,
        }
    }
}
