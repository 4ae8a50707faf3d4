//! What is done through one server counts on the others: at once where the store decides, else as soon as their caches know.

use std::time::Duration;

use http::Method;
use serde_json::{Value, json};
use testkit::{Caller, Etcd};

use crate::fleet::{self, admins, until};

/// What another server may take to know of a change: it comes with the watch, so milliseconds; on a machine that has much to do.
const SOON: Duration = Duration::from_secs(5);
const MAPS: &str = "/api/v1/namespaces/default/configmaps";

async fn created(caller: &Caller, path: &str, body: &Value) -> anyhow::Result<Value> {
    let answer = caller.send(Method::POST, path, Some(body)).await?;
    anyhow::ensure!(answer.code == 201, "{path}: {} {}", answer.code, answer.body);
    Ok(answer.body)
}

async fn code(caller: &Caller, path: &str) -> anyhow::Result<u16> {
    Ok(caller.get(path).await?.code)
}

async fn soon(caller: &Caller, path: &str, wanted: u16) -> anyhow::Result<Duration> {
    let ask = || async { Ok((code(caller, path).await? == wanted).then_some(())) };
    Ok(until(&format!("{path} answers {wanted}"), SOON, ask).await?.1)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_server_has_written_the_others_read() -> anyhow::Result<()> {
    let Some(etcd) = Etcd::start().await? else { return Ok(()) };
    let servers = fleet::start(etcd.url(), 3, &[]).await?;
    let [a, b, c] = &admins(&servers)?[..] else { unreachable!() };
    for number in 0..40 {
        let map = created(a, MAPS, &json!({"metadata": {"name": format!("m{number}"), "labels": {"n": "x"}}})).await?;
        let (path, revision) = (format!("{MAPS}/m{number}"), map["metadata"]["resourceVersion"].as_str().unwrap());
        // Not before: a watch of the other server that begins at this one's revision.
        let mut events = c.open(&format!("{MAPS}?watch=true&resourceVersion={revision}")).await?;
        assert_eq!(b.get(&path).await?.body, map);
        assert_eq!(c.get(&format!("{path}?resourceVersion={revision}")).await?.body, map);
        let list = b.get(&format!("{MAPS}?labelSelector=n%3Dx&resourceVersion={revision}")).await?.body;
        assert_eq!(list["items"].as_array().unwrap().len(), number + 1, "{list}");
        let list = c.get(&format!("{MAPS}?labelSelector=n%3Dx")).await?.body;
        assert_eq!(list["items"].as_array().unwrap().len(), number + 1, "{list}");
        // An update by the one that did not write it, on what it has just been told.
        let mut changed = map.clone();
        changed["data"] = json!({"by": "b"});
        let changed = b.send(Method::PUT, &path, Some(&changed)).await?;
        assert_eq!(changed.code, 200, "{}", changed.body);
        let event = events.next().await.unwrap();
        assert_eq!((&event["type"], &event["object"]), (&"MODIFIED".into(), &changed.body));
        // One on an older state is refused by a server that may not know of the newer one yet.
        let stale = c.send(Method::PUT, &path, Some(&map)).await?;
        assert_eq!(stale.code, 409, "{}", stale.body);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn namespaces_rights_and_definitions_count_everywhere() -> anyhow::Result<()> {
    let Some(etcd) = Etcd::start().await? else { return Ok(()) };
    let servers = fleet::start(etcd.url(), 3, &[]).await?;
    let [a, b, c] = &admins(&servers)?[..] else { unreachable!() };
    for number in 0..20 {
        created(a, "/api/v1/namespaces", &json!({"metadata": {"name": format!("n{number}")}})).await?;
        // At once: a namespace that a server does not know is asked of the store.
        let maps = format!("/api/v1/namespaces/n{number}/configmaps");
        created(b, &maps, &json!({"metadata": {"name": "a"}})).await?;
    }
    let jane = servers[1].caller("jane")?;
    let bindings = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings";
    let binding = json!({"metadata": {"name": "jane"}, "subjects": [{"kind": "User", "name": "jane", "apiGroup": "rbac.authorization.k8s.io"}],
        "roleRef": {"kind": "ClusterRole", "name": "view", "apiGroup": "rbac.authorization.k8s.io"}});
    let mut longest = Duration::ZERO;
    assert_eq!(code(&jane, MAPS).await?, 403);
    for _ in 0..10 {
        created(a, bindings, &binding).await?;
        longest = longest.max(soon(&jane, MAPS, 200).await?);
        a.send(Method::DELETE, &format!("{bindings}/jane"), None).await?;
        longest = longest.max(soon(&jane, MAPS, 403).await?);
    }
    println!("a right counts on another server after {longest:?} at most");

    let definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    let definition = json!({"metadata": {"name": "xs.example.org"}, "spec": {"group": "example.org", "scope": "Cluster",
        "names": {"plural": "xs", "singular": "x", "kind": "X", "listKind": "XList"},
        "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {"type": "object",
            "properties": {"n": {"type": "integer"}}}}}]}});
    let xs = "/apis/example.org/v1/xs";
    let mut longest = Duration::ZERO;
    for round in 0..5 {
        created(a, definitions, &definition).await?;
        for caller in [a, b, c] {
            longest = longest.max(soon(caller, xs, 200).await?);
        }
        let name = format!("x{round}");
        created(b, xs, &json!({"apiVersion": "example.org/v1", "kind": "X", "metadata": {"name": name}, "n": 1}))
            .await?;
        let read = c.get(&format!("{xs}/{name}")).await?.body;
        assert_eq!(read["n"], 1, "{read}");
        // Its objects go with it, whoever takes it down.
        c.send(Method::DELETE, &format!("{definitions}/xs.example.org"), None).await?;
        for caller in [a, b, c] {
            longest = longest.max(soon(caller, xs, 404).await?);
            soon(caller, &format!("{definitions}/xs.example.org"), 404).await?;
        }
    }
    println!("a definition counts on another server after {longest:?} at most");
    assert_eq!(etcd.all("/registry/example.org/").await?, Vec::new());
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_quota_is_shared_and_objects_go_once() -> anyhow::Result<()> {
    const HARD: usize = 20;
    let Some(etcd) = Etcd::start().await? else { return Ok(()) };
    let servers = fleet::start(etcd.url(), 3, &[]).await?;
    let callers = admins(&servers)?;
    let quotas = "/api/v1/namespaces/default/resourcequotas";
    let hard = json!({"count/secrets": HARD.to_string()});
    created(&callers[0], quotas, &json!({"metadata": {"name": "q"}, "spec": {"hard": hard}})).await?;
    let status = json!({"status": {"hard": hard, "used": {"count/secrets": "0"}}});
    let merge = "application/merge-patch+json";
    let counted = callers[0].send_as(Method::PATCH, &format!("{quotas}/q/status"), merge, Some(&status)).await?;
    assert_eq!(counted.code, 200, "{}", counted.body);
    let secrets = "/api/v1/namespaces/default/secrets";
    let mut writers = tokio::task::JoinSet::new();
    for (server, caller) in callers.iter().cloned().enumerate() {
        for writer in 0..3 {
            let caller = caller.clone();
            writers.spawn(async move {
                let mut made = 0;
                for number in 0..5 {
                    let secret = json!({"metadata": {"name": format!("s-{server}-{writer}-{number}"), "finalizers": ["example.org/held"]}});
                    let answer = caller.send(Method::POST, secrets, Some(&secret)).await?;
                    anyhow::ensure!(matches!(answer.code, 201 | 403), "{}", answer.body);
                    made += usize::from(answer.code == 201);
                }
                Ok(made)
            });
        }
    }
    let mut made = 0;
    while let Some(done) = writers.join_next().await {
        made += done??;
    }
    let there = callers[1].get(secrets).await?.body["items"].as_array().unwrap().len();
    let used = callers[2].get(&format!("{quotas}/q")).await?.body["status"]["used"].clone();
    assert_eq!((made, there, &used), (HARD, HARD, &json!({"count/secrets": HARD.to_string()})));

    // All three delete all of it: each object is told to go, stays for its finalizer, and goes with that.
    let mut deleting = tokio::task::JoinSet::new();
    for caller in callers.clone() {
        deleting.spawn(async move { caller.send(Method::DELETE, secrets, None).await });
    }
    while let Some(done) = deleting.join_next().await {
        let answer = done??;
        assert_eq!(answer.code, 200, "{}", answer.body);
    }
    let held = callers[0].get(secrets).await?.body["items"].as_array().unwrap().clone();
    assert_eq!(held.len(), HARD);
    let mut events = callers[2].open(&format!("{secrets}?watch=true")).await?;
    for (number, secret) in held.iter().enumerate() {
        assert!(secret["metadata"]["deletionTimestamp"].is_string(), "{secret}");
        let path = format!("{secrets}/{}", secret["metadata"]["name"].as_str().unwrap());
        let free = json!({"metadata": {"finalizers": null}});
        let freed = callers[number % 3].send_as(Method::PATCH, &path, merge, Some(&free)).await?;
        assert_eq!(freed.code, 200, "{}", freed.body);
        assert_eq!(code(&callers[(number + 1) % 3], &path).await?, 404);
    }
    let mut gone = 0;
    while gone < HARD {
        let event = events.next().await.unwrap();
        gone += usize::from(event["type"] == "DELETED");
    }
    assert_eq!(etcd.all("/registry/secrets/default/").await?, Vec::new());
    Ok(())
}
