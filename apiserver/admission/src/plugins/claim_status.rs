//! Who writes a claim's status may write the parts that are changed: devices and who has them (`resourceclaims/binding`),
//! and what a driver says of its devices (`resourceclaims/driver`, by the driver's name).
//!
//! Not one of upstream's plugins and not to be turned off: upstream does this in the kind's validation
//! (`pkg/registry/resource/utils.go`). A driver on the node of the claim needs the right for that node alone.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use async_trait::async_trait;
use machinery::field::{Error, ErrorList, Path};
use machinery::json::Fields;
use machinery::meta;
use machinery::status::StatusError;
use serde_json::Value;

use access::authz::{Attributes, Authorizer, Decision, forbidden};
use model::user::UserInfo;
use writes::admission::{Operation, Options, Plugin, Request};

const GROUP: &str = "resource.k8s.io";
const NODE_NAME: &str = "authentication.kubernetes.io/node-name";

/// See the module.
pub struct ClaimStatus(pub Arc<dyn Authorizer>);

#[async_trait]
impl Plugin for ClaimStatus {
    fn handles(&self, request: &Request<'_>) -> bool {
        request.subresource == Some("status")
            && request.operation == Operation::Update
            && request.is(GROUP, "resourceclaims")
    }

    async fn validate(&self, request: &Request<'_>, obj: &Value) -> Result<(), StatusError> {
        let verb = match request.options {
            Options::Write(options) if options.patch => "patch",
            _ => "update",
        };
        let asking = Asking {
            authorizer: &*self.0,
            user: request.user,
            verb,
            version: &request.resource.version,
            namespace: request.namespace.unwrap_or_default(),
        };
        let old = request.old.map_or(&Value::Null, |old| &old["status"]);
        let faults = asking.faults(&obj["status"], old);
        match faults.is_empty() {
            true => Ok(()),
            false => Err(StatusError::invalid(&request.resource.group_kind(), meta::name(obj), faults)),
        }
    }
}

/// Who asks for what.
struct Asking<'a> {
    authorizer: &'a dyn Authorizer,
    user: &'a UserInfo,
    verb: &'a str,
    version: &'a str,
    namespace: &'a str,
}

impl Asking<'_> {
    fn faults(&self, new: &Value, old: &Value) -> ErrorList {
        let mut faults = ErrorList::new();
        let at = |field: &str| Path::new("status").child(field);
        if ["allocation", "reservedFor"].iter().any(|field| differs(&new[field], &old[field]))
            && let Err(why) = self.allowed(self.verb, "binding", "", "")
        {
            let verb = self.verb;
            let needed = format!("requires resource=\"resourceclaims/binding\", verb=\"{verb}\" permission: {why}");
            let what = format!("changing status.allocation or status.reservedFor {needed}");
            faults.push(Error::forbidden(&at("allocation"), what));
        }
        if new["allocation"].is_null() {
            // What is said of its devices goes with them.
            return faults;
        }
        let mut verbs = vec![format!("arbitrary-node:{}", self.verb)];
        if self.is_on(node(&new["allocation"])) {
            verbs.insert(0, format!("associated-node:{}", self.verb));
        }
        for driver in changed_drivers(new, old) {
            let refusals: Result<Vec<String>, ()> = verbs
                .iter()
                .map(|verb| self.allowed(verb, "driver", self.namespace, &driver).err().ok_or(()))
                .collect();
            if let Ok(refusals) = refusals {
                let (verbs, why) = (verbs.join(" "), refusals.into_iter().next().unwrap_or_default());
                let needed = format!("resource=\"resourceclaims/driver\", verb=\"[{verbs}]\" permission: {why}");
                faults.push(Error::forbidden(&at("devices"), format!("changing status.devices requires {needed}")));
            }
        }
        faults
    }

    fn allowed(&self, verb: &str, subresource: &str, namespace: &str, name: &str) -> Result<(), String> {
        let attributes = Attributes {
            version: self.version,
            subresource,
            namespace,
            name,
            ..Attributes::resource(self.user, verb, GROUP, "resourceclaims")
        };
        match self.authorizer.authorize(&attributes) {
            Decision::Allow(_) => Ok(()),
            Decision::Deny(why) | Decision::NoOpinion(why) => Err(forbidden(&attributes, &why).message),
        }
    }

    /// Whether it is a service account of a pod on that node.
    fn is_on(&self, node: Option<&str>) -> bool {
        let nodes = self.user.extra.get(NODE_NAME).map(Vec::as_slice).unwrap_or_default();
        self.user.name.starts_with("system:serviceaccount:")
            && matches!((nodes, node), ([own], Some(node)) if own == node && !node.is_empty())
    }
}

/// Nothing and an empty list are the same.
fn differs(new: &Value, old: &Value) -> bool {
    let some = |value: &Value| !value.is_null() && value.as_array().is_none_or(|list| !list.is_empty());
    (some(new) || some(old)) && new != old
}

/// The one node where an allocated claim can be used.
fn node(allocation: &Value) -> Option<&str> {
    let [term] = allocation.sub("nodeSelector").list("nodeSelectorTerms") else { return None };
    let [field] = term.list("matchFields") else { return None };
    let is_name = field.text("key") == "metadata.name" && field.text("operator") == "In";
    match field.list("values") {
        [name] if is_name && term.list("matchExpressions").is_empty() => name.as_str(),
        _ => None,
    }
}

/// The drivers of whose devices something else is said.
fn changed_drivers(new: &Value, old: &Value) -> BTreeSet<String> {
    let id = |device: &Value| ["driver", "pool", "device", "shareID"].map(|field| device.text(field).to_owned());
    let by_id = |status: &Value| -> BTreeMap<[String; 4], Value> {
        status.list("devices").iter().map(|device| (id(device), device.clone())).collect()
    };
    let (new, old) = (by_id(new), by_id(old));
    let changed = new.iter().filter(|(id, device)| old.get(*id) != Some(device)).map(|(id, _)| id);
    let gone = old.keys().filter(|id| !new.contains_key(*id));
    changed.chain(gone).map(|[driver, ..]| driver.clone()).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// What the user may do: verb, subresource, namespace and name.
    struct Rights(Vec<[&'static str; 4]>);

    impl Authorizer for Rights {
        fn authorize(&self, a: &Attributes<'_>) -> Decision {
            let asked = [a.verb, a.subresource, a.namespace, a.name];
            assert_eq!((a.group, a.version, a.resource), (GROUP, "v1", "resourceclaims"));
            match self.0.contains(&asked) {
                true => Decision::Allow(String::new()),
                false => Decision::NoOpinion("no".into()),
            }
        }
    }

    fn check(rights: &[[&'static str; 4]], on: Option<&str>, old: Value, new: Value, want: &[&str]) {
        let user = UserInfo {
            name: "system:serviceaccount:ns:driver".into(),
            extra: on.map(|node| (NODE_NAME.to_owned(), vec![node.to_owned()])).into_iter().collect(),
            ..UserInfo::default()
        };
        let rights = Rights(rights.to_vec());
        let asking = Asking { authorizer: &rights, user: &user, verb: "update", version: "v1", namespace: "ns" };
        let got: Vec<String> = asking.faults(&new, &old).iter().map(ToString::to_string).collect();
        assert_eq!(got, want, "{old} {new}");
    }

    const BINDING: [&str; 4] = ["update", "binding", "", ""];
    const NO_BINDING: &str = "status.allocation: Forbidden: changing status.allocation or status.reservedFor requires resource=\"resourceclaims/binding\", verb=\"update\" permission: resourceclaims.resource.k8s.io is forbidden: User \"system:serviceaccount:ns:driver\" cannot update resource \"resourceclaims/binding\" in API group \"resource.k8s.io\" at the cluster scope: no";

    #[test]
    fn who_binds_a_claim_may_bind_all() {
        let allocated = json!({"allocation": {"devices": {}}});
        let reserved = json!({"allocation": {"devices": {}}, "reservedFor": [{"uid": "u"}]});
        check(&[BINDING], None, json!(null), allocated.clone(), &[]);
        check(&[], None, json!(null), allocated.clone(), &[NO_BINDING]);
        check(&[], None, allocated.clone(), reserved.clone(), &[NO_BINDING]);
        check(&[], None, reserved.clone(), json!({}), &[NO_BINDING]);
        check(&[], None, allocated.clone(), allocated.clone(), &[]);
        check(&[], None, allocated.clone(), json!({"allocation": {"devices": {}}, "reservedFor": []}), &[]);
        check(&[["update", "binding", "ns", ""]], None, allocated, reserved, &[NO_BINDING]);
    }

    #[test]
    fn a_driver_speaks_for_its_own_devices_on_its_own_node() {
        let name = json!({"key": "metadata.name", "operator": "In", "values": ["n"]});
        let status = |devices: Value| {
            let selector = json!({"nodeSelectorTerms": [{"matchFields": [name]}]});
            json!({"allocation": {"nodeSelector": selector}, "devices": devices})
        };
        let device = |driver: &str, data: i64| json!({"driver": driver, "pool": "p", "device": "d", "data": data});
        let (old, new) =
            (status(json!([device("a", 1), device("b", 1)])), status(json!([device("a", 2), device("b", 1)])));
        let here = ["associated-node:update", "driver", "ns", "a"];
        let anywhere = ["arbitrary-node:update", "driver", "ns", "a"];
        check(&[here], Some("n"), old.clone(), new.clone(), &[]);
        check(&[anywhere], Some("n"), old.clone(), new.clone(), &[]);
        check(&[anywhere], None, old.clone(), new.clone(), &[]);
        let refused = |verbs: &str, verb: &str| {
            format!(
                "status.devices: Forbidden: changing status.devices requires resource=\"resourceclaims/driver\", verb=\"[{verbs}]\" permission: resourceclaims.resource.k8s.io \"a\" is forbidden: User \"system:serviceaccount:ns:driver\" cannot {verb} resource \"resourceclaims/driver\" in API group \"resource.k8s.io\" in the namespace \"ns\": no"
            )
        };
        let elsewhere = refused("arbitrary-node:update", "arbitrary-node:update");
        check(&[here], Some("other"), old.clone(), new.clone(), &[&elsewhere]);
        let nowhere = refused("associated-node:update arbitrary-node:update", "associated-node:update");
        check(&[], Some("n"), old.clone(), new.clone(), &[&nowhere]);
        // One that is no longer spoken of is spoken of, too.
        check(&[], None, old.clone(), status(json!([device("b", 1)])), &[&elsewhere]);
        check(&[], None, old.clone(), old.clone(), &[]);
        // What goes with its allocation is nobody's.
        check(&[BINDING], None, old, json!({}), &[]);
    }
}
