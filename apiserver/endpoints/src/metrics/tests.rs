//! Requests that stay open, as `/metrics` shows them.

use http::Method;
use model::request_info::RequestInfo;

use super::*;

/// The lines of a metric whose labels have all of these.
fn lines(text: &str, name: &str, labels: &[&str]) -> Vec<String> {
    let fits = |line: &&str| line.starts_with(name) && labels.iter().all(|label| line.contains(label));
    text.lines().filter(fits).map(str::to_owned).collect()
}

#[test]
fn a_long_running_request_is_a_gauge_until_its_body_ends() {
    let metrics: Arc<Metrics> = Arc::default();
    let info = RequestInfo::parse(&Method::GET, "/api/v1/pods", "watch=1");
    let running = |metrics: &Metrics| {
        let mut out = Text::default();
        metrics.requests.write(&mut out);
        out.finish()
    };
    let response = http::Response::new(negotiation::full("x"));
    let response = begin(&metrics, &info, &http::HeaderMap::new()).end_if(|_| true, response);
    let text = running(&metrics);
    let gauge = lines(&text, "apiserver_longrunning_requests{", &["verb=\"WATCH\"", "resource=\"pods\""]);
    assert!(gauge[0].ends_with(" 1"), "{gauge:?}");
    assert!(lines(&text, "apiserver_request_total{", &[]).is_empty());
    drop(response);
    let text = running(&metrics);
    assert!(lines(&text, "apiserver_longrunning_requests{", &[])[0].ends_with(" 0"));
    assert_eq!(lines(&text, "apiserver_request_total{", &["code=\"200\"", "verb=\"WATCH\""]).len(), 1);
}
