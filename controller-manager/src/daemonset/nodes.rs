//! Which nodes a DaemonSet wants a pod on, and the pod that it wants there.
//!
//! The pod is not bound to its node here: an affinity for that one node makes the scheduler do it.

use k8s_openapi::api::{
    apps::v1::DaemonSet,
    core::v1::{
        Affinity, Node, NodeAffinity, NodeSelector, NodeSelectorRequirement, NodeSelectorTerm, Pod, PodSpec,
        PodTemplateSpec, Toleration,
    },
};

use crate::util::{history::REVISION_LABEL, key, node_affinity::Required, pods, taints};

const GENERATION_ANNOTATION: &str = "deprecated.daemonset.template.generation";
const GENERATION_LABEL: &str = "pod-template-generation";
const NAME_FIELD: &str = "metadata.name";

/// What daemon pods tolerate beside what their template says: troubles of the node.
const TOLERATED: [(&str, &str); 6] = [
    ("node.kubernetes.io/not-ready", "NoExecute"),
    ("node.kubernetes.io/unreachable", "NoExecute"),
    ("node.kubernetes.io/disk-pressure", "NoSchedule"),
    ("node.kubernetes.io/memory-pressure", "NoSchedule"),
    ("node.kubernetes.io/pid-pressure", "NoSchedule"),
    ("node.kubernetes.io/unschedulable", "NoSchedule"),
];
/// What those on the host's network tolerate too.
const TOLERATED_ON_HOST_NETWORK: (&str, &str) = ("node.kubernetes.io/network-unavailable", "NoSchedule");

/// What a node means to a DaemonSet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fit {
    /// A pod is wanted there.
    pub(crate) run: bool,
    /// A pod that is there may stay.
    pub(crate) keep: bool,
}

/// What a DaemonSet demands of nodes, read once and asked of many.
pub(crate) struct Demands {
    node: Option<String>,
    required: Required,
    tolerations: Vec<Toleration>,
}

impl Demands {
    pub(crate) fn of(set: &DaemonSet) -> Self {
        let spec = set.spec.as_ref().and_then(|s| s.template.spec.as_ref());
        Self {
            node: spec.and_then(|s| s.node_name.clone()).filter(|n| !n.is_empty()),
            required: spec.map(Required::of).unwrap_or_default(),
            tolerations: spec.map(tolerations).unwrap_or_default(),
        }
    }

    /// The checks of the scheduler that hold whatever else runs on the node.
    pub(crate) fn fit(&self, node: &Node) -> Fit {
        let named = self.node.as_deref().is_none_or(|name| name == key::name(&node.metadata));
        if !named || !self.required.admits(node) {
            return Fit { run: false, keep: false };
        }
        let taints = node.spec.as_ref().and_then(|s| s.taints.as_deref()).unwrap_or_default();
        let keep = taints::all_tolerated(&self.tolerations, taints, &["NoExecute"]);
        Fit { run: keep && taints::all_tolerated(&self.tolerations, taints, &["NoSchedule"]), keep }
    }
}

/// The template's tolerations with those of all daemon pods, which take the place of equal ones that end.
fn tolerations(spec: &PodSpec) -> Vec<Toleration> {
    let mut tolerations = spec.tolerations.clone().unwrap_or_default();
    let on_host_network = spec.host_network.unwrap_or(false).then_some(TOLERATED_ON_HOST_NETWORK);
    for (key, effect) in TOLERATED.into_iter().chain(on_host_network) {
        let wanted = Toleration {
            key: Some(key.into()),
            operator: Some("Exists".into()),
            effect: Some(effect.into()),
            ..Default::default()
        };
        let equal = |t: &&mut Toleration| Toleration { toleration_seconds: None, ..(**t).clone() } == wanted;
        let mut found = false;
        for t in tolerations.iter_mut().filter(equal) {
            *t = wanted.clone();
            found = true;
        }
        if !found {
            tolerations.push(wanted);
        }
    }
    tolerations
}

/// The number that older controllers counted templates by; nothing if there is none or it is none.
pub(crate) fn template_generation(set: &DaemonSet) -> Option<i64> {
    set.metadata.annotations.as_ref()?.get(GENERATION_ANNOTATION)?.parse().ok()
}

/// Whether a pod was made of the template of that hash or generation.
pub(crate) fn is_updated(pod: &Pod, hash: &str, generation: Option<i64>) -> bool {
    let label = |name: &str| pod.metadata.labels.as_ref().and_then(|l| l.get(name));
    let same_hash = !hash.is_empty() && label(REVISION_LABEL).is_some_and(|h| h == hash);
    same_hash || generation.is_some_and(|g| label(GENERATION_LABEL) == Some(&g.to_string()))
}

/// The template of the pods of the present revision, of whatever node.
pub(crate) fn pod_template(set: &DaemonSet, hash: &str) -> PodTemplateSpec {
    let mut template = set.spec.as_ref().map(|s| s.template.clone()).unwrap_or_default();
    let spec = template.spec.get_or_insert_default();
    spec.tolerations = Some(tolerations(spec));
    let labels = template.metadata.get_or_insert_default().labels.get_or_insert_default();
    if let Some(generation) = template_generation(set) {
        labels.insert(GENERATION_LABEL.into(), generation.to_string());
    }
    if !hash.is_empty() {
        labels.insert(REVISION_LABEL.into(), hash.to_owned());
    }
    template
}

/// Makes a pod one for that node alone. What its required affinity said the node has been asked already.
pub(crate) fn pin(pod: &mut Pod, node: &str) {
    let field =
        NodeSelectorRequirement { key: NAME_FIELD.into(), operator: "In".into(), values: Some(vec![node.to_owned()]) };
    let term = NodeSelectorTerm { match_fields: Some(vec![field]), match_expressions: None };
    let affinity: &mut Affinity = pod.spec.get_or_insert_default().affinity.get_or_insert_default();
    let affinity: &mut NodeAffinity = affinity.node_affinity.get_or_insert_default();
    affinity.required_during_scheduling_ignored_during_execution =
        Some(NodeSelector { node_selector_terms: vec![term] });
}

/// The node that a pod runs on, or that it was made for.
pub(crate) fn target(pod: &Pod) -> Option<&str> {
    let bound = pods::node_name(pod);
    if !bound.is_empty() {
        return Some(bound);
    }
    let affinity = pod.spec.as_ref()?.affinity.as_ref()?.node_affinity.as_ref()?;
    let terms = &affinity.required_during_scheduling_ignored_during_execution.as_ref()?.node_selector_terms;
    let fields = terms.iter().flat_map(|t| t.match_fields.iter().flatten());
    let named = fields.into_iter().find(|f| f.key == NAME_FIELD && f.operator == "In")?;
    match named.values.as_deref().unwrap_or_default() {
        [only] => Some(only),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn set(spec: Value) -> DaemonSet {
        let template = json!({"metadata": {"labels": {"app": "d"}}, "spec": spec});
        serde_json::from_value(json!({
            "metadata": {"name": "d", "annotations": {"deprecated.daemonset.template.generation": "3"}},
            "spec": {"selector": {}, "template": template},
        }))
        .unwrap()
    }

    #[test]
    fn a_node_is_asked_for_its_name_labels_and_taints() {
        let (yes, stay, no) =
            (Fit { run: true, keep: true }, Fit { run: false, keep: true }, Fit { run: false, keep: false });
        let taint = |key: &str, effect: &str| json!([{"key": key, "effect": effect}]);
        let tolerant = json!([{"key": "k", "operator": "Exists"}]);
        let on = |name: &str| {
            json!({"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [
                {"matchFields": [{"key": "metadata.name", "operator": "In", "values": [name]}]},
            ]}})
        };
        for (spec, taints, want) in [
            (json!({}), json!([]), yes),
            (json!({"nodeName": "n"}), json!([]), yes),
            (json!({"nodeName": "other"}), json!([]), no),
            (json!({"nodeSelector": {"zone": "a"}}), json!([]), yes),
            (json!({"nodeSelector": {"zone": "b"}}), json!([]), no),
            (json!({"nodeName": "n", "nodeSelector": {"zone": "b"}}), json!([]), no),
            (json!({"affinity": {"nodeAffinity": on("n")}}), json!([]), yes),
            (json!({"affinity": {"nodeAffinity": on("other")}}), json!([]), no),
            (json!({}), taint("k", "NoSchedule"), stay),
            (json!({}), taint("k", "NoExecute"), no),
            (json!({}), taint("k", "PreferNoSchedule"), yes),
            (json!({"tolerations": tolerant}), taint("k", "NoSchedule"), yes),
            (json!({"tolerations": tolerant}), taint("k", "NoExecute"), yes),
            (json!({}), taint("node.kubernetes.io/not-ready", "NoExecute"), yes),
            (json!({}), taint("node.kubernetes.io/unreachable", "NoExecute"), yes),
            (json!({}), taint("node.kubernetes.io/unreachable", "NoSchedule"), stay),
            (json!({}), taint("node.kubernetes.io/unschedulable", "NoSchedule"), yes),
            (json!({}), taint("node.kubernetes.io/disk-pressure", "NoSchedule"), yes),
            (json!({}), taint("node.kubernetes.io/memory-pressure", "NoSchedule"), yes),
            (json!({}), taint("node.kubernetes.io/pid-pressure", "NoSchedule"), yes),
            (json!({}), taint("node.kubernetes.io/network-unavailable", "NoSchedule"), stay),
            (json!({"hostNetwork": true}), taint("node.kubernetes.io/network-unavailable", "NoSchedule"), yes),
        ] {
            let node: Node = serde_json::from_value(json!({
                "metadata": {"name": "n", "labels": {"zone": "a"}}, "spec": {"taints": taints},
            }))
            .unwrap();
            let mut spec = spec;
            spec["containers"] = json!([]);
            assert_eq!(Demands::of(&set(spec.clone())).fit(&node), want, "{spec} {taints}");
        }
    }

    #[test]
    fn tolerations_that_end_are_replaced_by_those_that_do_not() {
        let own = json!([
            {"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 30},
            {"key": "mine", "operator": "Exists"},
        ]);
        let template = pod_template(&set(json!({"containers": [], "tolerations": own})), "h");
        let tolerations = template.spec.unwrap().tolerations.unwrap();
        let keys: Vec<_> = tolerations.iter().map(|t| t.key.as_deref().unwrap_or_default()).collect();
        let expected =
            ["not-ready", "mine", "unreachable", "disk-pressure", "memory-pressure", "pid-pressure", "unschedulable"];
        assert!(keys.iter().zip(expected).all(|(k, e)| k.ends_with(e)) && keys.len() == expected.len(), "{keys:?}");
        assert!(tolerations.iter().all(|t| t.toleration_seconds.is_none()));
        let labels = template.metadata.unwrap().labels.unwrap();
        let expected = [("app", "d"), ("controller-revision-hash", "h"), ("pod-template-generation", "3")];
        assert_eq!(labels, expected.map(|(k, v)| (k.to_owned(), v.to_owned())).into());
    }

    #[test]
    fn a_pod_is_for_one_node_and_keeps_its_preferences() {
        let preferred =
            json!([{"weight": 1, "preference": {"matchExpressions": [{"key": "k", "operator": "Exists"}]}}]);
        let term = json!({"matchExpressions": [{"key": "zone", "operator": "Exists"}]});
        let affinity = json!({
            "podAntiAffinity": {},
            "nodeAffinity": {
                "preferredDuringSchedulingIgnoredDuringExecution": preferred,
                "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term, term]},
            },
        });
        for (before, after) in [(Value::Null, json!({"nodeAffinity": {}})), (affinity.clone(), affinity)] {
            let mut pod: Pod = serde_json::from_value(json!({"spec": {"containers": [], "affinity": before}})).unwrap();
            assert_eq!(target(&pod), None);
            pin(&mut pod, "n1");
            assert_eq!(target(&pod), Some("n1"));
            let mut wanted = after;
            wanted["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"] = json!({"nodeSelectorTerms": [
                {"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n1"]}]},
            ]});
            assert_eq!(serde_json::to_value(pod.spec.as_ref().unwrap().affinity.as_ref()).unwrap(), wanted);
            pod.spec.as_mut().unwrap().node_name = Some("n2".into());
            assert_eq!(target(&pod), Some("n2"));
        }
    }

    #[test]
    fn a_pod_is_up_to_date_by_hash_or_by_generation() {
        let pod = |labels: Value| serde_json::from_value(json!({"metadata": {"labels": labels}})).unwrap();
        assert!(is_updated(&pod(json!({"controller-revision-hash": "h"})), "h", None));
        assert!(!is_updated(&pod(json!({"controller-revision-hash": "g"})), "h", Some(3)));
        assert!(is_updated(&pod(json!({"pod-template-generation": "3"})), "h", Some(3)));
        assert!(!is_updated(&pod(json!({"pod-template-generation": "3"})), "h", None));
        assert!(!is_updated(&pod(json!({"controller-revision-hash": ""})), "", Some(3)));
    }
}
