//! JSONPath templates (client-go `util/jsonpath`), in kubectl's output, printer columns and selectable fields: text with
//! `{.paths}`, `{range}`, filters, slices, `..`.

use serde_json::Value;

/// A parsed template.
#[derive(Clone, Debug)]
pub struct Template(Vec<Node>);

#[derive(Clone, Debug)]
enum Node {
    Text(String),
    Path(Vec<Step>),
    Range(Vec<Step>, Vec<Node>),
}

#[derive(Clone, Debug)]
enum Step {
    Field(String),
    /// All values.
    Wildcard,
    /// Everything below.
    Recursive,
    /// Start, end, step.
    Slice(Option<i64>, Option<i64>, Option<i64>),
    Index(i64),
    Union(Vec<Vec<Step>>),
    Filter(Box<Filter>),
    /// A text among paths: `{"\n"}`.
    Literal(Value),
}

#[derive(Clone, Debug)]
struct Filter {
    left: Vec<Step>,
    op: &'static str,
    right: Vec<Step>,
}

impl Template {
    /// Parses. The whole may be without braces when it is one path.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut nodes = Vec::new();
        let mut stack: Vec<(Vec<Step>, Vec<Node>)> = Vec::new();
        let mut rest = text;
        while !rest.is_empty() {
            let Some(open) = rest.find('{') else {
                nodes.push(Node::Text(rest.to_owned()));
                break;
            };
            if open > 0 {
                nodes.push(Node::Text(rest[..open].to_owned()));
            }
            let close = closing(&rest[open..]).ok_or("unclosed action")? + open;
            let action = rest[open + 1..close].trim();
            rest = &rest[close + 1..];
            if let Some(path) = action.strip_prefix("range") {
                stack.push((steps(path.trim())?, std::mem::take(&mut nodes)));
            } else if action == "end" {
                let (path, outer) = stack.pop().ok_or("not in range, nothing to end")?;
                let body = std::mem::replace(&mut nodes, outer);
                nodes.push(Node::Range(path, body));
            } else {
                for path in alternatives(action) {
                    nodes.push(Node::Path(steps(path.trim())?));
                }
            }
        }
        if stack.is_empty() { Ok(Self(nodes)) } else { Err("unexpected end of range".to_owned()) }
    }

    /// The text; what is missing is left out.
    pub fn render(&self, value: &Value) -> Result<String, String> {
        let mut out = String::new();
        render(&self.0, value, value, &mut out);
        Ok(out)
    }

    /// All values that the paths in the template find.
    pub fn find(&self, value: &Value) -> Vec<Value> {
        let mut found = Vec::new();
        for node in &self.0 {
            if let Node::Path(path) = node {
                found.extend(walk(path, vec![value.clone()], value));
            }
        }
        found
    }
}

/// The brace that closes the one at the beginning, outside of quotes.
fn closing(text: &str) -> Option<usize> {
    let mut quote = None;
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        match (quote, c) {
            _ if escaped => escaped = false,
            (Some(_), '\\') => escaped = true,
            (Some(q), c) if c == q => quote = None,
            (None, '"' | '\'') => quote = Some(c),
            (None, '}') => return Some(at),
            _ => {}
        }
    }
    None
}

/// `{.a}{.b}` may be written `{.a .b}`.
fn alternatives(action: &str) -> Vec<&str> {
    let (mut parts, mut start, mut depth, mut quote) = (Vec::new(), 0, 0, None);
    for (at, c) in action.char_indices() {
        match (quote, c) {
            (Some(q), c) if c == q => quote = None,
            (None, '"' | '\'') => quote = Some(c),
            (None, '[' | '(') => depth += 1,
            (None, ']' | ')') => depth -= 1,
            (None, ' ') if depth == 0 => {
                parts.push(&action[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&action[start..]);
    parts.into_iter().filter(|part| !part.trim().is_empty()).collect()
}

fn unescape(text: &str) -> String {
    let mut out = String::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        match chars.next() {
            Some('n') => out.push('\n'),
            Some('t') => out.push('\t'),
            Some('r') => out.push('\r'),
            Some(other) => out.push(other),
            None => {}
        }
    }
    out
}

fn literal(text: &str) -> Option<Value> {
    for quote in ['"', '\''] {
        if let Some(inner) = text.strip_prefix(quote).and_then(|rest| rest.strip_suffix(quote)) {
            return Some(Value::String(unescape(inner)));
        }
    }
    match text {
        "true" => Some(Value::Bool(true)),
        "false" => Some(Value::Bool(false)),
        _ if text.starts_with(|c: char| c.is_ascii_digit() || c == '-' || c == '+') => serde_json::from_str(text).ok(),
        _ => None,
    }
}

fn steps(text: &str) -> Result<Vec<Step>, String> {
    if let Some(value) = literal(text) {
        return Ok(vec![Step::Literal(value)]);
    }
    let mut out = Vec::new();
    let mut rest = text.strip_prefix(['$', '@']).unwrap_or(text);
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix("..") {
            out.push(Step::Recursive);
            rest = after;
            if rest.starts_with('[') || rest.is_empty() {
                continue;
            }
            rest = field(rest, &mut out);
        } else if let Some(after) = rest.strip_prefix('.') {
            rest = if after.starts_with('[') { after } else { field(after, &mut out) };
        } else if rest.starts_with('[') {
            let end = bracket(rest).ok_or("unterminated array")?;
            out.push(subscript(rest[1..end].trim())?);
            rest = &rest[end + 1..];
        } else if rest.starts_with(|c: char| c.is_alphanumeric() || c == '_') && out.is_empty() {
            rest = field(rest, &mut out);
        } else {
            return Err(format!("unrecognized character in action: {:?}", rest.chars().next().unwrap_or(' ')));
        }
    }
    Ok(out)
}

fn field<'a>(rest: &'a str, out: &mut Vec<Step>) -> &'a str {
    let mut name = String::new();
    let mut chars = rest.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' => name.extend(chars.next().map(|(_, c)| c)),
            '.' | '[' => {
                push_field(name, out);
                return &rest[at..];
            }
            c => name.push(c),
        }
    }
    push_field(name, out);
    ""
}

fn push_field(name: String, out: &mut Vec<Step>) {
    match name.as_str() {
        "" => {}
        "*" => out.push(Step::Wildcard),
        _ => out.push(Step::Field(name)),
    }
}

/// The bracket that closes the one at the beginning.
fn bracket(text: &str) -> Option<usize> {
    let (mut depth, mut quote) = (0, None);
    for (at, c) in text.char_indices() {
        match (quote, c) {
            (Some(q), c) if c == q => quote = None,
            (None, '"' | '\'') => quote = Some(c),
            (None, '[') => depth += 1,
            (None, ']') => {
                depth -= 1;
                if depth == 0 {
                    return Some(at);
                }
            }
            _ => {}
        }
    }
    None
}

fn subscript(text: &str) -> Result<Step, String> {
    if text == "*" {
        return Ok(Step::Wildcard);
    }
    if let Some(condition) = text.strip_prefix("?(").and_then(|rest| rest.strip_suffix(')')) {
        return filter(condition.trim());
    }
    let parts: Vec<&str> = split_commas(text);
    if parts.len() > 1 {
        let all = parts.into_iter().map(|part| Ok(vec![subscript(part.trim())?])).collect::<Result<_, String>>()?;
        return Ok(Step::Union(all));
    }
    if let Some(Value::String(name)) = literal(text) {
        return Ok(Step::Field(name));
    }
    if text.contains(':') {
        let number = |part: Option<&str>| part.filter(|p| !p.is_empty()).and_then(|p| p.parse().ok());
        let mut parts = text.split(':');
        return Ok(Step::Slice(number(parts.next()), number(parts.next()), number(parts.next())));
    }
    if let Ok(index) = text.parse() {
        return Ok(Step::Index(index));
    }
    Err(format!("invalid array index {text}"))
}

fn split_commas(text: &str) -> Vec<&str> {
    let (mut parts, mut start, mut quote) = (Vec::new(), 0, None);
    for (at, c) in text.char_indices() {
        match (quote, c) {
            (Some(q), c) if c == q => quote = None,
            (None, '"' | '\'') => quote = Some(c),
            (None, ',') => {
                parts.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts
}

fn filter(text: &str) -> Result<Step, String> {
    let mut quote = None;
    for (at, c) in text.char_indices() {
        match (quote, c) {
            (Some(q), c) if c == q => quote = None,
            (None, '"' | '\'') => quote = Some(c),
            (None, _) => {
                for op in ["==", "!=", "<=", ">=", "<", ">"] {
                    if text[at..].starts_with(op) {
                        let (left, right) = (steps(text[..at].trim())?, steps(text[at + op.len()..].trim())?);
                        return Ok(Step::Filter(Box::new(Filter { left, op, right })));
                    }
                }
            }
            _ => {}
        }
    }
    Ok(Step::Filter(Box::new(Filter { left: steps(text)?, op: "exists", right: Vec::new() })))
}

fn walk(path: &[Step], mut values: Vec<Value>, root: &Value) -> Vec<Value> {
    for step in path {
        values = values.iter().flat_map(|value| take(step, value, root)).collect();
    }
    values
}

fn take(step: &Step, value: &Value, root: &Value) -> Vec<Value> {
    match (step, value) {
        (Step::Literal(literal), _) => vec![literal.clone()],
        (Step::Field(name), Value::Object(map)) => map.get(name).cloned().into_iter().collect(),
        (Step::Wildcard, Value::Array(items)) => items.clone(),
        (Step::Wildcard, Value::Object(map)) => map.values().cloned().collect(),
        (Step::Recursive, _) => {
            let mut all = vec![value.clone()];
            let children: Vec<&Value> = match value {
                Value::Array(items) => items.iter().collect(),
                Value::Object(map) => map.values().collect(),
                _ => Vec::new(),
            };
            all.extend(children.into_iter().flat_map(|child| take(step, child, root)));
            all
        }
        (Step::Index(index), Value::Array(items)) => {
            let at = if *index < 0 { items.len() as i64 + index } else { *index };
            usize::try_from(at).ok().and_then(|at| items.get(at)).cloned().into_iter().collect()
        }
        (Step::Slice(start, end, step), Value::Array(items)) => {
            let length = items.len() as i64;
            let clip = |at: i64| (if at < 0 { length + at } else { at }).clamp(0, length);
            let (start, end) = (clip(start.unwrap_or(0)), clip(end.unwrap_or(length)));
            let stride = usize::try_from(step.unwrap_or(1)).unwrap_or(1).max(1);
            (start..end).step_by(stride).filter_map(|at| items.get(at as usize)).cloned().collect()
        }
        (Step::Union(all), _) => all.iter().flat_map(|path| walk(path, vec![value.clone()], root)).collect(),
        (Step::Filter(filter), _) => {
            let items: Vec<&Value> = match value {
                Value::Array(items) => items.iter().collect(),
                Value::Object(map) => map.values().collect(),
                _ => Vec::new(),
            };
            items.into_iter().filter(|item| passes(filter, item, root)).cloned().collect()
        }
        _ => Vec::new(),
    }
}

fn passes(filter: &Filter, item: &Value, root: &Value) -> bool {
    let left = walk(&filter.left, vec![item.clone()], root);
    if filter.op == "exists" {
        return !left.is_empty();
    }
    let right = walk(&filter.right, vec![item.clone()], root);
    let (Some(left), Some(right)) = (left.first(), right.first()) else { return false };
    let order = match (left.as_f64(), right.as_f64()) {
        (Some(left), Some(right)) => left.partial_cmp(&right),
        _ => match (left.as_str(), right.as_str()) {
            (Some(left), Some(right)) => Some(left.cmp(right)),
            _ => (left == right).then_some(std::cmp::Ordering::Equal),
        },
    };
    match filter.op {
        "==" => order.is_some_and(|o| o.is_eq()),
        "!=" => !order.is_some_and(|o| o.is_eq()),
        "<" => order.is_some_and(|o| o.is_lt()),
        "<=" => order.is_some_and(|o| o.is_le()),
        ">" => order.is_some_and(|o| o.is_gt()),
        _ => order.is_some_and(|o| o.is_ge()),
    }
}

fn render(nodes: &[Node], value: &Value, root: &Value, out: &mut String) {
    for node in nodes {
        match node {
            Node::Text(text) => out.push_str(text),
            Node::Path(path) => {
                let found: Vec<String> = walk(path, vec![value.clone()], root).iter().map(text_of).collect();
                out.push_str(&found.join(" "));
            }
            Node::Range(path, body) => {
                for item in walk(path, vec![value.clone()], root) {
                    render(body, &item, root, out);
                }
            }
        }
    }
}

fn text_of(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => "null".to_owned(),
        Value::Array(_) | Value::Object(_) => crate::go::json(value),
        other => crate::go::print(other),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn templates() {
        let data = json!({
            "kind": "List",
            "items": [
                {"metadata": {"name": "a", "labels": {"app.io/x": "1"}}, "status": {"n": 3, "ready": true}, "ports": [80, 81, 82]},
                {"metadata": {"name": "b"}, "none": null, "large": 1e6, "status": {"n": 7, "ready": false}, "ports": [90]}],
        });
        for (template, expected) in [
            ("{.items[0].metadata.name}", "a"),
            ("{.items[*].metadata.name}", "a b"),
            ("{.items[-1].metadata.name}", "b"),
            ("{.items[0].ports[0:2]}", "80 81"),
            ("{.items[0].ports[:-1]}", "80 81"),
            ("{.items[0].ports[0,2]}", "80 82"),
            ("{.items[*]['metadata.name', 'status']}", r#"{"n":3,"ready":true} {"n":7,"ready":false}"#),
            ("{range .items[*]}{.metadata.name}={.status.n}{\"\\n\"}{end}", "a=3\nb=7\n"),
            ("{.items[?(@.status.n>5)].metadata.name}", "b"),
            ("{.items[?(@.metadata.name==\"a\")].ports}", "[80,81,82]"),
            ("{.items[?(@.status.ready==true)].metadata.name}", "a"),
            ("{.items[?(@.metadata.labels)].metadata.name}", "a"),
            (r"{.items[0].metadata.labels.app\.io/x}", "1"),
            ("{..name}", "a b"),
            ("{.kind} of {.items[1].missing}!", "List of !"),
            ("{.items[0].status}", r#"{"n":3,"ready":true}"#),
            ("{$.kind}", "List"),
            ("{.items[1].none}", "null"),
            ("{.items[1].large}", "1e+06"),
            ("{'x'}{\"\\t\"}", "x\t"),
        ] {
            let parsed = Template::parse(template).unwrap_or_else(|error| panic!("{template}: {error}"));
            assert_eq!(parsed.render(&data).unwrap(), expected, "{template}");
        }
        for bad in ["{.a", "{end}", "{range .x}", "{.items[x]}"] {
            assert!(Template::parse(bad).is_err(), "{bad}");
        }
    }
}
