//! An encoded object with a gap where its resourceVersion goes, so that one encoding serves every revision it is shown
//! at: GET, an item of a list, a watch frame, or its metadata alone. Upstream writes fields by number, metadata first
//! and resourceVersion in its middle; filling the gap means to count two lengths anew and to copy, and the result is
//! upstream's byte for byte.

use std::sync::LazyLock;

use machinery::json::Fields;
use serde_json::Value;

use super::wire::{self, Wire, length_of_varint};
use super::{Envelope, Error, TAIL, encode};
use crate::schema::{self, Type};

/// The number of `metadata` in every kind that has one.
const METADATA: u16 = 1;
/// The number of `resourceVersion` in ObjectMeta.
const REVISION: u16 = 6;

/// The envelope of metadata alone, up to the object.
static METADATA_HEAD: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut out = Vec::new();
    let kind = "PartialObjectMetadata";
    Envelope { api_version: "meta.k8s.io/v1", kind, ..Envelope::default() }.begin(&mut out);
    out
});

/// How much of an object is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The object.
    Whole,
    /// A `meta.k8s.io/v1` PartialObjectMetadata.
    Metadata,
}

/// See the module.
#[derive(Debug, PartialEq, Eq)]
pub struct Resident {
    /// The start of the envelope, the metadata without resourceVersion, the other fields.
    bytes: Box<[u8]>,
    metadata: u32,
    gap: u32,
    rest: u32,
}

impl Resident {
    /// Encodes an object from its canonical JSON. `None` for a kind without a schema, without metadata or without protobuf.
    pub fn of_json(json: &[u8]) -> Option<Self> {
        let value: Value = serde_json::from_slice(json).ok()?;
        let ty = schema::of(&machinery::meta::gvk(&value))?;
        Self::new(&value, ty)
    }

    /// Encodes an object, whatever resourceVersion it has. `None` for a type without metadata or without protobuf.
    pub fn new(value: &Value, ty: &'static Type) -> Option<Self> {
        let metadata = ty.field("metadata")?;
        if metadata.numbers != [METADATA] || metadata.shape.object()?.id != schema::object_meta().id {
            return None;
        }
        let mut bytes = Vec::with_capacity(1024);
        Envelope { api_version: value.text("apiVersion"), kind: value.text("kind"), ..Envelope::default() }
            .begin(&mut bytes);
        let start = bytes.len();
        encode::object(Some(value), ty, &mut bytes);
        // Metadata is the first field: its bytes are moved over its head, and the revision's own are cut out.
        let (from, to) = first(&bytes[start..])?;
        bytes.drain(start..start + from);
        let end = start + to - from;
        let (gap, after) = revision(&bytes[start..end])?;
        bytes.drain(start + gap..start + after);
        Some(Self {
            // A copy, of the size that it has: it is kept, and what it was made in is larger.
            bytes: bytes.as_slice().into(),
            metadata: start as u32,
            gap: (start + gap) as u32,
            rest: (end - (after - gap)) as u32,
        })
    }

    fn parts(&self) -> (&[u8], &[u8], &[u8], &[u8]) {
        let (metadata, gap, rest) = (self.metadata as usize, self.gap as usize, self.rest as usize);
        (&self.bytes[..metadata], &self.bytes[metadata..gap], &self.bytes[gap..rest], &self.bytes[rest..])
    }

    fn metadata_length(&self, revision: &[u8]) -> usize {
        (self.rest - self.metadata) as usize + wire::length_of_bytes(REVISION, revision.len())
    }

    fn raw_length(&self, revision: &[u8], part: Part) -> usize {
        let rest = if part == Part::Whole { self.bytes.len() - self.rest as usize } else { 0 };
        wire::length_of_bytes(METADATA, self.metadata_length(revision)) + rest
    }

    fn write_raw(&self, revision: &[u8], part: Part, out: &mut Vec<u8>) {
        let (_, before, after, rest) = self.parts();
        wire::write_tag(2, 2, out);
        wire::write_varint(self.raw_length(revision, part) as u64, out);
        wire::write_tag(METADATA, 2, out);
        wire::write_varint(self.metadata_length(revision) as u64, out);
        out.extend_from_slice(before);
        wire::write_bytes(REVISION, revision, out);
        out.extend_from_slice(after);
        if part == Part::Whole {
            out.extend_from_slice(rest);
        }
    }

    fn head(&self, part: Part) -> &[u8] {
        match part {
            Part::Whole => self.parts().0,
            Part::Metadata => &METADATA_HEAD,
        }
    }

    /// Bytes that [`write`](Self::write) appends.
    pub fn length(&self, revision: &[u8], part: Part) -> usize {
        self.head(part).len() + self.item_length(revision, part) + TAIL.len()
    }

    /// Appends the object in its envelope.
    pub fn write(&self, revision: &[u8], part: Part, out: &mut Vec<u8>) {
        out.extend_from_slice(self.head(part));
        self.write_raw(revision, part, out);
        out.extend_from_slice(TAIL);
    }

    /// The object in its envelope as a store has it, which knows its revision without being told.
    pub fn stored(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.length(&[], Part::Whole));
        self.write(&[], Part::Whole, &mut out);
        out
    }

    /// Bytes that [`write_item`](Self::write_item) appends.
    pub fn item_length(&self, revision: &[u8], part: Part) -> usize {
        wire::length_of_bytes(2, self.raw_length(revision, part))
    }

    /// Appends the object as an item of a list. An item has the number that an envelope has for its object, so that
    /// both are written alike.
    pub fn write_item(&self, revision: &[u8], part: Part, out: &mut Vec<u8>) {
        self.write_raw(revision, part, out);
    }

    /// Bytes that are kept.
    pub fn size(&self) -> usize {
        self.bytes.len()
    }
}

/// Where the content of the first field begins and ends, if that is metadata.
fn first(bytes: &[u8]) -> Option<(usize, usize)> {
    let (number, Wire::Bytes(content)) = wire::fields(bytes).next()?.ok()? else { return None };
    let from = 1 + length_of_varint(content.len() as u64);
    (number == u64::from(METADATA)).then_some((from, from + content.len()))
}

/// Where the resourceVersion is in metadata.
fn revision(metadata: &[u8]) -> Option<(usize, usize)> {
    let mut fields = wire::fields(metadata);
    loop {
        let from = metadata.len() - fields.rest().len();
        let (number, _) = fields.next()?.ok()?;
        if number == u64::from(REVISION) {
            return Some((from, metadata.len() - fields.rest().len()));
        }
    }
}

/// What precedes the items of a list: the envelope's start, and the list's own metadata. `items` is the length of all
/// items as [`Resident::item_length`] counts them. After the items follows [`TAIL`].
pub fn list_head(api_version: &str, kind: &str, metadata: &Value, items: usize, out: &mut Vec<u8>) {
    let ty = schema::named("meta.v1", "ListMeta").expect("the table has ListMeta, a test checks it");
    let mut list = Vec::with_capacity(64);
    encode::object(Some(metadata), ty, &mut list);
    Envelope { api_version, kind, ..Envelope::default() }.begin(out);
    wire::write_tag(2, 2, out);
    wire::write_varint((wire::length_of_bytes(1, list.len()) + items) as u64, out);
    wire::write_bytes(1, &list, out);
}

/// Appends a watch event: a `WatchEvent` around an enveloped object of `length` bytes that `write` appends, preceded by
/// its length in four bytes, big end first.
pub fn frame(event: &str, length: usize, write: impl FnOnce(&mut Vec<u8>), out: &mut Vec<u8>) {
    let extension = wire::length_of_bytes(1, length);
    let all = wire::length_of_bytes(1, event.len()) + wire::length_of_bytes(2, extension);
    out.reserve(4 + all);
    out.extend_from_slice(&u32::try_from(all).unwrap_or(u32::MAX).to_be_bytes());
    wire::write_bytes(1, event.as_bytes(), out);
    wire::write_tag(2, 2, out);
    wire::write_varint(extension as u64, out);
    wire::write_tag(1, 2, out);
    wire::write_varint(length as u64, out);
    write(out);
}

/// The type and the enveloped object of a watch event: what a [`frame`] has after its length.
pub fn event(bytes: &[u8]) -> Result<(&str, &[u8]), Error> {
    let (mut kind, mut object) = ("", &[][..]);
    for field in wire::fields(bytes) {
        match field? {
            (1, Wire::Bytes(text)) => kind = std::str::from_utf8(text).map_err(|e| Error(e.to_string()))?,
            (2, Wire::Bytes(extension)) => {
                for field in wire::fields(extension) {
                    if let (1, Wire::Bytes(raw)) = field? {
                        object = raw;
                    }
                }
            }
            _ => {}
        }
    }
    Ok((kind, object))
}
