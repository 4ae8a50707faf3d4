//! The API server: the request path (`chain`), the one registry, the watch cache, access control.
//!
//! Knows storage, TLS and HTTP. Must not know of any component that uses it: they are clients.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::filters::authn::Authenticator;
use crate::filters::authn::bearer::Tokens;
use crate::filters::authn::service_account::Issuer;
use crate::filters::authz::Authorizer;
use crate::filters::authz::rbac::Rbac;
use crate::filters::fairness::Fairness;
use crate::metrics::Metrics;
use crate::registry::Registry;

pub mod access;
pub mod admission;
pub mod bootstrap;
pub mod cache;
pub mod cel;
pub mod chain;
pub mod command;
pub mod discovery;
pub mod endpoints;
pub mod extensions;
pub mod filters;
pub mod listener;
pub mod metrics;
pub mod negotiation;
pub mod openapi;
pub mod pki;
pub mod registry;
pub mod start;
pub mod webhook;

/// The version that clients see: upstream's, with ours behind it.
pub const VERSION: &str = concat!("v1.36.2+ferry.", env!("CARGO_PKG_VERSION"));

/// Everything that serving a request needs.
pub struct Server {
    /// All resources.
    pub registry: Arc<Registry>,
    /// Who asks.
    pub authenticator: Arc<dyn Authenticator>,
    /// May they.
    pub authorizer: Arc<dyn Authorizer>,
    /// The rights that users hold, for rule reviews.
    pub rbac: Arc<Rbac>,
    /// Bearer tokens, for token reviews.
    pub tokens: Arc<Tokens>,
    /// The issuer of service account tokens, where there is one.
    pub issuer: Option<Arc<Issuer>>,
    /// How many at once.
    pub fairness: Fairness,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// OpenAPI documents, as far as they were asked for.
    pub openapi: openapi::Documents,
    /// How kubelets are reached, for logs, exec, attach and port-forward.
    pub nodes: endpoints::connect::Nodes,
    /// Whether the server is ready for traffic: bootstrap is done, it is not draining.
    pub ready: Arc<std::sync::atomic::AtomicBool>,
    /// The most that a request which is not long-running may take.
    pub request_timeout: std::time::Duration,
    /// Told to end: no longer ready, though what comes is still served for a while.
    pub draining: CancellationToken,
}

impl Server {
    /// Whether the server was told to end.
    pub fn draining(&self) -> bool {
        self.draining.is_cancelled()
    }
}

#[cfg(test)]
mod tests;
