//! Random names and identifiers.

use rand::RngExt;

/// Five characters that make no words, as upstream ends generated names.
pub fn random_suffix() -> String {
    const ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
    let mut rng = rand::rng();
    (0..5).map(|_| ALPHABET[rng.random_range(0..ALPHABET.len())] as char).collect()
}

/// A new UUID, of the thread's own generator, which asks the kernel for a seed now and then and not for each.
pub fn random_uuid() -> String {
    uuid::Builder::from_random_bytes(rand::random()).into_uuid().to_string()
}
