//! Tables of packet rules (nf_tables), as values: chains, rules, sets and maps. They print as `nft` writes them, and a
//! [`Transaction`](crate::Transaction) of them is what the kernel takes.
//!
//! Here is what Services and network policies need of `linux/netfilter/nf_tables.h`, and nothing else.

use std::{net::IpAddr, time::Duration};

/// An address family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Version {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Version {
    /// The kernel's.
    pub(crate) fn number(self) -> u8 {
        match self {
            Version::V4 => 2,
            Version::V6 => 10,
        }
    }
}

/// A table of one address family.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Table {
    /// Its family.
    pub version: Version,
    /// Its name.
    pub name: String,
}

/// Where the kernel enters a base chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hook {
    /// What the chain may do.
    pub kind: Kind,
    /// Where packets are met.
    pub point: Point,
    /// Chains at one point are entered from the lowest on.
    pub priority: i32,
}

/// What a base chain may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Let pass, or not.
    Filter,
    /// Translate addresses: it sees the first packet of a flow.
    Nat,
}

/// Where packets are met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Point {
    /// All that comes in.
    Prerouting,
    /// What is for this machine.
    Input,
    /// What is for others.
    Forward,
    /// What this machine sends.
    Output,
    /// All that goes out.
    Postrouting,
}

/// A transport protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Transport {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

/// What rules look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Field {
    /// The source address.
    Source(Version),
    /// The destination address.
    Destination(Version),
    /// The transport protocol.
    Protocol,
    /// The source port of a protocol that has one.
    SourcePort,
    /// The destination port of a protocol that has one.
    DestinationPort,
    /// The packet's mark.
    Mark,
    /// A number below this, drawn for each packet.
    Random(u32),
    /// The interface by which it came in.
    Input,
    /// The interface by which it goes out.
    Output,
}

/// The type of a part of a key, or of what a map leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Type {
    /// An address.
    Address(Version),
    /// A transport protocol.
    Protocol,
    /// A port.
    Port,
    /// Any number; `nft` shows it as a mark.
    Number,
}

/// A value of a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Datum {
    /// An address.
    Address(IpAddr),
    /// A transport protocol.
    Protocol(Transport),
    /// A port.
    Port(u16),
    /// A number.
    Number(u32),
}

/// What becomes of a packet.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// No other rule of this hook's chain sees it.
    Accept,
    /// It is gone.
    Drop,
    /// Back to the chain that jumped here.
    Return,
    /// Through a chain, and back.
    Jump(String),
    /// Through a chain, not back.
    Goto(String),
}

/// A set, or a map if it has `data`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Set {
    /// Its name.
    pub name: String,
    /// The parts of its keys.
    pub key: Vec<Type>,
    /// What it leads to.
    pub data: Data,
    /// Its keys may be ranges.
    pub ranges: bool,
    /// Its elements are added by packets, and go after so long without one.
    pub timeout: Option<Duration>,
}

impl Set {
    /// A set of keys.
    pub fn of(name: impl Into<String>, key: impl Into<Vec<Type>>) -> Self {
        Self { name: name.into(), key: key.into(), data: Data::None, ranges: false, timeout: None }
    }

    /// A map from keys to verdicts.
    pub fn verdicts(name: impl Into<String>, key: impl Into<Vec<Type>>) -> Self {
        Self { data: Data::Verdict, ..Self::of(name, key) }
    }

    /// A map from keys to values.
    pub fn map(name: impl Into<String>, key: impl Into<Vec<Type>>, to: impl Into<Vec<Type>>) -> Self {
        Self { data: Data::Values(to.into()), ..Self::of(name, key) }
    }
}

/// What a map leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Data {
    /// Nothing: it is a set.
    None,
    /// Verdicts.
    Verdict,
    /// Values of these types.
    Values(Vec<Type>),
}

/// An element of a set or map.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Element {
    /// Its key, or where the range begins.
    pub key: Vec<Datum>,
    /// Where the range ends, itself included; a part of it that is like the key's is no range.
    pub last: Option<Vec<Datum>>,
    /// What it leads to.
    pub value: Value,
    /// After this long it goes, in a set with a timeout; otherwise after that.
    pub expires: Option<Duration>,
}

impl Element {
    /// Of a set.
    pub fn of(key: impl Into<Vec<Datum>>) -> Self {
        Self { key: key.into(), last: None, value: Value::None, expires: None }
    }

    /// Of a map to verdicts.
    pub fn verdict(key: impl Into<Vec<Datum>>, verdict: Verdict) -> Self {
        Self { value: Value::Verdict(verdict), ..Self::of(key) }
    }

    /// Of a map to values.
    pub fn data(key: impl Into<Vec<Datum>>, data: impl Into<Vec<Datum>>) -> Self {
        Self { value: Value::Data(data.into()), ..Self::of(key) }
    }

    /// All from `first` to `last`.
    pub fn range(first: impl Into<Vec<Datum>>, last: impl Into<Vec<Datum>>) -> Self {
        Self { last: Some(last.into()), ..Self::of(first) }
    }

    /// All addresses of a net.
    pub fn net(net: ipnet::IpNet) -> Self {
        Self::range([Datum::Address(net.network())], [Datum::Address(net.broadcast())])
    }
}

/// What an element leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// Nothing: it is a set's.
    None,
    /// What becomes of the packet.
    Verdict(Verdict),
    /// Values.
    Data(Vec<Datum>),
}

/// A rule: from left to right, as long as all matches hold.
pub type Rule = Vec<Statement>;

/// A match, or something that is done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Statement {
    /// The first packet of a flow.
    New,
    /// The packet is of a flow that was let through, or of one that belongs to such.
    Established,
    /// The flow's destination was translated.
    Translated,
    /// The mark has one of these bits.
    HasMark(u32),
    /// The field has (or has not) that value.
    Is(Field, Datum, bool),
    /// The address is (or is not) in the net.
    Within(Field, ipnet::IpNet, bool),
    /// The interface's name is (or is not) that; it may end in `*`.
    Interface(Field, String, bool),
    /// The source (or the destination) is this machine.
    SourceIsLocal,
    /// Likewise.
    DestinationIsLocal,
    /// It is one by which neighbours on a link find each other in IPv6 (ICMPv6 133 to 137): the kernel tracks no flow of it.
    Neighbours,
    /// The fields are (or are not) a key of the set.
    In(Vec<Field>, String, bool),
    /// The field is (or is not) in one of these ranges or values.
    Among(Field, Vec<Element>, bool),
    /// The verdict that the map has for the fields.
    VerdictMap(Vec<Field>, String),
    /// The verdict at the number that is drawn.
    Draw(Vec<Verdict>),
    /// These bits are set in the mark.
    AddMark(u32),
    /// These bits of the mark are turned.
    TurnMark(u32),
    /// The fields are a key of the set from now on, for as long as its timeout is.
    Update(Vec<Field>, String),
    /// The destination is what the map has for the fields: address and port.
    TranslateBy(Vec<Field>, String),
    /// The destination is this.
    TranslateTo(std::net::SocketAddr),
    /// The source is the machine's, with a port that cannot be foreseen.
    Masquerade,
    /// The sender is told that nobody listens.
    Reject,
    /// It is counted.
    Count,
    /// It is counted in the table's counter of that name.
    CountIn(String),
    /// Not more often than so many a second, after a burst of as many.
    Limit(u32),
    /// It is told to who listens to that group, with these words before it.
    Log(u16, String),
    /// What becomes of it.
    Verdict(Verdict),
}
