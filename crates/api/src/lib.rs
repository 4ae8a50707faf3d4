//! The schema table of the built-in kinds, its lookup, their defaulting and version conversion.
//!
//! Knows the shapes of Kubernetes' own kinds, as data. Must not know how they are stored or served, nor what a valid
//! object is: validation belongs to the API server's strategies.

pub mod convert;
pub mod decode;
pub mod defaults;
pub mod encode;
pub mod internal;
pub mod merge;
pub mod patch;
pub mod protobuf;
pub mod schema;
pub mod stored;
