//! Tables of good and bad, with upstream's messages.

use super::*;
use crate::field::Path;

fn good(rule: fn(&str) -> Vec<String>, values: &[&str]) {
    for value in values {
        assert_eq!(rule(value), Vec::<String>::new(), "{value:?}");
    }
}

fn bad(rule: fn(&str) -> Vec<String>, values: &[&str]) {
    for value in values {
        assert!(!rule(value).is_empty(), "{value:?}");
    }
}

#[test]
fn shapes() {
    let long63 = "a".repeat(63);
    let long64 = "a".repeat(64);
    let long253 = "a".repeat(253);
    let long254 = "a".repeat(254);
    good(dns1123_label, &["a", "ab", "a1", "a-1", "a--1--2--b", "0", "01", "1-a", &long63]);
    bad(dns1123_label, &["", "A", "-", "a-", "-a", "_", "a_b", "a b", "a.b", "a\n", "ä", &long64]);
    good(dns1123_subdomain, &["a", "a.b", "1.2.3", "a--b.c", &long253]);
    bad(dns1123_subdomain, &["", ".", "a.", ".a", "a..b", "A.b", "a.-b", "a_b", &long254]);
    good(dns1035_label, &["a", "a-1", &long63]);
    bad(dns1035_label, &["", "0a", "1", "a-", "A", &long64]);
    good(
        qualified_name,
        &[
            "simple",
            "now-with-dashes",
            "1-starts-with-num",
            "1234",
            "simple/simple",
            "example.com/Simple_x.y",
            "U",
            "a/b",
        ],
    );
    bad(qualified_name, &["", "/", "a/", "/a", "a/b/c", "with space", "-x", "x-", "EX.com/a", "a~", &long64]);
    good(label_value, &["", "a", "A_b.c-D", &long63]);
    bad(label_value, &["-a", "a-", "a b", "@", &long64]);
    good(c_identifier, &["a", "_", "A1"]);
    bad(c_identifier, &["", "1a", "a.b", "a-b"]);
    good(port_name, &["telnet", "re-mail-ck", "pop3", "a", "0a"]);
    bad(port_name, &["", "longerthan15characters", "123", "a--b", "-a", "a-", "A"]);
    good(env_var_name, &["_", "A.b-C1", "-"]);
    bad(env_var_name, &["", "1A", "a b", ".", "..", "..a", "a=b"]);
    good(relaxed_env_var_name, &["1A", "a b", "%$"]);
    bad(relaxed_env_var_name, &["", "a=b", "ä", "\t"]);
    good(config_map_key, &["a", ".good", "TLS.key_1", "..data".trim_start_matches("..")]);
    bad(config_map_key, &["", ".", "..", "..data", "a/b", &long254]);
    good(percent, &["0%", "99999%"]);
    bad(percent, &["", "%", "1", "1%%", "-1%", "1.5%"]);
    good(wildcard_dns1123_subdomain, &["*.example.com", "*.a"]);
    bad(wildcard_dns1123_subdomain, &["*", "*.", "a.*", "example.com"]);
}

#[test]
fn messages() {
    assert_eq!(dns1123_label("a.b"), ["must not contain dots"]);
    assert_eq!(
        dns1123_label("A"),
        [
            "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
        ]
    );
    assert_eq!(
        dns1123_subdomain("A"),
        [
            r"a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
        ]
    );
    assert_eq!(
        qualified_name("/"),
        [
            "prefix part must be non-empty",
            "name part must be non-empty",
            "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"
        ]
    );
    assert_eq!(label_value(&"a".repeat(64)), ["must be no more than 63 bytes"]);
    assert_eq!(
        label_value("a b"),
        [
            "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"
        ]
    );
    assert_eq!(port_num(0), ["must be between 1 and 65535, inclusive"]);
    assert_eq!(name_is_dns_label("web-", true), Vec::<String>::new());
    assert_eq!(name_is_dns_label("web-", false).len(), 1);
    assert_eq!(name_is_path_segment("a/b%", false), ["may not contain '/'", "may not contain '%'"]);
}

const LEADING: &str = "must not have leading 0s";
const LEADING_RANGE: &str = "must not have leading 0s in IP or prefix length";
const MAPPED: &str = "must not be an IPv4-mapped IPv6 address";
const MAPPED_RANGE: &str = "must not have an IPv4-mapped IPv6 address";
const BITS: &str = "must not have bits set beyond the prefix length";

#[test]
fn addresses() {
    let p = Path::new("ip");
    let says = |errors: Vec<crate::field::Error>| errors.into_iter().map(|e| e.detail).collect::<Vec<_>>().join("; ");
    for (value, legacy, canonical) in [
        ("10.0.0.1", "", ""),
        ("010.002.003.000", LEADING, LEADING),
        ("::ffff:1.2.3.4", MAPPED, MAPPED),
        ("2001:DB8::1", "", "must be in canonical form (\"2001:db8::1\")"),
        ("fe80::1", "", ""),
        ("1.2.3", BAD_IP, BAD_IP),
        ("1.2.3.256", BAD_IP, BAD_IP),
        ("1.2.3.4.5", BAD_IP, BAD_IP),
        ("", BAD_IP, BAD_IP),
        ("1.2.3.4/24", BAD_IP, BAD_IP),
    ] {
        assert_eq!(says(ip_for_legacy_field(&p, value, &[])), legacy, "{value}");
        assert_eq!(says(ip(&p, value)), canonical, "{value}");
    }
    for (value, legacy, canonical) in [
        ("10.0.0.0/8", "", ""),
        ("10.0.0.1/8", BITS, BITS),
        ("10.0.0.0/08", LEADING_RANGE, LEADING_RANGE),
        ("::ffff:10.0.0.0/104", MAPPED_RANGE, MAPPED_RANGE),
        ("2001:db8::/64", "", ""),
        ("0.0.0.0/0", "", ""),
        ("10.0.0.0/33", BAD_CIDR, BAD_CIDR),
        ("10.0.0.0", BAD_CIDR, BAD_CIDR),
    ] {
        assert_eq!(says(cidr_for_legacy_field(&p, value, &[])), legacy, "{value}");
        assert_eq!(says(cidr(&p, value)), canonical, "{value}");
    }
    assert_eq!(says(ip_for_legacy_field(&p, "010.1.1.1", &["010.1.1.1"])), "");
    assert_eq!(says(cidr_for_legacy_field(&p, "10.0.0.1/8", &["10.0.0.1/8"])), "");
    assert_eq!(
        ip_warnings(&p, "010.1.1.1"),
        ["ip: non-standard IP address \"010.1.1.1\" is invalid: use \"10.1.1.1\""]
    );
    assert_eq!(
        cidr_warnings(&p, "10.1.1.1/8"),
        ["ip: CIDR value \"10.1.1.1/8\" is ambiguous in this context (should be \"10.0.0.0/8\" or \"10.1.1.1/32\"?)"]
    );
    assert!(interface_address(&p, "10.1.1.1/8").is_empty());
}

const BAD_IP: &str = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";
const BAD_CIDR: &str = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)";
