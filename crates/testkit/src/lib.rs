//! In-process cluster, fake clock, fixtures and check helpers for tests.
//!
//! Tests see what a client sees: the server here is the real one, with access control and admission, over an in-memory
//! stream instead of a socket.

mod caller;
mod cluster;
mod etcd;
mod filled;
mod fixture;
mod process;
mod stream;

pub use caller::{Answer, Caller, Raw};
pub use cluster::Cluster;
pub use etcd::Etcd;
pub use filled::filled;
pub use fixture::fixture;
pub use process::{Component, Main, Process, end, free_port, serve, serve_one_of};
pub use stream::Lines;
