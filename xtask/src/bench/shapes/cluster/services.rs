//! The proxy alone: Services are there before it starts, and one more comes at a time. What is counted is what a client sees:
//! when a connection to the address of a Service is answered.
//!
//! It runs in a network namespace of the bench's own (`bench::network`): the rules of this machine are not touched.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use anyhow::bail;
use bytes::Bytes;
use hyper::Method;
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::{NAMESPACE, Sizes, body, collection};
use crate::bench::cluster::{Cluster, PATIENCE};
use crate::bench::connection::JSON;
use crate::bench::launch::Launcher;
use crate::bench::network;
use crate::bench::nodes::{Conduct, Setup};
use crate::bench::report::{Report, bytes, seconds};

/// Where all endpoints listen.
const PORT: u16 = 8_080;
/// Services of which all must answer, among the others.
const LOOKED_AT: usize = 50;
/// How long a connection that nobody leads anywhere is waited for.
const TRY: Duration = Duration::from_millis(2);
/// How often one more comes.
const MORE: usize = 20;

/// The address of a Service.
fn address(number: usize) -> Ipv4Addr {
    let [.., high, low] = ((number + 256) as u32).to_be_bytes();
    Ipv4Addr::new(10, 96, high, low)
}

fn name(number: usize) -> String {
    format!("service-{number:05}")
}

fn service(number: usize) -> Bytes {
    body(&json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": name(number), "namespace": NAMESPACE},
        "spec": {"clusterIP": address(number).to_string(), "ports": [{"port": 80, "targetPort": PORT}]},
    }))
}

fn slice(number: usize) -> Bytes {
    let endpoint = |ip: &Ipv4Addr| json!({"addresses": [ip.to_string()], "conditions": {"ready": true}});
    body(&json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {"name": name(number), "namespace": NAMESPACE, "labels": {"kubernetes.io/service-name": name(number)}},
        "ports": [{"name": "", "port": PORT, "protocol": "TCP"}],
        "endpoints": network::ENDPOINTS.iter().map(endpoint).collect::<Vec<_>>(),
    }))
}

/// Waits until connections to a Service are answered.
async fn answers(number: usize) -> anyhow::Result<Instant> {
    let (to, begin) = (SocketAddr::from((address(number), 80)), Instant::now());
    while begin.elapsed() < PATIENCE {
        match tokio::time::timeout(TRY, TcpStream::connect(to)).await {
            Ok(Ok(_)) => return Ok(Instant::now()),
            Ok(Err(_)) => tokio::time::sleep(Duration::from_millis(1)).await,
            Err(_) => {}
        }
    }
    bail!("{to} does not answer in {PATIENCE:?}")
}

/// All of them, and then one more, again and again.
pub(super) async fn services(launcher: &Launcher, sizes: &Sizes, report: &mut Report) -> anyhow::Result<()> {
    let count = sizes.services;
    network::clean()?;
    let mut endpoints = JoinSet::new();
    for ip in network::ENDPOINTS {
        let listener = TcpListener::bind((ip, PORT)).await?;
        endpoints.spawn(async move { while listener.accept().await.is_ok() {} });
    }
    let setup = Setup { count: 1, conduct: Conduct::Leave, kubelets: false };
    let mut cluster = Cluster::start(launcher, setup, NAMESPACE).await?;
    let services = format!("/api/v1/namespaces/{NAMESPACE}/services");
    let slices = collection("discovery.k8s.io/v1", "endpointslices");
    cluster.create(&services, count, service).await?;
    cluster.create(&slices, count, slice).await?;
    cluster.settle().await?;
    let costs = cluster.begin();
    cluster.proxy()?;
    let mut last = costs.begin;
    for sample in 0..LOOKED_AT.min(count) {
        last = last.max(answers(sample * (count - 1) / LOOKED_AT.min(count)).await?);
    }
    last = last.max(answers(count - 1).await?);
    let mut values = vec![seconds("all answer", last - costs.begin)];
    values.extend(cluster.costs(&costs));
    cluster.settle().await?;
    let (mut times, mut connection) = (Vec::new(), cluster.access.http1().await?);
    for more in 0..MORE {
        let number = count + more;
        connection.call(Method::POST, &services, Some((JSON, service(number)))).await?;
        let begin = Instant::now();
        connection.call(Method::POST, &slices, Some((JSON, slice(number)))).await?;
        times.push(answers(number).await? - begin);
    }
    times.sort_unstable();
    values.extend([seconds("one more", times[MORE / 2]), seconds("slowest one more", times[MORE - 1])]);
    values.push(bytes("proxy's memory with all", cluster.process("proxy")?.resident()));
    endpoints.shutdown().await;
    report.line(&launcher.name, &format!("{count} Services of {} endpoints", network::ENDPOINTS.len()), values);
    Ok(())
}
