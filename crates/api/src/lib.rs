//! The schema table of the built-in kinds, its lookup, their defaulting, version conversion and the walk of their
//! validation.
//!
//! Knows the shapes of Kubernetes' own kinds, as data, and how to walk over them. Must not know how they are stored or served,
//! nor what a valid object is: the rows that `rules` walks by belong to the API server.

pub mod convert;
pub mod decode;
pub mod defaults;
pub mod encode;
pub mod internal;
pub mod merge;
pub mod patch;
pub mod protobuf;
pub mod rules;
pub mod schema;
pub mod stored;
