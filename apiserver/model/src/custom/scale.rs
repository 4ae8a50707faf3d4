//! The `scale` part of a custom resource: the numbers are where its definition says. Follows
//! `apiextensions-apiserver/pkg/registry/customresource/etcd.go` (ScaleREST).

use serde_json::Value;

/// Dotted paths, as the definition gives them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scale {
    /// `.spec.replicas`.
    pub spec_replicas: String,
    /// `.status.replicas`.
    pub status_replicas: String,
    /// `.status.labelSelector`, where there is one.
    pub label_selector: Option<String>,
}

impl Scale {
    /// Whether the object says how many replicas it wants.
    pub fn sets_replicas(&self, obj: &Value) -> bool {
        matches!(number(obj, &self.spec_replicas), Ok(Some(_)))
    }

    /// Replicas wanted and observed, and the selector; 0 and empty where there are none.
    pub fn read(&self, obj: &Value) -> Result<(i64, i64, String), String> {
        let wanted = number(obj, &self.spec_replicas)?.unwrap_or_default();
        let observed = number(obj, &self.status_replicas)?.unwrap_or_default();
        let selector = match &self.label_selector {
            Some(path) => text(obj, path)?.unwrap_or_default().to_string(),
            None => String::new(),
        };
        Ok((wanted, observed, selector))
    }
}

/// The value at a dotted path; an error where something on the way is no object.
fn nested<'v>(obj: &'v Value, path: &str) -> Result<Option<&'v Value>, String> {
    let mut at = obj;
    let mut walked = String::new();
    for step in path.trim_start_matches('.').split('.') {
        walked = format!("{walked}.{step}");
        if at.is_null() {
            return Ok(None);
        }
        if !at.is_object() {
            let kind = go_type(at);
            return Err(format!(
                "{walked} accessor error: {} is of the type {kind}, expected map[string]interface{{}}",
                go_value(at)
            ));
        }
        match at.get(step) {
            Some(value) => at = value,
            None => return Ok(None),
        }
    }
    Ok(Some(at))
}

/// The integer at a dotted path.
pub fn number(obj: &Value, path: &str) -> Result<Option<i64>, String> {
    match nested(obj, path)? {
        None => Ok(None),
        Some(value) => match value.as_i64() {
            Some(n) => Ok(Some(n)),
            None => Err(wrong(path, value, "int64")),
        },
    }
}

/// The text at a dotted path.
pub fn text<'v>(obj: &'v Value, path: &str) -> Result<Option<&'v str>, String> {
    match nested(obj, path)? {
        None => Ok(None),
        Some(value) => value.as_str().map(Some).ok_or_else(|| wrong(path, value, "string")),
    }
}

/// Writes a value at a dotted path, making what is missing on the way.
pub fn set(obj: &mut Value, path: &str, value: Value) {
    let mut at = obj;
    for step in path.trim_start_matches('.').split('.') {
        if !at.is_object() {
            *at = Value::Object(serde_json::Map::new());
        }
        at = &mut at[step];
    }
    *at = value;
}

fn wrong(path: &str, value: &Value, expected: &str) -> String {
    let dotted = format!(".{}", path.trim_start_matches('.'));
    format!("{dotted} accessor error: {} is of the type {}, expected {expected}", go_value(value), go_type(value))
}

fn go_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "<nil>",
        Value::Bool(_) => "bool",
        Value::Number(n) if n.is_f64() => "float64",
        Value::Number(_) => "int64",
        Value::String(_) => "string",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
    }
}

fn go_value(value: &Value) -> String {
    match value {
        Value::Null => "<nil>".into(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn paths_are_followed_and_made() {
        let mut obj = json!({ "spec": { "replicas": 3, "x": "a" } });
        assert_eq!(number(&obj, ".spec.replicas"), Ok(Some(3)));
        assert_eq!(number(&obj, ".status.replicas"), Ok(None));
        assert_eq!(text(&obj, ".spec.x"), Ok(Some("a")));
        let error = number(&json!({ "spec": 5 }), ".spec.replicas").expect_err("a number");
        assert_eq!(error, ".spec.replicas accessor error: 5 is of the type int64, expected map[string]interface{}");
        let error = number(&obj, ".spec.x").expect_err("text");
        assert_eq!(error, ".spec.x accessor error: a is of the type string, expected int64");
        set(&mut obj, ".status.deep.replicas", json!(1));
        assert_eq!(obj["status"]["deep"]["replicas"], 1);
    }
}
