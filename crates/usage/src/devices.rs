//! Devices as extended resources of pods: a quota may limit devices of a class, by its own name or by that of the extended
//! resource which the class stands for, and counts what claims ask for in either way. A claim that the scheduler made for
//! a pod's extended resources counts for what the pod does not count for itself.
//!
//! Upstream: `pkg/quota/v1/evaluator/core/resource_claims.go`, `deviceclass/extendedresourcecache`.

use std::collections::{BTreeMap, BTreeSet};

use machinery::json::Fields;
use machinery::meta;
use machinery::names::is_native_resource;
use serde_json::Value;

use crate::amounts::Amounts;

/// After a device class: how many devices of it.
pub(crate) const DEVICES: &str = ".deviceclass.resource.k8s.io/devices";
/// Before a device class: devices of it as an extended resource of a pod.
pub(crate) const DEVICE_CLASS: &str = "deviceclass.resource.kubernetes.io/";
/// On a claim that was made for a pod's extended resources.
const FOR_POD: &str = "resource.kubernetes.io/extended-resource-claim";

/// What the classes of devices say of extended resources.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeviceClasses {
    /// All extended resources that stand for a class.
    resources: BTreeSet<String>,
    /// The extended resource that a class names.
    named: BTreeMap<String, String>,
}

impl DeviceClasses {
    /// From the classes.
    pub fn of<'a>(classes: impl IntoIterator<Item = &'a Value>) -> Self {
        let mut all = Self::default();
        for class in classes {
            let (name, resource) = (meta::name(class), class["spec"].text("extendedResourceName"));
            all.resources.insert(format!("{DEVICE_CLASS}{name}"));
            if !resource.is_empty() {
                all.resources.insert(resource.to_owned());
                all.named.insert(name.to_owned(), resource.to_owned());
            }
        }
        all
    }

    /// Whether a name in a quota is of devices as extended resources.
    pub(crate) fn names(&self, name: &str) -> bool {
        let Some(resource) = name.strip_prefix("requests.") else { return false };
        (resource.starts_with(DEVICE_CLASS) || !is_native_resource(resource)) && self.resources.contains(resource)
    }

    /// Adds to what a claim uses of classes what it uses of extended resources, but for what its pod is counted for.
    pub fn charge(&self, usage: &mut Amounts, of_pod: &Amounts) {
        let mut more = Amounts::new();
        for (name, amount) in usage.iter() {
            let Some(class) = name.strip_suffix(DEVICES).filter(|class| !class.is_empty()) else { continue };
            more.insert(format!("requests.{DEVICE_CLASS}{class}"), amount.clone());
            if let Some(resource) = self.named.get(class) {
                more.insert(format!("requests.{resource}"), amount.clone());
            }
        }
        for (name, amount) in more {
            let rest = of_pod.get(&name).map_or_else(|| amount.clone(), |counted| amount.sub(counted));
            if rest.sign() > 0 {
                usage.insert(name, rest);
            }
        }
    }
}

/// The pod for whose extended resources a claim says that it was made: its name and uid.
pub fn claimant(claim: &Value) -> Option<(&str, &str)> {
    let owner = meta::controller_of(claim).filter(|owner| owner.kind == "Pod" && owner.api_version == "v1")?;
    (meta::annotation(claim, FOR_POD) == Some("true")).then_some((owner.name, owner.uid))
}

/// Whether a claim is the one for the extended resources of `pod`, its [`claimant`]: the one that the pod names, or the
/// first of those that name the pod, among `others` of its namespace.
pub fn is_of<'a>(claim: &Value, pod: &Value, others: impl IntoIterator<Item = &'a Value>) -> bool {
    let Some((_, uid)) = claimant(claim).filter(|(_, uid)| *uid == meta::uid(pod)) else { return false };
    let name = meta::name(claim);
    if let Some(status) = pod["status"].sub("extendedResourceClaimStatus") {
        return status.text("resourceClaimName") == name;
    }
    let age = |claim: &Value| (meta::creation_timestamp(claim).to_owned(), meta::name(claim).to_owned());
    let own = age(claim);
    let mut others = others.into_iter().filter(|other| claimant(other).is_some_and(|(_, of)| of == uid));
    others.all(|other| age(other) >= own)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::Evaluator;

    fn classes() -> DeviceClasses {
        let gpu = json!({"metadata": {"name": "gpu"}, "spec": {"extendedResourceName": "example.com/gpu"}});
        DeviceClasses::of([&gpu, &json!({"metadata": {"name": "tpu"}})])
    }

    #[test]
    fn names_of_extended_resources_are_those_of_classes() {
        let classes = classes();
        let claims = Evaluator::of("resource.k8s.io", "resourceclaims");
        let check = |name: &str, known: bool| {
            assert_eq!(claims.with(&classes).names(name), known, "{name}");
            assert!(!claims.names(name), "without classes: {name}");
        };
        check("requests.example.com/gpu", true);
        check("requests.deviceclass.resource.kubernetes.io/gpu", true);
        check("requests.deviceclass.resource.kubernetes.io/tpu", true);
        check("requests.deviceclass.resource.kubernetes.io/other", false);
        check("requests.example.com/other", false);
        check("example.com/gpu", false);
        check("requests.cpu", false);
    }

    #[test]
    fn devices_count_as_extended_resources_but_for_what_the_pod_counts() {
        let check = |of_pod: &[(&str, &str)], want: &str| {
            let amounts = |of: &[(&str, &str)]| -> Amounts {
                let parse = |text: &str| machinery::quantity::Quantity::parse(text).expect("an amount");
                of.iter().map(|(name, amount)| ((*name).to_owned(), parse(amount))).collect()
            };
            let mut usage = amounts(&[("gpu.deviceclass.resource.k8s.io/devices", "3"), ("other", "1")]);
            classes().charge(&mut usage, &amounts(of_pod));
            let text = usage.iter().filter(|(name, _)| name.starts_with("requests."));
            let text: Vec<_> = text.map(|(name, amount)| format!("{name}={}", amount.canonical())).collect();
            assert_eq!(text.join(" "), want, "{of_pod:?}");
        };
        check(&[], "requests.deviceclass.resource.kubernetes.io/gpu=3 requests.example.com/gpu=3");
        check(
            &[("requests.example.com/gpu", "2")],
            "requests.deviceclass.resource.kubernetes.io/gpu=3 requests.example.com/gpu=1",
        );
        check(&[("requests.example.com/gpu", "3")], "requests.deviceclass.resource.kubernetes.io/gpu=3");
    }

    #[test]
    fn a_pod_counts_for_one_claim_alone() {
        let claim = |name: &str, made: &str, uid: &str| {
            let owner = json!({"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": uid, "controller": true});
            let annotations = json!({FOR_POD: "true"});
            json!({"metadata": {
                "name": name, "creationTimestamp": made, "annotations": annotations, "ownerReferences": [owner],
            }})
        };
        let pod = |named: Value| json!({"metadata": {"name": "p", "uid": "u"}, "status": named});
        let (early, late) = ("2026-01-01T00:00:00Z", "2026-01-01T00:00:01Z");
        let check = |claim: &Value, pod: &Value, others: &[Value], want: bool| {
            assert_eq!(is_of(claim, pod, others), want, "{claim} {pod} {others:?}");
        };
        let one = claim("b", early, "u");
        check(&one, &pod(json!({})), &[], true);
        check(&one, &pod(json!({})), &[one.clone(), claim("c", early, "u"), claim("a", late, "u")], true);
        check(&one, &pod(json!({})), &[claim("a", early, "u")], false);
        check(&one, &pod(json!({})), &[claim("a", early, "another")], true);
        check(&claim("b", late, "u"), &pod(json!({})), &[claim("c", early, "u")], false);
        let named = |name: &str| pod(json!({"extendedResourceClaimStatus": {"resourceClaimName": name}}));
        check(&claim("b", late, "u"), &named("b"), &[claim("c", early, "u")], true);
        check(&one, &named("c"), &[], false);
        check(&claim("b", early, "gone"), &pod(json!({})), &[], false);
        let mut plain = one;
        plain["metadata"]["annotations"] = json!({});
        check(&plain, &pod(json!({})), &[], false);
    }
}
