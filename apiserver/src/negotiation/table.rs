//! Tables: what `kubectl get` prints, made on the server.

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::registry::catalogue::Resource;

/// A `meta.k8s.io/v1` Table of objects in the row's version. `include` is `None`, `Metadata` or `Object`: what each row
/// carries beside its cells.
pub fn render(_row: &Resource, objects: &[Value], metadata: Value, include: &str, now: Timestamp) -> Value {
    let columns = json!([
        { "name": "Name", "type": "string", "format": "name", "description": "Name must be unique within a namespace.", "priority": 0 },
        { "name": "Age", "type": "string", "format": "", "description": "CreationTimestamp is a timestamp representing the server time when this object was created.", "priority": 0 },
    ]);
    let rows: Vec<Value> = objects
        .iter()
        .map(|object| {
            let age = machinery::meta::creation_timestamp(object)
                .parse::<Timestamp>()
                .map_or("<unknown>".to_string(), |at| age(now.duration_since(at).as_secs()));
            json!({ "cells": [machinery::meta::name(object), age], "object": carried(object, include) })
        })
        .collect();
    json!({ "kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": metadata, "columnDefinitions": columns, "rows": rows })
}

fn carried(object: &Value, include: &str) -> Value {
    match include {
        "None" => Value::Null,
        "Object" => object.clone(),
        _ => json!({ "kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": object["metadata"] }),
    }
}

/// Upstream's `duration.HumanDuration`.
fn age(seconds: i64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86400);
    match seconds {
        s if s < -1 => "<invalid>".into(),
        s if s < 0 => "0s".into(),
        s if s < 120 => format!("{s}s"),
        s if s < 600 => pair(minutes, "m", s % 60, "s"),
        s if s < 10_800 => format!("{minutes}m"),
        s if s < 28_800 => pair(hours, "h", minutes % 60, "m"),
        s if s < 172_800 => format!("{hours}h"),
        s if s < 691_200 => pair(days, "d", hours % 24, "h"),
        s if s < 63_072_000 => format!("{days}d"),
        s if s < 252_288_000 => pair(days / 365, "y", days % 365, "d"),
        _ => format!("{}y", days / 365),
    }
}

fn pair(large: i64, large_unit: &str, small: i64, small_unit: &str) -> String {
    if small == 0 { format!("{large}{large_unit}") } else { format!("{large}{large_unit}{small}{small_unit}") }
}
