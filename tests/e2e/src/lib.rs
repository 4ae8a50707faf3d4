//! The harness of the end-to-end tests: machines made of namespaces, the built `ferry` on them, kubectl against it,
//! steady requests through its Services, and what a machine holds before and after.
//!
//! A crate of its own, so that it is built without any of Ferry's: what it tests is the program, as a user has it.

pub mod agent;
pub mod cluster;
pub mod link;
pub mod load;
pub mod machine;
pub mod needs;
pub mod pty;
pub mod snapshot;
pub mod wait;
