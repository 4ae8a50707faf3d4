//! What becomes of a Service in the table, and which differences a change makes.

use std::time::{Duration, Instant};

use expect_test::{Expect, expect};
use serde_json::{Value as Json, json};

use super::*;
use crate::model::service_ports;
use crate::model::tests::{node, service, slice};

fn options() -> Options {
    Options {
        family: Family::V4,
        local: LocalDetector::Cidrs(vec!["10.1.0.0/16".parse().unwrap()]),
        masquerade_all: false,
        masquerade_mark: 0x4000,
        node_port_addresses: NodePortAddresses::Ips(vec!["192.0.2.10".parse().unwrap()]),
        service_ranges: vec!["10.96.0.0/16".parse().unwrap(), "fd00::/112".parse().unwrap()],
    }
}

fn fragment(spec: Json, endpoints: &[&str]) -> Fragment {
    let slices = [slice("", 8080, endpoints)];
    compile(&service_ports(&service(spec), slices.iter(), &node(), Family::V4), &options())
}

/// A table that the kernel has, with one Service.
fn table(spec: Json, endpoints: &[&str]) -> Table {
    let mut table = Table::new(options());
    table.replace("default/web", fragment(spec, endpoints));
    let now = Instant::now();
    table.transactions(now);
    table.applied(now);
    table
}

/// One after another.
fn text(transactions: Vec<netfilter::Transaction>) -> String {
    let texts: Vec<String> = transactions.iter().map(ToString::to_string).collect();
    texts.join("\n")
}

#[track_caller]
fn check(transactions: Vec<netfilter::Transaction>, expected: Expect) {
    let script = text(transactions).replace("ip ferry-proxy ", "");
    expected.assert_eq(&script);
}

/// What a Service adds to the fixed part.
#[track_caller]
fn check_added(spec: Json, endpoints: &[&str], expected: Expect) {
    let mut table = Table::new(options());
    table.transactions(Instant::now());
    table.applied(Instant::now());
    table.replace("default/web", fragment(spec, endpoints));
    check(table.transactions(Instant::now()), expected);
}

fn cluster_ip() -> Json {
    json!({"clusterIP": "10.96.0.1", "ports": [{"port": 80}]})
}

#[test]
fn the_fixed_part() {
    check(
        Table::new(options()).transactions(Instant::now()),
        expect![[r#"
            add table ip ferry-proxy
            delete table ip ferry-proxy
            add table ip ferry-proxy
            add chain filter-prerouting-pre-dnat { type filter hook prerouting priority -110 ; }
            add chain filter-output-pre-dnat { type filter hook output priority -110 ; }
            add chain filter-input { type filter hook input priority 0 ; }
            add chain filter-forward { type filter hook forward priority 0 ; }
            add chain filter-output { type filter hook output priority 0 ; }
            add chain nat-prerouting { type nat hook prerouting priority -100 ; }
            add chain nat-output { type nat hook output priority -100 ; }
            add chain nat-postrouting { type nat hook postrouting priority 100 ; }
            add set cluster-ips { type ipv4_addr ; }
            add map service-ips { type ipv4_addr . inet_proto . inet_service : verdict ; }
            add map service-nodeports { type inet_proto . inet_service : verdict ; }
            add map no-endpoint-services { type ipv4_addr . inet_proto . inet_service : verdict ; }
            add map no-endpoint-nodeports { type inet_proto . inet_service : verdict ; }
            add map firewall-ips { type ipv4_addr . inet_proto . inet_service : verdict ; }
            add set hairpin-connections { type ipv4_addr . ipv4_addr . inet_proto . inet_service ; }
            add map endpoints { type ipv4_addr . inet_proto . inet_service . mark : ipv4_addr . inet_service ; }
            add map local-endpoints { type ipv4_addr . inet_proto . inet_service . mark : ipv4_addr . inet_service ; }
            add map nodeport-endpoints { type inet_proto . inet_service . mark : ipv4_addr . inet_service ; }
            add map local-nodeport-endpoints { type inet_proto . inet_service . mark : ipv4_addr . inet_service ; }
            add chain services
            add chain masquerading
            add chain service-endpoints-check
            add chain nodeport-endpoints-check
            add chain cluster-ips-check
            add chain firewall-check
            add chain reject-chain
            add chain alive
            add rule filter-prerouting-pre-dnat ct state new jump firewall-check
            add rule filter-output-pre-dnat ct state new jump firewall-check
            add rule filter-input ct state new jump nodeport-endpoints-check
            add rule filter-input ct state new jump service-endpoints-check
            add rule filter-forward ct state new jump service-endpoints-check
            add rule filter-forward ct state new jump cluster-ips-check
            add rule filter-output ct state new jump service-endpoints-check
            add rule filter-output ct state new jump cluster-ips-check
            add rule nat-prerouting jump services
            add rule nat-output jump services
            add rule nat-postrouting jump masquerading
            add rule masquerading meta mark and 0x4000 != 0 meta mark set meta mark xor 0x4000 masquerade fully-random
            add rule masquerading ct status dnat ip saddr . ip daddr . meta l4proto . th dport @hairpin-connections masquerade fully-random
            add rule reject-chain reject
            add rule service-endpoints-check ip daddr . meta l4proto . th dport vmap @no-endpoint-services
            add rule cluster-ips-check ip daddr @cluster-ips reject
            add rule firewall-check ip daddr . meta l4proto . th dport vmap @firewall-ips
            add rule cluster-ips-check ip daddr { 10.96.0.0-10.96.255.255 } drop
            add rule services ip daddr @cluster-ips ip saddr != { 10.1.0.0-10.1.255.255 } meta mark set meta mark or 0x4000
            add rule services ip daddr . meta l4proto . th dport vmap @service-ips
            add rule services ip daddr { 192.0.2.10 } meta l4proto . th dport vmap @service-nodeports
            add rule nodeport-endpoints-check ip daddr { 192.0.2.10 } meta l4proto . th dport vmap @no-endpoint-nodeports
        "#]],
    );
}

#[test]
fn a_cluster_ip_is_three_sorts_of_elements() {
    check_added(
        cluster_ip(),
        &["10.1.0.1@n1", "10.1.0.2@n2"],
        expect![[r#"
            add chain cluster-2
            add rule cluster-2 dnat to ip daddr . meta l4proto . th dport . numgen random mod 2 map @endpoints

            add element cluster-ips { 10.96.0.1 }
            add element service-ips { 10.96.0.1 . tcp . 80 : goto cluster-2 }
            add element hairpin-connections { 10.1.0.1 . 10.1.0.1 . tcp . 8080 }
            add element endpoints { 10.96.0.1 . tcp . 80 . 0 : 10.1.0.1 . 8080, 10.96.0.1 . tcp . 80 . 1 : 10.1.0.2 . 8080 }
        "#]],
    );
}

#[test]
fn without_endpoints_it_refuses() {
    check_added(
        cluster_ip(),
        &[],
        expect![[r#"
        add element cluster-ips { 10.96.0.1 }
        add element no-endpoint-services { 10.96.0.1 . tcp . 80 : goto reject-chain }
    "#]],
    );
}

#[test]
fn node_ports_and_external_addresses() {
    let spec = json!({"clusterIP": "10.96.0.1", "type": "NodePort", "externalIPs": ["198.51.100.1"],
        "ports": [{"port": 80, "nodePort": 30080}]});
    check_added(
        spec,
        &["10.1.0.1@n2"],
        expect![[r#"
            add chain cluster-1
            add rule cluster-1 dnat to ip daddr . meta l4proto . th dport . numgen random mod 1 map @endpoints
            add chain external-1
            add rule external-1 meta mark set meta mark or 0x4000
            add rule external-1 dnat to ip daddr . meta l4proto . th dport . numgen random mod 1 map @endpoints
            add chain nodeport-external-1
            add rule nodeport-external-1 meta mark set meta mark or 0x4000
            add rule nodeport-external-1 dnat to meta l4proto . th dport . numgen random mod 1 map @nodeport-endpoints

            add element cluster-ips { 10.96.0.1 }
            add element service-ips { 10.96.0.1 . tcp . 80 : goto cluster-1, 198.51.100.1 . tcp . 80 : goto external-1 }
            add element service-nodeports { tcp . 30080 : goto nodeport-external-1 }
            add element endpoints { 10.96.0.1 . tcp . 80 . 0 : 10.1.0.1 . 8080, 198.51.100.1 . tcp . 80 . 0 : 10.1.0.1 . 8080 }
            add element nodeport-endpoints { tcp . 30080 . 0 : 10.1.0.1 . 8080 }
        "#]],
    );
}

#[test]
fn external_policy_local() {
    let spec = json!({"clusterIP": "10.96.0.1", "type": "LoadBalancer", "externalTrafficPolicy": "Local",
        "loadBalancerSourceRanges": ["203.0.113.0/24", "203.0.113.128/25"], "ports": [{"port": 80, "nodePort": 30080}],
        "status": {"loadBalancer": {"ingress": [{"ip": "198.51.100.1"}]}}});
    check_added(
        spec.clone(),
        &["10.1.0.1@n1", "10.1.0.2@n2"],
        expect![[r#"
            add chain firewall-c87c6d7605094b7c
            flush chain firewall-c87c6d7605094b7c
            add rule firewall-c87c6d7605094b7c ip saddr != { 203.0.113.0-203.0.113.255 } drop
            add chain cluster-2
            add rule cluster-2 dnat to ip daddr . meta l4proto . th dport . numgen random mod 2 map @endpoints
            add chain local-2-1
            add rule local-2-1 ip saddr { 10.1.0.0-10.1.255.255 } goto cluster-2
            add rule local-2-1 fib saddr type local meta mark set meta mark or 0x4000
            add rule local-2-1 fib saddr type local goto cluster-2
            add rule local-2-1 dnat to ip daddr . meta l4proto . th dport . numgen random mod 1 map @local-endpoints
            add chain nodeport-cluster-2
            add rule nodeport-cluster-2 dnat to meta l4proto . th dport . numgen random mod 2 map @nodeport-endpoints
            add chain nodeport-local-2-1
            add rule nodeport-local-2-1 ip saddr { 10.1.0.0-10.1.255.255 } goto nodeport-cluster-2
            add rule nodeport-local-2-1 fib saddr type local meta mark set meta mark or 0x4000
            add rule nodeport-local-2-1 fib saddr type local goto nodeport-cluster-2
            add rule nodeport-local-2-1 dnat to meta l4proto . th dport . numgen random mod 1 map @local-nodeport-endpoints

            add element cluster-ips { 10.96.0.1 }
            add element service-ips { 10.96.0.1 . tcp . 80 : goto cluster-2, 198.51.100.1 . tcp . 80 : goto local-2-1 }
            add element service-nodeports { tcp . 30080 : goto nodeport-local-2-1 }
            add element firewall-ips { 198.51.100.1 . tcp . 80 : goto firewall-c87c6d7605094b7c }
            add element hairpin-connections { 10.1.0.1 . 10.1.0.1 . tcp . 8080 }
            add element endpoints { 10.96.0.1 . tcp . 80 . 0 : 10.1.0.1 . 8080, 10.96.0.1 . tcp . 80 . 1 : 10.1.0.2 . 8080, 198.51.100.1 . tcp . 80 . 0 : 10.1.0.1 . 8080, 198.51.100.1 . tcp . 80 . 1 : 10.1.0.2 . 8080 }
            add element local-endpoints { 198.51.100.1 . tcp . 80 . 0 : 10.1.0.1 . 8080 }
            add element nodeport-endpoints { tcp . 30080 . 0 : 10.1.0.1 . 8080, tcp . 30080 . 1 : 10.1.0.2 . 8080 }
            add element local-nodeport-endpoints { tcp . 30080 . 0 : 10.1.0.1 . 8080 }
        "#]],
    );
    check_added(
        spec,
        &["10.1.0.2@n2"],
        expect![[r#"
            add chain firewall-c87c6d7605094b7c
            flush chain firewall-c87c6d7605094b7c
            add rule firewall-c87c6d7605094b7c ip saddr != { 203.0.113.0-203.0.113.255 } drop
            add chain cluster-1
            add rule cluster-1 dnat to ip daddr . meta l4proto . th dport . numgen random mod 1 map @endpoints
            add chain local-1-0
            add rule local-1-0 ip saddr { 10.1.0.0-10.1.255.255 } goto cluster-1
            add rule local-1-0 fib saddr type local meta mark set meta mark or 0x4000
            add rule local-1-0 fib saddr type local goto cluster-1
            add chain nodeport-cluster-1
            add rule nodeport-cluster-1 dnat to meta l4proto . th dport . numgen random mod 1 map @nodeport-endpoints
            add chain nodeport-local-1-0
            add rule nodeport-local-1-0 ip saddr { 10.1.0.0-10.1.255.255 } goto nodeport-cluster-1
            add rule nodeport-local-1-0 fib saddr type local meta mark set meta mark or 0x4000
            add rule nodeport-local-1-0 fib saddr type local goto nodeport-cluster-1

            add element cluster-ips { 10.96.0.1 }
            add element service-ips { 10.96.0.1 . tcp . 80 : goto cluster-1, 198.51.100.1 . tcp . 80 : goto local-1-0 }
            add element service-nodeports { tcp . 30080 : goto nodeport-local-1-0 }
            add element no-endpoint-services { 198.51.100.1 . tcp . 80 : drop }
            add element no-endpoint-nodeports { tcp . 30080 : drop }
            add element firewall-ips { 198.51.100.1 . tcp . 80 : goto firewall-c87c6d7605094b7c }
            add element endpoints { 10.96.0.1 . tcp . 80 . 0 : 10.1.0.2 . 8080, 198.51.100.1 . tcp . 80 . 0 : 10.1.0.2 . 8080 }
            add element nodeport-endpoints { tcp . 30080 . 0 : 10.1.0.2 . 8080 }
        "#]],
    );
}

#[test]
fn session_affinity_has_chains_of_its_own() {
    let spec = json!({"clusterIP": "10.96.0.1", "sessionAffinity": "ClientIP", "type": "NodePort",
        "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 60}}, "ports": [{"port": 80, "nodePort": 30080}]});
    check_added(
        spec,
        &["10.1.0.1@n2", "10.1.0.2@n2"],
        expect![[r#"
            add set clients-eb400c552e86f0a1-60 { type ipv4_addr ; flags dynamic,timeout ; timeout 60s ; }
            add set clients-fb296ebfbd86374c-60 { type ipv4_addr ; flags dynamic,timeout ; timeout 60s ; }
            add chain affinity-c87c6d7605094b7c-cluster
            flush chain affinity-c87c6d7605094b7c-cluster
            add chain affinity-c87c6d7605094b7c-external
            flush chain affinity-c87c6d7605094b7c-external
            add chain endpoint-eb400c552e86f0a1
            flush chain endpoint-eb400c552e86f0a1
            add chain endpoint-fb296ebfbd86374c
            flush chain endpoint-fb296ebfbd86374c
            add rule affinity-c87c6d7605094b7c-cluster ip saddr @clients-eb400c552e86f0a1-60 goto endpoint-eb400c552e86f0a1
            add rule affinity-c87c6d7605094b7c-cluster ip saddr @clients-fb296ebfbd86374c-60 goto endpoint-fb296ebfbd86374c
            add rule affinity-c87c6d7605094b7c-cluster numgen random mod 2 vmap { 0 : goto endpoint-eb400c552e86f0a1, 1 : goto endpoint-fb296ebfbd86374c }
            add rule affinity-c87c6d7605094b7c-external meta mark set meta mark or 0x4000
            add rule affinity-c87c6d7605094b7c-external goto affinity-c87c6d7605094b7c-cluster
            add rule endpoint-eb400c552e86f0a1 update @clients-eb400c552e86f0a1-60 { ip saddr }
            add rule endpoint-eb400c552e86f0a1 meta l4proto tcp dnat to 10.1.0.1:8080
            add rule endpoint-fb296ebfbd86374c update @clients-fb296ebfbd86374c-60 { ip saddr }
            add rule endpoint-fb296ebfbd86374c meta l4proto tcp dnat to 10.1.0.2:8080

            add element cluster-ips { 10.96.0.1 }
            add element service-ips { 10.96.0.1 . tcp . 80 : goto affinity-c87c6d7605094b7c-cluster }
            add element service-nodeports { tcp . 30080 : goto affinity-c87c6d7605094b7c-external }
        "#]],
    );
}

#[test]
fn changes_are_differences() {
    let mut table = table(cluster_ip(), &["10.1.0.1@n2", "10.1.0.2@n2"]);
    let now = Instant::now();
    check(table.transactions(now), expect![[""]]);

    table.replace("default/web", fragment(cluster_ip(), &["10.1.0.2@n2", "10.1.0.3@n2", "10.1.0.4@n2"]));
    check(
        table.transactions(now),
        expect![[r#"
            add chain cluster-3
            add rule cluster-3 dnat to ip daddr . meta l4proto . th dport . numgen random mod 3 map @endpoints

            delete element service-ips { 10.96.0.1 . tcp . 80 }
            delete element endpoints { 10.96.0.1 . tcp . 80 . 0, 10.96.0.1 . tcp . 80 . 1 }
            add element service-ips { 10.96.0.1 . tcp . 80 : goto cluster-3 }
            add element endpoints { 10.96.0.1 . tcp . 80 . 0 : 10.1.0.2 . 8080, 10.96.0.1 . tcp . 80 . 1 : 10.1.0.3 . 8080, 10.96.0.1 . tcp . 80 . 2 : 10.1.0.4 . 8080 }
        "#]],
    );
    table.applied(now);

    table.replace("default/web", fragment(cluster_ip(), &["10.1.0.2@n2", "10.1.0.3@n2"]));
    check(
        table.transactions(now),
        expect![[r#"
            delete element service-ips { 10.96.0.1 . tcp . 80 }
            add element service-ips { 10.96.0.1 . tcp . 80 : goto cluster-2 }
        "#]],
    );
    table.applied(now);

    table.replace("default/web", Fragment::default());
    check(
        table.transactions(now),
        expect![[r#"
            delete element cluster-ips { 10.96.0.1 }
            delete element service-ips { 10.96.0.1 . tcp . 80 }
        "#]],
    );
    table.applied(now);
    assert!(table.is_empty());
}

#[test]
fn after_a_failure_everything_is_said_again() {
    let mut table = table(cluster_ip(), &["10.1.0.1@n2"]);
    table.replace("default/web", fragment(cluster_ip(), &["10.1.0.2@n2"]));
    table.transactions(Instant::now());
    table.resync();
    let script = text(table.transactions(Instant::now()));
    assert!(script.starts_with("add table ip ferry-proxy\ndelete table ip ferry-proxy\n"));
    assert!(script.contains("10.96.0.1 . tcp . 80 . 0 : 10.1.0.2 . 8080"));
    table.applied(Instant::now());
    assert_eq!(table.transactions(Instant::now()), []);
}

#[test]
fn chains_that_are_no_longer_used_go_a_moment_later() {
    let spec = json!({"clusterIP": "10.96.0.1", "sessionAffinity": "ClientIP", "ports": [{"port": 80}]});
    let mut table = table(spec, &["10.1.0.1@n2"]);
    table.replace("default/web", Fragment::default());
    let now = Instant::now();
    let script = text(table.transactions(now));
    assert!(
        script.contains("flush chain") && script.contains("delete set") && !script.contains("delete chain"),
        "{script}"
    );
    table.applied(now);
    assert_eq!(table.transactions(now), []);
    let later = now + Duration::from_secs(1);
    assert_eq!(table.next_cleanup(), Some(later));
    assert_eq!(text(table.transactions(later)).matches("delete chain").count(), 2);
    table.applied(later);
    assert_eq!(table.next_cleanup(), None);
}

#[test]
fn the_first_of_two_claims_to_an_address_has_it_and_the_second_inherits() {
    let spec = |ip: &str| json!({"clusterIP": ip, "externalIPs": ["198.51.100.1"], "ports": [{"port": 80}]});
    let mut table = Table::new(options());
    table.replace("default/b", fragment(spec("10.96.0.2"), &["10.1.0.2@n2"]));
    table.replace("default/a", fragment(spec("10.96.0.1"), &["10.1.0.1@n2"]));
    let script = text(table.transactions(Instant::now()));
    assert!(script.contains("198.51.100.1 . tcp . 80 . 0 : 10.1.0.1 . 8080"), "{script}");
    table.applied(Instant::now());
    table.replace("default/a", Fragment::default());
    let script = text(table.transactions(Instant::now()));
    assert!(script.contains("198.51.100.1 . tcp . 80 . 0 : 10.1.0.2 . 8080"), "{script}");
}
