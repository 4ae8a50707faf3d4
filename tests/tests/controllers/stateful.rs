//! StatefulSets have pods of fixed names, one after another, with claims of their own. The tests are the kubelet: no pod
//! runs anywhere, unless a test says so.

use http::Method;
use serde_json::{Value, json};

use crate::world::World;

const SETS: &str = "/apis/apps/v1/namespaces/default/statefulsets";
const SET: &str = "/apis/apps/v1/namespaces/default/statefulsets/test";
const PODS: &str = "/api/v1/namespaces/default/pods";
const CLAIMS: &str = "/api/v1/namespaces/default/persistentvolumeclaims";
const REVISIONS: &str = "/apis/apps/v1/namespaces/default/controllerrevisions";
const EVENTS: &str = "/api/v1/namespaces/default/events";
const HASH: &str = "controller-revision-hash";
const LONG_AGO: Option<&str> = Some("2020-01-01T00:00:00Z");
/// What upstream calls the revision of the template below (`statefulset/testdata/compatibility_revision_1.34.0.json`).
const FIRST: &str = "test-776999688b";

async fn world() -> anyhow::Result<World> {
    let world = World::with(&["statefulset-controller", "serviceaccount-controller"]).await?;
    world.until("/api/v1/namespaces/default/serviceaccounts/default", |_| true).await?;
    Ok(world)
}

fn set(spec: Value) -> Value {
    let template = json!({
        "metadata": {"annotations": {"test": "value"}, "labels": {"app": "foo"}},
        "spec": {"containers": [{"name": "test", "image": "test"}]},
    });
    let mut set = json!({
        "metadata": {"name": "test", "annotations": {"note": "n"}},
        "spec": {
            "replicas": 3, "serviceName": "svc", "selector": {"matchLabels": {"app": "foo"}}, "template": template,
        },
    });
    for (name, value) in spec.as_object().into_iter().flatten() {
        set["spec"][name] = value.clone();
    }
    set
}

fn with_claims(spec: Value) -> Value {
    let claim = json!({"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}});
    let mut set = set(spec);
    set["spec"]["volumeClaimTemplates"] =
        json!([{"metadata": {"name": "data", "labels": {"key": "value"}}, "spec": claim}]);
    set
}

fn image(name: &str) -> Value {
    json!({"spec": {"template": {"spec": {"containers": [{"name": "test", "image": name}]}}}})
}

fn pod(ordinal: u32) -> String {
    format!("{PODS}/test-{ordinal}")
}

fn claim(ordinal: u32) -> String {
    format!("{CLAIMS}/data-test-{ordinal}")
}

fn uid(object: &Value) -> &Value {
    &object["metadata"]["uid"]
}

/// Waits for a pod and says that it is ready.
async fn ready(world: &World, ordinal: u32) -> anyhow::Result<Value> {
    let there = world.until(&pod(ordinal), |pod| pod["metadata"]["deletionTimestamp"].is_null()).await?;
    world.report(&pod(ordinal), "Running", LONG_AGO).await?;
    Ok(there)
}

/// Waits for a pod of another UID and says that it is ready.
async fn ready_anew(world: &World, ordinal: u32, before: &Value) -> anyhow::Result<Value> {
    let there = world.until(&pod(ordinal), |pod| uid(pod) != uid(before)).await?;
    world.report(&pod(ordinal), "Running", LONG_AGO).await?;
    Ok(there)
}

/// Waits until the controller has looked at what the set says now, and these are the numbers: pods, ready ones, ones of
/// the template before and of the present one.
async fn numbers(world: &World, numbers: [u64; 4]) -> anyhow::Result<Value> {
    let counts = ["replicas", "readyReplicas", "currentReplicas", "updatedReplicas"];
    let wanted = |set: &Value| {
        let status = &set["status"];
        set["metadata"]["generation"] == status["observedGeneration"]
            && counts.map(|count| status[count].as_u64().unwrap_or(0)) == numbers
    };
    world.until(SET, wanted).await
}

async fn names(world: &World, collection: &str) -> anyhow::Result<Vec<String>> {
    let all = world.list(collection).await?;
    Ok(all.iter().map(|o| o["metadata"]["name"].as_str().unwrap_or_default().to_owned()).collect())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pods_come_one_by_one_and_go_in_reverse() -> anyhow::Result<()> {
    let world = world().await?;
    let made = world.create(SETS, with_claims(json!({}))).await?;
    for ordinal in 0..3 {
        let pod = world.until(&pod(ordinal), |_| true).await?;
        let name = format!("test-{ordinal}");
        assert_eq!(names(&world, PODS).await?.len(), 1 + ordinal as usize);
        assert_eq!(
            pod["metadata"]["labels"],
            json!({
                "app": "foo", HASH: FIRST, "statefulset.kubernetes.io/pod-name": name,
                "apps.kubernetes.io/pod-index": ordinal.to_string(),
            })
        );
        assert_eq!(pod["metadata"]["ownerReferences"][0]["uid"], *uid(&made));
        assert_eq!((&pod["spec"]["hostname"], &pod["spec"]["subdomain"]), (&json!(name), &json!("svc")));
        assert_eq!(pod["spec"]["volumes"][0]["persistentVolumeClaim"]["claimName"], format!("data-{name}"));
        let claim = world.get(&claim(ordinal)).await?;
        assert_eq!(claim["metadata"]["labels"], json!({"app": "foo", "key": "value"}));
        assert!(claim["metadata"]["ownerReferences"].is_null());
        for message in [
            format!("Create Pod {name} in StatefulSet test successful"),
            format!("Create Claim data-{name} Pod {name} in StatefulSet test success"),
        ] {
            let said = |event: &Value| event["message"] == message && event["type"] == "Normal";
            world.any(EVENTS, "reason%3DSuccessfulCreate", said).await?;
        }
        ready(&world, ordinal).await?;
    }
    let full = numbers(&world, [3, 3, 3, 3]).await?;
    let status = &full["status"];
    assert_eq!((&status["currentRevision"], &status["updateRevision"]), (&json!(FIRST), &json!(FIRST)));
    assert_eq!((&status["availableReplicas"], &status["collisionCount"]), (&json!(3), &json!(0)));
    let [revision] = &world.list(REVISIONS).await?[..] else { anyhow::bail!("one revision") };
    assert_eq!((&revision["metadata"]["name"], &revision["revision"]), (&json!(FIRST), &json!(1)));
    let labels = json!({"app": "foo", "controller.kubernetes.io/hash": "776999688b"});
    assert_eq!(
        (&revision["metadata"]["labels"], &revision["metadata"]["annotations"]),
        (&labels, &json!({"note": "n"}))
    );
    let mut template = full["spec"]["template"].clone();
    template["$patch"] = json!("replace");
    assert_eq!(revision["data"], json!({"spec": {"template": template}}));
    let made = world.sent().into_iter().filter(|s| s.method == Method::POST && s.path == PODS).count();
    assert_eq!(made, 3, "each pod is made once");

    // Each goes when the one above it is gone.
    world.patch(SET, json!({"spec": {"replicas": 1}})).await?;
    world.gone(&pod(1)).await?;
    numbers(&world, [1, 1, 1, 1]).await?;
    let deleted = world.sent().into_iter().filter(|s| s.method == Method::DELETE && s.path.starts_with(PODS));
    assert_eq!(deleted.map(|s| s.path).collect::<Vec<_>>(), [pod(2), pod(1)]);
    let said = |event: &Value| event["message"] == "Delete Pod test-1 in StatefulSet test successful";
    world.any(EVENTS, "reason%3DSuccessfulDelete", said).await?;
    assert_eq!(names(&world, CLAIMS).await?.len(), 3, "claims stay");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_parallel_no_pod_waits_for_another() -> anyhow::Result<()> {
    let world = world().await?;
    world.create(SETS, set(json!({"podManagementPolicy": "Parallel", "ordinals": {"start": 2}}))).await?;
    numbers(&world, [3, 0, 3, 3]).await?;
    assert_eq!(names(&world, PODS).await?, ["test-2", "test-3", "test-4"]);
    world.patch(SET, json!({"spec": {"replicas": 1}})).await?;
    numbers(&world, [1, 0, 1, 1]).await?;
    world.patch(SET, json!({"spec": {"replicas": 2, "ordinals": null}})).await?;
    numbers(&world, [2, 0, 2, 2]).await?;
    assert_eq!(names(&world, PODS).await?, ["test-0", "test-1"]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn updates_and_rollbacks_go_down_to_the_partition() -> anyhow::Result<()> {
    let world = world().await?;
    let strategy = |partition: u32| json!({"type": "RollingUpdate", "rollingUpdate": {"partition": partition}});
    world.create(SETS, set(json!({"updateStrategy": strategy(2), "revisionHistoryLimit": 0}))).await?;
    let mut pods = vec![];
    for ordinal in 0..3 {
        pods.push(ready(&world, ordinal).await?);
    }
    numbers(&world, [3, 3, 3, 3]).await?;
    world.patch(SET, image("second")).await?;
    pods[2] = ready_anew(&world, 2, &pods[2]).await?;
    let canary = numbers(&world, [3, 3, 2, 1]).await?;
    let second = canary["status"]["updateRevision"].as_str().unwrap_or_default().to_owned();
    assert_eq!((&canary["status"]["currentRevision"], second != FIRST), (&json!(FIRST), true));
    assert_eq!(pods[2]["metadata"]["labels"][HASH], second);
    assert_eq!(pods[2]["spec"]["containers"][0]["image"], "second");
    // Below the partition a pod that is lost is made of the template before.
    world.delete(&pod(0)).await?;
    pods[0] = ready_anew(&world, 0, &pods[0]).await?;
    assert_eq!(
        (&pods[0]["metadata"]["labels"][HASH], &pods[0]["spec"]["containers"][0]["image"]),
        (&json!(FIRST), &json!("test"))
    );
    numbers(&world, [3, 3, 2, 1]).await?;
    world.patch(SET, json!({"spec": {"updateStrategy": strategy(0)}})).await?;
    pods[1] = ready_anew(&world, 1, &pods[1]).await?;
    pods[0] = ready_anew(&world, 0, &pods[0]).await?;
    let done = numbers(&world, [3, 3, 3, 3]).await?;
    assert_eq!(done["status"]["currentRevision"], second);

    // Back, as kubectl does it; nothing keeps the first revision but the limit, which has cut it by now.
    world.gone(&format!("{REVISIONS}/{FIRST}")).await?;
    let mut third = image("third");
    third["spec"]["updateStrategy"] = strategy(2);
    third["spec"]["revisionHistoryLimit"] = json!(10);
    world.patch(SET, third).await?;
    pods[2] = ready_anew(&world, 2, &pods[2]).await?;
    let data = world.get(&format!("{REVISIONS}/{second}")).await?["data"].clone();
    world.merge(SET, &data).await?;
    let back = world.until(SET, |set| set["status"]["updateRevision"] == second).await?;
    assert_eq!(back["status"]["currentRevision"], second);
    pods[2] = ready_anew(&world, 2, &pods[2]).await?;
    numbers(&world, [3, 3, 3, 3]).await?;
    assert_eq!(pods[2]["spec"]["containers"][0]["image"], "second");
    assert_eq!(world.get(&format!("{REVISIONS}/{second}")).await?["revision"], 4);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_delete_only_deleted_pods_are_of_the_new_template() -> anyhow::Result<()> {
    let world = world().await?;
    world.create(SETS, set(json!({"replicas": 2, "updateStrategy": {"type": "OnDelete"}}))).await?;
    let mut last = Value::Null;
    for ordinal in 0..2 {
        last = ready(&world, ordinal).await?;
    }
    world.patch(SET, image("second")).await?;
    numbers(&world, [2, 2, 2, 0]).await?;
    world.delete(&pod(1)).await?;
    let new = ready_anew(&world, 1, &last).await?;
    assert_eq!(new["spec"]["containers"][0]["image"], "second");
    let half = numbers(&world, [2, 2, 1, 1]).await?;
    assert_eq!(half["status"]["currentRevision"], FIRST);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pods_that_ended_are_made_anew() -> anyhow::Result<()> {
    let world = world().await?;
    world.create(SETS, set(json!({"replicas": 1}))).await?;
    for phase in ["Failed", "Succeeded"] {
        let before = world.until(&pod(0), |_| true).await?;
        world.report(&pod(0), phase, None).await?;
        world.until(&pod(0), |pod| uid(pod) != uid(&before)).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_are_adopted_and_others_released() -> anyhow::Result<()> {
    let world = world().await?;
    let made = world.create(SETS, set(json!({"replicas": 1}))).await?;
    let first = ready(&world, 0).await?;
    numbers(&world, [1, 1, 1, 1]).await?;
    // Orphaned, and found again.
    world.patch(&pod(0), json!({"metadata": {"ownerReferences": null}})).await?;
    let owned = |pod: &Value| pod["metadata"]["ownerReferences"][0]["uid"] == *uid(&made);
    world.until(&pod(0), owned).await?;
    // Its labels and no member's name: nobody's.
    let stray = json!({
        "metadata": {"name": "other", "labels": {"app": "foo"}},
        "spec": {"containers": [{"name": "c", "image": "i"}]},
    });
    world.create(PODS, stray).await?;
    // A member that lost a label is mended.
    world.patch(&pod(0), json!({"metadata": {"labels": {"statefulset.kubernetes.io/pod-name": "x"}}})).await?;
    let mended = |pod: &Value| pod["metadata"]["labels"]["statefulset.kubernetes.io/pod-name"] == "test-0";
    world.until(&pod(0), mended).await?;
    let said = |event: &Value| event["message"] == "Update Pod test-0 in StatefulSet test successful";
    world.any(EVENTS, "reason%3DSuccessfulUpdate", said).await?;
    // Released; its name is taken, so no other can be made.
    world.patch(&pod(0), json!({"metadata": {"labels": {"app": "stray"}}})).await?;
    world.until(&pod(0), |pod| pod["metadata"]["ownerReferences"].is_null()).await?;
    numbers(&world, [0, 0, 0, 0]).await?;
    world.patch(&pod(0), json!({"metadata": {"labels": {"app": "foo"}}})).await?;
    assert_eq!(uid(&world.until(&pod(0), owned).await?), uid(&first));
    numbers(&world, [1, 1, 1, 1]).await?;
    assert!(world.get(&format!("{PODS}/other")).await?["metadata"]["ownerReferences"].is_null());
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn claims_belong_to_whom_they_go_with() -> anyhow::Result<()> {
    let world = world().await?;
    let policy = json!({"whenScaled": "Delete", "whenDeleted": "Delete"});
    let spec = json!({"replicas": 2, "persistentVolumeClaimRetentionPolicy": policy});
    let made = world.create(SETS, with_claims(spec)).await?;
    let owner = |claim: &Value| claim["metadata"]["ownerReferences"][0].clone();
    let is_of = |object: &Value| {
        let uid = uid(object).clone();
        move |claim: &Value| owner(claim)["uid"] == uid && owner(claim)["controller"] == true
    };
    ready(&world, 0).await?;
    let second = ready(&world, 1).await?;
    for ordinal in 0..2 {
        world.until(&claim(ordinal), is_of(&made)).await?;
    }
    // On its way out the pod takes its claim along; the collector, which is not here, would delete it.
    world.patch(SET, json!({"spec": {"replicas": 1}})).await?;
    let leaving = world.until(&claim(1), is_of(&second)).await?;
    assert_eq!(
        (&owner(&leaving)["kind"], leaving["metadata"]["ownerReferences"].as_array().map(Vec::len)),
        (&json!("Pod"), Some(1))
    );
    world.gone(&pod(1)).await?;
    // A new pod waits until the claim of the one before is gone.
    world.patch(SET, json!({"spec": {"replicas": 2}})).await?;
    numbers(&world, [1, 1, 1, 1]).await?;
    assert_eq!(names(&world, PODS).await?, ["test-0"]);
    world.delete(&claim(1)).await?;
    world.patch(&claim(1), json!({"metadata": {"finalizers": null}})).await?;
    ready(&world, 1).await?;
    world.until(&claim(1), is_of(&made)).await?;
    // Kept after all.
    let keep = json!({"whenScaled": "Retain", "whenDeleted": "Retain"});
    world.patch(SET, json!({"spec": {"persistentVolumeClaimRetentionPolicy": keep}})).await?;
    for ordinal in 0..2 {
        world.until(&claim(ordinal), |claim| owner(claim).is_null()).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_claim_of_another_controller_is_left_alone() -> anyhow::Result<()> {
    let world = world().await?;
    world.create(SETS, with_claims(json!({"replicas": 1}))).await?;
    ready(&world, 0).await?;
    let other = json!({"apiVersion": "v1", "kind": "ConfigMap", "name": "x", "uid": "x-uid", "controller": true});
    world.patch(&claim(0), json!({"metadata": {"ownerReferences": [other]}})).await?;
    let policy = json!({"whenScaled": "Delete", "whenDeleted": "Delete"});
    world.patch(SET, json!({"spec": {"replicas": 2, "persistentVolumeClaimRetentionPolicy": policy}})).await?;
    ready(&world, 1).await?;
    let made = world.get(SET).await?;
    world.until(&claim(1), |claim| claim["metadata"]["ownerReferences"][0]["uid"] == *uid(&made)).await?;
    assert_eq!(world.get(&claim(0)).await?["metadata"]["ownerReferences"], json!([other]));
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pod_that_waits_gets_a_claim_that_is_missing() -> anyhow::Result<()> {
    let world = world().await?;
    world.create(SETS, with_claims(json!({"replicas": 1}))).await?;
    let before = world.until(&claim(0), |_| true).await?;
    world.until(&pod(0), |_| true).await?;
    world.delete(&claim(0)).await?;
    world.patch(&claim(0), json!({"metadata": {"finalizers": null}})).await?;
    // Nothing tells of it but the next change of the pod.
    world.report(&pod(0), "Pending", None).await?;
    world.until(&claim(0), |claim| uid(claim) != uid(&before)).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_of_revisions_may_collide() -> anyhow::Result<()> {
    let world = world().await?;
    world.create(REVISIONS, json!({"metadata": {"name": FIRST}, "data": {"of": "another"}, "revision": 1})).await?;
    world.create(SETS, set(json!({"replicas": 1}))).await?;
    let collided = world.until(SET, |set| set["status"]["collisionCount"] == 1).await?;
    let own = collided["status"]["updateRevision"].as_str().unwrap_or_default().to_owned();
    assert_ne!(own, FIRST);
    assert_eq!(world.get(&format!("{REVISIONS}/{own}")).await?["revision"], 1);
    ready(&world, 0).await?;
    numbers(&world, [1, 1, 1, 1]).await?;
    Ok(())
}

/// A set that came from upstream's manager, of a version that wrote a field more: its pods are not touched.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_set_of_upstreams_is_taken_over_without_a_roll() -> anyhow::Result<()> {
    let mut world = World::new().await?;
    let made = world.create(SETS, set(json!({"replicas": 1}))).await?;
    let mut template = made["spec"]["template"].clone();
    template["$patch"] = json!("replace");
    template["metadata"]["creationTimestamp"] = Value::Null;
    let owner = json!({
        "apiVersion": "apps/v1", "kind": "StatefulSet", "name": "test", "uid": uid(&made), "controller": true,
        "blockOwnerDeletion": true,
    });
    let meta = json!({
        "name": "test-c77f6d978", "labels": {"app": "foo", "controller.kubernetes.io/hash": "c77f6d978"},
        "ownerReferences": [owner],
    });
    let data = json!({"spec": {"template": template}});
    world.create(REVISIONS, json!({"metadata": meta, "data": data, "revision": 1})).await?;
    world.start(&["statefulset-controller", "serviceaccount-controller"]);
    let pod = ready(&world, 0).await?;
    assert_eq!(pod["metadata"]["labels"][HASH], "test-c77f6d978");
    numbers(&world, [1, 1, 1, 1]).await?;
    assert_eq!(names(&world, REVISIONS).await?, ["test-c77f6d978"]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_next_pod_waits_until_the_one_before_is_available() -> anyhow::Result<()> {
    let world = world().await?;
    world.create(SETS, set(json!({"replicas": 2, "minReadySeconds": 3600}))).await?;
    world.until(&pod(0), |_| true).await?;
    let now = time::OffsetDateTime::now_utc().format(&time::format_description::well_known::Rfc3339)?;
    let now = format!("{}Z", now.get(..19).unwrap_or_default());
    world.report(&pod(0), "Running", Some(&now)).await?;
    let waiting = numbers(&world, [1, 1, 1, 1]).await?;
    assert!(waiting["status"]["availableReplicas"].as_u64().unwrap_or(0) == 0, "{waiting}");
    // Time alone makes it available.
    world.patch(SET, json!({"spec": {"minReadySeconds": 2}})).await?;
    ready(&world, 1).await?;
    world.until(SET, |set| set["status"]["availableReplicas"] == 2).await?;
    Ok(())
}

/// As long as the controller does not see what it has made, it does nothing more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_made_twice_while_it_is_not_seen() -> anyhow::Result<()> {
    let world = world().await?;
    world.create(SETS, with_claims(json!({"replicas": 2, "podManagementPolicy": "Parallel"}))).await?;
    numbers(&world, [2, 0, 2, 2]).await?;
    world.lag(Some("/api/v1/pods"));
    let generation = world.patch(SET, json!({"spec": {"replicas": 4}})).await?["metadata"]["generation"].clone();
    world.until(SET, |set| set["status"]["observedGeneration"] == generation).await?;
    world.patch(SET, json!({"spec": {"replicas": 5}})).await?;
    world.lag(None);
    numbers(&world, [5, 0, 5, 5]).await?;
    let made = world.sent().into_iter().filter(|s| s.method == Method::POST && s.path == PODS);
    let codes: Vec<u16> = made.map(|s| s.code).collect();
    assert_eq!(codes, [201; 5]);
    Ok(())
}
