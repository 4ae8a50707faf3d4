//! The server's own keys and certificates, made at first start in one folder and kept: the cluster's authority, the
//! front proxies', the serving certificate, the key of service account tokens, and what components prove who they are
//! with. File names are kubeadm's, so that an operator finds their way.
//!
//! A certificate that lacks a name, or ends within a month, is made anew from the same authority, at the start and while the
//! server runs (`pki/kept.rs`): clients that trust the authority notice nothing, and who presents it reads it again. Keys are
//! readable by their owner alone.

use std::collections::BTreeSet;
use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use anyhow::Context;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use component::files::write;
use component::tls::pki::{Ca, Leaf, Pair};
use kept::{Authority, Kept};
use parking_lot::Mutex;
use rcgen::KeyPair;
use time::{Duration, OffsetDateTime};
use x509_parser::extensions::GeneralName;
use x509_parser::pem::Pem;

mod kept;

/// The user as which the API server speaks to kubelets.
pub const KUBELET_CLIENT: &str = "kube-apiserver-kubelet-client";
/// The common name of our own front proxy certificate.
pub const FRONT_PROXY_CLIENT: &str = "front-proxy-client";
/// How long certificates last.
#[derive(Clone, Copy, Debug)]
pub struct Life {
    /// From when they are made.
    pub lasts: Duration,
    /// One that is good for less is made anew.
    pub least: Duration,
}

impl Default for Life {
    fn default() -> Self {
        Self { lasts: Duration::days(365), least: Duration::days(30) }
    }
}

/// See the module.
pub struct Pki {
    dir: PathBuf,
    ca: Ca,
    front_proxy_ca: Ca,
    store_ca: Option<Ca>,
    life: Life,
    kept: Mutex<Vec<Kept>>,
}

impl Pki {
    /// What is in the folder, and what was missing made. `names` are host names and addresses of the API server.
    pub fn ensure(dir: &Path, names: &[String], now: OffsetDateTime) -> anyhow::Result<Self> {
        Self::ensure_for(dir, names, Life::default(), now)
    }

    /// As [`Pki::ensure`], with certificates that last so long. The authorities' own last for ten years.
    pub fn ensure_for(dir: &Path, names: &[String], life: Life, now: OffsetDateTime) -> anyhow::Result<Self> {
        fs::create_dir_all(dir).with_context(|| format!("making {}", dir.display()))?;
        let ca = authority(dir, "ca", "kubernetes", now)?;
        let front_proxy_ca = authority(dir, "front-proxy-ca", "front-proxy-ca", now)?;
        // A certificate that was made just now is not made anew.
        let life = Life { least: life.least.min(life.lasts / 3), ..life };
        let pki = Self { dir: dir.to_owned(), ca, front_proxy_ca, store_ca: None, life, kept: Mutex::default() };
        let server =
            Leaf { common_name: "kube-apiserver".into(), sans: names.to_vec(), server: true, ..Leaf::default() };
        pki.keep(Kept::Files { name: "apiserver", by: Authority::Cluster, leaf: server }, now)?;
        let kubelet = Leaf { common_name: KUBELET_CLIENT.into(), client: true, ..Leaf::default() };
        pki.keep(Kept::Files { name: "apiserver-kubelet-client", by: Authority::Cluster, leaf: kubelet }, now)?;
        let proxy = Leaf { common_name: FRONT_PROXY_CLIENT.into(), client: true, ..Leaf::default() };
        pki.keep(Kept::Files { name: "front-proxy-client", by: Authority::FrontProxies, leaf: proxy }, now)?;
        if !pki.path("sa.key").exists() {
            let key = KeyPair::generate()?;
            write(&pki.path("sa.pub"), &key.public_key_pem(), 0o644)?;
            write(&pki.path("sa.key"), &key.serialize_pem(), 0o600)?;
        }
        Ok(pki)
    }

    /// The same with what a member of a replicated store proves itself with to the others: `store.crt`, by an authority that
    /// signs for nobody else.
    pub fn for_member(self, names: &[String], now: OffsetDateTime) -> anyhow::Result<Self> {
        let pki = Self { store_ca: Some(authority(&self.dir, "store-ca", "ferry-store", now)?), ..self };
        let member = Leaf {
            common_name: "ferry-store".into(),
            sans: names.to_vec(),
            server: true,
            client: true,
            ..Leaf::default()
        };
        pki.keep(Kept::Files { name: "store", by: Authority::Store, leaf: member }, now)?;
        Ok(pki)
    }

    /// Where a file is: `ca.crt`, `apiserver.crt`, `apiserver.key`, `sa.key`, `sa.pub`, `front-proxy-ca.crt`, ...
    pub fn path(&self, file: &str) -> PathBuf {
        self.dir.join(file)
    }

    /// The cluster's authority, PEM.
    pub fn ca_pem(&self) -> &str {
        &self.ca.pair().cert_pem
    }

    /// The front proxies' authority, PEM.
    pub fn front_proxy_ca_pem(&self) -> &str {
        &self.front_proxy_ca.pair().cert_pem
    }

    fn sign(&self, ca: &Ca, leaf: &Leaf, now: OffsetDateTime) -> anyhow::Result<Pair> {
        ca.sign(&Leaf { lasts: Some(self.life.lasts.try_into()?), ..leaf.clone() }, now)
    }

    /// A client certificate: `user` and `groups` are who its holder will be.
    pub fn client(&self, user: &str, groups: &[&str], now: OffsetDateTime) -> anyhow::Result<Pair> {
        let organizations = groups.iter().map(|g| (*g).to_owned()).collect();
        let leaf = Leaf { common_name: user.to_owned(), organizations, client: true, ..Leaf::default() };
        self.sign(&self.ca, &leaf, now)
    }

    /// A serving certificate by the cluster's authority, for example a kubelet's. It is not renewed; [`Pki::renewed_serving`]
    /// is.
    pub fn serving(&self, common_name: &str, names: &[String], now: OffsetDateTime) -> anyhow::Result<Pair> {
        self.sign(&self.ca, &serving_leaf(common_name, names), now)
    }

    /// A kubeconfig with everything inline.
    pub fn kubeconfig(&self, server: &str, user: &str, pair: &Pair) -> String {
        let (ca, cert, key) =
            (STANDARD.encode(self.ca_pem()), STANDARD.encode(&pair.cert_pem), STANDARD.encode(&pair.key_pem));
        format!(
            "apiVersion: v1\nkind: Config\nclusters:\n- name: ferry\n  cluster:\n    server: {server}\n    \
             certificate-authority-data: {ca}\nusers:\n- name: {user}\n  user:\n    client-certificate-data: {cert}\n    \
             client-key-data: {key}\ncontexts:\n- name: {user}@ferry\n  context:\n    cluster: ferry\n    user: {user}\n\
             current-context: {user}@ferry\n"
        )
    }

    /// Writes a kubeconfig where there is none that will do for another month, and keeps it so: `groups` only matter when it
    /// is made.
    pub fn ensure_kubeconfig(
        &self,
        file: &Path,
        server: &str,
        user: &str,
        groups: &[&str],
        now: OffsetDateTime,
    ) -> anyhow::Result<()> {
        let (file, server, user) = (file.to_owned(), server.to_owned(), user.to_owned());
        let groups = groups.iter().map(|group| (*group).to_owned()).collect();
        self.keep(Kept::Kubeconfig { file, server, user, groups }, now)
    }

    fn kubeconfig_good(&self, text: &str, server: &str, now: OffsetDateTime) -> bool {
        let after =
            |key: &str| text.split_once(key).and_then(|(_, rest)| rest.lines().next()).unwrap_or_default().trim();
        let cert = STANDARD.decode(after("client-certificate-data:")).unwrap_or_default();
        after("server:") == server
            && after("certificate-authority-data:") == STANDARD.encode(self.ca_pem())
            && lasts(&cert, &BTreeSet::new(), now + self.life.least)
    }
}

fn serving_leaf(common_name: &str, names: &[String]) -> Leaf {
    Leaf { common_name: common_name.to_owned(), sans: names.to_vec(), server: true, ..Leaf::default() }
}

/// Host names and addresses that clients reach an API server by.
pub fn server_names(advertise: IpAddr, service_ip: Option<IpAddr>, more: &[String]) -> Vec<String> {
    let fixed = [
        "kubernetes",
        "kubernetes.default",
        "kubernetes.default.svc",
        "kubernetes.default.svc.cluster.local",
        "localhost",
        "127.0.0.1",
        "::1",
    ];
    let mut names: BTreeSet<String> = fixed.map(str::to_owned).into();
    names.insert(advertise.to_string());
    names.extend(service_ip.map(|ip| ip.to_string()));
    names.extend(more.iter().cloned());
    names.into_iter().collect()
}

fn authority(dir: &Path, name: &str, common_name: &str, now: OffsetDateTime) -> anyhow::Result<Ca> {
    let (cert, key) = (dir.join(format!("{name}.crt")), dir.join(format!("{name}.key")));
    match (fs::read_to_string(&cert), fs::read_to_string(&key)) {
        (Ok(cert_pem), Ok(key_pem)) => {
            Ca::from_pem(&cert_pem, &key_pem).with_context(|| format!("reading {}", cert.display()))
        }
        _ => {
            let ca = Ca::new(common_name, now)?;
            write(&key, &ca.pair().key_pem, 0o600)?;
            write(&cert, &ca.pair().cert_pem, 0o644)?;
            Ok(ca)
        }
    }
}

/// Whether a certificate has all the names and is good until then.
fn lasts(pem: &[u8], names: &BTreeSet<String>, until: OffsetDateTime) -> bool {
    let Some(Ok(block)) = Pem::iter_from_buffer(pem).next() else { return false };
    let Ok(certificate) = block.parse_x509() else { return false };
    let has = certificate.subject_alternative_name().ok().flatten().map(|extension| {
        let names = extension.value.general_names.iter().filter_map(|name| match name {
            GeneralName::DNSName(name) => Some((*name).to_owned()),
            GeneralName::IPAddress(bytes) => match bytes.len() {
                4 => <[u8; 4]>::try_from(*bytes).ok().map(|b| IpAddr::from(b).to_string()),
                _ => <[u8; 16]>::try_from(*bytes).ok().map(|b| IpAddr::from(b).to_string()),
            },
            _ => None,
        });
        names.collect::<BTreeSet<_>>()
    });
    names.is_subset(&has.unwrap_or_default()) && certificate.validity().not_after.timestamp() > until.unix_timestamp()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use jiff::Timestamp;
    use std::os::unix::fs::PermissionsExt;
    use std::sync::Arc;

    use super::*;
    use access::authn::ca::CaPool;
    use access::authn::service_account::Issuer;
    use access::authn::x509::X509;

    fn now() -> OffsetDateTime {
        OffsetDateTime::from_unix_timestamp(1_800_000_000).unwrap()
    }

    #[test]
    fn it_is_made_once_and_renewed_when_it_must() {
        let dir = tempfile::tempdir().unwrap();
        let names = |more: &[&str]| {
            let more: Vec<String> = more.iter().map(|m| (*m).to_owned()).collect();
            server_names("10.0.0.1".parse().unwrap(), Some("10.96.0.1".parse().unwrap()), &more)
        };
        let read = |file: &str| fs::read_to_string(dir.path().join(file)).unwrap();
        let first = Pki::ensure(dir.path(), &names(&[]), now()).unwrap();
        let (ca, cert, key) = (read("ca.crt"), read("apiserver.crt"), read("sa.key"));
        assert_eq!(fs::metadata(first.path("sa.key")).unwrap().permissions().mode() & 0o777, 0o600);
        Pki::ensure(dir.path(), &names(&[]), now()).unwrap();
        assert_eq!((&ca, &cert, &key), (&read("ca.crt"), &read("apiserver.crt"), &read("sa.key")), "kept");
        Pki::ensure(dir.path(), &names(&["example.com"]), now()).unwrap();
        let named = read("apiserver.crt");
        assert_ne!(named, cert, "another name");
        Pki::ensure(dir.path(), &names(&[]), now() + Duration::days(340)).unwrap();
        assert_ne!(named, read("apiserver.crt"), "about to end");
        assert_eq!(ca, read("ca.crt"));
        assert!(
            Issuer::new(vec!["https://k".into()], vec![], &[read("sa.pub").into_bytes()], Some(key.as_bytes())).is_ok()
        );
    }

    #[test]
    fn its_client_certificates_say_who_their_holders_are() {
        let dir = tempfile::tempdir().unwrap();
        let pki = Pki::ensure(dir.path(), &[], now()).unwrap();
        let pair = pki.client("system:node:a", &["system:nodes"], now()).unwrap();
        let der = Pem::iter_from_buffer(pair.cert_pem.as_bytes()).next().unwrap().unwrap().contents;
        let x509 = X509::new(Arc::new(CaPool::new(pki.ca_pem()).unwrap()));
        let at = Timestamp::from_second(now().unix_timestamp() + 10).unwrap();
        let user = x509.identify(&[Bytes::from(der)], at).unwrap().unwrap();
        assert_eq!((user.name.as_str(), user.node()), ("system:node:a", Some("a")));
    }

    #[test]
    fn a_kubeconfig_is_kept_while_it_is_good() {
        let dir = tempfile::tempdir().unwrap();
        let pki = Pki::ensure(dir.path(), &[], now()).unwrap();
        let file = dir.path().join("admin.conf");
        let ensure = |server: &str, at| {
            pki.ensure_kubeconfig(&file, server, "kubernetes-admin", &["system:masters"], at).unwrap();
            fs::read_to_string(&file).unwrap()
        };
        let first = ensure("https://a:6443", now());
        assert_eq!(first, ensure("https://a:6443", now()));
        let moved = ensure("https://b:6443", now());
        assert!(moved.contains("server: https://b:6443\n") && moved != first);
        assert_ne!(moved, ensure("https://b:6443", now() + Duration::days(340)));
    }
}
