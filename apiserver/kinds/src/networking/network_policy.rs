//! NetworkPolicies: which pods, and with whom they may speak. A range that an older server let pass may stay anywhere in the
//! policy, since nobody can say which of the ranges it was.

use machinery::field::{ErrorList, Path};
use machinery::json::Fields;
use machinery::{meta, names};
use serde_json::Value;

use model::check::Faults;
use writes::strategy::{Strategy, WriteContext};

#[cfg(test)]
mod tests;

/// NetworkPolicies.
pub struct NetworkPolicies;

/// The lists of rules with the lists of their peers.
const DIRECTIONS: [(&str, &str); 2] = [("ingress", "from"), ("egress", "to")];

impl Strategy for NetworkPolicies {
    fn validate(&self, _: &WriteContext<'_>, policy: &Value) -> ErrorList {
        spec(&policy["spec"], &Allowed::default())
    }

    fn validate_update(&self, _: &WriteContext<'_>, policy: &Value, old: &Value) -> ErrorList {
        update(policy, old)
    }

    fn warnings(&self, _: &WriteContext<'_>, policy: &Value, _: Option<&Value>) -> Vec<String> {
        warnings(policy)
    }
}

/// What an older server let pass.
#[derive(Default)]
struct Allowed<'a> {
    label_values: bool,
    cidrs: Vec<&'a str>,
}

fn update(policy: &Value, old: &Value) -> ErrorList {
    let selector = old["spec"].sub("podSelector");
    let allowed = Allowed {
        label_values: !meta::validate_label_selector(selector, false, &Path::nil()).is_empty(),
        cidrs: blocks(old)
            .flat_map(|(_, block)| std::iter::once(block.text("cidr")).chain(block.texts("except")))
            .collect(),
    };
    spec(&policy["spec"], &allowed)
}

/// The blocks of addresses among all peers, with their places.
fn blocks(policy: &Value) -> impl Iterator<Item = (Path, &Value)> {
    DIRECTIONS.into_iter().flat_map(|(rules, peers)| {
        let rules_at = Path::new("spec").child(rules);
        policy["spec"].list(rules).iter().enumerate().flat_map(move |(i, rule)| {
            let at = rules_at.index(i).child(peers);
            rule.list(peers)
                .iter()
                .enumerate()
                .filter_map(move |(j, peer)| Some((at.index(j).child("ipBlock"), peer.sub("ipBlock")?)))
        })
    })
}

fn spec(spec: &Value, allowed: &Allowed<'_>) -> ErrorList {
    let at = Path::new("spec");
    let selector = at.child("podSelector");
    let mut errors = meta::validate_label_selector(spec.sub("podSelector"), allowed.label_values, &selector);
    for (rules, peers) in DIRECTIONS {
        for (i, rule) in spec.list(rules).iter().enumerate() {
            let at = at.child(rules).index(i);
            for (j, port) in rule.list("ports").iter().enumerate() {
                self::port(port, &at.child("ports").index(j), &mut errors);
            }
            for (j, peer) in rule.list(peers).iter().enumerate() {
                self::peer(peer, allowed, &at.child(peers).index(j), &mut errors);
            }
        }
    }
    let types = spec.list("policyTypes");
    let at = at.child("policyTypes");
    if types.len() > 2 {
        errors.invalid(&at, types.to_vec(), "may not specify more than two policyTypes");
        return errors;
    }
    for (i, kind) in spec.texts("policyTypes").enumerate() {
        if !matches!(kind, "Ingress" | "Egress") {
            errors.unsupported(&at.index(i), kind, &["Ingress", "Egress"]);
        }
    }
    errors
}

fn port(port: &Value, at: &Path, errors: &mut ErrorList) {
    const PROTOCOLS: [&str; 3] = ["TCP", "UDP", "SCTP"];
    if let Some(protocol) = port.sub("protocol").and_then(Value::as_str)
        && !PROTOCOLS.contains(&protocol)
    {
        errors.unsupported(&at.child("protocol"), protocol, &PROTOCOLS);
    }
    let (end, end_at) = (port.int("endPort"), at.child("endPort"));
    let at = at.child("port");
    match port.sub("port") {
        Some(Value::String(name)) => {
            if let Some(end) = end {
                errors.invalid(&end_at, end, "may not be specified when `port` is non-numeric");
            }
            errors.each(&at, name, names::port_name(name));
        }
        Some(number) => {
            let number = number.as_i64().unwrap_or_default();
            for fault in names::port_num(number) {
                errors.invalid(&at, number, fault);
            }
            let Some(end) = end else { return };
            if end < number {
                errors.invalid(&end_at, number, "must be greater than or equal to `port`");
            }
            for fault in names::port_num(end) {
                errors.invalid(&end_at, end, fault);
            }
        }
        None => {
            if let Some(end) = end {
                errors.invalid(&end_at, end, "may not be specified when `port` is not specified");
            }
        }
    }
}

fn peer(peer: &Value, allowed: &Allowed<'_>, at: &Path, errors: &mut ErrorList) {
    let mut count = 0;
    for field in ["podSelector", "namespaceSelector"] {
        let selector = peer.sub(field);
        count += usize::from(selector.is_some());
        errors.extend(meta::validate_label_selector(selector, allowed.label_values, &at.child(field)));
    }
    let block = peer.sub("ipBlock");
    if let Some(block) = block {
        ip_block(block, allowed, &at.child("ipBlock"), errors);
    }
    match (count, block) {
        (0, None) => errors.required(at, "must specify a peer"),
        (1.., Some(_)) => errors.forbidden(at, "may not specify both ipBlock and another peer"),
        _ => {}
    }
}

fn ip_block(block: &Value, allowed: &Allowed<'_>, at: &Path, errors: &mut ErrorList) {
    let cidr = block.text("cidr");
    if cidr.is_empty() {
        return errors.required(&at.child("cidr"), "");
    }
    errors.extend(names::cidr_for_legacy_field(&at.child("cidr"), cidr, &allowed.cidrs));
    let Some((_, network, length)) = names::parse_cidr_sloppy(cidr) else { return };
    for (i, except) in block.texts("except").enumerate() {
        let at = at.child("except").index(i);
        errors.extend(names::cidr_for_legacy_field(&at, except, &allowed.cidrs));
        let Some((_, inner, inner_length)) = names::parse_cidr_sloppy(except) else { continue };
        let outer = names::parse_cidr_sloppy(&format!("{inner}/{length}"));
        let contained = inner.is_ipv4() == network.is_ipv4() && outer.is_some_and(|(_, masked, _)| masked == network);
        if !contained || length >= inner_length {
            errors.invalid(&at, except, "must be a strict subset of `cidr`");
        }
    }
}

fn warnings(policy: &Value) -> Vec<String> {
    let mut out = Vec::new();
    for (at, block) in blocks(policy) {
        out.extend(names::cidr_warnings(&at.child("cidr"), block.text("cidr")));
        for (i, except) in block.texts("except").enumerate() {
            out.extend(names::cidr_warnings(&at.child("except").index(i), except));
        }
    }
    out
}
