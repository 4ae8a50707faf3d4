//! Whether a connection is allowed, straight from the API's words and its objects as JSON: slow, and of no rules.

use std::net::IpAddr;

use serde_json::Value;

/// A connection's first packet.
#[derive(Debug, Clone, Copy)]
pub struct Packet {
    pub source: IpAddr,
    pub destination: IpAddr,
    pub protocol: &'static str,
    pub port: u16,
}

/// A cluster as the API shows it.
#[derive(Debug, Clone, Default)]
pub struct Cluster {
    pub pods: Vec<Value>,
    /// Name and labels.
    pub namespaces: Vec<(String, Value)>,
    pub policies: Vec<Value>,
    pub default_deny: bool,
}

impl Cluster {
    fn owner(&self, ip: IpAddr) -> Option<&Value> {
        let has = |pod: &&Value| {
            let ended = matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed"));
            let ips = pod["status"]["podIPs"].as_array().unwrap();
            !ended && pod["spec"]["hostNetwork"] != true && ips.iter().any(|one| one["ip"] == ip.to_string())
        };
        self.pods.iter().find(has)
    }

    /// Whether the node's rules for forwarded packets let it pass: its pods' egress, then its pods' ingress.
    pub fn allows(&self, node: &str, packet: Packet) -> bool {
        let local = |pod: &&Value| pod["spec"]["nodeName"] == node;
        let (from, to) = (self.owner(packet.source), self.owner(packet.destination));
        if let (Some(from), Some(_)) = (from.filter(local), to)
            && packet.source == packet.destination
        {
            return from["spec"]["nodeName"] == node;
        }
        let out = from.filter(local).is_none_or(|pod| self.judge(pod, "Egress", packet.destination, packet));
        out && to.filter(local).is_none_or(|pod| self.judge(pod, "Ingress", packet.source, packet))
    }

    fn judge(&self, pod: &Value, direction: &str, other: IpAddr, packet: Packet) -> bool {
        let namespace = &pod["metadata"]["namespace"];
        let about = |policy: &&Value| {
            let types = policy["spec"]["policyTypes"].as_array().unwrap();
            policy["metadata"]["namespace"] == *namespace
                && types.iter().any(|one| one == direction)
                && selects(&policy["spec"]["podSelector"], &pod["metadata"]["labels"])
        };
        let policies: Vec<&Value> = self.policies.iter().filter(about).collect();
        let isolated = self.default_deny && namespace != "kube-system";
        if policies.is_empty() && !isolated {
            return true;
        }
        let (rules, peers) = if direction == "Ingress" { ("ingress", "from") } else { ("egress", "to") };
        policies.iter().any(|policy| {
            policy["spec"][rules].as_array().into_iter().flatten().any(|rule| {
                let some = |field: &str| rule[field].as_array().filter(|all| !all.is_empty());
                some(peers).is_none_or(|peers| peers.iter().any(|peer| self.is_peer(peer, namespace, other)))
                    && some("ports").is_none_or(|ports| ports.iter().any(|port| self.is_port(port, packet)))
            })
        })
    }

    fn is_peer(&self, peer: &Value, namespace: &Value, other: IpAddr) -> bool {
        if let Some(cidr) = peer["ipBlock"]["cidr"].as_str() {
            let within = |net: &str| net.parse::<ipnet::IpNet>().unwrap().contains(&other);
            let except = peer["ipBlock"]["except"].as_array().into_iter().flatten();
            return within(cidr) && !except.into_iter().any(|net| within(net.as_str().unwrap()));
        }
        let Some(pod) = self.owner(other) else { return false };
        let of_pod = &pod["metadata"]["namespace"];
        let in_namespace = match peer.get("namespaceSelector") {
            None => of_pod == namespace,
            Some(selector) => {
                let labels =
                    self.namespaces.iter().find(|(name, _)| name.as_str() == *of_pod).map(|(_, labels)| labels);
                labels.is_some_and(|labels| selects(selector, labels))
            }
        };
        in_namespace && peer.get("podSelector").is_none_or(|selector| selects(selector, &pod["metadata"]["labels"]))
    }

    fn is_port(&self, port: &Value, packet: Packet) -> bool {
        if port["protocol"].as_str().unwrap_or("TCP") != packet.protocol {
            return false;
        }
        match &port["port"] {
            Value::Null => true,
            Value::Number(first) => {
                let first = first.as_u64().unwrap();
                (first..=port["endPort"].as_u64().unwrap_or(first)).contains(&u64::from(packet.port))
            }
            name => {
                let pod = self.owner(packet.destination);
                let containers = pod.into_iter().flat_map(|pod| pod["spec"]["containers"].as_array().unwrap());
                let mut ports = containers.flat_map(|container| container["ports"].as_array().unwrap());
                ports.any(|one| {
                    one["name"] == *name
                        && one["containerPort"] == packet.port
                        && one["protocol"].as_str().unwrap_or("TCP") == packet.protocol
                })
            }
        }
    }
}

fn selects(selector: &Value, labels: &Value) -> bool {
    let equal = selector["matchLabels"].as_object().into_iter().flatten().all(|(key, value)| labels[key] == *value);
    let expressions = selector["matchExpressions"].as_array().into_iter().flatten();
    equal
        && expressions.into_iter().all(|term| {
            let label = &labels[term["key"].as_str().unwrap()];
            let among = || term["values"].as_array().unwrap().contains(label);
            match term["operator"].as_str().unwrap() {
                "In" => among(),
                "NotIn" => !among(),
                "Exists" => !label.is_null(),
                _ => label.is_null(),
            }
        })
}
