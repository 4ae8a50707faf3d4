//! Pods.

pub mod binding;
