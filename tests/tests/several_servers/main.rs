//! Several API servers on one etcd: how they know of each other and how clients find them, what they agree on, and what their
//! clients see when one of them ends.

#![allow(clippy::unwrap_used)] // helpers of tests are tests

mod agreement;
mod allocation;
mod endpoints;
mod etcd_members;
mod farewell;
mod fleet;
mod identity;
mod restarts;
mod starts;
#[allow(dead_code)] // what the other test needs of it
#[path = "../limits/wire.rs"]
mod wire;

/// The server's process; nothing when it is run as a test.
#[test]
fn server() -> anyhow::Result<()> {
    testkit::serve()
}
