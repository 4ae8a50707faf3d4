//! A list's body, made of the entries in pieces while it is sent, so that a long list costs one piece of memory. Items are
//! copied, or made one by one (rows of Tables, metadata alone). What cannot be made so (YAML) goes the slow way, see
//! `list.rs`.

use std::sync::Arc;

use api::protobuf::{Part, TAIL, list_head};
use bytes::Bytes;
use cache::Entry;
use futures::stream;
use http::{HeaderValue, Response, StatusCode, header};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use model::resource::Resource;
use negotiation::gzip::{self, Compressor};
use negotiation::{Accept, Body, Indenter};
use serde_json::Value;

use super::respond::Copied;

/// Bytes made at once; as many as an answer needs to be compressed.
const PIECE_BYTES: usize = gzip::THRESHOLD_BYTES;
/// Entries that are encoded before others have their turn.
const ENTRIES_AT_ONCE: usize = 64;

/// How the items of a list are written.
pub(super) enum Items {
    /// As they are.
    Copied(Copied),
    /// In JSON, each anew.
    Made(Make),
}

/// Appends an item.
pub(super) type Make = Box<dyn Fn(&Entry, &mut Vec<u8>) + Send>;

/// How one list is written.
pub(super) struct Pieces {
    items: Items,
    head: Vec<u8>,
    tail: Vec<u8>,
    /// About, for JSON; exactly, for protobuf.
    size: usize,
}

impl Pieces {
    /// Prepares a list whose items are made. `empty` is its JSON without items, which are its last member.
    pub fn made(empty: &[u8], make: Make, entries: &[Arc<Entry>]) -> Option<Self> {
        let head = empty.trim_ascii_end().strip_suffix(b"]}")?.to_vec();
        let size = entries.iter().map(|entry| entry.size()).sum();
        Some(Self { items: Items::Made(make), head, tail: b"]}\n".to_vec(), size })
    }

    /// Prepares a list of these entries; `None` where they cannot be copied. Entries that have no protobuf yet get it
    /// here: their lengths stand at the list's beginning.
    pub async fn new(row: &Resource, copied: Copied, metadata: &Value, entries: &[Arc<Entry>]) -> Option<Self> {
        let mut head = Vec::with_capacity(PIECE_BYTES / 64);
        let mut tail = b"]}\n".to_vec();
        let size = match copied {
            // A list of custom resources is a map, in name order.
            Copied::Json if row.types.custom().is_some() => {
                let version = row.api_version();
                head.extend_from_slice(format!("{{\"apiVersion\":\"{version}\",\"items\":[").as_bytes());
                let metadata = untyped_metadata(metadata);
                tail = format!("],\"kind\":\"{}\",\"metadata\":{metadata}}}\n", row.list_kind).into_bytes();
                entries.iter().map(|e| e.size()).sum::<usize>() + tail.len()
            }
            Copied::Json => {
                let (kind, version) = (&row.list_kind, row.api_version());
                let start = format!("{{\"kind\":\"{kind}\",\"apiVersion\":\"{version}\",\"metadata\":");
                head.extend_from_slice(start.as_bytes());
                head.extend_from_slice(list_metadata(metadata).as_bytes());
                head.extend_from_slice(b",\"items\":[");
                entries.iter().map(|e| e.size()).sum()
            }
            Copied::Protobuf(part) => {
                tail = TAIL.to_vec();
                let mut size = 0;
                for some in entries.chunks(ENTRIES_AT_ONCE) {
                    for entry in some {
                        size += entry.protobuf()?.item_length(part);
                    }
                    tokio::task::yield_now().await;
                }
                match part {
                    Part::Whole => {
                        list_head(&row.api_version(), &row.list_kind, metadata, size, &mut head);
                    }
                    Part::Metadata => {
                        list_head("meta.k8s.io/v1", "PartialObjectMetadataList", metadata, size, &mut head);
                    }
                }
                size
            }
        };
        Some(Self { items: Items::Copied(copied), head, tail, size })
    }

    /// The answer: in one piece if it is small.
    pub fn response(self, entries: Vec<Arc<Entry>>, accept: &Accept) -> Response<Body> {
        let writer = Writer { items: self.items, entries, at: 0, tail: self.tail };
        if self.size <= PIECE_BYTES {
            let mut out = self.head;
            out.reserve(self.size + 4);
            { writer }.write(&mut out, usize::MAX);
            return negotiation::bytes_response(StatusCode::OK, out, accept);
        }
        let compressor = accept.gzip.then(Compressor::default);
        let indenter = accept.is_indented().then(Indenter::default);
        let pieces = stream::unfold(Some((self.head, writer, indenter, compressor)), |state| async move {
            let (mut out, mut writer, mut indenter, mut compressor) = state?;
            loop {
                out.reserve(PIECE_BYTES);
                let more = writer.write(&mut out, PIECE_BYTES);
                if let Some(indenter) = &mut indenter {
                    let compact = std::mem::replace(&mut out, Vec::with_capacity(2 * PIECE_BYTES));
                    indenter.piece(&compact, &mut out);
                }
                let mut piece: Bytes = match &mut compressor {
                    Some(compressor) => compressor.piece(&out),
                    None => std::mem::take(&mut out).into(),
                };
                if !more && let Some(compressor) = compressor.take() {
                    piece = [piece, compressor.finish()].concat().into();
                }
                out.clear();
                if more && piece.is_empty() {
                    continue;
                }
                let piece: Result<Frame<Bytes>, std::io::Error> = Ok(Frame::data(piece));
                return Some((piece, more.then_some((out, writer, indenter, compressor))));
            }
        });
        let mut response = Response::new(StreamBody::new(pieces).boxed_unsync());
        let content = HeaderValue::from_static(accept.encoding.media_type());
        response.headers_mut().insert(header::CONTENT_TYPE, content);
        if accept.gzip {
            gzip::mark(response.headers_mut());
        }
        response
    }
}

struct Writer {
    items: Items,
    entries: Vec<Arc<Entry>>,
    at: usize,
    /// What closes the list.
    tail: Vec<u8>,
}

impl Writer {
    /// Appends items, one at least, as long as `out` stays below `most` bytes, and the end after the last; whether there
    /// are more.
    fn write(&mut self, out: &mut Vec<u8>, most: usize) -> bool {
        let first = self.at;
        while self.at < self.entries.len() {
            let entry = &self.entries[self.at];
            if self.at > first && out.len() + entry.size() >= most {
                return true;
            }
            if self.at > 0 && !matches!(self.items, Items::Copied(Copied::Protobuf(_))) {
                out.push(b',');
            }
            match &self.items {
                Items::Copied(Copied::Json) => entry.write_item(out),
                // Made when the head was.
                Items::Copied(Copied::Protobuf(part)) => {
                    entry.protobuf().into_iter().for_each(|p| p.write_item(*part, out));
                }
                Items::Made(make) => make(entry, out),
            }
            self.at += 1;
        }
        out.extend_from_slice(&self.tail);
        false
    }
}

/// The metadata of a list of custom resources: in name order, and with `continue` always.
fn untyped_metadata(metadata: &Value) -> String {
    let none = Value::from("");
    let mut out = format!("{{\"continue\":{}", metadata.get("continue").unwrap_or(&none));
    for key in ["remainingItemCount", "resourceVersion"] {
        if let Some(value) = metadata.get(key) {
            out.push_str(&format!(",\"{key}\":{value}"));
        }
    }
    out.push('}');
    out
}

/// ListMeta in upstream's field order.
fn list_metadata(metadata: &Value) -> String {
    let mut out = format!("{{\"resourceVersion\":{}", metadata["resourceVersion"]);
    for key in ["continue", "remainingItemCount"] {
        if let Some(value) = metadata.get(key) {
            out.push_str(&format!(",\"{key}\":{value}"));
        }
    }
    out.push('}');
    out
}
