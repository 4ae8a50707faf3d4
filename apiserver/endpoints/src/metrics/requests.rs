//! Each request's count, time and size: `apiserver/pkg/endpoints/metrics/metrics.go`. Long-running ones are counted when
//! they end; until then they are a gauge.

use std::collections::BTreeMap;
use std::sync::Arc;

use component::metrics::{Gauge, Histogram, Series as _, Text};
use model::record::Record;
use model::request_info::RequestInfo;
use parking_lot::{Mutex, RwLock};

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

/// What is counted of a request that is answered until its answer is sent.
pub struct Seen {
    series: Option<Arc<Series>>,
    long: bool,
    sizes: bool,
    /// Code and dry run.
    counted: (u16, bool),
}

impl Metrics {
    /// A request's head is there.
    pub fn begun(&self, record: &Record) {
        if !record.info.long_running() {
            self.requests.pool(reads(&record.info)).add(1);
        }
    }

    /// A request's client has gone before it was answered.
    pub fn abandoned(&self, record: &Record) {
        self.handled(record);
    }

    /// A request is answered. `served` tells whether its resource is: one that is not would make a series of any client's
    /// invention.
    pub fn answered(&self, record: &Record, served: impl Fn(&RequestInfo) -> bool) -> Seen {
        self.handled(record);
        if record.timed_out() {
            self.terminations.add(1);
        }
        let info = &record.info;
        let (code, latency) = record.answer().unwrap_or_default();
        let dry_run = info.is_resource && !reads(info) && info.query.has("dryRun");
        let mut seen = Seen { series: None, long: info.long_running(), sizes: false, counted: (code, dry_run) };
        if code >= 400 && !info.resource.is_empty() && !served(info) {
            return seen;
        }
        let Some(labels) = labels(record) else { return seen };
        let series = self.requests.of(&labels);
        if seen.long {
            series.running.add(1);
        } else {
            *series.codes.lock().entry(seen.counted).or_default() += 1;
            let seconds = latency.as_secs_f64();
            series.seconds.observe(seconds);
            series.sli_seconds.observe(seconds);
            seen.sizes = matches!(labels.verb, "GET" | "LIST");
        }
        seen.series = Some(series);
        seen
    }

    /// A request is no longer in flight, answered or not.
    fn handled(&self, record: &Record) {
        if !record.info.long_running() {
            self.requests.pool(reads(&record.info)).add(-1);
        }
        match record.authenticated() {
            Some(true) => self.known.add(1),
            Some(false) => self.unknown.add(1),
            None => {}
        }
    }
}

impl Seen {
    /// Whether the request stays open for as long as its client likes.
    pub fn long_running(&self) -> bool {
        self.long
    }

    /// Whether it matters when the answer is sent, and how long it is.
    pub fn until_the_end(&self) -> bool {
        self.series.is_some() && (self.long || self.sizes)
    }

    /// The answer is sent.
    pub fn ended(self, record: &Record) {
        let Some(series) = self.series else { return };
        if self.long {
            series.running.add(-1);
            *series.codes.lock().entry(self.counted).or_default() += 1;
        } else if self.sizes {
            series.bytes.observe(record.sent_bytes() as f64);
        }
    }
}

fn reads(info: &RequestInfo) -> bool {
    matches!(info.verb, "get" | "list" | "watch" | "head")
}

/// The labels of a request; `None` for paths that nothing is said about.
fn labels(record: &Record) -> Option<Labels> {
    let info = &record.info;
    let mut labels = Labels {
        verb: verb(record),
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
fn verb(record: &Record) -> &'static str {
    let info = &record.info;
    if matches!(info.subresource.as_str(), "log" | "exec" | "attach" | "portforward" | "proxy") && info.is_resource {
        return "CONNECT";
    }
    match info.verb {
        "get" => "GET",
        "list" => "LIST",
        "watch" => "WATCH",
        "create" | "post" => "POST",
        "update" | "put" => "PUT",
        "patch" if record.applies => "APPLY",
        "patch" => "PATCH",
        "delete" | "deletecollection" => "DELETE",
        "head" => "HEAD",
        "options" => "OPTIONS",
        _ => "other",
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
