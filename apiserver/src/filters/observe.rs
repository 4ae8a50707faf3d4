//! Metrics and the safety net around every request: counts and times under upstream's names, and a panic that becomes
//! a 500 instead of a lost connection.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::time::Instant;

use futures::FutureExt;
use http::Response;
use machinery::status::StatusError;
use parking_lot::Mutex;
use std::collections::BTreeMap;

use crate::filters::request_info::RequestInfo;
use crate::negotiation::Body;

/// Upper bounds of the latency buckets, in seconds: upstream's `apiserver_request_duration_seconds`.
const BUCKETS: [f64; 12] = [0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 2.0, 5.0, 60.0];

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Labels {
    verb: &'static str,
    group: String,
    version: String,
    resource: String,
    subresource: String,
}

#[derive(Default)]
struct Series {
    by_code: BTreeMap<u16, u64>,
    buckets: [u64; BUCKETS.len()],
    sum: f64,
    count: u64,
}

/// What the server counts.
#[derive(Default)]
pub struct Metrics {
    requests: Mutex<BTreeMap<Labels, Series>>,
    in_flight: std::sync::atomic::AtomicI64,
}

/// A request under way.
pub struct Record {
    metrics: std::sync::Arc<Metrics>,
    labels: Labels,
    started: Instant,
    long: bool,
}

/// Starts the clock.
pub fn begin(metrics: &std::sync::Arc<Metrics>, info: &RequestInfo) -> Record {
    metrics.in_flight.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    // Paths outside the API are clients' text: one series for all of them.
    let labels = Labels {
        verb: info.verb,
        group: info.group.clone(),
        version: info.version.clone(),
        resource: if info.is_resource { info.resource.clone() } else { String::new() },
        subresource: info.subresource.clone(),
    };
    Record { metrics: metrics.clone(), labels, started: Instant::now(), long: info.long_running() }
}

impl Record {
    /// Stops the clock when the head of the response is known.
    pub fn end(self, response: Response<Body>) -> Response<Body> {
        let seconds = self.started.elapsed().as_secs_f64();
        self.metrics.in_flight.fetch_sub(1, std::sync::atomic::Ordering::Relaxed);
        // A resource that is not served would make a series of any client's invention.
        if response.status() == http::StatusCode::NOT_FOUND && self.labels.verb != "get" {
            return response;
        }
        let mut requests = self.metrics.requests.lock();
        let series = requests.entry(self.labels).or_default();
        *series.by_code.entry(response.status().as_u16()).or_default() += 1;
        if !self.long {
            series.sum += seconds;
            series.count += 1;
            for (bound, count) in BUCKETS.iter().zip(&mut series.buckets) {
                *count += u64::from(seconds <= *bound);
            }
        }
        drop(requests);
        response
    }
}

impl Metrics {
    /// The Prometheus text of all series.
    pub fn text(&self) -> String {
        use std::fmt::Write;
        let mut out = String::new();
        let requests = self.requests.lock();
        let label = |l: &Labels| {
            let verb = l.verb.to_ascii_uppercase();
            format!(
                "group=\"{}\",resource=\"{}\",subresource=\"{}\",verb=\"{verb}\",version=\"{}\"",
                l.group, l.resource, l.subresource, l.version
            )
        };
        out.push_str("# HELP apiserver_request_total [STABLE] Counter of apiserver requests broken out for each verb, dry run value, group, version, resource, scope, component, and HTTP response code.\n# TYPE apiserver_request_total counter\n");
        for (labels, series) in requests.iter() {
            for (code, count) in &series.by_code {
                let _ = writeln!(out, "apiserver_request_total{{code=\"{code}\",{}}} {count}", label(labels));
            }
        }
        out.push_str("# HELP apiserver_request_duration_seconds [STABLE] Response latency distribution in seconds.\n# TYPE apiserver_request_duration_seconds histogram\n");
        for (labels, series) in requests.iter().filter(|(_, s)| s.count > 0) {
            let labels = label(labels);
            for (bound, count) in BUCKETS.iter().zip(&series.buckets) {
                let _ = writeln!(out, "apiserver_request_duration_seconds_bucket{{{labels},le=\"{bound}\"}} {count}");
            }
            let _ = writeln!(out, "apiserver_request_duration_seconds_bucket{{{labels},le=\"+Inf\"}} {}", series.count);
            let _ = writeln!(out, "apiserver_request_duration_seconds_sum{{{labels}}} {}", series.sum);
            let _ = writeln!(out, "apiserver_request_duration_seconds_count{{{labels}}} {}", series.count);
        }
        out.push_str("# HELP apiserver_current_inflight_requests [STABLE] Requests under way.\n# TYPE apiserver_current_inflight_requests gauge\n");
        let _ = writeln!(
            out,
            "apiserver_current_inflight_requests {}",
            self.in_flight.load(std::sync::atomic::Ordering::Relaxed)
        );
        out
    }
}

/// Runs a request's future; a panic in it is a 500.
pub async fn guarded<T>(future: impl Future<Output = Result<T, StatusError>>) -> Result<T, StatusError> {
    match AssertUnwindSafe(future).catch_unwind().await {
        Ok(outcome) => outcome,
        Err(_) => Err(StatusError::internal("the server failed on this request; see its log")),
    }
}
