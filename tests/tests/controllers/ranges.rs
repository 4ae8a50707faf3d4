//! ServiceCIDRs: Services get addresses of every range that is ready, and a range with an address in use stays.

use serde_json::{Value, json};

use crate::world::World;

const RANGES: &str = "/apis/networking.k8s.io/v1/servicecidrs";
const ADDRESSES: &str = "/apis/networking.k8s.io/v1/ipaddresses";
const SERVICES: &str = "/api/v1/namespaces/default/services";
const CONTROLLER: &str = "service-cidr-controller";

fn range(name: &str, cidr: &str) -> Value {
    json!({"metadata": {"name": name}, "spec": {"cidrs": [cidr]}})
}

fn service(name: &str, ip: Option<&str>) -> Value {
    json!({"metadata": {"name": name}, "spec": {"clusterIP": ip, "ports": [{"port": 80}]}})
}

fn condition(range: &Value) -> [&str; 3] {
    let ready = &range["status"]["conditions"][0];
    ["status", "reason", "message"].map(|field| ready[field].as_str().unwrap_or_default())
}

async fn world() -> anyhow::Result<World> {
    let world = World::with(&[CONTROLLER]).await?;
    // Two addresses: .1 and .2.
    world.create(RANGES, range("kubernetes", "10.96.0.0/30")).await?;
    Ok(world)
}

/// A range that is made is protected and said to be ready; Services have addresses of it, also when the first is full.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn services_have_addresses_of_added_ranges() -> anyhow::Result<()> {
    let world = world().await?;
    world.create(SERVICES, service("a", None)).await?;
    world.create(SERVICES, service("b", None)).await?;
    let full = world.admin.send(http::Method::POST, SERVICES, Some(&service("c", None))).await?;
    assert_eq!(full.code, 500);
    assert!(full.body["message"].as_str().is_some_and(|m| m.ends_with("range is full")), "{}", full.body);
    let outside = world.admin.send(http::Method::POST, SERVICES, Some(&service("c", Some("203.0.113.10")))).await?;
    let why = "failed to allocate IP 203.0.113.10: the provided network does not match the current range";
    assert!(outside.body["message"].as_str().is_some_and(|m| m.ends_with(why)), "{}", outside.body);

    world.create(RANGES, range("test-svc-cidr", "203.0.113.0/24")).await?;
    let path = format!("{RANGES}/test-svc-cidr");
    let ready = world.until(&path, |now| condition(now)[0] == "True").await?;
    assert_eq!(condition(&ready), ["True", "", "Kubernetes Service CIDR is ready"]);
    assert_eq!(ready["metadata"]["finalizers"], json!(["networking.k8s.io/service-cidr-finalizer"]));
    let fields = ready["metadata"]["managedFields"].as_array().cloned().unwrap_or_default();
    let applied = |f: &Value| f["manager"] == CONTROLLER && f["operation"] == "Apply" && f["subresource"] == "status";
    assert!(fields.iter().any(applied), "{fields:?}");
    let c = world.create(SERVICES, service("c", Some("203.0.113.10"))).await?;
    assert_eq!(c["spec"]["clusterIP"], "203.0.113.10");
    let address = world.get(&format!("{ADDRESSES}/203.0.113.10")).await?;
    assert_eq!(address["spec"]["parentRef"]["name"], "c");
    let d = world.create(SERVICES, service("d", None)).await?;
    assert!(d["spec"]["clusterIP"].as_str().is_some_and(|ip| ip.starts_with("203.0.113.")), "{d}");
    Ok(())
}

/// A deleted range stays as long as an address would be left without one, and no new address is taken of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_range_in_use_stays() -> anyhow::Result<()> {
    let world = world().await?;
    let path = format!("{RANGES}/extra");
    world.create(RANGES, range("extra", "192.168.7.0/24")).await?;
    world.until(&path, |now| condition(now)[0] == "True").await?;
    world.create(SERVICES, service("a", Some("192.168.7.7"))).await?;
    world.delete(&path).await?;
    let blocked = world.until(&path, |now| condition(now)[0] == "False").await?;
    let why = "There are still IPAddresses referencing the ServiceCIDR, please remove them or create a new ServiceCIDR";
    assert_eq!(condition(&blocked), ["False", "Terminating", why]);
    let refused = world.admin.send(http::Method::POST, SERVICES, Some(&service("b", Some("192.168.7.8")))).await?;
    assert_eq!(refused.code, 422, "{}", refused.body);

    // Another range that contains it, or the address given back, lets it go.
    world.create(RANGES, range("larger", "192.168.0.0/16")).await?;
    world.gone(&path).await?;
    let larger = format!("{RANGES}/larger");
    world.delete(&larger).await?;
    world.until(&larger, |now| condition(now)[0] == "False").await?;
    world.delete(&format!("{SERVICES}/a")).await?;
    world.gone(&larger).await
}
