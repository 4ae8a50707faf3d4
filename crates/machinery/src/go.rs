//! Go's ways of writing values, because upstream's messages are made with them: `%q`, `json.Marshal`'s escaping.

use serde_json::Value;
use std::fmt::Write as _;
use std::num::{IntErrorKind, ParseIntError};
use std::str::FromStr;

/// `strconv.Quote`, also `%q`.
pub fn quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\x07' => out.push_str("\\a"),
            '\x08' => out.push_str("\\b"),
            '\x0c' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\x0b' => out.push_str("\\v"),
            c if printable(c) => out.push(c),
            c if (c as u32) < 0x80 => write!(out, "\\x{:02x}", c as u32).expect("writing to a String cannot fail"),
            c if (c as u32) < 0x10000 => write!(out, "\\u{:04x}", c as u32).expect("writing to a String cannot fail"),
            c => write!(out, "\\U{:08x}", c as u32).expect("writing to a String cannot fail"),
        }
    }
    out.push('"');
    out
}

/// A number without a sign, as `strconv.ParseUint` reads it into as many bits as `T` has.
///
/// # Errors
/// Go's sentence: `strconv.ParseUint: parsing "x": invalid syntax`, or that it is out of range.
pub fn parse_uint<T: FromStr<Err = ParseIntError>>(text: &str) -> Result<T, String> {
    // Rust reads a leading plus, Go does not.
    if text.starts_with('+') { Err(INVALID_SYNTAX) } else { text.parse().map_err(|error| reason(&error)) }
        .map_err(|why| format!("strconv.ParseUint: parsing {}: {why}", quote(text)))
}

/// A number with or without a sign, as `strconv.ParseInt` reads it into as many bits as `T` has.
///
/// # Errors
/// Go's sentence: `strconv.ParseInt: parsing "x": invalid syntax`, or that it is out of range.
pub fn parse_int<T: FromStr<Err = ParseIntError>>(text: &str) -> Result<T, String> {
    text.parse().map_err(|error| format!("strconv.ParseInt: parsing {}: {}", quote(text), reason(&error)))
}

/// The same as `strconv.Atoi` says it.
///
/// # Errors
/// Go's sentence.
pub fn atoi(text: &str) -> Result<i64, String> {
    text.parse().map_err(|error| format!("strconv.Atoi: parsing {}: {}", quote(text), reason(&error)))
}

const INVALID_SYNTAX: &str = "invalid syntax";

fn reason(error: &ParseIntError) -> &'static str {
    match error.kind() {
        IntErrorKind::PosOverflow | IntErrorKind::NegOverflow => "value out of range",
        _ => INVALID_SYNTAX,
    }
}

/// `[]string` under `%#v`: `[]string{"a", "b"}`.
pub fn quote_slice<S: AsRef<str>>(items: impl IntoIterator<Item = S>) -> String {
    let quoted: Vec<String> = items.into_iter().map(|s| quote(s.as_ref())).collect();
    format!("[]string{{{}}}", quoted.join(", "))
}

/// `unicode.IsPrint`, as near as the standard library comes: of spaces only U+0020, no controls, no unassigned characters.
pub fn printable(c: char) -> bool {
    match c {
        ' '..='~' => true,
        c if c.is_control() || c.is_whitespace() => false,
        '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' => false,
        '\u{e000}'..='\u{f8ff}' | '\u{fff9}'..='\u{fffb}' | '\u{f0000}'..='\u{10ffff}' => false,
        _ => true,
    }
}

/// `json.Marshal`: compact, with `<`, `>`, `&`, U+2028 and U+2029 escaped, and floats in Go's form.
pub fn json(value: &Value) -> String {
    let mut plain = String::new();
    write_json(value, &mut plain);
    if !plain.contains(['<', '>', '&', '\u{2028}', '\u{2029}']) {
        return plain;
    }
    let mut out = String::with_capacity(plain.len() + 16);
    for c in plain.chars() {
        match c {
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
                write!(out, "\\u{:04x}", c as u32).expect("writing to a String cannot fail");
            }
            c => out.push(c),
        }
    }
    out
}

fn write_json(value: &Value, out: &mut String) {
    match value {
        Value::Number(n) if n.is_f64() => out.push_str(&json_float(n.as_f64().unwrap_or_default())),
        Value::Array(items) => {
            for (i, item) in items.iter().enumerate() {
                out.push(if i == 0 { '[' } else { ',' });
                write_json(item, out);
            }
            out.push_str(if items.is_empty() { "[]" } else { "]" });
        }
        Value::Object(map) => {
            for (i, (name, item)) in map.iter().enumerate() {
                out.push(if i == 0 { '{' } else { ',' });
                out.push_str(&Value::from(name.as_str()).to_string());
                out.push(':');
                write_json(item, out);
            }
            out.push_str(if map.is_empty() { "{}" } else { "}" });
        }
        other => out.push_str(&other.to_string()),
    }
}

// Shortest form, exponents below -6 and from 21 on.
fn json_float(f: f64) -> String {
    let magnitude = f.abs();
    if magnitude == 0.0 || (1e-6..1e21).contains(&magnitude) {
        return format!("{f}");
    }
    format!("{f:e}").replace('e', "e+").replace("e+-", "e-")
}

/// What encoding/json calls a value in its errors.
pub fn json_kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// `%T` of a decoded value.
pub fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "%!s(<nil>)",
        Value::Bool(_) => "bool",
        Value::Number(n) if n.is_f64() => "float64",
        Value::Number(_) => "int64",
        Value::String(_) => "string",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
    }
}

/// `%v` of a decoded value.
pub fn print(value: &Value) -> String {
    match value {
        Value::Null => "<nil>".to_owned(),
        Value::Bool(b) => b.to_string(),
        Value::Number(n) => match n.as_f64() {
            Some(f) if n.is_f64() => float(f),
            _ => n.to_string(),
        },
        Value::String(s) => s.clone(),
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(print).collect();
            format!("[{}]", items.join(" "))
        }
        Value::Object(map) => {
            let items: Vec<String> = map.iter().map(|(k, v)| format!("{k}:{}", print(v))).collect();
            format!("map[{}]", items.join(" "))
        }
    }
}

/// `%#v` of a decoded value: as Go's source has it.
pub fn syntax(value: &Value) -> String {
    match value {
        Value::Null => "interface {}(nil)".to_owned(),
        Value::String(s) => quote(s),
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(syntax).collect();
            format!("[]interface {{}}{{{}}}", items.join(", "))
        }
        Value::Object(map) => {
            let mut items: Vec<String> = map.iter().map(|(k, v)| format!("{}:{}", quote(k), syntax(v))).collect();
            items.sort_unstable();
            format!("map[string]interface {{}}{{{}}}", items.join(", "))
        }
        scalar => print(scalar),
    }
}

/// `%v` of a float64: shortest form, with an exponent below -4 and from 6 on (`1e+06`).
pub fn float(f: f64) -> String {
    let magnitude = f.abs();
    if magnitude != 0.0 && !(1e-4..1e6).contains(&magnitude) {
        let text = format!("{f:e}");
        let (digits, exponent) = text.split_once('e').expect("the format has an exponent");
        let (sign, exponent) = exponent.strip_prefix('-').map_or(('+', exponent), |e| ('-', e));
        return format!("{digits}e{sign}{exponent:0>2}");
    }
    format!("{f}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_as_go_does() {
        for (input, want) in [
            ("plain", r#""plain""#),
            ("a\"b\\c", r#""a\"b\\c""#),
            ("\n\t\x01\x7f", r#""\n\t\x01\x7f""#),
            ("ä\u{2028}\u{1F600}\u{a0}", "\"ä\\u2028\u{1F600}\\u00a0\""),
        ] {
            assert_eq!(quote(input), want);
        }
        assert_eq!(quote_slice(["a", "b"]), r#"[]string{"a", "b"}"#);
        assert_eq!(
            print(&serde_json::json!({"a": [1, 1.5, null], "b": {"c": "x"}})),
            "map[a:[1 1.5 <nil>] b:map[c:x]]"
        );
        assert_eq!(
            syntax(&serde_json::json!({"b": [1, 1.5, null], "a": {"c": "x"}})),
            r#"map[string]interface {}{"a":map[string]interface {}{"c":"x"}, "b":[]interface {}{1, 1.5, interface {}(nil)}}"#
        );
        assert_eq!((float(1e21), float(1.5e-7), float(100.0)), ("1e+21".into(), "1.5e-07".into(), "100".into()));
        assert_eq!(json(&serde_json::json!({"a": "<&>"})), r#"{"a":"\u003c\u0026\u003e"}"#);
    }

    #[test]
    fn numbers_are_read_and_refused_as_go_does() {
        assert_eq!((parse_uint::<u16>("80"), parse_int::<i64>("+5"), parse_int::<i64>("-5")), (Ok(80), Ok(5), Ok(-5)));
        for (text, why) in
            [("65536", "value out of range"), ("+1", INVALID_SYNTAX), ("-1", INVALID_SYNTAX), ("", INVALID_SYNTAX)]
        {
            assert_eq!(parse_uint::<u16>(text), Err(format!("strconv.ParseUint: parsing {text:?}: {why}")));
        }
        for (text, why) in [("-129", "value out of range"), ("128", "value out of range"), ("x\ty", INVALID_SYNTAX)] {
            assert_eq!(parse_int::<i8>(text), Err(format!("strconv.ParseInt: parsing {text:?}: {why}")));
        }
    }
}
