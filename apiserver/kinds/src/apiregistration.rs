//! APIServices: which server answers for a version of a group; without a Service it is this one, and available at once.
//! Follows `kube-aggregator/pkg/apis/apiregistration/validation` and `pkg/registry/apiservice`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use machinery::field::{ErrorList, Path};
use machinery::json::Fields;
use machinery::{go, meta, names};
use serde_json::{Value, json};

use super::conditions;
use model::check::Faults;
use writes::strategy::{Strategy, WriteContext};

/// APIServices.
pub struct ApiServices;

impl Strategy for ApiServices {
    fn prepare_for_create(&self, cx: &WriteContext<'_>, service: &mut Value) {
        if !service["spec"].has("service") {
            let mut status = json!({});
            let message = "Local APIServices are always available";
            let available = json!({"type": "Available", "status": "True", "reason": "Local", "message": message});
            conditions::set(&mut status, available, cx.now);
            service["status"] = status;
        }
    }

    fn validate(&self, _: &WriteContext<'_>, service: &Value) -> ErrorList {
        validate(service)
    }

    fn validate_update(&self, cx: &WriteContext<'_>, service: &Value, _: &Value) -> ErrorList {
        if cx.subresource == Some("status") { status(service) } else { validate(service) }
    }
}

fn validate(service: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    let (spec, at) = (&service["spec"], Path::new("spec"));
    let (group, version) = (spec.text("group"), spec.text("version"));
    name(service, &format!("{version}.{group}"), &mut errors);
    if group.is_empty() {
        if version != "v1" {
            let detail = "only v1 may have an empty group and it better be legacy kube";
            errors.required(&at.child("group"), detail);
        }
    } else {
        errors.each(&at.child("group"), group, names::dns1123_subdomain(group));
    }
    errors.each(&at.child("version"), version, names::dns1035_label(version));
    for (field, most) in [("groupPriorityMinimum", 20_000), ("versionPriority", 1000)] {
        let priority = spec.int(field).unwrap_or(0);
        if !(1..=most).contains(&priority) {
            errors.invalid(&at.child(field), priority, format!("must be positive and less than {most}"));
        }
    }
    let ca_bytes = STANDARD.decode(spec.text("caBundle")).map_or(0, |bytes| bytes.len());
    let insecure = spec.flag("insecureSkipTLSVerify") == Some(true);
    let insecure_at = at.child("insecureSkipTLSVerify");
    let Some(target) = spec.sub("service") else {
        if ca_bytes > 0 {
            let detail = "local APIServices may not have a caBundle";
            errors.invalid(&at.child("caBundle"), format!("{ca_bytes} bytes"), detail);
        }
        if insecure {
            errors.invalid(&insecure_at, true, "local APIServices may not have insecureSkipTLSVerify");
        }
        return errors;
    };
    let at = at.child("service");
    for field in ["namespace", "name"] {
        if target.text(field).is_empty() {
            errors.required(&at.child(field), "");
        }
    }
    let port = target.int("port").unwrap_or(0);
    let faults = names::port_num(port);
    if !faults.is_empty() {
        errors.invalid(&at.child("port"), port, format!("port is not valid: {}", faults.join(", ")));
    }
    if insecure && ca_bytes > 0 {
        errors.invalid(&insecure_at, true, "may not be true if caBundle is present");
    }
    errors
}

/// The name is version and group; that it fits into a path is checked with all metadata.
fn name(service: &Value, wanted: &str, errors: &mut ErrorList) {
    for (field, given) in [("generateName", meta::generate_name(service)), ("name", meta::name(service))] {
        if !given.is_empty() && given != wanted && names::path_segment(given).is_empty() {
            let detail = format!("must be `spec.version+\".\"+spec.group`: {}", go::quote(wanted));
            errors.invalid(&Path::new("metadata").child(field), given, detail);
        }
    }
}

fn status(service: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    for (i, condition) in service["status"].list("conditions").iter().enumerate() {
        let state = condition.text("status");
        if !matches!(state, "True" | "False" | "Unknown") {
            let at = Path::new("status").child("conditions").index(i).child("status");
            errors.unsupported(&at, state, &["True", "False", "Unknown"]);
        }
    }
    errors
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::check::said;

    fn of(change: impl FnOnce(&mut Value)) -> Value {
        let mut service = json!({
            "metadata": {"name": "v1alpha1.example.com"},
            "spec": {
                "group": "example.com",
                "version": "v1alpha1",
                "groupPriorityMinimum": 1000,
                "versionPriority": 15,
                "service": {"namespace": "n", "name": "s", "port": 443},
            },
        });
        change(&mut service);
        service
    }

    fn check(change: impl FnOnce(&mut Value), want: &[&str]) {
        assert_eq!(said(&validate(&of(change))), want);
    }

    #[test]
    fn names_are_version_and_group() {
        check(|_| {}, &[]);
        check(
            |s| s["metadata"]["name"] = json!("v1.other"),
            &[
                r#"metadata.name: Invalid value: "v1.other": must be `spec.version+"."+spec.group`: "v1alpha1.example.com""#,
            ],
        );
        check(
            |s| s["spec"]["group"] = json!(""),
            &[
                r#"metadata.name: Invalid value: "v1alpha1.example.com": must be `spec.version+"."+spec.group`: "v1alpha1.""#,
                "spec.group: Required value: only v1 may have an empty group and it better be legacy kube",
            ],
        );
        let said = said(&validate(&of(|s| {
            s["spec"]["version"] = json!("1v");
            s["spec"]["group"] = json!("a_b");
        })));
        assert!(
            said.len() == 3
                && said[1].starts_with(r#"spec.group: Invalid value: "a_b": a lowercase RFC 1123 subdomain"#)
        );
        assert!(said[2].starts_with(r#"spec.version: Invalid value: "1v": a DNS-1035 label must consist"#), "{said:?}");
    }

    #[test]
    fn priorities_and_where_the_server_is() {
        check(
            |s| {
                s["spec"]["groupPriorityMinimum"] = json!(0);
                s["spec"]["versionPriority"] = json!(1001);
            },
            &[
                "spec.groupPriorityMinimum: Invalid value: 0: must be positive and less than 20000",
                "spec.versionPriority: Invalid value: 1001: must be positive and less than 1000",
            ],
        );
        check(
            |s| s["spec"]["groupPriorityMinimum"] = json!(20001),
            &["spec.groupPriorityMinimum: Invalid value: 20001: must be positive and less than 20000"],
        );
        check(
            |s| s["spec"]["service"] = json!({"port": 0}),
            &[
                "spec.service.namespace: Required value",
                "spec.service.name: Required value",
                "spec.service.port: Invalid value: 0: port is not valid: must be between 1 and 65535, inclusive",
            ],
        );
        let bundle = json!(STANDARD.encode("a bundle"));
        check(
            |s| {
                s["spec"]["insecureSkipTLSVerify"] = json!(true);
                s["spec"]["caBundle"] = bundle.clone();
            },
            &["spec.insecureSkipTLSVerify: Invalid value: true: may not be true if caBundle is present"],
        );
        check(
            |s| {
                s["spec"]["insecureSkipTLSVerify"] = json!(true);
                s["spec"]["caBundle"] = bundle.clone();
                s["spec"]["service"] = Value::Null;
            },
            &[
                r#"spec.caBundle: Invalid value: "8 bytes": local APIServices may not have a caBundle"#,
                "spec.insecureSkipTLSVerify: Invalid value: true: local APIServices may not have insecureSkipTLSVerify",
            ],
        );
    }

    #[test]
    fn conditions_are_true_false_or_unknown() {
        let of = |state: &str| json!({"status": {"conditions": [{"type": "Available", "status": state}]}});
        assert_eq!(status(&of("Unknown")), []);
        assert_eq!(
            said(&status(&of("Invalid"))),
            [
                r#"status.conditions[0].status: Unsupported value: "Invalid": supported values: "True", "False", "Unknown""#
            ]
        );
    }
}
