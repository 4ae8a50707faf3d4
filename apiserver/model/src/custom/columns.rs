//! The columns of a custom resource's Table: what its definition names by JSON paths, or the age. Follows
//! `apiextensions-apiserver/pkg/registry/customresource/tableconvertor`.

use jiff::Timestamp;
use machinery::jsonpath::Template;
use machinery::meta;
use machinery::time::human_duration;
use serde_json::{Value, json};

use crate::descriptions;

const METADATA: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";

/// One column, as the definition has it.
#[derive(Debug, Clone)]
pub struct Column {
    name: String,
    /// `string`, `integer`, `number`, `boolean`, `date`.
    kind: String,
    format: String,
    description: String,
    priority: i64,
    path: Template,
}

/// Reads `additionalPrinterColumns`. A path that cannot be read ends the table there, as upstream's does.
pub fn read(columns: &Value) -> Vec<Column> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_string();
    let column = |column: &Value| {
        let path = text(&column["jsonPath"]);
        let description = match text(&column["description"]) {
            none if none.is_empty() => format!("Custom resource definition column (in JSONPath format): {path}"),
            some => some,
        };
        Some(Column {
            name: text(&column["name"]),
            kind: text(&column["type"]),
            format: text(&column["format"]),
            description,
            priority: column["priority"].as_i64().unwrap_or_default(),
            path: Template::parse(&format!("{{{path}}}")).ok()?,
        })
    };
    match columns.as_array() {
        Some(columns) if !columns.is_empty() => columns.iter().map_while(column).collect(),
        _ => {
            let description = descriptions::described(METADATA, "creationTimestamp");
            let age = json!({ "name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp",
                "description": description });
            column(&age).into_iter().collect()
        }
    }
}

/// The headings; the name comes first.
pub fn definitions(columns: &[Column]) -> Value {
    let name = json!({ "name": "Name", "type": "string", "format": "name",
        "description": descriptions::described(METADATA, "name"), "priority": 0 });
    let rest = columns.iter().map(|column| {
        json!({
            "name": column.name,
            "type": column.kind,
            "format": column.format,
            "description": column.description,
            "priority": column.priority,
        })
    });
    std::iter::once(name).chain(rest).collect()
}

/// The cells of an object.
pub fn cells(columns: &[Column], obj: &Value, now: Timestamp) -> Vec<Value> {
    let cell = |column: &Column| match column.path.find(obj).into_iter().next() {
        Some(found) => shown(&column.kind, found, now),
        None => Value::Null,
    };
    std::iter::once(meta::name(obj).into()).chain(columns.iter().map(cell)).collect()
}

/// A value as a column of a type shows it; nothing where it is of another.
fn shown(kind: &str, value: Value, now: Timestamp) -> Value {
    match (kind, value) {
        ("string", Value::Null) => "<no value>".into(),
        ("string", Value::String(text)) => text.into(),
        ("string", list @ (Value::Array(_) | Value::Object(_))) => machinery::go::json(&list).into(),
        ("string", scalar) => machinery::go::print(&scalar).into(),
        ("integer", Value::Number(n)) => n.as_i64().or(n.as_f64().map(|f| f as i64)).into(),
        ("number", Value::Number(n)) => n.into(),
        ("boolean", Value::Bool(truth)) => truth.into(),
        ("date", Value::String(text)) => match text.parse::<Timestamp>() {
            Ok(at) if text.as_bytes().get(10) == Some(&b'T') => human_duration(now.duration_since(at).as_secs()).into(),
            Err(_) if text.is_empty() || text == "null" => "<unknown>".into(),
            _ => "<invalid>".into(),
        },
        _ => Value::Null,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_what_the_paths_find_in_the_columns_type() {
        let column =
            |name: &str, kind: &str, path: &str| json!({ "name": name, "type": kind, "jsonPath": path, "priority": 1 });
        let columns = read(&json!([
            column("Text", "string", ".spec.text"),
            column("Map", "string", ".spec.map"),
            column("Count", "integer", ".spec.count"),
            column("Wrong", "integer", ".spec.text"),
            column("Missing", "string", ".spec.none"),
            column("Ready", "string", ".status.conditions[?(@.type==\"Ready\")].status"),
            column("Since", "date", ".metadata.creationTimestamp"),
            column("Large", "string", ".spec.large"),
            column("Day", "date", ".spec.day"),
        ]));
        let obj = json!({
            "metadata": { "name": "a", "creationTimestamp": "2026-01-01T00:00:00Z" },
            "spec": { "text": "t", "map": { "x": 1 }, "count": 2.0, "large": 1e6,
                "day": "2026-01-01 00:00:00Z" },
            "status": { "conditions": [{ "type": "Other", "status": "False" }, { "type": "Ready", "status": "True" }] },
        });
        let now = "2026-01-01T00:05:00Z".parse().expect("a time");
        assert_eq!(
            Value::from(cells(&columns, &obj, now)),
            json!(["a", "t", "{\"x\":1}", 2, null, null, "True", "5m", "1e+06", "<invalid>"])
        );
        let headings = definitions(&columns);
        assert_eq!(headings[3]["description"], "Custom resource definition column (in JSONPath format): .spec.count");
        let name = headings[0]["description"].as_str().expect("text");
        assert!(name.starts_with("Name must be unique within a namespace."), "{name}");
        let age = &definitions(&read(&Value::Null))[1];
        assert_eq!(age["name"], "Age");
        let text = age["description"].as_str().expect("text");
        assert!(text.starts_with("CreationTimestamp is a timestamp"), "{text}");
    }
}
