//! The decisions: addresses grouped by the ports that they share.

use std::sync::Arc;

use k8s_openapi::{
    api::core::v1::{EndpointAddress, EndpointSubset, Endpoints, ObjectReference, Pod, Service},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};

use crate::util::{
    pods,
    selector::Labels,
    services,
    subsets::{Port, Repacked},
};

const MANAGED_BY: &str = "endpoints.kubernetes.io/managed-by";
const MANAGER: &str = "endpoint-controller";
const OVER_CAPACITY: &str = "endpoints.kubernetes.io/over-capacity";
/// Most addresses in one object; a reader of more should read slices.
const CAPACITY: usize = 1000;

/// The Endpoints as they should be, or nothing if they are.
pub(crate) fn sync(service: &Service, pods: &[Arc<Pod>], current: Option<&Endpoints>) -> Option<Endpoints> {
    let mut subsets = subsets(service, pods);
    let truncated = truncate(&mut subsets);
    let labels = labels(service);
    let mut new = match current {
        Some(current) => current.clone(),
        None => Endpoints {
            metadata: ObjectMeta {
                name: service.metadata.name.clone(),
                namespace: service.metadata.namespace.clone(),
                ..Default::default()
            },
            subsets: None,
        },
    };
    new.subsets = (!subsets.is_empty()).then_some(subsets);
    new.metadata.labels = Some(labels);
    let annotations = new.metadata.annotations.get_or_insert_default();
    match truncated {
        true => annotations.insert(OVER_CAPACITY.into(), "truncated".into()),
        false => annotations.remove(OVER_CAPACITY),
    };
    new.metadata.annotations.take_if(|a| a.is_empty());
    (current != Some(&new)).then_some(new)
}

fn labels(service: &Service) -> Labels {
    let mut labels = service.metadata.labels.clone().unwrap_or_default();
    match services::has_cluster_ip(service) {
        true => labels.remove(services::HEADLESS),
        false => labels.insert(services::HEADLESS.into(), String::new()),
    };
    labels.insert(MANAGED_BY.into(), MANAGER.into());
    labels
}

fn subsets(service: &Service, pods: &[Arc<Pod>]) -> Vec<EndpointSubset> {
    let publishes = services::publishes_not_ready(service);
    let mut repacked = Repacked::default();
    for pod in pods.iter().filter(|p| services::eligible(p, publishes)) {
        let Some(address) = address(service, pod) else { continue };
        let ready = publishes || pods::is_ready(pod);
        let named = services::ports(service).iter().filter_map(|p| {
            let number = services::find_port(pod, p)?;
            Some(Some((number, p.name.clone(), p.protocol.clone(), p.app_protocol.clone())))
        });
        let mut ports: Vec<Port> = named.collect();
        if services::ports(service).is_empty() && !services::has_cluster_ip(service) {
            ports.push(None);
        }
        for port in ports {
            repacked.add(port, &address, ready);
        }
    }
    repacked.subsets()
}

fn address(service: &Service, pod: &Pod) -> Option<EndpointAddress> {
    let spec = service.spec.as_ref()?;
    let ips = services::ips(pod);
    let wants_v6 = match spec.ip_families.as_ref().and_then(|f| f.first()) {
        Some(family) => family == "IPv6",
        None if services::has_cluster_ip(service) => spec.cluster_ip.as_ref().is_some_and(|ip| ip.contains(':')),
        None => ips.first().is_some_and(std::net::IpAddr::is_ipv6),
    };
    Some(EndpointAddress {
        ip: ips.iter().find(|ip| ip.is_ipv6() == wants_v6)?.to_string(),
        node_name: Some(pods::node_name(pod).to_owned()).filter(|n| !n.is_empty()),
        hostname: services::hostname(pod, service).cloned(),
        target_ref: Some(ObjectReference {
            kind: Some("Pod".into()),
            namespace: pod.metadata.namespace.clone(),
            name: pod.metadata.name.clone(),
            uid: pod.metadata.uid.clone(),
            ..Default::default()
        }),
    })
}

/// Cuts to capacity: not-ready addresses first, each subset giving its share. True if something was cut.
fn truncate(subsets: &mut [EndpointSubset]) -> bool {
    let len = |v: &Option<Vec<EndpointAddress>>| v.as_ref().map_or(0, Vec::len);
    let ready: usize = subsets.iter().map(|s| len(&s.addresses)).sum();
    let not_ready: usize = subsets.iter().map(|s| len(&s.not_ready_addresses)).sum();
    if ready + not_ready <= CAPACITY {
        return false;
    }
    let cut_ready = ready > CAPACITY;
    let (room, total) = if cut_ready { (CAPACITY, ready) } else { (CAPACITY - ready, not_ready) };
    let mut left = room;
    for subset in subsets {
        let list = if cut_ready { &mut subset.addresses } else { &mut subset.not_ready_addresses };
        let share = (len(list) * room).div_ceil(total).min(left);
        if let Some(list) = list {
            list.truncate(share);
            left -= list.len();
        }
        list.take_if(|l| l.is_empty());
        if cut_ready {
            subset.not_ready_addresses = None;
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use serde_json::json;

    use super::*;

    fn pod(n: usize, port: i32, ready: bool) -> Arc<Pod> {
        let pod = json!({
            "metadata": {"name": format!("p{n}"), "namespace": "ns", "uid": format!("u{n}")},
            "spec": {"nodeName": "n1", "containers": [{"name": "c", "ports": [{"name": "web", "containerPort": port}]}]},
            "status": {
                "podIPs": [{"ip": format!("10.{}.{}.{}", n >> 16, n >> 8 & 255, n & 255)}],
                "conditions": [{"type": "Ready", "status": if ready { "True" } else { "False" }}],
            },
        });
        Arc::new(serde_json::from_value(pod).unwrap())
    }

    fn service() -> Service {
        let ports = json!([{"name": "http", "port": 80, "targetPort": "web", "protocol": "TCP"}, {"name": "x", "port": 9, "protocol": "TCP"}]);
        serde_json::from_value(json!({
            "metadata": {"name": "s", "namespace": "ns", "labels": {"a": "b"}},
            "spec": {"clusterIP": "10.0.0.1", "selector": {"app": "web"}, "ports": ports},
        }))
        .unwrap()
    }

    fn print(e: &Endpoints) -> String {
        let ips =
            |v: &Option<Vec<EndpointAddress>>| v.iter().flatten().map(|a| a.ip.clone()).collect::<Vec<_>>().join(" ");
        let line = |s: &EndpointSubset| {
            let ports: Vec<_> = s.ports.iter().flatten().map(|p| p.port.to_string()).collect();
            format!("{}: {} | {}\n", ports.join(","), ips(&s.addresses), ips(&s.not_ready_addresses))
        };
        e.subsets.iter().flatten().map(line).collect()
    }

    #[test]
    fn ports_with_the_same_addresses_share_a_subset() {
        let pods = [pod(1, 8080, true), pod(2, 8080, false), pod(3, 8081, true)];
        let new = sync(&service(), &pods, None).unwrap();
        expect![[r#"
            8080: 10.0.0.1 | 10.0.0.2
            9: 10.0.0.1 10.0.0.3 | 10.0.0.2
            8081: 10.0.0.3 | 
        "#]]
        .assert_eq(&print(&new));
        assert_eq!(sync(&service(), &pods, Some(&new)), None, "what is right is left alone");
        assert_eq!(print(&sync(&service(), &[], Some(&new)).unwrap()), "");
    }

    #[test]
    fn more_than_a_thousand_addresses_are_cut() {
        let pods: Vec<_> = (1..=1500).map(|n| pod(n, 8080, n > 200)).collect();
        let mut one_port = service();
        one_port.spec.as_mut().unwrap().ports.as_mut().unwrap().truncate(1);
        let new = sync(&one_port, &pods, None).unwrap();
        assert_eq!(new.subsets.as_ref().unwrap()[0].addresses.as_ref().unwrap().len(), 1000);
        assert_eq!(new.metadata.annotations.as_ref().unwrap()[OVER_CAPACITY], "truncated");
    }
}
