//! Paths to fields as selectable fields and rules give them: `.spec.list['key']` (`cel.ValidFieldPath`).

use machinery::field::Path;

use crate::parse::Schema;

/// The path as errors print it, and the schema there.
pub(crate) fn valid<'a>(text: &str, schema: &'a Schema, brackets: bool) -> Result<(String, &'a Schema), String> {
    let tokens = tokens(text);
    let mut tokens = tokens.iter().map(String::as_str);
    let (mut path, mut at) = (Path::nil(), schema);
    let end = || "unexpected end of JSON path".to_owned();
    while let Some(token) = tokens.next() {
        let name = match token {
            "[" if !brackets => return Err("array notation is not allowed".to_owned()),
            "[" => {
                let quoted = tokens.next().ok_or_else(end)?;
                let inner = quoted.strip_prefix('\'').and_then(|q| q.strip_suffix('\''));
                let name = inner.ok_or_else(|| format!("expected single quoted string but got {quoted}"))?;
                unescape(name).map_err(|fault| format!("invalid string literal: {fault}"))?
            }
            "." => tokens.next().ok_or_else(end)?.to_owned(),
            other => return Err(format!("expected [ or . but got: {other}")),
        };
        let unknown = || "does not refer to a valid field".to_owned();
        if at.properties.is_empty() {
            at = at.other().ok_or_else(unknown)?;
            path = path.key(&name);
        } else {
            path = path.child(&name);
            at = at.properties.get(&name).ok_or_else(unknown)?;
        }
        if token == "[" {
            match tokens.next() {
                Some("]") => {}
                Some(other) => return Err(format!("expected ] but got {other}")),
                None => return Err(end()),
            }
        }
    }
    Ok((path.to_string(), at))
}

// Delimiters are tokens of their own; quoted texts end at the next quote that is not escaped.
fn tokens(text: &str) -> Vec<String> {
    let mut out = Vec::new();
    let mut current = String::new();
    for c in text.chars() {
        if current.starts_with('\'') {
            let ends = c == '\'' && !current.ends_with('\\');
            current.push(c);
            if ends {
                out.push(std::mem::take(&mut current));
            }
            continue;
        }
        if matches!(c, '.' | '[' | ']') {
            if !current.is_empty() {
                out.push(std::mem::take(&mut current));
            }
            out.push(c.to_string());
        } else {
            current.push(c);
        }
    }
    if !current.is_empty() {
        out.push(current);
    }
    out
}

fn unescape(text: &str) -> Result<String, String> {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        match chars.next() {
            Some('a') => out.push('\x07'),
            Some('b') => out.push('\x08'),
            Some('f') => out.push('\x0c'),
            Some('n') => out.push('\n'),
            Some('r') => out.push('\r'),
            Some('t') => out.push('\t'),
            Some('v') => out.push('\x0b'),
            Some(c @ ('\'' | '\\')) => out.push(c),
            Some(c) => return Err(format!("invalid escape char \\{c}")),
            None => out.push('\\'),
        }
    }
    Ok(out)
}
