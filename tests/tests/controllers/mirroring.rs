//! Endpoints that a user made for a Service without a selector have EndpointSlices.

use http::Method;
use serde_json::{Value, json};

use crate::world::World;

const SERVICES: &str = "/api/v1/namespaces/default/services";
const ENDPOINTS: &str = "/api/v1/namespaces/default/endpoints";
const SLICES: &str = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices";

fn service(name: &str) -> Value {
    json!({"metadata": {"name": name}, "spec": {"clusterIP": "None", "ports": [{"name": "example", "port": 80}]}})
}

fn endpoints(name: &str, ip: &str) -> Value {
    let subset = json!({"addresses": [{"ip": ip}], "ports": [{"port": 80}]});
    json!({"metadata": {"name": name, "labels": {"made-by": "user"}}, "subsets": [subset]})
}

/// Waits for a slice of a Service that has this address.
async fn mirrored(world: &World, service: &str, ip: &str) -> anyhow::Result<Value> {
    let wanted = |slice: &Value| {
        slice["metadata"]["labels"]["kubernetes.io/service-name"] == service
            && slice["endpoints"][0]["addresses"] == json!([ip])
    };
    world.any(SLICES, "", wanted).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slices_follow_endpoints_until_they_go() -> anyhow::Result<()> {
    let world = World::with(&["endpointslice-mirroring-controller"]).await?;
    world.create(SERVICES, service("web")).await?;
    let mut mine = world.create(ENDPOINTS, endpoints("web", "10.1.2.3")).await?;
    let slice = mirrored(&world, "web", "10.1.2.3").await?;
    assert_eq!(slice["ports"], json!([{"name": "", "port": 80, "protocol": "TCP"}]));
    assert_eq!(
        slice["metadata"]["labels"]["endpointslice.kubernetes.io/managed-by"],
        "endpointslicemirroring-controller.k8s.io"
    );
    assert_eq!((&slice["metadata"]["labels"]["made-by"], &slice["addressType"]), (&json!("user"), &json!("IPv4")));
    let owner = &slice["metadata"]["ownerReferences"][0];
    assert_eq!((&owner["kind"], &owner["uid"]), (&json!("Endpoints"), &mine["metadata"]["uid"]));

    mine["subsets"][0]["addresses"][0]["ip"] = json!("10.2.3.4");
    let updated = world.admin.send(Method::PUT, &format!("{ENDPOINTS}/web"), Some(&mine)).await?;
    assert_eq!(updated.code, 200, "{}", updated.body);
    let changed = mirrored(&world, "web", "10.2.3.4").await?;
    assert_eq!(changed["metadata"]["uid"], slice["metadata"]["uid"], "in place");

    // What somebody did to the slice is undone.
    let path = format!("{SLICES}/{}", slice["metadata"]["name"].as_str().unwrap_or_default());
    world.delete(&path).await?;
    let again = mirrored(&world, "web", "10.2.3.4").await?;
    assert_ne!(again["metadata"]["uid"], slice["metadata"]["uid"]);

    world.delete(&format!("{ENDPOINTS}/web")).await?;
    world.gone(&format!("{SLICES}/{}", again["metadata"]["name"].as_str().unwrap_or_default())).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_selector_or_a_label_ends_the_mirroring() -> anyhow::Result<()> {
    let world = World::with(&["endpointslice-mirroring-controller"]).await?;
    let ranges = json!({"metadata": {"name": "kubernetes"}, "spec": {"cidrs": ["10.96.0.0/24"]}});
    world.create("/apis/networking.k8s.io/v1/servicecidrs", ranges).await?;
    let with_address = |name: &str| json!({"metadata": {"name": name}, "spec": {"ports": [{"port": 80}]}});
    let changes = [
        ("selector", format!("{SERVICES}/selector"), json!({"spec": {"selector": {"app": "web"}}})),
        (
            "label",
            format!("{ENDPOINTS}/label"),
            json!({"metadata": {"labels": {"endpointslice.kubernetes.io/skip-mirror": "true"}}}),
        ),
    ];
    for (name, path, patch) in changes {
        world.create(SERVICES, with_address(name)).await?;
        world.create(ENDPOINTS, endpoints(name, "10.1.2.3")).await?;
        let slice = mirrored(&world, name, "10.1.2.3").await?;
        world.patch(&path, patch).await?;
        world.gone(&format!("{SLICES}/{}", slice["metadata"]["name"].as_str().unwrap_or_default())).await?;
    }
    // Without a Service there is nothing to mirror for; one worker takes this before the next.
    world.create(ENDPOINTS, endpoints("alone", "10.9.9.9")).await?;
    world.create(SERVICES, service("last")).await?;
    world.create(ENDPOINTS, endpoints("last", "10.1.2.3")).await?;
    mirrored(&world, "last", "10.1.2.3").await?;
    let slices = world.get(SLICES).await?;
    assert!(!slices.to_string().contains("10.9.9.9"), "{slices}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn too_many_addresses_are_told() -> anyhow::Result<()> {
    let mut world = World::new().await?;
    world.start_with(&["endpointslice-mirroring-controller"], |config| config.mirroring_max_endpoints_per_subset = 1);
    world.create(SERVICES, service("web")).await?;
    let mut many = endpoints("web", "10.0.0.1");
    many["subsets"][0]["addresses"] = json!([{"ip": "10.0.0.1"}, {"ip": "10.0.0.2"}]);
    world.create(ENDPOINTS, many).await?;
    let told = |event: &Value| {
        event["reason"] == "TooManyAddressesToMirror"
            && event["source"]["component"] == "endpoint-slice-mirroring-controller"
            && event["message"]
                == "A max of 1 addresses can be mirrored to EndpointSlices per Endpoints subset. 1 addresses were skipped"
    };
    world.any("/api/v1/namespaces/default/events", "involvedObject.name%3Dweb", told).await?;
    mirrored(&world, "web", "10.0.0.1").await?;
    Ok(())
}
