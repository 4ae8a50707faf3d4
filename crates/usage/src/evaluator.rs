//! What objects use of what quotas limit: pods what they ask for, services ports, claims storage or devices, and
//! everything its own number. Follows `pkg/quota/v1/evaluator/core`.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use machinery::json::Fields;
use machinery::meta;
use machinery::names::{is_extended_resource, is_native_resource};
use machinery::quantity::{Format, Quantity};
use serde_json::Value;

use crate::amounts::{Amounts, add, amounts, of_running_pod};
use crate::devices::{DEVICE_CLASS, DEVICES, DeviceClasses};

const STORAGE_CLASS: &str = ".storageclass.storage.k8s.io/";
/// The most devices that a request for all of them can get.
const ALL_DEVICES: i64 = 32;
const HUGE_PAGES: &str = "hugepages-";
/// What a pod uses that has no limits of its own in a quota's words.
const OF_PODS: [&str; 10] = [
    "pods",
    "cpu",
    "memory",
    "ephemeral-storage",
    "requests.cpu",
    "requests.memory",
    "requests.ephemeral-storage",
    "limits.cpu",
    "limits.memory",
    "limits.ephemeral-storage",
];
/// Where a quota limits these, every container must say what it wants of them: a mistake that clients rely on.
const REQUIRED: [&str; 6] = ["cpu", "memory", "requests.cpu", "requests.memory", "limits.cpu", "limits.memory"];

/// Kinds that have an older name for their number: their plural.
const ALIASED: [&str; 4] = ["configmaps", "resourcequotas", "replicationcontrollers", "secrets"];

/// How a kind is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counted {
    /// Pods.
    Pods,
    /// Services.
    Services,
    /// PersistentVolumeClaims.
    Claims,
    /// ResourceClaims.
    DeviceClaims,
    /// Anything else: by number.
    Number,
}

/// Counts the objects of one resource.
#[derive(Debug, Clone, Copy)]
pub struct Evaluator<'a> {
    group: &'a str,
    resource: &'a str,
    /// How they are counted.
    pub counted: Counted,
    /// What is known of extended resources.
    classes: Option<&'a DeviceClasses>,
}

impl<'a> Evaluator<'a> {
    /// Of a resource by its plural and group.
    pub const fn of(group: &'a str, resource: &'a str) -> Self {
        let counted = match (group.as_bytes(), resource.as_bytes()) {
            (b"", b"pods") => Counted::Pods,
            (b"", b"services") => Counted::Services,
            (b"", b"persistentvolumeclaims") => Counted::Claims,
            (b"resource.k8s.io", b"resourceclaims") => Counted::DeviceClaims,
            _ => Counted::Number,
        };
        Self { group, resource, counted, classes: None }
    }

    /// The same where it is known for which devices extended resources stand: claims of devices have names of these, too.
    #[must_use]
    pub const fn with<'b>(self, classes: &'b DeviceClasses) -> Evaluator<'b>
    where
        'a: 'b,
    {
        Evaluator { group: self.group, resource: self.resource, counted: self.counted, classes: Some(classes) }
    }

    /// Of the resource whose number a quota limits by this name; none if the name is of something else.
    pub fn by_number(name: &'a str) -> Option<Self> {
        match name.strip_prefix("count/") {
            Some(named) => {
                let (resource, group) = named.split_once('.').unwrap_or((named, ""));
                Some(Self::of(group, resource))
            }
            None => ALIASED.contains(&name).then(|| Self::of("", name)),
        }
    }

    /// Its group.
    pub fn group(&self) -> &'a str {
        self.group
    }

    /// Its plural.
    pub fn resource(&self) -> &'a str {
        self.resource
    }

    /// Whether a name in a quota is of something that these objects use.
    pub fn names(&self, name: &str) -> bool {
        name == self.number()
            || match self.counted {
                Counted::Pods => {
                    let asked = name.strip_prefix("requests.").unwrap_or_default();
                    OF_PODS.contains(&name)
                        || name.starts_with(HUGE_PAGES)
                        || asked.starts_with(HUGE_PAGES)
                        || asked.starts_with(DEVICE_CLASS)
                        || !is_native_resource(asked)
                }
                Counted::Services => matches!(name, "services" | "services.nodeports" | "services.loadbalancers"),
                Counted::Claims => {
                    let name = name.split_once(STORAGE_CLASS).map_or(name, |(_, name)| name);
                    matches!(name, "persistentvolumeclaims" | "requests.storage")
                }
                Counted::DeviceClaims => {
                    name.ends_with(DEVICES) || self.classes.is_some_and(|classes| classes.names(name))
                }
                Counted::Number => self.alias() == Some(name),
            }
    }

    /// What a pod's containers do not say although they must.
    pub fn lacks(&self, named: &[&str], obj: &Value) -> Option<String> {
        if self.counted != Counted::Pods || !is_empty(obj["spec"].sub("resources")) {
            return None;
        }
        let mut missing: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for container in obj["spec"].list("containers").iter().chain(obj["spec"].list("initContainers")) {
            let resources = container.sub("resources");
            let (requests, limits) = (amounts(resources.sub("requests")), amounts(resources.sub("limits")));
            let says = |name: &str| match name.strip_prefix("limits.") {
                Some(name) => limits.contains_key(name),
                None => requests.contains_key(name.strip_prefix("requests.").unwrap_or(name)),
            };
            for name in named.iter().filter(|name| REQUIRED.contains(name) && !says(name)) {
                missing.entry(name).or_default().insert(container.text("name"));
            }
        }
        let said = |(name, containers): (&str, BTreeSet<&str>)| {
            format!("{name} for: {}", containers.into_iter().collect::<Vec<_>>().join(","))
        };
        (!missing.is_empty())
            .then(|| format!("must specify {}", missing.into_iter().map(said).collect::<Vec<_>>().join("; ")))
    }

    /// What an object uses; of a claim of devices what it uses of their classes, see [`DeviceClasses::charge`].
    pub fn usage(&self, obj: &Value, now: Timestamp) -> Amounts {
        let mut usage = Amounts::from([(self.number(), whole(1))]);
        match self.counted {
            Counted::Pods if lives(obj, now) => of_live_pod(obj, &mut usage),
            Counted::Pods => {}
            Counted::Services => of_service(obj, &mut usage),
            Counted::Claims => of_claim(obj, &mut usage),
            Counted::DeviceClaims => of_device_claim(obj, &mut usage),
            Counted::Number => usage.extend(self.alias().map(|name| (name.to_owned(), whole(1)))),
        }
        usage
    }

    /// When an object uses less although nobody changes it: a pod whose node does not end it.
    pub fn overdue(&self, obj: &Value) -> Option<Timestamp> {
        (self.counted == Counted::Pods).then(|| overdue(obj)).flatten()
    }

    /// `count/plural`, `count/plural.group`.
    fn number(&self) -> String {
        let dot = if self.group.is_empty() { "" } else { "." };
        format!("count/{}{dot}{}", self.resource, self.group)
    }

    /// The older name for the number of some kinds.
    fn alias(&self) -> Option<&'a str> {
        (self.group.is_empty() && ALIASED.contains(&self.resource)).then_some(self.resource)
    }
}

fn whole(number: usize) -> Quantity {
    Quantity::new(i64::try_from(number).unwrap_or(i64::MAX), Format::DecimalSi)
}

fn is_empty(resources: Option<&Value>) -> bool {
    ["requests", "limits"].into_iter().all(|what| resources.entries(what).next().is_none())
}

/// Whether a pod is counted: it has not ended, and is not overdue.
fn lives(pod: &Value, now: Timestamp) -> bool {
    let over = matches!(pod["status"].text("phase"), "Failed" | "Succeeded");
    !over && overdue(pod).is_none_or(|last| now <= last)
}

/// The end of a deleted pod's grace.
fn overdue(pod: &Value) -> Option<Timestamp> {
    let (at, grace) = meta::deletion_timestamp(pod).zip(pod["metadata"].int("deletionGracePeriodSeconds"))?;
    at.checked_add(SignedDuration::from_secs(grace)).ok()
}

fn of_live_pod(pod: &Value, usage: &mut Amounts) {
    usage.insert("pods".into(), whole(1));
    let (mut requests, mut limits) = (of_running_pod(pod, "requests"), of_running_pod(pod, "limits"));
    let overhead = amounts(pod["spec"].sub("overhead"));
    add(&mut requests, &overhead);
    let limited = overhead.into_iter().filter(|(name, _)| limits.get(name).is_some_and(|limit| !limit.is_zero()));
    let limited: Amounts = limited.collect();
    add(&mut limits, &limited);
    for (name, amount) in requests {
        let known = matches!(name.as_str(), "cpu" | "memory" | "ephemeral-storage") || name.starts_with(HUGE_PAGES);
        if known || is_extended_resource(&name) || name.starts_with(DEVICE_CLASS) {
            usage.insert(format!("requests.{name}"), amount.clone());
        }
        if known {
            usage.insert(name, amount);
        }
    }
    let limits = limits.into_iter().filter(|(name, _)| matches!(name.as_str(), "cpu" | "memory" | "ephemeral-storage"));
    usage.extend(limits.map(|(name, amount)| (format!("limits.{name}"), amount)));
}

fn of_service(service: &Value, usage: &mut Amounts) {
    let spec = &service["spec"];
    let ports = spec.list("ports");
    let (nodes, balancers) = match spec.text("type") {
        "NodePort" => (ports.len(), 0),
        // Ports that are not given out yet count, unless none will be.
        "LoadBalancer" if spec.flag("allocateLoadBalancerNodePorts") == Some(false) => {
            (ports.iter().filter(|port| port.int("nodePort").unwrap_or(0) != 0).count(), 1)
        }
        "LoadBalancer" => (ports.len(), 1),
        _ => (0, 0),
    };
    usage.insert("services".into(), whole(1));
    usage.insert("services.nodeports".into(), whole(nodes));
    usage.insert("services.loadbalancers".into(), whole(balancers));
}

fn of_claim(claim: &Value, usage: &mut Amounts) {
    let annotated = meta::annotation(claim, "volume.beta.kubernetes.io/storage-class");
    let class = annotated.unwrap_or_else(|| claim["spec"].text("storageClassName"));
    let mut both = |name: &str, amount: Quantity| {
        if !class.is_empty() {
            usage.insert(format!("{class}{STORAGE_CLASS}{name}"), amount.clone());
        }
        usage.insert(name.to_owned(), amount);
    };
    both("persistentvolumeclaims", whole(1));
    let asked = claim["spec"].sub("resources").sub("requests").quantity("storage");
    let given = claim["status"].sub("allocatedResources").quantity("storage");
    if let Some(asked) = asked.map(whole_bytes) {
        both("requests.storage", given.filter(|given| *given > asked).map_or(asked, whole_bytes));
    }
}

/// Quotas count whole bytes.
fn whole_bytes(amount: Quantity) -> Quantity {
    let rounded = Quantity::new(amount.value(), amount.format());
    if rounded == amount { amount } else { rounded }
}

fn of_device_claim(claim: &Value, usage: &mut Amounts) {
    let devices = |request: &Value| match request.text("allocationMode") {
        "ExactCount" => request.int("count").unwrap_or(0),
        "All" => ALL_DEVICES,
        _ => 0,
    };
    for request in claim["spec"].sub("devices").list("requests") {
        // Of alternatives one is taken: the most of each class counts.
        let mut most: BTreeMap<&str, i64> = BTreeMap::new();
        let exactly = request.sub("exactly").filter(|_| request.list("firstAvailable").is_empty());
        for asked in request.list("firstAvailable").iter().chain(exactly) {
            let of_class = most.entry(asked.text("deviceClassName")).or_default();
            *of_class = devices(asked).max(*of_class);
        }
        let amounts =
            most.into_iter().map(|(class, n)| (format!("{class}{DEVICES}"), Quantity::new(n, Format::DecimalSi)));
        add(usage, &amounts.collect());
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
