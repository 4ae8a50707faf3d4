//! The `kubernetes` ServiceCIDR: the ranges that the server was started with. It is made again where it is missing, may
//! get a second IP family, and is told to be ready; ranges that differ are told and left.
//!
//! Follows `pkg/controlplane/controller/defaultservicecidr`. What upstream says in Events about it is in the log.

use ipnet::IpNet;
use jiff::Timestamp;
use machinery::gvk::GroupResource;
use machinery::json::Fields;
use machinery::meta;
use machinery::status::StatusError;
use serde_json::{Value, json};
use writes::Registry;

use super::ensure;

const NAME: &str = "kubernetes";

/// Brings the object to what it should be.
pub(super) async fn run(registry: &Registry, ranges: &[IpNet]) -> Result<(), StatusError> {
    let resource = GroupResource::new("networking.k8s.io", "servicecidrs");
    let cidrs: Vec<String> = ranges.iter().map(|range| range.trunc().to_string()).collect();
    let range = json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "ServiceCIDR",
        "metadata": { "name": NAME },
        "spec": { "cidrs": cidrs },
    });
    ensure(registry, &resource, vec![range], second_family).await?;
    let Some(present) = registry.get(&resource, None, NAME) else { return Ok(()) };
    if !present["spec"].texts("cidrs").eq(cidrs.iter()) {
        tracing::warn!(present = %present["spec"]["cidrs"], ?cidrs, "the default ServiceCIDR does not match the flag");
        return Ok(());
    }
    if ready(&present, Timestamp::now()).is_none() {
        return Ok(());
    }
    let mut change = |old: &Value| Ok(ready(old, Timestamp::now()).unwrap_or_else(|| old.clone()));
    match registry.update_part(&resource, None, NAME, "status", &mut change).await {
        // Deleted in between: it is made the next time.
        Err(error) if error.is_not_found() => Ok(()),
        outcome => outcome.map(drop),
    }
}

/// A cluster of one IP family becomes one of two.
fn second_family(existing: &Value, expected: &Value) -> Option<Value> {
    let (old, new) = (existing["spec"].list("cidrs"), expected["spec"].list("cidrs"));
    let grows = old.len() == 1 && new.len() == 2 && old[0] == new[0];
    grows.then(|| {
        let mut next = existing.clone();
        next["spec"]["cidrs"] = expected["spec"]["cidrs"].clone();
        next
    })
}

/// The object with a condition that says it is ready; `None` where somebody has said something of it, or it is deleted.
fn ready(object: &Value, now: Timestamp) -> Option<Value> {
    let conditions = object["status"].list("conditions");
    let known = |c: &Value| c.text("type") == "Ready" && c.text("status") != "Unknown";
    if meta::deletion_timestamp(object).is_some() || conditions.iter().any(known) {
        return None;
    }
    let others = conditions.iter().filter(|c| c.text("type") != "Ready").cloned();
    let ready = json!({
        "type": "Ready", "status": "True", "reason": "", "message": "Kubernetes default Service CIDR is ready",
        "lastTransitionTime": machinery::time::rfc3339(now),
    });
    let conditions: Vec<Value> = others.chain([ready]).collect();
    let mut next = object.clone();
    next["status"] = json!({ "conditions": conditions });
    Some(next)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(cidrs: &[&str]) -> Value {
        json!({ "metadata": { "name": NAME }, "spec": { "cidrs": cidrs } })
    }

    #[test]
    fn a_second_family_is_added_to_the_same_first_one() {
        let (v4, v6) = ("10.96.0.0/16", "fd00::/108");
        let check = |old: &[&str], new: &[&str], grows: bool| {
            let next = second_family(&object(old), &object(new));
            assert_eq!(next, grows.then(|| object(new)), "{old:?} {new:?}");
        };
        check(&[v4], &[v4, v6], true);
        check(&[v4], &[v4], false);
        check(&[v6], &[v4, v6], false);
        check(&[v4, v6], &[v4], false);
    }

    #[test]
    fn what_nobody_has_said_anything_of_is_ready() {
        let now: Timestamp = "2026-01-01T00:00:00Z".parse().expect("a time");
        let said = |status: &str| {
            let mut object = object(&["10.96.0.0/16"]);
            object["status"] = json!({ "conditions": [{ "type": "Ready", "status": status }] });
            ready(&object, now).map(|next| next["status"].list("conditions").len())
        };
        assert_eq!([said("True"), said("False"), said("Unknown")], [None, None, Some(1)]);
        let next = ready(&object(&["10.96.0.0/16"]), now).expect("a condition");
        assert_eq!(next["status"]["conditions"][0]["status"], "True");
        let mut deleted = object(&["10.96.0.0/16"]);
        deleted["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
        assert_eq!(ready(&deleted, now), None);
    }
}
