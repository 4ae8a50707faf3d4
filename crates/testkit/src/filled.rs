//! Objects with every field set, made from the schema by the rule that upstream's golden files are made by
//! (`apimachinery/pkg/api/apitesting/roundtrip/construct.go`): a text is its field's name, a number the field's number in
//! protobuf, lists and maps have one entry, and what would hold itself ends there.

use api::schema::{self, Field, Shape, Type, TypeId};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use machinery::gvk::{GroupVersion, GroupVersionKind};
use serde_json::{Map, Value, json};

/// An object of that kind with every field set; `None` where there is no such kind.
pub fn filled(kind: &GroupVersionKind) -> Option<Value> {
    let ty = schema::of(kind)?;
    let mut object = of_type(ty, &mut Vec::new())?;
    if ty.is_kind {
        object["apiVersion"] = GroupVersion::new(kind.group.as_str(), kind.version.as_str()).to_string().into();
        object["kind"] = kind.kind.as_str().into();
    }
    Some(object)
}

/// `None` inside itself. Kinds within kinds do not say what they are.
fn of_type(ty: &'static Type, open: &mut Vec<TypeId>) -> Option<Value> {
    if open.contains(&ty.id) {
        return None;
    }
    open.push(ty.id);
    let set = |field: &Field| Some((field.name.to_owned(), of_field(field, open)?));
    let members: Map<String, Value> = ty.fields.iter().filter_map(set).collect();
    open.pop();
    Some(members.into())
}

fn of_field(field: &Field, open: &mut Vec<TypeId>) -> Option<Value> {
    let unnumbered = -(i64::try_from(field.name.len()).unwrap_or_default());
    let number = field.numbers.last().map_or(unnumbered, |number| i64::from(*number));
    of_shape(&field.shape, field.name, number, open)
}

fn of_shape(shape: &Shape, name: &str, number: i64, open: &mut Vec<TypeId>) -> Option<Value> {
    let text = || format!("{name}Value");
    let year = 2000 + number;
    Some(match shape {
        Shape::String(_) | Shape::IntOrString | Shape::Json => text().into(),
        Shape::Int32(_) | Shape::Int64(_) => number.into(),
        Shape::Bool | Shape::SchemaOrBool => true.into(),
        Shape::Double => (number as f64 + 0.5).into(),
        Shape::Bytes => STANDARD.encode([number as u8]).into(),
        Shape::Time => format!("{year}-01-01T01:01:01Z").into(),
        Shape::MicroTime => format!("{year}-01-01T01:01:01.{number:06}Z").into(),
        Shape::Duration => format!("{number}ns").into(),
        Shape::Quantity => "0".into(),
        Shape::Raw => {
            json!({"apiVersion": "example.com/v1", "kind": "CustomType", "spec": {"replicas": 1}, "status": {"available": 1}})
        }
        Shape::FieldsV1 => json!({}),
        Shape::Strings => json!([text()]),
        // Only the alternatives to a schema: it would hold itself.
        Shape::SchemaOrArray => json!([{}]),
        Shape::SchemaOrStrings => json!(["<no json tag> PropertyValue"]),
        Shape::Object(id) => of_type(id.get(), open)?,
        Shape::List(item) => json!([of_shape(item, name, number, open).unwrap_or_else(|| json!({}))]),
        // Upstream's rule for times is for those that are referred to: as a map's values they stay zero.
        Shape::Map(Shape::Time) => json!({format!("{name}Key"): null}),
        Shape::Map(item) => {
            json!({format!("{name}Key"): of_shape(item, name, number, open).unwrap_or_else(|| json!({}))})
        }
    })
}
