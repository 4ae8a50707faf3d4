//! Bootstrap tokens: the cluster's information is signed with each, and those whose time is over go.

use serde_json::{Value, json};

use crate::world::World;

const TOKENS: &str = "/api/v1/namespaces/kube-system/secrets";
const INFO: &str = "/api/v1/namespaces/kube-public/configmaps/cluster-info";

fn token(id: &str, more: Value) -> Value {
    let mut data = json!({"token-id": id, "token-secret": "0123456789abcdef", "usage-bootstrap-signing": "true"});
    data.as_object_mut().expect("an object").extend(more.as_object().cloned().unwrap_or_default());
    let name = format!("bootstrap-token-{id}");
    json!({"metadata": {"name": name}, "type": "bootstrap.kubernetes.io/token", "stringData": data})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_clusters_information_is_signed_with_each_token() -> anyhow::Result<()> {
    let world = World::with(&["bootstrap-signer-controller"]).await?;
    world.create(TOKENS, token("abcdef", json!({}))).await?;
    let info =
        json!({"metadata": {"name": "cluster-info"}, "data": {"kubeconfig": "payload", "jws-kubeconfig-gone00": "x"}});
    world.create("/api/v1/namespaces/kube-public/configmaps", info).await?;
    let has = |wanted: &'static [&'static str]| {
        move |now: &Value| now["data"].as_object().is_some_and(|data| data.keys().eq(wanted))
    };
    let signed = world.until(INFO, has(&["jws-kubeconfig-abcdef", "kubeconfig"])).await?;
    // {"alg":"HS256","kid":"abcdef"}
    let signature = signed["data"]["jws-kubeconfig-abcdef"].as_str().unwrap_or_default();
    assert!(signature.starts_with("eyJhbGciOiJIUzI1NiIsImtpZCI6ImFiY2RlZiJ9.."), "{signature}");
    world.create(TOKENS, token("ghijkl", json!({}))).await?;
    world.until(INFO, has(&["jws-kubeconfig-abcdef", "jws-kubeconfig-ghijkl", "kubeconfig"])).await?;
    world.delete(&format!("{TOKENS}/bootstrap-token-abcdef")).await?;
    world.until(INFO, has(&["jws-kubeconfig-ghijkl", "kubeconfig"])).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_goes_when_its_time_is_over() -> anyhow::Result<()> {
    let world = World::with(&["token-cleaner-controller"]).await?;
    let path = |id: &str| format!("{TOKENS}/bootstrap-token-{id}");
    let soon = time::OffsetDateTime::now_utc() + time::Duration::seconds(2);
    let soon = soon.format(&time::format_description::well_known::Rfc3339)?;
    for (id, expiration) in [("over00", "2020-01-01T00:00:00Z"), ("soon00", &soon), ("later0", "2999-01-01T00:00:00Z")]
    {
        world.create(TOKENS, token(id, json!({"expiration": expiration}))).await?;
    }
    world.create(TOKENS, token("always", json!({}))).await?;
    world.gone(&path("over00")).await?;
    world.gone(&path("soon00")).await?;
    world.get(&path("later0")).await?;
    world.get(&path("always")).await?;
    Ok(())
}
