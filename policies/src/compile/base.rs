//! The fixed part of the table: where packets are met, and the few rules that each first packet of a flow passes.
//!
//! What goes out of pods is judged before what comes in, in chains of their own at the same hook: that one chain accepts a
//! packet ends that chain alone. So a policy's rule just accepts, and a packet between two pods of this node passes both.
//! Services' addresses are translated long before (at prerouting), so what is seen here are pods' addresses.
//!
//! What this machine sends itself is met nowhere: the node reaches its pods, as its kubelet has to. What its pods send to it
//! is met at its input.

use netfilter::tables::{Field, Hook, Kind, Point, Rule, Set, Statement, Table, Type, Verdict, Version};
use netfilter::{Change, Transaction};

/// Packets that are told of, and listened for, have this group.
pub const LOG_GROUP: u16 = 1872;
/// At most so many a second, of each chain that drops.
const TOLD: u32 = 5;

/// The chain that stays empty: it tells whether the table is there.
pub const ALIVE: &str = "alive";
/// Where packets of pods go that nobody has told of; and its counter.
pub const UNKNOWN: &str = "unknown-pods";

/// Addresses of this node's pods.
pub const PODS: &str = "pods";
/// Each of them twice, side by side.
pub const THEMSELVES: &str = "pods-themselves";
/// The ranges that its pods have their addresses from, while they are held back until they are known.
pub const RANGES: &str = "pod-ranges";
/// Addresses that have no meaning beyond a link: pods could meet by them on a bridge.
pub const LINK_LOCAL: &str = "link-local";
/// Where the cluster's DNS answers, and where it is the node itself.
pub const DNS: &str = "dns";
/// See [`DNS`].
pub const DNS_HOSTS: &str = "dns-hosts";
/// The chains of pods by address.
pub const EGRESS: &str = "pods-egress";
/// See [`EGRESS`].
pub const INGRESS: &str = "pods-ingress";

/// The chains at hooks. Other filters stand at 0, the proxy's among them.
const HOOKS: [(&str, Point, i32); 3] =
    [("egress-forward", Point::Forward, 5), ("egress-input", Point::Input, 5), ("ingress-forward", Point::Forward, 6)];

/// The destination of a packet, with protocol and port.
pub fn destination(version: Version) -> Vec<Field> {
    vec![Field::Destination(version), Field::Protocol, Field::DestinationPort]
}

/// The sets that are always there.
pub fn sets(version: Version) -> Vec<Set> {
    let ip = Type::Address(version);
    let ends = [ip, Type::Protocol, Type::Port];
    let mut sets = vec![
        Set::of(PODS, [ip]),
        Set::of(THEMSELVES, [ip, ip]),
        Set { ranges: true, ..Set::of(RANGES, [ip]) },
        Set::of(DNS, ends),
        Set::of(DNS_HOSTS, ends),
        Set::verdicts(EGRESS, [ip]),
        Set::verdicts(INGRESS, [ip]),
    ];
    if version == Version::V6 {
        sets.push(Set { ranges: true, ..Set::of(LINK_LOCAL, [ip]) });
    }
    sets
}

/// Makes the fixed part, where no table of that name is left.
pub fn create(table: &Table) -> Transaction {
    let of = || table.clone();
    let mut made = Transaction::default();
    made.extend([Change::AddTable(of()), Change::DeleteTable(of()), Change::AddTable(of())]);
    made.extend(sets(table.version).into_iter().map(|set| Change::AddSet(of(), set)));
    made.push(Change::AddCounter(of(), UNKNOWN.to_owned()));
    made.extend([ALIVE, UNKNOWN].map(|name| Change::AddChain(of(), name.to_owned(), None)));
    made.extend(hooks(table, &HOOKS));
    made.extend(rules(table.version).into_iter().map(|(chain, rule)| Change::AddRule(of(), chain.to_owned(), rule)));
    made
}

/// A table that lets no new flow through this machine: until it is known what may pass, where none is left that knew.
pub fn hold(table: &Table) -> Transaction {
    let of = || table.clone();
    let chain = HOOKS[0].0;
    let mut made = Transaction::default();
    made.extend([Change::AddTable(of()), Change::DeleteTable(of()), Change::AddTable(of())]);
    made.push(Change::AddChain(of(), ALIVE.to_owned(), None));
    made.extend(hooks(table, &HOOKS[..1]));
    let mut rules = passed(table.version);
    rules.push(vec![Statement::Verdict(Verdict::Drop)]);
    made.extend(rules.into_iter().map(|rule| Change::AddRule(of(), chain.to_owned(), rule)));
    made
}

fn hooks(table: &Table, hooks: &[(&str, Point, i32)]) -> Vec<Change> {
    let base = |(name, point, priority): &(&str, Point, i32)| {
        let hook = Hook { kind: Kind::Filter, point: *point, priority: *priority };
        Change::AddChain(table.clone(), (*name).to_owned(), Some(hook))
    };
    hooks.iter().map(base).collect()
}

fn accept() -> Statement {
    Statement::Verdict(Verdict::Accept)
}

/// What passes always: flows that were let through, and how neighbours find each other.
fn passed(version: Version) -> Vec<Rule> {
    let mut rules = vec![vec![Statement::Established, accept()]];
    if version == Version::V6 {
        rules.push(vec![Statement::Neighbours, accept()]);
    }
    rules
}

pub(super) fn rules(version: Version) -> Vec<(&'static str, Rule)> {
    let (source, destination) = (Field::Source(version), Field::Destination(version));
    let among = |field, set: &str, is| Statement::In(vec![field], set.to_owned(), is);
    let unknown = || Statement::Verdict(Verdict::Goto(UNKNOWN.to_owned()));
    let mut rules = Vec::new();
    for (chain, point, _) in HOOKS {
        rules.extend(passed(version).into_iter().map(|rule| (chain, rule)));
        if point == Point::Input {
            rules.push((chain, vec![Statement::Interface(Field::Input, "lo".to_owned(), true), accept()]));
        } else {
            // By a Service a pod may come back to itself.
            let itself = Statement::In(vec![source, destination], THEMSELVES.to_owned(), true);
            rules.push((chain, vec![itself, accept()]));
        }
    }
    for (chain, field, map) in
        [(HOOKS[0].0, source, EGRESS), (HOOKS[1].0, source, EGRESS), (HOOKS[2].0, destination, INGRESS)]
    {
        rules.push((chain, vec![among(field, RANGES, true), among(field, PODS, false), unknown()]));
        rules.push((chain, vec![Statement::VerdictMap(vec![field], map.to_owned())]));
    }
    // No router passes these on: they are between pods, on a bridge. Some are told to all that listen there, and count nothing.
    if version == Version::V6 {
        rules.push((HOOKS[0].0, vec![among(source, LINK_LOCAL, true), Statement::Verdict(Verdict::Drop)]));
    }
    // Nobody could be told.
    rules.extend(denied("unknown", UNKNOWN, false).into_iter().map(|rule| (UNKNOWN, rule)));
    rules
}

/// The end of a chain: what gets there is counted, told of if it `is_told`, and dropped.
pub fn denied(words: &str, counter: &str, is_told: bool) -> Vec<Rule> {
    let mut rules = vec![vec![Statement::CountIn(counter.to_owned())]];
    if is_told {
        rules.push(vec![Statement::Limit(TOLD), Statement::Log(LOG_GROUP, words.to_owned())]);
    }
    rules.push(vec![Statement::Verdict(Verdict::Drop)]);
    rules
}

/// Leaves nothing, and is refused where the kernel can't tell of packets.
pub fn tells() -> Transaction {
    let table = || Table { version: Version::V4, name: "ferry-policies-probe".to_owned() };
    let chain = "probe".to_owned();
    let mut probe = Transaction::default();
    probe.extend([
        Change::AddTable(table()),
        Change::AddChain(table(), chain.clone(), None),
        Change::AddRule(table(), chain, vec![Statement::Log(LOG_GROUP, "probe".to_owned())]),
        Change::DeleteTable(table()),
    ]);
    probe
}
