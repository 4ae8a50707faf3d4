//! Client certificates: the common name is the user, organisations are groups, and one attribute of the subject may
//! carry the uid. Follows `authentication/request/x509/x509.go`.
//!
//! A connection sends its certificate once and its requests many times, so what a certificate says is remembered for
//! as long as the authorities are the same and it is valid.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use jiff::Timestamp;
use model::user::{CREDENTIAL_ID, UserInfo};
use parking_lot::Mutex;
use sha2::{Digest, Sha256};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::ca::CaPool;
use super::{Authenticator, Peer};

/// The attribute of a subject that is a user's uid (`pkg/apis/asn1/oid.go`).
const UID: &str = "1.3.6.1.4.1.57683.2";
/// Remembered certificates at most; a node has one, a component has one.
const MEMORY: usize = 4_096;

/// See the module.
pub struct X509 {
    pool: Arc<CaPool>,
    known: Mutex<HashMap<Vec<Bytes>, Known>>,
}

struct Known {
    version: usize,
    not_after: Timestamp,
    user: Option<UserInfo>,
}

impl X509 {
    /// Certificates issued by these authorities.
    pub fn new(pool: Arc<CaPool>) -> Self {
        Self { pool, known: Mutex::default() }
    }

    /// The user of a verified chain; `None` where the certificate names nobody.
    pub fn identify(&self, chain: &[Bytes], now: Timestamp) -> Result<Option<UserInfo>, String> {
        let version = self.pool.version();
        if let Some(known) = self.known.lock().get(chain)
            && known.version == version
            && now <= known.not_after
        {
            return Ok(known.user.clone());
        }
        self.pool.verify(chain, now).map_err(|why| format!("verifying certificate failed: {why}"))?;
        let (_, leaf) = X509Certificate::from_der(&chain[0]).map_err(|e| e.to_string())?;
        let user = user(&leaf, &chain[0])?;
        let not_after = Timestamp::from_second(leaf.validity().not_after.timestamp()).unwrap_or(Timestamp::MAX);
        let mut known = self.known.lock();
        if known.len() >= MEMORY {
            known.clear();
        }
        known.insert(chain.to_vec(), Known { version, not_after, user: user.clone() });
        Ok(user)
    }
}

/// What a certificate says of its holder.
fn user(leaf: &X509Certificate<'_>, der: &[u8]) -> Result<Option<UserInfo>, String> {
    let subject = leaf.subject();
    // Of several common names Go keeps the last.
    let name = subject.iter_common_name().last().and_then(|a| a.as_str().ok()).unwrap_or_default();
    if name.is_empty() {
        return Ok(None);
    }
    let groups = subject.iter_organization().filter_map(|a| a.as_str().ok()).map(str::to_owned).collect();
    let mut uids = Vec::new();
    for attribute in subject.iter_attributes().filter(|a| a.attr_type().to_id_string() == UID) {
        uids.push(attribute.as_str().map_err(|_| "unable to parse UID into a string")?.to_owned());
    }
    let uid = match uids.as_slice() {
        [] => String::new(),
        [uid] if uid.is_empty() => return Err("UID cannot be an empty string".into()),
        [uid] => uid.clone(),
        many => return Err(format!("expected 1 UID, but found multiple: [{}]", many.join(" "))),
    };
    let fingerprint: String = Sha256::digest(der).iter().map(|b| format!("{b:02x}")).collect();
    let extra = BTreeMap::from([(CREDENTIAL_ID.to_owned(), vec![format!("X509SHA256={fingerprint}")])]);
    Ok(Some(UserInfo { name: name.to_owned(), uid, groups, extra }))
}

#[async_trait]
impl Authenticator for X509 {
    async fn authenticate(&self, _: &http::request::Parts, peer: &Peer) -> Result<Option<UserInfo>, String> {
        if peer.certificates.is_empty() {
            return Ok(None);
        }
        self.identify(&peer.certificates, Timestamp::now())
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair};

    use super::*;

    fn authority() -> CertifiedIssuer<'static, KeyPair> {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "ca");
        CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
    }

    fn leaf(
        ca: &CertifiedIssuer<'static, KeyPair>,
        subject: &[(DnType, &str)],
        usage: ExtendedKeyUsagePurpose,
    ) -> Bytes {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        for (kind, value) in subject {
            params.distinguished_name.push(kind.clone(), *value);
        }
        params.extended_key_usages = vec![usage];
        params.not_before = rcgen::date_time_ymd(2026, 1, 1);
        params.not_after = rcgen::date_time_ymd(2027, 1, 1);
        let key = KeyPair::generate().unwrap();
        Bytes::copy_from_slice(params.signed_by(&key, ca).unwrap().der())
    }

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn a_certificate_is_a_user_with_groups_and_a_uid() {
        let ca = authority();
        let x509 = X509::new(Arc::new(CaPool::new(&ca.pem()).unwrap()));
        let uid = DnType::from_oid(&[1, 3, 6, 1, 4, 1, 57683, 2]);
        let subject = [(DnType::OrganizationName, "system:nodes"), (DnType::CommonName, "system:node:a"), (uid, "u-1")];
        let chain = [leaf(&ca, &subject, ExtendedKeyUsagePurpose::ClientAuth)];
        for _ in 0..2 {
            let user = x509.identify(&chain, at("2026-06-01T00:00:00Z")).unwrap().unwrap();
            assert_eq!((user.name.as_str(), user.uid.as_str()), ("system:node:a", "u-1"));
            assert_eq!((user.groups.as_slice(), user.node()), (&["system:nodes".to_owned()][..], Some("a")));
            assert!(user.extra[CREDENTIAL_ID][0].starts_with("X509SHA256="));
        }
        assert!(x509.identify(&chain, at("2027-06-01T00:00:00Z")).is_err(), "expired, although remembered");
    }

    #[test]
    fn what_is_not_ours_or_not_for_clients_is_refused() {
        let (ca, other) = (authority(), authority());
        let x509 = X509::new(Arc::new(CaPool::new(&ca.pem()).unwrap()));
        let now = at("2026-06-01T00:00:00Z");
        let name = [(DnType::CommonName, "a")];
        assert!(x509.identify(&[leaf(&other, &name, ExtendedKeyUsagePurpose::ClientAuth)], now).is_err());
        assert!(x509.identify(&[leaf(&ca, &name, ExtendedKeyUsagePurpose::ServerAuth)], now).is_err());
        assert!(
            x509.identify(&[leaf(&ca, &name, ExtendedKeyUsagePurpose::ClientAuth)], at("2025-01-01T00:00:00Z"))
                .is_err()
        );
        assert_eq!(x509.identify(&[leaf(&ca, &[], ExtendedKeyUsagePurpose::ClientAuth)], now), Ok(None));
    }
}
