//! The patterns, matched by hand on bytes.

fn lower_alnum(b: u8) -> bool {
    b.is_ascii_lowercase() || b.is_ascii_digit()
}

fn framed(value: &str, edge: fn(u8) -> bool, inner: fn(u8) -> bool) -> bool {
    match value.as_bytes() {
        [] => false,
        [only] => edge(*only),
        [first, middle @ .., last] => edge(*first) && edge(*last) && middle.iter().all(|b| inner(*b)),
    }
}

pub(super) fn label_matches(value: &str) -> bool {
    framed(value, lower_alnum, |b| lower_alnum(b) || b == b'-')
}

pub(super) fn underscore_label_matches(value: &str) -> bool {
    let value = value.strip_prefix('_').unwrap_or(value);
    framed(value, lower_alnum, |b| lower_alnum(b) || b == b'-' || b == b'_')
}

pub(super) fn subdomain_matches(value: &str) -> bool {
    value.split('.').all(label_matches)
}

pub(super) fn dns1035_label_matches(value: &str) -> bool {
    label_matches(value) && value.as_bytes()[0].is_ascii_lowercase()
}

pub(super) fn qualified_matches(value: &str) -> bool {
    framed(value, |b| b.is_ascii_alphanumeric(), |b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
}

pub(super) fn c_identifier_matches(value: &str) -> bool {
    !value.is_empty()
        && !value.as_bytes()[0].is_ascii_digit()
        && value.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}
