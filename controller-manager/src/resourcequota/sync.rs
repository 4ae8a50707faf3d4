//! The decisions: what a quota's status says, given what is used, and which changes of objects free something.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::core::v1::{ContainerStatus, PersistentVolumeClaim, Pod, ResourceQuota, ResourceQuotaStatus, Service},
    apimachinery::pkg::api::resource::Quantity as Amount,
    jiff::Timestamp,
};
use machinery::quantity::{Format, Quantity};
use serde_json::Value;
use usage::{Evaluator, Facts, amounts::Amounts};

use super::memory::Counted;

type Named = BTreeMap<String, Amount>;

/// What a quota limits, by its spec.
pub(crate) fn hard(quota: &ResourceQuota) -> &Named {
    static NONE: Named = Named::new();
    quota.spec.as_ref().and_then(|s| s.hard.as_ref()).unwrap_or(&NONE)
}

fn status(quota: &ResourceQuota) -> (Option<&Named>, Option<&Named>) {
    let status = quota.status.as_ref();
    (status.and_then(|s| s.hard.as_ref()), status.and_then(|s| s.used.as_ref()))
}

/// Which of a quota's names an evaluator counts.
pub(crate) fn named<'a>(quota: &'a ResourceQuota, evaluator: &Evaluator<'_>) -> Vec<&'a str> {
    hard(quota).keys().map(String::as_str).filter(|name| evaluator.names(name)).collect()
}

/// Whether a quota's status limits something that an evaluator counts: then it is counted again when something goes.
pub(crate) fn tracks(quota: &ResourceQuota, evaluator: &Evaluator<'_>) -> bool {
    status(quota).0.into_iter().flat_map(BTreeMap::keys).any(|name| evaluator.names(name))
}

/// Whether a quota waits for its first figures: it says what it limits and not yet how much is used. `countable` says
/// whether anybody can count a name.
pub(crate) fn is_urgent(quota: &ResourceQuota, countable: impl Fn(&str) -> bool) -> bool {
    let (hard_now, used) = status(quota);
    let (none, wanted) = (Named::new(), hard(quota));
    let hard_now = hard_now.unwrap_or(&none);
    !same(wanted, hard_now)
        || hard_now.keys().any(|name| used.is_none_or(|used| !used.contains_key(name)) && countable(name))
}

/// Whether two sets of amounts are the same, however they are written.
pub(crate) fn same(a: &Named, b: &Named) -> bool {
    let equal = |x: &Amount, y: &Amount| x == y || Quantity::parse(&x.0).ok() == Quantity::parse(&y.0).ok();
    a.len() == b.len() && a.iter().all(|(name, x)| b.get(name).is_some_and(|y| equal(x, y)))
}

/// Adds what the counted objects use of `named`, as far as a quota with this spec is for them. What is used of not at
/// all is zero.
pub(crate) fn count<'a>(
    spec: &Value,
    named: &[&str],
    objects: impl IntoIterator<Item = &'a Counted>,
    used: &mut Amounts,
) {
    for name in named {
        used.entry((*name).to_owned()).or_insert_with(Quantity::zero);
    }
    for object in objects.into_iter().filter(|object| object.facts.fit(spec)) {
        for name in named {
            if let (Some(more), Some(sum)) = (object.usage.get(*name), used.get_mut(*name)) {
                *sum = sum.add(more);
            }
        }
    }
}

/// The same for objects that are counted by number alone, and so are in no scope.
pub(crate) fn count_number(spec: &Value, evaluator: &Evaluator<'_>, named: &[&str], number: usize, used: &mut Amounts) {
    let nothing = Facts::of(evaluator.counted, &Value::Null);
    let number = if nothing.fit(spec) { number } else { 0 };
    let number = i64::try_from(number).unwrap_or(i64::MAX);
    used.extend(named.iter().map(|name| ((*name).to_owned(), Quantity::new(number, Format::DecimalSi))));
}

/// The quota with a status that says what is used, or nothing if it says so. What could not be counted now keeps its
/// last figure.
pub(crate) fn sync(quota: &ResourceQuota, counted: &Amounts) -> Option<ResourceQuota> {
    let hard = hard(quota);
    let (hard_before, used_before) = status(quota);
    let mut used = used_before.cloned().unwrap_or_default();
    used.retain(|name, _| hard.contains_key(name));
    used.extend(counted.iter().filter(|(name, _)| hard.contains_key(*name)).map(|(name, amount)| {
        let before = used_before.and_then(|u| u.get(name)).filter(|b| Quantity::parse(&b.0).as_ref() == Ok(amount));
        (name.clone(), before.cloned().unwrap_or_else(|| Amount(amount.canonical())))
    }));
    let dirty = hard_before.is_none_or(|before| !same(before, hard)) || used_before.is_none_or(|u| !same(u, &used));
    dirty.then(|| {
        let mut quota = quota.clone();
        quota.status = Some(ResourceQuotaStatus { hard: Some(hard.clone()), used: Some(used) });
        quota
    })
}

/// Whether a pod may use less than before: it ended, was resized, or is in another scope.
pub(crate) fn pod_frees(old: &Pod, new: &Pod, now: Timestamp) -> bool {
    let ends = |pod: &Pod| pod.spec.as_ref().and_then(|s| s.active_deadline_seconds).is_some();
    resized(old, new) || ends(old) != ends(new) || (lives(old, now) && !lives(new, now))
}

fn lives(pod: &Pod, now: Timestamp) -> bool {
    let meta = &pod.metadata;
    let overdue =
        meta.deletion_timestamp.as_ref().zip(meta.deletion_grace_period_seconds).is_some_and(|(at, grace)| {
            let end = at.0.checked_add(k8s_openapi::jiff::SignedDuration::from_secs(grace));
            end.is_ok_and(|end| now > end)
        });
    !crate::util::pods::is_finished(pod) && !overdue
}

fn resized(old: &Pod, new: &Pod) -> bool {
    containers(old).any(|had| containers(new).any(|has| has.name == had.name && has.resources != had.resources))
}

fn containers(pod: &Pod) -> impl Iterator<Item = &ContainerStatus> {
    let status = pod.status.iter();
    status.flat_map(|s| s.container_statuses.iter().chain(&s.init_container_statuses)).flatten()
}

/// Whether a Service may use less than before: it is of another type.
pub(crate) fn service_frees(old: &Service, new: &Service) -> bool {
    let kind = |service: &Service| {
        let kind = service.spec.as_ref().and_then(|s| s.type_.clone()).unwrap_or_default();
        matches!(kind.as_str(), "NodePort" | "LoadBalancer").then_some(kind)
    };
    kind(old) != kind(new)
}

/// Whether a claim may use less than before: it got another size, or has to do with other classes.
pub(crate) fn claim_frees(old: &PersistentVolumeClaim, new: &PersistentVolumeClaim) -> bool {
    let of = |claim: &PersistentVolumeClaim| {
        let spec = claim.spec.clone().unwrap_or_default();
        let status = claim.status.clone().unwrap_or_default();
        (
            spec.resources,
            spec.volume_attributes_class_name,
            status.allocated_resources,
            status.current_volume_attributes_class_name,
            status.modify_volume_status.and_then(|m| m.target_volume_attributes_class_name),
        )
    };
    of(old) != of(new)
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
