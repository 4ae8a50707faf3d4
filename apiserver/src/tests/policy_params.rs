//! Parameters of admission policies through the whole request path: who names them has the right to read them.

use std::sync::Arc;

use access::authz::{Attributes, Authorizer, Decision};
use admission::plugins::policy_params::PolicyParams;
use http::{Method, StatusCode};
use serde_json::{Value, json};
use writes::admission::Chain;

use super::Client;

/// Allows to get config maps, all or one.
struct Gets;

impl Authorizer for Gets {
    fn authorize(&self, a: &Attributes<'_>) -> Decision {
        if (a.verb, a.group, a.version, a.resource) == ("get", "", "v1", "configmaps") {
            return Decision::Allow(String::new());
        }
        Decision::NoOpinion(String::new())
    }
}

#[tokio::test]
async fn parameters_are_readable_for_who_names_them() {
    const PATH: &str = "/apis/admissionregistration.k8s.io/v1";
    let mut client = Client::admitting(Chain::new(vec![Box::new(PolicyParams(Arc::new(Gets)))])).await;
    let rule = json!({"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"]});
    let policy = |name: &str, kind: Value| {
        let spec = json!({"paramKind": kind, "matchConstraints": {"resourceRules": [rule]}, "validations": [{"expression": "true"}]});
        json!({"metadata": {"name": name}, "spec": spec})
    };
    let binding = |policy: &str, reference: Value| {
        let spec = json!({"policyName": policy, "paramRef": reference, "validationActions": ["Deny"]});
        json!({"metadata": {"generateName": "b-"}, "spec": spec})
    };
    let by_name = json!({"name": "n", "namespace": "ns", "parameterNotFoundAction": "Deny"});
    let by_selector = json!({"selector": {}, "parameterNotFoundAction": "Deny"});
    let config_maps = json!({"apiVersion": "v1", "kind": "ConfigMap"});
    let policies = format!("{PATH}/validatingadmissionpolicies");
    let bindings = format!("{PATH}/validatingadmissionpolicybindings");
    let whole = "for all groups, versions and resources";
    let user = "&{tester  [] map[]}";
    for (path, object, want) in [
        (&policies, policy("a", config_maps.clone()), String::new()),
        (&policies, policy("none", Value::Null), String::new()),
        (
            &policies,
            policy("b", json!({"apiVersion": "v1", "kind": "Secret"})),
            format!(
                "spec.paramKind: Forbidden: user {user} must have \"get\" permission on all objects of the referenced paramKind (kind=Secret, apiVersion=v1)"
            ),
        ),
        (&bindings, binding("a", by_name.clone()), String::new()),
        (
            &bindings,
            binding("a", by_selector),
            format!(
                "spec.paramRef: Forbidden: user {user} does not have \"list\" permission on the object referenced by paramRef"
            ),
        ),
        (
            &bindings,
            binding("missing", by_name.clone()),
            format!(
                "spec.paramRef: Forbidden: unable to get policy missing to determine minimum required permissions and user {user} does not have \"get\" permission {whole}"
            ),
        ),
        (&bindings, binding("a", Value::Null), String::new()),
    ] {
        let (code, answer) = client.json(Method::POST, path, object).await;
        if want.is_empty() {
            assert_eq!(code, StatusCode::CREATED, "{answer}");
        } else {
            let message = answer["message"].as_str().unwrap_or_default();
            assert!(code == StatusCode::UNPROCESSABLE_ENTITY && message.ends_with(&want), "{answer}");
        }
    }
}
