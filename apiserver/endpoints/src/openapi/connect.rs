//! Paths whose answers are streams and not objects: logs, exec, attach, port-forward, proxies.

use api::schema::{self, Field, Shape};
use model::resource::{Resource, Subresource};
use serde_json::{Map, Value, json};

use super::paths::{Writer, capital, parameter, places};

/// Methods of a proxy: it passes on what it gets.
const EVERY: &[&str] = &["get", "put", "post", "delete", "options", "head", "patch"];

impl Writer<'_, '_> {
    pub(super) fn connect(&mut self, item: &str, row: &Resource, part: &Subresource, scope: &str) {
        let path = format!("{item}/{}", part.name);
        if part.name == "log" {
            return self.log(path, row, scope);
        }
        let proxy = part.name == "proxy";
        let methods = if proxy { EVERY } else { &["get", "post"] };
        let Some(ty) = schema::of(&part.kind) else { return };
        let options: Vec<Value> = ty.fields.iter().filter_map(option).collect();
        for with_path in [false, true] {
            if with_path && !proxy {
                continue;
            }
            let mut paths = Map::new();
            for method in methods {
                let suffix = if with_path { "WithPath" } else { "" };
                let name = capital(&part.name);
                let id = format!("connect{}{}{scope}{}{name}{suffix}", self.id(), capital(method), row.kind);
                let text = format!("connect {} requests to {} of {}", method.to_uppercase(), part.name, row.kind);
                let mut operation = self.operation(&part.kind, &id, text, "connect", &[]);
                bare(&mut operation, &["*/*"]);
                paths.insert((*method).into(), operation);
            }
            let mut parameters = places(Some(&part.kind.kind), row.namespaced);
            if with_path {
                let mut rest = parameter("path", "path", "string");
                rest["description"] = "path to the resource".into();
                parameters.push(rest);
            }
            parameters.extend(options.iter().cloned());
            self.finish(if with_path { format!("{path}/{{path}}") } else { path.clone() }, paths, parameters);
        }
    }

    fn log(&mut self, path: String, row: &Resource, scope: &str) {
        let Some(ty) = schema::named("core.v1", "PodLogOptions") else { return };
        let id = format!("read{}{scope}{}Log", self.id(), row.kind);
        let text = format!("read log of the specified {}", row.kind);
        let mut operation = self.operation(&row.kind(), &id, text, "get", &[]);
        bare(
            &mut operation,
            &["application/json", "application/vnd.kubernetes.protobuf", "application/yaml", "text/plain"],
        );
        let mut parameters = places(Some(&row.kind), row.namespaced);
        parameters.extend(ty.fields.iter().filter_map(option));
        parameters.push(parameter("pretty", "query", "string"));
        self.finish(path, [("get".into(), operation)].into_iter().collect(), parameters);
    }

    fn finish(&mut self, path: String, mut item: Map<String, Value>, mut parameters: Vec<Value>) {
        parameters.sort_by(|a, b| a["name"].as_str().cmp(&b["name"].as_str()));
        item.insert("parameters".into(), parameters.into());
        self.paths.insert(path, item.into());
    }
}

/// An operation whose answer is text, and which has no parameters of its own.
fn bare(operation: &mut Value, types: &[&str]) {
    let content: Map<String, Value> =
        types.iter().map(|t| ((*t).to_owned(), json!({"schema": {"type": "string"}}))).collect();
    operation["responses"] =
        json!({"200": {"description": "OK", "content": content}, "401": {"description": "Unauthorized"}});
    if let Some(map) = operation.as_object_mut() {
        map.remove("parameters");
    }
}

/// The parameter for a field of an options kind; times cannot be given.
fn option(field: &Field) -> Option<Value> {
    let ty = match field.shape {
        Shape::String(_) | Shape::List(Shape::String(_)) => "string",
        Shape::Int32(_) | Shape::Int64(_) | Shape::List(Shape::Int32(_)) => "integer",
        Shape::Bool => "boolean",
        _ => return None,
    };
    Some(parameter(field.name, "query", ty))
}
