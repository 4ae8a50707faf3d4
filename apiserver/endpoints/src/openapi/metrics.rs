//! The document of `metrics.k8s.io`, whose types are not among the published ones of the built-in kinds: as metrics-server
//! publishes them (`k8s.io/metrics/pkg/apis/metrics/v1beta1`).

use model::descriptions::Texts;
use model::resource::Resource;
use serde_json::{Map, Value, json};
use writes::strategy::Kind;

use super::paths::{LIST, Writer};
use super::schemas::{self, META, Wanted};

const PACKAGE: &str = "io.k8s.metrics.pkg.apis.metrics.v1beta1";
const MEDIA: &[&str] = &["application/json", "application/yaml"];
const MEASURED: &str = "The following fields define time interval from which metrics were collected from the interval [Timestamp-Window, Timestamp].";

/// The paths and types of these resources.
pub(crate) fn document(group: &str, version: &str, rows: &[Kind], texts: &Texts) -> Value {
    let mut writer = Writer::new(group, version, Wanted::new(group, version, texts));
    writer.resources_document(&super::base(group, version));
    rows.iter().for_each(|row| writer.measured(row));
    super::whole(writer.paths.into(), writer.wanted)
}

impl Writer<'_, '_> {
    fn measured(&mut self, row: &Resource) {
        let base = super::base(&row.group, &row.version);
        let (scope, within) = if row.namespaced { ("Namespaced", "/namespaces/{namespace}") } else { ("", "") };
        let item = schema(row, &mut self.wanted);
        let list = list(row, &item, &mut self.wanted);
        let mut path = |path: &str, id: String, one: bool, namespaced: bool| {
            let (text, action, query, answer) = match one {
                true => (format!("read the specified {}", row.kind), "get", &[][..], &item),
                false => (format!("list objects of kind {}", row.kind), "list", LIST, &list),
            };
            let mut operation = self.operation(&row.kind(), &id, text, action, query);
            let content: Map<String, Value> =
                MEDIA.iter().map(|media| ((*media).to_owned(), json!({"schema": answer}))).collect();
            operation["responses"] = json!({
                "200": {"description": "OK", "content": content}, "401": {"description": "Unauthorized"},
            });
            self.path(path, vec![("get", operation)], namespaced, one.then_some(row.kind.as_ref()));
        };
        let (group, collection) = ("MetricsV1beta1", format!("{base}{within}/{}", row.resource));
        path(&collection, format!("list{group}{scope}{}", row.kind), false, row.namespaced);
        path(&format!("{collection}/{{name}}"), format!("read{group}{scope}{}", row.kind), true, row.namespaced);
        if row.namespaced {
            let id = format!("list{group}{}ForAllNamespaces", row.kind);
            path(&format!("{base}/{}", row.resource), id, false, false);
        }
    }
}

fn kinds(row: &Resource, kind: &str) -> Value {
    json!([{"group": row.group, "version": row.version, "kind": kind}])
}

fn usage(wanted: &mut Wanted) -> Value {
    let amount = wanted.refer_quantity();
    json!({
        "description": "The memory usage is the memory working set.",
        "type": "object", "additionalProperties": amount,
    })
}

fn schema(row: &Resource, wanted: &mut Wanted) -> Value {
    let time = wanted.refer_special(&format!("{META}.Time"), schemas::date_time);
    let duration = wanted.refer_special(&format!("{META}.Duration"), || json!({"type": "string"}));
    let mut properties: Map<String, Value> = wanted.type_meta().into_iter().collect();
    properties.insert("metadata".into(), json!({"allOf": [wanted.refer_named("ObjectMeta")], "default": {}}));
    properties.insert("timestamp".into(), json!({"description": MEASURED, "allOf": [time]}));
    properties.insert("window".into(), json!({"allOf": [duration], "default": 0}));
    let (text, own) = match row.kind.as_ref() {
        "PodMetrics" => {
            let used = usage(wanted);
            let container = wanted.refer_special(&format!("{PACKAGE}.ContainerMetrics"), || {
                let name = json!({
                    "description": "Container name corresponding to the one from pod.spec.containers.",
                    "type": "string", "default": "",
                });
                json!({
                    "description": "ContainerMetrics sets resource usage metrics of a container.",
                    "type": "object", "required": ["name", "usage"], "properties": {"name": name, "usage": used},
                })
            });
            let containers = json!({
                "description": "Metrics for all containers are collected within the same time window.",
                "type": "array", "items": {"allOf": [container], "default": {}},
            });
            properties.insert("containers".into(), containers);
            ("PodMetrics sets resource usage metrics of a pod.", "containers")
        }
        _ => {
            properties.insert("usage".into(), usage(wanted));
            ("NodeMetrics sets resource usage metrics of a node.", "usage")
        }
    };
    let kinds = kinds(row, &row.kind);
    wanted.refer_special(&format!("{PACKAGE}.{}", row.kind), || {
        json!({
            "description": text, "type": "object", "required": ["timestamp", "window", own],
            "properties": properties, "x-kubernetes-group-version-kind": kinds,
        })
    })
}

fn list(row: &Resource, item: &Value, wanted: &mut Wanted) -> Value {
    let metadata = wanted.refer_named("ListMeta");
    let mut properties: Map<String, Value> = wanted.type_meta().into_iter().collect();
    let text = "Standard list metadata. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#types-kinds";
    properties.insert("metadata".into(), json!({"description": text, "allOf": [metadata], "default": {}}));
    let what = if row.namespaced { "pod" } else { "node" };
    let text = format!("List of {what} metrics.");
    let items = json!({"description": text, "type": "array", "items": {"allOf": [item], "default": {}}});
    properties.insert("items".into(), items);
    let kinds = kinds(row, &row.list_kind);
    wanted.refer_special(&format!("{PACKAGE}.{}", row.list_kind), || {
        json!({
            "description": format!("{} is a list of {}.", row.list_kind, row.kind),
            "type": "object", "required": ["items"], "properties": properties, "x-kubernetes-group-version-kind": kinds,
        })
    })
}
