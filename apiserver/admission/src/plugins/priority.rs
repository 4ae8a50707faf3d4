//! Priority: a pod's priority is its class's, and nobody sets the number alone. Follows
//! `plugin/pkg/admission/priority`.

use std::sync::Arc;

use async_trait::async_trait;
use machinery::json::Fields;
use machinery::meta;
use machinery::status::StatusError;
use model::resources::PRIORITY_CLASSES;
use serde_json::Value;
use writes::admission::{Operation, Plugin, Request};

use super::forbidden;

/// See the module.
pub struct Priority;

#[async_trait]
impl Plugin for Priority {
    fn handles(&self, request: &Request<'_>) -> bool {
        request.writes() && (request.is_whole("", "pods") || request.is_whole("scheduling.k8s.io", "priorityclasses"))
    }

    async fn admit(&self, request: &Request<'_>, obj: &mut Value) -> Result<(), StatusError> {
        if !request.is("", "pods") {
            return Ok(());
        }
        if request.operation == Operation::Update {
            request.old.into_iter().for_each(|old| keep(obj, old));
            return Ok(());
        }
        let name = obj.sub("spec").text("priorityClassName");
        let class = if name.is_empty() {
            default(&request.registry.list(&PRIORITY_CLASSES, None))
        } else {
            let found = match request.registry.get(&PRIORITY_CLASSES, None, name) {
                Some(found) => Some(found),
                None => request.registry.get_consistent(&PRIORITY_CLASSES, None, name).await?,
            };
            match found {
                Some(found) => Some(found),
                None => return Err(forbidden(request, obj, format!("no PriorityClass with name {name} was found"))),
            }
        };
        set(obj, class.as_deref()).map_err(|why| forbidden(request, obj, why))
    }

    async fn validate(&self, request: &Request<'_>, obj: &Value) -> Result<(), StatusError> {
        if !request.is("scheduling.k8s.io", "priorityclasses") || obj["globalDefault"] != true {
            return Ok(());
        }
        let Some(other) = default(&request.registry.list(&PRIORITY_CLASSES, None)) else { return Ok(()) };
        let other = meta::name(&other);
        if request.creates() || other != meta::name(obj) {
            let why = format!("PriorityClass {other} is already marked as default. Only one default can exist");
            return Err(forbidden(request, obj, why));
        }
        Ok(())
    }
}

/// The default class; of several the one with the least value.
fn default(classes: &[Arc<Value>]) -> Option<Arc<Value>> {
    let defaults = classes.iter().filter(|c| c["globalDefault"] == true);
    defaults.min_by_key(|c| c["value"].as_i64().unwrap_or_default()).cloned()
}

/// An update that leaves the computed fields out keeps them.
fn keep(pod: &mut Value, old: &Value) {
    for field in ["priority", "preemptionPolicy"] {
        if let Some(value) = old["spec"].get(field)
            && pod["spec"].get(field).is_none_or(Value::is_null)
        {
            pod["spec"][field] = value.clone();
        }
    }
}

fn set(pod: &mut Value, class: Option<&Value>) -> Result<(), String> {
    let (name, value, policy) = match class {
        Some(class) => (meta::name(class), class["value"].as_i64().unwrap_or_default(), class.text("preemptionPolicy")),
        None => ("", 0, "PreemptLowerPriority"),
    };
    if let Some(given) = pod["spec"].get("priority").and_then(Value::as_i64)
        && given != value
    {
        return Err(format!(
            "the integer value of priority ({given}) must not be provided in pod spec; priority admission controller computed {value} from the given PriorityClass name"
        ));
    }
    let given = pod.sub("spec").text("preemptionPolicy");
    if !given.is_empty() && !policy.is_empty() && given != policy {
        return Err(format!(
            "the string value of PreemptionPolicy ({given}) must not be provided in pod spec; priority admission controller computed {policy} from the given PriorityClass name"
        ));
    }
    let spec = &mut pod["spec"];
    if !name.is_empty() {
        spec["priorityClassName"] = name.into();
    }
    spec["priority"] = value.into();
    if !policy.is_empty() {
        spec["preemptionPolicy"] = policy.into();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_pods_priority_is_its_classs() {
        let high = json!({"metadata": {"name": "high"}, "value": 1000, "preemptionPolicy": "Never"});
        for (spec, class, expect) in [
            (json!({}), None, Ok(json!({"priority": 0, "preemptionPolicy": "PreemptLowerPriority"}))),
            (
                json!({"priorityClassName": "high"}),
                Some(&high),
                Ok(json!({"priorityClassName": "high", "priority": 1000, "preemptionPolicy": "Never"})),
            ),
            (
                json!({"priority": 1000}),
                Some(&high),
                Ok(json!({"priorityClassName": "high", "priority": 1000, "preemptionPolicy": "Never"})),
            ),
            (
                json!({"priority": 5}),
                None,
                Err(
                    "the integer value of priority (5) must not be provided in pod spec; priority admission controller computed 0 from the given PriorityClass name",
                ),
            ),
            (
                json!({"preemptionPolicy": "PreemptLowerPriority"}),
                Some(&high),
                Err(
                    "the string value of PreemptionPolicy (PreemptLowerPriority) must not be provided in pod spec; priority admission controller computed Never from the given PriorityClass name",
                ),
            ),
        ] {
            let mut pod = json!({"spec": spec});
            let outcome = set(&mut pod, class);
            assert_eq!(outcome.map(|()| pod["spec"].clone()), expect.map_err(str::to_owned));
        }
    }

    #[test]
    fn the_least_default_counts() {
        let class = |name: &str, value: i64, default: bool| {
            Arc::new(json!({"metadata": {"name": name}, "value": value, "globalDefault": default}))
        };
        let classes = [class("a", 5, true), class("b", 3, true), class("c", 1, false)];
        assert_eq!(meta::name(&default(&classes).unwrap()), "b");
        assert_eq!(default(&classes[2..]), None);
    }
}
