//! The node's own object: registered once, reported when it changes, alive by its lease.

pub(crate) mod lease;
pub(crate) mod machine;
pub(crate) mod ready;
pub(crate) mod register;
mod runtime_version;
pub(crate) mod status;
pub(crate) mod turns;
