//! RuntimeClasses: which handler of a node's runtime runs a pod, what that costs, and on which nodes. Follows
//! `pkg/apis/node/validation`.

use api::rules::Fact::{Check, Form, Immutable};
use api::rules::Step::Field;
use api::rules::{Here, REQUIRED, Row, of};
use machinery::field::{ErrorList, Path};
use machinery::json::Fields;
use machinery::{meta, names};
use model::check::Faults;
use serde_json::Value;

use super::core::node_labels;
use super::core::pod::validation::{resources, scheduling};

pub(super) const ROWS: &[Row] = &[
    of(
        "node.v1",
        "RuntimeClass",
        &[
            Field("handler", &[REQUIRED, Form(names::dns1123_label)]),
            Field(
                "overhead",
                &[Check(|here, errors| resources::limits(here.value.entries("podFixed"), &here.path(), errors))],
            ),
            Field("scheduling", &[]),
        ],
    )
    .change(&[Field("handler", &[Immutable])]),
    of(
        "node.v1",
        "Scheduling",
        &[
            Field(
                "nodeSelector",
                &[Check(|here, errors| {
                    errors.extend(meta::validate_labels(here.value.as_object(), &here.path()));
                })],
            ),
            Field("tolerations", &[Check(tolerations)]),
        ],
    ),
];

/// Tolerations, each once.
fn tolerations(here: &Here<'_, '_>, errors: &mut ErrorList) {
    let list = here.value.as_array().map(Vec::as_slice).unwrap_or_default();
    scheduling::tolerations(list, &here.path(), errors);
    let key =
        |toleration: &Value| ["key", "operator", "value", "effect"].map(|field| toleration.text(field).to_owned());
    for (i, toleration) in list.iter().enumerate() {
        if list[..i].iter().any(|earlier| key(earlier) == key(toleration)) {
            errors.duplicate(&here.path().index(i), toleration.clone());
        }
    }
}

/// Labels of nodes that a class should name no more.
pub fn warnings(class: &Value, _: Option<&Value>) -> Vec<String> {
    let at = Path::new("scheduling").child("nodeSelector");
    let labels = class.sub("scheduling").entries("nodeSelector");
    labels.filter_map(|(label, _)| Some(format!("{at}: {}", node_labels::deprecated(label)?))).collect()
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};
    use serde_json::json;

    use super::*;
    use crate::rules::said;

    const KIND: (&str, &str, &str) = ("node.k8s.io", "v1", "RuntimeClass");

    fn check(class: Value, expected: Expect) {
        expected.assert_eq(&said(KIND, &class, None));
    }

    #[test]
    fn handlers_are_labels_and_stay() {
        check(json!({"handler": "foo"}), expect![[""]]);
        check(
            json!({}),
            expect![[r#"
            handler: Required value
        "#]],
        );
        check(
            json!({"handler": "&!@#"}),
            expect![[r#"
            handler: Invalid value: "&!@#": a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')
        "#]],
        );
        expect![[r#"
            handler: Invalid value: "bar": field is immutable
        "#]]
        .assert_eq(&said(KIND, &json!({"handler": "bar"}), Some(&json!({"handler": "foo"}))));
    }

    #[test]
    fn overhead_and_scheduling() {
        check(
            json!({"handler": "foo", "overhead": {"podFixed": {"cpu": "10", "memory": "10G"}},
                "scheduling": {"nodeSelector": {"valid": "yes"}, "tolerations": [
                    {"key": "valid", "operator": "Exists"},
                    {"key": "valid", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 5}]}}),
            expect![[""]],
        );
        check(
            json!({"handler": "foo", "overhead": {"podFixed": {"my.org": "10m"}},
                "scheduling": {"nodeSelector": {"not a valid key!!!": "nope"}, "tolerations": [
                    {"key": "valid", "operator": "Exists"}, {"key": "valid", "operator": "Exists"},
                    {"operator": "Exists", "effect": "NoSuchEffect"}]}}),
            expect![[r#"
                overhead.limits[my.org]: Invalid value: "my.org": must be a standard resource type or fully qualified
                overhead.limits[my.org]: Invalid value: "my.org": must be a standard resource for containers
                scheduling.nodeSelector: Invalid value: "not a valid key!!!": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')
                scheduling.tolerations[2].effect: Unsupported value: "NoSuchEffect": supported values: "NoSchedule", "PreferNoSchedule", "NoExecute"
                scheduling.tolerations[1]: Duplicate value: {"key":"valid","operator":"Exists"}
            "#]],
        );
    }

    #[test]
    fn labels_on_their_way_out() {
        let class = json!({"scheduling": {"nodeSelector": {"beta.kubernetes.io/os": "linux", "zone": "a"}}});
        assert_eq!(
            warnings(&class, None),
            [r#"scheduling.nodeSelector: deprecated since v1.14; use "kubernetes.io/os" instead"#]
        );
    }
}
