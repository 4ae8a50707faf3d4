//! UIDs as numbers: whoever remembers one of every object has no room for its text.

/// A UID in 16 bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub(crate) struct Uid(u128);

impl Uid {
    pub(crate) fn new(text: &str) -> Self {
        let hex: String = text.chars().filter(|c| *c != '-').collect();
        let parsed = (hex.len() == 32).then(|| u128::from_str_radix(&hex, 16).ok()).flatten();
        // No UUID (nothing but tests makes such): FNV-1a over 128 bits.
        Self(parsed.unwrap_or_else(|| {
            let prime = 0x0000_0000_0100_0000_0000_0000_0000_013b;
            let offset = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
            text.bytes().fold(offset, |h: u128, b| (h ^ u128::from(b)).wrapping_mul(prime))
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uid_is_its_digits_and_any_other_text_has_a_number_too() {
        let text = "0000000a-0000-0000-0000-00000000000b";
        assert_eq!(Uid::new(text), Uid((0xa << 96) | 0xb));
        assert_eq!(Uid::new("u1"), Uid::new("u1"));
        assert_ne!(Uid::new("u1"), Uid::new("u2"));
    }
}
