//! A cloud: its load balancers follow Services and nodes, its machines keep their nodes, its routes lead to pods.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use controller_manager::NodeRanges;
use controller_manager::cloud::{Cloud, Failure, Instances, LoadBalancers, Route, Routes};
use k8s_openapi::api::core::v1::{LoadBalancerStatus, Node, Service};
use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::world::World;

const SERVICES: &str = "/api/v1/namespaces/default/services";
const NODES: &str = "/api/v1/nodes";
const EVENTS: &str = "/api/v1/namespaces/default/events";

/// What the cloud has, and what it is to fail at.
#[derive(Default)]
struct Sky {
    /// The nodes of each load balancer, by the Service's name.
    balancers: BTreeMap<String, Vec<String>>,
    broken: bool,
    /// Machines that are there, and whether they are shut down.
    machines: BTreeMap<String, bool>,
    routes: Vec<Route>,
}

#[derive(Clone, Default)]
struct Fake(Arc<Mutex<Sky>>);

impl Cloud for Fake {
    fn instances(&self) -> Option<Arc<dyn Instances>> {
        Some(Arc::new(self.clone()))
    }
    fn load_balancers(&self) -> Option<Arc<dyn LoadBalancers>> {
        Some(Arc::new(self.clone()))
    }
    fn routes(&self) -> Option<Arc<dyn Routes>> {
        Some(Arc::new(self.clone()))
    }
}

fn name(of: &Option<String>) -> String {
    of.clone().unwrap_or_default()
}

fn names(nodes: &[Arc<Node>]) -> Vec<String> {
    nodes.iter().map(|node| name(&node.metadata.name)).collect()
}

#[async_trait]
impl LoadBalancers for Fake {
    async fn exists(&self, _: &str, service: &Service) -> anyhow::Result<bool> {
        Ok(self.0.lock().balancers.contains_key(&name(&service.metadata.name)))
    }
    async fn ensure(&self, _: &str, service: &Service, nodes: &[Arc<Node>]) -> Result<LoadBalancerStatus, Failure> {
        let mut sky = self.0.lock();
        if sky.broken {
            return Err(Failure::Failed("out of addresses".into()));
        }
        sky.balancers.insert(name(&service.metadata.name), names(nodes));
        let status = serde_json::from_value(json!({"ingress": [{"ip": "198.51.100.7"}]}));
        status.map_err(|e| Failure::Failed(e.to_string()))
    }
    async fn update(&self, _: &str, service: &Service, nodes: &[Arc<Node>]) -> Result<(), Failure> {
        self.0.lock().balancers.insert(name(&service.metadata.name), names(nodes));
        Ok(())
    }
    async fn delete(&self, _: &str, service: &Service) -> Result<(), Failure> {
        self.0.lock().balancers.remove(&name(&service.metadata.name));
        Ok(())
    }
}

#[async_trait]
impl Instances for Fake {
    async fn exists(&self, node: &Node) -> anyhow::Result<bool> {
        Ok(self.0.lock().machines.contains_key(&name(&node.metadata.name)))
    }
    async fn is_shut_down(&self, node: &Node) -> anyhow::Result<bool> {
        Ok(self.0.lock().machines.get(&name(&node.metadata.name)) == Some(&true))
    }
}

#[async_trait]
impl Routes for Fake {
    async fn list(&self, _: &str) -> anyhow::Result<Vec<Route>> {
        Ok(self.0.lock().routes.clone())
    }
    async fn create(&self, _: &str, _: &str, route: &Route) -> anyhow::Result<()> {
        let mut sky = self.0.lock();
        anyhow::ensure!(!sky.broken, "out of routes");
        sky.routes.push(route.clone());
        Ok(())
    }
    async fn delete(&self, _: &str, route: &Route) -> anyhow::Result<()> {
        self.0.lock().routes.retain(|r| r != route);
        Ok(())
    }
}

async fn world(controller: &str, cloud: &Fake, ranges: Option<NodeRanges>) -> anyhow::Result<World> {
    let mut world = World::new().await?;
    let range = json!({"metadata": {"name": "kubernetes"}, "spec": {"cidrs": ["10.96.0.0/24"]}});
    world.create("/apis/networking.k8s.io/v1/servicecidrs", range).await?;
    let cloud = cloud.clone();
    world.start_with(&[controller], |config| {
        config.cloud = Some(Arc::new(cloud));
        config.node_ranges = ranges;
        config.node_monitor_period = std::time::Duration::from_millis(50);
        config.route_reconciliation_period = std::time::Duration::from_millis(50);
    });
    Ok(world)
}

fn ready(status: &str) -> Value {
    json!({"status": {"conditions": [{"type": "Ready", "status": status}]}})
}

/// A Service has its load balancer before its finalizer lets it go, with the nodes there are.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_has_a_load_balancer_as_long_as_it_wants_one() -> anyhow::Result<()> {
    let cloud = Fake::default();
    let world = world("service-lb-controller", &cloud, None).await?;
    world.create(NODES, json!({"metadata": {"name": "a"}})).await?;
    let web = json!({"metadata": {"name": "web"}, "spec": {"type": "LoadBalancer", "ports": [{"port": 80}]}});
    world.create(SERVICES, web).await?;
    let path = format!("{SERVICES}/web");
    let balanced =
        world.until(&path, |now| now["status"]["loadBalancer"]["ingress"][0]["ip"] == "198.51.100.7").await?;
    assert_eq!(balanced["metadata"]["finalizers"], json!(["service.kubernetes.io/load-balancer-cleanup"]));
    let of_web = |reason: &str| format!("reason%3D{reason},involvedObject.name%3Dweb");
    let said = world.any(EVENTS, &of_web("EnsuredLoadBalancer"), |_| true).await?;
    assert_eq!(said["source"]["component"], "service-controller");

    // Another node is one more to lead to.
    world.create(NODES, json!({"metadata": {"name": "b"}})).await?;
    let counted = |event: &Value| event["message"] == "Updated load balancer with new hosts";
    world.any(EVENTS, &of_web("UpdatedLoadBalancer"), counted).await?;
    assert!(cloud.0.lock().balancers["web"].contains(&"b".to_owned()));

    world.patch(&path, json!({"spec": {"type": "ClusterIP"}})).await?;
    let plain =
        |now: &Value| now["status"]["loadBalancer"]["ingress"].is_null() && now["metadata"]["finalizers"].is_null();
    world.until(&path, plain).await?;
    assert!(cloud.0.lock().balancers.is_empty());
    world.patch(&path, json!({"spec": {"type": "LoadBalancer"}})).await?;
    world.until(&path, |now| !now["status"]["loadBalancer"]["ingress"].is_null()).await?;
    world.delete(&path).await?;
    world.gone(&path).await?;
    assert!(cloud.0.lock().balancers.is_empty());
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_cloud_can_not_do_is_said() -> anyhow::Result<()> {
    let cloud = Fake::default();
    cloud.0.lock().broken = true;
    let world = world("service-lb-controller", &cloud, None).await?;
    let web = json!({"metadata": {"name": "web"}, "spec": {"type": "LoadBalancer", "ports": [{"port": 80}]}});
    world.create(SERVICES, web).await?;
    let failed = "reason%3DSyncLoadBalancerFailed,involvedObject.name%3Dweb";
    let said = world.any(EVENTS, failed, |_| true).await?;
    assert_eq!(said["message"], "Error syncing load balancer: failed to ensure load balancer: out of addresses");
    world.any(EVENTS, "reason%3DUnAvailableLoadBalancer,involvedObject.name%3Dweb", |_| true).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_goes_with_its_machine() -> anyhow::Result<()> {
    let cloud = Fake::default();
    cloud.0.lock().machines = [("runs".to_owned(), false), ("stopped".to_owned(), true)].into();
    let world = world("cloud-node-lifecycle-controller", &cloud, None).await?;
    for name in ["stopped", "gone", "runs"] {
        world.create(NODES, json!({"metadata": {"name": name}})).await?;
    }
    world.patch(&format!("{NODES}/stopped/status"), ready("Unknown")).await?;
    let path = |name: &str| format!("{NODES}/{name}");
    world.gone(&path("gone")).await?;
    let said = world.any(EVENTS, "reason%3DDeletingNode", |_| true).await?;
    assert_eq!(said["message"], "Deleting node gone because it does not exist in the cloud provider");
    let key = "node.cloudprovider.kubernetes.io/shutdown";
    let tainted =
        |now: &Value| now["spec"]["taints"].as_array().is_some_and(|taints| taints.iter().any(|t| t["key"] == key));
    world.until(&path("stopped"), tainted).await?;
    world.patch(&format!("{NODES}/stopped/status"), ready("True")).await?;
    world.until(&path("stopped"), |now| !tainted(now)).await?;
    assert!(!tainted(&world.get(&path("runs")).await?));
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_range_of_a_node_has_a_route() -> anyhow::Result<()> {
    let cloud = Fake::default();
    let ranges = NodeRanges { cluster: vec![("10.244.0.0/16".parse()?, 24)], services: vec![] };
    let other = Route { name: "x".into(), destination: "10.9.0.0/24".into(), ..Route::default() };
    cloud.0.lock().routes = vec![other.clone(), Route { destination: "10.244.9.0/24".into(), ..Route::default() }];
    let world = world("node-route-controller", &cloud, Some(ranges)).await?;
    let a = json!({"metadata": {"name": "a"}, "spec": {"podCIDR": "10.244.1.0/24", "podCIDRs": ["10.244.1.0/24"]}});
    world.create(NODES, a).await?;
    let unavailable = |now: &Value| {
        let conditions = now["status"]["conditions"].as_array().cloned().unwrap_or_default();
        conditions.into_iter().find(|c| c["type"] == "NetworkUnavailable").unwrap_or_default()
    };
    let path = format!("{NODES}/a");
    let reached = world.until(&path, |now| unavailable(now)["status"] == "False").await?;
    assert_eq!(unavailable(&reached)["reason"], "RouteCreated");
    let there: Vec<String> = cloud.0.lock().routes.iter().map(|r| r.destination.clone()).collect();
    assert_eq!(there, [other.destination, "10.244.1.0/24".to_owned()]);

    cloud.0.lock().broken = true;
    let b = json!({"metadata": {"name": "b"}, "spec": {"podCIDR": "10.244.2.0/24", "podCIDRs": ["10.244.2.0/24"]}});
    world.create(NODES, b).await?;
    let cut = world.until(&format!("{NODES}/b"), |now| unavailable(now)["status"] == "True").await?;
    assert_eq!(unavailable(&cut)["message"], "RouteController failed to create a route");
    world.any(EVENTS, "reason%3DFailedToCreateRoute,involvedObject.name%3Db", |_| true).await?;
    Ok(())
}
