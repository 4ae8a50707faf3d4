//! managedFields: who set which field, and server-side apply, which is built on it (structured-merge-diff, and
//! `apimachinery/pkg/util/managedfields`).
//!
//! A [`Set`] is kept as FieldsV1 writes it, keyed by `f:name`, `k:{…}`, `v:…`: reading and writing it is a copy, and
//! comparing two objects makes the same keys. What a kind's lists and maps are comes from a [`MergeSchema`], and what its
//! other versions are from [`Versions`].
//!
//! Objects here are plain JSON. Upstream's are typed: fields that Go always writes are there even when nobody set them.
//! [`MergeSchema::always`] names them, and [`compare`] treats them as there.

mod apply;
mod check;
mod compare;
mod element;
mod entry;
mod fields;
mod last_applied;
mod merge;
mod ownership;
mod prune;
mod remove;
mod resets;
mod scale;
mod schema;
mod set;
mod update;

pub use apply::{Apply, about, apply, nothing};
pub use check::{check, fits};
pub use compare::{Comparison, compare};
pub use fields::fields;
pub use merge::merge;
pub use remove::remove;
pub use resets::Resets;
pub use scale::{ReplicasPath, to_parent, to_scale};
pub use schema::{Form, MergeSchema, Relation, Versions};
pub use set::Set;
pub use update::{Update, update};

use prune::prune;

#[cfg(test)]
mod tests;
