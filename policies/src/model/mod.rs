//! Pods, namespaces and policies as packets meet them: what the rules need to know of the API's objects, and nothing else.
//!
//! Most changes of a pod (its conditions, its containers' states) change nothing here, and so nothing below.

mod nets;
mod ports;
mod read;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::net::IpAddr;

use machinery::selector::LabelSelector;
use netfilter::tables::Transport;

pub use nets::{Nets, Range, version};
pub use ports::Ports;
pub use read::{dns_endpoints, pod, policy};

/// `(namespace, name)`.
pub type Key = (String, String);

/// Labels of an object.
pub type Labels = BTreeMap<String, String>;

/// The namespace of the cluster's own parts.
pub const SYSTEM: &str = "kube-system";
/// The Service by which pods find the cluster's DNS, and the label of the pods that it usually has.
pub const DNS: &str = "kube-dns";
/// The key of that label.
pub const DNS_LABEL: &str = "k8s-app";

/// A pod that policies can say something of: it has addresses of its own, and has not ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pod {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its UID.
    pub uid: String,
    /// When it was made, in seconds since 1970: of two that claim an address the later one has it.
    pub since: i64,
    /// Its labels.
    pub labels: Labels,
    /// Its addresses.
    pub ips: Vec<IpAddr>,
    /// The ports of its containers that have names; the first of a name and protocol, as a Service would take it.
    pub ports: BTreeMap<(Transport, String), u16>,
    /// It runs on this node.
    pub local: bool,
}

/// A NetworkPolicy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// Whom of its namespace it is about.
    pub subjects: LabelSelector,
    /// What may come in, if it says something of that.
    pub ingress: Option<Vec<Rule>>,
    /// What may go out, likewise.
    pub egress: Option<Vec<Rule>>,
}

impl Policy {
    /// What it allows in a direction, if it isolates its subjects there.
    pub fn rules(&self, direction: Direction) -> Option<&[Rule]> {
        match direction {
            Direction::Ingress => self.ingress.as_deref(),
            Direction::Egress => self.egress.as_deref(),
        }
    }
}

/// Seen from the pod that a policy is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Direction {
    /// To it.
    Ingress,
    /// From it.
    Egress,
}

impl Direction {
    /// Both.
    pub const ALL: [Direction; 2] = [Direction::Ingress, Direction::Egress];

    /// As people and metrics are told.
    pub fn as_str(self) -> &'static str {
        match self {
            Direction::Ingress => "ingress",
            Direction::Egress => "egress",
        }
    }
}

/// What is allowed: from or to any of the peers, at any of the ports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Any of these; everybody, if that is not said.
    pub peers: Option<Peers>,
    /// Any of these; everything, also what has no ports, if that is not said.
    pub ports: Option<Ports>,
}

/// The other ends that a rule names.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Peers {
    /// Pods.
    pub pods: Vec<Selection>,
    /// Addresses.
    pub nets: Nets,
}

/// Some pods of some namespaces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selection {
    /// Of which namespaces.
    pub namespaces: Scope,
    /// Which of their pods.
    pub pods: LabelSelector,
}

/// Some namespaces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// The one of the policy.
    Own(String),
    /// Those with such labels.
    Labelled(LabelSelector),
}

impl Selection {
    /// Whether it takes a pod with these labels, of a namespace with those. Of a namespace that is not known it takes none:
    /// what it must not have it may have.
    pub fn takes(&self, namespace: &str, of_namespace: Option<&Labels>, labels: &Labels) -> bool {
        let there = match &self.namespaces {
            Scope::Own(own) => own == namespace,
            Scope::Labelled(selector) => of_namespace.is_some_and(|labels| selector.matches(labels)),
        };
        there && self.pods.matches(labels)
    }
}

/// Where the cluster's DNS answers.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DnsEndpoint {
    /// Its address.
    pub ip: IpAddr,
    /// Its port.
    pub port: u16,
    /// By which protocol.
    pub transport: Transport,
    /// The port's name.
    pub name: String,
    /// A pod is there: it has labels and ports of its own. Otherwise it is the node.
    pub is_pod: bool,
}
