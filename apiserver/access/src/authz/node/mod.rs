//! The Node authorizer: a kubelet may read what the pods of its own node refer to, write what is its own, and nothing
//! else. Follows `plugin/pkg/auth/authorizer/node/node_authorizer.go`.
//!
//! What belongs to whom is a graph (`graph.rs`) that is kept up to date by pulling changes from the watch cache when a
//! question needs it (`feed.rs`): a kubelet that has just seen its pod is never told that it may not read its Secret.

use std::sync::LazyLock;

use machinery::meta;
use model::user::UserInfo;
use model::values::quoted;
use parking_lot::Mutex;

use super::rbac::{Role, Rule};
use super::{Attributes, Authorizer, Decision, Rules};

pub mod feed;
pub mod graph;

pub use graph::{Graph, Kind};

/// Brings a graph up to date.
pub trait Feed: Send {
    /// Applies what happened since the last call.
    fn pull(&mut self, graph: &mut Graph);
}

/// See the module.
pub struct Node {
    state: Mutex<(Graph, Box<dyn Feed>)>,
}

/// What every kubelet may do beyond the rules of code: upstream's role `system:node`, which is bound to nobody.
static RULES: LazyLock<Role> = LazyLock::new(|| {
    let roles = crate::authz::rbac::bootstrap::cluster_roles();
    let role = roles.iter().find(|role| meta::name(role) == "system:node");
    Role::new(role.map(Rule::read_all).unwrap_or_default())
});

const NODE_LEASES: &str = "kube-node-lease";

impl Node {
    /// Kubelets' rights by what the feed tells.
    pub fn new(feed: Box<dyn Feed>) -> Self {
        Self { state: Mutex::new((Graph::default(), feed)) }
    }

    /// Whether the object belongs to a pod of the node, or is otherwise its own.
    fn related(&self, node: &str, kind: Kind, a: &Attributes<'_>) -> Decision {
        if a.name.is_empty() {
            return no("No Object name found");
        }
        let mut state = self.state.lock();
        let (graph, feed) = &mut *state;
        feed.pull(graph);
        if graph.reaches(node, kind, a.namespace, a.name) {
            return yes();
        }
        no(format!("no relationship found between node '{node}' and this object"))
    }

    fn read(&self, node: &str, kind: Kind, a: &Attributes<'_>) -> Decision {
        if !matches!(a.verb, "get" | "list" | "watch") {
            return no("can only read resources of this type");
        }
        if !a.subresource.is_empty() {
            return no("cannot read subresource");
        }
        if a.namespace.is_empty() {
            return no("can only read namespaced object of this type");
        }
        self.related(node, kind, a)
    }

    fn get(&self, node: &str, kind: Kind, a: &Attributes<'_>) -> Decision {
        if a.verb != "get" {
            return no("can only get individual resources of this type");
        }
        if !a.subresource.is_empty() {
            return no("cannot get subresource");
        }
        self.related(node, kind, a)
    }

    fn service_account(&self, node: &str, a: &Attributes<'_>) -> Decision {
        if a.verb == "get" && a.subresource.is_empty() {
            return self.read(node, Kind::ServiceAccount, a);
        }
        if a.verb != "create" || a.name.is_empty() {
            return no("can only create tokens for individual service accounts");
        }
        if a.subresource != "token" {
            return no("can only create token subresource of serviceaccount");
        }
        self.related(node, Kind::ServiceAccount, a)
    }

    fn claim_status(&self, node: &str, a: &Attributes<'_>) -> Decision {
        if !matches!(a.verb, "update" | "patch") {
            return no("can only get/update/patch this type");
        }
        self.related(node, Kind::Claim, a)
    }

    fn resource_slice(&self, node: &str, a: &Attributes<'_>) -> Decision {
        if !a.subresource.is_empty() {
            return no("cannot authorize ResourceSlice subresources");
        }
        match a.verb {
            "create" => yes(),
            "get" | "update" | "patch" | "delete" => self.related(node, Kind::ResourceSlice, a),
            "watch" | "list" | "deletecollection" if a.selects("spec.nodeName", node) => yes(),
            "watch" | "list" | "deletecollection" => {
                no("can only list/watch/deletecollection resourceslices with nodeName field selector")
            }
            _ => no(
                "only the following verbs are allowed for a ResourceSlice: get, watch, list, create, update, patch, delete, deletecollection",
            ),
        }
    }

    fn certificate_request(&self, node: &str, a: &Attributes<'_>) -> Decision {
        if !a.subresource.is_empty() {
            return no("nodes may not access the status subresource of PodCertificateRequests");
        }
        match a.verb {
            "create" => yes(),
            "get" => self.related(node, Kind::PodCertificateRequest, a),
            "list" | "watch" if a.selects("spec.nodeName", node) => yes(),
            "list" | "watch" => no("can only list/watch podcertificaterequests with nodeName field selector"),
            verb => no(format!("nodes may not {verb} podcertificaterequests")),
        }
    }

    fn pod(&self, node: &str, a: &Attributes<'_>) -> Decision {
        match (a.subresource, a.verb) {
            ("", "get") => self.get(node, Kind::Pod, a),
            ("", "list" | "watch") if a.selects("spec.nodeName", node) => yes(),
            ("", "list" | "watch") if !a.name.is_empty() => self.related(node, Kind::Pod, a),
            ("", "list" | "watch") => no("can only list/watch pods with spec.nodeName field selector"),
            // NodeRestriction binds these to mirror pods and pods of the node itself.
            ("", "create" | "delete") | ("status", "update" | "patch") | ("eviction", "create") => yes(),
            _ => no(""),
        }
    }
}

fn yes() -> Decision {
    Decision::Allow(String::new())
}

fn no(reason: impl Into<String>) -> Decision {
    Decision::NoOpinion(reason.into())
}

fn own_node(node: &str, a: &Attributes<'_>) -> Decision {
    match (a.subresource, a.verb) {
        // NodeRestriction binds writes to the node itself.
        ("", "create" | "update" | "patch") | ("status", "update" | "patch") => yes(),
        ("", "get" | "list" | "watch") if a.name == node => yes(),
        ("", "get" | "list" | "watch") if a.name.is_empty() => {
            no(format!("node '{node}' cannot read all nodes, only its own Node object"))
        }
        ("", "get" | "list" | "watch") => {
            no(format!("node '{node}' cannot read '{}', only its own Node object", a.name))
        }
        _ => no(""),
    }
}

fn lease(node: &str, a: &Attributes<'_>) -> Decision {
    if !matches!(a.verb, "get" | "create" | "update" | "patch" | "delete") {
        return no("can only get, create, update, patch, or delete a node lease");
    }
    if a.namespace != NODE_LEASES {
        return no(format!("can only access leases in the {} system namespace", quoted(NODE_LEASES)));
    }
    if a.verb != "create" && a.name != node {
        return no("can only access node lease with the same name as the requesting node");
    }
    yes()
}

fn csi_node(node: &str, a: &Attributes<'_>) -> Decision {
    if !matches!(a.verb, "get" | "create" | "update" | "patch" | "delete") {
        return no("can only get, create, update, patch, or delete a CSINode");
    }
    if !a.subresource.is_empty() {
        return no("cannot authorize CSINode subresources");
    }
    if a.verb != "create" && a.name != node {
        return no("can only access CSINode with the same name as the requesting node");
    }
    yes()
}

impl Authorizer for Node {
    fn authorize(&self, a: &Attributes<'_>) -> Decision {
        let Some(node) = a.user.node() else { return no("") };
        if node.is_empty() {
            return no(format!("unknown node for user {}", quoted(&a.user.name)));
        }
        if a.resource_request {
            match (a.group, a.resource) {
                ("", "secrets") => return self.read(node, Kind::Secret, a),
                ("", "configmaps") => return self.read(node, Kind::ConfigMap, a),
                ("", "persistentvolumeclaims") if a.subresource == "status" => return self.claim_status(node, a),
                ("", "persistentvolumeclaims") => return self.get(node, Kind::Claim, a),
                ("", "persistentvolumes") => return self.get(node, Kind::Volume, a),
                ("", "serviceaccounts") => return self.service_account(node, a),
                ("", "nodes") => return own_node(node, a),
                ("", "pods") => return self.pod(node, a),
                ("resource.k8s.io", "resourceclaims") => return self.get(node, Kind::ResourceClaim, a),
                ("resource.k8s.io", "resourceslices") => return self.resource_slice(node, a),
                ("storage.k8s.io", "volumeattachments") => return self.get(node, Kind::VolumeAttachment, a),
                ("storage.k8s.io", "csinodes") => return csi_node(node, a),
                ("coordination.k8s.io", "leases") => return lease(node, a),
                ("certificates.k8s.io", "podcertificaterequests") => return self.certificate_request(node, a),
                _ => {}
            }
        }
        if RULES.allows(a) { yes() } else { no("") }
    }

    fn rules_for(&self, user: &UserInfo, _: &str) -> Rules {
        match user.node() {
            Some(_) => Rules {
                incomplete: true,
                errors: vec!["node authorizer does not support user rule resolution".into()],
                ..Rules::default()
            },
            None => Rules::default(),
        }
    }
}

#[cfg(test)]
mod tests;
