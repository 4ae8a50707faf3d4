//! Printing as go-yaml v2 prints: block style, lists not indented under their key, `|` for strings with newlines.

use super::resolve;
use serde_json::Value;
use std::cmp::Ordering;
use std::fmt::Write as _;

/// The value as a YAML document, with a newline at its end.
pub fn from_json(value: &Value) -> String {
    let mut out = String::new();
    match value {
        Value::Object(map) if !map.is_empty() => object(map.iter().collect(), 0, &mut out),
        Value::Array(items) if !items.is_empty() => list(items, 0, &mut out),
        scalar => inline(scalar, 0, &mut out),
    }
    out
}

fn pad(indent: usize, out: &mut String) {
    out.extend(std::iter::repeat_n(' ', indent));
}

// Lines of a map; the first is where the cursor is.
fn object(mut entries: Vec<(&String, &Value)>, indent: usize, out: &mut String) {
    entries.sort_by(|a, b| key_order(a.0, b.0));
    for (i, (key, value)) in entries.into_iter().enumerate() {
        if i > 0 {
            pad(indent, out);
        }
        if key.len() > 128 {
            out.push_str("? ");
            key_text(key, out);
            out.push('\n');
            pad(indent, out);
            out.push(':');
        } else {
            key_text(key, out);
            out.push(':');
        }
        match value {
            Value::Object(map) if !map.is_empty() => {
                out.push('\n');
                pad(indent + 2, out);
                object(map.iter().collect(), indent + 2, out);
            }
            Value::Array(items) if !items.is_empty() => {
                out.push('\n');
                pad(indent, out);
                list(items, indent, out);
            }
            scalar => {
                out.push(' ');
                inline(scalar, indent + 2, out);
            }
        }
    }
}

fn list(items: &[Value], indent: usize, out: &mut String) {
    for (i, item) in items.iter().enumerate() {
        if i > 0 {
            pad(indent, out);
        }
        out.push_str("- ");
        match item {
            Value::Object(map) if !map.is_empty() => object(map.iter().collect(), indent + 2, out),
            Value::Array(inner) if !inner.is_empty() => list(inner, indent + 2, out),
            scalar => inline(scalar, indent + 2, out),
        }
    }
}

// What fits behind a key, and the newline; `indent` is for the lines of a block.
fn inline(value: &Value, indent: usize, out: &mut String) {
    match value {
        Value::Null => out.push_str("null"),
        Value::Bool(b) => out.push_str(if *b { "true" } else { "false" }),
        Value::Number(n) => match n.as_f64() {
            Some(f) if n.is_f64() => out.push_str(&resolve::float(f)),
            _ => write!(out, "{n}").expect("writing to a String cannot fail"),
        },
        Value::Object(_) => out.push_str("{}"),
        Value::Array(_) => out.push_str("[]"),
        Value::String(text) => {
            let form = analyze(text);
            if text.contains('\n') && form.block {
                return literal(text, indent, out);
            }
            scalar(text, &form, out);
        }
    }
    out.push('\n');
}

fn key_text(key: &str, out: &mut String) {
    scalar(key, &analyze(key), out);
}

fn scalar(text: &str, form: &Form, out: &mut String) {
    if text.contains('\n') || !resolve::is_string(text) || !form.single && !form.plain {
        double_quoted(text, out);
    } else if form.plain {
        out.push_str(text);
    } else {
        out.push('\'');
        out.push_str(&text.replace('\'', "''"));
        out.push('\'');
    }
}

// The ways in which a string may be written.
struct Form {
    plain: bool,
    single: bool,
    block: bool,
}

fn analyze(text: &str) -> Form {
    let chars: Vec<char> = text.chars().collect();
    let blank = |i: usize| {
        chars.get(i).is_none_or(|c| matches!(c, ' ' | '\t' | '\n' | '\r' | '\u{85}' | '\u{2028}' | '\u{2029}'))
    };
    let (mut indicators, mut special, mut breaks) = (false, false, false);
    let (mut break_space, mut space_break) = (false, false);
    let (mut after_space, mut after_break) = (false, false);
    if text.starts_with("---") || text.starts_with("...") {
        indicators = true;
    }
    for (i, &c) in chars.iter().enumerate() {
        let before_blank = blank(i + 1);
        indicators |= match c {
            '#' if i > 0 => blank(i - 1),
            ':' => before_blank,
            '#' | ',' | '[' | ']' | '{' | '}' | '&' | '*' | '!' | '|' | '>' | '\'' | '"' | '%' | '@' | '`' => i == 0,
            '?' | '-' => i == 0 && before_blank,
            _ => false,
        };
        special |= !printable(c);
        match c {
            ' ' => {
                break_space |= after_break;
                (after_space, after_break) = (true, false);
            }
            '\n' | '\r' | '\u{85}' | '\u{2028}' | '\u{2029}' => {
                breaks = true;
                space_break |= after_space;
                (after_space, after_break) = (false, true);
            }
            _ => (after_space, after_break) = (false, false),
        }
    }
    let edge = |c: Option<&char>| c.is_some_and(|c| matches!(c, ' ' | '\n' | '\r'));
    let around = edge(chars.first()) || edge(chars.last());
    let bad = space_break || special;
    Form {
        plain: !(around || break_space || bad || breaks || indicators),
        single: !(break_space || bad),
        block: !(bad || chars.last() == Some(&' ')),
    }
}

// go-yaml's emitter holds tabs and what lies outside the basic plane for unprintable.
fn printable(c: char) -> bool {
    matches!(c, '\n' | ' '..='~' | '\u{a0}'..='\u{d7ff}' | '\u{e000}'..='\u{fefe}' | '\u{ff00}'..='\u{fffd}')
}

fn double_quoted(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        let escape = match c {
            '\0' => "\\0",
            '\x07' => "\\a",
            '\x08' => "\\b",
            '\t' => "\\t",
            '\n' => "\\n",
            '\x0b' => "\\v",
            '\x0c' => "\\f",
            '\r' => "\\r",
            '\x1b' => "\\e",
            '"' => "\\\"",
            '\\' => "\\\\",
            '\u{85}' => "\\N",
            '\u{a0}' => "\\_",
            '\u{2028}' => "\\L",
            '\u{2029}' => "\\P",
            c if printable(c) => {
                out.push(c);
                continue;
            }
            c => {
                let code = c as u32;
                let written = match code {
                    0..=0xff => write!(out, "\\x{code:02X}"),
                    0x100..=0xffff => write!(out, "\\u{code:04X}"),
                    _ => write!(out, "\\U{code:08X}"),
                };
                written.expect("writing to a String cannot fail");
                continue;
            }
        };
        out.push_str(escape);
    }
    out.push('"');
}

fn literal(text: &str, indent: usize, out: &mut String) {
    out.push('|');
    if text.starts_with([' ', '\n']) {
        out.push('2');
    }
    let body = match text.strip_suffix('\n') {
        None => {
            out.push('-');
            text
        }
        Some(body) => {
            if body.is_empty() || body.ends_with('\n') {
                out.push('+');
            }
            body
        }
    };
    out.push('\n');
    for line in body.split('\n') {
        if !line.is_empty() {
            pad(indent, out);
            out.push_str(line);
        }
        out.push('\n');
    }
}

// go-yaml's order of keys: letters after everything else, runs of digits by their number.
fn key_order(a: &str, b: &str) -> Ordering {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    for i in 0..a.len().min(b.len()) {
        let (x, y) = (a[i], b[i]);
        if x == y {
            continue;
        }
        match (x.is_alphabetic(), y.is_alphabetic()) {
            (true, true) => return x.cmp(&y),
            (true, false) => return Ordering::Greater,
            (false, true) => return Ordering::Less,
            (false, false) => {}
        }
        let leading =
            (x == '0' || y == '0') && a[..i].iter().rev().take_while(|c| c.is_ascii_digit()).any(|c| *c != '0');
        let number = |s: &[char]| {
            let digits: Vec<u64> = s[i..].iter().map_while(|c| c.to_digit(10)).map(u64::from).collect();
            let start = u64::from(leading);
            (digits.iter().fold(start, |n, d| n.saturating_mul(10).saturating_add(*d)), digits.len())
        };
        return number(&a).cmp(&number(&b)).then(x.cmp(&y));
    }
    a.len().cmp(&b.len())
}
