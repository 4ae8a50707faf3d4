//! Structs of the API as upstream's messages show them. Upstream validates its internal types, which have no JSON names:
//! a fault of a whole struct prints it with Go's field names, in Go's order, with all that is not set. Types of meta/v1 are
//! the same inside and outside, and are printed as clients write them.

use machinery::go;
use serde_json::Value;

use crate::encode;
use crate::schema::{Field, Shape, Type};

/// A struct as upstream's internal type of that name prints it.
pub fn show(value: &Value, ty: &Type) -> String {
    if ty.package.alias == "meta.v1" {
        return String::from_utf8_lossy(&encode::to_vec(value, ty)).into_owned();
    }
    let mut out = String::from("{");
    for field in ty.fields {
        if out.len() > 1 {
            out.push(',');
        }
        out.push_str(&format!("\"{}\":{}", go_name(field.name), of_field(value.get(field.name), field)));
    }
    out.push('}');
    out
}

/// The same for a list of structs; a list that is not there is `null`.
pub fn show_list(value: Option<&Value>, ty: &Type) -> String {
    match value.and_then(Value::as_array) {
        None => "null".to_owned(),
        Some(items) => format!("[{}]", items.iter().map(|item| show(item, ty)).collect::<Vec<_>>().join(",")),
    }
}

/// JSON without spaces, as `json.MarshalIndent` writes it with one space a level.
pub fn indent(json: &str) -> String {
    let (mut out, mut depth, mut text, mut escaped) = (String::with_capacity(json.len() * 2), 0, false, false);
    let mut characters = json.chars().peekable();
    let newline = |out: &mut String, depth: usize| {
        out.push('\n');
        out.extend(std::iter::repeat_n(' ', depth));
    };
    while let Some(c) = characters.next() {
        if text {
            out.push(c);
            (escaped, text) = (c == '\\' && !escaped, escaped || c != '"');
            continue;
        }
        match c {
            '{' | '[' => {
                out.push(c);
                match characters.next_if(|next| matches!(next, '}' | ']')) {
                    Some(end) => out.push(end),
                    None => {
                        depth += 1;
                        newline(&mut out, depth);
                    }
                }
            }
            '}' | ']' => {
                depth -= 1;
                newline(&mut out, depth);
                out.push(c);
            }
            ',' => {
                out.push(c);
                newline(&mut out, depth);
            }
            ':' => out.push_str(": "),
            c => {
                text = c == '"';
                out.push(c);
            }
        }
    }
    out
}

fn of_field(value: Option<&Value>, field: &Field) -> String {
    match value.filter(|v| !v.is_null()) {
        None if field.pointer => "null".to_owned(),
        value => of_shape(value, &field.shape),
    }
}

fn of_shape(value: Option<&Value>, shape: &Shape) -> String {
    match (shape, value) {
        (Shape::Object(id), value) => show(value.unwrap_or(&Value::Null), id.get()),
        (Shape::List(item), Some(Value::Array(items))) => {
            format!("[{}]", items.iter().map(|v| of_shape(Some(v), item)).collect::<Vec<_>>().join(","))
        }
        (Shape::Map(item), Some(Value::Object(map))) => {
            let entries =
                map.iter().map(|(k, v)| format!("{}:{}", go::json(&Value::from(k.as_str())), of_shape(Some(v), item)));
            format!("{{{}}}", entries.collect::<Vec<_>>().join(","))
        }
        (_, Some(value)) => go::json(value),
        (shape, None) => zero(shape).to_owned(),
    }
}

fn zero(shape: &Shape) -> &'static str {
    match shape {
        Shape::String(_) => "\"\"",
        Shape::Int32(_) | Shape::Int64(_) | Shape::Double | Shape::IntOrString => "0",
        Shape::Bool => "false",
        Shape::Duration => "\"0s\"",
        Shape::Quantity => "\"0\"",
        _ => "null",
    }
}

/// The Go name of a field: `apiGroups` is `APIGroups`.
fn go_name(json: &str) -> String {
    const INITIALISMS: [&str; 13] =
        ["api", "ca", "cidr", "cidrs", "csi", "dns", "http", "id", "ip", "json", "tls", "uid", "url"];
    let first = json.find(|c: char| c.is_ascii_uppercase()).unwrap_or(json.len());
    let (word, rest) = json.split_at(first);
    if INITIALISMS.contains(&word) {
        let plural = word.strip_suffix('s').filter(|_| word == "cidrs");
        return match plural {
            Some(one) => format!("{}s{rest}", one.to_ascii_uppercase()),
            None => format!("{}{rest}", word.to_ascii_uppercase()),
        };
    }
    let mut letters = json.chars();
    letters.next().map(|c| c.to_ascii_uppercase().to_string() + letters.as_str()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::schema;

    #[test]
    fn json_is_indented_as_go_does() {
        assert_eq!(
            indent(r#"[{"a":"x\":{,","b":[],"c":{},"d":[1,2]}]"#),
            "[\n {\n  \"a\": \"x\\\":{,\",\n  \"b\": [],\n  \"c\": {},\n  \"d\": [\n   1,\n   2\n  ]\n }\n]"
        );
    }

    #[test]
    fn structs_are_shown_with_the_names_of_go_and_what_is_not_set() {
        let check = |package: &str, ty: &str, value: Value, want: &str| {
            let ty = schema::named(package, ty).expect("the table has the type");
            assert_eq!(show(&value, ty), want);
        };
        check("networking.v1", "ServiceCIDRSpec", json!({"cidrs": ["10.0.0.0/8"]}), r#"{"CIDRs":["10.0.0.0/8"]}"#);
        check(
            "networking.v1",
            "ParentReference",
            json!({"resource": "services", "name": "a<b"}),
            r#"{"Group":"","Resource":"services","Namespace":"","Name":"a\u003cb"}"#,
        );
        check(
            "flowcontrol.v1",
            "FlowSchemaSpec",
            json!({"priorityLevelConfiguration": {"name": "exempt"}, "matchingPrecedence": 1, "rules": [{
                "subjects": [{"kind": "Group", "group": {"name": "g"}}],
                "resourceRules": [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "clusterScope": true, "namespaces": []}],
            }]}),
            concat!(
                r#"{"PriorityLevelConfiguration":{"Name":"exempt"},"MatchingPrecedence":1,"DistinguisherMethod":null,"#,
                r#""Rules":[{"Subjects":[{"Kind":"Group","User":null,"Group":{"Name":"g"},"ServiceAccount":null}],"#,
                r#""ResourceRules":[{"Verbs":["*"],"APIGroups":["*"],"Resources":["*"],"ClusterScope":true,"Namespaces":[]}],"#,
                r#""NonResourceRules":null}]}"#
            ),
        );
        check("meta.v1", "LabelSelector", json!({"matchLabels": {"a": "b"}}), r#"{"matchLabels":{"a":"b"}}"#);
        assert_eq!(
            ["caBundle", "ipBlock", "nonResourceURLs", "url", "path"].map(go_name),
            ["CABundle", "IPBlock", "NonResourceURLs", "URL", "Path"]
        );
    }
}
