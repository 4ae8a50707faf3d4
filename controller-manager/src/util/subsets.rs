//! Endpoints in their canonical form: ports that have the same addresses in the same state share a subset.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{EndpointAddress, EndpointPort, EndpointSubset};

/// Number, name, protocol and application protocol; none for addresses without a port.
pub(crate) type Port = Option<(i32, Option<String>, Option<String>, Option<String>)>;
/// An IP and the UID of whose it is.
type Address = (String, Option<String>);

/// Addresses by their ports.
#[derive(Default)]
pub(crate) struct Repacked {
    addresses: BTreeMap<Address, EndpointAddress>,
    by_port: BTreeMap<Port, BTreeMap<Address, bool>>,
}

impl Repacked {
    /// An address at a port; one that is both ready and not is not.
    pub(crate) fn add(&mut self, port: Port, address: &EndpointAddress, ready: bool) {
        let uid = address.target_ref.as_ref().and_then(|t| t.uid.clone());
        let key = (address.ip.clone(), uid);
        self.addresses.entry(key.clone()).or_insert_with(|| address.clone());
        *self.by_port.entry(port).or_default().entry(key).or_insert(true) &= ready;
    }

    /// What was added; not in upstream's order, which is a hash's.
    pub(crate) fn subsets(self) -> Vec<EndpointSubset> {
        let Self { addresses, by_port } = self;
        let mut groups: BTreeMap<BTreeMap<Address, bool>, Vec<EndpointPort>> = BTreeMap::new();
        for (port, of) in by_port {
            let ports = groups.entry(of).or_default();
            ports.extend(port.map(|(port, name, protocol, app_protocol)| EndpointPort {
                port,
                name,
                protocol,
                app_protocol,
            }));
        }
        let some = |v: Vec<EndpointAddress>| (!v.is_empty()).then_some(v);
        let subset = |(of, ports): (BTreeMap<Address, bool>, Vec<EndpointPort>)| {
            let pick = |want: bool| {
                let keys = of.iter().filter(|(_, ready)| **ready == want);
                keys.filter_map(|(k, _)| addresses.get(k).cloned()).collect::<Vec<_>>()
            };
            EndpointSubset {
                addresses: some(pick(true)),
                not_ready_addresses: some(pick(false)),
                ports: (!ports.is_empty()).then_some(ports),
            }
        };
        groups.into_iter().map(subset).collect()
    }
}
