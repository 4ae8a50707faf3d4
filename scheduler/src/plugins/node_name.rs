//! A pod that names its node runs there or nowhere. Such pods reach the scheduler hardly ever: they have a node.

use crate::{
    cache::node::Node,
    framework::{
        events::Action,
        extension::{Cycle, Filter, Plugin, Scope},
        status::{Code, Status},
    },
};

/// See the module.
pub struct NodeName;

impl Filter for NodeName {
    fn scope(&self) -> Scope {
        // The name is not part of the shape, but then only pods without one are scheduled, and those share it.
        Scope::NodeObject
    }

    fn filter(&self, cycle: &Cycle<'_>, node: &Node) -> Status {
        let wanted = &cycle.pod.node_name;
        if wanted.is_empty() || *wanted == node.object().name {
            return Status::success();
        }
        Status::new(Code::UnschedulableAndUnresolvable, "node(s) didn't match the requested node name")
    }
}

impl Plugin for NodeName {
    fn name(&self) -> &'static str {
        "NodeName"
    }

    fn events(&self) -> Action {
        Action::NODE_ADD
    }

    fn filter(&self) -> Option<&dyn Filter> {
        Some(self)
    }
}
