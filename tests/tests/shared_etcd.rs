//! A server on an etcd that was another's: what upstream's servers have put there is read whole, what is written can be
//! read by them, and what cannot be read is neither hidden nor overwritten. Values are as upstream v1.36 writes them (seen
//! in its etcd): an envelope with kind and version, no resourceVersion inside.

use api::protobuf::{self, MAGIC};
use api::stored::{self, Form};
use http::Method;
use machinery::gvk::GroupVersionKind;
use serde_json::{Value, json};
use testkit::{Caller, Etcd, Process};

/// The server's process; nothing when it is run as a test.
#[test]
fn server() -> anyhow::Result<()> {
    testkit::serve()
}

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

fn upstreams(object: &Value) -> Vec<u8> {
    let kind = machinery::meta::gvk(object);
    stored::write(object, &kind, &kind, Form::Protobuf).expect("a built-in kind")
}

fn map(name: &str, data: &Value) -> Value {
    json!({"kind": "ConfigMap", "apiVersion": "v1",
        "metadata": {"name": name, "namespace": "default", "uid": format!("uid-{name}"), "creationTimestamp": "2026-01-02T03:04:05Z"},
        "data": data})
}

async fn read(caller: &Caller, path: &str) -> anyhow::Result<Value> {
    let answer = caller.get(path).await?;
    anyhow::ensure!(answer.code == 200, "{path}: {} {}", answer.code, answer.body);
    Ok(answer.body)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_takes_over_an_etcd_and_can_be_taken_off_again() -> anyhow::Result<()> {
    let Some(etcd) = Etcd::start().await? else { return Ok(()) };
    let one = map("one", &json!({"a": "1"}));
    let revision = etcd.put("/registry/configmaps/default/one", upstreams(&one)).await?;
    // Stored by an older server, which wrote no defaults of today.
    let hpa = json!({"kind": "HorizontalPodAutoscaler", "apiVersion": "autoscaling/v1",
        "metadata": {"name": "h", "namespace": "default", "uid": "h"},
        "spec": {"scaleTargetRef": {"kind": "Deployment", "name": "d"}, "maxReplicas": 3, "targetCPUUtilizationPercentage": 50}});
    etcd.put("/registry/horizontalpodautoscalers/default/h", upstreams(&hpa)).await?;
    let policy = json!({"kind": "MutatingAdmissionPolicy", "apiVersion": "admissionregistration.k8s.io/v1", "metadata": {"name": "p", "uid": "p"},
        "spec": {"matchConstraints": {"resourceRules": [{"apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"], "operations": ["CREATE"]}]},
            "reinvocationPolicy": "Never", "mutations": [{"patchType": "JSONPatch", "jsonPatch": {"expression": "[JSONPatch{op: \"remove\", path: \"/spec/x\"}]"}}]}});
    let beta = GroupVersionKind::new("admissionregistration.k8s.io", "v1beta1", "MutatingAdmissionPolicy");
    let bytes = stored::write(&policy, &machinery::meta::gvk(&policy), &beta, Form::Protobuf).expect("alike");
    etcd.put("/registry/mutatingadmissionpolicies/p", bytes).await?;
    let definition = json!({"kind": "CustomResourceDefinition", "apiVersion": "apiextensions.k8s.io/v1beta1",
        "metadata": {"name": "xs.example.org", "uid": "x", "creationTimestamp": "2026-01-02T03:04:05Z"},
        "spec": {"group": "example.org", "version": "v1", "scope": "Cluster", "conversion": {"strategy": "None"},
            "names": {"plural": "xs", "singular": "x", "kind": "X", "listKind": "XList"}, "preserveUnknownFields": false,
            "validation": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}},
            "additionalPrinterColumns": [{"name": "N", "type": "integer", "JSONPath": ".n"}],
            "versions": [{"name": "v1", "served": true, "storage": true}]},
        "status": {"acceptedNames": {"plural": "xs", "singular": "x", "kind": "X", "listKind": "XList"}, "storedVersions": ["v1"],
            "conditions": [
                {"type": "NamesAccepted", "status": "True", "lastTransitionTime": "2026-01-02T03:04:05Z", "reason": "NoConflicts", "message": "no conflicts found"},
                {"type": "Established", "status": "True", "lastTransitionTime": "2026-01-02T03:04:05Z", "reason": "InitialNamesAccepted", "message": "the initial names have been accepted"}]}});
    etcd.put(
        "/registry/apiextensions.k8s.io/customresourcedefinitions/xs.example.org",
        serde_json::to_vec(&definition)?,
    )
    .await?;
    let custom = json!({"apiVersion": "example.org/v1", "kind": "X", "metadata": {"name": "a", "uid": "a"}, "n": 5});
    etcd.put("/registry/example.org/xs/a", serde_json::to_vec(&custom)?).await?;

    let server = Process::start(Some(etcd.url()), &[]).await?;
    let admin = server.admin()?;
    let mut wanted = one.clone();
    wanted["metadata"]["resourceVersion"] = revision.to_string().into();
    assert_eq!(read(&admin, &format!("{MAPS}/one")).await?, wanted);
    let scaler = read(&admin, "/apis/autoscaling/v2/namespaces/default/horizontalpodautoscalers/h").await?;
    assert_eq!(scaler["spec"]["metrics"][0]["resource"]["target"]["averageUtilization"], 50);
    let policies = "/apis/admissionregistration.k8s.io/v1/mutatingadmissionpolicies/p";
    assert_eq!(read(&admin, policies).await?["apiVersion"], "admissionregistration.k8s.io/v1");
    ferry_tests::definitions::until(&admin, "xs.example.org", ferry_tests::definitions::established).await?;
    assert_eq!(read(&admin, "/apis/example.org/v1/xs/a").await?["n"], 5);

    // What another server writes now comes in by the watch.
    let revision = etcd.put("/registry/configmaps/default/two", upstreams(&map("two", &json!({"b": "2"})))).await?;
    let two = read(&admin, &format!("{MAPS}/two")).await?;
    assert_eq!((&two["data"]["b"], &two["metadata"]["resourceVersion"]), (&"2".into(), &revision.to_string().into()));

    // An update that changes nothing writes nothing, whatever the value looks like; one that does writes protobuf.
    let before = etcd.get("/registry/configmaps/default/one").await?;
    let mut object = read(&admin, &format!("{MAPS}/one")).await?;
    let path = format!("{MAPS}/one");
    let same = admin.send(Method::PUT, &path, Some(&object)).await?;
    assert_eq!(same.body["data"], json!({"a": "1"}));
    object = same.body;
    let stays = admin.send(Method::PUT, &path, Some(&object)).await?;
    assert_eq!(stays.body["metadata"]["resourceVersion"], object["metadata"]["resourceVersion"]);
    object["data"]["a"] = "3".into();
    let changed = admin.send(Method::PUT, &path, Some(&object)).await?.body;
    assert_eq!(changed["data"]["a"], "3");
    let bytes = etcd.get("/registry/configmaps/default/one").await?.expect("there");
    assert_ne!(before.as_ref(), Some(&bytes));
    let envelope = protobuf::open(&bytes)?;
    assert_eq!((envelope.api_version, envelope.kind), ("v1", "ConfigMap"));
    let inside = protobuf::decode(envelope.raw, api::schema::of_object("v1", "ConfigMap").expect("a kind"))?;
    assert_eq!((&inside["data"]["a"], inside["metadata"].get("resourceVersion")), (&"3".into(), None));
    assert_eq!(read(&admin, &path).await?, changed, "as it comes back by the watch");

    let label = json!({"metadata": {"labels": {"a": "b"}}});
    let patch = [("content-type", "application/merge-patch+json")];
    for path in [policies, "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/xs.example.org"] {
        let answer = admin.raw(Method::PATCH, path, &patch, serde_json::to_vec(&label)?).await?;
        assert_eq!(answer.code, 200, "{}", String::from_utf8_lossy(&answer.bytes));
    }
    let bytes = etcd.get("/registry/mutatingadmissionpolicies/p").await?.expect("there");
    assert_eq!(protobuf::open(&bytes)?.api_version, "admissionregistration.k8s.io/v1beta1");
    let key = "/registry/apiextensions.k8s.io/customresourcedefinitions/xs.example.org";
    let now: Value = serde_json::from_slice(&etcd.get(key).await?.expect("there"))?;
    assert_eq!(
        (&now["apiVersion"], &now["spec"]["validation"]),
        (&definition["apiVersion"], &definition["spec"]["validation"])
    );
    assert_eq!(now["spec"]["additionalPrinterColumns"], definition["spec"]["additionalPrinterColumns"]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_read_is_neither_hidden_nor_overwritten() -> anyhow::Result<()> {
    let Some(etcd) = Etcd::start().await? else { return Ok(()) };
    let encrypted = b"k8s:enc:aescbc:v1:key1:\x01\x02\xff".to_vec();
    let (locked, later) = ("/registry/configmaps/default/locked", "/registry/configmaps/default/later");
    etcd.put(locked, encrypted.clone()).await?;
    let server = Process::start(Some(etcd.url()), &[]).await?;
    let admin = server.admin()?;
    etcd.put(later, upstreams(&map("later", &json!({})))).await?;
    assert_eq!(admin.get(&format!("{MAPS}/later")).await?.code, 200);
    // Damaged while it is in the cache.
    let damaged = [MAGIC, b"\xff\xff"].concat();
    etcd.put(later, damaged.clone()).await?;

    for name in ["locked", "later"] {
        let path = format!("{MAPS}/{name}");
        let replacement = json!({"metadata": {"name": name}, "data": {"x": "y"}});
        let patch = json!({"data": {"x": "y"}});
        let merge = [("content-type", "application/merge-patch+json")];
        assert_eq!(admin.get(&path).await?.code, 500, "get {name}");
        assert_eq!(admin.send(Method::POST, MAPS, Some(&replacement)).await?.code, 500, "create {name}");
        assert_eq!(admin.send(Method::PUT, &path, Some(&replacement)).await?.code, 500, "update {name}");
        assert_eq!(admin.raw(Method::PATCH, &path, &merge, serde_json::to_vec(&patch)?).await?.code, 500, "{name}");
        assert_eq!(admin.send(Method::DELETE, &path, None).await?.code, 500, "delete {name}");
    }
    let event = admin.first_event("/api/v1/configmaps?watch=true").await?;
    assert_eq!((&event["type"], &event["object"]["code"]), (&"ERROR".into(), &500.into()));
    for path in [MAPS, "/api/v1/configmaps", "/api/v1/configmaps?limit=1"] {
        assert_eq!(admin.get(path).await?.code, 500, "{path}");
    }
    assert_eq!(admin.send(Method::DELETE, MAPS, None).await?.code, 500, "delete all");
    assert_eq!(admin.get("/api/v1/namespaces/kube-system/configmaps").await?.code, 200, "other namespaces");
    assert_eq!(etcd.get(locked).await?, Some(encrypted));
    assert_eq!(etcd.get(later).await?, Some(damaged));
    assert!(server.log().contains("a stored value cannot be served"), "{}", server.log());

    // Readable again, it is served again.
    etcd.put(later, upstreams(&map("later", &json!({"back": "yes"})))).await?;
    assert_eq!(admin.get(&format!("{MAPS}/later")).await?.body["data"]["back"], "yes");
    Ok(())
}
