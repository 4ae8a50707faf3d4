//! The embedded store on several servers: openraft behind the storage trait.
//!
//! What it knows: a log that a majority of members has, the engine's state that the log makes on each of them, who the members
//! are, and what they say to each other. What it must **not** know: Kubernetes, and which API server uses it. openraft is seen
//! here and nowhere else, in one exact version: its pre-releases change, and what is kept on disk or sent is this crate's own
//! form (`codec`).
//!
//! `docs/decisions/012-embedded-raft.md` says why it is so. [`RaftStore`] is the store; [`Network`] is what carries messages, and
//! [`tls`] carries them in a cluster; [`recover`] makes one member of a lost cluster a cluster of its own.

mod codec;
mod command;
mod found;
mod house;
mod identity;
mod log;
mod machine;
mod members;
mod network;
mod node;
mod proposals;
mod reads;
mod server;
mod store;
mod types;

pub use found::{Recovered, recover};
pub use members::{MemberStatus, Status};
pub use network::{Answers, Lane, MESSAGE_LIMIT_BYTES, Network, tls};
pub use node::{Options, Times};
pub use store::RaftStore;
pub use types::NodeId;

#[cfg(test)]
mod tests;
