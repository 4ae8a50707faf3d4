//! What `/metrics` shows after requests: names, labels and types as upstream has them.

use http::Method;
use serde_json::Value;

use super::Client;

/// The lines of a metric whose labels have all of these.
fn lines(text: &str, name: &str, labels: &[&str]) -> Vec<String> {
    let fits = |line: &&str| line.starts_with(name) && labels.iter().all(|label| line.contains(label));
    text.lines().filter(fits).map(str::to_owned).collect()
}

#[tokio::test]
async fn requests_are_counted_under_upstreams_labels() {
    let mut client = Client::new().await;
    let object = serde_json::json!({"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": "a"}});
    client.json(Method::POST, "/api/v1/namespaces/default/configmaps", object).await;
    client.json(Method::GET, "/api/v1/namespaces/default/configmaps", Value::Null).await;
    client.json(Method::GET, "/api/v1/configmaps", Value::Null).await;
    client.json(Method::GET, "/api/v1/namespaces/default/configmaps/nope", Value::Null).await;
    client.json(Method::GET, "/api/v1/inventions", Value::Null).await;
    client.json(Method::GET, "/readyz", Value::Null).await;
    let applied = "/api/v1/namespaces/other/configmaps/b?fieldManager=t";
    let other = serde_json::json!({"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": "b"}});
    client.send(Method::PATCH, applied, "application/apply-patch+yaml", other).await;
    client.json(Method::DELETE, "/api/v1/namespaces/other/configmaps", Value::Null).await;
    let (_, text) = client.json(Method::GET, "/metrics", Value::Null).await;
    let text = text.as_str().unwrap();
    for labels in [
        ["code=\"201\"", "scope=\"resource\"", "verb=\"POST\""],
        ["code=\"200\"", "scope=\"namespace\"", "verb=\"LIST\""],
        ["code=\"200\"", "scope=\"cluster\"", "verb=\"LIST\""],
        ["code=\"404\"", "scope=\"resource\"", "verb=\"GET\""],
        ["code=\"201\"", "scope=\"resource\"", "verb=\"APPLY\""],
        ["code=\"200\"", "scope=\"namespace\"", "verb=\"DELETE\""],
    ] {
        let found = lines(text, "apiserver_request_total{", &[&labels[..], &["resource=\"configmaps\""]].concat());
        assert!(found.len() == 1 && found[0].ends_with(" 1"), "{labels:?}: {found:?}");
    }
    assert!(!text.contains("inventions"));
    assert_eq!(lines(text, "apiserver_request_total{", &["subresource=\"/readyz\""]).len(), 1);
    assert_eq!(lines(text, "apiserver_storage_objects{resource=\"configmaps\"} 1", &[]).len(), 1);
    assert_eq!(
        lines(text, "etcd_requests_total{group=\"\",operation=\"create\",resource=\"configmaps\"} 2", &[]).len(),
        1
    );
    for name in ["process_resident_memory_bytes", "process_start_time_seconds", "process_open_fds"] {
        let value = lines(text, &format!("{name} "), &[]).first().map(|l| l[name.len() + 1..].to_owned());
        assert!(value.unwrap().parse::<f64>().unwrap() > 0.0, "{name}");
    }
}

#[tokio::test]
async fn results_of_health_checks_are_counted_by_name_and_path() {
    let mut client = Client::new().await;
    client.text("/readyz?exclude=shutdown").await;
    let (_, ready) = client.text("/readyz?verbose").await;
    let (_, live) = client.text("/livez?verbose").await;
    client.text("/livez/ping").await;
    let (headers, text) = client.text("/metrics/slis").await;
    assert_eq!(headers["content-type"], "text/plain; version=0.0.4; charset=utf-8");
    for line in [
        "# TYPE kubernetes_healthcheck gauge",
        "kubernetes_healthcheck{name=\"ping\",type=\"livez\"} 1",
        "kubernetes_healthchecks_total{name=\"ping\",type=\"livez\",status=\"success\"} 1",
        "kubernetes_healthchecks_total{name=\"ping\",type=\"readyz\",status=\"success\"} 2",
        "kubernetes_healthchecks_total{name=\"shutdown\",type=\"readyz\",status=\"success\"} 1",
        "kubernetes_healthcheck{name=\"poststarthook/crd-informer-synced\",type=\"readyz\"} 1",
    ] {
        assert_eq!(lines(&text, line, &[]), [line], "{text}");
    }
    assert!(!text.contains("healthz") && text.contains("\nprocess_start_time_seconds "), "{text}");
    assert!(ready.contains("[+]etcd ok\n[+]etcd-readiness ok\n[+]informer-sync ok\n[+]poststarthook/"), "{ready}");
    assert!(ready.ends_with("[+]shutdown ok\nreadyz check passed\n"), "{ready}");
    assert!(!live.contains("informer-sync ") && live.contains("[+]poststarthook/rbac/bootstrap-roles ok\n"), "{live}");
}
