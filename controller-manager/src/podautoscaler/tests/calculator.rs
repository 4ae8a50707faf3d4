//! How many pods, by each sort of metric.

use super::*;
use crate::podautoscaler::{
    replicas::{self, Tolerances, Workload},
    requests::{Sample, Samples},
};

/// Columns: `levels` are of pods, of a resource by containers; `ready`, `started`, `phase` and `deleted` of pods.
const TABLE: &str = include_str!("replicas.txt");

fn pods(row: &Row<'_>, current: usize) -> Vec<Arc<Pod>> {
    let (phases, ready, started) = (row.list("phase"), row.list("ready"), row.list("started"));
    let (deleted, requests) = (row.list("deleted"), row.list("requests"));
    let one = |at: usize| {
        let container = |name: &str| match requests.get(at) {
            Some(amount) => json!({"name": name, "resources": {"requests": {"cpu": amount}}}),
            None => json!({"name": name}),
        };
        let started = match started.get(at) {
            Some(&"hot") => now(),
            Some(&"cool") => secs_ago(180),
            _ => Timestamp::UNIX_EPOCH,
        };
        let status = if ready.get(at) == Some(&"no") { "False" } else { "True" };
        let mut pod = json!({
            "metadata": {"name": format!("test-pod-{at}")},
            "spec": {"containers": [container("container1"), container("container2")]},
            "status": {
                "phase": phases.get(at).unwrap_or(&"Running"), "startTime": started.to_string(),
                "conditions": [{"type": "Ready", "status": status}],
            },
        });
        if deleted.get(at) == Some(&"yes") {
            pod["metadata"]["deletionTimestamp"] = json!(now().to_string());
        }
        super::pod(pod)
    };
    (0..current.max(phases.len())).map(one).collect()
}

fn samples(row: &Row<'_>) -> Samples {
    let names = row.list("names");
    let value = |level: &str| -> Option<i64> {
        let containers: Vec<i64> = level.split('+').map(|amount| amount.parse().unwrap()).collect();
        match row.given.get("container") {
            Some(name) => containers.get(usize::from(*name == "container2")).copied(),
            None => Some(containers.iter().sum()),
        }
    };
    let sample = |value| Sample { at: Timestamp::UNIX_EPOCH, window: SignedDuration::from_mins(1), value };
    let named = |(at, level): (usize, &&str)| {
        let name = names.get(at).map_or_else(|| format!("test-pod-{at}"), |name| (*name).to_owned());
        Some((name, sample(value(level)?)))
    };
    row.list("levels").iter().enumerate().filter_map(named).collect()
}

fn calculated(row: &Row<'_>) -> Result<String, String> {
    let current: i32 = row.number("current");
    let tolerances = match row.given.get("tolerances").and_then(|t| t.split_once('/')) {
        Some((down, up)) => Tolerances { down: down.parse().unwrap(), up: up.parse().unwrap() },
        None => Tolerances { down: 0.1, up: 0.1 },
    };
    let pods = pods(row, current as usize);
    let workload = Workload { pods: &pods, current, tolerances, patience: PATIENCE, now: now() };
    let values: Vec<i64> = row.list("levels").iter().filter_map(|v| v.parse().ok()).collect();
    let usage = replicas::total(&values);
    match row.given.get("metric") {
        None => {
            let container = row.given.get("container").copied().unwrap_or_default();
            let made = replicas::by_utilization(workload, "cpu", container, row.number("target"), samples(row));
            made.map(|(replicas, percent, average)| format!("{replicas} {percent} {average}"))
        }
        Some(&"pods") => replicas::by_average(workload, "", row.number("target"), samples(row))
            .map(|(replicas, average)| format!("{replicas} {average}")),
        Some(&("object" | "external")) => {
            replicas::by_total(workload, row.number("target"), usage).map(|replicas| format!("{replicas} {usage}"))
        }
        Some(_) => {
            let (replicas, average) = replicas::by_total_per_pod(tolerances, current, row.number("target"), usage);
            Ok(format!("{replicas} {average}"))
        }
    }
}

#[test]
fn as_upstream() {
    let rows = Row::all(TABLE);
    assert_eq!(rows.len(), 77);
    for row in rows {
        match (calculated(&row), row.want.strip_prefix("error: ")) {
            (Err(error), Some(want)) => assert!(error.contains(want), "{}: {error}", row.text),
            (got, _) => assert_eq!(got.as_deref(), Ok(row.want), "{}", row.text),
        }
    }
}

#[test]
fn without_pods_nothing_is_known() {
    let tolerances = Tolerances { down: 0.1, up: 0.1 };
    let workload = Workload { pods: &[], current: 2, tolerances, patience: PATIENCE, now: now() };
    let none = "no pods returned by selector while calculating replica count";
    assert_eq!(replicas::by_average(workload, "cpu", 1, Samples::new()), Err(none.into()));
    assert_eq!(replicas::by_utilization(workload, "cpu", "", 1, Samples::new()), Err(none.into()));
    let unable = format!("unable to calculate ready pods: {none}");
    assert_eq!(replicas::by_total(workload, 100, 300), Err(unable));
    // Within the tolerance, or from nothing, pods are not looked at.
    assert_eq!(replicas::by_total(workload, 100, 105), Ok(2));
    assert_eq!(replicas::by_total(Workload { current: 0, ..workload }, 100, 250), Ok(3));
    let pods = [requesting("p", json!({"cpu": "1"}))];
    let unready = "did not receive metrics for targeted pods (pods might be unready)";
    let with_pods = Workload { pods: &pods, ..workload };
    assert_eq!(replicas::by_average(with_pods, "cpu", 1, Samples::new()), Err(unready.into()));
}
