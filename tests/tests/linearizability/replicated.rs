//! What several servers on one replicated store are started with.

use std::net::TcpListener;

use component::tls::pki::{Ca, Leaf};
use tempfile::TempDir;
use time::OffsetDateTime;

/// The certificates of the store's members, in files.
pub struct Certificates(TempDir);

impl Certificates {
    pub fn new() -> anyhow::Result<Self> {
        let (directory, now) = (tempfile::tempdir()?, OffsetDateTime::now_utc());
        let authority = Ca::new("store", now)?;
        let leaf = Leaf {
            common_name: "member".to_owned(),
            sans: vec!["127.0.0.1".to_owned()],
            server: true,
            client: true,
            ..Leaf::default()
        };
        let pair = authority.sign(&leaf, now)?;
        std::fs::write(directory.path().join("ca.crt"), &authority.pair().cert_pem)?;
        std::fs::write(directory.path().join("member.crt"), pair.cert_pem)?;
        std::fs::write(directory.path().join("member.key"), pair.key_pem)?;
        Ok(Self(directory))
    }

    /// The flags of a member at a port.
    pub fn flags(&self, port: u16) -> Vec<String> {
        let file = |name: &str| self.0.path().join(name).display().to_string();
        vec![
            format!("--cluster-listen=127.0.0.1:{port}"),
            format!("--cluster-ca-file={}", file("ca.crt")),
            format!("--cluster-cert-file={}", file("member.crt")),
            format!("--cluster-key-file={}", file("member.key")),
        ]
    }
}

/// Ports that nobody listens at.
pub fn free_ports(count: usize) -> anyhow::Result<Vec<u16>> {
    let listeners = (0..count).map(|_| TcpListener::bind("127.0.0.1:0")).collect::<Result<Vec<_>, _>>()?;
    Ok(listeners
        .iter()
        .map(|listener| listener.local_addr().map(|address| address.port()))
        .collect::<Result<_, _>>()?)
}
