//! Documents as they are sent: made when first asked for, one at a time, and kept compressed until the rows that they were
//! made from are no longer those that are served (custom resources come and go).

use std::collections::HashMap;
use std::io::{Read, Write};
use std::sync::Arc;

use bytes::Bytes;
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use model::descriptions::Texts;
use parking_lot::Mutex;
use serde_json::Value;

use crate::sources::{Input, Sources};

/// A document, compressed.
#[derive(Clone)]
pub struct Served {
    /// Its hash, as the index has it.
    pub hash: String,
    gzip: Bytes,
    inputs: Vec<Input>,
}

impl Served {
    /// As gzip.
    pub fn gzip(&self) -> Bytes {
        self.gzip.clone()
    }

    /// As it is.
    pub fn plain(&self) -> Vec<u8> {
        let mut out = Vec::new();
        GzDecoder::new(self.gzip.as_ref()).read_to_end(&mut out).expect("made by this program");
        out
    }
}

/// All documents that were made.
#[derive(Default)]
pub struct Documents {
    made: Mutex<HashMap<(String, bool), Arc<Served>>>,
    /// One is made at a time: making one takes ten times its size.
    making: tokio::sync::Mutex<()>,
}

impl Documents {
    /// A document of v3, or `v2`, as JSON or as protobuf; `None` where nothing has that name.
    pub async fn get(&self, sources: &Sources, name: &str, protobuf: bool) -> Option<Arc<Served>> {
        let key = (name.to_owned(), protobuf);
        if let Some(found) = self.current(&key, sources) {
            return Some(found);
        }
        let _turn = self.making.lock().await;
        if let Some(found) = self.current(&key, sources) {
            return Some(found);
        }
        let (sources, name) = (sources.clone(), name.to_owned());
        let made = component::supervisor::blocking("OpenAPI document", move || make(&sources, &name, protobuf))
            .await
            .ok()??;
        self.made.lock().insert(key, made.clone());
        Some(made)
    }

    fn current(&self, key: &(String, bool), sources: &Sources) -> Option<Arc<Served>> {
        let mut made = self.made.lock();
        let found = made.get(key)?.clone();
        if same(&found.inputs, &super::inputs(sources, &key.0)) {
            return Some(found);
        }
        made.remove(key);
        None
    }
}

fn same(a: &[Input], b: &[Input]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| Arc::ptr_eq(a, b))
}

fn make(sources: &Sources, name: &str, protobuf: bool) -> Option<Arc<Served>> {
    let texts = Texts::unpack();
    loop {
        let (inputs, hash) = (super::inputs(sources, name), super::hash(sources, name));
        let value = match name {
            "v2" => super::v2::document(sources, &texts),
            _ => super::document(sources, name, &texts)?.1,
        };
        // What changed while it was read is in the document and not in its hash, or the other way round.
        if same(&inputs, &super::inputs(sources, name)) {
            return Some(Arc::new(Served { hash, gzip: pack(&value, protobuf && name == "v2"), inputs }));
        }
    }
}

fn pack(value: &Value, protobuf: bool) -> Bytes {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    let written = match protobuf {
        true => encoder.write_all(&super::gnostic::document(value)),
        false => serde_json::to_writer(&mut encoder, value).map_err(Into::into),
    };
    written.expect("memory takes everything");
    encoder.finish().expect("memory takes everything").into()
}
