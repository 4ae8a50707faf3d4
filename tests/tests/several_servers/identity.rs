//! The Lease that says which servers there are.

use http::Method;
use serde_json::{Value, json};
use testkit::{Caller, Etcd, Process};

use crate::fleet::{PATIENCE, until};

const LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases";
const OF_SERVERS: &str = "?labelSelector=apiserver.kubernetes.io%2Fidentity%3Dkube-apiserver";

async fn leases(caller: &Caller) -> anyhow::Result<Vec<Value>> {
    Ok(caller.get(&format!("{LEASES}{OF_SERVERS}")).await?.body["items"].as_array().cloned().unwrap_or_default())
}

/// The Lease of the only host there is, once it is there.
pub async fn shown(caller: &Caller) -> anyhow::Result<Value> {
    let one = || async { Ok(leases(caller).await?.pop()) };
    Ok(until("the server has a Lease", PATIENCE, one).await?.0)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_has_a_lease_as_long_as_it_runs() -> anyhow::Result<()> {
    let Some(etcd) = Etcd::start().await? else { return Ok(()) };
    let stays = Process::start(Some(etcd.url()), &["--feature-gates=APIServerIdentity=false"]).await?;
    let admin = stays.admin()?;
    // Two of servers that are gone, one of one that is somewhere else, and one of another kind of server.
    let lease = |name: &str, identity: &str, renewed: Value| {
        json!({"metadata": {"name": name, "labels": {"apiserver.kubernetes.io/identity": identity}},
            "spec": {"leaseDurationSeconds": 3600, "holderIdentity": name, "renewTime": renewed}})
    };
    let (long_ago, far_off) = (json!("2026-01-01T00:00:00.000000Z"), json!("2126-01-01T00:00:00.000000Z"));
    for lease in [
        lease("apiserver-gone", "kube-apiserver", long_ago.clone()),
        lease("apiserver-silent", "kube-apiserver", Value::Null),
        lease("apiserver-elsewhere", "kube-apiserver", far_off),
        lease("apiserver-extension", "sample-apiserver", long_ago),
    ] {
        assert_eq!(admin.send(Method::POST, LEASES, Some(&lease)).await?.code, 201, "{lease}");
    }
    let mut server = Process::start(Some(etcd.url()), &["--advertise-address=192.0.2.2"]).await?;
    let of_server = |lease: &Value| {
        let name = lease["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        (name.len() == "apiserver-".len() + 26).then_some(name)
    };
    let own = || async {
        let leases = leases(&admin).await?;
        let left = leases.len() == 2;
        Ok(leases.into_iter().find(|lease| left && of_server(lease).is_some()))
    };
    let (own, _) = until("those of servers that are gone are removed", PATIENCE, own).await?;
    let name = of_server(&own).unwrap();
    let holder = own["spec"]["holderIdentity"].as_str().unwrap_or_default();
    assert!(holder.starts_with(&format!("{name}_")), "{own}");
    assert_eq!(own["spec"]["leaseDurationSeconds"], 3600);
    let hostname = std::fs::read_to_string("/proc/sys/kernel/hostname")?;
    assert_eq!(own["metadata"]["labels"]["kubernetes.io/hostname"], hostname.trim());
    assert_eq!(admin.get(&format!("{LEASES}/apiserver-elsewhere")).await?.code, 200);
    assert_eq!(admin.get(&format!("{LEASES}/apiserver-extension")).await?.code, 200);
    let renewed = || async {
        let lease = admin.get(&format!("{LEASES}/{name}")).await?.body;
        Ok((lease["spec"]["renewTime"] != own["spec"]["renewTime"]).then_some(lease))
    };
    let (lease, _) = until("it is renewed", PATIENCE, renewed).await?;
    assert_eq!(lease["metadata"]["uid"], own["metadata"]["uid"]);

    server.terminate().await?;
    assert_eq!(admin.get(&format!("{LEASES}/{name}")).await?.code, 404);
    Ok(())
}
