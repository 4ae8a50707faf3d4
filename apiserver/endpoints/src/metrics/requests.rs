//! Each request's count, time and size: `apiserver/pkg/endpoints/metrics/metrics.go`. Long-running ones are counted when
//! they end; until then they are a gauge.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, Response};
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::BodyExt;
use model::request_info::RequestInfo;
use negotiation::Body;
use parking_lot::{Mutex, RwLock};
use writes::Registry;

use super::family::{Gauge, Histogram, Text};
use super::{Metrics, SECONDS};

const SLI_SECONDS: &[f64] =
    &[0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.25, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 15.0, 20.0, 30.0, 45.0, 60.0];
const BYTES: &[f64] = &[1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9];
/// Paths beside the API that have a series.
const PATHS: &[&str] = &["/healthz", "/livez", "/readyz", "/metrics", "/version"];

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Labels {
    verb: &'static str,
    group: String,
    version: String,
    resource: String,
    subresource: String,
    scope: &'static str,
    component: &'static str,
}

struct Series {
    codes: Mutex<BTreeMap<(u16, bool), u64>>,
    seconds: Histogram,
    sli_seconds: Histogram,
    bytes: Histogram,
    running: Gauge,
}

impl Default for Series {
    fn default() -> Self {
        Self {
            codes: Mutex::default(),
            seconds: Histogram::new(SECONDS),
            sli_seconds: Histogram::new(SLI_SECONDS),
            bytes: Histogram::new(BYTES),
            running: Gauge::default(),
        }
    }
}

#[derive(Default)]
pub(super) struct Requests {
    series: RwLock<BTreeMap<Labels, Arc<Series>>>,
    reading: Gauge,
    mutating: Gauge,
}

/// A request under way.
pub struct Record {
    metrics: Arc<Metrics>,
    labels: Option<Labels>,
    started: Instant,
    long: bool,
    reads: bool,
    dry_run: bool,
}

/// Starts the clock.
pub fn begin(metrics: &Arc<Metrics>, info: &RequestInfo, headers: &HeaderMap) -> Record {
    let long = info.long_running();
    let reads = matches!(info.verb, "get" | "list" | "watch" | "head");
    if !long {
        metrics.requests.pool(reads).add(1);
    }
    let dry_run = info.is_resource && !reads && info.query.has("dryRun");
    Record { metrics: metrics.clone(), labels: labels(info, headers), started: Instant::now(), long, reads, dry_run }
}

/// The labels of a request; `None` for paths that nothing is said about.
fn labels(info: &RequestInfo, headers: &HeaderMap) -> Option<Labels> {
    let mut labels = Labels {
        verb: verb(info, headers),
        group: String::new(),
        version: String::new(),
        resource: String::new(),
        subresource: String::new(),
        scope: "",
        component: "",
    };
    if info.is_resource {
        labels.group.clone_from(&info.group);
        labels.version.clone_from(&info.version);
        labels.resource.clone_from(&info.resource);
        labels.subresource.clone_from(&info.subresource);
        labels.component = "apiserver";
        labels.scope = match () {
            () if !info.name.is_empty() || info.verb == "create" => "resource",
            () if !info.namespace.is_empty() => "namespace",
            () => "cluster",
        };
        return Some(labels);
    }
    let mut segments = info.path.split('/').filter(|s| !s.is_empty());
    let first = segments.next().unwrap_or_default();
    labels.subresource = match first {
        "api" | "apis" => {
            labels.component = "apiserver";
            if segments.next().is_some() { String::new() } else { first.into() }
        }
        "openapi" => match (segments.next(), segments.next()) {
            (Some("v2"), None) => "openapi/v2".into(),
            (Some("v3"), None) => "openapi/v3".into(),
            (Some("v3"), Some(_)) => "openapi/v3/".into(),
            _ => return None,
        },
        _ => (*PATHS.iter().find(|p| p[1..] == *first)?).into(),
    };
    Some(labels)
}

/// The verb as upstream reports it: HTTP's, but where the API knows better.
fn verb(info: &RequestInfo, headers: &HeaderMap) -> &'static str {
    if matches!(info.subresource.as_str(), "log" | "exec" | "attach" | "portforward" | "proxy") && info.is_resource {
        return "CONNECT";
    }
    match info.verb {
        "get" => "GET",
        "list" => "LIST",
        "watch" => "WATCH",
        "create" | "post" => "POST",
        "update" | "put" => "PUT",
        "patch" if headers.get(CONTENT_TYPE).is_some_and(|form| form == "application/apply-patch+yaml") => "APPLY",
        "patch" => "PATCH",
        "delete" | "deletecollection" => "DELETE",
        "head" => "HEAD",
        "options" => "OPTIONS",
        _ => "other",
    }
}

impl Record {
    /// Takes note of the response's head; its size, and the end of a long-running request, are seen when its body ends.
    pub fn end(self, registry: &Registry, response: Response<Body>) -> Response<Body> {
        self.end_if(|l| registry.rows().at_path(&l.group, &l.version, &l.resource).is_some(), response)
    }

    /// The same, with another way to tell whether a resource is served.
    pub(super) fn end_if(self, served: impl Fn(&Labels) -> bool, response: Response<Body>) -> Response<Body> {
        let requests = &self.metrics.requests;
        if !self.long {
            requests.pool(self.reads).add(-1);
        }
        let code = response.status().as_u16();
        let Some(labels) = self.labels.as_ref() else { return response };
        // A resource that is not served would make a series of any client's invention.
        if code >= 400 && !labels.resource.is_empty() && !served(labels) {
            return response;
        }
        let series = requests.of(labels);
        let counted = (code, self.dry_run);
        if self.long {
            series.running.add(1);
            return response.map(|body| Counted { body, series, long: Some(counted), bytes: 0 }.boxed_unsync());
        }
        *series.codes.lock().entry(counted).or_default() += 1;
        let seconds = self.started.elapsed().as_secs_f64();
        series.seconds.observe(seconds);
        series.sli_seconds.observe(seconds);
        if !matches!(labels.verb, "GET" | "LIST") {
            return response;
        }
        if let Some(bytes) = response.body().size_hint().exact() {
            series.bytes.observe(bytes as f64);
            return response;
        }
        response.map(|body| Counted { body, series, long: None, bytes: 0 }.boxed_unsync())
    }
}

impl Requests {
    fn pool(&self, reads: bool) -> &Gauge {
        if reads { &self.reading } else { &self.mutating }
    }

    fn of(&self, labels: &Labels) -> Arc<Series> {
        if let Some(found) = self.series.read().get(labels) {
            return found.clone();
        }
        self.series.write().entry(labels.clone()).or_default().clone()
    }

    pub(super) fn write(&self, out: &mut Text) {
        let series: Vec<(Labels, Arc<Series>)> =
            self.series.read().iter().map(|(labels, series)| (labels.clone(), series.clone())).collect();
        let name = "apiserver_request_total";
        out.head(name, "[STABLE] Counter of apiserver requests broken out for each verb, dry run value, group, version, resource, scope, component, and HTTP response code.", "counter");
        let names = ["code", "component", "dry_run", "group", "resource", "scope", "subresource", "verb", "version"];
        for (l, series) in &series {
            for ((code, dry_run), count) in series.codes.lock().iter() {
                let (code, dry) = (code.to_string(), if *dry_run { "All" } else { "" });
                let values =
                    [&code, l.component, dry, &l.group, &l.resource, l.scope, &l.subresource, l.verb, &l.version];
                out.line(name, &names, &values, *count as f64);
            }
        }
        let name = "apiserver_request_duration_seconds";
        out.head(name, "[STABLE] Response latency distribution in seconds for each verb, dry run value, group, version, resource, subresource, scope and component.", "histogram");
        for (l, series) in series.iter().filter(|(_, s)| s.seconds.count() > 0) {
            let values = [l.component, "", &l.group, &l.resource, l.scope, &l.subresource, l.verb, &l.version];
            series.seconds.write(name, &names[1..], &values, out);
        }
        let names = ["component", "group", "resource", "scope", "subresource", "verb", "version"];
        let name = "apiserver_request_sli_duration_seconds";
        out.head(name, "[ALPHA] Response latency distribution (not counting webhook duration and priority & fairness queue wait times) in seconds for each verb, group, version, resource, subresource, scope and component.", "histogram");
        for (l, series) in series.iter().filter(|(_, s)| s.sli_seconds.count() > 0) {
            series.sli_seconds.write(name, &names, &l.values(), out);
        }
        let name = "apiserver_response_sizes";
        out.head(name, "[STABLE] Response size distribution in bytes for each group, version, verb, resource, subresource, scope and component.", "histogram");
        for (l, series) in series.iter().filter(|(_, s)| s.bytes.count() > 0) {
            series.bytes.write(name, &names, &l.values(), out);
        }
        let name = "apiserver_longrunning_requests";
        out.head(name, "[STABLE] Gauge of all active long-running apiserver requests broken out by verb, group, version, resource, scope and component. Not all requests are tracked this way.", "gauge");
        for (l, series) in
            series.iter().filter(|(l, _)| matches!(l.verb, "WATCH" | "CONNECT") || l.subresource == "log")
        {
            out.line(name, &names, &l.values(), series.running.get());
        }
        let name = "apiserver_current_inflight_requests";
        out.head(name, "[STABLE] Maximal number of currently used inflight request limit of this apiserver per request kind in last second.", "gauge");
        out.line(name, &["request_kind"], &["mutating"], self.mutating.get());
        out.line(name, &["request_kind"], &["readOnly"], self.reading.get());
    }
}

impl Labels {
    fn values(&self) -> [&str; 7] {
        [self.component, &self.group, &self.resource, self.scope, &self.subresource, self.verb, &self.version]
    }
}

/// A body whose end is counted: its size, or of a long-running request that it is over.
struct Counted {
    body: Body,
    series: Arc<Series>,
    long: Option<(u16, bool)>,
    bytes: u64,
}

impl http_body::Body for Counted {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        if let Poll::Ready(Some(Ok(frame))) = &polled {
            self.bytes += frame.data_ref().map_or(0, |data| data.len() as u64);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        match self.long {
            Some(counted) => {
                self.series.running.add(-1);
                *self.series.codes.lock().entry(counted).or_default() += 1;
            }
            None => self.series.bytes.observe(self.bytes as f64),
        }
    }
}
