//! IPAddresses: the name is an address in canonical form, the parent the object that has it. The parent stays.

use api::rules;
use api::schema;
use machinery::field::{ErrorList, Path};
use machinery::json::Fields;
use machinery::names;
use serde_json::Value;

use super::path_segment;
use crate::checked::Checked;
use model::check::Faults;

/// IPAddresses.
pub fn ip_addresses() -> Checked {
    Checked { object: address, update: unchanged }
}

/// What the name may be.
pub fn name(name: &str, _prefix: bool) -> Vec<String> {
    names::ip(&Path::nil(), name).into_iter().map(|error| error.detail).collect()
}

fn address(address: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    let at = Path::new("spec").child("parentRef");
    let Some(parent) = address["spec"].sub("parentRef") else {
        errors.required(&at, "");
        return errors;
    };
    // The group of Services is empty.
    let group = parent.text("group");
    if !group.is_empty() {
        errors.each(&at.child("group"), group, names::dns1123_subdomain(group));
    }
    for field in ["resource", "name"] {
        path_segment(parent.text(field), &at.child(field), &mut errors);
    }
    let namespace = parent.text("namespace");
    errors.each(&at.child("namespace"), namespace, names::path_segment(namespace));
    errors
}

fn unchanged(address: &Value, old: &Value) -> ErrorList {
    let ty = schema::named("networking.v1", "IPAddressSpec").expect("the table has addresses");
    let at = Path::new("spec").child("parentRef");
    rules::immutable(ty, "parentRef", &address["spec"], &old["spec"], &at).into_iter().collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use model::check::said;

    fn of(parent: Value) -> Value {
        json!({"metadata": {"name": "192.168.1.1"}, "spec": {"parentRef": parent}})
    }

    #[test]
    fn names_are_addresses_in_canonical_form() {
        for good in ["192.168.1.1", "2001:4860:4860::8888"] {
            assert_eq!(name(good, false), [""; 0]);
        }
        let not = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";
        let canonical = |ip: &str| format!("must be in canonical form (\"{ip}\")");
        for (bad, want) in [
            ("10.0.0.0.0", not.to_owned()),
            ("my.name", not.to_owned()),
            ("012.2.3.4", "must not have leading 0s".to_owned()),
            ("::ffff:1.2.3.4", "must not be an IPv4-mapped IPv6 address".to_owned()),
            ("2001:4860:4860:0::8888", canonical("2001:4860:4860::8888")),
            ("FD00::1", canonical("fd00::1")),
        ] {
            assert_eq!(name(bad, false), [want], "{bad}");
        }
    }

    #[test]
    fn parents_are_told_by_group_resource_and_name() {
        let check = |parent: Value, want: &[&str]| assert_eq!(said(&address(&of(parent))), want);
        check(json!({"resource": "services", "name": "foo", "namespace": "bar"}), &[]);
        check(
            json!({"group": "custom.resource.com", "resource": "foo", "name": "foo$%&", "namespace": ""}),
            &[r#"spec.parentRef.name: Invalid value: "foo$%&": may not contain '%'"#],
        );
        check(Value::Null, &["spec.parentRef: Required value"]);
        check(
            json!({"group": "", "namespace": "b/"}),
            &[
                "spec.parentRef.resource: Required value",
                "spec.parentRef.name: Required value",
                r#"spec.parentRef.namespace: Invalid value: "b/": may not contain '/'"#,
            ],
        );
        let group = said(&address(&of(json!({"group": "Custom_", "resource": "foo", "name": "x"}))));
        assert!(
            group.len() == 1 && group[0].starts_with(r#"spec.parentRef.group: Invalid value: "Custom_": "#),
            "{group:?}"
        );
    }

    #[test]
    fn the_parent_stays() {
        let parent = |name: &str| of(json!({"resource": "services", "name": name}));
        assert_eq!(said(&unchanged(&parent("a"), &parent("a"))), [""; 0]);
        assert_eq!(
            said(&unchanged(&parent("b"), &parent("a"))),
            [
                r#"spec.parentRef: Invalid value: {"Group":"","Resource":"services","Namespace":"","Name":"b"}: field is immutable"#
            ]
        );
        assert_eq!(
            said(&unchanged(&of(Value::Null), &parent("a"))),
            ["spec.parentRef: Invalid value: null: field is immutable"]
        );
    }
}
