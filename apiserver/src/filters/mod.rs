//! The part of the request path before an endpoint: each file one step, called in order by `chain.rs`.

pub mod audit;
pub mod deadline;
pub mod fairness;
pub mod following;
pub mod guard;
pub mod impersonation;
pub mod leaving;
pub mod observe;
