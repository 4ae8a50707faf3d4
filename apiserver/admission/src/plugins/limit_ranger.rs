//! LimitRanger: containers get a namespace's default requests and limits, and what is out of its bounds is refused.
//! Follows `plugin/pkg/admission/limitranger`.

use std::sync::Arc;

use access::authz::rbac::aggregate;
use async_trait::async_trait;
use machinery::json::Fields;
use machinery::quantity::Quantity;
use machinery::status::StatusError;
use model::resources::LIMIT_RANGES;
use serde_json::{Map, Value};
use usage::amounts::{Amounts, amounts, of_pod};
use writes::admission::{Operation, Plugin, Request};

use super::forbidden;

const ANNOTATION: &str = "kubernetes.io/limit-ranger";

/// See the module.
pub struct LimitRanger;

#[async_trait]
impl Plugin for LimitRanger {
    fn handles(&self, request: &Request<'_>) -> bool {
        let part = request.subresource.unwrap_or_default();
        let update = request.operation == Operation::Update;
        if request.is("", "pods") {
            return request.creates() && part.is_empty() || update && part == "resize";
        }
        request.writes() && request.is_whole("", "persistentvolumeclaims")
    }

    async fn admit(&self, request: &Request<'_>, obj: &mut Value) -> Result<(), StatusError> {
        if request.is("", "pods") {
            for range in ranges(request) {
                set_defaults(obj, &range);
            }
        }
        Ok(())
    }

    async fn validate(&self, request: &Request<'_>, obj: &Value) -> Result<(), StatusError> {
        for range in ranges(request) {
            let errors = if request.is("", "pods") { pod_faults(obj, &range) } else { claim_faults(obj, &range) };
            if !errors.is_empty() {
                return Err(forbidden(request, obj, aggregate(&errors)));
            }
        }
        Ok(())
    }
}

/// The namespace's limit ranges; none for an object that is going.
fn ranges(request: &Request<'_>) -> Vec<Arc<Value>> {
    if request.old.is_some_and(|old| machinery::meta::deletion_timestamp(old).is_some()) {
        return Vec::new();
    }
    request.registry.list(&LIMIT_RANGES, request.namespace)
}

/// Defaults for what containers leave open, noted in an annotation.
fn set_defaults(pod: &mut Value, range: &Value) {
    let (mut requests, mut limits) = (Map::new(), Map::new());
    for limit in range.sub("spec").list("limits").iter().filter(|l| l.text("type") == "Container") {
        requests.extend(limit.get("defaultRequest").and_then(Value::as_object).cloned().unwrap_or_default());
        limits.extend(limit.get("default").and_then(Value::as_object).cloned().unwrap_or_default());
    }
    let mut notes = Vec::new();
    for (sort, what) in [("containers", "container"), ("initContainers", "init container")] {
        for container in pod["spec"].get_mut(sort).and_then(Value::as_array_mut).into_iter().flatten() {
            let name = container.text("name").to_owned();
            for (kind, defaults, noun) in [("requests", &requests, "request"), ("limits", &limits, "limit")] {
                let set = fill(container, kind, defaults);
                if !set.is_empty() {
                    notes.push(format!("{} {noun} for {what} {name}", set.join(", ")));
                }
            }
        }
    }
    if !notes.is_empty() {
        let note = format!("LimitRanger plugin set: {}", notes.join("; "));
        machinery::meta::set_annotation(pod, ANNOTATION, &note);
    }
}

fn fill(container: &mut Value, kind: &str, defaults: &Map<String, Value>) -> Vec<String> {
    let mut set = Vec::new();
    for (name, value) in defaults {
        if container.at(&format!("/resources/{kind}")).and_then(|have| have.get(name)).is_none() {
            container["resources"][kind][name] = value.clone();
            set.push(name.clone());
        }
    }
    set
}

fn pod_faults(pod: &Value, range: &Value) -> Vec<String> {
    let mut errors = Vec::new();
    for limit in range.sub("spec").list("limits") {
        match limit.text("type") {
            "Container" => {
                for container in pod.sub("spec").list("containers").iter().chain(pod.sub("spec").list("initContainers"))
                {
                    let (requests, limits) =
                        (amounts(container.at("/resources/requests")), amounts(container.at("/resources/limits")));
                    errors.extend(faults(limit, "Container", &requests, &limits));
                }
            }
            "Pod" => errors.extend(faults(limit, "Pod", &of_pod(pod, "requests"), &of_pod(pod, "limits"))),
            _ => {}
        }
    }
    errors
}

fn claim_faults(claim: &Value, range: &Value) -> Vec<String> {
    const KIND: &str = "PersistentVolumeClaim";
    let requests = amounts(claim.at("/spec/resources/requests"));
    let mut errors = Vec::new();
    for limit in range.sub("spec").list("limits").iter().filter(|l| l.text("type") == KIND) {
        for (name, least) in amounts(limit.get("min")) {
            errors.extend(min(KIND, &name, &least, requests.get(&name), None));
        }
        for (name, most) in amounts(limit.get("max")) {
            errors.extend(match requests.get(&name) {
                None => Some(format!("maximum {name} usage per {KIND} is {most}.  No request is specified")),
                Some(has) if *has > most => {
                    Some(format!("maximum {name} usage per {KIND} is {most}, but request is {has}"))
                }
                Some(_) => None,
            });
        }
    }
    errors
}

fn faults(limit: &Value, kind: &str, requests: &Amounts, limits: &Amounts) -> Vec<String> {
    let mut errors = Vec::new();
    for (name, least) in amounts(limit.get("min")) {
        errors.extend(min(kind, &name, &least, requests.get(&name), limits.get(&name)));
    }
    for (name, most) in amounts(limit.get("max")) {
        errors.extend(max(kind, &name, &most, requests.get(&name), limits.get(&name)));
    }
    for (name, most) in amounts(limit.get("maxLimitRequestRatio")) {
        errors.extend(ratio(kind, &name, &most, requests.get(&name), limits.get(&name)));
    }
    errors
}

fn min(
    kind: &str,
    name: &str,
    least: &Quantity,
    request: Option<&Quantity>,
    limit: Option<&Quantity>,
) -> Option<String> {
    let bound = format!("minimum {name} usage per {kind} is {least}");
    match (request, limit) {
        (None, _) => Some(format!("{bound}.  No request is specified")),
        (Some(request), _) if request < least => Some(format!("{bound}, but request is {request}")),
        (_, Some(limit)) if limit < least => Some(format!("{bound}, but limit is {limit}")),
        _ => None,
    }
}

fn max(
    kind: &str,
    name: &str,
    most: &Quantity,
    request: Option<&Quantity>,
    limit: Option<&Quantity>,
) -> Option<String> {
    let bound = format!("maximum {name} usage per {kind} is {most}");
    match (request, limit) {
        (_, None) => Some(format!("{bound}.  No limit is specified")),
        (_, Some(limit)) if limit > most => Some(format!("{bound}, but limit is {limit}")),
        (Some(request), _) if request > most => Some(format!("{bound}, but request is {request}")),
        _ => None,
    }
}

fn ratio(
    kind: &str,
    name: &str,
    most: &Quantity,
    request: Option<&Quantity>,
    limit: Option<&Quantity>,
) -> Option<String> {
    let bound = format!("{name} max limit to request ratio per {kind} is {most}");
    let Some(request) = request.filter(|r| !r.is_zero()) else {
        return Some(format!("{bound}, but no request is specified or request is 0"));
    };
    let Some(limit) = limit.filter(|l| !l.is_zero()) else {
        return Some(format!("{bound}, but no limit is specified or limit is 0"));
    };
    let observed = limit.as_f64() / request.as_f64();
    (observed > most.as_f64()).then(|| format!("{bound}, but provided ratio is {observed:.6}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn defaults_are_filled_in_and_noted() {
        let range = json!({"spec": {"limits": [{"type": "Container", "default": {"cpu": "500m", "memory": "1Gi"}, "defaultRequest": {"cpu": "100m"}}]}});
        let mut pod = json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "a", "resources": {"limits": {"cpu": "1"}}}], "initContainers": [{"name": "i"}]}});
        set_defaults(&mut pod, &range);
        assert_eq!(
            pod.at("/spec/containers/0/resources"),
            Some(&json!({"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "100m"}}))
        );
        assert_eq!(
            pod["metadata"]["annotations"][ANNOTATION],
            "LimitRanger plugin set: cpu request for container a; memory limit for container a; cpu request for init container i; cpu, memory limit for init container i"
        );
    }

    #[test]
    fn what_is_out_of_bounds_says_so() {
        let range = |limit: Value| json!({"spec": {"limits": [limit]}});
        let pod = json!({"spec": {"containers": [{"resources": {"requests": {"cpu": "100m"}, "limits": {"cpu": "1"}}}, {"resources": {"requests": {"cpu": "1"}, "limits": {"cpu": "1"}}}]}});
        for (limit, expect) in [
            (
                json!({"type": "Container", "min": {"cpu": "200m"}}),
                "minimum cpu usage per Container is 200m, but request is 100m",
            ),
            (
                json!({"type": "Container", "max": {"memory": "1Gi"}}),
                "maximum memory usage per Container is 1Gi.  No limit is specified",
            ),
            (
                json!({"type": "Container", "maxLimitRequestRatio": {"cpu": "4"}}),
                "cpu max limit to request ratio per Container is 4, but provided ratio is 10.000000",
            ),
            (json!({"type": "Pod", "max": {"cpu": "1"}}), "maximum cpu usage per Pod is 1, but limit is 2"),
            (json!({"type": "Pod", "max": {"cpu": "2"}, "min": {"cpu": "1"}}), ""),
        ] {
            let errors = pod_faults(&pod, &range(limit.clone()));
            assert_eq!(if errors.is_empty() { String::new() } else { aggregate(&errors) }, expect, "{limit}");
        }
        let claim = json!({"spec": {"resources": {"requests": {"storage": "1Gi"}}}});
        let errors = claim_faults(
            &claim,
            &range(json!({"type": "PersistentVolumeClaim", "min": {"storage": "2Gi"}, "max": {"storage": "500Mi"}})),
        );
        assert_eq!(
            errors,
            [
                "minimum storage usage per PersistentVolumeClaim is 2Gi, but request is 1Gi",
                "maximum storage usage per PersistentVolumeClaim is 500Mi, but request is 1Gi"
            ]
        );
    }
}
