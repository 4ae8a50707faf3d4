//! Kubernetes' libraries: quantities, URLs, addresses, semantic versions (`apiserver/pkg/cel/library`).

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use machinery::quantity::Quantity;

use super::{NO_OVERLOAD, Outcome, strings_of};
use crate::value::{Key, Semver, Value};

fn quantity(text: &str) -> Result<Quantity, String> {
    Quantity::parse(text).map_err(|error| error.to_string())
}

fn whole(q: &Quantity) -> bool {
    let value = q.value();
    Quantity::parse(&value.to_string()).is_ok_and(|v| v.cmp(q).is_eq())
}

fn address(text: &str) -> Option<IpAddr> {
    let ip: IpAddr = text.parse().ok()?;
    // Neither IPv4 in IPv6 nor zones.
    let mapped = matches!(ip, IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some());
    (!mapped).then_some(ip)
}

fn network(text: &str) -> Option<(IpAddr, u8)> {
    let (ip, bits) = text.split_once('/')?;
    let (ip, bits) = (address(ip)?, bits.parse::<u8>().ok()?);
    let most = if ip.is_ipv4() { 32 } else { 128 };
    (bits <= most).then_some((ip, bits))
}

fn masked(ip: IpAddr, bits: u8) -> IpAddr {
    match ip {
        IpAddr::V4(v4) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(bits)).unwrap_or(0);
            IpAddr::V4((u32::from(v4) & mask).into())
        }
        IpAddr::V6(v6) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(bits)).unwrap_or(0);
            IpAddr::V6((u128::from(v6) & mask).into())
        }
    }
}

fn contains(net: IpAddr, bits: u8, ip: IpAddr) -> bool {
    net.is_ipv4() == ip.is_ipv4() && masked(net, bits) == masked(ip, bits)
}

pub(super) fn call(name: &str, args: &[Value]) -> Option<Outcome> {
    quantities(name, args)
        .or_else(|| addresses(name, args))
        .or_else(|| urls(name, args))
        .or_else(|| versions(name, args))
}

fn quantities(name: &str, args: &[Value]) -> Option<Outcome> {
    use Value::{Bool, Double, Int, Quantity as Q, String};
    let make = |q| Q(Arc::new(q));
    Some(match (name, args) {
        ("quantity", [String(s)]) => quantity(s).map(make),
        ("isQuantity", [String(s)]) => Ok(Bool(quantity(s).is_ok())),
        ("sign", [Q(q)]) => Ok(Int(i64::from(q.sign()))),
        ("isInteger", [Q(q)]) => Ok(Bool(whole(q))),
        ("asInteger", [Q(q)]) if whole(q) => Ok(Int(q.value())),
        ("asInteger", [Q(_)]) => Err("cannot convert value to integer".to_owned()),
        ("asApproximateFloat", [Q(q)]) => Ok(Double(q.as_f64())),
        ("add", [Q(a), Q(b)]) => Ok(make(a.add(b))),
        ("sub", [Q(a), Q(b)]) => Ok(make(a.sub(b))),
        ("add", [Q(a), Int(b)]) => quantity(&b.to_string()).map(|b| make(a.add(&b))),
        ("sub", [Q(a), Int(b)]) => quantity(&b.to_string()).map(|b| make(a.sub(&b))),
        _ => return None,
    })
}

fn addresses(name: &str, args: &[Value]) -> Option<Outcome> {
    use Value::{Bool, Cidr, Int, Ip, String};
    let ip_fault = |s: &str| {
        format!("IP Address {s:?} parse error during conversion from string: ParseAddr({s:?}): unable to parse IP")
    };
    let net_fault = |s: &str| format!("network address parse error during conversion from string: {s:?}");
    Some(match (name, args) {
        ("ip", [String(s)]) => address(s).map(Ip).ok_or_else(|| ip_fault(s)),
        ("isIP", [String(s)]) => Ok(Bool(address(s).is_some())),
        ("ip.isCanonical", [String(s)]) => address(s).map(|ip| Bool(ip.to_string() == **s)).ok_or_else(|| ip_fault(s)),
        ("cidr", [String(s)]) => network(s).map(|(ip, bits)| Cidr(ip, bits)).ok_or_else(|| net_fault(s)),
        ("isCIDR", [String(s)]) => Ok(Bool(network(s).is_some())),
        ("ip", [Cidr(ip, _)]) => Ok(Ip(*ip)),
        ("masked", [Cidr(ip, bits)]) => Ok(Cidr(masked(*ip, *bits), *bits)),
        ("prefixLength", [Cidr(_, bits)]) => Ok(Int(i64::from(*bits))),
        ("containsIP", [Cidr(net, bits), Ip(ip)]) => Ok(Bool(contains(*net, *bits, *ip))),
        ("containsIP", [Cidr(net, bits), String(s)]) => {
            address(s).map(|ip| Bool(contains(*net, *bits, ip))).ok_or_else(|| NO_OVERLOAD.to_owned())
        }
        ("containsCIDR", [Cidr(net, bits), Cidr(ip, n)]) => Ok(Bool(n >= bits && contains(*net, *bits, *ip))),
        ("containsCIDR", [Cidr(net, bits), String(s)]) => match network(s) {
            Some((ip, n)) => Ok(Bool(n >= *bits && contains(*net, *bits, ip))),
            None => Err(NO_OVERLOAD.to_owned()),
        },
        ("family", [Ip(ip)]) => Ok(Int(if ip.is_ipv4() { 4 } else { 6 })),
        ("isUnspecified", [Ip(ip)]) => Ok(Bool(ip.is_unspecified())),
        ("isLoopback", [Ip(ip)]) => Ok(Bool(ip.is_loopback())),
        ("isLinkLocalMulticast", [Ip(ip)]) => Ok(Bool(match ip {
            IpAddr::V4(v4) => v4.octets()[..3] == [224, 0, 0],
            IpAddr::V6(v6) => v6.segments()[0] & 0xff0f == 0xff02,
        })),
        ("isLinkLocalUnicast", [Ip(ip)]) => Ok(Bool(link_local(ip))),
        ("isGlobalUnicast", [Ip(ip)]) => Ok(Bool(
            match ip {
                IpAddr::V4(v4) => !v4.is_broadcast(),
                IpAddr::V6(_) => true,
            } && !ip.is_unspecified()
                && !ip.is_loopback()
                && !ip.is_multicast()
                && !link_local(ip),
        )),
        _ => return None,
    })
}

fn link_local(ip: &IpAddr) -> bool {
    match ip {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.segments()[0] & 0xffc0 == 0xfe80,
    }
}

/// Scheme, host with port, path, query.
fn parts(url: &str) -> (&str, &str, &str, &str) {
    let (rest, query) = url.split_once('?').unwrap_or((url, ""));
    let (scheme, rest) = rest.split_once("://").unwrap_or(("", rest));
    if scheme.is_empty() {
        return ("", "", rest, query);
    }
    let (authority, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    (scheme, host, path, query)
}

fn urls(name: &str, args: &[Value]) -> Option<Outcome> {
    use Value::{Bool, String, Url};
    let valid = formats::text::uri;
    Some(match (name, args) {
        ("url", [String(s)]) if valid(s) => Ok(Url(s.clone())),
        ("url", [String(s)]) => {
            Err(format!("URL parse error during conversion from string: parse {s:?}: invalid URI for request"))
        }
        ("isURL", [String(s)]) => Ok(Bool(valid(s))),
        ("getScheme", [Url(u)]) => Ok(parts(u).0.to_ascii_lowercase().into()),
        ("getHost", [Url(u)]) => Ok(parts(u).1.into()),
        ("getHostname" | "getPort", [Url(u)]) => {
            let host = parts(u).1;
            let after_bracket = host.rfind(']').map_or(0, |at| at + 1);
            let colon = host[after_bracket..].find(':').map(|at| at + after_bracket);
            let (name_part, port) = colon.map_or((host, ""), |at| (&host[..at], &host[at + 1..]));
            let bare = name_part.trim_start_matches('[').trim_end_matches(']');
            Ok(if name == "getPort" { port.into() } else { bare.into() })
        }
        ("getEscapedPath", [Url(u)]) => Ok(parts(u).2.into()),
        ("getQuery", [Url(u)]) => {
            let mut out: BTreeMap<Key, Vec<std::string::String>> = BTreeMap::new();
            for (key, value) in form_urlencoded::parse(parts(u).3.as_bytes()) {
                out.entry(Key::String(key.as_ref().into())).or_default().push(value.into_owned());
            }
            Ok(Value::Map(Arc::new(out.into_iter().map(|(key, values)| (key, strings_of(values))).collect())))
        }
        _ => return None,
    })
}

fn versions(name: &str, args: &[Value]) -> Option<Outcome> {
    use Value::{Bool, Int, Semver as S, String};
    let normalize = match args {
        [_, Bool(normalize)] => *normalize,
        _ => false,
    };
    let part = |i: usize| match args {
        [S(v)] => i64::try_from(v.numbers[i]).map(Int).map_err(|_| "integer overflow".to_owned()),
        _ => Err(NO_OVERLOAD.to_owned()),
    };
    Some(match (name, args) {
        ("semver", [String(s), ..]) => match Semver::parse(s, normalize) {
            Some(v) => Ok(S(Arc::new(v))),
            None if s.is_empty() => Err("Version string empty".to_owned()),
            None if s.split('.').count() < 3 => Err("No Major.Minor.Patch elements found".to_owned()),
            None => Err(format!("Invalid character(s) found in version {s:?}")),
        },
        ("isSemver", [String(s), ..]) => Ok(Bool(Semver::parse(s, normalize).is_some())),
        ("major", _) => part(0),
        ("minor", _) => part(1),
        ("patch", _) => part(2),
        _ => return None,
    })
}
