//! Requests that stay open, as `/metrics` shows them.

use http::{HeaderValue, Method};
use model::record::Record;
use model::request_info::RequestInfo;

use super::*;

/// The lines of a metric whose labels have all of these.
fn lines(text: &str, name: &str, labels: &[&str]) -> Vec<String> {
    let fits = |line: &&str| line.starts_with(name) && labels.iter().all(|label| line.contains(label));
    text.lines().filter(fits).map(str::to_owned).collect()
}

fn record(method: &Method, path: &str, query: &str) -> Record {
    Record::new(HeaderValue::from_static("id"), RequestInfo::parse(method, path, query), false)
}

fn text(metrics: &Metrics) -> String {
    let mut out = Text::default();
    metrics.requests.write(&mut out);
    out.finish()
}

#[test]
fn a_long_running_request_is_a_gauge_until_its_body_ends() {
    let metrics = Metrics::default();
    let record = record(&Method::GET, "/api/v1/pods", "watch=1");
    metrics.begun(&record);
    record.answered(200);
    let seen = metrics.answered(&record, |_| true);
    assert!(seen.until_the_end());
    let during = text(&metrics);
    let gauge = lines(&during, "apiserver_longrunning_requests{", &["verb=\"WATCH\"", "resource=\"pods\""]);
    assert!(gauge[0].ends_with(" 1"), "{gauge:?}");
    assert!(lines(&during, "apiserver_request_total{", &[]).is_empty());
    seen.ended(&record);
    let after = text(&metrics);
    assert!(lines(&after, "apiserver_longrunning_requests{", &[])[0].ends_with(" 0"));
    assert_eq!(lines(&after, "apiserver_request_total{", &["code=\"200\"", "verb=\"WATCH\""]).len(), 1);
}

#[test]
fn a_request_whose_client_has_gone_is_no_longer_in_flight() {
    let metrics = Metrics::default();
    let record = record(&Method::POST, "/api/v1/namespaces/a/pods", "");
    metrics.begun(&record);
    let inflight = |text: &str| lines(text, "apiserver_current_inflight_requests{", &["mutating"]).remove(0);
    assert!(inflight(&text(&metrics)).ends_with(" 1"));
    metrics.abandoned(&record);
    let after = text(&metrics);
    assert!(inflight(&after).ends_with(" 0"));
    assert!(lines(&after, "apiserver_request_total{", &[]).is_empty());
}
