//! `-o custom-columns=NAME:.metadata.name,...`.

use machinery::jsonpath::Template;
use serde_json::Value;

use super::table::Writer;
use crate::cli::failure::{Failure, Outcome};

/// See the module.
#[derive(Debug)]
pub struct Columns {
    columns: Vec<(String, Template)>,
    no_headers: bool,
}

impl Columns {
    /// From the flag.
    pub fn parse(text: &str, no_headers: bool) -> Outcome<Self> {
        if text.is_empty() {
            return Err(Failure::new("custom-columns format specified but no custom columns given"));
        }
        let mut columns = Vec::new();
        for part in text.split(',') {
            let Some((header, path)) = part.split_once(':') else {
                return Err(Failure::new(format!(
                    "unexpected custom-columns spec: {part}, expected <header>:<json-path-expr>"
                )));
            };
            columns.push((header.to_owned(), relaxed(path)?));
        }
        Ok(Self { columns, no_headers })
    }

    /// From a file: headers in the first line, paths in the second.
    pub fn parse_template(text: &str, no_headers: bool) -> Outcome<Self> {
        let mut lines = text.lines();
        let headers: Vec<&str> = lines.next().unwrap_or_default().split_whitespace().collect();
        let paths: Vec<&str> = lines.next().unwrap_or_default().split_whitespace().collect();
        if headers.is_empty() || headers.len() != paths.len() {
            return Err(Failure::new(format!(
                "number of headers ({}) and field specifications ({}) don't match",
                headers.len(),
                paths.len()
            )));
        }
        let columns = headers.into_iter().zip(paths).map(|(header, path)| Ok((header.to_owned(), relaxed(path)?)));
        Ok(Self { columns: columns.collect::<Outcome<_>>()?, no_headers })
    }

    /// The table.
    pub fn render(&self, object: &Value) -> String {
        let mut writer = Writer::default();
        if !self.no_headers {
            writer.row(self.columns.iter().map(|(header, _)| header.clone()).collect());
        }
        let items = match object["items"].as_array() {
            Some(items) if object["kind"].as_str().is_some_and(|kind| kind.ends_with("List")) => items.as_slice(),
            _ => std::slice::from_ref(object),
        };
        for item in items {
            let cells = self.columns.iter().map(|(_, path)| {
                let found = path.find(item);
                if found.is_empty() {
                    "<none>".to_owned()
                } else {
                    found.iter().map(go_value).collect::<Vec<_>>().join(",")
                }
            });
            writer.row(cells.collect());
        }
        writer.flush()
    }
}

/// As Go's `%v` prints it.
fn go_value(value: &Value) -> String {
    match value {
        Value::Null => "<none>".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(items) => format!("[{}]", items.iter().map(go_value).collect::<Vec<_>>().join(" ")),
        Value::Object(map) => {
            let pairs: Vec<String> = map.iter().map(|(key, value)| format!("{key}:{}", go_value(value))).collect();
            format!("map[{}]", pairs.join(" "))
        }
        other => other.to_string(),
    }
}

/// A path as people type it: braces and the leading dot may be missing.
pub fn relaxed(path: &str) -> Outcome<Template> {
    let inner = path.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')).unwrap_or(path);
    if inner.contains(['{', '}']) {
        return Err(Failure::new(
            "unexpected path string, expected a 'name1.name2' or '.name1.name2' or '{name1.name2}' or '{.name1.name2}'",
        ));
    }
    let inner = inner.strip_prefix('.').unwrap_or(inner);
    let dotted = if inner.starts_with('[') { inner.to_owned() } else { format!(".{inner}") };
    Template::parse(&format!("{{{dotted}}}")).map_err(Failure::new)
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use serde_json::json;

    use super::*;

    #[test]
    fn columns() {
        let list = json!({"kind": "List", "items": [
            {"metadata": {"name": "a", "labels": {"x": "1"}}, "spec": {"ports": [{"port": 80}, {"port": 81}]}},
            {"metadata": {"name": "bbbbbbbb"}}]});
        let columns =
            Columns::parse("NAME:.metadata.name,PORTS:{.spec.ports[*].port},L:metadata.labels", false).unwrap();
        expect![[r#"
            NAME       PORTS    L
            a          80,81    map[x:1]
            bbbbbbbb   <none>   <none>
        "#]]
        .assert_eq(&columns.render(&list));
        assert!(Columns::parse("NAME", false).is_err());
    }
}
