//! What objects use of what quotas limit: pods what they ask for, services ports, claims storage, and everything its own
//! number. Follows `pkg/quota/v1/evaluator/core`; claims of devices are counted by number alone.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use machinery::json::Fields;
use machinery::meta;
use machinery::names::is_native_resource;
use machinery::quantity::{Format, Quantity};
use model::resource::Resource;
use serde_json::Value;

use super::super::amounts::{Amounts, add, amounts, of_pod};

const STORAGE_CLASS: &str = ".storageclass.storage.k8s.io/";
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

/// How a kind is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counted {
    /// Pods.
    Pods,
    /// Services.
    Services,
    /// PersistentVolumeClaims.
    Claims,
    /// Anything else: by number.
    Number,
}

impl Counted {
    /// How objects of a row are.
    pub fn of(row: &Resource) -> Self {
        match (row.group.as_ref(), row.resource.as_ref()) {
            ("", "pods") => Counted::Pods,
            ("", "services") => Counted::Services,
            ("", "persistentvolumeclaims") => Counted::Claims,
            _ => Counted::Number,
        }
    }

    /// Whether a name in a quota is of something that these objects use.
    pub fn names(self, row: &Resource, name: &str) -> bool {
        name == number(row)
            || match self {
                Counted::Pods => {
                    let asked = name.strip_prefix("requests.").unwrap_or_default();
                    OF_PODS.contains(&name)
                        || name.starts_with(HUGE_PAGES)
                        || asked.starts_with(HUGE_PAGES)
                        || !is_native_resource(asked)
                }
                Counted::Services => matches!(name, "services" | "services.nodeports" | "services.loadbalancers"),
                Counted::Claims => {
                    let name = name.split_once(STORAGE_CLASS).map_or(name, |(_, name)| name);
                    matches!(name, "persistentvolumeclaims" | "requests.storage")
                }
                Counted::Number => alias(row) == Some(name),
            }
    }

    /// What a pod's containers do not say although they must.
    pub fn lacks(self, named: &[&str], obj: &Value) -> Option<String> {
        if self != Counted::Pods || !is_empty(obj["spec"].sub("resources")) {
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

    /// What an object uses.
    pub fn usage(self, row: &Resource, obj: &Value, now: Timestamp) -> Amounts {
        let mut usage = Amounts::from([(number(row), whole(1))]);
        match self {
            Counted::Pods if lives(obj, now) => of_live_pod(obj, &mut usage),
            Counted::Pods => {}
            Counted::Services => of_service(obj, &mut usage),
            Counted::Claims => of_claim(obj, &mut usage),
            Counted::Number => usage.extend(alias(row).map(|name| (name.to_owned(), whole(1)))),
        }
        usage
    }
}

/// `count/plural`, `count/plural.group`.
fn number(row: &Resource) -> String {
    let dot = if row.group.is_empty() { "" } else { "." };
    format!("count/{}{dot}{}", row.resource, row.group)
}

/// The older name for the number of some kinds.
fn alias(row: &Resource) -> Option<&str> {
    let old = ["configmaps", "resourcequotas", "replicationcontrollers", "secrets"];
    (row.group.is_empty() && old.contains(&row.resource.as_ref())).then_some(row.resource.as_ref())
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
    let due = meta::deletion_timestamp(pod).zip(pod["metadata"].int("deletionGracePeriodSeconds"));
    let overdue =
        due.is_some_and(|(at, grace)| at.checked_add(SignedDuration::from_secs(grace)).is_ok_and(|last| now > last));
    !over && !overdue
}

fn of_live_pod(pod: &Value, usage: &mut Amounts) {
    usage.insert("pods".into(), whole(1));
    let (mut requests, mut limits) = (of_pod(pod, "requests"), of_pod(pod, "limits"));
    let overhead = amounts(pod["spec"].sub("overhead"));
    add(&mut requests, &overhead);
    let limited: Amounts = overhead.into_iter().filter(|(name, _)| limits.contains_key(name)).collect();
    add(&mut limits, &limited);
    for (name, amount) in requests {
        let known = matches!(name.as_str(), "cpu" | "memory" | "ephemeral-storage") || name.starts_with(HUGE_PAGES);
        if known || !is_native_resource(&name) {
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
    if let Some(asked) = asked {
        both("requests.storage", given.filter(|given| *given > asked).unwrap_or(asked));
    }
}
