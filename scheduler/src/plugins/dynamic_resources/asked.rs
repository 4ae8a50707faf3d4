//! What a pod asks for: its claims, each of which must be there and its own, and one for extended resources that devices
//! stand for.

use std::{collections::BTreeSet, sync::Arc};

use devices::entries::{self, full_name};
use k8s_openapi::{
    api::{
        core::v1::ContainerExtendedResourceRequest,
        resource::v1::{DeviceClaim, ResourceClaim},
    },
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference},
};

use super::{
    refused,
    state::{Cycled, Wanted, allocation},
};
use crate::{
    cache::{
        labels::{Interner, NodeTerm},
        node::NodeObject,
        pod::PodInfo,
    },
    devices::{Devices, EXTENDED, extended, pod::may_be_devices},
    framework::status::Status,
};

/// The claims that the pod's entries name. The error says which is not there yet, or not the pod's, or leaving.
pub(super) fn claims(devices: &Devices, pod: &PodInfo) -> Result<Vec<Arc<ResourceClaim>>, String> {
    let Some(asked) = &pod.claims else { return Ok(vec![]) };
    let mut claims = vec![];
    for entry in &asked.entries {
        let named = entries::named(entry, &asked.told).map_err(|missing| missing.told(&pod.key(), &entry.name))?;
        let Some(named) = named else { continue };
        let name = named.name;
        let claim = devices.claim(&pod.namespace, name);
        let claim = claim.ok_or_else(|| format!("could not find resourceclaim {:?}", full(pod, name)))?;
        if claim.metadata.deletion_timestamp.is_some() {
            return Err(format!("resourceclaim {name:?} is being deleted"));
        }
        if named.generated {
            entries::is_for(&pod.key(), &pod.uid, &claim)?;
        }
        claims.push(claim);
    }
    Ok(claims)
}

fn full(pod: &PodInfo, name: &str) -> String {
    format!("{}/{name}", pod.namespace)
}

/// All claims of the pod, with where their devices are.
pub(super) fn wanted(devices: &Devices, pod: &PodInfo) -> Result<Vec<Wanted>, Status> {
    let claims = claims(devices, pod).map_err(refused)?;
    let of_resources = claim_for_resources(devices, pod);
    let mut wanted = vec![];
    let all = claims.into_iter().map(|claim| (claim, false)).chain(of_resources.map(|claim| (claim, true)));
    for (claim, is_extended) in all {
        let mut nodes = None;
        match allocation(&claim) {
            Some(allocation) => {
                let selector = allocation.node_selector.as_ref();
                let mut interner = Interner::default();
                nodes = selector.map(|selector| {
                    selector.node_selector_terms.iter().map(|term| NodeTerm::new(term, &mut interner)).collect()
                });
            }
            None => {
                if devices.is_in_flight(claim.metadata.uid.as_deref().unwrap_or_default()) {
                    let claim = full_name(&claim.metadata);
                    return Err(refused(format!("resource claim {claim} is in the process of being allocated")));
                }
                if !is_extended {
                    check_classes(devices, &claim)?;
                }
            }
        }
        wanted.push(Wanted { claim, is_extended, nodes });
    }
    Ok(wanted)
}

/// Without its class nothing can be given, wherever.
fn check_classes(devices: &Devices, claim: &ResourceClaim) -> Result<(), Status> {
    let classes = devices.view().classes;
    let check = |class: &str, request: &str| match class {
        "" => Err(super::failed(format!("request {request}: unsupported request type"))),
        class if classes.contains_key(class) => Ok(()),
        class => Err(refused(format!("request {request}: device class {class} does not exist"))),
    };
    for request in claim.spec.devices.iter().flat_map(|devices| devices.requests.iter().flatten()) {
        match (&request.exactly, &request.first_available) {
            (Some(exactly), _) => check(&exactly.device_class_name, &request.name)?,
            (None, Some(alternatives)) if !alternatives.is_empty() => {
                for alternative in alternatives {
                    check(&alternative.device_class_name, &format!("{}/{}", request.name, alternative.name))?;
                }
            }
            _ => {
                let (claim, request) = (full_name(&claim.metadata), &request.name);
                return Err(refused(format!("resource claim {claim}, request {request}: unknown request type")));
            }
        }
    }
    Ok(())
}

/// The claim for extended resources of which a class of devices stands for one: that of an earlier cycle, or a new one
/// that is not written yet and asks for nothing: that depends on the node.
fn claim_for_resources(devices: &Devices, pod: &PodInfo) -> Option<Arc<ResourceClaim>> {
    pod.claims.as_ref().filter(|asked| !asked.containers.is_empty())?;
    let scalars = &pod.shape.shape.requests.scalars;
    let by_devices =
        |(name, amount): &(Arc<str>, i64)| *amount != 0 && may_be_devices(name) && devices.class_of(name).is_some();
    if !scalars.iter().any(by_devices) {
        return None;
    }
    if let Some(earlier) = devices.extended_claim(&pod.uid) {
        return Some(earlier);
    }
    let owner = OwnerReference {
        api_version: "v1".to_owned(),
        kind: "Pod".to_owned(),
        name: pod.name.to_string(),
        uid: pod.uid.to_string(),
        controller: Some(true),
        block_owner_deletion: None,
    };
    let metadata = ObjectMeta {
        namespace: Some(pod.namespace.to_string()),
        generate_name: Some(format!("{}-extended-resources-", pod.name)),
        // Until it is written, under which its devices are taken.
        uid: Some(uuid::Uuid::new_v4().to_string()),
        owner_references: Some(vec![owner]),
        annotations: Some([(EXTENDED.to_owned(), "true".to_owned())].into()),
        ..Default::default()
    };
    Some(Arc::new(ResourceClaim { metadata, ..Default::default() }))
}

type OfNode = (Arc<ResourceClaim>, Vec<ContainerExtendedResourceRequest>);

/// The claim for the extended resources that this node has only as devices; none if it has all without.
pub(super) fn extended(
    devices: &Devices,
    pod: &PodInfo,
    state: &Cycled,
    node: &NodeObject,
) -> Result<Option<OfNode>, Status> {
    let Some(wanted) = state.wanted.iter().find(|wanted| wanted.is_extended) else { return Ok(None) };
    if wanted.requests().next().is_some() {
        // Of an earlier cycle, and for a node of which nothing is known any more: it is deleted first.
        return Err(refused("cannot schedule extended resource claim"));
    }
    let mut resources = BTreeSet::new();
    for (name, amount) in &pod.shape.shape.requests.scalars {
        if *amount == 0 || !may_be_devices(name) {
            continue;
        }
        let is_there = node.allocatable.scalars.iter().any(|(known, _)| known == name);
        if node.allocatable.scalar(name) == 0 && devices.class_of(name).is_some() {
            resources.insert(name.to_string());
        } else if !is_there {
            return Err(refused("cannot fit resource"));
        }
    }
    if resources.is_empty() {
        return Ok(None);
    }
    let containers = pod.claims.as_ref().map(|asked| asked.containers.as_slice()).unwrap_or_default();
    let (requests, mappings) = extended::requests(containers, &resources, |resource| devices.class_of(resource));
    let mut claim = (*wanted.claim).clone();
    claim.spec.devices = Some(DeviceClaim { requests: Some(requests), ..Default::default() });
    Ok(Some((Arc::new(claim), mappings)))
}
