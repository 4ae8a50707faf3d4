//! The API server: the request path (`chain`), the one registry, the watch cache, access control.
//!
//! Knows storage, TLS and HTTP. Must not know of any component that uses it: they are clients.

pub mod access;
pub mod admission;
pub mod bootstrap;
pub mod discovery;
pub mod filters;
pub mod registry;
