//! What objects use of what quotas limit, and which quotas are for them: the admission that charges a write and the
//! controller that counts again ask the same code, so that they can't differ.
//!
//! Knows pods, services, claims and what a quota says of them, as JSON. Must **not** know where objects come from, nor
//! what becomes of the figures. No IO.

pub mod amounts;
pub mod devices;
mod evaluator;
pub mod qos;
mod scopes;

pub use evaluator::{Counted, Evaluator};
pub use scopes::Facts;
