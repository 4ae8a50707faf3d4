//! Clients that hang up in the middle of a write: what the write took is a Service's in the end, or nobody's.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use http::{Method, StatusCode};
use kinds::core::service::node_ports_taken;
use rand::RngExt;
use serde_json::{Value, json};

use super::Client;

const SERVICES: &str = "/api/v1/namespaces/default/services";
const ADDRESSES: &str = "/apis/networking.k8s.io/v1/ipaddresses";
/// Creates, and the longest that a client waits for the answer of one.
const CREATES: usize = 2_000;
const PATIENCE: Duration = Duration::from_millis(2);
/// How long the last writes may take to end.
const END: Duration = Duration::from_secs(60);

async fn list(client: &mut Client, path: &str) -> Vec<Value> {
    let (code, answer) = client.json(Method::GET, path, Value::Null).await;
    assert_eq!(code, StatusCode::OK, "{answer}");
    answer["items"].as_array().cloned().unwrap_or_default()
}

/// The addresses and node ports that Services hold, and those that are taken.
async fn held_and_taken(client: &mut Client) -> [(BTreeSet<String>, BTreeSet<u16>); 2] {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let storage = client.running.server.registry.storage().clone();
    let ports = node_ports_taken(&*storage).await.expect("read").into_iter().collect();
    let taken = list(client, ADDRESSES).await.iter().map(|a| text(&a["metadata"]["name"])).collect();
    let services = list(client, SERVICES).await;
    let held = services.iter().map(|s| text(&s["spec"]["clusterIP"])).collect();
    let port = |s: &Value| s["spec"]["ports"][0]["nodePort"].as_u64().and_then(|p| u16::try_from(p).ok());
    [(held, services.iter().filter_map(port).collect()), (taken, ports)]
}

#[tokio::test]
async fn clients_that_hang_up_leave_no_address_and_no_node_port_behind() {
    let mut client = Client::new().await;
    let ranges = json!({ "metadata": { "name": "kubernetes" }, "spec": { "cidrs": ["10.96.0.0/16"] } });
    let (code, _) = client.json(Method::POST, "/apis/networking.k8s.io/v1/servicecidrs", ranges).await;
    assert_eq!(code, StatusCode::CREATED);
    for n in 0..CREATES {
        let mut hasty = client.another().await;
        let service = json!({ "metadata": { "name": format!("s{n}") },
            "spec": { "type": "NodePort", "ports": [{ "port": 80 }] } });
        let patience = PATIENCE.mul_f64(rand::rng().random());
        let _ = tokio::time::timeout(patience, hasty.json(Method::POST, SERVICES, service)).await;
    }
    let until = Instant::now() + END;
    loop {
        let [held, taken] = held_and_taken(&mut client).await;
        if held == taken {
            assert!(!held.0.is_empty(), "some creates end before their clients hang up");
            assert!(held.0.len() < CREATES, "some clients hang up before their creates begin");
            return;
        }
        assert!(
            Instant::now() < until,
            "held {} and {}, taken {} and {}",
            held.0.len(),
            held.1.len(),
            taken.0.len(),
            taken.1.len()
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn a_repair_gives_back_what_a_crash_left_and_takes_what_services_hold() {
    let mut client = Client::new().await;
    let ranges = json!({ "metadata": { "name": "kubernetes" }, "spec": { "cidrs": ["10.96.0.0/16"] } });
    client.json(Method::POST, "/apis/networking.k8s.io/v1/servicecidrs", ranges).await;
    let service = json!({ "metadata": { "name": "a" }, "spec": { "type": "NodePort", "ports": [{ "port": 80 }] } });
    let (code, made) = client.json(Method::POST, SERVICES, service).await;
    assert_eq!(code, StatusCode::CREATED, "{made}");
    let ip = made["spec"]["clusterIP"].as_str().expect("an address").to_owned();
    let (code, _) = client.json(Method::DELETE, &format!("{ADDRESSES}/{ip}"), Value::Null).await;
    assert_eq!(code, StatusCode::OK);
    let mut repair = kinds::core::service::Repair::default();
    repair.run(&client.running.server.registry).await.expect("repaired");
    let [held, taken] = held_and_taken(&mut client).await;
    assert_eq!(held, taken);
    let events = list(&mut client, "/api/v1/namespaces/default/events").await;
    let told = events.iter().find(|e| e["reason"] == "ClusterIPNotAllocated").expect("it is told");
    assert_eq!(told["message"], format!("Cluster IP [IPv4]: {ip} is not allocated; repairing"));
    assert_eq!((&told["involvedObject"]["name"], &told["type"]), (&json!("a"), &json!("Warning")));
}
