//! The service proxy (nftables maps) and the cluster DNS, from the same informers.

pub mod backends;
pub mod model;
