//! Tables: what `kubectl get` prints, made on the server, of the columns and cells that a resource's row names.

use jiff::Timestamp;
use serde_json::{Value, json};

use model::resource::Resource;

/// A `meta.k8s.io/v1` Table of objects in the row's version. `include` is `None`, `Metadata` or `Object`: what each row
/// carries beside its cells. `metadata` is the list's.
pub fn render(row: &Resource, objects: &[Value], metadata: Value, include: &str, now: Timestamp) -> Value {
    let columns = match row.types.custom() {
        Some(custom) => model::custom::columns::definitions(&custom.columns),
        None => definitions(row.columns.0),
    };
    json!({
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": metadata,
        "columnDefinitions": columns,
        "rows": objects.iter().map(|object| self::row(row, object, include, now)).collect::<Vec<_>>(),
    })
}

/// One row of such a Table.
pub fn row(row: &Resource, object: &Value, include: &str, now: Timestamp) -> Value {
    if let Some(custom) = row.types.custom() {
        let cells = model::custom::columns::cells(&custom.columns, object, now);
        return json!({"cells": cells, "object": carried(object, include)});
    }
    let shown = &row.storage_version;
    let converted = (*shown != row.kind()).then(|| api::convert::convert(object, &row.kind(), shown));
    let seen = converted.as_ref().unwrap_or(object);
    let mut out = json!({"cells": row.columns.1(seen, now), "object": carried(object, include)});
    if let Some(condition) = row.table_condition.and_then(|condition| condition(seen)) {
        out["conditions"] = json!([condition]);
    }
    out
}

fn carried(object: &Value, include: &str) -> Value {
    match include {
        "None" => Value::Null,
        "Object" => object.clone(),
        _ => json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": object["metadata"]}),
    }
}

/// Columns as a Table carries them. All are sent; clients hide those of higher priority.
fn definitions(columns: &str) -> Value {
    let definition = |column: &str| {
        let name = column.trim_start_matches(['+', '#', '?', '@', '=']);
        let marks = &column[..column.len() - name.len()];
        let ty = match () {
            () if marks.contains('#') => "integer",
            () if marks.contains('?') => "boolean",
            () if marks.contains('@') => "date",
            () => "string",
        };
        let format = if marks.contains('=') { "name" } else { "" };
        json!({"name": name, "type": ty, "format": format, "description": "", "priority": i32::from(marks.contains('+'))})
    };
    columns.split('|').map(definition).collect()
}
