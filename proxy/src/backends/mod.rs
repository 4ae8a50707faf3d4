//! What carries a model into the kernel. One so far: nftables.

pub mod conntrack;
pub mod nftables;
pub mod rules;
