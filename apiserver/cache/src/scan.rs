//! What a cache entry needs to know of its bytes, found without decoding them: where resourceVersion is to be spliced in
//! (a look at the first hundred bytes), and, for selectors, the labels and the selectable fields (one pass over the
//! whole, made when the first selector asks).
//!
//! Input is JSON that this server wrote or canonicalised; anything else is an error, never a panic.

use model::resource::SelectableField;

/// Where the members are that are not copied as they stand.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Head {
    /// Offset in the bytes at which `,"resourceVersion":"N"` goes (or without the comma, see `first`).
    pub splice: usize,
    /// Whether metadata is empty before `splice`, so that the spliced member needs no comma before it.
    pub first: bool,
    /// Whether members of metadata follow `splice` directly without a comma of their own.
    pub lone: bool,
    /// End of the leading `"kind":...,"apiVersion":...,` members, which items of a list leave out; 0 where the object
    /// does not begin with them, or is a custom resource, whose items keep them.
    pub item: usize,
}

/// What selectors ask for.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Index {
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

/// Finds the head of one encoded object.
pub fn head(bytes: &[u8]) -> Result<Head> {
    let mut found = Head::default();
    let (mut metadata, mut leading, mut sorted) = (false, 0, false);
    members(bytes, 0, &mut |key, start| {
        match key {
            b"kind" | b"apiVersion" if leading < 2 => {
                sorted |= leading == 0 && key == b"apiVersion";
                leading += 1;
                let end = skip(bytes, start)?;
                if leading == 2 && !sorted && bytes.get(end) == Some(&b',') {
                    found.item = end + 1;
                }
                return Ok(Next::From(end));
            }
            b"metadata" => {
                metadata = true;
                head_of_metadata(bytes, start, sorted, &mut found)?;
                return Ok(Next::Stop);
            }
            _ => leading = 2,
        }
        Ok(Next::Skip)
    })?;
    // Of the rest only its end is looked at: it was whole when it was written, and the store keeps it so.
    if metadata && bytes.last() == Some(&b'}') { Ok(found) } else { Err(Malformed(0)) }
}

/// resourceVersion stands after uid in upstream's order, before generation and the timestamps; in an object whose members
/// are sorted (a custom resource: `apiVersion` comes first) at its place by name.
fn head_of_metadata(bytes: &[u8], start: usize, sorted: bool, found: &mut Head) -> Result<()> {
    found.splice = start + 1;
    found.first = true;
    // Where another member comes first the order is not upstream's, and all are to be looked at.
    let mut ordered = sorted.then_some(true);
    members(bytes, start, &mut |key, start| {
        let before = match sorted {
            true => key < b"resourceVersion".as_slice(),
            false => matches!(key, b"name" | b"generateName" | b"namespace" | b"selfLink" | b"uid"),
        };
        let ordered = *ordered.get_or_insert(before);
        if !before {
            return Ok(if ordered { Next::Stop } else { Next::Skip });
        }
        found.splice = skip(bytes, start)?;
        found.first = false;
        Ok(Next::From(found.splice))
    })?;
    found.lone = found.first && bytes.get(found.splice) == Some(&b'}');
    Ok(())
}

/// Where the value of `metadata` is.
pub fn metadata(bytes: &[u8]) -> Result<std::ops::Range<usize>> {
    let mut found = None;
    members(bytes, 0, &mut |key, start| {
        if key != b"metadata" {
            return Ok(Next::Skip);
        }
        found = Some(start..skip(bytes, start)?);
        Ok(Next::Stop)
    })?;
    found.ok_or(Malformed(0))
}

/// Reads the labels and these fields out of one encoded object.
pub fn index(bytes: &[u8], selectable: &[SelectableField]) -> Result<Index> {
    let mut found = Index { fields: selectable.iter().map(|f| Box::from(f.absent)).collect(), ..Index::default() };
    let paths: Vec<(usize, Vec<&str>)> =
        selectable.iter().enumerate().map(|(i, f)| (i, f.path.split('.').collect())).collect();
    let all: Vec<(usize, &[&str])> = paths.iter().map(|(i, path)| (*i, &path[..])).collect();
    fields(bytes, 0, &all, &mut found.fields)?;
    for (i, field) in selectable.iter().enumerate() {
        if !field.fallback.is_empty() && found.fields[i].is_empty() {
            let other = selectable.iter().position(|other| other.name == field.fallback);
            found.fields[i] = other.map(|at| found.fields[at].clone()).unwrap_or_default();
        }
    }
    members(bytes, 0, &mut |key, start| {
        if key != b"metadata" {
            return Ok(Next::Skip);
        }
        members(bytes, start, &mut |key, start| {
            if key != b"labels" {
                return Ok(Next::Skip);
            }
            members(bytes, start, &mut |label, start| {
                let end = skip(bytes, start)?;
                found.labels.push((text(label), string(bytes, start, end)?));
                Ok(Next::From(end))
            })?;
            Ok(Next::Stop)
        })?;
        Ok(Next::Stop)
    })?;
    Ok(found)
}

/// Reads the wanted fields (their places, and what is left of their paths) of the object that begins at `start`; returns
/// its end.
fn fields(bytes: &[u8], start: usize, wanted: &[(usize, &[&str])], out: &mut [Box<str>]) -> Result<usize> {
    members(bytes, start, &mut |key, start| {
        let deeper: Vec<(usize, &[&str])> = wanted
            .iter()
            .filter(|(_, path)| path.first().is_some_and(|step| step.as_bytes() == key))
            .map(|(i, path)| (*i, &path[1..]))
            .collect();
        if deeper.is_empty() {
            return Ok(Next::Skip);
        }
        let object = bytes.get(start) == Some(&b'{');
        let end = if object { fields(bytes, start, &deeper, out)? } else { skip(bytes, start)? };
        for (i, _) in deeper.iter().filter(|(_, rest)| rest.is_empty()) {
            out[*i] = scalar(bytes, start, end)?;
        }
        Ok(Next::From(end))
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

/// Where the walk over an object's members goes on.
enum Next {
    /// Behind the member's value, which is still to be passed over.
    Skip,
    /// At the value's end, which is here.
    From(usize),
    /// Nowhere: what was wanted is found.
    Stop,
}

/// What is done with a member: its key, and where its value begins.
type Each<'e> = dyn FnMut(&[u8], usize) -> Result<Next> + 'e;

/// Calls `each` for the members of the object that begins at `pos`; returns where it stopped: the object's end.
fn members(bytes: &[u8], pos: usize, each: &mut Each<'_>) -> Result<usize> {
    if bytes.get(pos) != Some(&b'{') {
        return Err(Malformed(pos));
    }
    let mut pos = pos + 1;
    if bytes.get(pos) == Some(&b'}') {
        return Ok(pos + 1);
    }
    loop {
        let key_end = skip_string(bytes, pos)?;
        if bytes.get(key_end) != Some(&b':') {
            return Err(Malformed(key_end));
        }
        let value = key_end + 1;
        let end = match each(&bytes[pos + 1..key_end - 1], value)? {
            Next::Skip => skip(bytes, value)?,
            Next::From(end) => end,
            Next::Stop => return Ok(value),
        };
        match bytes.get(end) {
            Some(b',') => pos = end + 1,
            Some(b'}') => return Ok(end + 1),
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
        SelectableField { name: name.into(), path: name.into(), absent, fallback: "" }
    }

    fn spliced(json: &str) -> String {
        let found = head(json.as_bytes()).expect("valid");
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
        let found = index(
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
        let item = head(json.as_bytes()).expect("valid").item;
        assert_eq!(&json[item..item + 11], "\"metadata\":");
    }

    #[test]
    fn an_empty_field_takes_the_value_of_the_one_that_stands_in() {
        let source = SelectableField { path: "source.component".into(), fallback: "reporter", ..field("source", "") };
        for (json, expect) in [
            (r#"{"source":{"component":"a"},"reporter":"b"}"#, "a"),
            (r#"{"source":{},"reporter":"b"}"#, "b"),
            (r#"{"reporter":""}"#, ""),
        ] {
            let found = index(json.as_bytes(), &[source.clone(), field("reporter", "")]).expect("valid");
            assert_eq!(&*found.fields[0], expect, "{json}");
        }
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
            assert!(head(json.as_bytes()).is_err(), "{json}");
            assert!(index(json.as_bytes(), &[field("spec.x", "")]).is_err() || !json.contains("lab"), "{json}");
        }
    }
}
