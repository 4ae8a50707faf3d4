//! As `nft` writes it.

use std::fmt::{self, Display, Formatter};

use crate::tables::{
    Data, Datum, Element, Field, Hook, Kind, Point, Set, Statement, Table, Transport, Type, Value, Verdict, Version,
};
use crate::transaction::{Change, Transaction};

/// Parts with something between them.
struct Joined<'a, T>(&'a [T], &'static str);

impl<T: Display> Display for Joined<'_, T> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for (index, part) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str(self.1)?;
            }
            part.fmt(f)?;
        }
        Ok(())
    }
}

/// The parts of a key.
fn parts<T>(parts: &[T]) -> Joined<'_, T> {
    Joined(parts, " . ")
}

fn ip(version: Version) -> &'static str {
    match version {
        Version::V4 => "ip",
        Version::V6 => "ip6",
    }
}

fn operator(is: bool) -> &'static str {
    if is { "" } else { "!= " }
}

impl Display for Table {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", ip(self.version), self.name)
    }
}

impl Display for Hook {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            Kind::Filter => "filter",
            Kind::Nat => "nat",
        };
        let point = match self.point {
            Point::Prerouting => "prerouting",
            Point::Input => "input",
            Point::Forward => "forward",
            Point::Output => "output",
            Point::Postrouting => "postrouting",
        };
        write!(f, "type {kind} hook {point} priority {} ;", self.priority)
    }
}

impl Display for Transport {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Transport::Tcp => "tcp",
            Transport::Udp => "udp",
            Transport::Sctp => "sctp",
        })
    }
}

impl Display for Field {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Field::Source(version) => write!(f, "{} saddr", ip(*version)),
            Field::Destination(version) => write!(f, "{} daddr", ip(*version)),
            Field::Protocol => f.write_str("meta l4proto"),
            Field::SourcePort => f.write_str("th sport"),
            Field::DestinationPort => f.write_str("th dport"),
            Field::Mark => f.write_str("meta mark"),
            Field::Random(below) => write!(f, "numgen random mod {below}"),
            Field::Input => f.write_str("meta iifname"),
            Field::Output => f.write_str("meta oifname"),
        }
    }
}

impl Display for Type {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Type::Address(Version::V4) => "ipv4_addr",
            Type::Address(Version::V6) => "ipv6_addr",
            Type::Protocol => "inet_proto",
            Type::Port => "inet_service",
            Type::Number => "mark",
        })
    }
}

impl Display for Datum {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Datum::Address(address) => address.fmt(f),
            Datum::Protocol(protocol) => protocol.fmt(f),
            Datum::Port(port) => port.fmt(f),
            Datum::Number(number) => number.fmt(f),
        }
    }
}

impl Display for Verdict {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Verdict::Accept => f.write_str("accept"),
            Verdict::Drop => f.write_str("drop"),
            Verdict::Return => f.write_str("return"),
            Verdict::Jump(chain) => write!(f, "jump {chain}"),
            Verdict::Goto(chain) => write!(f, "goto {chain}"),
        }
    }
}

impl Display for Set {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{{ type {}", parts(&self.key))?;
        match &self.data {
            Data::None => {}
            Data::Verdict => f.write_str(" : verdict")?,
            Data::Values(types) => write!(f, " : {}", parts(types))?,
        }
        f.write_str(" ;")?;
        if self.ranges {
            f.write_str(" flags interval ;")?;
        }
        if let Some(timeout) = self.timeout {
            write!(f, " flags dynamic,timeout ; timeout {}s ;", timeout.as_secs())?;
        }
        f.write_str(" }")
    }
}

impl Display for Element {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let last = self.last.as_deref().unwrap_or(&self.key);
        for (index, (from, to)) in self.key.iter().zip(last).enumerate() {
            if index > 0 {
                f.write_str(" . ")?;
            }
            if from == to { from.fmt(f)? } else { write!(f, "{from}-{to}")? }
        }
        if let Some(left) = self.expires {
            write!(f, " expires {}s", left.as_secs())?;
        }
        match &self.value {
            Value::None => Ok(()),
            Value::Verdict(verdict) => write!(f, " : {verdict}"),
            Value::Data(data) => write!(f, " : {}", parts(data)),
        }
    }
}

impl Display for Statement {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Statement::New => f.write_str("ct state new"),
            Statement::Established => f.write_str("ct state established,related"),
            Statement::Translated => f.write_str("ct status dnat"),
            Statement::HasMark(bits) => write!(f, "meta mark and {bits:#x} != 0"),
            Statement::Is(field, value, is) => write!(f, "{field} {}{value}", operator(*is)),
            Statement::Within(field, net, is) => write!(f, "{field} {}{}", operator(*is), net.trunc()),
            Statement::Interface(field, name, is) => write!(f, "{field} {}\"{name}\"", operator(*is)),
            Statement::SourceIsLocal => f.write_str("fib saddr type local"),
            Statement::DestinationIsLocal => f.write_str("fib daddr type local"),
            Statement::Neighbours => f.write_str("icmpv6 type 133-137"),
            Statement::In(fields, set, is) => write!(f, "{} {}@{set}", parts(fields), operator(*is)),
            Statement::Among(field, elements, is) => {
                write!(f, "{field} {}{{ {} }}", operator(*is), Joined(elements, ", "))
            }
            Statement::VerdictMap(fields, map) => write!(f, "{} vmap @{map}", parts(fields)),
            Statement::Draw(verdicts) => {
                write!(f, "numgen random mod {} vmap {{ ", verdicts.len())?;
                for (number, verdict) in verdicts.iter().enumerate() {
                    write!(f, "{}{number} : {verdict}", if number == 0 { "" } else { ", " })?;
                }
                f.write_str(" }")
            }
            Statement::AddMark(bits) => write!(f, "meta mark set meta mark or {bits:#x}"),
            Statement::TurnMark(bits) => write!(f, "meta mark set meta mark xor {bits:#x}"),
            Statement::Update(fields, set) => write!(f, "update @{set} {{ {} }}", parts(fields)),
            Statement::TranslateBy(fields, map) => write!(f, "dnat to {} map @{map}", parts(fields)),
            Statement::TranslateTo(to) => write!(f, "dnat to {to}"),
            Statement::Masquerade => f.write_str("masquerade fully-random"),
            Statement::Reject => f.write_str("reject"),
            Statement::Count => f.write_str("counter"),
            Statement::CountIn(name) => write!(f, "counter name \"{name}\""),
            Statement::Limit(rate) => write!(f, "limit rate {rate}/second burst {rate} packets"),
            Statement::Log(group, words) => write!(f, "log prefix \"{words}\" group {group}"),
            Statement::Verdict(verdict) => verdict.fmt(f),
        }
    }
}

impl Display for Change {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let kind = |is_map: bool| if is_map { "map" } else { "set" };
        match self {
            Change::AddTable(table) => write!(f, "add table {table}"),
            Change::DeleteTable(table) => write!(f, "delete table {table}"),
            Change::AddChain(table, name, None) => write!(f, "add chain {table} {name}"),
            Change::AddChain(table, name, Some(hook)) => write!(f, "add chain {table} {name} {{ {hook} }}"),
            Change::FlushChain(table, name) => write!(f, "flush chain {table} {name}"),
            Change::DeleteChain(table, name) => write!(f, "delete chain {table} {name}"),
            Change::AddRule(table, chain, rule) => write!(f, "add rule {table} {chain} {}", Joined(rule, " ")),
            Change::AddSet(table, set) => {
                write!(f, "add {} {table} {} {set}", kind(set.data != Data::None), set.name)
            }
            Change::DeleteSet(table, name) => write!(f, "delete set {table} {name}"),
            Change::AddCounter(table, name) => write!(f, "add counter {table} {name}"),
            Change::DeleteCounter(table, name) => write!(f, "delete counter {table} {name}"),
            Change::AddElements(table, set, elements) => {
                write!(f, "add element {table} {} {{ {} }}", set.name, Joined(elements, ", "))
            }
            Change::DeleteElements(table, set, elements) => {
                write!(f, "delete element {table} {} {{ {} }}", set.name, Joined(elements, ", "))
            }
        }
    }
}

impl Display for Transaction {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.changes.iter().try_for_each(|change| writeln!(f, "{change}"))
    }
}
