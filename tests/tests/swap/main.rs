//! Ferry's API server and upstream's on one etcd, at once and one after the other: what either has written the other reads, and
//! would have written the same; under a load neither is missed when it is restarted, and at rest they leave each other alone.
//!
//! `FERRY_TEST_KUBE_APISERVER` names upstream's binary.

#![allow(clippy::unwrap_used)] // helpers of tests are tests

mod kinds;
mod load;
mod read;
mod rest;
mod upstream;

/// The server's process; nothing when it is run as a test.
#[test]
fn server() -> anyhow::Result<()> {
    testkit::serve()
}
