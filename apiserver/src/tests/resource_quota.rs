//! Quotas through the whole request path: what is refused, in which words, and what is taken.

use admission::plugins::resource_quota::ResourceQuota;
use http::{Method, StatusCode};
use serde_json::{Value, json};
use writes::admission::Chain;

use super::Client;

const QUOTAS: &str = "/api/v1/namespaces/default/resourcequotas";
const PODS: &str = "/api/v1/namespaces/default/pods";
const MERGE: &str = "application/merge-patch+json";

async fn client() -> Client {
    Client::admitting(Chain::new(vec![Box::new(ResourceQuota)])).await
}

/// A quota as its controller leaves it: counted, nothing used.
async fn quota(client: &mut Client, name: &str, mut spec: Value, hard: Value) {
    spec["hard"] = hard.clone();
    let (code, made) = client.json(Method::POST, QUOTAS, json!({"metadata": {"name": name}, "spec": spec})).await;
    assert_eq!(code, StatusCode::CREATED, "{made}");
    let none = hard.as_object().expect("a map").keys().map(|name| (name.clone(), json!("0")));
    let status = json!({"status": {"hard": hard, "used": Value::Object(none.collect())}});
    let (code, counted) = client.send(Method::PATCH, &format!("{QUOTAS}/{name}/status"), MERGE, status).await;
    assert_eq!(code, StatusCode::OK, "{counted}");
}

async fn used(client: &mut Client, name: &str) -> Value {
    client.json(Method::GET, &format!("{QUOTAS}/{name}"), Value::Null).await.1["status"]["used"].clone()
}

fn pod(name: &str, requests: Value) -> Value {
    json!({
        "metadata": {"name": name},
        "spec": {"containers": [{"name": "c", "image": "i", "resources": {"requests": requests}}]},
    })
}

#[tokio::test]
async fn pods_take_what_is_left_and_no_more() {
    let mut client = client().await;
    quota(&mut client, "q", json!({}), json!({"pods": "2", "requests.cpu": "1", "memory": "1Gi", "count/pods": "9"}))
        .await;
    let ask = |cpu: &str| json!({"cpu": cpu, "memory": "256Mi"});
    let (code, made) = client.json(Method::POST, PODS, pod("a", ask("600m"))).await;
    assert_eq!(code, StatusCode::CREATED, "{made}");
    let taken = json!({"pods": "1", "requests.cpu": "600m", "memory": "256Mi", "count/pods": "1"});
    assert_eq!(used(&mut client, "q").await, taken);

    let (code, refused) = client.json(Method::POST, PODS, pod("b", ask("500m"))).await;
    let message = r#"pods "b" is forbidden: exceeded quota: q, requested: requests.cpu=500m, used: requests.cpu=600m, limited: requests.cpu=1"#;
    assert_eq!((code, &refused["message"]), (StatusCode::FORBIDDEN, &json!(message)));
    let (code, refused) = client.json(Method::POST, PODS, pod("b", json!({"cpu": "1m"}))).await;
    let message = r#"pods "b" is forbidden: failed quota: q: must specify memory for: c"#;
    assert_eq!((code, &refused["message"]), (StatusCode::FORBIDDEN, &json!(message)));
    let (code, _) = client.json(Method::POST, &format!("{PODS}?dryRun=All"), pod("b", ask("1m"))).await;
    assert_eq!(code, StatusCode::CREATED);
    assert_eq!(used(&mut client, "q").await, taken, "a dry run takes nothing");

    let (code, made) = client.json(Method::POST, PODS, pod("b", ask("400m"))).await;
    assert_eq!(code, StatusCode::CREATED, "{made}");
    let (code, refused) = client.json(Method::POST, PODS, pod("c", ask("0"))).await;
    let message = r#"pods "c" is forbidden: exceeded quota: q, requested: pods=1, used: pods=2, limited: pods=2"#;
    assert_eq!((code, &refused["message"]), (StatusCode::FORBIDDEN, &json!(message)));
}

#[tokio::test]
async fn a_quota_is_for_what_is_in_its_scopes() {
    let mut client = client().await;
    quota(&mut client, "ends", json!({"scopes": ["Terminating"]}), json!({"pods": "5"})).await;
    let best = json!({"scopeSelector": {"matchExpressions": [{"scopeName": "BestEffort", "operator": "Exists"}]}});
    quota(&mut client, "best", best, json!({"pods": "5"})).await;
    let mut ends = pod("ends", json!({"cpu": "1m"}));
    ends["spec"]["activeDeadlineSeconds"] = json!(5);
    for object in [pod("best", json!({})), ends, pod("neither", json!({"cpu": "1m"}))] {
        let (code, made) = client.json(Method::POST, PODS, object).await;
        assert_eq!(code, StatusCode::CREATED, "{made}");
    }
    assert_eq!(used(&mut client, "ends").await["pods"], "1");
    assert_eq!(used(&mut client, "best").await["pods"], "1");
}

#[tokio::test]
async fn kinds_are_counted_and_updates_pay_the_difference() {
    let mut client = client().await;
    let hard = json!({"configmaps": "1", "count/deployments.apps": "0", "requests.storage": "3Gi", "fast.storageclass.storage.k8s.io/persistentvolumeclaims": "1"});
    quota(&mut client, "q", json!({}), hard).await;
    let maps = "/api/v1/namespaces/default/configmaps";
    let (code, _) = client.json(Method::POST, maps, json!({"metadata": {"name": "a"}})).await;
    assert_eq!(code, StatusCode::CREATED);
    let (code, refused) = client.json(Method::POST, maps, json!({"metadata": {"name": "b"}})).await;
    let message = r#"configmaps "b" is forbidden: exceeded quota: q, requested: configmaps=1, used: configmaps=1, limited: configmaps=1"#;
    assert_eq!((code, &refused["message"]), (StatusCode::FORBIDDEN, &json!(message)));
    let deployment = json!({"metadata": {"name": "d"}, "spec": {
        "selector": {"matchLabels": {"a": "b"}},
        "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}},
    }});
    let (code, refused) = client.json(Method::POST, "/apis/apps/v1/namespaces/default/deployments", deployment).await;
    assert_eq!(code, StatusCode::FORBIDDEN, "{refused}");

    let claims = "/api/v1/namespaces/default/persistentvolumeclaims";
    let claim = json!({"metadata": {"name": "c"}, "spec": {
        "storageClassName": "fast", "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}},
    }});
    let (code, made) = client.json(Method::POST, claims, claim).await;
    assert_eq!(code, StatusCode::CREATED, "{made}");
    let after = used(&mut client, "q").await;
    assert_eq!(after["requests.storage"], "1Gi");
    assert_eq!(after["fast.storageclass.storage.k8s.io/persistentvolumeclaims"], "1");

    // An update pays for what it adds.
    let ranges = json!({"metadata": {"name": "kubernetes"}, "spec": {"cidrs": ["10.96.0.0/24"]}});
    client.json(Method::POST, "/apis/networking.k8s.io/v1/servicecidrs", ranges).await;
    quota(&mut client, "ports", json!({}), json!({"services": "1", "services.nodeports": "1"})).await;
    let services = "/api/v1/namespaces/default/services";
    let ports = json!([{"name": "a", "port": 80}, {"name": "b", "port": 81}]);
    let service = json!({"metadata": {"name": "s"}, "spec": {"ports": ports}});
    let (code, made) = client.json(Method::POST, services, service).await;
    assert_eq!(code, StatusCode::CREATED, "{made}");
    let open = json!({"spec": {"type": "NodePort"}});
    let (code, refused) = client.send(Method::PATCH, &format!("{services}/s"), MERGE, open.clone()).await;
    let message = r#"services "s" is forbidden: exceeded quota: ports, requested: services.nodeports=2, used: services.nodeports=0, limited: services.nodeports=1"#;
    assert_eq!((code, &refused["message"]), (StatusCode::FORBIDDEN, &json!(message)));
    let one = json!({"spec": {"type": "NodePort", "ports": [{"name": "a", "port": 80}]}});
    let (code, opened) = client.send(Method::PATCH, &format!("{services}/s"), MERGE, one).await;
    assert_eq!(code, StatusCode::OK, "{opened}");
    assert_eq!(used(&mut client, "ports").await, json!({"services": "1", "services.nodeports": "1"}));
}

#[tokio::test]
async fn what_is_not_counted_yet_is_refused() {
    let mut client = client().await;
    let object = json!({"metadata": {"name": "q"}, "spec": {"hard": {"secrets": "1"}}});
    client.json(Method::POST, QUOTAS, object).await;
    let status = json!({"status": {"hard": {"secrets": "1"}}});
    client.send(Method::PATCH, &format!("{QUOTAS}/q/status"), MERGE, status).await;
    let secret = json!({"metadata": {"name": "s"}});
    let (code, refused) = client.json(Method::POST, "/api/v1/namespaces/default/secrets", secret).await;
    let message = r#"secrets "s" is forbidden: status unknown for quota: q, resources: secrets"#;
    assert_eq!((code, &refused["message"]), (StatusCode::FORBIDDEN, &json!(message)));
}

#[tokio::test]
async fn claims_of_devices_take_extended_resources_but_for_what_their_pod_has_taken() {
    let mut client = client().await;
    let class = json!({"metadata": {"name": "gpu"}, "spec": {"extendedResourceName": "example.com/gpu"}});
    let (code, made) = client.json(Method::POST, "/apis/resource.k8s.io/v1/deviceclasses", class).await;
    assert_eq!(code, StatusCode::CREATED, "{made}");
    let hard = json!({
        "requests.example.com/gpu": "3", "requests.deviceclass.resource.kubernetes.io/gpu": "9",
        "gpu.deviceclass.resource.k8s.io/devices": "9",
    });
    quota(&mut client, "q", json!({}), hard).await;
    let of = |extended: &str, implicit: &str, devices: &str| {
        json!({
            "requests.example.com/gpu": extended, "requests.deviceclass.resource.kubernetes.io/gpu": implicit,
            "gpu.deviceclass.resource.k8s.io/devices": devices,
        })
    };
    let claim = |name: &str, count: i64, metadata: Value| {
        let exactly = json!({"deviceClassName": "gpu", "allocationMode": "ExactCount", "count": count});
        let spec = json!({"devices": {"requests": [{"name": "r", "exactly": exactly}]}});
        let mut claim = json!({"metadata": metadata, "spec": spec});
        claim["metadata"]["name"] = json!(name);
        claim
    };
    const CLAIMS: &str = "/apis/resource.k8s.io/v1/namespaces/default/resourceclaims";
    let (code, made) = client.json(Method::POST, CLAIMS, claim("a", 1, json!({}))).await;
    assert_eq!(code, StatusCode::CREATED, "{made}");
    assert_eq!(used(&mut client, "q").await, of("1", "1", "1"));
    let (_, refused) = client.json(Method::POST, CLAIMS, claim("b", 3, json!({}))).await;
    let message = r#"resourceclaims.resource.k8s.io "b" is forbidden: exceeded quota: q, requested: requests.example.com/gpu=3, used: requests.example.com/gpu=1, limited: requests.example.com/gpu=3"#;
    assert_eq!(refused["message"], message);

    // The pod asks for two, and the scheduler makes a claim of them.
    let asked = json!({"example.com/gpu": "2"});
    let mut gpus = pod("p", asked.clone());
    gpus["spec"]["containers"][0]["resources"]["limits"] = asked;
    let (code, made) = client.json(Method::POST, PODS, gpus).await;
    assert_eq!(code, StatusCode::CREATED, "{made}");
    assert_eq!(used(&mut client, "q").await, of("3", "1", "1"));
    let owner =
        json!({"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": made["metadata"]["uid"], "controller": true});
    let metadata = json!({
        "annotations": {"resource.kubernetes.io/extended-resource-claim": "true"}, "ownerReferences": [owner],
    });
    let (code, made) = client.json(Method::POST, CLAIMS, claim("of-p", 2, metadata.clone())).await;
    assert_eq!(code, StatusCode::CREATED, "{made}");
    assert_eq!(used(&mut client, "q").await, of("3", "3", "3"), "the pod's two are counted once");
    let (code, refused) = client.json(Method::POST, CLAIMS, claim("second-of-p", 2, metadata)).await;
    assert_eq!(code, StatusCode::FORBIDDEN, "{refused}");
}
