//! The plugins, one file each, and the one table that names them.

mod default_binder;
pub mod dynamic_resources;
mod image_locality;
mod inter_pod_affinity;
mod node_affinity;
mod node_name;
mod node_ports;
mod node_resources_balanced_allocation;
mod node_resources_fit;
mod node_unschedulable;
mod node_volume_limits;
mod pod_topology_spread;
mod priority_sort;
mod scheduling_gates;
mod taint_toleration;
#[cfg(test)]
mod tests;
mod volume_binding;
mod volume_restrictions;
mod volume_zone;

use std::sync::Arc;

use machinery::field;
use serde_json::Value;

use crate::{
    cache::labels::Interner,
    framework::extension::{Plugin, PostFilter},
};

/// Makes a plugin from its arguments (`null` where the configuration has none).
type Make = fn(&Value, &mut Interner) -> Result<Arc<dyn Plugin>, String>;

/// Name, default weight of its score (0: it has none), constructor, in upstream's default order: the first filter that
/// refuses is the one reported. A new plugin is a file and a line here.
pub const CATALOGUE: &[(&str, i64, Make)] = &[
    ("SchedulingGates", 0, |_, _| Ok(Arc::new(scheduling_gates::SchedulingGates))),
    ("PrioritySort", 0, |_, _| Ok(Arc::new(priority_sort::PrioritySort))),
    ("NodeUnschedulable", 0, |_, _| Ok(Arc::new(node_unschedulable::NodeUnschedulable))),
    ("NodeName", 0, |_, _| Ok(Arc::new(node_name::NodeName))),
    ("TaintToleration", 3, |_, _| Ok(Arc::new(taint_toleration::TaintToleration))),
    ("NodeAffinity", 2, |args, interner| Ok(Arc::new(node_affinity::NodeAffinity::new(args, interner)?))),
    ("NodePorts", 0, |_, _| Ok(Arc::new(node_ports::NodePorts))),
    ("NodeResourcesFit", 1, |args, _| Ok(Arc::new(node_resources_fit::NodeResourcesFit::new(args)?))),
    ("VolumeRestrictions", 0, |_, _| Ok(Arc::new(volume_restrictions::VolumeRestrictions))),
    ("NodeVolumeLimits", 0, |_, _| Ok(Arc::new(node_volume_limits::NodeVolumeLimits))),
    ("VolumeBinding", 0, |args, _| Ok(Arc::new(volume_binding::VolumeBinding::new(args)?))),
    ("VolumeZone", 0, |_, _| Ok(Arc::new(volume_zone::VolumeZone))),
    ("PodTopologySpread", 2, |args, interner| {
        Ok(Arc::new(pod_topology_spread::PodTopologySpread::new(args, interner)?))
    }),
    ("InterPodAffinity", 2, |args, _| Ok(Arc::new(inter_pod_affinity::InterPodAffinity::new(args)?))),
    ("DynamicResources", 2, |args, _| Ok(Arc::new(dynamic_resources::DynamicResources::new(args)?))),
    ("DefaultPreemption", 0, |_, _| Ok(Arc::new(DefaultPreemption))),
    ("NodeResourcesBalancedAllocation", 1, |args, _| {
        Ok(Arc::new(node_resources_balanced_allocation::NodeResourcesBalancedAllocation::new(args)?))
    }),
    ("ImageLocality", 1, |_, _| Ok(Arc::new(image_locality::ImageLocality))),
    ("DefaultBinder", 0, |_, _| Ok(Arc::new(default_binder::DefaultBinder))),
];

/// Upstream's default plugins that are not here. A configuration may name them; what they would check is not checked.
pub const MISSING: &[&str] = &["NodeDeclaredFeatures", "GangScheduling"];

/// The mark that a profile preempts; the work is done by `preemption.rs`.
struct DefaultPreemption;

impl PostFilter for DefaultPreemption {}

impl Plugin for DefaultPreemption {
    fn name(&self) -> &'static str {
        "DefaultPreemption"
    }

    fn post_filter(&self) -> Option<&dyn PostFilter> {
        Some(self)
    }
}

/// Reads plugin arguments strictly, as upstream does.
fn arguments<T: serde::de::DeserializeOwned + Default>(args: &Value) -> Result<T, String> {
    if args.is_null() {
        return Ok(T::default());
    }
    let mut args = args.clone();
    if let Some(object) = args.as_object_mut() {
        object.remove("apiVersion");
        object.remove("kind");
    }
    serde_json::from_value(args).map_err(|error| error.to_string())
}

/// What is wrong with arguments, in upstream's words; nothing if nothing is (`apis/config/validation`).
fn faultless(faults: &[field::Error]) -> Result<(), String> {
    field::aggregate(faults).map_or(Ok(()), Err)
}
