//! ReplicaSets and ReplicationControllers have as many pods as they want, and say how many. The tests are the kubelet:
//! no pod runs anywhere, unless a test says so.

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::Method;
use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::world::World;

const PODS: &str = "/api/v1/namespaces/default/pods";
const EVENTS: &str = "/api/v1/namespaces/default/events";

/// What the two kinds differ in.
struct Kind {
    name: &'static str,
    controller: &'static str,
    account: &'static str,
    collection: &'static str,
    counts_terminating: bool,
}

const SET: Kind = Kind {
    name: "ReplicaSet",
    controller: "replicaset-controller",
    account: "replicaset-controller",
    collection: "/apis/apps/v1/namespaces/default/replicasets",
    counts_terminating: true,
};

const CONTROLLER: Kind = Kind {
    name: "ReplicationController",
    controller: "replicationcontroller-controller",
    account: "replication-controller",
    collection: "/api/v1/namespaces/default/replicationcontrollers",
    counts_terminating: false,
};

impl Kind {
    /// A server on which pods can be created, with the controller of this kind.
    async fn world(&self) -> anyhow::Result<World> {
        let world = World::with(&[self.controller, "serviceaccount-controller"]).await?;
        world.until("/api/v1/namespaces/default/serviceaccounts/default", |_| true).await?;
        Ok(world)
    }

    /// One named `web` for pods with the label `app: web`, of which each has the label `version` besides.
    fn object(&self, replicas: u32) -> Value {
        let labels = json!({"app": "web"});
        let selector = if self.name == "ReplicaSet" { json!({"matchLabels": labels}) } else { labels };
        let template = json!({
            "metadata": {"labels": {"app": "web", "version": "1"}},
            "spec": {"containers": [{"name": "c", "image": "i"}], "automountServiceAccountToken": false},
        });
        json!({"metadata": {"name": "web"}, "spec": {"replicas": replicas, "selector": selector, "template": template}})
    }

    fn path(&self) -> String {
        format!("{}/web", self.collection)
    }

    /// Changes the specification and waits until the controller has seen it and the status is as wanted.
    async fn change(&self, world: &World, spec: Value, wanted: impl Fn(&Value) -> bool) -> anyhow::Result<Value> {
        let generation = world.patch(&self.path(), json!({"spec": spec})).await?["metadata"]["generation"].clone();
        world
            .until(&self.path(), |now| now["status"]["observedGeneration"] == generation && wanted(&now["status"]))
            .await
    }

    /// What the controller has done to pods so far: methods and codes.
    fn done(&self, world: &World) -> Vec<(Method, u16)> {
        let of_pods = world.sent().into_iter().filter(|s| s.account == self.account && s.path.starts_with(PODS));
        of_pods.map(|s| (s.method, s.code)).collect()
    }
}

fn replicas(n: u32) -> impl Fn(&Value) -> bool {
    // A number that is 0 is written, unlike the others.
    move |status| status["replicas"] == n
}

fn name(object: &Value) -> &str {
    object["metadata"]["name"].as_str().unwrap_or_default()
}

/// The pods that are there and not on their way out.
async fn pods(world: &World) -> anyhow::Result<Vec<Value>> {
    let all = world.get(PODS).await?["items"].as_array().cloned().unwrap_or_default();
    Ok(all.into_iter().filter(|pod| pod["metadata"]["deletionTimestamp"].is_null()).collect())
}

/// A pod with the label `app: web` that nobody owns, on a node if one is named.
fn orphan(name: &str, node: Option<&str>) -> Value {
    json!({
        "metadata": {"name": name, "labels": {"app": "web"}},
        "spec": {
            "nodeName": node, "automountServiceAccountToken": false, "containers": [{"name": "c", "image": "i"}],
        },
    })
}

/// What a kubelet says of a pod that runs, and is ready since then if it is.
async fn runs(world: &World, name: &str, ready_since: Option<&str>, restarts: u32) -> anyhow::Result<()> {
    let ready = json!({
        "type": "Ready",
        "status": if ready_since.is_some() { "True" } else { "False" },
        "lastTransitionTime": ready_since.unwrap_or("2020-01-01T00:00:00Z"),
    });
    let container = json!({"name": "c", "image": "i", "imageID": "x", "ready": true, "restartCount": restarts});
    let status = json!({"phase": "Running", "conditions": [ready], "containerStatuses": [container]});
    world.patch(&format!("{PODS}/{name}/status"), json!({"status": status})).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn missing_pods_are_created_and_surplus_ones_deleted() -> anyhow::Result<()> {
    for kind in [SET, CONTROLLER] {
        let world = kind.world().await?;
        let web = world.create(kind.collection, kind.object(3)).await?;
        let full = world.until(&kind.path(), |now| replicas(3)(&now["status"])).await?;
        assert_eq!(full["status"]["observedGeneration"], 1);
        assert_eq!(full["status"]["fullyLabeledReplicas"], 3);
        let there = pods(&world).await?;
        for pod in &there {
            assert_eq!(pod["metadata"]["generateName"], "web-");
            assert!(name(pod).starts_with("web-"), "{pod}");
            assert_eq!(pod["metadata"]["labels"], json!({"app": "web", "version": "1"}));
            let owner = &pod["metadata"]["ownerReferences"][0];
            assert_eq!((&owner["uid"], &owner["kind"]), (&web["metadata"]["uid"], &json!(kind.name)));
            assert_eq!((&owner["controller"], &owner["blockOwnerDeletion"]), (&json!(true), &json!(true)));
        }
        assert_eq!(kind.done(&world), vec![(Method::POST, 201); 3], "each pod is created once");
        let said = world.any(EVENTS, "reason%3DSuccessfulCreate,involvedObject.name%3Dweb", |_| true).await?;
        assert_eq!((&said["type"], &said["involvedObject"]["kind"]), (&json!("Normal"), &json!(kind.name)));
        let about = said["message"].as_str().unwrap_or_default();
        assert!(there.iter().any(|pod| about == format!("Created pod: {}", name(pod))), "{about}");

        // One that goes is replaced.
        let (gone, kept) = (name(&there[0]), name(&there[1]));
        world.delete(&format!("{PODS}/{gone}")).await?;
        let is_new = |pod: &Value| there.iter().all(|other| name(other) != name(pod));
        world.any(PODS, &format!("metadata.name!%3D{gone}"), is_new).await?;
        world.until(&kind.path(), |now| replicas(3)(&now["status"])).await?;
        world.get(&format!("{PODS}/{kept}")).await?;

        kind.change(&world, json!({"replicas": 5}), replicas(5)).await?;
        assert_eq!(pods(&world).await?.len(), 5);
        kind.change(&world, json!({"replicas": 1}), replicas(1)).await?;
        assert_eq!(pods(&world).await?.len(), 1);
        world.any(EVENTS, "reason%3DSuccessfulDelete,involvedObject.name%3Dweb", |_| true).await?;
        let counted =
            |method: Method, code| kind.done(&world).iter().filter(|done| **done == (method.clone(), code)).count();
        assert_eq!((counted(Method::POST, 201), counted(Method::DELETE, 200)), (6, 4));
        kind.change(&world, json!({"replicas": 0}), replicas(0)).await?;
        assert!(pods(&world).await?.is_empty());
    }
    Ok(())
}

/// Batches of 1, 2 and 4 pods are asked for at once; when one of a batch fails, the next is not tried.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pods_are_created_in_batches_that_double() -> anyhow::Result<()> {
    for kind in [SET, CONTROLLER] {
        let world = kind.world().await?;
        let mut created = 0;
        world.refuse(move |method, path| {
            created += usize::from(*method == Method::POST && path == PODS);
            (*method == Method::POST && path == PODS && created > 3).then_some((403, "exceeded quota"))
        });
        world.create(kind.collection, kind.object(20)).await?;
        let failure = |now: &Value| now["status"]["conditions"][0].clone();
        let failed = world.until(&kind.path(), |now| failure(now)["type"] == "ReplicaFailure").await?;
        let said = failure(&failed);
        assert_eq!((&said["status"], &said["reason"]), (&json!("True"), &json!("FailedCreate")), "{said}");
        assert!(said["message"].as_str().is_some_and(|why| why.contains("exceeded quota")), "{said}");
        // The status is written after the pass.
        let sent = world.sent();
        let first_pass: Vec<u16> = sent
            .iter()
            .take_while(|s| s.path != format!("{}/status", kind.path()))
            .filter(|s| s.path == PODS)
            .map(|s| s.code)
            .collect();
        assert_eq!(first_pass.iter().filter(|code| **code == 201).count(), 3, "{first_pass:?}");
        assert_eq!(first_pass.iter().filter(|code| **code == 403).count(), 4, "{first_pass:?}");
        world.refuse_nothing();
        let healed = |now: &Value| replicas(20)(&now["status"]) && now["status"]["conditions"].is_null();
        world.until(&kind.path(), healed).await?;
        assert_eq!(pods(&world).await?.len(), 20);
    }
    Ok(())
}

/// A pod that can't be created is tried again later and later, and it is said why.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failing_creation_is_backed_off_from() -> anyhow::Result<()> {
    for (kind, code, why) in [(SET, 500, "out of order"), (SET, 409, "already there"), (CONTROLLER, 500, "no")] {
        let world = kind.world().await?;
        let tries: Arc<Mutex<Vec<Instant>>> = Arc::default();
        let noted = tries.clone();
        world.refuse(move |method, path| {
            let creates = *method == Method::POST && path == PODS;
            creates.then(|| noted.lock().push(Instant::now()));
            creates.then_some((code, why))
        });
        world.create(kind.collection, kind.object(3)).await?;
        let tried = |n: i64| move |event: &Value| event["count"].as_i64() >= Some(n);
        let selector = "reason%3DFailedCreate,involvedObject.name%3Dweb";
        let event = world.any(EVENTS, selector, tried(7)).await?;
        assert_eq!((&event["type"], &event["message"]), (&json!("Warning"), &json!(format!("Error creating: {why}"))));
        // 5, 10, 20, 40 and 80 ms; one more try comes of the first failure's status, which the controller sees.
        let seen = tries.lock().clone();
        assert!(seen[6] - seen[0] >= Duration::from_millis(155), "{:?}", seen[6] - seen[0]);
        let status = world.get(&kind.path()).await?["status"].clone();
        assert_eq!((&status["replicas"], &status["observedGeneration"]), (&json!(0), &json!(1)), "{status}");
        assert_eq!(status["conditions"][0]["message"], why);
        world.refuse_nothing();
        let healed = |now: &Value| replicas(3)(&now["status"]) && now["status"]["conditions"].is_null();
        world.until(&kind.path(), healed).await?;
    }
    Ok(())
}

/// As long as the controller does not see what it has done, it does nothing more about pods, but it says what it sees.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_done_twice_while_it_is_not_seen() -> anyhow::Result<()> {
    for kind in [SET, CONTROLLER] {
        let world = kind.world().await?;
        world.lag(Some("/api/v1/pods"));
        world.create(kind.collection, kind.object(3)).await?;
        world.until(&kind.path(), |now| now["status"]["observedGeneration"] == 1).await?;
        kind.change(&world, json!({"replicas": 4}), replicas(0)).await?;
        kind.change(&world, json!({"replicas": 5}), replicas(0)).await?;
        assert_eq!(kind.done(&world), vec![(Method::POST, 201); 3]);
        world.lag(None);
        world.until(&kind.path(), |now| replicas(5)(&now["status"])).await?;
        assert_eq!(kind.done(&world), vec![(Method::POST, 201); 5]);

        world.lag(Some("/api/v1/pods"));
        kind.change(&world, json!({"replicas": 3}), replicas(5)).await?;
        kind.change(&world, json!({"replicas": 2}), replicas(5)).await?;
        kind.change(&world, json!({"replicas": 1}), replicas(5)).await?;
        assert_eq!(kind.done(&world)[5..], vec![(Method::DELETE, 200); 2]);
        world.lag(None);
        world.until(&kind.path(), |now| replicas(1)(&now["status"])).await?;
        assert_eq!(kind.done(&world)[5..], vec![(Method::DELETE, 200); 4]);
    }
    Ok(())
}

/// Of surplus pods the least valuable goes first: without a node, pending, not ready, of low cost, one of several of its
/// owner's on a node, ready for a short time, restarted often.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn surplus_pods_go_in_the_order_of_their_value() -> anyhow::Result<()> {
    let (kind, long_ago) = (SET, Some("2020-01-01T00:00:00Z"));
    let world = kind.world().await?;
    let hour_ago = time::OffsetDateTime::now_utc() - time::Duration::hours(1);
    let hour_ago = hour_ago.format(&time::format_description::well_known::Rfc3339)?;
    let hour_ago = format!("{}Z", hour_ago.get(..19).unwrap_or_default());
    // From the most valuable to the least, each on a node of its own but for one.
    let order = ["best", "restarted", "recent", "crowded", "cheap", "unready", "pending", "homeless"];
    for name in order {
        let node = if name == "crowded" { "crowd" } else { name };
        let mut pod = orphan(name, (name != "homeless").then_some(node));
        if name == "cheap" {
            pod["metadata"]["annotations"] = json!({"controller.kubernetes.io/pod-deletion-cost": "-1"});
        }
        world.create(PODS, pod).await?;
    }
    runs(&world, "best", long_ago, 0).await?;
    runs(&world, "restarted", long_ago, 3).await?;
    runs(&world, "recent", Some(&hour_ago), 0).await?;
    runs(&world, "crowded", long_ago, 0).await?;
    runs(&world, "cheap", long_ago, 0).await?;
    runs(&world, "unready", None, 0).await?;
    // Another set of the same Deployment has a pod on the node, too.
    let deployment =
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "d", "uid": "d-uid", "controller": true});
    let mut other = kind.object(1);
    other["metadata"] = json!({"name": "other", "ownerReferences": [deployment]});
    other["spec"]["selector"] = json!({"matchLabels": {"app": "other"}});
    other["spec"]["template"]["metadata"]["labels"] = json!({"app": "other"});
    let mut beside = orphan("beside", Some("crowd"));
    beside["metadata"]["labels"] = json!({"app": "other"});
    world.create(PODS, beside).await?;
    world.create(kind.collection, other).await?;
    world.until(&format!("{}/other", kind.collection), |now| replicas(1)(&now["status"])).await?;

    let mut web = kind.object(order.len() as u32);
    web["metadata"]["ownerReferences"] = json!([deployment]);
    world.create(kind.collection, web).await?;
    world.until(&kind.path(), |now| replicas(order.len() as u32)(&now["status"])).await?;
    for left in (1..order.len()).rev() {
        kind.change(&world, json!({"replicas": left}), replicas(left as u32)).await?;
        let there = pods(&world).await?;
        let there: Vec<&str> = there.iter().map(name).filter(|name| *name != "beside").collect();
        let mut expected = order[..left].to_vec();
        expected.sort_unstable();
        assert_eq!(there, expected, "without {}", order[left]);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn orphans_are_adopted_and_strays_released() -> anyhow::Result<()> {
    for kind in [SET, CONTROLLER] {
        let world = kind.world().await?;
        let web = world.create(kind.collection, kind.object(1)).await?;
        world.until(&kind.path(), |now| replicas(1)(&now["status"])).await?;
        // One that is another's stays so, also if it matches.
        let stranger = json!({"apiVersion": "v1", "kind": "X", "name": "x", "uid": "x-uid", "controller": true});
        let mut others = orphan("others", None);
        others["metadata"]["ownerReferences"] = json!([stranger]);
        world.create(PODS, others).await?;
        kind.change(&world, json!({"replicas": 2}), replicas(2)).await?;

        // There are two; one more is adopted, and a surplus one deleted.
        world.lag(Some("/api/v1/pods"));
        world.create(PODS, orphan("orphan", Some("n"))).await?;
        runs(&world, "orphan", Some("2020-01-01T00:00:00Z"), 0).await?;
        world.lag(None);
        let adopted =
            world.until(&format!("{PODS}/orphan"), |pod| !pod["metadata"]["ownerReferences"].is_null()).await?;
        let owner = &adopted["metadata"]["ownerReferences"][0];
        assert_eq!((&owner["uid"], &owner["controller"]), (&web["metadata"]["uid"], &json!(true)));
        world.until(&kind.path(), |now| replicas(2)(&now["status"]) && now["status"]["readyReplicas"] == 1).await?;
        let there = pods(&world).await?;
        let mine = there.iter().filter(|pod| pod["metadata"]["ownerReferences"][0]["uid"] == web["metadata"]["uid"]);
        assert_eq!(mine.count(), 2);
        // It does not have all labels of the template.
        assert_eq!(world.get(&kind.path()).await?["status"]["fullyLabeledReplicas"], 1);
        assert_eq!(world.get(&format!("{PODS}/others")).await?["metadata"]["ownerReferences"], json!([stranger]));

        // One whose labels match no more is let go, and replaced.
        let path = format!("{PODS}/orphan");
        world.patch(&path, json!({"metadata": {"labels": {"app": "stray"}}})).await?;
        let released = world.until(&path, |pod| pod["metadata"]["ownerReferences"].is_null()).await?;
        assert!(released["metadata"]["deletionTimestamp"].is_null());
        world.until(&kind.path(), |now| now["status"]["fullyLabeledReplicas"] == 2).await?;
        assert_eq!(world.get(&path).await?["metadata"]["labels"]["app"], "stray");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_status_tells_ready_available_and_terminating_pods() -> anyhow::Result<()> {
    for kind in [SET, CONTROLLER] {
        let world = kind.world().await?;
        for name in ["a", "b"] {
            world.create(PODS, orphan(name, Some("n"))).await?;
        }
        let mut web = kind.object(2);
        web["spec"]["minReadySeconds"] = json!(3600);
        world.create(kind.collection, web).await?;
        world.until(&kind.path(), |now| replicas(2)(&now["status"])).await?;
        let now = time::OffsetDateTime::now_utc().format(&time::format_description::well_known::Rfc3339)?;
        let now = format!("{}Z", now.get(..19).unwrap_or_default());
        runs(&world, "a", Some(&now), 0).await?;
        runs(&world, "b", Some("2020-01-01T00:00:00Z"), 0).await?;
        let counts = |ready: u32, available: u32| {
            move |status: &Value| status["readyReplicas"] == ready && status["availableReplicas"] == available
        };
        world.until(&kind.path(), |now| counts(2, 1)(&now["status"])).await?;
        // Time alone makes the other available: nothing else tells the controller.
        kind.change(&world, json!({"minReadySeconds": 2}), counts(2, 2)).await?;
        runs(&world, "b", None, 0).await?;
        world.until(&kind.path(), |now| counts(1, 1)(&now["status"])).await?;

        // A pod on a node takes its time to end, and is replaced meanwhile.
        world.delete(&format!("{PODS}/a")).await?;
        let terminating = |n: u32| if kind.counts_terminating { json!(n) } else { Value::Null };
        let replaced = |now: &Value| {
            let status = &now["status"];
            replicas(2)(status) && status["readyReplicas"].is_null() && status["terminatingReplicas"] == terminating(1)
        };
        world.until(&kind.path(), replaced).await?;
        assert_eq!(pods(&world).await?.len(), 2);
        world.delete(&format!("{PODS}/a?gracePeriodSeconds=0")).await?;
        world.until(&kind.path(), |now| now["status"]["terminatingReplicas"] == terminating(0)).await?;
    }
    Ok(())
}
