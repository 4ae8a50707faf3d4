//! What is different between an object as it is and as it was, field by field.

use serde_json::Value;

/// Longer values are told shortened.
const VALUE_CHARACTERS: usize = 60;
/// So many are told of one object.
const MOST: usize = 40;

/// The differences, as lines: `spec.replicas: 1 -> 3`.
pub fn between(now: &Value, then: &Value) -> Vec<String> {
    let secret = then["kind"] == "Secret";
    let mut out = Vec::new();
    walk("", now, then, secret, &mut out);
    if out.len() > MOST {
        let more = out.len() - MOST;
        out.truncate(MOST);
        out.push(format!("... and {more} more"));
    }
    out
}

fn walk(path: &str, now: &Value, then: &Value, secret: bool, out: &mut Vec<String>) {
    if now == then {
        return;
    }
    match (now, then) {
        (Value::Object(a), Value::Object(b)) => {
            let mut names: Vec<&String> = a.keys().chain(b.keys()).collect();
            names.sort();
            names.dedup();
            for name in names {
                let member = member(path, name);
                walk(&member, a.get(name).unwrap_or(&Value::Null), b.get(name).unwrap_or(&Value::Null), secret, out);
            }
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            for (at, (a, b)) in a.iter().zip(b).enumerate() {
                walk(&format!("{path}[{at}]"), a, b, secret, out);
            }
        }
        _ => {
            // Secrets are not shown.
            let hidden = secret && (path.starts_with("data") || path.starts_with("stringData"));
            let told = |value: &Value| match value {
                Value::Null => "(none)".to_owned(),
                _ if hidden => "(hidden)".to_owned(),
                value => short(&value.to_string()),
            };
            out.push(format!("{path}: {} -> {}", told(now), told(then)));
        }
    }
}

fn member(path: &str, name: &str) -> String {
    let plain = name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'));
    match (path.is_empty(), plain) {
        (true, true) => name.to_owned(),
        (false, true) => format!("{path}.{name}"),
        (_, false) => format!("{path}[{name:?}]"),
    }
}

fn short(text: &str) -> String {
    match text.char_indices().nth(VALUE_CHARACTERS) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};
    use serde_json::json;

    use super::*;

    fn check(now: Value, then: Value, expect: Expect) {
        expect.assert_eq(&between(&now, &then).join("\n"));
    }

    #[test]
    fn fields_are_told_by_their_paths() {
        check(
            json!({"spec": {"replicas": 1, "template": {"containers": [{"image": "a"}]}}, "metadata": {"labels": {"a/b": "1"}}}),
            json!({"spec": {"replicas": 3, "template": {"containers": [{"image": "b"}]}, "paused": true}, "metadata": {}}),
            expect![[r#"
                metadata.labels: {"a/b":"1"} -> (none)
                spec.paused: (none) -> true
                spec.replicas: 1 -> 3
                spec.template.containers[0].image: "a" -> "b""#]],
        );
        check(json!({"a": [1]}), json!({"a": [1]}), expect![""]);
    }

    #[test]
    fn secrets_stay_secret() {
        check(
            json!({"kind": "Secret", "data": {"password": "b2xk"}, "type": "Opaque"}),
            json!({"kind": "Secret", "data": {"password": "bmV3", "user": "bWU="}, "type": "Opaque"}),
            expect![[r#"
                data.password: (hidden) -> (hidden)
                data.user: (none) -> (hidden)"#]],
        );
    }
}
