//! Pods: the richest kind, hence its rules in several files.

pub mod binding;
pub mod eviction;
pub mod qos;
pub mod strategy;
pub mod validation;
pub mod warnings;
