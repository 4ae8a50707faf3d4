//! The faults of upstream's own tests of NetworkPolicy, and what an update forgives.

use serde_json::json;

use super::*;
use model::check::said;

fn of(spec: Value) -> Value {
    json!({"metadata": {"name": "n"}, "spec": spec})
}

fn check(given: Value, want: &[&str]) {
    assert_eq!(said(&spec(&given, &Allowed::default())), want, "{given}");
}

#[test]
fn ports_have_a_number_a_name_or_a_range() {
    let ports = |ports: Value, want: &[&str]| {
        check(json!({"podSelector": {}, "ingress": [{"ports": ports}]}), want);
        let want: Vec<String> = want.iter().map(|fault| fault.replace("ingress", "egress")).collect();
        let want: Vec<&str> = want.iter().map(String::as_str).collect();
        check(json!({"podSelector": {}, "egress": [{"ports": ports}]}), &want);
    };
    ports(
        json!([{"port": 80}, {"protocol": "TCP"}, {"protocol": "UDP", "port": "dns"}, {"port": 32000, "endPort": 32768}]),
        &[],
    );
    ports(
        json!([{"protocol": "ICMP", "port": 80}]),
        &[r#"spec.ingress[0].ports[0].protocol: Unsupported value: "ICMP": supported values: "TCP", "UDP", "SCTP""#],
    );
    ports(
        json!([{"port": 123_456_789}]),
        &["spec.ingress[0].ports[0].port: Invalid value: 123456789: must be between 1 and 65535, inclusive"],
    );
    ports(
        json!([{"port": "!@#$"}]),
        &[
            r#"spec.ingress[0].ports[0].port: Invalid value: "!@#$": must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)"#,
            r#"spec.ingress[0].ports[0].port: Invalid value: "!@#$": must contain at least one letter (a-z)"#,
        ],
    );
    ports(
        json!([{"port": 35000, "endPort": 32768}, {"endPort": 32768}, {"port": "https", "endPort": 32768}]),
        &[
            "spec.ingress[0].ports[0].endPort: Invalid value: 35000: must be greater than or equal to `port`",
            "spec.ingress[0].ports[1].endPort: Invalid value: 32768: may not be specified when `port` is not specified",
            "spec.ingress[0].ports[2].endPort: Invalid value: 32768: may not be specified when `port` is non-numeric",
        ],
    );
    ports(
        json!([{"port": 30000, "endPort": 65537}]),
        &["spec.ingress[0].ports[0].endPort: Invalid value: 65537: must be between 1 and 65535, inclusive"],
    );
}

#[test]
fn peers_are_pods_namespaces_or_addresses() {
    let peer = |peer: Value, want: &[&str]| {
        check(json!({"podSelector": {}, "ingress": [{"from": [peer]}]}), want);
        let want: Vec<String> = want.iter().map(|fault| fault.replace("ingress[0].from", "egress[0].to")).collect();
        let want: Vec<&str> = want.iter().map(String::as_str).collect();
        check(json!({"podSelector": {}, "egress": [{"to": [peer]}]}), &want);
    };
    let block = json!({"cidr": "192.168.0.0/16", "except": ["192.168.3.0/24", "192.168.4.0/24"]});
    peer(json!({"podSelector": {"matchLabels": {"c": "d"}}, "namespaceSelector": {}}), &[]);
    peer(json!({"ipBlock": block}), &[]);
    peer(json!({"ipBlock": {"cidr": "fd00:192:168::/48", "except": ["fd00:192:168:3::/64"]}}), &[]);
    peer(json!({}), &["spec.ingress[0].from[0]: Required value: must specify a peer"]);
    for other in ["podSelector", "namespaceSelector"] {
        peer(
            json!({other: {}, "ipBlock": block}),
            &["spec.ingress[0].from[0]: Forbidden: may not specify both ipBlock and another peer"],
        );
    }
    let key = "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
    for selector in ["podSelector", "namespaceSelector"] {
        peer(
            json!({selector: {"matchLabels": {"Special=Equals": "b"}}}),
            &[&format!("spec.ingress[0].from[0].{selector}.matchLabels: Invalid value: \"Special=Equals\": {key}")],
        );
    }
    check(
        json!({"podSelector": {"matchLabels": {"Special=Equals": "b"}}}),
        &[&format!("spec.podSelector.matchLabels: Invalid value: \"Special=Equals\": {key}")],
    );
}

#[test]
fn ranges_except_what_is_strictly_inside() {
    const NO_CIDR: &str = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)";
    let block = |cidr: &str, except: &[&str], want: &[&str]| {
        let want: Vec<String> = want.iter().map(|fault| format!("spec.ingress[0].from[0].ipBlock.{fault}")).collect();
        let want: Vec<&str> = want.iter().map(String::as_str).collect();
        let peer = json!({"ipBlock": {"cidr": cidr, "except": except}});
        check(json!({"podSelector": {}, "ingress": [{"from": [peer]}]}), &want);
    };
    block("", &["x"], &["cidr: Required value"]);
    block("192.168.5.6", &["192.168.5.6/32"], &[&format!(r#"cidr: Invalid value: "192.168.5.6": {NO_CIDR}"#)]);
    block("fd00:192:168::", &[], &[&format!(r#"cidr: Invalid value: "fd00:192:168::": {NO_CIDR}"#)]);
    block(
        "001.002.003.000/0",
        &[],
        &[r#"cidr: Invalid value: "001.002.003.000/0": must not have leading 0s in IP or prefix length"#],
    );
    block(
        "192.168.0.0/16",
        &["", " ", "300.300.300.300"],
        &[
            &format!(r#"except[0]: Invalid value: "": {NO_CIDR}"#),
            &format!(r#"except[1]: Invalid value: " ": {NO_CIDR}"#),
            &format!(r#"except[2]: Invalid value: "300.300.300.300": {NO_CIDR}"#),
        ],
    );
    for (cidr, except) in [
        ("192.168.8.0/24", "192.168.9.1/32"),
        ("192.168.0.0/24", "192.168.0.0/24"),
        ("fd00:192:168:1::/64", "fd00:192:168:2::/64"),
        ("0.0.0.0/0", "fd00::/64"),
    ] {
        block(
            cidr,
            &[except],
            &[&format!("except[0]: Invalid value: \"{except}\": must be a strict subset of `cidr`")],
        );
    }
}

#[test]
fn types_are_two() {
    check(json!({"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}), &[]);
    check(
        json!({"podSelector": {}, "policyTypes": ["foo", "bar"]}),
        &[
            r#"spec.policyTypes[0]: Unsupported value: "foo": supported values: "Ingress", "Egress""#,
            r#"spec.policyTypes[1]: Unsupported value: "bar": supported values: "Ingress", "Egress""#,
        ],
    );
    check(
        json!({"podSelector": {}, "policyTypes": ["foo", "bar", "baz"]}),
        &[r#"spec.policyTypes: Invalid value: ["foo","bar","baz"]: may not specify more than two policyTypes"#],
    );
}

#[test]
fn what_was_let_pass_may_stay() {
    let except = |list: &[&str]| {
        let peer = json!({"ipBlock": {"cidr": "192.168.0.0/16", "except": list}});
        of(json!({"podSelector": {}, "ingress": [{"from": [peer]}]}))
    };
    let old = except(&["192.168.2.0/24", "192.168.3.1/24"]);
    assert_eq!(update(&except(&["192.168.2.0/24", "192.168.3.0/24"]), &old), []);
    assert_eq!(update(&except(&["192.168.1.0/24", "192.168.2.0/24", "192.168.3.1/24"]), &old), []);
    assert_eq!(
        said(&update(&except(&["192.168.1.1/24"]), &old)),
        [
            r#"spec.ingress[0].from[0].ipBlock.except[0]: Invalid value: "192.168.1.1/24": must not have bits set beyond the prefix length"#
        ]
    );
    let selecting = |value: &str| {
        of(json!({"podSelector": {"matchExpressions": [{"key": "a", "operator": "In", "values": [value]}]}}))
    };
    assert_eq!(update(&selecting("other value"), &selecting("a value")), []);
    assert_eq!(update(&selecting("a value"), &selecting("value")).len(), 1);
    assert_eq!(
        warnings(&except(&["192.168.3.1/24"])),
        [
            r#"spec.ingress[0].from[0].ipBlock.except[0]: CIDR value "192.168.3.1/24" is ambiguous in this context (should be "192.168.3.0/24" or "192.168.3.1/32"?)"#
        ]
    );
}
