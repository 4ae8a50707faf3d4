//! One pass over a Deployment may write one ReplicaSet twice.

use http::Method;
use serde_json::json;

use crate::world::World;

const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";
const SETS: &str = "/apis/apps/v1/namespaces/default/replicasets";

/// An annotation that belongs on the set, and another size: two writes, as upstream's. No ReplicaSet controller runs, so
/// nobody else writes the set.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_writes_of_a_set_in_one_pass_do_not_conflict() -> anyhow::Result<()> {
    let world = World::with(&["deployment-controller"]).await?;
    let labels = json!({"app": "web"});
    let template = json!({"metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    let spec = json!({"replicas": 1, "selector": {"matchLabels": labels}, "template": template});
    world.create(DEPLOYMENTS, json!({"metadata": {"name": "web"}, "spec": spec})).await?;
    let path = format!("{DEPLOYMENTS}/web");
    world.until(&path, |d| d["status"]["observedGeneration"] == 1).await?;
    let sets = world.get(SETS).await?;
    let set = format!("{SETS}/{}", sets["items"][0]["metadata"]["name"].as_str().unwrap_or_default());
    assert_eq!(world.get(&set).await?["spec"]["replicas"], 1);
    let before = world.sent().len();
    world.patch(&path, json!({"metadata": {"annotations": {"note": "n"}}, "spec": {"replicas": 3}})).await?;
    // The status is written last.
    world.until(&path, |d| d["status"]["observedGeneration"] == 2).await?;
    let now = world.get(&set).await?;
    assert_eq!((&now["spec"]["replicas"], &now["metadata"]["annotations"]["note"]), (&json!(3), &json!("n")));
    let sent = world.sent();
    let writes = sent[before..].iter().filter(|s| s.method == Method::PUT && s.path == set);
    let codes: Vec<u16> = writes.map(|s| s.code).take(2).collect();
    assert_eq!(codes, [200, 200], "{:#?}", &sent[before..]);
    Ok(())
}
