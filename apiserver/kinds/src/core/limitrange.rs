//! LimitRanges: for each type of object once, bounds that leave room for the defaults between them. Follows
//! ValidateLimitRange of `pkg/apis/core/validation`.

use std::collections::BTreeSet;

use machinery::field::{ErrorList, Path};
use machinery::json::Fields;
use machinery::names;
use machinery::quantity::{Format, Quantity};
use model::check::Faults;
use serde_json::Value;

use super::pod::validation::resources::{container_resource_name, is_huge_page, resource_name};
use crate::checked::Checked;

/// LimitRanges.
pub fn limit_ranges() -> Checked {
    Checked::object(limit_range)
}

fn limit_range(range: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    let limits = range["spec"].list("limits");
    for (i, limit) in limits.iter().enumerate() {
        let at = Path::new("spec").child("limits").index(i);
        let kind = limit.text("type");
        let before = errors.len();
        errors.each(&at.child("type"), kind, names::qualified_name(kind));
        let known = matches!(kind, "Pod" | "Container" | "PersistentVolumeClaim");
        if errors.len() == before && !known && !kind.contains('/') {
            errors.invalid(&at.child("type"), kind, "must be a standard limit type or fully qualified");
        }
        if limits[..i].iter().any(|earlier| earlier.text("type") == kind) {
            errors.duplicate(&at.child("type"), kind);
        }
        let mut resources = BTreeSet::new();
        for field in ["max", "min", "default", "defaultRequest", "maxLimitRequestRatio"] {
            if kind == "Pod" && matches!(field, "default" | "defaultRequest") {
                if limit.entries(field).next().is_some() {
                    errors.forbidden(&at.child(field), "may not be specified when `type` is 'Pod'");
                }
                continue;
            }
            if field == "maxLimitRequestRatio" && kind == "PersistentVolumeClaim" {
                let bounds = [limit.sub("min"), limit.sub("max")];
                if bounds.iter().all(|bound| !bound.has("storage")) {
                    let why = "either minimum or maximum storage value is required, but neither was provided";
                    errors.required(&at.child("limits"), why);
                }
            }
            for (name, _) in limit.entries(field) {
                let at = at.child(field).key(name);
                if matches!(kind, "Pod" | "Container") {
                    container_resource_name(name, &at, &mut errors);
                } else {
                    resource_name(name, &at, &mut errors);
                }
                resources.insert(name);
            }
        }
        for name in resources {
            of_resource(limit, kind, name, &at, &mut errors);
        }
    }
    errors
}

/// That the figures for one resource agree.
fn of_resource(limit: &Value, kind: &str, name: &str, at: &Path, errors: &mut ErrorList) {
    let of = |field: &str| limit.sub(field).quantity(name);
    let (min, max, ratio) = (of("min"), of("max"), of("maxLimitRequestRatio"));
    let (default, request) = if kind == "Pod" { (None, None) } else { (of("default"), of("defaultRequest")) };
    let mut ordered =
        |low: &Option<Quantity>, high: &Option<Quantity>, words: [&str; 2], field: &str, shown: &Option<Quantity>| {
            if let (Some(low), Some(high), Some(shown)) = (low, high, shown)
                && low > high
            {
                let why = format!("{} value {low} is greater than {} value {high}", words[0], words[1]);
                errors.invalid(&at.child(field).key(name), shown.to_string(), why);
            }
        };
    ordered(&min, &max, ["min", "max"], "min", &min);
    ordered(&min, &request, ["min", "default request"], "defaultRequest", &request);
    ordered(&request, &max, ["default request", "max"], "defaultRequest", &request);
    ordered(&request, &default, ["default request", "default limit"], "defaultRequest", &request);
    ordered(&min, &default, ["min", "default"], "default", &min);
    ordered(&default, &max, ["default", "max"], "default", &max);
    if let Some(ratio) = &ratio {
        let at = at.child("maxLimitRequestRatio").key(name);
        if *ratio < Quantity::new(1, Format::DecimalSi) {
            errors.invalid(&at, ratio.to_string(), format!("ratio {ratio} is less than 1"));
        }
        if let (Some(min), Some(max)) = (&min, &max) {
            let most = max.as_f64() / min.as_f64();
            if ratio.as_f64() > most {
                errors.invalid(&at, ratio.to_string(), format!("ratio {ratio} is greater than max/min = {most:.6}"));
            }
        }
    }
    if let (Some(default), Some(request)) = (&default, &request)
        && default != request
        && (!names::is_native_resource(name) || is_huge_page(name))
    {
        let why = format!("default value {default} must equal to defaultRequest value {request} in {name}");
        errors.invalid(&at.child("defaultRequest").key(name), request.to_string(), why);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use model::check::said;

    fn check(limits: Value, want: &[&str]) {
        assert_eq!(said(&limit_range(&json!({"spec": {"limits": limits}}))), want);
    }

    #[test]
    fn types_and_names() {
        check(json!([{"type": "Container", "default": {"cpu": "1"}}, {"type": "Pod", "max": {"memory": "1Gi"}}]), &[]);
        check(
            json!([{"type": "Pod", "default": {"cpu": "1"}}, {"type": "Pod"}, {"type": "Odd"}]),
            &[
                "spec.limits[0].default: Forbidden: may not be specified when `type` is 'Pod'",
                r#"spec.limits[1].type: Duplicate value: "Pod""#,
                r#"spec.limits[2].type: Invalid value: "Odd": must be a standard limit type or fully qualified"#,
            ],
        );
        check(
            json!([{"type": "PersistentVolumeClaim"}]),
            &[
                "spec.limits[0].limits: Required value: either minimum or maximum storage value is required, but neither was provided",
            ],
        );
    }

    #[test]
    fn figures_agree() {
        check(
            json!([{"type": "Container", "min": {"cpu": "2"}, "max": {"cpu": "1"}, "defaultRequest": {"cpu": "3"}, "maxLimitRequestRatio": {"cpu": "500m"}}]),
            &[
                r#"spec.limits[0].min[cpu]: Invalid value: "2": min value 2 is greater than max value 1"#,
                r#"spec.limits[0].defaultRequest[cpu]: Invalid value: "3": default request value 3 is greater than max value 1"#,
                r#"spec.limits[0].maxLimitRequestRatio[cpu]: Invalid value: "500m": ratio 500m is less than 1"#,
            ],
        );
        check(
            json!([{"type": "Container", "default": {"example.com/g": "2"}, "defaultRequest": {"example.com/g": "1"}}]),
            &[
                r#"spec.limits[0].defaultRequest[example.com/g]: Invalid value: "1": default value 2 must equal to defaultRequest value 1 in example.com/g"#,
            ],
        );
    }
}
