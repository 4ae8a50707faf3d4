//! RuntimeClass: a pod of a class has its overhead and goes where it is installed.

use std::sync::Arc;

use async_trait::async_trait;
use machinery::json::Fields;
use machinery::status::StatusError;
use model::resources::RUNTIME_CLASSES;
use model::values::quoted;
use serde_json::{Map, Value};
use writes::admission::{Plugin, Request};

use super::{forbidden, list};

/// See the module.
pub struct RuntimeClass;

async fn class_of(request: &Request<'_>, pod: &Value) -> Result<Option<Arc<Value>>, StatusError> {
    let Some(name) = pod.at("/spec/runtimeClassName").and_then(Value::as_str) else { return Ok(None) };
    let found = match request.registry.get(&RUNTIME_CLASSES, None, name) {
        Some(found) => Some(found),
        None => request.registry.get_consistent(&RUNTIME_CLASSES, None, name).await?,
    };
    match found {
        Some(found) => Ok(Some(found)),
        None => Err(forbidden(request, pod, format!("pod rejected: RuntimeClass {} not found", quoted(name)))),
    }
}

fn overhead(class: Option<&Value>) -> Option<&Value> {
    class.at("/overhead/podFixed")
}

#[async_trait]
impl Plugin for RuntimeClass {
    fn handles(&self, request: &Request<'_>) -> bool {
        request.creates() && request.is_whole("", "pods")
    }

    async fn admit(&self, request: &Request<'_>, pod: &mut Value) -> Result<(), StatusError> {
        let Some(class) = class_of(request, pod).await? else { return Ok(()) };
        set(pod, &class).map_err(|why| forbidden(request, pod, why))
    }

    async fn validate(&self, request: &Request<'_>, pod: &Value) -> Result<(), StatusError> {
        let class = class_of(request, pod).await?;
        let has = pod.at("/spec/overhead");
        match (overhead(class.as_deref()), has) {
            (Some(wanted), has) if has != Some(wanted) => Err(forbidden(
                request,
                pod,
                "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead",
            )),
            (None, Some(_)) => Err(forbidden(
                request,
                pod,
                "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead",
            )),
            _ => Ok(()),
        }
    }
}

/// Overhead, node selector and tolerations of the class.
fn set(pod: &mut Value, class: &Value) -> Result<(), String> {
    if let Some(wanted) = overhead(Some(class)) {
        let has = pod.at("/spec/overhead").and_then(Value::as_object).filter(|o| !o.is_empty());
        if has.is_some() && has != wanted.as_object() {
            return Err("pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead".into());
        }
        pod["spec"]["overhead"] = wanted.clone();
    }
    let Some(scheduling) = class.get("scheduling") else { return Ok(()) };
    if let Some(selector) = scheduling.get("nodeSelector").and_then(Value::as_object) {
        let own = &mut pod["spec"]["nodeSelector"];
        if !own.is_object() {
            *own = Map::new().into();
        }
        for (key, value) in selector {
            if let Some(have) = own.get(key).filter(|have| *have != value) {
                let (class, pod) = (value.as_str().unwrap_or_default(), have.as_str().unwrap_or_default());
                return Err(format!(
                    "conflict: runtimeClass.scheduling.nodeSelector[{key}] = {class}; pod.spec.nodeSelector[{key}] = {pod}"
                ));
            }
            own[key] = value.clone();
        }
    }
    for toleration in scheduling.list("tolerations") {
        let same = |t: &Value| ["key", "operator", "value", "effect"].iter().all(|f| t.text(f) == toleration.text(f));
        if !pod.sub("spec").list("tolerations").iter().any(same) {
            list(&mut pod["spec"], "tolerations").push(toleration.clone());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_pod_gets_what_its_class_needs() {
        let class = json!({
            "overhead": {"podFixed": {"cpu": "1"}},
            "scheduling": {"nodeSelector": {"a": "b"}, "tolerations": [{"key": "k", "operator": "Exists"}]},
        });
        let mut pod = json!({"spec": {"tolerations": [{"key": "x"}]}});
        assert_eq!(set(&mut pod, &class), Ok(()));
        assert_eq!(
            pod["spec"],
            json!({"overhead": {"cpu": "1"}, "nodeSelector": {"a": "b"}, "tolerations": [{"key": "x"}, {"key": "k", "operator": "Exists"}]})
        );
        let mut other = json!({"spec": {"nodeSelector": {"a": "c"}}});
        assert_eq!(
            set(&mut other, &class).unwrap_err(),
            "conflict: runtimeClass.scheduling.nodeSelector[a] = b; pod.spec.nodeSelector[a] = c"
        );
        assert!(set(&mut json!({"spec": {"overhead": {"cpu": "2"}}}), &class).is_err());
    }
}
