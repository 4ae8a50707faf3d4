//! Structs of the API as upstream's messages show them. Upstream validates its internal types, which have no JSON names:
//! a fault of a whole struct prints it with Go's field names, in Go's order, with all that is not set. Types of meta/v1 are
//! the same inside and outside, and are printed as clients write them.
//!
//! An internal type is almost always v1's with other names. [`differences`] lists where it is not (source: `pkg/apis` and
//! `staging/src/k8s.io/api`, v1.36.2).

mod differences;

use machinery::field::{Error, Path};
use machinery::go;
use serde_json::Value;

use crate::encode;
use crate::schema::{Field, Shape, Type};

/// A struct as upstream's internal type of that name prints it.
pub fn show(value: &Value, ty: &'static Type) -> String {
    if ty.package.alias == "meta.v1" {
        return String::from_utf8_lossy(&encode::to_vec(value, ty)).into_owned();
    }
    let value = differences::placed(value, ty);
    let mut members = Vec::with_capacity(ty.fields.len());
    for field in differences::fields(ty) {
        let value = value.get(field.name);
        // Go inlines embedded metadata, and leaves out what of it is not set.
        if field.name == "metadata" {
            let metadata = of_field(value, field);
            members.extend(Some(metadata[1..metadata.len() - 1].to_owned()).filter(|inlined| !inlined.is_empty()));
            continue;
        }
        members.push(format!("\"{}\":{}", differences::go_name(ty, field.name), of_field(value, field)));
    }
    format!("{{{}}}", members.join(","))
}

/// The same for a list of structs; a list that is not there is `null`.
pub fn show_list(value: Option<&Value>, ty: &'static Type) -> String {
    match value.and_then(Value::as_array) {
        None => "null".to_owned(),
        Some(items) => format!("[{}]", items.iter().map(|item| show(item, ty)).collect::<Vec<_>>().join(",")),
    }
}

/// An invalid value of a field: structs are shown as [`show`] does.
pub fn invalid(path: &Path, value: Option<&Value>, field: &Field, detail: impl Into<String>) -> Error {
    if field.shape.object().is_some() {
        return Error::invalid(path, Value::Null, detail).printed(&of_field(value, field));
    }
    Error::invalid(path, or_zero(value.unwrap_or(&Value::Null), field), detail)
}

/// A field's value as a message shows it: Go has zeros where nothing was given.
pub(crate) fn or_zero(value: &Value, field: &Field) -> Value {
    match (value, field.shape) {
        (Value::Null, Shape::String(_)) if !field.pointer => "".into(),
        (Value::Null, Shape::Int32(_) | Shape::Int64(_)) if !field.pointer => 0.into(),
        (Value::Null, Shape::Bool) if !field.pointer => false.into(),
        _ => value.clone(),
    }
}

/// JSON without spaces, as `json.MarshalIndent` writes it with one space a level.
pub fn indent(json: &str) -> String {
    let (mut out, mut depth, mut text, mut escaped) = (String::with_capacity(json.len() * 2), 0, false, false);
    let mut characters = json.chars().peekable();
    let newline = |out: &mut String, depth: usize| {
        out.push('\n');
        out.extend(std::iter::repeat_n(' ', depth));
    };
    while let Some(c) = characters.next() {
        if text {
            out.push(c);
            (escaped, text) = (c == '\\' && !escaped, escaped || c != '"');
            continue;
        }
        match c {
            '{' | '[' => {
                out.push(c);
                match characters.next_if(|next| matches!(next, '}' | ']')) {
                    Some(end) => out.push(end),
                    None => {
                        depth += 1;
                        newline(&mut out, depth);
                    }
                }
            }
            '}' | ']' => {
                depth -= 1;
                newline(&mut out, depth);
                out.push(c);
            }
            ',' => {
                out.push(c);
                newline(&mut out, depth);
            }
            ':' => out.push_str(": "),
            c => {
                text = c == '"';
                out.push(c);
            }
        }
    }
    out
}

fn of_field(value: Option<&Value>, field: &Field) -> String {
    match value.filter(|v| !v.is_null()) {
        None if field.pointer => "null".to_owned(),
        value => of_shape(value, &field.shape),
    }
}

fn of_shape(value: Option<&Value>, shape: &Shape) -> String {
    match (shape, value) {
        (Shape::Object(id), value) => show(value.unwrap_or(&Value::Null), id.get()),
        (Shape::List(item), Some(Value::Array(items))) => {
            format!("[{}]", items.iter().map(|v| of_shape(Some(v), item)).collect::<Vec<_>>().join(","))
        }
        (Shape::Map(item), Some(Value::Object(map))) => {
            let entries =
                map.iter().map(|(k, v)| format!("{}:{}", go::json(&Value::from(k.as_str())), of_shape(Some(v), item)));
            format!("{{{}}}", entries.collect::<Vec<_>>().join(","))
        }
        (_, Some(value)) => go::json(value),
        (shape, None) => zero(shape).to_owned(),
    }
}

fn zero(shape: &Shape) -> &'static str {
    match shape {
        Shape::String(_) => "\"\"",
        Shape::Int32(_) | Shape::Int64(_) | Shape::Double | Shape::IntOrString => "0",
        Shape::Bool => "false",
        Shape::Duration => "\"0s\"",
        Shape::Quantity => "\"0\"",
        _ => "null",
    }
}

#[cfg(test)]
mod tests;
