//! With `--data-dir`, what no flag gives is the server's own making (`pki.rs`): a server is secure without an operator
//! having to make certificates first.

use std::net::IpAddr;

use time::OffsetDateTime;

use super::Flags;
use crate::pki::{FRONT_PROXY_CLIENT, Pki, server_names};

/// Issuer of service account tokens where none is named.
const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";

/// The flags with the own files in place of those that are missing; and what keeps these good.
pub fn with_own_pki(flags: &Flags, advertise: IpAddr) -> anyhow::Result<(Flags, Option<Pki>)> {
    let mut flags = flags.clone();
    let Some(dir) = &flags.data_dir else { return Ok((flags, None)) };
    let names = server_names(advertise, service_ip(&flags), &[]);
    let now = OffsetDateTime::now_utc();
    let mut pki = Pki::ensure(&dir.join("pki"), &names, now)?;
    let is_alone =
        flags.cluster_ca_file.is_none() && flags.cluster_cert_file.is_none() && flags.cluster_key_file.is_none();
    if flags.cluster_listen.is_some() && is_alone {
        pki = pki.for_member(&names, now)?;
        flags.cluster_ca_file = Some(pki.path("store-ca.crt"));
        flags.cluster_cert_file = Some(pki.path("store.crt"));
        flags.cluster_key_file = Some(pki.path("store.key"));
    }
    if flags.tls_cert_file.is_none() && flags.tls_private_key_file.is_none() {
        flags.tls_cert_file = Some(pki.path("apiserver.crt"));
        flags.tls_private_key_file = Some(pki.path("apiserver.key"));
    }
    flags.client_ca_file.get_or_insert(pki.path("ca.crt"));
    if flags.service_account_issuer.is_empty() {
        flags.service_account_issuer.push(ISSUER.into());
    }
    if flags.service_account_key_file.is_empty() && flags.service_account_signing_key_file.is_none() {
        flags.service_account_key_file.push(pki.path("sa.pub"));
        flags.service_account_signing_key_file = Some(pki.path("sa.key"));
    }
    if flags.kubelet_client_certificate.is_none() && flags.kubelet_client_key.is_none() {
        flags.kubelet_client_certificate = Some(pki.path("apiserver-kubelet-client.crt"));
        flags.kubelet_client_key = Some(pki.path("apiserver-kubelet-client.key"));
    }
    if flags.requestheader_client_ca_file.is_none() {
        let list = |text: &str| vec![text.to_owned()];
        flags.requestheader_client_ca_file = Some(pki.path("front-proxy-ca.crt"));
        flags.requestheader_allowed_names = list(FRONT_PROXY_CLIENT);
        flags.requestheader_username_headers = list("X-Remote-User");
        flags.requestheader_uid_headers = list("X-Remote-Uid");
        flags.requestheader_group_headers = list("X-Remote-Group");
        flags.requestheader_extra_headers_prefix = list("X-Remote-Extra-");
        flags.proxy_client_cert_file.get_or_insert(pki.path("front-proxy-client.crt"));
        flags.proxy_client_key_file.get_or_insert(pki.path("front-proxy-client.key"));
    }
    Ok((flags, Some(pki)))
}

/// The address of the `kubernetes` Service: the first of the range.
fn service_ip(flags: &Flags) -> Option<IpAddr> {
    let range: ipnet::IpNet = flags.service_cluster_ip_range.first()?.parse().ok()?;
    Some(match range.network() {
        IpAddr::V4(ip) => IpAddr::from((u32::from(ip) + 1).to_be_bytes()),
        IpAddr::V6(ip) => IpAddr::from((u128::from(ip) + 1).to_be_bytes()),
    })
}
