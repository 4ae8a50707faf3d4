//! Binding a pod to a node: the one write of the scheduler. Sets `spec.nodeName` once, and the PodScheduled condition.
//! Follows `pkg/registry/core/pod/storage/storage.go` (assignPod).

use async_trait::async_trait;
use kinds::conditions;
use machinery::json::Fields;
use machinery::meta;
use machinery::status::StatusError;
use model::options::{Ownership, Write};
use model::request_info::RequestInfo;
use serde_json::{Value, json};
use writes::strategy::WriteContext;

use crate::Server;
use crate::virtual_::Virtual;

/// `pods/binding` and `bindings`.
pub struct Binding;

#[async_trait]
impl Virtual for Binding {
    async fn serve(
        &self,
        _: &Server,
        cx: &WriteContext<'_>,
        info: &RequestInfo,
        body: Value,
    ) -> Result<Value, StatusError> {
        let target = &body["target"];
        let (kind, node) = (target.text("kind"), target.text("name").to_string());
        let name = if info.name.is_empty() { meta::name(&body).to_string() } else { info.name.clone() };
        if !matches!(kind, "" | "Node") {
            return Err(invalid(&name, "kind", kind, Some(&["Node", "<empty>"])));
        }
        if node.is_empty() {
            return Err(invalid(&name, "name", "", None));
        }
        let pods = machinery::gvk::GroupResource::new("", "pods");
        let row = cx.registry.rows().of(&pods).ok_or_else(StatusError::no_such_resource)?.clone();
        let pod_cx = WriteContext { resource: &row, subresource: Some("binding"), ..*cx };
        let conflict =
            |why: String| StatusError::conflict(&machinery::gvk::GroupResource::new("", "pods/binding"), &name, why);
        let mut bind = |old: &Value| {
            let uid = meta::uid(&body);
            if !uid.is_empty() && uid != meta::uid(old) {
                return Err(conflict(format!(
                    "Precondition failed: UID in precondition: {uid}, UID in object meta: {}",
                    meta::uid(old)
                )));
            }
            if meta::deletion_timestamp(old).is_some() {
                return Err(conflict(format!("pod {name} is being deleted, cannot be assigned to a host")));
            }
            match old["spec"]["nodeName"].as_str() {
                Some(there) if !there.is_empty() => {
                    return Err(conflict(format!("pod {name} is already assigned to node \"{there}\"")));
                }
                _ => {}
            }
            if old["spec"]["schedulingGates"].as_array().is_some_and(|gates| !gates.is_empty()) {
                return Err(conflict(format!("pod {name} has non-empty .spec.schedulingGates")));
            }
            let mut pod = old.clone();
            pod["spec"]["nodeName"] = node.as_str().into();
            if let Some(annotations) = meta::annotations(&body) {
                for (key, value) in annotations {
                    meta::set_annotation(&mut pod, key, value.as_str().unwrap_or_default());
                }
            }
            let mut scheduled = json!({ "type": "PodScheduled", "status": "True", "lastProbeTime": null });
            if meta::generation(&pod) > 0 {
                scheduled["observedGeneration"] = json!(meta::generation(&pod));
            }
            conditions::set(&mut pod["status"], scheduled, cx.now);
            Ok(pod)
        };
        let options = Write { dry_run: cx.dry_run, ownership: Ownership::AsGiven, ..Write::default() };
        writes::update::update(&pod_cx, &name, &options, &mut bind).await?;
        Ok(json!({ "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201 }))
    }
}

fn invalid(name: &str, field: &str, value: &str, supported: Option<&[&str]>) -> StatusError {
    use machinery::field::{Error, Path};
    let path = Path::new("target").child(field);
    let error = match supported {
        Some(supported) => Error::not_supported(&path, value, supported),
        None => Error::required(&path, ""),
    };
    StatusError::invalid(
        &machinery::gvk::GroupKind::new("", "Binding"),
        name,
        machinery::field::ErrorList::from_iter([error]),
    )
}
