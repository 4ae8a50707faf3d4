//! Pods' claims for devices: made from templates, told in the pod's status, let go and deleted when the pod has ended.

use http::Method;
use serde_json::{Value, json};

use crate::world::{Mishap, World};

const CLAIMS: &str = "/apis/resource.k8s.io/v1/namespaces/default/resourceclaims";
const TEMPLATES: &str = "/apis/resource.k8s.io/v1/namespaces/default/resourceclaimtemplates";
const PODS: &str = "/api/v1/namespaces/default/pods";
const EVENTS: &str = "/api/v1/namespaces/default/events";

async fn world() -> anyhow::Result<World> {
    let world = World::with(&["resourceclaim-controller", "serviceaccount-controller"]).await?;
    world.accounts().await?;
    Ok(world)
}

fn devices() -> Value {
    json!({"devices": {"requests": [{"name": "gpu", "exactly": {"deviceClassName": "gpus"}}]}})
}

fn pod(name: &str, claims: Value, node: Option<&str>) -> Value {
    json!({
        "metadata": {"name": name},
        "spec": {
            "nodeName": node, "automountServiceAccountToken": false, "resourceClaims": claims,
            "containers": [{"name": "c", "image": "i"}],
        },
    })
}

fn told(pod: &Value, entry: &str) -> Option<String> {
    let statuses = pod["status"]["resourceClaimStatuses"].as_array()?;
    let status = statuses.iter().find(|status| status["name"] == entry)?;
    status["resourceClaimName"].as_str().map(str::to_owned)
}

/// Says of a claim what the scheduler would: a device for these pods.
async fn allocate(world: &World, claim: &str, pods: &[&Value]) -> anyhow::Result<()> {
    let path = format!("{CLAIMS}/{claim}");
    world.patch(&path, json!({"metadata": {"finalizers": ["resource.kubernetes.io/delete-protection"]}})).await?;
    let device = json!({"request": "gpu", "driver": "d.example.com", "pool": "p", "device": "gpu-0"});
    let meta = |pod: &Value| pod["metadata"].clone();
    let consumers: Vec<Value> = pods
        .iter()
        .map(|pod| json!({"resource": "pods", "name": meta(pod)["name"], "uid": meta(pod)["uid"]}))
        .collect();
    let status = json!({"allocation": {"devices": {"results": [device]}}, "reservedFor": consumers});
    world.patch(&format!("{path}/status"), json!({"status": status})).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_claim_of_a_template_lives_with_its_pod() -> anyhow::Result<()> {
    let world = world().await?;
    let entries = json!([
        {"name": "a", "resourceClaimTemplateName": "t"},
        {"name": "b", "resourceClaimTemplateName": "t"},
    ]);
    world.create(PODS, pod("p", entries, None)).await?;
    let why =
        "PodResourceClaim a: resource claim template \"t\": resourceclaimtemplate.resource.k8s.io \"t\" not found";
    let event = world.any(EVENTS, "reason%3DFailedResourceClaimCreation", |event| event["message"] == why).await?;
    assert_eq!((&event["type"], &event["source"]["component"]), (&json!("Warning"), &json!("resource_claim")));
    let template = json!({"metadata": {"name": "t"}, "spec": {"metadata": {"labels": {"l": "v"}}, "spec": devices()}});
    world.create(TEMPLATES, template).await?;
    let path = format!("{PODS}/p");
    let made = world.until(&path, |pod| told(pod, "a").is_some() && told(pod, "b").is_some()).await?;
    let (a, b) = (told(&made, "a").unwrap_or_default(), told(&made, "b").unwrap_or_default());
    assert!(a.starts_with("p-a-") && b.starts_with("p-b-"), "{a} {b}");
    let claim = world.get(&format!("{CLAIMS}/{a}")).await?;
    let meta = &claim["metadata"];
    assert_eq!(meta["annotations"], json!({"resource.kubernetes.io/pod-claim-name": "a"}));
    assert_eq!((&meta["labels"], &meta["ownerReferences"][0]["uid"]), (&json!({"l": "v"}), &made["metadata"]["uid"]));
    assert_eq!(world.list(CLAIMS).await?.len(), 2);

    // One that is lost is made again, and the other is still told.
    world.delete(&format!("{CLAIMS}/{b}")).await?;
    let again = world.until(&path, |pod| told(pod, "b").is_some_and(|name| name != b)).await?;
    assert_eq!(told(&again, "a").as_ref(), Some(&a));

    // The pod ends: what is reserved for it is let go, and nothing is left.
    allocate(&world, &a, &[&made]).await?;
    world.patch(&format!("{path}/status"), json!({"status": {"phase": "Succeeded"}})).await?;
    world.gone(&format!("{CLAIMS}/{a}")).await?;
    world.gone(&format!("{CLAIMS}/{}", told(&again, "b").unwrap_or_default())).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shared_claim_is_deallocated_with_its_last_pod() -> anyhow::Result<()> {
    let world = world().await?;
    world.create(CLAIMS, json!({"metadata": {"name": "shared"}, "spec": devices()})).await?;
    let entries = json!([{"name": "a", "resourceClaimName": "shared"}]);
    let first = world.create(PODS, pod("first", entries.clone(), None)).await?;
    allocate(&world, "shared", &[&first]).await?;
    let path = format!("{CLAIMS}/shared");
    // A pod that did not come by its node through the scheduler.
    world.create(PODS, pod("second", entries, Some("n"))).await?;
    let consumers = |claim: &Value| -> Vec<String> {
        let consumers = claim["status"]["reservedFor"].as_array().cloned().unwrap_or_default();
        consumers.iter().filter_map(|c| c["name"].as_str().map(str::to_owned)).collect()
    };
    world.until(&path, |claim| consumers(claim) == ["first", "second"]).await?;
    world.delete(&format!("{PODS}/first")).await?;
    let one = world.until(&path, |claim| consumers(claim) == ["second"]).await?;
    assert!(one["status"]["allocation"].is_object());
    world.patch(&format!("{PODS}/second/status"), json!({"status": {"phase": "Failed"}})).await?;
    let free = world.until(&path, |claim| claim["metadata"]["finalizers"].is_null()).await?;
    assert!(free["status"]["allocation"].is_null() && consumers(&free).is_empty(), "{free}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deleted_claim_goes_when_nobody_uses_it() -> anyhow::Result<()> {
    let world = world().await?;
    world.create(CLAIMS, json!({"metadata": {"name": "c"}, "spec": devices()})).await?;
    allocate(&world, "c", &[]).await?;
    let path = format!("{CLAIMS}/c");
    assert!(world.get(&path).await?["status"]["allocation"].is_object());
    world.delete(&path).await?;
    world.gone(&path).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_claim_that_may_have_been_made_is_not_made_again() -> anyhow::Result<()> {
    let world = world().await?;
    world.create(TEMPLATES, json!({"metadata": {"name": "t"}, "spec": {"spec": devices()}})).await?;
    world.lag(Some("/apis/resource.k8s.io/v1/resourceclaims"));
    world.meet(Mishap::LoseAnswerAfter(0));
    world.create(PODS, pod("p", json!([{"name": "a", "resourceClaimTemplateName": "t"}]), None)).await?;
    // It asks the server what there is as long as it is not shown that.
    let of_claims = "resource-claim-controller";
    world.until_sent(2, |sent| sent.account == of_claims && sent.method == Method::GET && sent.path == CLAIMS).await?;
    assert_eq!(world.list(CLAIMS).await?.len(), 1);
    world.lag(None);
    world.until(&format!("{PODS}/p"), |pod| told(pod, "a").is_some()).await?;
    assert_eq!(world.list(CLAIMS).await?.len(), 1);
    Ok(())
}
