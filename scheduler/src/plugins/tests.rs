//! Each plugin by tables: its statuses, its scores after normalization, and which changes in the cluster help which pod.
//!
//! Each file holds the facts of upstream's tests of the plugin (`pkg/scheduler/framework/plugins/<name>/*_test.go`). A
//! [`World`] is one plugin of the catalogue over a real cache; objects are written as their manifests, shortened.

mod arguments;
mod default_binder;
mod dynamic_resources;
mod image_locality;
mod inter_pod_affinity;
mod node_affinity;
mod node_name;
mod node_ports;
mod node_resources_balanced_allocation;
mod node_resources_fit;
mod node_unschedulable;
mod node_volume_limits;
mod pod_topology_spread;
mod priority_sort;
mod scheduling_gates;
mod taint_toleration;
mod volume_binding;
mod volume_restrictions;
mod volume_zone;

use std::sync::Arc;

use expect_test::Expect;
use k8s_openapi::api::core::v1::{Node as ApiNode, Pod as ApiPod};
use serde_json::{Value, json};

use super::CATALOGUE;
use crate::{
    cache::{Cache, labels::Labels, node::NodeObject, pod::PodInfo, volumes::Stored},
    framework::{
        events::{Action, Change, Event, Hint, HintContext, node_events, pod_events},
        extension::{Cycle, Plugin},
        status::Status,
    },
};

/// A node: `fields` are `labels`, `taints`, `unschedulable`, `allocatable` and `images`.
fn node(name: &str, fields: Value) -> ApiNode {
    let mut object = json!({"metadata": {"name": name}, "spec": {}, "status": {}});
    for (key, value) in fields.as_object().expect("fields") {
        let part = match key.as_str() {
            "labels" => "metadata",
            "taints" | "unschedulable" => "spec",
            "allocatable" | "images" => "status",
            other => panic!("no field of a node: {other}"),
        };
        object[part][key] = value.clone();
    }
    serde_json::from_value(object).expect("a node")
}

/// A pod with its name for a uid: `fields` are `namespace`, `uid`, `labels` and `deletionTimestamp` of the metadata,
/// `nominatedNodeName` of the status, and otherwise fields of the specification. It has no container unless given.
fn pod(name: &str, fields: Value) -> ApiPod {
    let mut object = json!({
        "metadata": {"name": name, "namespace": "default", "uid": name},
        "spec": {"containers": []},
        "status": {},
    });
    for (key, value) in fields.as_object().expect("fields") {
        let part = match key.as_str() {
            "namespace" | "uid" | "labels" | "deletionTimestamp" => "metadata",
            "nominatedNodeName" => "status",
            _ => "spec",
        };
        object[part][key] = value.clone();
    }
    serde_json::from_value(object).expect("a pod")
}

/// A container that requests these resources.
fn container(requests: Value) -> Value {
    json!({"name": "c", "resources": {"requests": requests}})
}

/// A change of one object; `None` where there was none before, or is none after.
enum Changed {
    Pod(Box<[Option<ApiPod>; 2]>),
    Node(Box<[Option<ApiNode>; 2]>),
    /// What the volume plugins look at.
    Stored(Option<Event>),
}

/// What changes: a pod or a node.
trait Object: Sized {
    fn changed(old: Option<Self>, new: Option<Self>) -> Changed;
}

impl Object for ApiPod {
    fn changed(old: Option<Self>, new: Option<Self>) -> Changed {
        Changed::Pod(Box::new([old, new]))
    }
}

impl Object for ApiNode {
    fn changed(old: Option<Self>, new: Option<Self>) -> Changed {
        Changed::Node(Box::new([old, new]))
    }
}

fn added<T: Object>(new: T) -> Changed {
    T::changed(None, Some(new))
}

fn deleted<T: Object>(old: T) -> Changed {
    T::changed(Some(old), None)
}

fn updated<T: Object>(old: T, new: T) -> Changed {
    T::changed(Some(old), Some(new))
}

/// An object of a kind that the volume plugins look at, from its manifest.
fn stored<K: Stored>(manifest: &Value) -> K {
    serde_json::from_value(manifest.clone()).expect("an object")
}

/// A change of such an object; `null` where there was none before, or is none after.
fn change_of<K: Stored>(old: &Value, new: &Value) -> Changed {
    let kept = |manifest: &Value| (!manifest.is_null()).then(|| Arc::new(stored::<K>(manifest).keep()));
    Changed::Stored(K::event(kept(old), kept(new)))
}

/// A code and its reasons in one line.
fn shown(status: &Status) -> String {
    [format!("{:?}", status.code), status.message()].join(" ").trim_end().to_owned()
}

/// One plugin and a cluster.
struct World {
    cache: Cache,
    plugin: Arc<dyn Plugin>,
}

impl World {
    /// The plugin of that name, with its arguments, in an empty cluster.
    fn new(plugin: &str, args: Value) -> Self {
        let mut cache = Cache::default();
        let (.., make) = CATALOGUE.iter().find(|(name, ..)| *name == plugin).expect("a plugin of the catalogue");
        let made = make(&args, cache.interner()).expect("its arguments");
        assert_eq!(made.name(), plugin);
        Self { cache, plugin: made }
    }

    /// Adds nodes, and pods that name their node.
    fn with(mut self, nodes: &[ApiNode], pods: &[ApiPod]) -> Self {
        for node in nodes {
            let node = self.cache.read_node(node);
            self.cache.set_node(node);
        }
        for pod in pods {
            let pod = self.cache.read_pod(pod);
            assert!(pod.is_assigned(), "{} has no node", pod.name);
            assert!(self.cache.set_pod(pod).is_none(), "two pods of one name");
        }
        self
    }

    /// Adds objects of a kind that the volume plugins look at.
    fn having<K: Stored>(self, manifests: &[Value]) -> Self {
        for manifest in manifests {
            let object: K = stored(manifest);
            self.cache.snapshot().volumes.show(&object.key(), Some(object));
        }
        self
    }

    /// Adds a namespace with labels.
    fn namespace(mut self, name: &str, labels: &[(&str, &str)]) -> Self {
        let labels = labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let labels = Labels::new(Some(&labels), self.cache.interner());
        self.cache.snapshot_mut().namespaces.insert(Arc::from(name), labels);
        self
    }

    /// PreFilter where it does not just succeed, then Filter for each node.
    fn filter(&mut self, pod: &ApiPod) -> String {
        self.filter_after(pod, &[])
    }

    /// The same after trials, as preemption makes them: pods added to (`true`) or removed from the node they name.
    fn filter_after(&mut self, pod: &ApiPod, trials: &[(bool, ApiPod)]) -> String {
        let pod = self.cache.read_pod(pod);
        let trials: Vec<_> = trials.iter().map(|(added, pod)| (*added, self.cache.read_pod(pod))).collect();
        let snapshot = self.cache.snapshot();
        let mut cycle = Cycle::new(&pod, snapshot);
        let mut lines = Vec::new();
        if let Some(pre_filter) = self.plugin.pre_filter() {
            let (status, names) = pre_filter.pre_filter(&mut cycle);
            if !status.is_success() {
                return format!("PreFilter {}", shown(&status));
            }
            lines.extend(names.map(|names| format!("only {}", Vec::from_iter(names).join(" "))));
            for (added, other) in trials {
                let node = snapshot.node(snapshot.place(&other.node_name).expect("its node"));
                pre_filter.trial(&mut cycle, &other, node, added);
            }
        }
        let filter = self.plugin.filter().expect("it filters");
        for place in &snapshot.order {
            let node = snapshot.node(*place);
            lines.push(format!("{} {}", node.object().name, shown(&filter.filter(&cycle, node))));
        }
        lines.join("\n")
    }

    /// The scores of all nodes, normalized.
    fn score(&mut self, pod: &ApiPod) -> String {
        self.score_on(pod, |_| true)
    }

    /// The scores of those nodes that passed the filters, normalized.
    fn score_on(&mut self, pod: &ApiPod, feasible: impl Fn(&str) -> bool) -> String {
        let pod = self.cache.read_pod(pod);
        let snapshot = self.cache.snapshot();
        let mut cycle = Cycle::new(&pod, snapshot);
        let name = |place: u32| &*snapshot.node(place).object().name;
        let places: Vec<u32> = snapshot.order.iter().copied().filter(|place| feasible(name(*place))).collect();
        let score = self.plugin.score().expect("it scores");
        let status = score.pre_score(&mut cycle, &places);
        if !status.is_success() {
            return shown(&status);
        }
        let mut scores: Vec<i64> = places.iter().map(|place| score.score(&cycle, snapshot.node(*place))).collect();
        score.normalize(&cycle, &places, &mut scores);
        let lines = places.iter().zip(scores).map(|(place, score)| format!("{} {score}", name(*place)));
        lines.collect::<Vec<_>>().join(", ")
    }

    /// For each change: whether the plugin puts a pod that it refused back into the queue, leaves it, or does not even
    /// look, since it registered for no such event.
    fn check_hints(&mut self, pod: &ApiPod, changes: Vec<(&str, Changed)>, expected: Expect) {
        let pod = self.cache.read_pod(pod);
        let lines: Vec<String> =
            changes.into_iter().map(|(what, changed)| format!("{}: {what}", self.hint(&pod, changed))).collect();
        expected.assert_eq(&lines.join("\n"));
    }

    fn hint(&mut self, pod: &PodInfo, changed: Changed) -> &'static str {
        let events: Vec<Event> = match changed {
            Changed::Pod(pods) => match pods.map(|pod| pod.map(|pod| self.cache.read_pod(&pod))) {
                [Some(old), Some(new)] => pod_events(&old, &new),
                [Some(old), None] => vec![Event::pod_deleted(old)],
                [None, Some(new)] => vec![Event::pod_added(new)],
                [None, None] => Vec::new(),
            },
            Changed::Node(nodes) => match nodes.map(|node| node.map(|node| self.cache.read_node(&node))) {
                [Some(old), Some(new)] => node_events(&old, &new),
                [old, new] => vec![node_came_or_went(old, new)],
            },
            Changed::Stored(event) => event.into_iter().collect(),
        };
        let context = HintContext { snapshot: self.cache.snapshot() };
        let looked: Vec<Hint> = events
            .iter()
            .filter(|event| self.plugin.events().overlaps(event.action))
            .map(|event| self.plugin.hint(pod, event, &context))
            .collect();
        match looked.as_slice() {
            [] => "unregistered",
            all if all.contains(&Hint::Queue) => "Queue",
            _ => "Skip",
        }
    }
}

fn node_came_or_went(old: Option<Arc<NodeObject>>, new: Option<Arc<NodeObject>>) -> Event {
    let action = if new.is_some() { Action::NODE_ADD } else { Action::NODE_DELETE };
    Event { action, change: Change::Node { old, new } }
}

/// A table's row: the plugin's answer, and what upstream says.
fn check(actual: String, expected: Expect) {
    expected.assert_eq(&actual);
}
