//! A node must have left what a pod asks for; by default the node with the most left is preferred.

use k8s_openapi::api::resource::v1::DeviceClass;
use machinery::{
    field::{self, Path},
    names::{is_native_resource, qualified_name},
};
use serde::Deserialize;
use serde_json::Value;
use smallvec::SmallVec;

use super::{arguments, faultless};
use crate::{
    cache::{
        node::{Node, NodeObject},
        pod::PodInfo,
        resources::Resources,
    },
    devices::{CLASS_PREFIX, Devices},
    framework::{
        events::{Action, Change, Event, Hint, HintContext},
        extension::{Cycle, Filter, MAX_NODE_SCORE, Plugin, Scope, Score},
        status::{Code, Reason, Status},
    },
};

/// One resource that a score counts, and how much.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ResourceSpec {
    /// Its name.
    pub name: String,
    /// Its weight.
    #[serde(default)]
    pub weight: i64,
}

/// Those given, each with the weight 1 where it has none or 0; without any, the default.
pub fn or_default(mut given: Vec<ResourceSpec>) -> Vec<ResourceSpec> {
    given.iter_mut().filter(|spec| spec.weight == 0).for_each(|spec| spec.weight = 1);
    if given.is_empty() { default_resources() } else { given }
}

/// CPU and memory alike.
fn default_resources() -> Vec<ResourceSpec> {
    ["cpu", "memory"].map(|name| ResourceSpec { name: name.to_owned(), weight: 1 }).into()
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Arguments {
    ignored_resources: Vec<String>,
    ignored_resource_groups: Vec<String>,
    scoring_strategy: Option<Strategy>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Strategy {
    #[serde(rename = "type", default)]
    kind: String,
    #[serde(default)]
    resources: Vec<ResourceSpec>,
    #[serde(default)]
    requested_to_capacity_ratio: Option<Ratio>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    LeastAllocated,
    MostAllocated,
    RequestedToCapacityRatio,
}

/// Sorted by name, as upstream tells them.
const KINDS: [(&str, Kind); 3] = [
    ("LeastAllocated", Kind::LeastAllocated),
    ("MostAllocated", Kind::MostAllocated),
    ("RequestedToCapacityRatio", Kind::RequestedToCapacityRatio),
];

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Ratio {
    shape: Vec<Point>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
struct Point {
    utilization: i64,
    score: i64,
}

/// See the module.
pub struct NodeResourcesFit {
    ignored: Vec<String>,
    ignored_groups: Vec<String>,
    kind: Kind,
    resources: Vec<ResourceSpec>,
    shape: Vec<Point>,
}

impl NodeResourcesFit {
    /// From NodeResourcesFitArgs.
    pub fn new(args: &Value) -> Result<Self, String> {
        let args: Arguments = arguments(args)?;
        let mut faults = ignored_faults(&args);
        let strategy = args.scoring_strategy.unwrap_or_else(|| Strategy {
            kind: "LeastAllocated".to_owned(),
            resources: Vec::new(),
            requested_to_capacity_ratio: None,
        });
        let kind = KINDS.iter().find(|(name, _)| *name == strategy.kind).map(|(_, kind)| *kind);
        let (resources, ratio) = (or_default(strategy.resources), strategy.requested_to_capacity_ratio);
        faults.extend(strategy_faults(&strategy.kind, kind, &resources, ratio.as_ref()));
        faultless(&faults)?;
        Ok(Self {
            ignored: args.ignored_resources,
            ignored_groups: args.ignored_resource_groups,
            kind: kind.unwrap_or(Kind::LeastAllocated),
            resources,
            shape: ratio.unwrap_or_default().shape,
        })
    }

    fn is_ignored(&self, name: &str) -> bool {
        // Only extended resources can be: not those of Kubernetes itself.
        !is_native_resource(name)
            && (self.ignored.iter().any(|ignored| ignored == name)
                || self.ignored_groups.iter().any(|group| name.split('/').next() == Some(group)))
    }

    fn lacks(&self, wanted: &Resources, used: &Resources, pods: i64, node: &NodeObject, devices: &Devices) -> Status {
        let mut reasons: SmallVec<[Reason; 1]> = SmallVec::new();
        let mut code = Code::Unschedulable;
        if pods + 1 > node.allowed_pods {
            reasons.push("Too many pods".into());
        }
        let has = &node.allocatable;
        for (wanted, used, has, reason) in [
            (wanted.cpu_milli, used.cpu_milli, has.cpu_milli, "Insufficient cpu"),
            (wanted.memory, used.memory, has.memory, "Insufficient memory"),
            (wanted.ephemeral_storage, used.ephemeral_storage, has.ephemeral_storage, "Insufficient ephemeral-storage"),
        ] {
            if wanted > 0 && wanted > has - used {
                reasons.push(reason.into());
                if wanted > has {
                    code = Code::UnschedulableAndUnresolvable;
                }
            }
        }
        for (name, wanted) in &wanted.scalars {
            if *wanted == 0 || self.is_ignored(name) {
                continue;
            }
            let has = has.scalar(name);
            // What the node does not have, devices may stand for: that is another plugin's.
            if has == 0 && devices.class_of(name).is_some() {
                continue;
            }
            if *wanted > has - used.scalar(name) {
                reasons.push(format!("Insufficient {name}").into());
                if *wanted > has {
                    code = Code::UnschedulableAndUnresolvable;
                }
            }
        }
        if reasons.is_empty() { Status::success() } else { Status { code, reasons } }
    }

    fn rate(&self, requested: i64, capacity: i64) -> i64 {
        match self.kind {
            Kind::LeastAllocated if requested > capacity => 0,
            Kind::LeastAllocated => (capacity - requested) * MAX_NODE_SCORE / capacity,
            Kind::MostAllocated => requested.min(capacity) * MAX_NODE_SCORE / capacity,
            Kind::RequestedToCapacityRatio => {
                let utilization = if requested > capacity { 100 } else { requested * 100 / capacity };
                interpolate(&self.shape, utilization)
            }
        }
    }
}

fn ignored_faults(args: &Arguments) -> Vec<field::Error> {
    let mut faults = Vec::new();
    for (field, names) in
        [("ignoredResources", &args.ignored_resources), ("ignoredResourceGroups", &args.ignored_resource_groups)]
    {
        for (index, name) in names.iter().enumerate() {
            let path = Path::new(field).index(index);
            let invalid = |why: String| field::Error::invalid(&path, name.as_str(), why);
            if field == "ignoredResourceGroups" && name.contains('/') {
                faults.push(invalid("resource group name can't contain '/'".to_owned()));
            }
            faults.extend(qualified_name(name).into_iter().map(invalid));
        }
    }
    faults
}

fn strategy_faults(
    named: &str,
    kind: Option<Kind>,
    resources: &[ResourceSpec],
    ratio: Option<&Ratio>,
) -> Vec<field::Error> {
    let path = Path::new("scoringStrategy");
    let mut faults = Vec::new();
    if kind.is_none() {
        faults.push(field::Error::not_supported(&path.child("type"), named, KINDS.map(|(name, _)| name)));
    }
    for (index, spec) in resources.iter().enumerate() {
        if !(1..=100).contains(&spec.weight) {
            let why = format!("resource weight of {} not in valid range (0, 100]", spec.name);
            let path = path.child("resources").index(index).child("weight");
            faults.push(field::Error::invalid(&path, spec.weight, why));
        }
    }
    let path = path.child("requestedToCapacityRatio");
    match (kind == Some(Kind::RequestedToCapacityRatio), ratio) {
        (true, None) => {
            faults.push(field::Error::required(&path, "must be specified when type is RequestedToCapacityRatio"));
        }
        (true, Some(ratio)) => faults.extend(shape_faults(&path.child("shape"), &ratio.shape)),
        (false, Some(_)) => {
            faults.push(field::Error::forbidden(&path, "must be nil when type is not RequestedToCapacityRatio"));
        }
        (false, None) => {}
    }
    faults
}

fn shape_faults(path: &Path, shape: &[Point]) -> Vec<field::Error> {
    if shape.is_empty() {
        return vec![field::Error::required(path, "at least one point must be specified")];
    }
    let mut faults = Vec::new();
    if let Some(before) = shape.windows(2).position(|two| two[0].utilization >= two[1].utilization) {
        let (path, value) = (path.index(before + 1).child("utilization"), shape[before + 1].utilization);
        faults.push(field::Error::invalid(&path, value, "values must be sorted in increasing order"));
    }
    for (index, point) in shape.iter().enumerate() {
        for (name, value, most) in [("utilization", point.utilization, 100), ("score", point.score, 10)] {
            if !(0..=most).contains(&value) {
                let why = format!("not in valid range [0, {most}]");
                faults.push(field::Error::invalid(&path.index(index).child(name), value, why));
            }
        }
    }
    faults
}

/// The piecewise linear function through the points; scores go to 10 there, to 100 here.
fn interpolate(shape: &[Point], at: i64) -> i64 {
    const SCALE: i64 = MAX_NODE_SCORE / 10;
    for (index, point) in shape.iter().enumerate() {
        if at <= point.utilization {
            let Some(before) = index.checked_sub(1).map(|index| shape[index]) else { return point.score * SCALE };
            let (low, high) = (before.score * SCALE, point.score * SCALE);
            return low + (high - low) * (at - before.utilization) / (point.utilization - before.utilization);
        }
    }
    shape.last().map_or(0, |point| point.score * SCALE)
}

/// For each resource a score counts: what the node has, what is used, what the pod adds. Extended resources that the
/// pod does not ask for, and those that the node does not have, are left out.
pub fn measures<'a>(
    specs: &'a [ResourceSpec],
    wanted: &'a Resources,
    used: &'a Resources,
    exact: &'a Resources,
    node: &'a NodeObject,
) -> impl Iterator<Item = (i64, i64, i64, i64)> + 'a {
    specs.iter().filter_map(move |spec| {
        let has = &node.allocatable;
        let (has, used, adds) = match spec.name.as_str() {
            "cpu" => (has.cpu_milli, used.cpu_milli, wanted.cpu_milli),
            "memory" => (has.memory, used.memory, wanted.memory),
            "ephemeral-storage" => (has.ephemeral_storage, exact.ephemeral_storage, wanted.ephemeral_storage),
            name => match wanted.scalar(name) {
                0 => return None,
                adds => (has.scalar(name), exact.scalar(name), adds),
            },
        };
        (has != 0).then_some((has, used, adds, spec.weight))
    })
}

impl Filter for NodeResourcesFit {
    fn scope(&self) -> Scope {
        Scope::Pods
    }

    fn filter(&self, cycle: &Cycle<'_>, node: &Node) -> Status {
        let requests = &cycle.pod.shape.shape.requests;
        let devices = &cycle.snapshot.devices;
        self.lacks(requests, &node.requested, node.pods.len() as i64, node.object(), devices)
    }
}

impl Score for NodeResourcesFit {
    fn scope(&self) -> Scope {
        Scope::Node
    }

    fn score(&self, cycle: &Cycle<'_>, node: &Node) -> i64 {
        let (mut sum, mut weights) = (0, 0);
        let wanted = &cycle.pod.shape.shape.padded;
        for (has, used, adds, weight) in measures(&self.resources, wanted, &node.padded, &node.requested, node.object())
        {
            let score = self.rate(used + adds, has);
            // A function through points may be 0 somewhere; such a resource does not count there.
            if self.kind == Kind::RequestedToCapacityRatio && score <= 0 {
                continue;
            }
            sum += score * weight;
            weights += weight;
        }
        match (weights, self.kind) {
            (0, _) => 0,
            (_, Kind::RequestedToCapacityRatio) => (sum as f64 / weights as f64).round() as i64,
            _ => sum / weights,
        }
    }
}

impl Plugin for NodeResourcesFit {
    fn name(&self) -> &'static str {
        "NodeResourcesFit"
    }

    fn events(&self) -> Action {
        Action::POD_DELETE
            .or(Action::POD_UPDATE_SCALE_DOWN)
            .or(Action::NODE_ADD)
            .or(Action::NODE_UPDATE_ALLOCATABLE)
            .or(Action::DEVICE_CLASS_ADD)
            .or(Action::DEVICE_CLASS_UPDATE)
    }

    fn hint(&self, pod: &PodInfo, event: &Event, context: &HintContext<'_>) -> Hint {
        let devices = &context.snapshot.devices;
        let wanted = &pod.shape.shape.requests;
        match &event.change {
            Change::Pod { old: Some(old), new: None } => {
                Hint::from(old.is_assigned() || !old.nominated_node.is_empty())
            }
            Change::Pod { old: Some(old), new: Some(new) } => {
                if new.uid == pod.uid {
                    return Hint::Queue;
                }
                let (before, after) = (&old.shape.shape.requests, &new.shape.shape.requests);
                Hint::from(
                    new.is_assigned()
                        && ((wanted.cpu_milli > 0 && after.cpu_milli < before.cpu_milli)
                            || (wanted.memory > 0 && after.memory < before.memory)
                            || (wanted.ephemeral_storage > 0 && after.ephemeral_storage < before.ephemeral_storage)
                            || wanted
                                .scalars
                                .iter()
                                .any(|(name, amount)| *amount > 0 && after.scalar(name) < before.scalar(name))),
                )
            }
            Change::Node { old, new: Some(new) } => {
                if !self.lacks(wanted, &Resources::default(), 0, new, devices).is_success() {
                    return Hint::Skip;
                }
                let Some(old) = old else { return Hint::Queue };
                let (before, after) = (&old.allocatable, &new.allocatable);
                Hint::from(
                    new.allowed_pods > old.allowed_pods
                        || (wanted.cpu_milli > 0 && after.cpu_milli > before.cpu_milli)
                        || (wanted.memory > 0 && after.memory > before.memory)
                        || (wanted.ephemeral_storage > 0 && after.ephemeral_storage > before.ephemeral_storage)
                        || wanted.scalars.iter().any(|(name, amount)| {
                            let more = after.scalar(name) > before.scalar(name);
                            let by_devices = || after.scalar(name) == 0 && devices.class_of(name).is_some();
                            *amount > 0 && (more || by_devices())
                        }),
                )
            }
            Change::DeviceClass { old, new } => {
                let named = |class: &DeviceClass| class.spec.extended_resource_name.clone();
                let asks = |name: &str| wanted.scalars.iter().any(|(known, _)| **known == *name);
                let by_name = || asks(&format!("{CLASS_PREFIX}{}", new.metadata.name.as_deref().unwrap_or_default()));
                let renamed = old.as_ref().is_none_or(|old| named(old) != named(new));
                Hint::from(renamed && ((old.is_none() && by_name()) || named(new).is_some_and(|name| asks(&name))))
            }
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
