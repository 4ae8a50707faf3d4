//! Amounts of resources: read from objects, added up over a pod's containers as they run.

use std::collections::BTreeMap;

use machinery::json::Fields;
use machinery::quantity::Quantity;
use serde_json::Value;

/// Amounts by the names of resources.
pub type Amounts = BTreeMap<String, Quantity>;

/// The amounts of a field.
pub fn amounts(value: Option<&Value>) -> Amounts {
    let entries = value.and_then(Value::as_object).into_iter().flatten();
    entries.filter_map(|(name, value)| Some((name.clone(), Quantity::from_value(value)?))).collect()
}

/// Adds amounts.
pub fn add(to: &mut Amounts, more: &Amounts) {
    for (name, amount) in more {
        let sum = to.get(name).map_or_else(|| amount.clone(), |have| have.add(amount));
        to.insert(name.clone(), sum);
    }
}

/// Raises amounts to others.
fn raise(to: &mut Amounts, other: Amounts) {
    for (name, amount) in other {
        if to.get(&name).is_none_or(|have| amount > *have) {
            to.insert(name, amount);
        }
    }
}

/// What a pod's spec asks for at most, of `requests` or `limits`: its containers together, or at some moment of its
/// start; pod-level figures outrank both.
pub fn of_pod(pod: &Value, what: &str) -> Amounts {
    over_containers(pod, what, |container| amounts(container.sub("resources").sub(what)))
}

/// The same of a pod that may be on its way to other figures: the most of what its containers are asked to have, were
/// promised, and have. What can't be had counts for nothing.
pub fn of_running_pod(pod: &Value, what: &str) -> Amounts {
    let status = pod.sub("status");
    let pending = status.list("conditions").iter().find(|c| c.text("type") == "PodResizePending");
    let infeasible = pending.text("reason") == "Infeasible";
    let of = |container: &Value| {
        let wanted = amounts(container.sub("resources").sub(what));
        let mut statuses = status.list("containerStatuses").iter().chain(status.list("initContainerStatuses"));
        let named = statuses.rfind(|s| s.text("name") == container.text("name"));
        let Some(seen) = named.filter(|s| s.has("resources")) else { return wanted };
        let mut total = if infeasible { Amounts::new() } else { wanted };
        raise(&mut total, amounts(seen.sub("resources").sub(what)));
        if what == "requests" {
            raise(&mut total, amounts(seen.sub("allocatedResources")));
        }
        total
    };
    over_containers(pod, what, |container| {
        match container.text("restartPolicy") == "Always" || is_main(pod, container) {
            true => of(container),
            false => amounts(container.sub("resources").sub(what)),
        }
    })
}

fn is_main(pod: &Value, container: &Value) -> bool {
    pod.sub("spec").list("containers").iter().any(|c| c.text("name") == container.text("name"))
}

fn over_containers(pod: &Value, what: &str, of: impl Fn(&Value) -> Amounts) -> Amounts {
    let mut total = Amounts::new();
    pod.sub("spec").list("containers").iter().for_each(|c| add(&mut total, &of(c)));
    let (mut sidecars, mut start) = (Amounts::new(), Amounts::new());
    for container in pod.sub("spec").list("initContainers") {
        let mut now = of(container);
        if container.text("restartPolicy") == "Always" {
            add(&mut total, &now);
            add(&mut sidecars, &now);
            now = sidecars.clone();
        } else {
            add(&mut now, &sidecars);
        }
        raise(&mut start, now);
    }
    raise(&mut total, start);
    let pod_level = amounts(pod.at(&format!("/spec/resources/{what}")));
    let known = |name: &str| matches!(name, "cpu" | "memory") || name.starts_with("hugepages-");
    total.extend(pod_level.into_iter().filter(|(name, _)| known(name)));
    total
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn print(amounts: &Amounts) -> String {
        amounts.iter().map(|(name, amount)| format!("{name}={}", amount.canonical())).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn containers_run_together_and_init_containers_after_each_other() {
        let of = |cpu: &str| json!({"requests": {"cpu": cpu}});
        let check = |containers: &[&str], init: Value, pod_level: Value, want: &str| {
            let containers: Vec<Value> = containers.iter().map(|cpu| json!({"resources": of(cpu)})).collect();
            let spec = json!({"containers": containers, "initContainers": init, "resources": pod_level});
            assert_eq!(print(&of_pod(&json!({"spec": spec}), "requests")), want, "{spec}");
        };
        check(&["1", "500m"], json!([]), Value::Null, "cpu=1500m");
        check(&["1"], json!([{"resources": of("2")}, {"resources": of("1")}]), Value::Null, "cpu=2");
        let sidecar = json!([{"restartPolicy": "Always", "resources": of("1")}, {"resources": of("3")}]);
        check(&["1"], sidecar.clone(), Value::Null, "cpu=4");
        check(
            &["1"],
            sidecar,
            json!({"requests": {"cpu": "9", "hugepages-2Mi": "4Mi", "gpu": "1"}}),
            "cpu=9 hugepages-2Mi=4Mi",
        );
    }

    #[test]
    fn a_pod_that_is_resized_has_the_most_of_what_it_had_and_gets() {
        let check = |status: Value, requests: &str, limits: &str| {
            let resources = json!({"requests": {"cpu": "2"}, "limits": {"cpu": "3"}});
            let pod = json!({"spec": {"containers": [{"name": "c", "resources": resources}]}, "status": status});
            assert_eq!(print(&of_running_pod(&pod, "requests")), requests, "{pod}");
            assert_eq!(print(&of_running_pod(&pod, "limits")), limits, "{pod}");
        };
        check(Value::Null, "cpu=2", "cpu=3");
        check(json!({"containerStatuses": [{"name": "c"}]}), "cpu=2", "cpu=3");
        let had = json!({"requests": {"cpu": "4"}, "limits": {"cpu": "1"}});
        check(json!({"containerStatuses": [{"name": "c", "resources": had}]}), "cpu=4", "cpu=3");
        let promised = json!({"name": "c", "resources": had, "allocatedResources": {"cpu": "5"}});
        check(json!({"containerStatuses": [promised]}), "cpu=5", "cpu=3");
        let had = json!({"requests": {"cpu": "1"}, "limits": {"cpu": "1"}});
        let seen = json!([{"name": "c", "resources": had}]);
        let pending = |reason: &str| json!([{"type": "PodResizePending", "status": "True", "reason": reason}]);
        check(json!({"containerStatuses": seen, "conditions": pending("Infeasible")}), "cpu=1", "cpu=1");
        check(json!({"containerStatuses": seen, "conditions": pending("Deferred")}), "cpu=2", "cpu=3");
    }
}
