//! Cordoned nodes take only pods that tolerate the taint that goes with it.

use std::sync::Arc;

use crate::{
    cache::{
        node::Node,
        pod::PodInfo,
        shape::{Effect, PodShape, Taint},
    },
    framework::{
        events::{Action, Change, Event, Hint, HintContext},
        extension::{Cycle, Filter, Plugin, Scope},
        status::{Code, Status},
    },
};

/// See the module.
pub struct NodeUnschedulable;

fn tolerated(shape: &PodShape) -> bool {
    let taint =
        Taint { key: Arc::from("node.kubernetes.io/unschedulable"), value: Arc::default(), effect: Effect::NoSchedule };
    shape.tolerations.iter().any(|toleration| toleration.tolerates(&taint))
}

impl Filter for NodeUnschedulable {
    fn scope(&self) -> Scope {
        Scope::NodeObject
    }

    fn filter(&self, cycle: &Cycle<'_>, node: &Node) -> Status {
        if !node.object().unschedulable || tolerated(&cycle.pod.shape.shape) {
            return Status::success();
        }
        Status::new(Code::UnschedulableAndUnresolvable, "node(s) were unschedulable")
    }
}

impl Plugin for NodeUnschedulable {
    fn name(&self) -> &'static str {
        "NodeUnschedulable"
    }

    fn events(&self) -> Action {
        Action::NODE_ADD.or(Action::NODE_UPDATE_TAINT).or(Action::POD_UPDATE_TOLERATION)
    }

    fn hint(&self, pod: &PodInfo, event: &Event, _: &HintContext<'_>) -> Hint {
        match &event.change {
            Change::Pod { new: Some(new), .. } => Hint::from(new.uid == pod.uid && tolerated(&new.shape.shape)),
            Change::Node { old, new: Some(new) } => {
                Hint::from(!new.unschedulable && old.as_ref().is_none_or(|old| old.unschedulable))
            }
            _ => Hint::Skip,
        }
    }

    fn filter(&self) -> Option<&dyn Filter> {
        Some(self)
    }
}
