//! Encryption: AES-256-GCM under a key that belongs to one file alone, made of a secret and the file's random salt. So the
//! chunk's index can be the nonce, and no nonce is ever used twice under a key.
//!
//! A key file is taken through HKDF: it has to be random, and long enough. A passphrase is neither, and is made expensive to
//! guess by PBKDF2.

use std::fmt;
use std::num::NonZeroU32;
use std::path::Path;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::{hkdf, pbkdf2, rand};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::chunk::{Digest, Head};
use crate::header::Encryption;
use crate::{Error, Result};

const CIPHER: &str = "AES-256-GCM";
const HKDF: &str = "HKDF-SHA256";
const PBKDF2: &str = "PBKDF2-HMAC-SHA256";
/// What OWASP's password storage guide asks of PBKDF2-HMAC-SHA256.
const ITERATIONS: u32 = 600_000;
/// A file that asks for more is refused: it would only keep its reader busy.
const ITERATIONS_LIMIT: u32 = 10_000_000;
const SALT_BYTES: usize = 32;
const KEY_BYTES: usize = 32;
/// A key file of less is refused.
const KEY_FILE_BYTES: usize = 32;
/// A passphrase of less is refused.
const PASSPHRASE_BYTES: usize = 8;
const CONTEXT: &[u8] = b"ferry snapshot 1";

/// What a snapshot is encrypted with. It is never shown.
#[derive(Clone)]
pub enum Secret {
    /// The content of a key file.
    Key(Vec<u8>),
    /// A passphrase.
    Passphrase(Vec<u8>),
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

impl Secret {
    /// The secret in a key file: 32 random bytes or more.
    ///
    /// # Errors
    /// It can't be read, or is too short to be a key.
    pub fn key_file(path: &Path) -> Result<Self> {
        let key = read(path)?;
        if key.len() < KEY_FILE_BYTES {
            let (have, path) = (key.len(), path.display());
            return Err(Error::Key(format!(
                "{path} has {have} bytes, and a key has {KEY_FILE_BYTES} at least: `head -c 32 /dev/urandom > {path}` makes one"
            )));
        }
        Ok(Self::Key(key))
    }

    /// The passphrase in the first line of a file.
    ///
    /// # Errors
    /// It can't be read, or is too short.
    pub fn passphrase_file(path: &Path) -> Result<Self> {
        let text = read(path)?;
        let line = text.split(|byte| matches!(byte, b'\n' | b'\r')).next().unwrap_or_default();
        if line.len() < PASSPHRASE_BYTES {
            let path = path.display();
            return Err(Error::Key(format!("the passphrase in {path} has less than {PASSPHRASE_BYTES} bytes")));
        }
        Ok(Self::Passphrase(line.to_vec()))
    }

    /// How a new file is encrypted with it.
    pub(crate) fn encryption(&self) -> Result<Encryption> {
        let mut salt = [0; SALT_BYTES];
        rand::fill(&mut salt).map_err(|_| Error::Key("the system gives no random numbers".into()))?;
        let (derivation, iterations) = match self {
            Self::Key(_) => (HKDF, 0),
            Self::Passphrase(_) => (PBKDF2, ITERATIONS),
        };
        let (cipher, derivation) = (CIPHER.to_owned(), derivation.to_owned());
        Ok(Encryption { cipher, derivation, salt: STANDARD.encode(salt), iterations })
    }

    /// The key of the file that says so of itself.
    pub(crate) fn key(&self, how: &Encryption) -> Result<FileKey> {
        let unknown = |what: &str| Error::Key(format!("it is encrypted by {what}, which is not known to this version"));
        if how.cipher != CIPHER {
            return Err(unknown(&how.cipher));
        }
        let salt = STANDARD.decode(&how.salt).map_err(|_| Error::damaged("the salt is not base64"))?;
        let mut key = [0; KEY_BYTES];
        match (self, how.derivation.as_str()) {
            (Self::Key(secret), HKDF) => {
                let made = hkdf::Salt::new(hkdf::HKDF_SHA256, &salt).extract(secret);
                let info = [CONTEXT];
                let made = made.expand(&info, hkdf::HKDF_SHA256).map_err(|_| Error::Key("no key".into()))?;
                made.fill(&mut key).map_err(|_| Error::Key("no key".into()))?;
            }
            (Self::Passphrase(secret), PBKDF2) => {
                let iterations = NonZeroU32::new(how.iterations).filter(|n| n.get() <= ITERATIONS_LIMIT);
                let iterations = iterations.ok_or_else(|| Error::damaged("an impossible number of iterations"))?;
                pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, iterations, &salt, secret, &mut key);
            }
            (Self::Key(_), PBKDF2) => {
                return Err(Error::Key("it is encrypted with a passphrase: give --passphrase-file".into()));
            }
            (Self::Passphrase(_), HKDF) => {
                return Err(Error::Key("it is encrypted with a key file: give --key-file".into()));
            }
            (_, other) => return Err(unknown(other)),
        }
        let key = UnboundKey::new(&AES_256_GCM, &key).map_err(|_| Error::Key("no key".into()))?;
        Ok(FileKey(LessSafeKey::new(key)))
    }
}

fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).map_err(|error| Error::Key(format!("reading {}: {error}", path.display())))
}

/// The key of one file.
pub(crate) struct FileKey(LessSafeKey);

impl FileKey {
    pub fn seal(&self, preamble: &Digest, head: &Head, mut content: Vec<u8>) -> Result<Vec<u8>> {
        let sealed = self.0.seal_in_place_append_tag(nonce(head), associated(preamble, head), &mut content);
        sealed.map(|()| content).map_err(|_| Error::Key("a chunk could not be encrypted".into()))
    }

    pub fn open(&self, preamble: &Digest, head: &Head, mut stored: Vec<u8>) -> Result<Vec<u8>> {
        let length =
            self.0.open_in_place(nonce(head), associated(preamble, head), &mut stored).map(|plain| plain.len());
        let length = length.map_err(|_| {
            Error::Key("this key or passphrase is not the one that it is encrypted with, or somebody altered it".into())
        })?;
        stored.truncate(length);
        Ok(stored)
    }
}

fn nonce(head: &Head) -> Nonce {
    let mut nonce = [0; 12];
    nonce[8..].copy_from_slice(&head.index.to_be_bytes());
    Nonce::assume_unique_for_key(nonce)
}

fn associated(preamble: &Digest, head: &Head) -> Aad<Vec<u8>> {
    Aad::from([preamble.as_slice(), &head.encode()].concat())
}
