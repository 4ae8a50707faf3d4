//! A host port is had by one pod of a node.

use std::{collections::BTreeSet, sync::Arc};

use crate::{
    cache::{node::Node, pod::PodInfo},
    framework::{
        events::{Action, Change, Event, Hint, HintContext},
        extension::{Cycle, Filter, Plugin, PreFilter, Scope},
        status::{Code, Status},
    },
};

/// See the module.
pub struct NodePorts;

impl PreFilter for NodePorts {
    fn pre_filter(&self, cycle: &mut Cycle<'_>) -> (Status, Option<BTreeSet<Arc<str>>>) {
        if cycle.pod.shape.shape.ports.is_empty() {
            return (Status::skip(), None);
        }
        (Status::success(), None)
    }
}

impl Filter for NodePorts {
    fn scope(&self) -> Scope {
        Scope::Pods
    }

    fn filter(&self, cycle: &Cycle<'_>, node: &Node) -> Status {
        let wanted = &cycle.pod.shape.shape.ports;
        if wanted.iter().any(|port| node.ports.iter().any(|used| port.conflicts(used))) {
            return Status::new(Code::Unschedulable, "node(s) didn't have free ports for the requested pod ports");
        }
        Status::success()
    }
}

impl Plugin for NodePorts {
    fn name(&self) -> &'static str {
        "NodePorts"
    }

    fn events(&self) -> Action {
        Action::POD_DELETE.or(Action::NODE_ADD)
    }

    fn hint(&self, pod: &PodInfo, event: &Event, _: &HintContext<'_>) -> Hint {
        let Change::Pod { old: Some(gone), .. } = &event.change else { return Hint::Queue };
        let freed = &gone.shape.shape.ports;
        let had_node = gone.is_assigned() || !gone.nominated_node.is_empty();
        let wanted = &pod.shape.shape.ports;
        Hint::from(had_node && wanted.iter().any(|port| freed.iter().any(|freed| port.conflicts(freed))))
    }

    fn pre_filter(&self) -> Option<&dyn PreFilter> {
        Some(self)
    }

    fn filter(&self) -> Option<&dyn Filter> {
        Some(self)
    }
}
