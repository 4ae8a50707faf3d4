//! Encodings: in which one an object is answered, and the making of each from a value.

use std::cell::RefCell;

use bytes::Bytes;
use machinery::gvk::GroupVersionKind;
use serde_json::Value;

use crate::resource::Resource;

/// How the answer is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[allow(missing_docs)]
pub enum Encoding {
    #[default]
    Json,
    Yaml,
    Protobuf,
}

impl Encoding {
    /// In the order in which upstream prefers them for `*/*`.
    pub const ALL: [Self; 3] = [Self::Json, Self::Yaml, Self::Protobuf];

    /// The media type.
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Yaml => "application/yaml",
            Self::Protobuf => api::protobuf::MEDIA_TYPE,
        }
    }

    /// The media type of a watch.
    pub fn stream_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Yaml => "application/yaml;stream=watch",
            Self::Protobuf => "application/vnd.kubernetes.protobuf;stream=watch",
        }
    }

    /// Whether a range of media types takes it.
    pub fn matches(self, kind: &str, subtype: &str) -> bool {
        let (own, own_subtype) = self.media_type().split_once('/').unwrap_or_default();
        (kind == own && (subtype == own_subtype || subtype == "*")) || (kind == "*" && subtype == "*")
    }
}

thread_local! {
    /// Where objects are encoded before their size is known.
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// A scratch buffer that grew beyond this is given back.
const SCRATCH_KEPT_BYTES: usize = 256 * 1024;

/// Encodes an object in the field order of its kind; custom resources, which the table does not have, in name order. The
/// bytes take exactly the memory that they need: stores and caches keep them.
pub fn encode(obj: &Value, kind: &GroupVersionKind) -> Bytes {
    SCRATCH.with_borrow_mut(|out| {
        out.clear();
        match api::schema::of(kind) {
            Some(schema) => api::encode::json(obj, schema, out),
            None => api::encode::write_untyped(obj, out),
        }
        let bytes = Bytes::copy_from_slice(out);
        if out.capacity() > SCRATCH_KEPT_BYTES {
            *out = Vec::new();
        }
        bytes
    })
}

/// Makes a client's object comparable with a stored one: see [`api::encode::normalise`].
pub fn normalise(obj: &mut Value, kind: &GroupVersionKind) {
    if let Some(schema) = api::schema::of(kind) {
        api::encode::normalise(obj, schema);
    }
}

/// The object in another version of its built-in kind; `None` where it is already in it.
pub fn convert(obj: &Value, from: &GroupVersionKind, to: &GroupVersionKind) -> Option<Value> {
    if from == to {
        return None;
    }
    Some(api::convert::convert(obj, from, to))
}

/// A stored value as the cache has it: decoded, defaulted, encoded; or why the bytes are no object of that row.
pub fn canonicalise(row: &Resource, stored: &Bytes) -> Result<Bytes, String> {
    let mut value = match row.types.custom() {
        Some(custom) => {
            let mut value: Value = serde_json::from_slice(stored).map_err(|e| e.to_string())?;
            if !value.is_object() {
                return Err("not an object".to_owned());
            }
            custom.stored(&mut value);
            value["kind"] = row.kind.as_ref().into();
            value
        }
        None => {
            let mut value = api::stored::read(stored, &row.storage_version).map_err(|e| e.to_string())?;
            api::defaults::apply(&row.storage_version, &mut value);
            value
        }
    };
    if let Some(metadata) = value.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("resourceVersion");
    }
    Ok(encode(&value, &row.storage_version))
}

/// An object in protobuf, in its envelope. Kinds without protobuf are never asked for it, see [`Offer`].
pub fn protobuf(value: &Value, kind: &GroupVersionKind) -> Vec<u8> {
    let mut out = Vec::with_capacity(1024);
    if let Some(schema) = api::schema::of(kind) {
        api::protobuf::encode(value, schema, &mut out);
    }
    out
}
