//! The quality of service class of a pod, which its creation fixes (`pkg/apis/core/v1/helper/qos`).

use std::collections::{BTreeMap, BTreeSet};

use machinery::json::Fields;
use machinery::quantity::Quantity;
use serde_json::Value;

const COMPUTE: [&str; 2] = ["cpu", "memory"];

/// `Guaranteed`, `Burstable` or `BestEffort`.
pub fn class(pod: &Value) -> &'static str {
    let spec = &pod["spec"];
    let mut requests: BTreeMap<&str, Quantity> = BTreeMap::new();
    let mut limits: BTreeMap<&str, Quantity> = BTreeMap::new();
    let mut guaranteed = true;
    let mut count = |resources: Option<&Value>| {
        let mut limited = BTreeSet::new();
        for (field, sums) in [("requests", &mut requests), ("limits", &mut limits)] {
            for (name, value) in resources.entries(field) {
                let Some(amount) = Quantity::from_value(value).filter(|q| q.sign() > 0) else { continue };
                let Some(name) = COMPUTE.into_iter().find(|c| *c == name) else { continue };
                if field == "limits" {
                    limited.insert(name);
                }
                let sum = sums.entry(name).or_insert_with(Quantity::zero);
                *sum = sum.add(&amount);
            }
        }
        guaranteed &= limited.len() == COMPUTE.len();
    };
    match spec.sub("resources").filter(|r| r.has("requests") || r.has("limits")) {
        // Resources of the pod as a whole decide alone.
        Some(resources) => count(Some(resources)),
        None => {
            for container in spec.list("containers").iter().chain(spec.list("initContainers")) {
                count(container.sub("resources"));
            }
        }
    }
    if requests.is_empty() && limits.is_empty() {
        return "BestEffort";
    }
    let equal = requests.iter().all(|(name, amount)| limits.get(name) == Some(amount));
    if guaranteed && equal && requests.len() == limits.len() { "Guaranteed" } else { "Burstable" }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn classes() {
        let pod = |containers: Value| json!({"spec": {"containers": containers}});
        let full = json!({"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "1000m", "memory": "1Gi"}});
        for (containers, want) in [
            (json!([{}]), "BestEffort"),
            (json!([{"resources": {"requests": {"cpu": "0"}}}]), "BestEffort"),
            (json!([{"resources": full}]), "Guaranteed"),
            (json!([{"resources": full}, {}]), "Burstable"),
            (
                json!([{"resources": {"limits": {"cpu": "1", "memory": "1"}, "requests": {"cpu": "1", "memory": "2"}}}]),
                "Burstable",
            ),
            (json!([{"resources": {"requests": {"cpu": "1"}}}]), "Burstable"),
            (json!([{"resources": {"limits": {"ephemeral-storage": "1"}}}]), "BestEffort"),
        ] {
            assert_eq!(class(&pod(containers.clone())), want, "{containers}");
        }
        let whole = json!({"spec": {"containers": [{}], "resources": full}});
        assert_eq!(class(&whole), "Guaranteed");
    }
}
