//! What the server counts, under upstream's names and labels, as Prometheus text (`/metrics`).
//!
//! Only what a request cannot choose becomes a label: resources that are served, and known paths. Everything else would
//! let a client make series without end.

use std::sync::Arc;

use component::metrics::{Counter, Family, Histogram, Text};
use model::resource::Sort;
use writes::Registry;

mod process;
mod requests;
mod slis;
mod storage;
#[cfg(test)]
mod tests;

pub use requests::Seen;
pub use storage::Measured;

/// Upper bounds of latencies in seconds.
const SECONDS: &[f64] = &[
    0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.25, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 15.0, 20.0, 30.0,
    45.0, 60.0,
];
/// Upper bounds of the sizes of events in bytes.
const EVENT_BYTES: &[f64] = &[1024.0, 2048.0, 4096.0, 8192.0, 16384.0, 32768.0, 65536.0, 131072.0];

/// All series.
pub struct Metrics {
    requests: requests::Requests,
    watch_events: Family<Counter>,
    watch_event_bytes: Family<Histogram>,
    storage_seconds: Family<Histogram>,
    storage_total: Family<Counter>,
    storage_errors: Family<Counter>,
    known: Counter,
    unknown: Counter,
    terminations: Counter,
    /// `/metrics/slis`.
    pub(crate) slis: slis::Slis,
}

impl Default for Metrics {
    fn default() -> Self {
        const KIND: &[&str] = &["group", "resource", "version"];
        const OPERATION: &[&str] = &["group", "operation", "resource"];
        Self {
            requests: requests::Requests::default(),
            watch_events: Family::new(
                "apiserver_watch_events_total",
                "[ALPHA] Number of events sent in watch clients",
                KIND,
                Counter::default,
            ),
            watch_event_bytes: Family::new(
                "apiserver_watch_events_sizes",
                "[ALPHA] Watch event size distribution in bytes",
                KIND,
                || Histogram::new(EVENT_BYTES),
            ),
            storage_seconds: Family::new(
                "etcd_request_duration_seconds",
                "[ALPHA] Etcd request latency in seconds for each operation and object type.",
                OPERATION,
                || Histogram::new(SECONDS),
            ),
            storage_total: Family::new(
                "etcd_requests_total",
                "[ALPHA] Etcd request counts for each operation and object type.",
                OPERATION,
                Counter::default,
            ),
            storage_errors: Family::new(
                "etcd_request_errors_total",
                "[ALPHA] Etcd failed request counts for each operation and object type.",
                OPERATION,
                Counter::default,
            ),
            known: Counter::default(),
            unknown: Counter::default(),
            terminations: Counter::default(),
            slis: slis::Slis::default(),
        }
    }
}

/// The counters of one kind's watchers.
#[derive(Clone)]
pub struct WatchEvents {
    count: Arc<Counter>,
    bytes: Arc<Histogram>,
}

impl WatchEvents {
    /// An event was sent.
    pub fn sent(&self, bytes: usize) {
        self.count.add(1);
        self.bytes.observe(bytes as f64);
    }
}

impl Metrics {
    /// What the watchers of a resource count.
    pub fn watch_events(&self, group: &str, version: &str, resource: &str) -> WatchEvents {
        let labels = [group, resource, version];
        WatchEvents { count: self.watch_events.with(&labels), bytes: self.watch_event_bytes.with(&labels) }
    }

    /// The Prometheus text of all series, and of what is read when asked: stored objects, revisions, the process.
    pub fn text(&self, registry: &Registry) -> String {
        let mut out = Text::default();
        self.requests.write(&mut out);
        self.watch_events.write(&mut out);
        self.watch_event_bytes.write(&mut out);
        self.storage_seconds.write(&mut out);
        self.storage_total.write(&mut out);
        self.storage_errors.write(&mut out);
        let name = "authentication_attempts";
        out.head(name, "[ALPHA] Counter of authenticated attempts.", "counter");
        out.line(name, &["result"], &["success"], self.known.get());
        out.line(name, &["result"], &["failure"], self.unknown.get());
        out.head(
            "apiserver_request_terminations_total",
            "[ALPHA] Number of requests which apiserver terminated in self-defense.",
            "counter",
        );
        out.line("apiserver_request_terminations_total", &[], &[], self.terminations.get());
        caches(registry, &mut out);
        build(&mut out);
        process::write(&mut out);
        out.finish() + &component::supervisor::metrics()
    }
}

/// The number of objects of each stored resource, and how far its cache is.
fn caches(registry: &Registry, out: &mut Text) {
    let rows = registry.rows();
    let mut stored = Vec::new();
    for row in rows.iter() {
        let first = rows.of(&row.group_resource()).is_some_and(|first| Arc::ptr_eq(&first.row, &row.row));
        if let (true, Sort::Stored { .. }, Some(cache)) = (first, &row.sort, registry.cache(row)) {
            stored.push((row.clone(), cache));
        }
    }
    out.head(
        "apiserver_storage_objects",
        "[STABLE] Number of stored objects at the time of last check split by kind.",
        "gauge",
    );
    for (row, cache) in &stored {
        out.line("apiserver_storage_objects", &["resource"], &[&row.group_resource().to_string()], cache.len() as f64);
    }
    let labels = ["group", "resource"];
    out.head(
        "apiserver_resource_objects",
        "[ALPHA] Number of stored objects at the time of last check split by kind.",
        "gauge",
    );
    for (row, cache) in &stored {
        out.line("apiserver_resource_objects", &labels, &[&row.group, &row.resource], cache.len() as f64);
    }
    let name = "apiserver_watch_cache_resource_version";
    out.head(name, "[ALPHA] Current resource version of watch cache broken by resource type.", "gauge");
    for (row, cache) in &stored {
        out.line(name, &labels, &[&row.group, &row.resource], cache.generation() as f64);
    }
}

fn build(out: &mut Text) {
    let labels = [
        "build_date",
        "compiler",
        "git_commit",
        "git_tree_state",
        "git_version",
        "go_version",
        "major",
        "minor",
        "platform",
    ];
    let values = ["1970-01-01T00:00:00Z", "rustc", "", "clean", model::VERSION, "none", "1", "36", "linux/amd64"];
    out.head(
        "kubernetes_build_info",
        "[BETA] A metric with a constant '1' value labeled by the parts of the version.",
        "gauge",
    );
    out.line("kubernetes_build_info", &labels, &values, 1.0);
}
