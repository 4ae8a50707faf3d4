//! Certificates that are kept good while the server runs: those in the folder, those in kubeconfigs, and those that parts of
//! the process present.

use std::{fs, path::PathBuf, sync::Arc};

use anyhow::Context;
use component::tls::{Certificate, Rotating, pki::Leaf};
use time::OffsetDateTime;

use super::{Pki, lasts, serving_leaf, write};

/// How often is looked, of the time that a certificate is good at least.
const LOOKS: u32 = 10;
/// And at the seldomest.
const LOOK: std::time::Duration = std::time::Duration::from_secs(3600);

/// Who signs what is in the folder.
#[derive(Clone, Copy)]
pub(super) enum Authority {
    Cluster,
    FrontProxies,
    Store,
}

/// What is made anew before it ends.
pub(super) enum Kept {
    /// In the folder.
    Files { name: &'static str, by: Authority, leaf: Leaf },
    /// A kubeconfig with a client certificate.
    Kubeconfig { file: PathBuf, server: String, user: String, groups: Vec<String> },
    /// In the process.
    Presented { leaf: Leaf, certificate: Arc<Rotating> },
}

impl Pki {
    /// Makes it unless it is good, and again before it no longer is.
    pub(super) fn keep(&self, kept: Kept, now: OffsetDateTime) -> anyhow::Result<()> {
        self.make(&kept, now)?;
        self.kept.lock().push(kept);
        Ok(())
    }

    /// As [`Pki::serving`], made anew before it ends, for as long as [`Pki::renew`] runs.
    pub fn renewed_serving(
        &self,
        common_name: &str,
        names: &[String],
        now: OffsetDateTime,
    ) -> anyhow::Result<Arc<Rotating>> {
        let certificate = Rotating::new(None);
        self.keep(Kept::Presented { leaf: serving_leaf(common_name, names), certificate: certificate.clone() }, now)?;
        Ok(certificate)
    }

    /// Makes all that is kept anew that ends soon. What can't be made is told and tried again; the others do not wait for it.
    pub fn look(&self, now: OffsetDateTime) {
        for kept in self.kept.lock().iter() {
            if let Err(error) = self.make(kept, now) {
                tracing::error!(error = format!("{error:#}"), "a certificate was not made anew");
            }
        }
    }

    /// Keeps all that is kept good, for ever.
    pub async fn renew(self: Arc<Self>) {
        let least = std::time::Duration::try_from(self.life.least).unwrap_or(LOOK);
        let pause = (least / LOOKS).min(LOOK).max(std::time::Duration::from_millis(100));
        loop {
            tokio::time::sleep(pause).await;
            let own = self.clone();
            // It makes keys and waits for disks.
            let looked = component::supervisor::blocking("certificates", move || own.look(OffsetDateTime::now_utc()));
            if looked.await.is_err() {
                tracing::error!("looking at certificates has failed");
            }
        }
    }

    fn make(&self, kept: &Kept, now: OffsetDateTime) -> anyhow::Result<()> {
        let until = now + self.life.least;
        match kept {
            Kept::Files { name, by, leaf } => {
                let (cert, key) = (self.path(&format!("{name}.crt")), self.path(&format!("{name}.key")));
                let names = leaf.sans.iter().cloned().collect();
                if key.exists() && fs::read(&cert).is_ok_and(|pem| lasts(&pem, &names, until)) {
                    return Ok(());
                }
                let ca = match by {
                    Authority::Cluster => &self.ca,
                    Authority::FrontProxies => &self.front_proxy_ca,
                    Authority::Store => self.store_ca.as_ref().context("the store has no authority")?,
                };
                let pair = self.sign(ca, leaf, now)?;
                write(&key, &pair.key_pem, 0o600)?;
                write(&cert, &pair.cert_pem, 0o644)?;
                tracing::debug!(certificate = %cert.display(), "made anew");
            }
            Kept::Kubeconfig { file, server, user, groups } => {
                if fs::read_to_string(file).is_ok_and(|text| self.kubeconfig_good(&text, server, now)) {
                    return Ok(());
                }
                let groups: Vec<&str> = groups.iter().map(String::as_str).collect();
                let pair = self.client(user, &groups, now)?;
                write(file, &self.kubeconfig(server, user, &pair), 0o600)?;
            }
            Kept::Presented { leaf, certificate } => {
                let current = certificate.current();
                if current.is_some_and(|c| c.facts.not_after.as_second() > until.unix_timestamp()) {
                    return Ok(());
                }
                let pair = self.sign(&self.ca, leaf, now)?;
                certificate.replace(Certificate::from_pem(pair.cert_pem.as_bytes(), pair.key_pem.as_bytes())?);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use time::Duration;

    use super::*;
    use crate::pki::Life;

    #[test]
    fn what_is_kept_is_made_anew_before_it_ends_and_not_earlier() {
        let dir = tempfile::tempdir().unwrap();
        let start = OffsetDateTime::from_unix_timestamp(1_800_000_000).unwrap();
        let life = Life { lasts: Duration::minutes(10), least: Duration::minutes(3) };
        let pki = Pki::ensure_for(&dir.path().join("pki"), &["a".into()], life, start).unwrap();
        let file = dir.path().join("admin.conf");
        pki.ensure_kubeconfig(&file, "https://a:6443", "admin", &["admins"], start).unwrap();
        let serving = pki.renewed_serving("kubelet", &["n".into()], start).unwrap();
        let state = || {
            let names = ["ca", "apiserver", "apiserver-kubelet-client", "front-proxy-client", "front-proxy-ca"];
            let mut all: Vec<String> =
                names.iter().map(|n| fs::read_to_string(pki.path(&format!("{n}.crt"))).unwrap()).collect();
            all.push(fs::read_to_string(&file).unwrap());
            all.push(serving.version().to_string());
            all
        };
        let first = state();
        pki.look(start + Duration::seconds(419));
        assert_eq!(first, state(), "all are good for three minutes");
        pki.look(start + Duration::seconds(421));
        let second = state();
        let changed: Vec<bool> = first.iter().zip(&second).map(|(a, b)| a != b).collect();
        assert_eq!(changed, [false, true, true, true, false, true, true], "all but the authorities");
        let facts = &serving.current().unwrap().facts;
        assert_eq!(facts.not_after.as_second(), (start + Duration::seconds(421 + 600)).unix_timestamp());
        assert_eq!((facts.common_name.as_str(), &facts.dns_names), ("kubelet", &vec!["n".to_owned()]));
        // A folder that is gone is mended, too.
        fs::remove_file(pki.path("apiserver.key")).unwrap();
        pki.look(start + Duration::seconds(422));
        assert!(pki.path("apiserver.key").exists());
    }
}
