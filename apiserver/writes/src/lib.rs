//! Writes: the registry of all kinds, and the steps that every write of an object passes, in order: what a kind decides for
//! itself (`strategy`), admission's interface, the compare-and-swap into the store (`place`), and `create`, `update` and
//! `delete` as sequences of steps, for requests and for the server itself.
//!
//! It knows caches and the store. It must not know any kind, any admission plugin, nor HTTP.

pub mod admission;
pub mod allocation;
pub mod convert;
pub mod create;
pub mod delete;
pub mod managed_fields;
pub mod metadata;
pub mod place;
mod registry;
pub mod selection;
pub mod strategy;
pub mod update;

pub use registry::{Changing, Place, Registry, Rows, Served};
