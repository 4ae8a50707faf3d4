//! Resources that are not built in. A custom resource is a row like any other, with a schema that came at run time: what is
//! here makes such rows from definitions, follows the definitions' life, converts objects by webhooks, and knows what
//! differs in their writes.
//!
//! It knows the registry and the steps of a write. It must not know any built-in kind, nor HTTP but for the calls of webhooks.

pub mod conditions;
pub mod controller;
pub mod conversion;
pub mod definition;
mod finalize;
pub mod instances;
pub mod naming;
pub mod rows;
pub mod strategy;
pub mod webhook;
