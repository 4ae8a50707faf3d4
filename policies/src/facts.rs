//! What is known of the cluster: each object as the rules need it, and who has which address.
//!
//! Two pods may claim one address: one is gone, and its end has not been told yet. The later one has it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

use crate::model::{DnsEndpoint, Key, Labels, Pod, Policy};

/// See the module.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    pods: HashMap<Key, Arc<Pod>>,
    claims: HashMap<IpAddr, BTreeMap<(i64, Key), Arc<Pod>>>,
    /// The labels of each namespace.
    pub namespaces: HashMap<String, Arc<Labels>>,
    /// All policies.
    pub policies: BTreeMap<Key, Arc<Policy>>,
    /// By the name of the slice.
    pub dns: BTreeMap<String, Vec<DnsEndpoint>>,
    /// The ranges of this node's pods.
    pub ranges: Vec<IpNet>,
}

impl Facts {
    /// A pod is as it is now, or is not there; returns the addresses whose owner changed, or changed in something.
    pub fn pod(&mut self, key: &Key, pod: Option<Pod>) -> BTreeSet<IpAddr> {
        if self.pods.get(key).map(Arc::as_ref) == pod.as_ref() {
            return BTreeSet::new();
        }
        let before = self.pods.remove(key);
        let pod = pod.map(Arc::new);
        let ips = |pod: &Option<Arc<Pod>>| pod.iter().flat_map(|pod| pod.ips.clone()).collect::<BTreeSet<_>>();
        let touched = &ips(&before) | &ips(&pod);
        let owners: Vec<_> = touched.iter().map(|ip| (*ip, self.owner(*ip).cloned())).collect();
        if let Some(before) = before {
            for ip in &before.ips {
                if let Some(claims) = self.claims.get_mut(ip) {
                    claims.remove(&(before.since, key.clone()));
                    if claims.is_empty() {
                        self.claims.remove(ip);
                    }
                }
            }
        }
        if let Some(pod) = pod {
            for ip in &pod.ips {
                self.claims.entry(*ip).or_default().insert((pod.since, key.clone()), pod.clone());
            }
            self.pods.insert(key.clone(), pod);
        }
        owners.into_iter().filter(|(ip, before)| self.owner(*ip) != before.as_ref()).map(|(ip, _)| ip).collect()
    }

    /// Who has an address.
    pub fn owner(&self, ip: IpAddr) -> Option<&Arc<Pod>> {
        self.claims.get(&ip)?.values().next_back()
    }

    /// All addresses that somebody has.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        self.claims.keys().copied()
    }

    /// How many pods are known.
    pub fn pods(&self) -> usize {
        self.pods.len()
    }

    /// Where the cluster's DNS answers.
    pub fn dns_endpoints(&self) -> BTreeSet<DnsEndpoint> {
        self.dns.values().flatten().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> Key {
        ("x".to_owned(), name.to_owned())
    }

    fn pod(name: &str, since: i64, ips: &[&str]) -> Option<Pod> {
        Some(Pod {
            namespace: "x".into(),
            name: name.into(),
            uid: name.into(),
            since,
            labels: Labels::new(),
            ips: ips.iter().map(|ip| ip.parse().unwrap()).collect(),
            ports: BTreeMap::new(),
            local: true,
        })
    }

    #[test]
    fn the_later_of_two_pods_has_the_address_and_it_goes_back() {
        let mut facts = Facts::default();
        let ip: IpAddr = "10.1.0.1".parse().unwrap();
        let owner = |facts: &Facts| facts.owner(ip).map(|pod| pod.name.clone());
        assert_eq!(facts.pod(&key("new"), pod("new", 20, &["10.1.0.1", "fd00::1"])).len(), 2);
        // The end of the old one is told late, and something of it before.
        assert!(facts.pod(&key("old"), pod("old", 10, &["10.1.0.1"])).is_empty());
        assert_eq!(owner(&facts).as_deref(), Some("new"));
        assert!(facts.pod(&key("old"), None).is_empty());
        assert!(facts.pod(&key("new"), pod("new", 20, &["10.1.0.1", "fd00::1"])).is_empty(), "nothing is different");
        facts.pod(&key("third"), pod("third", 30, &["10.1.0.1"]));
        assert_eq!(facts.pod(&key("third"), None), BTreeSet::from([ip]));
        assert_eq!(owner(&facts).as_deref(), Some("new"));
        // It is another pod of that name, elsewhere.
        assert_eq!(facts.pod(&key("new"), pod("new", 40, &["10.1.0.2"])).len(), 3);
        assert_eq!((owner(&facts), facts.addresses().count(), facts.pods()), (None, 1, 1));
    }
}
