//! How long it takes: a hundred policies on a thousand pods, and one more pod.

use std::time::Instant;

use super::*;

#[test]
fn a_hundred_policies_on_a_thousand_pods_and_one_more() {
    let Some(net) = Net::new(0) else { return };
    let mut agent = Agent::new(&net, &[], false);
    let labels = |n: usize| json!({"app": format!("a{}", n % 50), "tier": format!("t{}", n % 3)});
    let pod = |n: usize| {
        let [.., high, low] = (n as u32).to_be_bytes();
        let pod = json!({
            "metadata": {"name": n.to_string(), "namespace": "x", "labels": labels(n)},
            // A hundred of them are on this node.
            "spec": {"nodeName": if n.is_multiple_of(10) { "n" } else { "m" }, "containers": [{"name": "c", "ports": [{"name": "web", "containerPort": 8080}]}]},
            "status": {"podIPs": [{"ip": format!("10.2.{high}.{low}")}, {"ip": format!("fd00:2::{high:x}{low:02x}")}]}});
        (("x".to_owned(), n.to_string()), model::pod(&serde_json::from_value(pod).unwrap(), "n"))
    };
    for n in 0..1000 {
        let (key, pod) = pod(n);
        agent.facts.pod(&key, pod);
    }
    for n in 0..100 {
        let policy = json!({"metadata": {"name": format!("p{n}"), "namespace": "x"}, "spec": {
            "podSelector": {"matchLabels": {"app": format!("a{}", n % 50)}}, "policyTypes": ["Ingress", "Egress"],
            "ingress": [{"from": [{"podSelector": {"matchLabels": {"app": format!("a{}", (n + 1) % 50)}}}, {"namespaceSelector": {"matchLabels": {"name": "y"}}}],
                "ports": [{"port": 8000 + n}, {"port": "web"}]}],
            "egress": [{"to": [{"podSelector": {"matchLabels": {"tier": format!("t{}", n % 3)}}}]}, {"to": [{"ipBlock": {"cidr": "0.0.0.0/0", "except": ["10.0.0.0/8"]}}]}]}});
        let key = ("x".to_owned(), format!("p{n}"));
        agent.facts.policies.insert(key, Arc::new(model::policy(&serde_json::from_value(policy).unwrap())));
    }
    let start = Instant::now();
    agent.compilers = VERSIONS.map(|version| Compiler::new(Options::default(), version));
    agent.tables.iter_mut().for_each(Table::resync);
    let facts = agent.facts.clone();
    agent.compilers.iter_mut().for_each(|compiler| compiler.all(&facts));
    let compiled = start.elapsed();
    agent.apply();
    let all = start.elapsed();
    let mut times: Vec<_> = (1000..1020)
        .map(|n| {
            let (key, pod) = pod(n);
            let start = Instant::now();
            for ip in agent.facts.pod(&key, pod) {
                let owner = agent.facts.owner(ip).cloned();
                agent.compilers.iter_mut().for_each(|compiler| compiler.address(ip, owner.clone()));
            }
            agent.apply();
            start.elapsed()
        })
        .collect();
    times.sort();
    eprintln!(
        "100 policies on 1,000 pods: {all:?}, of it {compiled:?} to compile; one more pod: {:?}, at most {:?}",
        times[10], times[19]
    );
    let list = net.run("node", "nft list set ip ferry-policies-2 pods");
    assert!(list.contains("10.2.3.242"), "the last of this node is there (1,010): {list}");
    agent.clean_up();
}
