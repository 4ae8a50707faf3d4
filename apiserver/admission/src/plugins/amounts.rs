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

/// What a pod needs at most: its containers together, or at some moment of its start; pod-level figures outrank both.
pub fn of_pod(pod: &Value, what: &str) -> Amounts {
    let of = |container: &Value| amounts(container.at(&format!("/resources/{what}")));
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
    total.extend(pod_level.into_iter().filter(|(name, _)| matches!(name.as_str(), "cpu" | "memory")));
    total
}
