//! Addresses and ranges. Old fields accept what Go once did (leading zeros, IPv4-mapped IPv6); new ones the canonical
//! form alone. Printed as Go's net.IP prints: IPv4-mapped addresses as IPv4.

use crate::field::{Error, ErrorList, Path};
use crate::go;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Go's `ParseIPSloppy`: leading zeros of IPv4 octets are ignored, and an IPv4-mapped address is IPv4.
pub fn parse_ip_sloppy(text: &str) -> Option<IpAddr> {
    if text.contains(':') {
        // The IPv4 tail may have leading zeros too, which nobody writes.
        let v6: Ipv6Addr = text.parse().ok()?;
        return Some(v6.to_ipv4_mapped().map_or(IpAddr::V6(v6), IpAddr::V4));
    }
    let mut octets = [0u8; 4];
    let mut parts = text.split('.');
    for octet in &mut octets {
        let part = parts.next()?;
        if part.is_empty() || !part.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        *octet = part
            .trim_start_matches('0')
            .parse()
            .or(if part.trim_start_matches('0').is_empty() { Ok(0) } else { Err(()) })
            .ok()?;
    }
    parts.next().is_none().then(|| IpAddr::V4(Ipv4Addr::from(octets)))
}

/// The address as Go prints it.
pub fn canonical_ip(text: &str) -> Option<String> {
    parse_ip_sloppy(text).map(|ip| ip.to_string())
}

/// Go's `ParseCIDRSloppy`: the address as given, and the prefix length within the address's own family.
pub fn parse_cidr_sloppy(text: &str) -> Option<(IpAddr, IpAddr, u8)> {
    let (address, length) = text.split_once('/')?;
    if length.is_empty() || length.len() > 4 || !length.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let length: u32 = length.parse().ok()?;
    let mapped = address.contains(':');
    let ip = parse_ip_sloppy(address)?;
    let (bits, length) = match ip {
        IpAddr::V4(_) if mapped => (32, length.checked_sub(96)?),
        IpAddr::V4(_) => (32, length),
        IpAddr::V6(_) => (128, length),
    };
    if length > bits {
        return None;
    }
    Some((ip, mask(ip, length), u8::try_from(length).ok()?))
}

fn mask(ip: IpAddr, length: u32) -> IpAddr {
    match ip {
        IpAddr::V4(v4) => {
            let keep = u32::MAX.checked_shl(32 - length).unwrap_or(0);
            IpAddr::V4(Ipv4Addr::from_bits(v4.to_bits() & keep))
        }
        IpAddr::V6(v6) => {
            let keep = u128::MAX.checked_shl(128 - length).unwrap_or(0);
            IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & keep))
        }
    }
}

/// The range as Go prints it: the network's address.
pub fn canonical_cidr(text: &str) -> Option<String> {
    parse_cidr_sloppy(text).map(|(_, network, length)| format!("{network}/{length}"))
}

fn strict_faults(path: &Path, value: &str) -> ErrorList {
    match value.parse::<IpAddr>() {
        Err(_) => vec![Error::invalid(path, value, "must not have leading 0s")],
        Ok(IpAddr::V6(v6)) if v6.to_ipv4_mapped().is_some() => {
            vec![Error::invalid(path, value, "must not be an IPv4-mapped IPv6 address")]
        }
        Ok(_) => Vec::new(),
    }
}

/// An address in a field of old: not in canonical form perhaps, and in a sloppy form only where the object had it before.
pub fn ip_for_legacy_field(path: &Path, value: &str, valid_old: &[&str]) -> ErrorList {
    if valid_old.contains(&value) {
        return Vec::new();
    }
    if parse_ip_sloppy(value).is_none() {
        let message = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";
        return vec![Error::invalid(path, value, message)];
    }
    strict_faults(path, value)
}

/// An address in canonical form.
pub fn ip(path: &Path, value: &str) -> ErrorList {
    let errors = ip_for_legacy_field(path, value, &[]);
    if !errors.is_empty() {
        return errors;
    }
    match canonical_ip(value) {
        Some(canonical) if canonical != value => {
            vec![Error::invalid(path, value, format!("must be in canonical form ({})", go::quote(&canonical)))]
        }
        _ => Vec::new(),
    }
}

/// What to warn of in an address that the legacy rule let through.
pub fn ip_warnings(path: &Path, value: &str) -> Vec<String> {
    let Some(canonical) = canonical_ip(value) else { return Vec::new() };
    match value.parse::<IpAddr>() {
        Ok(IpAddr::V6(v6)) if v6.to_ipv4_mapped().is_none() => {
            if v6.to_string() == value {
                return Vec::new();
            }
            let (value, canonical) = (go::quote(value), go::quote(&canonical));
            vec![format!("{path}: IPv6 address {value} should be in RFC 5952 canonical format ({canonical})")]
        }
        Ok(IpAddr::V4(_)) => Vec::new(),
        _ => {
            let (value, canonical) = (go::quote(value), go::quote(&canonical));
            vec![format!("{path}: non-standard IP address {value} is invalid: use {canonical}")]
        }
    }
}

/// A range in a field of old, as [`ip_for_legacy_field`].
pub fn cidr_for_legacy_field(path: &Path, value: &str, valid_old: &[&str]) -> ErrorList {
    if valid_old.contains(&value) {
        return Vec::new();
    }
    let Some((ip, network, _)) = parse_cidr_sloppy(value) else {
        let message = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)";
        return vec![Error::invalid(path, value, message)];
    };
    let (address, length) = value.split_once('/').expect("it was parsed as a range");
    let message = match address.parse::<IpAddr>() {
        _ if length.len() > 1 && length.starts_with('0') => "must not have leading 0s in IP or prefix length",
        Err(_) => "must not have leading 0s in IP or prefix length",
        Ok(IpAddr::V6(v6)) if v6.to_ipv4_mapped().is_some() => "must not have an IPv4-mapped IPv6 address",
        Ok(_) if ip != network => "must not have bits set beyond the prefix length",
        Ok(_) => return Vec::new(),
    };
    vec![Error::invalid(path, value, message)]
}

/// A range in canonical form.
pub fn cidr(path: &Path, value: &str) -> ErrorList {
    let errors = cidr_for_legacy_field(path, value, &[]);
    if !errors.is_empty() {
        return errors;
    }
    match canonical_cidr(value) {
        Some(canonical) if canonical != value => {
            vec![Error::invalid(path, value, format!("must be in canonical form ({})", go::quote(&canonical)))]
        }
        _ => Vec::new(),
    }
}

/// What to warn of in a range that the legacy rule let through.
pub fn cidr_warnings(path: &Path, value: &str) -> Vec<String> {
    let Some((ip, network, length)) = parse_cidr_sloppy(value) else { return Vec::new() };
    let canonical = go::quote(&format!("{network}/{length}"));
    let quoted = go::quote(value);
    let mut warnings = Vec::new();
    if ip != network {
        let single = go::quote(&format!("{ip}/{}", if ip.is_ipv4() { 32 } else { 128 }));
        warnings.push(format!(
            "{path}: CIDR value {quoted} is ambiguous in this context (should be {canonical} or {single}?)"
        ));
    }
    let (address, written) = value.split_once('/').expect("it was parsed as a range");
    let parsed = address.parse::<IpAddr>().ok().filter(|_| written.len() == 1 || !written.starts_with('0'));
    match parsed {
        None => warnings.push(format!("{path}: non-standard CIDR value {quoted} is invalid: use {canonical}")),
        Some(IpAddr::V6(v6)) if v6.to_ipv4_mapped().is_some() => {
            warnings.push(format!("{path}: non-standard CIDR value {quoted} is invalid: use {canonical}"));
        }
        Some(IpAddr::V6(v6)) if warnings.is_empty() && v6.to_string() != address => {
            warnings
                .push(format!("{path}: IPv6 CIDR value {quoted} should be in RFC 5952 canonical format ({canonical})"));
        }
        Some(_) => {}
    }
    warnings
}

/// An address with a prefix length, its host bits kept.
pub fn interface_address(path: &Path, value: &str) -> ErrorList {
    let Some((ip, _, length)) = parse_cidr_sloppy(value) else {
        let message = "must be a valid address in CIDR form, (e.g. 10.9.8.7/24 or 2001:db8::1/64)";
        return vec![Error::invalid(path, value, message)];
    };
    let canonical = format!("{ip}/{length}");
    if value == canonical {
        return Vec::new();
    }
    vec![Error::invalid(path, value, format!("must be in canonical form ({})", go::quote(&canonical)))]
}
