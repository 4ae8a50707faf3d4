//! What every answer has, whatever it answers (compared with a kube-apiserver v1.36.2, path by path).

use http::Method;
use serde_json::{Value, json};
use testkit::Cluster;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_answer_tells_the_requests_id_and_is_for_no_cache() -> anyhow::Result<()> {
    let cluster = Cluster::start().await?;
    let mut ids = std::collections::BTreeSet::new();
    for (user, groups) in [("admin", &["system:masters"][..]), ("jane", &["system:authenticated"])] {
        let caller = cluster.caller(user, groups);
        for path in [
            "/api/v1/namespaces/default",
            "/api/v1/namespaces/nope",
            "/api/v1/pods",
            "/api/v1/pods?watch=1&timeoutSeconds=1",
            "/api",
            "/apis/apps/v1",
            "/openapi/v2",
            "/livez",
            "/nope",
        ] {
            let answer = caller.raw(Method::GET, path, &[], Vec::new()).await?;
            assert_eq!(answer.header("cache-control"), "no-cache, private", "{user} {path}");
            let id = answer.header("audit-id").to_owned();
            assert_eq!(id.len(), 36, "{user} {path}: {id}");
            assert!(ids.insert(id), "{user} {path}: an id of another request");
            let answer = caller.raw(Method::GET, path, &[("Audit-Id", "my own")], Vec::new()).await?;
            assert_eq!(answer.header("audit-id"), "my own", "{user} {path}");
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_may_only_get_a_stream_may_not_open_one() -> anyhow::Result<()> {
    let cluster = Cluster::start().await?;
    let admin = cluster.admin();
    let post = async |path: &str, body: Value| {
        let answer = admin.send(Method::POST, path, Some(&body)).await?;
        anyhow::ensure!(answer.code == 201, "{path}: {answer:?}");
        anyhow::Ok(())
    };
    post("/api/v1/namespaces/default/serviceaccounts", json!({"metadata": {"name": "default"}})).await?;
    let pod = json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "c"}]}});
    post("/api/v1/namespaces/default/pods", pod).await?;
    let roles = "/apis/rbac.authorization.k8s.io/v1/clusterroles";
    let resources = ["pods/exec", "pods/attach", "pods/portforward"];
    for (name, verbs) in [("reader", &["get"][..]), ("opener", &["get", "create"])] {
        let rules = json!([{"apiGroups": [""], "resources": resources, "verbs": verbs}]);
        post(roles, json!({"metadata": {"name": name}, "rules": rules})).await?;
        let bound = json!({"metadata": {"name": name}, "roleRef": {"kind": "ClusterRole", "name": name,
            "apiGroup": "rbac.authorization.k8s.io"}, "subjects": [{"kind": "User", "name": name}]});
        post(&roles.replace("roles", "rolebindings"), bound).await?;
    }
    for path in ["exec?command=ls", "attach", "portforward?ports=80"] {
        let path = format!("/api/v1/namespaces/default/pods/p/{path}");
        let answer = cluster.caller("reader", &[]).get(&path).await?;
        let message = answer.body["message"].as_str().unwrap_or_default();
        assert_eq!((answer.code, message.trim_end()), (403, "pods \"p\" is forbidden:"), "{path}");
        // The pod has no node yet: who may open a stream gets as far as that.
        let answer = cluster.caller("opener", &[]).get(&path).await?;
        assert_eq!(
            (answer.code, &answer.body["message"]),
            (400, &json!("pod p does not have a host assigned")),
            "{path}"
        );
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_of_a_pod_without_a_node_has_no_content() -> anyhow::Result<()> {
    let cluster = Cluster::start().await?;
    let admin = cluster.admin();
    let account = json!({"metadata": {"name": "default"}});
    admin.send(Method::POST, "/api/v1/namespaces/default/serviceaccounts", Some(&account)).await?;
    let pod = json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    let made = admin.send(Method::POST, "/api/v1/namespaces/default/pods", Some(&pod)).await?;
    assert_eq!(made.code, 201, "{}", made.body);
    let log = "/api/v1/namespaces/default/pods/p/log";
    for query in ["", "?follow=true&container=c"] {
        let answer = admin.raw(Method::GET, &format!("{log}{query}"), &[], Vec::new()).await?;
        assert_eq!((answer.code, answer.header("content-type"), answer.bytes.len()), (204, "", 0), "{query}");
    }
    assert_eq!(admin.get(&format!("{log}?container=other")).await?.code, 400);
    Ok(())
}
