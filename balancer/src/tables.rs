//! From what the API has to what announcers decide by: which addresses there are, and which nodes have endpoints for them.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use client::{Informer, Informers, Scope};
use component::Supervisor;
use controller::key;
use k8s_openapi::api::core::v1::{Node, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use tokio::sync::{Notify, watch};

use crate::announcer::Own;
use crate::claim::is_balanced;
use crate::config::Config;
use crate::election::{Candidate, Table, node_id};
use crate::nodes;

/// How long the first change of a burst waits for the rest of it.
const GATHER: Duration = Duration::from_millis(10);

/// Where a Service's endpoints are: the names of nodes.
type Endpoints<'a> = dyn Fn(&Service) -> BTreeSet<String> + 'a;

/// The table of what there is now. Announced is what Services have of the pool and whose packets reach a node as they are:
/// with the mode `Proxy` somebody in front of the nodes has the address.
fn table(config: &Config, services: &[Arc<Service>], nodes: &[Arc<Node>], endpoints: &Endpoints<'_>) -> Table {
    let Some(pool) = &config.pool else { return Table::default() };
    let id = |node: &Node| node_id(key::uid(&node.metadata));
    let facts = |node: &Arc<Node>| {
        let candidate = Candidate { ready: nodes::is_ready(node), excluded: !cloud::services::takes_load(node) };
        (id(node), candidate)
    };
    let mut table = Table { nodes: nodes.iter().map(facts).collect(), ..Table::default() };
    for service in services.iter().filter(|service| is_balanced(service) && config.class.serves(service)) {
        let balanced = service.status.as_ref().and_then(|status| status.load_balancer.as_ref());
        let ingress = balanced.and_then(|status| status.ingress.as_deref()).unwrap_or_default();
        let ours = ingress.iter().filter(|ingress| ingress.ip_mode.as_deref() != Some("Proxy"));
        let ours: Vec<IpAddr> =
            ours.filter_map(|i| i.ip.as_ref()?.parse().ok()).filter(|ip| pool.contains(*ip)).collect();
        if ours.is_empty() {
            continue;
        }
        let local = is_local(service).then(|| {
            let names = endpoints(service);
            let with = nodes.iter().filter(|node| names.contains(key::name(&node.metadata)));
            with.map(|node| id(node)).collect::<BTreeSet<_>>()
        });
        for ip in ours {
            let known = table.addresses.entry(ip).or_insert(None);
            *known = match (known.take(), local.clone()) {
                (Some(a), Some(b)) => Some(a.intersection(&b).copied().collect()),
                (a, b) => a.or(b),
            };
        }
    }
    table
}

fn is_local(service: &Service) -> bool {
    service.spec.as_ref().is_some_and(|spec| spec.external_traffic_policy.as_deref() == Some("Local"))
}

/// Tells the announcer what there is, until stopped.
pub async fn follow(
    config: Config,
    informers: Informers,
    tasks: Supervisor,
    tables: watch::Sender<Arc<Table>>,
    own: watch::Sender<Option<Own>>,
) {
    let balanced = Scope { field_selector: Some("spec.type=LoadBalancer".to_owned()), ..Scope::default() };
    let (services, nodes) = (informers.scoped::<Service>(balanced), informers.of::<Node>());
    let mut slices: Option<Informer<EndpointSlice>> = None;
    let changed = Arc::new(Notify::new());
    let wake = changed.clone();
    services.on_change(move |_| wake.notify_one());
    let wake = changed.clone();
    nodes.on_change(move |_| wake.notify_one());
    tokio::join!(services.synced(), nodes.synced());
    while !tasks.token().is_cancelled() {
        let (all_services, all_nodes) = (services.list(), nodes.list());
        // They are many, and most clusters never need them here.
        if slices.is_none() && all_services.iter().any(|service| is_local(service)) {
            let informer = slices.insert(informers.of());
            let wake = changed.clone();
            informer.on_change(move |_| wake.notify_one());
            tasks.until_stopped(informer.synced()).await;
        }
        let endpoints = |service: &Service| {
            let (namespace, name) = (key::namespace(&service.metadata), key::name(&service.metadata));
            let slices = slices.as_ref().map(|slices| nodes::slices_of(slices, namespace, name)).unwrap_or_default();
            nodes::with_any(slices.iter().map(AsRef::as_ref))
        };
        let now = table(&config, &all_services, &all_nodes, &endpoints);
        tables.send_if_modified(|before| {
            let news = **before != now;
            if news {
                *before = Arc::new(now);
            }
            news
        });
        let node = all_nodes.iter().find(|node| key::name(&node.metadata) == config.node_name);
        let this = node.map(|node| Own {
            node: node_id(key::uid(&node.metadata)),
            addresses: nodes::addresses(node).into_iter().map(|(ip, _)| ip).collect(),
            interface: config.interface.clone(),
        });
        own.send_if_modified(|before| {
            let news = this.is_some() && *before != this;
            if news {
                *before = this;
            }
            news
        });
        if tasks.until_stopped(changed.notified()).await.is_none() {
            return;
        }
        tokio::time::sleep(GATHER).await;
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::pool::Pool;

    #[test]
    fn announced_is_what_services_have_of_the_pool_and_nodes_can_see() {
        let pool = Pool::parse(&["192.0.2.0-192.0.2.99".to_owned()]).unwrap();
        let config = Config { pool: Some(pool), ..Config::default() };
        let nodes = ["a", "b", "c"].map(|name| {
            let ready = if name == "b" { "Unknown" } else { "True" };
            let labels = if name == "c" {
                json!({"node.kubernetes.io/exclude-from-external-load-balancers": ""})
            } else {
                json!({})
            };
            let node = json!({"metadata": {"name": name, "uid": name, "labels": labels},
                "status": {"conditions": [{"type": "Ready", "status": ready}]}});
            Arc::new(serde_json::from_value::<Node>(node).unwrap())
        });
        let service = |name: &str, spec: Value, ingress: Value| {
            let mut service = json!({"metadata": {"name": name}, "spec": {"type": "LoadBalancer"},
                "status": {"loadBalancer": {"ingress": ingress}}});
            service["spec"].as_object_mut().unwrap().extend(spec.as_object().cloned().unwrap());
            Arc::new(serde_json::from_value::<Service>(service).unwrap())
        };
        let ip = |ip: &str| json!([{"ip": ip, "ipMode": "VIP"}]);
        let local = json!({"externalTrafficPolicy": "Local"});
        let services = [
            service("plain", json!({}), ip("192.0.2.1")),
            service("local", local.clone(), ip("192.0.2.2")),
            service("shared-ab", local.clone(), ip("192.0.2.3")),
            service("shared-b", local.clone(), ip("192.0.2.3")),
            service("elsewhere", json!({}), ip("198.51.100.1")),
            service("proxied", json!({}), json!([{"ip": "192.0.2.4", "ipMode": "Proxy"}])),
            service("other-class", json!({"loadBalancerClass": "x"}), ip("192.0.2.5")),
            service("plain-again", json!({"type": "ClusterIP"}), ip("192.0.2.6")),
            service("waits", json!({}), json!([])),
        ];
        let endpoints = |service: &Service| -> BTreeSet<String> {
            let at: &[&str] = match key::name(&service.metadata) {
                "shared-ab" => &["a", "b"],
                "shared-b" => &["b", "unknown"],
                _ => &["a"],
            };
            at.iter().map(|name| (*name).to_owned()).collect()
        };
        let table = table(&config, &services, &nodes, &endpoints);
        let [a, b, c] = ["a", "b", "c"].map(node_id);
        let set = |ids: &[_]| Some(ids.iter().copied().collect::<BTreeSet<_>>());
        let expect = [("192.0.2.1", None), ("192.0.2.2", set(&[a])), ("192.0.2.3", set(&[b]))];
        let expect: Vec<(IpAddr, _)> = expect.into_iter().map(|(ip, at)| (ip.parse().unwrap(), at)).collect();
        assert_eq!(table.addresses.into_iter().collect::<Vec<_>>(), expect);
        let facts = [a, b, c].map(|id| table.nodes[&id]).map(|candidate| (candidate.ready, candidate.excluded));
        assert_eq!(facts, [(true, false), (false, false), (true, true)]);
    }
}
