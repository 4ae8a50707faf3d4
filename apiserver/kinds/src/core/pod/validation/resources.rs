//! Requests, limits, overhead and claims.

use std::collections::BTreeSet;

use machinery::field::{Error, ErrorList, Path};
use machinery::json::Fields;
use machinery::names;
use machinery::quantity::Quantity;
use model::check::Faults;
use serde_json::Value;

const STANDARD: [&str; 20] = [
    "cpu",
    "memory",
    "ephemeral-storage",
    "requests.cpu",
    "requests.memory",
    "requests.ephemeral-storage",
    "limits.cpu",
    "limits.memory",
    "limits.ephemeral-storage",
    "pods",
    "resourcequotas",
    "services",
    "replicationcontrollers",
    "secrets",
    "configmaps",
    "persistentvolumeclaims",
    "storage",
    "requests.storage",
    "services.nodeports",
    "services.loadbalancers",
];

const WHOLE: [&str; 9] = [
    "pods",
    "resourcequotas",
    "services",
    "replicationcontrollers",
    "secrets",
    "configmaps",
    "persistentvolumeclaims",
    "services.nodeports",
    "services.loadbalancers",
];

/// Whether a resource is memory in huge pages.
pub fn is_huge_page(name: &str) -> bool {
    name.starts_with("hugepages-")
}

/// The name of any resource.
pub fn resource_name(name: &str, at: &Path, errors: &mut ErrorList) -> bool {
    let before = errors.len();
    errors.each(at, name, names::qualified_name(name));
    let quota_huge_page = is_huge_page(name) || name.starts_with("requests.hugepages-");
    if errors.len() == before && !name.contains('/') && !STANDARD.contains(&name) && !quota_huge_page {
        errors.invalid(at, name, "must be a standard resource type or fully qualified");
    }
    errors.len() == before
}

/// The name of a resource that a container can ask for.
pub fn container_resource_name(name: &str, at: &Path, errors: &mut ErrorList) {
    resource_name(name, at, errors);
    if !name.contains('/') {
        if !["cpu", "memory", "ephemeral-storage"].contains(&name) && !is_huge_page(name) {
            errors.invalid(at, name, "must be a standard resource for containers");
        }
    } else if !names::is_native_resource(name) && !names::is_extended_resource(name) {
        errors.invalid(at, name, "doesn't follow extended resource name standard");
    }
}

fn pod_resource_name(name: &str, at: &Path, errors: &mut ErrorList) {
    if resource_name(name, at, errors) && !["cpu", "memory"].contains(&name) && !is_huge_page(name) {
        errors.unsupported(at, name, &["cpu", "hugepages-", "memory"]);
    }
}

/// An amount of a resource.
pub fn resource_quantity(name: &str, amount: &Quantity, at: &Path, errors: &mut ErrorList) {
    if amount.sign() < 0 {
        errors.invalid(at, amount.to_string(), "must be greater than or equal to 0");
    }
    if (WHOLE.contains(&name) || names::is_extended_resource(name)) && amount.milli_value() % 1000 != 0 {
        errors.invalid(at, amount.to_string(), "must be an integer");
    }
}

fn huge_page_value(name: &str, amount: &Quantity, at: &Path, errors: &mut ErrorList) {
    let size = Quantity::parse(name.trim_start_matches("hugepages-")).ok().filter(|s| s.sign() > 0);
    let fits = size.is_some_and(|s| s.milli_value() % 1000 == 0 && amount.value() % s.value() == 0);
    if !fits {
        errors.invalid(at, amount.to_string(), format!("{amount} is not positive integer multiple of {name}"));
    }
}

/// A container's resources.
pub(super) fn container(resources: Option<&Value>, claims: &BTreeSet<&str>, at: &Path, errors: &mut ErrorList) {
    requirements(resources, container_resource_name, claims, at, errors);
}

fn requirements(
    resources: Option<&Value>,
    name_rule: fn(&str, &Path, &mut ErrorList),
    claims: &BTreeSet<&str>,
    at: &Path,
    errors: &mut ErrorList,
) {
    if resources.is_none() {
        return;
    }
    let (mut compute, mut huge) = (false, false);
    for list in ["limits", "requests"] {
        let path = at.child(list);
        for (name, value) in resources.entries(list) {
            let Some(amount) = Quantity::from_value(value) else { continue };
            let at_name = path.key(name);
            name_rule(name, &at_name, errors);
            resource_quantity(name, &amount, &at_name, errors);
            compute |= matches!(name, "cpu" | "memory");
            huge |= is_huge_page(name);
            if list == "requests" {
                let overcommit = names::is_native_resource(name) && !is_huge_page(name);
                let limit = resources.sub("limits").and_then(|l| l.quantity(name));
                match limit {
                    Some(limit) if !overcommit && amount != limit => {
                        errors.invalid(&path, amount.to_string(), format!("must be equal to {name} limit of {limit}"));
                    }
                    Some(limit) if amount > limit => {
                        let detail = format!("must be less than or equal to {name} limit of {limit}");
                        errors.invalid(&path, amount.to_string(), detail);
                    }
                    None if !overcommit => {
                        let detail = "Limit must be set for non overcommitable resources";
                        errors.required(&at.child("limits"), detail);
                    }
                    _ => {}
                }
            }
            if is_huge_page(name) {
                huge_page_value(name, &amount, &at_name, errors);
            }
        }
    }
    if huge && !compute {
        errors.forbidden(at, "HugePages require cpu or memory");
    }
    claim_names(resources.list("claims"), claims, &at.child("claims"), errors);
}

fn claim_names(list: &[Value], known: &BTreeSet<&str>, at: &Path, errors: &mut ErrorList) {
    let mut seen: BTreeSet<String> = BTreeSet::new();
    for (i, claim) in list.iter().enumerate() {
        let at = at.index(i);
        let (name, request) = (claim.text("name"), claim.text("request"));
        if name.is_empty() {
            errors.required(&at, "");
        } else if seen.contains(name) {
            errors.duplicate(&at, name);
        } else {
            let mut key = name.to_owned();
            if !request.is_empty() {
                errors.each(&at.child("request"), request, names::dns1123_label(request));
                key = format!("{name}/{request}");
            }
            if seen.contains(&key) {
                errors.duplicate(&at, key.as_str());
            } else if request.is_empty() {
                let parts = seen.iter().filter(|k| k.split_once('/').is_some_and(|(n, _)| n == name)).count();
                (0..parts).for_each(|_| errors.duplicate(&at, name));
            }
            seen.insert(key);
        }
        if !known.contains(name) {
            let mut error = Error::not_found(&at, name);
            error.detail = "must be one of the names in pod.spec.resourceClaims".to_owned();
            if known.is_empty() {
                error.detail += " which is empty";
            } else {
                error.detail += ": ";
                error.detail += &known.iter().copied().collect::<Vec<_>>().join(", ");
            }
            errors.push(error);
        }
    }
}

/// `spec.resourceClaims`.
pub(super) fn pod_claims(claims: &[Value], at: &Path, errors: &mut ErrorList) {
    let mut seen = BTreeSet::new();
    for (i, claim) in claims.iter().enumerate() {
        let at = at.index(i);
        let name = claim.text("name");
        if name.is_empty() {
            errors.required(&at.child("name"), "");
        } else if seen.insert(name) {
            errors.each(&at.child("name"), name, names::dns1123_label(name));
        } else {
            errors.duplicate(&at.child("name"), name);
        }
        let sources = ["resourceClaimName", "resourceClaimTemplateName"];
        match sources.iter().filter(|s| claim.has(s)).count() {
            0 => {
                let detail = "must specify one of: `resourceClaimName`, `resourceClaimTemplateName`";
                errors.invalid(&at, claim.clone(), detail);
            }
            2 => {
                let detail = "at most one of `resourceClaimName` or `resourceClaimTemplateName` may be specified";
                errors.invalid(&at, claim.clone(), detail);
            }
            _ => {}
        }
        for source in sources.into_iter().filter(|s| claim.has(s)) {
            let name = claim.text(source);
            errors.each(&at.child(source), name, names::dns1123_subdomain(name));
        }
    }
}

/// `spec.resources`: of the pod as a whole.
pub(super) fn pod_level(spec: &Value, at: &Path, errors: &mut ErrorList) {
    let Some(resources) = spec.sub("resources") else { return };
    let at = at.child("resources");
    if spec.sub("os").text("name") == "windows" {
        return errors.forbidden(&at, "may not be set for a windows pod");
    }
    if resources.has("claims") {
        errors.forbidden(&at.child("claims"), "claims may not be set for Resources at pod-level");
    }
    requirements(Some(resources), pod_resource_name, &BTreeSet::new(), &at, errors);
    for (name, value) in resources.entries("requests") {
        let Some(of_pod) = Quantity::from_value(value) else { continue };
        let sum = spec
            .list("containers")
            .iter()
            .filter_map(|c| c.sub("resources").sub("requests").and_then(|r| r.quantity(name)))
            .fold(Quantity::zero(), |sum, q| sum.add(&q));
        if sum > of_pod {
            let detail = format!("must be greater than or equal to aggregate container requests of {sum}");
            errors.invalid(&at.child("requests").key(name), of_pod.to_string(), detail);
        }
    }
    for (i, container) in spec.list("containers").iter().enumerate() {
        for (name, value) in container.sub("resources").entries("limits") {
            let (Some(own), Some(limit)) =
                (Quantity::from_value(value), resources.sub("limits").and_then(|l| l.quantity(name)))
            else {
                continue;
            };
            if own > limit {
                let at = at.child("containers").index(i).key(name).child("limits");
                errors.invalid(&at, own.to_string(), format!("must be less than or equal to pod limits of {limit}"));
            }
        }
    }
}

/// `spec.overhead`, which upstream examines as the limits of a container.
pub(super) fn overhead(spec: &Value, at: &Path, errors: &mut ErrorList) {
    limits(spec.entries("overhead"), at, errors);
}

/// The limits of a container, at the path of its resources.
pub fn limits<'a>(amounts: impl Iterator<Item = (&'a str, &'a Value)>, at: &Path, errors: &mut ErrorList) {
    for (name, value) in amounts {
        let at = at.child("limits").key(name);
        container_resource_name(name, &at, errors);
        if let Some(amount) = Quantity::from_value(value) {
            resource_quantity(name, &amount, &at, errors);
        }
    }
}
