//! Go's text form of JSON values: HTML-safe escapes, exponents only for very large and very small numbers.

use serde_json::{Number, Value};

/// Appends a quoted string with Go's escapes (`<`, `>`, `&`, U+2028 and U+2029 included).
pub fn string(text: &str, out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let bytes = text.as_bytes();
    out.push(b'"');
    let mut start = 0;
    let mut i = 0;
    while i < bytes.len() {
        let b = bytes[i];
        // U+2028 and U+2029 are e2 80 a8 and e2 80 a9.
        let separator = b == 0xe2 && bytes[i + 1] == 0x80 && bytes[i + 2] & 0xfe == 0xa8;
        if (b >= 0x20 && !matches!(b, b'"' | b'\\' | b'<' | b'>' | b'&') && !separator) || b == 0x7f {
            i += 1;
            continue;
        }
        out.extend_from_slice(&bytes[start..i]);
        match b {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', b]),
            0x08 => out.extend_from_slice(b"\\b"),
            0x0c => out.extend_from_slice(b"\\f"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            _ if separator => {
                out.extend_from_slice(b"\\u202");
                out.push(HEX[usize::from(bytes[i + 2] & 0xf)]);
                i += 2;
            }
            _ => {
                out.extend_from_slice(b"\\u00");
                out.extend_from_slice(&[HEX[usize::from(b >> 4)], HEX[usize::from(b & 0xf)]]);
            }
        }
        i += 1;
        start = i;
    }
    out.extend_from_slice(&bytes[start..]);
    out.push(b'"');
}

/// Appends a number; floats as Go's `encoding/json` has them.
pub fn number(n: &Number, out: &mut Vec<u8>) {
    use std::io::Write;
    let float = if n.is_f64() { n.as_f64() } else { None };
    let written = match float {
        None => write!(out, "{n}"),
        Some(f) if f == 0.0 || (1e-6..1e21).contains(&f.abs()) => write!(out, "{f}"),
        Some(f) => {
            // Rust prints 1e-7 and 1e21; Go prints 1e-07 as 1e-7 too, and 1e21 as 1e+21.
            let text = format!("{f:e}");
            let text = text.replace('e', "e+").replace("e+-", "e-");
            write!(out, "{text}")
        }
    };
    written.expect("writing to a vector cannot fail");
}

/// Appends a value that no type describes: keys sorted, as Go writes a map.
pub fn untyped(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Null => out.extend_from_slice(b"null"),
        Value::Bool(true) => out.extend_from_slice(b"true"),
        Value::Bool(false) => out.extend_from_slice(b"false"),
        Value::Number(n) => number(n, out),
        Value::String(s) => string(s, out),
        Value::Array(items) => super::list_with(items, out, untyped),
        Value::Object(map) => {
            out.push(b'{');
            for (i, (name, value)) in map.iter().enumerate() {
                if i > 0 {
                    out.push(b',');
                }
                string(name, out);
                out.push(b':');
                untyped(value, out);
            }
            out.push(b'}');
        }
    }
}
