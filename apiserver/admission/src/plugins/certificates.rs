//! CertificateApproval, CertificateSigning, CertificateSubjectRestriction: who may approve and sign for a signer, and
//! that nobody gets a client certificate of an administrator by asking for it.

use std::sync::Arc;

use access::authz::{Attributes, Authorizer};
use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use machinery::json::Fields;
use machinery::status::StatusError;
use model::user::{MASTERS, UserInfo};
use model::values::quoted;
use serde_json::Value;
use writes::admission::{Operation, Plugin, Request};
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::prelude::FromDer;

use super::forbidden;

const GROUP: &str = "certificates.k8s.io";
const RESOURCE: &str = "certificatesigningrequests";
/// Signs certificates of API clients.
pub const CLIENT_SIGNER: &str = "kubernetes.io/kube-apiserver-client";

/// Common name and organisations that a request asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject {
    /// Common name.
    pub common_name: String,
    /// Organisations.
    pub organizations: Vec<String>,
}

/// The subject of `spec.request`: base64 of PEM of PKCS#10.
pub fn subject(csr: &Value) -> Result<Subject, String> {
    let pem = STANDARD.decode(csr.sub("spec").text("request")).map_err(|e| e.to_string())?;
    let block = x509_parser::pem::Pem::iter_from_buffer(&pem).next().and_then(Result::ok);
    let block = block.filter(|b| b.label == "CERTIFICATE REQUEST" || b.label == "NEW CERTIFICATE REQUEST");
    let block = block.ok_or("PEM block type must be CERTIFICATE REQUEST")?;
    let (_, request) = X509CertificationRequest::from_der(&block.contents).map_err(|e| e.to_string())?;
    let subject = &request.certification_request_info.subject;
    Ok(Subject {
        common_name: subject.iter_common_name().last().and_then(|a| a.as_str().ok()).unwrap_or_default().to_owned(),
        organizations: subject.iter_organization().filter_map(|a| a.as_str().ok()).map(str::to_owned).collect(),
    })
}

/// Whether the user has the verb on that signer, or on all of its domain.
pub fn authorized_for_signer(authorizer: &dyn Authorizer, user: &UserInfo, verb: &str, signer: &str) -> bool {
    let ask = |name: &str| {
        let attributes = Attributes { version: "*", name, ..Attributes::resource(user, verb, GROUP, "signers") };
        authorizer.authorize(&attributes).allowed()
    };
    ask(signer) || signer.split_once('/').is_some_and(|(domain, _)| ask(&format!("{domain}/*")))
}

/// See the module.
pub struct CertificateApproval(pub Arc<dyn Authorizer>);

/// See the module.
pub struct CertificateSigning(pub Arc<dyn Authorizer>);

/// See the module.
pub struct CertificateSubjectRestriction;

#[async_trait]
impl Plugin for CertificateApproval {
    fn handles(&self, request: &Request<'_>) -> bool {
        request.operation == Operation::Update && request.subresource == Some("approval") && request.is(GROUP, RESOURCE)
    }

    async fn validate(&self, request: &Request<'_>, csr: &Value) -> Result<(), StatusError> {
        let signer = request.old.map(|old| old.sub("spec").text("signerName")).unwrap_or_default();
        if authorized_for_signer(&*self.0, request.user, "approve", signer) {
            return Ok(());
        }
        Err(forbidden(
            request,
            csr,
            format!("user not permitted to approve requests with signerName {}", quoted(signer)),
        ))
    }
}

#[async_trait]
impl Plugin for CertificateSigning {
    fn handles(&self, request: &Request<'_>) -> bool {
        request.operation == Operation::Update && request.subresource == Some("status") && request.is(GROUP, RESOURCE)
    }

    async fn validate(&self, request: &Request<'_>, csr: &Value) -> Result<(), StatusError> {
        let Some(old) = request.old else { return Ok(()) };
        let same = |path: &str| old.pointer(path) == csr.pointer(path);
        let signer = old.sub("spec").text("signerName");
        if same("/status/certificate") && same("/status/conditions")
            || authorized_for_signer(&*self.0, request.user, "sign", signer)
        {
            return Ok(());
        }
        Err(forbidden(request, csr, format!("user not permitted to sign requests with signerName {}", quoted(signer))))
    }
}

#[async_trait]
impl Plugin for CertificateSubjectRestriction {
    fn handles(&self, request: &Request<'_>) -> bool {
        request.creates() && request.is_whole(GROUP, RESOURCE)
    }

    async fn validate(&self, request: &Request<'_>, csr: &Value) -> Result<(), StatusError> {
        if csr.sub("spec").text("signerName") != CLIENT_SIGNER {
            return Ok(());
        }
        let subject = subject(csr).map_err(|why| forbidden(request, csr, format!("failed to parse CSR: {why}")))?;
        if subject.organizations.iter().any(|o| o == MASTERS) {
            return Err(forbidden(
                request,
                csr,
                format!("use of {CLIENT_SIGNER} signer with system:masters group is not allowed"),
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DnType, KeyPair};
    use serde_json::json;

    use super::*;
    use access::authz::Decision;

    #[test]
    fn a_request_says_whose_certificate_it_is_for() {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "system:node:a");
        params.distinguished_name.push(DnType::OrganizationName, "system:nodes");
        let pem = params.serialize_request(&KeyPair::generate().unwrap()).unwrap().pem().unwrap();
        let csr = json!({"spec": {"request": STANDARD.encode(pem)}});
        let expect = Subject { common_name: "system:node:a".into(), organizations: vec!["system:nodes".into()] };
        assert_eq!(subject(&csr), Ok(expect));
        assert!(subject(&json!({"spec": {"request": "eA=="}})).is_err());
    }

    #[test]
    fn a_signer_or_all_of_its_domain() {
        struct Only(&'static str);
        impl Authorizer for Only {
            fn authorize(&self, a: &Attributes<'_>) -> Decision {
                if a.name == self.0 { Decision::Allow(String::new()) } else { Decision::NoOpinion(String::new()) }
            }
        }
        let user = UserInfo::default();
        for (granted, expect) in [("a.io/b", true), ("a.io/*", true), ("a.io/c", false)] {
            assert_eq!(authorized_for_signer(&Only(granted), &user, "approve", "a.io/b"), expect);
        }
    }
}
