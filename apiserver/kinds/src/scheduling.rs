//! PriorityClasses: a number that pods are ordered by. Follows `pkg/apis/scheduling/validation`.

use api::rules::Fact::{Fixed, Immutable, NotEmpty, OneOf};
use api::rules::Step::{Code, Field};
use api::rules::{Here, Row, of};
use machinery::field::{ErrorList, Path};
use machinery::json::Fields;
use machinery::meta;
use model::check::Faults;

/// The highest that users can give.
const HIGHEST: i64 = 1_000_000_000;
const SYSTEM: [(&str, i64); 2] = [("system-node-critical", 2_000_001_000), ("system-cluster-critical", 2_000_000_000)];

pub(super) const ROWS: &[Row] = &[of(
    "scheduling.v1",
    "PriorityClass",
    &[Code(value_and_name), Field("preemptionPolicy", &[NotEmpty(""), OneOf(&["PreemptLowerPriority", "Never"])])],
)
.change(&[Field("value", &[Fixed("may not be changed in an update.")]), Field("preemptionPolicy", &[Immutable])])];

/// Names that begin with `system-` and values above the users' are the system's own classes'.
fn value_and_name(here: &Here<'_, '_>, errors: &mut ErrorList) {
    let (name, value) = (meta::name(here.value), here.value.int("value").unwrap_or(0));
    let default = here.value.flag("globalDefault").unwrap_or(false);
    if !name.starts_with("system-") {
        if value > HIGHEST {
            let detail = format!("maximum allowed value of a user defined priority is {HIGHEST}");
            errors.forbidden(&here.child("value"), detail);
        }
        return;
    }
    let why = match SYSTEM.iter().find(|(known, _)| *known == name) {
        None => format!("{name} is not a known system priority class"),
        Some((_, known)) if *known != value => format!("value of {name} PriorityClass must be {known}"),
        Some(_) if default => format!("globalDefault of {name} PriorityClass must be false"),
        Some(_) => return,
    };
    let detail = format!("priority class names with 'system-' prefix are reserved for system use only. error: {why}");
    errors.forbidden(&Path::new("metadata").child("name"), detail);
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};
    use serde_json::{Value, json};

    use crate::rules::{said, with};

    const KIND: (&str, &str, &str) = ("scheduling.k8s.io", "v1", "PriorityClass");

    fn check(class: Value, expected: Expect) {
        expected.assert_eq(&said(KIND, &class, None));
    }

    #[test]
    fn names_and_values_of_the_system_are_its_own() {
        check(json!({"metadata": {"name": "tier1"}, "value": 100}), expect![[""]]);
        check(json!({"metadata": {"name": "tier1"}, "value": -100, "globalDefault": true}), expect![[""]]);
        check(json!({"metadata": {"name": "system-cluster-critical"}, "value": 2_000_000_000}), expect![[""]]);
        check(
            json!({"metadata": {"name": "tier1"}, "value": 1_000_000_001}),
            expect![[r#"
            value: Forbidden: maximum allowed value of a user defined priority is 1000000000
        "#]],
        );
        check(
            json!({"metadata": {"name": "system-cluster-critical"}, "value": 2_000_000_001}),
            expect![[r#"
            metadata.name: Forbidden: priority class names with 'system-' prefix are reserved for system use only. error: value of system-cluster-critical PriorityClass must be 2000000000
        "#]],
        );
        check(
            json!({"metadata": {"name": "system-node-critical"}, "value": 2_000_001_000, "globalDefault": true}),
            expect![[r#"
                metadata.name: Forbidden: priority class names with 'system-' prefix are reserved for system use only. error: globalDefault of system-node-critical PriorityClass must be false
            "#]],
        );
        check(
            json!({"metadata": {"name": "system-foo"}, "value": 1}),
            expect![[r#"
            metadata.name: Forbidden: priority class names with 'system-' prefix are reserved for system use only. error: system-foo is not a known system priority class
        "#]],
        );
        check(
            json!({"metadata": {"name": "tier1"}, "preemptionPolicy": "Always"}),
            expect![[r#"
            preemptionPolicy: Unsupported value: "Always": supported values: "PreemptLowerPriority", "Never"
        "#]],
        );
        check(
            json!({"metadata": {"name": "tier1"}, "preemptionPolicy": ""}),
            expect![[r#"
            preemptionPolicy: Required value
        "#]],
        );
    }

    #[test]
    fn values_and_policies_stay() {
        let class = json!({"metadata": {"name": "tier1"}, "value": 100, "preemptionPolicy": "Never"});
        let other = with(&class, &[("/globalDefault", json!(true)), ("/description", json!("x"))]);
        assert_eq!(said(KIND, &other, Some(&class)), "");
        let other = with(&class, &[("/value", json!(101)), ("/preemptionPolicy", json!("PreemptLowerPriority"))]);
        expect![[r#"
            value: Forbidden: may not be changed in an update.
            preemptionPolicy: Invalid value: "PreemptLowerPriority": field is immutable
        "#]]
        .assert_eq(&said(KIND, &other, Some(&class)));
    }
}
