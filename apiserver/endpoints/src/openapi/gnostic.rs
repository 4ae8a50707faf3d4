//! The document of v2 in protobuf, which client-go and kubectl before 1.27 ask for. What the messages are is data
//! (`gnostic.txt`); here is only how to follow it.

use std::collections::HashMap;
use std::sync::LazyLock;

use serde_json::Value;

struct Rule {
    on: On,
    number: u64,
    list: bool,
    form: Form,
}

enum On {
    Member(&'static str),
    Every,
    Extensions,
    Value(&'static str),
}

#[derive(Clone, Copy)]
enum Form {
    Text,
    Truth,
    Integer,
    Number,
    Any,
    Message(&'static str),
}

static MESSAGES: LazyLock<HashMap<&str, Vec<Rule>>> = LazyLock::new(|| {
    let mut messages: HashMap<&str, Vec<Rule>> = HashMap::new();
    let mut open = "";
    for line in include_str!("gnostic.txt").lines().filter(|l| !l.starts_with('#')) {
        match line.strip_prefix(' ') {
            Some(text) => messages.entry(open).or_default().push(rule(text)),
            None => open = line,
        }
    }
    messages
});

fn rule(text: &'static str) -> Rule {
    let mut words = text.split(' ');
    let mut next = || words.next().unwrap_or_default();
    let (on, number, form) = (next(), next(), next());
    let on = match (on, on.strip_prefix('?')) {
        ("*", _) => On::Every,
        ("x-", _) => On::Extensions,
        (_, Some(condition)) => On::Value(condition),
        (member, None) => On::Member(member),
    };
    let (list, form) = form.strip_prefix("[]").map_or((false, form), |form| (true, form));
    let form = match form {
        "s" => Form::Text,
        "b" => Form::Truth,
        "i" => Form::Integer,
        "d" => Form::Number,
        "a" => Form::Any,
        message => Form::Message(message),
    };
    Rule { on, number: number.parse().expect("gnostic.txt is tested"), list, form }
}

/// The document's bytes.
pub(super) fn document(value: &Value) -> Vec<u8> {
    message("Document", value)
}

fn message(name: &str, value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    let members = || value.as_object().into_iter().flatten();
    for rule in MESSAGES.get(name).into_iter().flatten() {
        match rule.on {
            On::Member(member) => match value.get(member) {
                Some(Value::Array(items)) if rule.list => items.iter().for_each(|item| field(rule, item, &mut out)),
                Some(value) => field(rule, value, &mut out),
                None => {}
            },
            On::Every => members().filter(|(k, _)| !k.starts_with("x-")).for_each(|(k, v)| named(rule, k, v, &mut out)),
            On::Extensions => {
                members().filter(|(k, _)| k.starts_with("x-")).for_each(|(k, v)| named(rule, k, v, &mut out));
            }
            On::Value(condition) if holds(condition, value) => {
                match value {
                    Value::Array(items) if rule.list => items.iter().for_each(|item| field(rule, item, &mut out)),
                    value => field(rule, value, &mut out),
                }
                return out;
            }
            On::Value(_) => {}
        }
    }
    out
}

fn holds(condition: &str, value: &Value) -> bool {
    match (condition, condition.split_once('=')) {
        ("", _) => true,
        ("true" | "false", _) => value.as_bool() == condition.parse().ok() && value.is_boolean(),
        (_, Some((member, wanted))) => value[member] == wanted,
        (member, None) => value.get(member).is_some(),
    }
}

fn named(rule: &Rule, name: &str, value: &Value, out: &mut Vec<u8>) {
    let mut entry = Vec::new();
    delimited(1, name.as_bytes(), &mut entry);
    field(&Rule { on: On::Every, number: 2, list: false, form: rule.form }, value, &mut entry);
    delimited(rule.number, &entry, out);
}

/// One field; zero values are left out.
fn field(rule: &Rule, value: &Value, out: &mut Vec<u8>) {
    match (rule.form, value) {
        (Form::Text, Value::String(text)) if !text.is_empty() || rule.list => {
            delimited(rule.number, text.as_bytes(), out);
        }
        (Form::Truth, Value::Bool(true)) => {
            varint(rule.number << 3, out);
            varint(1, out);
        }
        (Form::Integer, Value::Number(number)) => {
            if let Some(number) = number.as_i64().filter(|n| *n != 0) {
                varint(rule.number << 3, out);
                varint(number as u64, out);
            }
        }
        (Form::Number, Value::Number(number)) => {
            if let Some(number) = number.as_f64().filter(|n| *n != 0.0) {
                varint(rule.number << 3 | 1, out);
                out.extend(number.to_le_bytes());
            }
        }
        (Form::Any, value) => {
            let mut any = Vec::new();
            delimited(2, machinery::yaml::from_json(value).as_bytes(), &mut any);
            delimited(rule.number, &any, out);
        }
        (Form::Message(name), value) => delimited(rule.number, &message(name, value), out),
        _ => {}
    }
}

fn delimited(number: u64, bytes: &[u8], out: &mut Vec<u8>) {
    varint(number << 3 | 2, out);
    varint(bytes.len() as u64, out);
    out.extend_from_slice(bytes);
}

fn varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}
