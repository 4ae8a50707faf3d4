//! HorizontalPodAutoscaler: v1 knows one CPU target; all else that v2 has travels in annotations, under upstream's names
//! and in upstream's form, so that a v1 client that writes back what it read loses nothing.

use serde_json::{Map, Value, json};

use super::rename;
use crate::{defaults, encode, schema};

const METRICS: &str = "autoscaling.alpha.kubernetes.io/metrics";
const CURRENT_METRICS: &str = "autoscaling.alpha.kubernetes.io/current-metrics";
const CONDITIONS: &str = "autoscaling.alpha.kubernetes.io/conditions";
const BEHAVIOR: &str = "autoscaling.alpha.kubernetes.io/behavior";
const OTHERS: &[&str] =
    &["autoscaling.alpha.kubernetes.io/scale-down-tolerance", "autoscaling.alpha.kubernetes.io/scale-up-tolerance"];

pub(super) fn v1_to_v2(hpa: &mut Map<String, Value>) {
    let mut carried = take_annotations(hpa);
    let mut list = |name: &str| -> Option<Vec<Value>> { serde_json::from_str(&carried.remove(name)?).ok() };

    let spec = object(hpa, "spec");
    let cpu = spec.remove("targetCPUUtilizationPercentage").map(|percent| {
        json!({"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": percent}}})
    });
    let mut metrics: Vec<Value> = list(METRICS).unwrap_or_default().into_iter().map(metric_to_v2).collect();
    metrics.extend(cpu);
    spec.insert("metrics".into(), if metrics.is_empty() { defaults::default_metrics() } else { Value::Array(metrics) });

    let status = object(hpa, "status");
    let percent = status.remove("currentCPUUtilizationPercentage");
    match (list(CURRENT_METRICS), percent) {
        (Some(current), _) => {
            status.insert("currentMetrics".into(), current.into_iter().map(status_to_v2).collect());
        }
        (None, Some(percent)) => {
            let metric =
                json!([{"type": "Resource", "resource": {"name": "cpu", "current": {"averageUtilization": percent}}}]);
            status.insert("currentMetrics".into(), metric);
        }
        (None, None) => {}
    }
    if let Some(conditions) = list(CONDITIONS) {
        status.insert("conditions".into(), Value::Array(conditions));
    }
    if status.is_empty() {
        hpa.remove("status");
    }
    let behavior =
        carried.get(BEHAVIOR).and_then(|text| serde_json::from_str::<Value>(text).ok()).map(|v| recase(v, lower_first));
    if let Some(behavior) = behavior.filter(|b| b.as_object().is_some_and(|b| !b.is_empty())) {
        object(hpa, "spec").insert("behavior".into(), behavior);
    }
}

pub(super) fn v2_to_v1(hpa: &mut Map<String, Value>) {
    take_annotations(hpa);
    let mut carried: Vec<(&str, String)> = Vec::new();

    let spec = object(hpa, "spec");
    let metrics = array(spec.remove("metrics"));
    let is_cpu = |m: &Value| {
        m["type"] == "Resource"
            && m["resource"]["name"] == "cpu"
            && !m["resource"]["target"]["averageUtilization"].is_null()
    };
    if let Some(cpu) = metrics.iter().find(|m| is_cpu(m)) {
        spec.insert("targetCPUUtilizationPercentage".into(), cpu["resource"]["target"]["averageUtilization"].clone());
    }
    let others: Vec<Value> = metrics.into_iter().filter(|m| !is_cpu(m)).map(metric_to_v1).collect();
    if !others.is_empty() {
        carried.push((METRICS, encoded("MetricSpec", &others)));
    }
    if let Some(behavior) = spec.remove("behavior") {
        carried.push((BEHAVIOR, internal_behavior(&behavior)));
    }

    if let Some(status) = hpa.get_mut("status").and_then(Value::as_object_mut) {
        let current = array(status.remove("currentMetrics"));
        for metric in &current {
            let percent = &metric["resource"]["current"]["averageUtilization"];
            if metric["type"] == "Resource" && metric["resource"]["name"] == "cpu" && !percent.is_null() {
                status.insert("currentCPUUtilizationPercentage".into(), percent.clone());
            }
        }
        if !current.is_empty() {
            let current: Vec<Value> = current.into_iter().map(status_to_v1).collect();
            carried.push((CURRENT_METRICS, encoded("MetricStatus", &current)));
        }
        let conditions = array(status.remove("conditions"));
        if !conditions.is_empty() {
            carried.push((CONDITIONS, encoded("HorizontalPodAutoscalerCondition", &conditions)));
        }
    }
    if !carried.is_empty() {
        let annotations = object(object(hpa, "metadata"), "annotations");
        annotations.extend(carried.into_iter().map(|(name, text)| (name.to_owned(), Value::String(text))));
    }
}

/// Removes the annotations in which v2's fields travel, and returns them.
fn take_annotations(hpa: &mut Map<String, Value>) -> std::collections::HashMap<&'static str, String> {
    let Some(annotations) =
        hpa.get_mut("metadata").and_then(|m| m.get_mut("annotations")).and_then(Value::as_object_mut)
    else {
        return Default::default();
    };
    let names = [METRICS, CURRENT_METRICS, CONDITIONS, BEHAVIOR].into_iter().chain(OTHERS.iter().copied());
    names.filter_map(|name| Some((name, annotations.remove(name)?.as_str()?.to_owned()))).collect()
}

fn object<'a>(map: &'a mut Map<String, Value>, name: &str) -> &'a mut Map<String, Value> {
    let value = map.entry(name).or_insert_with(|| json!({}));
    if !value.is_object() {
        *value = json!({});
    }
    value.as_object_mut().expect("it was just made one")
}

fn array(value: Option<Value>) -> Vec<Value> {
    match value {
        Some(Value::Array(items)) => items,
        _ => Vec::new(),
    }
}

/// A list as Go marshals it: struct order, zero values.
fn encoded(ty: &str, items: &[Value]) -> String {
    let ty =
        schema::named("autoscaling.v1", ty).expect("the table has autoscaling/v1's metric types, a test checks it");
    let items: Vec<String> =
        items.iter().map(|i| String::from_utf8_lossy(&encode::to_vec(i, ty)).into_owned()).collect();
    format!("[{}]", items.join(","))
}

/// Upstream marshals its internal type here: Go's field names, nothing omitted.
fn internal_behavior(behavior: &Value) -> String {
    let rules = |rules: &Value| -> String {
        if rules.is_null() {
            return "null".into();
        }
        let policy = |p: &Value| {
            format!(r#"{{"Type":{},"Value":{},"PeriodSeconds":{}}}"#, p["type"], p["value"], p["periodSeconds"])
        };
        let policies = match rules["policies"].as_array() {
            Some(policies) => format!("[{}]", policies.iter().map(policy).collect::<Vec<_>>().join(",")),
            None => "null".into(),
        };
        format!(
            r#"{{"StabilizationWindowSeconds":{},"SelectPolicy":{},"Policies":{policies},"Tolerance":{}}}"#,
            rules["stabilizationWindowSeconds"], rules["selectPolicy"], rules["tolerance"]
        )
    };
    format!(r#"{{"ScaleUp":{},"ScaleDown":{}}}"#, rules(&behavior["scaleUp"]), rules(&behavior["scaleDown"]))
}

fn lower_first(name: &str) -> String {
    let mut chars = name.chars();
    chars.next().map(|c| c.to_ascii_lowercase().to_string() + chars.as_str()).unwrap_or_default()
}

/// Renames all keys, and drops nulls.
fn recase(value: Value, name: fn(&str) -> String) -> Value {
    match value {
        Value::Object(map) => {
            map.into_iter().filter(|(_, v)| !v.is_null()).map(|(k, v)| (name(&k), recase(v, name))).collect()
        }
        Value::Array(items) => items.into_iter().map(|v| recase(v, name)).collect(),
        other => other,
    }
}

/// The part of a metric that its type names: `Pods` is in `pods`.
fn part(metric: &mut Value) -> Option<(String, &mut Map<String, Value>)> {
    let name = lower_first(metric["type"].as_str()?);
    let part = metric.get_mut(&name)?.as_object_mut()?;
    Some((name, part))
}

fn take(map: &mut Map<String, Value>, name: &str) -> Value {
    map.remove(name).unwrap_or(Value::Null)
}

/// An object of the fields that have a value.
fn of(fields: &[(&str, Value)]) -> Value {
    fields.iter().filter(|(_, v)| !v.is_null()).map(|(k, v)| ((*k).to_owned(), v.clone())).collect()
}

fn set(map: &mut Map<String, Value>, name: &str, value: Value) {
    if !value.is_null() {
        map.insert(name.to_owned(), value);
    }
}

fn or_zero(value: Value) -> Value {
    if value.is_null() { json!("0") } else { value }
}

fn metric_to_v2(mut metric: Value) -> Value {
    let Some((name, m)) = part(&mut metric) else { return metric };
    let average = if name == "object" { take(m, "averageValue") } else { take(m, "targetAverageValue") };
    let (kind, value, utilization) = match name.as_str() {
        "resource" | "containerResource" => {
            let utilization = take(m, "targetAverageUtilization");
            (if utilization.is_null() { "AverageValue" } else { "Utilization" }, Value::Null, utilization)
        }
        "pods" => ("AverageValue", Value::Null, Value::Null),
        "external" => {
            let value = take(m, "targetValue");
            (if value.is_null() { "AverageValue" } else { "Value" }, value, Value::Null)
        }
        _ => {
            let value = or_zero(take(m, "targetValue"));
            let keep = average.is_null() || value != "0";
            (
                if average.is_null() { "Value" } else { "AverageValue" },
                if keep { value } else { Value::Null },
                Value::Null,
            )
        }
    };
    if name == "object" {
        rename(m, "target", "describedObject");
    }
    identifier_to_v2(&name, m);
    let average = if name == "pods" { or_zero(average) } else { average };
    let target =
        of(&[("type", kind.into()), ("value", value), ("averageValue", average), ("averageUtilization", utilization)]);
    m.insert("target".into(), target);
    metric
}

fn metric_to_v1(mut metric: Value) -> Value {
    let Some((name, m)) = part(&mut metric) else { return metric };
    let mut target = match take(m, "target") {
        Value::Object(target) => target,
        _ => Map::new(),
    };
    if name == "object" {
        rename(m, "describedObject", "target");
    }
    identifier_to_v1(&name, m);
    let (value, average) = (take(&mut target, "value"), take(&mut target, "averageValue"));
    match name.as_str() {
        "object" => {
            set(m, "targetValue", or_zero(value));
            set(m, "averageValue", average);
        }
        "pods" => set(m, "targetAverageValue", or_zero(average)),
        "external" => {
            set(m, "targetValue", value);
            set(m, "targetAverageValue", average);
        }
        _ => {
            set(m, "targetAverageUtilization", take(&mut target, "averageUtilization"));
            set(m, "targetAverageValue", average);
        }
    }
    metric
}

fn status_to_v2(mut metric: Value) -> Value {
    let Some((name, m)) = part(&mut metric) else { return metric };
    let average = if name == "object" { take(m, "averageValue") } else { take(m, "currentAverageValue") };
    let (value, average, utilization) = match name.as_str() {
        "object" | "external" => (or_zero(take(m, "currentValue")), average, Value::Null),
        "pods" => (Value::Null, or_zero(average), Value::Null),
        _ => (Value::Null, or_zero(average), take(m, "currentAverageUtilization")),
    };
    if name == "object" {
        rename(m, "target", "describedObject");
    }
    identifier_to_v2(&name, m);
    m.insert("current".into(), of(&[("value", value), ("averageValue", average), ("averageUtilization", utilization)]));
    metric
}

fn status_to_v1(mut metric: Value) -> Value {
    let Some((name, m)) = part(&mut metric) else { return metric };
    let mut current = match take(m, "current") {
        Value::Object(current) => current,
        _ => Map::new(),
    };
    if name == "object" {
        rename(m, "describedObject", "target");
    }
    identifier_to_v1(&name, m);
    let (value, average) = (take(&mut current, "value"), take(&mut current, "averageValue"));
    match name.as_str() {
        "object" => {
            set(m, "currentValue", or_zero(value));
            set(m, "averageValue", average);
        }
        "external" => {
            set(m, "currentValue", or_zero(value));
            set(m, "currentAverageValue", average);
        }
        "pods" => set(m, "currentAverageValue", or_zero(average)),
        _ => {
            set(m, "currentAverageUtilization", take(&mut current, "averageUtilization"));
            set(m, "currentAverageValue", or_zero(average));
        }
    }
    metric
}

fn selector_name(name: &str) -> Option<&'static str> {
    match name {
        "external" => Some("metricSelector"),
        "object" | "pods" => Some("selector"),
        _ => None,
    }
}

fn identifier_to_v2(name: &str, m: &mut Map<String, Value>) {
    if let Some(selector) = selector_name(name) {
        let metric = of(&[("name", take(m, "metricName")), ("selector", take(m, selector))]);
        m.insert("metric".into(), metric);
    }
}

fn identifier_to_v1(name: &str, m: &mut Map<String, Value>) {
    if let Some(selector) = selector_name(name)
        && let Value::Object(mut metric) = take(m, "metric")
    {
        set(m, "metricName", take(&mut metric, "name"));
        set(m, selector, take(&mut metric, "selector"));
    }
}
