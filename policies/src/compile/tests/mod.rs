//! What clusters come to: as rules by table, and as verdicts against a judge that knows nothing of rules.

mod judge;
mod packets;
mod random;
mod tables;

use std::sync::Arc;

use ipnet::IpNet;
use serde_json::{Value, json};

use super::*;
use crate::facts::Facts;
use crate::model::{self, Key};

/// The node whose rules are looked at.
const NODE: &str = "n1";

fn namespace(facts: &mut Facts, name: &str, labels: Value) {
    let mut labels: Labels = serde_json::from_value(labels).unwrap();
    labels.insert("kubernetes.io/metadata.name".into(), name.into());
    facts.namespaces.insert(name.into(), Arc::new(labels));
}

fn api_pod(namespace: &str, name: &str, node: &str, ips: &[&str], labels: Value) -> Value {
    let ips: Vec<_> = ips.iter().map(|ip| json!({"ip": ip})).collect();
    json!({
        "metadata": {"name": name, "namespace": namespace, "uid": name, "labels": labels},
        "spec": {"nodeName": node, "containers": [{"name": "c", "ports": [{"name": "web", "containerPort": 8080}]}]},
        "status": {"phase": "Running", "podIPs": ips}})
}

fn key(object: &Value) -> Key {
    let text = |field: &str| object["metadata"][field].as_str().unwrap().to_owned();
    (text("namespace"), text("name"))
}

fn add_pod(facts: &mut Facts, pod: &Value) {
    facts.pod(&key(pod), model::pod(&serde_json::from_value(pod.clone()).unwrap(), NODE));
}

fn add_policy(facts: &mut Facts, policy: &Value) {
    facts.policies.insert(key(policy), Arc::new(model::policy(&serde_json::from_value(policy.clone()).unwrap())));
}

fn policy(namespace: &str, name: &str, spec: Value) -> Value {
    json!({"metadata": {"name": name, "namespace": namespace}, "spec": spec})
}

/// Two pods here (one with the node's other one in `y`), one elsewhere.
fn cluster() -> Facts {
    let mut facts = Facts::default();
    namespace(&mut facts, "x", json!({"team": "a"}));
    namespace(&mut facts, "y", json!({}));
    namespace(&mut facts, SYSTEM, json!({}));
    add_pod(&mut facts, &api_pod("x", "a", NODE, &["10.1.0.1", "fd00::1"], json!({"app": "a"})));
    add_pod(&mut facts, &api_pod("x", "b", NODE, &["10.1.0.2"], json!({"app": "b"})));
    add_pod(&mut facts, &api_pod("y", "a", "n2", &["10.2.0.1", "fd02::1"], json!({"app": "a"})));
    facts.ranges = vec!["10.1.0.0/24".parse::<IpNet>().unwrap(), "fd00::/64".parse().unwrap()];
    facts
}

fn plain() -> Options {
    Options::default()
}

fn denying() -> Options {
    Options { default_deny: true, untold: false }
}
