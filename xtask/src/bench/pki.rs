//! Certificates and keys of a run: one authority, the servers' certificate, and who asks, with a kubeconfig for each part of a
//! cluster that is a client.

use std::path::Path;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair, PKCS_ECDSA_P256_SHA256,
};
use serde_json::json;

/// File, names in the certificate, its user, that user's group.
const CERTIFICATES: &[(&str, &[&str], &str, Option<&str>)] = &[
    ("server", &["127.0.0.1", "localhost"], "kube-apiserver", None),
    ("admin", &[], "bench", Some("system:masters")),
    ("manager", &[], "system:kube-controller-manager", None),
    ("scheduler", &[], "system:kube-scheduler", None),
    ("proxy", &[], "system:kube-proxy", None),
    ("policies", &[], "ferry:policies", None),
];

/// Writes all of it into a folder, for an API server on a port of this machine.
pub(super) fn write(folder: &Path, port: u16) -> anyhow::Result<()> {
    let key = || KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256);
    let named = |names: &[&str], common: &str, organisation: Option<&str>| -> anyhow::Result<CertificateParams> {
        let mut params = CertificateParams::new(names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>())?;
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, common);
        if let Some(organisation) = organisation {
            params.distinguished_name.push(DnType::OrganizationName, organisation);
        }
        Ok(params)
    };
    let (ca_key, mut ca) = (key()?, named(&[], "bench-ca", None)?);
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    std::fs::write(folder.join("ca.crt"), ca.self_signed(&ca_key)?.pem())?;
    let issuer = Issuer::new(ca, ca_key);
    for (file, names, common, organisation) in CERTIFICATES {
        let (key, params) = (key()?, named(names, common, *organisation)?);
        std::fs::write(folder.join(format!("{file}.crt")), params.signed_by(&key, &issuer)?.pem())?;
        std::fs::write(folder.join(format!("{file}.key")), key.serialize_pem())?;
        std::fs::write(folder.join(format!("{file}.conf")), kubeconfig(file, port))?;
    }
    let accounts = key()?;
    std::fs::write(folder.join("sa.key"), accounts.serialize_pem())?;
    std::fs::write(folder.join("sa.pub"), accounts.public_key_pem())?;
    Ok(())
}

/// JSON is YAML. Files are beside it.
fn kubeconfig(user: &str, port: u16) -> String {
    json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "bench",
        "clusters": [{"name": "bench", "cluster": {
            "server": format!("https://127.0.0.1:{port}"), "certificate-authority": "ca.crt",
        }}],
        "users": [{"name": user, "user": {
            "client-certificate": format!("{user}.crt"), "client-key": format!("{user}.key"),
        }}],
        "contexts": [{"name": "bench", "context": {"cluster": "bench", "user": user}}],
    })
    .to_string()
}
