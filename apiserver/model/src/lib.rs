//! What the layers of the API server speak of: resources and their types, users, requests and their options, warnings,
//! encodings, and the narrow view of the cluster's objects that access control and webhooks have.
//!
//! It knows the schema table and the structural schemas of custom resources. It must not know how objects are cached,
//! written, admitted or served.

pub mod check;
pub mod custom;
pub mod descriptions;
pub mod encoding;
pub mod lookup;
pub mod options;
pub mod random;
pub mod record;
pub mod request_info;
pub mod resource;
pub mod resources;
pub mod store;
pub mod types;
pub mod user;
pub mod values;
pub mod warnings;

/// The version that clients see: upstream's, with ours behind it.
pub const VERSION: &str = concat!("v1.36.2+ferry.", env!("CARGO_PKG_VERSION"));
