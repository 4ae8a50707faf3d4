//! ResourceQuotas: names of what can be counted, amounts of it, and scopes that go with them and with each other. Follows
//! ValidateResourceQuota of `pkg/apis/core/validation`.

use machinery::field::{ErrorList, Path};
use machinery::json::Fields;
use machinery::quantity::Quantity;
use model::check::Faults;
use serde_json::Value;
use writes::strategy::{Strategy, WriteContext};

use super::pod::validation::resources::{resource_name, resource_quantity};

/// ResourceQuotas.
pub struct ResourceQuotas;

/// What is counted of pods by number.
const PODS: [&str; 1] = ["pods"];
/// What pods ask for.
const OF_PODS: [&str; 6] = ["cpu", "memory", "limits.cpu", "limits.memory", "requests.cpu", "requests.memory"];
/// What claims use.
const OF_CLAIMS: [&str; 2] = ["persistentvolumeclaims", "requests.storage"];
/// What else a name without a slash can say.
const OTHERS: [&str; 10] = [
    "ephemeral-storage",
    "requests.ephemeral-storage",
    "limits.ephemeral-storage",
    "resourcequotas",
    "services",
    "replicationcontrollers",
    "secrets",
    "configmaps",
    "services.nodeports",
    "services.loadbalancers",
];
const CONFLICTING: [[&str; 2]; 2] = [["BestEffort", "NotBestEffort"], ["Terminating", "NotTerminating"]];

impl Strategy for ResourceQuotas {
    fn validate(&self, _: &WriteContext<'_>, quota: &Value) -> ErrorList {
        spec(&quota["spec"])
    }

    fn warnings(&self, _: &WriteContext<'_>, quota: &Value, old: Option<&Value>) -> Vec<String> {
        let hard = quota["spec"].sub("hard");
        let said = ["cpu", "memory", "storage", "ephemeral-storage"].into_iter().filter_map(|name| {
            let (request, limit) = (format!("requests.{name}"), format!("limits.{name}"));
            let bare =
                matches!(name, "cpu" | "memory").then(|| Some((name.to_owned(), hard.quantity(name)?))).flatten();
            let (request, least) = hard.quantity(&request).map(|amount| (request, amount)).or(bare)?;
            let most = hard.quantity(&limit)?;
            (least > most).then(|| format!("ResourceQuota {request} ({least}) should be less than {limit} ({most})"))
        });
        if old.is_some() { Vec::new() } else { said.collect() }
    }

    fn validate_update(&self, cx: &WriteContext<'_>, quota: &Value, old: &Value) -> ErrorList {
        if cx.subresource == Some("status") {
            return status(&quota["status"]);
        }
        let mut errors = spec(&quota["spec"]);
        let scopes = |quota: &Value| {
            let mut scopes: Vec<String> = quota["spec"].texts("scopes").map(str::to_owned).collect();
            scopes.sort_unstable();
            scopes.dedup();
            scopes
        };
        if scopes(quota) != scopes(old) {
            let at = Path::new("spec").child("scopes");
            errors.invalid(&at, quota["spec"]["scopes"].clone(), "field is immutable");
        }
        errors
    }
}

fn is_counted(name: &str) -> bool {
    let known = [&PODS[..], &OF_PODS, &OF_CLAIMS, &OTHERS].concat();
    known.contains(&name) || name.starts_with("hugepages-") || name.starts_with("requests.hugepages-")
}

fn amounts(of: Option<&Value>, at: &Path, errors: &mut ErrorList) {
    for (name, amount) in of.into_iter().filter_map(Value::as_object).flatten() {
        let at = at.key(name);
        resource_name(name, &at, errors);
        if !name.contains('/') && !is_counted(name) {
            errors.invalid(&at, name.as_str(), "must be a standard resource for quota");
        }
        if let Some(amount) = Quantity::from_value(amount) {
            resource_quantity(name, &amount, &at, errors);
        }
    }
}

fn status(status: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    for field in ["hard", "used"] {
        amounts(status.sub(field), &Path::new("status").child(field), &mut errors);
    }
    errors
}

fn spec(spec: &Value) -> ErrorList {
    let (mut errors, at) = (ErrorList::new(), Path::new("spec"));
    amounts(spec.sub("hard"), &at.child("hard"), &mut errors);
    let mut hard: Vec<&str> = spec.entries("hard").map(|(name, _)| name).filter(|name| is_counted(name)).collect();
    hard.sort_unstable();

    let (scopes, path) = (spec.sub("scopes"), at.child("scopes"));
    for scope in spec.texts("scopes") {
        if !is_scope(scope) {
            errors.invalid(&path, scopes.cloned(), "unsupported scope");
        }
        for _ in hard.iter().filter(|name| !goes_with(scope, name)) {
            errors.invalid(&path, scopes.cloned(), "unsupported scope applied to resource");
        }
    }
    let given: Vec<&str> = spec.texts("scopes").collect();
    for _ in CONFLICTING.iter().filter(|pair| pair.iter().all(|scope| given.contains(scope))) {
        errors.invalid(&path, scopes.cloned(), "conflicting scopes");
    }
    if let Some(selector) = spec.sub("scopeSelector") {
        scope_selector(selector, scopes, &hard, &at.child("scopeSelector").child("matchExpressions"), &mut errors);
    }
    errors
}

fn scope_selector(selector: &Value, scopes: Option<&Value>, hard: &[&str], at: &Path, errors: &mut ErrorList) {
    for expression in selector.list("matchExpressions") {
        let (scope, operator) = (expression.text("scopeName"), expression.text("operator"));
        if !is_scope(scope) {
            errors.invalid(&at.child("scopeName"), scope, "unsupported scope");
        }
        for _ in hard.iter().filter(|name| !goes_with(scope, name)) {
            errors.invalid(at, selector.clone(), "unsupported scope applied to resource");
        }
        let exists = ["BestEffort", "NotBestEffort", "Terminating", "NotTerminating", "CrossNamespacePodAffinity"];
        if exists.contains(&scope) && operator != "Exists" {
            errors.invalid(
                &at.child("operator"),
                operator,
                "must be 'Exists' when scope is any of ResourceQuotaScopeTerminating, ResourceQuotaScopeNotTerminating, ResourceQuotaScopeBestEffort, ResourceQuotaScopeNotBestEffort or ResourceQuotaScopeCrossNamespacePodAffinity",
            );
        }
        let values = expression.list("values");
        match operator {
            "In" | "NotIn" if values.is_empty() => errors.required(
                &at.child("values"),
                "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector",
            ),
            "Exists" | "DoesNotExist" if !values.is_empty() => errors.invalid(
                &at.child("values"),
                values.to_vec(),
                "must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector",
            ),
            "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
            _ => errors.invalid(&at.child("operator"), operator, "not a valid selector operator"),
        }
    }
    let given: Vec<&str> = selector.list("matchExpressions").iter().map(|e| e.text("scopeName")).collect();
    for _ in CONFLICTING.iter().filter(|pair| pair.iter().all(|scope| given.contains(scope))) {
        errors.invalid(at, scopes.cloned(), "conflicting scopes");
    }
}

fn is_scope(scope: &str) -> bool {
    matches!(
        scope,
        "Terminating"
            | "NotTerminating"
            | "BestEffort"
            | "NotBestEffort"
            | "PriorityClass"
            | "CrossNamespacePodAffinity"
            | "VolumeAttributesClass"
    )
}

/// Whether a scope says something of a resource.
fn goes_with(scope: &str, name: &str) -> bool {
    match scope {
        "Terminating" | "NotTerminating" | "NotBestEffort" | "PriorityClass" | "CrossNamespacePodAffinity" => {
            PODS.contains(&name) || OF_PODS.contains(&name)
        }
        "BestEffort" => PODS.contains(&name),
        "VolumeAttributesClass" => OF_CLAIMS.contains(&name),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use model::check::said;

    fn check(given: Value, want: &[&str]) {
        assert_eq!(said(&spec(&given)), want);
    }

    #[test]
    fn names_and_amounts() {
        check(
            json!({"hard": {"pods": "3", "requests.cpu": "1500m", "count/jobs.batch": "2", "requests.example.com/g": "1"}}),
            &[],
        );
        check(
            json!({"hard": {"storage": "1"}}),
            &[r#"spec.hard[storage]: Invalid value: "storage": must be a standard resource for quota"#],
        );
        check(
            json!({"hard": {"pods": "-1", "secrets": "1500m"}}),
            &[
                r#"spec.hard[pods]: Invalid value: "-1": must be greater than or equal to 0"#,
                r#"spec.hard[secrets]: Invalid value: "1500m": must be an integer"#,
            ],
        );
    }

    #[test]
    fn scopes_go_with_each_other_and_with_what_is_counted() {
        check(json!({"hard": {"pods": "1"}, "scopes": ["BestEffort", "Terminating"]}), &[]);
        check(
            json!({"hard": {"cpu": "1"}, "scopes": ["BestEffort"]}),
            &[r#"spec.scopes: Invalid value: ["BestEffort"]: unsupported scope applied to resource"#],
        );
        check(
            json!({"hard": {"pods": "1"}, "scopes": ["Terminating", "NotTerminating"]}),
            &[r#"spec.scopes: Invalid value: ["Terminating","NotTerminating"]: conflicting scopes"#],
        );
        let expressions = json!({"matchExpressions": [{"scopeName": "PriorityClass", "operator": "In"}]});
        check(
            json!({"hard": {"pods": "1"}, "scopeSelector": expressions}),
            &[
                "spec.scopeSelector.matchExpressions.values: Required value: must be at least one value when `operator` is 'In' or 'NotIn' for scope selector",
            ],
        );
    }
}
