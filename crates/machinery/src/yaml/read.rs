//! Reading, by serde-saphyr, into JSON.

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use serde_saphyr::{DuplicateKeyPolicy, Options};
use std::fmt;

fn options(policy: DuplicateKeyPolicy) -> Options {
    let mut options = Options::default();
    options.duplicate_keys = policy;
    options.legacy_octal_numbers = true;
    options.with_snippet = false;
    if let Some(budget) = &mut options.budget {
        // A custom resource definition of a megabyte has some 60,000 nodes and a depth below 60.
        budget.max_depth = 250;
        budget.max_nodes = 1_000_000;
        budget.max_events = 4_000_000;
        budget.max_recorded_anchor_events = 200_000;
    }
    options.alias_limits.max_total_replayed_events = 200_000;
    options
}

/// A level of nesting takes up to 20 KiB of stack in a debug build: the deepest document does not fit a worker's 2 MiB.
const STACK_BYTES: usize = 16 << 20;

fn on_own_stack<T: Send>(read: impl FnOnce() -> T + Send) -> Result<T, String> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("yaml".into()).stack_size(STACK_BYTES).spawn_scoped(scope, read);
        let thread = thread.map_err(|error| format!("reading YAML: {error}"))?;
        thread.join().map_err(|_| "reading YAML failed".to_owned())
    })
}

pub(super) fn read(text: &str) -> Result<Value, String> {
    if text.trim().is_empty() {
        return Ok(Value::Null);
    }
    on_own_stack(|| serde_saphyr::from_str_with_options::<Node>(text, options(DuplicateKeyPolicy::PassThrough)))?
        .map(|node| node.0)
        .map_err(|e| format!("error converting YAML to JSON: yaml: {}", message(&e)))
}

/// The first key given twice, as go-yaml says it.
pub(super) fn duplicate(text: &str) -> Option<String> {
    let read = || serde_saphyr::from_str_with_options::<Node>(text, options(DuplicateKeyPolicy::Error));
    let error = on_own_stack(read).ok()?.err()?;
    let line = error.location().map_or(0, |l| l.line());
    match error.without_snippet() {
        serde_saphyr::Error::DuplicateMappingKey { key, .. } => {
            let key = crate::go::quote(key.as_deref().unwrap_or_default());
            Some(format!("yaml: unmarshal errors:\n  line {line}: key {key} already set in map"))
        }
        _ => None,
    }
}

fn message(error: &serde_saphyr::Error) -> String {
    let text = error.without_snippet().to_string();
    // More than a document of its size may unfold to by its aliases.
    if text.contains("RecordedAnchorEvents") || text.contains("alias replay") {
        return "document contains excessive aliasing".to_owned();
    }
    match error.location() {
        // go-yaml says no line for the first.
        Some(at) if at.line() > 1 => {
            let text = text.split(" at line ").next().unwrap_or(&text).to_owned();
            format!("line {}: {text}", at.line())
        }
        _ => text.split(" at line ").next().unwrap_or(&text).to_owned(),
    }
}

// A value, with keys of any scalar type as strings and the last of equal keys.
struct Node(Value);

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NodeVisitor).map(Node)
    }
}

struct NodeVisitor;

impl<'de> Visitor<'de> for NodeVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a YAML value")
    }

    fn visit_bool<E>(self, v: bool) -> Result<Value, E> {
        Ok(v.into())
    }

    fn visit_i64<E>(self, v: i64) -> Result<Value, E> {
        Ok(v.into())
    }

    fn visit_u64<E>(self, v: u64) -> Result<Value, E> {
        Ok(v.into())
    }

    fn visit_i128<E: serde::de::Error>(self, v: i128) -> Result<Value, E> {
        self.visit_f64(v as f64)
    }

    fn visit_u128<E: serde::de::Error>(self, v: u128) -> Result<Value, E> {
        self.visit_f64(v as f64)
    }

    fn visit_f64<E: serde::de::Error>(self, v: f64) -> Result<Value, E> {
        // Go writes a whole float without a point below 1e21, and reads that back as an integer.
        if v.fract() == 0.0 && v.abs() < 9.2e18 {
            return Ok((v as i64).into());
        }
        Number::from_f64(v).map(Value::Number).ok_or_else(|| E::custom(format!("json: unsupported value: {v}")))
    }

    fn visit_str<E>(self, v: &str) -> Result<Value, E> {
        Ok(v.into())
    }

    fn visit_string<E>(self, v: String) -> Result<Value, E> {
        Ok(v.into())
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut out = Vec::new();
        while let Some(Node(item)) = seq.next_element()? {
            out.push(item);
        }
        Ok(Value::Array(out))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut out = Map::new();
        while let Some(Node(key)) = map.next_key()? {
            let key = match key {
                Value::String(text) => text,
                Value::Bool(b) => b.to_string(),
                Value::Number(n) => n.to_string(),
                Value::Null => return Err(A::Error::custom("unsupported map key of type: %!s(<nil>)")),
                other => {
                    let kind = if other.is_array() { "[]interface {}" } else { "map[interface {}]interface {}" };
                    return Err(A::Error::custom(format!("invalid map key: {kind}")));
                }
            };
            let Node(value) = map.next_value()?;
            out.insert(key, value);
        }
        Ok(Value::Object(out))
    }
}
