//! IngressClasses: which controller serves the class, and where its parameters are.

use machinery::field::{Error, ErrorList, Path};
use machinery::json::Fields;
use machinery::{meta, names};
use serde_json::Value;

use super::typed_reference;
use crate::checked::Checked;
use model::check::Faults;

const MAX_CONTROLLER_BYTES: usize = 250;

/// IngressClasses.
pub fn ingress_classes() -> Checked {
    Checked {
        object: class,
        update: |new, old| {
            let at = Path::new("spec").child("controller");
            let of = |class: &Value| Value::from(class["spec"].text("controller"));
            meta::validate_immutable(Some(&of(new)), Some(&of(old)), &at)
        },
    }
}

fn class(class: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    let at = Path::new("spec");
    let controller = class["spec"].text("controller");
    if controller.len() > MAX_CONTROLLER_BYTES {
        errors.push(Error::too_long(&at.child("controller"), MAX_CONTROLLER_BYTES));
    }
    errors.extend(names::domain_prefixed_path(&at.child("controller"), controller));
    if let Some(parameters) = class["spec"].sub("parameters") {
        self::parameters(parameters, &at.child("parameters"), &mut errors);
    }
    errors
}

fn parameters(parameters: &Value, at: &Path, errors: &mut ErrorList) {
    typed_reference(parameters, at, errors);
    let namespace = parameters.sub("namespace").and_then(Value::as_str);
    let here = at.child("namespace");
    match (parameters.sub("scope").and_then(Value::as_str), namespace) {
        (None, _) => errors.required(&at.child("scope"), ""),
        (Some("Namespace"), None) => errors.required(&here, "`parameters.scope` is set to 'Namespace'"),
        (Some("Namespace"), Some(namespace)) => errors.each(&here, namespace, names::dns1123_label(namespace)),
        (Some("Cluster"), None) => {}
        (Some("Cluster"), Some(_)) => errors.forbidden(&here, "`parameters.scope` is set to 'Cluster'"),
        (Some(other), _) => errors.unsupported(&at.child("scope"), other, &["Cluster", "Namespace"]),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use model::check::said;

    fn of(spec: Value) -> Value {
        json!({"metadata": {"name": "c"}, "spec": spec})
    }

    #[test]
    fn a_controller_and_its_parameters() {
        let check = |spec: Value, want: &[&str]| assert_eq!(said(&class(&of(spec))), want);
        let with = |parameters: Value| json!({"controller": "foo.co/bar", "parameters": parameters});
        check(json!({"controller": "foo.co/bar"}), &[]);
        check(json!({"controller": ""}), &["spec.controller: Required value"]);
        let long = said(&class(&of(json!({"controller": format!("foo.co/{}", "a".repeat(244))}))));
        assert_eq!(long, ["spec.controller: Too long: may not be more than 250 bytes"]);
        check(with(json!({"apiGroup": "example.com", "kind": "foo", "name": "bar", "scope": "Cluster"})), &[]);
        check(with(json!({"name": "bar", "scope": "Cluster"})), &["spec.parameters.kind: Required value"]);
        check(with(json!({"kind": "foo", "scope": "Cluster"})), &["spec.parameters.name: Required value"]);
        check(
            with(json!({"kind": "foo/", "name": "bar", "scope": "Cluster"})),
            &[r#"spec.parameters.kind: Invalid value: "foo/": may not contain '/'"#],
        );
        check(
            with(json!({"kind": "foo", "name": "bar", "scope": "bad-scope"})),
            &[r#"spec.parameters.scope: Unsupported value: "bad-scope": supported values: "Cluster", "Namespace""#],
        );
        check(with(json!({"kind": "foo", "name": "bar", "scope": "Namespace", "namespace": "foo-ns"})), &[]);
        let namespace = with(json!({"kind": "foo", "name": "bar", "scope": "Namespace", "namespace": "foo_ns"}));
        let said = said(&class(&of(namespace)));
        assert!(
            said.len() == 1
                && said[0]
                    .starts_with("spec.parameters.namespace: Invalid value: \"foo_ns\": a lowercase RFC 1123 label"),
            "{said:?}"
        );
        check(with(json!({"kind": "foo", "name": "bar"})), &["spec.parameters.scope: Required value"]);
        check(
            with(json!({"kind": "foo", "name": "bar", "scope": "Namespace"})),
            &["spec.parameters.namespace: Required value: `parameters.scope` is set to 'Namespace'"],
        );
        for namespace in ["foo-ns", ""] {
            check(
                with(json!({"kind": "foo", "name": "bar", "scope": "Cluster", "namespace": namespace})),
                &["spec.parameters.namespace: Forbidden: `parameters.scope` is set to 'Cluster'"],
            );
        }
    }

    #[test]
    fn the_controller_stays() {
        let (a, b) = (of(json!({"controller": "foo.co/bar"})), of(json!({"controller": "foo.co/different"})));
        let update = ingress_classes().update;
        assert_eq!(said(&update(&a, &a)), [""; 0]);
        assert_eq!(said(&update(&a, &b)), [r#"spec.controller: Invalid value: "foo.co/bar": field is immutable"#]);
    }
}
