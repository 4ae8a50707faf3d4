//! Endpoints belong to their Service, if they have one; a user may have some without.

use http::Method;
use serde_json::{Value, json};

use crate::world::World;

const ENDPOINTS: &str = "/api/v1/namespaces/default/endpoints";
const SERVICES: &str = "/api/v1/namespaces/default/services";
const CONTROLLER: &[&str] = &["endpoints-controller"];

fn own(name: &str) -> Value {
    json!({
        "metadata": {"name": name, "labels": {"made-by": "user"}},
        "subsets": [{"addresses": [{"ip": "10.1.2.3"}], "ports": [{"name": "http", "port": 80, "protocol": "TCP"}]}],
    })
}

fn service(name: &str) -> Value {
    json!({"metadata": {"name": name}, "spec": {"clusterIP": "None", "selector": {"app": name}, "ports": [{"port": 80}]}})
}

fn managed(endpoints: &Value) -> bool {
    endpoints["metadata"]["labels"]["endpoints.kubernetes.io/managed-by"] == "endpoint-controller"
}

/// Deletes a Service's Endpoints and waits until they are made anew: by then the controller, which has one worker, has
/// seen everything that was done to Endpoints before, and has acted on it.
async fn settle(world: &World, service: &str) -> anyhow::Result<()> {
    let path = format!("{ENDPOINTS}/{service}");
    let before = world.until(&path, managed).await?;
    world.delete(&path).await?;
    world.until(&path, |now| managed(now) && now["metadata"]["uid"] != before["metadata"]["uid"]).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn endpoints_without_a_service_are_their_users() -> anyhow::Result<()> {
    let world = World::with(CONTROLLER).await?;
    world.create(SERVICES, service("web")).await?;
    // What is there when the controller starts is a leftover; this is not.
    settle(&world, "web").await?;
    let path = format!("{ENDPOINTS}/mine");
    let mut mine = world.create(ENDPOINTS, own("mine")).await?;
    settle(&world, "web").await?;
    mine["subsets"][0]["addresses"][0]["ip"] = "10.1.2.4".into();
    let updated = world.admin.send(Method::PUT, &path, Some(&mine)).await?;
    assert_eq!((updated.code, &updated.body["subsets"]), (200, &mine["subsets"]), "{}", updated.body);
    let patch = json!({"metadata": {"labels": {"more": "patched"}}});
    world.patch(&path, patch).await?;
    settle(&world, "web").await?;
    let now = world.get(&path).await?;
    assert_eq!((&now["subsets"], &now["metadata"]["labels"]["more"]), (&mine["subsets"], &json!("patched")));
    world.delete(&format!("{ENDPOINTS}?labelSelector=made-by%3Duser")).await?;
    assert_eq!(world.admin.get(&path).await?.code, 404);
    // Of the same name, anew: the deletion of the former is not the deletion of this one.
    world.create(ENDPOINTS, own("mine")).await?;
    settle(&world, "web").await?;
    world.get(&path).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn endpoints_go_with_their_service() -> anyhow::Result<()> {
    let world = World::with(CONTROLLER).await?;
    world.create(SERVICES, service("web")).await?;
    settle(&world, "web").await?;
    world.delete(&format!("{SERVICES}/web")).await?;
    world.gone(&format!("{ENDPOINTS}/web")).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leftovers_are_deleted_at_the_start_but_for_locks() -> anyhow::Result<()> {
    let mut world = World::new().await?;
    let mut lock = own("lock");
    lock["metadata"]["annotations"] = json!({"control-plane.alpha.kubernetes.io/leader": "{}"});
    world.create(ENDPOINTS, lock).await?;
    world.create(ENDPOINTS, own("leftover")).await?;
    world.create(SERVICES, service("web")).await?;
    world.start(CONTROLLER);
    world.gone(&format!("{ENDPOINTS}/leftover")).await?;
    settle(&world, "web").await?;
    world.get(&format!("{ENDPOINTS}/lock")).await?;
    Ok(())
}
