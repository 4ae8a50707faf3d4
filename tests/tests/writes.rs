//! What a write is warned of, refused for, and counted as: compared with a kube-apiserver v1.36.2, request by request.

use http::Method;
use serde_json::{Value, json};
use testkit::{Cluster, Process};

const MERGE: &str = "application/merge-patch+json";

/// Not a test: what others start.
#[test]
fn server() -> anyhow::Result<()> {
    testkit::serve()
}

fn pod(spec: Value) -> Value {
    let mut pod = json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    for (field, value) in spec.as_object().into_iter().flatten() {
        pod["spec"][field] = value.clone();
    }
    pod
}

#[tokio::test]
async fn services_are_warned_of_as_upstreams() -> anyhow::Result<()> {
    let server = Process::start(None, &[]).await?;
    let admin = server.admin()?;
    for (metadata, spec, warned) in [
        (
            json!({}),
            json!({"externalIPs": ["192.0.2.1"]}),
            vec!["spec.externalIPs is deprecated and may no longer be implemented in some clusters"],
        ),
        (
            json!({}),
            json!({"clusterIP": "None", "externalIPs": ["192.0.2.1"], "sessionAffinity": "ClientIP"}),
            vec![
                "spec.externalIPs is ignored for headless services",
                "spec.SessionAffinity is ignored for headless services",
            ],
        ),
        (
            json!({"annotations": {"service.kubernetes.io/topology-aware-hints": "auto"}}),
            json!({"externalName": "example.com", "trafficDistribution": "PreferClose"}),
            vec![
                "annotation service.kubernetes.io/topology-aware-hints is deprecated, please use service.kubernetes.io/topology-mode instead",
                r#"spec.externalName is ignored when spec.type is not \"ExternalName\""#,
                r#"spec.trafficDistribution: \"PreferClose\" is deprecated; use \"PreferSameZone\""#,
            ],
        ),
        (
            json!({}),
            json!({"type": "ExternalName", "externalName": "example.com", "externalIPs": ["192.0.2.1"]}),
            vec![r#"spec.externalIPs is ignored when spec.type is \"ExternalName\""#],
        ),
        (json!({}), json!({}), vec![]),
    ] {
        let mut service = json!({"metadata": metadata, "spec": spec});
        service["metadata"]["generateName"] = "a".into();
        service["spec"]["ports"] = json!([{"port": 80}]);
        let made = admin.send(Method::POST, "/api/v1/namespaces/default/services", Some(&service)).await?;
        assert_eq!((made.code, made.warnings), (201, warned.into_iter().map(str::to_owned).collect()), "{service}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pods_are_warned_of_as_upstreams() -> anyhow::Result<()> {
    let cluster = Cluster::start().await?;
    let admin = cluster.admin();
    let account = json!({"metadata": {"name": "default"}});
    admin.send(Method::POST, "/api/v1/namespaces/default/serviceaccounts", Some(&account)).await?;
    let path = "/api/v1/namespaces/default/pods?dryRun=All";
    for (spec, warned) in [
        (
            json!({"nodeSelector": {"beta.kubernetes.io/os": "linux"}}),
            r#"spec.nodeSelector[beta.kubernetes.io/os]: deprecated since v1.14; use \"kubernetes.io/os\" instead"#,
        ),
        (
            json!({"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [
                {"matchExpressions": [{"key": "beta.kubernetes.io/arch", "operator": "Exists"}]}]}}}}),
            r#"spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[0].matchExpressions[0].key: beta.kubernetes.io/arch is deprecated since v1.14; use \"kubernetes.io/arch\" instead"#,
        ),
        (
            json!({"affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [{"topologyKey": "a"}]}}}),
            "spec.affinity.podAntiAffinity.requiredDuringSchedulingIgnoredDuringExecution[0].labelSelector: a null labelSelector results in matching no pod",
        ),
        (
            json!({"containers": [{"name": "c", "image": "i", "ports": [{"containerPort": 80, "hostIP": "192.0.2.1"}]}]}),
            "spec.containers[0].ports[0]: hostIP set without hostPort: {Name: HostPort:0 ContainerPort:80 Protocol:TCP HostIP:192.0.2.1}",
        ),
    ] {
        let made = admin.send(Method::POST, path, Some(&pod(spec.clone()))).await?;
        assert_eq!(made.warnings, [warned], "{spec} {}", made.body);
    }
    // A long one is told whole, as long as all are no more than 4 KiB.
    let preferred = json!({"affinity": {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 1,
        "preference": {"matchExpressions": [{"key": "a", "operator": "In", "values": ["x y"]}]}}]}}});
    let made = admin.send(Method::POST, path, Some(&pod(preferred))).await?;
    assert!(made.warnings.len() == 1 && made.warnings[0].ends_with("[A-Za-z0-9])?')"), "{:?}", made.warnings);
    // A pod's own negative grace period is made 1; a template's is warned of.
    let made = admin.send(Method::POST, path, Some(&pod(json!({"terminationGracePeriodSeconds": -1})))).await?;
    assert_eq!((made.warnings.len(), &made.body["spec"]["terminationGracePeriodSeconds"]), (0, &json!(1)));
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn resources_on_their_way_out_say_so() -> anyhow::Result<()> {
    let cluster = Cluster::start().await?;
    let admin = cluster.admin();
    for (path, warned) in [
        (
            "/api/v1/namespaces/default/endpoints",
            "v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice",
        ),
        ("/api/v1/componentstatuses", "v1 ComponentStatus is deprecated in v1.19+"),
    ] {
        assert_eq!(admin.get(path).await?.warnings, [warned]);
    }
    let owner = json!({"apiVersion": "v1", "kind": "Pod", "name": "x", "uid": "u"});
    let twice = json!({"metadata": {"name": "a", "ownerReferences": [owner, owner]}});
    let made = admin.send(Method::POST, "/api/v1/namespaces/default/configmaps", Some(&twice)).await?;
    let words = ".metadata.ownerReferences contains duplicate entries; API server dedups owner references in 1.20+, and may \
                 reject such requests as early as 1.24; please fix your requests; duplicate UID(s) observed: u";
    assert_eq!((made.warnings, &made.body["metadata"]["ownerReferences"]), (vec![words.to_owned()], &json!([owner])));
    Ok(())
}

/// A patched object is looked through after admission only, as upstream's.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_patched_object_has_each_owner_once() -> anyhow::Result<()> {
    let cluster = Cluster::start().await?;
    let admin = cluster.admin();
    let maps = "/api/v1/namespaces/default/configmaps";
    admin.send(Method::POST, maps, Some(&json!({"metadata": {"name": "a"}}))).await?;
    let owner = |uid: &str| json!({"apiVersion": "v1", "kind": "Pod", "name": "x", "uid": uid});
    let (u, w) = (owner("u"), owner("w"));
    let patch = json!({"metadata": {"ownerReferences": [u, w, u, u]}});
    let path = format!("{maps}/a");
    let patched = admin.send_as(Method::PATCH, &path, "application/merge-patch+json", Some(&patch)).await?;
    let words = ".metadata.ownerReferences contains duplicate entries after mutating admission happens; API server dedups \
                 owner references in 1.20+, and may reject such requests as early as 1.24; please fix your requests; \
                 duplicate UID(s) observed: u, u";
    assert_eq!((patched.code, patched.warnings), (200, vec![words.to_owned()]), "{}", patched.body);
    assert_eq!(patched.body["metadata"]["ownerReferences"], json!([u, w]));
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_and_finalizers_are_refused_in_upstreams_words() -> anyhow::Result<()> {
    let cluster = Cluster::start().await?;
    let admin = cluster.admin();
    let refused = admin.send(Method::POST, "/api/v1/namespaces", Some(&json!({"metadata": {"name": "a.b"}}))).await?;
    let words = "Namespace \"a.b\" is invalid: metadata.name: Invalid value: \"a.b\": must not contain dots";
    assert_eq!((refused.code, &refused.body["message"]), (422, &json!(words)));
    let held = json!({"metadata": {"name": "a", "finalizers": ["foo", "kubernetes", "example.com/x"]}});
    let refused = admin.send(Method::POST, "/api/v1/namespaces/default/configmaps", Some(&held)).await?;
    let words = "ConfigMap \"a\" is invalid: metadata.finalizers[0]: Invalid value: \"foo\": name is neither a standard \
                 finalizer name nor is it fully qualified";
    assert_eq!((refused.code, &refused.body["message"]), (422, &json!(words)));
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn generations_count_what_upstreams_count() -> anyhow::Result<()> {
    let cluster = Cluster::start().await?;
    let admin = cluster.admin();
    let workload = json!({"spec": {"replicas": 0, "selector": {"matchLabels": {"a": "b"}},
        "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}}});
    for (collection, object, change, expect) in [
        (
            "/apis/apps/v1/namespaces/default/deployments",
            workload.clone(),
            json!({"spec": {"minReadySeconds": 1}}),
            [1, 1, 2, 3],
        ),
        (
            "/apis/apps/v1/namespaces/default/replicasets",
            workload,
            json!({"spec": {"minReadySeconds": 1}}),
            [1, 1, 1, 2],
        ),
        (
            "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices",
            json!({"addressType": "IPv4", "endpoints": []}),
            json!({"ports": [{"port": 1}]}),
            [1, 2, 2, 3],
        ),
        ("/apis/scheduling.k8s.io/v1/priorityclasses", json!({"value": 5}), json!({"description": "x"}), [1, 1, 1, 1]),
        (
            "/apis/storage.k8s.io/v1/csidrivers",
            json!({"spec": {}}),
            json!({"spec": {"storageCapacity": true}}),
            [0, 0, 0, 1],
        ),
        ("/api/v1/namespaces/default/configmaps", json!({}), json!({"data": {"a": "b"}}), [0, 0, 0, 0]),
    ] {
        let mut object = object;
        object["metadata"] = json!({"name": "g"});
        let mut seen = vec![admin.send(Method::POST, collection, Some(&object)).await?.body];
        for patch in
            [json!({"metadata": {"labels": {"k": "v"}}}), json!({"metadata": {"annotations": {"k": "v"}}}), change]
        {
            let path = format!("{collection}/g");
            seen.push(admin.send_as(Method::PATCH, &path, MERGE, Some(&patch)).await?.body);
        }
        let counted: Vec<_> = seen.iter().map(|o| o["metadata"]["generation"].as_i64().unwrap_or_default()).collect();
        assert_eq!(counted, expect, "{collection}: created, labelled, annotated, changed");
    }
    Ok(())
}
