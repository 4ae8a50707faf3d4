//! What the kernel would do with a packet, by the rules: as much of it as these rules need.

use netfilter::tables::{Datum, Element, Field, Rule, Statement, Transport, Value, Verdict};

use super::*;
use judge::Packet;

/// The table of a content: what is always there, and what comes and goes.
pub struct Rules<'c> {
    content: &'c Content,
    fixed: BTreeMap<String, Vec<Rule>>,
}

enum Outcome {
    Passed,
    Dropped,
    Returned,
}

impl Rules<'_> {
    pub fn of(content: &Content, version: Version) -> Rules<'_> {
        let mut fixed: BTreeMap<String, Vec<Rule>> = BTreeMap::new();
        for (chain, rule) in base::rules(version) {
            fixed.entry(chain.to_owned()).or_default().push(rule);
        }
        Rules { content, fixed }
    }

    /// Whether the first packet of a flow is forwarded.
    pub fn forwards(&self, packet: Packet) -> bool {
        ["egress-forward", "ingress-forward"].iter().all(|chain| !matches!(self.walk(chain, packet), Outcome::Dropped))
    }

    /// Whether it comes in to the node.
    pub fn takes_in(&self, packet: Packet) -> bool {
        !matches!(self.walk("egress-input", packet), Outcome::Dropped)
    }

    fn walk(&self, chain: &str, packet: Packet) -> Outcome {
        let found = self.fixed.get(chain).or_else(|| self.content.chains.get(chain));
        for rule in found.unwrap_or_else(|| panic!("there is no chain {chain}")) {
            match self.rule(rule, packet) {
                Some(Verdict::Accept) => return Outcome::Passed,
                Some(Verdict::Drop) => return Outcome::Dropped,
                Some(Verdict::Return) => return Outcome::Returned,
                Some(Verdict::Goto(chain)) => return self.walk(&chain, packet),
                Some(Verdict::Jump(chain)) => match self.walk(&chain, packet) {
                    Outcome::Returned => {}
                    outcome => return outcome,
                },
                None => {}
            }
        }
        Outcome::Returned
    }

    /// The verdict, if the packet gets to one.
    fn rule(&self, rule: &Rule, packet: Packet) -> Option<Verdict> {
        for statement in rule {
            let holds = match statement {
                Statement::Established | Statement::Neighbours | Statement::Interface(..) => false,
                Statement::CountIn(name) => {
                    assert!(self.content.chains.contains_key(name) || name == base::UNKNOWN, "{name}");
                    true
                }
                Statement::Limit(_) | Statement::Log(..) => true,
                Statement::In(fields, set, is) => self.find(fields, set, packet).is_some() == *is,
                Statement::VerdictMap(fields, map) => {
                    match self.find(fields, map, packet).map(|element| &element.value) {
                        Some(Value::Verdict(verdict)) => return Some(verdict.clone()),
                        _ => return None,
                    }
                }
                Statement::Verdict(verdict) => return Some(verdict.clone()),
                other => panic!("{other:?}"),
            };
            if !holds {
                return None;
            }
        }
        None
    }

    fn find(&self, fields: &[Field], set: &str, packet: Packet) -> Option<&Element> {
        assert!(self.content.sets.contains_key(set), "there is no set {set}");
        let transport = match packet.protocol {
            "TCP" => Transport::Tcp,
            "UDP" => Transport::Udp,
            _ => Transport::Sctp,
        };
        let value = |field: &Field| match field {
            Field::Source(_) => Datum::Address(packet.source),
            Field::Destination(_) => Datum::Address(packet.destination),
            Field::Protocol => Datum::Protocol(transport),
            Field::DestinationPort => Datum::Port(packet.port),
            other => panic!("{other:?}"),
        };
        let values: Vec<Datum> = fields.iter().map(value).collect();
        self.content.elements.get(set)?.values().find(|element| {
            assert_eq!(element.key.len(), values.len(), "{set}");
            let last = element.last.as_ref().unwrap_or(&element.key);
            values
                .iter()
                .zip(element.key.iter().zip(last))
                .all(|(value, (first, last))| first <= value && value <= last)
        })
    }
}
