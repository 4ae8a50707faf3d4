//! Holds pods with `spec.schedulingGates` back. The PodScheduled condition with reason SchedulingGated is the API
//! server's, written when the pod is created.

use crate::{
    cache::pod::PodInfo,
    framework::{
        events::{Action, Change, Event, Hint, HintContext},
        extension::{Plugin, PreEnqueue},
        status::{Code, Status},
    },
};

/// See the module.
pub struct SchedulingGates;

impl PreEnqueue for SchedulingGates {
    fn pre_enqueue(&self, pod: &PodInfo) -> Status {
        if pod.gates.is_empty() {
            return Status::success();
        }
        let names: Vec<&str> = pod.gates.iter().map(|name| &**name).collect();
        Status::new(Code::UnschedulableAndUnresolvable, format!("waiting for scheduling gates: [{}]", names.join(" ")))
    }
}

impl Plugin for SchedulingGates {
    fn name(&self) -> &'static str {
        "SchedulingGates"
    }

    fn events(&self) -> Action {
        Action::POD_UPDATE_GATES_ELIMINATED
    }

    fn hint(&self, pod: &PodInfo, event: &Event, _: &HintContext<'_>) -> Hint {
        match &event.change {
            Change::Pod { new: Some(new), .. } => Hint::from(new.uid == pod.uid),
            _ => Hint::Skip,
        }
    }

    fn pre_enqueue(&self) -> Option<&dyn PreEnqueue> {
        Some(self)
    }
}
