//! What nodes and pods use, with a kubelet that says so: objects, Tables, discovery, OpenAPI.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use endpoints::connect::Nodes;
use http::{Method, StatusCode};
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use writes::admission::Chain;

use super::Client;

const API: &str = "/apis/metrics.k8s.io/v1beta1";

/// A kubelet on loopback whose figures grow with each question, by half a processor's time; it counts its connections.
async fn kubelet() -> (u16, Arc<AtomicU32>) {
    let resolver = component::tls::resolver(None, "node").expect("a pair");
    let server = component::tls::server_config(resolver, None).expect("a server");
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(server));
    let connections = Arc::new(AtomicU32::new(0));
    let counted = connections.clone();
    let asked = Arc::new(AtomicU32::new(0));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            counted.fetch_add(1, Ordering::Relaxed);
            let (acceptor, asked) = (acceptor.clone(), asked.clone());
            tokio::spawn(async move {
                let mut stream = acceptor.accept(stream).await.expect("TLS");
                let mut head = Vec::new();
                while let Ok(byte) = stream.read_u8().await {
                    head.push(byte);
                    if head.ends_with(b"\r\n\r\n") {
                        assert!(head.starts_with(b"GET /metrics/resource "), "{}", String::from_utf8_lossy(&head));
                        let body = figures(i64::from(asked.fetch_add(1, Ordering::Relaxed)));
                        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
                        stream.write_all(answer.as_bytes()).await.expect("answers");
                        head.clear();
                    }
                }
            });
        }
    });
    (port, connections)
}

/// The measurements are ten seconds apart, whenever they are asked for.
fn figures(turn: i64) -> String {
    let at = 1_700_000_000_000 + turn * 10_000;
    let cpu = 100 + turn * 5;
    let labels = |container: &str| format!("{{container=\"{container}\",namespace=\"default\",pod=\"p\"}}");
    let mut text = format!(
        "# HELP node_cpu_usage_seconds_total [STABLE] Cumulative cpu time consumed by the node in core-seconds\n\
         # TYPE node_cpu_usage_seconds_total counter\n\
         node_cpu_usage_seconds_total {cpu} {at}\nnode_memory_working_set_bytes 1.073741824e+09 {at}\n",
    );
    for (container, memory) in [("c", 1048576), ("d", 1000)] {
        let labels = labels(container);
        text += &format!("container_cpu_usage_seconds_total{labels} {} {at}\n", f64::from(cpu as i32) / 10.0);
        text += &format!("container_memory_working_set_bytes{labels} {memory} {at}\n");
        text += &format!("container_start_time_seconds{labels} 1.6e+09\n");
    }
    text
}

async fn server(port: u16) -> Client {
    let nodes = Nodes { address_types: vec!["InternalIP".into()], ..super::no_nodes() };
    let mut client = Client::with(Chain::default(), nodes).await;
    for (name, labels) in [("n", json!({"zone": "a"})), ("silent", json!({}))] {
        let node = json!({"metadata": {"name": name, "labels": labels}});
        let (code, mut node) = client.json(Method::POST, "/api/v1/nodes", node).await;
        assert_eq!(code, StatusCode::CREATED, "{node}");
        // The other's port is closed.
        let port = if name == "n" { port } else { 1 };
        node["status"] = json!({
            "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": port}},
        });
        let (code, node) = client.json(Method::PUT, &format!("/api/v1/nodes/{name}/status"), node).await;
        assert_eq!(code, StatusCode::OK, "{node}");
    }
    for name in ["p", "q"] {
        let pod = json!({"metadata": {"name": name, "labels": {"app": "web"}},
            "spec": {"nodeName": "n", "containers": [{"name": "c", "image": "c"}, {"name": "d", "image": "c"}]}});
        let (code, pod) = client.json(Method::POST, "/api/v1/namespaces/default/pods", pod).await;
        assert_eq!(code, StatusCode::CREATED, "{pod}");
    }
    client
}

async fn get(client: &mut Client, path: &str) -> (StatusCode, Value) {
    client.send(Method::GET, path, "", Value::Null).await
}

#[tokio::test]
async fn figures_are_of_the_last_two_measurements() {
    let (port, connections) = kubelet().await;
    let mut client = server(port).await;
    let (code, mut list) = get(&mut client, &format!("{API}/nodes")).await;
    assert_eq!(code, StatusCode::OK, "{list}");
    assert_eq!((&list["kind"], &list["apiVersion"]), (&json!("NodeMetricsList"), &json!("metrics.k8s.io/v1beta1")));
    let mut node = list["items"][0].take();
    assert_eq!(list["items"].as_array().map(Vec::len), Some(1), "of the other nothing is known");
    let made: Timestamp =
        node["metadata"]["creationTimestamp"].take().as_str().expect("a time").parse().expect("a time");
    assert!(Timestamp::now().duration_since(made).as_secs() < 60);
    assert_eq!(
        node,
        json!({
            "metadata": {"name": "n", "creationTimestamp": null, "labels": {"zone": "a"}},
            "timestamp": "2023-11-14T22:13:30Z", "window": "10s", "usage": {"cpu": "500m", "memory": "1Gi"},
        })
    );
    assert_eq!(connections.load(Ordering::Relaxed), 1, "it is kept");

    let (code, pod) = get(&mut client, &format!("{API}/namespaces/default/pods/p")).await;
    assert_eq!(
        (code, &pod["kind"], &pod["metadata"]["labels"]),
        (StatusCode::OK, &json!("PodMetrics"), &json!({"app": "web"}))
    );
    let container = |name: &str, memory: &str| json!({"name": name, "usage": {"cpu": "50m", "memory": memory}});
    assert_eq!(pod["containers"], json!([container("c", "1Mi"), container("d", "1k")]));
    for (path, code, names) in [
        ("pods", 200, &["p"][..]),
        ("namespaces/default/pods?labelSelector=app%3Dweb", 200, &["p"][..]),
        ("namespaces/default/pods?labelSelector=app%3Ddb", 200, &[][..]),
        ("namespaces/default/pods?fieldSelector=metadata.name%3Dp", 200, &["p"][..]),
        ("namespaces/other/pods", 200, &[][..]),
        ("nodes?labelSelector=zone%3Da", 200, &["n"][..]),
        ("nodes?labelSelector=zone%3Db", 200, &[][..]),
        ("nodes?labelSelector=zone+in", 400, &[][..]),
    ] {
        let (got, list) = get(&mut client, &format!("{API}/{path}")).await;
        let found = list["items"].as_array().cloned().unwrap_or_default();
        let found: Vec<&str> = found.iter().filter_map(|item| item["metadata"]["name"].as_str()).collect();
        assert_eq!((got.as_u16(), found.as_slice()), (code, names), "{path}");
    }
    for (path, message) in [
        ("nodes/none", "node \"none\" not found"),
        ("nodes/silent", "nodes.metrics.k8s.io \"silent\" not found"),
        ("namespaces/default/pods/none", "pods \"none\" not found"),
        ("namespaces/default/pods/q", "pods.metrics.k8s.io \"default/q\" not found"),
        ("things", "the server could not find the requested resource"),
    ] {
        let (code, status) = get(&mut client, &format!("{API}/{path}")).await;
        assert_eq!((code, &status["message"]), (StatusCode::NOT_FOUND, &json!(message)), "{path}");
    }
    let (code, _) = client.send(Method::DELETE, &format!("{API}/nodes/n"), "", Value::Null).await;
    assert_eq!(code, StatusCode::METHOD_NOT_ALLOWED);

    let table = "application/json;as=Table;g=meta.k8s.io;v=v1";
    let table = client.accepting(&format!("{API}/namespaces/default/pods"), table).await;
    let names: Vec<&str> =
        table["columnDefinitions"].as_array().expect("columns").iter().filter_map(|c| c["name"].as_str()).collect();
    assert_eq!(names, ["Name", "cpu", "memory", "Window"]);
    assert_eq!(table["rows"][0]["cells"], json!(["p", "100m", "1049576", "10s"]));
}

#[tokio::test]
async fn the_group_is_discovered_and_described() {
    let mut client = server(1).await;
    let (_, groups) = get(&mut client, "/apis").await;
    let names: Vec<&str> =
        groups["groups"].as_array().expect("groups").iter().filter_map(|g| g["name"].as_str()).collect();
    assert_eq!(names.last(), Some(&"metrics.k8s.io"));
    let (_, list) = get(&mut client, API).await;
    assert_eq!(
        list["resources"],
        json!([
            {"name": "nodes", "singularName": "", "namespaced": false, "kind": "NodeMetrics", "verbs": ["get", "list"]},
            {"name": "pods", "singularName": "", "namespaced": true, "kind": "PodMetrics", "verbs": ["get", "list"]},
        ])
    );
    let (_, index) = get(&mut client, "/openapi/v3").await;
    let place =
        index["paths"]["apis/metrics.k8s.io/v1beta1"]["serverRelativeURL"].as_str().expect("a place").to_owned();
    let (code, document) = get(&mut client, &place).await;
    assert_eq!(code, StatusCode::OK);
    let schemas = &document["components"]["schemas"];
    let pod = &schemas["io.k8s.metrics.pkg.apis.metrics.v1beta1.PodMetrics"];
    assert_eq!(pod["x-kubernetes-group-version-kind"][0]["kind"], "PodMetrics");
    assert_eq!(pod["required"], json!(["timestamp", "window", "containers"]));
    // Everything that is referred to is there.
    let text = document.to_string();
    for reference in text.split("\"#/components/schemas/").skip(1).filter_map(|rest| rest.split('"').next()) {
        assert!(schemas.get(reference).is_some(), "{reference}");
    }
    let operation = &document["paths"]["/apis/metrics.k8s.io/v1beta1/namespaces/{namespace}/pods/{name}"]["get"];
    assert_eq!(operation["operationId"], "readMetricsV1beta1NamespacedPodMetrics");
    let (_, old) = get(&mut client, "/openapi/v2").await;
    assert!(old["definitions"].get("io.k8s.metrics.pkg.apis.metrics.v1beta1.NodeMetricsList").is_some());
}
