//! Prefers nodes whose resources are used evenly once the pod is there: what is left of CPU without memory is lost.

use serde::Deserialize;
use serde_json::Value;

use super::{
    arguments,
    node_resources_fit::{ResourceSpec, default_resources, measures},
};
use crate::{
    cache::node::Node,
    framework::{
        extension::{Cycle, MAX_NODE_SCORE, Plugin, Scope, Score},
        status::Status,
    },
};

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Arguments {
    resources: Vec<ResourceSpec>,
}

/// See the module.
pub struct NodeResourcesBalancedAllocation {
    resources: Vec<ResourceSpec>,
}

impl NodeResourcesBalancedAllocation {
    /// From NodeResourcesBalancedAllocationArgs.
    pub fn new(args: &Value) -> Result<Self, String> {
        let args: Arguments = arguments(args)?;
        Ok(Self { resources: if args.resources.is_empty() { default_resources() } else { args.resources } })
    }
}

/// 100 less the standard deviation of the shares in use, in whole points.
fn evenness(shares: impl Iterator<Item = (i64, i64)>) -> i64 {
    let (mut count, mut sum, mut squares) = (0.0_f64, 0.0, 0.0);
    let mut first_two = [0.0; 2];
    for (used, has) in shares {
        let share = (used as f64 / has as f64).min(1.0);
        if count < 2.0 {
            first_two[count as usize] = share;
        }
        count += 1.0;
        sum += share;
        squares += share * share;
    }
    let deviation = match count as usize {
        0 | 1 => 0.0,
        2 => ((first_two[0] - first_two[1]) / 2.0).abs(),
        _ => (squares / count - (sum / count).powi(2)).max(0.0).sqrt(),
    };
    ((1.0 - deviation) * MAX_NODE_SCORE as f64) as i64
}

impl Score for NodeResourcesBalancedAllocation {
    fn scope(&self) -> Scope {
        Scope::Pods
    }

    fn pre_score(&self, cycle: &mut Cycle<'_>, _: &[u32]) -> Status {
        // A pod that asks for nothing cannot make anything uneven.
        let wanted = &cycle.pod.shape.shape.requests;
        let asks = self.resources.iter().any(|spec| match spec.name.as_str() {
            "cpu" => wanted.cpu_milli != 0,
            "memory" => wanted.memory != 0,
            "ephemeral-storage" => wanted.ephemeral_storage != 0,
            name => wanted.scalar(name) != 0,
        });
        if asks { Status::success() } else { Status::skip() }
    }

    fn score(&self, cycle: &Cycle<'_>, node: &Node) -> i64 {
        let wanted = &cycle.pod.shape.shape.requests;
        let shares = || measures(&self.resources, wanted, &node.requested, &node.requested, node.object());
        let with = evenness(shares().map(|(has, used, adds, _)| (used + adds, has)));
        let without = evenness(shares().map(|(has, used, _, _)| (used, has)));
        MAX_NODE_SCORE / 2 + (MAX_NODE_SCORE / 2 + with - without) / 2
    }
}

impl Plugin for NodeResourcesBalancedAllocation {
    fn name(&self) -> &'static str {
        "NodeResourcesBalancedAllocation"
    }

    fn score(&self) -> Option<&dyn Score> {
        Some(self)
    }
}
