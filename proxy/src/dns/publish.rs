//! The Service `kube-dns`: how pods find the DNS of their node.
//!
//! A Service without selector at the reserved address, whose endpoints are the nodes themselves, and whose
//! `internalTrafficPolicy: Local` leads each pod to its own node. Written with a client that may: the proxy's own role
//! can't write Services.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::Api;
use kube::api::PostParams;
use serde_json::json;
use tokio_util::sync::CancellationToken;

/// The namespace and the name by which everybody knows the cluster's DNS.
const NAMESPACE: &str = "kube-system";
const NAME: &str = "kube-dns";
/// How often it is looked after.
const PERIOD: Duration = Duration::from_secs(30);
const RETRY: Duration = Duration::from_millis(500);

/// What to publish.
#[derive(Debug, Clone)]
pub struct Publication {
    /// The reserved address of the Service (the tenth of the service range).
    pub cluster_ip: IpAddr,
    /// The node that serves.
    pub node_name: String,
    /// Where it serves.
    pub listen: SocketAddr,
}

/// Makes the Service and this node's EndpointSlice, and keeps them, until cancelled.
pub async fn publish(client: kube::Client, publication: Publication, cancel: CancellationToken) {
    let mut told = String::new();
    loop {
        let outcome = tokio::select! {
            () = cancel.cancelled() => return,
            outcome = once(&client, &publication) => outcome,
        };
        let pause = match outcome {
            Ok(()) => {
                told.clear();
                PERIOD
            }
            Err(error) => {
                let text = error.to_string();
                if told != text {
                    tracing::warn!(error = text, "publishing the cluster DNS");
                    told = text;
                }
                RETRY
            }
        };
        tokio::select! {
            () = cancel.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
    }
}

async fn once(client: &kube::Client, publication: &Publication) -> kube::Result<()> {
    let services: Api<Service> = Api::namespaced(client.clone(), NAMESPACE);
    match services.get_opt(NAME).await? {
        // Somebody runs a DNS of their own in pods: theirs it is.
        Some(service) if service.spec.as_ref().is_some_and(|spec| spec.selector.is_some()) => return Ok(()),
        Some(_) => {}
        None => drop(services.create(&PostParams::default(), &publication.service()).await?),
    }
    let slices: Api<EndpointSlice> = Api::namespaced(client.clone(), NAMESPACE);
    let wanted = publication.slice();
    let name = wanted.metadata.name.clone().unwrap_or_default();
    match slices.get_opt(&name).await? {
        None => drop(slices.create(&PostParams::default(), &wanted).await?),
        Some(have) if same(&have, &wanted) => {}
        Some(mut have) => {
            have.endpoints = wanted.endpoints;
            have.ports = wanted.ports;
            have.metadata.labels.get_or_insert_with(BTreeMap::new).extend(wanted.metadata.labels.unwrap_or_default());
            slices.replace(&name, &PostParams::default(), &have).await?;
        }
    }
    Ok(())
}

/// Whether a slice says what it should; the server may have added to it.
fn same(have: &EndpointSlice, wanted: &EndpointSlice) -> bool {
    let addresses = |slice: &EndpointSlice| -> Vec<_> {
        let endpoints = slice.endpoints.iter().flatten();
        endpoints.map(|endpoint| (endpoint.addresses.clone(), endpoint.node_name.clone())).collect()
    };
    let ports = |slice: &EndpointSlice| -> Vec<_> {
        slice.ports.iter().flatten().map(|port| (port.name.clone(), port.protocol.clone(), port.port)).collect()
    };
    let labels = wanted.metadata.labels.iter().flatten();
    let has = |(name, value): (&String, &String)| {
        have.metadata.labels.as_ref().is_some_and(|labels| labels.get(name) == Some(value))
    };
    addresses(have) == addresses(wanted) && ports(have) == ports(wanted) && labels.into_iter().all(has)
}

impl Publication {
    fn service(&self) -> Service {
        serde_json::from_value(json!({
            "metadata": {"name": NAME, "namespace": NAMESPACE, "labels": {
                "k8s-app": NAME, "kubernetes.io/cluster-service": "true", "kubernetes.io/name": "CoreDNS"}},
            "spec": {"clusterIP": self.cluster_ip, "internalTrafficPolicy": "Local", "ports": [
                {"name": "dns", "port": 53, "protocol": "UDP", "targetPort": self.listen.port()},
                {"name": "dns-tcp", "port": 53, "protocol": "TCP", "targetPort": self.listen.port()}]},
        }))
        .expect("a Service of constants")
    }

    fn slice(&self) -> EndpointSlice {
        let family = if self.listen.is_ipv4() { "IPv4" } else { "IPv6" };
        serde_json::from_value(json!({
            "metadata": {"name": format!("{NAME}-{}", self.node_name), "namespace": NAMESPACE, "labels": {
                "kubernetes.io/service-name": NAME, "endpointslice.kubernetes.io/managed-by": "ferry-dns"}},
            "addressType": family,
            "endpoints": [{"addresses": [self.listen.ip()], "nodeName": self.node_name,
                "conditions": {"ready": true, "serving": true, "terminating": false}}],
            "ports": [{"name": "dns", "port": self.listen.port(), "protocol": "UDP"},
                {"name": "dns-tcp", "port": self.listen.port(), "protocol": "TCP"}],
        }))
        .expect("an EndpointSlice of constants")
    }
}
