//! `kubectl explain`: what a kind's fields are for, from the server's OpenAPI v3. The layout is upstream's
//! (`kubectl/pkg/explain/v2/templates/plaintext.tmpl`); its oddities, such as the blank line of spaces after a
//! description, are kept.

use std::fmt::Write;
use std::sync::Arc;

use serde_json::Value;

use super::Command;
use crate::{
    cli::{
        context::{Call, Context},
        failure::{Failure, Outcome},
        flags::{switch, value},
    },
    resource_builder::mapper::{Mapper, Resource},
};

mod wrap;
use wrap::wrap;

/// The table row.
pub const COMMAND: Command = Command {
    name: "explain",
    aliases: &[],
    flags: &[&[switch("recursive"), value("api-version"), value("output").short('o')]],
    sub: &[],
    run: super::action!(run),
};

async fn run(context: Context) -> Outcome {
    let flags = &context.flags;
    let asked = match flags.args.as_slice() {
        [] => {
            return Err(Failure::new(
                "You must specify the type of resource to explain. Use \"kubectl api-resources\" for a complete list of supported resources.\n",
            ));
        }
        [one] => one.trim_end_matches('.'),
        _ => return Err(Failure::new("We accept only this format: explain RESOURCE\n")),
    };
    match flags.or("output", "plaintext") {
        "plaintext" => {}
        other => return Err(Failure::new(format!("unrecognized format: {other}"))),
    }
    let mapper = context.mapper().await?;
    let (mut resource, fields) = split(&mapper, asked)?;
    if let Some(version) = flags.get("api-version") {
        let other = mapper.resources.iter().find(|r| r.api_version() == version && r.plural == resource.plural);
        let missing =
            || Failure::new(format!("couldn't find resource for \"{version}, Resource={}\"", resource.plural));
        resource = other.cloned().ok_or_else(missing)?;
    }
    let root = if resource.group.is_empty() { "api" } else { "apis" };
    let document = context.json(Call::get(format!("/openapi/v3/{root}/{}", resource.api_version()))).await?;
    let kind = serde_json::json!({"group": resource.group, "version": resource.version, "kind": resource.kind});
    let schemas = document["components"]["schemas"].as_object();
    let is = |s: &&Value| s["x-kubernetes-group-version-kind"].as_array().is_some_and(|k| k.contains(&kind));
    let schema = schemas.into_iter().flat_map(|s| s.values()).find(is);
    let Some(schema) = schema else {
        let message = format!("GVK map[group:{} kind:{} version:{}]", resource.group, resource.kind, resource.version);
        return Err(Failure::new(format!("{message} not found in OpenAPI schema")));
    };
    let mut out = String::new();
    if !resource.group.is_empty() {
        let _ = writeln!(out, "GROUP:      {}", resource.group);
    }
    let _ = write!(out, "KIND:       {}\nVERSION:    {}\n\n", resource.kind, resource.version);
    let explained = Explainer { document: &document, recursive: flags.is("recursive") }.output(schema, &fields, &[]);
    match explained {
        Some(text) => context.print(&(out + &text + "\n")),
        None => {
            context.print(&out)?;
            let field = fields.last().cloned().unwrap_or_default();
            Err(Failure::new(format!("field {field:?} does not exist")))
        }
    }
}

/// `pods.spec.containers`, `deployments.apps.spec`: the resource and the path of a field in it.
fn split(mapper: &Mapper, asked: &str) -> Outcome<(Arc<Resource>, Vec<String>)> {
    let (name, rest) = asked.split_once('.').unwrap_or((asked, ""));
    let missing = || Failure::plain(format!("the server doesn't have a resource type {name:?}"));
    let first = mapper.find(name).ok_or_else(missing)?;
    let fields = |text: &str| text.split('.').filter(|f| !f.is_empty()).map(str::to_owned).collect();
    let same = |r: &&Arc<Resource>| {
        r.plural == first.plural
            && asked.strip_prefix(&r.plural_group()).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    };
    let qualified = std::iter::once(&first).chain(mapper.resources.iter().filter(|r| r.preferred)).find(same);
    Ok(match qualified {
        Some(found) => (found.clone(), fields(&asked[found.plural_group().len()..])),
        None => (first, fields(rest)),
    })
}

struct Explainer<'a> {
    document: &'a Value,
    recursive: bool,
}

impl<'a> Explainer<'a> {
    /// A schema, or what it refers to; and the reference.
    fn resolved(&self, schema: &'a Value) -> (&'a Value, &'a str) {
        let reference = schema["$ref"].as_str().unwrap_or_default();
        let found = reference.strip_prefix('#').and_then(|pointer| self.document.pointer(pointer));
        (found.unwrap_or(schema), reference)
    }

    /// Follows the path, and explains what is at its end.
    fn output(&self, schema: &'a Value, path: &[String], seen: &[&str]) -> Option<String> {
        let (resolved, reference) = self.resolved(schema);
        let Some((first, rest)) = path.split_first() else {
            let mut description = String::new();
            self.description(resolved, &mut description);
            let description = if description.is_empty() { "<empty>" } else { &description };
            let mut out = format!("DESCRIPTION:\n{}\n", indent(4, &wrap(76, description)));
            let mut fields = String::new();
            self.fields(resolved, 1, &[], &mut fields);
            if !fields.is_empty() {
                let _ = write!(out, "FIELDS:\n{fields}");
            }
            return Some(out);
        };
        if !reference.is_empty() && seen.contains(&reference) {
            return None;
        }
        let seen: Vec<&str> = seen.iter().copied().chain([reference]).collect();
        if let Some(property) = resolved["properties"].get(first) {
            let mut out = String::new();
            if rest.is_empty() {
                let _ = writeln!(out, "FIELD: {first} <{}>", self.kind(property));
                out.push_str(&values(property, None));
                out.push_str("\n\n");
            }
            return self.output(property, rest, &[]).map(|text| out + &text);
        }
        if let Some(inner) = inner(resolved) {
            return self.output(inner, path, &seen);
        }
        resolved["allOf"].as_array().into_iter().flatten().find_map(|one| self.output(one, path, &seen))
    }

    fn description(&self, schema: &'a Value, out: &mut String) {
        let (resolved, _) = self.resolved(schema);
        if let Some(text) = resolved["description"].as_str().filter(|t| !t.is_empty()) {
            let _ = writeln!(out, "{text}");
        }
        for one in resolved["allOf"].as_array().into_iter().flatten() {
            self.description(one, out);
        }
        for inner in [&resolved["items"], &resolved["additionalProperties"]].into_iter().filter(|i| i.is_object()) {
            self.description(inner, out);
        }
    }

    fn fields(&self, schema: &'a Value, level: usize, seen: &[&str], out: &mut String) {
        let (resolved, reference) = self.resolved(schema);
        if !reference.is_empty() && seen.contains(&reference) {
            return;
        }
        let seen: Vec<&str> = seen.iter().copied().chain([reference]).collect();
        let required = resolved["required"].as_array();
        for (name, property) in resolved["properties"].as_object().into_iter().flatten() {
            let _ = write!(out, "{}{name}\t<{}>", " ".repeat(level * 2), self.kind(property));
            if required.is_some_and(|r| r.iter().any(|r| r == name)) {
                out.push_str(" -required-");
            }
            out.push_str(&values(property, Some(level * 2)));
            out.push('\n');
            if self.recursive {
                self.fields(property, level + 1, &seen, out);
            } else {
                let text = property["description"].as_str().unwrap_or("<no description>");
                let _ = write!(out, "{}\n\n", indent(level * 2 + 2, &wrap(78 - level * 2, text)));
            }
        }
        for one in resolved["allOf"].as_array().into_iter().flatten() {
            self.fields(one, level, &seen, out);
        }
        for inner in [&resolved["items"], &resolved["additionalProperties"]].into_iter().filter(|i| i.is_object()) {
            self.fields(inner, level, &seen, out);
        }
    }

    /// `string`, `[]Container`, `map[string]string`.
    fn kind(&self, schema: &'a Value) -> String {
        let own = || match schema["type"].as_str() {
            None | Some("object") => "Object".to_owned(),
            Some(name) => name.to_owned(),
        };
        if schema["items"].is_object() {
            return format!("[]{}", self.kind(&schema["items"]));
        }
        if schema["additionalProperties"].is_object() {
            return format!("map[string]{}", self.kind(&schema["additionalProperties"]));
        }
        match schema["allOf"].as_array().map(Vec::as_slice) {
            Some([one]) if schema.get("properties").is_none() => return self.kind(one),
            _ => {}
        }
        let (resolved, reference) = self.resolved(schema);
        match (reference, resolved["type"].as_str()) {
            ("", _) => own(),
            (_, Some(name)) if name != "object" => name.to_owned(),
            _ => reference.rsplit(['/', '.']).next().unwrap_or("Object").to_owned(),
        }
    }
}

/// The schema of a list's items or a map's values.
fn inner(schema: &Value) -> Option<&Value> {
    [&schema["items"], &schema["additionalProperties"]].into_iter().find(|inner| inner.is_object())
}

/// The values of an enumeration: all, one a line, or with `indented` the first four on one line.
fn values(schema: &Value, indented: Option<usize>) -> String {
    let Some(values) = schema["enum"].as_array() else { return String::new() };
    let texts = values.iter().map(|value| match value.as_str() {
        Some("") => "\"\"".to_owned(),
        Some(text) => text.to_owned(),
        None => value.to_string(),
    });
    match indented {
        None => texts.fold("ENUM:".to_owned(), |out, text| out + "\n    " + &text),
        Some(spaces) => {
            let more = if values.len() > 4 { ", ...." } else { "" };
            let shown = texts.take(4).collect::<Vec<_>>().join(", ");
            format!("\n{}enum: {shown}{more}", " ".repeat(spaces))
        }
    }
}

fn indent(spaces: usize, text: &str) -> String {
    let pad = " ".repeat(spaces);
    format!("{pad}{}", text.replace('\n', &format!("\n{pad}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_field_is_found_through_lists_and_references_and_cycles_end() {
        let document = json!({"components": {"schemas": {
            "a.Pod": {"type": "object", "properties": {
                "containers": {"type": "array", "description": "All.", "items": {"$ref": "#/components/schemas/a.C"}},
                "next": {"allOf": [{"$ref": "#/components/schemas/a.Pod"}], "description": "Again."},
            }},
            "a.C": {"type": "object", "description": "One.", "required": ["name"], "properties": {
                "name": {"type": "string", "description": "Its name."},
                "policy": {"type": "string", "enum": ["", "B", "C", "D", "E"]},
            }},
        }}});
        let schema = &document["components"]["schemas"]["a.Pod"];
        let explainer = Explainer { document: &document, recursive: false };
        let path = |text: &str| text.split('.').map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(
            explainer.output(schema, &path("containers.name"), &[]).unwrap(),
            "FIELD: name <string>\n\n\nDESCRIPTION:\n    Its name.\n    \n"
        );
        let list = explainer.output(schema, &path("next.next.containers"), &[]).unwrap();
        assert!(list.starts_with("FIELD: containers <[]C>\n\n\nDESCRIPTION:\n    All.\n    One.\n    \nFIELDS:\n"));
        assert!(list.contains(
            "  name\t<string> -required-\n    Its name.\n\n  policy\t<string>\n  enum: \"\", B, C, D, ....\n    <no"
        ));
        assert_eq!(explainer.output(schema, &path("containers.nope"), &[]), None);
        let mut all = String::new();
        Explainer { document: &document, recursive: true }.fields(schema, 1, &[], &mut all);
        assert!(all.lines().count() < 12, "{all}");
    }
}
