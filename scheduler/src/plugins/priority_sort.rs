//! Pods of higher priority first, among equals the one that waited longer.

use crate::{
    cache::pod::PodInfo,
    framework::extension::{Plugin, QueueSort},
};

/// See the module.
pub struct PrioritySort;

impl QueueSort for PrioritySort {
    fn rank(&self, pod: &PodInfo) -> i64 {
        i64::from(pod.priority)
    }
}

impl Plugin for PrioritySort {
    fn name(&self) -> &'static str {
        "PrioritySort"
    }

    fn queue_sort(&self) -> Option<&dyn QueueSort> {
        Some(self)
    }
}
