//! What is told of the node's conditions as events. A kubelet that starts tells the pressures once, whatever the API holds
//! of an earlier life; afterwards only what turned. Upstream: pkg/kubelet/nodestatus/setters.go.

use k8s_openapi::api::core::v1::{NodeCondition, NodeStatus};

/// The reasons of the events from one status to the next. A condition without a before is told if it is a pressure.
pub(crate) fn turns(old: &NodeStatus, new: &NodeStatus) -> Vec<&'static str> {
    let turned = |condition: &&NodeCondition| {
        let before = old.conditions.iter().flatten().find(|c| c.type_ == condition.type_);
        before.map_or(condition.type_ != "Ready", |before| before.status != condition.status)
    };
    new.conditions.iter().flatten().filter(turned).filter_map(reason).collect()
}

fn reason(condition: &NodeCondition) -> Option<&'static str> {
    Some(match (condition.type_.as_str(), condition.status == "True") {
        ("Ready", true) => "NodeReady",
        ("Ready", false) => "NodeNotReady",
        ("MemoryPressure", true) => "NodeHasInsufficientMemory",
        ("MemoryPressure", false) => "NodeHasSufficientMemory",
        ("DiskPressure", true) => "NodeHasDiskPressure",
        ("DiskPressure", false) => "NodeHasNoDiskPressure",
        ("PIDPressure", true) => "NodeHasInsufficientPID",
        ("PIDPressure", false) => "NodeHasSufficientPID",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(conditions: &[(&str, &str)]) -> NodeStatus {
        let condition = |(kind, status): &(&str, &str)| NodeCondition {
            type_: (*kind).into(),
            status: (*status).into(),
            ..NodeCondition::default()
        };
        NodeStatus { conditions: Some(conditions.iter().map(condition).collect()), ..NodeStatus::default() }
    }

    #[test]
    fn a_start_tells_the_pressures_and_later_what_turned() {
        let fine =
            [("MemoryPressure", "False"), ("DiskPressure", "False"), ("PIDPressure", "False"), ("Ready", "False")];
        let first = status(&fine);
        assert_eq!(
            turns(&NodeStatus::default(), &first),
            ["NodeHasSufficientMemory", "NodeHasNoDiskPressure", "NodeHasSufficientPID"]
        );
        let full = status(&[("MemoryPressure", "False"), ("DiskPressure", "True"), ("Ready", "True")]);
        assert_eq!(turns(&first, &full), ["NodeHasDiskPressure", "NodeReady"]);
        assert!(turns(&full, &full).is_empty());
    }
}
