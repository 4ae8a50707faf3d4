//! As the kernel takes it: `linux/netfilter/nf_tables.h`.

mod expressions;

use std::{net::IpAddr, time::Duration};

use crate::netlink::{APPEND, Attributes, CREATE, Head, Writer};
use crate::tables::{
    Data, Datum, Element, Field, Hook, Kind, Point, Rule, Set, Statement, Table, Transport, Type, Value, Verdict,
    Version,
};
use crate::transaction::{Change, Transaction};
use expressions::Expressions;

/// `NFNL_SUBSYS_NFTABLES`, as the high byte of its messages' types.
const SUBSYSTEM: u16 = 10;
const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;

/// `enum nf_tables_msg_types`.
mod message {
    pub(super) const NEW_TABLE: u16 = 0;
    pub(super) const DELETE_TABLE: u16 = 2;
    pub(super) const NEW_CHAIN: u16 = 3;
    pub(super) const DELETE_CHAIN: u16 = 5;
    pub(super) const NEW_RULE: u16 = 6;
    pub(super) const DELETE_RULE: u16 = 8;
    pub(super) const NEW_SET: u16 = 9;
    pub(super) const DELETE_SET: u16 = 11;
    pub(super) const NEW_ELEMENTS: u16 = 12;
    pub(super) const DELETE_ELEMENTS: u16 = 14;
    pub(super) const NEW_OBJECT: u16 = 18;
    pub(super) const DELETE_OBJECT: u16 = 20;
}

/// `NFT_OBJECT_COUNTER`, of the objects that have names.
pub(crate) const COUNTER: u32 = 1;

/// The first attributes of all of them: the table, and the name of what is in it.
const TABLE: u16 = 1;
const CHAIN_NAME: u16 = 3;
const NAME: u16 = 2;

/// `enum nft_set_flags`.
mod set_flag {
    pub(super) const ANONYMOUS: u32 = 1;
    pub(super) const CONSTANT: u32 = 2;
    pub(super) const INTERVAL: u32 = 4;
    pub(super) const MAP: u32 = 8;
    pub(super) const TIMEOUT: u32 = 0x10;
    pub(super) const EVAL: u32 = 0x20;
    pub(super) const CONCAT: u32 = 0x80;
}

/// Verdicts are data of this type.
const VERDICT_TYPE: u32 = 0xffff_ff00;

/// What `nft` notes of a set whose keys are numbers in the machine's byte order, to show them right
/// (`NFTNL_UDATA_SET_KEYBYTEORDER`, its length, `BYTEORDER_HOST_ENDIAN`).
const HOST_ORDER: [u8; 6] = {
    let one = 1_u32.to_ne_bytes();
    [0, 4, one[0], one[1], one[2], one[3]]
};

/// An attribute holds at most 64 KiB: so many elements go into one message.
const ELEMENTS: usize = 400;

/// The messages of a transaction; the number of each change is one less than that of its message.
pub(crate) fn batch(transaction: &Transaction) -> (Vec<u8>, Vec<usize>) {
    let mut encoder = Encoder { writer: Writer::default(), changes: vec![0], sets: 0 };
    encoder.bound(BATCH_BEGIN);
    for (index, change) in transaction.changes.iter().enumerate() {
        encoder.change(index, change);
    }
    encoder.bound(BATCH_END);
    (encoder.writer.into_bytes(), encoder.changes)
}

struct Encoder {
    writer: Writer,
    /// Of each message, the change that it is of.
    changes: Vec<usize>,
    /// Sets so far: in a transaction each has a number.
    sets: u32,
}

impl Encoder {
    fn bound(&mut self, kind: u16) {
        let sequence = self.changes.len() as u32 - 1;
        self.writer.message(Head { kind, sequence, resource: SUBSYSTEM, ..Head::default() }, |_| ());
    }

    fn message(&mut self, of: usize, kind: u16, flags: u16, table: &Table, body: impl FnOnce(&mut Attributes<'_>)) {
        let sequence = self.changes.len() as u32;
        self.changes.push(of);
        let kind = SUBSYSTEM << 8 | kind;
        let head = Head { kind, flags, sequence, family: table.version.number(), resource: 0 };
        self.writer.message(head, |attributes| {
            attributes.text(TABLE, &table.name);
            body(attributes);
        });
    }

    fn change(&mut self, of: usize, change: &Change) {
        match change {
            Change::AddTable(table) => self.message(of, message::NEW_TABLE, CREATE, table, |_| ()),
            Change::DeleteTable(table) => self.message(of, message::DELETE_TABLE, 0, table, |_| ()),
            Change::AddChain(table, name, hook) => self.message(of, message::NEW_CHAIN, CREATE, table, |chain| {
                chain.text(CHAIN_NAME, name);
                hook.iter().for_each(|hook| base_chain(chain, *hook));
            }),
            Change::FlushChain(table, name) => {
                self.message(of, message::DELETE_RULE, 0, table, |rule| rule.text(NAME, name));
            }
            Change::DeleteChain(table, name) => {
                self.message(of, message::DELETE_CHAIN, 0, table, |chain| chain.text(CHAIN_NAME, name));
            }
            Change::AddRule(table, chain, rule) => self.rule(of, table, chain, rule),
            Change::AddSet(table, set) => {
                self.set(of, table, set, 0);
            }
            Change::DeleteSet(table, name) => {
                self.message(of, message::DELETE_SET, 0, table, |set| set.text(NAME, name));
            }
            Change::AddCounter(table, name) => self.message(of, message::NEW_OBJECT, CREATE, table, |object| {
                object.text(2, name);
                object.u32(3, COUNTER);
                object.nested(4, |_| ());
            }),
            Change::DeleteCounter(table, name) => self.message(of, message::DELETE_OBJECT, 0, table, |object| {
                object.text(2, name);
                object.u32(3, COUNTER);
            }),
            Change::AddElements(table, set, all) => {
                self.elements(of, (message::NEW_ELEMENTS, CREATE), table, set, None, all);
            }
            Change::DeleteElements(table, set, all) => {
                self.elements(of, (message::DELETE_ELEMENTS, 0), table, set, None, all);
            }
        }
    }

    /// Gives the set's number in this transaction.
    fn set(&mut self, of: usize, table: &Table, set: &Set, more_flags: u32) -> u32 {
        self.sets += 1;
        let id = self.sets;
        self.message(of, message::NEW_SET, CREATE, table, |out| {
            out.text(NAME, &set.name);
            out.u32(3, flags(set) | more_flags);
            out.u32(4, type_number(&set.key));
            out.u32(5, set.key.iter().map(|part| width(*part) as u32).sum());
            match &set.data {
                Data::None => {}
                Data::Verdict => {
                    out.u32(6, VERDICT_TYPE);
                    out.u32(7, 16);
                }
                Data::Values(types) => {
                    out.u32(6, type_number(types));
                    out.u32(7, types.iter().map(|part| width(*part) as u32).sum());
                }
            }
            if set.ranges && set.key.len() > 1 {
                out.nested(9, |description| {
                    description.nested(2, |fields| {
                        for part in &set.key {
                            fields.nested(1, |field| field.u32(1, exact_width(*part) as u32));
                        }
                    });
                });
            }
            out.u32(10, id);
            if let Some(timeout) = set.timeout {
                out.u64(11, milliseconds(timeout));
            }
            if set.key == [Type::Number] {
                out.bytes(13, &HOST_ORDER);
            }
        });
        id
    }

    fn elements(
        &mut self,
        of: usize,
        (kind, flags): (u16, u16),
        table: &Table,
        set: &Set,
        id: Option<u32>,
        all: &[Element],
    ) {
        for some in all.chunks(ELEMENTS) {
            self.message(of, kind, flags, table, |out| {
                out.text(2, &set.name);
                id.iter().for_each(|id| out.u32(4, *id));
                out.nested(3, |list| some.iter().for_each(|one| element(list, set, one)));
            });
        }
    }

    fn rule(&mut self, of: usize, table: &Table, chain: &str, rule: &Rule) {
        // Sets without a name come before the rule that uses them.
        let sets: Vec<_> = rule.iter().map(|statement| self.own_set(of, table, statement)).collect();
        self.message(of, message::NEW_RULE, CREATE | APPEND, table, |out| {
            out.text(2, chain);
            out.nested(4, |list| {
                for (statement, set) in rule.iter().zip(&sets) {
                    Expressions { list: &mut *list, version: table.version }.statement(statement, set.as_ref());
                }
            });
        });
    }

    /// The set that a statement has its values in, if it has one.
    fn own_set(&mut self, of: usize, table: &Table, statement: &Statement) -> Option<(String, u32)> {
        let (mut set, elements) = match statement {
            Statement::Among(field, elements, _) => {
                let ranges = elements.iter().any(|element| element.last.is_some());
                (Set { ranges, ..Set::of("__set%d", [type_of(*field)]) }, elements.clone())
            }
            Statement::Draw(verdicts) => {
                let numbered = (0..).zip(verdicts);
                let element =
                    |(number, verdict): (u32, &Verdict)| Element::verdict([Datum::Number(number)], verdict.clone());
                (Set::verdicts("__map%d", [Type::Number]), numbered.map(element).collect())
            }
            _ => return None,
        };
        let id = self.set(of, table, &set, set_flag::ANONYMOUS | set_flag::CONSTANT);
        self.elements(of, (message::NEW_ELEMENTS, CREATE), table, &set, Some(id), &elements);
        Some((std::mem::take(&mut set.name), id))
    }
}

fn base_chain(chain: &mut Attributes<'_>, hook: Hook) {
    chain.nested(4, |out| {
        out.u32(
            1,
            match hook.point {
                Point::Prerouting => 0,
                Point::Input => 1,
                Point::Forward => 2,
                Point::Output => 3,
                Point::Postrouting => 4,
            },
        );
        out.u32(2, hook.priority as u32);
    });
    chain.text(
        7,
        match hook.kind {
            Kind::Filter => "filter",
            Kind::Nat => "nat",
        },
    );
}

fn flags(set: &Set) -> u32 {
    let when = |is: bool, flag: u32| if is { flag } else { 0 };
    when(set.ranges, set_flag::INTERVAL)
        | when(set.ranges && set.key.len() > 1, set_flag::CONCAT)
        | when(set.data != Data::None, set_flag::MAP)
        | when(set.timeout.is_some(), set_flag::TIMEOUT | set_flag::EVAL)
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// `nft`'s number of a type, by which it shows the set's elements; the kernel does not look at it.
fn type_number(parts: &[Type]) -> u32 {
    parts.iter().fold(0, |all, part| {
        all << 6
            | match part {
                Type::Address(Version::V4) => 7,
                Type::Address(Version::V6) => 8,
                Type::Protocol => 12,
                Type::Port => 13,
                Type::Number => 19,
            }
    })
}

/// Bytes of a value.
fn exact_width(part: Type) -> usize {
    match part {
        Type::Address(Version::V4) | Type::Number => 4,
        Type::Address(Version::V6) => 16,
        Type::Protocol => 1,
        Type::Port => 2,
    }
}

/// Bytes of a value in a key: each part fills its registers.
fn width(part: Type) -> usize {
    exact_width(part).next_multiple_of(4)
}

fn type_of(field: Field) -> Type {
    match field {
        Field::Source(version) | Field::Destination(version) => Type::Address(version),
        Field::Protocol => Type::Protocol,
        Field::SourcePort | Field::DestinationPort => Type::Port,
        Field::Mark | Field::Random(_) | Field::Input | Field::Output => Type::Number,
    }
}

fn put(out: &mut Vec<u8>, datum: &Datum) {
    match datum {
        Datum::Address(IpAddr::V4(address)) => out.extend(address.octets()),
        Datum::Address(IpAddr::V6(address)) => out.extend(address.octets()),
        Datum::Protocol(protocol) => out.push(protocol_number(*protocol)),
        Datum::Port(port) => out.extend(port.to_be_bytes()),
        Datum::Number(number) => out.extend(number.to_ne_bytes()),
    }
}

fn protocol_number(protocol: Transport) -> u8 {
    match protocol {
        Transport::Tcp => 6,
        Transport::Udp => 17,
        Transport::Sctp => 132,
    }
}

fn bytes(data: &[Datum]) -> Vec<u8> {
    let mut out = Vec::with_capacity(24);
    for datum in data {
        put(&mut out, datum);
        out.resize(out.len().next_multiple_of(4), 0);
    }
    out
}

fn value(out: &mut Attributes<'_>, kind: u16, bytes: &[u8]) {
    out.nested(kind, |data| data.bytes(1, bytes));
}

fn verdict(out: &mut Attributes<'_>, kind: u16, verdict: &Verdict) {
    let (code, chain): (i32, Option<&str>) = match verdict {
        Verdict::Drop => (0, None),
        Verdict::Accept => (1, None),
        Verdict::Jump(chain) => (-3, Some(chain)),
        Verdict::Goto(chain) => (-4, Some(chain)),
        Verdict::Return => (-5, None),
    };
    out.nested(kind, |data| {
        data.nested(2, |verdict| {
            verdict.u32(1, code as u32);
            chain.iter().for_each(|chain| verdict.text(2, chain));
        });
    });
}

fn element(list: &mut Attributes<'_>, set: &Set, element: &Element) {
    /// `NFT_SET_ELEM_INTERVAL_END`
    const END: u32 = 1;
    let last = element.last.as_deref().unwrap_or(&element.key);
    list.nested(1, |out| {
        value(out, 1, &bytes(&element.key));
        match &element.value {
            Value::None => {}
            Value::Verdict(to) => verdict(out, 2, to),
            Value::Data(data) => value(out, 2, &bytes(data)),
        }
        if set.ranges && set.key.len() > 1 {
            value(out, 10, &bytes(last));
        }
        if let (Some(timeout), Some(left)) = (set.timeout, element.expires) {
            out.u64(4, milliseconds(timeout));
            out.u64(5, milliseconds(left.min(timeout)));
        }
    });
    // Of one part, a range is two elements: where it begins, and the first behind it, if there is one.
    if set.ranges
        && set.key.len() == 1
        && let Some(behind) = after(bytes(last))
    {
        list.nested(1, |out| {
            out.u32(3, END);
            value(out, 1, &behind);
        });
    }
}

/// The next larger number.
fn after(mut bytes: Vec<u8>) -> Option<Vec<u8>> {
    for byte in bytes.iter_mut().rev() {
        *byte = byte.wrapping_add(1);
        if *byte != 0 {
            return Some(bytes);
        }
    }
    None
}
