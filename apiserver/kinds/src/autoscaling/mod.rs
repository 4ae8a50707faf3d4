//! HorizontalPodAutoscalers: what is scaled, between which numbers, by which metrics and how fast. Both served versions are
//! checked as v2, in whose fields upstream tells the faults of v1 too. Follows `pkg/apis/autoscaling/validation`.

mod metrics;
#[cfg(test)]
mod tests;

use std::borrow::Cow;

use machinery::field::{ErrorList, Path};
use machinery::gvk::{GroupVersion, GroupVersionKind};
use machinery::names;
use serde_json::Value;

use machinery::json::Fields;
use model::check::Faults;
use writes::strategy::{Strategy, WriteContext};

/// HorizontalPodAutoscalers in any version.
pub struct Autoscalers;

const MAX_PERIOD_SECONDS: i64 = 1800;
const MAX_WINDOW_SECONDS: i64 = 3600;

impl Strategy for Autoscalers {
    fn validate(&self, cx: &WriteContext<'_>, autoscaler: &Value) -> ErrorList {
        validate(&as_v2(cx, autoscaler), None)
    }

    fn validate_update(&self, cx: &WriteContext<'_>, autoscaler: &Value, old: &Value) -> ErrorList {
        if cx.subresource == Some("status") {
            return status(&autoscaler["status"]);
        }
        validate(&as_v2(cx, autoscaler), Some(&as_v2(cx, old)))
    }
}

fn as_v2<'o>(cx: &WriteContext<'_>, autoscaler: &'o Value) -> Cow<'o, Value> {
    let from = cx.resource.kind();
    if from.version == "v2" {
        return Cow::Borrowed(autoscaler);
    }
    let to = GroupVersionKind::new("autoscaling", "v2", "HorizontalPodAutoscaler");
    Cow::Owned(api::convert::convert(autoscaler, &from, &to))
}

/// What the `apiVersion` of a reference may be.
#[derive(Clone, Copy)]
enum Versions {
    /// Any text: an older server let pass what is no version.
    Any,
    /// Of any group.
    AnyGroup,
    /// Not of the core group.
    Grouped,
}

fn validate(autoscaler: &Value, old: Option<&Value>) -> ErrorList {
    let (spec, at) = (&autoscaler["spec"], Path::new("spec"));
    let before = old.map(|old| &old["spec"]);
    let mut errors = ErrorList::new();
    let least = i64::from(before.int("minReplicas") != Some(0));
    let (min, max) = (spec.int("minReplicas"), spec.int("maxReplicas").unwrap_or(0));
    if let Some(min) = min.filter(|min| *min < least) {
        errors.invalid(&at.child("minReplicas"), min, format!("must be greater than or equal to {least}"));
    }
    match max {
        0 => errors.required(&at.child("maxReplicas"), "must be set and greater than 0"),
        ..0 => errors.invalid(&at.child("maxReplicas"), max, "must be greater than or equal to 1"),
        _ => {}
    }
    if min.is_some_and(|min| max < min) {
        errors.invalid(&at.child("maxReplicas"), max, "must be greater than or equal to `minReplicas`");
    }
    let (target, before_target) = (spec.sub("scaleTargetRef"), before.sub("scaleTargetRef"));
    let kept = before.is_some() && ["apiVersion", "kind"].iter().all(|f| target.text(f) == before_target.text(f));
    let versions = match kept {
        true => Versions::Any,
        false if target.text("kind") == "ReplicationController" => Versions::AnyGroup,
        false => Versions::Grouped,
    };
    reference(target, versions, &at.child("scaleTargetRef"), &mut errors);
    let described = |metric: &&Value| metric.text("type") == "Object" && metric.has("object");
    let invalid = before.list("metrics").iter().filter(described).any(|metric| {
        let object = metric.sub("object").sub("describedObject");
        api_version(object.text("apiVersion"), Versions::AnyGroup).is_some()
    });
    let versions = if invalid { Versions::Any } else { Versions::AnyGroup };
    metrics::validate(spec.list("metrics"), min, versions, &at.child("metrics"), &mut errors);
    for field in ["scaleUp", "scaleDown"] {
        if let Some(rules) = spec.sub("behavior").sub(field) {
            scaling_rules(rules, &at.child("behavior").child(field), &mut errors);
        }
    }
    errors
}

/// A reference to an object of any kind.
fn reference(reference: Option<&Value>, versions: Versions, at: &Path, errors: &mut ErrorList) {
    for field in ["kind", "name"] {
        let (text, at) = (reference.text(field), at.child(field));
        if text.is_empty() {
            errors.required(&at, "");
        } else {
            errors.each(&at, text, names::path_segment(text));
        }
    }
    let version = reference.text("apiVersion");
    if let Some(fault) = api_version(version, versions) {
        errors.invalid(&at.child("apiVersion"), version, fault);
    }
}

fn api_version(text: &str, versions: Versions) -> Option<String> {
    match (GroupVersion::parse(text), versions) {
        (_, Versions::Any) => None,
        (Err(fault), _) => Some(fault),
        (Ok(version), Versions::Grouped) if version.group.is_empty() => {
            Some("apiVersion must specify API group".to_owned())
        }
        _ => None,
    }
}

fn scaling_rules(rules: &Value, at: &Path, errors: &mut ErrorList) {
    let window = rules.int("stabilizationWindowSeconds").unwrap_or(0);
    let here = at.child("stabilizationWindowSeconds");
    if window < 0 {
        errors.invalid(&here, window, "must be greater than or equal to zero");
    }
    if window > MAX_WINDOW_SECONDS {
        errors.invalid(&here, window, format!("must be less than or equal to {MAX_WINDOW_SECONDS}"));
    }
    if let Some(policy) = rules.sub("selectPolicy").and_then(Value::as_str)
        && !matches!(policy, "Max" | "Min" | "Disabled")
    {
        errors.unsupported(&at.child("selectPolicy"), policy, &["Disabled", "Max", "Min"]);
    }
    let policies = at.child("policies");
    if rules.list("policies").is_empty() {
        errors.required(&policies, "must specify at least one Policy");
    }
    for (i, policy) in rules.list("policies").iter().enumerate() {
        scaling_policy(policy, &policies.index(i), errors);
    }
    if let Some(tolerance) = rules.quantity("tolerance").filter(|tolerance| tolerance.sign() < 0) {
        errors.invalid(&at.child("tolerance"), tolerance.to_string(), "must be greater than or equal to 0");
    }
}

fn scaling_policy(policy: &Value, at: &Path, errors: &mut ErrorList) {
    let kind = policy.text("type");
    if !matches!(kind, "Pods" | "Percent") {
        errors.unsupported(&at.child("type"), kind, &["Percent", "Pods"]);
    }
    for field in ["value", "periodSeconds"] {
        errors.positive(&at.child(field), policy.int(field).unwrap_or(0));
    }
    if let Some(period) = policy.int("periodSeconds").filter(|period| *period > MAX_PERIOD_SECONDS) {
        let detail = format!("must be less than or equal to {MAX_PERIOD_SECONDS}");
        errors.invalid(&at.child("periodSeconds"), period, detail);
    }
}

fn status(status: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    for field in ["currentReplicas", "desiredReplicas"] {
        errors.nonnegative(&Path::new("status").child(field), status.int(field).unwrap_or(0));
    }
    errors
}
