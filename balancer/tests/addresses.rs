//! Services get their addresses from a server that is one, with the rights that `deploy/balancer.yaml` gives and no others.

use std::time::Duration;

use component::Supervisor;
use ferry_balancer::{Config, Pool};
use http::Method;
use serde_json::{Value, json};
use testkit::{Caller, Cluster};
use tokio_util::sync::CancellationToken;

const SERVICES: &str = "/api/v1/namespaces/default/services";
const NODES: &str = "/api/v1/nodes";
/// Far more than anything takes; only to end a test that hangs.
const PATIENCE: Duration = Duration::from_secs(60);

/// A server, and balancers beside it.
struct World {
    cluster: Cluster,
    admin: Caller,
    tasks: Supervisor,
}

/// A balancer that runs until it is stopped.
struct Balancer(CancellationToken, component::supervisor::Task<anyhow::Result<()>>);

impl Balancer {
    async fn stop(self) -> anyhow::Result<()> {
        self.0.cancel();
        self.1.await?
    }
}

impl World {
    async fn new() -> anyhow::Result<World> {
        let cluster = Cluster::start().await?;
        let world = World { admin: cluster.admin(), cluster, tasks: Supervisor::new() };
        let range = json!({"metadata": {"name": "kubernetes"}, "spec": {"cidrs": ["10.96.0.0/24"]}});
        world.create("/apis/networking.k8s.io/v1/servicecidrs", range).await?;
        let rights = include_str!("../../deploy/balancer.yaml");
        for text in machinery::yaml::documents(rights) {
            let object = machinery::yaml::to_json(text.as_bytes()).map_err(anyhow::Error::msg)?;
            let kind = object["kind"].as_str().unwrap_or_default().to_lowercase() + "s";
            let namespace = object["metadata"]["namespace"].as_str();
            let scope = namespace.map(|namespace| format!("namespaces/{namespace}/")).unwrap_or_default();
            world.create(&format!("/apis/rbac.authorization.k8s.io/v1/{scope}{kind}"), object).await?;
        }
        Ok(world)
    }

    async fn create(&self, path: &str, object: Value) -> anyhow::Result<Value> {
        let answer = self.admin.send(Method::POST, path, Some(&object)).await?;
        anyhow::ensure!(answer.code == 201, "{}", answer.body);
        Ok(answer.body)
    }

    async fn patch(&self, path: &str, patch: Value) -> anyhow::Result<()> {
        let answer = self.admin.send_as(Method::PATCH, path, "application/merge-patch+json", Some(&patch)).await?;
        anyhow::ensure!(answer.code == 200, "{}", answer.body);
        Ok(())
    }

    async fn service(&self, name: &str, spec: Value) -> anyhow::Result<()> {
        let mut service =
            json!({"metadata": {"name": name}, "spec": {"type": "LoadBalancer", "ports": [{"port": 80}]}});
        let more = spec.as_object().cloned().unwrap_or_default();
        service["spec"].as_object_mut().into_iter().for_each(|spec| spec.extend(more.clone()));
        self.create(SERVICES, service).await.map(drop)
    }

    async fn until(&self, path: &str, what: &str, done: impl Fn(&Value) -> bool) -> anyhow::Result<Value> {
        let end = tokio::time::Instant::now() + PATIENCE;
        loop {
            let answer = self.admin.get(path).await?;
            if done(&answer.body) {
                return Ok(answer.body);
            }
            anyhow::ensure!(tokio::time::Instant::now() < end, "waited for {what}: {}", answer.body);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn has(&self, name: &str, addresses: &[&str]) -> anyhow::Result<Value> {
        let path = format!("{SERVICES}/{name}");
        self.until(&path, &format!("{addresses:?}"), |now| ips(now) == addresses).await
    }

    async fn said(&self, name: &str, message: &str) -> anyhow::Result<Value> {
        let path = format!("/api/v1/namespaces/default/events?fieldSelector=involvedObject.name%3D{name}");
        let says = |event: &Value| event["message"].as_str().is_some_and(|text| text.contains(message));
        self.until(&path, message, |now| now["items"].as_array().is_some_and(|all| all.iter().any(says))).await
    }

    fn start(&self, name: &str, pool: Option<&str>) -> anyhow::Result<Balancer> {
        let pool = pool.map(|pool| Pool::parse(&pool.split(',').map(str::to_owned).collect::<Vec<_>>())).transpose()?;
        let config = Config { node_name: name.to_owned(), pool, announce: false, ..Config::default() };
        let (client, cancel) = (self.cluster.caller("ferry:balancer", &[]).kube(), CancellationToken::new());
        let task = self.tasks.one_shot("balancer", ferry_balancer::run(config, client, cancel.clone()));
        Ok(Balancer(cancel, task))
    }
}

fn ips(service: &Value) -> Vec<&str> {
    let ingress = service["status"]["loadBalancer"]["ingress"].as_array();
    ingress.into_iter().flatten().filter_map(|ingress| ingress["ip"].as_str()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_is_given_kept_and_given_back() -> anyhow::Result<()> {
    let world = World::new().await?;
    let balancer = world.start("a", Some("192.0.2.100-192.0.2.101"))?;
    world.service("one", json!({})).await?;
    let one = world.has("one", &["192.0.2.100"]).await?;
    assert_eq!(one["metadata"]["finalizers"], json!(["service.kubernetes.io/load-balancer-cleanup"]));
    assert_eq!(one["status"]["loadBalancer"]["ingress"][0]["ipMode"], "VIP");
    world.service("two", json!({"loadBalancerClass": ferry_balancer::CLASS})).await?;
    world.has("two", &["192.0.2.101"]).await?;
    world.service("three", json!({})).await?;
    let full = "failed to ensure load balancer: no IPv4 address is left in the pool 192.0.2.100-192.0.2.101";
    world.said("three", full).await?;

    // Another process goes on where this one ends, and takes nothing from anybody.
    balancer.stop().await?;
    let _balancer = world.start("b", Some("192.0.2.100-192.0.2.101"))?;
    world.service("four", json!({"loadBalancerIP": "192.0.2.101"})).await?;
    world.said("four", "the wished address 192.0.2.101 is taken by default/two").await?;
    world.has("one", &["192.0.2.100"]).await?;
    world.has("two", &["192.0.2.101"]).await?;

    // Who waits has it at once.
    world.patch(&format!("{SERVICES}/one"), json!({"spec": {"type": "ClusterIP"}})).await?;
    let one = world.has("one", &[]).await?;
    world.has("three", &["192.0.2.100"]).await?;
    world.until(&format!("{SERVICES}/one"), "no finalizer", |now| now["metadata"]["finalizers"].is_null()).await?;
    assert_eq!(one["spec"]["type"], "ClusterIP");
    world.admin.send(Method::DELETE, &format!("{SERVICES}/two"), None).await?;
    world.has("four", &["192.0.2.101"]).await?;
    world.until(&format!("{SERVICES}/two"), "its end", |now| now["code"] == 404).await?;

    // Somebody else writes into a status what is another's; or nothing.
    for ingress in [json!([{"ip": "192.0.2.101"}]), json!([])] {
        let written = json!({"status": {"loadBalancer": {"ingress": ingress}}});
        world.patch(&format!("{SERVICES}/three/status"), written).await?;
        world.has("three", &["192.0.2.100"]).await?;
        world.has("four", &["192.0.2.101"]).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn classes_of_others_are_left_alone() -> anyhow::Result<()> {
    let world = World::new().await?;
    let _balancer = world.start("a", Some("192.0.2.100-192.0.2.101"))?;
    world.service("theirs", json!({"loadBalancerClass": "example.com/theirs"})).await?;
    world.service("ours", json!({})).await?;
    world.has("ours", &["192.0.2.100"]).await?;
    let theirs = world.has("theirs", &[]).await?;
    assert!(theirs["metadata"]["finalizers"].is_null());
    // What they have is not given out.
    let status = json!({"status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.101"}]}}});
    world.patch(&format!("{SERVICES}/theirs/status"), status).await?;
    world.service("late", json!({})).await?;
    world.said("late", "no IPv4 address is left").await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_pool_services_have_the_nodes_that_are_ready() -> anyhow::Result<()> {
    let world = World::new().await?;
    let excluded = json!({"node.kubernetes.io/exclude-from-external-load-balancers": ""});
    for (name, ip, labels) in
        [("a", "192.0.2.1", json!({})), ("b", "192.0.2.2", json!({})), ("c", "192.0.2.3", excluded)]
    {
        world.create(NODES, json!({"metadata": {"name": name, "labels": labels}})).await?;
        let status = json!({"addresses": [{"type": "InternalIP", "address": ip}],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": 10250}},
            "conditions": [{"type": "Ready", "status": "True"}]});
        world.patch(&format!("{NODES}/{name}/status"), json!({"status": status})).await?;
    }
    let _balancer = world.start("a", None)?;
    world.service("web", json!({})).await?;
    world.has("web", &["192.0.2.1", "192.0.2.2"]).await?;
    let unwell = json!({"status": {"conditions": [{"type": "Ready", "status": "Unknown"}]}});
    world.patch(&format!("{NODES}/a/status"), unwell).await?;
    world.has("web", &["192.0.2.2"]).await?;
    // Two can't have a port of one address, and the kubelet's is nobody's.
    world.service("again", json!({})).await?;
    world.said("again", "the port 80/TCP of the nodes' addresses is taken by default/web").await?;
    world.service("kubelet", json!({"ports": [{"port": 10250}]})).await?;
    world.said("kubelet", "the port 10250/TCP of the nodes' addresses is taken by the node itself").await?;

    // Local: the nodes with endpoints.
    let local = json!({"externalTrafficPolicy": "Local", "ports": [{"port": 81}]});
    world.service("local", local).await?;
    let slice = json!({"metadata": {"name": "local-1", "labels": {"kubernetes.io/service-name": "local"}},
        "addressType": "IPv4", "ports": [{"port": 80}],
        "endpoints": [{"addresses": ["10.0.0.1"], "nodeName": "b", "conditions": {"ready": true}}]});
    world.create("/apis/discovery.k8s.io/v1/namespaces/default/endpointslices", slice).await?;
    world.has("local", &["192.0.2.2"]).await?;
    Ok(())
}
