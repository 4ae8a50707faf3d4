//! Extended resources that stand for devices: the class of each, and the requests that a pod's containers make for them.
//!
//! Upstream: `plugins/dynamicresources/extendeddynamicresources.go`, `deviceclass/extendedresourcecache`.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use k8s_openapi::api::{
    core::v1::ContainerExtendedResourceRequest,
    resource::v1::{DeviceClass, DeviceRequest, ExactDeviceRequest},
};

use super::{
    CLASS_PREFIX, Classes,
    pod::{Asked, Asking},
};

/// The class of each resource. Of two that stand for one the younger does, or the first by name.
pub fn classes(all: &Classes) -> HashMap<String, Arc<DeviceClass>> {
    let mut resources: HashMap<String, Arc<DeviceClass>> = HashMap::new();
    for (name, class) in all {
        resources.insert(format!("{CLASS_PREFIX}{name}"), class.clone());
        let Some(resource) = &class.spec.extended_resource_name else { continue };
        let made = |class: &DeviceClass| class.metadata.creation_timestamp.as_ref().map(|time| time.0);
        if resources.get(resource).is_none_or(|known| made(class) > made(known)) {
            resources.insert(resource.clone(), class.clone());
        }
    }
    resources
}

/// What a claim asks for, and which container gets what of it.
pub type Requests = (Vec<DeviceRequest>, Vec<ContainerExtendedResourceRequest>);

/// The requests of all containers for these resources. Containers that end early use what the later ones have; what is
/// left is asked for once, for the one that needs most.
pub fn requests(
    containers: &[Asking],
    resources: &BTreeSet<String>,
    class: impl Fn(&str) -> Option<Arc<DeviceClass>>,
) -> Requests {
    let (mut requests, mut mappings) = (vec![], vec![]);
    for resource in resources {
        let Some(class) = class(resource) else { continue };
        let class = class.metadata.name.as_deref().unwrap_or_default();
        let mut lasting: Vec<Option<DeviceRequest>> = vec![None; containers.len()];
        for (index, container) in containers.iter().enumerate().filter(|(_, c)| !c.is_short_lived) {
            let (request, mapped) = of_container(index, container, resource, class, &[]);
            lasting[index] = request;
            mappings.extend(mapped);
        }
        let mut largest: Option<DeviceRequest> = None;
        let (mut names, mut mapped_early) = (BTreeSet::new(), vec![]);
        for (index, container) in containers.iter().enumerate().filter(|(_, c)| c.is_short_lived) {
            let (request, mapped) = of_container(index, container, resource, class, &lasting[index..]);
            mapped_early.extend(mapped);
            if let Some(request) = request {
                names.insert(request.name.clone());
                if largest.as_ref().is_none_or(|largest| count(largest) < count(&request)) {
                    largest = Some(request);
                }
            }
        }
        if let Some(largest) = &largest {
            for mapping in mapped_early.iter_mut().filter(|mapping| names.contains(&mapping.request_name)) {
                mapping.request_name = largest.name.clone();
            }
        }
        requests.extend(largest.into_iter().chain(lasting.into_iter().flatten()));
        mappings.extend(mapped_early);
    }
    requests.sort_by(|a: &DeviceRequest, b| a.name.cmp(&b.name));
    (requests, mappings)
}

fn count(request: &DeviceRequest) -> i64 {
    request.exactly.as_ref().and_then(|exactly| exactly.count).unwrap_or(0)
}

/// What one container asks for beyond what it can use of others.
fn of_container(
    index: usize,
    container: &Asking,
    resource: &str,
    class: &str,
    usable: &[Option<DeviceRequest>],
) -> (Option<DeviceRequest>, Vec<ContainerExtendedResourceRequest>) {
    let asked = container.resources.iter().find(|asked| asked.resource == resource && asked.count != 0);
    let Some(Asked { index: place, count: wanted, .. }) = asked else { return (None, vec![]) };
    let mapping = |request: &str| ContainerExtendedResourceRequest {
        container_name: container.name.clone(),
        resource_name: resource.to_owned(),
        request_name: request.to_owned(),
    };
    let (mut had, mut mappings) = (0, vec![]);
    for request in usable.iter().flatten() {
        had += count(request);
        mappings.push(mapping(&request.name));
        if had >= *wanted {
            return (None, mappings);
        }
    }
    let name = format!("container-{index}-request-{place}");
    mappings.push(mapping(&name));
    let exactly = ExactDeviceRequest {
        device_class_name: class.to_owned(),
        allocation_mode: Some("ExactCount".to_owned()),
        count: Some(wanted - had),
        ..Default::default()
    };
    (Some(DeviceRequest { name, exactly: Some(exactly), first_available: None }), mappings)
}
