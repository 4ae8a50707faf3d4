//! What EndpointSlices of pods and those that mirror Endpoints have in common: their labels, when two of their parts are
//! the same, and how they are written.

mod tracker;

use std::collections::{HashMap, HashSet};

use component::metrics::{Counter, Family, Text};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointPort, EndpointSlice};
use kube::{
    Api, Client,
    api::{DeleteParams, PostParams},
};

pub(crate) use tracker::Tracker;

use super::key::{self, Key};
use crate::metrics;

/// The label that names a slice's Service.
pub(crate) const SERVICE_LABEL: &str = "kubernetes.io/service-name";
/// The label that names who made a slice.
pub(crate) const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";

/// What makes two ports lists the same.
pub(crate) type Ports = Vec<(Option<String>, Option<String>, Option<i32>, Option<String>)>;
/// What makes two endpoints the same.
pub(crate) type Identity = (String, Option<String>, Option<(Option<String>, Option<String>)>);

pub(crate) fn ports_key(ports: Option<&Vec<EndpointPort>>) -> Ports {
    let key = |p: &EndpointPort| (p.name.clone(), p.protocol.clone(), p.port, p.app_protocol.clone());
    let mut keys: Ports = ports.into_iter().flatten().map(key).collect();
    keys.sort();
    keys
}

pub(crate) fn identity(e: &Endpoint) -> Identity {
    let target = e.target_ref.as_ref().map(|t| (t.namespace.clone(), t.name.clone()));
    (e.addresses.first().cloned().unwrap_or_default(), e.hostname.clone(), target)
}

/// Whether two endpoints of one identity say the same; hints are looked at elsewhere, resource versions never.
pub(crate) fn same(a: &Endpoint, b: &Endpoint) -> bool {
    let target = |e: &Endpoint| e.target_ref.as_ref().map(|t| (t.kind.clone(), t.uid.clone()));
    a.node_name == b.node_name && a.zone == b.zone && a.conditions == b.conditions && target(a) == target(b)
}

/// What makes an endpoint of a slice the same as one of another slice.
fn slice_key(slice: &EndpointSlice, e: &Endpoint) -> (String, Ports, Identity) {
    (slice.address_type.clone(), ports_key(slice.ports.as_ref()), identity(e))
}

/// The Service of a slice that `manager` made.
pub(crate) fn service_of(slice: &EndpointSlice, manager: &str) -> Option<Key> {
    let labels = slice.metadata.labels.as_ref()?;
    let managed = labels.get(MANAGED_BY).is_some_and(|m| m == manager);
    let service = labels.get(SERVICE_LABEL).filter(|service| managed && !service.is_empty())?;
    Some(Key::new(key::namespace(&slice.metadata), service))
}

/// The informer does not show yet what was written.
#[derive(Debug)]
pub(crate) struct Stale;

impl std::fmt::Display for Stale {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("EndpointSlice informer cache is out of date")
    }
}

impl std::error::Error for Stale {}

/// Writes how many endpoints and slices of `manager` there are, and how few slices would do with at most `max` endpoints.
pub(crate) fn write_numbers(
    out: &mut Text,
    subsystem: &str,
    manager: &str,
    all: &[std::sync::Arc<EndpointSlice>],
    max: usize,
) {
    let (mut slices, mut endpoints) = (0, 0);
    let mut together: HashMap<(Key, &str, Ports), usize> = HashMap::new();
    for slice in all {
        let Some(of) = service_of(slice, manager) else { continue };
        let number = slice.endpoints.as_ref().map_or(0, Vec::len);
        (slices, endpoints) = (slices + 1, endpoints + number);
        *together.entry((of, &slice.address_type, ports_key(slice.ports.as_ref()))).or_default() += number;
    }
    // One that is empty says that there is nothing.
    let desired: usize = together.values().map(|number| number.div_ceil(max.max(1)).max(1)).sum();
    for (name, help, number) in [
        ("endpoints_desired", "Endpoints in the slices of this controller.", endpoints),
        ("num_endpoint_slices", "Slices of this controller.", slices),
        ("desired_endpoint_slices", "The fewest slices that would do.", desired),
    ] {
        let (name, help) = (format!("{subsystem}_{name}"), format!("[BETA] {help}"));
        metrics::gauge(out, (&name, &help), [], [([], number as f64)]);
    }
}

/// Slices to create, to update and to delete.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Writes {
    pub(crate) create: Vec<EndpointSlice>,
    pub(crate) update: Vec<EndpointSlice>,
    pub(crate) delete: Vec<EndpointSlice>,
}

/// How many endpoints writes add, change and remove.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Moved {
    pub(crate) added: usize,
    pub(crate) updated: usize,
    pub(crate) removed: usize,
}

impl Writes {
    /// What they do to the endpoints of `existing`.
    pub(crate) fn moved(&self, existing: &[std::sync::Arc<EndpointSlice>]) -> Moved {
        let written: HashSet<&str> =
            self.update.iter().chain(&self.delete).map(|slice| key::name(&slice.metadata)).collect();
        let before = existing.iter().filter(|slice| written.contains(key::name(&slice.metadata)));
        let before = before.flat_map(|slice| slice.endpoints.iter().flatten().map(|e| (slice_key(slice, e), e)));
        let mut before: HashMap<_, &Endpoint> = before.collect();
        let mut moved = Moved::default();
        for slice in self.create.iter().chain(&self.update) {
            for endpoint in slice.endpoints.iter().flatten() {
                match before.remove(&slice_key(slice, endpoint)) {
                    None => moved.added += 1,
                    Some(old) => moved.updated += usize::from(!same(old, endpoint)),
                }
            }
        }
        moved.removed = before.len();
        moved
    }

    /// Writes them all, notes each in `tracker` and counts it in `counted`; `owner` is what they are for, by its kind. Where
    /// the namespace is going away nothing more is written.
    ///
    /// # Errors
    /// The first that the server refuses.
    pub(crate) async fn carry_out(
        &self,
        client: &Client,
        tracker: &Tracker,
        key: &Key,
        owner: &str,
        counted: &Family<Counter>,
    ) -> anyhow::Result<()> {
        let api: Api<EndpointSlice> = Api::namespaced(client.clone(), &key.namespace);
        let of = format!("for {owner} {}/{}", key.namespace, key.name);
        let why = |e: &kube::Error| client::message(e);
        let _writing = tracker.writing(key);
        for slice in &self.create {
            match api.create(&PostParams::default(), slice).await {
                Ok(created) => {
                    tracker.wrote(key, &created);
                    counted.with(&["create"]).add(1);
                }
                Err(e) if client::is_namespace_terminating(&e) => return Ok(()),
                Err(e) => anyhow::bail!("failed to create EndpointSlice {of}: {}", why(&e)),
            }
        }
        for slice in &self.update {
            let name = key::name(&slice.metadata);
            match api.replace(name, &PostParams::default(), slice).await {
                Ok(updated) => {
                    tracker.wrote(key, &updated);
                    counted.with(&["update"]).add(1);
                }
                Err(e) => anyhow::bail!("failed to update {name} EndpointSlice {of}: {}", why(&e)),
            }
        }
        for slice in &self.delete {
            let name = key::name(&slice.metadata);
            match api.delete(name, &DeleteParams::default()).await {
                Ok(_) => {
                    tracker.deleted(key, slice);
                    counted.with(&["delete"]).add(1);
                }
                Err(e) if client::is_not_found(&e) => {}
                Err(e) => anyhow::bail!("failed to delete {name} EndpointSlice {of}: {}", why(&e)),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::*;

    #[test]
    fn endpoints_that_go_from_one_slice_to_another_have_not_moved() {
        let slice = |name: &str, endpoints: &[(&str, bool)]| -> EndpointSlice {
            let endpoint = |(ip, ready): &(&str, bool)| json!({"addresses": [ip], "conditions": {"ready": ready}});
            let endpoints: Vec<_> = endpoints.iter().map(endpoint).collect();
            serde_json::from_value(json!({"metadata": {"name": name}, "addressType": "IPv4", "endpoints": endpoints}))
                .unwrap()
        };
        let existing =
            [slice("a", &[("1", true), ("2", true)]), slice("b", &[("3", true)]), slice("c", &[("9", true)])];
        let writes = Writes {
            create: vec![slice("", &[("3", true), ("4", true)])],
            update: vec![slice("a", &[("1", false), ("5", true)])],
            delete: vec![slice("b", &[("3", true)])],
        };
        let moved = writes.moved(&existing.map(Arc::new));
        assert_eq!(moved, Moved { added: 2, updated: 1, removed: 1 });
    }
}
