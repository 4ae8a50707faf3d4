//! One pass over an encoded object for the few things a cache entry keeps beside the bytes: where resourceVersion is
//! to be spliced in, the labels, and the selectable fields. Nothing else is decoded, so an event costs about as much
//! as copying it.
//!
//! Input is JSON that this server wrote or canonicalised; anything else is an error, never a panic.

use crate::registry::catalogue::SelectableField;

/// What the pass finds.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Scanned {
    /// Offset in the bytes at which `,"resourceVersion":"N"` goes (or without the comma, see `first`).
    pub splice: usize,
    /// Whether metadata is empty before `splice`, so that the spliced member needs no comma before it.
    pub first: bool,
    /// Whether members of metadata follow `splice` directly without a comma of their own.
    pub lone: bool,
    /// End of the leading `"kind":...,"apiVersion":...,` members, which items of a list leave out; 0 where the object
    /// does not begin with them, or is a custom resource, whose items keep them.
    pub item: usize,
    /// `metadata.labels`.
    pub labels: Vec<(Box<str>, Box<str>)>,
    /// The selectable fields in the order of the row, absent ones with the row's default.
    pub fields: Vec<Box<str>>,
}

/// Why bytes are no object that can be cached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("stored value is not a JSON object with metadata (offset {0})")]
pub struct Malformed(pub usize);

type Result<T> = std::result::Result<T, Malformed>;

/// Scans one encoded object.
pub fn scan(bytes: &[u8], selectable: &[SelectableField]) -> Result<Scanned> {
    let mut found = Scanned { fields: selectable.iter().map(|f| Box::from(f.absent)).collect(), ..Scanned::default() };
    let paths: Vec<(usize, Vec<&str>)> =
        selectable.iter().enumerate().map(|(i, f)| (i, f.path.split('.').collect())).collect();
    let (mut metadata, mut head, mut sorted) = (false, 0, false);
    members(bytes, 0, &mut |key, start, end| {
        match key {
            b"kind" | b"apiVersion" if head < 2 => {
                sorted |= head == 0 && key == b"apiVersion";
                head += 1;
                if head == 2 && !sorted && bytes.get(end) == Some(&b',') {
                    found.item = end + 1;
                }
            }
            b"metadata" => {
                metadata = true;
                head = 2;
                scan_metadata(bytes, start, sorted, &mut found)?;
            }
            _ => head = 2,
        }
        let wanted: Vec<(usize, &[&str])> =
            paths.iter().filter(|(_, p)| p[0].as_bytes() == key).map(|(i, p)| (*i, &p[1..])).collect();
        if wanted.is_empty() { Ok(()) } else { scan_fields(bytes, start, end, &wanted, &mut found.fields) }
    })?;
    if metadata { Ok(found) } else { Err(Malformed(0)) }
}

/// resourceVersion stands after uid in upstream's order, before generation and the timestamps; in an object whose members
/// are sorted (a custom resource: `apiVersion` comes first) at its place by name.
fn scan_metadata(bytes: &[u8], start: usize, sorted: bool, found: &mut Scanned) -> Result<()> {
    found.splice = start + 1;
    found.first = true;
    members(bytes, start, &mut |key, from, end| {
        let before = match sorted {
            true => key < b"resourceVersion".as_slice(),
            false => matches!(key, b"name" | b"generateName" | b"namespace" | b"selfLink" | b"uid"),
        };
        if before {
            found.splice = end;
            found.first = false;
        }
        if key == b"labels" {
            members(bytes, from, &mut |label, from, end| {
                found.labels.push((text(label), string(bytes, from, end)?));
                Ok(())
            })?;
        }
        Ok(())
    })?;
    found.lone = found.first && bytes.get(found.splice) == Some(&b'}');
    Ok(())
}

fn scan_fields(
    bytes: &[u8],
    start: usize,
    end: usize,
    wanted: &[(usize, &[&str])],
    out: &mut [Box<str>],
) -> Result<()> {
    for (slot, rest) in wanted {
        if rest.is_empty() {
            out[*slot] = scalar(bytes, start, end)?;
        }
    }
    if bytes.get(start) != Some(&b'{') || wanted.iter().all(|(_, rest)| rest.is_empty()) {
        return Ok(());
    }
    members(bytes, start, &mut |key, start, end| {
        let deeper: Vec<(usize, &[&str])> = wanted
            .iter()
            .filter(|(_, r)| r.first().is_some_and(|s| s.as_bytes() == key))
            .map(|(i, r)| (*i, &r[1..]))
            .collect();
        if deeper.is_empty() { Ok(()) } else { scan_fields(bytes, start, end, &deeper, out) }
    })
}

/// A scalar as field selectors compare it: strings unquoted, numbers and booleans as written.
fn scalar(bytes: &[u8], start: usize, end: usize) -> Result<Box<str>> {
    match bytes[start] {
        b'"' => string(bytes, start, end),
        b'{' | b'[' => Ok("".into()),
        _ => Ok(text(&bytes[start..end])),
    }
}

fn string(bytes: &[u8], start: usize, end: usize) -> Result<Box<str>> {
    let raw = &bytes[start..end];
    if raw.contains(&b'\\') {
        return serde_json::from_slice::<Box<str>>(raw).map_err(|_| Malformed(start));
    }
    match raw {
        [b'"', inner @ .., b'"'] => Ok(text(inner)),
        _ => Err(Malformed(start)),
    }
}

fn text(raw: &[u8]) -> Box<str> {
    String::from_utf8_lossy(raw).into()
}

/// What is done with a member: its key, and where its value begins and ends.
type Each<'e> = dyn FnMut(&[u8], usize, usize) -> Result<()> + 'e;

/// Calls `each(key, value start, value end)` for the members of the object that begins at `pos`; returns its end.
fn members(bytes: &[u8], pos: usize, each: &mut Each<'_>) -> Result<()> {
    if bytes.get(pos) != Some(&b'{') {
        return Err(Malformed(pos));
    }
    let mut pos = pos + 1;
    if bytes.get(pos) == Some(&b'}') {
        return Ok(());
    }
    loop {
        let key_end = skip_string(bytes, pos)?;
        if bytes.get(key_end) != Some(&b':') {
            return Err(Malformed(key_end));
        }
        let end = skip(bytes, key_end + 1)?;
        each(&bytes[pos + 1..key_end - 1], key_end + 1, end)?;
        match bytes.get(end) {
            Some(b',') => pos = end + 1,
            Some(b'}') => return Ok(()),
            _ => return Err(Malformed(end)),
        }
    }
}

/// The end of the value that begins at `pos`. Iterative: depth costs nothing.
fn skip(bytes: &[u8], pos: usize) -> Result<usize> {
    match bytes.get(pos) {
        Some(b'"') => skip_string(bytes, pos),
        Some(b'{' | b'[') => {
            let (mut depth, mut pos) = (0usize, pos);
            while let Some(byte) = bytes.get(pos) {
                match byte {
                    b'"' => {
                        pos = skip_string(bytes, pos)?;
                        continue;
                    }
                    b'{' | b'[' => depth += 1,
                    b'}' | b']' => {
                        depth -= 1;
                        if depth == 0 {
                            return Ok(pos + 1);
                        }
                    }
                    _ => {}
                }
                pos += 1;
            }
            Err(Malformed(pos))
        }
        Some(_) => {
            Ok(bytes[pos..].iter().position(|b| matches!(b, b',' | b'}' | b']')).map_or(bytes.len(), |n| pos + n))
        }
        None => Err(Malformed(pos)),
    }
}

fn skip_string(bytes: &[u8], pos: usize) -> Result<usize> {
    if bytes.get(pos) != Some(&b'"') {
        return Err(Malformed(pos));
    }
    let mut at = pos + 1;
    loop {
        match bytes.get(at) {
            Some(b'"') => return Ok(at + 1),
            Some(b'\\') => at += 2,
            Some(_) => at += 1,
            None => return Err(Malformed(at)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(name: &'static str, absent: &'static str) -> SelectableField {
        SelectableField { name: name.into(), path: name.into(), absent }
    }

    fn spliced(json: &str) -> String {
        let found = scan(json.as_bytes(), &[]).expect("valid");
        let member = match (found.first, found.lone) {
            (false, _) => ",\"resourceVersion\":\"7\"".to_string(),
            (true, true) => "\"resourceVersion\":\"7\"".to_string(),
            (true, false) => "\"resourceVersion\":\"7\",".to_string(),
        };
        format!("{}{member}{}", &json[..found.splice], &json[found.splice..])
    }

    #[test]
    fn resource_version_stands_where_upstream_writes_it() {
        for (before, after) in [
            (
                r#"{"kind":"Pod","apiVersion":"v1","metadata":{"name":"a","uid":"u","generation":1}}"#,
                r#"{"kind":"Pod","apiVersion":"v1","metadata":{"name":"a","uid":"u","resourceVersion":"7","generation":1}}"#,
            ),
            (
                r#"{"apiVersion":"g/v1","kind":"T","metadata":{"generation":1,"name":"a","uid":"u"},"spec":{}}"#,
                r#"{"apiVersion":"g/v1","kind":"T","metadata":{"generation":1,"name":"a","resourceVersion":"7","uid":"u"},"spec":{}}"#,
            ),
            (r#"{"metadata":{}}"#, r#"{"metadata":{"resourceVersion":"7"}}"#),
            (r#"{"metadata":{"labels":{}}}"#, r#"{"metadata":{"resourceVersion":"7","labels":{}}}"#),
        ] {
            assert_eq!(spliced(before), after);
        }
    }

    #[test]
    fn labels_and_fields_are_found_in_one_pass() {
        let json = r#"{"kind":"Pod","apiVersion":"v1","metadata":{"name":"a","labels":{"x":"1","q":"\"}"}},"spec":{"list":[{"nodeName":"no"}],"nodeName":"n1","hostNetwork":true},"status":{}}"#;
        let found = scan(
            json.as_bytes(),
            &[
                field("spec.nodeName", ""),
                field("spec.hostNetwork", "false"),
                field("status.phase", ""),
                field("spec.x.y", "z"),
            ],
        )
        .expect("valid");
        assert_eq!(found.labels, vec![("x".into(), "1".into()), ("q".into(), "\"}".into())]);
        assert_eq!(found.fields, vec!["n1".into(), "true".into(), "".into(), "z".into()]);
        assert_eq!(&json[found.item..found.item + 11], "\"metadata\":");
    }

    #[test]
    fn damaged_bytes_are_errors() {
        for json in [
            "",
            "[]",
            "{",
            "{\"metadata\":",
            "{\"metadata\":[]}",
            "{\"kind\":\"x\"}",
            "{\"metadata\":{\"labels\":{\"a\":\"b",
        ] {
            assert!(scan(json.as_bytes(), &[]).is_err(), "{json}");
        }
    }
}
