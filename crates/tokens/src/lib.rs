//! Signed tokens of service accounts, and the keys that sign and verify them: for the API server, which issues and takes
//! them, and for the controller that puts them into Secrets.
//!
//! Knows signatures and the compact form. Must **not** know what a token says, nor of whom. No IO.

pub mod jwt;
pub mod keys;
