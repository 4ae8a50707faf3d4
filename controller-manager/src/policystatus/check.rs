//! The check of a policy's expressions against the kinds that it is about: what would fail whenever it is evaluated.
//!
//! Upstream: `k8s.io/apiserver/pkg/admission/plugin/policy/validating/typechecking.go`.

use cel::types::Type;
use expressions::{Sight, Variables, of_variable, understand};
use k8s_openapi::api::admissionregistration::v1::{
    ExpressionWarning, NamedRuleWithOperations, ValidatingAdmissionPolicy,
};

/// The most kinds that one policy is checked against.
const MOST_KINDS: usize = 10;

/// A kind and what its objects look like.
pub(super) struct Kind {
    pub(super) group: String,
    pub(super) version: String,
    pub(super) kind: String,
    pub(super) ty: Type,
}

/// What is known of a policy's parameters.
#[derive(Default)]
pub(super) enum Params {
    /// It has none.
    #[default]
    None,
    /// Their kind is not known.
    Unknown,
    Of(Type),
}

/// The resources that a policy is about, as group, version and plural; those with wildcards and parts of objects are left
/// out.
pub(super) fn resources(policy: &ValidatingAdmissionPolicy) -> Vec<[&str; 3]> {
    let rules = policy.spec.iter().filter_map(|spec| spec.match_constraints.as_ref());
    let rules = rules.flat_map(|m| m.resource_rules.iter().flatten());
    let mut found: Vec<_> = rules.flat_map(|rule| of_rule(&rule_of(rule))).collect();
    found.truncate(MOST_KINDS);
    found
}

/// Groups, versions and plurals of a rule.
type Rule<'p> = [Vec<&'p str>; 3];

fn rule_of<'p>(rule: &'p NamedRuleWithOperations) -> Rule<'p> {
    let sorted = |list: &'p Option<Vec<String>>| {
        let mut list: Vec<&str> = list.iter().flatten().map(String::as_str).collect();
        list.sort_unstable();
        list
    };
    [sorted(&rule.api_groups), sorted(&rule.api_versions), sorted(&rule.resources)]
}

fn of_rule<'p>([groups, versions, plurals]: &Rule<'p>) -> Vec<[&'p str; 3]> {
    if [groups, versions].into_iter().flatten().any(|text| text.contains('*')) {
        return vec![];
    }
    let plurals: Vec<_> = plurals.iter().filter(|plural| !plural.contains(['*', '/'])).collect();
    let mut found = vec![];
    for group in groups {
        for version in versions {
            found.extend(plurals.iter().map(|plural| [*group, *version, **plural]));
        }
    }
    found
}

/// What is wrong with a policy's validations and their messages, for each of the kinds, which are in order.
pub(super) fn warnings(policy: &ValidatingAdmissionPolicy, kinds: &[Kind], params: &Params) -> Vec<ExpressionWarning> {
    let Some(spec) = &policy.spec else { return vec![] };
    let seen: Vec<Seen> = kinds.iter().map(|kind| Seen::of(kind, params, policy)).collect();
    let check = |field: String, expression: &str| {
        let told: Vec<String> = seen.iter().filter_map(|seen| seen.check(expression)).collect();
        (!told.is_empty()).then(|| ExpressionWarning { field_ref: field, warning: told.join("\n") })
    };
    let mut warnings = vec![];
    for (at, validation) in spec.validations.iter().flatten().enumerate() {
        warnings.extend(check(format!("spec.validations[{at}].expression"), &validation.expression));
        if let Some(message) = validation.message_expression.as_ref().filter(|m| !m.is_empty()) {
            warnings.extend(check(format!("spec.validations[{at}].messageExpression"), message));
        }
    }
    warnings
}

/// What expressions see when an object is of a kind.
struct Seen<'k> {
    kind: &'k Kind,
    params: &'k Params,
    variables: Variables,
}

impl<'k> Seen<'k> {
    fn of(kind: &'k Kind, params: &'k Params, policy: &ValidatingAdmissionPolicy) -> Self {
        let mut seen = Self { kind, params, variables: Variables::new() };
        for variable in policy.spec.iter().flat_map(|spec| spec.variables.iter().flatten()) {
            // Each sees those before it; one that can't be understood may be anything.
            let ty = understand(&variable.expression, seen.sight()).map_or(Type::ANY, |p| of_variable(&p.result));
            seen.variables.insert(variable.name.clone(), ty);
        }
        seen
    }

    fn sight(&self) -> Sight<'_> {
        Sight {
            object: Some(&self.kind.ty),
            params: !matches!(self.params, Params::None),
            params_type: if let Params::Of(ty) = self.params { Some(ty) } else { None },
            variables: Some(&self.variables),
            ..Sight::AUTHORIZER
        }
    }

    /// What is wrong with it, with the kind.
    fn check(&self, expression: &str) -> Option<String> {
        let faults = understand(expression, self.sight()).err()?;
        let Kind { group, version, kind, .. } = self.kind;
        let group_version = if group.is_empty() { version.clone() } else { format!("{group}/{version}") };
        Some(format!("{group_version}, Kind={kind}: {faults}\n"))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{super::declare, *};

    fn policy(spec: Value) -> ValidatingAdmissionPolicy {
        serde_json::from_value(json!({"metadata": {"name": "p"}, "spec": spec})).unwrap()
    }

    fn kind(name: &str, properties: Value) -> Kind {
        let of = json!([{"group": "apps", "version": "v1", "kind": name}]);
        let schema = json!({"type": "object", "x-kubernetes-group-version-kind": of, "properties": properties});
        let ty = declare::of_kind(&json!({"components": {"schemas": {"x": schema}}}), "apps", "v1", name).unwrap();
        Kind { group: "apps".into(), version: "v1".into(), kind: name.into(), ty }
    }

    fn deployment() -> Kind {
        kind("Deployment", json!({"spec": {"type": "object", "properties": {"replicas": {"type": "integer"}}}}))
    }

    /// The fields with warnings, and the first line of each.
    fn warned(spec: Value, kinds: &[Kind], params: &Params) -> Vec<(String, String)> {
        let warnings = warnings(&policy(spec), kinds, params).into_iter();
        warnings.map(|w| (w.field_ref, w.warning.lines().next().unwrap_or_default().to_owned())).collect()
    }

    #[test]
    fn what_can_not_be_is_told_for_each_kind() {
        let spec = json!({"validations": [
            {"expression": "object.spec.replicas > 1", "messageExpression": "'replicas: ' + string(object.spec.replicas)"},
            {"expression": "object.spec.replicas > '1'", "messageExpression": "'replicas: ' + object.spec.replicas"},
            {"expression": "object.metadata.name.startsWith('a') && object.foo == 1"},
        ]});
        let got = warned(spec.clone(), &[deployment()], &Params::None);
        let overload = |op: &str, types: &str| {
            format!(
                "apps/v1, Kind=Deployment: ERROR: <input>:1:{}: found no matching overload for '{op}' applied to '({types})'",
                if op == "_>_" { 22 } else { 14 }
            )
        };
        let want = [
            ("spec.validations[1].expression", overload("_>_", "int, string")),
            ("spec.validations[1].messageExpression", overload("_+_", "string, int")),
            (
                "spec.validations[2].expression",
                "apps/v1, Kind=Deployment: ERROR: <input>:1:47: undefined field 'foo'".into(),
            ),
        ];
        assert_eq!(got, want.map(|(field, warning)| (field.to_owned(), warning)));
        let two = [deployment(), kind("Other", json!({"spec": {"type": "object"}}))];
        let first = &warnings(&policy(spec), &two, &Params::None)[0];
        assert_eq!(first.field_ref, "spec.validations[0].expression");
        assert!(first.warning.starts_with("apps/v1, Kind=Other: ERROR: <input>:1:12: undefined field 'replicas'"));
        assert!(warned(json!({"validations": [{"expression": "nonsense"}]}), &[], &Params::None).is_empty());
    }

    #[test]
    fn variables_and_params_have_types() {
        let check = |variables: Value, expression: &str, params: &Params, good: bool| {
            let spec = json!({"variables": variables, "validations": [{"expression": expression}]});
            assert_eq!(warned(spec, &[deployment()], params).is_empty(), good, "{expression}");
        };
        let variables = json!([
            {"name": "replicas", "expression": "object.spec.replicas"},
            {"name": "odd", "expression": "variables.replicas % 2 == 1"},
            {"name": "broken", "expression": "object.foo"},
        ]);
        check(variables.clone(), "variables.odd && variables.replicas > 1", &Params::None, true);
        check(variables.clone(), "variables.replicas == 'x'", &Params::None, false);
        check(variables.clone(), "variables.broken == 'x' && variables.broken == 1", &Params::None, true);
        check(variables, "variables.missing == 1", &Params::None, false);
        check(json!([]), "params.most > 1", &Params::None, false);
        check(json!([]), "params.most > 1", &Params::Unknown, true);
        let most = kind("P", json!({"most": {"type": "integer"}})).ty;
        check(json!([]), "params.most > 1", &Params::Of(most.clone()), true);
        check(json!([]), "params.least > 1", &Params::Of(most), false);
        check(json!([]), "authorizer.group('').resource('pods').check('get').allowed()", &Params::None, true);
        check(json!([]), "request.operation == 'CREATE' && namespaceObject.metadata.name == 'x'", &Params::None, true);
    }

    #[test]
    fn wildcards_and_parts_are_not_checked() {
        let check = |groups: Value, versions: Value, plurals: Value, want: &[[&str; 3]]| {
            let rule = json!({"apiGroups": groups, "apiVersions": versions, "resources": plurals, "operations": ["*"]});
            assert_eq!(resources(&policy(json!({"matchConstraints": {"resourceRules": [rule]}}))), want);
        };
        check(json!(["apps"]), json!(["v1"]), json!(["deployments"]), &[["apps", "v1", "deployments"]]);
        check(json!(["*"]), json!(["v1"]), json!(["deployments"]), &[]);
        check(json!(["apps"]), json!(["*"]), json!(["deployments"]), &[]);
        check(
            json!([""]),
            json!(["v1"]),
            json!(["pods/*", "services", "*", "pods"]),
            &[["", "v1", "pods"], ["", "v1", "services"]],
        );
        let many: Vec<String> = (0..12).map(|i| format!("r{i}")).collect();
        let rule = json!({"apiGroups": [""], "apiVersions": ["v1"], "resources": many});
        assert_eq!(resources(&policy(json!({"matchConstraints": {"resourceRules": [rule]}}))).len(), MOST_KINDS);
        assert_eq!(resources(&policy(json!({}))).len(), 0);
    }
}
