//! Container logs: the lines that the runtime writes, read for clients, and turned over by size.

pub(crate) mod follow;
pub(crate) mod line;
pub(crate) mod read;
pub(crate) mod rotate;
pub(crate) mod watch;
