//! Servers that start at once on an empty etcd make what every cluster has once, and are in nobody's way.

use std::collections::BTreeMap;

use serde_json::Value;
use testkit::{Caller, Etcd};

use crate::fleet::{self, admins};

/// `FERRY_TEST_STARTS` makes it more.
const TIMES: usize = 3;

/// What a cluster begins with.
const KINDS: &[&str] = &[
    "/api/v1/namespaces",
    "/api/v1/services",
    "/api/v1/configmaps",
    "/apis/networking.k8s.io/v1/servicecidrs",
    "/apis/networking.k8s.io/v1/ipaddresses",
    "/apis/scheduling.k8s.io/v1/priorityclasses",
    "/apis/flowcontrol.apiserver.k8s.io/v1/flowschemas",
    "/apis/flowcontrol.apiserver.k8s.io/v1/prioritylevelconfigurations",
    "/apis/rbac.authorization.k8s.io/v1/clusterroles",
    "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings",
    "/apis/rbac.authorization.k8s.io/v1/roles",
    "/apis/rbac.authorization.k8s.io/v1/rolebindings",
];

/// Names and generations, by kind.
async fn made(caller: &Caller) -> anyhow::Result<BTreeMap<String, String>> {
    let mut made = BTreeMap::new();
    for path in KINDS {
        for object in caller.get(path).await?.body["items"].as_array().into_iter().flatten() {
            let meta = &object["metadata"];
            let text = |key: &str| meta[key].as_str().unwrap_or_default().to_owned();
            made.insert(format!("{path}/{}/{}", text("namespace"), text("name")), text("resourceVersion"));
        }
    }
    Ok(made)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn servers_that_start_at_once_make_one_cluster() -> anyhow::Result<()> {
    let times = std::env::var("FERRY_TEST_STARTS").ok().and_then(|text| text.parse().ok()).unwrap_or(TIMES);
    for _ in 0..times {
        let Some(etcd) = Etcd::start().await? else { return Ok(()) };
        let servers = fleet::start(etcd.url(), 3, &[]).await?;
        let callers = admins(&servers)?;
        let first = made(&callers[0]).await?;
        for name in ["namespaces//kube-system", "services/default/kubernetes", "clusterroles//cluster-admin"] {
            assert!(first.keys().any(|key| key.ends_with(name)), "{name} is missing: {first:?}");
        }
        let addresses = first.keys().filter(|key| key.contains("/ipaddresses/")).count();
        assert_eq!(addresses, 1, "one for the only Service: {first:?}");
        for caller in &callers[1..] {
            let other = made(caller).await?;
            assert_eq!(first.keys().collect::<Vec<_>>(), other.keys().collect::<Vec<_>>());
        }
        for server in &servers {
            let log = server.log();
            let trouble: Vec<&str> =
                log.lines().filter(|line| line.contains(" WARN ") || line.contains("ERROR")).collect();
            assert_eq!(trouble, Vec::<&str>::new());
        }
        let events = callers[0].get("/api/v1/events").await?.body;
        let repairs: Vec<&Value> = events["items"].as_array().into_iter().flatten().collect();
        assert_eq!(repairs, Vec::<&Value>::new(), "nothing had to be repaired");
    }
    Ok(())
}
