//! Objects with every field set, put into etcd as Ferry writes them: both servers read the same, in JSON and in protobuf.

use ::kinds::catalogue::rows;
use api::stored::{self, Form};
use http::Method;
use machinery::gvk::GroupVersionKind;
use model::resource::Sort;
use serde_json::Value;
use testkit::{Caller, filled};

use crate::upstream::{self, Upstream, differ, same};

const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";
const TEMPLATE_GENERATION: &str = "deprecated.daemonset.template.generation";
const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io";

/// Kinds whose objects a server acts on: with every field set to anything, upstream's would call, aggregate and define nonsense.
const ACTED_ON: &[&str] = &[
    "APIService",
    "CustomResourceDefinition",
    "FlowSchema",
    "MutatingAdmissionPolicy",
    "MutatingAdmissionPolicyBinding",
    "MutatingWebhookConfiguration",
    "PriorityLevelConfiguration",
    "ValidatingAdmissionPolicy",
    "ValidatingAdmissionPolicyBinding",
    "ValidatingWebhookConfiguration",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn objects_with_every_field_are_read_alike() -> anyhow::Result<()> {
    let Some((etcd, ferry)) = upstream::ferry().await? else { return Ok(()) };
    let other = Upstream::start(&etcd, &ferry).await?;
    let (ours, theirs) = (ferry.admin()?, other.admin()?);
    let mut failures = Vec::new();
    let mut read = 0;
    for row in rows() {
        let Sort::Stored { prefix } = &row.sort else { continue };
        if ACTED_ON.contains(&row.kind.as_ref()) {
            continue;
        }
        let storing = &row.storage_version;
        let version = row.stored_version.as_deref().unwrap_or(&storing.version);
        let kind = GroupVersionKind::new(storing.group.as_str(), version, storing.kind.as_str());
        let mut object = filled(storing).expect("a row has a schema");
        for member in ["resourceVersion", "selfLink"] {
            object["metadata"].as_object_mut().unwrap().remove(member);
        }
        possible(&mut object);
        let Some(bytes) = stored::write(&object, storing, &kind, Form::Protobuf) else { continue };
        let within = if row.namespaced { "namespaceValue/" } else { "" };
        etcd.put(&format!("/registry/{prefix}/{within}nameValue"), bytes).await?;
        // In each version that there is.
        let same_kind = rows().into_iter().filter(|other| other.group_resource() == row.group_resource());
        for served in same_kind {
            if (served.kind.as_ref(), served.version.as_ref()) == ("HorizontalPodAutoscaler", "v1") {
                // Of a metric of a type that there is not, this version has nothing to carry it in.
                continue;
            }
            let base = match served.group.is_empty() {
                true => format!("/api/{}", served.version),
                false => format!("/apis/{}/{}", served.group, served.version),
            };
            let within = if served.namespaced { "/namespaces/namespaceValue" } else { "" };
            let path = format!("{base}{within}/{}/nameValue", served.resource);
            read += 1;
            if let Err(why) = alike(&ours, &theirs, &path).await {
                failures.push(format!("{why:#}"));
            }
        }
    }
    println!("{read} objects were read");
    assert!(failures.is_empty(), "{}\n{}", failures.len(), failures.join("\n"));
    Ok(())
}

/// Makes an object one that a server could have stored: of fields that say the same in two ways, both say it, and selectors
/// select.
fn possible(object: &mut Value) {
    match object {
        Value::Object(map) => {
            if let Some(name) = map.get("serviceAccountName").cloned()
                && map.contains_key("containers")
            {
                map.insert("serviceAccount".into(), name);
            }
            if map.contains_key("operator") && map.contains_key("values") {
                map.insert("operator".into(), "In".into());
            }
            map.values_mut().for_each(possible);
        }
        Value::Array(list) => list.iter_mut().for_each(possible),
        _ => {}
    }
    if object.get("kind").is_some_and(|kind| kind == "DaemonSet") {
        object["metadata"]["annotations"][TEMPLATE_GENERATION] = "7".into();
    }
}

/// A table without what differs by itself: columns are not described here, and an annotation that upstream keeps as a field is
/// not in its rows.
fn comparable(table: &[u8]) -> anyhow::Result<Value> {
    let mut table: Value = serde_json::from_slice(table)?;
    if let Some(annotations) = table.pointer_mut("/rows/0/object/metadata/annotations").and_then(Value::as_object_mut) {
        annotations.remove(TEMPLATE_GENERATION);
    }
    for column in table["columnDefinitions"].as_array_mut().into_iter().flatten() {
        column["description"] = Value::Null;
    }
    Ok(table)
}

async fn alike(ours: &Caller, theirs: &Caller, path: &str) -> anyhow::Result<()> {
    same(ours, theirs, path).await?;
    for accept in ["application/json", PROTOBUF, TABLE, "application/yaml"] {
        let headers = [("accept", accept)];
        let a = ours.raw(Method::GET, path, &headers, Vec::new()).await?;
        let b = theirs.raw(Method::GET, path, &headers, Vec::new()).await?;
        if (a.code, a.bytes.as_slice()) == (b.code, b.bytes.as_slice()) {
            continue;
        }
        if accept == TABLE {
            let (a, b) = (comparable(&a.bytes)?, comparable(&b.bytes)?);
            let mut differences = Vec::new();
            differ(&a, &b, "", &mut differences);
            anyhow::ensure!(differences.is_empty(), "{path} as a table: {}", differences.join("; "));
            continue;
        }
        let at = a.bytes.iter().zip(&b.bytes).take_while(|(a, b)| a == b).count();
        let around = |bytes: &[u8]| {
            String::from_utf8_lossy(&bytes[at.saturating_sub(40).min(bytes.len())..bytes.len().min(at + 60)])
                .into_owned()
        };
        anyhow::bail!(
            "{path} as {accept}: {} {} here, {} {} there: {:?} / {:?}",
            a.code,
            a.bytes.len(),
            b.code,
            b.bytes.len(),
            around(&a.bytes),
            around(&b.bytes)
        );
    }
    Ok(())
}
