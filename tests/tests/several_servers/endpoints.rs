//! The endpoints of the `kubernetes` Service: the servers that serve, and no others.

use std::time::Duration;

use api::protobuf;
use api::stored::{self, Form};
use serde_json::{Value, json};
use testkit::{Caller, Etcd, Process};

use crate::fleet::{self, PATIENCE, admins, until};

const ENDPOINTS: &str = "/api/v1/namespaces/default/endpoints/kubernetes";
const SLICE: &str = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices/kubernetes";
/// A lease of fifteen seconds, and what etcd takes to see that it has ended; on a machine that has much else to do.
const LEASE: Duration = Duration::from_secs(15 + 6);

/// The addresses in the Endpoints; `None` while the slice has others, or there is neither.
async fn addresses(caller: &Caller) -> anyhow::Result<Option<String>> {
    let (endpoints, slice) = (caller.get(ENDPOINTS).await?, caller.get(SLICE).await?);
    let texts = |list: &Value, at: &str| {
        let list = list.as_array().into_iter().flatten();
        list.filter_map(|item| item.pointer(at)?.as_str().map(str::to_owned)).collect::<Vec<_>>().join(" ")
    };
    let (of_endpoints, of_slice) =
        (texts(&endpoints.body["subsets"][0]["addresses"], "/ip"), texts(&slice.body["endpoints"], "/addresses/0"));
    Ok((endpoints.code == 200 && slice.code == 200 && of_endpoints == of_slice).then_some(of_endpoints))
}

async fn become_(caller: &Caller, wanted: &str, within: Duration) -> anyhow::Result<Duration> {
    let what = format!("the endpoints are {wanted:?}");
    let same = || async { Ok(addresses(caller).await?.filter(|addresses| addresses == wanted)) };
    Ok(until(&what, within, same).await?.1)
}

fn key(ip: &str) -> String {
    format!("/registry/masterleases/{ip}")
}

/// The generation and the address in a lease, which is as upstream writes it.
fn lease(value: &[u8]) -> anyhow::Result<(i64, String)> {
    let envelope = protobuf::open(value)?;
    anyhow::ensure!((envelope.api_version, envelope.kind) == ("v1", "Endpoints"), "{envelope:?}");
    let lease = protobuf::decode(envelope.raw, api::schema::of_object("v1", "Endpoints").unwrap())?;
    let ip = lease["subsets"][0]["addresses"][0]["ip"].as_str().unwrap_or_default();
    Ok((lease["metadata"]["generation"].as_i64().unwrap_or_default(), ip.to_owned()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_is_an_endpoint_from_when_it_is_ready_until_it_ends() -> anyhow::Result<()> {
    let Some(etcd) = Etcd::start().await? else { return Ok(()) };
    let mut servers = fleet::start(etcd.url(), 3, &[]).await?;
    let callers = admins(&servers)?;
    let all = "192.0.2.1 192.0.2.2 192.0.2.3";
    for caller in &callers {
        become_(caller, all, PATIENCE).await?;
    }
    let slice = callers[0].get(SLICE).await?.body;
    assert_eq!((&slice["addressType"], &slice["ports"][0]["name"]), (&"IPv4".into(), &"https".into()));
    let endpoints = callers[0].get(ENDPOINTS).await?.body;
    assert_eq!(endpoints["metadata"]["labels"], json!({"endpointslice.kubernetes.io/skip-mirror": "true"}));
    let (generation, ip) = lease(&etcd.get(&key("192.0.2.1")).await?.expect("a lease"))?;
    assert!(generation > 0 && ip == "192.0.2.1", "{generation} {ip}");

    // One that is told to end is gone before it ends.
    servers[2].terminate().await?;
    assert_eq!(addresses(&callers[0]).await?.as_deref(), Some("192.0.2.1 192.0.2.2"));
    assert_eq!(etcd.get(&key("192.0.2.3")).await?, None);
    servers[2].start_again().await?;
    become_(&callers[1], all, PATIENCE).await?;

    // One that dies is gone with its lease.
    servers[1].kill()?;
    let took = become_(&callers[0], "192.0.2.1 192.0.2.3", LEASE).await?;
    println!("a server that was killed is gone from the endpoints after {took:?}");
    let now = lease(&etcd.get(&key("192.0.2.1")).await?.expect("a lease"))?.0;
    assert!(now > generation, "it is renewed: {generation}, {now}");

    // One of upstream's, on the same etcd.
    let theirs = json!({"kind": "Endpoints", "apiVersion": "v1", "metadata": {"generation": 1},
        "subsets": [{"addresses": [{"ip": "192.0.2.9"}]}]});
    let kind = machinery::meta::gvk(&theirs);
    let bytes = stored::write(&theirs, &kind, &kind, Form::Protobuf).expect("a built-in kind");
    etcd.put(&key("192.0.2.9"), bytes).await?;
    become_(&callers[0], "192.0.2.1 192.0.2.3 192.0.2.9", PATIENCE).await?;
    etcd.delete(&key("192.0.2.9")).await?;
    let took = become_(&callers[0], "192.0.2.1 192.0.2.3", PATIENCE).await?;
    println!("a server whose lease is removed is gone from the endpoints after {took:?}");

    // What somebody else makes of them does not last.
    let broken = json!({"metadata": {"name": "kubernetes"}, "subsets": []});
    callers[0].send(http::Method::PUT, ENDPOINTS, Some(&broken)).await?;
    callers[0].send(http::Method::DELETE, SLICE, None).await?;
    become_(&callers[0], "192.0.2.1 192.0.2.3", PATIENCE).await?;

    // The last one leaves nothing behind, and says nothing of trouble.
    servers[2].terminate().await?;
    assert_eq!(addresses(&callers[0]).await?.as_deref(), Some("192.0.2.1"));
    for server in &servers {
        let log = server.log();
        let bad = log.lines().find(|line| line.contains("kubernetes Service") && line.contains("WARN"));
        assert_eq!(bad, None, "{log}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_endpoints_are_of_the_servers_family() -> anyhow::Result<()> {
    let Some(etcd) = Etcd::start().await? else { return Ok(()) };
    let flags = ["--advertise-address=2001:db8::7", "--service-cluster-ip-range=fd00:10::/108"];
    let server = Process::start(Some(etcd.url()), &flags).await?;
    let admin = server.admin()?;
    become_(&admin, "2001:db8::7", PATIENCE).await?;
    assert_eq!(admin.get(SLICE).await?.body["addressType"], "IPv6");
    assert_eq!(lease(&etcd.get(&key("2001:db8::7")).await?.expect("a lease"))?.1, "2001:db8::7");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_number_of_servers_need_no_leases() -> anyhow::Result<()> {
    let Some(etcd) = Etcd::start().await? else { return Ok(()) };
    let flags = ["--endpoint-reconciler-type=master-count", "--apiserver-count=2"];
    let mut servers = fleet::start(etcd.url(), 2, &flags).await?;
    let callers = admins(&servers)?;
    become_(&callers[0], "192.0.2.1 192.0.2.2", PATIENCE).await?;
    servers[1].terminate().await?;
    become_(&callers[0], "192.0.2.1", PATIENCE).await?;
    assert_eq!(etcd.get(&key("192.0.2.1")).await?, None);

    // Somebody else's endpoints are left to them.
    let none = ["--endpoint-reconciler-type=none", "--advertise-address=192.0.2.5"];
    let other = Process::start(Some(etcd.url()), &none).await?;
    let admin = other.admin()?;
    crate::identity::shown(&admin).await?;
    assert_eq!(addresses(&admin).await?.as_deref(), Some("192.0.2.1"));
    Ok(())
}
