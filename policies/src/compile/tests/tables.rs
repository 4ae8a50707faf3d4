//! Clusters and the rules that they come to, as `nft` would write them.

use expect_test::{Expect, expect};
use netfilter::Change;
use netfilter::Transaction;
use netfilter::tables::Table;

use super::*;

/// What there is beside the fixed part; digests of sets are numbered.
fn shown(content: &Content, version: Version) -> String {
    let fixed: Vec<String> = base::sets(version).into_iter().map(|set| set.name).collect();
    let table = Table { version, name: "t".into() };
    let mut all = Transaction::default();
    let anonymous = content.sets.values().filter(|set| !fixed.contains(&set.name));
    all.extend(anonymous.map(|set| Change::AddSet(table.clone(), set.clone())));
    for (set, elements) in content.elements.iter().filter(|(_, elements)| !elements.is_empty()) {
        all.push(Change::AddElements(table.clone(), content.sets[set].clone(), elements.values().cloned().collect()));
    }
    for (chain, rules) in &content.chains {
        all.extend(rules.iter().map(|rule| Change::AddRule(table.clone(), chain.clone(), rule.clone())));
    }
    let mut text = all.to_string().replace("ip t ", "").replace("ip6 t ", "");
    for prefix in ["peers", "nets", "ports"] {
        let names = content.sets.keys().filter(|name| name.starts_with(&format!("{prefix}-")));
        for (number, name) in names.enumerate() {
            text = text.replace(name, &format!("{prefix}-{number}"));
        }
    }
    text
}

fn check(facts: &Facts, options: Options, version: Version, expected: Expect) {
    expected.assert_eq(&shown(&compile(facts, options, version), version));
}

#[test]
fn without_policies_pods_are_known_and_nothing_is_held_back() {
    check(
        &cluster(),
        plain(),
        Version::V4,
        expect![[r#"
        add element pods { 10.1.0.1, 10.1.0.2 }
        add element pods-themselves { 10.1.0.1 . 10.1.0.1, 10.1.0.2 . 10.1.0.2 }
    "#]],
    );
    check(
        &cluster(),
        plain(),
        Version::V6,
        expect![[r#"
        add element pods { fd00::1 }
        add element pods-themselves { fd00::1 . fd00::1 }
    "#]],
    );
}

#[test]
fn a_policy_with_a_selector_and_a_port() {
    let mut facts = cluster();
    add_policy(
        &mut facts,
        &policy(
            "x",
            "web",
            json!({"podSelector": {"matchLabels": {"app": "a"}}, "ingress": [
            {"from": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "y"}}}, {"ipBlock": {"cidr": "192.0.2.0/24"}}],
             "ports": [{"port": 80}, {"port": "web"}]}]}),
        ),
    );
    check(
        &facts,
        plain(),
        Version::V4,
        expect![[r#"
        add set nets-0 { type ipv4_addr ; flags interval ; }
        add set peers-0 { type ipv4_addr ; }
        add set port-tcp-web { type ipv4_addr . inet_proto . inet_service ; }
        add set ports-0 { type inet_proto . inet_service ; flags interval ; }
        add element nets-0 { 192.0.2.0-192.0.2.255 }
        add element peers-0 { 10.2.0.1 }
        add element pod-ranges { 10.1.0.0-10.1.0.255 }
        add element pods { 10.1.0.1, 10.1.0.2 }
        add element pods-ingress { 10.1.0.1 : goto pods-ingress/x/web }
        add element pods-themselves { 10.1.0.1 . 10.1.0.1, 10.1.0.2 . 10.1.0.2 }
        add element port-tcp-web { 10.1.0.1 . tcp . 8080, 10.1.0.2 . tcp . 8080, 10.2.0.1 . tcp . 8080 }
        add element ports-0 { tcp . 80 }
        add rule pods-ingress/x/web jump policy-ingress/x/web
        add rule pods-ingress/x/web counter name "pods-ingress/x/web"
        add rule pods-ingress/x/web limit rate 5/second burst 5 packets log prefix "ingress" group 1872
        add rule pods-ingress/x/web drop
        add rule policy-ingress/x/web ip saddr @peers-0 meta l4proto . th dport @ports-0 counter name "policy-ingress/x/web" accept
        add rule policy-ingress/x/web ip saddr @peers-0 ip daddr . meta l4proto . th dport @port-tcp-web counter name "policy-ingress/x/web" accept
        add rule policy-ingress/x/web ip saddr @nets-0 meta l4proto . th dport @ports-0 counter name "policy-ingress/x/web" accept
        add rule policy-ingress/x/web ip saddr @nets-0 ip daddr . meta l4proto . th dport @port-tcp-web counter name "policy-ingress/x/web" accept
    "#]],
    );
}

#[test]
fn policies_that_say_nothing_of_this_nodes_pods_cost_nothing_but_the_holding() {
    let mut facts = cluster();
    add_policy(&mut facts, &policy("y", "closed", json!({"podSelector": {}, "policyTypes": ["Ingress", "Egress"]})));
    check(
        &facts,
        plain(),
        Version::V6,
        expect![[r#"
        add element link-local { fe80::-febf:ffff:ffff:ffff:ffff:ffff:ffff:ffff }
        add element pod-ranges { fd00::-fd00::ffff:ffff:ffff:ffff }
        add element pods { fd00::1 }
        add element pods-themselves { fd00::1 . fd00::1 }
    "#]],
    );
}

#[test]
fn egress_to_the_dns_that_the_node_is() {
    let mut facts = cluster();
    let host = |port, is_pod, ip: &str| DnsEndpoint {
        ip: ip.parse().unwrap(),
        port,
        transport: netfilter::tables::Transport::Udp,
        name: "dns".into(),
        is_pod,
    };
    facts.dns.insert("s".into(), vec![host(5353, false, "192.0.2.1"), host(53, true, "10.2.0.9")]);
    let dns = json!({"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "kube-system"}},
        "podSelector": {"matchLabels": {"k8s-app": "kube-dns"}}});
    add_policy(
        &mut facts,
        &policy(
            "x",
            "ask",
            json!({"podSelector": {"matchLabels": {"app": "b"}}, "policyTypes": ["Egress"],
            "egress": [{"to": [dns], "ports": [{"port": 5353, "protocol": "UDP"}, {"port": "dns", "protocol": "UDP"}]}]}),
        ),
    );
    check(
        &facts,
        plain(),
        Version::V4,
        expect![[r#"
        add set peers-0 { type ipv4_addr ; }
        add set port-udp-dns { type ipv4_addr . inet_proto . inet_service ; }
        add set ports-0 { type inet_proto . inet_service ; flags interval ; }
        add element dns { 10.2.0.9 . udp . 53, 192.0.2.1 . udp . 5353 }
        add element dns-hosts { 192.0.2.1 . udp . 5353 }
        add element pod-ranges { 10.1.0.0-10.1.0.255 }
        add element pods { 10.1.0.1, 10.1.0.2 }
        add element pods-egress { 10.1.0.2 : goto pods-egress/x/ask }
        add element pods-themselves { 10.1.0.1 . 10.1.0.1, 10.1.0.2 . 10.1.0.2 }
        add element port-udp-dns { 192.0.2.1 . udp . 5353 }
        add element ports-0 { udp . 5353 }
        add rule pods-egress/x/ask jump policy-egress/x/ask
        add rule pods-egress/x/ask counter name "pods-egress/x/ask"
        add rule pods-egress/x/ask limit rate 5/second burst 5 packets log prefix "egress" group 1872
        add rule pods-egress/x/ask drop
        add rule policy-egress/x/ask ip daddr @peers-0 meta l4proto . th dport @ports-0 counter name "policy-egress/x/ask" accept
        add rule policy-egress/x/ask ip daddr @peers-0 ip daddr . meta l4proto . th dport @port-udp-dns counter name "policy-egress/x/ask" accept
        add rule policy-egress/x/ask ip daddr . meta l4proto . th dport @dns-hosts meta l4proto . th dport @ports-0 counter name "policy-egress/x/ask" accept
        add rule policy-egress/x/ask ip daddr . meta l4proto . th dport @dns-hosts ip daddr . meta l4proto . th dport @port-udp-dns counter name "policy-egress/x/ask" accept
    "#]],
    );
}

#[test]
fn default_deny_isolates_all_but_the_system() {
    let mut facts = cluster();
    add_pod(&mut facts, &api_pod(SYSTEM, "s", NODE, &["10.1.0.9"], json!({})));
    add_policy(
        &mut facts,
        &policy("x", "open", json!({"podSelector": {"matchLabels": {"app": "b"}}, "ingress": [{}]})),
    );
    check(
        &facts,
        denying(),
        Version::V4,
        expect![[r#"
        add element pod-ranges { 10.1.0.0-10.1.0.255 }
        add element pods { 10.1.0.1, 10.1.0.2, 10.1.0.9 }
        add element pods-egress { 10.1.0.1 : goto pods-egress/x, 10.1.0.2 : goto pods-egress/x }
        add element pods-ingress { 10.1.0.1 : goto pods-ingress/x, 10.1.0.2 : goto pods-ingress/x/open }
        add element pods-themselves { 10.1.0.1 . 10.1.0.1, 10.1.0.2 . 10.1.0.2, 10.1.0.9 . 10.1.0.9 }
        add rule pods-egress/x ip daddr . meta l4proto . th dport @dns accept
        add rule pods-egress/x counter name "pods-egress/x"
        add rule pods-egress/x limit rate 5/second burst 5 packets log prefix "egress" group 1872
        add rule pods-egress/x drop
        add rule pods-ingress/x counter name "pods-ingress/x"
        add rule pods-ingress/x limit rate 5/second burst 5 packets log prefix "ingress" group 1872
        add rule pods-ingress/x drop
        add rule pods-ingress/x/open jump policy-ingress/x/open
        add rule pods-ingress/x/open counter name "pods-ingress/x/open"
        add rule pods-ingress/x/open limit rate 5/second burst 5 packets log prefix "ingress" group 1872
        add rule pods-ingress/x/open drop
        add rule policy-ingress/x/open counter name "policy-ingress/x/open" accept
    "#]],
    );
}

#[test]
fn policies_with_equal_parts_share_sets_and_pods_with_equal_policies_share_chains() {
    let mut facts = cluster();
    for name in ["p", "q"] {
        add_policy(
            &mut facts,
            &policy(
                "x",
                name,
                json!({"podSelector": {}, "ingress": [
                {"from": [{"podSelector": {"matchLabels": {"app": "b"}}}], "ports": [{"port": 80}]}]}),
            ),
        );
    }
    let content = compile(&facts, plain(), Version::V4);
    let made: Vec<&String> = content.sets.keys().filter(|name| name.contains('-') && name.len() > 30).collect();
    assert_eq!(made.len(), 2, "{made:?}");
    let chains: Vec<&str> = content.chains.keys().map(String::as_str).collect();
    assert_eq!(chains, ["pods-ingress/x/p/q", "policy-ingress/x/p", "policy-ingress/x/q"]);
    assert_eq!(content.elements[base::INGRESS].len(), 2);
}
