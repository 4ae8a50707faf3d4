//! The certificate of the node's own port, signed by the cluster: for the addresses that the node has, and asked for again
//! when these change.
//!
//! Upstream: pkg/kubelet/certificate/kubelet.go. Until there is a certificate the port shakes no hands.

use std::{collections::BTreeSet, net::IpAddr, path::Path, sync::Arc};

use client::certificates::{KUBELET_SERVING, Renewal, renew};
use component::{
    Supervisor,
    tls::{Rotating, Store, request::Template},
};
use k8s_openapi::api::core::v1::NodeAddress;
use tokio::sync::watch;

use crate::node_agent::Agent;

/// What the certificate says of a node with these addresses; none where nothing can be asked for yet. `names_do`: names
/// without an address are enough (the feature `AllowDNSOnlyNodeCSR`).
fn template(node: &str, addresses: &[NodeAddress], names_do: bool) -> Option<Template> {
    let (mut names, mut ips) = (BTreeSet::new(), BTreeSet::new());
    for address in addresses.iter().filter(|address| !address.address.is_empty()) {
        let ip = address.address.parse::<IpAddr>().ok();
        match (address.type_.as_str(), ip) {
            ("Hostname" | "ExternalIP" | "InternalIP", Some(ip)) => {
                ips.insert(ip);
            }
            ("Hostname", None) | ("ExternalDNS" | "InternalDNS", _) => {
                names.insert(address.address.clone());
            }
            _ => {}
        }
    }
    (!ips.is_empty() || (names_do && !names.is_empty())).then(|| Template {
        dns_names: names.into_iter().collect(),
        ips: ips.into_iter().collect(),
        ..super::template(node)
    })
}

/// Keeps it good as a task of `tasks`.
pub(crate) fn serve(agent: &Agent, cert_dir: &Path, tasks: &Supervisor) -> Arc<Rotating> {
    let (client, node, addresses) = (agent.client.clone(), &agent.config.node_name, agent.addresses.subscribe());
    let names_do = agent.config.feature_gates.enabled(super::NAMES_DO);
    let store = Store::new(cert_dir, "kubelet-server");
    let certificate = Rotating::new(super::kept(&store, jiff::Timestamp::now()));
    let (wanted, template_of) = (watch::Sender::new(None), node.to_owned());
    let renewal = Renewal {
        purpose: KUBELET_SERVING,
        template: wanted.subscribe(),
        certificate: certificate.clone(),
        store,
        asker: Arc::new(move |_| Ok(client.clone())),
        at_once: false,
        lasts: None,
    };
    crate::start::keep(tasks, "serving certificate", move || {
        let (mut addresses, wanted, node) = (addresses.clone(), wanted.clone(), template_of.clone());
        let follow = async move {
            loop {
                let new = template(&node, &addresses.borrow_and_update(), names_do);
                wanted.send_if_modified(|old| std::mem::replace(old, new.clone()) != new);
                if addresses.changed().await.is_err() {
                    return std::future::pending().await;
                }
            }
        };
        let renewal = renew(renewal.clone());
        async move {
            tokio::select! {
                () = follow => {}
                () = renewal => {}
            }
        }
    });
    certificate
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_for_the_addresses_that_a_node_has() {
        let check = |addresses: &[(&str, &str)], names_do, want: Option<(&[&str], &[&str])>| {
            let addresses: Vec<_> = addresses
                .iter()
                .map(|(kind, address)| NodeAddress { type_: (*kind).into(), address: (*address).into() })
                .collect();
            let got = template("a", &addresses, names_do);
            let got = got.map(|t| (t.dns_names, t.ips.iter().map(ToString::to_string).collect::<Vec<_>>()));
            let texts = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
            assert_eq!(got, want.map(|(names, ips)| (texts(names), texts(ips))), "{addresses:?}");
        };
        check(&[], false, None);
        check(&[("Hostname", "a")], false, None);
        check(&[("Hostname", "a")], true, Some((&["a"], &[])));
        check(&[("InternalIP", "10.0.0.2"), ("Hostname", "a")], false, Some((&["a"], &["10.0.0.2"])));
        check(
            &[
                ("Hostname", "b"),
                ("InternalDNS", "a"),
                ("ExternalIP", "2001:db8::1"),
                ("InternalIP", "10.0.0.2"),
                ("Hostname", "10.0.0.3"),
                ("InternalIP", "nonsense"),
                ("InternalIP", ""),
                ("ExternalDNS", "b"),
            ],
            false,
            Some((&["a", "b"], &["10.0.0.2", "10.0.0.3", "2001:db8::1"])),
        );
    }
}
