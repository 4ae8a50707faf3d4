//! What rules are made of: expressions, which hand each other values in registers.

use crate::netlink::Attributes;
use crate::tables::{Datum, Field, Statement, Type, Version};

use super::{COUNTER, bytes, put, type_of, value, verdict, width};

/// Where a rule's verdict goes.
const VERDICT_REGISTER: u32 = 0;
/// The first of sixteen registers of four bytes.
const REGISTER: u32 = 8;

/// `NFT_CMP_LTE`, `NFT_CMP_GTE`.
const AT_MOST: u32 = 3;
const AT_LEAST: u32 = 5;

/// The expressions of a rule that are being written.
pub(super) struct Expressions<'l, 'm> {
    pub(super) list: &'l mut Attributes<'m>,
    pub(super) version: Version,
}

impl Expressions<'_, '_> {
    fn expression(&mut self, name: &str, body: impl FnOnce(&mut Attributes<'_>)) {
        self.list.nested(1, |expression| {
            expression.text(1, name);
            expression.nested(2, body);
        });
    }

    /// Those of a statement; `own` is the set that it has its values in, and its number.
    pub(super) fn statement(&mut self, statement: &Statement, own: Option<&(String, u32)>) {
        match statement {
            Statement::New => self.state(0, 8),
            Statement::Established => self.state(0, 2 | 4),
            Statement::Translated => self.state(2, 0x20),
            Statement::HasMark(bits) => {
                self.load(Field::Mark, REGISTER);
                self.has_bits(*bits);
            }
            Statement::Is(field, datum, is) => {
                self.load(*field, REGISTER);
                let mut wanted = Vec::new();
                put(&mut wanted, datum);
                self.compare(*is, &wanted);
            }
            Statement::Within(field, net, is) => {
                self.load(*field, REGISTER);
                let [mut network, mut mask] = [Vec::new(), Vec::new()];
                put(&mut network, &Datum::Address(net.network()));
                put(&mut mask, &Datum::Address(net.netmask()));
                let none = vec![0; mask.len()];
                self.bitwise(&mask, &none);
                self.compare(*is, &network);
            }
            Statement::Interface(field, name, is) => {
                self.load(*field, REGISTER);
                let mut wanted = name.strip_suffix('*').unwrap_or(name).as_bytes().to_vec();
                // What stands before a star is compared alone.
                if !name.ends_with('*') {
                    wanted.resize(16, 0);
                }
                self.compare(*is, &wanted);
            }
            Statement::SourceIsLocal => self.is_local(1),
            Statement::DestinationIsLocal => self.is_local(2),
            Statement::Neighbours => {
                const ICMP6: u8 = 58;
                self.load(Field::Protocol, REGISTER);
                self.compare(true, &[ICMP6]);
                self.payload(REGISTER, 2, 0, 1);
                // From a router's solicitation to a redirect.
                self.compare_as(AT_LEAST, &[133]);
                self.compare_as(AT_MOST, &[137]);
            }
            Statement::In(fields, set, is) => {
                self.key(fields);
                self.lookup((set, None), None, *is);
            }
            Statement::Among(field, _, is) => {
                self.load(*field, REGISTER);
                if let Some((name, id)) = own {
                    self.lookup((name, Some(*id)), None, *is);
                }
            }
            Statement::VerdictMap(fields, map) => {
                self.key(fields);
                self.lookup((map, None), Some(VERDICT_REGISTER), true);
            }
            Statement::Draw(verdicts) => {
                self.load(Field::Random(verdicts.len() as u32), REGISTER);
                if let Some((name, id)) = own {
                    self.lookup((name, Some(*id)), Some(VERDICT_REGISTER), true);
                }
            }
            Statement::AddMark(bits) => self.change_mark(!bits, *bits),
            Statement::TurnMark(bits) => self.change_mark(u32::MAX, *bits),
            Statement::Update(fields, set) => {
                self.key(fields);
                self.expression("dynset", |out| {
                    out.text(1, set);
                    out.u32(3, 1);
                    out.u32(4, REGISTER);
                });
            }
            Statement::TranslateBy(fields, map) => {
                self.key(fields);
                self.lookup((map, None), Some(REGISTER), true);
                self.translate();
            }
            Statement::TranslateTo(to) => {
                let data = bytes(&[Datum::Address(to.ip()), Datum::Port(to.port())]);
                let (address, port) = data.split_at(data.len() - 4);
                for (register, bytes) in [(REGISTER, address), (self.port_register(), &port[..2])] {
                    self.expression("immediate", |out| {
                        out.u32(1, register);
                        value(out, 2, bytes);
                    });
                }
                self.translate();
            }
            Statement::Masquerade => self.expression("masq", |out| out.u32(1, 16)),
            Statement::Reject => {
                let code = match self.version {
                    Version::V4 => 3,
                    Version::V6 => 4,
                };
                self.expression("reject", |out| {
                    out.u32(1, 0);
                    out.bytes(2, &[code]);
                });
            }
            Statement::Count => self.expression("counter", |_| ()),
            Statement::CountIn(name) => self.expression("objref", |out| {
                out.u32(1, COUNTER);
                out.text(2, name);
            }),
            Statement::Limit(rate) => self.expression("limit", |out| {
                out.u64(1, u64::from(*rate));
                out.u64(2, 1);
                out.u32(3, *rate);
            }),
            Statement::Log(group, words) => self.expression("log", |out| {
                out.bytes(1, &group.to_be_bytes());
                out.text(2, words);
            }),
            Statement::Verdict(to) => self.expression("immediate", |out| {
                out.u32(1, VERDICT_REGISTER);
                verdict(out, 2, to);
            }),
        }
    }

    fn load(&mut self, field: Field, register: u32) {
        let mut meta = |key: u32| {
            self.expression("meta", |out| {
                out.u32(1, register);
                out.u32(2, key);
            });
        };
        match field {
            Field::Protocol => meta(16),
            Field::Mark => meta(3),
            Field::Input => meta(6),
            Field::Output => meta(7),
            Field::Random(below) => self.expression("numgen", |out| {
                out.u32(1, register);
                out.u32(2, below);
                out.u32(3, 1);
                out.u32(4, 0);
            }),
            Field::Source(Version::V4) => self.payload(register, 1, 12, 4),
            Field::Destination(Version::V4) => self.payload(register, 1, 16, 4),
            Field::Source(Version::V6) => self.payload(register, 1, 8, 16),
            Field::Destination(Version::V6) => self.payload(register, 1, 24, 16),
            Field::SourcePort => self.payload(register, 2, 0, 2),
            Field::DestinationPort => self.payload(register, 2, 2, 2),
        }
    }

    /// So many bytes from there in a header: that of the network (1) or of the transport (2).
    fn payload(&mut self, register: u32, base: u32, offset: u32, length: u32) {
        self.expression("payload", |out| {
            out.u32(1, register);
            out.u32(2, base);
            out.u32(3, offset);
            out.u32(4, length);
        });
    }

    /// The fields side by side.
    fn key(&mut self, fields: &[Field]) {
        let mut register = REGISTER;
        for field in fields {
            self.load(*field, register);
            register += width(type_of(*field)) as u32 / 4;
        }
    }

    fn lookup(&mut self, (set, id): (&str, Option<u32>), into: Option<u32>, is: bool) {
        self.expression("lookup", |out| {
            out.text(1, set);
            id.iter().for_each(|id| out.u32(4, *id));
            out.u32(2, REGISTER);
            into.iter().for_each(|into| out.u32(3, *into));
            if !is {
                out.u32(5, 1);
            }
        });
    }

    fn compare(&mut self, equal: bool, with: &[u8]) {
        self.compare_as(u32::from(!equal), with);
    }

    fn compare_as(&mut self, operator: u32, with: &[u8]) {
        self.expression("cmp", |out| {
            out.u32(1, REGISTER);
            out.u32(2, operator);
            value(out, 3, with);
        });
    }

    /// And with the one, exclusive or with the other.
    fn bitwise(&mut self, mask: &[u8], turned: &[u8]) {
        self.expression("bitwise", |out| {
            out.u32(1, REGISTER);
            out.u32(2, REGISTER);
            out.u32(3, mask.len() as u32);
            value(out, 4, mask);
            value(out, 5, turned);
        });
    }

    fn has_bits(&mut self, bits: u32) {
        self.bitwise(&bits.to_ne_bytes(), &[0; 4]);
        self.compare(false, &[0; 4]);
    }

    /// Of the flow: its state (0) or status (2) has one of the bits.
    fn state(&mut self, key: u32, bits: u32) {
        self.expression("ct", |out| {
            out.u32(1, REGISTER);
            out.u32(2, key);
        });
        self.has_bits(bits);
    }

    /// The type of the source (1) or the destination (2).
    fn is_local(&mut self, of: u32) {
        /// `NFT_FIB_RESULT_ADDRTYPE`, `RTN_LOCAL`
        const TYPE: u32 = 3;
        const LOCAL: u32 = 2;
        self.expression("fib", |out| {
            out.u32(1, REGISTER);
            out.u32(2, TYPE);
            out.u32(3, of);
        });
        self.compare(true, &LOCAL.to_ne_bytes());
    }

    fn change_mark(&mut self, mask: u32, turned: u32) {
        self.load(Field::Mark, REGISTER);
        self.bitwise(&mask.to_ne_bytes(), &turned.to_ne_bytes());
        self.expression("meta", |out| {
            out.u32(3, REGISTER);
            out.u32(2, 3);
        });
    }

    fn port_register(&self) -> u32 {
        REGISTER + width(Type::Address(self.version)) as u32 / 4
    }

    /// To the address and the port behind it in the registers.
    fn translate(&mut self) {
        const DESTINATION: u32 = 1;
        /// `NF_NAT_RANGE_MAP_IPS | NF_NAT_RANGE_PROTO_SPECIFIED`
        const RANGE: u32 = 1 | 2;
        let port = self.port_register();
        let family = u32::from(self.version.number());
        self.expression("nat", |out| {
            out.u32(1, DESTINATION);
            out.u32(2, family);
            out.u32(3, REGISTER);
            out.u32(5, port);
            out.u32(7, RANGE);
        });
    }
}
