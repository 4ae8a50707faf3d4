//! `minimum`, `maximum`, `multipleOf`, and the ranges of number formats.

use serde_json::{Number, Value};

use super::fault::{Fault, Outcome};
use super::{format, integral, printed};
use crate::parse::Schema;

/// As Go holds it.
#[derive(Clone, Copy)]
enum Held {
    Int(i64),
    Float(f64),
}

impl Held {
    fn float(self) -> f64 {
        match self {
            Held::Int(i) => i as f64,
            Held::Float(f) => f,
        }
    }

    fn value(self) -> Value {
        match self {
            Held::Int(i) => i.into(),
            Held::Float(f) => f.into(),
        }
    }
}

pub(super) fn check(number: &Number, schema: &Schema, path: &str) -> Outcome {
    let held = number.as_i64().map_or_else(|| Held::Float(number.as_f64().unwrap_or_default()), Held::Int);
    let range = Range::of(schema);
    let mut out = Outcome::default();
    let mut bound = |said: Option<f64>, what: &str, check: &dyn Fn(Held, f64) -> Option<(Value, String)>| {
        let Some(limit) = said else { return };
        // Where the bound itself has not the type, all are compared as floats.
        let fault = range.fault(Held::Float(limit), what, path);
        let broken = check(if fault.is_none() { held } else { Held::Float(held.float()) }, limit);
        out.faults.extend(fault.map(Fault::whole));
        out.faults.extend(broken.map(|(value, message)| Fault::other(path, value, message)));
    };
    bound(schema.multiple_of, "MultipleOf", &|held, factor| multiple(held, factor, path));
    bound(schema.minimum, "Minimum boundary", &|held, min| {
        let words = if schema.exclusive_minimum { "greater than" } else { "greater than or equal to" };
        let broken = |less: bool, equal: bool| less || (equal && schema.exclusive_minimum);
        compared(held, min, path, words, broken)
    });
    bound(schema.maximum, "Maximum boundary", &|held, max| {
        let words = if schema.exclusive_maximum { "less than" } else { "less than or equal to" };
        let broken = |less: bool, equal: bool| if equal { schema.exclusive_maximum } else { !less };
        compared(held, max, path, words, broken)
    });
    if let Some(fault) = range.fault(held, "Checked", path) {
        out.faults.insert(0, Fault::whole(fault));
    }
    out.matches += 1;
    out
}

fn compared(
    held: Held,
    limit: f64,
    path: &str,
    words: &str,
    broken: impl Fn(bool, bool) -> bool,
) -> Option<(Value, String)> {
    let (wrong, limit) = match held {
        Held::Int(i) => (broken(i < limit as i64, i == limit as i64), (limit as i64).to_string()),
        Held::Float(f) => (broken(f < limit, f == limit), printed(limit)),
    };
    wrong.then(|| (held.value(), format!("{path} in body should be {words} {limit}")))
}

fn multiple(held: Held, factor: f64, path: &str) -> Option<(Value, String)> {
    // The factor in the value's own type.
    let (given, text) = match held {
        Held::Int(_) => (Value::from(factor as i64), (factor as i64).to_string()),
        Held::Float(_) => (Value::from(factor), printed(factor)),
    };
    let fits = match held {
        Held::Int(_) if factor as i64 <= 0 => None,
        Held::Float(_) if factor <= 0.0 => None,
        Held::Int(i) => Some(i.checked_rem(factor as i64) == Some(0)),
        Held::Float(f) => Some(integral(if factor < 1.0 { 1.0 / factor * f } else { f / factor })),
    };
    match fits {
        None => Some((given, format!("factor MultipleOf declared for {path} must be positive: {text}"))),
        Some(true) => None,
        Some(false) => Some((held.value(), format!("{path} in body should be a multiple of {text}"))),
    }
}

/// The range of a type and format, where the type is one.
struct Range<'a> {
    ty: &'a str,
    format: &'a str,
}

impl<'a> Range<'a> {
    fn of(schema: &'a Schema) -> Self {
        let ty = match schema.ty.as_str() {
            ty @ ("integer" | "number") if !schema.int_or_string => ty,
            _ => "",
        };
        let format = match (ty, format::effective(schema)) {
            ("integer", format @ ("int32" | "int64")) | ("number", format @ ("float" | "double")) => format,
            _ => "",
        };
        Range { ty, format }
    }

    fn fault(&self, held: Held, what: &str, path: &str) -> Option<String> {
        let fits = match (self.ty, self.format, held) {
            ("integer", "int32", Held::Int(i)) => i32::try_from(i).is_ok(),
            ("integer", "int32", Held::Float(f)) => {
                f.fract() == 0.0 && f >= f64::from(i32::MIN) && f <= f64::from(i32::MAX)
            }
            ("integer", _, Held::Float(f)) => {
                f.fract() == 0.0 && (-9.223_372_036_854_776e18..9.223_372_036_854_776e18).contains(&f)
            }
            ("number", "float", held) => held.float().abs() <= f64::from(f32::MAX),
            _ => true,
        };
        if fits {
            return None;
        }
        let ty = self.ty;
        Some(match self.format {
            "" => format!("{what} value must be of type {ty} (default format) in {path}"),
            format => format!("{what} value must be of type {ty} with format {format} in {path}"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use machinery::go;
    use serde_json::json;

    #[test]
    fn floats_are_printed_as_go_prints_them() {
        assert_eq!(go::float(1e21), "1e+21");
        let schema = Schema::of(&json!({"type": "number", "maximum": 0.5}));
        let faults = check(&Number::from_f64(0.75).expect("finite"), &schema, "x").faults;
        assert_eq!(faults.len(), 1);
    }
}
