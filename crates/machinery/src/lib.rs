//! Kind-agnostic machinery: GVK, metadata, selectors, Quantity, field paths, Status, patches, codecs. No IO.
//!
//! It knows what every Kubernetes object has in common, and nothing of a single kind: what a kind looks like reaches it
//! through small traits (`patch::strategic::PatchSchema`, `managed_fields::MergeSchema`) that `crates/api` implements.

pub mod cron;
pub mod difflib;
pub mod duration;
pub mod field;
pub mod go;
pub mod gvk;
pub mod json;
pub mod jsonpath;
pub mod managed_fields;
pub mod meta;
pub mod names;
pub mod patch;
pub mod quantity;
pub mod selector;
pub mod status;
pub mod time;
pub mod yaml;
