//! What EndpointSlices of pods and those that mirror Endpoints have in common: their labels, when two of their parts are
//! the same, and how they are written.

mod tracker;

use k8s_openapi::api::discovery::v1::{Endpoint, EndpointPort, EndpointSlice};
use kube::{
    Api, Client,
    api::{DeleteParams, PostParams},
};

pub(crate) use tracker::Tracker;

use super::key::{self, Key};

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

/// The Service of a slice that `manager` made.
pub(crate) fn service_of(slice: &EndpointSlice, manager: &str) -> Option<Key> {
    let labels = slice.metadata.labels.as_ref()?;
    let managed = labels.get(MANAGED_BY).is_some_and(|m| m == manager);
    let service = labels.get(SERVICE_LABEL).filter(|service| managed && !service.is_empty())?;
    Some(Key::new(key::namespace(&slice.metadata), service))
}

/// Slices to create, to update and to delete.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Writes {
    pub(crate) create: Vec<EndpointSlice>,
    pub(crate) update: Vec<EndpointSlice>,
    pub(crate) delete: Vec<EndpointSlice>,
}

impl Writes {
    /// Writes them all, and notes each in `tracker`; `owner` is what they are for, by its kind. Where the namespace is
    /// going away nothing more is written.
    ///
    /// # Errors
    /// The first that the server refuses.
    pub(crate) async fn carry_out(
        &self,
        client: &Client,
        tracker: &Tracker,
        key: &Key,
        owner: &str,
    ) -> anyhow::Result<()> {
        let api: Api<EndpointSlice> = Api::namespaced(client.clone(), &key.namespace);
        let of = format!("for {owner} {}/{}", key.namespace, key.name);
        let why = |e: &kube::Error| client::message(e);
        let _writing = tracker.writing(key);
        for slice in &self.create {
            match api.create(&PostParams::default(), slice).await {
                Ok(created) => tracker.wrote(key, &created),
                Err(e) if client::is_namespace_terminating(&e) => return Ok(()),
                Err(e) => anyhow::bail!("failed to create EndpointSlice {of}: {}", why(&e)),
            }
        }
        for slice in &self.update {
            let name = key::name(&slice.metadata);
            match api.replace(name, &PostParams::default(), slice).await {
                Ok(updated) => tracker.wrote(key, &updated),
                Err(e) => anyhow::bail!("failed to update {name} EndpointSlice {of}: {}", why(&e)),
            }
        }
        for slice in &self.delete {
            let name = key::name(&slice.metadata);
            match api.delete(name, &DeleteParams::default()).await {
                Ok(_) => tracker.deleted(key, slice),
                Err(e) if client::is_not_found(&e) => {}
                Err(e) => anyhow::bail!("failed to delete {name} EndpointSlice {of}: {}", why(&e)),
            }
        }
        Ok(())
    }
}
