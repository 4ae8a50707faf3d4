//! The built-in kinds: the catalogue of their rows, and what each decides for itself: what a write resets and refuses, what
//! it allocates, and what `kubectl get` shows of it.
//!
//! A kind knows the interface of strategies, and may read other objects through the registry. It must not know HTTP, who
//! may do what, nor admission.

pub mod admissionregistration;
pub mod apiregistration;
pub mod apps;
pub mod autoscaling;
pub mod batch;
pub mod catalogue;
pub mod cells;
pub mod certificates;
pub mod checked;
pub mod conditions;
pub mod core;
pub mod flowcontrol;
pub mod network;
pub mod networking;
pub mod node;
pub mod policy;
pub mod rbac;
pub mod resource;
pub mod rules;
pub mod scheduling;
pub mod storage_k8s;
