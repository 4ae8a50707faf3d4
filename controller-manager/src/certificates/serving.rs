//! Which requests for certificates of kubelets' ports are approved by themselves: a node's own, for names and addresses that
//! the node has and no other.
//!
//! Upstream has nothing of this: whoever wants such certificates approves each, or installs an approver. The rules here are
//! those of the known one (postfinance/kubelet-csr-approver), with the Node object in place of its patterns and of questions
//! to the DNS. A node writes its own addresses; so what another node has, and what leads back to whoever asks, is never
//! approved. What is not approved is left to an administrator, and looked at again when the Node changes: a kubelet may ask
//! before its addresses are known. Not on by default.

use std::{collections::BTreeSet, net::IpAddr, sync::Arc};

use client::{Change, Informer};
use component::tls::issue::Request;
use controller::{Queue, run_workers};
use futures::future::BoxFuture;
use k8s_openapi::api::{
    certificates::v1::{CertificateSigningRequest as Csr, CertificateSigningRequestCondition as Condition},
    core::v1::Node,
};

use super::{WORKERS, has, is_issued, usages};
use crate::{
    context::Context,
    util::{conditions::quote, key},
};

const SIGNER: &str = "kubernetes.io/kubelet-serving";
const MESSAGE: &str = "Auto approving kubelet serving certificate: the node has its names and addresses.";
const USER: &str = "system:node:";

/// Runs the controller.
pub(crate) fn start(context: Context) -> BoxFuture<'static, anyhow::Result<()>> {
    Box::pin(run(context))
}

async fn run(context: Context) -> anyhow::Result<()> {
    let requests: Informer<Csr> = context.informers.of();
    let nodes: Informer<Node> = context.informers.of();
    let queue: Queue<String> = Queue::new();
    let wake = queue.clone();
    requests.on_change(move |change| {
        let csr = change.object();
        if !matches!(change, Change::Deleted(_)) && is_waiting(csr) {
            wake.add(key::name(&csr.metadata).to_owned());
        }
    });
    let (wake, waiting) = (queue.clone(), requests.clone());
    nodes.on_change(move |change| {
        if let Change::Updated { old, new } = change
            && addresses(old) == addresses(new)
        {
            return;
        }
        let user = format!("{USER}{}", key::name(&change.object().metadata));
        for csr in waiting.list() {
            if is_waiting(&csr) && csr.spec.username.as_deref() == Some(&user) {
                wake.add(key::name(&csr.metadata).to_owned());
            }
        }
    });
    requests.synced().await;
    nodes.synced().await;
    let (requests, nodes, client) = (&requests, &nodes, &context.client);
    run_workers(context.name, &queue, WORKERS, context.cancel.clone(), |name: String| async move {
        let Some(csr) = requests.get(None, &name).filter(|csr| is_waiting(csr)) else { return Ok(()) };
        let request = Request::parse(&csr.spec.request.0)
            .map_err(|error| anyhow::anyhow!("unable to parse csr {}: {error:#}", quote(&name)))?;
        if let Err(why) = may_have(&csr, &request, &nodes.list()) {
            let user = csr.spec.username.as_deref().unwrap_or_default();
            tracing::info!(csr = name, user, why, "serving certificate not approved");
            return Ok(());
        }
        let mut csr = (*csr).clone();
        csr.status.get_or_insert_default().conditions.get_or_insert_default().push(Condition {
            type_: "Approved".into(),
            status: "True".into(),
            reason: Some("AutoApproved".into()),
            message: Some(MESSAGE.into()),
            ..Condition::default()
        });
        Ok(super::write(client, &csr, "approval").await?)
    })
    .await;
    Ok(())
}

/// Whether a request is ours to decide, and undecided.
fn is_waiting(csr: &Csr) -> bool {
    csr.spec.signer_name == SIGNER && !has(csr, "Approved") && !has(csr, "Denied") && !is_issued(csr)
}

/// What a node says that it is reached by.
fn addresses(node: &Node) -> BTreeSet<String> {
    let all = node.status.iter().flat_map(|status| status.addresses.iter().flatten());
    all.map(|address| address.address.clone()).collect()
}

/// A node's names, and its addresses.
fn identity(node: &Node) -> (BTreeSet<String>, BTreeSet<IpAddr>) {
    let (mut names, mut ips) = (BTreeSet::from([key::name(&node.metadata).to_owned()]), BTreeSet::new());
    for address in addresses(node) {
        match address.parse::<IpAddr>() {
            Ok(ip) => drop(ips.insert(ip)),
            Err(_) => drop(names.insert(address)),
        }
    }
    (names, ips)
}

/// Whether the requester may have what is requested.
///
/// # Errors
/// Why not.
pub(super) fn may_have(csr: &Csr, request: &Request, nodes: &[Arc<Node>]) -> Result<(), String> {
    usages::kubelet_serving(request, csr.spec.usages.as_deref().unwrap_or_default())?;
    let user = csr.spec.username.as_deref().unwrap_or_default();
    let groups = csr.spec.groups.as_deref().unwrap_or_default();
    if user != request.common_name() || !groups.iter().any(|group| group == "system:nodes") {
        return Err(format!("the common name {} is not the requester's", quote(request.common_name())));
    }
    let name = user.strip_prefix(USER).unwrap_or_default();
    let Some(own) = nodes.iter().find(|node| key::name(&node.metadata) == name) else {
        return Err(format!("there is no node {}", quote(name)));
    };
    let (names, ips) = identity(own);
    if let Some(other) = request.dns_names.iter().find(|name| !names.contains(*name)) {
        return Err(format!("the node has no name {}", quote(other)));
    }
    if let Some(other) = request.ips.iter().find(|ip| !ips.contains(ip)) {
        return Err(format!("the node has no address {other}"));
    }
    if let Some(ip) = request.ips.iter().find(|ip| ip.is_loopback() || ip.is_unspecified() || ip.is_multicast()) {
        return Err(format!("{ip} is no address that leads to a node"));
    }
    for node in nodes.iter().filter(|node| !Arc::ptr_eq(node, own)) {
        let (names, ips) = identity(node);
        let name = request.dns_names.iter().find(|name| names.contains(*name)).cloned();
        let ip = request.ips.iter().find(|ip| ips.contains(ip)).map(ToString::to_string);
        if let Some(both) = name.or(ip) {
            return Err(format!("the node {} has {both} too", quote(key::name(&node.metadata))));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use component::tls::request::{Key, Template};
    use serde_json::json;

    use super::*;

    fn node(name: &str, addresses: &[(&str, &str)]) -> Arc<Node> {
        let addresses: Vec<_> =
            addresses.iter().map(|(kind, address)| json!({"type": kind, "address": address})).collect();
        Arc::new(
            serde_json::from_value(json!({"metadata": {"name": name}, "status": {"addresses": addresses}})).unwrap(),
        )
    }

    #[test]
    fn a_node_gets_a_certificate_for_what_it_has_and_no_other_node() {
        let nodes = [
            node("a", &[("InternalIP", "10.0.0.1"), ("Hostname", "a.example"), ("ExternalIP", "127.0.0.1")]),
            node("b", &[("InternalIP", "10.0.0.2"), ("ExternalIP", "10.0.0.9"), ("Hostname", "b")]),
            node("c", &[("InternalIP", "10.0.0.3"), ("ExternalIP", "10.0.0.9"), ("Hostname", "b")]),
        ];
        let usages = ["digital signature", "server auth"];
        let check = |user: &str, common_name: &str, names: &[&str], ips: &[&str], usages: &[&str], want: &str| {
            let template = Template {
                common_name: common_name.into(),
                organization: Some("system:nodes".into()),
                dns_names: names.iter().map(|name| (*name).to_owned()).collect(),
                ips: ips.iter().map(|ip| ip.parse().unwrap()).collect(),
            };
            let pem = Key::generate().unwrap().request(&template).unwrap();
            let request = Request::parse(pem.as_bytes()).unwrap();
            let groups = if user.starts_with(USER) { json!(["system:nodes"]) } else { json!(["system:masters"]) };
            let csr: Csr = serde_json::from_value(json!({"spec": {
                "request": "", "signerName": SIGNER, "usages": usages, "username": user, "groups": groups,
            }}))
            .unwrap();
            assert!(is_waiting(&csr));
            let got = may_have(&csr, &request, &nodes).err().unwrap_or_default();
            assert_eq!(got, want, "{user} {common_name} {names:?} {ips:?}");
        };
        let a = "system:node:a";
        check(a, a, &["a", "a.example"], &["10.0.0.1"], &usages, "");
        check(a, a, &[], &["10.0.0.1"], &usages, "");
        check(a, a, &["b.example"], &["10.0.0.1"], &usages, "the node has no name \"b.example\"");
        check(a, a, &[], &["10.0.0.7"], &usages, "the node has no address 10.0.0.7");
        check(a, a, &[], &["127.0.0.1"], &usages, "127.0.0.1 is no address that leads to a node");
        check(a, a, &[], &[], &usages, "DNS or IP subjectAltName is required");
        let fault = "usages did not match [digital signature key encipherment server auth]";
        check(a, a, &[], &["10.0.0.1"], &["digital signature", "client auth"], fault);
        let other = "the common name \"system:node:b\" is not the requester's";
        check(a, "system:node:b", &[], &["10.0.0.2"], &usages, other);
        check("admin", "system:node:b", &[], &["10.0.0.2"], &usages, other);
        check("system:node:d", "system:node:d", &[], &["10.0.0.1"], &usages, "there is no node \"d\"");
        let (b, c) = ("system:node:b", "system:node:c");
        check(b, b, &[], &["10.0.0.2"], &usages, "");
        check(b, b, &[], &["10.0.0.9"], &usages, "the node \"c\" has 10.0.0.9 too");
        check(c, c, &["b"], &["10.0.0.3"], &usages, "the node \"b\" has b too");
    }

    #[test]
    fn requests_that_are_decided_or_anothers_are_left() {
        let csr = |signer: &str, kind: &str| -> Csr {
            let conditions = if kind.is_empty() { json!([]) } else { json!([{"type": kind, "status": "True"}]) };
            serde_json::from_value(json!({
                "spec": {"request": "", "signerName": signer}, "status": {"conditions": conditions},
            }))
            .unwrap()
        };
        assert!(is_waiting(&csr(SIGNER, "")) && !is_waiting(&csr(SIGNER, "Approved")));
        assert!(!is_waiting(&csr(SIGNER, "Denied")));
        assert!(!is_waiting(&csr("kubernetes.io/kube-apiserver-client-kubelet", "")));
    }
}
