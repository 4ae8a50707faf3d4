//! Names in the table. Operators read them in lists, and metrics tell of what they say: so they are made of the names in the
//! API where there is room, and otherwise end in a digest.
//!
//! What has no name in the API (a selection, some ports, some addresses) has a digest of what it is: equal ones share a set.
//! Nobody may find another's digest, as their selections would become one: SHA-256.

use std::fmt::Write;

use netfilter::tables::Transport;
use sha2::{Digest, Sha256};

use crate::model::{Direction, Key};

/// The kernel takes 255 bytes.
const LONGEST: usize = 200;

/// Says what a chain is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Role {
    /// It lets through what a policy allows: `namespace/policy`.
    Policy,
    /// It asks the policies of some pods, one after another, and drops what none allows: `namespace/policy/policy`.
    Pods,
}

fn prefix(role: Role, direction: Direction) -> &'static str {
    match (role, direction) {
        (Role::Policy, Direction::Ingress) => "policy-ingress",
        (Role::Policy, Direction::Egress) => "policy-egress",
        (Role::Pods, Direction::Ingress) => "pods-ingress",
        (Role::Pods, Direction::Egress) => "pods-egress",
    }
}

/// The chain of a policy.
pub fn policy(direction: Direction, (namespace, name): &Key) -> String {
    fitted(format!("{}/{namespace}/{name}", prefix(Role::Policy, direction)))
}

/// The chain of those pods of a namespace that these policies are about.
pub fn pods<'n>(direction: Direction, namespace: &str, policies: impl IntoIterator<Item = &'n str>) -> String {
    let mut name = format!("{}/{namespace}", prefix(Role::Pods, direction));
    policies.into_iter().for_each(|policy| name.extend(["/", policy]));
    fitted(name)
}

/// What a chain's name says: its role, direction, namespace and policies.
pub fn read(name: &str) -> Option<(Role, Direction, &str, Vec<&str>)> {
    let mut parts = name.split('/');
    let first = parts.next()?;
    let all = [Role::Policy, Role::Pods].into_iter().flat_map(|role| Direction::ALL.map(|direction| (role, direction)));
    let (role, direction) = all.into_iter().find(|(role, direction)| prefix(*role, *direction) == first)?;
    Some((role, direction, parts.next()?, parts.collect()))
}

/// The set of something that has no name but what it is.
pub fn digested(prefix: &str, what: &impl std::fmt::Debug) -> String {
    format!("{prefix}-{}", digest(&format!("{what:?}")))
}

/// The set of the pods' ports of a name.
pub fn port(transport: Transport, name: &str) -> String {
    fitted(format!("port-{transport}-{name}"))
}

fn fitted(mut name: String) -> String {
    if name.len() > LONGEST {
        let digest = digest(&name);
        // Names in the API are ASCII.
        let end = (0..=LONGEST - digest.len() - 1).rev().find(|at| name.is_char_boundary(*at)).unwrap_or_default();
        name.truncate(end);
        name.extend(["-", &digest]);
    }
    name
}

/// Half of the digest: still 128 bits.
fn digest(text: &str) -> String {
    let mut out = String::with_capacity(32);
    for byte in &Sha256::digest(text.as_bytes())[..16] {
        let _ = write!(out, "{byte:02x}");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_say_what_they_are_for() {
        let key = ("shop".to_owned(), "db.only-web".to_owned());
        let name = policy(Direction::Ingress, &key);
        assert_eq!(name, "policy-ingress/shop/db.only-web");
        assert_eq!(read(&name), Some((Role::Policy, Direction::Ingress, "shop", vec!["db.only-web"])));
        let name = pods(Direction::Egress, "shop", ["a", "b"]);
        assert_eq!(read(&name), Some((Role::Pods, Direction::Egress, "shop", vec!["a", "b"])));
        assert_eq!(read("egress"), None);
    }

    #[test]
    fn long_names_are_cut_and_stay_apart() {
        let long = |last: &str| policy(Direction::Egress, &("n".repeat(63), "p".repeat(250) + last));
        assert_eq!(long("a").len(), LONGEST);
        assert_ne!(long("a"), long("b"));
        assert_eq!(read(&long("a")).map(|(_, _, namespace, _)| namespace.len()), Some(63));
    }
}
