//! The cluster's own keys on their way to another server: sealed with the key that is in a server's token and nowhere else,
//! they lie in that token's Secret and go with it. Whoever reads the Secret alone has nothing of them.
//!
//! ```text
//! nonce, 12 bytes | AES-256-GCM of a JSON of files, authenticated with the token's id | tag, 16 bytes
//! ```

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, bail};
use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};

use super::token::Token;
use super::write;
use crate::up::Store;

/// In the token's Secret.
pub const KEY: &str = "ferry-keys";
/// What a server needs to be one of the cluster, in its folder of keys; all other certificates it makes of them.
const FILES: &[&str] = &["ca.crt", "ca.key", "front-proxy-ca.crt", "front-proxy-ca.key", "sa.key", "sa.pub"];

/// And one whose store is replicated.
const MEMBERS: &[&str] = &["store-ca.crt", "store-ca.key"];

/// What a new server is given.
#[derive(Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Keys {
    /// By their names in the folder of keys.
    files: BTreeMap<String, String>,
    /// The etcd that all servers share.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub etcd_servers: Vec<String>,
    /// Members of the replicated store that all servers have, each `IP:PORT`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub members: Vec<String>,
}

impl Keys {
    /// Those in a server's folder, and those with which it speaks to others that keep the cluster's state.
    ///
    /// # Errors
    /// One can't be read.
    pub fn read(folder: &Path, store: &Store) -> anyhow::Result<Self> {
        let Store { etcd, members } = store;
        let mut keys = Self { etcd_servers: etcd.servers.clone(), members: members.clone(), ..Self::default() };
        for name in FILES.iter().chain(MEMBERS.iter().filter(|_| !members.is_empty())) {
            keys.add(name, &folder.join(name))?;
        }
        for (name, file) in Etcd::FILES.iter().zip([&etcd.ca, &etcd.cert, &etcd.key]) {
            if let Some(file) = file {
                keys.add(name, file)?;
            }
        }
        Ok(keys)
    }

    fn add(&mut self, name: &str, file: &Path) -> anyhow::Result<()> {
        let text = std::fs::read_to_string(file).with_context(|| file.display().to_string())?;
        self.files.insert(name.to_owned(), text);
        Ok(())
    }

    /// Puts them into a new server's folder; where the cluster keeps its state.
    ///
    /// # Errors
    /// It holds other keys, or can't be written.
    pub fn install(&self, folder: &Path) -> anyhow::Result<Store> {
        let known = |name: &str| FILES.contains(&name) || MEMBERS.contains(&name) || Etcd::FILES.contains(&name);
        if let Some(name) = self.files.keys().find(|name| !known(name)) {
            bail!("{name:?} is no key that this version knows: the servers run another one");
        }
        let authority = folder.join("ca.crt");
        if std::fs::read_to_string(&authority).is_ok_and(|own| Some(&own) != self.files.get("ca.crt")) {
            bail!(
                "{} is another cluster's: give another --data-dir, or `ferry down --purge` first",
                authority.display()
            );
        }
        std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
        for (name, text) in &self.files {
            let mode = if name.ends_with(".key") { 0o600 } else { 0o644 };
            write(&folder.join(name), text, mode)?;
        }
        let [ca, cert, key] = Etcd::FILES.map(|name| self.files.contains_key(name).then(|| folder.join(name)));
        let etcd = Etcd { servers: self.etcd_servers.clone(), ca, cert, key };
        Ok(Store { etcd, members: self.members.clone() })
    }

    /// As they lie in the Secret of a token for servers.
    ///
    /// # Errors
    /// The token is for agents alone.
    pub fn seal(&self, token: &Token) -> anyhow::Result<Vec<u8>> {
        let mut text = serde_json::to_vec(self)?;
        let (nonce, tag) = cipher(token)?
            .seal_in_place_separate_tag(Aad::from(token.id.as_bytes()), &mut text)
            .map_err(|_| anyhow::anyhow!("the keys cannot be sealed"))?;
        let mut sealed = nonce.as_ref().to_vec();
        sealed.extend(text);
        sealed.extend(tag.as_ref());
        Ok(sealed)
    }

    /// What was sealed.
    ///
    /// # Errors
    /// With another token, or it was changed since.
    pub fn open(sealed: &[u8], token: &Token) -> anyhow::Result<Self> {
        let cipher = cipher(token)?;
        let Some((nonce, rest)) = sealed.split_first_chunk::<NONCE_LEN>() else {
            bail!("the cluster's keys are not whole");
        };
        let mut rest = rest.to_vec();
        let opened =
            cipher.open_in_place(Nonce::from(nonce), Aad::from(token.id.as_bytes()), &mut rest).map_err(|_| {
                anyhow::anyhow!(
                    "the cluster's keys cannot be opened with this token: is it whole, and of this cluster?"
                )
            })?;
        serde_json::from_slice(opened).context("the cluster's keys")
    }
}

fn cipher(token: &Token) -> anyhow::Result<RandomizedNonceKey> {
    let Some(key) = token.key() else {
        bail!("with this token agents join: `ferry token create --server` makes one for servers");
    };
    RandomizedNonceKey::new(&AES_256_GCM, key).map_err(|_| anyhow::anyhow!("the token's key is no key"))
}

/// An etcd, and what a server proves there who it is with.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Etcd {
    /// Where its members are; none: the embedded store is used.
    pub servers: Vec<String>,
    /// The authority of their certificates.
    pub ca: Option<std::path::PathBuf>,
    /// The server's own certificate there.
    pub cert: Option<std::path::PathBuf>,
    /// Its key.
    pub key: Option<std::path::PathBuf>,
}

impl Etcd {
    const FILES: [&str; 3] = ["etcd-ca.crt", "etcd-client.crt", "etcd-client.key"];
}

#[cfg(test)]
mod tests {
    use component::tls::pki::Ca;

    use super::super::token::Pin;
    use super::*;

    fn token(for_servers: bool) -> Token {
        let ca = Ca::new("kubernetes", time::OffsetDateTime::now_utc()).unwrap();
        Token::new(Pin::all_of(ca.pair().cert_pem.as_bytes()).unwrap()[0], for_servers).unwrap()
    }

    #[test]
    fn keys_are_opened_with_the_token_that_they_were_sealed_for_and_with_no_other() {
        let dir = tempfile::tempdir().unwrap();
        let (old, new) = (dir.path().join("old"), dir.path().join("new"));
        std::fs::create_dir(&old).unwrap();
        for name in FILES {
            std::fs::write(old.join(name), format!("{name} of the cluster")).unwrap();
        }
        let ca = dir.path().join("authority");
        std::fs::write(&ca, "of etcd").unwrap();
        let etcd = Etcd { servers: vec!["https://192.0.2.1:2379".into()], ca: Some(ca), ..Etcd::default() };
        let store = Store { etcd: etcd.clone(), members: Vec::new() };
        let keys = Keys::read(&old, &store).unwrap();
        let own = token(true);
        let sealed = keys.seal(&own).unwrap();
        assert!(!String::from_utf8_lossy(&sealed).contains("cluster"));
        let opened = Keys::open(&sealed, &own).unwrap();
        assert_eq!(opened, keys);
        let there = opened.install(&new).unwrap().etcd;
        assert_eq!((there.servers, there.ca), (etcd.servers, Some(new.join("etcd-ca.crt"))));
        assert_eq!(std::fs::read_to_string(new.join("sa.key")).unwrap(), "sa.key of the cluster");
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(std::fs::metadata(new.join("ca.key")).unwrap().permissions().mode() & 0o777, 0o600);

        let said = |sealed: &[u8], token: &Token| Keys::open(sealed, token).unwrap_err().to_string();
        assert!(said(&sealed, &token(true)).contains("cannot be opened with this token"));
        assert!(said(&sealed, &token(false)).contains("for servers"));
        for at in 0..sealed.len() {
            let mut altered = sealed.clone();
            altered[at] ^= 1;
            said(&altered, &own);
            said(&sealed[..at], &own);
        }
        std::fs::write(new.join("ca.crt"), "another cluster's").unwrap();
        assert!(opened.install(&new).unwrap_err().to_string().contains("is another cluster's"));
    }
}
