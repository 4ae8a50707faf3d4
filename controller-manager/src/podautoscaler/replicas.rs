//! How many pods there should be, by one metric. Amounts are thousandths. Upstream: `replica_calculator.go` and
//! `metrics/utilization.go`.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use k8s_openapi::{api::core::v1::Pod, jiff::Timestamp};

use super::requests::{self, Groups, Patience, Sample, Samples};
use crate::util::pods;

/// By which part the usage may differ from the target without anything being done.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Tolerances {
    pub(super) down: f64,
    pub(super) up: f64,
}

impl Tolerances {
    fn allow(self, ratio: f64) -> bool {
        (1.0 - self.down) <= ratio && ratio <= (1.0 + self.up)
    }
}

/// What a calculation is about.
#[derive(Clone, Copy)]
pub(super) struct Workload<'a> {
    /// Those that its selector takes.
    pub(super) pods: &'a [Arc<Pod>],
    /// How many it is to have at present.
    pub(super) current: i32,
    pub(super) tolerances: Tolerances,
    pub(super) patience: Patience,
    pub(super) now: Timestamp,
}

const NO_PODS: &str = "no pods returned by selector while calculating replica count";
const NO_METRICS: &str = "did not receive metrics for targeted pods (pods might be unready)";

/// The proposed number, the utilisation in percent, and the average usage.
pub(super) type Utilized = (i32, i32, i64);

/// By a percentage of what pods request of a resource; of one container, unless `container` is empty.
///
/// # Errors
/// There are no pods, no figures of pods that are ready, or no requests.
pub(super) fn by_utilization(
    workload: Workload<'_>,
    resource: &str,
    container: &str,
    target: i32,
    mut samples: Samples,
) -> Result<Utilized, String> {
    let groups = sorted_out(workload, resource, &mut samples)?;
    let requests = requests::of_pods(workload.pods, container, resource)?;
    let (ratio, utilization, average) = utilization(&samples, &requests, target)?;
    // Of a missing pod it is assumed that it uses all that it requests, or what the target is above that.
    let assumed = |name: &String| requests.get(name).copied().unwrap_or(0).saturating_mul(target.max(100).into()) / 100;
    let again = |samples: &Samples| utilization_ratio(samples, &requests, target);
    let replicas = decided(workload, &groups, ratio, samples, assumed, again)?;
    Ok((replicas, utilization, average))
}

/// By an average amount: of a resource, or (`resource` is empty) of any other metric of pods. The proposed number, and
/// the average usage.
///
/// # Errors
/// There are no pods, or no figures of pods that are ready.
pub(super) fn by_average(
    workload: Workload<'_>,
    resource: &str,
    target: i64,
    mut samples: Samples,
) -> Result<(i32, i64), String> {
    let groups = sorted_out(workload, resource, &mut samples)?;
    let (ratio, usage) = average(&samples, target);
    let again = |samples: &Samples| Ok(average(samples, target).0);
    let replicas = decided(workload, &groups, ratio, samples, |_| target, again)?;
    Ok((replicas, usage))
}

/// By the amount that an object, or something outside, has. Without pods the ratio alone counts.
///
/// # Errors
/// There are no pods.
pub(super) fn by_total(workload: Workload<'_>, target: i64, usage: i64) -> Result<i32, String> {
    let ratio = usage as f64 / target as f64;
    if workload.current == 0 {
        return Ok(ratio.ceil() as i32);
    }
    if workload.tolerances.allow(ratio) {
        return Ok(workload.current);
    }
    if workload.pods.is_empty() {
        return Err(format!("unable to calculate ready pods: {NO_PODS}"));
    }
    let ready = workload.pods.iter().filter(|pod| pods::phase(pod) == "Running" && pods::is_ready(pod)).count();
    Ok((ratio * ready as f64).ceil() as i32)
}

/// By the amount that there is to be for each pod of those that there are. The proposed number, and the average usage.
pub(super) fn by_total_per_pod(tolerances: Tolerances, there_are: i32, target: i64, usage: i64) -> (i32, i64) {
    let ratio = usage as f64 / (target as f64 * f64::from(there_are));
    let replicas = match tolerances.allow(ratio) {
        true => there_are,
        false => (usage as f64 / target as f64).ceil() as i32,
    };
    let average = if usage == i64::MAX { usage } else { (usage as f64 / f64::from(there_are)).ceil() as i64 };
    (replicas, average)
}

/// The values of a metric together.
pub(super) fn total(values: &[i64]) -> i64 {
    values.iter().fold(0, |sum: i64, value| sum.saturating_add(*value))
}

/// Drops the figures that do not count.
fn sorted_out(workload: Workload<'_>, resource: &str, samples: &mut Samples) -> Result<Groups, String> {
    if workload.pods.is_empty() {
        return Err(NO_PODS.into());
    }
    let groups = requests::group(workload.pods, samples, resource, workload.patience, workload.now);
    samples.retain(|name, _| !groups.ignored.contains(name) && !groups.unready.contains(name));
    if samples.is_empty() { Err(NO_METRICS.into()) } else { Ok(groups) }
}

/// From the ratio of those that count to a number. Of the others the opposite of what would be done is assumed: that they
/// use what they may if there is to be less, and nothing if there is to be more.
fn decided(
    workload: Workload<'_>,
    groups: &Groups,
    ratio: f64,
    mut samples: Samples,
    assumed: impl Fn(&String) -> i64,
    again: impl Fn(&Samples) -> Result<f64, String>,
) -> Result<i32, String> {
    let Workload { current, tolerances, now, .. } = workload;
    let up_with_unready = !groups.unready.is_empty() && ratio > 1.0;
    if !up_with_unready && groups.missing.is_empty() {
        return Ok(if tolerances.allow(ratio) { current } else { (ratio * groups.ready as f64).ceil() as i32 });
    }
    let mut assume = |names: &BTreeSet<String>, amount: &dyn Fn(&String) -> i64| {
        let sample = |value| Sample { at: now, window: Default::default(), value };
        samples.extend(names.iter().map(|name| (name.clone(), sample(amount(name)))));
    };
    if ratio < 1.0 {
        assume(&groups.missing, &assumed);
    } else if ratio > 1.0 {
        assume(&groups.missing, &|_| 0);
    }
    if up_with_unready {
        assume(&groups.unready, &|_| 0);
    }
    let new = again(&samples)?;
    if tolerances.allow(new) || (ratio < 1.0 && new > 1.0) || (ratio > 1.0 && new < 1.0) {
        return Ok(current);
    }
    let replicas = (new * samples.len() as f64).ceil() as i32;
    let turned = (new < 1.0 && replicas > current) || (new > 1.0 && replicas < current);
    Ok(if turned { current } else { replicas })
}

/// The ratio of utilisation to target, the utilisation in percent, and the average usage.
pub(super) fn utilization(
    samples: &Samples,
    requests: &BTreeMap<String, i64>,
    target: i32,
) -> Result<(f64, i32, i64), String> {
    let (mut used, mut requested, mut number) = (0i64, 0i64, 0i64);
    for (name, sample) in samples {
        let Some(request) = requests.get(name) else { continue };
        used = used.saturating_add(sample.value);
        requested = requested.saturating_add(*request);
        number += 1;
    }
    if requested == 0 {
        return Err("no metrics returned matched known pods".into());
    }
    let percent = (i128::from(used) * 100 / i128::from(requested)) as i32;
    Ok((f64::from(percent) / f64::from(target), percent, used / number))
}

fn utilization_ratio(samples: &Samples, requests: &BTreeMap<String, i64>, target: i32) -> Result<f64, String> {
    utilization(samples, requests, target).map(|(ratio, ..)| ratio)
}

/// The ratio of the average to the target, and the average.
pub(super) fn average(samples: &Samples, target: i64) -> (f64, i64) {
    let used = samples.values().fold(0i64, |sum, sample| sum.saturating_add(sample.value));
    let average = used / (samples.len().max(1) as i64);
    (average as f64 / target as f64, average)
}
