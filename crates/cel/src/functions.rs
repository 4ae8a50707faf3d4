//! What functions do. Faults are cel-go's.

use std::sync::Arc;

use super::value::{Order, Value};

mod convert;
mod formats;
mod kube;
mod lists;
mod strings;
mod time;

pub(super) use convert::text;
pub use time::{parse_duration, parse_timestamp};

type Outcome = Result<Value, String>;

const NO_OVERLOAD: &str = "no such overload";

fn overflow<T>(value: Option<T>, make: impl Fn(T) -> Value, kind: &str) -> Outcome {
    value.map(make).ok_or_else(|| format!("{kind} overflow"))
}

/// Calls a function by its name in messages; the target is the first argument.
pub(super) fn call(name: &str, args: &[Value]) -> Outcome {
    match name {
        "_==_" | "_!=_" => match args {
            [a, b] => Ok(Value::Bool(a.equals(b) == (name == "_==_"))),
            _ => Err(NO_OVERLOAD.to_owned()),
        },
        "_<_" | "_<=_" | "_>_" | "_>=_" | "isLessThan" | "isGreaterThan" | "compareTo" => compare(name, args),
        "_+_" | "_-_" | "_*_" | "_/_" | "_%_" | "-_" | "!_" => arithmetic(name, args),
        _ => [convert::call, strings::call, lists::call, time::call, kube::call, formats::call]
            .iter()
            .find_map(|library| library(name, args))
            .unwrap_or_else(|| Err(NO_OVERLOAD.to_owned())),
    }
}

fn compare(name: &str, args: &[Value]) -> Outcome {
    let [a, b] = args else { return Err(NO_OVERLOAD.to_owned()) };
    let order = match (a, b) {
        // Not a number is neither less nor more.
        (Value::Double(x), _) if x.is_nan() => return Ok(Value::Bool(false)),
        (_, Value::Double(x)) if x.is_nan() => return Ok(Value::Bool(false)),
        _ => a.compare(b).ok_or(NO_OVERLOAD)?,
    };
    Ok(Value::Bool(match name {
        "_<_" | "isLessThan" => order.is_lt(),
        "_<=_" => order.is_le(),
        "_>_" | "isGreaterThan" => order.is_gt(),
        "_>=_" => order.is_ge(),
        _ => return Ok(Value::Int(order as i64)),
    }))
}

fn arithmetic(name: &str, args: &[Value]) -> Outcome {
    use Value::{Bool, Bytes, Double, Duration, Int, List, String, Timestamp, Uint};
    let (int, uint) = ("integer", "unsigned integer");
    let zero = |is: bool, what: &str| if is { Err(what.to_owned()) } else { Ok(()) };
    match (name, args) {
        ("!_", [Bool(b)]) => Ok(Bool(!b)),
        ("-_", [Int(a)]) => overflow(a.checked_neg(), Int, int),
        ("-_", [Double(a)]) => Ok(Double(-a)),
        ("-_", [Duration(a)]) => overflow(a.checked_neg(), Duration, "duration"),
        ("_+_", [Int(a), Int(b)]) => overflow(a.checked_add(*b), Int, int),
        ("_-_", [Int(a), Int(b)]) => overflow(a.checked_sub(*b), Int, int),
        ("_*_", [Int(a), Int(b)]) => overflow(a.checked_mul(*b), Int, int),
        ("_/_", [Int(a), Int(b)]) => {
            zero(*b == 0, "division by zero")?;
            overflow(a.checked_div(*b), Int, int)
        }
        ("_%_", [Int(a), Int(b)]) => {
            zero(*b == 0, "modulus by zero")?;
            overflow(a.checked_rem(*b), Int, int)
        }
        ("_+_", [Uint(a), Uint(b)]) => overflow(a.checked_add(*b), Uint, uint),
        ("_-_", [Uint(a), Uint(b)]) => overflow(a.checked_sub(*b), Uint, uint),
        ("_*_", [Uint(a), Uint(b)]) => overflow(a.checked_mul(*b), Uint, uint),
        ("_/_", [Uint(a), Uint(b)]) => {
            zero(*b == 0, "division by zero")?;
            Ok(Uint(a / b))
        }
        ("_%_", [Uint(a), Uint(b)]) => {
            zero(*b == 0, "modulus by zero")?;
            Ok(Uint(a % b))
        }
        ("_+_", [Double(a), Double(b)]) => Ok(Double(a + b)),
        ("_-_", [Double(a), Double(b)]) => Ok(Double(a - b)),
        ("_*_", [Double(a), Double(b)]) => Ok(Double(a * b)),
        ("_/_", [Double(a), Double(b)]) => Ok(Double(a / b)),
        ("_+_", [String(a), String(b)]) => Ok(format!("{a}{b}").into()),
        ("_+_", [Bytes(a), Bytes(b)]) => Ok(Bytes([&a[..], &b[..]].concat().into())),
        ("_+_", [List(a), List(b)]) => Ok(lists::concat(a, b)),
        ("_+_", [Duration(a), Duration(b)]) => overflow(a.checked_add(*b), Duration, "duration"),
        ("_-_", [Duration(a), Duration(b)]) => overflow(a.checked_sub(*b), Duration, "duration"),
        ("_+_", [Timestamp(t), Duration(d)] | [Duration(d), Timestamp(t)]) => time::checked(t + i128::from(*d)),
        ("_-_", [Timestamp(t), Duration(d)]) => time::checked(t - i128::from(*d)),
        ("_-_", [Timestamp(a), Timestamp(b)]) => overflow(i64::try_from(a - b).ok(), Duration, "duration"),
        _ => Err(NO_OVERLOAD.to_owned()),
    }
}

fn boxed(value: Option<Value>) -> Value {
    Value::Optional(value.map(Arc::new))
}

fn strings_of(items: impl IntoIterator<Item = String>) -> Value {
    Value::List(Arc::new(super::value::List {
        items: items.into_iter().map(Value::from).collect(),
        order: Order::Sequence,
    }))
}
