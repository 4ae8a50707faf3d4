//! Nodes (`ValidateNode`). A kubelet registers its node with status: it is kept on create.

use std::collections::BTreeSet;

use machinery::field::{Error, ErrorList, Path};
use machinery::json::Fields;
use machinery::quantity::Quantity;
use machinery::{meta, names};
use model::check::{Faults, keep, same};
use serde_json::Value;
use writes::strategy::{Strategy, WriteContext};

use super::pod::validation::{resource_quantity, taint_effect};

/// Nodes.
pub struct Nodes;

impl Strategy for Nodes {
    fn keeps_status_on_create(&self) -> bool {
        true
    }

    fn prepare_for_create(&self, _: &WriteContext<'_>, node: &mut Value) {
        node["spec"].as_object_mut().map(|spec| spec.remove("configSource"));
        node["status"].as_object_mut().map(|status| status.remove("config"));
    }

    fn prepare_for_update(&self, cx: &WriteContext<'_>, node: &mut Value, old: &Value) {
        if cx.subresource == Some("status") { keep(node, old, "spec") } else { keep(node, old, "status") }
    }

    fn validate(&self, _: &WriteContext<'_>, node: &Value) -> ErrorList {
        validate(node)
    }

    fn validate_update(&self, cx: &WriteContext<'_>, node: &Value, old: &Value) -> ErrorList {
        let mut errors = if cx.subresource == Some("status") { ErrorList::new() } else { validate(node) };
        errors.extend(validate_update(node, old));
        errors
    }

    fn warnings(&self, _: &WriteContext<'_>, node: &Value, _: Option<&Value>) -> Vec<String> {
        let at = Path::new("spec");
        let spec = &node["spec"];
        let mut out = Vec::new();
        if spec.has("configSource") {
            out.push(format!("{}: the feature is no longer supported", at.child("configSource")));
        }
        if !spec.text("externalID").is_empty() {
            out.push(format!("{}: this field is deprecated, and is unused by Kubernetes", at.child("externalID")));
        }
        for (i, range) in spec.texts("podCIDRs").enumerate() {
            out.extend(names::cidr_warnings(&at.child("podCIDRs").index(i), range));
        }
        out
    }
}

fn taints(node: &Value, at: &Path, errors: &mut ErrorList) {
    let mut seen = BTreeSet::new();
    for (i, taint) in node["spec"].list("taints").iter().enumerate() {
        let at = at.index(i);
        let (key, value, effect) = (taint.text("key"), taint.text("value"), taint.text("effect"));
        errors.extend(meta::validate_label_name(key, &at.child("key")));
        let faults = names::label_value(value);
        if !faults.is_empty() {
            errors.invalid(&at.child("value"), value, faults.join(";"));
        }
        taint_effect(effect, &at.child("effect"), errors);
        if !seen.insert((effect, key)) {
            let detail = "taints must be unique by key and effect pair".to_owned();
            errors.push(Error { detail, ..Error::duplicate(&at, taint.clone()) });
        }
    }
}

fn resources(node: &Value, errors: &mut ErrorList) {
    for list in ["capacity", "allocatable"] {
        for (name, value) in node["status"].entries(list) {
            if let Some(amount) = Quantity::from_value(value) {
                resource_quantity(name, &amount, &Path::new("status").child(list).child(name), errors);
            }
        }
    }
}

fn validate(node: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    // Upstream's path, although taints are in the spec.
    taints(node, &Path::new("metadata").child("taints"), &mut errors);
    resources(node, &mut errors);
    let at = Path::new("spec").child("podCIDRs");
    let ranges: Vec<&str> = node["spec"].texts("podCIDRs").collect();
    for (i, range) in ranges.iter().enumerate() {
        errors.extend(names::cidr_for_legacy_field(&at.index(i), range, &[]));
    }
    if ranges.len() > 1 {
        let v6 = ranges.iter().filter(|r| r.contains(':')).count();
        if ranges.len() > 2 || v6 != 1 {
            errors.invalid(&at, ranges, "may specify no more than one CIDR for each IP family");
        }
    }
    errors
}

fn validate_update(node: &Value, old: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    resources(node, &mut errors);
    let mut seen: Vec<&Value> = Vec::new();
    for (i, address) in node["status"].list("addresses").iter().enumerate() {
        if seen.contains(&address) {
            errors.duplicate(&Path::new("status").child("addresses").index(i), address.clone());
        }
        seen.push(address);
    }
    let at = Path::new("spec");
    let (new, before) = (&node["spec"], &old["spec"]);
    if !before.list("podCIDRs").is_empty() && !same(new.sub("podCIDRs"), before.sub("podCIDRs")) {
        let detail = "node updates may not change podCIDR except from \"\" to valid";
        errors.forbidden(&at.child("podCIDRs"), detail);
    }
    if !before.text("providerID").is_empty() && before.text("providerID") != new.text("providerID") {
        let detail = "node updates may not change providerID except from \"\" to valid";
        errors.forbidden(&at.child("providerID"), detail);
    }
    taints(node, &Path::new("metadata").child("taints"), &mut errors);
    if new.text("externalID") != before.text("externalID") {
        errors.forbidden(&at.child("externalID"), "may not be updated");
    }
    errors
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::check::said;
    use serde_json::json;

    #[test]
    fn rules() {
        let old = json!({"spec": {"podCIDRs": ["10.0.0.0/24"], "providerID": "x"}});
        assert!(validate(&old).is_empty() && validate_update(&old, &old).is_empty());
        let new = json!({"spec": {"taints": [{"key": "a", "effect": "NoSchedule"}, {"key": "a", "effect": "NoSchedule"}, {"key": "b", "effect": "?"}]}});
        assert_eq!(
            said(&validate(&new)),
            [
                "metadata.taints[1]: Duplicate value: {\"effect\":\"NoSchedule\",\"key\":\"a\"}: taints must be unique by key and effect pair",
                "metadata.taints[2].effect: Unsupported value: \"?\": supported values: \"NoSchedule\", \"PreferNoSchedule\", \"NoExecute\"",
            ]
        );
        let errors = said(&validate_update(&json!({"spec": {}, "status": {"capacity": {"cpu": "-1"}}}), &old));
        assert_eq!(
            errors,
            [
                "status.capacity.cpu: Invalid value: \"-1\": must be greater than or equal to 0",
                "spec.podCIDRs: Forbidden: node updates may not change podCIDR except from \"\" to valid",
                "spec.providerID: Forbidden: node updates may not change providerID except from \"\" to valid",
            ]
        );
    }
}
