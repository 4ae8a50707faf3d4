//! The `paths` of a document: each resource's verbs, with the parameters and bodies that upstream's installer gives them
//! (`apiserver/pkg/endpoints/installer.go`). kubectl reads from it which kinds take `fieldValidation` and `dryRun`.

use api::schema::{self, Type};
use machinery::gvk::GroupVersionKind;
use model::resource::{Resource, Subresource, Verb};
use serde_json::{Map, Value, json};

use super::custom::Published;
use super::schemas::Wanted;

pub(super) const LIST: &[(&str, &str)] = &[
    ("allowWatchBookmarks", "boolean"),
    ("continue", "string"),
    ("fieldSelector", "string"),
    ("labelSelector", "string"),
    ("limit", "integer"),
    ("resourceVersion", "string"),
    ("resourceVersionMatch", "string"),
    ("sendInitialEvents", "boolean"),
    ("shardSelector", "string"),
    ("timeoutSeconds", "integer"),
    ("watch", "boolean"),
];
pub(super) const WRITE: &[(&str, &str)] =
    &[("dryRun", "string"), ("fieldManager", "string"), ("fieldValidation", "string")];
pub(super) const PATCH: &[(&str, &str)] =
    &[("dryRun", "string"), ("fieldManager", "string"), ("fieldValidation", "string"), ("force", "boolean")];
pub(super) const DELETE: &[(&str, &str)] = &[
    ("dryRun", "string"),
    ("gracePeriodSeconds", "integer"),
    ("ignoreStoreReadErrorWithClusterBreakingPotential", "boolean"),
    ("orphanDependents", "boolean"),
    ("propagationPolicy", "string"),
];

pub(super) type Operations = Vec<(&'static str, Value)>;

pub(super) fn paths<'t>(rows: &[&Resource], group: &str, version: &str, wanted: Wanted<'t>) -> (Value, Wanted<'t>) {
    let base = super::base(group, version);
    let mut writer = Writer::new(group, version, wanted);
    // Of custom resources alone upstream publishes what their builder makes.
    if rows.iter().any(|row| Published::of(row).is_none()) {
        writer.resources_document(&base);
    }
    for row in rows {
        writer.resource(&base, row);
    }
    (Value::Object(writer.paths), writer.wanted)
}

pub(super) struct Writer<'a, 't> {
    group: &'a str,
    version: &'a str,
    pub(super) wanted: Wanted<'t>,
    pub(super) paths: Map<String, Value>,
}

/// What an operation of a path answers with.
struct Answer {
    codes: &'static [(&'static str, &'static str)],
    streams: bool,
}

const OK: &[(&str, &str)] = &[("200", "OK")];
const CREATED: &[(&str, &str)] = &[("200", "OK"), ("201", "Created")];
const ACCEPTED: &[(&str, &str)] = &[("200", "OK"), ("202", "Accepted")];
const ANY: &[(&str, &str)] = &[("200", "OK"), ("201", "Created"), ("202", "Accepted")];

impl<'a, 't> Writer<'a, 't> {
    /// Of a group's version.
    pub(super) fn new(group: &'a str, version: &'a str, wanted: Wanted<'t>) -> Self {
        Self { group, version, wanted, paths: Map::new() }
    }
}

impl Writer<'_, '_> {
    pub(super) fn resources_document(&mut self, base: &str) {
        let list = schema::named("meta.v1", "APIResourceList").expect("the table has the kinds of discovery");
        let operation = json!({
            "tags": [self.tag()],
            "description": "get available resources",
            "operationId": format!("get{}APIResources", self.id()),
            "responses": self.responses(Some(list), &Answer { codes: OK, streams: false }),
        });
        self.paths.insert(format!("{base}/"), json!({"get": operation}));
    }

    fn tag(&self) -> String {
        format!("{}_{}", group_name(self.group).0, self.version)
    }

    /// `CoreV1`, `RbacAuthorizationV1`: part of an operation's id.
    pub(super) fn id(&self) -> String {
        format!("{}{}", group_name(self.group).1, capital(self.version))
    }

    fn resource(&mut self, base: &str, row: &Resource) {
        if let Some(published) = Published::of(row) {
            return self.custom(base, row, &published);
        }
        let scope = if row.namespaced { "Namespaced" } else { "" };
        let collection = if row.namespaced {
            format!("{base}/namespaces/{{namespace}}/{}", row.resource)
        } else {
            format!("{base}/{}", row.resource)
        };
        let item = format!("{collection}/{{name}}");
        let Some(ty) = schema::of(&row.kind()) else { return };
        let has = |verb| row.verbs.contains(&verb);

        let mut operations = Vec::new();
        if has(Verb::List) {
            operations.push(("get", self.list(row, &format!("list{}{scope}{}", self.id(), row.kind))));
        }
        if has(Verb::Create) {
            let id = format!("create{}{scope}{}", self.id(), row.kind);
            operations.push(("post", self.create(&row.kind(), ty, &id, format!("create {}", article(&row.kind)))));
        }
        if has(Verb::DeleteCollection) {
            operations.push(("delete", self.delete_collection(row, scope)));
        }
        self.path(&collection, operations, row.namespaced, None);

        let id = |verb: &str| format!("{verb}{}{scope}{}", self.id(), row.kind);
        let (read, replace, delete, patch) = (id("read"), id("replace"), id("delete"), id("patch"));
        let mut operations = Vec::new();
        let kind = row.kind();
        if has(Verb::Get) {
            operations.push(("get", self.read(&kind, ty, &read, format!("read the specified {}", row.kind))));
        }
        if has(Verb::Update) {
            operations.push(("put", self.replace(&kind, ty, &replace, format!("replace the specified {}", row.kind))));
        }
        if has(Verb::Delete) {
            operations.push(("delete", self.delete(row, ty, &delete)));
        }
        if has(Verb::Patch) {
            operations
                .push(("patch", self.patch(&kind, ty, &patch, format!("partially update the specified {}", row.kind))));
        }
        self.path(&item, operations, row.namespaced, Some(&row.kind));
        for part in &row.subresources {
            self.part(&item, row, part, scope);
        }
        self.watches(base, row, scope);
        if row.namespaced && has(Verb::List) {
            let list = self.list(row, &format!("list{}{}ForAllNamespaces", self.id(), row.kind));
            self.path(&format!("{base}/{}", row.resource), vec![("get", list)], false, None);
        }
    }

    fn part(&mut self, item: &str, row: &Resource, part: &Subresource, scope: &str) {
        let Some(ty) = schema::of(&part.kind) else { return };
        if part.kind.kind.ends_with("Options") || part.name == "log" {
            return self.connect(item, row, part, scope);
        }
        let suffix: String = capital(&part.name);
        let id = |verb: &str| format!("{verb}{}{scope}{}{suffix}", self.id(), row.kind);
        let (create, read, replace, patch) = (id("create"), id("read"), id("replace"), id("patch"));
        let mut operations = Vec::new();
        let of = format!("{} of the specified {}", part.name, row.kind);
        for verb in part.verbs {
            operations.push(match verb {
                Verb::Get => ("get", self.read(&part.kind, ty, &read, format!("read {of}"))),
                Verb::Update => ("put", self.replace(&part.kind, ty, &replace, format!("replace {of}"))),
                Verb::Patch => ("patch", self.patch(&part.kind, ty, &patch, format!("partially update {of}"))),
                Verb::Create => {
                    let text = format!("create {} of {}", part.name, article(&row.kind));
                    ("post", self.create(&part.kind, ty, &create, text))
                }
                _ => continue,
            });
        }
        let own = part.verbs.contains(&Verb::Create) || part.kind.kind == "Scale";
        let named = if own { &part.kind.kind } else { row.kind.as_ref() };
        self.path(&format!("{item}/{}", part.name), operations, row.namespaced, Some(named));
    }

    /// The old watch paths, which clients of today do not use.
    fn watches(&mut self, base: &str, row: &Resource, scope: &str) {
        if !row.verbs.contains(&Verb::Watch) {
            return;
        }
        let event = schema::named("meta.v1", "WatchEvent").expect("the table has WatchEvent");
        let within = if row.namespaced { "/namespaces/{namespace}" } else { "" };
        let all = format!("{base}/watch/{}", row.resource);
        let collection = format!("{base}/watch{within}/{}", row.resource);
        let kind = row.kind();
        let mut paths = vec![
            (
                collection.clone(),
                format!("watch{}{scope}{}List", self.id(), row.kind),
                "watchlist",
                row.namespaced,
                None,
            ),
            (
                format!("{collection}/{{name}}"),
                format!("watch{}{scope}{}", self.id(), row.kind),
                "watch",
                row.namespaced,
                Some(row.kind.as_ref()),
            ),
        ];
        if row.namespaced {
            paths.push((all, format!("watch{}{}ListForAllNamespaces", self.id(), row.kind), "watchlist", false, None));
        }
        for (path, id, action, namespaced, name) in paths {
            let text = match action {
                "watch" => format!(
                    "watch changes to an object of kind {}. deprecated: use the 'watch' parameter with a list operation instead, filtered to a single item with the 'fieldSelector' parameter.",
                    row.kind
                ),
                _ => format!(
                    "watch individual changes to a list of {}. deprecated: use the 'watch' parameter with a list operation instead.",
                    row.kind
                ),
            };
            let mut operation = self.operation(&kind, &id, text, action, LIST);
            operation["responses"] = self.responses(Some(event), &Answer { codes: OK, streams: true });
            self.path(&path, vec![("get", operation)], namespaced, name);
        }
    }

    pub(super) fn operation(
        &self,
        kind: &GroupVersionKind,
        id: &str,
        text: String,
        action: &str,
        query: &[(&str, &str)],
    ) -> Value {
        json!({
            "tags": [self.tag()],
            "description": text,
            "operationId": id,
            "parameters": query.iter().map(|(name, ty)| self.query(name, ty)).collect::<Vec<_>>(),
            "x-kubernetes-action": action,
            "x-kubernetes-group-version-kind": {"group": kind.group, "version": kind.version, "kind": kind.kind},
        })
    }

    /// A parameter of a query. Those of deletions, which can be sent as a body too, are described as its fields are.
    fn query(&self, name: &str, ty: &str) -> Value {
        let mut parameter = parameter(name, "query", ty);
        if let Some(text) = self.wanted.described_option(name) {
            parameter["description"] = text.into();
        }
        parameter
    }

    fn list(&mut self, row: &Resource, id: &str) -> Value {
        let streams = row.verbs.contains(&Verb::Watch);
        let text = format!("{} objects of kind {}", if streams { "list or watch" } else { "list" }, row.kind);
        let mut operation = self.operation(&row.kind(), id, text, "list", LIST);
        let list = schema::kind(&row.group, &row.version, &format!("{}List", row.kind));
        operation["responses"] = self.responses(list, &Answer { codes: OK, streams: true });
        operation
    }

    fn create(&mut self, kind: &GroupVersionKind, ty: &'static Type, id: &str, text: String) -> Value {
        let mut operation = self.operation(kind, id, text, "post", WRITE);
        operation["requestBody"] = self.body(ty, true);
        operation["responses"] = self.responses(Some(ty), &Answer { codes: ANY, streams: false });
        operation
    }

    fn read(&mut self, kind: &GroupVersionKind, ty: &'static Type, id: &str, text: String) -> Value {
        let mut operation = self.operation(kind, id, text, "get", &[]);
        operation["responses"] = self.responses(Some(ty), &Answer { codes: OK, streams: false });
        operation
    }

    fn replace(&mut self, kind: &GroupVersionKind, ty: &'static Type, id: &str, text: String) -> Value {
        let mut operation = self.operation(kind, id, text, "put", WRITE);
        operation["requestBody"] = self.body(ty, true);
        operation["responses"] = self.responses(Some(ty), &Answer { codes: CREATED, streams: false });
        operation
    }

    fn patch(&mut self, kind: &GroupVersionKind, ty: &'static Type, id: &str, text: String) -> Value {
        let mut operation = self.operation(kind, id, text, "patch", PATCH);
        let patch = self.wanted.refer_patch();
        let types = ["apply-patch+yaml", "json-patch+json", "merge-patch+json", "strategic-merge-patch+json"];
        let content: Map<String, Value> =
            types.iter().map(|t| (format!("application/{t}"), json!({"schema": patch}))).collect();
        operation["requestBody"] = json!({"content": content, "required": true});
        operation["responses"] = self.responses(Some(ty), &Answer { codes: CREATED, streams: false });
        operation
    }

    fn delete(&mut self, row: &Resource, ty: &'static Type, id: &str) -> Value {
        let mut operation = self.operation(&row.kind(), id, format!("delete {}", article(&row.kind)), "delete", DELETE);
        operation["requestBody"] = self.body(delete_options(), false);
        let answer = if row.returns_deleted { ty } else { status() };
        operation["responses"] = self.responses(Some(answer), &Answer { codes: ACCEPTED, streams: false });
        operation
    }

    fn delete_collection(&mut self, row: &Resource, scope: &str) -> Value {
        let id = format!("delete{}Collection{scope}{}", self.id(), row.kind);
        let listed = LIST.iter().filter(|(name, _)| !matches!(*name, "allowWatchBookmarks" | "watch"));
        let mut query: Vec<(&str, &str)> = listed.chain(DELETE).copied().collect();
        query.sort_unstable();
        let text = format!("delete collection of {}", row.kind);
        let mut operation = self.operation(&row.kind(), &id, text, "deletecollection", &query);
        operation["requestBody"] = self.body(delete_options(), false);
        operation["responses"] = self.responses(Some(status()), &Answer { codes: OK, streams: false });
        operation
    }

    fn body(&mut self, ty: &'static Type, required: bool) -> Value {
        let mut body = json!({"content": {"*/*": {"schema": self.wanted.refer(ty)}}});
        if required {
            body["required"] = true.into();
        }
        body
    }

    fn responses(&mut self, ty: Option<&'static Type>, answer: &Answer) -> Value {
        let schema = ty.map_or_else(|| json!({"type": "object"}), |ty| self.wanted.refer(ty));
        let mut types = vec!["application/json", "application/vnd.kubernetes.protobuf", "application/yaml"];
        if answer.streams {
            types.extend(["application/json;stream=watch", "application/vnd.kubernetes.protobuf;stream=watch"]);
        }
        let content: Map<String, Value> = types.iter().map(|t| ((*t).to_owned(), json!({"schema": schema}))).collect();
        let mut responses: Map<String, Value> = answer
            .codes
            .iter()
            .map(|(code, text)| ((*code).to_owned(), json!({"description": text, "content": content})))
            .collect();
        responses.insert("401".into(), json!({"description": "Unauthorized"}));
        Value::Object(responses)
    }

    /// Adds a path. Parameters that all its operations have are the path's.
    pub(super) fn path(&mut self, path: &str, operations: Operations, namespaced: bool, name: Option<&str>) {
        if operations.is_empty() {
            return;
        }
        let mut shared: Vec<Value> = parameters(&operations[0].1)
            .into_iter()
            .filter(|p| operations.iter().all(|(_, operation)| parameters(operation).contains(p)))
            .collect();
        let mut item = Map::new();
        for (method, mut operation) in operations {
            let own: Vec<Value> = parameters(&operation).into_iter().filter(|p| !shared.contains(p)).collect();
            match (operation.as_object_mut(), own.is_empty()) {
                (Some(map), true) => drop(map.remove("parameters")),
                (_, _) => operation["parameters"] = own.into(),
            }
            item.insert(method.into(), operation);
        }
        shared.extend(places(name, namespaced));
        shared.push(parameter("pretty", "query", "string"));
        shared.sort_by(|a, b| a["name"].as_str().cmp(&b["name"].as_str()));
        item.insert("parameters".into(), shared.into());
        self.paths.insert(path.into(), item.into());
    }
}

/// The parameters that a path itself has: the name of an object of that kind, the namespace.
pub(super) fn places(name: Option<&str>, namespaced: bool) -> Vec<Value> {
    let mut places = Vec::new();
    if let Some(kind) = name {
        let mut parameter = parameter("name", "path", "string");
        parameter["description"] = format!("name of the {kind}").into();
        places.push(parameter);
    }
    if namespaced {
        let mut parameter = parameter("namespace", "path", "string");
        parameter["description"] = "object name and auth scope, such as for teams and projects".into();
        places.push(parameter);
    }
    places
}

fn parameters(operation: &Value) -> Vec<Value> {
    operation["parameters"].as_array().cloned().unwrap_or_default()
}

pub(super) fn parameter(name: &str, place: &str, ty: &str) -> Value {
    let mut parameter = json!({"name": name, "in": place, "schema": {"type": ty, "uniqueItems": true}});
    if place == "path" {
        parameter["required"] = true.into();
    }
    parameter
}

/// A group as tags and as ids name it: `rbacAuthorization`, `RbacAuthorization`.
pub(super) fn group_name(group: &str) -> (String, String) {
    let name = if group.is_empty() { "core" } else { group.trim_end_matches(".k8s.io") };
    let id: String = name.split(|c: char| !c.is_ascii_alphanumeric()).map(capital).collect();
    let mut chars = id.chars();
    let first = chars.next().map(|c| c.to_ascii_lowercase()).into_iter();
    (first.chain(chars).collect(), id)
}

fn delete_options() -> &'static Type {
    schema::named("meta.v1", "DeleteOptions").expect("the table has DeleteOptions")
}

fn status() -> &'static Type {
    schema::named("meta.v1", "Status").expect("the table has Status")
}

pub(super) fn capital(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map(|c| c.to_ascii_uppercase()).into_iter().chain(chars).collect()
}

/// `a Pod`, `an Ingress`; plurals have none (`Endpoints`).
pub(super) fn article(kind: &str) -> String {
    if kind.ends_with('s') && !kind.ends_with("ss") {
        return kind.to_owned();
    }
    let vowel = kind.starts_with(['A', 'E', 'I', 'O', 'U']);
    format!("{} {kind}", if vowel { "an" } else { "a" })
}
