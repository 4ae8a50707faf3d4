//! The rules of kinds through the whole request path: what a client gets when it writes pods, services, namespaces,
//! workloads.

use std::collections::BTreeSet;

use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::Client;

const SERVICES: &str = "/api/v1/namespaces/default/services";
const PODS: &str = "/api/v1/namespaces/default/pods";

async fn create(client: &mut Client, path: &str, object: Value) -> Value {
    let (code, answer) = client.json(Method::POST, path, object).await;
    assert_eq!(code, StatusCode::CREATED, "{answer}");
    answer
}

async fn with_ranges() -> Client {
    let mut client = Client::new().await;
    let ranges = json!({ "metadata": { "name": "kubernetes" }, "spec": { "cidrs": ["10.96.0.0/24"] } });
    create(&mut client, "/apis/networking.k8s.io/v1/servicecidrs", ranges).await;
    client
}

fn service(name: &str, spec: Value) -> Value {
    let mut spec = spec;
    if spec.get("ports").is_none() {
        spec["ports"] = json!([{ "port": 80 }]);
    }
    json!({ "metadata": { "name": name }, "spec": spec })
}

fn address(ip: &Value) -> String {
    format!("/apis/networking.k8s.io/v1/ipaddresses/{}", ip.as_str().expect("an address"))
}

#[tokio::test]
async fn services_get_addresses_and_ports_and_give_them_back() {
    let mut client = with_ranges().await;
    let a = create(&mut client, SERVICES, service("a", json!({ "type": "NodePort" }))).await;
    let ip = a["spec"]["clusterIP"].clone();
    assert!(ip.as_str().is_some_and(|ip| ip.starts_with("10.96.0.")), "{a}");
    assert_eq!((&a["spec"]["clusterIPs"], &a["spec"]["ipFamilies"]), (&json!([ip]), &json!(["IPv4"])));
    assert_eq!(a["spec"]["ports"][0]["targetPort"], 80);
    let port = a["spec"]["ports"][0]["nodePort"].as_i64().expect("a node port");
    let (code, object) = client.json(Method::GET, &address(&ip), Value::Null).await;
    assert_eq!((code, &object["spec"]["parentRef"]["name"]), (StatusCode::OK, &json!("a")));
    let owned = &object["metadata"]["managedFields"][0]["fieldsV1"]["f:spec"]["f:parentRef"];
    assert_eq!(owned.get("f:group"), None, "the core group has no name to own: {owned}");

    // Neither can be had twice.
    let (code, refused) = client.json(Method::POST, SERVICES, service("b", json!({ "clusterIP": ip }))).await;
    assert_eq!(code, StatusCode::UNPROCESSABLE_ENTITY);
    let message = refused["message"].as_str().expect("a message");
    assert!(message.ends_with("provided IP is already allocated"), "{message}");
    let taken = json!({ "type": "NodePort", "ports": [{ "port": 80, "nodePort": port }] });
    let (code, refused) = client.json(Method::POST, SERVICES, service("b", taken.clone())).await;
    assert_eq!(code, StatusCode::UNPROCESSABLE_ENTITY);
    let message = refused["message"].as_str().expect("a message");
    assert!(message.ends_with("provided port is already allocated"), "{message}");
    let (_, addresses) = client.json(Method::GET, "/apis/networking.k8s.io/v1/ipaddresses", Value::Null).await;
    assert_eq!(addresses["items"].as_array().map(Vec::len), Some(1), "what a failed create took is given back");

    // A change of type gives the port back, and keeps the address.
    let mut cluster = a.clone();
    cluster["spec"]["type"] = json!("ClusterIP");
    let path = &format!("{SERVICES}/a");
    let (code, updated) = client.json(Method::PUT, path, cluster).await;
    assert_eq!(code, StatusCode::OK, "{updated}");
    assert_eq!((&updated["spec"]["clusterIP"], updated["spec"]["ports"][0].get("nodePort")), (&ip, None));
    let b = create(&mut client, SERVICES, service("b", taken)).await;
    assert_eq!(b["spec"]["ports"][0]["nodePort"], port);

    // A client that knows less than the server keeps what it does not send.
    let plain = json!({ "metadata": { "name": "b" }, "spec": { "type": "NodePort", "ports": [{ "port": 81 }] } });
    let (code, kept) = client.json(Method::PUT, &format!("{SERVICES}/b"), plain).await;
    assert_eq!(code, StatusCode::OK, "{kept}");
    assert_eq!(
        (&kept["spec"]["clusterIP"], &kept["spec"]["ports"][0]["nodePort"]),
        (&b["spec"]["clusterIP"], &json!(port))
    );

    let (code, _) = client.json(Method::DELETE, path, Value::Null).await;
    assert_eq!(code, StatusCode::OK);
    let dry = format!("{SERVICES}?dryRun=All");
    let (code, asked) = client.json(Method::POST, &dry, service("c", json!({}))).await;
    assert_eq!((code, asked["spec"]["clusterIP"].is_string()), (StatusCode::CREATED, true));
    let headless = create(&mut client, SERVICES, service("h", json!({ "clusterIP": "None" }))).await;
    assert_eq!(headless["spec"]["clusterIPs"], json!(["None"]));
    let (_, addresses) = client.json(Method::GET, "/apis/networking.k8s.io/v1/ipaddresses", Value::Null).await;
    assert_eq!(addresses["items"].as_array().map(Vec::len), Some(1), "only that of b is left: {addresses}");
}

#[tokio::test]
async fn addresses_and_ports_are_not_given_twice_under_concurrency() {
    let client = with_ranges().await;
    let mut writers = Vec::new();
    for writer in 0..4 {
        let mut client = client.another().await;
        writers.push(tokio::spawn(async move {
            let mut out = Vec::new();
            for i in 0..5 {
                let object = service(&format!("s{writer}-{i}"), json!({ "type": "NodePort" }));
                out.push(create(&mut client, SERVICES, object).await);
            }
            out
        }));
    }
    let (mut ips, mut ports) = (BTreeSet::new(), BTreeSet::new());
    for writer in writers {
        for made in writer.await.expect("no panic") {
            ips.insert(made["spec"]["clusterIP"].to_string());
            ports.insert(made["spec"]["ports"][0]["nodePort"].as_i64().expect("a port"));
        }
    }
    assert_eq!((ips.len(), ports.len()), (20, 20));
}

fn pod(name: &str) -> Value {
    json!({ "metadata": { "name": name }, "spec": { "containers": [{ "name": "c", "image": "i" }] } })
}

#[tokio::test]
async fn pods_live_by_their_rules() {
    let mut client = Client::new().await;
    let mut with_status = pod("a");
    with_status["status"] = json!({ "phase": "Running" });
    let a = create(&mut client, PODS, with_status).await;
    assert_eq!(a["status"], json!({ "phase": "Pending", "qosClass": "BestEffort" }));
    assert_eq!((&a["spec"]["restartPolicy"], &a["metadata"]["generation"]), (&json!("Always"), &json!(1)));

    let mut bad = pod("B");
    bad["spec"]["containers"][0]["image"] = Value::Null;
    let (code, refused) = client.json(Method::POST, PODS, bad).await;
    assert_eq!(code, StatusCode::UNPROCESSABLE_ENTITY);
    let fields: Vec<&Value> =
        refused["details"]["causes"].as_array().expect("causes").iter().map(|c| &c["field"]).collect();
    assert_eq!(fields, [&json!("metadata.name"), &json!("spec.containers[0].image")], "{refused}");

    let path = &format!("{PODS}/a");
    let merge = "application/merge-patch+json";
    let (code, refused) = client.send(Method::PATCH, path, merge, json!({ "spec": { "hostNetwork": true } })).await;
    assert_eq!(code, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(refused["message"].as_str().is_some_and(|m| m.contains("pod updates may not change fields other than")));
    let image = json!({ "spec": { "containers": [{ "name": "c", "image": "j" }] } });
    let strategic = "application/strategic-merge-patch+json";
    let (code, updated) = client.send(Method::PATCH, path, strategic, image).await;
    assert_eq!((code, &updated["metadata"]["generation"]), (StatusCode::OK, &json!(2)), "{updated}");
    let status = json!({ "status": { "phase": "Running", "podIP": "10.1.1.1", "podIPs": [{ "ip": "10.1.1.1" }] } });
    let (code, updated) = client.send(Method::PATCH, &format!("{path}/status"), strategic, status).await;
    assert_eq!((code, &updated["status"]["phase"]), (StatusCode::OK, &json!("Running")), "{updated}");

    // Unscheduled it goes at once; bound it has its grace.
    create(&mut client, PODS, pod("b")).await;
    let (code, _) = client.json(Method::DELETE, &format!("{PODS}/b"), Value::Null).await;
    assert_eq!(code, StatusCode::OK);
    let (code, _) = client.json(Method::GET, &format!("{PODS}/b"), Value::Null).await;
    assert_eq!(code, StatusCode::NOT_FOUND);
    let binding = json!({ "metadata": { "name": "a" }, "target": { "kind": "Node", "name": "n" } });
    create(&mut client, &format!("{path}/binding"), binding).await;
    let (_, deleted) = client.json(Method::DELETE, path, Value::Null).await;
    assert_eq!(deleted["metadata"]["deletionGracePeriodSeconds"], 30, "{deleted}");
    // Its containers end; who deletes it again without a number does not take it from its kubelet.
    let ended = json!({ "status": { "phase": "Succeeded" } });
    let (_, ended) = client.send(Method::PATCH, &format!("{path}/status"), strategic, ended).await;
    client.json(Method::DELETE, PODS, Value::Null).await;
    let (code, again) = client.json(Method::DELETE, path, Value::Null).await;
    assert_eq!((code, &again["metadata"]["resourceVersion"]), (StatusCode::OK, &ended["metadata"]["resourceVersion"]));
    let (_, forced) = client.json(Method::DELETE, &format!("{path}?gracePeriodSeconds=0"), Value::Null).await;
    let (code, _) = client.json(Method::GET, path, Value::Null).await;
    assert_eq!(code, StatusCode::NOT_FOUND);

    // Who watches sees that there is no time left before it sees that the pod is gone.
    let since = ended["metadata"]["resourceVersion"].as_str().expect("a revision");
    let mut watch = client.another().await.watch(&format!("{PODS}?watch=true&resourceVersion={since}")).await;
    for kind in ["MODIFIED", "DELETED"] {
        let event = watch.next().await.expect("an event");
        let seconds = &event["object"]["metadata"]["deletionGracePeriodSeconds"];
        assert_eq!((&event["type"], seconds), (&json!(kind), &json!(0)), "{forced}");
        assert_eq!(event["object"]["metadata"]["generation"], deleted["metadata"]["generation"]);
    }
}

/// A pod that runs and is ready, on a node.
async fn running(client: &mut Client, name: &str, labels: Value) -> String {
    let mut object = pod(name);
    object["metadata"]["labels"] = labels;
    create(client, PODS, object).await;
    let path = format!("{PODS}/{name}");
    let binding = json!({ "metadata": { "name": name }, "target": { "kind": "Node", "name": "n" } });
    create(client, &format!("{path}/binding"), binding).await;
    let ready = json!({ "type": "Ready", "status": "True" });
    let status = json!({ "status": { "phase": "Running", "conditions": [ready] } });
    let strategic = "application/strategic-merge-patch+json";
    let (code, updated) = client.send(Method::PATCH, &format!("{path}/status"), strategic, status).await;
    assert_eq!(code, StatusCode::OK, "{updated}");
    path
}

#[tokio::test]
async fn evictions_ask_the_budget() {
    const BUDGETS: &str = "/apis/policy/v1/namespaces/default/poddisruptionbudgets";
    let mut client = Client::new().await;
    let a = &running(&mut client, "a", json!({ "app": "x" })).await;
    let b = &running(&mut client, "b", json!({ "app": "x" })).await;
    let evict = async |client: &mut Client, path: &str, name: &str| {
        let eviction = json!({ "apiVersion": "policy/v1", "kind": "Eviction", "metadata": { "name": name } });
        client.json(Method::POST, &format!("{path}/eviction"), eviction).await
    };
    let selector = json!({ "matchLabels": { "app": "x" } });
    let budget = json!({ "metadata": { "name": "x" }, "spec": { "minAvailable": 1, "selector": selector } });
    create(&mut client, BUDGETS, budget).await;

    // The budget's controller has not counted yet.
    let (code, refused) = evict(&mut client, a, "a").await;
    let details = &refused["details"];
    assert_eq!((code, &details["retryAfterSeconds"]), (StatusCode::TOO_MANY_REQUESTS, &json!(10)), "{refused}");
    assert_eq!(
        details["causes"],
        json!([{ "reason": "DisruptionBudget", "message": "The disruption budget x is still being processed by the server." }])
    );
    let counted = |allowed: i64| json!({ "status": { "observedGeneration": 1, "disruptionsAllowed": allowed, "currentHealthy": 2, "desiredHealthy": 1, "expectedPods": 2 } });
    let merge = "application/merge-patch+json";
    let status = &format!("{BUDGETS}/x/status");
    client.send(Method::PATCH, status, merge, counted(1)).await;
    let (code, other) = evict(&mut client, a, "b").await;
    assert_eq!(
        (code, &other["message"]),
        (StatusCode::BAD_REQUEST, &json!("name in URL does not match name in Eviction object"))
    );

    // One may go, and takes what there was.
    let (code, done) = evict(&mut client, a, "a").await;
    assert_eq!((code, &done["status"]), (StatusCode::CREATED, &json!("Success")), "{done}");
    let (_, gone) = client.json(Method::GET, a, Value::Null).await;
    assert_eq!(gone["metadata"]["deletionGracePeriodSeconds"], 30, "{gone}");
    let why =
        gone["status"]["conditions"].as_array().expect("conditions").iter().find(|c| c["type"] == "DisruptionTarget");
    assert_eq!(why.expect("the condition")["reason"], "EvictionByEvictionAPI");
    let (_, left) = client.json(Method::GET, &format!("{BUDGETS}/x"), Value::Null).await;
    assert_eq!(left["status"]["disruptionsAllowed"], 0, "{left}");
    assert!(left["status"]["disruptedPods"]["a"].is_string(), "{left}");
    assert_eq!(left["status"]["conditions"][0]["reason"], "InsufficientPods");
    let (code, refused) = evict(&mut client, b, "b").await;
    assert_eq!(code, StatusCode::TOO_MANY_REQUESTS);
    let message = "The disruption budget x does not allow evicting pods currently";
    assert_eq!(refused["details"]["causes"][0]["message"], message, "{refused}");

    // What is going goes; what is not ready goes where enough others are.
    let (code, again) = evict(&mut client, a, "a").await;
    assert_eq!(code, StatusCode::CREATED, "{again}");
    let unready = json!({ "status": { "conditions": [{ "type": "Ready", "status": "False" }] } });
    client.send(Method::PATCH, &format!("{b}/status"), "application/strategic-merge-patch+json", unready).await;
    let (code, spared) = evict(&mut client, b, "b").await;
    assert_eq!(code, StatusCode::CREATED, "{spared}");
    let (_, gone) = client.json(Method::GET, b, Value::Null).await;
    assert_eq!(gone["metadata"]["deletionGracePeriodSeconds"], 30, "{gone}");
    let (code, _) = evict(&mut client, &format!("{PODS}/none"), "none").await;
    assert_eq!(code, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn ephemeral_containers_are_added_by_their_own_path() {
    let mut client = Client::new().await;
    let mut a = create(&mut client, PODS, pod("a")).await;
    a["spec"]["ephemeralContainers"] = json!([{ "name": "debug", "image": "i", "targetContainerName": "c" }]);
    let path = &format!("{PODS}/a/ephemeralcontainers");
    let (code, updated) = client.json(Method::PUT, path, a.clone()).await;
    assert_eq!(
        (code, &updated["spec"]["ephemeralContainers"][0]["name"]),
        (StatusCode::OK, &json!("debug")),
        "{updated}"
    );
    let mut gone = updated.clone();
    gone["spec"].as_object_mut().expect("a spec").remove("ephemeralContainers");
    let (code, refused) = client.json(Method::PUT, path, gone).await;
    assert_eq!(code, StatusCode::UNPROCESSABLE_ENTITY, "{refused}");
}

#[tokio::test]
async fn namespaces_go_when_they_are_finalized() {
    let mut client = Client::new().await;
    let made = create(&mut client, "/api/v1/namespaces", json!({ "metadata": { "name": "n" } })).await;
    assert_eq!((&made["status"]["phase"], &made["spec"]["finalizers"]), (&json!("Active"), &json!(["kubernetes"])));
    assert_eq!(made["metadata"]["labels"]["kubernetes.io/metadata.name"], "n");
    let path = "/api/v1/namespaces/n";
    let (_, deleted) = client.json(Method::DELETE, path, Value::Null).await;
    let (code, mut there) = client.json(Method::GET, path, Value::Null).await;
    assert_eq!((code, &there["status"]["phase"]), (StatusCode::OK, &json!("Terminating")), "{deleted}");
    there["spec"]["finalizers"] = json!([]);
    let (code, finalized) = client.json(Method::PUT, &format!("{path}/finalize"), there).await;
    assert_eq!(code, StatusCode::OK, "{finalized}");
    let (code, _) = client.json(Method::GET, path, Value::Null).await;
    assert_eq!(code, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn workloads_count_generations_and_keep_their_selectors() {
    let mut client = Client::new().await;
    let deployments = "/apis/apps/v1/namespaces/default/deployments";
    let object = json!({
        "metadata": { "name": "d" },
        "spec": {
            "selector": { "matchLabels": { "a": "b" } },
            "template": { "metadata": { "labels": { "a": "b" } }, "spec": { "containers": [{ "name": "c", "image": "i" }] } },
        },
    });
    create(&mut client, deployments, object).await;
    let path = &format!("{deployments}/d");
    let merge = "application/merge-patch+json";
    let mut patch = async |path: &str, body: Value| client.send(Method::PATCH, path, merge, body).await;
    let (_, scaled) = patch(path, json!({ "spec": { "replicas": 3 } })).await;
    assert_eq!(scaled["metadata"]["generation"], 2, "{scaled}");
    let (_, annotated) = patch(path, json!({ "metadata": { "annotations": { "x": "y" } } })).await;
    assert_eq!(annotated["metadata"]["generation"], 3);
    let (_, reported) =
        patch(&format!("{path}/status"), json!({ "status": { "replicas": 1, "readyReplicas": 1 } })).await;
    assert_eq!((&reported["metadata"]["generation"], &reported["status"]["replicas"]), (&json!(3), &json!(1)));
    let (code, refused) = patch(path, json!({ "spec": { "selector": { "matchLabels": { "a": "c" } } } })).await;
    assert_eq!(code, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(refused["message"].as_str().is_some_and(|m| m.contains("field is immutable")), "{refused}");

    let job = json!({
        "metadata": { "name": "j" },
        "spec": { "template": { "spec": { "restartPolicy": "Never", "containers": [{ "name": "c", "image": "i" }] } } },
    });
    let job = create(&mut client, "/apis/batch/v1/namespaces/default/jobs", job).await;
    let uid = &job["metadata"]["uid"];
    assert_eq!(&job["spec"]["selector"]["matchLabels"]["batch.kubernetes.io/controller-uid"], uid);
    assert_eq!(&job["spec"]["template"]["metadata"]["labels"]["job-name"], "j");
}

#[tokio::test]
async fn nodes_register_with_their_status() {
    let mut client = Client::new().await;
    let node = json!({ "metadata": { "name": "n" }, "status": { "capacity": { "cpu": "4", "memory": "8Gi" } } });
    let made = create(&mut client, "/api/v1/nodes", node).await;
    assert_eq!(made["status"]["capacity"]["cpu"], "4");
    let (code, refused) = client
        .json(
            Method::POST,
            "/api/v1/nodes",
            json!({ "metadata": { "name": "m" }, "spec": { "taints": [{ "key": "a", "effect": "No" }] } }),
        )
        .await;
    assert_eq!(code, StatusCode::UNPROCESSABLE_ENTITY, "{refused}");
}

#[tokio::test]
async fn a_pod_with_a_negative_grace_period_can_be_updated() {
    let mut client = Client::new().await;
    let spec = json!({ "terminationGracePeriodSeconds": -1, "containers": [{ "name": "a", "image": "a" }] });
    let pod = create(&mut client, PODS, json!({ "metadata": { "name": "p" }, "spec": spec })).await;
    assert_eq!(pod["spec"]["terminationGracePeriodSeconds"], 1);
    let mut again = pod.clone();
    again["spec"]["terminationGracePeriodSeconds"] = json!(-1);
    again["metadata"]["labels"] = json!({ "a": "b" });
    let path = &format!("{PODS}/p");
    let (code, updated) = client.json(Method::PUT, path, again).await;
    assert_eq!((code, &updated["spec"]["terminationGracePeriodSeconds"]), (StatusCode::OK, &json!(1)), "{updated}");
    let patch = json!({ "spec": { "terminationGracePeriodSeconds": -7 } });
    let (code, patched) = client.send(Method::PATCH, path, "application/merge-patch+json", patch).await;
    assert_eq!((code, &patched["spec"]["terminationGracePeriodSeconds"]), (StatusCode::OK, &json!(1)), "{patched}");
}

#[tokio::test]
async fn label_keys_of_affinity_and_spread_are_merged_once_and_the_pod_can_be_updated() {
    let mut client = Client::new().await;
    let term = json!({ "topologyKey": "zone", "labelSelector": { "matchLabels": { "app": "a" } },
        "matchLabelKeys": ["hash"], "mismatchLabelKeys": ["tenant"] });
    let spread = json!({ "maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule",
        "labelSelector": { "matchLabels": { "app": "a" } }, "matchLabelKeys": ["hash"] });
    let spec = json!({
        "affinity": { "podAntiAffinity": { "requiredDuringSchedulingIgnoredDuringExecution": [term] } },
        "topologySpreadConstraints": [spread],
        "containers": [{ "name": "a", "image": "a" }],
    });
    let labels = json!({ "app": "a", "hash": "1", "tenant": "t" });
    let pod = json!({ "metadata": { "name": "p", "labels": labels }, "spec": spec });
    let made = create(&mut client, PODS, pod.clone()).await;
    let selector = |pod: &serde_json::Value| {
        let term = &pod["spec"]["affinity"]["podAntiAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"][0];
        term["labelSelector"]["matchExpressions"].clone()
    };
    let hash = json!({ "key": "hash", "operator": "In", "values": ["1"] });
    assert_eq!(selector(&made), json!([hash, { "key": "tenant", "operator": "NotIn", "values": ["t"] }]));
    assert_eq!(made["spec"]["topologySpreadConstraints"][0]["labelSelector"]["matchExpressions"], json!([hash]));
    let patch = json!({ "metadata": { "labels": { "hash": "2" } } });
    let (code, patched) = client.send(Method::PATCH, &format!("{PODS}/p"), "application/merge-patch+json", patch).await;
    assert_eq!((code, selector(&patched)), (StatusCode::OK, selector(&made)), "{patched}");

    // A key that the selector has already is refused as the merged selector shows it.
    let mut twice = pod;
    twice["metadata"]["name"] = json!("q");
    let term = &mut twice["spec"]["affinity"]["podAntiAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"][0];
    term["labelSelector"]["matchLabels"]["hash"] = json!("1");
    let (code, refused) = client.json(Method::POST, PODS, twice).await;
    assert_eq!(code, StatusCode::UNPROCESSABLE_ENTITY, "{refused}");
    let message = refused["message"].as_str().expect("a message");
    assert!(
        message.contains("[0][0]: Invalid value: \"hash\": exists in both matchLabelKeys and labelSelector"),
        "{message}"
    );
}
