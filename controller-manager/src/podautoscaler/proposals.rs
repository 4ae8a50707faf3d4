//! What each metric of an autoscaler proposes, and what its status says of it. Upstream: `horizontal.go`,
//! computeReplicasForMetric and what it calls.

use k8s_openapi::{
    api::autoscaling::v2::{
        ContainerResourceMetricStatus, ExternalMetricStatus, MetricIdentifier, MetricSpec, MetricStatus, MetricTarget,
        MetricValueStatus, ObjectMetricStatus, PodsMetricStatus, ResourceMetricStatus,
    },
    apimachinery::pkg::{
        api::resource::Quantity as ApiQuantity,
        apis::meta::v1::{LabelSelector, LabelSelectorRequirement},
    },
};
use machinery::quantity::{Format, Quantity};

use super::{
    replicas::{self, Workload},
    requests::Samples,
};

/// What the metrics' servers said of one metric, in thousandths.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Reading {
    /// Of each pod.
    Pods(Samples),
    /// Of one object.
    Object(i64),
    /// Of something outside.
    External(Vec<i64>),
}

/// Why there is no reading.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Unread {
    /// The metric's own selector is none.
    Selector(String),
    /// What asking ended in.
    Asked(String),
}

/// A number of pods, the name of the metric for events, and its status.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Proposal {
    pub(super) replicas: i32,
    pub(super) metric: String,
    pub(super) status: MetricStatus,
}

/// Why a metric proposes nothing.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Invalid {
    /// Of the event and the condition.
    pub(super) reason: &'static str,
    /// What the event says; the condition, after some words.
    pub(super) message: String,
    /// What is said of it among all metrics.
    pub(super) summary: String,
}

fn invalid(reason: &'static str, summary: &str, message: String) -> Invalid {
    Invalid { reason, summary: format!("{summary}: {message}"), message }
}

/// How many pods there are by the target's status, beside what the workload says.
pub(super) type ThereAre = i32;

/// What one metric proposes.
pub(super) fn proposal(
    spec: &MetricSpec,
    workload: Workload<'_>,
    there_are: ThereAre,
    reading: Result<Reading, Unread>,
) -> Result<Proposal, Invalid> {
    match (spec.type_.as_str(), &spec.object, &spec.pods, &spec.resource, &spec.container_resource, &spec.external) {
        ("Object", Some(_), ..) => object(spec, workload, there_are, reading),
        ("Pods", _, Some(_), ..) => pods(spec, workload, reading),
        ("Resource", _, _, Some(source), ..) => {
            let made = resource(&source.name, &source.target, "", workload, reading);
            let summary = format!("failed to get {} resource metric value", source.name);
            let (replicas, metric, current) =
                made.map_err(|message| invalid("FailedGetResourceMetric", &summary, message))?;
            let status = ResourceMetricStatus { name: source.name.clone(), current };
            Ok(Proposal {
                replicas,
                metric,
                status: MetricStatus { type_: "Resource".into(), resource: Some(status), ..Default::default() },
            })
        }
        ("ContainerResource", _, _, _, Some(source), _) => {
            let made = resource(&source.name, &source.target, &source.container, workload, reading);
            let summary = format!("failed to get {} container metric value", source.container);
            let (replicas, metric, current) =
                made.map_err(|message| invalid("FailedGetContainerResourceMetric", &summary, message))?;
            let status = ContainerResourceMetricStatus {
                name: source.name.clone(),
                container: source.container.clone(),
                current,
            };
            let type_ = "ContainerResource".into();
            Ok(Proposal {
                replicas,
                metric,
                status: MetricStatus { type_, container_resource: Some(status), ..Default::default() },
            })
        }
        ("External", .., Some(_)) => external(spec, workload, there_are, reading),
        (other, ..) => {
            let message = format!("unknown metric source type {other:?}");
            Err(Invalid { reason: "InvalidMetricSourceType", summary: message.clone(), message })
        }
    }
}

/// The number, the metric's name, its status.
type Made = Result<(i32, String, MetricValueStatus), String>;

fn resource(
    name: &str,
    target: &MetricTarget,
    container: &str,
    workload: Workload<'_>,
    reading: Result<Reading, Unread>,
) -> Made {
    let samples = match reading {
        Ok(Reading::Pods(samples)) => Ok(samples),
        Ok(_) => Ok(Samples::new()),
        Err(Unread::Asked(why) | Unread::Selector(why)) => {
            Err(format!("unable to get metrics for resource {name}: {why}"))
        }
    };
    if let Some(value) = &target.average_value {
        let made = samples.and_then(|s| replicas::by_average(workload, name, milli(value), s));
        let (replicas, usage) = made.map_err(|why| format!("failed to get {name} usage: {why}"))?;
        let current = MetricValueStatus { average_value: Some(of_resource(name, usage)), ..Default::default() };
        return Ok((replicas, format!("{name} resource"), current));
    }
    let Some(percent) = target.average_utilization else {
        return Err("invalid resource metric source: neither an average utilization target nor an average value (usage) target was set".into());
    };
    let made = samples.and_then(|s| replicas::by_utilization(workload, name, container, percent, s));
    let (replicas, utilization, usage) = made.map_err(|why| format!("failed to get {name} utilization: {why}"))?;
    let of = if container.is_empty() { "resource" } else { "container resource" };
    let current = MetricValueStatus {
        average_utilization: Some(utilization),
        average_value: Some(of_resource(name, usage)),
        value: None,
    };
    Ok((replicas, format!("{name} {of} utilization (percentage of request)"), current))
}

fn pods(spec: &MetricSpec, workload: Workload<'_>, reading: Result<Reading, Unread>) -> Result<Proposal, Invalid> {
    let bad = |message| invalid("FailedGetPodsMetric", "failed to get pods metric value", message);
    let source = spec.pods.clone().unwrap_or_default();
    let samples = match reading {
        Ok(Reading::Pods(samples)) => samples,
        Ok(_) => Samples::new(),
        Err(Unread::Selector(why)) => return Err(bad(why)),
        Err(Unread::Asked(why)) => return Err(bad(format!("unable to get metric {}: {why}", source.metric.name))),
    };
    let target = source.target.average_value.as_ref().map_or(0, milli);
    let (replicas, usage) = replicas::by_average(workload, "", target, samples).map_err(bad)?;
    let metric = format!("pods metric {}", source.metric.name);
    let current = MetricValueStatus { average_value: Some(amount(usage)), ..Default::default() };
    let status = PodsMetricStatus { metric: source.metric, current };
    let status = MetricStatus { type_: "Pods".into(), pods: Some(status), ..Default::default() };
    Ok(Proposal { replicas, metric, status })
}

fn object(
    spec: &MetricSpec,
    workload: Workload<'_>,
    there_are: ThereAre,
    reading: Result<Reading, Unread>,
) -> Result<Proposal, Invalid> {
    let bad = |message| invalid("FailedGetObjectMetric", "failed to get object metric value", message);
    let source = spec.object.clone().unwrap_or_default();
    let (name, object) = (source.metric.name.clone(), source.described_object.clone());
    let usage = match reading {
        Ok(Reading::Object(usage)) => Ok(usage),
        Ok(_) => Ok(0),
        Err(Unread::Selector(why)) => return Err(bad(why)),
        Err(Unread::Asked(why)) => Err(why),
    };
    let made = |status_of: MetricValueStatus, replicas, metric| {
        let status = ObjectMetricStatus {
            described_object: source.described_object.clone(),
            metric: source.metric.clone(),
            current: status_of,
        };
        let status = MetricStatus { type_: "Object".into(), object: Some(status), ..Default::default() };
        Proposal { replicas, metric, status }
    };
    match (source.target.type_.as_str(), &source.target.value, &source.target.average_value) {
        ("Value", Some(value), _) => {
            let usage = usage.map_err(bad)?;
            let replicas = replicas::by_total(workload, milli(value), usage).map_err(bad)?;
            let current = MetricValueStatus { value: Some(amount(usage)), ..Default::default() };
            Ok(made(current, replicas, format!("{} metric {name}", object.kind)))
        }
        ("AverageValue", _, Some(value)) => {
            // Of this one the event's words are not those of the condition.
            let usage = usage.map_err(|why| Invalid {
                reason: "FailedGetObjectMetric",
                summary: format!("failed to get object metric value: failed to get {name} object metric: {why}"),
                message: why,
            })?;
            let (replicas, usage) = replicas::by_total_per_pod(workload.tolerances, there_are, milli(value), usage);
            let current = MetricValueStatus { average_value: Some(amount(usage)), ..Default::default() };
            Ok(made(current, replicas, external_name(&source.metric)))
        }
        _ => {
            Err(bad("invalid object metric source: neither a value target nor an average value target was set".into()))
        }
    }
}

fn external(
    spec: &MetricSpec,
    workload: Workload<'_>,
    there_are: ThereAre,
    reading: Result<Reading, Unread>,
) -> Result<Proposal, Invalid> {
    let source = spec.external.clone().unwrap_or_default();
    let name = &source.metric.name;
    let bad = |message: String, words: String| Invalid {
        reason: "FailedGetExternalMetric",
        summary: format!("failed to get {name} external metric value: {words}{message}"),
        message,
    };
    let usage = match reading {
        Ok(Reading::External(values)) => Ok(replicas::total(&values)),
        Ok(_) => Ok(0),
        Err(Unread::Selector(why) | Unread::Asked(why)) => Err(why),
    };
    let (replicas, current) = if let Some(value) = &source.target.average_value {
        let usage = usage.map_err(|why| bad(why, format!("failed to get {name} external metric: ")))?;
        let (replicas, usage) = replicas::by_total_per_pod(workload.tolerances, there_are, milli(value), usage);
        (replicas, MetricValueStatus { average_value: Some(amount(usage)), ..Default::default() })
    } else if let Some(value) = &source.target.value {
        let words = || format!("failed to get external metric {name}: ");
        let usage = usage.map_err(|why| bad(why, words()))?;
        let replicas = replicas::by_total(workload, milli(value), usage).map_err(|why| bad(why, words()))?;
        (replicas, MetricValueStatus { value: Some(amount(usage)), ..Default::default() })
    } else {
        let message = "invalid external metric source: neither a value target nor an average value target was set";
        return Err(bad(message.into(), String::new()));
    };
    let metric = external_name(&source.metric);
    let status = ExternalMetricStatus { metric: source.metric, current };
    let status = MetricStatus { type_: "External".into(), external: Some(status), ..Default::default() };
    Ok(Proposal { replicas, metric, status })
}

fn external_name(metric: &MetricIdentifier) -> String {
    format!("external metric {}({})", metric.name, go_selector(metric.selector.as_ref()))
}

/// As Go prints a selector of the API.
pub(super) fn go_selector(selector: Option<&LabelSelector>) -> String {
    let Some(selector) = selector else { return "nil".into() };
    let labels = selector.match_labels.iter().flatten().map(|(key, value)| format!("{key}: {value},"));
    let expression = |e: &LabelSelectorRequirement| {
        let values = e.values.as_deref().unwrap_or_default().join(" ");
        format!("LabelSelectorRequirement{{Key:{},Operator:{},Values:[{values}],}},", e.key, e.operator)
    };
    let expressions = selector.match_expressions.iter().flatten().map(expression);
    format!(
        "&LabelSelector{{MatchLabels:map[string]string{{{}}},MatchExpressions:[]LabelSelectorRequirement{{{}}},}}",
        labels.collect::<String>(),
        expressions.collect::<String>(),
    )
}

/// Thousandths of an amount in a spec.
pub(super) fn milli(amount: &ApiQuantity) -> i64 {
    Quantity::parse(&amount.0).map_or(0, |q| q.milli_value())
}

/// So many thousandths.
fn amount(milli: i64) -> ApiQuantity {
    ApiQuantity(Quantity::from_milli(milli).canonical())
}

/// The same of a resource: memory in powers of two, as the metrics' server writes it.
fn of_resource(name: &str, milli: i64) -> ApiQuantity {
    match name == "memory" && milli % 1000 == 0 {
        true => ApiQuantity(Quantity::new(milli / 1000, Format::BinarySi).canonical()),
        false => amount(milli),
    }
}
