//! DaemonSets have a pod on each node that wants one, of the present template in the end. The tests are the scheduler
//! and the kubelets: no pod runs anywhere, unless a test says so.

use http::Method;
use serde_json::{Value, json};

use crate::world::World;

const SETS: &str = "/apis/apps/v1/namespaces/default/daemonsets";
const SET: &str = "/apis/apps/v1/namespaces/default/daemonsets/d";
const PODS: &str = "/api/v1/namespaces/default/pods";
const NODES: &str = "/api/v1/nodes";
const REVISIONS: &str = "/apis/apps/v1/namespaces/default/controllerrevisions";
const EVENTS: &str = "/api/v1/namespaces/default/events";
const HASH: &str = "controller-revision-hash";
const LONG_AGO: Option<&str> = Some("2020-01-01T00:00:00Z");

/// A server with these nodes, all of them ready, and the controller.
async fn world(nodes: &[&str]) -> anyhow::Result<World> {
    let mut world = World::new().await?;
    for name in nodes {
        node(&world, name).await?;
    }
    world.start(&["daemonset-controller", "serviceaccount-controller"]);
    world.until("/api/v1/namespaces/default/serviceaccounts/default", |_| true).await?;
    Ok(world)
}

async fn node(world: &World, name: &str) -> anyhow::Result<()> {
    world.create(NODES, json!({"metadata": {"name": name}})).await?;
    world.patch(&format!("{NODES}/{name}"), json!({"spec": {"taints": null}})).await?;
    Ok(())
}

async fn taint(world: &World, node: &str, effect: Option<&str>) -> anyhow::Result<()> {
    let taints: Vec<Value> = effect.iter().map(|effect| json!({"key": "k", "effect": effect})).collect();
    world.patch(&format!("{NODES}/{node}"), json!({"spec": {"taints": taints}})).await?;
    Ok(())
}

fn set(spec: Value) -> Value {
    let template = json!({
        "metadata": {"labels": {"app": "d"}},
        "spec": {"containers": [{"name": "c", "image": "first"}], "automountServiceAccountToken": false},
    });
    let mut set = json!({
        "metadata": {"name": "d", "annotations": {"note": "n"}},
        "spec": {"selector": {"matchLabels": {"app": "d"}}, "template": template},
    });
    for (name, value) in spec.as_object().into_iter().flatten() {
        set["spec"][name] = value.clone();
    }
    set
}

fn image(name: &str) -> Value {
    json!({"spec": {"template": {"spec": {"containers": [{"name": "c", "image": name}]}}}})
}

fn name(object: &Value) -> String {
    object["metadata"]["name"].as_str().unwrap_or_default().to_owned()
}

fn hash(object: &Value) -> &str {
    object["metadata"]["labels"][HASH].as_str().unwrap_or_default()
}

/// The node that a pod was made for.
fn target(pod: &Value) -> &str {
    let required = &pod["spec"]["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"];
    required["nodeSelectorTerms"][0]["matchFields"][0]["values"][0].as_str().unwrap_or_default()
}

/// Waits for these numbers of nodes: wanted, having a pod, having one of the present template.
async fn numbers(world: &World, desired: u32, current: u32, updated: u32) -> anyhow::Result<Value> {
    let wanted = |set: &Value| {
        let status = &set["status"];
        let counts = ["desiredNumberScheduled", "currentNumberScheduled", "updatedNumberScheduled"];
        set["metadata"]["generation"] == status["observedGeneration"]
            && counts.map(|count| status[count].as_u64().unwrap_or(0)) == [desired, current, updated].map(u64::from)
    };
    world.until(SET, wanted).await
}

/// Waits for a pod of the set, made for that node, of which this is so.
async fn pod_for(world: &World, node: &str, wanted: impl Fn(&Value) -> bool) -> anyhow::Result<Value> {
    let is = |pod: &Value| pod["metadata"]["deletionTimestamp"].is_null() && target(pod) == node && wanted(pod);
    world.any(PODS, "metadata.namespace%3Ddefault", is).await
}

/// Reports those ready that are not yet; the others may be on their way out already.
async fn all_ready(world: &World) -> anyhow::Result<()> {
    let is_ready =
        |pod: &Value| pod["status"]["conditions"].as_array().into_iter().flatten().any(|c| c["type"] == "Ready");
    for pod in world.list(PODS).await?.into_iter().filter(|pod| !is_ready(pod)) {
        world.report(&format!("{PODS}/{}", name(&pod)), "Running", LONG_AGO).await?;
    }
    Ok(())
}

/// By number, with their names.
async fn revisions(world: &World) -> anyhow::Result<Vec<(i64, String)>> {
    let all = world.list(REVISIONS).await?;
    let mut all: Vec<_> = all.iter().map(|r| (r["revision"].as_i64().unwrap_or(0), name(r))).collect();
    all.sort();
    Ok(all)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_have_pods_as_their_labels_and_taints_say() -> anyhow::Result<()> {
    let world = world(&["n1", "n2"]).await?;
    let made = world.create(SETS, set(json!({}))).await?;
    let full = numbers(&world, 2, 2, 2).await?;
    assert_eq!((&full["status"]["numberReady"], &full["status"]["numberUnavailable"]), (&json!(0), &json!(2)));
    let pods = world.list(PODS).await?;
    let mut targets: Vec<_> = pods.iter().map(target).collect();
    targets.sort_unstable();
    assert_eq!(targets, ["n1", "n2"]);
    let [(1, revision)] = &revisions(&world).await?[..] else { anyhow::bail!("one revision") };
    let stored = world.get(&format!("{REVISIONS}/{revision}")).await?;
    assert_eq!(*revision, format!("d-{}", hash(&stored)));
    assert_eq!(stored["metadata"]["labels"]["app"], "d");
    assert_eq!(stored["metadata"]["annotations"]["note"], "n");
    assert_eq!(stored["metadata"]["ownerReferences"][0]["uid"], made["metadata"]["uid"]);
    let mut template = full["spec"]["template"].clone();
    template["$patch"] = json!("replace");
    assert_eq!(stored["data"], json!({"spec": {"template": template}}));
    for pod in &pods {
        let meta = &pod["metadata"];
        assert_eq!((&meta["generateName"], hash(pod)), (&json!("d-"), hash(&stored)));
        assert_eq!(meta["labels"]["pod-template-generation"], "1");
        assert_eq!(meta["ownerReferences"][0]["uid"], made["metadata"]["uid"]);
        let tolerations = pod["spec"]["tolerations"].as_array().cloned().unwrap_or_default();
        assert!(tolerations.iter().any(|t| t["key"] == "node.kubernetes.io/unschedulable"), "{tolerations:?}");
    }
    world.any(EVENTS, "reason%3DSuccessfulCreate,involvedObject.name%3Dd", |_| true).await?;

    node(&world, "n3").await?;
    numbers(&world, 3, 3, 3).await?;
    // One that may stay is counted as astray, which a node alone does not bring up; one that may not goes.
    let third = format!("{PODS}/{}", name(&pod_for(&world, "n3", |_| true).await?));
    let binding =
        json!({"metadata": {"name": name(&world.get(&third).await?)}, "target": {"kind": "Node", "name": "n3"}});
    world.create(&format!("{third}/binding"), binding).await?;
    taint(&world, "n3", Some("NoSchedule")).await?;
    world.patch(SET, json!({"metadata": {"annotations": {"note": "look"}}})).await?;
    world.until(SET, |set| set["status"]["numberMisscheduled"] == 1).await?;
    taint(&world, "n3", None).await?;
    world.until(SET, |set| set["status"]["numberMisscheduled"] == 0).await?;
    taint(&world, "n3", Some("NoExecute")).await?;
    world.until(&third, |pod| pod["metadata"]["deletionTimestamp"].is_string()).await?;
    world.delete(&format!("{third}?gracePeriodSeconds=0")).await?;
    numbers(&world, 2, 2, 2).await?;
    world.any(EVENTS, "reason%3DSuccessfulDelete,involvedObject.name%3Dd", |_| true).await?;
    // No node has the label; then one has.
    world.patch(SET, json!({"spec": {"template": {"spec": {"nodeSelector": {"color": "blue"}}}}})).await?;
    numbers(&world, 0, 0, 0).await?;
    world.patch(&format!("{NODES}/n1"), json!({"metadata": {"labels": {"color": "blue"}}})).await?;
    numbers(&world, 1, 1, 1).await?;
    pod_for(&world, "n1", |_| true).await?;
    // A node that goes takes the pod that waits for it along.
    world.delete(&format!("{NODES}/n1")).await?;
    world.patch(SET, json!({"spec": {"minReadySeconds": 1}})).await?;
    numbers(&world, 0, 0, 0).await?;
    assert!(world.list(PODS).await?.is_empty());
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pods_that_ended_are_replaced() -> anyhow::Result<()> {
    let world = world(&["n1"]).await?;
    world.create(SETS, set(json!({}))).await?;
    for (phase, kind, reason, words) in [
        (
            "Failed",
            "Warning",
            "FailedDaemonPod",
            "Found failed daemon pod default/NAME on node n1, will try to kill it",
        ),
        (
            "Succeeded",
            "Normal",
            "SucceededDaemonPod",
            "Found succeeded daemon pod default/NAME on node n1, will try to delete it",
        ),
    ] {
        numbers(&world, 1, 1, 1).await?;
        let pod = pod_for(&world, "n1", |_| true).await?;
        let path = format!("{PODS}/{}", name(&pod));
        world.report(&path, phase, None).await?;
        let said = world.any(EVENTS, &format!("reason%3D{reason}"), |_| true).await?;
        assert_eq!((&said["type"], &said["message"]), (&json!(kind), &json!(words.replace("NAME", &name(&pod)))));
        world.gone(&path).await?;
        pod_for(&world, "n1", |new| name(new) != name(&pod)).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_update_rolls_over_the_nodes_and_back_again() -> anyhow::Result<()> {
    let world = world(&["n1", "n2"]).await?;
    world.create(SETS, set(json!({"revisionHistoryLimit": 1}))).await?;
    numbers(&world, 2, 2, 2).await?;
    all_ready(&world).await?;
    let first = revisions(&world).await?.remove(0).1;
    world.until(SET, |set| set["status"]["numberAvailable"] == 2).await?;
    world.patch(SET, image("second")).await?;
    // One of the two; the other waits until it is ready.
    numbers(&world, 2, 2, 1).await?;
    let of_second = |pod: &Value| pod["spec"]["containers"][0]["image"] == "second";
    assert_eq!(world.list(PODS).await?.iter().filter(|pod| of_second(pod)).count(), 1);
    all_ready(&world).await?;
    numbers(&world, 2, 2, 2).await?;
    all_ready(&world).await?;
    world.until(SET, |set| set["status"]["numberAvailable"] == 2).await?;
    let [(1, old), (2, second)] = &revisions(&world).await?[..] else { anyhow::bail!("two revisions") };
    assert_eq!(*old, first);

    // Back, as kubectl does it: the revision is the newest then, and no other is made.
    let data = world.get(&format!("{REVISIONS}/{first}")).await?["data"].clone();
    world.merge(SET, &data).await?;
    numbers(&world, 2, 2, 1).await?;
    all_ready(&world).await?;
    numbers(&world, 2, 2, 2).await?;
    all_ready(&world).await?;
    assert_eq!(revisions(&world).await?, [(2, second.clone()), (3, first.clone())]);
    let wanted = first.strip_prefix("d-").unwrap_or_default().to_owned();
    assert!(world.list(PODS).await?.iter().all(|pod| hash(pod) == wanted));

    // Beyond the limit the oldest goes.
    world.patch(SET, image("third")).await?;
    numbers(&world, 2, 2, 1).await?;
    all_ready(&world).await?;
    numbers(&world, 2, 2, 2).await?;
    world.gone(&format!("{REVISIONS}/{second}")).await?;
    let numbers: Vec<_> = revisions(&world).await?.into_iter().map(|(number, _)| number).collect();
    assert_eq!(numbers, [3, 4]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_surge_the_new_pod_comes_first() -> anyhow::Result<()> {
    let world = world(&["n1", "n2"]).await?;
    let strategy = json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}});
    world.create(SETS, set(json!({"updateStrategy": strategy}))).await?;
    numbers(&world, 2, 2, 2).await?;
    all_ready(&world).await?;
    world.until(SET, |set| set["status"]["numberAvailable"] == 2).await?;
    let old = world.list(PODS).await?;
    world.patch(SET, image("second")).await?;
    for _ in 0..2 {
        let is_new =
            |pod: &Value| pod["spec"]["containers"][0]["image"] == "second" && pod["status"]["phase"] == "Pending";
        let new = world.any(PODS, "status.phase%3DPending", is_new).await?;
        let beside = old.iter().find(|pod| target(pod) == target(&new)).map(name).unwrap_or_default();
        assert_eq!(world.list(PODS).await?.len(), 3, "all others are there");
        world.report(&format!("{PODS}/{}", name(&new)), "Running", LONG_AGO).await?;
        world.gone(&format!("{PODS}/{beside}")).await?;
    }
    numbers(&world, 2, 2, 2).await?;
    world.until(SET, |set| set["status"]["numberAvailable"] == 2).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_delete_only_deleted_pods_are_of_the_new_template() -> anyhow::Result<()> {
    let world = world(&["n1", "n2"]).await?;
    world.create(SETS, set(json!({"updateStrategy": {"type": "OnDelete"}}))).await?;
    numbers(&world, 2, 2, 2).await?;
    all_ready(&world).await?;
    world.patch(SET, image("second")).await?;
    numbers(&world, 2, 2, 0).await?;
    let old = pod_for(&world, "n1", |_| true).await?;
    world.delete(&format!("{PODS}/{}", name(&old))).await?;
    numbers(&world, 2, 2, 1).await?;
    let new = pod_for(&world, "n1", |pod| name(pod) != name(&old)).await?;
    assert_eq!(new["spec"]["containers"][0]["image"], "second");
    assert_eq!(revisions(&world).await?.len(), 2);
    Ok(())
}

/// Another's revision of the name: the next name is made with a higher count.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_of_revisions_may_collide() -> anyhow::Result<()> {
    let world = world(&["n1"]).await?;
    world.create(SETS, set(json!({}))).await?;
    numbers(&world, 1, 1, 1).await?;
    let first = revisions(&world).await?.remove(0).1;
    world.delete(&format!("{SET}?propagationPolicy=Background")).await?;
    world.gone(SET).await?;
    for path in [format!("{REVISIONS}/{first}"), PODS.to_owned()] {
        world.delete(&path).await?;
    }
    world.create(REVISIONS, json!({"metadata": {"name": first}, "data": {"of": "another"}, "revision": 1})).await?;
    world.create(SETS, set(json!({}))).await?;
    let collided = world.until(SET, |set| set["status"]["collisionCount"] == 1).await?;
    numbers(&world, 1, 1, 1).await?;
    let all = revisions(&world).await?;
    let own: Vec<_> = all.iter().filter(|(_, name)| *name != first).collect();
    assert_eq!((all.len(), own.len()), (2, 1), "{all:?} {collided}");
    Ok(())
}

/// As upstream's suite does it: a second revision of one template, with a higher number, takes the place of the first.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_revisions_of_one_template_one_stays() -> anyhow::Result<()> {
    let world = world(&["n1"]).await?;
    world.create(SETS, set(json!({}))).await?;
    numbers(&world, 1, 1, 1).await?;
    let first = revisions(&world).await?.remove(0).1;
    let mut second = world.get(&format!("{REVISIONS}/{first}")).await?;
    let owners = second["metadata"]["ownerReferences"].clone();
    second["metadata"] = json!({"name": "d-second", "ownerReferences": owners, "labels": {"app": "d", HASH: "second"}});
    second["revision"] = json!(2);
    world.create(REVISIONS, second).await?;
    world.gone(&format!("{REVISIONS}/{first}")).await?;
    assert_eq!(hash(&pod_for(&world, "n1", |_| true).await?), "second");
    numbers(&world, 1, 1, 1).await?;
    world.patch(SET, image("other")).await?;
    numbers(&world, 1, 1, 1).await?;
    let numbers: Vec<_> = revisions(&world).await?.into_iter().map(|(number, _)| number).collect();
    assert_eq!(numbers, [2, 3]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn orphans_are_adopted_and_strays_released() -> anyhow::Result<()> {
    let world = world(&["n1", "n2"]).await?;
    let orphan = json!({
        "metadata": {"name": "orphan", "labels": {"app": "d"}},
        "spec": {"nodeName": "n1", "automountServiceAccountToken": false, "containers": [{"name": "c", "image": "i"}]},
    });
    world.create(PODS, orphan).await?;
    let made = world.create(SETS, set(json!({"updateStrategy": {"type": "OnDelete"}}))).await?;
    numbers(&world, 2, 2, 1).await?;
    let adopted = world.get(&format!("{PODS}/orphan")).await?;
    assert_eq!(adopted["metadata"]["ownerReferences"][0]["uid"], made["metadata"]["uid"]);
    assert_eq!(world.list(PODS).await?.len(), 2);
    world.patch(&format!("{PODS}/orphan"), json!({"metadata": {"labels": {"app": "stray"}}})).await?;
    let released = |pod: &Value| pod["metadata"]["ownerReferences"].is_null();
    world.until(&format!("{PODS}/orphan"), released).await?;
    numbers(&world, 2, 2, 2).await?;
    assert_eq!(world.list(PODS).await?.len(), 3);
    Ok(())
}

/// As long as the controller does not see what it has made, it makes nothing more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_made_twice_while_it_is_not_seen() -> anyhow::Result<()> {
    let world = world(&["n1", "n2", "n3"]).await?;
    world.lag(Some("/api/v1/pods"));
    world.create(SETS, set(json!({}))).await?;
    world.until(SET, |set| set["status"]["observedGeneration"] == 1).await?;
    node(&world, "n4").await?;
    world.patch(SET, json!({"spec": {"minReadySeconds": 1}})).await?;
    world.lag(None);
    numbers(&world, 4, 4, 4).await?;
    let made = world.sent().into_iter().filter(|s| s.method == Method::POST && s.path == PODS).count();
    assert_eq!((made, world.list(PODS).await?.len()), (4, 4));
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ready_pod_is_available_after_its_time() -> anyhow::Result<()> {
    let world = world(&["n1", "n2"]).await?;
    world.create(SETS, set(json!({"minReadySeconds": 3600}))).await?;
    numbers(&world, 2, 2, 2).await?;
    let now = time::OffsetDateTime::now_utc().format(&time::format_description::well_known::Rfc3339)?;
    let now = format!("{}Z", now.get(..19).unwrap_or_default());
    for (pod, since) in world.list(PODS).await?.iter().zip([now.as_str(), "2020-01-01T00:00:00Z"]) {
        world.report(&format!("{PODS}/{}", name(pod)), "Running", Some(since)).await?;
    }
    let counts = |ready: u32, available: u32| {
        move |set: &Value| set["status"]["numberReady"] == ready && set["status"]["numberAvailable"] == available
    };
    world.until(SET, counts(2, 1)).await?;
    world.patch(SET, json!({"spec": {"minReadySeconds": 2}})).await?;
    world.until(SET, counts(2, 2)).await?;
    Ok(())
}
