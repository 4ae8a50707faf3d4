//! What a machine joins with: one word that says which cluster (the hash of its authority's key, so that nobody between
//! can answer in its place) and that its holder may ask to become a node. To the cluster it is an ordinary bootstrap token;
//! one with which servers join also has a key to the cluster's own keys, which the cluster itself does not keep.
//!
//! ```text
//! FRYTKN-1-<SHA-256 of the authority's SubjectPublicKeyInfo, hexadecimal>-<id>.<secret>[-<key, hexadecimal>]
//! ```
//!
//! The hash is that of `kubeadm join --discovery-token-ca-cert-hash`.

use std::fmt;
use std::str::FromStr;

use anyhow::{Context, bail};
use sha2::{Digest, Sha256};
use x509_parser::pem::Pem;

/// What each begins with; the number is the form's.
const PREFIX: &str = "FRYTKN-1-";
/// Bytes of the key to the cluster's keys.
pub const KEY_BYTES: usize = 32;
const ID_LENGTH: usize = 6;
const SECRET_LENGTH: usize = 16;

/// The hash of an authority's public key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pin([u8; 32]);

/// See the module. Its secrets are never part of what `Debug` shows.
#[derive(Clone, PartialEq, Eq)]
pub struct Token {
    /// The cluster's authority.
    pub pin: Pin,
    /// Which bootstrap token of the cluster it is; no secret.
    pub id: String,
    secret: String,
    key: Option<[u8; KEY_BYTES]>,
}

impl Pin {
    /// Of each certificate of a PEM text.
    ///
    /// # Errors
    /// It is no PEM text of certificates.
    pub fn all_of(pem: &[u8]) -> anyhow::Result<Vec<Self>> {
        let mut pins = Vec::new();
        for block in Pem::iter_from_buffer(pem) {
            let block = block.context("an authority's certificate")?;
            let certificate = block.parse_x509().context("an authority's certificate")?;
            pins.push(Self(Sha256::digest(certificate.public_key().raw).into()));
        }
        Ok(pins)
    }
}

impl fmt::Display for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

impl Token {
    /// A new one, for agents or, with `for_servers`, for servers too.
    ///
    /// # Errors
    /// The machine has no random numbers.
    pub fn new(pin: Pin, for_servers: bool) -> anyhow::Result<Self> {
        let key = for_servers.then(random).transpose()?;
        Ok(Self { pin, id: word(ID_LENGTH)?, secret: word(SECRET_LENGTH)?, key })
    }

    /// What the API server takes as a bearer token.
    pub fn bearer(&self) -> String {
        format!("{}.{}", self.id, self.secret)
    }

    /// The secret half of [`Self::bearer`].
    pub fn secret(&self) -> &str {
        &self.secret
    }

    /// The key to the cluster's keys, of a token for servers.
    pub fn key(&self) -> Option<&[u8; KEY_BYTES]> {
        self.key.as_ref()
    }

    /// The whole word: a secret.
    pub fn reveal(&self) -> String {
        let key = self.key.map(|key| format!("-{}", hex(&key))).unwrap_or_default();
        format!("{PREFIX}{}-{}.{}{key}", self.pin, self.id, self.secret)
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token").field("id", &self.id).finish_non_exhaustive()
    }
}

impl FromStr for Token {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        const HINT: &str = "`ferry token create` on a server prints one";
        let text = text.trim();
        let Some(rest) = text.strip_prefix(PREFIX) else {
            bail!("this is no token to join with (it begins with {PREFIX}): {HINT}");
        };
        let parts: Vec<&str> = rest.split('-').collect();
        let (pin, bearer, key) = match parts[..] {
            [pin, bearer] => (pin, bearer, None),
            [pin, bearer, key] => (pin, bearer, Some(key)),
            _ => bail!("the token is not whole: {HINT}"),
        };
        let word = |text: &str, length| {
            text.len() == length && text.bytes().all(|b| b.is_ascii_digit() || b.is_ascii_lowercase())
        };
        let parsed = bearer.split_once('.').filter(|(id, secret)| word(id, ID_LENGTH) && word(secret, SECRET_LENGTH));
        let (Some(pin), Some((id, secret))) = (unhex(pin), parsed) else {
            bail!("the token is not whole: {HINT}");
        };
        let key = match key {
            None => None,
            Some(key) => Some(unhex(key).with_context(|| format!("the token is not whole: {HINT}"))?),
        };
        Ok(Self { pin: Pin(pin), id: id.to_owned(), secret: secret.to_owned(), key })
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Option<[u8; 32]> {
    let digits = text.as_bytes();
    let mut bytes = [0; 32];
    if digits.len() != 2 * bytes.len() {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks(2)) {
        let digit = |at: usize| char::from(pair[at]).to_digit(16);
        *byte = u8::try_from(digit(0)? << 4 | digit(1)?).ok()?;
    }
    Some(bytes)
}

fn random() -> anyhow::Result<[u8; KEY_BYTES]> {
    let mut bytes = [0; KEY_BYTES];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| anyhow::anyhow!("no random numbers"))?;
    Ok(bytes)
}

/// So many characters of the 36 that a bootstrap token may have, all equally likely.
fn word(length: usize) -> anyhow::Result<String> {
    const ALPHABET: &[u8; 36] = b"abcdefghijklmnopqrstuvwxyz0123456789";
    const FAIR: u8 = 252;
    let mut word = String::new();
    while word.len() < length {
        let fair = random()?.into_iter().filter(|byte| *byte < FAIR);
        word.extend(fair.map(|byte| char::from(ALPHABET[usize::from(byte) % ALPHABET.len()])));
    }
    word.truncate(length);
    Ok(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pin() -> Pin {
        Pin([0xab; 32])
    }

    #[test]
    fn a_token_is_what_it_was_after_it_was_written_down() {
        for for_servers in [false, true] {
            let token = Token::new(pin(), for_servers).unwrap();
            assert_eq!(format!(" {}\n", token.reveal()).parse::<Token>().unwrap(), token);
            assert_eq!(token.key().is_some(), for_servers);
            let shown = format!("{token:?}");
            assert!(shown.contains(&token.id) && !shown.contains(token.secret()), "{shown}");
        }
        assert_ne!(Token::new(pin(), false).unwrap(), Token::new(pin(), false).unwrap());
    }

    #[test]
    fn what_is_no_token_is_refused_in_one_line() {
        let whole = Token::new(pin(), true).unwrap().reveal();
        let said = |text: &str| text.parse::<Token>().unwrap_err().to_string();
        for text in ["", "abcdef.0123456789abcdef", "SWMTKN-1-x-y", "K10ab::server:cd"] {
            assert!(said(text).starts_with("this is no token to join with"), "{text}");
        }
        for end in (PREFIX.len()..whole.len()).filter(|end| whole[..*end].parse::<Token>().is_err()) {
            assert!(said(&whole[..end]).starts_with("the token is not whole"), "{end}");
        }
        for text in [whole.replacen("ab", "xy", 1), whole.to_uppercase()] {
            assert!(said(&text).starts_with("the token is not whole"), "{text}");
        }
    }

    #[test]
    fn an_authority_has_the_hash_that_kubeadm_has_of_it() {
        let ca = component::tls::pki::Ca::new("kubernetes", time::OffsetDateTime::now_utc()).unwrap();
        let pem = ca.pair().cert_pem.clone();
        let one = Pin::all_of(pem.as_bytes()).unwrap();
        assert_eq!(one.len(), 1);
        assert_eq!(Pin::all_of(format!("{pem}{pem}").as_bytes()).unwrap(), [one[0], one[0]]);
        assert_eq!(one[0].to_string().len(), 64);
        assert!(Pin::all_of(b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").is_err());
    }
}
