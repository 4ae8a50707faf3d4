//! Asking for a certificate: a key, and what shall be said of its holder, as a request (PKCS #10).
//!
//! Keys are ECDSA P-256, as those that upstream's components make. Reading others' requests is `issue`'s business.

use std::net::IpAddr;

use anyhow::Context;
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, PublicKeyData, SanType};

use super::rotating::Facts;

/// What a certificate shall say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Template {
    /// The holder.
    pub common_name: String,
    /// Their group; one at most.
    pub organization: Option<String>,
    /// Host names.
    pub dns_names: Vec<String>,
    /// Addresses.
    pub ips: Vec<IpAddr>,
}

impl Template {
    /// Whether a certificate says all of it; it may say more, as for upstream's `certSatisfiesTemplate`.
    pub fn satisfied(&self, by: &Facts) -> bool {
        self.common_name == by.common_name
            && self.organization.iter().all(|group| by.organizations.contains(group))
            && self.dns_names.iter().all(|name| by.dns_names.contains(name))
            && self.ips.iter().all(|ip| by.ips.contains(ip))
    }
}

/// A private key that a certificate is asked for.
pub struct Key(KeyPair);

impl Key {
    /// A new one.
    ///
    /// # Errors
    /// The system gives no randomness.
    pub fn generate() -> anyhow::Result<Self> {
        Ok(Self(KeyPair::generate()?))
    }

    /// One that was kept as PEM.
    ///
    /// # Errors
    /// It can't be read.
    pub fn from_pem(pem: &str) -> anyhow::Result<Self> {
        Ok(Self(KeyPair::from_pem(pem).context("private key")?))
    }

    /// To be kept (PKCS #8).
    pub fn pem(&self) -> String {
        self.0.serialize_pem()
    }

    /// The public key as certificates hold it (`SubjectPublicKeyInfo`, DER).
    pub fn public_der(&self) -> Vec<u8> {
        self.0.subject_public_key_info()
    }

    /// A request for a certificate of this key, as PEM.
    ///
    /// # Errors
    /// A name can't be encoded.
    pub fn request(&self, template: &Template) -> anyhow::Result<String> {
        let mut name = DistinguishedName::new();
        if let Some(group) = &template.organization {
            name.push(DnType::OrganizationName, group.as_str());
        }
        name.push(DnType::CommonName, template.common_name.as_str());
        let mut params = CertificateParams::default();
        params.distinguished_name = name;
        for host in &template.dns_names {
            params.subject_alt_names.push(SanType::DnsName(host.as_str().try_into()?));
        }
        params.subject_alt_names.extend(template.ips.iter().map(|ip| SanType::IpAddress(*ip)));
        Ok(params.serialize_request(&self.0)?.pem()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::issue::Request;

    #[test]
    fn a_request_says_what_is_wanted() {
        let template = Template {
            common_name: "system:node:a".into(),
            organization: Some("system:nodes".into()),
            dns_names: vec!["a".into()],
            ips: vec!["10.0.0.1".parse().unwrap(), "2001:db8::1".parse().unwrap()],
        };
        let key = Key::from_pem(&Key::generate().unwrap().pem()).unwrap();
        let read = Request::parse(key.request(&template).unwrap().as_bytes()).unwrap();
        assert_eq!((read.common_name(), read.organizations()), ("system:node:a", &["system:nodes".to_owned()][..]));
        assert_eq!((&read.dns_names, &read.ips), (&template.dns_names, &template.ips));
        let bare = Template { common_name: "system:node:a".into(), ..Template::default() };
        let read = Request::parse(key.request(&bare).unwrap().as_bytes()).unwrap();
        assert!(read.organizations().is_empty() && read.dns_names.is_empty() && read.ips.is_empty());
    }

    #[test]
    fn a_certificate_may_say_more_than_is_wanted() {
        let facts = |ips: &[&str]| Facts {
            not_before: jiff::Timestamp::UNIX_EPOCH,
            not_after: jiff::Timestamp::UNIX_EPOCH,
            common_name: "a".into(),
            organizations: vec!["system:nodes".into()],
            dns_names: vec!["a".into(), "b".into()],
            ips: ips.iter().map(|ip| ip.parse().unwrap()).collect(),
        };
        let template = Template {
            common_name: "a".into(),
            organization: Some("system:nodes".into()),
            dns_names: vec!["a".into()],
            ips: vec!["10.0.0.1".parse().unwrap()],
        };
        assert!(template.satisfied(&facts(&["10.0.0.1", "10.0.0.2"])));
        assert!(!template.satisfied(&facts(&["10.0.0.2"])));
        let other = Template { common_name: "b".into(), ..template };
        assert!(!other.satisfied(&facts(&["10.0.0.1"])));
    }
}
