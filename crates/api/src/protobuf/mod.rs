//! Kubernetes' protobuf, both ways, as one walk over the schema table.
//!
//! Upstream's generated code is proto2 with habits of its own, which this follows byte for byte: scalars that are not
//! pointers are written even when they are zero, and so are structs; maps are sorted; what JSON inlines may be nested
//! here (`Volume.emptyDir` is field 2 in field 2). An object travels in an envelope that names its kind.
//!
//! Decoding bounds depth and never makes more than a small multiple of its input; unknown fields are skipped, as proto
//! has it. Values that are zero and mean "not set" are left out of the object, so that it is as if decoded from JSON.

use std::sync::{LazyLock, OnceLock};

use machinery::json::Fields;
use serde_json::{Map, Value};

use crate::schema::{self, Type};

mod decode;
mod encode;
mod resident;
#[cfg(test)]
mod tests;
mod wire;

pub use resident::{Part, Resident, event, frame, list_head};

/// The content type.
pub const MEDIA_TYPE: &str = "application/vnd.kubernetes.protobuf";
/// What an enveloped object begins with.
pub const MAGIC: &[u8] = b"k8s\0";

/// What an enveloped object ends with: neither a content encoding nor a content type.
pub const TAIL: &[u8] = b"\x1a\0\x22\0";

/// Why bytes are not an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error(pub String);

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Error {}

/// An object in its envelope, not yet decoded.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Envelope<'b> {
    /// `v1`, `apps/v1`; may be empty.
    pub api_version: &'b str,
    /// The kind; may be empty.
    pub kind: &'b str,
    /// The object's own bytes.
    pub raw: &'b [u8],
    /// What `raw` is, if not protobuf.
    pub content_type: &'b str,
}

impl Envelope<'_> {
    /// Appends what precedes the object's bytes and their length.
    fn begin(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(MAGIC);
        wire::write_nested(1, out, |out| {
            wire::write_bytes(1, self.api_version.as_bytes(), out);
            wire::write_bytes(2, self.kind.as_bytes(), out);
        });
    }
}

/// Opens an envelope.
pub fn open(bytes: &[u8]) -> Result<Envelope<'_>, Error> {
    let body = bytes
        .strip_prefix(MAGIC)
        .ok_or_else(|| Error("provided data does not appear to be a protobuf message".into()))?;
    let text = |bytes| std::str::from_utf8(bytes).map_err(|_| Error("a name is not UTF-8".into()));
    let mut envelope = Envelope::default();
    for field in wire::fields(body) {
        match field? {
            (1, wire::Wire::Bytes(meta)) => {
                for field in wire::fields(meta) {
                    match field? {
                        (1, wire::Wire::Bytes(version)) => envelope.api_version = text(version)?,
                        (2, wire::Wire::Bytes(kind)) => envelope.kind = text(kind)?,
                        _ => {}
                    }
                }
            }
            (2, wire::Wire::Bytes(raw)) => envelope.raw = raw,
            (4, wire::Wire::Bytes(kind)) => envelope.content_type = text(kind)?,
            _ => {}
        }
    }
    Ok(envelope)
}

/// The object of that type in `raw` bytes, without kind and apiVersion.
pub fn decode(raw: &[u8], ty: &'static Type) -> Result<Map<String, Value>, Error> {
    decode::object(raw, ty, 0)
}

/// A field of bytes or text of a message that the schema table does not have; the last, if there are several.
pub fn bytes_of(raw: &[u8], number: u64) -> Result<Option<&[u8]>, Error> {
    let mut found = None;
    for field in wire::fields(raw) {
        match field? {
            (n, wire::Wire::Bytes(bytes)) if n == number => found = Some(bytes),
            _ => {}
        }
    }
    Ok(found)
}

/// Appends an object in its envelope; kind and apiVersion are the object's own.
pub fn encode(value: &Value, ty: &'static Type, out: &mut Vec<u8>) {
    Envelope { api_version: value.text("apiVersion"), kind: value.text("kind"), ..Envelope::default() }.begin(out);
    wire::write_nested(2, out, |out| encode::object(Some(value), ty, out));
    out.extend_from_slice(TAIL);
}

/// A message's fields by number, ascending.
struct Plan {
    nodes: Vec<(u16, Node)>,
}

enum Node {
    /// The field of the object at that position of its type's.
    Field(usize),
    /// Fields of the object that protobuf nests in a message.
    Group(Plan),
}

impl Plan {
    fn of(ty: &'static Type) -> &'static Plan {
        static PLANS: LazyLock<Vec<OnceLock<Plan>>> =
            LazyLock::new(|| schema::all().iter().map(|_| OnceLock::new()).collect());
        PLANS[ty.id.index()].get_or_init(|| {
            let fields = ty.fields.iter().enumerate().filter(|(_, field)| !field.numbers.is_empty());
            Plan::build(fields.map(|(position, field)| (field.numbers, position)).collect())
        })
    }

    fn build(fields: Vec<(&'static [u16], usize)>) -> Plan {
        let mut nodes: Vec<(u16, Node)> = Vec::new();
        let mut groups: Vec<(u16, Vec<_>)> = Vec::new();
        for (numbers, position) in fields {
            match numbers {
                [] => {}
                [number] => nodes.push((*number, Node::Field(position))),
                [number, rest @ ..] => match groups.iter_mut().find(|(n, _)| n == number) {
                    Some((_, group)) => group.push((rest, position)),
                    None => groups.push((*number, vec![(rest, position)])),
                },
            }
        }
        nodes.extend(groups.into_iter().map(|(number, fields)| (number, Node::Group(Plan::build(fields)))));
        nodes.sort_by_key(|(number, _)| *number);
        Plan { nodes }
    }

    fn node(&self, number: u64) -> Option<&Node> {
        let at = self.nodes.binary_search_by_key(&number, |(n, _)| u64::from(*n)).ok()?;
        Some(&self.nodes[at].1)
    }
}
