//! `nodeSelector` and node affinity, the pod's own and one that a profile adds to all pods.

use std::{collections::BTreeSet, sync::Arc};

use k8s_openapi::api::core::v1::NodeAffinity as ApiNodeAffinity;
use serde::Deserialize;
use serde_json::Value;

use super::arguments;
use crate::{
    cache::{
        labels::{Interner, NodeTerm},
        node::{Node, NodeObject},
        pod::PodInfo,
    },
    framework::{
        events::{Action, Change, Event, Hint, HintContext},
        extension::{Cycle, Filter, Plugin, PreFilter, Scope, Score, normalize_to_max},
        status::{Code, Status},
    },
};

/// See the module.
#[derive(Default)]
pub struct NodeAffinity {
    added: Option<Box<[NodeTerm]>>,
    added_preferred: Box<[(i32, NodeTerm)]>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Arguments {
    added_affinity: Option<ApiNodeAffinity>,
}

impl NodeAffinity {
    /// From NodeAffinityArgs.
    pub fn new(args: &Value, interner: &mut Interner) -> Result<Self, String> {
        let Some(added) = arguments::<Arguments>(args)?.added_affinity else { return Ok(Self::default()) };
        Ok(Self {
            added: added.required_during_scheduling_ignored_during_execution.map(|selector| {
                selector.node_selector_terms.iter().map(|term| NodeTerm::new(term, interner)).collect()
            }),
            added_preferred: added
                .preferred_during_scheduling_ignored_during_execution
                .iter()
                .flatten()
                .map(|term| (term.weight, NodeTerm::new(&term.preference, interner)))
                .collect(),
        })
    }

    fn added_admits(&self, node: &NodeObject) -> bool {
        self.added.as_ref().is_none_or(|terms| terms.iter().any(|term| term.matches(&node.labels, &node.name)))
    }
}

impl PreFilter for NodeAffinity {
    fn pre_filter(&self, cycle: &mut Cycle<'_>) -> (Status, Option<BTreeSet<Arc<str>>>) {
        let shape = &cycle.pod.shape.shape;
        if shape.required_nodes.is_none() && shape.node_selector.is_none() && self.added.is_none() {
            return (Status::skip(), None);
        }
        let terms = shape.required_nodes.as_deref().unwrap_or_default();
        if terms.is_empty() {
            return (Status::success(), None);
        }
        let mut names = BTreeSet::new();
        for term in terms {
            // One term that admits nodes by anything else: all nodes have to be looked at.
            let Some(only) = term.only_names() else { return (Status::success(), None) };
            names.extend(only);
        }
        if names.is_empty() {
            return (Status::new(Code::UnschedulableAndUnresolvable, "pod affinity terms conflict"), None);
        }
        (Status::success(), Some(names))
    }
}

impl Filter for NodeAffinity {
    fn scope(&self) -> Scope {
        Scope::NodeObject
    }

    fn filter(&self, cycle: &Cycle<'_>, node: &Node) -> Status {
        let node = node.object();
        if !self.added_admits(node) {
            return Status::new(
                Code::UnschedulableAndUnresolvable,
                "node(s) didn't match scheduler-enforced node affinity",
            );
        }
        if cycle.pod.shape.shape.admits_node(&node.labels, &node.name) {
            return Status::success();
        }
        Status::new(Code::UnschedulableAndUnresolvable, "node(s) didn't match Pod's node affinity/selector")
    }
}

impl Score for NodeAffinity {
    fn scope(&self) -> Scope {
        Scope::NodeObject
    }

    fn pre_score(&self, cycle: &mut Cycle<'_>, _: &[u32]) -> Status {
        if cycle.pod.shape.shape.preferred_nodes.is_empty() && self.added_preferred.is_empty() {
            return Status::skip();
        }
        Status::success()
    }

    fn score(&self, cycle: &Cycle<'_>, node: &Node) -> i64 {
        let node = node.object();
        let preferred = cycle.pod.shape.shape.preferred_nodes.iter().chain(&self.added_preferred);
        preferred.filter(|(_, term)| term.matches(&node.labels, &node.name)).map(|(weight, _)| i64::from(*weight)).sum()
    }

    fn normalize(&self, _: &Cycle<'_>, _: &[u32], scores: &mut [i64]) {
        normalize_to_max(false, scores);
    }
}

impl Plugin for NodeAffinity {
    fn name(&self) -> &'static str {
        "NodeAffinity"
    }

    fn events(&self) -> Action {
        Action::NODE_ADD.or(Action::NODE_UPDATE_LABEL)
    }

    fn hint(&self, pod: &PodInfo, event: &Event, _: &HintContext<'_>) -> Hint {
        let Change::Node { old, new: Some(new) } = &event.change else { return Hint::Skip };
        let shape = &pod.shape.shape;
        let admits = |node: &NodeObject| shape.admits_node(&node.labels, &node.name);
        Hint::from(self.added_admits(new) && admits(new) && old.as_ref().is_none_or(|old| !admits(old)))
    }

    fn pre_filter(&self) -> Option<&dyn PreFilter> {
        Some(self)
    }

    fn filter(&self) -> Option<&dyn Filter> {
        Some(self)
    }

    fn score(&self) -> Option<&dyn Score> {
        Some(self)
    }
}
