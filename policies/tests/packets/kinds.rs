//! Packets that are none of TCP or UDP, and packets to Services.

use super::*;

#[test]
fn sctp_by_its_ports_and_what_has_none_where_no_ports_are_named() {
    let Some(net) = Net::new(3) else { return };
    let mut agent = Agent::new(&net, &[(1, "server"), (2, "friend"), (3, "other")], false);
    agent.set_policy("p", Some(json!({"podSelector": app("server"), "ingress": [
        {"from": [{"podSelector": app("friend")}], "ports": [{"port": 5000, "endPort": 5010, "protocol": "SCTP"}, {"port": 8080}]},
        {"from": [{"ipBlock": {"cidr": "10.1.0.3/32"}}]}]})));
    let kernel = Kernel::of(net.socket());
    let counted = |name: &str| {
        let all = kernel.counters().unwrap().into_iter().filter(|counted| counted.name == name);
        all.map(|counted| counted.packets).sum::<u64>()
    };
    // The beginning of an association (INIT), of which the kernel looks at the ports; an echo.
    let init =
        |port: u16| [&4000_u16.to_be_bytes()[..], &port.to_be_bytes(), &[0; 8], &[1, 0, 0, 20], &[1; 16]].concat();
    let echo = || vec![8, 0, 0xf7, 0xff, 0, 0, 0, 0];
    const SCTP: u8 = 132;
    const ICMP: u8 = 1;
    let mut expected = [0, 0];
    for (from, protocol, payload, allowed) in [
        (2, SCTP, init(5000), true),
        (2, SCTP, init(5010), true),
        (2, SCTP, init(5011), false),
        (2, SCTP, init(8080), false),
        (3, SCTP, init(5011), true),
        (2, ICMP, echo(), false),
        (3, ICMP, echo(), true),
    ] {
        net.send(from, 1, protocol, &payload);
        expected[usize::from(!allowed)] += 1;
        wait(|| {
            [counted("policy-ingress/x/p"), counted("pods-ingress/x/p")].iter().sum::<u64>()
                == expected.iter().sum::<u64>()
        });
        assert_eq!([counted("policy-ingress/x/p"), counted("pods-ingress/x/p")], expected, "{from} {protocol}");
    }
}

#[test]
fn services_are_judged_by_the_pods_behind_them_and_a_pod_reaches_itself() {
    let Some(net) = Net::new(2) else { return };
    net.serve(&[8080]);
    // What a proxy does.
    for rule in [
        "add table ip proxy",
        "add chain ip proxy pre '{ type nat hook prerouting priority -100; }'",
        "add chain ip proxy post '{ type nat hook postrouting priority 100; }'",
        "add rule ip proxy pre ip daddr 10.96.0.1 tcp dport 80 dnat to 10.1.0.1:8080",
        "add rule ip proxy post ct status dnat ip saddr 10.1.0.1 ip daddr 10.1.0.1 masquerade",
    ] {
        net.run("node", &format!("nft {rule}"));
    }
    let mut agent = Agent::new(&net, &[(1, "server"), (2, "client")], false);
    assert!(net.reaches("1", "10.96.0.1:80") && net.reaches("2", "10.96.0.1:80"));
    agent.set_policy("closed", Some(json!({"podSelector": {}, "policyTypes": ["Ingress", "Egress"]})));
    assert!(net.reaches("1", "10.96.0.1:80"), "it comes back to itself");
    assert!(!net.reaches("2", "10.96.0.1:80"));
    agent.set_policy(
        "in",
        Some(json!({"podSelector": app("server"), "ingress": [
        {"from": [{"podSelector": app("client")}], "ports": [{"port": "web"}]}]})),
    );
    // The Service's own address and port are nobody's.
    agent.set_policy(
        "out",
        Some(json!({"podSelector": app("client"), "policyTypes": ["Egress"], "egress": [
        {"to": [{"ipBlock": {"cidr": "10.96.0.1/32"}}], "ports": [{"port": 80}]}]})),
    );
    assert!(!net.reaches("2", "10.96.0.1:80"));
    agent.set_policy(
        "out",
        Some(json!({"podSelector": app("client"), "policyTypes": ["Egress"], "egress": [
        {"to": [{"podSelector": app("server")}], "ports": [{"port": 8080}]}]})),
    );
    assert!(net.reaches("2", "10.96.0.1:80"));
}

#[test]
fn names_as_long_as_they_may_be_and_many_policies_on_a_pod() {
    let Some(net) = Net::new(2) else { return };
    net.serve(&[8080, 9090]);
    let mut agent = Agent::new(&net, &[(1, "server"), (2, "client")], false);
    let name = |number: usize| format!("{}.{number:02}", "p".repeat(250));
    for number in 0..40 {
        agent.set_policy(
            &name(number),
            Some(json!({"podSelector": {}, "policyTypes": ["Ingress", "Egress"],
            "ingress": [{"ports": [{"port": 9000 + number}]}], "egress": [{"to": [{"podSelector": app("none")}]}]})),
        );
    }
    assert!(!net.reaches("2", "10.1.0.1:8080"));
    agent.set_policy("out", Some(json!({"podSelector": {}, "policyTypes": ["Egress"], "egress": [{}]})));
    agent.set_policy("in", Some(json!({"podSelector": {}, "ingress": [{"ports": [{"port": 8080}]}]})));
    assert!(net.reaches("2", "10.1.0.1:8080") && !net.reaches("2", "10.1.0.1:9090"));
    (0..40).for_each(|number| agent.set_policy(&name(number), None));
    agent.clean_up();
    assert!(net.reaches("2", "10.1.0.1:8080") && !net.run("node", "nft list ruleset").contains("pppp"));
}
