//! The type that expressions see of a schema's values (`apiserver/pkg/cel/common/schemas.go`), with how large they can
//! get in one request.

use std::collections::BTreeMap;
use std::sync::Arc;

use cel::types::{Object, Type, escape};

use crate::parse::Schema;

/// The largest request.
pub(super) const MAX_REQUEST_BYTES: u64 = 3 * 1024 * 1024;

/// A type, and how few bytes a value takes.
pub(super) struct Decl {
    pub(super) ty: Type,
    pub(super) min_bytes: u64,
}

fn bound(value: Option<i64>) -> Option<u64> {
    value.map(|v| u64::try_from(v).unwrap_or(0))
}

/// None where nothing can be said of the values: such fields do not exist for expressions.
pub(super) fn of(schema: &Schema, resource: bool) -> Option<Decl> {
    let make = |ty, min_bytes| Some(Decl { ty, min_bytes });
    let text = || bound(schema.max_length).map_or(MAX_REQUEST_BYTES - 2, |max| max.saturating_mul(4));
    if schema.int_or_string {
        return make(Type::Dyn(text()), 1);
    }
    match schema.ty.as_str() {
        "array" => {
            let item = schema.item()?;
            let item = of(item, item.embedded)?;
            let max = bound(schema.max_items).unwrap_or((MAX_REQUEST_BYTES - 2) / (item.min_bytes + 1));
            make(Type::list(item.ty, max), 2)
        }
        "object" => match schema.other() {
            Some(other) if schema.properties.is_empty() => {
                let other = of(other, other.embedded)?;
                let max = bound(schema.max_properties).unwrap_or((MAX_REQUEST_BYTES - 2) / (other.min_bytes + 6));
                // Upstream counts keys as empty: definitions that people use would be refused by an honest estimate.
                make(Type::Map(Arc::new(Type::String(0)), Arc::new(other.ty), max), 2)
            }
            _ => Some(object(schema, resource)),
        },
        "string" => match schema.format.as_str() {
            "byte" => make(Type::Bytes(bound(schema.max_length).unwrap_or(MAX_REQUEST_BYTES - 2)), 2),
            "duration" => make(Type::Duration, 4),
            "date" => make(Type::Timestamp, 12),
            "date-time" => make(Type::Timestamp, 22),
            _ => {
                let longest = schema.enumeration.iter().filter_map(|v| v.as_str()).map(|v| v.len() as u64).max();
                let max = if schema.max_length.is_none() { longest.unwrap_or_else(text) } else { text() };
                make(Type::String(max), 2)
            }
        },
        "boolean" => make(Type::Bool, 4),
        "number" => make(Type::Double, 1),
        "integer" => make(Type::Int, 1),
        _ => None,
    }
}

fn object(schema: &Schema, resource: bool) -> Decl {
    let mut fields = BTreeMap::new();
    let mut min_bytes = 2;
    for (name, field) in &schema.properties {
        let Some(decl) = of(field, field.embedded) else { continue };
        if let Some(escaped) = escape(name) {
            fields.insert(escaped, decl.ty);
        }
        if field.default.is_none() && schema.required.contains(name) {
            min_bytes += name.len() as u64 + decl.min_bytes + 4;
        }
    }
    if resource {
        let text = || Type::String(MAX_REQUEST_BYTES - 2);
        let named = [("name", text()), ("generateName", text())].map(|(name, ty)| (name.to_owned(), ty));
        let metadata = Object { name: "object".to_owned(), fields: named.into_iter().collect() };
        for (name, ty) in [("kind", text()), ("apiVersion", text()), ("metadata", Type::Object(Arc::new(metadata)))] {
            fields.insert(name.to_owned(), ty);
        }
    }
    // Types of one name are one type: the address of the schema tells them apart.
    let name = if fields.is_empty() { "object".to_owned() } else { format!("object.{:x}", hash(&fields)) };
    Decl { ty: Type::Object(Arc::new(Object { name, fields })), min_bytes }
}

fn hash(fields: &BTreeMap<String, Type>) -> u64 {
    use std::hash::{DefaultHasher, Hash as _, Hasher as _};
    let mut hasher = DefaultHasher::new();
    for (name, ty) in fields {
        (name, ty.to_string()).hash(&mut hasher);
    }
    hasher.finish() & 0xffff
}
