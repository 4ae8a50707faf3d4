//! Conversions between types, and optionals.

use machinery::go;

use super::{NO_OVERLOAD, Outcome, boxed, time};
use crate::value::Value;

/// As `string()` writes it.
pub(crate) fn text(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(b) => b.to_string(),
        Value::Int(i) => i.to_string(),
        Value::Uint(u) => u.to_string(),
        Value::Double(d) => go::float(*d),
        Value::String(s) | Value::Type(s) | Value::Url(s) => s.to_string(),
        Value::Bytes(b) => String::from_utf8_lossy(b).into_owned(),
        Value::Timestamp(t) => time::timestamp_text(*t),
        Value::Duration(d) => time::duration_text(*d),
        Value::Ip(ip) => ip.to_string(),
        Value::Cidr(ip, bits) => format!("{ip}/{bits}"),
        Value::Quantity(q) => q.to_string(),
        Value::List(list) => format!("[{}]", list.items.iter().map(text).collect::<Vec<_>>().join(", ")),
        Value::Map(map) => {
            let entries = map.iter().map(|(key, value)| format!("{}: {}", text(&key.clone().into()), text(value)));
            format!("{{{}}}", entries.collect::<Vec<_>>().join(", "))
        }
        Value::Optional(inner) => inner.as_ref().map_or_else(|| "optional.none()".to_owned(), |v| text(v)),
        Value::Format(name) => (*name).to_owned(),
        Value::Semver(v) => v.numbers.map(|n| n.to_string()).join("."),
    }
}

fn range(what: &str) -> String {
    format!("{what} overflow")
}

pub(super) fn call(name: &str, args: &[Value]) -> Option<Outcome> {
    use Value::{Bool, Bytes, Double, Duration, Int, String, Timestamp, Type, Uint};
    Some(match (name, args) {
        ("int", [v @ Int(_)]) | ("uint", [v @ Uint(_)]) | ("double", [v @ Double(_)]) => Ok(v.clone()),
        ("bool", [v @ Bool(_)]) | ("bytes", [v @ Bytes(_)]) | ("string", [v @ String(_)]) | ("dyn", [v]) => {
            Ok(v.clone())
        }
        ("int", [Uint(u)]) => i64::try_from(*u).map(Int).map_err(|_| range("integer")),
        ("int", [Double(d)]) => {
            let fits = d.is_finite() && *d > -9.3e18 && *d < 9.2e18;
            if fits { Ok(Int(*d as i64)) } else { Err(range("integer")) }
        }
        ("int", [String(s)]) => s.parse().map(Int).map_err(|_| conversion("int")),
        ("int", [Timestamp(t)]) => Ok(Int(t.div_euclid(1_000_000_000) as i64)),
        ("int", [Duration(d)]) => Ok(Int(*d)),
        ("uint", [Int(i)]) => u64::try_from(*i).map(Uint).map_err(|_| range("unsigned integer")),
        ("uint", [Double(d)]) if *d >= 0.0 && *d < 1.8e19 => Ok(Uint(*d as u64)),
        ("uint", [Double(_)]) => Err(range("unsigned integer")),
        ("uint", [String(s)]) => s.parse().map(Uint).map_err(|_| conversion("uint")),
        ("double", [Int(i)]) => Ok(Double(*i as f64)),
        ("double", [Uint(u)]) => Ok(Double(*u as f64)),
        ("double", [String(s)]) => s.parse().map(Double).map_err(|_| conversion("double")),
        ("bool", [String(s)]) => match &**s {
            "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(Bool(true)),
            "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(Bool(false)),
            _ => Err(conversion("bool")),
        },
        ("bytes", [String(s)]) => Ok(Bytes(s.as_bytes().into())),
        ("string", [Bytes(b)]) => match std::str::from_utf8(b) {
            Ok(text) => Ok(text.into()),
            Err(_) => Err("invalid UTF-8 in bytes, cannot convert to string".to_owned()),
        },
        ("string", [v @ (Bool(_) | Int(_) | Uint(_) | Double(_) | Timestamp(_) | Duration(_))])
        | ("string", [v @ (Value::Ip(_) | Value::Cidr(..))]) => Ok(text(v).into()),
        ("type", [v]) => Ok(Type(v.type_name().into())),
        ("size", [v @ (String(_) | Bytes(_) | Value::List(_) | Value::Map(_))]) => Ok(Int(v.size() as i64)),
        ("optional.none", []) => Ok(boxed(None)),
        ("optional.of", [v]) => Ok(boxed(Some(v.clone()))),
        ("optional.ofNonZeroValue", [v]) => Ok(boxed(Some(v.clone()).filter(|v| !v.is_zero()))),
        ("hasValue", [Value::Optional(inner)]) => Ok(Bool(inner.is_some())),
        ("value", [Value::Optional(inner)]) => match inner {
            Some(inner) => Ok((**inner).clone()),
            None => Err("optional.none() dereference".to_owned()),
        },
        // The left side was none.
        ("or" | "orValue", [Value::Optional(None), other]) => Ok(other.clone()),
        ("or" | "orValue" | "hasValue" | "value", _) => Err(NO_OVERLOAD.to_owned()),
        _ => return None,
    })
}

fn conversion(to: &str) -> String {
    format!("type conversion error from 'string' to '{to}'")
}
