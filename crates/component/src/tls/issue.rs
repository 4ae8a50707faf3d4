//! Certificates for requests that others made (PKCS #10): the key is theirs, what is said of it the authority's.
//!
//! Of a request its subject and its names are taken, in the form that Go gives them, and nothing else: parts of a subject
//! that say more of their holder, and extensions, are for the authority to give.

use std::{net::IpAddr, sync::Arc};

use anyhow::{Context, bail, ensure};
use jiff::Timestamp;
use pem::{EncodeConfig, LineEnding, Pem};
use rustls::{
    SignatureScheme,
    pki_types::{CertificateSigningRequestDer, pem::PemObject},
    sign::SigningKey,
};
use time::OffsetDateTime;
use x509_parser::{
    certification_request::X509CertificationRequest,
    extensions::{GeneralName, ParsedExtension},
    prelude::{FromDer, X509Certificate},
    x509::X509Name,
};
use yasna::{
    DERWriter, DERWriterSeq, Tag, construct_der,
    models::{GeneralizedTime, ObjectIdentifier, UTCTime},
};

use super::certified_key;

const ORGANIZATION: &[u64] = &[2, 5, 4, 10];
const COMMON_NAME: &[u64] = &[2, 5, 4, 3];
const SERIAL_NUMBER: &[u64] = &[2, 5, 4, 5];
/// The parts of a subject that are kept, in Go's order: country, organization, unit, locality, province, street, postal
/// code, common name, serial number.
const PARTS: [&[u64]; 9] = [
    &[2, 5, 4, 6],
    ORGANIZATION,
    &[2, 5, 4, 11],
    &[2, 5, 4, 7],
    &[2, 5, 4, 8],
    &[2, 5, 4, 9],
    &[2, 5, 4, 17],
    COMMON_NAME,
    SERIAL_NUMBER,
];

/// Lines end as everywhere on Linux.
const LINES: EncodeConfig = EncodeConfig::new().set_line_ending(LineEnding::LF);

/// What a request asks for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Request {
    /// The parts of the subject, each with its values.
    subject: Vec<(&'static [u64], Vec<String>)>,
    /// Host names.
    pub dns_names: Vec<String>,
    /// Addresses.
    pub ips: Vec<IpAddr>,
    /// Mail addresses.
    pub emails: Vec<String>,
    /// URIs.
    pub uris: Vec<String>,
    /// The public key, as it stands in the request.
    key: Vec<u8>,
}

impl Request {
    /// Reads one in PEM, and checks that it was signed with its own key.
    ///
    /// # Errors
    /// It is no request, or the signature is not by its key.
    pub fn parse(pem: &[u8]) -> anyhow::Result<Self> {
        let Ok(block) = CertificateSigningRequestDer::from_pem_slice(pem) else {
            bail!("PEM block type must be CERTIFICATE REQUEST");
        };
        let (_, request) = X509CertificationRequest::from_der(&block).context("unable to parse certificate request")?;
        request.verify_signature().context("unable to verify certificate request signature")?;
        let info = &request.certification_request_info;
        let mut read = Self { subject: subject(&info.subject)?, key: info.subject_pki.raw.to_vec(), ..Self::default() };
        for extension in request.requested_extensions().into_iter().flatten() {
            if let ParsedExtension::SubjectAlternativeName(names) = extension {
                names.general_names.iter().try_for_each(|name| read.name(name))?;
            }
        }
        Ok(read)
    }

    fn name(&mut self, name: &GeneralName<'_>) -> anyhow::Result<()> {
        match name {
            GeneralName::DNSName(name) => self.dns_names.push((*name).to_owned()),
            GeneralName::RFC822Name(name) => self.emails.push((*name).to_owned()),
            GeneralName::URI(name) => self.uris.push((*name).to_owned()),
            GeneralName::IPAddress(bytes) => {
                let v4 = <[u8; 4]>::try_from(*bytes).map(IpAddr::from);
                let ip = v4.or_else(|_| <[u8; 16]>::try_from(*bytes).map(IpAddr::from));
                self.ips
                    .push(ip.map_err(|_| anyhow::anyhow!("x509: cannot parse IP address of length {}", bytes.len()))?);
            }
            GeneralName::Invalid(..) => bail!("x509: cannot parse a subject alternative name"),
            _ => {}
        }
        Ok(())
    }

    fn part(&self, of: &[u64]) -> &[String] {
        self.subject.iter().find(|(part, _)| *part == of).map_or(&[], |(_, values)| values)
    }

    /// Who it is about.
    pub fn common_name(&self) -> &str {
        self.part(COMMON_NAME).first().map_or("", String::as_str)
    }

    /// Whose key it is, as it stands in the request (`SubjectPublicKeyInfo`, DER).
    pub fn public_key(&self) -> &[u8] {
        &self.key
    }

    /// The groups that they say they are in.
    pub fn organizations(&self) -> &[String] {
        self.part(ORGANIZATION)
    }
}

fn subject(name: &X509Name<'_>) -> anyhow::Result<Vec<(&'static [u64], Vec<String>)>> {
    let mut parts: Vec<(&'static [u64], Vec<String>)> = Vec::new();
    for part in PARTS {
        let mut values = Vec::new();
        for attribute in name.iter_attributes() {
            if attribute.attr_type().iter().is_some_and(|arcs| arcs.eq(part.iter().copied())) {
                values.push(attribute.as_str().context("unable to parse the subject")?.to_owned());
            }
        }
        // Of these there is one; the last counts.
        if (part == COMMON_NAME || part == SERIAL_NUMBER) && values.len() > 1 {
            values.drain(..values.len() - 1);
        }
        if !values.is_empty() {
            parts.push((part, values));
        }
    }
    Ok(parts)
}

/// Until when the first certificate in PEM text is valid; none if there is none that can be read.
pub fn not_after(pem: &[u8]) -> Option<Timestamp> {
    let certificates = super::certificates(pem).ok()?;
    let (_, certificate) = X509Certificate::from_der(certificates.first()?).ok()?;
    Timestamp::from_second(certificate.validity().not_after.timestamp()).ok()
}

/// What a certificate says beside what its request does.
#[derive(Clone, Debug)]
pub struct Terms {
    /// Valid from.
    pub not_before: Timestamp,
    /// Valid until.
    pub not_after: Timestamp,
    /// Flags of the basic usages: bit 0 is digitalSignature.
    pub key_usage: u16,
    /// Object identifiers of further usages.
    pub extended_usages: Vec<&'static [u64]>,
}

/// An authority: its certificate and its key.
pub struct Authority {
    key: Arc<dyn SigningKey>,
    subject: Vec<u8>,
    key_id: Option<Vec<u8>>,
    /// Until when it is valid itself.
    pub not_after: Timestamp,
}

impl Authority {
    /// From PEM.
    ///
    /// # Errors
    /// Certificate or key can't be read or don't belong together, or there is more than one certificate.
    pub fn from_pem(cert: &[u8], key: &[u8]) -> anyhow::Result<Self> {
        let pair = certified_key(cert, key)?;
        ensure!(pair.cert.len() == 1, "expected 1 certificate, found {}", pair.cert.len());
        let (_, certificate) = X509Certificate::from_der(&pair.cert[0]).context("certificate")?;
        let key_id = certificate.iter_extensions().find_map(|e| match e.parsed_extension() {
            ParsedExtension::SubjectKeyIdentifier(id) => Some(id.0.to_vec()),
            _ => None,
        });
        Ok(Self {
            key: pair.key.clone(),
            subject: certificate.subject().as_raw().to_vec(),
            key_id,
            not_after: Timestamp::from_second(certificate.validity().not_after.timestamp())?,
        })
    }

    /// A certificate for a request, as PEM. `serial` is a random number.
    ///
    /// # Errors
    /// The key can't sign.
    pub fn sign(&self, request: &Request, terms: &Terms, serial: u128) -> anyhow::Result<String> {
        let (scheme, algorithm) = SCHEMES
            .iter()
            .find(|(scheme, _)| self.key.choose_scheme(&[*scheme]).is_some())
            .context("no known algorithm for the authority's key")?;
        let signer = self.key.choose_scheme(&[*scheme]).context("the authority's key can't sign")?;
        let body = construct_der(|w| {
            w.write_sequence(|w| {
                w.next().write_tagged(Tag::context(0), |w| w.write_u8(2));
                w.next().write_bigint_bytes(&serial.to_be_bytes(), true);
                w.next().write_der(algorithm);
                w.next().write_der(&self.subject);
                w.next().write_sequence(|w| {
                    time(w.next(), terms.not_before);
                    time(w.next(), terms.not_after);
                });
                name(w.next(), request);
                w.next().write_der(&request.key);
                w.next().write_tagged(Tag::context(3), |w| w.write_sequence(|w| self.extensions(w, request, terms)));
            });
        });
        let signature = signer.sign(&body)?;
        let certificate = construct_der(|w| {
            w.write_sequence(|w| {
                w.next().write_der(&body);
                w.next().write_der(algorithm);
                w.next().write_bitvec_bytes(&signature, signature.len() * 8);
            });
        });
        Ok(pem::encode_config(&Pem::new("CERTIFICATE", certificate), LINES))
    }

    fn extensions(&self, w: &mut DERWriterSeq<'_>, request: &Request, terms: &Terms) {
        if terms.key_usage != 0 {
            // The first flag is the highest bit; those after the last that is set are left out.
            let flags = terms.key_usage.reverse_bits();
            let used = 16 - flags.trailing_zeros() as usize;
            extension(w.next(), 15, true, |w| w.write_bitvec_bytes(&flags.to_be_bytes()[..used.div_ceil(8)], used));
        }
        if !terms.extended_usages.is_empty() {
            extension(w.next(), 37, false, |w| {
                w.write_sequence(|w| terms.extended_usages.iter().for_each(|usage| w.next().write_oid(&oid(usage))));
            });
        }
        // Not an authority.
        extension(w.next(), 19, true, |w| w.write_sequence(|_| ()));
        if let Some(id) = &self.key_id {
            extension(w.next(), 35, false, |w| {
                w.write_sequence(|w| w.next().write_tagged_implicit(Tag::context(0), |w| w.write_bytes(id)));
            });
        }
        let text = |kind: u64, names: &[String]| -> Vec<(u64, Vec<u8>)> {
            names.iter().map(|name| (kind, name.as_bytes().to_vec())).collect()
        };
        let ips = request.ips.iter().map(|ip| match ip {
            IpAddr::V4(ip) => (7, ip.octets().to_vec()),
            IpAddr::V6(ip) => (7, ip.octets().to_vec()),
        });
        let mut names = text(2, &request.dns_names);
        names.extend(text(1, &request.emails));
        names.extend(ips);
        names.extend(text(6, &request.uris));
        if !names.is_empty() {
            extension(w.next(), 17, request.subject.is_empty(), |w| {
                w.write_sequence(|w| {
                    for (kind, name) in &names {
                        w.next().write_tagged_implicit(Tag::context(*kind), |w| w.write_bytes(name));
                    }
                });
            });
        }
    }
}

/// An extension of certificates, by the last number of its identifier.
fn extension(w: DERWriter<'_>, of: u64, critical: bool, value: impl FnOnce(DERWriter<'_>)) {
    w.write_sequence(|w| {
        w.next().write_oid(&oid(&[2, 5, 29, of]));
        if critical {
            w.next().write_bool(true);
        }
        w.next().write_bytes(&construct_der(value));
    });
}

fn oid(arcs: &[u64]) -> ObjectIdentifier {
    ObjectIdentifier::from_slice(arcs)
}

/// The algorithms that an authority signs with, by preference, and how certificates name them.
const SCHEMES: [(SignatureScheme, &[u8]); 5] = [
    (SignatureScheme::ECDSA_NISTP256_SHA256, &[0x30, 10, 6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2]),
    (SignatureScheme::ECDSA_NISTP384_SHA384, &[0x30, 10, 6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 3]),
    (SignatureScheme::ECDSA_NISTP521_SHA512, &[0x30, 10, 6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 4]),
    (SignatureScheme::RSA_PKCS1_SHA256, &[0x30, 13, 6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 11, 5, 0]),
    (SignatureScheme::ED25519, &[0x30, 5, 6, 3, 0x2b, 0x65, 0x70]),
];

/// A subject as Go writes it: all values of a part together, printable strings where they are such.
fn name(w: DERWriter<'_>, request: &Request) {
    let printable = |b: u8| b.is_ascii_alphanumeric() || b" '()+,-./:=?".contains(&b);
    let value = |w: DERWriter<'_>, part: &[u64], value: &str| {
        w.write_sequence(|w| {
            w.next().write_oid(&oid(part));
            match value.bytes().all(printable) {
                true => w.next().write_printable_string(value),
                false => w.next().write_utf8_string(value),
            }
        });
    };
    w.write_sequence(|w| {
        for (part, values) in &request.subject {
            w.next().write_set_of(|w| values.iter().for_each(|text| value(w.next(), part, text)));
        }
    });
}

/// Seconds, with two digits of the year until 2049.
fn time(w: DERWriter<'_>, at: Timestamp) {
    let at = OffsetDateTime::from_unix_timestamp(at.as_second()).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    match (1950..2050).contains(&at.year()) {
        true => w.write_utctime(&UTCTime::from_datetime(at)),
        false => w.write_generalized_time(&GeneralizedTime::from_datetime(at)),
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DnType, KeyPair, PublicKeyData, SanType};

    use super::*;
    use crate::tls::pki::Ca;

    fn request(change: impl FnOnce(&mut CertificateParams)) -> Request {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "system:node:a");
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        Request::parse(params.serialize_request(&key).unwrap().pem().unwrap().as_bytes()).unwrap()
    }

    fn authority(key: &KeyPair) -> Authority {
        let mut params = CertificateParams::default();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "ca");
        let cert = params.self_signed(key).unwrap().pem();
        Authority::from_pem(cert.as_bytes(), key.serialize_pem().as_bytes()).unwrap()
    }

    fn terms() -> Terms {
        Terms {
            not_before: "2026-01-01T00:00:00Z".parse().unwrap(),
            not_after: "2055-01-01T00:00:00Z".parse().unwrap(),
            key_usage: 0b101,
            extended_usages: vec![&[1, 3, 6, 1, 5, 5, 7, 3, 2]],
        }
    }

    #[test]
    fn a_certificate_says_what_was_asked_and_what_the_authority_adds() {
        let names = request(|params| {
            params.distinguished_name.push(DnType::OrganizationName, "system:nodes");
            // A second organization, and a part that nobody may choose for himself.
            params.distinguished_name.push(DnType::CustomDnType(vec![2, 5, 4, 10]), "more@x");
            params.distinguished_name.push(DnType::CustomDnType(vec![1, 3, 6, 1, 4, 1, 57683, 2]), "uid");
            params.subject_alt_names = vec![
                SanType::DnsName("a.example".try_into().unwrap()),
                SanType::IpAddress("10.0.0.1".parse().unwrap()),
                SanType::IpAddress("2001:db8::1".parse().unwrap()),
                SanType::Rfc822Name("a@b".try_into().unwrap()),
                SanType::URI("spiffe://a".try_into().unwrap()),
            ];
        });
        assert_eq!(
            (names.common_name(), names.organizations()),
            ("system:node:a", &["system:nodes".into(), "more@x".into()][..])
        );
        assert_eq!((names.dns_names.len(), names.ips.len(), names.emails.len(), names.uris.len()), (1, 2, 1, 1));
        for algorithm in [
            &rcgen::PKCS_ECDSA_P256_SHA256,
            &rcgen::PKCS_ECDSA_P384_SHA384,
            &rcgen::PKCS_ED25519,
            &rcgen::PKCS_RSA_SHA256,
        ] {
            let key = KeyPair::generate_for(algorithm).unwrap();
            let pem = authority(&key).sign(&names, &terms(), u128::MAX).unwrap();
            let (_, block) = x509_parser::pem::parse_x509_pem(pem.as_bytes()).unwrap();
            let cert = block.parse_x509().unwrap();
            // In a set, in the order of their bytes.
            let organizations = vec!["more@x".to_owned(), "system:nodes".to_owned()];
            let written = [(ORGANIZATION, organizations), (COMMON_NAME, vec!["system:node:a".to_owned()])];
            assert_eq!(subject(cert.subject()).unwrap(), written);
            let attributes: Vec<_> = cert.subject().iter_attributes().map(|a| a.attr_type().to_id_string()).collect();
            assert_eq!(attributes, ["2.5.4.10", "2.5.4.10", "2.5.4.3"]);
            assert_eq!(cert.subject().iter_rdn().count(), 2, "the values of a part are together");
            assert_eq!(cert.issuer().iter_common_name().next().unwrap().as_str().unwrap(), "ca");
            assert_eq!(cert.raw_serial()[..2], [0, 0xff], "a number above zero");
            assert_eq!(cert.validity().not_before.timestamp(), terms().not_before.as_second());
            assert_eq!(not_after(pem.as_bytes()), Some(terms().not_after));
            let usage = cert.key_usage().unwrap().unwrap().value;
            assert!(usage.digital_signature() && usage.key_encipherment() && !usage.key_cert_sign());
            assert!(cert.extended_key_usage().unwrap().unwrap().value.client_auth);
            assert!(!cert.is_ca());
            assert_eq!(cert.subject_alternative_name().unwrap().unwrap().value.general_names.len(), 5);
            let public = key.subject_public_key_info();
            let (_, spki) = x509_parser::x509::SubjectPublicKeyInfo::from_der(&public).unwrap();
            cert.verify_signature(Some(&spki)).unwrap();
        }
    }

    #[test]
    fn what_is_no_request_is_refused() {
        let fault = |pem: &[u8]| format!("{:#}", Request::parse(pem).unwrap_err());
        assert_eq!(fault(b"nonsense"), "PEM block type must be CERTIFICATE REQUEST");
        let ca = Ca::new("ca", OffsetDateTime::now_utc()).unwrap();
        assert_eq!(fault(ca.pair().cert_pem.as_bytes()), "PEM block type must be CERTIFICATE REQUEST");
        let key = KeyPair::generate().unwrap();
        let mut der = CertificateParams::default().serialize_request(&key).unwrap().der().to_vec();
        *der.last_mut().unwrap() ^= 1;
        let forged = pem::encode(&Pem::new("CERTIFICATE REQUEST", der));
        assert!(
            fault(forged.as_bytes()).starts_with("unable to verify certificate request signature"),
            "{}",
            fault(forged.as_bytes())
        );
    }

    #[test]
    fn an_authority_has_one_certificate_and_its_own_key() {
        let now = OffsetDateTime::now_utc();
        let [a, b] = [Ca::new("a", now).unwrap(), Ca::new("b", now).unwrap()];
        let both = format!("{}{}", a.pair().cert_pem, b.pair().cert_pem);
        assert!(Authority::from_pem(both.as_bytes(), a.pair().key_pem.as_bytes()).is_err());
        assert!(Authority::from_pem(a.pair().cert_pem.as_bytes(), b.pair().key_pem.as_bytes()).is_err());
        let own = Authority::from_pem(a.pair().cert_pem.as_bytes(), a.pair().key_pem.as_bytes()).unwrap();
        assert_eq!(own.not_after.as_second(), (now + time::Duration::days(3650)).unix_timestamp());
    }
}
