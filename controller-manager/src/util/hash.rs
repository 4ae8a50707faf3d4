//! Names for revisions of a pod template.
//!
//! Upstream hashes a dump of the Go struct, which nothing else can reproduce; what matters is that equal templates get
//! equal names and that the name has upstream's alphabet. A controller that takes over existing ReplicaSets finds them
//! by their template, not by this hash.

use k8s_openapi::api::core::v1::PodTemplateSpec;

const ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";

/// The hash of a template, changed by the number of collisions met so far.
pub(crate) fn pod_template(template: &PodTemplateSpec, collisions: Option<i32>) -> String {
    let mut bytes = serde_json::to_vec(template).unwrap_or_default();
    if let Some(n) = collisions {
        bytes.extend(n.to_le_bytes());
        bytes.extend([0; 4]);
    }
    safe(&fnv1a(&bytes).to_string())
}

/// FNV-1a, 32 bits.
pub(crate) fn fnv1a(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |hash: u32, b| (hash ^ u32::from(*b)).wrapping_mul(0x0100_0193))
}

/// FNV-1, 32 bits.
pub(crate) fn fnv1(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |hash: u32, b| hash.wrapping_mul(0x0100_0193) ^ u32::from(*b))
}

/// Upstream's encoding of a number in letters that spell no words.
pub(crate) fn safe(text: &str) -> String {
    text.bytes().map(|b| char::from(ALPHABET[usize::from(b) % ALPHABET.len()])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_spelled_as_upstream_spells_them() {
        assert_eq!((fnv1a(b"hello"), fnv1(b"hello")), (0x4f9f_2cab, 0xb6fa_7167));
        assert_eq!(safe("0123456789"), "456789bcdf");
        let template = PodTemplateSpec::default();
        assert_ne!(pod_template(&template, None), pod_template(&template, Some(1)));
        assert!(pod_template(&template, None).bytes().all(|b| ALPHABET.contains(&b)));
    }
}
