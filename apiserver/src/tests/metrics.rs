//! What `/metrics` shows after requests: names, labels and types as upstream has them.

use http::Method;
use serde_json::Value;

use super::{Client, NEVER, PANICS, REFUSED};

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

/// The value of a metric with those labels; 0 where there is none.
async fn value(client: &mut Client, name: &str, labels: &[&str]) -> f64 {
    let (_, text) = client.json(Method::GET, "/metrics", Value::Null).await;
    let found = lines(text.as_str().unwrap(), name, labels);
    assert!(found.len() < 2, "{found:?}");
    found.first().map_or(0.0, |line| line.rsplit(' ').next().unwrap().parse().unwrap())
}

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const MAP: &str = "/api/v1/namespaces/default/configmaps/a";

#[tokio::test]
async fn what_fails_before_an_endpoint_is_counted_too() {
    let mut client = Client::new().await;
    let count = ["resource=\"configmaps\"", "verb=\"GET\""];
    for (user, path, code) in [(REFUSED, MAP, 401), (PANICS, MAP, 500), (NEVER, &format!("{MAP}?timeout=10ms"), 504)] {
        let (got, status) = client.named(user).await.json(Method::GET, path, Value::Null).await;
        assert_eq!(got.as_u16(), code, "{status}");
        let code = format!("code=\"{code}\"");
        let labels = [&count[..], &[&*code]].concat();
        assert_eq!(value(&mut client, "apiserver_request_total{", &labels).await, 1.0, "{labels:?}");
    }
    assert_eq!(value(&mut client, "apiserver_request_duration_seconds_count{", &count).await, 3.0);
    assert_eq!(value(&mut client, "apiserver_response_sizes_count{", &count).await, 3.0);
    assert_eq!(value(&mut client, "authentication_attempts{", &["result=\"failure\""]).await, 1.0);
    assert_eq!(value(&mut client, "apiserver_request_terminations_total", &[]).await, 1.0);
    let before = value(&mut client, "authentication_attempts{", &["result=\"success\""]).await;
    assert_eq!(value(&mut client, "authentication_attempts{", &["result=\"success\""]).await, before + 1.0);
}

#[tokio::test]
async fn a_watch_is_a_gauge_until_its_client_goes() {
    let mut client = Client::new().await;
    let mut watcher = client.another().await;
    let request = http::Request::get(format!("{MAPS}?watch=1&resourceVersion=0"));
    let request = request.body(http_body_util::Full::default()).unwrap();
    let answer = watcher.sender.send_request(request).await.unwrap();
    let labels = ["resource=\"configmaps\"", "verb=\"WATCH\""];
    assert_eq!(value(&mut client, "apiserver_longrunning_requests{", &labels).await, 1.0);
    assert_eq!(value(&mut client, "apiserver_request_total{", &labels).await, 0.0);
    drop((answer, watcher));
    while value(&mut client, "apiserver_longrunning_requests{", &labels).await > 0.0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(value(&mut client, "apiserver_request_total{", &labels).await, 1.0);
}

#[tokio::test]
async fn a_request_whose_client_hangs_up_does_not_stay_in_flight() {
    let mut client = Client::new().await;
    let mut gone = client.named(NEVER).await;
    let inflight = ["request_kind=\"mutating\""];
    let object = serde_json::json!({"metadata": {"name": "a"}});
    let asking = tokio::spawn(async move { gone.json(Method::POST, MAPS, object).await });
    let until = std::time::Instant::now() + std::time::Duration::from_secs(20);
    for (expected, then) in [(1.0, true), (0.0, false)] {
        while value(&mut client, "apiserver_current_inflight_requests{", &inflight).await != expected {
            assert!(std::time::Instant::now() < until, "not {expected} in flight");
            tokio::task::yield_now().await;
        }
        if then {
            asking.abort();
        }
    }
}
