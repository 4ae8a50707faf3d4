//! Texts (cel-go's standard functions and `ext.Strings` version 2, upstream's regex library). Places are counted in
//! characters.

use formats::pattern;
use machinery::go;

use super::{NO_OVERLOAD, Outcome, convert, strings_of};
use crate::value::Value;

fn chars(text: &str) -> Vec<char> {
    text.chars().collect()
}

fn place(at: i64, length: usize) -> Result<usize, String> {
    usize::try_from(at).ok().filter(|at| *at <= length).ok_or_else(|| format!("index out of range: {at}"))
}

fn position(text: &str, part: &str, from: usize, last: bool) -> i64 {
    let (text, part) = (chars(text), chars(part));
    if part.len() > text.len() {
        return -1;
    }
    let end = text.len() - part.len();
    let matches = |at: &usize| text[*at..].starts_with(&part);
    let found = if last { (0..=from.min(end)).rev().find(matches) } else { (from..=end).find(matches) };
    found.map_or(-1, |at| at as i64)
}

pub(super) fn call(name: &str, args: &[Value]) -> Option<Outcome> {
    use Value::{Bool, Int, List, String};
    Some(match (name, args) {
        ("startsWith", [String(a), String(b)]) => Ok(Bool(a.starts_with(&**b))),
        ("endsWith", [String(a), String(b)]) => Ok(Bool(a.ends_with(&**b))),
        ("contains", [String(a), String(b)]) => Ok(Bool(a.contains(&**b))),
        ("jsonpatch.escapeKey", [String(a)]) => Ok(a.replace('~', "~0").replace('/', "~1").into()),
        ("matches", [String(a), String(b)]) => pattern::compile(b).map(|regex| Bool(regex.is_match(a))),
        ("find", [String(a), String(b)]) => {
            pattern::compile(b).map(|regex| regex.find(a).map_or("", |m| m.as_str()).into())
        }
        ("findAll", [String(a), String(b), rest @ ..]) => {
            let limit = match rest {
                [] => usize::MAX,
                [Int(n)] => usize::try_from(*n).unwrap_or(usize::MAX),
                _ => return Some(Err(NO_OVERLOAD.to_owned())),
            };
            let all = |regex: regex::Regex| strings_of(regex.find_iter(a).take(limit).map(|m| m.as_str().to_owned()));
            pattern::compile(b).map(all)
        }
        ("charAt", [String(s), Int(at)]) => {
            let chars = chars(s);
            place(*at, chars.len()).map(|at| chars.get(at).map(char::to_string).unwrap_or_default().into())
        }
        ("indexOf", [String(s), String(part)]) => Ok(Int(position(s, part, 0, false))),
        ("indexOf", [String(s), String(part), Int(from)]) => {
            place(*from, s.chars().count()).map(|from| Int(position(s, part, from, false)))
        }
        ("lastIndexOf", [String(s), String(part)]) => Ok(Int(position(s, part, usize::MAX, true))),
        ("lastIndexOf", [String(s), String(part), Int(from)]) => {
            place(*from, s.chars().count()).map(|from| Int(position(s, part, from, true)))
        }
        ("lowerAscii", [String(s)]) => Ok(s.to_ascii_lowercase().into()),
        ("upperAscii", [String(s)]) => Ok(s.to_ascii_uppercase().into()),
        ("trim", [String(s)]) => Ok(s.trim().into()),
        ("replace", [String(s), String(from), String(to)]) => Ok(s.replace(&**from, to).into()),
        ("replace", [String(s), String(from), String(to), Int(n)]) => Ok(match usize::try_from(*n) {
            Ok(n) => s.replacen(&**from, to, n).into(),
            Err(_) => s.replace(&**from, to).into(),
        }),
        ("split", [String(s), String(by)]) => Ok(split(s, by, None)),
        ("split", [String(s), String(by), Int(n)]) => Ok(split(s, by, usize::try_from(*n).ok())),
        ("substring", [String(s), Int(from)]) => {
            let chars = chars(s);
            place(*from, chars.len()).map(|from| chars[from..].iter().collect::<std::string::String>().into())
        }
        ("substring", [String(s), Int(from), Int(to)]) => {
            let chars = chars(s);
            if from > to {
                return Some(Err(format!("invalid substring range. start: {from}, end: {to}")));
            }
            place(*from, chars.len()).and_then(|from| {
                place(*to, chars.len()).map(|to| chars[from..to].iter().collect::<std::string::String>().into())
            })
        }
        ("join", [List(list), rest @ ..]) => {
            let by = match rest {
                [] => "",
                [String(by)] => by,
                _ => return Some(Err(NO_OVERLOAD.to_owned())),
            };
            let parts: Option<Vec<&str>> =
                list.items.iter().map(|v| if let String(s) = v { Some(&**s) } else { None }).collect();
            parts.map(|parts| parts.join(by).into()).ok_or_else(|| NO_OVERLOAD.to_owned())
        }
        ("strings.quote", [String(s)]) => Ok(go::quote(s).into()),
        ("format", [String(s), List(list)]) => format(s, &list.items),
        _ => return None,
    })
}

fn split(text: &str, by: &str, limit: Option<usize>) -> Value {
    let parts: Vec<String> = if by.is_empty() {
        text.chars().map(String::from).collect()
    } else {
        text.split(by).map(str::to_owned).collect()
    };
    match limit {
        Some(0) => strings_of([]),
        Some(n) if parts.len() > n => {
            let rest = parts[n - 1..].join(by);
            strings_of(parts[..n - 1].iter().cloned().chain([rest]))
        }
        _ => strings_of(parts),
    }
}

// `%s %d %f %e %b %x %X %o`, with a precision for floats.
fn format(pattern: &str, args: &[Value]) -> Outcome {
    let (mut out, mut next) = (String::new(), 0);
    let mut chars = pattern.chars().peekable();
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let mut precision = String::new();
        if chars.peek() == Some(&'.') {
            chars.next();
            while let Some(digit) = chars.peek().filter(|c| c.is_ascii_digit()) {
                precision.push(*digit);
                chars.next();
            }
        }
        let Some(verb) = chars.next() else { return Err("unexpected end of string".to_owned()) };
        if verb == '%' {
            out.push('%');
            continue;
        }
        let arg = args.get(next).ok_or_else(|| format!("index {next} out of range"))?;
        next += 1;
        let digits = precision.parse::<usize>().unwrap_or(6).min(100);
        match (verb, arg) {
            ('s', value) => out.push_str(&convert::text(value)),
            ('d', Value::Int(_) | Value::Uint(_)) => out.push_str(&convert::text(arg)),
            ('f', Value::Double(d)) => out.push_str(&format!("{d:.digits$}")),
            ('f', Value::Int(i)) => out.push_str(&format!("{:.digits$}", *i as f64)),
            ('e', Value::Double(d)) => out.push_str(&format!("{d:.digits$e}")),
            ('b', Value::Bool(b)) => out.push(if *b { '1' } else { '0' }),
            ('b', Value::Int(i)) => out.push_str(&format!("{i:b}")),
            ('o', Value::Int(i)) => out.push_str(&format!("{i:o}")),
            ('x', Value::Int(i)) => out.push_str(&format!("{i:x}")),
            ('X', Value::Int(i)) => out.push_str(&format!("{i:X}")),
            ('x' | 'X', Value::String(s)) => {
                let hex: String = s.bytes().map(|b| format!("{b:02x}")).collect();
                out.push_str(&if verb == 'X' { hex.to_uppercase() } else { hex });
            }
            _ => return Err(format!("could not parse formatting clause: unrecognized formatting clause \"{verb}\"")),
        }
    }
    Ok(out.into())
}
