//! What EndpointSlices and Endpoints agree on: which pods serve a Service, at which address and port, and which
//! changes of a pod matter.

use std::time::Duration;

use client::{Change, Informer};
use controller::Queue;
use k8s_openapi::{
    api::core::v1::{Container, Pod, Service, ServicePort},
    apimachinery::pkg::util::intstr::IntOrString,
};

use super::{
    key::{self, Key},
    pods,
    selector::Selector,
};

/// The label of a Service without a cluster IP, on everything made for it.
pub(crate) const HEADLESS: &str = "service.kubernetes.io/headless";

/// The selector of a Service whose endpoints are made here: one without a selector has its own, an ExternalName none.
pub(crate) fn selector(service: &Service) -> Option<Selector> {
    let spec = service.spec.as_ref()?;
    let external = spec.type_.as_deref() == Some("ExternalName");
    spec.selector.as_ref().filter(|s| !external && !s.is_empty()).map(|s| Selector::of_labels(s.clone()))
}

pub(crate) fn has_cluster_ip(service: &Service) -> bool {
    let ip = service.spec.as_ref().and_then(|s| s.cluster_ip.as_deref()).unwrap_or_default();
    !ip.is_empty() && ip != "None"
}

pub(crate) fn publishes_not_ready(service: &Service) -> bool {
    service.spec.as_ref().and_then(|s| s.publish_not_ready_addresses).unwrap_or(false)
}

pub(crate) fn ports(service: &Service) -> &[ServicePort] {
    service.spec.as_ref().and_then(|s| s.ports.as_deref()).unwrap_or_default()
}

pub(crate) fn ips(pod: &Pod) -> Vec<std::net::IpAddr> {
    let status = pod.status.as_ref();
    status.and_then(|s| s.pod_ips.as_ref()).into_iter().flatten().filter_map(|ip| ip.ip.parse().ok()).collect()
}

/// Whether a pod may be an endpoint at all.
pub(crate) fn eligible(pod: &Pod, terminating_too: bool) -> bool {
    !pods::is_finished(pod) && !ips(pod).is_empty() && (terminating_too || !pods::is_terminating(pod))
}

/// The pod's name within a headless Service that is its subdomain.
pub(crate) fn hostname<'a>(pod: &'a Pod, service: &Service) -> Option<&'a String> {
    let spec = pod.spec.as_ref()?;
    let same = spec.subdomain == service.metadata.name && pod.metadata.namespace == service.metadata.namespace;
    spec.hostname.as_ref().filter(|h| same && !h.is_empty())
}

/// The number behind a Service port on this pod: as given, or the container port of that name and protocol.
pub(crate) fn find_port(pod: &Pod, port: &ServicePort) -> Option<i32> {
    let name = match &port.target_port {
        Some(IntOrString::String(name)) => name,
        Some(IntOrString::Int(n)) if *n != 0 => return Some(*n),
        _ => return Some(port.port),
    };
    let spec = pod.spec.as_ref()?;
    let protocol = |p: &Option<String>| p.as_deref().unwrap_or("TCP").to_owned();
    let of = |c: &Container| {
        let ports = c.ports.iter().flatten();
        let mut named =
            ports.filter(|p| p.name.as_ref() == Some(name) && protocol(&p.protocol) == protocol(&port.protocol));
        named.next().map(|p| p.container_port)
    };
    let sidecars = spec.init_containers.iter().flatten().filter(|c| c.restart_policy.as_deref() == Some("Always"));
    spec.containers.iter().find_map(of).or_else(|| sidecars.into_iter().find_map(of))
}

/// Queues the Services that a change of a pod concerns; `batch` later, so that several changes are one.
pub(crate) fn wake(services: &Informer<Service>, queue: &Queue<Key>, batch: Duration, change: &Change<Pod>) {
    let wake = |pod: &Pod| {
        for service in services.list_namespace(key::namespace(&pod.metadata)) {
            let Some(selector) = selector(&service) else { continue };
            if selector.matches(pod.metadata.labels.as_ref()) {
                queue.add_after(Key::of(&service.metadata), batch);
            }
        }
    };
    match change {
        Change::Added(pod) | Change::Deleted(pod) => wake(pod),
        Change::Updated { old, new } => {
            let relabeled = old.metadata.labels != new.metadata.labels || names(old) != names(new);
            let changed = pods::is_terminating(old) != pods::is_terminating(new)
                || pods::is_finished(old) != pods::is_finished(new)
                || pods::is_ready(old) != pods::is_ready(new)
                || pods::node_name(old) != pods::node_name(new)
                || ips(old) != ips(new);
            if changed || relabeled {
                wake(new);
            }
            if relabeled {
                wake(old);
            }
        }
    }
}

fn names(pod: &Pod) -> Option<(&Option<String>, &Option<String>)> {
    pod.spec.as_ref().map(|s| (&s.hostname, &s.subdomain))
}
