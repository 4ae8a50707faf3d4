//! Pods: the richest kind, hence its rules in several files.

pub mod qos;
pub mod strategy;
pub mod validation;
pub mod warnings;
