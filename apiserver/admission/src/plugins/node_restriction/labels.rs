//! Which labels a kubelet may put on its node: its own facts, and names outside Kubernetes' domains; never those that
//! an administrator isolates nodes by.

use std::collections::BTreeSet;

use serde_json::Value;

const OWN: [&str; 11] = [
    "beta.kubernetes.io/arch",
    "beta.kubernetes.io/instance-type",
    "beta.kubernetes.io/os",
    "failure-domain.beta.kubernetes.io/region",
    "failure-domain.beta.kubernetes.io/zone",
    "kubernetes.io/arch",
    "kubernetes.io/hostname",
    "kubernetes.io/os",
    "node.kubernetes.io/instance-type",
    "topology.kubernetes.io/region",
    "topology.kubernetes.io/zone",
];
const OWN_DOMAINS: [&str; 2] = ["kubelet.kubernetes.io", "node.kubernetes.io"];
const RESTRICTED: &str = "node-restriction.kubernetes.io";

fn domain(label: &str) -> &str {
    label.split_once('/').map(|(domain, _)| domain).unwrap_or_default()
}

fn within(domain: &str, parent: &str) -> bool {
    domain.strip_suffix(parent).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

fn is_forbidden(label: &str) -> bool {
    let domain = domain(label);
    let kubernetes = within(domain, "kubernetes.io") || within(domain, "k8s.io");
    let own = OWN.contains(&label) || OWN_DOMAINS.iter().any(|own| within(domain, own));
    within(domain, RESTRICTED) || kubernetes && !own
}

/// The labels that differ and that a kubelet may not change, in order.
pub fn forbidden(new: &Value, old: &Value) -> Vec<String> {
    let keys =
        |labels: &Value| labels.as_object().map(|l| l.keys().cloned().collect::<BTreeSet<_>>()).unwrap_or_default();
    let differ = |key: &String| new.get(key) != old.get(key);
    keys(new).union(&keys(old)).filter(|key| differ(key) && is_forbidden(key)).cloned().collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn facts_yes_isolation_no() {
        for (label, expect) in [
            ("kubernetes.io/hostname", false),
            ("topology.kubernetes.io/zone", false),
            ("node.kubernetes.io/anything", false),
            ("x.kubelet.kubernetes.io/a", false),
            ("example.com/a", false),
            ("plain", false),
            ("node-role.kubernetes.io/control-plane", true),
            ("foo.k8s.io/a", true),
            ("kubernetes.io/other", true),
            ("node-restriction.kubernetes.io/a", true),
            ("sub.node-restriction.kubernetes.io/a", true),
            ("notkubernetes.io/a", false),
        ] {
            assert_eq!(is_forbidden(label), expect, "{label}");
        }
        let old = json!({"node-role.kubernetes.io/a": "", "kubernetes.io/x": "1"});
        assert_eq!(
            forbidden(&json!({"node-role.kubernetes.io/a": "", "kubernetes.io/x": "2"}), &old),
            ["kubernetes.io/x"]
        );
        assert_eq!(forbidden(&json!(null), &old), ["kubernetes.io/x", "node-role.kubernetes.io/a"]);
    }
}
