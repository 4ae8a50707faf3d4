//! The command line itself: flags as pflag reads them, the kubeconfig, errors as kubectl words them.

pub mod config;
pub mod context;
pub mod failure;
pub mod flags;
pub mod streams;
