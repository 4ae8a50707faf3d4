//! Nodes with taints that a pod does not tolerate are out (NoSchedule, NoExecute) or worse (PreferNoSchedule).

use crate::{
    cache::{node::Node, pod::PodInfo, shape::Effect},
    framework::{
        events::{Action, Change, Event, Hint, HintContext},
        extension::{Cycle, Filter, Plugin, Scope, Score, normalize_to_max},
        status::{Code, Status},
    },
};

/// See the module.
pub struct TaintToleration;

impl Filter for TaintToleration {
    fn scope(&self) -> Scope {
        Scope::NodeObject
    }

    fn filter(&self, cycle: &Cycle<'_>, node: &Node) -> Status {
        match cycle.pod.shape.shape.untolerated(&node.object().taints) {
            None => Status::success(),
            Some(_) => Status::new(Code::UnschedulableAndUnresolvable, "node(s) had untolerated taint(s)"),
        }
    }
}

impl Score for TaintToleration {
    fn scope(&self) -> Scope {
        Scope::NodeObject
    }

    fn score(&self, cycle: &Cycle<'_>, node: &Node) -> i64 {
        let tolerations = &cycle.pod.shape.shape.tolerations;
        let avoided = node.object().taints.iter().filter(|taint| {
            taint.effect == Effect::PreferNoSchedule
                && !tolerations.iter().any(|toleration| toleration.tolerates(taint))
        });
        avoided.count() as i64
    }

    fn normalize(&self, _: &Cycle<'_>, _: &[u32], scores: &mut [i64]) {
        normalize_to_max(true, scores);
    }
}

impl Plugin for TaintToleration {
    fn name(&self) -> &'static str {
        "TaintToleration"
    }

    fn events(&self) -> Action {
        Action::NODE_ADD.or(Action::NODE_UPDATE_TAINT).or(Action::POD_UPDATE_TOLERATION)
    }

    fn hint(&self, pod: &PodInfo, event: &Event, _: &HintContext<'_>) -> Hint {
        let shape = &pod.shape.shape;
        match &event.change {
            Change::Pod { new: Some(new), .. } => Hint::from(new.uid == pod.uid),
            Change::Node { old, new: Some(new) } => Hint::from(
                shape.untolerated(&new.taints).is_none()
                    && old.as_ref().is_none_or(|old| shape.untolerated(&old.taints).is_some()),
            ),
            _ => Hint::Skip,
        }
    }

    fn filter(&self) -> Option<&dyn Filter> {
        Some(self)
    }

    fn score(&self) -> Option<&dyn Score> {
        Some(self)
    }
}
