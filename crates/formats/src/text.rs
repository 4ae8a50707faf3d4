//! The formats of texts, as loose or strict as upstream's. Each function tells whether a text is of the format that it is named for.
#![allow(missing_docs)]

use std::net::IpAddr;
use std::sync::LazyLock;

use machinery::names;
use regex::Regex;

macro_rules! pattern {
    ($($(#[$doc:meta])* $name:ident = $pattern:expr;)*) => {
        $($(#[$doc])* pub fn $name(text: &str) -> bool {
            static REGEX: LazyLock<Regex> = LazyLock::new(|| Regex::new($pattern).expect("a constant"));
            REGEX.is_match(text)
        })*
    };
}

pattern! {
    uuid = "(?i-u)^[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}$";
    uuid3 = "(?i-u)^[0-9a-f]{8}-?[0-9a-f]{4}-?3[0-9a-f]{3}-?[0-9a-f]{4}-?[0-9a-f]{12}$";
    uuid4 = "(?i-u)^[0-9a-f]{8}-?[0-9a-f]{4}-?4[0-9a-f]{3}-?[89ab][0-9a-f]{3}-?[0-9a-f]{12}$";
    uuid5 = "(?i-u)^[0-9a-f]{8}-?[0-9a-f]{4}-?5[0-9a-f]{3}-?[89ab][0-9a-f]{3}-?[0-9a-f]{12}$";
    hex_color = "^#?([0-9a-fA-F]{3}|[0-9a-fA-F]{6})$";
    rgb_color = r"^rgb\(\s*(0|[1-9][0-9]?|1[0-9][0-9]?|2[0-4][0-9]|25[0-5])\s*,\s*(0|[1-9][0-9]?|1[0-9][0-9]?|2[0-4][0-9]|25[0-5])\s*,\s*(0|[1-9][0-9]?|1[0-9][0-9]?|2[0-4][0-9]|25[0-5])\s*\)$";
    base64 = "^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=|[A-Za-z0-9+/]{4})$";
    bson_object_id = "^[0-9a-fA-F]{24}$";
    social_security = "^[0-9]{3}[- ]?[0-9]{2}[- ]?[0-9]{4}$";
    card_number = "^(?:4[0-9]{12}(?:[0-9]{3})?|5[1-5][0-9]{14}|6(?:011|5[0-9][0-9])[0-9]{12}|3[47][0-9]{13}|3(?:0[0-5]|[68][0-9])[0-9]{11}|(?:2131|1800|35[0-9]{3})[0-9]{11})$";
    host_name = r"^([a-zA-Z0-9\p{S}\p{L}]((-?[a-zA-Z0-9\p{S}\p{L}]{0,62})?)|([a-zA-Z0-9\p{S}\p{L}](([a-zA-Z0-9-\p{S}\p{L}]{0,61}[a-zA-Z0-9\p{S}\p{L}])?)(\.)){1,}([a-zA-Z\p{L}]){2,63})$";
    clock = "^([0-9]{2}):([0-9]{2}):([0-9]{2})(.[0-9]+)?(z|([+-][0-9]{2}:[0-9]{2}))$";
    short = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$";
    long = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$";
    mac_bytes = "^(?:[0-9a-fA-F]{2}(:[0-9a-fA-F]{2}){5}(?:(:[0-9a-fA-F]{2}){2}|(:[0-9a-fA-F]{2}){14})?|[0-9a-fA-F]{2}(-[0-9a-fA-F]{2}){5}(?:(-[0-9a-fA-F]{2}){2}|(-[0-9a-fA-F]{2}){14})?)$";
    mac_words = r"^[0-9a-fA-F]{4}(\.[0-9a-fA-F]{4}){2}(?:(\.[0-9a-fA-F]{4})|(\.[0-9a-fA-F]{4}){7})?$";
}

pub fn short_name(text: &str) -> bool {
    text.len() <= 63 && short(text)
}

pub fn long_name(text: &str) -> bool {
    text.len() <= 253 && long(text)
}

pub fn hostname(text: &str) -> bool {
    text.len() <= 255 && text.split('.').all(|label| label.len() <= 63) && host_name(text)
}

pub fn ipv4(text: &str) -> bool {
    names::parse_ip_sloppy(text).is_some() && text.contains('.')
}

pub fn ipv6(text: &str) -> bool {
    text.contains(':') && text.parse::<IpAddr>().is_ok()
}

pub fn cidr(text: &str) -> bool {
    names::parse_cidr_sloppy(text).is_some()
}

pub fn mac(text: &str) -> bool {
    // Go 1.26 reads plain digits too.
    let plain = matches!(text.len(), 12 | 16 | 40) && text.bytes().all(|b| b.is_ascii_hexdigit());
    plain || mac_bytes(text) || mac_words(text)
}

pub fn ssn(text: &str) -> bool {
    text.len() == 11 && social_security(text)
}

pub fn credit_card(text: &str) -> bool {
    let digits: String = text.chars().filter(char::is_ascii_digit).collect();
    let luhn: u32 = digits.bytes().rev().enumerate().map(|(i, b)| doubled(u32::from(b - b'0'), i % 2 == 1)).sum();
    card_number(&digits) && luhn.is_multiple_of(10)
}

fn doubled(digit: u32, double: bool) -> u32 {
    match (double, digit * 2) {
        (false, _) => digit,
        (true, twice) if twice >= 10 => twice % 10 + 1,
        (true, twice) => twice,
    }
}

fn bare(text: &str) -> String {
    text.chars().filter(|c| !c.is_ascii_whitespace() && *c != '-').collect()
}

pub fn isbn10(text: &str) -> bool {
    let text = bare(text);
    let bytes = text.as_bytes();
    if bytes.len() != 10 || !bytes[..9].iter().all(u8::is_ascii_digit) {
        return false;
    }
    let last = match bytes[9] {
        b'X' => 10,
        b if b.is_ascii_digit() => u32::from(b - b'0'),
        _ => return false,
    };
    let sum: u32 = bytes[..9].iter().zip(1..).map(|(b, n)| n * u32::from(b - b'0')).sum();
    (sum + 10 * last).is_multiple_of(11)
}

pub fn isbn13(text: &str) -> bool {
    let text = bare(text);
    let bytes = text.as_bytes();
    if bytes.len() != 13 || !bytes.iter().all(u8::is_ascii_digit) {
        return false;
    }
    let weighed = bytes[..12].iter().enumerate().map(|(i, b)| (1 + 2 * (i as u32 % 2)) * u32::from(b - b'0'));
    u32::from(bytes[12] - b'0') == (10 - weighed.sum::<u32>() % 10) % 10
}

pub fn isbn(text: &str) -> bool {
    isbn10(text) || isbn13(text)
}

pub fn date(text: &str) -> bool {
    text.len() == 10 && text.as_bytes()[4] == b'-' && text.parse::<jiff::civil::Date>().is_ok()
}

pub fn date_time(text: &str) -> bool {
    let lower = text.to_lowercase();
    let mut parts = lower.split('t');
    let (Some(day), Some(time)) = (parts.next(), parts.next()) else { return false };
    date(day) && clock(time) && time[0..2] <= *"23" && time[3..5] <= *"59" && time[6..8] <= *"59"
}

/// Go's duration, or Scala's: `3 days`.
pub fn duration(text: &str) -> bool {
    if machinery::duration::parse(text).is_ok() {
        return true;
    }
    static PART: LazyLock<Regex> = LazyLock::new(|| Regex::new("([0-9]+)\\s*([A-Za-z\u{b5}]+)").expect("a constant"));
    const UNITS: [&[&str]; 8] = [
        &["ns", "nano"],
        &["us", "\u{b5}s", "micro"],
        &["ms", "milli"],
        &["s", "sec"],
        &["m", "min"],
        &["h", "hr", "hour"],
        &["d", "day"],
        &["w", "wk", "week"],
    ];
    let mut any = false;
    for part in PART.captures_iter(text) {
        if part[1].parse::<i64>().is_err() {
            return false;
        }
        let unit = part[2].to_lowercase();
        any |= UNITS.iter().any(|u| u.contains(&unit.as_str()) || u.last().is_some_and(|last| unit.starts_with(last)));
    }
    any
}

/// `net/mail.ParseAddress`, without its rarer forms (groups).
pub fn email(text: &str) -> bool {
    static ADDRESS: LazyLock<Regex> = LazyLock::new(|| {
        let atom = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~\x{80}-\x{10ffff}-]+";
        let local = format!(r#"(?:{atom}(?:\.{atom})*|"(?:[^"\\]|\\.)+")"#);
        let domain = format!(r"(?:{atom}(?:\.{atom})*|\[[^\[\]\\]*\])");
        let address = format!(r"{local}@{domain}");
        let phrase = format!(r#"(?:(?:{atom}|"(?:[^"\\]|\\.)*")(?:[ \t.]+|$)?)*"#);
        Regex::new(&format!(
            r"^[ \t]*(?:{address}|{phrase}[ \t]*<{address}>)[ \t]*(?:\((?:[^()]|\([^()]*\))*\)[ \t]*)?$"
        ))
        .expect("a constant")
    });
    ADDRESS.is_match(text)
}

/// `net/url.ParseRequestURI`.
pub fn uri(text: &str) -> bool {
    if text == "*" {
        return true;
    }
    if text.is_empty() || text.bytes().any(|b| b < b' ' || b == 0x7f) || text.starts_with(':') {
        return false;
    }
    let scheme_end = text.find(|c: char| !(c.is_ascii_alphanumeric() || "+-.".contains(c)));
    let (scheme, rest) = match scheme_end {
        Some(at) if text[at..].starts_with(':') && text.starts_with(|c: char| c.is_ascii_alphabetic()) => {
            (true, &text[at + 1..])
        }
        _ => (false, text),
    };
    let path = rest.split('?').next().unwrap_or_default();
    if !path.starts_with('/') {
        return scheme;
    }
    let (authority, path) = match path.strip_prefix("//") {
        Some(after) if scheme || !path.starts_with("///") => {
            let end = after.find('/').unwrap_or(after.len());
            (&after[..end], &after[end..])
        }
        _ => ("", path),
    };
    escapes(path) && self::authority(authority)
}

fn escapes(text: &str) -> bool {
    text.match_indices('%')
        .all(|(at, _)| text.get(at + 1..at + 3).is_some_and(|hex| hex.bytes().all(|b| b.is_ascii_hexdigit())))
}

fn authority(text: &str) -> bool {
    let host = match text.rsplit_once('@') {
        Some((user, host))
            if escapes(user)
                && user.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._:~!$&'()*+,;=%@".contains(&b)) =>
        {
            host
        }
        Some(_) => return false,
        None => text,
    };
    let (name, port) = match host.strip_prefix('[') {
        Some(inside) => match inside.split_once(']') {
            Some((name, port)) => (name, port),
            None => return false,
        },
        None => host.rfind(':').map_or((host, ""), |at| (&host[..at], &host[at..])),
    };
    let port_fits = port.is_empty() || (port.starts_with(':') && port[1..].bytes().all(|b| b.is_ascii_digit()));
    port_fits && escapes(name) && !name.contains([' ', '<', '>', '"', '^', '`', '{', '}', '|', '\\', '#'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats() {
        type Row = (fn(&str) -> bool, &'static [&'static str], &'static [&'static str]);
        let table: &[Row] = &[
            (
                uri,
                &["http://a.b/c?d#e", "/x", "mailto:a@b", "http://[::1]:80/", "http://a:b@c"],
                &["", "a b", "x", "http://a:x/", "http://%zz", "http://a b/"],
            ),
            (
                email,
                &["a@b.c", "A B <a.b@c>", "\"x y\"@z", "a@[1.2.3.4]", "a@b (c(d))"],
                &["", "a", "a@", "@b", "a b@c", "a@b@c"],
            ),
            (hostname, &["a", "a.example", "1a"], &["", "-a", "a_b", "a..b"]),
            (ipv4, &["1.2.3.4", "01.2.3.4"], &["1.2.3", "::1", "1.2.3.400"]),
            (ipv6, &["::1", "::ffff:1.2.3.4"], &["1.2.3.4", ":::"]),
            (cidr, &["10.0.0.0/8", "::/0"], &["10.0.0.0", "10.0.0.0/40"]),
            (
                mac,
                &["01:23:45:67:89:ab", "0123456789ab", "0123.4567.89ab", "01-23-45-67-89-ab-cd-ef"],
                &["01:23:45:67:89", "01:23-45:67:89:ab"],
            ),
            (uuid, &["00000000-0000-0000-0000-000000000000", "ABCDEF00000000000000000000000000"], &["x", ""]),
            (uuid4, &["a987fbc9-4bed-4078-8f07-9141ba07c9f3"], &["a987fbc9-4bed-3078-8f07-9141ba07c9f3"]),
            (isbn, &["0321751043", "978-0321751041"], &["0321751044", "x"]),
            (credit_card, &["4111-1111-1111-1111"], &["4111111111111112"]),
            (ssn, &["123-45-6789"], &["123456789"]),
            (hex_color, &["#FFF", "abcdef"], &["#ff", "g00"]),
            (rgb_color, &["rgb(1, 2, 255)"], &["rgb(1,2,256)"]),
            (base64, &["YQ=="], &["", "a", "YQ="]),
            (date, &["2024-02-29"], &["2023-02-29", "2024-2-1", "20240229"]),
            (
                date_time,
                &["2014-12-15T19:30:20.000Z", "2014-12-15t19:30:20+01:00"],
                &["2014-12-15", "2014-12-15T24:00:00Z", "2014-12-15T19:30:20"],
            ),
            (duration, &["1h30m", "0", "22 ns", "3 days", "1.5s"], &["", "x", "3", "1 fortnight"]),
            (bson_object_id, &["507f1f77bcf86cd799439011"], &["507f"]),
            (short_name, &["a-b"], &["a.b", "A", "-a"]),
            (long_name, &["a-b.c"], &["A", "a..b"]),
        ];
        for (check, good, bad) in table {
            good.iter().for_each(|text| assert!(check(text), "{text}"));
            bad.iter().for_each(|text| assert!(!check(text), "{text}"));
        }
    }
}
