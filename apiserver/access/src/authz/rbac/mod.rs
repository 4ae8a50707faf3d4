//! Role-based access control: roles are lists of rules, bindings give them to users, groups and service accounts, and
//! whatever no rule allows is not allowed.
//!
//! Decisions come from a compiled index (`index.rs`) that is made anew when an object of the four resources has
//! changed; there are few of them and they change rarely, while every request is a decision. Follows
//! `plugin/pkg/auth/authorizer/rbac` and `pkg/registry/rbac/validation`.

use std::sync::Arc;

use arc_swap::ArcSwap;
use model::lookup::Lookup;
use model::resources::{CLUSTER_ROLE_BINDINGS, CLUSTER_ROLES, ROLE_BINDINGS, ROLES};
use model::user::UserInfo;
use parking_lot::Mutex;

use super::{Attributes, Authorizer, Decision, Rules};

pub mod bootstrap;
mod covers;
pub mod escalation;
mod index;
mod rule;

pub use covers::{breakdown, covers, missing};
pub use index::Index;
pub use rule::{Role, Rule};

/// See the module.
pub struct Rbac {
    lookup: Arc<dyn Lookup>,
    index: ArcSwap<Index>,
    rebuilding: Mutex<()>,
}

impl Rbac {
    /// Roles and bindings that are found there.
    pub fn new(lookup: Arc<dyn Lookup>) -> Self {
        Self { lookup, index: ArcSwap::from_pointee(Index::default()), rebuilding: Mutex::new(()) }
    }

    fn generations(&self) -> [i64; 4] {
        [&*CLUSTER_ROLES, &*CLUSTER_ROLE_BINDINGS, &*ROLES, &*ROLE_BINDINGS].map(|r| self.lookup.generation(r))
    }

    /// The index as of now.
    pub fn index(&self) -> Arc<Index> {
        let current = self.index.load();
        if current.generations == Some(self.generations()) {
            return current.clone();
        }
        drop(current);
        // One rebuilds, the others wait: a decision never misses a role that a client has seen acknowledged.
        let _one = self.rebuilding.lock();
        let current = self.index.load_full();
        let generations = self.generations();
        if current.generations == Some(generations) {
            return current;
        }
        let next = Arc::new(Index::build(&*self.lookup, generations, &current));
        self.index.store(next.clone());
        next
    }

    /// The rules of a role that a binding refers to; the error says that there is none.
    pub fn role_rules(&self, kind: &str, name: &str, namespace: &str) -> Result<Vec<Rule>, String> {
        self.index().role(kind, name, namespace).map(|role| role.rules.clone())
    }
}

impl Authorizer for Rbac {
    fn authorize(&self, attributes: &Attributes<'_>) -> Decision {
        self.index().authorize(attributes)
    }

    fn rules_for(&self, user: &UserInfo, namespace: &str) -> Rules {
        self.index().rules_for(user, namespace)
    }
}

/// Go's way of showing several errors as one, the same one once.
pub fn aggregate(errors: &[String]) -> String {
    let mut unique: Vec<&str> = Vec::new();
    for error in errors {
        if !unique.contains(&error.as_str()) {
            unique.push(error);
        }
    }
    match unique.as_slice() {
        [one] => (*one).to_owned(),
        many => format!("[{}]", many.join(", ")),
    }
}

#[cfg(test)]
mod tests;
