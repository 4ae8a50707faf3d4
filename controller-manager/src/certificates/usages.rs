//! What certificates may be used for, by the names that requests give; and what each signer asks of a request.
//! Upstream: `pkg/apis/certificates/helpers.go`, `signer.go` and `policies.go`.

use component::tls::issue::Request;

/// Bits of a certificate's basic usages.
const BASIC: [(&str, u16); 10] = [
    ("signing", 0),
    ("digital signature", 0),
    ("content commitment", 1),
    ("key encipherment", 2),
    ("data encipherment", 3),
    ("key agreement", 4),
    ("cert sign", 5),
    ("crl sign", 6),
    ("encipher only", 7),
    ("decipher only", 8),
];
/// Object identifiers of further usages, in Go's order.
const EXTENDED: [(&str, &[u64]); 13] = [
    ("any", &[2, 5, 29, 37, 0]),
    ("server auth", &[1, 3, 6, 1, 5, 5, 7, 3, 1]),
    ("client auth", &[1, 3, 6, 1, 5, 5, 7, 3, 2]),
    ("code signing", &[1, 3, 6, 1, 5, 5, 7, 3, 3]),
    ("email protection", &[1, 3, 6, 1, 5, 5, 7, 3, 4]),
    ("s/mime", &[1, 3, 6, 1, 5, 5, 7, 3, 4]),
    ("ipsec end system", &[1, 3, 6, 1, 5, 5, 7, 3, 5]),
    ("ipsec tunnel", &[1, 3, 6, 1, 5, 5, 7, 3, 6]),
    ("ipsec user", &[1, 3, 6, 1, 5, 5, 7, 3, 7]),
    ("timestamping", &[1, 3, 6, 1, 5, 5, 7, 3, 8]),
    ("ocsp signing", &[1, 3, 6, 1, 5, 5, 7, 3, 9]),
    ("microsoft sgc", &[1, 3, 6, 1, 4, 1, 311, 10, 3, 3]),
    ("netscape sgc", &[2, 16, 840, 1, 113730, 4, 1]),
];

/// The basic usages as bits, and the further ones.
///
/// # Errors
/// A usage that there is none of.
pub(super) fn encoded(usages: &[String]) -> Result<(u16, Vec<&'static [u64]>), String> {
    let named = |name: &str| usages.iter().any(|u| u == name);
    let known = |usage: &str| BASIC.iter().any(|(n, _)| *n == usage) || EXTENDED.iter().any(|(n, _)| *n == usage);
    let unknown: Vec<_> = usages.iter().filter(|u| !known(u)).map(|u| format!("{u:?}")).collect();
    if !unknown.is_empty() {
        return Err(format!("unrecognized usage values: [{}]", unknown.join(" ")));
    }
    let bits = BASIC.iter().filter(|(name, _)| named(name)).fold(0, |bits, (_, bit)| bits | 1 << bit);
    let mut extended: Vec<_> = EXTENDED.iter().filter(|(name, _)| named(name)).map(|(_, oid)| *oid).collect();
    extended.dedup();
    Ok((bits, extended))
}

/// Exactly these, but for the encipherment of keys, which only RSA has.
fn are(usages: &[String], purpose: &str) -> bool {
    let basic = ["digital signature", "key encipherment"];
    let has = |usage: &str| usages.iter().any(|u| u == usage);
    has(basic[0]) && has(purpose) && usages.iter().all(|u| u == purpose || basic.contains(&u.as_str()))
}

const NOT_NODES: &str = "subject organization is not system:nodes";
const NOT_A_NODE: &str = "subject common name does not begin with system:node:";
const NO_EMAIL: &str = "Email subjectAltNames are not allowed";
const NO_URI: &str = "URI subjectAltNames are not allowed";

/// What is wrong with a request of a kubelet for its client certificate.
pub(crate) fn kubelet_client(request: &Request, usages: &[String]) -> Result<(), String> {
    let faults = [
        (request.organizations() != ["system:nodes"], NOT_NODES),
        (!request.dns_names.is_empty(), "DNS subjectAltNames are not allowed"),
        (!request.emails.is_empty(), NO_EMAIL),
        (!request.ips.is_empty(), "IP subjectAltNames are not allowed"),
        (!request.uris.is_empty(), NO_URI),
        (!request.common_name().starts_with("system:node:"), NOT_A_NODE),
        (!are(usages, "client auth"), "usages did not match [client auth digital signature key encipherment]"),
    ];
    first(&faults)
}

/// What is wrong with a request of a kubelet for its serving certificate.
pub(super) fn kubelet_serving(request: &Request, usages: &[String]) -> Result<(), String> {
    let nameless = request.dns_names.is_empty() && request.ips.is_empty();
    let faults = [
        (request.organizations() != ["system:nodes"], NOT_NODES),
        (nameless, "DNS or IP subjectAltName is required"),
        (!request.emails.is_empty(), NO_EMAIL),
        (!request.uris.is_empty(), NO_URI),
        (!are(usages, "server auth"), "usages did not match [digital signature key encipherment server auth]"),
        (!request.common_name().starts_with("system:node:"), NOT_A_NODE),
    ];
    first(&faults)
}

/// What is wrong with the usages of a client certificate.
pub(crate) fn client(usages: &[String]) -> Result<(), String> {
    let allowed = ["digital signature", "key encipherment", "client auth"];
    match usages.iter().find(|u| !allowed.contains(&u.as_str())) {
        Some(other) => Err(format!("invalid usage for client certificate: {other}")),
        None if usages.iter().any(|u| u == "client auth") => Ok(()),
        None => Err("missing required usage for client certificate: client auth".into()),
    }
}

fn first(faults: &[(bool, &str)]) -> Result<(), String> {
    faults.iter().find(|(wrong, _)| *wrong).map_or(Ok(()), |(_, why)| Err((*why).to_owned()))
}
