//! From what is known of the cluster to what a table should hold, one change at a time.
//!
//! An address leads to a chain by a map; the chain asks the policies that its pod is subject to, each a chain of its own, and
//! drops what none of them allows. Pods with the same policies share a chain, policies with the same selections share their
//! sets. So a pod that comes is an element here and there, and a policy that changes is its chain. What no pod of this node
//! needs is not there.
//!
//! What follows of an address is worked out anew from who has it now, and compared; nothing depends on the way there. So
//! [`compile`], which starts with nothing, gives the same.

pub mod base;
pub mod fragment;
pub mod names;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use netfilter::tables::{Datum, Element, Statement, Verdict, Version};

use crate::content::{Content, Wanted};
use crate::facts::Facts;
use crate::model::{DNS, DNS_LABEL, Direction, DnsEndpoint, Key, Labels, Pod, Policy, SYSTEM, Selection, version};
use fragment::{Fragment, Members, fragment};

/// What of the configuration is in the rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Options {
    /// Each namespace but the system's is isolated in both directions, but for what its policies allow and for the DNS.
    pub default_deny: bool,
    /// The kernel can't tell of what is dropped.
    pub untold: bool,
}

/// What the table of a family should hold of all this.
pub fn compile(facts: &Facts, options: Options, version: Version) -> Content {
    let mut compiler = Compiler::new(options, version);
    compiler.all(facts);
    compiler.wanted.content().clone()
}

/// A chain that policies' subjects share: of their namespace, with these policies.
type Subjects = (Direction, String, BTreeSet<String>);

/// A set that is used.
struct Live {
    members: Members,
    /// By so many chains.
    users: usize,
}

/// Keeps what a table should hold up to date.
pub struct Compiler {
    options: Options,
    version: Version,
    owners: BTreeMap<IpAddr, Arc<Pod>>,
    by_namespace: HashMap<String, BTreeSet<IpAddr>>,
    namespaces: HashMap<String, Arc<Labels>>,
    policies: BTreeMap<Key, Arc<Policy>>,
    dns: BTreeSet<DnsEndpoint>,
    ranges: Vec<IpNet>,
    /// Those whose chains lead the addresses, and the chains' addresses.
    led: HashMap<(Direction, IpAddr), Subjects>,
    subjects: BTreeMap<Subjects, BTreeSet<IpAddr>>,
    /// The policies' chains that are used, and by how many.
    fragments: BTreeMap<(Direction, Key), (Fragment, usize)>,
    live: BTreeMap<String, Live>,
    /// What all this comes to.
    pub wanted: Wanted,
}

impl Compiler {
    /// Of an empty cluster.
    pub fn new(options: Options, version: Version) -> Compiler {
        let mut compiler = Compiler {
            options,
            version,
            owners: BTreeMap::new(),
            by_namespace: HashMap::new(),
            namespaces: HashMap::new(),
            policies: BTreeMap::new(),
            dns: BTreeSet::new(),
            ranges: Vec::new(),
            led: HashMap::new(),
            subjects: BTreeMap::new(),
            fragments: BTreeMap::new(),
            live: BTreeMap::new(),
            wanted: Wanted::default(),
        };
        base::sets(version).into_iter().for_each(|set| compiler.wanted.add_set(set));
        compiler.hold_back();
        compiler
    }

    /// Takes all that is known.
    pub fn all(&mut self, facts: &Facts) {
        self.dns(facts.dns_endpoints());
        self.ranges(&facts.ranges);
        facts.namespaces.iter().for_each(|(name, labels)| self.namespace(name, Some(labels.clone())));
        facts.policies.iter().for_each(|(key, policy)| self.policy(key, Some(policy.clone())));
        facts.addresses().for_each(|ip| self.address(ip, facts.owner(ip).cloned()));
    }

    /// Somebody has an address now, or nobody.
    pub fn address(&mut self, ip: IpAddr, owner: Option<Arc<Pod>>) {
        if version(ip) != self.version {
            return;
        }
        if let Some(before) = self.owners.remove(&ip)
            && let Some(there) = self.by_namespace.get_mut(&before.namespace)
        {
            there.remove(&ip);
            if there.is_empty() {
                self.by_namespace.remove(&before.namespace);
            }
        }
        if let Some(owner) = owner {
            self.by_namespace.entry(owner.namespace.clone()).or_default().insert(ip);
            self.owners.insert(ip, owner);
        }
        self.derive(ip);
    }

    /// A namespace has these labels now, or is not there.
    pub fn namespace(&mut self, name: &str, labels: Option<Arc<Labels>>) {
        match labels {
            Some(labels) => self.namespaces.insert(name.to_owned(), labels),
            None => self.namespaces.remove(name),
        };
        if name == SYSTEM {
            // Whether a selection takes the DNS may be different.
            self.fragments.keys().cloned().collect::<Vec<_>>().iter().for_each(|of| self.recompile(of));
        }
        for ip in self.by_namespace.get(name).cloned().unwrap_or_default() {
            self.derive(ip);
        }
    }

    /// A policy is like this now, or is not there.
    pub fn policy(&mut self, key: &Key, policy: Option<Arc<Policy>>) {
        match policy {
            Some(policy) => self.policies.insert(key.clone(), policy),
            None => self.policies.remove(key),
        };
        Direction::ALL.into_iter().for_each(|direction| self.recompile(&(direction, key.clone())));
        for ip in self.by_namespace.get(&key.0).cloned().unwrap_or_default() {
            self.lead(ip);
        }
        self.hold_back();
    }

    /// The DNS answers there now.
    pub fn dns(&mut self, endpoints: BTreeSet<DnsEndpoint>) {
        let endpoints = endpoints.into_iter().filter(|endpoint| version(endpoint.ip) == self.version).collect();
        if self.dns == endpoints {
            return;
        }
        let before = std::mem::replace(&mut self.dns, endpoints);
        let element = |endpoint: &DnsEndpoint| destination(endpoint.ip, endpoint.transport, endpoint.port);
        self.wanted.set_elements(base::DNS, self.dns.iter().map(element));
        let hosts = self.dns.iter().filter(|endpoint| !endpoint.is_pod);
        self.wanted.set_elements(base::DNS_HOSTS, hosts.map(element));
        for ip in before.iter().chain(&self.dns.clone()).map(|endpoint| endpoint.ip) {
            self.derive(ip);
        }
    }

    /// The node's pods have their addresses from these ranges.
    pub fn ranges(&mut self, ranges: &[IpNet]) {
        self.ranges = ranges.iter().filter(|net| version(net.addr()) == self.version).copied().collect();
        self.hold_back();
    }

    /// While there are policies, pods are held back until it is known which are about them.
    fn hold_back(&mut self) {
        let held = self.options.default_deny || !self.policies.is_empty();
        let ranges = IpNet::aggregate(&self.ranges).into_iter().filter(|_| held);
        self.wanted.set_elements(base::RANGES, ranges.map(Element::net));
        if self.version == Version::V6 {
            let link = ipnet::Ipv6Net::new_assert(std::net::Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), 10);
            self.wanted.set_elements(base::LINK_LOCAL, held.then(|| Element::net(link.into())));
        }
    }

    /// What follows of who has an address.
    fn derive(&mut self, ip: IpAddr) {
        let local = self.owners.get(&ip).is_some_and(|owner| owner.local);
        let twice = [Datum::Address(ip); 2];
        self.wanted.set_elements_of(base::PODS, ip, local.then(|| Element::of([twice[0]])));
        self.wanted.set_elements_of(base::THEMSELVES, ip, local.then(|| Element::of(twice)));
        let Compiler { live, owners, namespaces, dns, wanted, .. } = self;
        let of = Of { ip, owner: owners.get(&ip).map(Arc::as_ref), namespaces, dns };
        live.iter().for_each(|(name, live)| of.fill(name, &live.members, wanted));
        self.lead(ip);
    }

    /// Leads an address to the chains of the policies that its pod is subject to.
    fn lead(&mut self, ip: IpAddr) {
        for direction in Direction::ALL {
            let now = self.owners.get(&ip).filter(|pod| pod.local).and_then(|pod| self.subjects_of(pod, direction));
            let before = self.led.get(&(direction, ip)).cloned();
            if before == now {
                continue;
            }
            // What is used before and after stays.
            if let Some(now) = &now {
                self.join(now, ip);
            }
            let map = if direction == Direction::Ingress { base::INGRESS } else { base::EGRESS };
            let to = now.as_ref().map(|now| Verdict::Goto(chain(now)));
            self.wanted.set_elements_of(map, ip, to.map(|to| Element::verdict([Datum::Address(ip)], to)));
            if let Some(before) = before {
                self.leave(&before, ip);
            }
            match now {
                Some(now) => self.led.insert((direction, ip), now),
                None => self.led.remove(&(direction, ip)),
            };
        }
    }

    fn is_isolated(&self, namespace: &str) -> bool {
        self.options.default_deny && namespace != SYSTEM
    }

    fn subjects_of(&self, pod: &Pod, direction: Direction) -> Option<Subjects> {
        let names: BTreeSet<String> = subject_policies(&self.policies, pod, direction).map(str::to_owned).collect();
        (!names.is_empty() || self.is_isolated(&pod.namespace)).then(|| (direction, pod.namespace.clone(), names))
    }

    fn join(&mut self, subjects: &Subjects, ip: IpAddr) {
        let (direction, namespace, names) = subjects;
        let addresses = self.subjects.entry(subjects.clone()).or_default();
        addresses.insert(ip);
        if addresses.len() > 1 {
            return;
        }
        let mut rules = Vec::new();
        if *direction == Direction::Egress && self.is_isolated(namespace) {
            let dns = Statement::In(base::destination(self.version), base::DNS.to_owned(), true);
            rules.push(vec![dns, Statement::Verdict(Verdict::Accept)]);
        }
        for name in names {
            let of = (*direction, (namespace.clone(), name.clone()));
            self.use_policy(&of);
            rules.push(vec![Statement::Verdict(Verdict::Jump(names::policy(of.0, &of.1)))]);
        }
        let name = chain(subjects);
        rules.extend(base::denied(direction.as_str(), &name, !self.options.untold));
        self.wanted.set_chain(&name, rules);
    }

    fn leave(&mut self, subjects: &Subjects, ip: IpAddr) {
        let Some(addresses) = self.subjects.get_mut(subjects) else { return };
        addresses.remove(&ip);
        if addresses.is_empty() {
            self.subjects.remove(subjects);
            self.wanted.remove_chain(&chain(subjects));
            let (direction, namespace, names) = subjects;
            names.iter().for_each(|name| self.release_policy(&(*direction, (namespace.clone(), name.clone()))));
        }
    }

    fn use_policy(&mut self, of: &(Direction, Key)) {
        if let Some((_, users)) = self.fragments.get_mut(of) {
            *users += 1;
            return;
        }
        let fragment = self.fragment(of);
        fragment.sets.iter().for_each(|(name, members)| self.use_set(name, members));
        self.wanted.set_chain(&names::policy(of.0, &of.1), fragment.rules.clone());
        self.fragments.insert(of.clone(), (fragment, 1));
    }

    fn release_policy(&mut self, of: &(Direction, Key)) {
        let Some((_, users)) = self.fragments.get_mut(of) else { return };
        *users -= 1;
        if *users == 0
            && let Some((fragment, _)) = self.fragments.remove(of)
        {
            self.wanted.remove_chain(&names::policy(of.0, &of.1));
            fragment.sets.keys().for_each(|name| self.release_set(name));
        }
    }

    /// A policy's chain, if it is used, is as the policy is now.
    fn recompile(&mut self, of: &(Direction, Key)) {
        let Some(users) = self.fragments.get(of).map(|(_, users)| *users) else { return };
        let fragment = self.fragment(of);
        fragment.sets.iter().for_each(|(name, members)| self.use_set(name, members));
        self.wanted.set_chain(&names::policy(of.0, &of.1), fragment.rules.clone());
        if let Some((before, _)) = self.fragments.insert(of.clone(), (fragment, users)) {
            before.sets.keys().for_each(|name| self.release_set(name));
        }
    }

    fn fragment(&self, (direction, key): &(Direction, Key)) -> Fragment {
        let rules = self.policies.get(key).and_then(|policy| policy.rules(*direction)).unwrap_or_default();
        fragment(rules, *direction, self.version, &names::policy(*direction, key), |selection| self.is_dns(selection))
    }

    /// Whether a selection means the cluster's DNS: it would take its pods as they are everywhere else.
    fn is_dns(&self, selection: &Selection) -> bool {
        let labels = Labels::from([(DNS_LABEL.to_owned(), DNS.to_owned())]);
        selection.takes(SYSTEM, self.namespaces.get(SYSTEM).map(Arc::as_ref), &labels)
    }

    fn use_set(&mut self, name: &str, members: &Members) {
        if let Some(live) = self.live.get_mut(name) {
            live.users += 1;
            return;
        }
        self.wanted.add_set(members.set(name, self.version));
        self.live.insert(name.to_owned(), Live { members: members.clone(), users: 1 });
        if let Members::Fixed(_, elements) = members {
            self.wanted.set_elements(name, elements.iter().cloned());
            return;
        }
        let hosts = self.dns.iter().map(|endpoint| endpoint.ip);
        let all: BTreeSet<IpAddr> = self.owners.keys().copied().chain(hosts).collect();
        let Compiler { owners, namespaces, dns, wanted, .. } = self;
        for ip in all {
            let of = Of { ip, owner: owners.get(&ip).map(Arc::as_ref), namespaces, dns };
            of.fill(name, members, wanted);
        }
    }

    fn release_set(&mut self, name: &str) {
        let Some(live) = self.live.get_mut(name) else { return };
        live.users -= 1;
        if live.users == 0 {
            self.live.remove(name);
            self.wanted.remove_set(name);
        }
    }
}

/// An address, and what its elements follow from.
struct Of<'c> {
    ip: IpAddr,
    owner: Option<&'c Pod>,
    namespaces: &'c HashMap<String, Arc<Labels>>,
    dns: &'c BTreeSet<DnsEndpoint>,
}

impl Of<'_> {
    /// Its elements of a set.
    fn fill(&self, name: &str, members: &Members, wanted: &mut Wanted) {
        match members {
            Members::Fixed(..) => {}
            Members::Pods(selection) => {
                let taken = self.owner.is_some_and(|pod| {
                    let labels = self.namespaces.get(&pod.namespace).map(Arc::as_ref);
                    selection.takes(&pod.namespace, labels, &pod.labels)
                });
                wanted.set_elements_of(name, self.ip, taken.then(|| Element::of([Datum::Address(self.ip)])));
            }
            Members::Port(transport, port) => {
                let of_pod = self.owner.and_then(|pod| pod.ports.get(&(*transport, port.clone()))).copied();
                let here = self.dns.iter().filter(|endpoint| endpoint.ip == self.ip && !endpoint.is_pod);
                let of_host = here.filter(|endpoint| (endpoint.transport, &endpoint.name) == (*transport, port));
                let numbers: BTreeSet<u16> = of_host.map(|endpoint| endpoint.port).chain(of_pod).collect();
                let elements = numbers.into_iter().map(|number| destination(self.ip, *transport, number));
                wanted.set_elements_of(name, self.ip, elements);
            }
        }
    }
}

/// The names of the policies that isolate a pod in a direction.
pub fn subject_policies<'p>(
    policies: &'p BTreeMap<Key, Arc<Policy>>,
    pod: &Pod,
    direction: Direction,
) -> impl Iterator<Item = &'p str> {
    let first = (pod.namespace.clone(), String::new());
    let there = policies.range(first..).take_while(move |((namespace, _), _)| *namespace == pod.namespace);
    let about =
        there.filter(move |(_, policy)| policy.rules(direction).is_some() && policy.subjects.matches(&pod.labels));
    about.map(|((_, name), _)| name.as_str())
}

fn chain((direction, namespace, names): &Subjects) -> String {
    names::pods(*direction, namespace, names.iter().map(String::as_str))
}

fn destination(ip: IpAddr, transport: netfilter::tables::Transport, port: u16) -> Element {
    Element::of([Datum::Address(ip), Datum::Protocol(transport), Datum::Port(port)])
}
