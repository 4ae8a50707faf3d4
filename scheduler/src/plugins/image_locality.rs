//! Prefers nodes that have the pod's images, the more so the larger they are and the more nodes have them.

use crate::{
    cache::node::Node,
    framework::{
        extension::{Cycle, MAX_NODE_SCORE, Plugin, Scope, Score},
        status::Status,
    },
};

const MIB: i64 = 1024 * 1024;
/// Less than this is as good as nothing.
const MIN_BYTES: i64 = 23 * MIB;
/// More than this for each container is no better.
const MAX_BYTES_PER_CONTAINER: i64 = 1000 * MIB;

/// See the module.
pub struct ImageLocality;

impl Score for ImageLocality {
    fn scope(&self) -> Scope {
        Scope::Pods
    }

    fn pre_score(&self, cycle: &mut Cycle<'_>, _: &[u32]) -> Status {
        let known = &cycle.snapshot.images;
        if cycle.pod.shape.shape.images.iter().any(|image| known.contains_key(image)) {
            Status::success()
        } else {
            Status::skip()
        }
    }

    fn score(&self, cycle: &Cycle<'_>, node: &Node) -> i64 {
        let shape = &cycle.pod.shape.shape;
        let nodes = cycle.snapshot.order.len() as f64;
        let mut sum = 0;
        for image in &shape.images {
            if let Some((_, size)) = node.object().images.iter().find(|(name, _)| name == image) {
                let spread = f64::from(cycle.snapshot.images.get(image).copied().unwrap_or(0)) / nodes;
                sum += (*size as f64 * spread) as i64;
            }
        }
        let most = MAX_BYTES_PER_CONTAINER * shape.container_count.max(1) as i64;
        MAX_NODE_SCORE * (sum.clamp(MIN_BYTES, most) - MIN_BYTES) / (most - MIN_BYTES)
    }
}

impl Plugin for ImageLocality {
    fn name(&self) -> &'static str {
        "ImageLocality"
    }

    fn score(&self) -> Option<&dyn Score> {
        Some(self)
    }
}
