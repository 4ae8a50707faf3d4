//! Which machine may become a node, and what it may be beside that; pure.

use component::tls::issue::Request;
use k8s_openapi::api::{certificates::v1::CertificateSigningRequest as Csr, core::v1::Secret};

use crate::certificates::usages;

/// Who has a token with which machines join.
const BOOTSTRAPPERS: &str = "system:bootstrappers:ferry:nodes";
/// Such a user's name, before the token's id.
const BOOTSTRAP: &str = "system:bootstrap:";
const NODES: &str = "system:nodes";
const NODE: &str = "system:node:";
/// The agent of a node: all that runs beside its kubelet.
const AGENTS: &str = "ferry:agents";
const AGENT: &str = "ferry:agent:";
/// Of a token's Secret: for how many machines it is good.
const USES: &str = "ferry-uses";

/// What a request is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Wish<'a> {
    /// A machine wants to be that node, and has the token with that id.
    Join {
        /// The node's name.
        node: &'a str,
        /// The token's id.
        token: &'a str,
    },
    /// A node wants to have the identity of its agent.
    Agent,
    /// It is others' business.
    Other,
}

/// What is to be done about a machine that wants to join.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It may; the token is good for no other machine, if `spent`.
    Approve { spent: bool },
    /// It may not: reason and words.
    Deny(&'static str, String),
}

/// See [`Wish`].
pub(super) fn wish<'a>(csr: &'a Csr, request: &'a Request) -> Wish<'a> {
    let usages = csr.spec.usages.as_deref().unwrap_or_default();
    let user = csr.spec.username.as_deref().unwrap_or_default();
    let is_in = |group: &str| csr.spec.groups.iter().flatten().any(|one| one == group);
    match csr.spec.signer_name.as_str() {
        "kubernetes.io/kube-apiserver-client-kubelet" if is_in(BOOTSTRAPPERS) => {
            let (Some(token), Ok(())) = (user.strip_prefix(BOOTSTRAP), usages::kubelet_client(request, usages)) else {
                return Wish::Other;
            };
            let node = request.common_name().strip_prefix(NODE).unwrap_or_default();
            Wish::Join { node, token }
        }
        "kubernetes.io/kube-apiserver-client" if is_in(NODES) => {
            let own = user.strip_prefix(NODE).filter(|node| !node.is_empty());
            let is_named = own.is_some_and(|node| request.common_name().strip_prefix(AGENT) == Some(node));
            let is_plain = request.organizations() == [AGENTS]
                && request.dns_names.is_empty()
                && request.ips.is_empty()
                && request.emails.is_empty()
                && request.uris.is_empty();
            let is_agent = is_named && is_plain && usages::client(usages).is_ok();
            if is_agent { Wish::Agent } else { Wish::Other }
        }
        _ => Wish::Other,
    }
}

/// Whether a machine may be that node: `token` is the Secret of the one that it has, if that is still there.
pub(super) fn verdict(node: &str, exists: bool, token: Option<&Secret>) -> Verdict {
    let Some(token) = token else {
        return Verdict::Deny("TokenUnknown", "the token was revoked, or another machine has joined with it".into());
    };
    if exists {
        let words = format!(
            "a node named {node:?} is in the cluster already: give this machine another name (--node-name), or delete that node first"
        );
        return Verdict::Deny("NameTaken", words);
    }
    let uses = token.data.as_ref().and_then(|data| data.get(USES));
    // Whatever else stands there: less than it says is safe.
    Verdict::Approve { spent: uses.is_some() }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::{ByteString, api::certificates::v1::CertificateSigningRequestSpec};
    use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, SanType};

    use super::*;

    fn csr(signer: &str, user: &str, group: &str, usages: &[&str]) -> Csr {
        let spec = CertificateSigningRequestSpec {
            signer_name: format!("kubernetes.io/{signer}"),
            username: Some(user.into()),
            groups: Some(vec![group.into(), "system:authenticated".into()]),
            usages: Some(usages.iter().map(|usage| (*usage).to_owned()).collect()),
            ..Default::default()
        };
        Csr { spec, ..Default::default() }
    }

    fn request(common_name: &str, organization: &str, host: Option<&str>) -> Request {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, common_name);
        params.distinguished_name.push(DnType::OrganizationName, organization);
        params.subject_alt_names = host.into_iter().map(|host| SanType::DnsName(host.try_into().unwrap())).collect();
        let pem = params.serialize_request(&KeyPair::generate().unwrap()).unwrap().pem().unwrap();
        Request::parse(pem.as_bytes()).unwrap()
    }

    const USAGES: &[&str] = &["client auth", "digital signature"];

    #[test]
    fn machines_with_a_token_may_be_nodes_and_nothing_else() {
        let (kubelet, client) = ("kube-apiserver-client-kubelet", "kube-apiserver-client");
        let node = request("system:node:a", "system:nodes", None);
        let check = |signer, user, group, usages, request: &Request, want: Wish<'_>| {
            assert_eq!(wish(&csr(signer, user, group, usages), request), want, "{signer} {user} {group} {usages:?}");
        };
        let (user, join) = ("system:bootstrap:abcdef", Wish::Join { node: "a", token: "abcdef" });
        check(kubelet, user, BOOTSTRAPPERS, USAGES, &node, join);
        check(client, user, BOOTSTRAPPERS, USAGES, &node, Wish::Other);
        check("kubelet-serving", user, BOOTSTRAPPERS, USAGES, &node, Wish::Other);
        check(kubelet, user, "system:bootstrappers", USAGES, &node, Wish::Other);
        check(kubelet, "jane", BOOTSTRAPPERS, USAGES, &node, Wish::Other);
        check(kubelet, user, BOOTSTRAPPERS, &["server auth"], &node, Wish::Other);
        for other in [
            request("system:node:a", "system:masters", None),
            request("kubernetes-admin", "system:nodes", None),
            request("system:node:a", "system:nodes", Some("example.com")),
        ] {
            check(kubelet, user, BOOTSTRAPPERS, USAGES, &other, Wish::Other);
        }
    }

    #[test]
    fn a_node_may_have_its_own_agent_and_no_others() {
        let client = "kube-apiserver-client";
        let of = |user: &str, group: &str, request: &Request| {
            wish(&csr(client, user, group, USAGES), request) == Wish::Agent
        };
        let agent = request("ferry:agent:a", AGENTS, None);
        assert!(of("system:node:a", NODES, &agent));
        assert!(!of("system:node:b", NODES, &agent));
        assert!(!of("system:node:a", BOOTSTRAPPERS, &agent));
        assert!(!of("system:node:", NODES, &request("ferry:agent:", AGENTS, None)));
        assert!(!of("system:node:a", NODES, &request("ferry:agent:a", "system:masters", None)));
        assert!(!of("system:node:a", NODES, &request("ferry:agent:a", AGENTS, Some("a.example"))));
        assert!(!of("system:node:a", NODES, &request("system:node:a", NODES, None)));
    }

    #[test]
    fn a_token_that_is_spent_or_a_name_that_is_taken_is_refused() {
        let secret = |uses: Option<&str>| {
            let data = uses.map(|uses| (USES.to_owned(), ByteString(uses.as_bytes().to_vec())));
            Secret { data: Some(data.into_iter().collect()), ..Secret::default() }
        };
        assert_eq!(verdict("a", false, Some(&secret(None))), Verdict::Approve { spent: false });
        assert_eq!(verdict("a", false, Some(&secret(Some("1")))), Verdict::Approve { spent: true });
        let denied = |exists, token: Option<&Secret>| match verdict("a", exists, token) {
            Verdict::Deny(reason, words) => format!("{reason}: {words}"),
            Verdict::Approve { .. } => "approved".into(),
        };
        assert!(denied(true, Some(&secret(None))).starts_with("NameTaken: a node named \"a\" is in the cluster"));
        assert!(denied(true, None).starts_with("TokenUnknown"));
        assert!(denied(false, None).starts_with("TokenUnknown"));
    }
}
