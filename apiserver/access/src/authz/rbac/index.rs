//! Who has which roles, compiled: for the cluster and for each namespace, from a user's or group's name to what was
//! granted, each with the reason that an answer carries.

use std::collections::HashMap;
use std::sync::Arc;

use machinery::gvk::GroupResource;
use machinery::json::Fields;
use machinery::meta;
use model::lookup::Lookup;
use model::resources::{CLUSTER_ROLE_BINDINGS, CLUSTER_ROLES, ROLE_BINDINGS, ROLES};
use model::user::UserInfo;
use model::values::quoted;
use serde_json::Value;

use super::aggregate;
use super::rule::{Role, Rule};
use crate::authn::claims::username;
use crate::authz::{Attributes, Decision, Rules};

/// A role with the object it came from, by namespace (empty: of the cluster) and name.
type Roles = HashMap<(String, String), (Arc<Value>, Arc<Role>)>;

/// See the module.
#[derive(Default)]
pub struct Index {
    pub(super) generations: Option<[i64; 4]>,
    cluster: Scope,
    namespaces: HashMap<String, Scope>,
    roles: Roles,
}

#[derive(Default)]
struct Scope {
    users: HashMap<String, Vec<Grant>>,
    groups: HashMap<String, Vec<Grant>>,
}

/// One subject of one binding.
#[derive(Clone)]
struct Grant {
    /// The binding's and the subject's place in their lists.
    place: (usize, usize),
    role: Result<Arc<Role>, Arc<str>>,
    reason: Arc<str>,
}

impl Index {
    /// From the objects; roles that have not changed are taken over from the index before.
    pub fn build(lookup: &dyn Lookup, generations: [i64; 4], before: &Index) -> Self {
        let mut index = Index { generations: Some(generations), ..Index::default() };
        for resource in [&*CLUSTER_ROLES, &*ROLES] {
            for object in lookup.list(resource, None) {
                let key = (meta::namespace(&object).to_owned(), meta::name(&object).to_owned());
                let role = match before.roles.get(&key) {
                    Some((old, role)) if Arc::ptr_eq(old, &object) => role.clone(),
                    _ => Arc::new(Role::new(Rule::read_all(&object))),
                };
                index.roles.insert(key, (object, role));
            }
        }
        index.bind(lookup, &CLUSTER_ROLE_BINDINGS);
        index.bind(lookup, &ROLE_BINDINGS);
        index
    }

    fn bind(&mut self, lookup: &dyn Lookup, resource: &GroupResource) {
        for (binding, object) in lookup.list(resource, None).iter().enumerate() {
            let namespace = meta::namespace(object);
            let (kind, name) = (object.sub("roleRef").text("kind"), object.sub("roleRef").text("name"));
            let role = self.role(kind, name, namespace).map_err(Arc::from);
            let scope = match namespace {
                "" => &mut self.cluster,
                namespace => self.namespaces.entry(namespace.to_owned()).or_default(),
            };
            for (at, subject) in object.list("subjects").iter().enumerate() {
                let reason = reason(object, subject).into();
                let grant = Grant { place: (binding, at), role: role.clone(), reason };
                let name = subject.text("name");
                match subject.text("kind") {
                    "User" => scope.users.entry(name.to_owned()).or_default().push(grant),
                    "Group" => scope.groups.entry(name.to_owned()).or_default().push(grant),
                    "ServiceAccount" => {
                        let own = subject.text("namespace");
                        let own = if own.is_empty() { namespace } else { own };
                        if !own.is_empty() {
                            scope.users.entry(username(own, name)).or_default().push(grant);
                        }
                    }
                    _ => {}
                }
            }
        }
    }

    /// The role that a binding in that namespace refers to.
    pub fn role(&self, kind: &str, name: &str, namespace: &str) -> Result<Arc<Role>, String> {
        let (namespace, what) = match kind {
            "Role" => (namespace, "role"),
            "ClusterRole" => ("", "clusterrole"),
            other => return Err(format!("unsupported role reference kind: {}", quoted(other))),
        };
        match self.roles.get(&(namespace.to_owned(), name.to_owned())) {
            Some((_, role)) => Ok(role.clone()),
            None => Err(format!("{what}.rbac.authorization.k8s.io {} not found", quoted(name))),
        }
    }

    fn scopes(&self, namespace: &str) -> impl Iterator<Item = &Scope> {
        std::iter::once(&self.cluster).chain(self.namespaces.get(namespace))
    }

    /// The decision.
    pub fn authorize(&self, asked: &Attributes<'_>) -> Decision {
        for grant in self.scopes(asked.namespace).flat_map(|scope| scope.grants(asked.user)) {
            if let Ok(role) = &grant.role
                && role.allows(asked)
            {
                return Decision::Allow(format!("RBAC: allowed by {}", grant.reason));
            }
        }
        let errors: Vec<String> =
            self.ordered(asked.user, asked.namespace).filter_map(|g| g.role.err()).map(|e| e.to_string()).collect();
        Decision::NoOpinion(if errors.is_empty() { String::new() } else { format!("RBAC: {}", aggregate(&errors)) })
    }

    /// All rules of a user in a namespace, in the bindings' order.
    pub fn rules_for(&self, user: &UserInfo, namespace: &str) -> Rules {
        let mut all = Rules::default();
        for grant in self.ordered(user, namespace) {
            match grant.role {
                Ok(role) => all.rules.extend(role.rules.iter().cloned()),
                Err(why) => all.errors.push(why.to_string()),
            }
        }
        all
    }

    /// The grants of a user, one a binding, in order.
    fn ordered(&self, user: &UserInfo, namespace: &str) -> impl Iterator<Item = Grant> {
        self.scopes(namespace).flat_map(|scope| {
            let mut grants: Vec<Grant> = scope.grants(user).cloned().collect();
            grants.sort_by_key(|g| g.place);
            grants.dedup_by_key(|g| g.place.0);
            grants
        })
    }
}

impl Scope {
    fn grants<'s>(&'s self, user: &'s UserInfo) -> impl Iterator<Item = &'s Grant> {
        let groups = user.groups.iter().filter_map(|g| self.groups.get(g));
        self.users.get(&user.name).into_iter().chain(groups).flatten()
    }
}

/// `ClusterRoleBinding "b" of ClusterRole "r" to User "u"`.
fn reason(binding: &Value, subject: &Value) -> String {
    let (namespace, name) = (meta::namespace(binding), meta::name(binding));
    let (what, named) = match namespace {
        "" => ("ClusterRoleBinding", name.to_owned()),
        namespace => ("RoleBinding", format!("{name}/{namespace}")),
    };
    let (kind, role) = (binding.sub("roleRef").text("kind"), binding.sub("roleRef").text("name"));
    let (subject_kind, mut subject_name) = (subject.text("kind"), subject.text("name").to_owned());
    if subject_kind == "ServiceAccount" {
        let own = subject.text("namespace");
        subject_name = format!("{subject_name}/{}", if own.is_empty() { namespace } else { own });
    }
    format!("{what} {} of {kind} {} to {subject_kind} {}", quoted(&named), quoted(role), quoted(&subject_name))
}
