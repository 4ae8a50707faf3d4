//! managedFields: who set which field (structured-merge-diff's `fieldpath`, and the part of its merge that ordinary
//! writes need).
//!
//! A [`Set`] is kept as FieldsV1 writes it, keyed by `f:name`, `k:{…}`, `v:…`: reading and writing it is a copy, and
//! comparing two objects makes the same keys. What a kind's lists and maps are comes from a [`MergeSchema`].

mod compare;
mod schema;
mod set;
mod update;

pub use compare::{Comparison, compare};
pub use schema::{MergeSchema, Relation};
pub use set::Set;
pub use update::{Update, update};

#[cfg(test)]
mod tests;
