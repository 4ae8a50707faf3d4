//! What a kubelet says on `/metrics/resource`, in Prometheus' text form, as far as it is used here.

use std::collections::HashMap;

use super::points::Point;

/// Namespace and name.
pub(super) type PodKey = (Box<str>, Box<str>);

type Pods = HashMap<PodKey, HashMap<Box<str>, Point>>;

/// One node's figures.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Batch {
    /// The node's own; `None` where one of them is missing.
    pub node: Option<Point>,
    /// Of each pod's containers; without pods of which a container's figure is missing.
    pub pods: Pods,
}

/// Reads the text. What has no time of its own was measured at `now_ms` (since 1970).
pub(super) fn parse(text: &str, now_ms: i64) -> Batch {
    let mut node = Point::default();
    let mut pods = Pods::new();
    for line in text.lines() {
        let Some((series, value, at_ms)) = read(line) else { continue };
        let at_ms = at_ms.unwrap_or(now_ms);
        let (name, labels) = series.split_once('{').unwrap_or((series, ""));
        match name {
            "node_cpu_usage_seconds_total" => (node.cpu_ns, node.at_ms) = (nanoseconds(value), at_ms),
            "node_memory_working_set_bytes" => (node.memory_bytes, node.at_ms) = (value as u64, at_ms),
            "container_cpu_usage_seconds_total" => {
                if let Some(point) = container(&mut pods, labels) {
                    (point.cpu_ns, point.at_ms) = (nanoseconds(value), at_ms);
                }
            }
            "container_memory_working_set_bytes" => {
                if let Some(point) = container(&mut pods, labels) {
                    (point.memory_bytes, point.at_ms) = (value as u64, at_ms);
                }
            }
            "container_start_time_seconds" => {
                if let Some(point) = container(&mut pods, labels) {
                    point.started_ms = (value * 1e3) as i64;
                }
            }
            _ => {}
        }
    }
    pods.retain(|_, containers| containers.values().all(Point::is_complete));
    Batch { node: Some(node).filter(Point::is_complete), pods }
}

/// The place of the container that labels name.
fn container<'p>(pods: &'p mut Pods, labels: &str) -> Option<&'p mut Point> {
    let key = (label(labels, "namespace")?.into(), label(labels, "pod")?.into());
    Some(pods.entry(key).or_default().entry(label(labels, "container")?.into()).or_default())
}

fn nanoseconds(seconds: f64) -> u64 {
    (seconds * 1e9) as u64
}

/// A line's series, value and time of measurement.
fn read(line: &str) -> Option<(&str, f64, Option<i64>)> {
    if line.starts_with('#') {
        return None;
    }
    let end = line.find('}').map_or_else(|| line.find(' '), |brace| Some(brace + 1))?;
    let (series, rest) = line.split_at(end);
    let mut rest = rest.split_whitespace();
    let value = rest.next()?.parse().ok()?;
    Some((series, value, rest.next().and_then(|stamp| stamp.parse().ok())))
}

/// A label's value: names of objects, which have nothing to escape.
fn label<'l>(labels: &'l str, name: &str) -> Option<&'l str> {
    let pairs = labels.trim_end_matches('}').split(',');
    pairs.filter_map(|pair| pair.split_once('=')).find(|(n, _)| *n == name).map(|(_, value)| value.trim_matches('"'))
}
