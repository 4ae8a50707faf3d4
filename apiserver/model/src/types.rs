//! What is known of the fields of a row's objects. Decoding, defaults, managedFields, patches and OpenAPI ask here, and not
//! the schema table by name: a custom resource has the same answers from a schema that came at run time.

use std::sync::Arc;

use api::decode::{Decoded, Error};
use api::schema::Type;
use machinery::gvk::GroupVersionKind;
use serde_json::Value;

use crate::custom::Custom;

/// The schema of a kind in one version.
#[derive(Clone)]
pub enum Types {
    /// A type of the schema table.
    BuiltIn(&'static Type),
    /// A version of a custom resource, as its definition describes it.
    Custom(Arc<Custom>),
    /// Nothing is known of such objects, and none can be read.
    None,
}

/// An object as it came.
pub enum Source<'b> {
    /// Bytes of JSON.
    Json(&'b [u8]),
    /// The message in an envelope of protobuf.
    Protobuf(&'b [u8]),
    /// A value that was read before (from YAML, or made by a patch).
    Value(Value),
}

impl Types {
    /// The schema table's for a kind.
    pub fn of(kind: &GroupVersionKind) -> Self {
        api::schema::of(kind).map_or(Self::None, Self::BuiltIn)
    }

    /// The type of a built-in kind.
    pub fn built_in(&self) -> Option<&'static Type> {
        match self {
            Self::BuiltIn(ty) => Some(ty),
            Self::Custom(_) | Self::None => None,
        }
    }

    /// The version of a custom resource.
    pub fn custom(&self) -> Option<&Arc<Custom>> {
        match self {
            Self::Custom(custom) => Some(custom),
            Self::BuiltIn(_) | Self::None => None,
        }
    }

    /// Reads an object: known fields only, not defaulted.
    pub fn decode(&self, source: Source<'_>) -> Result<Decoded, Error> {
        match (self, source) {
            (Self::BuiltIn(ty), Source::Json(bytes)) => api::decode::json(bytes, ty),
            (Self::BuiltIn(ty), Source::Value(value)) => api::decode::value(value, ty),
            // It cannot have unknown fields: what the schema lacks is skipped, as proto has it.
            (Self::BuiltIn(ty), Source::Protobuf(bytes)) => {
                let map = api::protobuf::decode(bytes, ty).map_err(|e| Error(e.0))?;
                Ok(Decoded { value: map.into(), strict: Vec::new() })
            }
            (Self::Custom(custom), source) => custom.decode(source),
            (Self::None, _) => Err(Error("no schema".into())),
        }
    }

    /// Fills in the defaults.
    pub fn default(&self, kind: &GroupVersionKind, obj: &mut Value) {
        match self {
            Self::BuiltIn(_) => api::defaults::apply(kind, obj),
            Self::Custom(custom) => custom.default(obj),
            Self::None => {}
        }
    }
}
