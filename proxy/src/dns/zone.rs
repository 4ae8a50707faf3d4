//! The cluster's names as a pure function: question in, records out.
//!
//! "No such name" and "the name is there, but has nothing of this type" are kept apart with care: resolvers walk their
//! search list on the former, and an AAAA question that is told the former for a name that has an A makes some of them
//! forget the A.

use std::collections::BTreeSet;
use std::net::IpAddr;

use anyhow::Context;
use hickory_proto::rr::rdata::{CNAME, NS, PTR, SOA, SRV, TXT};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointSlice};

use super::index::{Index, cluster_ips};

/// The version of the DNS specification that is followed.
const SPECIFICATION: &str = "1.1.0";

/// What is known of a question.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// Records; the second list goes with them unasked. An empty answer means that the name has none of this type.
    Answer(Vec<Record>, Vec<Record>),
    /// An alias; the question is to be asked again of its target.
    Alias(Box<Record>, Name),
    /// There is no such name in the cluster.
    NoSuchName,
    /// The name is not the cluster's.
    NotMine,
}

/// The cluster's domain.
#[derive(Debug, Clone)]
pub struct Zone {
    origin: Name,
    labels: Vec<String>,
    cluster_ip: Option<IpAddr>,
    ttl: u32,
}

impl Zone {
    /// A zone for `domain`, whose name server is at `cluster_ip`.
    ///
    /// # Errors
    /// `domain` is not a name.
    pub fn new(domain: &str, cluster_ip: Option<IpAddr>, ttl: u32) -> anyhow::Result<Zone> {
        let mut origin = Name::from_ascii(domain).with_context(|| format!("\"{domain}\" is not a domain name"))?;
        origin.set_fqdn(true);
        let labels = labels(&origin).context("not a domain name")?;
        anyhow::ensure!(!labels.is_empty(), "the cluster domain is empty");
        Ok(Zone { origin, labels, cluster_ip, ttl })
    }

    /// The zone's own record, which goes with answers that have nothing else: it says how long to remember that.
    pub fn authority(&self) -> Record {
        let name = |label: &str| self.name(label).unwrap_or_else(|| self.origin.clone());
        let soa = SOA::new(name("ns.dns"), name("hostmaster"), 1, 7200, 1800, 86400, self.ttl);
        Record::from_rdata(self.origin.clone(), self.ttl, RData::SOA(soa))
    }

    /// Answers a question of class IN.
    pub fn lookup(&self, index: &Index, question: &Name, kind: RecordType) -> Outcome {
        let Some(labels) = labels(question) else { return Outcome::NoSuchName };
        if labels.ends_with(&["arpa".to_owned()]) {
            return self.reverse(index, question, kind);
        }
        let Some(rest) = labels.strip_suffix(self.labels.as_slice()) else { return Outcome::NotMine };
        let rest: Vec<&str> = rest.iter().map(String::as_str).collect();
        let ask = Ask { zone: self, index, question, kind };
        match rest.as_slice() {
            [] => ask.apex(),
            ["dns-version"] => ask.only(RecordType::TXT, RData::TXT(TXT::new(vec![SPECIFICATION.to_owned()]))),
            ["dns"] | ["svc"] | ["pod"] => NO_DATA,
            ["ns", "dns"] => ask.addresses(self.cluster_ip),
            [namespace, "svc" | "pod"] if index.has_namespace(namespace) => NO_DATA,
            [name, namespace, "svc"] => ask.service(namespace, name),
            [protocol, name, namespace, "svc"] if protocol.starts_with('_') => match index.get(namespace, name) {
                Some(_) if matches!(*protocol, "_tcp" | "_udp" | "_sctp") => NO_DATA,
                _ => Outcome::NoSuchName,
            },
            [endpoint, name, namespace, "svc"] => ask.endpoint(namespace, name, endpoint),
            [port, protocol, name, namespace, "svc"] => match (port.strip_prefix('_'), protocol.strip_prefix('_')) {
                (Some(port), Some(protocol)) => ask.port(namespace, name, port, protocol),
                _ => Outcome::NoSuchName,
            },
            [address, namespace, "pod"] => match dashed(address).filter(|_| index.may_have_pods(namespace)) {
                Some(ip) => ask.addresses([ip]),
                None => Outcome::NoSuchName,
            },
            _ => Outcome::NoSuchName,
        }
    }

    fn reverse(&self, index: &Index, question: &Name, kind: RecordType) -> Outcome {
        let Ok(net) = question.parse_arpa_name() else { return Outcome::NotMine };
        if net.prefix_len() != net.max_prefix_len() {
            return Outcome::NotMine;
        }
        let ip = net.addr();
        let names: BTreeSet<String> = match index.by_cluster_ip(&ip) {
            Some((namespace, name)) => [format!("{name}.{namespace}.svc")].into(),
            None => index.by_endpoint_ip(&ip).flat_map(|key| endpoint_names(index, key, &ip)).collect(),
        };
        if names.is_empty() {
            return Outcome::NotMine;
        }
        if kind != RecordType::PTR && kind != RecordType::ANY {
            return NO_DATA;
        }
        let names = names.iter().filter_map(|name| self.name(name));
        let records = names.map(|name| Record::from_rdata(question.clone(), self.ttl, RData::PTR(PTR(name))));
        Outcome::Answer(records.collect(), Vec::new())
    }

    /// A name in the zone; `None` if it is too long for one.
    fn name(&self, relative: &str) -> Option<Name> {
        relative.parse::<Name>().ok()?.append_domain(&self.origin).ok()
    }
}

const NO_DATA: Outcome = Outcome::Answer(Vec::new(), Vec::new());

/// One question.
struct Ask<'a> {
    zone: &'a Zone,
    index: &'a Index,
    question: &'a Name,
    kind: RecordType,
}

impl Ask<'_> {
    fn wants(&self, kind: RecordType) -> bool {
        self.kind == kind || self.kind == RecordType::ANY
    }

    fn record(&self, data: RData) -> Record {
        Record::from_rdata(self.question.clone(), self.zone.ttl, data)
    }

    fn only(&self, kind: RecordType, data: RData) -> Outcome {
        let records = if self.wants(kind) { vec![self.record(data)] } else { Vec::new() };
        Outcome::Answer(records, Vec::new())
    }

    fn apex(&self) -> Outcome {
        match (self.kind, self.zone.name("ns.dns")) {
            (RecordType::SOA, _) => Outcome::Answer(vec![self.zone.authority()], Vec::new()),
            (RecordType::NS, Some(server)) => {
                let glue =
                    self.zone.cluster_ip.map(|ip| Record::from_rdata(server.clone(), self.zone.ttl, address(ip)));
                Outcome::Answer(vec![self.record(RData::NS(NS(server)))], glue.into_iter().collect())
            }
            _ => NO_DATA,
        }
    }

    fn addresses(&self, ips: impl IntoIterator<Item = IpAddr>) -> Outcome {
        let wanted = |ip: &IpAddr| self.wants(if ip.is_ipv4() { RecordType::A } else { RecordType::AAAA });
        let ips: BTreeSet<IpAddr> = ips.into_iter().filter(wanted).collect();
        Outcome::Answer(ips.into_iter().map(|ip| self.record(address(ip))).collect(), Vec::new())
    }

    fn service(&self, namespace: &str, name: &str) -> Outcome {
        let Some(service) = self.index.get(namespace, name) else { return Outcome::NoSuchName };
        if let Some(outcome) = self.alias(service) {
            return outcome;
        }
        if self.kind == RecordType::SRV {
            return self.srv(namespace, name, service, None);
        }
        match cluster_ips(service) {
            ips if ips.is_empty() => {
                self.addresses(self.index.endpoints(namespace, name).filter_map(|(_, e)| ip_of(e)))
            }
            ips => self.addresses(ips),
        }
    }

    fn alias(&self, service: &Service) -> Option<Outcome> {
        let spec = service.spec.as_ref()?;
        if spec.type_.as_deref() != Some("ExternalName") {
            return None;
        }
        let mut target = spec.external_name.as_deref()?.parse::<Name>().ok()?;
        target.set_fqdn(true);
        Some(Outcome::Alias(Box::new(self.record(RData::CNAME(CNAME(target.clone())))), target))
    }

    fn endpoint(&self, namespace: &str, name: &str, wanted: &str) -> Outcome {
        if self.index.get(namespace, name).is_none() {
            return Outcome::NoSuchName;
        }
        let named = |endpoint: &Endpoint| endpoint_name(endpoint).is_some_and(|name| name == wanted);
        let ips: Vec<IpAddr> =
            self.index.endpoints(namespace, name).filter(|(_, e)| named(e)).filter_map(|(_, e)| ip_of(e)).collect();
        if ips.is_empty() { Outcome::NoSuchName } else { self.addresses(ips) }
    }

    fn port(&self, namespace: &str, name: &str, port: &str, protocol: &str) -> Outcome {
        let Some(service) = self.index.get(namespace, name) else { return Outcome::NoSuchName };
        let ports = service.spec.as_ref().and_then(|spec| spec.ports.as_ref());
        let known = ports.into_iter().flatten().any(|have| {
            have.name.as_deref().is_some_and(|name| name.eq_ignore_ascii_case(port))
                && have.protocol.as_deref().unwrap_or("TCP").eq_ignore_ascii_case(protocol)
        });
        match (known, self.wants(RecordType::SRV)) {
            (false, _) => Outcome::NoSuchName,
            (true, true) => self.srv(namespace, name, service, Some((port, protocol))),
            (true, false) => NO_DATA,
        }
    }

    /// The SRV records of a Service: of one port by name and protocol, or of all of them.
    fn srv(&self, namespace: &str, name: &str, service: &Service, wanted: Option<(&str, &str)>) -> Outcome {
        let fits = |port: Option<&str>, protocol: Option<&str>| {
            wanted.is_none_or(|(name, kind)| {
                port.is_some_and(|port| port.eq_ignore_ascii_case(name))
                    && protocol.unwrap_or("TCP").eq_ignore_ascii_case(kind)
            })
        };
        let ips = cluster_ips(service);
        // (target, port, address)
        let mut found: BTreeSet<(String, u16, IpAddr)> = BTreeSet::new();
        if ips.is_empty() {
            for (slice, endpoint) in self.index.endpoints(namespace, name) {
                let Some((ip, host)) = ip_of(endpoint).zip(endpoint_name(endpoint)) else { continue };
                for port in slice_ports(slice, &fits) {
                    found.insert((format!("{host}.{name}.{namespace}.svc"), port, ip));
                }
            }
        } else {
            let ports = service.spec.as_ref().and_then(|spec| spec.ports.as_ref()).into_iter().flatten();
            for port in ports.filter(|port| fits(port.name.as_deref(), port.protocol.as_deref())) {
                let Ok(port) = u16::try_from(port.port) else { continue };
                found.extend(ips.iter().map(|ip| (format!("{name}.{namespace}.svc"), port, *ip)));
            }
        }
        let targets: BTreeSet<(&str, u16)> = found.iter().map(|(target, port, _)| (target.as_str(), *port)).collect();
        let weight = (100 / targets.len().max(1)).max(1) as u16;
        let records = targets.iter().filter_map(|(target, port)| {
            let target = self.zone.name(target)?;
            Some(self.record(RData::SRV(SRV::new(0, weight, *port, target))))
        });
        let hosts: BTreeSet<(&str, IpAddr)> = found.iter().map(|(target, _, ip)| (target.as_str(), *ip)).collect();
        let extra = hosts
            .iter()
            .filter_map(|(target, ip)| Some(Record::from_rdata(self.zone.name(target)?, self.zone.ttl, address(*ip))));
        Outcome::Answer(records.collect(), extra.collect())
    }
}

fn slice_ports(slice: &EndpointSlice, fits: &impl Fn(Option<&str>, Option<&str>) -> bool) -> Vec<u16> {
    let ports = slice.ports.iter().flatten().filter(|port| fits(port.name.as_deref(), port.protocol.as_deref()));
    ports.filter_map(|port| u16::try_from(port.port?).ok()).collect()
}

fn address(ip: IpAddr) -> RData {
    match ip {
        IpAddr::V4(ip) => RData::A(ip.into()),
        IpAddr::V6(ip) => RData::AAAA(ip.into()),
    }
}

fn ip_of(endpoint: &Endpoint) -> Option<IpAddr> {
    endpoint.addresses.first()?.parse().ok()
}

/// An endpoint's name under its Service: its hostname, or its address with dashes.
fn endpoint_name(endpoint: &Endpoint) -> Option<String> {
    if let Some(hostname) = endpoint.hostname.as_deref().filter(|name| !name.is_empty()) {
        return Some(hostname.to_ascii_lowercase());
    }
    Some(ip_of(endpoint)?.to_string().replace(['.', ':'], "-"))
}

fn endpoint_names(index: &Index, (namespace, name): &(String, String), ip: &IpAddr) -> Vec<String> {
    let at = index.endpoints(namespace, name).filter(|(_, endpoint)| ip_of(endpoint).as_ref() == Some(ip));
    at.filter_map(|(_, endpoint)| Some(format!("{}.{name}.{namespace}.svc", endpoint_name(endpoint)?))).collect()
}

/// `1-2-3-4` or `fd00--1` as an address.
fn dashed(label: &str) -> Option<IpAddr> {
    let v4 = label.replace('-', ".").parse().ok().map(IpAddr::V4);
    v4.or_else(|| label.replace('-', ":").parse().ok().map(IpAddr::V6))
}

/// A name's labels in lower case; `None` if one is not plain text (no name of ours is).
fn labels(name: &Name) -> Option<Vec<String>> {
    name.iter().map(|label| std::str::from_utf8(label).ok().map(str::to_ascii_lowercase)).collect()
}
