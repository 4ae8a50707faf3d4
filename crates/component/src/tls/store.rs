//! A folder with a component's certificates, as upstream's kubelet keeps its own: each with its key in one file
//! `<prefix>-<time>.pem`, and a symlink `<prefix>-current.pem` to the newest. Kubeconfigs name the symlink.
//!
//! A new one is written whole and synced before the symlink is moved to it in one step, so that a crash leaves one or the
//! other; upstream removes the old symlink first. Of older files a few are kept, and not all as upstream does: certificates
//! may live for minutes.
//!
//! Upstream: client-go `util/certificate/certificate_store.go`.

use std::{
    fs,
    io::{ErrorKind, Write},
    os::unix::fs::{OpenOptionsExt, symlink},
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};
use jiff::{Timestamp, tz::TimeZone};

use super::rotating::Certificate;

/// Files of earlier certificates that stay.
const KEPT: usize = 5;

/// See the module.
#[derive(Clone, Debug)]
pub struct Store {
    dir: PathBuf,
    prefix: String,
}

impl Store {
    /// The certificates of that prefix, as `kubelet-client`, in that folder, which is made when the first is written.
    pub fn new(dir: &Path, prefix: &str) -> Self {
        Self { dir: std::path::absolute(dir).unwrap_or_else(|_| dir.to_owned()), prefix: prefix.to_owned() }
    }

    /// Where the one in force is.
    pub fn current_path(&self) -> PathBuf {
        self.file("current")
    }

    fn file(&self, what: &str) -> PathBuf {
        self.dir.join(format!("{}-{what}.pem", self.prefix))
    }

    /// The one in force, which may have expired; none if none was ever written.
    ///
    /// # Errors
    /// It can't be read.
    pub fn current(&self) -> anyhow::Result<Option<Certificate>> {
        let path = self.current_path();
        match fs::read(&path) {
            Ok(pem) => {
                let certificate = Certificate::from_pem(&pem, &pem);
                Ok(Some(certificate.with_context(|| format!("no certificate with its key in {}", path.display()))?))
            }
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| path.display().to_string()),
        }
    }

    /// Puts another in force.
    ///
    /// # Errors
    /// They don't belong together; the folder can't be written to; what is to be the symlink is something else.
    pub fn update(&self, cert_pem: &[u8], key_pem: &[u8], now: Timestamp) -> anyhow::Result<Certificate> {
        let certificate = Certificate::from_pem(cert_pem, key_pem)?;
        fs::create_dir_all(&self.dir).with_context(|| format!("making {}", self.dir.display()))?;
        let link = self.current_path();
        if fs::symlink_metadata(&link).is_ok_and(|m| !m.is_symlink()) {
            bail!("expected {} to be a symlink but it is a file", link.display());
        }
        let path = self.file(&now.to_zoned(TimeZone::UTC).strftime("%Y-%m-%d-%H-%M-%S").to_string());
        let write = || {
            let temporary = self.file("written");
            let mut file =
                fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
            let newline: &[u8] = if cert_pem.ends_with(b"\n") { b"" } else { b"\n" };
            [cert_pem, newline, key_pem].iter().try_for_each(|part| file.write_all(part))?;
            file.sync_all()?;
            fs::rename(&temporary, &path)?;
            let updated = self.file("updated");
            match fs::remove_file(&updated) {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            symlink(&path, &updated)?;
            fs::rename(&updated, &link)?;
            fs::File::open(&self.dir)?.sync_all()
        };
        write().with_context(|| format!("writing {}", path.display()))?;
        self.forget(&path);
        Ok(certificate)
    }

    /// Removes the oldest files; one that stays is no fault.
    fn forget(&self, current: &Path) {
        let Ok(entries) = fs::read_dir(&self.dir) else { return };
        let stamped = |name: &str| {
            let stamp = name.strip_prefix(&self.prefix)?.strip_prefix('-')?.strip_suffix(".pem")?;
            (stamp.len() == 19 && stamp.bytes().all(|b| b.is_ascii_digit() || b == b'-')).then_some(())
        };
        let paths = entries.filter_map(Result::ok).filter(|e| stamped(&e.file_name().to_string_lossy()).is_some());
        let mut paths: Vec<PathBuf> = paths.map(|e| e.path()).filter(|path| path != current).collect();
        paths.sort();
        for path in paths.iter().rev().skip(KEPT) {
            let _ = fs::remove_file(path);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use time::OffsetDateTime;

    use super::*;
    use crate::tls::pki::{Ca, Leaf};

    #[test]
    fn the_newest_is_in_force_and_of_the_others_a_few_stay() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("pki");
        let ca = Ca::new("ca", OffsetDateTime::now_utc()).unwrap();
        let store = Store::new(&folder, "kubelet-client");
        assert!(store.current().unwrap().is_none());
        let start: Timestamp = "2026-01-02T03:04:05Z".parse().unwrap();
        for i in 0..10 {
            let leaf = Leaf { common_name: format!("n{i}"), client: true, ..Leaf::default() };
            let pair = ca.sign(&leaf, OffsetDateTime::now_utc()).unwrap();
            let at = start + jiff::SignedDuration::from_secs(i);
            store.update(pair.cert_pem.as_bytes(), pair.key_pem.as_bytes(), at).unwrap();
            assert_eq!(store.current().unwrap().unwrap().facts.common_name, format!("n{i}"));
        }
        let link = fs::read_link(store.current_path()).unwrap();
        assert_eq!(link, folder.join("kubelet-client-2026-01-02-03-04-14.pem"));
        assert_eq!(fs::metadata(&link).unwrap().permissions().mode() & 0o777, 0o600);
        let mut names: Vec<_> = fs::read_dir(&folder).unwrap().map(|e| e.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names.len(), KEPT + 2, "{names:?}");
        let pair = ca.sign(&Leaf::default(), OffsetDateTime::now_utc()).unwrap();
        assert!(store.update(pair.cert_pem.as_bytes(), ca.pair().key_pem.as_bytes(), start).is_err(), "another's key");
        assert_eq!(store.current().unwrap().unwrap().facts.common_name, "n9");
    }

    #[test]
    fn what_is_no_symlink_is_not_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let ca = Ca::new("ca", OffsetDateTime::now_utc()).unwrap();
        let pair = ca.sign(&Leaf::default(), OffsetDateTime::now_utc()).unwrap();
        let store = Store::new(dir.path(), "kubelet-server");
        fs::write(store.current_path(), "mine").unwrap();
        assert!(store.current().is_err());
        let refused = store.update(pair.cert_pem.as_bytes(), pair.key_pem.as_bytes(), Timestamp::now()).unwrap_err();
        assert!(refused.to_string().ends_with("to be a symlink but it is a file"), "{refused}");
    }
}
