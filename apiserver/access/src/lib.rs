//! Access control: authentication (`authn`) finds the user of a request, authorization (`authz`) decides whether
//! that user may do what is asked.
//!
//! It reads the cluster through [`model::lookup::Lookup`] and knows neither storage nor the registry nor any verb.

pub mod authn;
pub mod authz;
pub mod pod_refs;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
