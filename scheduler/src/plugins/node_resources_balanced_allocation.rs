//! Prefers nodes whose resources are used evenly once the pod is there: what is left of CPU without memory is lost.

use machinery::field::{self, Path};
use serde::Deserialize;
use serde_json::Value;
use smallvec::SmallVec;

use super::{
    arguments, faultless,
    node_resources_fit::{ResourceSpec, measures, or_default},
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
        let resources = or_default(args.resources);
        let mut faults = Vec::new();
        for (index, spec) in resources.iter().enumerate() {
            let path = Path::new("resources").index(index);
            if resources[..index].iter().any(|other| other.name == spec.name) {
                faults.push(field::Error::duplicate(&path.child("name"), spec.name.as_str()));
            }
            if spec.weight != 1 {
                faults.push(field::Error::invalid(&path.child("weight"), spec.weight, "must be 1"));
            }
        }
        faultless(&faults)?;
        Ok(Self { resources })
    }
}

/// 100 less the standard deviation of the shares in use, in whole points.
///
/// The sum is of squared differences from the mean, as upstream's: the mean of the squares less the square of the mean
/// is the same number, but rounding alone takes a point off for shares that are equal.
fn evenness(shares: impl Iterator<Item = (i64, i64)>) -> i64 {
    let shares: SmallVec<[f64; 4]> = shares.map(|(used, has)| (used as f64 / has as f64).min(1.0)).collect();
    let deviation = match shares.as_slice() {
        [] | [_] => 0.0,
        [one, other] => ((one - other) / 2.0).abs(),
        all => {
            let count = all.len() as f64;
            let mean = all.iter().sum::<f64>() / count;
            (all.iter().map(|share| (share - mean) * (share - mean)).sum::<f64>() / count).sqrt()
        }
    };
    ((1.0 - deviation) * MAX_NODE_SCORE as f64) as i64
}

impl Score for NodeResourcesBalancedAllocation {
    fn scope(&self) -> Scope {
        Scope::Node
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
