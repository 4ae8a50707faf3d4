//! A small public key infrastructure: a cluster's own CA and the certificates that it signs.
//!
//! Keys are ECDSA P-256. A client certificate's common name is the user, its organizations are the groups.

use std::net::IpAddr;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};
use time::{Duration, OffsetDateTime};

const YEAR: Duration = Duration::days(365);

/// A certificate (or chain) and its private key, as PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    /// `CERTIFICATE`
    pub cert_pem: String,
    /// `PRIVATE KEY` (PKCS #8)
    pub key_pem: String,
}

/// What a leaf certificate shall say.
#[derive(Clone, Debug, Default)]
pub struct Leaf {
    /// CN: the user's or server's name.
    pub common_name: String,
    /// O: a user's groups, two at most.
    pub organizations: Vec<String>,
    /// Names and addresses of a server.
    pub sans: Vec<String>,
    /// May authenticate a server.
    pub server: bool,
    /// May authenticate a client.
    pub client: bool,
    /// How long it is valid; a year if nothing is said.
    pub lasts: Option<std::time::Duration>,
}

/// An authority that signs certificates.
pub struct Ca {
    issuer: Issuer<'static, KeyPair>,
    pair: Pair,
}

impl Ca {
    /// Makes a new one, valid for ten years from `now`.
    ///
    /// # Errors
    /// The system gives no randomness, or the name can't be encoded.
    pub fn new(common_name: &str, now: OffsetDateTime) -> anyhow::Result<Self> {
        let mut params = params(common_name, &[], now, Duration::days(3650))?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages =
            vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment, KeyUsagePurpose::KeyCertSign];
        let key = KeyPair::generate()?;
        let cert_pem = params.self_signed(&key)?.pem();
        let pair = Pair { cert_pem, key_pem: key.serialize_pem() };
        Ok(Self { issuer: Issuer::new(params, key), pair })
    }

    /// Takes up an existing one, of any key type that the TLS library signs with.
    ///
    /// # Errors
    /// Certificate or key can't be read.
    pub fn from_pem(cert_pem: &str, key_pem: &str) -> anyhow::Result<Self> {
        let issuer = Issuer::from_ca_cert_pem(cert_pem, KeyPair::from_pem(key_pem)?)?;
        Ok(Self { issuer, pair: Pair { cert_pem: cert_pem.into(), key_pem: key_pem.into() } })
    }

    /// Its own certificate and key.
    pub fn pair(&self) -> &Pair {
        &self.pair
    }

    /// Signs a certificate with a new key.
    ///
    /// # Errors
    /// A name can't be encoded.
    pub fn sign(&self, leaf: &Leaf, now: OffsetDateTime) -> anyhow::Result<Pair> {
        let lasts = leaf.lasts.map_or(Ok(YEAR), Duration::try_from)?;
        let mut params = params(&leaf.common_name, &leaf.organizations, now, lasts)?;
        params.subject_alt_names = sans(&leaf.sans)?;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
        params.use_authority_key_identifier_extension = true;
        let uses =
            [(leaf.server, ExtendedKeyUsagePurpose::ServerAuth), (leaf.client, ExtendedKeyUsagePurpose::ClientAuth)];
        params.extended_key_usages = uses.into_iter().filter_map(|(wanted, u)| wanted.then_some(u)).collect();
        let key = KeyPair::generate()?;
        let cert = params.signed_by(&key, &self.issuer)?;
        Ok(Pair { cert_pem: cert.pem(), key_pem: key.serialize_pem() })
    }
}

/// A certificate that vouches for itself: for a server that was given none.
///
/// # Errors
/// A name can't be encoded.
pub fn self_signed(common_name: &str, names: &[String], now: OffsetDateTime) -> anyhow::Result<Pair> {
    let mut params = params(common_name, &[], now, YEAR)?;
    params.subject_alt_names = sans(names)?;
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let key = KeyPair::generate()?;
    Ok(Pair { cert_pem: params.self_signed(&key)?.pem(), key_pem: key.serialize_pem() })
}

fn params(
    common_name: &str,
    organizations: &[String],
    now: OffsetDateTime,
    lasts: Duration,
) -> anyhow::Result<CertificateParams> {
    let mut name = DistinguishedName::new();
    // The library holds one value a type of name; a second organization goes in under the same OID, spelled out.
    let types = [DnType::OrganizationName, DnType::CustomDnType(vec![2, 5, 4, 10])];
    if organizations.len() > types.len() {
        anyhow::bail!("at most {} organizations fit in a certificate made here", types.len());
    }
    organizations.iter().zip(types).for_each(|(o, ty)| name.push(ty, o.as_str()));
    name.push(DnType::CommonName, common_name);
    let mut params = CertificateParams::default();
    params.distinguished_name = name;
    // Clocks of a cluster differ a little.
    params.not_before = now - Duration::minutes(5);
    params.not_after = now + lasts;
    Ok(params)
}

fn sans(names: &[String]) -> anyhow::Result<Vec<SanType>> {
    let san = |name: &String| {
        Ok(match name.parse::<IpAddr>() {
            Ok(ip) => SanType::IpAddress(ip),
            Err(_) => SanType::DnsName(name.as_str().try_into()?),
        })
    };
    names.iter().map(san).collect()
}

#[cfg(test)]
mod tests {
    use x509_parser::{pem::parse_x509_pem, prelude::GeneralName};

    use super::*;

    #[test]
    fn a_signed_certificate_says_what_was_asked_and_verifies() {
        let now = OffsetDateTime::now_utc();
        let made = Ca::new("ca", now).unwrap();
        let ca = Ca::from_pem(&made.pair().cert_pem, &made.pair().key_pem).unwrap();
        let leaf = Leaf {
            common_name: "system:node:n1".into(),
            organizations: vec!["system:nodes".into(), "more".into()],
            sans: vec!["n1".into(), "10.0.0.1".into()],
            client: true,
            ..Default::default()
        };
        let pair = ca.sign(&leaf, now).unwrap();
        let (_, pem) = parse_x509_pem(pair.cert_pem.as_bytes()).unwrap();
        let (_, ca_pem) = parse_x509_pem(ca.pair().cert_pem.as_bytes()).unwrap();
        let (cert, ca_cert) = (pem.parse_x509().unwrap(), ca_pem.parse_x509().unwrap());
        assert_eq!(cert.issuer(), ca_cert.subject());
        assert_eq!(cert.subject().iter_common_name().next().unwrap().as_str().unwrap(), "system:node:n1");
        assert!(cert.extended_key_usage().unwrap().unwrap().value.client_auth);
        assert!(!cert.extended_key_usage().unwrap().unwrap().value.server_auth);
        let names = &cert.subject_alternative_name().unwrap().unwrap().value.general_names;
        assert_eq!(names[0], GeneralName::DNSName("n1"));
        crate::tls::certified_key(pair.cert_pem.as_bytes(), pair.key_pem.as_bytes()).unwrap();
    }

    #[test]
    fn several_organizations_are_all_kept() {
        let now = OffsetDateTime::now_utc();
        let leaf = Leaf { organizations: vec!["a".into(), "b".into()], ..Default::default() };
        let pair = Ca::new("ca", now).unwrap().sign(&leaf, now).unwrap();
        let (_, pem) = parse_x509_pem(pair.cert_pem.as_bytes()).unwrap();
        let cert = pem.parse_x509().unwrap();
        let groups: Vec<_> = cert.subject().iter_organization().map(|o| o.as_str().unwrap()).collect();
        assert_eq!(groups, ["a", "b"]);
    }
}
