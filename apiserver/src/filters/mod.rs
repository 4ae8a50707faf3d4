//! The part of the request path before an endpoint: each file one step, called in order by `chain.rs`.

pub mod authn;
pub mod authz;
pub mod impersonation;
