//! Cluster IPs and node ports: no two Services have one, whichever servers they are made through, and none is lost.

use std::collections::BTreeSet;

use http::Method;
use serde_json::{Value, json};
use testkit::{Caller, Etcd};

use crate::fleet::{self, admins};

const SERVICES: &str = "/api/v1/namespaces/default/services";
const ADDRESSES: &str = "/apis/networking.k8s.io/v1/ipaddresses";
/// 126 addresses, of which the `kubernetes` Service has one; and so many ports.
const FLAGS: &[&str] = &["--service-cluster-ip-range=10.0.0.0/25", "--service-node-port-range=30000-30099"];
const PORTS: usize = 100;

async fn items(caller: &Caller, path: &str) -> anyhow::Result<Vec<Value>> {
    Ok(caller.get(path).await?.body["items"].as_array().cloned().unwrap_or_default())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_address_and_no_port_is_given_twice_or_lost() -> anyhow::Result<()> {
    let Some(etcd) = Etcd::start().await? else { return Ok(()) };
    let servers = fleet::start(etcd.url(), 3, FLAGS).await?;
    let callers = admins(&servers)?;
    for round in 0..2 {
        let mut writers = tokio::task::JoinSet::new();
        for (server, caller) in callers.iter().cloned().enumerate() {
            writers.spawn(async move {
                let (mut made, mut refused) = (0, 0);
                for number in 0..40 {
                    // Now and then one asks by number for what others may take at the same time.
                    let wanted = (number % 10 == 0).then_some(30_000 + number);
                    let mut port = json!({"port": 80});
                    if let Some(wanted) = wanted {
                        port["nodePort"] = wanted.into();
                    }
                    let service = json!({"metadata": {"name": format!("s-{round}-{server}-{number}")}, "spec": {"type": "NodePort", "ports": [port]}});
                    let answer = caller.send(Method::POST, SERVICES, Some(&service)).await?;
                    match answer.code {
                        201 => made += 1,
                        422 if wanted.is_some() => refused += 1,
                        // All ports are taken.
                        500 => refused += 1,
                        _ => anyhow::bail!("{}", answer.body),
                    }
                }
                Ok((made, refused))
            });
        }
        let (mut made, mut refused) = (0, 0);
        while let Some(done) = writers.join_next().await {
            let (more, fewer) = done??;
            (made, refused) = (made + more, refused + fewer);
        }
        println!("{made} Services were made, {refused} refused");
        let services = items(&callers[round], SERVICES).await?;
        let of = |at: &str| services.iter().filter_map(|s| s.pointer(at)).map(Value::to_string).collect::<Vec<_>>();
        let ports = of("/spec/ports/0/nodePort");
        let ips: BTreeSet<String> = of("/spec/clusterIP").into_iter().collect();
        assert_eq!(ports.iter().collect::<BTreeSet<_>>().len(), ports.len(), "a port was given twice: {ports:?}");
        assert_eq!((ports.len(), ips.len()), (made, made + 1), "an address was given twice: {ips:?}");
        assert_eq!(made, PORTS, "all ports are taken when so many want one");
        let taken: BTreeSet<String> =
            items(&callers[2], ADDRESSES).await?.iter().map(|a| a["metadata"]["name"].to_string()).collect();
        assert_eq!(taken, ips);
        let mut deleting = tokio::task::JoinSet::new();
        for (number, service) in services.into_iter().enumerate() {
            let name = service["metadata"]["name"].as_str().unwrap().to_owned();
            if name != "kubernetes" {
                let caller = callers[number % 3].clone();
                deleting.spawn(async move { caller.send(Method::DELETE, &format!("{SERVICES}/{name}"), None).await });
            }
        }
        while let Some(done) = deleting.join_next().await {
            assert_eq!(done??.code, 200);
        }
        assert_eq!(items(&callers[1], ADDRESSES).await?.len(), 1, "all others were given back");
    }
    Ok(())
}
